//! One group as one device sees it: the roster, and who holds this device's present sender key.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use e2esm_adapter::{Bytes, DeviceId, UserId};
use serde::{Deserialize, Serialize};

/// A change of this device's own that the server has not delivered back yet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Pending {
    /// The packet's bytes: how it is recognised.
    pub(crate) bytes: Bytes,
    /// Whether a new sender key is due once it is in force.
    pub(crate) refresh: bool,
}

/// This device's present sender key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Key {
    /// There is none, or it has been retired: the next send makes one, and nobody is to be asked.
    None,
    InUse,
    /// A send has begun to replace it and was not completed, so that the library has a key already that nobody holds:
    /// the next send makes another, and asks what that send asked.
    HalfReplaced,
}

/// What the group management remembers of one group. Which members are still owed the sender key, and which holders
/// have left, is kept and not computed, so that a send to a large group costs no walk through the roster.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Group {
    me: DeviceId,
    roster: BTreeSet<DeviceId>,
    pub(crate) pending: Option<Pending>,
    key: Key,
    /// Everybody who was ever given the present sender key.
    holders: BTreeSet<DeviceId>,
    /// Members to whom the present sender key has yet to be sent. Those that hold it but have a new session since are
    /// here too.
    owed: BTreeSet<DeviceId>,
    /// Holders who are no longer in the roster.
    stale: BTreeSet<DeviceId>,
    outbox: Outbox,
    /// Every sender key of this device's own, as it was first handed out. Kept to be shared with newcomers, as an
    /// application keeps its users' messages; part neither of the store nor of an exported state, or no protocol would
    /// have forward secrecy.
    #[serde(skip)]
    archive: Vec<Bytes>,
}

impl Group {
    pub(crate) fn new(me: &DeviceId, members: impl IntoIterator<Item = DeviceId>) -> Self {
        let mut group = Self {
            me: me.clone(),
            roster: BTreeSet::new(),
            pending: None,
            key: Key::None,
            holders: BTreeSet::new(),
            owed: BTreeSet::new(),
            stale: BTreeSet::new(),
            outbox: Outbox::default(),
            archive: Vec::new(),
        };
        for member in members {
            group.join(&member);
        }
        group
    }

    pub(crate) fn roster(&self) -> &BTreeSet<DeviceId> {
        &self.roster
    }

    pub(crate) fn has(&self, device: &DeviceId) -> bool {
        self.roster.contains(device)
    }

    /// Whether a device of this user is in the roster.
    pub(crate) fn has_device_of(&self, user: &UserId) -> bool {
        let first = DeviceId { user: user.clone(), device: String::new() };
        self.roster.range(first..).next().is_some_and(|member| member.user == *user)
    }

    /// Takes a device into the roster; `false` if it was in. Even one that has been here before is owed the sender key:
    /// it may have been reinstalled since.
    pub(crate) fn join(&mut self, device: &DeviceId) -> bool {
        let joined = self.roster.insert(device.clone());
        if joined && *device != self.me {
            self.stale.remove(device);
            self.owed.insert(device.clone());
        }
        joined
    }

    /// Takes a device out of the roster; `false` if it was not in.
    pub(crate) fn leave(&mut self, device: &DeviceId) -> bool {
        let left = self.roster.remove(device);
        if left {
            self.owed.remove(device);
            if self.holders.contains(device) {
                self.stale.insert(device.clone());
            }
        }
        left
    }

    /// The pairwise session with this device is a new one: what was sent through the old one may never have been read.
    pub(crate) fn session_replaced(&mut self, device: &DeviceId) {
        if self.has(device) && *device != self.me {
            self.owed.insert(device.clone());
        }
    }

    /// Whether the next send needs a new sender key whatever anybody decides.
    pub(crate) fn needs_key(&self) -> bool {
        self.key != Key::InUse
    }

    /// The present sender key is not to be used again.
    pub(crate) fn retire_key(&mut self) {
        self.key = Key::None;
        self.holders.clear();
        self.stale.clear();
    }

    /// Holders of the present sender key who are no longer in the roster.
    pub(crate) fn stale(&self) -> impl Iterator<Item = &DeviceId> {
        self.stale.iter()
    }

    /// The present sender key is about to be replaced.
    pub(crate) fn replace_key(&mut self) {
        if self.key == Key::InUse {
            self.key = Key::HalfReplaced;
        }
    }

    /// A new sender key is in use, and nobody holds it; `first` is what there is to hand out of it.
    pub(crate) fn key_made(&mut self, first: Bytes) {
        self.retire_key();
        self.key = Key::InUse;
        self.archive.push(first);
        self.owed = self.everybody_else();
    }

    /// Every sender key that has been in use, as first handed out, the present one last.
    pub(crate) fn archive(&self) -> &[Bytes] {
        &self.archive
    }

    pub(crate) fn everybody_else(&self) -> BTreeSet<DeviceId> {
        self.roster.iter().filter(|member| **member != self.me).cloned().collect()
    }

    pub(crate) fn owed(&self) -> &BTreeSet<DeviceId> {
        &self.owed
    }

    /// The present sender key has gone to this device, encrypted to a session with this account key.
    pub(crate) fn key_given(&mut self, device: &DeviceId, account_key: Bytes) {
        self.holders.insert(device.clone());
        self.owed.remove(device);
        if !self.has(device) {
            self.stale.insert(device.clone());
        }
        self.outbox.key_given(device, account_key);
    }

