//! The shared policy: what a careful application built on any of these libraries does, written once.
//!
//! An [`App`] stands for the application of one user on one device. It answers the questions that libraries and the shared
//! group management hand over: with a trust store, a signed device list, a signed roster, a re-send policy and a
//! replay cache. It knows nothing of scenarios; the server it asks for device lists may be malicious, and so every list is checked.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use e2esm_adapter::{Address, Bytes, DeviceId, Fact, GroupId, Identity, Packet, UserId};
use ed25519_dalek::{Signature, Signer, SigningKey, Verifier, VerifyingKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::vector::{PolicySettings, TrustStore};

/// What a device list says of one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// The device's own key.
    pub device_key: Bytes,
    /// The key with which its application seals packets, 32 bytes (Ed25519).
    pub seal_key: Bytes,
}

/// A user's devices, signed with that user's policy key. Public: the server stores it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedDeviceList {
    /// Whose devices.
    pub user: UserId,
    /// Rises with each change; a lower one than already seen is a replay.
    pub version: u64,
    /// The devices.
    pub devices: BTreeMap<DeviceId, Listed>,
    /// The key that signed it, 32 bytes (Ed25519).
    pub policy_key: Bytes,
    /// The signature, 64 bytes.
    pub signature: Bytes,
}

impl SignedDeviceList {
    fn statement(&self) -> Vec<u8> {
        statement(b"E2ESM device list v1", &(&self.user, self.version, &self.devices))
    }

    fn holds(&self) -> bool {
        verify(&self.policy_key, &self.statement(), &self.signature)
    }
}

/// What an application puts beside a packet: who sends it, the how-manieth it is, and to whom it knew that it sent it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Seal {
    by: DeviceId,
    number: u64,
    roster: Bytes,
    signature: Bytes,
}

/// What an application knows of another user.
#[derive(Clone, Debug)]
struct Pin {
    account_key: Bytes,
    policy_key: Bytes,
    verified: bool,
    version_seen: u64,
}

/// The application of one user on one device.
#[derive(Clone)]
pub struct App {
    device: DeviceId,
    trust_store: TrustStore,
    admins: BTreeSet<UserId>,
    /// Signs the device list. Only a user's first device has it: a linked one cannot let others in.
    policy_key: Option<SigningKey>,
    seal_key: SigningKey,
    /// How many packets this application has sealed.
    sealed: u64,
    list: SignedDeviceList,
    pins: BTreeMap<UserId, Pin>,
    /// Of users whose account key has not come up yet: the policy key under which they were first met.
    met: BTreeMap<UserId, Bytes>,
    /// The last change taken of each member in each group: its number and signature. An older one is a replay.
    changes: BTreeMap<(GroupId, DeviceId), (u64, Bytes)>,
    rosters: BTreeMap<GroupId, RosterLog>,
    links: HashSet<GroupId>,
    taken: HashSet<(String, u64)>,
}

/// The rosters that a device has had of a group: the present one, and digests of all.
#[derive(Clone, Default)]
struct RosterLog {
    present: Bytes,
    known: HashSet<Bytes>,
}

/// What an application is told with a question.
pub struct Context<'a> {
    /// The packet that is being received, if one is.
    pub packet: Option<&'a Packet>,
    /// The device lists that the server shows for a user: any of them may be false.
    pub lists: &'a dyn Fn(&UserId) -> Vec<SignedDeviceList>,
}

impl App {
    /// The application of `device`, at first its user's only one, with the keys of `identity`.
    pub fn new(device: &DeviceId, identity: &Identity, settings: &PolicySettings) -> Self {
        let policy_key = SigningKey::generate(&mut rand::rngs::OsRng);
        let mut app = Self {
            device: device.clone(),
            trust_store: settings.trust_store.get(&device.user).copied().unwrap_or_default(),
            admins: settings.admins.iter().cloned().collect(),
            list: SignedDeviceList {
                user: device.user.clone(),
                version: 0,
                devices: BTreeMap::new(),
                policy_key: public(&policy_key),
                signature: Bytes::default(),
            },
            policy_key: Some(policy_key),
            seal_key: SigningKey::generate(&mut rand::rngs::OsRng),
            sealed: 0,
            pins: BTreeMap::new(),
            met: BTreeMap::new(),
            changes: BTreeMap::new(),
            rosters: BTreeMap::new(),
            links: HashSet::new(),
            taken: HashSet::new(),
        };
        app.pins.insert(
            device.user.clone(),
            Pin {
                account_key: identity.account_key.clone(),
                policy_key: app.list.policy_key.clone(),
                verified: true,
                version_seen: 0,
            },
        );
        let listed = app.listed_as(identity);
        app.list_device(device, listed);
        app
    }

