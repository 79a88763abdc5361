//! One group's sender keys.
//!
//! libsignal's store has no groups, only senders and distribution ids. Each group has a store of its own here, and
//! each sender key a random distribution id, so that a rotation is a new id.

use std::collections::BTreeMap;

use e2esm_adapter::{Bytes, Error, ErrorClass};
use libsignal_protocol::{
    ProtocolAddress, SenderKeyDistributionMessage, SenderKeyRecord, create_sender_key_distribution_message,
    group_decrypt, group_encrypt, process_sender_key_distribution_message,
};
use prost::Message;
use rand::Rng;
use uuid::Uuid;

use crate::error::{at_once, classify, malformed};
use crate::signal::rng;
use crate::stores::SenderKeys;

/// One group's sender keys, as one device holds them.
#[derive(Default)]
pub(crate) struct Drawer {
    /// The distribution id of this device's present sender key.
    pub(crate) own: Option<Uuid>,
    pub(crate) keys: SenderKeys,
    /// The sender key that came last from each member.
    pub(crate) latest: BTreeMap<ProtocolAddress, Uuid>,
}

impl Drawer {
    fn own(&self) -> Result<Uuid, Error> {
        self.own.ok_or_else(|| Error::new(ErrorClass::NoKey, "no sender key of its own for this group"))
    }

    pub(crate) fn rotate(&mut self, me: &ProtocolAddress) -> Result<(), Error> {
        let distribution_id = uuid::Builder::from_random_bytes(rng().random()).into_uuid();
        self.distribute(me, distribution_id)?;
        if let Some(former) = self.own.replace(distribution_id) {
            self.keys.0.remove(&(me.clone(), former));
        }
        Ok(())
    }

    pub(crate) fn distribution(&mut self, me: &ProtocolAddress) -> Result<Bytes, Error> {
        self.distribute(me, self.own()?)
    }

    /// The library's one function makes the key where there is none, and hands it out.
    fn distribute(&mut self, me: &ProtocolAddress, distribution_id: Uuid) -> Result<Bytes, Error> {
        at_once(create_sender_key_distribution_message(me, distribution_id, &mut self.keys, &mut rng()))
            .map(|message| message.serialized().into())
    }

    pub(crate) fn accept(&mut self, owner: ProtocolAddress, distribution: &[u8]) -> Result<(), Error> {
        let message = SenderKeyDistributionMessage::try_from(distribution).map_err(malformed)?;
        let distribution_id = message.distribution_id().map_err(malformed)?;
        at_once(process_sender_key_distribution_message(&owner, &message, &mut self.keys))?;
        self.latest.insert(owner, distribution_id);
        Ok(())
    }

    pub(crate) fn encrypt(&mut self, me: &ProtocolAddress, plaintext: &[u8]) -> Result<Bytes, Error> {
        let distribution_id = self.own()?;
        at_once(group_encrypt(&mut self.keys, me, distribution_id, plaintext, &mut rng()))
            .map(|message| message.serialized().into())
    }

    /// The next message of `other`'s chain, which every member can derive, under this device's own signature key. The
    /// library makes it, from a record in which the two are joined; nothing of that is kept.
    pub(crate) fn encrypt_as(
        &self,
        me: &ProtocolAddress,
        other: &ProtocolAddress,
        plaintext: &[u8],
    ) -> Result<Bytes, Error> {
        let distribution_id = *self.latest.get(other).ok_or_else(|| no_key_of(other))?;
        let chain = self.record(other, distribution_id)?;
        let signature_key = self.record(me, self.own()?)?;
        let mut forged = SenderKeys::default();
        forged.0.insert((other.clone(), distribution_id), signed_by(chain, signature_key)?);
        at_once(group_encrypt(&mut forged, other, distribution_id, plaintext, &mut rng()))
            .map(|message| message.serialized().into())
    }

    fn record(&self, sender: &ProtocolAddress, distribution_id: Uuid) -> Result<&SenderKeyRecord, Error> {
        self.keys.0.get(&(sender.clone(), distribution_id)).ok_or_else(|| no_key_of(sender))
    }

    pub(crate) fn decrypt(&mut self, claimed: &ProtocolAddress, ciphertext: &[u8]) -> Result<Vec<u8>, Error> {
        at_once(group_decrypt(ciphertext, &mut self.keys, claimed))
    }
}

fn no_key_of(sender: &ProtocolAddress) -> Error {
    Error::new(ErrorClass::NoKey, format!("no sender key of {sender} here"))
}

/// The chain of one record with the signature key pair of another. libsignal has no accessor for either, only this
/// format (its `storage.proto`), of which the skipped message keys are left out.
fn signed_by(chain: &SenderKeyRecord, signature_key: &SenderKeyRecord) -> Result<SenderKeyRecord, Error> {
    let newest = |record: &SenderKeyRecord| -> Result<State, Error> {
        let bytes = record.serialize().map_err(classify)?;
        let record = Record::decode(bytes.as_slice()).map_err(Error::internal)?;
        record.states.into_iter().next().ok_or_else(|| Error::internal("a sender key record without a key"))
    };
    let state = State { signing_key: newest(signature_key)?.signing_key, ..newest(chain)? };
    SenderKeyRecord::deserialize(&Record { states: vec![state] }.encode_to_vec()).map_err(classify)
}

#[derive(Clone, PartialEq, Message)]
struct Record {
    #[prost(message, repeated, tag = "1")]
    states: Vec<State>,
}

#[derive(Clone, PartialEq, Message)]
struct State {
    #[prost(uint32, tag = "5")]
    message_version: u32,
    #[prost(uint32, tag = "1")]
    chain_id: u32,
    #[prost(message, optional, tag = "2")]
    chain_key: Option<ChainKey>,
    #[prost(message, optional, tag = "3")]
    signing_key: Option<SigningKey>,
}

#[derive(Clone, PartialEq, Message)]
struct ChainKey {
    #[prost(uint32, tag = "1")]
    iteration: u32,
    #[prost(bytes = "vec", tag = "2")]
    seed: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct SigningKey {
    #[prost(bytes = "vec", tag = "1")]
    public: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    private: Vec<u8>,
}
