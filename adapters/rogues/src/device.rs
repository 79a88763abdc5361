//! The wrapper: an adapter whose devices let a [`Flaw`] look at each call first.

use std::collections::{BTreeMap, BTreeSet};

use e2esm_adapter::{
    Adapter, Answer, Bundle, Call, Capability, Change, Description, Device, DeviceId, Error, GroupId, Identity,
    Notebook, Output, Packet, Roster,
};

/// One flaw: what it does to a device's calls. It sees what the device sees, and nothing of the scenario.
pub trait Flaw: Send {
    /// The device has been made.
    fn start(&mut self, inner: &mut dyn Device) {
        let _ = inner;
    }

    /// A call. By default the sound device answers.
    ///
    /// # Errors
    /// Those of the device, or the flaw's own.
    fn call(&mut self, inner: &mut dyn Device, call: &Call) -> Result<Answer, Error> {
        inner.call(call)
    }

    /// What the implementation declares that it cannot do.
    fn unsupported(&self, honest: BTreeMap<Capability, String>) -> BTreeMap<Capability, String> {
        honest
    }
}

pub(crate) struct RogueAdapter {
    name: &'static str,
    base: Box<dyn Adapter>,
    make: fn() -> Box<dyn Flaw>,
}

impl RogueAdapter {
    pub(crate) fn new(name: &'static str, base: Box<dyn Adapter>, make: fn() -> Box<dyn Flaw>) -> Self {
        Self { name, base, make }
    }

    fn wrap(&self, mut inner: Box<dyn Device>) -> Box<dyn Device> {
        let mut flaw = (self.make)();
        flaw.start(inner.as_mut());
        Box::new(RogueDevice { inner, flaw })
    }
}

impl Adapter for RogueAdapter {
    fn describe(&self) -> Description {
        let honest = self.base.describe();
        Description {
            name: self.name.to_owned(),
            implementation: format!("{} with the flaw `{}`", honest.implementation, self.name),
            unsupported: (self.make)().unsupported(honest.unsupported),
            // What a passive device makes of bytes is `passive`'s: a flaw in what is sent or asked would not show.
            recorded: BTreeSet::new(),
            ..honest
        }
    }

    fn device(&self, id: &DeviceId) -> Result<Box<dyn Device>, Error> {
        Ok(self.wrap(self.base.device(id)?))
    }

    fn restore(&self, id: &DeviceId, state: &[u8]) -> Result<Box<dyn Device>, Error> {
        Ok(self.wrap(self.base.restore(id, state)?))
    }

    fn load(&self, id: &DeviceId, store: &[u8]) -> Result<Box<dyn Device>, Error> {
        Ok(self.wrap(self.base.load(id, store)?))
    }
}

struct RogueDevice {
    inner: Box<dyn Device>,
    flaw: Box<dyn Flaw>,
}

// Everything comes through `call`; the other methods are what the trait asks for, and are the sound device's.
impl Device for RogueDevice {
    fn notebook(&self) -> &Notebook {
        self.inner.notebook()
    }

    fn identity(&mut self) -> Result<Identity, Error> {
        self.inner.identity()
    }

    fn publish(&mut self, peer: &DeviceId) -> Result<Bundle, Error> {
        self.inner.publish(peer)
    }

    fn create_group(&mut self, group: &GroupId) -> Result<Output, Error> {
        self.inner.create_group(group)
    }

    fn change(&mut self, group: &GroupId, change: &Change) -> Result<Output, Error> {
        self.inner.change(group, change)
    }

    fn send(&mut self, group: &GroupId, plaintext: &[u8]) -> Result<Output, Error> {
        self.inner.send(group, plaintext)
    }

    fn receive(&mut self, packet: &Packet) -> Result<Output, Error> {
        self.inner.receive(packet)
    }

    fn roster(&mut self, group: &GroupId) -> Result<Roster, Error> {
        self.inner.roster(group)
    }

    fn call(&mut self, call: &Call) -> Result<Answer, Error> {
        self.flaw.call(self.inner.as_mut(), call)
    }
}