    /// Whose application it is.
    pub fn device(&self) -> &DeviceId {
        &self.device
    }

    /// This user's signed device list.
    pub fn device_list(&self) -> &SignedDeviceList {
        &self.list
    }

    /// What a list is to say of this device.
    pub fn listed_as(&self, identity: &Identity) -> Listed {
        Listed { device_key: identity.device_key.clone(), seal_key: public(&self.seal_key) }
    }

    /// Puts a device on the list. `None` on a linked device, which cannot sign.
    pub fn list_device(&mut self, device: &DeviceId, listed: Listed) -> Option<SignedDeviceList> {
        self.list.devices.insert(device.clone(), listed);
        self.sign_list()
    }

    /// Takes a device off the list. `None` on a linked device, which cannot sign.
    pub fn unlist_device(&mut self, device: &DeviceId) -> Option<SignedDeviceList> {
        self.list.devices.remove(device);
        self.sign_list()
    }

    fn sign_list(&mut self) -> Option<SignedDeviceList> {
        let key = self.policy_key.as_ref()?;
        self.list.version += 1;
        self.list.signature = key.sign(&self.list.statement()).to_vec().into();
        Some(self.list.clone())
    }

    /// This application signs, with its own policy key, a list for another user that names the device: what a meddler
    /// does.
    pub fn list_foreign_device(
        &self,
        device: &DeviceId,
        listed: Listed,
        like: &SignedDeviceList,
    ) -> Option<SignedDeviceList> {
        let key = self.policy_key.as_ref()?;
        let mut list = like.clone();
        list.version += 1;
        list.devices.insert(device.clone(), listed);
        list.policy_key = public(key);
        list.signature = key.sign(&list.statement()).to_vec().into();
        Some(list)
    }

    /// What a linked device's application takes over from an existing one of its user: whom it knows, not the right to sign.
    pub fn link_to(&mut self, existing: &Self) {
        self.policy_key = None;
        self.list = existing.list.clone();
        self.pins = existing.pins.clone();
        self.met = existing.met.clone();
        self.links = existing.links.clone();
    }

    /// The user compared keys with `peer` out of band: these are the true ones.
    pub fn verify(&mut self, peer: &App, identity: &Identity) {
        self.pins.insert(
            peer.device.user.clone(),
            Pin {
                account_key: identity.account_key.clone(),
                policy_key: peer.list.policy_key.clone(),
                verified: true,
                version_seen: peer.list.version,
            },
        );
    }

    /// A member published a link to the group, and told the others so.
    pub fn link_published(&mut self, group: &GroupId) {
        self.links.insert(group.clone());
    }

    /// The device's roster of a group, as it stands now.
    pub fn note_roster(&mut self, group: &GroupId, members: &[DeviceId]) {
        let digest = Bytes(Sha256::digest(statement(b"E2ESM roster v1", &members)).to_vec());
        let log = self.rosters.entry(group.clone()).or_default();
        log.known.insert(digest.clone());
        log.present = digest;
    }

    /// Seals a packet: its content, its sender, and the roster that the sender has in mind.
    pub fn seal(&mut self, packet: &mut Packet) {
        let roster = self.rosters.get(&packet.group).map(|log| log.present.clone()).unwrap_or_default();
        self.sealed += 1;
        let statement = sealed(packet, &self.device, self.sealed, &roster);
        let signature = self.seal_key.sign(&statement).to_vec().into();
        let seal = Seal { by: self.device.clone(), number: self.sealed, roster, signature };
        packet.seal = serde_json::to_vec(&seal).ok().map(Bytes);
    }

