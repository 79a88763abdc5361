//! A large group, measured.

#![allow(clippy::unwrap_used)]

#[path = "../../sender-keys/tests/large/mod.rs"]
mod large;

#[test]
#[ignore = "takes minutes and prints"]
fn a_large_group() {
    large::measure(e2esm_adapter_vodozemac::adapters().remove(0).as_ref());
}
