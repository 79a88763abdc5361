//! The suite's names and Matrix's, in both directions.
//!
//! A Matrix server gives a device a new id at each login. So the id is the suite's name of the device and eight random
//! letters: a phone that is reinstalled under its old name is another device, as it is in Matrix.

use e2esm_adapter::{DeviceId, Error, GroupId, UserId};
use ruma::{OwnedDeviceId, OwnedRoomId, OwnedUserId};

/// There is one homeserver.
const SERVER: &str = "e2esm.test";

/// `alice` is `@alice:e2esm.test`.
pub(crate) fn user(user: &UserId) -> Result<OwnedUserId, Error> {
    OwnedUserId::try_from(format!("@{user}:{SERVER}"))
        .map_err(|error| Error::bad_request(format!("`{user}` is no Matrix user: {error}")))
}

/// The way back.
pub(crate) fn user_of(id: &ruma::UserId) -> UserId {
    UserId(id.localpart().to_owned())
}

/// A new Matrix id for a device of this name.
pub(crate) fn fresh_device(id: &DeviceId) -> OwnedDeviceId {
    format!("{}.{}", id.device, ruma::DeviceId::new()).into()
}

/// The device's name in its Matrix id.
pub(crate) fn device_name(id: &ruma::DeviceId) -> &str {
    id.as_str().rsplit_once('.').map_or(id.as_str(), |(name, _)| name)
}

/// Which of the suite's devices this is.
pub(crate) fn device_of(user: &ruma::UserId, id: &ruma::DeviceId) -> DeviceId {
    DeviceId { user: user_of(user), device: device_name(id).to_owned() }
}

/// The group `friends` is the room `!friends:e2esm.test`.
pub(crate) fn room(group: &GroupId) -> Result<OwnedRoomId, Error> {
    OwnedRoomId::try_from(format!("!{group}:{SERVER}"))
        .map_err(|error| Error::bad_request(format!("`{group}` is no Matrix room: {error}")))
}

/// The way back.
pub(crate) fn group_of(room: &ruma::RoomId) -> GroupId {
    let name = room.as_str().trim_start_matches('!');
    GroupId(name.strip_suffix(&format!(":{SERVER}")).unwrap_or(name).to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn names_survive_the_journey() {
        let phone = DeviceId::new("alice", "old.phone");
        let alice = user(&phone.user).unwrap();
        assert_eq!(device_of(&alice, &fresh_device(&phone)), phone);
        assert_ne!(fresh_device(&phone), fresh_device(&phone));
        for name in ["friends", "no such group", "a:b"] {
            let group = GroupId(name.to_owned());
            assert_eq!(group_of(&room(&group).unwrap()), group);
        }
    }
}
