//! Who decides, who enforces.
//!
//! Every library hands some decisions to its application, each at a place of its own. An adapter enforces at exactly
//! that place and decides nothing: it asks its [`Notebook`], which answers from a table pushed with `trust`, from the
//! answer just given with `resume`, or by its [`Stance`]. Every consultation becomes an [`Event`], so that a bad outcome
//! can be told apart: *left to the application* where the library asked about exactly that fact, *fail* where it did not.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorClass};
use crate::ids::{Bytes, DeviceId, GroupId};
use crate::packet::Identity;

/// One fact that an application is asked to affirm. "Yes" is always the permissive answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "fact", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fact {
    /// These keys belong to this device of this user.
    Identity {
        /// The device.
        device: DeviceId,
        /// The keys it shows.
        identity: Identity,
        /// The account key that the library had stored for the device, where it differs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        previous: Option<Bytes>,
    },
    /// The signature on this device's prekeys does not hold; use them all the same.
    UnsignedPrekey {
        /// The device.
        device: DeviceId,
    },
    /// This member may be added.
    Add {
        /// Where.
        group: GroupId,
        /// Whom.
        device: DeviceId,
        /// By whom: the author as the library knows it; the joiner itself for an external join.
        by: DeviceId,
        /// Whether the library has authenticated `by`.
        authenticated: bool,
    },
    /// This member may be removed.
    Remove {
        /// Where.
        group: GroupId,
        /// Whom.
        device: DeviceId,
        /// By whom, as the library knows it.
        by: DeviceId,
        /// Whether the library has authenticated `by`.
        authenticated: bool,
    },
    /// The server lists this device; give it keys.
    ListedDevice {
        /// The device.
        device: DeviceId,
    },
    /// The label says `claimed`, the session belongs to `owner`; take the label's word.
    Sender {
        /// Where.
        group: GroupId,
        /// Whom the label names.
        claimed: DeviceId,
        /// Whose session it is.
        owner: DeviceId,
    },
    /// The sender is not in the roster; read the message all the same.
    NonMemberSender {
        /// Where.
        group: GroupId,
        /// Who sent it.
        device: DeviceId,
    },
    /// Nothing shows to whom else the sender sent this; read it all the same.
    Recipients {
        /// Where.
        group: GroupId,
        /// Who sent it.
        sender: DeviceId,
    },
    /// This message has this place in its session; take it (the caller is to know whether it has been taken before).
    Replay {
        /// Who sent it, as far as the session tells.
        device: DeviceId,
        /// The session.
        session: String,
        /// The place in it.
        index: u64,
    },
    /// This device has been removed and holds the present sender key; go on sending with it.
    StaleKey {
        /// Where.
        group: GroupId,
        /// Who holds the key.
        device: DeviceId,
    },
    /// Give this device the keys of what was sent before it came.
    History {
        /// Where.
        group: GroupId,
        /// To whom.
        device: DeviceId,
    },
    /// Encrypt a message sent earlier once more, to this key.
    Resend {
        /// For whom.
        device: DeviceId,
        /// The account key it would now go to.
        account_key: Bytes,
        /// The account key it went to at first.
        original: Bytes,
        /// Whether that device had acknowledged it.
        acknowledged: bool,
    },
    /// This device asks for the keys of messages; give them.
    KeyRequest {
        /// Where.
        group: GroupId,
        /// Who asks.
        device: DeviceId,
    },
}

/// The kinds of [`Fact`], for vectors and tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // each is documented at `Fact`
pub enum FactKind {
    Identity,
    UnsignedPrekey,
    Add,
    Remove,
    ListedDevice,
    Sender,
    NonMemberSender,
    Recipients,
    Replay,
    StaleKey,
    History,
    Resend,
    KeyRequest,
}

impl FactKind {
    /// The name used in JSON and in the documents.
    pub fn label(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::UnsignedPrekey => "unsigned_prekey",
            Self::Add => "add",
            Self::Remove => "remove",
            Self::ListedDevice => "listed_device",
            Self::Sender => "sender",
            Self::NonMemberSender => "non_member_sender",
            Self::Recipients => "recipients",
            Self::Replay => "replay",
            Self::StaleKey => "stale_key",
            Self::History => "history",
            Self::Resend => "resend",
            Self::KeyRequest => "key_request",
        }
    }
}

