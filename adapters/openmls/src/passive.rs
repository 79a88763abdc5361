//! A device that only receives, made from private keys in the standard form: what recorded vectors are played to.
//!
//! It is not the device of `device.rs` with less to it. It stands for the library alone: it knows no names but leaf
//! indexes, asks nobody, and takes whatever suite its crypto provider has and whatever handshake messages RFC 9420 has,
//! encrypted or not.

use std::collections::{BTreeMap, HashMap};

use e2esm_adapter::{Bytes, Delivered, Delivery, DeliveryKind, Error, ErrorClass, Member, MlsStart, Passive};
use openmls::group::{
    GroupId as MlsGroupId, MIXED_PLAINTEXT_WIRE_FORMAT_POLICY, MlsGroup, MlsGroupJoinConfig, StagedCommit,
    StagedWelcome,
};
use openmls::prelude::tls_codec::DeserializeBytes;
use openmls::prelude::{
    ContentType, MlsMessageBodyIn, ProcessedMessageContent, ProtocolMessage, RatchetTreeIn, Sender, Welcome,
};
use openmls_rust_crypto::MemoryStorage;

use crate::device::{malformed, parse, process_message, removed, unknown};
use crate::errors::refused;
use crate::provider::{Backend, Provider};
use crate::standard;

/// How many epochs' resumption secrets are kept: a pre-shared key proposal may name any of them.
const RESUMPTION_PSKS: usize = 16;

/// A group, and what the library does not keep about it.
struct Seat {
    group: MlsGroup,
    /// Whether a commit has removed this device. The group then stays as it was, to try what comes later: merging the
    /// commit would only make openmls refuse everything unseen.
    removed: bool,
}

/// One device.
pub(crate) struct PassiveDevice<C> {
    provider: Provider<C>,
    groups: BTreeMap<Vec<u8>, Seat>,
}

impl<C: Backend> PassiveDevice<C> {
    pub(crate) fn new(start: &MlsStart) -> Result<Self, Error> {
        Ok(Self { provider: standard::imported(start)?, groups: BTreeMap::new() })
    }

    fn join(&mut self, welcome: Welcome, tree: Option<&Bytes>) -> Result<Delivered, Error> {
        let tree = tree.map(|tree| RatchetTreeIn::tls_deserialize_exact_bytes(tree.as_ref()));
        let tree = tree.transpose().map_err(malformed)?;
        let Self { provider, groups } = self;
        // The library takes the key package out of the storage before it has read the Welcome, also where it then refuses:
        // without this a tampered Welcome would make the honest one unreadable.
        let before = saved(&provider.storage)?;
        let joined = stage(provider, groups, welcome, tree).and_then(|staged| {
            // Removes what is left of an earlier membership, so that nothing of it mixes with the new one.
            if let Some(seat) = groups.get_mut(staged.group_context().group_id().as_slice()) {
                seat.group.delete(&provider.storage).map_err(Error::internal)?;
            }
            staged.into_group(provider).map_err(refused(JOINING))
        });
        match joined {
            Ok(group) => {
                let told = entered(&group);
                groups.insert(group.group_id().to_vec(), Seat { group, removed: false });
                Ok(told)
            }
            Err(error) => {
                restore(&provider.storage, before)?;
                Err(error)
            }
        }
    }

    fn process(&mut self, message: ProtocolMessage) -> Result<Delivered, Error> {
        let Self { provider, groups } = self;
        let id = message.group_id();
        let seat = groups.get_mut(id.as_slice()).ok_or_else(|| unknown(hex::encode(id.as_slice())))?;
        // What the library refuses here changes nothing: it advances a ratchet only for what it has processed to the end.
        // A commit may still be refused after that.
        let before = (message.content_type() == ContentType::Commit).then(|| saved(&provider.storage)).transpose()?;
        let processed = process_message(&mut seat.group, provider, message, "processing")?;
        let sender = processed.sender().clone();
        let group_id = Some(Bytes::from(seat.group.group_id().as_slice()));
        match processed.into_content() {
            ProcessedMessageContent::ApplicationMessage(message) => {
                let Sender::Member(leaf) = sender else {
                    return Err(Error::internal("an application message by somebody who is no member"));
                };
                let (plaintext, sender_leaf) = (Some(message.into_bytes().into()), Some(leaf.u32()));
                Ok(Delivered { plaintext, sender_leaf, group_id, ..Delivered::default() })
            }
            ProcessedMessageContent::ProposalMessage(proposal)
            | ProcessedMessageContent::ExternalJoinProposalMessage(proposal) => {
                seat.group.store_pending_proposal(&provider.storage, *proposal).map_err(Error::internal)?;
                let epoch = Some(seat.group.epoch().as_u64());
                Ok(Delivered { group_id, epoch, ..Delivered::default() })
            }
            ProcessedMessageContent::StagedCommitMessage(staged) => {
                let told = merge(seat, provider, *staged);
                if let (Err(_), Some(before)) = (&told, before) {
                    // The ratchet's secret has been spent on the commit, and a merge that fails has half replaced the group.
                    let id = seat.group.group_id().clone();
                    restore(&provider.storage, before)?;
                    seat.group = load(&provider.storage, &id)?;
                }
                told
            }
            ProcessedMessageContent::OwnPrivateMessage => {
                Err(Error::new(ErrorClass::NoKey, "the message says it is this device's own: no key opens those"))
            }
            ProcessedMessageContent::OwnPendingCommit => Err(Error::internal("a commit of a device that makes none")),
        }
    }
}

