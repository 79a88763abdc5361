//! One client on openmls: the trait's calls in the library's terms.

use std::collections::{BTreeMap, HashMap};

use e2esm_account::Account;
use e2esm_adapter::{
    Address, Authorisation, Bundle, Bytes, Change, DecisionPoint, Device, DeviceId, Error, ErrorClass, Event, Fault,
    Fingerprint, FingerprintKind, Forged, Forgery, GroupId, Identity, LinkRequest, Message, Notebook, Output, Packet,
    PacketKind, Roster, Start,
};
use openmls::group::{GroupId as MlsGroupId, MlsGroup, QueuedProposal, StagedCommit, StagedWelcome};
use openmls::messages::group_info::VerifiableGroupInfo;
use openmls::prelude::tls_codec::{DeserializeBytes, Serialize as _};
use openmls::prelude::{
    ContentType, KeyPackage, KeyPackageBundle, KeyPackageRef, LeafNodeIndex, LeafNodeParameters, MlsMessageBodyIn,
    MlsMessageIn, MlsMessageOut, ProcessedMessage, ProcessedMessageContent, ProtocolMessage, ProtocolVersion,
    RatchetTreeIn, Sender, Welcome,
};
use openmls_rust_crypto::MemoryStorage;
use openmls_traits::OpenMlsProvider;
use openmls_traits::storage::StorageProvider;
use serde::{Deserialize, Serialize};

use crate::bent::{self, Plan};
use crate::credential::{Shown, credential_of, leaves_named, name_in, previous_keys};
use crate::effects::{Effects, Points, STAGED_COMMIT, identity};
use crate::errors::refused;
use crate::meter::SignatureKey;
use crate::provider::{Backend, Company, Parts, Provider, create_config, join_config, key_package};
use crate::{outsider, relabel, standard, thief};

/// The keys in a bundle, before it is put into a commit.
const ADDING: DecisionPoint = DecisionPoint::library("CommitBuilder::propose_adds");
/// The keys of everybody in the tree of a group that this device has been let into.
const JOINING: DecisionPoint = DecisionPoint::library("StagedWelcome::members");
/// The keys of everybody in the tree of a group that this device lets itself into.
const JOINING_EXTERNALLY: DecisionPoint = DecisionPoint::library("ExternalCommitBuilder::build_group");

/// A group and what the library does not keep about it.
pub(crate) struct Seat {
    pub(crate) group: MlsGroup,
    /// The packet of this device's own latest change or external join, until it or somebody else's change comes.
    pub(crate) pending: Option<Bytes>,
    /// Whether a commit has removed this device. Its group then stays as it was, to try what comes later: merging the commit
    /// would only make openmls refuse everything unseen.
    pub(crate) removed: bool,
    /// What has been processed and waits for a decision: the library has spent the ratchet's secret on it.
    pub(crate) held: Vec<Held>,
}

impl Seat {
    pub(crate) fn new(group: MlsGroup) -> Self {
        Self { group, pending: None, removed: false, held: Vec::new() }
    }

    fn member(&self) -> Result<(), Error> {
        if self.removed { Err(removed()) } else { Ok(()) }
    }
}

/// A packet that has been processed, by label and bytes, and what came of it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Held {
    kind: PacketKind,
    bytes: Bytes,
    staged: Staged,
}

/// What may come into force.
#[derive(Serialize, Deserialize)]
enum Staged {
    Commit(Box<StagedCommit>, Effects),
    Proposal(Box<QueuedProposal>, Effects),
}

/// What processing a packet can come to.
enum Processed {
    Message(Message),
    OwnCommit,
    Staged(Staged),
}

/// A group that could be joined if the application says yes.
enum Joining {
    Welcome(Box<StagedWelcome>, KeyPackageRef),
    External(Box<MlsGroup>, MemoryStorage, Bytes),
}

/// What lets a device in: a Welcome, with the tree if that came beside it, or a GroupInfo.
#[derive(Clone, Copy)]
struct Invitation<'a> {
    bytes: &'a [u8],
    tree: Option<&'a [u8]>,
}

