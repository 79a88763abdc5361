//! A large group with two live members, measured: shared by the libraries' own tests (`tests/large.rs` beside this crate),
//! which are ignored because they take minutes.
//!
//!     MEMBERS=10000 cargo test --release -p e2esm-adapter-vodozemac --test large -- --ignored --nocapture
//!
//! Memory is the process's resident set, as Linux counts it.

use std::time::{Duration, Instant};

use e2esm_adapter::{Adapter, Address, Bundle, Change, Device, DeviceId, GroupId, Packet, PacketKind};

fn id(n: usize) -> DeviceId {
    DeviceId::new(&format!("user{n:06}"), "phone")
}

fn team() -> GroupId {
    GroupId("team".into())
}

/// A bundle of each of these devices, which are gone afterwards.
fn bundles(adapter: &dyn Adapter, members: std::ops::Range<usize>, peer: &DeviceId) -> Vec<Bundle> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let members: Vec<usize> = members.collect();
    std::thread::scope(|scope| {
        let publish = |member: &usize| adapter.device(&id(*member)).unwrap().publish(peer).unwrap();
        let parts: Vec<_> = members
            .chunks(members.len().div_ceil(threads).max(1))
            .map(|part| scope.spawn(move || part.iter().map(publish).collect::<Vec<_>>()))
            .collect();
        parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
    })
}

fn memory(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    line.trim_matches(|c: char| !c.is_ascii_digit()).parse::<u64>().unwrap_or_default() / 1024
}

/// Runs `work` and prints what it took.
fn measured<T>(what: &str, work: impl FnOnce() -> T) -> T {
    drop(std::fs::write("/proc/self/clear_refs", "5"));
    let start = Instant::now();
    let result = work();
    let time: Duration = start.elapsed();
    println!("{what:<34} {time:>12.3?}   {:>6} MB, {:>6} MB at the most", memory("VmRSS:"), memory("VmHWM:"));
    result
}

fn sizes(packets: &[Packet]) {
    for kind in [PacketKind::Change, PacketKind::Welcome, PacketKind::KeyDistribution, PacketKind::Message] {
        let sizes: Vec<usize> = packets.iter().filter(|packet| packet.kind == kind).map(|p| p.bytes.0.len()).collect();
        if !sizes.is_empty() {
            println!("    {} x {}: {} bytes", sizes.len(), kind.label(), sizes.iter().sum::<usize>());
        }
    }
}

fn for_device(packets: &[Packet], device: &DeviceId) -> Option<Packet> {
    packets.iter().find(|packet| packet.to == Address::Device(device.clone())).cloned()
}

/// `to` takes its key, if one is among the packets, and reads the message.
fn reads(to: &mut dyn Device, device: &DeviceId, packets: &[Packet], text: &str) {
    if let Some(key) = for_device(packets, device) {
        to.receive(&key).unwrap();
    }
    let read = to.receive(packets.last().unwrap()).unwrap().message.unwrap();
    assert_eq!(read.plaintext.0, text.as_bytes());
}

pub(crate) fn measure(adapter: &dyn Adapter) {
    let members = std::env::var("MEMBERS").map_or(10_000, |members| members.parse().unwrap());
    let (alice, bob) = (id(0), id(1));
    let (mut a, mut b) = (adapter.device(&alice).unwrap(), adapter.device(&bob).unwrap());
    [&a, &b].iter().for_each(|device| device.notebook().mute());
    println!("{}, {members} members", adapter.describe().name);

    let mut add = vec![b.publish(&alice).unwrap()];
    add.extend(measured("devices and bundles", || bundles(adapter, 2..members, &alice)));
    println!("    {} bytes each", add[0].bytes.0.len());
    a.create_group(&team()).unwrap();
    let change = Change { add, ..Change::default() };
    let packets = measured("change: everybody is added", || a.change(&team(), &change).unwrap().packets);
    drop(change);
    sizes(&packets);
    measured("the change comes back", || a.receive(&packets[0]).unwrap());
    measured("bob is welcomed", || b.receive(&packets[1]).unwrap());

    assert_eq!(measured("wants", || a.wants(&team()).unwrap()), []);
    let packets = measured("first send", || a.send(&team(), b"one").unwrap().packets);
    assert_eq!(packets.len(), members);
    sizes(&packets);
    measured("bob reads it", || reads(b.as_mut(), &bob, &packets, "one"));
    // Before the many packets are freed: that is the allocator's work, and it would be done now.
    let next = measured("next send", || a.send(&team(), b"two").unwrap().packets);
    drop(packets);
    sizes(&next);
    measured("bob reads it", || reads(b.as_mut(), &bob, &next, "two"));
    measured("1,000 sends", || (0..1_000).for_each(|_| drop(a.send(&team(), b"and more").unwrap())));

    let change = Change { remove: vec![id(2)], refresh: true, ..Change::default() };
    let packets = measured("change: one is removed", || a.change(&team(), &change).unwrap().packets);
    sizes(&packets);
    measured("bob takes it", || b.receive(&packets[0]).unwrap());
    measured("it comes back", || a.receive(&packets[0]).unwrap());
    let packets = measured("next send, with a new key", || a.send(&team(), b"three").unwrap().packets);
    assert_eq!(packets.len(), members - 1);
    sizes(&packets);
    reads(b.as_mut(), &bob, &packets, "three");
    drop(packets);

    let store = measured("store", || a.store().unwrap());
    println!("    {} bytes", store.0.len());
    let mut a = measured("load", || adapter.load(&alice, store.as_ref()).unwrap());
    a.notebook().mute();
    let packets = a.send(&team(), b"four").unwrap().packets;
    assert_eq!(packets.len(), 1);
    reads(b.as_mut(), &bob, &packets, "four");
}
