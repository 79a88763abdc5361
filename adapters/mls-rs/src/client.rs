//! The mls-rs client behind a device: which providers it is built from, and which settings differ from the defaults.

use std::time::Duration;

use e2esm_account::{Account, Credential};
use e2esm_adapter::{DeviceId, Error};
use mls_rs::client_builder::{BaseConfig, WithCryptoProvider, WithIdentityProvider, WithMlsRules};
use mls_rs::crypto::{SignaturePublicKey, SignatureSecretKey};
use mls_rs::identity::SigningIdentity;
use mls_rs::identity::basic::BasicCredential;
use mls_rs::storage_provider::in_memory::{InMemoryGroupStateStorage, InMemoryKeyPackageStorage};
use mls_rs::time::MlsTime;
use mls_rs::{CipherSuiteProvider, Client, CryptoProvider};

use crate::bent::{BentProvider, BentSuite};
use crate::decisions::{Counsel, Judge, Rules};
use crate::error::translate;

/// Key packages are valid for as long as the library can count from any present: it adds this to a clock of 64 bits.
const LIFETIME: Duration = Duration::from_secs(u64::MAX / 2);

/// Where mls-rs finds its providers. Storage is the library's own, in memory, with its default retention.
pub(crate) type Settings<P> =
    WithIdentityProvider<Judge, WithMlsRules<Rules, WithCryptoProvider<BentProvider<P>, BaseConfig>>>;

/// One group.
pub(crate) type Group<P> = mls_rs::Group<Settings<P>>;

/// The suite's operations, with the lever of the device's faults in between.
pub(crate) type Suite<P> = BentSuite<<P as CryptoProvider>::CipherSuiteProvider>;

/// Whose devices a device shares its groups with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Company {
    /// Those of this adapter.
    #[default]
    Own,
    /// Those of other implementations of MLS. README.md says what each of them takes.
    Mixed,
}

/// When leaves begin to be valid, and when they are made as far as the library is told: it takes the present otherwise,
/// and clocks differ.
pub(crate) fn beginning() -> MlsTime {
    MlsTime::from(0)
}

/// The suite's operations.
pub(crate) fn suite<P: CryptoProvider>(provider: &BentProvider<P>) -> Result<Suite<P>, Error> {
    provider
        .cipher_suite_provider(provider.suite())
        .ok_or_else(|| Error::internal("the crypto provider does not have the cipher suite"))
}

/// A device's signature key pair.
#[derive(Clone)]
pub(crate) struct Keys {
    pub(crate) secret: SignatureSecretKey,
    pub(crate) public: SignaturePublicKey,
}

impl Keys {
    pub(crate) fn generate<P: CryptoProvider>(provider: &BentProvider<P>) -> Result<Self, Error> {
        let (secret, public) = suite(provider)?.signature_key_generate().map_err(Error::internal)?;
        Ok(Self { secret, public })
    }
}

/// What a client stores. Cheap handles: clones share their content.
#[derive(Clone, Default)]
pub(crate) struct Stores {
    pub(crate) key_packages: InMemoryKeyPackageStorage,
    pub(crate) groups: InMemoryGroupStateStorage,
}

/// A client for `device`, whose questions go to `counsel`.
pub(crate) fn client<P>(
    provider: &BentProvider<P>,
    company: Company,
    counsel: &Counsel,
    device: &DeviceId,
    account: &Account,
    keys: &Keys,
    stores: &Stores,
) -> Result<Client<Settings<P>>, Error>
where
    P: CryptoProvider + Clone,
{
    let credential = Credential::of(account);
    let content = match company {
        Company::Own => credential.to_bytes()?,
        Company::Mixed => credential.to_client_id()?,
    };
    let identity = SigningIdentity::new(BasicCredential::new(content).into_credential(), keys.public.clone());
    Ok(Client::builder()
        .key_package_repo(stores.key_packages.clone())
        .group_state_storage(stores.groups.clone())
        .key_package_lifetime(LIFETIME)
        .crypto_provider(provider.clone())
        .mls_rules(Rules::new(counsel))
        .identity_provider(Judge::new(company, counsel, device, &keys.public))
        .signing_identity(identity, keys.secret.clone(), provider.suite())
        .build())
}

/// A key package, as the bytes of a message.
pub(crate) fn key_package<P>(client: &Client<Settings<P>>) -> Result<mls_rs::MlsMessage, Error>
where
    P: CryptoProvider + Clone,
{
    client.generate_key_package_message(Default::default(), Default::default(), Some(beginning())).map_err(translate)
}