/// A join that waits for an answer, by what the call was given.
struct Waiting {
    bytes: Bytes,
    tree: Option<Bytes>,
    joining: Joining,
}

/// One device.
pub(crate) struct OpenMlsDevice<C> {
    pub(crate) id: DeviceId,
    pub(crate) provider: Provider<C>,
    pub(crate) signer: SignatureKey,
    pub(crate) account: Account,
    pub(crate) groups: BTreeMap<GroupId, Seat>,
    notebook: Notebook,
    waiting: Vec<Waiting>,
    fault: Fault,
    /// Whether this is made from a copied state.
    stolen: bool,
    pub(crate) company: Company,
}

impl<C: Backend> OpenMlsDevice<C> {
    pub(crate) fn new(id: &DeviceId) -> Result<Self, Error> {
        let signer = SignatureKey::generate()?;
        let account = Account::new(id, signer.public());
        Ok(Self::with(id.clone(), Provider::new()?, signer, account, BTreeMap::new(), false))
    }

    /// The same device with other company from now on.
    pub(crate) fn among(self, company: Company) -> Self {
        Self { company, ..self }
    }

    pub(crate) fn with(
        id: DeviceId,
        provider: Provider<C>,
        signer: SignatureKey,
        account: Account,
        groups: BTreeMap<GroupId, Seat>,
        stolen: bool,
    ) -> Self {
        Self {
            id,
            provider,
            signer,
            account,
            groups,
            notebook: Notebook::new(),
            waiting: Vec::new(),
            fault: Fault::None,
            stolen,
            company: Company::default(),
        }
    }

    fn seat(&self, group: &GroupId) -> Result<&Seat, Error> {
        self.groups.get(group).ok_or_else(|| unknown(group))
    }

    fn packet(&self, kind: PacketKind, group: &GroupId, to: Address, bytes: Bytes) -> Packet {
        let (group, from) = (group.clone(), self.id.clone());
        Packet { kind, group, from, to, opens_session: false, bytes, seal: None }
    }

    fn join(&mut self, welcome: Invitation<'_>) -> Result<Output, Error> {
        let joining = match self.take_up(welcome) {
            Some(joining) => joining,
            None => self.stage_welcome(welcome)?,
        };
        self.enter(welcome, joining)
    }

    /// What an earlier call like this has come to, if it waits for an answer.
    fn take_up(&mut self, invitation: Invitation<'_>) -> Option<Joining> {
        let same = |waiting: &Waiting| {
            waiting.bytes.as_ref() == invitation.bytes && waiting.tree.as_ref().map(AsRef::as_ref) == invitation.tree
        };
        let index = self.waiting.iter().position(same)?;
        Some(self.waiting.swap_remove(index).joining)
    }

    /// Up to the point where the library waits. It has taken the key package out of the storage by then, also where it
    /// refuses; it is put back, so that the honest Welcome can still be read, and goes for good with the join.
    fn stage_welcome(&self, Invitation { bytes, tree }: Invitation<'_>) -> Result<Joining, Error> {
        let MlsMessageBodyIn::Welcome(welcome) = parse(bytes)? else {
            return Err(Error::bad_request("not a Welcome"));
        };
        let tree = tree.map(RatchetTreeIn::tls_deserialize_exact_bytes).transpose().map_err(malformed)?;
        let storage = &self.provider.storage;
        let known = self.key_package_for(&welcome)?;
        let staged = self.stage(welcome, tree);
        let Some((reference, bundle)) = known else {
            // The library has told why.
            return staged.and(Err(Error::internal("a Welcome for no key package was taken")));
        };
        storage.write_key_package(&reference, &bundle).map_err(Error::internal)?;
        Ok(Joining::Welcome(Box::new(staged?), reference))
    }

    fn key_package_for(&self, welcome: &Welcome) -> Result<Option<(KeyPackageRef, KeyPackageBundle)>, Error> {
        for secrets in welcome.secrets() {
            let reference = secrets.new_member();
            let bundle = self.provider.storage.key_package(&reference).map_err(Error::internal)?;
            if let Some(bundle) = bundle {
                return Ok(Some((reference, bundle)));
            }
        }
        Ok(None)
    }

