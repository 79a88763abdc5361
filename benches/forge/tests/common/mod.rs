//! What the tests share: plans, and the libraries that judge them.
#![allow(dead_code, unreachable_pub)] // each test uses its part

use e2esm_adapter::{Adapter, Device, DeviceId, Error, GroupId};
use e2esm_forge::{Plan, State};

/// A plan for suite 0x0001.
pub fn plan(state: State, size: u32, holes: &[u32]) -> Plan {
    Plan { suite: 0x0001, state, size, holes: holes.to_vec(), seed: 42, group: GroupId("a forged group".to_owned()) }
}

/// Each library once, over RustCrypto.
pub fn libraries() -> [Box<dyn Adapter>; 2] {
    [e2esm_adapter_openmls::adapters(), e2esm_adapter_mls_rs::adapters()].map(|adapters| {
        adapters
            .into_iter()
            .find(|adapter| adapter.describe().name.ends_with("-rustcrypto"))
            .expect("one over RustCrypto")
    })
}

/// A device that writes nothing down.
pub fn device(adapter: &dyn Adapter, id: &DeviceId) -> Box<dyn Device> {
    let device = adapter.device(id).expect("a device can be made");
    device.notebook().mute();
    device
}

/// Lets a new device join.
pub fn join(adapter: &dyn Adapter, group_info: &[u8]) -> Result<Box<dyn Device>, Error> {
    let mut device = device(adapter, &DeviceId::new("alice", "phone"));
    device.external_join(group_info)?;
    Ok(device)
}
