//! The crypto providers, the configuration, and openmls's provider trait over them.

use e2esm_adapter::Error;
use openmls::group::{
    MIXED_PLAINTEXT_WIRE_FORMAT_POLICY, MlsGroupCreateConfig, MlsGroupJoinConfig, PURE_CIPHERTEXT_WIRE_FORMAT_POLICY,
    WireFormatPolicy,
};
use openmls::key_packages::{KeyPackage, KeyPackageBundle, Lifetime, errors::KeyPackageNewError};
use openmls::prelude::{Capabilities, CredentialType, CredentialWithKey};
use openmls_libcrux_crypto::CryptoProvider as Libcrux;
use openmls_rust_crypto::{MemoryStorage, RustCrypto};
use openmls_traits::OpenMlsProvider;
use openmls_traits::crypto::OpenMlsCrypto;
use openmls_traits::random::OpenMlsRand;
use openmls_traits::types::Ciphersuite;

use crate::meter::{Metered, SignatureKey};

/// The suite of both adapters: it is the one that every MLS implementation must have, and libcrux has it too.
pub(crate) const SUITE: Ciphersuite = Ciphersuite::MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519;
pub(crate) const SUITE_NAME: &str = "MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519 (0x0001)";

/// Never over: vectors and prepared benchmark states outlive the library's default of three months.
const FOR_EVER: (u64, u64) = (0, u64::MAX);

/// Who does the cryptography.
pub(crate) trait Backend: OpenMlsCrypto + OpenMlsRand + Sized + 'static {
    /// The adapter's name.
    const ADAPTER: &'static str;
    /// The provider's name and version.
    const PROVIDER: &'static str;

    /// A provider with a seeded generator.
    fn fresh() -> Result<Self, Error>;
}

impl Backend for RustCrypto {
    const ADAPTER: &'static str = "openmls-rustcrypto";
    const PROVIDER: &'static str = "RustCrypto (openmls_rust_crypto 0.6.0)";

    fn fresh() -> Result<Self, Error> {
        Ok(Self::default())
    }
}

impl Backend for Libcrux {
    const ADAPTER: &'static str = "openmls-libcrux";
    const PROVIDER: &'static str = "libcrux (openmls_libcrux_crypto 0.4.0)";

    fn fresh() -> Result<Self, Error> {
        Self::new().map_err(Error::internal)
    }
}

/// One device's cryptography and storage: what openmls works with on the honest path.
pub(crate) struct Provider<C> {
    pub(crate) crypto: Metered<C>,
    pub(crate) storage: MemoryStorage,
}

impl<C: Backend> Provider<C> {
    pub(crate) fn new() -> Result<Self, Error> {
        Ok(Self { crypto: Metered(C::fresh()?), storage: MemoryStorage::default() })
    }
}

impl<C: Backend> OpenMlsProvider for Provider<C> {
    type CryptoProvider = Metered<C>;
    type RandProvider = Metered<C>;
    type StorageProvider = MemoryStorage;

    fn storage(&self) -> &MemoryStorage {
        &self.storage
    }

    fn crypto(&self) -> &Metered<C> {
        &self.crypto
    }

    fn rand(&self) -> &Metered<C> {
        &self.crypto
    }
}

/// A provider put together from parts: bent cryptography, or a storage to try something in.
pub(crate) struct Parts<'a, K, C> {
    pub(crate) crypto: &'a K,
    pub(crate) rand: &'a C,
    pub(crate) storage: &'a MemoryStorage,
}

impl<K: OpenMlsCrypto, C: OpenMlsRand> OpenMlsProvider for Parts<'_, K, C> {
    type CryptoProvider = K;
    type RandProvider = C;
    type StorageProvider = MemoryStorage;

    fn storage(&self) -> &MemoryStorage {
        self.storage
    }

    fn crypto(&self) -> &K {
        self.crypto
    }

    fn rand(&self) -> &C {
        self.rand
    }
}

/// Whose devices a device shares its groups with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Company {
    /// Those of this adapter: everything is the library's default.
    #[default]
    Own,
    /// Those of other implementations of MLS. README.md says what each of them takes.
    Mixed,
}

impl Company {
    fn policy(self) -> WireFormatPolicy {
        match self {
            Self::Own => PURE_CIPHERTEXT_WIRE_FORMAT_POLICY,
            Self::Mixed => MIXED_PLAINTEXT_WIRE_FORMAT_POLICY,
        }
    }

    /// What a leaf says that it can do.
    pub(crate) fn capabilities(self) -> Capabilities {
        match self {
            Self::Own => Capabilities::default(),
            // It never shows an X.509 credential, nor is it shown one: a group may require that leaves list it.
            Self::Mixed => {
                Capabilities::new(None, None, None, None, Some(&[CredentialType::Basic, CredentialType::X509]))
            }
        }
    }
}

/// How groups are created.
pub(crate) fn create_config(company: Company) -> MlsGroupCreateConfig {
    MlsGroupCreateConfig::builder()
        .wire_format_policy(company.policy())
        .capabilities(company.capabilities())
        .ciphersuite(SUITE)
        .lifetime(Lifetime::init(FOR_EVER.0, FOR_EVER.1))
        .use_ratchet_tree_extension(true)
        .build()
}

/// How a group is treated by a member; the library asks no more of it where it is joined. `tree_in_welcome` is about the
/// Welcomes that this member makes.
pub(crate) fn join_config(company: Company, tree_in_welcome: bool) -> MlsGroupJoinConfig {
    MlsGroupJoinConfig::builder()
        .wire_format_policy(company.policy())
        .use_ratchet_tree_extension(tree_in_welcome)
        .build()
}

/// A key package; its private keys go into the provider's storage.
pub(crate) fn key_package(
    provider: &impl OpenMlsProvider,
    signer: &SignatureKey,
    company: Company,
    credential: CredentialWithKey,
) -> Result<KeyPackageBundle, KeyPackageNewError> {
    KeyPackage::builder()
        .leaf_node_capabilities(company.capabilities())
        .key_package_lifetime(Lifetime::init(FOR_EVER.0, FOR_EVER.1))
        .build(SUITE, provider, signer, credential)
}
