//! A device that only receives, for recorded vectors: what the library itself makes of bytes.
//!
//! It is a client of its own, apart from [`device`](crate::device): it starts from private keys in their standards' form
//! instead of the suite's state, knows members by leaf instead of by name, and asks nobody. What mls-rs hands to its
//! application is answered so that the protocol alone decides (see [`AnyMember`]).

use std::collections::BTreeMap;

use e2esm_adapter::{Bytes, Delivered, Delivery, DeliveryKind, Error, Member, MlsStart, Passive};
use mls_rs::client_builder::{BaseConfig, WithCryptoProvider, WithIdentityProvider};
use mls_rs::group::{CommitEffect, ExportedTree, ReceivedMessage};
use mls_rs::identity::{CredentialType, SigningIdentity};
use mls_rs::psk::{ExternalPskId, PreSharedKey};
use mls_rs::time::MlsTime;
use mls_rs::{CipherSuite, Client, CryptoProvider, ExtensionList, IdentityProvider, MlsMessage, WireFormat};
use mls_rs_core::identity::MemberValidationContext;

use crate::bent::{BentProvider, Lever};
use crate::client::Stores;
use crate::decisions::Verdict;
use crate::error::translate;
use crate::standard;

/// The device's own provider for members, and else the library's defaults.
type Settings<P> = WithIdentityProvider<AnyMember, WithCryptoProvider<BentProvider<P>, BaseConfig>>;

type Group<P> = mls_rs::Group<Settings<P>>;

/// Takes basic credentials as they are.
///
/// The library's own provider for them, `BasicIdentityProvider`, takes the credential's content for the member: it refuses
/// a second leaf of the same content, and a leaf whose content has changed. RFC 9420 leaves both to the application
/// (section 5.3); what it decides itself is that no two leaves have the same signature key (section 7.3). So the signature
/// key is the member here, and any credential succeeds any other.
#[derive(Clone)]
struct AnyMember;

impl AnyMember {
    fn require_basic(identity: &SigningIdentity) -> Result<(), Verdict> {
        content(identity).map(|_| ()).map_err(Verdict)
    }
}

impl IdentityProvider for AnyMember {
    type Error = Verdict;

    fn validate_member(
        &self,
        signing_identity: &SigningIdentity,
        _timestamp: Option<MlsTime>,
        _context: MemberValidationContext<'_>,
    ) -> Result<(), Verdict> {
        Self::require_basic(signing_identity)
    }

    fn validate_external_sender(
        &self,
        signing_identity: &SigningIdentity,
        _timestamp: Option<MlsTime>,
        _extensions: Option<&ExtensionList>,
    ) -> Result<(), Verdict> {
        Self::require_basic(signing_identity)
    }

    fn identity(&self, signing_identity: &SigningIdentity, _extensions: &ExtensionList) -> Result<Vec<u8>, Verdict> {
        Ok(signing_identity.signature_key.to_vec())
    }

    fn valid_successor(
        &self,
        _predecessor: &SigningIdentity,
        _successor: &SigningIdentity,
        _extensions: &ExtensionList,
    ) -> Result<bool, Verdict> {
        Ok(true)
    }

    fn supported_types(&self) -> Vec<CredentialType> {
        vec![CredentialType::BASIC]
    }
}

/// The content of a basic credential.
fn content(identity: &SigningIdentity) -> Result<Bytes, Error> {
    let basic = identity.credential.as_basic().ok_or_else(|| Error::bad_request("not a basic credential"))?;
    Ok(basic.identifier().into())
}

/// One client and its groups, by id. Each group is in storage as it is here: the library changes a group in memory before it
/// refuses a message (`membership` has more of that), and storage is where it goes back to.
pub(crate) struct MlsRsPassive<P: CryptoProvider + Clone> {
    client: Client<Settings<P>>,
    stores: Stores,
    groups: BTreeMap<Vec<u8>, Group<P>>,
}