    fn stage(&self, welcome: Welcome, tree: Option<RatchetTreeIn>) -> Result<StagedWelcome, Error> {
        let doing = "joining by Welcome";
        let builder = StagedWelcome::build_from_welcome(&self.provider, &join_config(self.company, true), welcome)
            .map_err(refused(doing))?;
        let group = group_id(builder.processed_welcome().unverified_group_info().group_id())?;
        let replace = self.groups.get(&group).is_some_and(|seat| seat.removed);
        let builder = if replace { builder.replace_old_group() } else { builder };
        let builder = match tree {
            Some(tree) => builder.with_ratchet_tree(tree),
            None => builder,
        };
        builder.build().map_err(refused(doing))
    }

    /// Asks about everybody in the group, and then enters it.
    fn enter(&mut self, invitation: Invitation<'_>, joining: Joining) -> Result<Output, Error> {
        if let Err(error) = self.ask_members(&joining) {
            let Invitation { bytes, tree } = invitation;
            self.waiting.push(Waiting { bytes: bytes.into(), tree: tree.map(Bytes::from), joining });
            return Err(error);
        }
        let (seat, group, packets) = match joining {
            Joining::Welcome(staged, reference) => {
                let group = group_id(staged.group_context().group_id())?;
                self.leave_old(&group)?;
                let mls_group = staged.into_group(&self.provider).map_err(refused("joining by Welcome"))?;
                self.provider.storage.delete_key_package(&reference).map_err(Error::internal)?;
                (Seat::new(mls_group), group, Vec::new())
            }
            Joining::External(mls_group, scratch, commit) => {
                let group = group_id(mls_group.group_id())?;
                self.leave_old(&group)?;
                let mut values = self.provider.storage.values.write().map_err(Error::internal)?;
                values.extend(scratch.values.into_inner().map_err(Error::internal)?);
                drop(values);
                let packet = self.packet(PacketKind::Change, &group, Address::Group(group.clone()), commit.clone());
                (Seat { pending: Some(commit), ..Seat::new(*mls_group) }, group, vec![packet])
            }
        };
        self.groups.insert(group.clone(), seat);
        self.notebook.note(Event::Joined { group });
        Ok(Output::packets(packets))
    }

    fn ask_members(&self, joining: &Joining) -> Result<(), Error> {
        if !self.notebook.listens() {
            return Ok(());
        }
        let (members, own, point): (Vec<_>, _, _) = match joining {
            Joining::Welcome(staged, _) => (staged.members().collect(), staged.own_leaf_index(), JOINING),
            Joining::External(group, ..) => (group.members().collect(), group.own_leaf_index(), JOINING_EXTERNALLY),
        };
        for member in members.iter().filter(|member| member.index != own) {
            let shown = Shown::new(&member.credential, &member.signature_key)?;
            self.notebook.require(point, identity(&shown, None))?;
        }
        Ok(())
    }

    /// Removes what is left of an earlier membership, so that nothing of it mixes with the new one.
    fn leave_old(&mut self, group: &GroupId) -> Result<(), Error> {
        match self.groups.remove(group) {
            Some(mut seat) => seat.group.delete(&self.provider.storage).map_err(Error::internal),
            None => Ok(()),
        }
    }

