//! Implementations whose idea of the group is wrong.

use std::collections::{BTreeMap, BTreeSet};

use e2esm_adapter::{Address, Answer, Call, Device, DeviceId, Error, GroupId, Output, PacketKind};

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

fn hidden_ghost() -> Box<dyn Flaw> {
    Box::new(HiddenGhost::default())
}

fn forks_on_race() -> Box<dyn Flaw> {
    Box::new(ForksOnRace::default())
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
        make: hidden_ghost,
    },
    Rogue {
        name: "forks-on-race",
        base: "openmls-rustcrypto",
        what: "passes over another member's change while its own is under way",
        precedent: "class: RFC 9420, section 14: one commit per epoch not agreed on",
        sound: false,
        caught_by: &["removal/concurrent"],
        only: &[],
        make: forks_on_race,
    },
];