    /// Answers a question.
    pub fn decide(&mut self, fact: &Fact, context: &Context<'_>) -> bool {
        match fact {
            Fact::Identity { device, identity, .. } => self.trusts(device, identity, context),
            // This device itself: a member vouches for having added it, or the library for its own act.
            Fact::Add { group, device, by, authenticated } if *device == self.device => {
                *authenticated || self.sealed_change(group, by, context)
            }
            // A device that joins by its own act has been invited by a link.
            Fact::Add { group, device, by, .. } if device == by => {
                self.links.contains(group) && self.listed(device, context)
            }
            Fact::Add { group, device, by, authenticated } => {
                (*authenticated || self.sealed_change(group, by, context))
                    && self.may_change(by)
                    && self.listed(device, context)
            }
            Fact::Remove { group, device, by, authenticated } => {
                // Whoever removed a device may have revoked it: the newest list is to be known from now on.
                self.newest_list(&device.user, context);
                (*authenticated || self.sealed_change(group, by, context)) && self.removal_allowed(by, device)
            }
            Fact::ListedDevice { device } => self.listed(device, context),
            Fact::Recipients { group, sender } => self.same_recipients(group, sender, context),
            Fact::Replay { session, index, .. } => self.taken.insert((session.clone(), *index)),
            Fact::Resend { device, account_key, original, acknowledged } => {
                let verified =
                    self.pins.get(&device.user).is_some_and(|pin| pin.verified && pin.account_key == *account_key);
                !acknowledged && (account_key == original || verified)
            }
            Fact::KeyRequest { device, .. } => device.user == self.device.user && self.listed(device, context),
            Fact::UnsignedPrekey { .. }
            | Fact::Sender { .. }
            | Fact::NonMemberSender { .. }
            | Fact::StaleKey { .. }
            | Fact::History { .. } => false,
        }
    }

    fn may_change(&self, by: &DeviceId) -> bool {
        self.admins.is_empty() || self.admins.contains(&by.user)
    }

    /// Everybody may remove devices of their own.
    fn removal_allowed(&self, by: &DeviceId, device: &DeviceId) -> bool {
        device.user == by.user || self.may_change(by)
    }

    /// Whether this user may remove these devices from a group: asked before its own device does so.
    pub fn may_remove(&self, devices: &[DeviceId]) -> bool {
        devices.iter().all(|device| self.removal_allowed(&self.device, device))
    }

    /// Whether this user may add others to a group: asked before its own device does so.
    pub fn may_add(&self) -> bool {
        self.may_change(&self.device)
    }

    /// Whether these keys are this device's: vouched for, by the account key that is known, and on the newest list.
    fn trusts(&mut self, device: &DeviceId, identity: &Identity, context: &Context<'_>) -> bool {
        if self.trust_store == TrustStore::Blind {
            return true;
        }
        if !e2esm_account::vouched(device, identity) {
            return false;
        }
        let names = |list: &SignedDeviceList| {
            list.devices.get(device).is_some_and(|listed| listed.device_key == identity.device_key)
        };
        let Some(pin) = self.pins.get(&device.user) else {
            let Some(list) = self.first_contact(&device.user, context).into_iter().find(names) else { return false };
            let pin = Pin {
                account_key: identity.account_key.clone(),
                policy_key: list.policy_key,
                verified: false,
                version_seen: list.version,
            };
            self.pins.insert(device.user.clone(), pin);
            return true;
        };
        pin.account_key == identity.account_key
            && self.newest_list(&device.user, context).is_some_and(|list| names(&list))
    }

    /// Whether the newest list of its user names the device. Of a user whose key is not known yet any newest list will do, as
    /// far as the trust store allows that: whose key it is comes to be asked with the key.
    fn listed(&mut self, device: &DeviceId, context: &Context<'_>) -> bool {
        match self.pins.contains_key(&device.user) {
            true => self.newest_list(&device.user, context).is_some_and(|list| list.devices.contains_key(device)),
            false => self.first_contact(&device.user, context).iter().any(|list| list.devices.contains_key(device)),
        }
    }

    /// Of a user whose account key is not known yet: the newest list under each policy key that may be theirs.
    fn first_contact(&self, user: &UserId, context: &Context<'_>) -> Vec<SignedDeviceList> {
        if self.trust_store == TrustStore::VerifiedOnly {
            return Vec::new();
        }
        let known = self.met.get(user);
        let mut newest: Vec<SignedDeviceList> = Vec::new();
        for list in (context.lists)(user) {
            if list.user != *user || known.is_some_and(|key| *key != list.policy_key) || !list.holds() {
                continue;
            }
            match newest.iter_mut().find(|other| other.policy_key == list.policy_key) {
                Some(other) if other.version >= list.version => {}
                Some(other) => *other = list,
                None => newest.push(list),
            }
        }
        newest
    }

