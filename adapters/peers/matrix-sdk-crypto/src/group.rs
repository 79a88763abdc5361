//! One room as one device sees it: who is in it, as the homeserver says, and who was sent the present room key.

use std::collections::BTreeSet;

use e2esm_adapter::{Bytes, DeviceId};
use ruma::{OwnedDeviceId, OwnedUserId};
use serde::{Deserialize, Serialize};

use crate::client::Outgoing;

/// A change of this device's own that the homeserver has not delivered back yet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Pending {
    /// The packet's bytes: how it is recognised.
    pub(crate) bytes: Bytes,
    /// Whether a new room key is due once it is in force.
    pub(crate) refresh: bool,
}

/// A room.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Group {
    pub(crate) roster: BTreeSet<DeviceId>,
    pub(crate) pending: Option<Pending>,
    /// The session of the present room key.
    session: String,
    /// The Matrix devices to which it has gone.
    given: BTreeSet<(OwnedUserId, OwnedDeviceId)>,
    /// Room events that could not be decrypted for want of a key: who sent them, and their content.
    #[serde(skip)]
    pub(crate) unread: Vec<(DeviceId, serde_json::Value)>,
}

impl Group {
    pub(crate) fn new(roster: BTreeSet<DeviceId>) -> Self {
        Self { roster, ..Self::default() }
    }

    /// A message went out under this session, after its key went to these.
    pub(crate) fn sent(&mut self, session: &str, to: &[Outgoing]) {
        if self.session != session {
            self.session = session.to_owned();
            self.given.clear();
        }
        self.given.extend(to.iter().map(|message| (message.user.clone(), message.device.clone())));
    }

    /// Whether the present room key has gone to a Matrix device.
    pub(crate) fn has_key(&self, user: OwnedUserId, device: OwnedDeviceId) -> bool {
        self.given.contains(&(user, device))
    }
}
