//! [`GroupAdapter`]: makes devices of a library's primitives.

use std::marker::PhantomData;

use e2esm_adapter::{Adapter, Capability, Description, Device, DeviceId, Error, Passive, Start};

use crate::device::GroupDevice;
use crate::primitives::Primitives;

/// What the protocols without a group object do not have, whatever the library.
const UNSUPPORTED: [(Capability, &str); 7] = [
    (
        Capability::Epochs,
        "membership is managed by the server: there is no group state to agree on, and nothing is numbered",
    ),
    (Capability::ExternalJoin, "there is no public group information with which a device could join by its own act"),
    (Capability::RatchetTree, "MLS only: there is no tree, and an invitation holds the list of members"),
    (Capability::UninvitedJoin, "there is no joining by one's own act, invited or not"),
    (Capability::WrongLeafSignature, "MLS only: there are no leaves"),
    (Capability::WrongParentHash, "MLS only: there is no tree"),
    (Capability::WrongConfirmationTag, "MLS only: there are no commits"),
];

fn describe<P: Primitives>() -> Description {
    let mut description = P::describe();
    description.unsupported.extend(UNSUPPORTED.map(|(capability, reason)| (capability, reason.to_owned())));
    description
}

/// Whether this library's devices have an operation.
///
/// # Errors
/// `Unsupported`, with the reason.
pub(crate) fn claims<P: Primitives>(capability: Capability) -> Result<(), Error> {
    match P::describe().unsupported.get(&capability) {
        Some(reason) => Err(unsupported(capability, reason)),
        None => Ok(()),
    }
}

/// The error of an operation that no library under the group management has.
pub(crate) fn never(capability: Capability) -> Error {
    let reason = UNSUPPORTED.iter().find(|(never, _)| *never == capability).map_or("", |(_, reason)| reason);
    unsupported(capability, reason)
}

fn unsupported(capability: Capability, reason: &str) -> Error {
    Error::unsupported(format!("{}: {reason}", capability.label()))
}

/// The adapter of a library without a group object.
pub struct GroupAdapter<P>(PhantomData<fn() -> P>);

impl<P: Primitives> GroupAdapter<P> {
    /// The one there is.
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<P: Primitives> Default for GroupAdapter<P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: Primitives> Adapter for GroupAdapter<P> {
    fn describe(&self) -> Description {
        describe::<P>()
    }

    fn device(&self, id: &DeviceId) -> Result<Box<dyn Device>, Error> {
        Ok(Box::new(GroupDevice::<P>::new(id)?))
    }

    fn restore(&self, id: &DeviceId, state: &[u8]) -> Result<Box<dyn Device>, Error> {
        claims::<P>(Capability::StateExport)?;
        Ok(Box::new(GroupDevice::<P>::restore(id, state)?))
    }

    fn passive(&self, start: &Start) -> Result<Box<dyn Passive>, Error> {
        P::passive(start)
    }

    fn load(&self, id: &DeviceId, store: &[u8]) -> Result<Box<dyn Device>, Error> {
        claims::<P>(Capability::Persistence)?;
        Ok(Box::new(GroupDevice::<P>::load(id, store)?))
    }
}
