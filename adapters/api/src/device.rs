//! The trait: an adapter makes devices, and a device is the only thing with state.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::attack::{Fault, Forged, Forgery};
use crate::decision::Notebook;
use crate::describe::Description;
use crate::error::Error;
use crate::ids::{Bytes, DeviceId, GroupId};
use crate::packet::{Authorisation, Bundle, Change, Fingerprint, Identity, LinkRequest, Output, Packet, Roster};
use crate::recorded::{Delivered, Delivery, Passive, Start};

/// An implementation in one configuration: makes devices.
pub trait Adapter: Send + Sync {
    /// What this is and what it cannot do.
    fn describe(&self) -> Description;

    /// A new device with fresh keys: at first its user's only one, with an account key of its own.
    ///
    /// # Errors
    /// [`Internal`](crate::ErrorClass::Internal) where the library fails.
    fn device(&self, id: &DeviceId) -> Result<Box<dyn Device>, Error>;

    /// A device from a copied state (see [`Device::export_state`]): what a thief makes of it.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorClass::Unsupported) by default.
    fn restore(&self, id: &DeviceId, state: &[u8]) -> Result<Box<dyn Device>, Error> {
        let _ = (id, state);
        Err(Error::unsupported("restore"))
    }

    /// A device from what it stored itself (see [`Device::store`]): the same device goes on.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorClass::Unsupported) by default; `BadRequest` for bytes that are no such store.
    fn load(&self, id: &DeviceId, store: &[u8]) -> Result<Box<dyn Device>, Error> {
        let _ = (id, store);
        Err(Error::unsupported("load"))
    }

    /// A device that only receives, for the recorded vectors of the protocols that
    /// [`Description::recorded`] names.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorClass::Unsupported) for another protocol, and for a cipher suite that the crypto
    /// provider does not have; `BadRequest` for keys that are none.
    fn passive(&self, start: &Start) -> Result<Box<dyn Passive>, Error> {
        let _ = start;
        Err(Error::unsupported("passive"))
    }

    /// Whether the devices' cryptography goes through the [`meter`](crate::meter).
    fn metered(&self) -> bool {
        false
    }
}

/// One user's one client. It does no I/O: packets and events come out, the harness is the network and the server.
///
/// An operation that the implementation does not have answers [`Unsupported`](crate::ErrorClass::Unsupported) whatever its
/// arguments are; one that it has never does. A call that fails, above all with
/// [`UndecidedTrust`](crate::ErrorClass::UndecidedTrust), leaves the device able to take the same call again.
pub trait Device: Send {
    /// Where decisions are asked for and events are kept.
    fn notebook(&self) -> &Notebook;

    /// The public keys that this device stands for.
    ///
    /// # Errors
    /// `Internal` where the library fails.
    fn identity(&mut self) -> Result<Identity, Error>;

    /// A key package or prekey bundle, single use, for `peer` to claim.
    ///
    /// # Errors
    /// `Internal` where the library fails.
    fn publish(&mut self, peer: &DeviceId) -> Result<Bundle, Error>;

    /// A new group with this device as its only member. Comes into force at once.
    ///
    /// # Errors
    /// `Duplicate` if the device has a group of that id.
    fn create_group(&mut self, group: &GroupId) -> Result<Output, Error>;

    /// Adds, removes and refreshes in one step. The packets are a `Change` to the group, then a `Welcome` for each device
    /// added. The change stays pending until the server delivers that `Change` packet back through [`receive`](Self::receive); if
    /// another member's change comes first, the pending one is dropped.
    ///
    /// # Errors
    /// `UntrustedIdentity`, `AuthFailed`, ... where a bundle is not to be used; `NotMember` for a removal of nobody.
    fn change(&mut self, group: &GroupId, change: &Change) -> Result<Output, Error>;

    /// The members to whom the next [`send`](Self::send) would go and with whom there is no session yet: for each a bundle is to be
    /// claimed and handed to [`introduce`](Self::introduce). Empty for MLS.
    ///
    /// # Errors
    /// `BadRequest` for an unknown group.
    fn wants(&mut self, group: &GroupId) -> Result<Vec<DeviceId>, Error> {
        let _ = group;
        Ok(Vec::new())
    }

    /// Opens a pairwise session from a claimed bundle; replaces an existing one if the bundle shows another identity.
    ///
    /// # Errors
    /// `UntrustedIdentity`, `AuthFailed`, ... where the bundle is not to be used; `Unsupported` without pairwise sessions.
    fn introduce(&mut self, bundle: &Bundle) -> Result<Output, Error> {
        let _ = bundle;
        Err(Error::unsupported("introduce: the protocol has no pairwise sessions"))
    }