impl Fact {
    /// Which kind of fact.
    pub fn kind(&self) -> FactKind {
        match self {
            Self::Identity { .. } => FactKind::Identity,
            Self::UnsignedPrekey { .. } => FactKind::UnsignedPrekey,
            Self::Add { .. } => FactKind::Add,
            Self::Remove { .. } => FactKind::Remove,
            Self::ListedDevice { .. } => FactKind::ListedDevice,
            Self::Sender { .. } => FactKind::Sender,
            Self::NonMemberSender { .. } => FactKind::NonMemberSender,
            Self::Recipients { .. } => FactKind::Recipients,
            Self::Replay { .. } => FactKind::Replay,
            Self::StaleKey { .. } => FactKind::StaleKey,
            Self::History { .. } => FactKind::History,
            Self::Resend { .. } => FactKind::Resend,
            Self::KeyRequest { .. } => FactKind::KeyRequest,
        }
    }

    /// The device that the fact is about, where it is about one.
    pub fn about(&self) -> Option<&DeviceId> {
        match self {
            Self::Identity { device, .. }
            | Self::UnsignedPrekey { device }
            | Self::Add { device, .. }
            | Self::Remove { device, .. }
            | Self::ListedDevice { device }
            | Self::NonMemberSender { device, .. }
            | Self::StaleKey { device, .. }
            | Self::History { device, .. }
            | Self::Resend { device, .. }
            | Self::Replay { device, .. }
            | Self::KeyRequest { device, .. } => Some(device),
            Self::Sender { claimed, .. } => Some(claimed),
            Self::Recipients { sender, .. } => Some(sender),
        }
    }

    /// The class of the error when the application says no.
    pub fn refusal(&self) -> ErrorClass {
        match self {
            Self::Identity { .. } | Self::ListedDevice { .. } => ErrorClass::UntrustedIdentity,
            Self::UnsignedPrekey { .. } | Self::Sender { .. } => ErrorClass::AuthFailed,
            Self::NonMemberSender { .. } => ErrorClass::NotMember,
            Self::Replay { .. } => ErrorClass::Duplicate,
            _ => ErrorClass::Refused,
        }
    }
}

/// Who put the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Asker {
    /// The library, at a place that its documentation hands to the application.
    Library,
    /// The adapter's own group management, because the library has no group object.
    GroupManagement,
}

/// Where a question is put. Listed with its source in `adapters/<name>/README.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecisionPoint {
    /// The library's own name for the place: `IdentityKeyStore::is_trusted_identity`.
    pub name: &'static str,
    /// Who asks there.
    pub asker: Asker,
}

impl DecisionPoint {
    /// A place of the library's.
    pub const fn library(name: &'static str) -> Self {
        Self { name, asker: Asker::Library }
    }

    /// A place of the shared group management's.
    pub const fn group_management(name: &'static str) -> Self {
        Self { name, asker: Asker::GroupManagement }
    }
}

/// How a device answers what is not in its table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stance {
    /// As permissively as the API allows.
    #[default]
    Yes,
    /// Refuse.
    No,
    /// Return [`ErrorClass::UndecidedTrust`] and wait for `resume`.
    Ask,
}

/// An answer given beforehand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// Exactly this fact.
    pub fact: Fact,
    /// Yes or no.
    pub answer: bool,
}

/// What a device noticed during a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case", deny_unknown_fields)]
pub enum Event {
    /// The application was asked.
    Consulted {
        /// The library's own name for the place.
        point: String,
        /// Who asked.
        asker: Asker,
        /// About what.
        about: Fact,
        /// What it said.
        answer: bool,
    },
    /// A member was added.
    MemberAdded {
        /// Where.
        group: GroupId,
        /// Whom.
        device: DeviceId,
        /// By whom, as far as this device knows.
        by: DeviceId,
    },
    /// A member was removed (this device itself, possibly).
    MemberRemoved {
        /// Where.
        group: GroupId,
        /// Whom.
        device: DeviceId,
        /// By whom, as far as this device knows.
        by: DeviceId,
    },
    /// This device has joined.
    Joined {
        /// Where.
        group: GroupId,
    },
    /// A device shows another account key than before.
    KeyChanged {
        /// The device.
        device: DeviceId,
    },
    /// A pairwise session with this device was opened.
    SessionOpened {
        /// The other end.
        peer: DeviceId,
    },
    /// A sender key was taken.
    KeyAccepted {
        /// Where.
        group: GroupId,
        /// Whose it is.
        owner: DeviceId,
    },
    /// Keys of earlier messages were given away.
    HistoryShared {
        /// Where.
        group: GroupId,
        /// To whom.
        device: DeviceId,
    },
    /// A member was left out of a send, because there is no session that may be used.
    Skipped {
        /// Where.
        group: GroupId,
        /// Whom.
        device: DeviceId,
    },
    /// A change of this device's own was dropped, because another came first.
    ChangeDropped {
        /// Where.
        group: GroupId,
    },
}

