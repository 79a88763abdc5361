//! The same plan gives the same bytes, everywhere and for ever.

mod common;

use common::plan;
use e2esm_adapter::GroupId;
use e2esm_forge::{ForgeError, Forged, Plan, State, VERSION, forge};
use sha2::{Digest, Sha256};

fn forge_on(threads: usize, plan: &Plan) -> Forged {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads can be made");
    pool.install(|| forge(plan)).expect("a plan that makes sense")
}

#[test]
fn threads_do_not_matter() {
    for state in State::ALL {
        let plan = plan(state, 333, &[5, 100]);
        assert_eq!(forge_on(1, &plan), forge_on(2, &plan), "{}", state.label());
    }
}

#[test]
fn the_seed_matters() {
    for state in State::ALL {
        let one = plan(state, 33, &[5]);
        let two = Plan { seed: one.seed + 1, ..one.clone() };
        assert_ne!(forge_on(2, &one).ratchet_tree, forge_on(2, &two).ratchet_tree, "{}", state.label());
        assert_ne!(forge_on(2, &one).group_info, forge_on(2, &two).group_info, "{}", state.label());
    }
}

/// Groups that were kept from another day must be those of today, or have another version.
#[test]
fn these_are_the_bytes_of_this_version() {
    let mut hash = Sha256::new();
    for state in State::ALL {
        for suite in [0x0001, 0x0003] {
            let forged = forge(&Plan { suite, ..plan(state, 65, &[7, 8, 40]) }).expect("a plan that makes sense");
            hash.update(forged.group_info);
        }
    }
    let hash: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!((VERSION, hash.as_str()), (1, "06f3601b6a9eeb3aff5682338f8a8709ebf9b5b8247bb1244ddfe5582b59d379"));
}

#[test]
fn a_plan_that_makes_no_sense_is_refused() {
    let refused = |plan: Plan| forge(&plan).expect_err("this must be refused");
    assert!(matches!(refused(Plan { suite: 2, ..plan(State::Full, 4, &[]) }), ForgeError::Suite(2)));
    assert!(matches!(refused(plan(State::Full, 0, &[])), ForgeError::Size(0)));
    assert!(matches!(refused(plan(State::Full, u32::MAX, &[])), ForgeError::Size(u32::MAX)));
    assert!(matches!(refused(plan(State::Full, 4, &[4])), ForgeError::Hole { hole: 4, size: 4 }));
    assert!(matches!(refused(plan(State::Full, 2, &[0, 1])), ForgeError::Nobody(2)));
    let long = GroupId("g".repeat(20_000));
    assert!(forge(&Plan { group: long, ..plan(State::Full, 4, &[0, 0]) }).is_ok(), "a hole may be named twice");
}
