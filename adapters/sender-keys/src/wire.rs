//! What travels besides the libraries' own bytes: two plain JSON bodies that nothing authenticates, and the framing
//! inside pairwise ciphertexts.

use std::collections::BTreeSet;

use e2esm_adapter::{Bytes, DeviceId, Error, GroupId};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::primitives::HandedOn;

/// The body of a `Change` packet. Who made it is what the packet's label says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RosterChange {
    pub(crate) add: Vec<DeviceId>,
    pub(crate) remove: Vec<DeviceId>,
}

/// The body of a `Welcome` packet, one for all newcomers: everybody who is in the group from now on. `D` is a device's
/// name, borrowed where it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Invitation<D: Ord> {
    pub(crate) members: BTreeSet<D>,
}

pub(crate) fn to_json(value: &impl Serialize) -> Result<Bytes, Error> {
    serde_json::to_vec(value).map(Bytes::from).map_err(Error::internal)
}

pub(crate) fn from_json<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|error| Error::bad_request(format!("malformed {what}: {error}")))
}

/// The plaintext of a pairwise message. It names its group, so that the server cannot hand it to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) group: GroupId,
    pub(crate) body: Body,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// A message that was sent before, for this device alone.
    Message(Bytes),
    /// The sender's sender key.
    SenderKey(Bytes),
    /// Other members' sender keys.
    HandedOn(Vec<HandedOn>),
}

/// Tag, then each field with its length: JSON would double what the costs count.
impl Content {
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let tag = match self.body {
            Body::Message(_) => 0,
            Body::SenderKey(_) => 1,
            Body::HandedOn(_) => 2,
        };
        let mut bytes = vec![tag];
        put(&mut bytes, self.group.0.as_bytes())?;
        match &self.body {
            Body::Message(rest) | Body::SenderKey(rest) => bytes.extend(rest.as_ref()),
            Body::HandedOn(keys) => {
                for HandedOn { owner, key } in keys {
                    put(&mut bytes, owner.to_string().as_bytes())?;
                    put(&mut bytes, key.as_ref())?;
                }
            }
        }
        Ok(bytes)
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let (&tag, mut rest) = bytes.split_first().ok_or_else(|| malformed("empty"))?;
        let group = GroupId(text(take(&mut rest)?)?);
        let body = match tag {
            0 => Body::Message(rest.into()),
            1 => Body::SenderKey(rest.into()),
            2 => {
                let mut keys = Vec::new();
                while !rest.is_empty() {
                    let owner = text(take(&mut rest)?)?.parse().map_err(malformed)?;
                    keys.push(HandedOn { owner, key: take(&mut rest)?.into() });
                }
                Body::HandedOn(keys)
            }
            _ => return Err(malformed(format!("unknown kind {tag}"))),
        };
        Ok(Self { group, body })
    }
}

fn put(bytes: &mut Vec<u8>, field: &[u8]) -> Result<(), Error> {
    bytes.extend(u32::try_from(field.len()).map_err(Error::internal)?.to_be_bytes());
    bytes.extend(field);
    Ok(())
}

fn take<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], Error> {
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(|| malformed("truncated"))?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(malformed)?;
    let (field, rest) = rest.split_at_checked(length).ok_or_else(|| malformed("truncated"))?;
    *bytes = rest;
    Ok(field)
}

fn text(bytes: &[u8]) -> Result<String, Error> {
    String::from_utf8(bytes.to_vec()).map_err(malformed)
}

fn malformed(why: impl std::fmt::Display) -> Error {
    Error::bad_request(format!("malformed pairwise content: {why}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn content_survives_the_journey_and_no_part_of_it_passes_for_the_whole() {
        let group = GroupId("team".into());
        let key = |owner: &str| HandedOn { owner: owner.parse().unwrap(), key: b"key".as_slice().into() };
        for body in [
            Body::Message(Bytes::default()),
            Body::Message(b"hello".as_slice().into()),
            Body::SenderKey(b"key".as_slice().into()),
            Body::HandedOn(vec![key("alice/phone"), key("bob/phone")]),
        ] {
            let content = Content { group: group.clone(), body };
            let bytes = content.to_bytes().unwrap();
            assert_eq!(Content::from_bytes(&bytes).unwrap(), content);
            for end in 0..bytes.len() {
                assert_ne!(Content::from_bytes(&bytes[..end]).ok(), Some(content.clone()));
            }
        }
        assert!(Content::from_bytes(&[9, 0, 0, 0, 0]).is_err(), "a kind of a later version");
    }
}
