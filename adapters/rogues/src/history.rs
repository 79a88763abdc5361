//! An implementation that gives newcomers what was said before they came.

use e2esm_adapter::{Answer, Call, Device, DeviceId, Error, Event, Fact, GroupId, PacketKind};

use crate::Rogue;
use crate::device::Flaw;

/// Hands the keys of earlier messages to everybody whom it adds.
#[derive(Default)]
struct SharesHistory;

impl Flaw for SharesHistory {
    fn start(&mut self, inner: &mut dyn Device) {
        inner.notebook().never_ask(Box::new(|fact: &Fact| matches!(fact, Fact::History { .. }).then_some(true)));
    }

    fn call(&mut self, inner: &mut dyn Device, call: &Call) -> Result<Answer, Error> {
        let answer = inner.call(call)?;
        let (Call::Receive { packet }, Answer::Output(output)) = (call, &answer) else { return Ok(answer) };
        if packet.kind != PacketKind::Change {
            return Ok(answer);
        }
        let mut output = output.clone();
        for newcomer in added(inner, &packet.group) {
            // With whom there is no session yet (somebody else added it) there is nothing to share over.
            if let Ok(shared) = inner.share_history(&packet.group, &newcomer) {
                output.packets.extend(shared.packets);
            }
        }
        Ok(Answer::Output(output))
    }
}

/// Whom the last call added to the group.
fn added(inner: &mut dyn Device, group: &GroupId) -> Vec<DeviceId> {
    let notebook = inner.notebook().clone();
    let events = notebook.take_events();
    let mut found = Vec::new();
    for event in events {
        if let Event::MemberAdded { group: place, device, .. } = &event
            && place == group
        {
            found.push(device.clone());
        }
        notebook.note(event);
    }
    found
}

pub(crate) const ROGUES: &[Rogue] = &[Rogue {
    name: "shares-history",
    base: "vodozemac",
    what: "gives newcomers the keys of earlier messages",
    precedent: "MSC4268, done without asking; class: the first key distribution sent again to a newcomer",
    sound: false,
    caught_by: &["integrity/no-history", "integrity/automatic-history", "device-addition/no-history"],
    only: &[],
    make: || Box::new(SharesHistory),
}];
