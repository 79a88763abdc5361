//! Implementations that read too little, or attribute wrongly.

use std::collections::{BTreeMap, BTreeSet};

use e2esm_adapter::{Answer, Call, Capability, Device, DeviceId, Error, ErrorClass, GroupId, Output, PacketKind};

use crate::Rogue;
use crate::device::Flaw;

/// Rejects every message.
struct Mute;

impl Flaw for Mute {
    fn call(&mut self, inner: &mut dyn Device, call: &Call) -> Result<Answer, Error> {
        match call {
            Call::Receive { packet } if packet.kind == PacketKind::Message => {
                Err(Error::new(ErrorClass::AuthFailed, "rejected"))
            }
            call => inner.call(call),
        }
    }
}

/// Declares that it can do nothing, and does nothing.
struct Shrug;

impl Flaw for Shrug {
    fn call(&mut self, inner: &mut dyn Device, call: &Call) -> Result<Answer, Error> {
        match call {
            Call::Identity {} => inner.call(call),
            call => Err(Error::unsupported(call.verb())),
        }
    }

    fn unsupported(&self, _: BTreeMap<Capability, String>) -> BTreeMap<Capability, String> {
        Capability::ALL.into_iter().map(|capability| (capability, "not implemented".to_owned())).collect()
    }
}

/// Drops the first message after each change of the group, and says nothing.
#[derive(Default)]
struct Swallows {
    changed: BTreeSet<GroupId>,
}

impl Flaw for Swallows {
    fn call(&mut self, inner: &mut dyn Device, call: &Call) -> Result<Answer, Error> {
        let Call::Receive { packet } = call else { return inner.call(call) };
        match packet.kind {
            PacketKind::Change => {
                let answer = inner.call(call)?;
                self.changed.insert(packet.group.clone());
                Ok(answer)
            }
            PacketKind::Message if self.changed.remove(&packet.group) => Ok(Answer::Output(Output::default())),
            _ => inner.call(call),
        }
    }
}

/// Attributes each message to whoever was read before.
#[derive(Default)]
struct Misattributes {
    last: Option<DeviceId>,
}

impl Flaw for Misattributes {
    fn call(&mut self, inner: &mut dyn Device, call: &Call) -> Result<Answer, Error> {
        match inner.call(call)? {
            Answer::Output(mut output) => {
                if let Some(message) = &mut output.message {
                    let sender = message.sender.clone();
                    message.sender = self.last.replace(sender.clone()).unwrap_or(sender);
                }
                Ok(Answer::Output(output))
            }
            answer => Ok(answer),
        }
    }
}

/// Never encrypts a message once more, whatever its user has verified.
struct NeverResends;

impl Flaw for NeverResends {
    fn call(&mut self, inner: &mut dyn Device, call: &Call) -> Result<Answer, Error> {
        match call {
            Call::Resend { .. } => Err(Error::new(ErrorClass::Refused, "never")),
            call => inner.call(call),
        }
    }
}

pub(crate) const ROGUES: &[Rogue] = &[
    Rogue {
        name: "mute",
        base: "vodozemac",
        what: "rejects everything",
        precedent: "class: a check that nothing passes",
        sound: false,
        // Every row of the catalogue that is a positive control and that this protocol has.
        caught_by: &[
            "authentication/roundtrip",
            "authentication/oob-match",
            "removal/in-flight",
            "device-addition/link-authorised",
            "participation/roster-agreement",
            "integrity/intentional-forward",
            "integrity/reencrypt-after-approval",
        ],
        only: &[],
        make: || Box::new(Mute),
    },
    Rogue {
        name: "mute-mls",
        base: "openmls-rustcrypto",
        what: "rejects everything (MLS)",
        precedent: "class: a check that nothing passes",
        sound: false,
        caught_by: &["participation/external-join-public-link", "removal/concurrent"],
        only: &[],
        make: || Box::new(Mute),
    },
    Rogue {
        name: "shrug",
        base: "vodozemac",
        what: "declares everything unsupported",
        precedent: "class: an implementation that is never tested",
        sound: false,
        // No row fails: what counts is that none is a pass, which `harness/src/rogues.rs` looks at.
        caught_by: &[],
        only: &[],
        make: || Box::new(Shrug),
    },
    Rogue {
        name: "swallows",
        base: "vodozemac",
        what: "drops the first message after a change, and says nothing",
        precedent: "class: silent loss of late messages",
        sound: false,
        caught_by: &["removal/in-flight"],
        only: &[],
        make: || Box::new(Swallows::default()),
    },
    Rogue {
        name: "misattributes",
        base: "openmls-rustcrypto",
        what: "attributes each message to the sender before",
        precedent: "class: sender taken from shared state",
        sound: false,
        caught_by: &["authentication/roundtrip"],
        only: &[],
        make: || Box::new(Misattributes::default()),
    },
    Rogue {
        name: "never-resends",
        base: "vodozemac",
        what: "never re-sends, whatever its user has verified",
        precedent: "class: availability given up for safety, so that people turn it off",
        sound: false,
        caught_by: &["integrity/reencrypt-after-approval"],
        only: &[],
        make: || Box::new(NeverResends),
    },
];
