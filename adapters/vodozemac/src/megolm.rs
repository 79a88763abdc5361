//! One group's Megolm sessions: the own one, and those received.

use std::collections::BTreeMap;

use e2esm_adapter::{Bytes, DeviceId, Error, ErrorClass};
use e2esm_sender_keys::HandedOn;
use serde::{Deserialize, Serialize};
use vodozemac::megolm::{
    DecryptedMessage, GroupSession, GroupSessionPickle, InboundGroupSession, InboundGroupSessionPickle, MegolmMessage,
};

use crate::error::refused;

/// A session id is an Ed25519 key in unpadded base64.
const SESSION_ID: usize = 43;

/// A message as it travels: Megolm's own format does not name its session, a Matrix event does beside it.
pub(crate) struct Envelope {
    pub(crate) session: String,
    pub(crate) message: MegolmMessage,
}

impl Envelope {
    pub(crate) fn to_bytes(&self) -> Bytes {
        [self.session.as_bytes(), &self.message.to_bytes()].concat().into()
    }

    /// Megolm's own part of it.
    pub(crate) fn message_in(bytes: &[u8]) -> &[u8] {
        bytes.get(SESSION_ID..).unwrap_or_default()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let (session, message) =
            bytes.split_at_checked(SESSION_ID).ok_or_else(|| Error::bad_request("truncated session id"))?;
        let session = String::from_utf8(session.to_vec()).map_err(|error| Error::bad_request(error.to_string()))?;
        Ok(Self { session, message: MegolmMessage::from_bytes(message).map_err(refused)? })
    }
}

/// A session that was received, and whose it is.
struct Received {
    owner: DeviceId,
    session: InboundGroupSession,
}

/// The sessions of one group, found by their ids.
#[derive(Default)]
pub(crate) struct Sessions {
    own: Option<GroupSession>,
    received: BTreeMap<String, Received>,
}

impl Sessions {
    pub(crate) fn renew(&mut self) {
        self.own = Some(GroupSession::default());
    }

    /// The own session key, at its present index.
    pub(crate) fn session_key(&self) -> Result<Bytes, Error> {
        let own = self.own.as_ref().ok_or_else(no_own)?;
        Ok(own.session_key().to_bytes().into())
    }

    pub(crate) fn encrypt(&mut self, plaintext: &[u8]) -> Result<Envelope, Error> {
        let own = self.own.as_mut().ok_or_else(no_own)?;
        Ok(Envelope { session: own.session_id(), message: own.encrypt(plaintext) })
    }

    /// Takes a session. One that is here already stays its first owner's, and is extended backwards if the new one
    /// begins earlier, as `InboundGroupSession::merge` is made for.
    pub(crate) fn take(&mut self, owner: &DeviceId, mut session: InboundGroupSession) -> Result<(), Error> {
        let id = session.session_id();
        if let Some(known) = self.received.get_mut(&id) {
            let merged = known.session.merge(&mut session);
            known.session = merged.ok_or_else(|| {
                Error::new(ErrorClass::Duplicate, format!("another Megolm session has the id {id} already"))
            })?;
        } else {
            self.received.insert(id, Received { owner: owner.clone(), session });
        }
        Ok(())
    }

    pub(crate) fn owner(&self, session: &str) -> Result<&DeviceId, Error> {
        self.received.get(session).map(|received| &received.owner).ok_or_else(|| unknown(session))
    }

    pub(crate) fn decrypt(&mut self, envelope: &Envelope) -> Result<DecryptedMessage, Error> {
        let received = self.received.get_mut(&envelope.session).ok_or_else(|| unknown(&envelope.session))?;
        received.session.decrypt(&envelope.message).map_err(refused)
    }

    pub(crate) fn export(&self) -> Vec<HandedOn> {
        let hand_on = |Received { owner, session }: &Received| HandedOn {
            owner: owner.clone(),
            key: session.export_at_first_known_index().to_bytes().into(),
        };
        self.received.values().map(hand_on).collect()
    }

    pub(crate) fn pickle(&self) -> SessionsPickle {
        let received = |(id, Received { owner, session }): (&String, &Received)| {
            (id.clone(), ReceivedPickle { owner: owner.clone(), session: session.pickle() })
        };
        SessionsPickle {
            own: self.own.as_ref().map(GroupSession::pickle),
            received: self.received.iter().map(received).collect(),
        }
    }
}

fn no_own() -> Error {
    Error::new(ErrorClass::NoKey, "there is no outbound Megolm session for this group")
}

fn unknown(session: &str) -> Error {
    Error::new(ErrorClass::NoKey, format!("there is no Megolm session {session} in this group"))
}

/// A copy of a group's [`Sessions`].
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SessionsPickle {
    own: Option<GroupSessionPickle>,
    received: BTreeMap<String, ReceivedPickle>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReceivedPickle {
    owner: DeviceId,
    session: InboundGroupSessionPickle,
}

impl From<SessionsPickle> for Sessions {
    fn from(pickle: SessionsPickle) -> Self {
        let received = |(id, ReceivedPickle { owner, session })| {
            (id, Received { owner, session: InboundGroupSession::from_pickle(session) })
        };
        Self {
            own: pickle.own.map(GroupSession::from_pickle),
            received: pickle.received.into_iter().map(received).collect(),
        }
    }
}
