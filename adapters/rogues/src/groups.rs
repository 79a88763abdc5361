//! Implementations whose idea of the group is wrong.

use std::collections::{BTreeMap, BTreeSet};

use e2esm_adapter::{Address, Answer, Call, Change, Device, DeviceId, Error, GroupId, Output, PacketKind};

use crate::Rogue;
use crate::device::Flaw;

/// Shows the members that were there when this device came, and hides whoever came later.
#[derive(Default)]
struct HiddenGhost {
    first_seen: BTreeMap<GroupId, BTreeSet<DeviceId>>,
}

impl Flaw for HiddenGhost {
    fn call(&mut self, inner: &mut dyn Device, call: &Call) -> Result<Answer, Error> {
        if let Call::Roster { group } = call {
            let mut roster = inner.roster(group)?;
            if let Some(first_seen) = self.first_seen.get(group) {
                roster.members.retain(|member| first_seen.contains(member));
            }
            return Ok(Answer::Roster(roster));
        }
        let answer = inner.call(call);
        if let Call::Receive { packet } = call
            && !self.first_seen.contains_key(&packet.group)
            && let Ok(roster) = inner.roster(&packet.group)
            && roster.members.len() > 1
        {
            self.first_seen.insert(packet.group.clone(), roster.members.into_iter().collect());
        }
        answer
    }
}

/// While a change of its own is under way, passes over everybody else's.
#[derive(Default)]
struct ForksOnRace {
    pending: BTreeSet<Vec<u8>>,
}

impl Flaw for ForksOnRace {
    fn call(&mut self, inner: &mut dyn Device, call: &Call) -> Result<Answer, Error> {
        match call {
            Call::Receive { packet } if packet.kind == PacketKind::Change => {
                let own = self.pending.remove(&packet.bytes.0);
                if own || self.pending.is_empty() { inner.call(call) } else { Ok(Answer::Output(Output::default())) }
            }
            Call::Change { .. } => {
                let answer = inner.call(call)?;
                if let Answer::Output(output) = &answer {
                    let changes = output
                        .packets
                        .iter()
                        .filter(|packet| packet.kind == PacketKind::Change && matches!(packet.to, Address::Group(_)));
                    self.pending.extend(changes.map(|packet| packet.bytes.0.clone()));
                }
                Ok(answer)
            }
            call => inner.call(call),
        }
    }
}

/// Takes a removed member off the roster that it shows, and leaves it in the group.
#[derive(Default)]
struct RemovesInNameOnly {
    removed: BTreeMap<GroupId, BTreeSet<DeviceId>>,
}

impl Flaw for RemovesInNameOnly {
    fn call(&mut self, inner: &mut dyn Device, call: &Call) -> Result<Answer, Error> {
        match call {
            Call::Change { group, change } if !change.remove.is_empty() => {
                self.removed.entry(group.clone()).or_default().extend(change.remove.iter().cloned());
                let change = Change { add: change.add.clone(), remove: Vec::new(), refresh: true };
                Ok(Answer::Output(inner.change(group, &change)?))
            }
            Call::Roster { group } => {
                let mut roster = inner.roster(group)?;
                let removed = self.removed.get(group);
                roster.members.retain(|member| removed.is_none_or(|removed| !removed.contains(member)));
                Ok(Answer::Roster(roster))
            }
            call => inner.call(call),
        }
    }
}

pub(crate) const ROGUES: &[Rogue] = &[
    Rogue {
        name: "hidden-ghost",
        base: "vodozemac",
        what: "its roster hides who came later, and they are sent everything",
        precedent: "GCHQ's ghost proposal (2018)",
        sound: false,
        caught_by: &["participation/ghost-hidden", "participation/roster-agreement"],
        only: &[],
        make: || Box::new(HiddenGhost::default()),
    },
    Rogue {
        name: "removes-in-name-only",
        base: "openmls-rustcrypto",
        what: "takes a removed member off the list that it shows, and leaves it in the group",
        precedent: "class: removal in the interface and not in the cryptography",
        sound: false,
        caught_by: &["removal/cannot-read-next", "removal/own-device"],
        only: &[],
        make: || Box::new(RemovesInNameOnly::default()),
    },
    Rogue {
        name: "forks-on-race",
        base: "openmls-rustcrypto",
        what: "passes over another member's change while its own is under way",
        precedent: "class: RFC 9420, section 14: one commit per epoch not agreed on",
        sound: false,
        caught_by: &["removal/concurrent"],
        only: &[],
        make: || Box::new(ForksOnRace::default()),
    },
];
