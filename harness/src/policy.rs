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

/// A user's devices, signed with that user's policy key. Public: the server stores it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedDeviceList {
    /// Whose devices.
    pub user: UserId,
    /// Rises with each change; a lower one than already seen is a replay.
    pub version: u64,
    /// Each device's own key.
    pub devices: BTreeMap<DeviceId, Bytes>,
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

/// What an application puts beside a packet: who sends it, and to whom it knew that it sent it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Seal {
    by: DeviceId,
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
    policy_key: SigningKey,
    list: SignedDeviceList,
    pins: BTreeMap<UserId, Pin>,
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
                policy_key: policy_key.verifying_key().to_bytes().to_vec().into(),
                signature: Bytes::default(),
            },
            policy_key,
            pins: BTreeMap::new(),
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
        app.list_device(device, &identity.device_key);
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

    /// Puts a device on the list.
    pub fn list_device(&mut self, device: &DeviceId, device_key: &Bytes) -> SignedDeviceList {
        self.list.devices.insert(device.clone(), device_key.clone());
        self.sign_list()
    }

    /// Takes a device off the list.
    pub fn unlist_device(&mut self, device: &DeviceId) -> SignedDeviceList {
        self.list.devices.remove(device);
        self.sign_list()
    }

    fn sign_list(&mut self) -> SignedDeviceList {
        self.list.version += 1;
        self.list.signature = self.policy_key.sign(&self.list.statement()).to_vec().into();
        self.list.clone()
    }

    /// This application signs, with its own policy key, a list for another user that names the device: what a meddler does.
    pub fn list_foreign_device(
        &self,
        device: &DeviceId,
        device_key: &Bytes,
        like: &SignedDeviceList,
    ) -> SignedDeviceList {
        let mut list = like.clone();
        list.version += 1;
        list.devices.insert(device.clone(), device_key.clone());
        list.policy_key = self.policy_key.verifying_key().to_bytes().to_vec().into();
        list.signature = self.policy_key.sign(&list.statement()).to_vec().into();
        list
    }

    /// A linked device's application works for the same user, with the same policy key and knowledge.
    pub fn linked(&self, device: &DeviceId) -> Self {
        Self { device: device.clone(), rosters: BTreeMap::new(), ..self.clone() }
    }

    /// The user compared keys with `peer` out of band: these are the true ones.
    pub fn verify(&mut self, peer: &App, identity: &Identity) {
        let version_seen = self.pins.get(&peer.device.user).map_or(0, |pin| pin.version_seen.min(peer.list.version));
        self.pins.insert(
            peer.device.user.clone(),
            Pin {
                account_key: identity.account_key.clone(),
                policy_key: peer.list.policy_key.clone(),
                verified: true,
                version_seen,
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
    pub fn seal(&self, packet: &mut Packet) {
        let roster = self.rosters.get(&packet.group).map(|log| log.present.clone()).unwrap_or_default();
        let signature = self.policy_key.sign(&sealed(packet, &self.device, &roster)).to_vec().into();
        let seal = Seal { by: self.device.clone(), roster, signature };
        packet.seal = serde_json::to_vec(&seal).ok().map(Bytes);
    }

    /// Answers a question.
    pub fn decide(&mut self, fact: &Fact, context: &Context<'_>) -> bool {
        if self.trust_store == TrustStore::Blind {
            return true;
        }
        match fact {
            Fact::Identity { device, identity, .. } => self.trusts(device, identity, context),
            // This device itself: it joins by its own act, or a member vouches for having added it.
            Fact::Add { device, by, authenticated, .. } if *device == self.device => {
                device == by || *authenticated || self.sealed_by(by, context)
            }
            // A device that joins by its own act has been invited by a link.
            Fact::Add { group, device, by, .. } if device == by => {
                self.links.contains(group) && self.listed(device, context)
            }
            Fact::Add { device, by, authenticated, .. } => {
                (*authenticated || self.sealed_by(by, context)) && self.may_change(by) && self.listed(device, context)
            }
            Fact::Remove { device, by, authenticated, .. } => {
                // Whoever removed a device may have revoked it: the newest list is to be known from now on.
                self.newest_list(&device.user, context);
                (*authenticated || self.sealed_by(by, context)) && (device.user == by.user || self.may_change(by))
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

    /// Whether these keys are this device's: vouched for, by the account key that is known, and on the newest list.
    fn trusts(&mut self, device: &DeviceId, identity: &Identity, context: &Context<'_>) -> bool {
        if !e2esm_account::vouched(device, identity) {
            return false;
        }
        let names = |list: &SignedDeviceList| list.devices.get(device) == Some(&identity.device_key);
        let Some(pin) = self.pins.get(&device.user) else {
            if self.trust_store == TrustStore::VerifiedOnly {
                return false;
            }
            let Some(list) = (context.lists)(&device.user).into_iter().find(|list| list.holds() && names(list)) else {
                return false;
            };
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

    /// Whether the newest list of its user names the device. Of a user whose key is not known yet any list will do, as far
    /// as the trust store allows that: whose key it is comes to be asked with the key.
    fn listed(&mut self, device: &DeviceId, context: &Context<'_>) -> bool {
        if self.pins.contains_key(&device.user) {
            return self.newest_list(&device.user, context).is_some_and(|list| list.devices.contains_key(device));
        }
        self.trust_store != TrustStore::VerifiedOnly
            && (context.lists)(&device.user).iter().any(|list| list.holds() && list.devices.contains_key(device))
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
        let holds = |key: &Bytes| verify(key, &sealed(packet, by, &seal.roster), &seal.signature);
        let held = match self.pins.get(&by.user) {
            Some(pin) => holds(&pin.policy_key),
            None if self.trust_store == TrustStore::VerifiedOnly => false,
            None => (context.lists)(&by.user).iter().any(|list| list.holds() && holds(&list.policy_key)),
        };
        held.then_some(seal)
    }

    fn sealed_by(&mut self, by: &DeviceId, context: &Context<'_>) -> bool {
        self.seal_of(by, context).is_some()
    }

    /// Whether the sender had a roster in mind that this device has (or had: what is late is not hidden).
    fn same_recipients(&mut self, group: &GroupId, sender: &DeviceId, context: &Context<'_>) -> bool {
        let Some(seal) = self.seal_of(sender, context) else { return false };
        self.rosters.get(group).is_some_and(|log| log.known.contains(&seal.roster))
    }
}

/// What a seal signs.
fn sealed(packet: &Packet, by: &DeviceId, roster: &Bytes) -> Vec<u8> {
    let to = match &packet.to {
        Address::Group(group) => format!("group {group}"),
        Address::Device(device) => format!("device {device}"),
        Address::Server => "server".to_owned(),
    };
    statement(b"E2ESM seal v1", &(packet.kind, &packet.group, to, by, &packet.bytes, roster))
}

/// A domain-separated encoding: JSON of a tuple is injective for the types used here.
fn statement(context: &[u8], content: &impl Serialize) -> Vec<u8> {
    let mut bytes = context.to_vec();
    bytes.push(0);
    bytes.extend(serde_json::to_vec(content).unwrap_or_default());
    bytes
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
        let key = Bytes(b"tablet".to_vec());
        let listed = Fact::ListedDevice { device: tablet.clone() };
        let first = bob.device_list().clone();
        assert!(asks(&mut alice, &whose(&bob, &his), std::slice::from_ref(&first), None));
        let meddled = carol.list_foreign_device(&tablet, &key, &first);
        assert!(!asks(&mut alice, &listed, &[first.clone(), meddled], None), "carol cannot sign for bob");
        let mut unsigned = first.clone();
        unsigned.version += 1;
        unsigned.devices.insert(tablet.clone(), key.clone());
        assert!(!asks(&mut alice, &listed, &[unsigned], None), "nor can the server add to what bob signed");
        let second = bob.list_device(&tablet, &key);
        assert!(asks(&mut alice, &listed, &[first, second.clone()], None));
        let third = bob.unlist_device(&tablet);
        assert!(!asks(&mut alice, &listed, &[second.clone(), third], None), "revoked");
        assert!(!asks(&mut alice, &listed, &[second], None), "the old list is not taken again");
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