    /// A message has gone to everybody who holds the present sender key.
    pub(crate) fn sent(&mut self, plaintext: &[u8]) {
        self.outbox.sent(plaintext);
    }

    /// The account key to which this message first went at this device; `None` if it went to none.
    pub(crate) fn original_key(&self, device: &DeviceId, plaintext: &[u8]) -> Option<&Bytes> {
        self.outbox.original_key(device, plaintext)
    }
}

/// Which message went to which account key: what an application's outbox knows, and what a decision to re-send needs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Outbox {
    /// How many messages have been sent.
    count: u64,
    /// Fingerprints of plaintexts, and which message each was at first.
    messages: BTreeMap<u64, u64>,
    /// For each device its account key at each key distribution, and which message was the first to follow.
    given: BTreeMap<DeviceId, Vec<(u64, Bytes)>>,
}

impl Outbox {
    fn key_given(&mut self, device: &DeviceId, account_key: Bytes) {
        let given = self.given.entry(device.clone()).or_default();
        if given.last().is_none_or(|(_, last)| *last != account_key) {
            given.push((self.count, account_key));
        }
    }

    fn sent(&mut self, plaintext: &[u8]) {
        self.messages.entry(fingerprint(plaintext)).or_insert(self.count);
        self.count += 1;
    }

    fn original_key(&self, device: &DeviceId, plaintext: &[u8]) -> Option<&Bytes> {
        // A plaintext that was never sent as such is taken for the last one.
        let message = self.messages.get(&fingerprint(plaintext)).copied().unwrap_or(self.count);
        let given = self.given.get(device)?;
        given.iter().rev().find(|(first, _)| *first <= message).map(|(_, account_key)| account_key)
    }
}

/// `DefaultHasher::new` has fixed keys, so that an exported outbox stays readable; collisions only matter to whoever
/// re-sends, and choose the question's wording, not its answer.
fn fingerprint(plaintext: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    plaintext.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn device(name: &str) -> DeviceId {
        DeviceId::new(name, "phone")
    }

    fn key(name: &str) -> Bytes {
        name.as_bytes().into()
    }

    #[test]
    fn a_users_devices_are_found_among_others_of_similar_names() {
        let group = Group::new(&device("alice"), ["alice", "bob", "bobby"].map(device));
        for (user, found) in [("alice", true), ("bob", true), ("bobby", true), ("bo", false), ("carol", false)] {
            assert_eq!(group.has_device_of(&UserId(user.to_owned())), found, "{user}");
        }
    }

    #[test]
    fn whoever_leaves_with_the_key_is_stale_until_a_new_key_is_made_or_it_comes_back() {
        let [alice, bob, carol] = ["alice", "bob", "carol"].map(device);
        let mut group = Group::new(&alice, [alice.clone(), bob.clone(), carol.clone()]);
        assert!(group.needs_key());
        group.key_made(Bytes::default());
        assert_eq!(*group.owed(), BTreeSet::from([bob.clone(), carol.clone()]));
        group.key_given(&bob, key("b"));
        assert!(group.leave(&bob) && group.leave(&carol) && !group.leave(&carol));
        assert!(group.stale().eq([&bob]), "carol never had it");
        group.join(&bob);
        assert!(group.stale().next().is_none() && group.owed().contains(&bob));
        group.leave(&bob);
        assert!(group.stale().eq([&bob]));
        group.key_made(Bytes::default());
        assert!(group.stale().next().is_none());
    }

    #[test]
    fn a_key_that_was_half_replaced_is_asked_about_again_and_a_retired_one_is_not() {
        let [alice, bob] = ["alice", "bob"].map(device);
        let mut group = Group::new(&alice, [alice.clone(), bob.clone()]);
        group.key_made(Bytes::default());
        group.key_given(&bob, key("b"));
        group.leave(&bob);
        group.replace_key();
        assert!(group.needs_key() && group.stale().eq([&bob]));
        group.retire_key();
        assert!(group.needs_key() && group.stale().next().is_none());
    }

    #[test]
    fn a_new_session_owes_the_key_again_and_the_old_end_still_holds_it() {
        let [alice, bob] = ["alice", "bob"].map(device);
        let mut group = Group::new(&alice, [alice.clone(), bob.clone()]);
        group.key_made(Bytes::default());
        group.key_given(&bob, key("b"));
        group.session_replaced(&bob);
        assert!(group.owed().contains(&bob));
        group.leave(&bob);
        assert!(group.stale().eq([&bob]));
        group.session_replaced(&bob);
        assert!(group.owed().is_empty(), "nothing is owed to one outside");
    }

    #[test]
    fn the_outbox_knows_the_key_a_message_first_went_to() {
        let [alice, bob, carol] = ["alice", "bob", "carol"].map(device);
        let mut group = Group::new(&alice, [alice.clone(), bob.clone()]);
        group.key_made(Bytes::default());
        group.key_given(&bob, key("old"));
        group.sent(b"one");
        group.key_given(&bob, key("new"));
        group.sent(b"two");
        group.sent(b"one");
        assert_eq!(group.original_key(&bob, b"one").unwrap(), &key("old"));
        assert_eq!(group.original_key(&bob, b"two").unwrap(), &key("new"));
        assert_eq!(group.original_key(&bob, b"never sent").unwrap(), &key("new"));
        assert_eq!(group.original_key(&carol, b"one"), None);
    }
}