    /// Encrypts to the group. Members without a usable session are left out, each with an `Event::Skipped`. For Sender Keys
    /// and Megolm the key distributions that are still owed come first among the packets.
    ///
    /// # Errors
    /// `BadRequest` for an unknown group, `NotMember` once removed.
    fn send(&mut self, group: &GroupId, plaintext: &[u8]) -> Result<Output, Error>;

    /// Joins, decrypts, processes, merges an own change: one door for whatever arrives.
    ///
    /// # Errors
    /// Whatever the library says, in classes.
    fn receive(&mut self, packet: &Packet) -> Result<Output, Error>;

    /// Who is in the group, as this device sees it.
    ///
    /// # Errors
    /// `BadRequest` for an unknown group.
    fn roster(&mut self, group: &GroupId) -> Result<Roster, Error>;

    /// What people or programs compare: for MLS the group's epoch authenticator, else a value for this device and `peer`.
    ///
    /// # Errors
    /// `BadRequest` for an unknown group or peer.
    fn fingerprint(&mut self, group: &GroupId, peer: &DeviceId) -> Result<Fingerprint, Error> {
        let _ = (group, peer);
        Err(Error::unsupported("fingerprint"))
    }

    /// Encrypts `plaintext`, sent earlier, once more for the device of this (new) bundle alone. Capability `resend`.
    ///
    /// # Errors
    /// `Refused`, `UntrustedIdentity` where the application says no.
    fn resend(
        &mut self,
        group: &GroupId,
        plaintext: &[u8],
        bundle: &Bundle,
        acknowledged: bool,
    ) -> Result<Output, Error> {
        let _ = (group, plaintext, bundle, acknowledged);
        Err(Error::unsupported("resend"))
    }

    /// Gives a member the keys of what was sent before it came. Capability `history`.
    ///
    /// # Errors
    /// `Refused` where the application says no.
    fn share_history(&mut self, group: &GroupId, to: &DeviceId) -> Result<Output, Error> {
        let _ = (group, to);
        Err(Error::unsupported("share_history"))
    }

    /// Asks `holder` for the keys of the group's messages. Capability `key_request`.
    ///
    /// # Errors
    /// `BadRequest` for an unknown group.
    fn request_keys(&mut self, group: &GroupId, holder: &DeviceId) -> Result<Output, Error> {
        let _ = (group, holder);
        Err(Error::unsupported("request_keys"))
    }

    /// What this new device shows to an existing one of its user. Capability `linking`.
    ///
    /// # Errors
    /// `Internal` where the library fails.
    fn link_request(&mut self) -> Result<LinkRequest, Error> {
        Err(Error::unsupported("link_request"))
    }

    /// Vouches for a new device with this user's account key. Checks nothing: whoever calls it has decided.
    ///
    /// # Errors
    /// `Internal` where the library fails.
    fn authorise(&mut self, request: &LinkRequest) -> Result<Authorisation, Error> {
        let _ = request;
        Err(Error::unsupported("authorise"))
    }

    /// Takes the word of an existing device: from now on bundles and identity show that account key.
    ///
    /// # Errors
    /// `BadRequest` if it is for another device.
    fn accept_authorisation(&mut self, authorisation: &Authorisation) -> Result<(), Error> {
        let _ = authorisation;
        Err(Error::unsupported("accept_authorisation"))
    }

    /// Public information with which a device may join by its own act (MLS GroupInfo with the tree). Capability
    /// `external_join`.
    ///
    /// # Errors
    /// `BadRequest` for an unknown group.
    fn group_info(&mut self, group: &GroupId) -> Result<Bytes, Error> {
        let _ = group;
        Err(Error::unsupported("group_info"))
    }

    /// Joins with such information: the packets are a `Change` for the group. The joiner is a member at once.
    ///
    /// # Errors
    /// `BadRequest`, `AuthFailed` for information that does not hold.
    fn external_join(&mut self, group_info: &[u8]) -> Result<Output, Error> {
        let _ = group_info;
        Err(Error::unsupported("external_join"))
    }

    /// Whether this device's next changes put the group's ratchet tree into the Welcome (they do at first) or leave it to
    /// the application to get it to the newcomers. Capability `ratchet_tree`.
    ///
    /// # Errors
    /// `BadRequest` for an unknown group.
    fn tree_in_welcome(&mut self, group: &GroupId, inside: bool) -> Result<(), Error> {
        let _ = (group, inside);
        Err(Error::unsupported("tree_in_welcome"))
    }

