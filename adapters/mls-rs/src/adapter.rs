//! What the adapter says about itself, and how it makes devices.

use std::collections::{BTreeMap, BTreeSet};

use e2esm_adapter::{Adapter, Capability, Description, Device, DeviceId, Error, Passive, Protocol, Start};
use mls_rs::{CipherSuite, CryptoProvider};

use crate::client::Company;
use crate::device::MlsRsDevice;
use crate::passive::MlsRsPassive;
use crate::state::State;

/// mls-rs over one crypto provider.
pub(crate) struct MlsRs<P> {
    name: &'static str,
    crypto: &'static str,
    provider: P,
    suite: CipherSuite,
    company: Company,
}

impl<P> MlsRs<P> {
    pub(crate) fn new(name: &'static str, crypto: &'static str, provider: P, suite: CipherSuite) -> Self {
        Self { name, crypto, provider, suite, company: Company::Own }
    }

    /// The same in other company.
    pub(crate) fn among(self, company: Company) -> Self {
        Self { company, ..self }
    }
}

impl<P> Adapter for MlsRs<P>
where
    P: CryptoProvider + Clone + 'static,
{
    fn describe(&self) -> Description {
        let credential = match self.company {
            Company::Own => "basic, a JSON credential with a voucher by the user's account key",
            Company::Mixed => "basic, a client id with a JSON credential as its domain",
        };
        let usual = [
            ("application messages", "PrivateMessage, padded by the library's default step function"),
            ("credential", credential),
            ("epoch retention", "the in-memory storage's default: 3 earlier epochs"),
            ("handshake messages", "PublicMessage (the library's default)"),
            ("key package lifetime", "without a practical end"),
            ("ratchet tree", "in the Welcome and in the GroupInfo"),
            ("update path", "the library's default, forced only by a refresh"),
            ("welcome", "one message for all new members (the library's default)"),
        ];
        let mixed = [
            ("capabilities", "X.509 credentials are listed beside basic ones"),
            ("fingerprint", "MLS-Exporter(\"exporter\", \"\", 32) instead of the epoch authenticator"),
        ];
        let mixed = mixed.into_iter().filter(|_| self.company == Company::Mixed);
        let configuration = usual.into_iter().chain(mixed);
        let unsupported = [
            (Capability::KeyDistribution, "MLS derives every sender's keys from the group's secret: no key travels"),
            (Capability::PairwiseSessions, "MLS has no pairwise sessions: a Welcome opens a group"),
            (Capability::Resend, "MLS encrypts to the group, never once more for one device"),
            (Capability::History, "MLS has no way to hand keys of earlier epochs to a newcomer"),
            (Capability::KeyRequest, "MLS has no requests for the keys of messages"),
            (Capability::DegenerateKey, "the library makes the HPKE keys of a key package itself: no API takes one"),
            (Capability::ForgedKeyDistribution, "there is no key distribution to forge"),
            (Capability::RewrittenIdentity, "there is no session-opening packet with an identity key to rewrite"),
        ];
        Description {
            name: self.name.to_owned(),
            implementation: "mls-rs".to_owned(),
            version: "0.57.0".to_owned(),
            protocol: "MLS (RFC 9420)".to_owned(),
            cipher_suite: match self.suite {
                CipherSuite::CURVE25519_AES128 => "MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519 (0x0001)".to_owned(),
                CipherSuite::P256_AES128 => "MLS_128_DHKEMP256_AES128GCM_SHA256_P256 (0x0002)".to_owned(),
                CipherSuite::CURVE25519_CHACHA => {
                    "MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519 (0x0003)".to_owned()
                }
                other => format!("{other:?}"),
            },
            crypto_provider: self.crypto.to_owned(),
            configuration: configuration.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            group_object: true,
            recorded: BTreeSet::from([Protocol::Mls]),
            unsupported: BTreeMap::from(unsupported.map(|(capability, reason)| (capability, reason.to_owned()))),
        }
    }

    fn device(&self, id: &DeviceId) -> Result<Box<dyn Device>, Error> {
        Ok(Box::new(MlsRsDevice::new(&self.provider, self.suite, self.company, id)?))
    }

    fn restore(&self, id: &DeviceId, state: &[u8]) -> Result<Box<dyn Device>, Error> {
        Ok(Box::new(MlsRsDevice::restore(&self.provider, self.suite, self.company, id, State::from_export(state)?)?))
    }

    fn load(&self, id: &DeviceId, store: &[u8]) -> Result<Box<dyn Device>, Error> {
        Ok(Box::new(MlsRsDevice::restore(&self.provider, self.suite, self.company, id, State::from_store(store)?)?))
    }

    fn passive(&self, start: &Start) -> Result<Box<dyn Passive>, Error> {
        match start {
            Start::Mls(start) => Ok(Box::new(MlsRsPassive::new(&self.provider, start)?)),
            other => Err(Error::unsupported(format!("a start of {}", other.protocol().label()))),
        }
    }

    fn metered(&self) -> bool {
        true
    }
}
