//! The implementations that are linked into this binary: the one place through which the harness knows adapters.

use e2esm_adapter::Adapter;
use e2esm_rogues::burden::{Burden, burdened};

/// The built-in adapters, in the order of the tables.
pub fn built_in() -> Vec<Box<dyn Adapter>> {
    let mut adapters = Vec::new();
    adapters.extend(e2esm_adapter_openmls::adapters());
    adapters.extend(e2esm_adapter_mls_rs::adapters());
    #[cfg(feature = "libsignal")]
    adapters.extend(e2esm_adapter_libsignal::adapters());
    adapters.extend(e2esm_adapter_vodozemac::adapters());
    adapters
}

/// Sound configurations that are no row of the tables: the suite's test of itself that nothing accuses them.
pub fn unusual() -> Vec<Box<dyn Adapter>> {
    vec![e2esm_adapter_mls_rs::other_suite(), e2esm_adapter_mls_rs::mixed(), e2esm_adapter_openmls::mixed()]
}

/// The built-in adapter of that name, or the unusual one.
pub fn find(name: &str) -> Option<Box<dyn Adapter>> {
    built_in().into_iter().chain(unusual()).find(|adapter| adapter.describe().name == name)
}

/// The adapter to be benched under that name, with whatever it is to be burdened with.
pub fn benched(name: &str, burden: Option<Burden>) -> Option<Box<dyn Adapter>> {
    let adapter = find(name)?;
    Some(match burden {
        Some(burden) => burdened(adapter, burden, crate::bench::cell::group()),
        None => adapter,
    })
}

/// Which built-in adapters are not among others as they are: another configuration stands in for them, or none, because one
/// more crypto provider of the same library adds nothing.
pub fn among_others() -> Vec<(&'static str, Option<&'static str>)> {
    vec![
        // By their defaults they refuse one another's handshake messages or credentials.
        ("openmls-rustcrypto", Some("openmls-rustcrypto-mixed")),
        ("openmls-libcrux", None),
        ("mls-rs-rustcrypto", Some("mls-rs-rustcrypto-mixed")),
        ("mls-rs-awslc", None),
    ]
}
