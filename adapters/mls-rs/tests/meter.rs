//! What mls-rs asks of its crypto provider, call by call, beside what the protocol needs. One test, because the meter is
//! the whole process's.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::*;
use e2esm_adapter::{Adapter, Change, DeviceId, Metering, Primitive, meter};
use e2esm_testing::Net;

/// Public-key operations of what `work` does: the hashes and key derivations beside them are left out.
fn counted<T>(work: impl FnOnce() -> T) -> (T, BTreeMap<Primitive, u64>) {
    use Primitive::{Export, KemKey, Open, Seal, Sign, SignatureKey, Verify};

    meter::start(Metering::Count);
    let result = work();
    let mut calls = meter::stop().calls;
    calls.retain(|primitive, _| matches!(primitive, Sign | Verify | SignatureKey | Seal | Open | Export | KemKey));
    (result, calls)
}

/// The length of a self-update's commit by a member in the middle of a group that was made in one commit without a path,
/// where every count is checked on the way. Only the creator and two others live on.
fn self_update_in_a_flat_group(adapter: &dyn Adapter, members: u64) -> usize {
    let devices: Vec<DeviceId> = (0..members).map(|n| id(&format!("user{n:02}"))).collect();
    let (creator, author, last) = (&devices[0], &devices[devices.len() / 2], &devices[devices.len() - 1]);
    let mut net = Net::new(adapter, &devices).unwrap();
    net.device(creator).unwrap().create_group(&team()).unwrap();
    let add: Vec<_> = devices[1..].iter().map(|device| net.claim(device, creator).unwrap()).collect();

    // The commit and the GroupInfo are signed; a key package bears two signatures.
    let (created, calls) = counted(|| change_by(&mut net, creator, Change { add, ..Change::default() }));
    let added = members - 1;
    let expected = [(Primitive::Sign, 2), (Primitive::Verify, 2 * added), (Primitive::Seal, added)];
    assert_eq!(calls, expected.into(), "creating {members}");
    let (_, calls) = counted(|| receive(&mut net, creator, &created.packets[0]).unwrap());
    assert_eq!(calls, [].into(), "one's own commit is applied");
    let expected = BTreeMap::from([(Primitive::Verify, members + 1), (Primitive::Open, 1)]);
    for joiner in BTreeSet::from([author, last]) {
        let (_, calls) = counted(|| receive(&mut net, joiner, &created.packets[1]).unwrap());
        assert_eq!(calls, expected, "joining {members}");
    }

    // The leaf and the commit are signed, and a GroupInfo for a Welcome to nobody.
    let (update, calls) = counted(|| only(change_by(&mut net, author, refresh())));
    let path = path_length(members);
    let expected = [(Primitive::Sign, 3), (Primitive::Seal, members - 1), (Primitive::KemKey, path + 1)];
    assert_eq!(calls, expected.into(), "updating {members}");
    let (_, calls) = counted(|| receive(&mut net, creator, &update).unwrap());
    // The keys from the first common ancestor of leaf 0 and the author's upwards.
    let derived = path - u64::from((members / 2).ilog2());
    let expected = [(Primitive::Verify, 2), (Primitive::Open, 1), (Primitive::KemKey, derived)];
    assert_eq!(calls, expected.into(), "processing in {members}");
    update.bytes.0.len()
}

/// In a group without holes every node on the way from a leaf to the root has members under its other child.
fn path_length(members: u64) -> u64 {
    u64::from(members.next_power_of_two().ilog2())
}

#[test]
fn calls_and_bytes_are_those_of_the_cost_model() {
    for adapter in e2esm_adapter_mls_rs::adapters() {
        assert!(adapter.metered());
        let constants = [2, 3, 9, 33].map(|members| {
            let length = self_update_in_a_flat_group(adapter.as_ref(), members);
            // A key on the path and the growth of its ciphertexts' list; the ciphertexts.
            length as u64 - 35 * path_length(members) - 82 * (members - 1)
        });
        assert!(constants.iter().all(|constant| *constant == constants[0]), "{constants:?}");
    }
}