impl<P: CryptoProvider + Clone> MlsRsPassive<P> {
    /// A client with these keys, in no group yet.
    ///
    /// # Errors
    /// `Unsupported` for a cipher suite that the crypto provider does not have; `BadRequest` for keys that are none.
    pub(crate) fn new(provider: &P, start: &MlsStart) -> Result<Self, Error> {
        let suite = CipherSuite::from(start.cipher_suite);
        let provider = BentProvider::new(provider.clone(), suite, Lever::default());
        let operations = provider.cipher_suite_provider(suite).ok_or_else(|| {
            Error::unsupported(format!("the crypto provider does not have cipher suite {:#06x}", start.cipher_suite))
        })?;
        let keys = standard::signature_keys(&operations, start.signature_priv.as_ref())?;
        let stores = Stores::default();
        for key_package in &start.key_packages {
            let (reference, data) = standard::stored(&operations, &keys, key_package)?;
            stores.key_packages.insert(reference, data);
        }
        let builder = Client::builder()
            .key_package_repo(stores.key_packages.clone())
            .group_state_storage(stores.groups.clone())
            .crypto_provider(provider)
            .identity_provider(AnyMember)
            .signer(keys.secret);
        let client = start.external_psks.iter().fold(builder, |builder, external| {
            builder.psk(ExternalPskId::new(external.psk_id.0.clone()), PreSharedKey::new(external.psk.0.clone()))
        });
        Ok(Self { client: client.build(), stores, groups: BTreeMap::new() })
    }

    /// A new group, in the place of one of the same id. How long its members' key packages are valid is not looked at: the
    /// library does so for a joiner only if it is told the time, and RFC 9420 recommends it only (section 7.3).
    fn join(&mut self, welcome: &MlsMessage, ratchet_tree: Option<&Bytes>) -> Result<Delivered, Error> {
        let tree = ratchet_tree.map(|tree| ExportedTree::from_bytes(tree.as_ref())).transpose().map_err(translate)?;
        let (mut group, _) = self.client.join_group(tree, welcome, None).map_err(translate)?;
        let delivered = standing(&group)?;
        // The library leaves it to the application to delete what a group of the same id had.
        self.stores.groups.delete_group(group.group_id());
        group.write_to_storage().map_err(translate)?;
        self.groups.insert(group.group_id().to_vec(), group);
        Ok(delivered)
    }

    fn process(&mut self, message: MlsMessage) -> Result<Delivered, Error> {
        let id = message.group_id().unwrap_or_default().to_vec();
        let Some(group) = self.groups.get_mut(&id) else {
            return Err(Error::bad_request(format!("no group {}", hex::encode(&id))));
        };
        let processed = group
            .process_incoming_message_with_time(message, MlsTime::now())
            .map_err(translate)
            .and_then(|received| outcome(group, &received));
        if processed.is_ok() {
            group.write_to_storage().map_err(translate)?;
        } else {
            *group = self.client.load_group(&id).map_err(translate)?;
        }
        processed
    }
}

impl<P: CryptoProvider + Clone + 'static> Passive for MlsRsPassive<P> {
    fn deliver(&mut self, delivery: &Delivery) -> Result<Delivered, Error> {
        if delivery.kind != DeliveryKind::MlsMessage {
            return Err(Error::bad_request("not an MLS message"));
        }
        let message = MlsMessage::from_bytes(delivery.bytes.as_ref()).map_err(translate)?;
        match message.wire_format() {
            WireFormat::Welcome => self.join(&message, delivery.ratchet_tree.as_ref()),
            WireFormat::PublicMessage | WireFormat::PrivateMessage => self.process(message),
            other => Err(Error::bad_request(format!("nothing is received as a {other:?}"))),
        }
    }
}