    /// The group's ratchet tree, as RFC 9420, section 12.4.3.3 writes it: `optional<Node> ratchet_tree<V>`. Capability
    /// `ratchet_tree`.
    ///
    /// # Errors
    /// `BadRequest` for an unknown group.
    fn ratchet_tree(&mut self, group: &GroupId) -> Result<Bytes, Error> {
        let _ = group;
        Err(Error::unsupported("ratchet_tree"))
    }

    /// Joins by a Welcome that has no tree in it. Capability `ratchet_tree`.
    ///
    /// # Errors
    /// Those of [`receive`](Self::receive).
    fn join_with_tree(&mut self, welcome: &Packet, ratchet_tree: &[u8]) -> Result<Output, Error> {
        let _ = (welcome, ratchet_tree);
        Err(Error::unsupported("join_with_tree"))
    }

    /// Everything that this device needs to go on after a restart, by the library's own means of persistence:
    /// [`Adapter::load`] makes the device again. Its size is the size of the state. Capability `persistence`.
    ///
    /// # Errors
    /// `Internal` where the library fails.
    fn store(&mut self) -> Result<Bytes, Error> {
        Err(Error::unsupported("store"))
    }

    /// The private keys of everything that this device has published and not used yet, in the protocol's standard form: what a
    /// recorded vector starts with. Capability `standard_keys`.
    ///
    /// # Errors
    /// `Internal` where the library fails.
    fn standard_keys(&mut self) -> Result<Start, Error> {
        Err(Error::unsupported("standard_keys"))
    }

    /// What the latest [`receive`](Self::receive) brought to the library itself, as deliveries to a passive device: the packet, and
    /// a key that came out of it, which the group management handed on to the library. Capability `standard_keys`; an
    /// implementation whose packets are the library's own bytes leaves it as it is.
    ///
    /// # Errors
    /// `Unsupported` by default.
    fn transcript(&mut self) -> Result<Vec<Delivery>, Error> {
        Err(Error::unsupported("transcript: packets are the library's own"))
    }

    /// The whole secret state, account key included: what a thief copies.
    ///
    /// # Errors
    /// `Internal` where the library fails.
    fn export_state(&mut self) -> Result<Bytes, Error> {
        Err(Error::unsupported("export_state"))
    }

    /// From now on this device bends its own cryptography.
    ///
    /// # Errors
    /// `Unsupported` for a fault that this implementation cannot be brought to commit.
    fn misbehave(&mut self, fault: &Fault) -> Result<(), Error> {
        let _ = fault;
        Err(Error::unsupported("misbehave"))
    }

    /// Crafts what an outsider would.
    ///
    /// # Errors
    /// `Unsupported` for a forgery that has no counterpart in this protocol.
    fn craft(&mut self, forgery: &Forgery) -> Result<Forged, Error> {
        let _ = forgery;
        Err(Error::unsupported("craft"))
    }

    /// Takes any of the calls above: what the dispatcher uses, and what a deliberately flawed implementation overrides.
    ///
    /// # Errors
    /// Those of the call.
    fn call(&mut self, call: &Call) -> Result<Answer, Error> {
        Ok(match call {
            Call::Identity {} => Answer::Identity(self.identity()?),
            Call::Publish { peer } => Answer::Bundle(self.publish(peer)?),
            Call::CreateGroup { group } => Answer::Output(self.create_group(group)?),
            Call::Change { group, change } => Answer::Output(self.change(group, change)?),
            Call::Wants { group } => Answer::Devices(self.wants(group)?),
            Call::Introduce { bundle } => Answer::Output(self.introduce(bundle)?),
            Call::Send { group, plaintext } => Answer::Output(self.send(group, plaintext.as_ref())?),
            Call::Receive { packet } => Answer::Output(self.receive(packet)?),
            Call::Roster { group } => Answer::Roster(self.roster(group)?),
            Call::Fingerprint { group, peer } => Answer::Fingerprint(self.fingerprint(group, peer)?),
            Call::Resend { group, plaintext, bundle, acknowledged } => {
                Answer::Output(self.resend(group, plaintext.as_ref(), bundle, *acknowledged)?)
            }
            Call::ShareHistory { group, to } => Answer::Output(self.share_history(group, to)?),
            Call::RequestKeys { group, holder } => Answer::Output(self.request_keys(group, holder)?),
            Call::LinkRequest {} => Answer::LinkRequest(self.link_request()?),
            Call::Authorise { request } => Answer::Authorisation(self.authorise(request)?),
            Call::AcceptAuthorisation { authorisation } => {
                self.accept_authorisation(authorisation)?;
                Answer::Done {}
            }
            Call::GroupInfo { group } => Answer::Bytes(self.group_info(group)?),
            Call::ExternalJoin { group_info } => Answer::Output(self.external_join(group_info.as_ref())?),
            Call::TreeInWelcome { group, inside } => {
                self.tree_in_welcome(group, *inside)?;
                Answer::Done {}
            }
            Call::RatchetTree { group } => Answer::Bytes(self.ratchet_tree(group)?),
            Call::JoinWithTree { welcome, ratchet_tree } => {
                Answer::Output(self.join_with_tree(welcome, ratchet_tree.as_ref())?)
            }
            Call::Store {} => Answer::Bytes(self.store()?),
            Call::StandardKeys {} => Answer::Start(Box::new(self.standard_keys()?)),
            Call::Transcript {} => Answer::Deliveries(self.transcript()?),
            Call::ExportState {} => Answer::Bytes(self.export_state()?),
            Call::Misbehave { fault } => {
                self.misbehave(fault)?;
                Answer::Done {}
            }
            Call::Craft { forgery } => Answer::Forged(self.craft(forgery)?),
        })
    }
}