/// Answers a fact without asking, or `None` to ask as usual.
pub type Override = Box<dyn FnMut(&Fact) -> Option<bool> + Send>;

#[derive(Default)]
struct Pages {
    muted: bool,
    stance: Stance,
    table: HashMap<Fact, bool>,
    once: HashMap<Fact, bool>,
    events: Vec<Event>,
    overrides: Vec<Override>,
}

/// A device's decisions and events. A cheap handle: clones share one state, so that a library's callbacks can hold one.
#[derive(Clone, Default)]
pub struct Notebook(Arc<Mutex<Pages>>);

impl Notebook {
    /// An empty one, with [`Stance::Yes`].
    pub fn new() -> Self {
        Self::default()
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on nothing is asked and nothing noted: every answer is yes. For benchmarks, where the library is measured
    /// and not what is written down about it.
    pub fn mute(&self) {
        self.pages().muted = true;
    }

    /// Whether questions and events go anywhere. An adapter that would have to walk through a whole group to put its
    /// questions does not where they do not.
    pub fn listens(&self) -> bool {
        !self.pages().muted
    }

    /// Puts a question and records it.
    ///
    /// # Errors
    /// [`ErrorClass::UndecidedTrust`] with the fact, when the stance is to ask and nothing answers. The call that asked
    /// must then leave the device able to repeat it: the dispatcher does so once the answer has come.
    pub fn consult(&self, point: DecisionPoint, fact: Fact) -> Result<bool, Error> {
        let mut pages = self.pages();
        if pages.muted {
            return Ok(true);
        }
        for silent in &mut pages.overrides {
            if let Some(answer) = silent(&fact) {
                return Ok(answer);
            }
        }
        let known = pages.once.get(&fact).or_else(|| pages.table.get(&fact)).copied();
        let answer = match (known, pages.stance) {
            (Some(answer), _) => answer,
            (None, Stance::Yes) => true,
            (None, Stance::No) => false,
            (None, Stance::Ask) => {
                return Err(Error {
                    class: ErrorClass::UndecidedTrust,
                    text: format!("{} waits for an answer", point.name),
                    undecided: Some(Box::new(fact)),
                });
            }
        };
        pages.events.push(Event::Consulted { point: point.name.to_owned(), asker: point.asker, about: fact, answer });
        Ok(answer)
    }

    /// Puts a question; a "no" becomes the error of the fact's own class.
    ///
    /// # Errors
    /// As [`consult`](Self::consult), and [`Fact::refusal`] on "no".
    pub fn require(&self, point: DecisionPoint, fact: Fact) -> Result<(), Error> {
        let class = fact.refusal();
        let text = format!("the application said no at {}: {:?}", point.name, fact.kind());
        if self.consult(point, fact)? { Ok(()) } else { Err(Error::new(class, text)) }
    }

    /// Records what was noticed.
    pub fn note(&self, event: Event) {
        let mut pages = self.pages();
        if !pages.muted {
            pages.events.push(event);
        }
    }

    /// Sets how to answer what is not in the table.
    pub fn set_stance(&self, stance: Stance) {
        self.pages().stance = stance;
    }

    /// Puts an answer into the table.
    pub fn decide(&self, decision: Decision) {
        self.pages().table.insert(decision.fact, decision.answer);
    }

    /// Gives the answer to a waiting call; it holds until [`forget_answers`](Self::forget_answers).
    pub fn answer_once(&self, fact: Fact, answer: bool) {
        self.pages().once.insert(fact, answer);
    }

    /// Ends the answers given for one call.
    pub fn forget_answers(&self) {
        self.pages().once.clear();
    }

    /// Takes the events recorded since the last time.
    pub fn take_events(&self) -> Vec<Event> {
        std::mem::take(&mut self.pages().events)
    }

    /// For the deliberately flawed implementations: answers some facts without asking and without a trace.
    pub fn never_ask(&self, silent: Override) {
        self.pages().overrides.push(silent);
    }
}
