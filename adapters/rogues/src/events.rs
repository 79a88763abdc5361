//! Implementations that do as they should and do not tell.

use e2esm_adapter::{Answer, Call, Device, Error, Event, Fact};

use crate::Rogue;
use crate::device::Flaw;

/// Drops the events of the last call that `wanted` does not want.
pub(crate) fn keep(inner: &mut dyn Device, wanted: impl Fn(&Event) -> bool) {
    let notebook = inner.notebook().clone();
    for event in notebook.take_events() {
        if wanted(&event) {
            notebook.note(event);
        }
    }
}

/// Adds members, and tells nobody.
struct SilentAddition;

impl Flaw for SilentAddition {
    fn start(&mut self, inner: &mut dyn Device) {
        inner.notebook().never_ask(Box::new(|fact: &Fact| matches!(fact, Fact::Add { .. }).then_some(true)));
    }

    fn call(&mut self, inner: &mut dyn Device, call: &Call) -> Result<Answer, Error> {
        let answer = inner.call(call);
        keep(inner, |event| !matches!(event, Event::MemberAdded { .. }));
        answer
    }
}

pub(crate) const ROGUES: &[Rogue] = &[Rogue {
    name: "silent-addition",
    base: "openmls-rustcrypto",
    what: "shows nobody that a device was added",
    precedent: "class: no notice of a new device to its owner",
    sound: false,
    caught_by: &["device-addition/owner-notified"],
    only: &[],
    make: || Box::new(SilentAddition),
}];