    fn process(&mut self, packet: &Packet, expected: ContentType) -> Result<Output, Error> {
        let Self { groups, provider, notebook, signer, stolen, .. } = self;
        let seat = groups.get_mut(&packet.group).ok_or_else(|| unknown(&packet.group))?;
        if expected == ContentType::Commit && seat.pending.as_ref() == Some(&packet.bytes) {
            return merge_own(seat, provider, notebook, &packet.group);
        }
        let held = seat.held.iter().position(|held| held.kind == packet.kind && held.bytes == packet.bytes);
        let processed = match held {
            Some(index) => Processed::Staged(seat.held.swap_remove(index).staged),
            None => open(seat, provider, notebook, stolen.then_some(signer), packet, expected)?,
        };
        match processed {
            Processed::Message(message) => Ok(Output::message(message)),
            Processed::OwnCommit => merge_own(seat, provider, notebook, &packet.group),
            Processed::Staged(staged) => {
                let asked = match &staged {
                    Staged::Commit(_, effects) => effects.ask(notebook, &packet.group, STAGED_COMMIT),
                    Staged::Proposal(proposal, effects) => {
                        effects.ask(notebook, &packet.group, Points::of_proposal(proposal))
                    }
                };
                if let Err(error) = asked {
                    seat.held.push(Held { kind: packet.kind, bytes: packet.bytes.clone(), staged });
                    return Err(error);
                }
                match staged {
                    Staged::Commit(commit, effects) => {
                        merge(seat, provider, notebook, &packet.group, *commit)?;
                        effects.note(notebook, &packet.group);
                    }
                    Staged::Proposal(proposal, _) => {
                        seat.group.store_pending_proposal(&provider.storage, *proposal).map_err(Error::internal)?
                    }
                }
                Ok(Output::default())
            }
        }
    }

    /// Asks about the keys of those who are to be added.
    fn ask_added(&self, group: &MlsGroup, bundles: &[Bundle], key_packages: &[KeyPackage]) -> Result<(), Error> {
        if !self.notebook.listens() {
            return Ok(());
        }
        let shown = bundles.iter().zip(key_packages).map(|(bundle, key_package)| {
            // It is this device that is wanted, whatever name the credential bears.
            let shown = Shown::of(key_package.leaf_node())?;
            Ok(Shown { device: bundle.device.clone(), ..shown })
        });
        let shown = shown.collect::<Result<Vec<_>, Error>>()?;
        for (shown, previous) in shown.iter().zip(previous_keys(group, shown.iter())) {
            self.notebook.require(ADDING, identity(shown, previous))?;
        }
        Ok(())
    }

    /// The devices that need the Welcome: by the name under which their key package was fetched, or under which they
    /// proposed themselves.
    fn welcomed(staged: &StagedCommit, fetched: &HashMap<Vec<u8>, DeviceId>) -> Result<Vec<DeviceId>, Error> {
        staged
            .add_proposals()
            .map(|queued| {
                let key_package = queued.add_proposal().key_package();
                match fetched.get(key_package.hpke_init_key().as_slice()) {
                    Some(device) => Ok(device.clone()),
                    None => name_in(key_package.leaf_node().credential()),
                }
            })
            .collect()
    }

    /// The new leaf's parameters: none, unless the credential has changed since the old leaf was made.
    fn leaf_parameters(&self, group: &MlsGroup) -> Result<LeafNodeParameters, Error> {
        let current = credential_of(&self.account, self.company)?;
        let same = group.credential().is_ok_and(|credential| *credential == current.credential);
        let parameters = LeafNodeParameters::builder();
        Ok(if same { parameters } else { parameters.with_credential_with_key(current) }.build())
    }
}

impl<C: Backend> Device for OpenMlsDevice<C> {
    fn notebook(&self) -> &Notebook {
        &self.notebook
    }

    fn identity(&mut self) -> Result<Identity, Error> {
        Ok(self.account.identity())
    }

    fn publish(&mut self, _peer: &DeviceId) -> Result<Bundle, Error> {
        let credential = credential_of(&self.account, self.company)?;
        let bundle = key_package(&self.provider, &self.signer, self.company, credential)
            .map_err(refused("making a key package"))?;
        let bytes = to_bytes(&MlsMessageOut::from(bundle.into_key_package()))?;
        Ok(Bundle { device: self.id.clone(), bytes })
    }

    fn create_group(&mut self, group: &GroupId) -> Result<Output, Error> {
        let mls_group = MlsGroup::new_with_group_id(
            &self.provider,
            &self.signer,
            &create_config(self.company),
            MlsGroupId::from_slice(group.0.as_bytes()),
            credential_of(&self.account, self.company)?,
        )
        .map_err(refused("creating the group"))?;
        self.groups.insert(group.clone(), Seat::new(mls_group));
        Ok(Output::default())
    }

