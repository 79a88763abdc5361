//! An adapter's skeleton: it runs, and honestly says `unsupported` to everything that it does not do yet.
//!
//! Write the methods of `Device` over your library; those that are not written are `unsupported` by themselves, and the
//! description has to say so with a reason. `adapters/README.md` of the suite is the guide, and
//! `adapters/api/examples/minimal.rs` a small adapter that is whole.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufReader, stdin, stdout};
use std::sync::atomic::{AtomicU64, Ordering};

use e2esm_adapter::{
    Adapter, Bundle, Bytes, Capability, Change, Description, Device, DeviceId, Error, GroupId, Identity, Notebook,
    Output, Packet, Roster, serve_stdio,
};

/// Why a capability is missing; `None` for one that is there.
fn missing(capability: Capability) -> Option<&'static str> {
    match capability {
        Capability::Groups => Some("not written yet: create_group, change, wants, send and receive come first"),
        // No method stands for these: once there are groups, `None` for what your protocol has, and the reason for the rest.
        Capability::ThirdMember => Some("not written yet: a group has two members at most"),
        Capability::Epochs => Some("not written yet: members do not agree on a numbered group state"),
        Capability::KeyDistribution => Some("not written yet: no sender keys travel in packets of their own"),
        _ => Some("not written yet"),
    }
}

struct MyAdapter {
    /// How many devices there have been.
    devices: AtomicU64,
}

impl Adapter for MyAdapter {
    fn describe(&self) -> Description {
        Description {
            // Unique: at most 64 of a-z, 0-9, -, _ and ., not beginning with a full stop.
            name: "my-adapter".to_owned(),
            implementation: "my library".to_owned(),
            // Of the library, exactly.
            version: "0.0.0".to_owned(),
            protocol: "none yet".to_owned(),
            cipher_suite: "none yet".to_owned(),
            crypto_provider: "none yet".to_owned(),
            // Each setting that bears on an outcome, name to value.
            configuration: BTreeMap::new(),
            // Whether the library itself has groups.
            group_object: false,
            recorded: BTreeSet::new(),
            unsupported: Capability::ALL
                .into_iter()
                .filter_map(|capability| Some((capability, missing(capability)?.to_owned())))
                .collect(),
        }
    }

    fn device(&self, _id: &DeviceId) -> Result<Box<dyn Device>, Error> {
        // Your library's key pair goes here; until then devices differ by a number.
        let number = self.devices.fetch_add(1, Ordering::Relaxed);
        let key = Bytes(number.to_be_bytes().to_vec());
        Ok(Box::new(MyDevice { notebook: Notebook::new(), key, groups: BTreeMap::new() }))
    }
}

/// One user's one client. Nothing is shared between devices.
struct MyDevice {
    notebook: Notebook,
    key: Bytes,
    groups: BTreeMap<GroupId, BTreeSet<DeviceId>>,
}

impl Device for MyDevice {
    fn notebook(&self) -> &Notebook {
        &self.notebook
    }

    /// With one key only, account key and device key are equal and the voucher is empty.
    fn identity(&mut self) -> Result<Identity, Error> {
        Ok(Identity { account_key: self.key.clone(), device_key: self.key.clone(), voucher: Bytes::default() })
    }

    fn roster(&mut self, group: &GroupId) -> Result<Roster, Error> {
        let members = self.groups.get(group).ok_or_else(|| Error::bad_request(format!("no group {}", group.0)))?;
        Ok(Roster { members: members.iter().cloned().collect(), authenticated: false })
    }

    fn publish(&mut self, _peer: &DeviceId) -> Result<Bundle, Error> {
        Err(Error::unsupported("publish"))
    }

    fn create_group(&mut self, _group: &GroupId) -> Result<Output, Error> {
        Err(Error::unsupported("create_group"))
    }

    fn change(&mut self, _group: &GroupId, _change: &Change) -> Result<Output, Error> {
        Err(Error::unsupported("change"))
    }

    fn send(&mut self, _group: &GroupId, _plaintext: &[u8]) -> Result<Output, Error> {
        Err(Error::unsupported("send"))
    }

    fn receive(&mut self, _packet: &Packet) -> Result<Output, Error> {
        Err(Error::unsupported("receive"))
    }
}

fn main() -> std::io::Result<()> {
    serve_stdio(&MyAdapter { devices: AtomicU64::new(1) }, BufReader::new(stdin().lock()), stdout().lock())
}