/// What holds after a message that the library has taken.
fn outcome<P: CryptoProvider + Clone>(group: &Group<P>, received: &ReceivedMessage) -> Result<Delivered, Error> {
    let group_id = Some(group.group_id().into());
    match received {
        ReceivedMessage::ApplicationMessage(message) => Ok(Delivered {
            plaintext: Some(message.data().into()),
            sender_leaf: Some(message.sender_index),
            group_id,
            ..Delivered::default()
        }),
        ReceivedMessage::Proposal(_) => {
            Ok(Delivered { group_id, epoch: Some(group.current_epoch()), ..Delivered::default() })
        }
        ReceivedMessage::Commit(commit) => match commit.effect {
            CommitEffect::Removed { .. } => Ok(Delivered { group_id, removed: true, ..Delivered::default() }),
            CommitEffect::NewEpoch(_) | CommitEffect::ReInit(_) => standing(group),
        },
        other => Err(Error::internal(format!("the library took a message for something else: {other:?}"))),
    }
}

/// Where a group stands.
fn standing<P: CryptoProvider + Clone>(group: &Group<P>) -> Result<Delivered, Error> {
    let roster = group.roster();
    let roster = roster.members_iter().map(|member| {
        Ok(Member {
            leaf_index: member.index,
            identity: content(&member.signing_identity)?,
            signature_key: member.signing_identity.signature_key.as_bytes().into(),
        })
    });
    Ok(Delivered {
        group_id: Some(group.group_id().into()),
        epoch: Some(group.current_epoch()),
        epoch_authenticator: Some(group.epoch_authenticator().map_err(translate)?.as_bytes().into()),
        roster: Some(roster.collect::<Result<_, Error>>()?),
        ..Delivered::default()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use e2esm_adapter::ErrorClass;
    use mls_rs::identity::basic::BasicCredential;
    use mls_rs_crypto_rustcrypto::RustCryptoProvider;

    use super::*;
    use crate::client::Keys;

    const SUITE: CipherSuite = CipherSuite::CURVE25519_AES128;

    fn identity(content: &[u8], keys: &Keys) -> SigningIdentity {
        SigningIdentity::new(BasicCredential::new(content.to_vec()).into_credential(), keys.public.clone())
    }

    fn keys() -> Keys {
        Keys::generate(&BentProvider::new(RustCryptoProvider::new(), SUITE, Lever::default())).unwrap()
    }

    /// A client that can send, and what a passive one of the same keys starts with.
    fn member(content: &[u8]) -> (Client<Settings<RustCryptoProvider>>, MlsMessage, MlsStart) {
        let (keys, stores) = (keys(), Stores::default());
        let client = Client::builder()
            .key_package_repo(stores.key_packages.clone())
            .crypto_provider(BentProvider::new(RustCryptoProvider::new(), SUITE, Lever::default()))
            .identity_provider(AnyMember)
            .signing_identity(identity(content, &keys), keys.secret.clone(), SUITE)
            .build();
        let key_package = client.generate_key_package_message(Default::default(), Default::default(), None).unwrap();
        let stored = stores.key_packages.key_packages();
        let start = MlsStart {
            cipher_suite: SUITE.into(),
            signature_priv: standard::signature_private(SUITE, &keys.secret),
            key_packages: stored.iter().map(|(_, data)| standard::published(SUITE, data)).collect(),
            external_psks: Vec::new(),
        };
        (client, key_package, start)
    }

    fn deliver(passive: &mut MlsRsPassive<RustCryptoProvider>, message: &MlsMessage) -> Result<Delivered, Error> {
        let bytes = message.to_bytes().unwrap().into();
        passive.deliver(&Delivery { kind: DeliveryKind::MlsMessage, from: None, bytes, ratchet_tree: None })
    }

    fn contents(delivered: &Delivered) -> Vec<&[u8]> {
        delivered.roster.as_ref().unwrap().iter().map(|member| member.identity.as_ref()).collect()
    }

    #[test]
    fn credentials_are_taken_as_they_are_and_members_told_apart_by_signature_key() {
        let (alice, _, _) = member(b"alice");
        let (first, first_package, _) = member(b"bob");
        let (_, second_package, start) = member(b"bob");
        let mut passive = MlsRsPassive::new(&RustCryptoProvider::new(), &start).unwrap();

        let mut group = alice.create_group(Default::default(), Default::default(), None).unwrap();
        let commit = group.commit_builder().add_member(first_package).unwrap().add_member(second_package).unwrap();
        let commit = commit.build().unwrap();
        group.apply_pending_commit().unwrap();
        let welcome = &commit.welcome_messages[0];
        let joined = deliver(&mut passive, welcome).unwrap();
        assert_eq!(contents(&joined), [b"alice".as_slice(), b"bob", b"bob"], "two members of the same name");

        let (mut group, _) = first.join_group(None, welcome, None).unwrap();
        let new = keys();
        let commit = group.commit_builder().set_new_signing_identity(new.secret.clone(), identity(b"mallory", &new));
        let commit = commit.build().unwrap().commit_message;
        group.apply_pending_commit().unwrap();
        let renamed = deliver(&mut passive, &commit).unwrap();
        assert_eq!(contents(&renamed), [b"alice".as_slice(), b"mallory", b"bob"], "one who goes by another name");
        assert_eq!(renamed.roster.unwrap()[1].signature_key.as_ref(), new.public.as_bytes());
        let authenticator = group.epoch_authenticator().unwrap();
        assert_eq!(renamed.epoch_authenticator.unwrap().as_ref(), authenticator.as_bytes());
    }

    #[test]
    fn an_expired_key_package_is_refused_in_an_add_and_not_looked_at_by_who_joins() {
        let long_ago = MlsTime::from(0);
        let (alice, _, _) = member(b"alice");
        let (_, bobs, start) = member(b"bob");
        let (_, carols, later) = member(b"carol");
        let (zoe, _, _) = member(b"zoe");
        let expired = zoe.generate_key_package_message(Default::default(), Default::default(), Some(long_ago)).unwrap();

        let mut group = alice.create_group(Default::default(), Default::default(), None).unwrap();
        let commit = group.commit_builder().add_member(bobs).unwrap().build().unwrap();
        group.apply_pending_commit().unwrap();
        let mut passive = MlsRsPassive::new(&RustCryptoProvider::new(), &start).unwrap();
        deliver(&mut passive, &commit.welcome_messages[0]).unwrap();

        // Alice's clock stands still.
        let late = group.commit_builder().commit_time(long_ago).add_member(expired).unwrap().build().unwrap();
        let refused = deliver(&mut passive, &late.commit_message).unwrap_err();
        assert_eq!(refused.class, ErrorClass::BadRequest);
        assert!(refused.text.contains("is not within key package lifetime (0 to "), "{}", refused.text);
        let instead = {
            let mut group = group.clone();
            group.clear_pending_commit();
            group.commit(Vec::new()).unwrap()
        };
        assert_eq!(deliver(&mut passive, &instead.commit_message).unwrap().epoch, Some(2));

        group.apply_pending_commit().unwrap();
        let commit = group.commit_builder().add_member(carols).unwrap().build().unwrap();
        let mut joiner = MlsRsPassive::new(&RustCryptoProvider::new(), &later).unwrap();
        let joined = deliver(&mut joiner, &commit.welcome_messages[0]).unwrap();
        assert_eq!(contents(&joined), [b"alice".as_slice(), b"bob", b"zoe", b"carol"]);
    }

    #[test]
    fn what_is_no_handshake_and_no_message_is_a_bad_request() {
        let (alice, key_package, start) = member(b"alice");
        let mut passive = MlsRsPassive::new(&RustCryptoProvider::new(), &start).unwrap();
        let group = alice.create_group(Default::default(), Default::default(), None).unwrap();
        let group_info = group.group_info_message(true).unwrap();
        for message in [&key_package, &group_info] {
            assert_eq!(deliver(&mut passive, message).unwrap_err().class, ErrorClass::BadRequest);
        }
        let (zoe, _, _) = member(b"zoe");
        let mut group = zoe.create_group(Default::default(), Default::default(), None).unwrap();
        let welcome = group.commit_builder().add_member(key_package).unwrap().build().unwrap().welcome_messages;
        assert_eq!(contents(&deliver(&mut passive, &welcome[0]).unwrap()), [b"zoe".as_slice(), b"alice"]);
    }
}
