//! Groups for benches: prepared outside the timer, by an honest server in memory.

use e2esm_adapter::{Adapter, Call, DeviceId, Error, GroupId};
use e2esm_testing::{Net, readers};

/// A prepared group.
pub struct Prepared {
    /// Its devices and their server.
    pub net: Net,
    /// The group.
    pub group: GroupId,
    /// Its members; the first created it.
    pub members: Vec<DeviceId>,
}

/// The devices of a group of `size`.
pub fn members(size: usize) -> Vec<DeviceId> {
    (0..size).map(|number| DeviceId::new(&format!("user{number}"), "phone")).collect()
}

/// A group of `size` in the tree state `flat`: one creator who added everybody in one change.
///
/// # Errors
/// The adapter's.
pub fn flat(adapter: &dyn Adapter, size: usize) -> Result<Prepared, Error> {
    let members = members(size);
    let group = GroupId("bench".to_owned());
    let mut net = Net::new(adapter, &members)?;
    net.group(&group, &members[0], &members[1..])?;
    Ok(Prepared { net, group, members })
}

impl Prepared {
    /// A message by the creator, read by everybody else: a timing counts only for a right answer.
    ///
    /// # Errors
    /// `Internal` if somebody could not read it.
    pub fn check(&mut self) -> Result<(), Error> {
        let deliveries = self.net.send(&self.members[0], &self.group, "check")?;
        let read = readers(&deliveries, "check").len();
        if read + 1 == self.members.len() {
            Ok(())
        } else {
            Err(Error::internal(format!("{read} of {} members read the check", self.members.len() - 1)))
        }
    }

    /// One call to the creator.
    ///
    /// # Errors
    /// The device's.
    pub fn call_creator(&mut self, call: &Call) -> Result<(), Error> {
        self.net.device(&self.members[0])?.call(call).map(drop)
    }
}