impl<C: Backend> Passive for PassiveDevice<C> {
    fn deliver(&mut self, delivery: &Delivery) -> Result<Delivered, Error> {
        if delivery.kind != DeliveryKind::MlsMessage {
            return Err(Error::bad_request(format!("MLS has no {:?}", delivery.kind)));
        }
        let message = match parse(delivery.bytes.as_ref())? {
            MlsMessageBodyIn::Welcome(welcome) => return self.join(welcome, delivery.ratchet_tree.as_ref()),
            MlsMessageBodyIn::PublicMessage(message) => message.into(),
            MlsMessageBodyIn::PrivateMessage(message) => message.into(),
            _ => return Err(Error::bad_request("neither a Welcome, nor a PublicMessage, nor a PrivateMessage")),
        };
        if delivery.ratchet_tree.is_some() {
            return Err(Error::bad_request("a ratchet tree comes beside a Welcome"));
        }
        self.process(message)
    }
}

const JOINING: &str = "joining by Welcome";

fn stage<C: Backend>(
    provider: &Provider<C>,
    groups: &BTreeMap<Vec<u8>, Seat>,
    welcome: Welcome,
    tree: Option<RatchetTreeIn>,
) -> Result<StagedWelcome, Error> {
    let config = MlsGroupJoinConfig::builder()
        .wire_format_policy(MIXED_PLAINTEXT_WIRE_FORMAT_POLICY)
        .number_of_resumption_psks(RESUMPTION_PSKS)
        .build();
    // RFC 9420, 7.3, recommends to look at the lifetimes in the tree and does not demand it; a recorded vector must not
    // expire.
    let builder = StagedWelcome::build_from_welcome(provider, &config, welcome)
        .map_err(refused(JOINING))?
        .skip_lifetime_validation();
    let group = builder.processed_welcome().unverified_group_info().group_id();
    let replace = groups.get(group.as_slice()).is_some_and(|seat| seat.removed);
    let builder = if replace { builder.replace_old_group() } else { builder };
    let builder = match tree {
        Some(tree) => builder.with_ratchet_tree(tree),
        None => builder,
    };
    builder.build().map_err(refused(JOINING))
}

fn merge<C: Backend>(seat: &mut Seat, provider: &Provider<C>, staged: StagedCommit) -> Result<Delivered, Error> {
    if seat.removed {
        return Err(removed());
    }
    if staged.self_removed() {
        seat.removed = true;
        let group_id = Some(seat.group.group_id().as_slice().into());
        return Ok(Delivered { group_id, removed: true, ..Delivered::default() });
    }
    seat.group.merge_staged_commit(provider, staged).map_err(refused("merging the commit"))?;
    Ok(entered(&seat.group))
}

/// What holds in an epoch that the device has come into.
fn entered(group: &MlsGroup) -> Delivered {
    let roster = group.members().map(|member| Member {
        leaf_index: member.index.u32(),
        // Of a basic credential, the identity.
        identity: member.credential.serialized_content().into(),
        signature_key: member.signature_key.into(),
    });
    Delivered {
        group_id: Some(group.group_id().as_slice().into()),
        epoch: Some(group.epoch().as_u64()),
        epoch_authenticator: Some(group.epoch_authenticator().as_slice().into()),
        roster: Some(roster.collect()),
        ..Delivered::default()
    }
}

/// Everything that the library keeps.
type Values = HashMap<Vec<u8>, Vec<u8>>;

fn saved(storage: &MemoryStorage) -> Result<Values, Error> {
    Ok(storage.values.read().map_err(Error::internal)?.clone())
}

fn restore(storage: &MemoryStorage, values: Values) -> Result<(), Error> {
    *storage.values.write().map_err(Error::internal)? = values;
    Ok(())
}

