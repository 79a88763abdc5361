//! A large group with one live member besides its creator, measured. Ignored, because it takes minutes.
//!
//!     MEMBERS=10000 cargo test --release -p e2esm-adapter-mls-rs --test large -- --ignored --nocapture

#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant};

use common::*;
use e2esm_adapter::{Adapter, Bundle, Change, DeviceId, GroupId};

fn member(n: usize) -> DeviceId {
    id(&format!("user{n:06}"))
}

/// A bundle of each of these devices, which are gone afterwards.
fn bundles(adapter: &dyn Adapter, members: std::ops::Range<usize>) -> Vec<Bundle> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let members: Vec<usize> = members.collect();
    std::thread::scope(|scope| {
        let publish = |n: &usize| adapter.device(&member(*n)).unwrap().publish(&member(0)).unwrap();
        let parts: Vec<_> = members
            .chunks(members.len().div_ceil(threads).max(1))
            .map(|part| scope.spawn(move || part.iter().map(publish).collect::<Vec<_>>()))
            .collect();
        parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
    })
}

fn measured<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    let time: Duration = start.elapsed();
    println!("{what:<34} {time:>12.3?}");
    result
}

#[test]
#[ignore = "takes minutes and prints"]
fn a_large_group() {
    let members = std::env::var("MEMBERS").map_or(10_000, |members| members.parse().unwrap());
    each(|adapter| {
        println!("{}, {members} members", adapter.describe().name);
        let (mut alice, mut bob) = (adapter.device(&member(0)).unwrap(), adapter.device(&member(1)).unwrap());
        [&alice, &bob].iter().for_each(|device| device.notebook().mute());
        let others = measured("devices and bundles", || bundles(adapter, 2..members));

        // Each newcomer's part of a Welcome is sealed with all of the encrypted GroupInfo as context (RFC 9420, section
        // 12.4.3.1), so that with the tree in it this takes time that grows with the square of the group.
        let apart = GroupId("the tree apart".into());
        for (group, inside) in [(&apart, false), (&team(), true)] {
            alice.create_group(group).unwrap();
            alice.tree_in_welcome(group, inside).unwrap();
            let mut add = vec![bob.publish(&member(0)).unwrap()];
            add.extend(others.iter().cloned());
            let change = Change { add, ..Change::default() };
            let what = if inside { "everybody is added" } else { "the same, with the tree apart" };
            let output = measured(what, || alice.change(group, &change).unwrap());
            let sizes: Vec<_> = output.packets.iter().map(|packet| packet.bytes.0.len()).collect();
            println!("    commit {} bytes, Welcome {}", sizes[0], sizes[1]);
            measured("it comes back", || alice.receive(&output.packets[0]).unwrap());
            if inside {
                measured("bob joins", || bob.receive(&output.packets[1]).unwrap());
            } else {
                let tree = measured("the tree", || alice.ratchet_tree(group).unwrap());
                println!("    {} bytes", tree.0.len());
                measured("bob joins", || bob.join_with_tree(&output.packets[1], tree.as_ref()).unwrap());
            }
        }
        let update = only(measured("bob refreshes", || bob.change(&team(), &refresh()).unwrap()));
        println!("    commit {} bytes", update.bytes.0.len());
        measured("alice takes it", || alice.receive(&update).unwrap());
        measured("it comes back", || bob.receive(&update).unwrap());

        let store = measured("both groups are stored", || alice.store().unwrap());
        println!("    {} bytes", store.0.len());
        let mut alice = measured("and loaded", || adapter.load(&member(0), store.as_ref()).unwrap());
        let message = only(measured("first send", || alice.send(&team(), b"hello").unwrap()));
        assert_eq!(bob.receive(&message).unwrap().message.unwrap().plaintext.0, b"hello");
    });
}
