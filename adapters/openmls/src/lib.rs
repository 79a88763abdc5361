//! openmls 0.9.2 behind the suite's trait, with either of its crypto providers.
//!
//! The code is written once, generic over the backend; the two adapters differ in nothing else.
//! An honest device calls the library as its user manual shows. What only an attacker does lives apart: `bent` (an
//! insider's faults), `relabel` (an insider under another member's name), `outsider` (forgeries) and `thief` (what a
//! copied state is good for beyond the library).
//! A recorded vector's device is `passive`, and the form of the keys that it starts from `standard`.
//!
//! `README.md` lists the configuration, the decision points with their sources, and what is unsupported.

mod bent;
mod credential;
mod device;
mod effects;
mod errors;
mod meter;
mod outsider;
mod passive;
mod provider;
mod relabel;
mod standard;
mod state;
mod thief;

use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;

use e2esm_adapter::{Adapter, Capability, Description, Device, DeviceId, Error, Passive, Protocol, Start};
use openmls_libcrux_crypto::CryptoProvider as Libcrux;
use openmls_rust_crypto::RustCrypto;

use crate::device::OpenMlsDevice;
use crate::passive::PassiveDevice;
use crate::provider::{Backend, Company, SUITE_NAME};

/// `openmls-rustcrypto` and `openmls-libcrux`.
pub fn adapters() -> Vec<Box<dyn Adapter>> {
    vec![
        Box::new(OpenMls { company: Company::Own, backend: PhantomData::<fn() -> RustCrypto> }),
        Box::new(OpenMls { company: Company::Own, backend: PhantomData::<fn() -> Libcrux> }),
    ]
}

/// `openmls-rustcrypto-mixed`: the same library set up for groups in which members have other implementations.
pub fn mixed() -> Box<dyn Adapter> {
    Box::new(OpenMls { company: Company::Mixed, backend: PhantomData::<fn() -> RustCrypto> })
}

struct OpenMls<C> {
    company: Company,
    backend: PhantomData<fn() -> C>,
}

impl<C: Backend> Adapter for OpenMls<C> {
    fn describe(&self) -> Description {
        let no_sender_keys = "MLS has no sender keys that travel: every key comes from the group's key schedule";
        let no_old_keys = "MLS keeps no keys of earlier messages to hand out, and openmls has no API for it";
        Description {
            name: match self.company {
                Company::Own => C::ADAPTER.to_owned(),
                Company::Mixed => format!("{}-mixed", C::ADAPTER),
            },
            implementation: "openmls".to_owned(),
            version: "0.9.2".to_owned(),
            protocol: "MLS (RFC 9420)".to_owned(),
            cipher_suite: SUITE_NAME.to_owned(),
            crypto_provider: C::PROVIDER.to_owned(),
            configuration: configuration(self.company),
            group_object: true,
            recorded: BTreeSet::from([Protocol::Mls]),
            unsupported: BTreeMap::from([
                (Capability::KeyDistribution, no_sender_keys.to_owned()),
                (
                    Capability::DegenerateKey,
                    "the library makes the HPKE keys of a key package itself: no API takes one".to_owned(),
                ),
                (Capability::ForgedKeyDistribution, no_sender_keys.to_owned()),
                (Capability::PairwiseSessions, "MLS has no pairwise sessions".to_owned()),
                (
                    Capability::Resend,
                    "MLS has no pairwise sessions: a message cannot be encrypted for one device".to_owned(),
                ),
                (Capability::History, no_old_keys.to_owned()),
                (Capability::KeyRequest, no_old_keys.to_owned()),
                (
                    Capability::RewrittenIdentity,
                    "MLS has no session-opening packet that bears its sender's identity key".to_owned(),
                ),
            ]),
        }
    }

    fn device(&self, id: &DeviceId) -> Result<Box<dyn Device>, Error> {
        Ok(Box::new(OpenMlsDevice::<C>::new(id)?.among(self.company)))
    }

    fn restore(&self, id: &DeviceId, state: &[u8]) -> Result<Box<dyn Device>, Error> {
        Ok(Box::new(OpenMlsDevice::<C>::restore(id, state)?.among(self.company)))
    }

    fn load(&self, id: &DeviceId, store: &[u8]) -> Result<Box<dyn Device>, Error> {
        Ok(Box::new(OpenMlsDevice::<C>::load(id, store)?.among(self.company)))
    }

    fn passive(&self, start: &Start) -> Result<Box<dyn Passive>, Error> {
        match start {
            Start::Mls(start) => Ok(Box::new(PassiveDevice::<C>::new(start)?)),
            start => Err(Error::unsupported(format!("this is MLS, not {}", start.protocol().label()))),
        }
    }

    fn metered(&self) -> bool {
        true
    }
}

/// The settings that bear on an outcome.
fn configuration(company: Company) -> BTreeMap<String, String> {
    let (credential, wire_format) = match company {
        Company::Own => (
            "basic; the identity is the suite's account credential",
            "PrivateMessage only (default); external commits and external proposals are PublicMessage",
        ),
        Company::Mixed => (
            "basic; the identity is a client id with the suite's account credential as its domain",
            "MIXED_PLAINTEXT_WIRE_FORMAT_POLICY: handshake messages are sent as PublicMessage and taken as either",
        ),
    };
    let mixed = [
        ("capabilities", "the library's default, and X.509 credentials besides"),
        ("fingerprint", "MLS-Exporter(\"exporter\", \"\", 32) instead of the epoch authenticator"),
    ];
    let usual = [
        ("credential", credential),
        ("key_package_lifetime", "0 to 2^64 - 1"),
        ("out_of_order_tolerance", "5 (default)"),
        ("maximum_forward_distance", "1000 (default)"),
        ("padding_size", "0 (default)"),
        ("past_epochs", "0 (default)"),
        ("ratchet_tree", "extension in GroupInfo, and in Welcome unless `tree_in_welcome` says otherwise"),
        ("signer", "openmls_basic_credential 0.6.0 (ed25519-dalek)"),
        ("storage", "openmls_memory_storage"),
        ("update_path", "only where RFC 9420 demands one or the change asks for a refresh"),
        ("wire_format", wire_format),
    ];
    let mixed = mixed.into_iter().filter(|_| company == Company::Mixed);
    usual.into_iter().chain(mixed).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