    fn change(&mut self, group: &GroupId, change: &Change) -> Result<Output, Error> {
        let seat = self.seat(group)?;
        seat.member()?;
        let leaf = if change.refresh { self.leaf_parameters(&seat.group)? } else { LeafNodeParameters::default() };
        let add = change.add.iter().map(|bundle| open_bundle(&self.provider, bundle)).collect::<Result<Vec<_>, _>>()?;
        self.ask_added(&seat.group, &change.add, &add)?;
        let fetched = change
            .add
            .iter()
            .zip(&add)
            .map(|(bundle, key_package)| (key_package.hpke_init_key().as_slice().to_vec(), bundle.device.clone()))
            .collect();
        let remove = leaves_to_remove(&seat.group, &change.remove)?;

        let Self { groups, provider, notebook, signer, fault, .. } = self;
        let seat = groups.get_mut(group).ok_or_else(|| unknown(group))?;
        let dropped = seat.group.pending_commit().is_some();
        let plan = Plan { add, remove, refresh: change.refresh, leaf };
        let commit = bent::commit(fault, &mut seat.group, provider, signer, plan)?
            .stage_commit(provider)
            .map_err(refused("staging the commit"))?;
        let (commit, welcome, _) = commit.into_messages();
        let commit = to_bytes(&commit)?;
        seat.pending = Some(commit.clone());
        if dropped {
            notebook.note(Event::ChangeDropped { group: group.clone() });
        }
        let staged = seat.group.pending_commit().ok_or_else(|| Error::internal("the commit is not pending"))?;
        let welcomed = Self::welcomed(staged, &fetched)?;

        let mut packets = vec![self.packet(PacketKind::Change, group, Address::Group(group.clone()), commit)];
        if let Some(welcome) = welcome {
            packets.push(self.packet(PacketKind::Welcome, group, Address::devices(welcomed), to_bytes(&welcome)?));
        }
        Ok(Output::packets(packets))
    }

    fn send(&mut self, group: &GroupId, plaintext: &[u8]) -> Result<Output, Error> {
        let Self { groups, provider, signer, fault, .. } = self;
        let seat = groups.get_mut(group).ok_or_else(|| unknown(group))?;
        seat.member()?;
        let victim = match fault {
            Fault::RelabelledSender(name) => Some(leaf_of(&seat.group, name)?),
            _ => None,
        };
        let message = match victim {
            Some(victim) if victim != seat.group.own_leaf_index() => {
                relabel::create_message(&mut seat.group, provider, signer, victim, plaintext)?
            }
            _ => seat.group.create_message(provider, signer, plaintext).map_err(refused("encrypting"))?,
        };
        let bytes = to_bytes(&message)?;
        Ok(Output::packets(vec![self.packet(PacketKind::Message, group, Address::Group(group.clone()), bytes)]))
    }

    fn receive(&mut self, packet: &Packet) -> Result<Output, Error> {
        match packet.kind {
            PacketKind::Welcome => self.join(Invitation { bytes: packet.bytes.as_ref(), tree: None }),
            PacketKind::Change => self.process(packet, ContentType::Commit),
            PacketKind::Proposal => self.process(packet, ContentType::Proposal),
            PacketKind::Message => self.process(packet, ContentType::Application),
            PacketKind::KeyDistribution | PacketKind::KeyRequest | PacketKind::DeviceList => {
                Err(Error::bad_request(format!("MLS has no {}", packet.kind.label())))
            }
        }
    }

    fn roster(&mut self, group: &GroupId) -> Result<Roster, Error> {
        let leaves = self.seat(group)?.group.treesync().full_leaves();
        let mut members = leaves.map(|(_, leaf)| name_in(leaf.credential())).collect::<Result<Vec<_>, _>>()?;
        members.sort();
        Ok(Roster { members, authenticated: true })
    }

