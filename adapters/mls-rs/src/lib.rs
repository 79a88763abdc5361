//! mls-rs behind the suite's one trait, once over RustCrypto and once over AWS-LC.
//!
//! Everything is translation: groups, epochs, key packages and the checks on them are mls-rs's; the decisions that mls-rs
//! hands to its application go to the device's notebook, at the two places where it asks for them (module `decisions`). The
//! attackers use the same library: an insider's cryptography is bent underneath it (`bent`, `relabel`), an outsider
//! lets it play a group of its own (`forge`). Recorded vectors are played to a device that asks nobody (`passive`), from
//! private keys in their standards' form (`standard`).

mod adapter;
mod bent;
mod client;
mod decisions;
mod device;
mod error;
mod forge;
mod membership;
mod passive;
mod relabel;
mod standard;
mod state;

use e2esm_adapter::Adapter;
use mls_rs::CipherSuite;
use mls_rs_crypto_awslc::AwsLcCryptoProvider;
use mls_rs_crypto_rustcrypto::RustCryptoProvider;

use crate::adapter::MlsRs;
use crate::client::Company;

const RUSTCRYPTO: &str = "RustCrypto (mls-rs-crypto-rustcrypto 0.23.0)";
const AWS_LC: &str = "AWS-LC (mls-rs-crypto-awslc 0.27.0)";

/// mls-rs over each of the two crypto providers that can be had as crates.
pub fn adapters() -> Vec<Box<dyn Adapter>> {
    let suite = CipherSuite::CURVE25519_AES128;
    vec![
        Box::new(MlsRs::new("mls-rs-rustcrypto", RUSTCRYPTO, RustCryptoProvider::new(), suite)),
        Box::new(MlsRs::new("mls-rs-awslc", AWS_LC, AwsLcCryptoProvider::new(), suite)),
    ]
}

/// The same with another cipher suite: sound, and no row of the tables.
pub fn other_suite() -> Box<dyn Adapter> {
    let suite = CipherSuite::CURVE25519_CHACHA;
    Box::new(MlsRs::new("mls-rs-rustcrypto-chacha20", RUSTCRYPTO, RustCryptoProvider::new(), suite))
}

/// `mls-rs-rustcrypto-mixed`: the usual one set up for groups in which members have other implementations.
pub fn mixed() -> Box<dyn Adapter> {
    let suite = CipherSuite::CURVE25519_AES128;
    let usual = MlsRs::new("mls-rs-rustcrypto-mixed", RUSTCRYPTO, RustCryptoProvider::new(), suite);
    Box::new(usual.among(Company::Mixed))
}

/// mls-rs over RustCrypto with each cipher suite that recorded vectors are made for: 0x0001, 0x0002 and 0x0003, in this
/// order.
pub fn recording() -> Vec<Box<dyn Adapter>> {
    let rustcrypto = |name, suite| MlsRs::new(name, RUSTCRYPTO, RustCryptoProvider::new(), suite);
    vec![
        Box::new(rustcrypto("mls-rs-rustcrypto", CipherSuite::CURVE25519_AES128)),
        Box::new(rustcrypto("mls-rs-rustcrypto-p256", CipherSuite::P256_AES128)),
        other_suite(),
    ]
}
