//! The libraries refuse a single wrong bit in whatever a newcomer can check. Without this the tests of joining would show
//! nothing of a library that does not check.

mod common;

use common::{join, libraries, plan};
use e2esm_adapter::{Adapter, Error, ErrorClass};
use e2esm_forge::{Fault, Field, Forged, Plan, State, Written, forge, forge_with_fault};
use rayon::prelude::*;

const SIZE: u32 = 16;

/// What a library says to each byte of these fields, one bit of it wrong.
fn answers(library: &dyn Adapter, plan: &Plan, field: Field) -> Vec<(Fault, Result<(), Error>)> {
    let honest = forge(plan).expect("a plan that makes sense");
    let wanted = honest.fields().iter().filter(|written| written.field == field);
    let faults: Vec<(&Written, Fault)> = wanted
        .flat_map(|written| {
            (0..written.bytes.len()).map(move |byte| {
                (written, Fault { node: written.node, field, byte, bit: (written.node as usize + byte) as u8 % 8 })
            })
        })
        .collect();
    faults
        .into_par_iter()
        .map(|(written, fault)| {
            let bent = forge_with_fault(plan, fault).expect("the same plan");
            assert_eq!(changed(&honest, &bent, written), [fault.byte], "{fault:?}");
            (fault, join(library, &bent.group_info).map(drop))
        })
        .collect()
}

/// Which bytes of a field differ.
fn changed(honest: &Forged, bent: &Forged, written: &Written) -> Vec<usize> {
    let [honest, bent] = [honest, bent].map(|forged| &forged.ratchet_tree[written.bytes.clone()]);
    (0..honest.len()).filter(|byte| honest[*byte] != bent[*byte]).collect()
}

fn all_refused(state: State, field: Field, fields: usize) {
    for library in &libraries() {
        let answers = answers(&**library, &plan(state, SIZE, &[]), field);
        assert_eq!(answers.len(), fields * if field == Field::Signature { 64 } else { 32 });
        for (fault, answer) in answers {
            let class = answer.err().map(|error| error.class);
            assert_eq!(class, Some(ErrorClass::AuthFailed), "{}: {fault:?}", library.describe().name);
        }
    }
}

#[test]
fn every_byte_of_a_leafs_signature_is_checked() {
    all_refused(State::Full, Field::Signature, 16);
    all_refused(State::Flat, Field::Signature, 16);
}

#[test]
fn every_byte_of_a_parent_hash_is_checked_where_it_can_be() {
    all_refused(State::Full, Field::CheckedParentHash, 15);
    all_refused(State::Churn10, Field::CheckedParentHash, 12);
    all_refused(State::Staircase, Field::CheckedParentHash, 10);
}

/// The other way round: a wrong bit where nobody can see it leaves a group in which all else is right, so that what is
/// refused above is refused for the wrong bit and for nothing else.
#[test]
fn what_nobody_can_check_may_be_anything() {
    for state in [State::Full, State::Churn10, State::Staircase] {
        for library in &libraries() {
            let answers = answers(&**library, &plan(state, SIZE, &[]), Field::StaleParentHash);
            assert!(!answers.is_empty());
            for (fault, answer) in answers {
                answer.unwrap_or_else(|error| panic!("{}: {fault:?}: {error}", library.describe().name));
            }
        }
    }
}

#[test]
fn places_are_told() {
    let forged = forge(&plan(State::Full, SIZE, &[])).expect("a plan that makes sense");
    let [signatures, hashes] = [forged.signatures(), forged.checked_parent_hashes()];
    assert_eq!((signatures.len(), hashes.len()), (16, 15));
    // Each is preceded by its length.
    assert!(signatures.iter().all(|place| forged.ratchet_tree[place.start - 2..place.start] == [0x40, 64]));
    assert!(hashes.iter().all(|place| forged.ratchet_tree[place.start - 1] == 32));
}
