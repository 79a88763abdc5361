//! The libraries' own checks accept what is forged, and live members can act in it.

mod common;

use common::{device, join, libraries, plan};
use e2esm_adapter::{Adapter, Change, Device, DeviceId};
use e2esm_forge::{Forged, Plan, Shape, State, forge};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// One device joins by the forged GroupInfo and another by the first one's. They agree on the group, one of them commits
/// and sends, and the other one follows and reads.
fn meet(plan: &Plan, first: &dyn Adapter, second: &dyn Adapter) {
    let case = format!(
        "{} and {}: {} leaf places, {}, holes {:?}",
        first.describe().name,
        second.describe().name,
        plan.size,
        plan.state.label(),
        plan.holes
    );
    let forged = forge(plan).expect(&case);
    let group = &plan.group;
    let (alice, bob) = (DeviceId::new("alice", "phone"), DeviceId::new("bob", "phone"));

    let mut a = device(first, &alice);
    a.external_join(&forged.group_info).unwrap_or_else(|error| panic!("{case}: {error}"));
    let info = a.group_info(group).expect(&case);
    let mut b = device(second, &bob);
    let joined = b.external_join(info.as_ref()).unwrap_or_else(|error| panic!("{case}: {error}"));
    a.receive(&joined.packets[0]).expect(&case);
    let agree = |a: &mut dyn Device, b: &mut dyn Device| {
        assert_eq!(a.fingerprint(group, &bob).expect(&case), b.fingerprint(group, &alice).expect(&case), "{case}");
    };
    agree(&mut *a, &mut *b);
    let roster = a.roster(group).expect(&case).members;
    assert_eq!(roster, b.roster(group).expect(&case).members, "{case}");
    assert_eq!(roster, everybody(&forged, [alice.clone(), bob.clone()]), "{case}");

    // In its default configuration openmls takes no commit as mls-rs sends it by default.
    if first.describe().implementation == second.describe().implementation {
        let change = Change { refresh: true, ..Change::default() };
        let commit = a.change(group, &change).expect(&case).packets.remove(0);
        b.receive(&commit).expect(&case);
        a.receive(&commit).expect(&case);
        agree(&mut *a, &mut *b);
    }

    let message = a.send(group, b"is anybody here?").expect(&case).packets.remove(0);
    let read = b.receive(&message).expect(&case).message.expect(&case);
    assert_eq!((read.sender, read.plaintext.as_ref()), (alice.clone(), b"is anybody here?".as_slice()), "{case}");

    // Who joins takes the leftmost place that is free, a hole or one past the end.
    let mut taken = plan.leaves();
    for _ in [&alice, &bob] {
        taken.extend((0..).find(|leaf| !taken.contains(leaf)));
    }
    let shape = Shape::parse(a.ratchet_tree(group).expect(&case).as_ref()).expect(&case);
    assert_eq!(shape.members(), taken.len(), "{case}");
    assert_eq!(Some(shape.leaves() - 1), taken.into_iter().max(), "{case}");
}

fn everybody(forged: &Forged, joiners: [DeviceId; 2]) -> Vec<DeviceId> {
    let mut all = forged.members.clone();
    all.extend(joiners);
    all.sort();
    all
}

/// No holes; two next to each other and apart, and a whole subtree of them; at the start; at the end, beyond a power of two.
fn holes(size: u32) -> Vec<Vec<u32>> {
    match size {
        1 => vec![vec![]],
        2 => vec![vec![], vec![0], vec![1]],
        3 => vec![vec![], vec![0, 1], vec![1, 2]],
        8 => vec![vec![], vec![0, 1, 2, 3], vec![2, 3, 7], vec![5, 6]],
        9 => vec![vec![], vec![0, 8], vec![2, 5]],
        _ => vec![vec![], vec![size / 3, size / 2]],
    }
}

#[test]
fn both_libraries_join_and_act() {
    for library in &libraries() {
        for size in [1, 2, 3, 8, 9, 100, 1_000] {
            for (state, holes) in
                State::ALL.iter().flat_map(|state| holes(size).into_iter().map(|holes| (*state, holes)))
            {
                meet(&plan(state, size, &holes), &**library, &**library);
            }
        }
    }
}

#[test]
fn both_libraries_join_ten_thousand() {
    for library in &libraries() {
        for state in [State::Full, State::Churn10] {
            for holes in holes(10_000) {
                meet(&plan(state, 10_000, &holes), &**library, &**library);
            }
        }
    }
}

#[test]
fn the_libraries_meet_in_one_group() {
    let [openmls, mls_rs] = &libraries();
    for state in State::ALL {
        for holes in holes(9) {
            meet(&plan(state, 9, &holes), &**openmls, &**mls_rs);
            meet(&plan(state, 9, &holes), &**mls_rs, &**openmls);
        }
    }
}

#[test]
fn any_holes_will_do() {
    let mut random = StdRng::seed_from_u64(9);
    for round in 0..200 {
        let size = random.gen_range(1..=40);
        let density = random.gen_range(0.0..0.9);
        let mut holes: Vec<u32> = (0..size).filter(|_| random.gen_bool(density)).collect();
        if holes.len() == size as usize {
            holes.pop();
        }
        let mut plan = plan(State::ALL[round % 4], size, &holes);
        plan.seed = random.r#gen();
        let forged = forge(&plan).expect("a plan that makes sense");
        for library in &libraries() {
            join(&**library, &forged.group_info).unwrap_or_else(|error| panic!("{plan:?}: {error}"));
        }
    }
}

#[test]
fn every_crypto_provider_joins() {
    for library in [e2esm_adapter_openmls::adapters(), e2esm_adapter_mls_rs::adapters()].iter().flatten() {
        meet(&plan(State::Churn10, 100, &[3, 64]), &**library, &**library);
    }
}

#[test]
fn the_other_suite() {
    let library = e2esm_adapter_mls_rs::other_suite();
    for state in State::ALL {
        meet(&Plan { suite: 0x0003, ..plan(state, 9, &[3, 4]) }, &*library, &*library);
    }
}

/// Takes a while: `cargo test --release -p e2esm-forge --test join -- --ignored --nocapture`.
#[test]
#[ignore = "takes about half a minute"]
fn mls_rs_joins_a_hundred_thousand() {
    let [_, mls_rs] = &libraries();
    let start = std::time::Instant::now();
    let plan = plan(State::Full, 100_000, &[50_000, 70_000]);
    meet(&plan, &**mls_rs, &**mls_rs);
    println!("forged, joined twice and used in {:.1} s", start.elapsed().as_secs_f64());
}