    /// The newest list that the server shows and the user's known policy key signed; never an older one than seen before.
    fn newest_list(&mut self, user: &UserId, context: &Context<'_>) -> Option<SignedDeviceList> {
        let pin = self.pins.get_mut(user)?;
        let list = (context.lists)(user)
            .into_iter()
            .filter(|list| list.user == *user && list.policy_key == pin.policy_key && list.holds())
            .max_by_key(|list| list.version)?;
        if list.version < pin.version_seen {
            return None;
        }
        pin.version_seen = list.version;
        Some(list)
    }

    /// The seal on the packet at hand, if it is this device's and holds.
    fn seal_of(&mut self, by: &DeviceId, context: &Context<'_>) -> Option<Seal> {
        let packet = context.packet?;
        let seal: Seal = serde_json::from_slice(packet.seal.as_ref()?.as_ref()).ok()?;
        if seal.by != *by {
            return None;
        }
        let statement = sealed(packet, by, seal.number, &seal.roster);
        let holds = |list: &SignedDeviceList| {
            list.devices.get(by).is_some_and(|listed| verify(&listed.seal_key, &statement, &seal.signature))
        };
        if self.pins.contains_key(&by.user) {
            return self.newest_list(&by.user, context).filter(holds).map(|_| seal);
        }
        let list = self.first_contact(&by.user, context).into_iter().find(holds)?;
        self.met.insert(by.user.clone(), list.policy_key);
        Some(seal)
    }

    /// Whether this device made the change at hand, and made it after its last one that was taken here.
    fn sealed_change(&mut self, group: &GroupId, by: &DeviceId, context: &Context<'_>) -> bool {
        let Some(seal) = self.seal_of(by, context) else { return false };
        let place = (group.clone(), by.clone());
        // One packet puts several questions.
        let fresh = self.changes.get(&place).is_none_or(|(number, signature)| {
            seal.number > *number || (seal.number == *number && seal.signature == *signature)
        });
        if fresh {
            self.changes.insert(place, (seal.number, seal.signature));
        }
        fresh
    }

    /// Whether the sender had a roster in mind that this device has (or had: what is late is not hidden).
    fn same_recipients(&mut self, group: &GroupId, sender: &DeviceId, context: &Context<'_>) -> bool {
        let Some(seal) = self.seal_of(sender, context) else { return false };
        self.rosters.get(group).is_some_and(|log| log.known.contains(&seal.roster))
    }
}

/// What a seal signs.
fn sealed(packet: &Packet, by: &DeviceId, number: u64, roster: &Bytes) -> Vec<u8> {
    let to = match &packet.to {
        Address::Group(group) => format!("group {group}"),
        Address::Device(device) => format!("device {device}"),
        Address::Devices(devices) => {
            let devices: Vec<_> = devices.iter().map(ToString::to_string).collect();
            format!("devices {}", devices.join(" "))
        }
        Address::Server => "server".to_owned(),
    };
    statement(b"E2ESM seal v1", &(packet.kind, &packet.group, to, by, number, &packet.bytes, roster))
}

/// A domain-separated encoding: JSON of a tuple is injective for the types used here.
fn statement(context: &[u8], content: &impl Serialize) -> Vec<u8> {
    let mut bytes = context.to_vec();
    bytes.push(0);
    bytes.extend(serde_json::to_vec(content).unwrap_or_default());
    bytes
}

fn public(key: &SigningKey) -> Bytes {
    key.verifying_key().to_bytes().to_vec().into()
}

