//! One peer's end of the pairwise sessions.

use e2esm_adapter::{Bytes, Error, ErrorClass, Identity};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use vodozemac::olm::{OlmMessage, PreKeyMessage, Session, SessionPickle};

use crate::error::refused;

/// The sessions with one device. Several may be open at once, when both sides began; as in Matrix, the one that was last
/// received on is sent on, and it comes first here.
#[derive(Default)]
pub(crate) struct Sessions(Vec<Session>);

impl Sessions {
    /// From now on this one is sent on.
    pub(crate) fn open(&mut self, session: Session) {
        self.0.insert(0, session);
    }

    fn encrypt(&mut self, plaintext: &[u8]) -> Result<OlmMessage, Error> {
        let session = self.0.first_mut().ok_or_else(no_session)?;
        session.encrypt(plaintext).map_err(refused)
    }

    /// Whether a session was opened by this very handshake.
    pub(crate) fn know(&self, message: &PreKeyMessage) -> bool {
        self.0.iter().any(|session| session.session_keys() == message.session_keys())
    }

    /// Decrypts with the session that can.
    pub(crate) fn decrypt(&mut self, message: &OlmMessage) -> Result<Vec<u8>, Error> {
        let mut refusal = no_session();
        for index in 0..self.0.len() {
            match self.0[index].decrypt(message) {
                Ok(plaintext) => {
                    self.0[..=index].rotate_right(1);
                    return Ok(plaintext);
                }
                // A wrong tag is what any other session says; the session that it was sent on may have better reasons.
                Err(error) => {
                    if index == 0 || refusal.class == ErrorClass::AuthFailed {
                        refusal = refused(error);
                    }
                }
            }
        }
        Err(refusal)
    }

    pub(crate) fn pickle(&self) -> Vec<SessionPickle> {
        self.0.iter().map(Session::pickle).collect()
    }

    pub(crate) fn from_pickle(pickle: Vec<SessionPickle>) -> Self {
        Self(pickle.into_iter().map(Session::from_pickle).collect())
    }
}

/// What is known of a peer.
pub(crate) struct Peer {
    pub(crate) identity: Identity,
    sessions: Sessions,
}

impl Peer {
    pub(crate) fn new(identity: Identity, session: Session) -> Self {
        Self { identity, sessions: Sessions(vec![session]) }
    }

    /// A new session to send on. Sessions with other device keys are dropped; a device that was vouched for by another
    /// account key keeps its sessions.
    pub(crate) fn open(&mut self, identity: Identity, session: Session) {
        if self.identity.device_key != identity.device_key {
            self.sessions = Sessions::default();
        }
        self.identity = identity;
        self.sessions.open(session);
    }

    pub(crate) fn encrypt(&mut self, plaintext: &[u8]) -> Result<OlmMessage, Error> {
        self.sessions.encrypt(plaintext)
    }

    /// Whether a session was opened by this very handshake.
    pub(crate) fn knows(&self, message: &PreKeyMessage) -> bool {
        self.sessions.know(message)
    }

    pub(crate) fn decrypt(&mut self, message: &OlmMessage) -> Result<Vec<u8>, Error> {
        self.sessions.decrypt(message)
    }

    pub(crate) fn pickle(&self) -> PeerPickle {
        PeerPickle {
            identity: self.identity.clone(),
            sessions: self.sessions.pickle().into_iter().map(Pickled).collect(),
        }
    }
}

pub(crate) fn no_session() -> Error {
    Error::new(ErrorClass::NoKey, "there is no Olm session with this device")
}

/// A copy of a [`Peer`].
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PeerPickle {
    identity: Identity,
    sessions: Vec<Pickled>,
}

impl From<PeerPickle> for Peer {
    fn from(pickle: PeerPickle) -> Self {
        let sessions = pickle.sessions.into_iter().map(|Pickled(session)| session).collect();
        Self { identity: pickle.identity, sessions: Sessions::from_pickle(sessions) }
    }
}

/// A session's pickle. It can only be read back from a format that describes itself, because a ratchet is an internally
/// tagged enum; where the format does not, it is JSON as bytes, which is what `SessionPickle::encrypt` encrypts, too.
struct Pickled(SessionPickle);

impl Serialize for Pickled {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            self.0.serialize(serializer)
        } else {
            let json = serde_json::to_vec(&self.0).map_err(S::Error::custom)?;
            Bytes(json).serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Pickled {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            SessionPickle::deserialize(deserializer)
        } else {
            let Bytes(json) = Bytes::deserialize(deserializer)?;
            serde_json::from_slice(&json).map_err(D::Error::custom)
        }
        .map(Self)
    }
}
