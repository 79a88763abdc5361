//! Members of a group: clients of mls-rs, whose provider has a lever.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use e2esm_adapter::{Bytes, MlsKeyPackage, MlsStart};
use mls_rs::client_builder::{BaseConfig, WithCryptoProvider, WithIdentityProvider, WithMlsRules};
use mls_rs::crypto::{SignaturePublicKey, SignatureSecretKey};
use mls_rs::error::MlsError;
use mls_rs::identity::SigningIdentity;
use mls_rs::identity::basic::{BasicCredential, BasicIdentityProvider};
use mls_rs::mls_rules::{CommitOptions, DefaultMlsRules};
use mls_rs::psk::{ExternalPskId, PreSharedKey};
use mls_rs::time::MlsTime;
use mls_rs::{CipherSuite, CipherSuiteProvider, Client, CryptoProvider, ExtensionList, Group, MlsMessage};
use mls_rs_core::extension::ExtensionType;
use mls_rs_crypto_rustcrypto::RustCryptoProvider;

use crate::bent::{BentProvider, Lever, Seen};
use crate::epoch::{Suite, crypto};
use crate::wire::{KEY_PACKAGE, KeyPackage, content};

/// Key packages are valid for as long as the library can count from any present: it adds this to a clock of 64 bits.
const LIFETIME: Duration = Duration::from_secs(u64::MAX / 2);

/// Where mls-rs finds its providers.
pub(crate) type Settings = WithIdentityProvider<
    BasicIdentityProvider,
    WithMlsRules<DefaultMlsRules, WithCryptoProvider<BentProvider<RustCryptoProvider>, BaseConfig>>,
>;

/// A pre-shared key that everybody has.
pub(crate) const PSK: (&[u8], [u8; 32]) = (b"out of band", [0x2a; 32]);

/// An extension type that everybody supports.
pub(crate) const SUPPORTED_EXTENSION: u16 = 0xf001;

/// A type of extension, proposal or credential that nobody supports.
pub(crate) const UNSUPPORTED: u16 = 0xf0de;

/// The library's word as an error of ours.
pub(crate) fn library(error: MlsError) -> anyhow::Error {
    anyhow!("mls-rs: {error}")
}

/// A client and, when it has joined, its group.
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) client: Client<Settings>,
    pub(crate) lever: Lever,
    pub(crate) signer: SignatureSecretKey,
    pub(crate) public: SignaturePublicKey,
    suite: Suite,
    group: Option<Group<Settings>>,
}

/// A suite's operations.
fn suite(cipher_suite: u16) -> Result<Suite> {
    let found = RustCryptoProvider::new().cipher_suite_provider(CipherSuite::from(cipher_suite));
    found.with_context(|| format!("there is no suite {cipher_suite:#06x}"))
}

impl Member {
    /// A client of this name. Its commits have a path where they must, or always if `paths`.
    pub(crate) fn new(name: &str, cipher_suite: u16, paths: bool) -> Result<Self> {
        let suite = suite(cipher_suite)?;
        let (signer, public) = suite.signature_key_generate().map_err(crypto)?;
        let lever = Lever::default();
        let credential = BasicCredential::new(name.as_bytes().to_vec()).into_credential();
        let identity = SigningIdentity::new(credential, public.clone());
        let rules = DefaultMlsRules::new().with_commit_options(CommitOptions::new().with_path_required(paths));
        let client = Client::builder()
            .key_package_lifetime(LIFETIME)
            .crypto_provider(BentProvider::new(RustCryptoProvider::new(), lever.clone()))
            .mls_rules(rules)
            .identity_provider(BasicIdentityProvider::new())
            .extension_type(ExtensionType::from(SUPPORTED_EXTENSION))
            .psk(ExternalPskId::new(PSK.0.to_vec()), PreSharedKey::new(PSK.1.to_vec()))
            .signing_identity(identity, signer.clone(), CipherSuite::from(cipher_suite))
            .build();
        Ok(Self { name: name.to_owned(), client, lever, signer, public, suite, group: None })
    }

    /// The suite's operations, without a bend.
    pub(crate) fn suite(&self) -> Suite {
        self.suite.clone()
    }

    /// The group.
    pub(crate) fn group(&mut self) -> Result<&mut Group<Settings>> {
        self.group.as_mut().context("not in a group")
    }

    /// Becomes the only member of a new group.
    pub(crate) fn create(&mut self, id: &[u8], extensions: ExtensionList) -> Result<()> {
        let group =
            self.client.create_group_with_id(id.to_vec(), extensions, ExtensionList::new(), Some(MlsTime::from(0)));
        self.group = Some(group.map_err(library)?);
        Ok(())
    }

    /// A fresh key package, as a message.
    pub(crate) fn key_package(&self) -> Result<MlsMessage> {
        let time = Some(MlsTime::from(0));
        self.client.generate_key_package_message(ExtensionList::new(), ExtensionList::new(), time).map_err(library)
    }

    /// Joins by a Welcome.
    pub(crate) fn join(&mut self, welcome: &MlsMessage) -> Result<()> {
        self.group = Some(self.client.join_group(None, welcome, None).map_err(library)?.0);
        Ok(())
    }

    /// Is in a group that it has entered by itself.
    pub(crate) fn entered(&mut self, group: Group<Settings>) {
        self.group = Some(group);
    }

    /// Takes a packet.
    pub(crate) fn take(&mut self, packet: &[u8]) -> Result<()> {
        let name = self.name.clone();
        let message = MlsMessage::from_bytes(packet).map_err(library)?;
        let taken = self.group()?.process_incoming_message(message).map_err(library);
        taken.map(|_| ()).with_context(|| format!("{name} takes a packet"))
    }

    /// The private key of an encryption key of this client's.
    pub(crate) fn private_key(&self, public: &[u8]) -> Result<Vec<u8>> {
        let found = self.lever.seen().into_iter().find_map(|seen| match seen {
            Seen::EncryptionKey { public: key, secret } if key == public => Some(secret),
            _ => None,
        });
        found.context("the private key was not seen")
    }

    /// What a passive device with these keys starts with: everything that this client has published and not used.
    pub(crate) fn start(&self) -> Result<MlsStart> {
        let is_edwards = matches!(u16::from(self.suite.cipher_suite()), 1 | 3);
        // Behind the seed of RFC 8032 the library has the public key.
        let signature_priv = if is_edwards { &self.signer.as_bytes()[..32] } else { self.signer.as_bytes() };
        let mut key_packages = Vec::new();
        for (_, data) in self.client.key_package_store().key_packages() {
            let key_package = [[0, 1, 0, 5].as_slice(), &data.key_package_bytes].concat();
            key_packages.push(MlsKeyPackage {
                key_package: key_package.into(),
                init_priv: scalar(&data.init_key),
                encryption_priv: scalar(&data.leaf_node_key),
            });
        }
        key_packages.sort();
        Ok(MlsStart {
            cipher_suite: self.suite.cipher_suite().into(),
            signature_priv: scalar(signature_priv),
            key_packages,
            external_psks: Vec::new(),
        })
    }
}

/// A private key of the three suites, all of which have 32 bytes, from a library that may drop leading zeros.
fn scalar(private: &[u8]) -> Bytes {
    [&vec![0; 32_usize.saturating_sub(private.len())], private].concat().into()
}

/// The key package in a message.
pub(crate) fn key_package_in(message: &MlsMessage) -> Result<KeyPackage> {
    content(KEY_PACKAGE, &message.to_bytes().map_err(library)?)
}
