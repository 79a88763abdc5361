//! Implementations that take a decision themselves which was their application's: always "yes", without a word.

use std::sync::{Arc, Mutex, PoisonError};

use e2esm_adapter::{Answer, Call, Device, DeviceId, Error, Event, Fact, FactKind, PacketKind};

use crate::Rogue;
use crate::device::Flaw;

/// Never asks about these kinds of fact.
struct NeverAsks(&'static [FactKind]);

impl Flaw for NeverAsks {
    fn start(&mut self, inner: &mut dyn Device) {
        let kinds = self.0;
        inner.notebook().never_ask(Box::new(move |fact: &Fact| kinds.contains(&fact.kind()).then_some(true)));
    }
}

/// Takes an addition on its label: one that is said to be its own, or one that is said to be another's.
struct TrustsLabel {
    own: bool,
    /// Who this device is, once it has made a packet.
    me: Arc<Mutex<Option<DeviceId>>>,
}

impl TrustsLabel {
    fn of(own: bool) -> Self {
        Self { own, me: Arc::default() }
    }
}

impl Flaw for TrustsLabel {
    fn start(&mut self, inner: &mut dyn Device) {
        let (own, me) = (self.own, self.me.clone());
        inner.notebook().never_ask(Box::new(move |fact: &Fact| match fact {
            Fact::Add { by, .. } => {
                let me = me.lock().unwrap_or_else(PoisonError::into_inner);
                ((me.as_ref() == Some(by)) == own).then_some(true)
            }
            _ => None,
        }));
    }

    fn call(&mut self, inner: &mut dyn Device, call: &Call) -> Result<Answer, Error> {
        let answer = inner.call(call);
        if let Ok(Answer::Output(output)) = &answer
            && let Some(packet) = output.packets.first()
        {
            *self.me.lock().unwrap_or_else(PoisonError::into_inner) = Some(packet.from.clone());
        }
        answer
    }
}

/// Takes sender keys from anybody: who sent a key distribution is not looked at.
struct UnauthenticatedKeys {
    receiving_key: std::sync::Arc<std::sync::atomic::AtomicBool>,
}

impl Flaw for UnauthenticatedKeys {
    fn start(&mut self, inner: &mut dyn Device) {
        let receiving_key = self.receiving_key.clone();
        inner.notebook().never_ask(Box::new(move |fact: &Fact| {
            let receiving = receiving_key.load(std::sync::atomic::Ordering::Relaxed);
            (receiving && fact.kind() == FactKind::Identity).then_some(true)
        }));
    }

    fn call(&mut self, inner: &mut dyn Device, call: &Call) -> Result<Answer, Error> {
        let receiving = matches!(call, Call::Receive { packet } if packet.kind == PacketKind::KeyDistribution);
        self.receiving_key.store(receiving, std::sync::atomic::Ordering::Relaxed);
        inner.call(call)
    }
}

/// Re-sends to a changed key without asking, and without telling.
struct SilentReencrypt;

impl Flaw for SilentReencrypt {
    fn start(&mut self, inner: &mut dyn Device) {
        inner.notebook().never_ask(Box::new(|fact: &Fact| match fact {
            Fact::Resend { .. } | Fact::Identity { previous: Some(_), .. } => Some(true),
            _ => None,
        }));
    }

    fn call(&mut self, inner: &mut dyn Device, call: &Call) -> Result<Answer, Error> {
        let answer = inner.call(call);
        crate::events::keep(inner, |event| !matches!(event, Event::KeyChanged { .. }));
        answer
    }
}

pub(crate) const ROGUES: &[Rogue] = &[
    Rogue {
        name: "ghost-member",
        base: "vodozemac",
        what: "takes a new member on the server's word",
        precedent: "GCHQ's ghost proposal (2018); Rösler, Mainka, Schwenk: More is Less (2018); Matrix (2022)",
        sound: false,
        caught_by: &["participation/ghost-server-inject"],
        only: &[],
        make: || Box::new(NeverAsks(&[FactKind::Add])),
    },
    Rogue {
        name: "trusts-own-label",
        base: "vodozemac",
        what: "takes an addition that is labelled as its own, whether it made one or not",
        precedent: "class: an echo of one's own change, known by its label alone",
        sound: false,
        caught_by: &["participation/ghost-server-inject"],
        only: &[],
        make: || Box::new(TrustsLabel::of(true)),
    },
    Rogue {
        name: "trusts-others-labels",
        base: "vodozemac",
        what: "takes an addition that is labelled as another member's",
        precedent: "Rösler, Mainka, Schwenk: More is Less (2018): unauthenticated group management",
        sound: false,
        caught_by: &["participation/ghost-server-inject"],
        only: &[],
        make: || Box::new(TrustsLabel::of(false)),
    },
    Rogue {
        name: "ghost-joiner",
        base: "openmls-rustcrypto",
        what: "takes whoever joins or is added, without asking its application",
        precedent: "RFC 9750, section 6.4: who may join is for the application's access control",
        sound: false,
        caught_by: &["participation/external-join-leaked-info"],
        only: &[],
        make: || Box::new(NeverAsks(&[FactKind::Add])),
    },
    Rogue {
        name: "silent-reencrypt",
        base: "vodozemac",
        what: "re-sends to a changed key without asking or telling",
        precedent: "WhatsApp's re-encryption (2017)",
        sound: false,
        caught_by: &["integrity/reencrypt-undelivered", "integrity/key-change-notice-first"],
        only: &[],
        make: || Box::new(SilentReencrypt),
    },
    Rogue {
        name: "unsigned-sender",
        base: "vodozemac",
        what: "believes the sender's label, whoever's session it is",
        precedent: "CVE-2025-48937 (matrix-sdk-crypto)",
        sound: false,
        caught_by: &["authentication/insider-forges-sender"],
        only: &[],
        make: || Box::new(NeverAsks(&[FactKind::Sender])),
    },
    Rogue {
        name: "unauthenticated-keys",
        base: "vodozemac",
        what: "takes a sender key from anybody",
        precedent: "CVE-2022-39251 (matrix-js-sdk)",
        sound: false,
        caught_by: &["authentication/forged-key-distribution"],
        only: &[],
        make: || Box::new(UnauthenticatedKeys { receiving_key: Default::default() }),
    },
    Rogue {
        name: "trusts-any-key",
        base: "vodozemac",
        what: "never asks whose key it is (pairwise protocols)",
        precedent: "class: missing authentication of identity keys; the message of 2021 calls it what rules out ghost users",
        sound: false,
        caught_by: &[
            "authentication/swap-first-contact",
            "authentication/swap-after-verify",
            "participation/provider-swap",
        ],
        only: &[],
        make: || Box::new(NeverAsks(&[FactKind::Identity])),
    },
    Rogue {
        name: "trusts-any-credential",
        base: "openmls-rustcrypto",
        what: "never asks whether a credential is its owner's (MLS)",
        precedent: "class: credentials not validated, which RFC 9420, section 5.3.1 leaves to the application",
        sound: false,
        caught_by: &["authentication/swap-first-contact", "authentication/credential-mismatch"],
        only: &[],
        make: || Box::new(NeverAsks(&[FactKind::Identity])),
    },
    Rogue {
        name: "unsigned-device",
        base: "vodozemac",
        what: "takes any device that the server lists or a member names",
        precedent: "class: device lists without the owner's signature; Matrix before cross-signing",
        sound: false,
        caught_by: &["device-addition/server-unsigned", "device-addition/wrong-signer"],
        only: &[],
        make: || Box::new(NeverAsks(&[FactKind::ListedDevice, FactKind::Identity, FactKind::Add])),
    },
    Rogue {
        name: "unsigned-device-mls",
        base: "openmls-rustcrypto",
        what: "takes any leaf that bears a member's name",
        precedent: "class: a leaf's identity not bound to its user's account",
        sound: false,
        caught_by: &["device-addition/added-by-peer", "device-addition/wrong-signer"],
        only: &[],
        make: || Box::new(NeverAsks(&[FactKind::ListedDevice, FactKind::Identity, FactKind::Add])),
    },
    Rogue {
        name: "obeys-any-removal",
        base: "vodozemac",
        what: "removes whom it is told to, whoever says so",
        precedent: "Rösler, Mainka, Schwenk: More is Less (2018): unauthenticated group management",
        sound: false,
        caught_by: &["removal/forged-by-server", "removal/by-non-admin"],
        only: &[],
        make: || Box::new(NeverAsks(&[FactKind::Remove])),
    },
    Rogue {
        name: "no-rekey",
        base: "vodozemac",
        what: "goes on with the key that a removed member holds",
        precedent: "class: removal without new keys",
        sound: false,
        caught_by: &["removal/cannot-read-next", "removal/withheld-from-target"],
        only: &[],
        make: || Box::new(NeverAsks(&[FactKind::StaleKey])),
    },
    Rogue {
        name: "accepts-removed",
        base: "vodozemac",
        what: "takes messages from removed members",
        precedent: "class: sender not checked against the roster",
        sound: false,
        caught_by: &["removal/cannot-send"],
        only: &[],
        make: || Box::new(NeverAsks(&[FactKind::NonMemberSender])),
    },
    Rogue {
        name: "hidden-recipients",
        base: "vodozemac",
        what: "takes messages without knowing to whom else they went",
        precedent: "class: no agreement on the roster; Rösler, Mainka, Schwenk (2018)",
        sound: false,
        caught_by: &["participation/ghost-hidden", "participation/split-view"],
        only: &[],
        make: || Box::new(NeverAsks(&[FactKind::Recipients])),
    },
    Rogue {
        name: "unsigned-prekeys",
        base: "vodozemac",
        what: "takes a prekey whose signature does not hold",
        precedent: "class: prekey signature not checked",
        sound: false,
        caught_by: &["authentication/prekey-bad-signature"],
        only: &[],
        make: || Box::new(NeverAsks(&[FactKind::UnsignedPrekey])),
    },
    Rogue {
        name: "answers-key-requests",
        base: "vodozemac",
        what: "gives message keys to any device that asks",
        precedent: "Albrecht, Celi, Dowling, Jones: Practically-exploitable Cryptographic Vulnerabilities in Matrix (2022)",
        sound: false,
        caught_by: &["integrity/key-request-unverified"],
        only: &[],
        make: || Box::new(NeverAsks(&[FactKind::KeyRequest, FactKind::Identity])),
    },
];