/// A call to a device, as it travels over stdio: one variant for each method of [`Device`], where it is documented.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[allow(missing_docs)]
pub enum Call {
    Identity {},
    Publish { peer: DeviceId },
    CreateGroup { group: GroupId },
    Change { group: GroupId, change: Change },
    Wants { group: GroupId },
    Introduce { bundle: Bundle },
    Send { group: GroupId, plaintext: Bytes },
    Receive { packet: Packet },
    Roster { group: GroupId },
    Fingerprint { group: GroupId, peer: DeviceId },
    Resend { group: GroupId, plaintext: Bytes, bundle: Bundle, acknowledged: bool },
    ShareHistory { group: GroupId, to: DeviceId },
    RequestKeys { group: GroupId, holder: DeviceId },
    LinkRequest {},
    Authorise { request: LinkRequest },
    AcceptAuthorisation { authorisation: Authorisation },
    GroupInfo { group: GroupId },
    ExternalJoin { group_info: Bytes },
    TreeInWelcome { group: GroupId, inside: bool },
    RatchetTree { group: GroupId },
    JoinWithTree { welcome: Packet, ratchet_tree: Bytes },
    Store {},
    StandardKeys {},
    Transcript {},
    ExportState {},
    Misbehave { fault: Fault },
    Craft { forgery: Forgery },
}

impl Call {
    /// The call's name: what a transcript shows.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Identity {} => "identity",
            Self::Publish { .. } => "publish",
            Self::CreateGroup { .. } => "create_group",
            Self::Change { .. } => "change",
            Self::Wants { .. } => "wants",
            Self::Introduce { .. } => "introduce",
            Self::Send { .. } => "send",
            Self::Receive { .. } => "receive",
            Self::Roster { .. } => "roster",
            Self::Fingerprint { .. } => "fingerprint",
            Self::Resend { .. } => "resend",
            Self::ShareHistory { .. } => "share_history",
            Self::RequestKeys { .. } => "request_keys",
            Self::LinkRequest {} => "link_request",
            Self::Authorise { .. } => "authorise",
            Self::AcceptAuthorisation { .. } => "accept_authorisation",
            Self::GroupInfo { .. } => "group_info",
            Self::ExternalJoin { .. } => "external_join",
            Self::TreeInWelcome { .. } => "tree_in_welcome",
            Self::RatchetTree { .. } => "ratchet_tree",
            Self::JoinWithTree { .. } => "join_with_tree",
            Self::Store {} => "store",
            Self::StandardKeys {} => "standard_keys",
            Self::Transcript {} => "transcript",
            Self::ExportState {} => "export_state",
            Self::Misbehave { .. } => "misbehave",
            Self::Craft { .. } => "craft",
        }
    }
}

/// What a call returned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[allow(missing_docs)]
pub enum Answer {
    Done {},
    Output(Output),
    Bundle(Bundle),
    Identity(Identity),
    Devices(Vec<DeviceId>),
    Roster(Roster),
    Fingerprint(Fingerprint),
    LinkRequest(LinkRequest),
    Authorisation(Authorisation),
    Bytes(Bytes),
    Forged(Forged),
    Start(Box<Start>),
    Delivered(Box<Delivered>),
    Deliveries(Vec<Delivery>),
}