    fn fingerprint(&mut self, group: &GroupId, _peer: &DeviceId) -> Result<Fingerprint, Error> {
        let group = &self.seat(group)?.group;
        let value = match self.company {
            Company::Own => hex::encode(group.epoch_authenticator().as_slice()),
            // The one secret of an epoch that every implementation shows.
            Company::Mixed => {
                let exported = group.export_secret(&self.provider.crypto, "exporter", b"", 32);
                hex::encode(exported.map_err(Error::internal)?)
            }
        };
        Ok(Fingerprint { kind: FingerprintKind::EpochAuthenticator, value })
    }

    fn link_request(&mut self) -> Result<LinkRequest, Error> {
        Ok(self.account.link_request())
    }

    fn authorise(&mut self, request: &LinkRequest) -> Result<Authorisation, Error> {
        self.account.authorise(request)
    }

    fn accept_authorisation(&mut self, authorisation: &Authorisation) -> Result<(), Error> {
        self.account.accept(authorisation)
    }

    fn group_info(&mut self, group: &GroupId) -> Result<Bytes, Error> {
        let seat = self.seat(group)?;
        seat.member()?;
        let info = seat
            .group
            .export_group_info(&self.provider.crypto, &self.signer, true)
            .map_err(refused("exporting the GroupInfo"))?;
        to_bytes(&info)
    }

    fn external_join(&mut self, group_info: &[u8]) -> Result<Output, Error> {
        let invitation = Invitation { bytes: group_info, tree: None };
        let joining = match self.take_up(invitation) {
            Some(joining) => joining,
            None => {
                let MlsMessageBodyIn::GroupInfo(info) = parse(group_info)? else {
                    return Err(Error::bad_request("not a GroupInfo"));
                };
                // The library merges an external commit as it builds it: in a storage of its own, until the answers
                // have come.
                let scratch = MemoryStorage::default();
                let parts = Parts { crypto: &self.provider.crypto, rand: &self.provider.crypto, storage: &scratch };
                let (group, commit) = external_commit(&parts, &self.signer, &self.account, info, self.company)?;
                Joining::External(Box::new(group), scratch, commit)
            }
        };
        self.enter(invitation, joining)
    }

    fn tree_in_welcome(&mut self, group: &GroupId, inside: bool) -> Result<(), Error> {
        let Self { groups, provider, company, .. } = self;
        let seat = groups.get_mut(group).ok_or_else(|| unknown(group))?;
        seat.member()?;
        seat.group.set_configuration(&provider.storage, &join_config(*company, inside)).map_err(Error::internal)
    }

    fn ratchet_tree(&mut self, group: &GroupId) -> Result<Bytes, Error> {
        let seat = self.seat(group)?;
        seat.member()?;
        seat.group.export_ratchet_tree().tls_serialize_detached().map(Bytes::from).map_err(Error::internal)
    }

    fn join_with_tree(&mut self, welcome: &Packet, ratchet_tree: &[u8]) -> Result<Output, Error> {
        match welcome.kind {
            PacketKind::Welcome => self.join(Invitation { bytes: welcome.bytes.as_ref(), tree: Some(ratchet_tree) }),
            kind => Err(Error::bad_request(format!("a {} lets nobody in", kind.label()))),
        }
    }

    fn store(&mut self) -> Result<Bytes, Error> {
        self.stored()
    }

    fn standard_keys(&mut self) -> Result<Start, Error> {
        standard::exported(&self.provider, &self.signer).map(Start::Mls)
    }

    fn export_state(&mut self) -> Result<Bytes, Error> {
        self.exported()
    }

    fn misbehave(&mut self, fault: &Fault) -> Result<(), Error> {
        if *fault == Fault::DegenerateKey {
            return Err(Error::unsupported("the library makes the HPKE keys of a key package itself"));
        }
        self.fault = fault.clone();
        Ok(())
    }

    fn craft(&mut self, forgery: &Forgery) -> Result<Forged, Error> {
        outsider::craft(self, forgery)
    }
}

