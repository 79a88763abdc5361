//! The operations by direct calls into mls-rs: the library's own RustCrypto provider, identity provider, rules and storage
//! in memory. Which calls these are is the adapter's choice (`adapters/mls-rs`).
//!
//! One thing differs: to the library's identity provider the whole credential is the member's identity, which its tree
//! index hashes, and to the adapter's the name in it. That makes an update 0.3 % cheaper through the trait.

use anyhow::{Context, Result, bail, ensure};
use e2esm::bench::cell::{Operation, group, member};
use e2esm_account::{Account, Credential};
use mls_rs::client_builder::{BaseConfig, WithCryptoProvider, WithIdentityProvider};
use mls_rs::group::ReceivedMessage;
use mls_rs::identity::SigningIdentity;
use mls_rs::identity::basic::{BasicCredential, BasicIdentityProvider};
use mls_rs::{CipherSuite, CipherSuiteProvider, CryptoProvider, MlsMessage};
use mls_rs_crypto_rustcrypto::RustCryptoProvider;

use crate::{Direct, PLAINTEXT};

const SUITE: CipherSuite = CipherSuite::CURVE25519_AES128;

type Config = WithIdentityProvider<BasicIdentityProvider, WithCryptoProvider<RustCryptoProvider, BaseConfig>>;
type Client = mls_rs::Client<Config>;
type Group = mls_rs::Group<Config>;

fn client(leaf: u32) -> Result<Client> {
    let provider = RustCryptoProvider::new();
    let suite = provider.cipher_suite_provider(SUITE).context("the provider has the suite")?;
    let (secret, public) = suite.signature_key_generate()?;
    let content = Credential::of(&Account::new(&member(leaf), public.as_bytes())).to_bytes()?;
    let identity = SigningIdentity::new(BasicCredential::new(content).into_credential(), public);
    Ok(mls_rs::Client::builder()
        .crypto_provider(provider)
        .identity_provider(BasicIdentityProvider::new())
        .signing_identity(identity, secret, SUITE)
        .build())
}

fn key_package(client: &Client) -> Result<MlsMessage> {
    Ok(client.generate_key_package_message(Default::default(), Default::default(), None)?)
}

/// Two live members of a group of throw-aways, and what the first has sent.
pub(crate) struct MlsRs {
    operation: Operation,
    actor: Client,
    actor_group: Group,
    peer_group: Group,
    sent: Vec<u8>,
}

impl MlsRs {
    pub(crate) fn ready(operation: Operation, size: u32) -> Result<Self> {
        let (actor, peer) = (client(0)?, client(size - 1)?);
        let id = group().0.into_bytes();
        let mut created = actor.create_group_with_id(id, Default::default(), Default::default(), None)?;
        created.write_to_storage()?;
        let mut commit = created.commit_builder();
        for leaf in 1..size - 1 {
            commit = commit.add_member(key_package(&client(leaf)?)?)?;
        }
        let (commit, secrets) = commit.add_member(key_package(&peer)?)?.build_detached()?;
        created.apply_detached_commit(secrets)?;
        created.write_to_storage()?;

        let welcome = commit.welcome_messages.first().context("a Welcome")?;
        let (peer_group, _) = peer.join_group(None, welcome, None)?;
        // The group as it is after a restart.
        let actor_group = actor.load_group(created.group_id())?;
        let mut ready = Self { operation, actor, actor_group, peer_group, sent: Vec::new() };
        if operation == Operation::Send {
            // `send` is a later message, not the first one of its epoch.
            ready.send()?;
            ready.check()?;
            ready.actor_group.write_to_storage()?;
            ready.actor_group = ready.actor.load_group(ready.actor_group.group_id())?;
        }
        Ok(ready)
    }

    fn send(&mut self) -> Result<()> {
        self.sent = self.actor_group.encrypt_application_message(PLAINTEXT, Vec::new())?.to_bytes()?;
        Ok(())
    }

    fn update(&mut self) -> Result<()> {
        let (commit, secrets) = self.actor_group.commit_builder().build_detached()?;
        self.sent = commit.commit_message.to_bytes()?;
        self.actor_group.apply_detached_commit(secrets)?;
        // Until this the new epoch is lost with the process.
        self.actor_group.write_to_storage()?;
        Ok(())
    }
}

impl Direct for MlsRs {
    fn act(&mut self) -> Result<()> {
        match self.operation {
            Operation::Send => self.send(),
            Operation::Update => self.update(),
            other => bail!("{other} is not compared"),
        }
    }

    fn bytes(&self) -> u64 {
        self.sent.len() as u64
    }

    fn check(&mut self) -> Result<()> {
        match self.peer_group.process_incoming_message(MlsMessage::from_bytes(&self.sent)?)? {
            ReceivedMessage::ApplicationMessage(message) => {
                ensure!(message.data() == PLAINTEXT, "the peer has read something else");
            }
            ReceivedMessage::Commit(_) => {}
            other => bail!("the peer has taken it for something else: {other:?}"),
        }
        let (own, theirs) = (self.actor_group.epoch_authenticator()?, self.peer_group.epoch_authenticator()?);
        ensure!(own.as_bytes() == theirs.as_bytes(), "epoch authenticators differ");
        Ok(())
    }
}