fn load(storage: &MemoryStorage, id: &MlsGroupId) -> Result<MlsGroup, Error> {
    let group = MlsGroup::load(storage, id).map_err(Error::internal)?;
    group.ok_or_else(|| Error::internal("the group is not in the storage"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use e2esm_adapter::{Change, Device, DeviceId, Fault, GroupId, Packet, Start};
    use openmls_libcrux_crypto::CryptoProvider as Libcrux;
    use openmls_rust_crypto::RustCrypto;

    use super::*;
    use crate::device::OpenMlsDevice;

    impl<C: Backend> PassiveDevice<C> {
        fn take(&mut self, bytes: &[u8]) -> Result<Delivered, Error> {
            let (kind, bytes) = (DeliveryKind::MlsMessage, bytes.into());
            self.deliver(&Delivery { kind, from: None, bytes, ratchet_tree: None })
        }

        /// Refuses it for a reason of this class, and stores the same as before.
        fn refuses(&mut self, bytes: &[u8], class: ErrorClass) {
            let before = saved(&self.provider.storage).unwrap();
            assert_eq!(self.take(bytes).unwrap_err().class, class);
            assert!(saved(&self.provider.storage).unwrap() == before, "a refusal changed what is stored");
        }

        /// Refuses it with any byte changed in a part of it, and then takes it.
        fn takes_it_untampered(&mut self, packet: &Packet, classes: &[ErrorClass]) {
            let honest = packet.bytes.as_ref();
            for index in (0..honest.len()).step_by(7) {
                let mut tampered = honest.to_vec();
                tampered[index] ^= 1;
                let before = saved(&self.provider.storage).unwrap();
                let error = self.take(&tampered).unwrap_err();
                assert!(classes.contains(&error.class), "byte {index}: {error}");
                assert!(saved(&self.provider.storage).unwrap() == before, "byte {index} changed what is stored");
            }
            self.take(honest).unwrap();
            assert!(self.take(honest).is_err());
        }
    }

    fn nothing_refused_is_stored<C: Backend>() {
        use ErrorClass::{AuthFailed, BadRequest, Duplicate, NoKey, NotMember, StaleEpoch};

        let group = GroupId("friends".to_owned());
        let [mut alice, mut bob, mut dave] =
            ["alice", "bob", "dave"].map(|user| OpenMlsDevice::<C>::new(&DeviceId::new(user, "phone")).unwrap());
        let add = [&mut bob, &mut dave].map(|device| device.publish(&DeviceId::new("alice", "phone")).unwrap());
        let Start::Mls(start) = dave.standard_keys().unwrap() else { panic!("MLS") };
        let mut passive = PassiveDevice::<C>::new(&start).unwrap();
        alice.create_group(&group).unwrap();
        let change = |device: &mut OpenMlsDevice<C>, change: Change| device.change(&group, &change).unwrap().packets;
        let refresh = || Change { refresh: true, ..Change::default() };
        // One after the other: nothing protects whom else a Welcome is for, and a change there would be taken.
        let [for_bob, for_dave] = add.map(|bundle| {
            let packets = change(&mut alice, Change { add: vec![bundle], ..Change::default() });
            alice.receive(&packets[0]).unwrap();
            packets
        });
        bob.receive(&for_bob[1]).unwrap();
        bob.receive(&for_dave[0]).unwrap();

        passive.refuses(for_bob[1].bytes.as_ref(), NoKey);
        passive.takes_it_untampered(&for_dave[1], &[AuthFailed, BadRequest, NoKey]);
        let message = alice.send(&group, b"hello").unwrap().packets.remove(0);
        passive.takes_it_untampered(&message, &[AuthFailed, BadRequest, StaleEpoch]);
        passive.refuses(message.bytes.as_ref(), Duplicate);
        for fault in [Fault::WrongConfirmationTag, Fault::WrongParentHash, Fault::WrongLeafSignature] {
            bob.misbehave(&fault).unwrap();
            passive.refuses(change(&mut bob, refresh())[0].bytes.as_ref(), AuthFailed);
        }
        bob.misbehave(&Fault::None).unwrap();
        let commit = change(&mut bob, refresh()).remove(0);
        passive.takes_it_untampered(&commit, &[AuthFailed, BadRequest, StaleEpoch]);
        for device in [&mut alice, &mut bob] {
            device.receive(&commit).unwrap();
        }

        // Processed to the end, and refused all the same.
        let competing = change(&mut alice, refresh()).remove(0);
        let removal = change(&mut bob, Change { remove: vec![dave.id.clone()], ..Change::default() }).remove(0);
        assert!(passive.take(removal.bytes.as_ref()).unwrap().removed);
        passive.refuses(competing.bytes.as_ref(), NotMember);
        passive.refuses(competing.bytes.as_ref(), NotMember);
        let message = alice.send(&group, b"hello").unwrap().packets.remove(0);
        assert_eq!(passive.take(message.bytes.as_ref()).unwrap().plaintext, Some(b"hello"[..].into()));
    }

    #[test]
    fn nothing_refused_is_stored_with_either_provider() {
        nothing_refused_is_stored::<RustCrypto>();
        nothing_refused_is_stored::<Libcrux>();
    }
}
