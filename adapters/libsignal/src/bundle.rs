//! A prekey bundle as bytes. libsignal leaves that format to the application (Signal's service uses JSON of its own);
//! here it is a protobuf, so that a bundle costs what its keys cost.

use e2esm_adapter::Error;
use libsignal_protocol::{
    IdentityKey, KyberPreKeyId, PreKeyBundle, PreKeyId, PublicKey, SignalProtocolError, SignedPreKeyId, kem,
};
use prost::Message;

use crate::error::malformed;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct WireBundle {
    #[prost(uint32, tag = "1")]
    pub(crate) registration_id: u32,
    #[prost(uint32, tag = "2")]
    pub(crate) device_id: u32,
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) identity_key: Vec<u8>,
    #[prost(message, optional, tag = "4")]
    pub(crate) pre_key: Option<WireKey>,
    #[prost(message, optional, tag = "5")]
    pub(crate) signed_pre_key: Option<WireKey>,
    #[prost(message, optional, tag = "6")]
    pub(crate) kyber_pre_key: Option<WireKey>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct WireKey {
    #[prost(uint32, tag = "1")]
    pub(crate) id: u32,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) public: Vec<u8>,
    /// By the identity key; a one-time prekey bears none.
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) signature: Vec<u8>,
}

impl WireBundle {
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        Self::decode(bytes).map_err(|error| Error::bad_request(format!("not a prekey bundle: {error}")))
    }

    pub(crate) fn identity_key(&self) -> Result<IdentityKey, Error> {
        IdentityKey::decode(&self.identity_key).map_err(malformed)
    }

    /// The library's own object. Nothing is checked here but that the keys can be read.
    pub(crate) fn to_library(&self) -> Result<PreKeyBundle, Error> {
        let signed =
            self.signed_pre_key.as_ref().ok_or_else(|| Error::bad_request("a bundle without a signed prekey"))?;
        let kyber = self.kyber_pre_key.as_ref().ok_or_else(|| Error::bad_request("a bundle without a Kyber prekey"))?;
        self.assemble(signed, kyber).map_err(malformed)
    }

    fn assemble(&self, signed: &WireKey, kyber: &WireKey) -> Result<PreKeyBundle, SignalProtocolError> {
        let one_time = match &self.pre_key {
            Some(key) => Some((PreKeyId::from(key.id), PublicKey::deserialize(&key.public)?)),
            None => None,
        };
        PreKeyBundle::new(
            self.registration_id,
            self.device_id.try_into().map_err(|_| SignalProtocolError::InvalidArgument("device id".into()))?,
            one_time,
            SignedPreKeyId::from(signed.id),
            PublicKey::deserialize(&signed.public)?,
            signed.signature.clone(),
            KyberPreKeyId::from(kyber.id),
            kem::PublicKey::deserialize(&kyber.public)?,
            kyber.signature.clone(),
            IdentityKey::decode(&self.identity_key)?,
        )
    }
}
