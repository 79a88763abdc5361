//! The second oracle of the prepared states: a group in which every member is real and has done what the state's name
//! says. An update costs there what it costs in the prepared group: the same R, the same bytes, the same calls.
//!
//! One test at a time, because the meter is the whole process's.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use e2esm::bench::cache::Cache;
use e2esm::bench::cell::{Actor, Cell, GroupState, Operation, Setting, group, member};
use e2esm::bench::prepare::{change_of, device, reaches};
use e2esm::bench::stage::Stage;
use e2esm_adapter::{Adapter, Change, Device, Metering, PacketKind, Primitive, meter};
use e2esm_forge::Shape;

/// Everybody joins; then every member commits, from the left, and everybody follows.
fn simulate(adapter: &dyn Adapter, size: u32) -> Vec<Box<dyn Device>> {
    let mut members: Vec<_> = (0..size).map(|leaf| device(adapter, &member(leaf)).unwrap()).collect();
    members[0].create_group(&group()).unwrap();
    let add = (1..size).map(|leaf| members[leaf as usize].publish(&member(0)).unwrap()).collect();
    let packets = members[0].change(&group(), &Change { add, ..Change::default() }).unwrap().packets;
    members[0].receive(change_of(&packets).unwrap()).unwrap();
    for packet in packets.iter().filter(|packet| packet.kind != PacketKind::Change) {
        for leaf in (1..size).filter(|leaf| reaches(packet, &member(*leaf))) {
            members[leaf as usize].receive(packet).unwrap();
        }
    }
    for leaf in 0..size {
        let change = Change { refresh: true, ..Change::default() };
        let packets = members[leaf as usize].change(&group(), &change).unwrap().packets;
        for receiver in &mut members {
            receiver.receive(change_of(&packets).unwrap()).unwrap();
        }
    }
    members
}

/// Bytes and calls of an update by the first member, and what the tree says about it.
fn update(members: &mut [Box<dyn Device>]) -> (u64, BTreeMap<Primitive, u64>, Vec<usize>) {
    let shape = Shape::parse(members[0].ratchet_tree(&group()).unwrap().as_ref()).unwrap();
    meter::start(Metering::Count);
    let packets = members[0].change(&group(), &Change { refresh: true, ..Change::default() }).unwrap().packets;
    members[0].receive(change_of(&packets).unwrap()).unwrap();
    let calls = meter::stop().calls;
    (packets.iter().map(|packet| packet.bytes.0.len() as u64).sum(), calls, shape.copath_resolution(0, &[]).unwrap())
}

fn compare(sizes: &[u32]) {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::new(directory.path().to_owned(), u64::MAX);
    for adapter in e2esm::registry::built_in().iter().filter(|adapter| adapter.describe().group_object) {
        let name = adapter.describe().name;
        for size in sizes.iter().copied() {
            let (bytes, calls, resolutions) = update(&mut simulate(adapter.as_ref(), size));
            let setting = Setting { adapter: name.clone(), state: GroupState::Full, size, actor: Actor::First };
            let cell = Cell { operation: Operation::Update, setting, threads: 1 };
            let prepared = Stage::new(adapter.as_ref(), &cell, &cache).unwrap().sample(Metering::Count).unwrap();
            assert!(resolutions.iter().all(|size| *size == 1), "{name}, {size}: {resolutions:?}");
            assert_eq!(prepared.bytes_up, bytes, "{name}, {size}");
            assert_eq!(prepared.reading.calls, calls, "{name}, {size}");
        }
    }
}

#[test]
fn a_group_of_real_members_costs_what_the_prepared_one_does() {
    compare(&[3, 8, 9, 64]);
}

#[test]
#[ignore = "takes minutes: 512 members who all follow 512 commits"]
fn a_large_group_of_real_members_costs_what_the_prepared_one_does() {
    compare(&[512]);
}