fn verify(key: &Bytes, statement: &[u8], signature: &Bytes) -> bool {
    let Ok(key) = <[u8; 32]>::try_from(key.as_ref()) else { return false };
    let Ok(key) = VerifyingKey::from_bytes(&key) else { return false };
    let Ok(signature) = Signature::from_slice(signature.as_ref()) else { return false };
    key.verify(statement, &signature).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use e2esm_account::Account;
    use e2esm_adapter::PacketKind;

    /// A person with one device: its application, and its identity.
    fn person(user: &str, trust_store: TrustStore) -> (App, Identity) {
        let device = DeviceId::new(user, "phone");
        let identity = Account::new(&device, user.as_bytes()).identity();
        let trust_store = BTreeMap::from([(device.user.clone(), trust_store)]);
        (App::new(&device, &identity, &PolicySettings { trust_store, admins: Vec::new() }), identity)
    }

    fn asks(app: &mut App, fact: &Fact, lists: &[SignedDeviceList], packet: Option<&Packet>) -> bool {
        let shown = |user: &UserId| lists.iter().filter(|list| list.user == *user).cloned().collect();
        app.decide(fact, &Context { packet, lists: &shown })
    }

    fn whose(app: &App, identity: &Identity) -> Fact {
        Fact::Identity { device: app.device().clone(), identity: identity.clone(), previous: None }
    }

    #[test]
    fn a_trust_store_is_blind_or_keeps_the_first_key_or_wants_it_verified() {
        let (bob, his) = person("bob", TrustStore::Tofu);
        let (impostor, other) = person("bob", TrustStore::Tofu);
        let lists = [bob.device_list().clone(), impostor.device_list().clone()];
        for (trust_store, first, second) in
            [(TrustStore::Blind, true, true), (TrustStore::Tofu, true, false), (TrustStore::VerifiedOnly, false, false)]
        {
            let (mut alice, _) = person("alice", trust_store);
            assert_eq!(asks(&mut alice, &whose(&bob, &his), &lists, None), first, "{trust_store:?}, first key");
            assert_eq!(asks(&mut alice, &whose(&bob, &other), &lists, None), second, "{trust_store:?}, another key");
            alice.verify(&impostor, &other);
            assert!(asks(&mut alice, &whose(&bob, &other), &lists, None), "{trust_store:?}, once it is verified");
        }
    }

    #[test]
    fn a_device_list_must_be_signed_by_its_user_and_never_grows_old() {
        let (mut alice, _) = person("alice", TrustStore::Tofu);
        let (mut bob, his) = person("bob", TrustStore::Tofu);
        let (carol, _) = person("carol", TrustStore::Tofu);
        let tablet = DeviceId::new("bob", "tablet");
        let key = Listed { device_key: Bytes(b"tablet".to_vec()), seal_key: Bytes::default() };
        let listed = Fact::ListedDevice { device: tablet.clone() };
        let first = bob.device_list().clone();
        assert!(asks(&mut alice, &whose(&bob, &his), std::slice::from_ref(&first), None));
        let meddled = carol.list_foreign_device(&tablet, key.clone(), &first).expect("carol's is a first device");
        assert!(!asks(&mut alice, &listed, &[first.clone(), meddled], None), "carol cannot sign for bob");
        let mut unsigned = first.clone();
        unsigned.version += 1;
        unsigned.devices.insert(tablet.clone(), key.clone());
        assert!(!asks(&mut alice, &listed, &[unsigned], None), "nor can the server add to what bob signed");
        let second = bob.list_device(&tablet, key.clone()).expect("a first device");
        assert!(asks(&mut alice, &listed, &[first, second.clone()], None));
        let third = bob.unlist_device(&tablet).expect("a first device");
        assert!(!asks(&mut alice, &listed, &[second.clone(), third.clone()], None), "revoked");
        assert!(!asks(&mut alice, &listed, std::slice::from_ref(&second), None), "the old list is not taken again");
        let (mut dave, _) = person("dave", TrustStore::Tofu);
        assert!(!asks(&mut dave, &listed, &[second, third], None), "a newcomer takes the newest of what is shown");
    }

    #[test]
    fn a_linked_device_cannot_let_others_in() {
        let (mut bob, _) = person("bob", TrustStore::Tofu);
        let (mut tablet, identity) = person("bob", TrustStore::Tofu);
        let listed = tablet.listed_as(&identity);
        assert!(bob.list_device(&DeviceId::new("bob", "tablet"), listed.clone()).is_some());
        tablet.link_to(&bob);
        assert!(tablet.list_device(&DeviceId::new("bob", "watch"), listed).is_none());
    }

    #[test]
    fn a_change_is_taken_once_and_in_the_order_of_its_author() {
        let (mut alice, _) = person("alice", TrustStore::Tofu);
        let (mut bob, _) = person("bob", TrustStore::Tofu);
        let (impostor, _) = person("alice", TrustStore::Tofu);
        let group = GroupId("friends".to_owned());
        let lists = [alice.device_list().clone(), impostor.device_list().clone(), bob.device_list().clone()];
        let remove = Fact::Remove {
            group: group.clone(),
            device: DeviceId::new("carol", "phone"),
            by: alice.device().clone(),
            authenticated: false,
        };
        let change = |app: &mut App, byte| {
            let mut packet = Packet {
                kind: PacketKind::Change,
                group: group.clone(),
                from: app.device().clone(),
                to: Address::Group(group.clone()),
                opens_session: false,
                bytes: Bytes(vec![byte]),
                seal: None,
            };
            app.seal(&mut packet);
            packet
        };
        let (first, second) = (change(&mut alice, 1), change(&mut alice, 2));
        assert!(asks(&mut bob, &remove, &lists, Some(&first)));
        assert!(asks(&mut bob, &remove, &lists, Some(&first)), "the same packet may put several questions");
        assert!(asks(&mut bob, &remove, &lists, Some(&second)));
        assert!(!asks(&mut bob, &remove, &lists, Some(&first)), "an old change is a replay");
        let mut other = impostor;
        assert!(!asks(&mut bob, &remove, &lists, Some(&change(&mut other, 3))), "alice is whom bob first met as alice");
    }

    #[test]
    fn a_seal_binds_sender_content_and_roster() {
        let (mut alice, hers) = person("alice", TrustStore::Tofu);
        let (mut bob, _) = person("bob", TrustStore::Tofu);
        let group = GroupId("friends".to_owned());
        let members = [alice.device().clone(), bob.device().clone()];
        alice.note_roster(&group, &members);
        bob.note_roster(&group, &members);
        let lists = [alice.device_list().clone()];
        assert!(asks(&mut bob, &whose(&alice, &hers), &lists, None));
        let mut packet = Packet {
            kind: PacketKind::Message,
            group: group.clone(),
            from: alice.device().clone(),
            to: Address::Group(group.clone()),
            opens_session: false,
            bytes: Bytes(vec![1]),
            seal: None,
        };
        let fact = Fact::Recipients { group: group.clone(), sender: alice.device().clone() };
        assert!(!asks(&mut bob, &fact, &lists, Some(&packet)), "no seal");
        alice.seal(&mut packet);
        assert!(asks(&mut bob, &fact, &lists, Some(&packet)));
        let altered = Packet { bytes: Bytes(vec![2]), ..packet.clone() };
        assert!(!asks(&mut bob, &fact, &lists, Some(&altered)), "other bytes");
        alice.note_roster(&group, &[members.as_slice(), &[DeviceId::new("mallory", "laptop")]].concat());
        alice.seal(&mut packet);
        assert!(!asks(&mut bob, &fact, &lists, Some(&packet)), "a recipient of whom bob has never heard");
    }

    #[test]
    fn a_message_is_sent_once_more_only_undelivered_and_to_a_key_that_it_went_to_or_that_is_verified() {
        let (mut alice, _) = person("alice", TrustStore::Tofu);
        let (bob, his) = person("bob", TrustStore::Tofu);
        let (again, new) = person("bob", TrustStore::Tofu);
        let lists = [bob.device_list().clone()];
        assert!(asks(&mut alice, &whose(&bob, &his), &lists, None));
        let resend = |key: &Identity, acknowledged| Fact::Resend {
            device: DeviceId::new("bob", "phone"),
            account_key: key.account_key.clone(),
            original: his.account_key.clone(),
            acknowledged,
        };
        assert!(asks(&mut alice, &resend(&his, false), &lists, None));
        assert!(!asks(&mut alice, &resend(&his, true), &lists, None), "bob has it already");
        assert!(!asks(&mut alice, &resend(&new, false), &lists, None), "the flaw of 2017");
        alice.verify(&again, &new);
        assert!(asks(&mut alice, &resend(&new, false), &lists, None), "verified first");
    }

    #[test]
    fn a_place_in_a_session_is_taken_once() {
        let (mut alice, _) = person("alice", TrustStore::Tofu);
        let place = |index| Fact::Replay { device: DeviceId::new("bob", "phone"), session: "s".to_owned(), index };
        assert!(asks(&mut alice, &place(0), &[], None));
        assert!(asks(&mut alice, &place(1), &[], None));
        assert!(!asks(&mut alice, &place(0), &[], None));
    }
}