/// Processes a packet with the library; nothing has come into force yet, except that a message has been read. A thief brings
/// the stolen signature key.
fn open<C: Backend>(
    seat: &mut Seat,
    provider: &Provider<C>,
    notebook: &Notebook,
    stolen: Option<&SignatureKey>,
    packet: &Packet,
    expected: ContentType,
) -> Result<Processed, Error> {
    let message: ProtocolMessage = match parse(packet.bytes.as_ref())? {
        MlsMessageBodyIn::PrivateMessage(message) => message.into(),
        MlsMessageBodyIn::PublicMessage(message) => message.into(),
        _ => return Err(Error::bad_request("neither a PrivateMessage nor a PublicMessage")),
    };
    if message.content_type() != expected {
        return Err(Error::bad_request(format!("a {} packet with other content", packet.kind.label())));
    }
    let own = (stolen.is_some() && expected == ContentType::Application).then(|| message.clone());
    let doing = format!("processing a {}", packet.kind.label());
    let processed = process_message(&mut seat.group, provider, message, &doing)?;
    let (sender, credential) = (processed.sender().clone(), processed.credential().clone());
    Ok(match processed.into_content() {
        ProcessedMessageContent::ApplicationMessage(message) => Processed::Message(Message {
            group: packet.group.clone(),
            sender: name_in(&credential)?,
            plaintext: message.into_bytes().into(),
        }),
        ProcessedMessageContent::StagedCommitMessage(staged) => {
            seat.member()?;
            let effects = Effects::of_commit(notebook, &seat.group, &staged, &sender)?;
            Processed::Staged(Staged::Commit(staged, effects))
        }
        ProcessedMessageContent::ProposalMessage(proposal)
        | ProcessedMessageContent::ExternalJoinProposalMessage(proposal) => {
            let effects = Effects::of_proposal(notebook, &seat.group, &proposal)?;
            Processed::Staged(Staged::Proposal(proposal, effects))
        }
        ProcessedMessageContent::OwnPendingCommit => Processed::OwnCommit,
        ProcessedMessageContent::OwnPrivateMessage => {
            let read = match (stolen, own) {
                (Some(signer), Some(message)) => {
                    thief::read_own(&mut seat.group, provider, signer, message, packet.bytes.as_ref())?
                }
                _ => None,
            };
            let plaintext = read.ok_or_else(|| {
                let text = "the message says it is this device's own: no key opens those";
                Error::new(ErrorClass::NoKey, text)
            })?;
            let (group, sender) = (packet.group.clone(), name_in(&credential)?);
            Processed::Message(Message { group, sender, plaintext: plaintext.into() })
        }
    })
}

/// What the library makes of a message; `doing` says what was being done.
pub(crate) fn process_message<C: Backend>(
    group: &mut MlsGroup,
    provider: &Provider<C>,
    message: ProtocolMessage,
    doing: &str,
) -> Result<ProcessedMessage, Error> {
    let earlier = message.epoch() < group.epoch();
    group.process_message(provider, message).map_err(|error| {
        let error = refused(doing)(error);
        // The library says of an epoch whose keys are gone what it says of a message whose key is gone.
        if earlier && error.class == ErrorClass::NoKey {
            Error { class: ErrorClass::StaleEpoch, ..error }
        } else {
            error
        }
    })
}

/// Merges another member's commit.
fn merge<C: Backend>(
    seat: &mut Seat,
    provider: &Provider<C>,
    notebook: &Notebook,
    group: &GroupId,
    staged: StagedCommit,
) -> Result<(), Error> {
    let dropped = seat.group.pending_commit().is_some();
    if staged.self_removed() {
        seat.group.clear_pending_commit(&provider.storage).map_err(Error::internal)?;
        seat.removed = true;
    } else {
        seat.group.merge_staged_commit(provider, staged).map_err(refused("merging the commit"))?;
    }
    seat.pending = None;
    seat.held.clear();
    if dropped {
        notebook.note(Event::ChangeDropped { group: group.clone() });
    }
    Ok(())
}

