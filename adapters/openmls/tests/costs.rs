//! The meter counts what the library does, and the library does what RFC 9420 costs.
//!
//! Public-key operations of a group of n that everybody was added to in one commit without a path, so that whoever commits
//! next encrypts to each of the n - 1 others: the resolutions of the copath sum up to that.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::{Mutex, PoisonError};

use common::{only, phone, with_both};
use e2esm_adapter::meter::{self, Metering, Reading};
use e2esm_adapter::{Adapter, Change, Device, DeviceId, GroupId, Packet, Primitive};

use Primitive::{AeadOpen, AeadSeal, Export, Hash, KemKey, Open, Seal, Sign, SignatureKey, Verify};

/// There is one meter for the process.
static ALONE: Mutex<()> = Mutex::new(());

/// What `work` calls: public-key operations, and the AEAD.
fn counted<T>(work: impl FnOnce() -> T) -> (T, Vec<(Primitive, u64)>) {
    meter::start(Metering::Count);
    let done = work();
    let Reading { calls, .. } = meter::stop();
    let told = [Sign, Verify, SignatureKey, Seal, Open, Export, KemKey, AeadSeal, AeadOpen];
    (done, calls.into_iter().filter(|(primitive, _)| told.contains(primitive)).collect())
}

fn member(index: usize) -> DeviceId {
    phone(&format!("member{index:03}"))
}

/// A group of `size`, in the order of its leaves.
struct Flat {
    group: GroupId,
    devices: Vec<Box<dyn Device>>,
}

impl Flat {
    fn new(adapter: &dyn Adapter, size: usize) -> Self {
        let mut devices: Vec<_> = (0..size).map(|index| adapter.device(&member(index)).unwrap()).collect();
        let group = GroupId("friends".to_owned());
        devices[0].create_group(&group).unwrap();
        let add = devices[1..].iter_mut().map(|device| device.publish(&member(0)).unwrap()).collect();
        let packets = devices[0].change(&group, &Change { add, ..Change::default() }).unwrap().packets;
        devices[0].receive(&packets[0]).unwrap();
        for device in &mut devices[1..] {
            device.receive(&packets[1]).unwrap();
        }
        Self { group, devices }
    }

    fn refresh(&mut self) -> Packet {
        only(self.devices[0].change(&self.group, &Change { refresh: true, ..Change::default() }).unwrap().packets)
    }
}

#[test]
fn the_public_key_operations_are_those_of_the_cost_model() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    with_both(|adapter| {
        assert!(adapter.metered());
        let (mut alice, calls) = counted(|| adapter.device(&member(0)).unwrap());
        assert_eq!(calls, [(SignatureKey, 1)]);
        let group = GroupId("friends".to_owned());
        let (_, calls) = counted(|| alice.create_group(&group).unwrap());
        assert_eq!(calls, [(Sign, 1), (KemKey, 1)]);

        const ADDED: u64 = 16;
        let mut others: Vec<_> = (1..=16).map(|index| adapter.device(&member(index)).unwrap()).collect();
        let (add, calls) =
            counted(|| others.iter_mut().map(|device| device.publish(&member(0)).unwrap()).collect::<Vec<_>>());
        assert_eq!(calls, [(Sign, 2 * ADDED), (KemKey, 2 * ADDED)], "init key and leaf key; key package and leaf");

        // For each one added the Welcome is sealed, and key package and leaf are verified. The commit and the GroupInfo
        // are signed. The AEAD closes the commit, its sender data and the GroupInfo.
        let (packets, calls) = counted(|| alice.change(&group, &Change { add, ..Change::default() }).unwrap().packets);
        assert_eq!(calls, [(Sign, 2), (Verify, 2 * ADDED), (Seal, ADDED), (AeadSeal, 3)]);
        let (_, calls) = counted(|| alice.receive(&packets[0]).unwrap());
        assert_eq!(calls, []);

        // Every leaf, and the GroupInfo.
        for device in &mut others {
            let (_, calls) = counted(|| device.receive(&packets[1]).unwrap());
            assert_eq!(calls, [(Verify, ADDED + 2), (Open, 1), (AeadOpen, 1)]);
        }

        // The leaf and the commit are signed; the leaf's key, and one for each of the five nodes above it.
        let (packet, calls) =
            counted(|| only(alice.change(&group, &Change { refresh: true, ..Change::default() }).unwrap().packets));
        assert_eq!(calls, [(Sign, 2), (Seal, ADDED), (KemKey, 6), (AeadSeal, 2)]);
        // Whoever processes it derives the keys from the lowest common node upwards.
        for (index, shared) in [(1, 5), (2, 4), (4, 3), (8, 2), (16, 1)] {
            let (_, calls) = counted(|| others[index - 1].receive(&packet).unwrap());
            assert_eq!(calls, [(Verify, 2), (Open, 1), (KemKey, shared), (AeadOpen, 2)], "leaf {index}");
        }
        alice.receive(&packet).unwrap();

        let (packet, calls) = counted(|| only(alice.send(&group, b"hello").unwrap().packets));
        assert_eq!(calls, [(Sign, 1), (AeadSeal, 2)]);
        let (_, calls) = counted(|| others[0].receive(&packet).unwrap());
        assert_eq!(calls, [(Verify, 1), (AeadOpen, 2)]);

        // The external key pair; then the same checks as with a Welcome, the external init secret, and a new leaf and path.
        let (info, calls) = counted(|| alice.group_info(&group).unwrap());
        assert_eq!(calls, [(Sign, 1), (KemKey, 1)]);
        let mut erin = adapter.device(&phone("erin")).unwrap();
        let (_, calls) = counted(|| erin.external_join(info.as_ref()).unwrap());
        let [sign, verify, seal, export, kem_key] = calls[..] else { panic!("{calls:?}") };
        assert_eq!((sign, verify, export), ((Sign, 2), (Verify, ADDED + 2), (Export, 1)));
        assert!(seal.0 == Seal && kem_key.0 == KemKey && seal.1 < ADDED, "{calls:?}");
    });
}

#[test]
fn the_meter_sees_the_symmetric_work_too_and_changes_nothing() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    with_both(|adapter| {
        let mut flat = Flat::new(adapter, 3);
        meter::start(Metering::Time);
        let packet = flat.refresh();
        let reading = meter::stop();
        for primitive in [Hash, Primitive::Mac, Primitive::Kdf] {
            assert!(reading.calls.contains_key(&primitive), "{reading:?}");
        }
        assert!(reading.nanoseconds > 0);
        flat.devices[2].receive(&packet).unwrap();
        assert_eq!(meter::stop(), reading, "it has been off since");
    });
}

#[test]
fn a_self_update_costs_35_bytes_a_node_and_82_a_member() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    with_both(|adapter| {
        // Leaf 0's copath is a leaf, the leaf next to that, and so on, until every member is below one of its nodes.
        let sizes = [(2, 1), (3, 2), (5, 3), (9, 4), (17, 5), (33, 6)].map(|(size, path)| {
            let bytes = Flat::new(adapter, size).refresh().bytes.0.len();
            bytes - 35 * path - 82 * (size - 1)
        });
        assert_eq!(sizes, [sizes[0]; 6], "what is left is the same in every group");
    });
}