/// Merges this device's own commit, which has come back. One by which it joined has been merged all along.
fn merge_own<C: Backend>(
    seat: &mut Seat,
    provider: &Provider<C>,
    notebook: &Notebook,
    group: &GroupId,
) -> Result<Output, Error> {
    let effects = match seat.group.pending_commit() {
        Some(staged) => {
            Effects::of_commit(notebook, &seat.group, staged, &Sender::Member(seat.group.own_leaf_index()))?
        }
        None => Effects::default(),
    };
    seat.group.merge_pending_commit(provider).map_err(refused("merging the own commit"))?;
    seat.pending = None;
    seat.held.clear();
    effects.note(notebook, group);
    Ok(Output::default())
}

/// Joins a group by an external commit. Comes into force in the provider's storage.
pub(crate) fn external_commit(
    provider: &impl OpenMlsProvider<StorageProvider = MemoryStorage>,
    signer: &SignatureKey,
    account: &Account,
    info: VerifiableGroupInfo,
    company: Company,
) -> Result<(MlsGroup, Bytes), Error> {
    let doing = "joining by an external commit";
    let (group, messages) = MlsGroup::external_commit_builder()
        .with_config(join_config(company, true))
        .build_group(provider, info, credential_of(account, company)?)
        .map_err(refused(doing))?
        .leaf_node_parameters(LeafNodeParameters::builder().with_capabilities(company.capabilities()).build())
        .load_psks(provider.storage())
        .map_err(refused(doing))?
        .create_group_info(false)
        .build(provider.rand(), provider.crypto(), signer, |_| true)
        .map_err(refused(doing))?
        .finalize(provider)
        .map_err(refused(doing))?;
    Ok((group, to_bytes(messages.commit())?))
}

/// The key package in a bundle, as far as the library validates it.
pub(crate) fn open_bundle<C: Backend>(provider: &Provider<C>, bundle: &Bundle) -> Result<KeyPackage, Error> {
    let MlsMessageBodyIn::KeyPackage(key_package) = parse(bundle.bytes.as_ref())? else {
        return Err(Error::bad_request(format!("the bundle of {} is not a key package", bundle.device)));
    };
    key_package.validate(&provider.crypto, ProtocolVersion::Mls10).map_err(refused("validating the key package"))
}

/// Every leaf of each of these devices.
pub(crate) fn leaves_to_remove(group: &MlsGroup, devices: &[DeviceId]) -> Result<Vec<LeafNodeIndex>, Error> {
    let found = leaves_named(group, devices.iter());
    let mut leaves = Vec::new();
    for device in devices {
        match found.get(&device.to_string()) {
            Some(named) if !named.is_empty() => leaves.extend(named.iter().map(|(index, _)| *index)),
            _ => return Err(Error::new(ErrorClass::NotMember, format!("{device} is not in the group"))),
        }
    }
    Ok(leaves)
}

fn leaf_of(group: &MlsGroup, device: &DeviceId) -> Result<LeafNodeIndex, Error> {
    let leaves = leaves_to_remove(group, std::slice::from_ref(device))?;
    leaves.first().copied().ok_or_else(|| Error::internal("a device without a leaf"))
}

pub(crate) fn parse(bytes: &[u8]) -> Result<MlsMessageBodyIn, Error> {
    MlsMessageIn::tls_deserialize_exact_bytes(bytes).map(MlsMessageIn::extract).map_err(malformed)
}

pub(crate) fn malformed(error: impl std::fmt::Display) -> Error {
    Error::bad_request(format!("malformed: {error}"))
}

pub(crate) fn to_bytes(message: &MlsMessageOut) -> Result<Bytes, Error> {
    message.tls_serialize_detached().map(Bytes::from).map_err(Error::internal)
}

fn group_id(id: &MlsGroupId) -> Result<GroupId, Error> {
    String::from_utf8(id.to_vec())
        .map(GroupId)
        .map_err(|_| Error::bad_request("the group's id is not one of this suite's"))
}

pub(crate) fn unknown(group: impl std::fmt::Display) -> Error {
    Error::bad_request(format!("this device has no group `{group}`"))
}

pub(crate) fn removed() -> Error {
    Error::new(ErrorClass::NotMember, "this device has been removed")
}
