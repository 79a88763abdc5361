//! A device: one mls-rs client and its groups.

use std::collections::BTreeMap;

use e2esm_account::{Account, Credential};
use e2esm_adapter::{
    Address, Authorisation, Bundle, Bytes, Change, Device, DeviceId, Error, ErrorClass, Event, Fault, Fingerprint,
    FingerprintKind, Forged, Forgery, GroupId, Identity, KnownGroup, LinkRequest, Message, MlsStart, Notebook, Output,
    Packet, PacketKind, Roster, Start,
};
use mls_rs::crypto::{SignaturePublicKey, SignatureSecretKey};
use mls_rs::error::MlsError;
use mls_rs::group::proposal::Proposal;
use mls_rs::group::{
    CommitEffect, CommitMessageDescription, CommitSecrets, ContentType, ExportedTree, GroupState, ReceivedMessage,
    Sender,
};
use mls_rs::identity::SigningIdentity;
use mls_rs::{CipherSuite, Client, CryptoProvider, MlsMessage, MlsMessageDescription};

use crate::bent::{Bend, BentProvider, Lever};
use crate::client::{Company, Group, Keys, Settings, Stores, beginning, client, key_package};
use crate::decisions::{Counsel, credential, group_name, member_name};
use crate::error::translate;
use crate::forge::{parallel_group, parallel_info};
use crate::membership::{Membership, Pending};
use crate::relabel::Relabelling;
use crate::standard;
use crate::state::{PendingRecord, Stash, State, Storage};

/// One user's one client.
pub(crate) struct MlsRsDevice<P: CryptoProvider + Clone> {
    id: DeviceId,
    account: Account,
    keys: Keys,
    provider: BentProvider<P>,
    company: Company,
    lever: Lever,
    fault: Fault,
    counsel: Counsel,
    stores: Stores,
    client: Client<Settings<P>>,
    groups: BTreeMap<GroupId, Membership<P>>,
}

impl<P: CryptoProvider + Clone> MlsRsDevice<P> {
    /// A first device with an account of its own.
    pub(crate) fn new(provider: &P, suite: CipherSuite, company: Company, id: &DeviceId) -> Result<Self, Error> {
        let lever = Lever::default();
        let provider = BentProvider::new(provider.clone(), suite, lever.clone());
        let keys = Keys::generate(&provider)?;
        let account = Account::new(id, keys.public.as_bytes());
        Self::assemble(provider, company, lever, id, account, keys, Stores::default())
    }

    /// A device from a copied state, or from what it stored.
    pub(crate) fn restore(
        provider: &P,
        suite: CipherSuite,
        company: Company,
        id: &DeviceId,
        state: State,
    ) -> Result<Self, Error> {
        let owner = state.account.link_request().device;
        if owner != *id {
            return Err(Error::bad_request(format!("the state is {owner}'s, not {id}'s")));
        }
        let lever = Lever::default();
        let provider = BentProvider::new(provider.clone(), suite, lever.clone());
        let keys = Keys {
            secret: SignatureSecretKey::new(state.secret_key.0),
            public: SignaturePublicKey::new(state.public_key.0),
        };
        let mut stores = Stores::default();
        let group_ids = state.storage.write(&mut stores)?;
        let mut device = Self::assemble(provider, company, lever, id, state.account, keys, stores)?;
        for group_id in group_ids {
            let group = device.client.load_group(&group_id).map_err(translate)?;
            device.groups.insert(group_name(&group_id), Membership::loaded(group));
        }
        for PendingRecord { group, packet, secrets } in state.pending {
            let secrets = CommitSecrets::from_bytes(secrets.as_ref()).map_err(translate)?;
            device.membership(&group)?.pending.push(Pending { packet, secrets });
        }
        for group in state.trees_apart {
            device.membership(&group)?.tree_apart = true;
        }
        Ok(device)
    }

    fn assemble(
        provider: BentProvider<P>,
        company: Company,
        lever: Lever,
        id: &DeviceId,
        account: Account,
        keys: Keys,
        stores: Stores,
    ) -> Result<Self, Error> {
        let counsel = Counsel::default();
        let client = client(&provider, company, &counsel, id, &account, &keys, &stores)?;
        Ok(Self {
            id: id.clone(),
            account,
            keys,
            provider,
            company,
            lever,
            fault: Fault::None,
            counsel,
            stores,
            client,
            groups: BTreeMap::new(),
        })
    }

    fn membership(&mut self, group: &GroupId) -> Result<&mut Membership<P>, Error> {
        Ok(self.membership_and_client(group)?.0)
    }

    /// A group, and the client that loads it again if it must go back.
    fn membership_and_client(&mut self, group: &GroupId) -> Result<(&mut Membership<P>, &Client<Settings<P>>), Error> {
        let Self { id, client, groups, .. } = self;
        let membership = groups.get_mut(group);
        Ok((membership.ok_or_else(|| Error::bad_request(format!("{id} has no group `{group}`")))?, client))
    }

    fn packet(&self, kind: PacketKind, group: &GroupId, to: Address, message: &MlsMessage) -> Result<Packet, Error> {
        Ok(Packet {
            kind,
            group: group.clone(),
            from: self.id.clone(),
            to,
            opens_session: false,
            bytes: message.to_bytes().map_err(translate)?.into(),
            seal: None,
        })
    }

    /// Takes a new group in the place of one of the same id, as the library's storage does.
    fn install(&mut self, group: Group<P>) -> Result<GroupId, Error> {
        let id = group_name(group.group_id());
        self.drop_pending(&id);
        self.groups.insert(id.clone(), Membership::begin(group)?);
        self.counsel.notebook().note(Event::Joined { group: id.clone() });
        Ok(id)
    }

    fn drop_pending(&mut self, group: &GroupId) {
        let Some(membership) = self.groups.get_mut(group) else { return };
        for _ in membership.pending.drain(..) {
            self.counsel.notebook().note(Event::ChangeDropped { group: group.clone() });
        }
    }

    fn join(&mut self, packet: &Packet, tree: Option<ExportedTree<'_>>) -> Result<Output, Error> {
        let welcome = parse(packet.bytes.as_ref())?;
        let (group, _) = self.client.join_group(tree, &welcome, None).map_err(translate)?;
        // The library leaves it to the application to delete what a group that it has left, or one of the same id, had.
        self.stores.groups.delete_group(group.group_id());
        self.install(group)?;
        Ok(Output::default())
    }

    fn receive_change(&mut self, packet: &Packet) -> Result<Output, Error> {
        let mut membership = self.groups.get_mut(&packet.group);
        let joined_by = membership.as_mut().and_then(|membership| membership.take_joined_by(&packet.bytes));
        if joined_by.is_some() {
            return Ok(Output::default());
        }
        let own = membership.and_then(|membership| membership.take_pending(&packet.bytes));
        let (description, joiner) = match own {
            Some(change) => (self.membership(&packet.group)?.apply(change)?, None),
            None => {
                let message = expect(packet, ContentType::Commit)?;
                let joiner = joiner(&message);
                let (membership, client) = self.membership_and_client(&packet.group)?;
                match membership.receive(client, message, &packet.bytes)? {
                    ReceivedMessage::Commit(description) => (description, joiner),
                    other => return Err(unexpected(&other)),
                }
            }
        };
        self.drop_pending(&packet.group);
        self.note_change(&packet.group, &description, joiner.as_ref())?;
        Ok(Output::default())
    }

    fn receive_proposal(&mut self, packet: &Packet) -> Result<Output, Error> {
        let message = expect(packet, ContentType::Proposal)?;
        let (membership, client) = self.membership_and_client(&packet.group)?;
        match membership.receive(client, message, &packet.bytes)? {
            ReceivedMessage::Proposal(_) => Ok(Output::default()),
            other => Err(unexpected(&other)),
        }
    }

    fn receive_message(&mut self, packet: &Packet) -> Result<Output, Error> {
        let message = expect(packet, ContentType::Application)?;
        let (membership, client) = self.membership_and_client(&packet.group)?;
        let received = match membership.receive(client, message, &packet.bytes)? {
            ReceivedMessage::ApplicationMessage(received) => received,
            other => return Err(unexpected(&other)),
        };
        // The library has made sure that this leaf is still the sender's, also for a message of an earlier epoch.
        let sender = membership.group.member_at_index(received.sender_index).ok_or_else(|| {
            Error::new(ErrorClass::NotMember, format!("no member at index {}", received.sender_index))
        })?;
        Ok(Output::message(Message {
            group: packet.group.clone(),
            sender: member_name(&sender.signing_identity)?,
            plaintext: received.data().into(),
        }))
    }

    /// Notes what a commit has changed.
    fn note_change(
        &self,
        group: &GroupId,
        description: &CommitMessageDescription,
        joiner: Option<&SigningIdentity>,
    ) -> Result<(), Error> {
        if !self.counsel.notebook().listens() {
            return Ok(());
        }
        let epoch = match &description.effect {
            CommitEffect::NewEpoch(epoch) | CommitEffect::Removed { new_epoch: epoch, .. } => epoch,
            CommitEffect::ReInit(_) => return Ok(()),
        };
        let before = epoch.prior_state();
        let by = match joiner {
            Some(identity) => credential(identity)?,
            None => credential(&member(before, description.committer)?)?,
        };
        let mut added = Vec::new();
        let mut removed = Vec::new();
        for info in epoch.applied_proposals() {
            match &info.proposal {
                Proposal::Add(add) => added.push(credential(add.signing_identity())?),
                Proposal::Remove(remove) => removed.push(credential(&member(before, remove.to_remove())?)?),
                _ => {}
            }
        }
        if joiner.is_some() {
            added.push(by.clone());
        }
        let notebook = self.counsel.notebook();
        for gone in &removed {
            notebook.note(Event::MemberRemoved {
                group: group.clone(),
                device: gone.device.clone(),
                by: by.device.clone(),
            });
        }
        for new in &added {
            notebook.note(Event::MemberAdded {
                group: group.clone(),
                device: new.device.clone(),
                by: by.device.clone(),
            });
            let changed = |gone: &Credential| gone.device == new.device && gone.account_key != new.account_key;
            if removed.iter().any(changed) {
                notebook.note(Event::KeyChanged { device: new.device.clone() });
            }
        }
        Ok(())
    }

    /// Everything that this device holds, each group as the library writes it to storage.
    fn state(&mut self) -> Result<State, Error> {
        let (mut pending, mut trees_apart) = (Vec::new(), Vec::new());
        for (group, membership) in &mut self.groups {
            membership.checkpoint()?;
            for change in &membership.pending {
                let secrets = change.secrets.to_bytes().map_err(translate)?.into();
                pending.push(PendingRecord { group: group.clone(), packet: change.packet.clone(), secrets });
            }
            if membership.tree_apart {
                trees_apart.push(group.clone());
            }
        }
        Ok(State {
            account: self.account.clone(),
            secret_key: self.keys.secret.as_bytes().into(),
            public_key: self.keys.public.as_bytes().into(),
            storage: Storage::read(&self.stores)?,
            pending,
            trees_apart,
        })
    }

    /// How this device bends its next commit.
    fn commit_bend(&self) -> Option<Bend> {
        match self.fault {
            Fault::WrongLeafSignature => Some(Bend::LeafSignature),
            Fault::WrongParentHash => Some(Bend::ParentHash),
            Fault::WrongConfirmationTag => Some(Bend::ConfirmationTag),
            _ => None,
        }
    }

    fn forge_message(&self, known: &KnownGroup, claim: &DeviceId, plaintext: &[u8]) -> Result<Vec<Packet>, Error> {
        let mut group = parallel_group(&self.provider, self.company, known, claim)?;
        let message = group.encrypt_application_message(plaintext, Vec::new()).map_err(translate)?;
        Ok(vec![self.forged(PacketKind::Message, known, claim, &message)?])
    }

    fn forge_change(
        &self,
        known: &KnownGroup,
        claim: &DeviceId,
        add: &[Bundle],
        remove: &[DeviceId],
    ) -> Result<Vec<Packet>, Error> {
        let mut group = parallel_group(&self.provider, self.company, known, claim)?;
        let (commit, _) = commit(&mut group, add, remove)?.build_detached().map_err(translate)?;
        let mut packets = vec![self.forged(PacketKind::Change, known, claim, &commit.commit_message)?];
        if add.iter().any(|bundle| bundle.device == self.id) {
            // Nobody's secrets are needed to propose oneself (RFC 9420, section 12.1.8).
            let proposal = self
                .outsider()?
                .external_add_proposal(
                    &parallel_info(&self.provider, self.company, known)?,
                    None,
                    Vec::new(),
                    Default::default(),
                    Default::default(),
                    Some(beginning()),
                )
                .map_err(translate)?;
            packets.push(self.forged(PacketKind::Proposal, known, &self.id, &proposal)?);
        }
        Ok(packets)
    }

    fn forge_join(&self, known: &KnownGroup) -> Result<Vec<Packet>, Error> {
        let info = parallel_info(&self.provider, self.company, known)?;
        let (_, commit) = self.outsider()?.commit_external(info).map_err(translate)?;
        Ok(vec![self.forged(PacketKind::Change, known, &self.id, &commit)?])
    }

    fn forged(
        &self,
        kind: PacketKind,
        known: &KnownGroup,
        claim: &DeviceId,
        message: &MlsMessage,
    ) -> Result<Packet, Error> {
        let to = Address::Group(known.id.clone());
        Ok(Packet { from: claim.clone(), ..self.packet(kind, &known.id, to, message)? })
    }

    /// This device's own client, apart from its groups and its notebook: about members of its own making it asks nobody.
    /// Key packages are the device's, so that it can take a Welcome for what it proposes.
    fn outsider(&self) -> Result<Client<Settings<P>>, Error> {
        let stores = Stores { key_packages: self.stores.key_packages.clone(), ..Stores::default() };
        client(&self.provider, self.company, &Counsel::default(), &self.id, &self.account, &self.keys, &stores)
    }
}

impl<P: CryptoProvider + Clone + 'static> Device for MlsRsDevice<P> {
    fn notebook(&self) -> &Notebook {
        self.counsel.notebook()
    }

    fn identity(&mut self) -> Result<Identity, Error> {
        Ok(self.account.identity())
    }

    fn publish(&mut self, _peer: &DeviceId) -> Result<Bundle, Error> {
        let bytes = key_package(&self.client)?.to_bytes().map_err(translate)?;
        Ok(Bundle { device: self.id.clone(), bytes: bytes.into() })
    }

    fn create_group(&mut self, group: &GroupId) -> Result<Output, Error> {
        if self.groups.contains_key(group) {
            return Err(Error::new(ErrorClass::Duplicate, format!("{} has a group `{group}` already", self.id)));
        }
        let created = self
            .client
            .create_group_with_id(
                group.0.clone().into_bytes(),
                Default::default(),
                Default::default(),
                Some(beginning()),
            )
            .map_err(translate)?;
        self.groups.insert(group.clone(), Membership::begin(created)?);
        Ok(Output::default())
    }

    fn change(&mut self, group: &GroupId, change: &Change) -> Result<Output, Error> {
        let bend = self.commit_bend();
        let (lever, counsel) = (self.lever.clone(), self.counsel.clone());
        let membership = self.membership(group)?;
        let cached = membership.group.get_cached_proposals();
        counsel.set_wishes(change.refresh, membership.tree_apart);
        counsel.take_unanswered();
        let (commit, secrets) = {
            let _pulled = bend.map(|bend| lever.pull(bend));
            commit(&mut membership.group, &change.add, &change.remove)?.build_detached().map_err(translate)?
        };
        if let Some(unanswered) = counsel.take_unanswered() {
            return Err(unanswered);
        }

        let mut newcomers: Vec<DeviceId> = change.add.iter().map(|bundle| bundle.device.clone()).collect();
        if !cached.is_empty() {
            let committed = commit.commit_message.proposals_by_reference();
            for proposal in cached.iter().filter(|proposal| committed.contains(&proposal.proposal_ref())) {
                if let Proposal::Add(add) = proposal.proposal() {
                    newcomers.push(credential(add.signing_identity())?.device);
                }
            }
        }
        let to_group = Address::Group(group.clone());
        let change = self.packet(PacketKind::Change, group, to_group, &commit.commit_message)?;
        let pending = Pending { packet: change.bytes.clone(), secrets };
        let mut packets = vec![change];
        // One for all newcomers is the library's default; none where there are none.
        if let Some(welcome) = commit.welcome_messages.first() {
            packets.push(self.packet(PacketKind::Welcome, group, Address::devices(newcomers), welcome)?);
        }
        self.membership(group)?.pending.push(pending);
        Ok(Output::packets(packets))
    }

    fn send(&mut self, group: &GroupId, plaintext: &[u8]) -> Result<Output, Error> {
        let victim = match &self.fault {
            Fault::RelabelledSender(victim) if *victim != self.id => Some(victim.clone()),
            _ => None,
        };
        let message = match &victim {
            Some(victim) => {
                let lever = self.lever.clone();
                let membership = self.membership(group)?;
                let leaf = leaf_of(&membership.group, victim)?;
                let relabelling = Relabelling::new(&membership.group, leaf).map_err(translate)?;
                let _pulled = lever.pull(Bend::Sender(relabelling));
                membership.send(plaintext)?
            }
            None => self.membership(group)?.send(plaintext)?,
        };
        let packet = self.packet(PacketKind::Message, group, Address::Group(group.clone()), &message)?;
        Ok(Output::packets(vec![match victim {
            Some(from) => Packet { from, ..packet },
            None => packet,
        }]))
    }

    fn receive(&mut self, packet: &Packet) -> Result<Output, Error> {
        match packet.kind {
            PacketKind::Change => self.receive_change(packet),
            PacketKind::Welcome => self.join(packet, None),
            PacketKind::Proposal => self.receive_proposal(packet),
            PacketKind::Message => self.receive_message(packet),
            kind @ (PacketKind::KeyDistribution | PacketKind::KeyRequest | PacketKind::DeviceList) => {
                Err(Error::bad_request(format!("a {} means nothing to MLS", kind.label())))
            }
        }
    }

    fn roster(&mut self, group: &GroupId) -> Result<Roster, Error> {
        let roster = self.membership(group)?.group.roster();
        let mut members = roster
            .members_iter()
            .map(|member| member_name(&member.signing_identity))
            .collect::<Result<Vec<_>, Error>>()?;
        members.sort();
        Ok(Roster { members, authenticated: true })
    }

    fn fingerprint(&mut self, group: &GroupId, _peer: &DeviceId) -> Result<Fingerprint, Error> {
        let company = self.company;
        let group = &self.membership(group)?.group;
        let secret = match company {
            Company::Own => group.epoch_authenticator(),
            // The one secret of an epoch that every implementation shows.
            Company::Mixed => group.export_secret(b"exporter", b"", 32),
        };
        let value = hex::encode(secret.map_err(translate)?.as_bytes());
        Ok(Fingerprint { kind: FingerprintKind::EpochAuthenticator, value })
    }

    fn link_request(&mut self) -> Result<LinkRequest, Error> {
        Ok(self.account.link_request())
    }

    fn authorise(&mut self, request: &LinkRequest) -> Result<Authorisation, Error> {
        self.account.authorise(request)
    }

    fn accept_authorisation(&mut self, authorisation: &Authorisation) -> Result<(), Error> {
        let mut account = self.account.clone();
        account.accept(authorisation)?;
        self.client =
            client(&self.provider, self.company, &self.counsel, &self.id, &account, &self.keys, &self.stores)?;
        self.account = account;
        Ok(())
    }

    fn group_info(&mut self, group: &GroupId) -> Result<Bytes, Error> {
        let info = self.membership(group)?.group.group_info_message_allowing_ext_commit(true).map_err(translate)?;
        Ok(info.to_bytes().map_err(translate)?.into())
    }

    fn external_join(&mut self, group_info: &[u8]) -> Result<Output, Error> {
        let info = parse(group_info)?;
        let id = info
            .as_group_info()
            .map(|info| info.group_context().group_id.clone())
            .ok_or_else(|| Error::bad_request("not a GroupInfo"))?;
        // The library would continue the epochs of an earlier membership where this one begins anew.
        let stash = Stash::take(&self.stores, &id)?;
        let joined = match self.client.commit_external(info) {
            // A leaf of this same device: the library's way to take its place is to remove it in the same commit.
            Err(MlsError::DuplicateLeafData(leaf)) => {
                let again = parse(group_info)?;
                self.client.external_commit_builder().and_then(|builder| builder.with_removal(leaf).build(again))
            }
            joined => joined,
        };
        match joined {
            Ok((group, commit)) => {
                let group = self.install(group)?;
                let to = Address::Group(group.clone());
                let change = self.packet(PacketKind::Change, &group, to, &commit)?;
                self.membership(&group)?.joined_by = Some(change.bytes.clone());
                Ok(Output::packets(vec![change]))
            }
            Err(error) => {
                stash.put_back(&mut self.stores)?;
                Err(translate(error))
            }
        }
    }

    fn tree_in_welcome(&mut self, group: &GroupId, inside: bool) -> Result<(), Error> {
        self.membership(group)?.tree_apart = !inside;
        Ok(())
    }

    fn ratchet_tree(&mut self, group: &GroupId) -> Result<Bytes, Error> {
        Ok(self.membership(group)?.group.export_tree().to_bytes().map_err(translate)?.into())
    }

    /// A tree in the Welcome goes before the one that is handed over: the library does not look at that.
    fn join_with_tree(&mut self, welcome: &Packet, ratchet_tree: &[u8]) -> Result<Output, Error> {
        if welcome.kind != PacketKind::Welcome {
            return Err(Error::bad_request(format!("a {} is no welcome", welcome.kind.label())));
        }
        self.join(welcome, Some(ExportedTree::from_bytes(ratchet_tree).map_err(translate)?))
    }

    fn store(&mut self) -> Result<Bytes, Error> {
        self.state()?.to_store()
    }

    fn standard_keys(&mut self) -> Result<Start, Error> {
        let suite = self.provider.suite();
        let stored = self.stores.key_packages.key_packages();
        let mut key_packages: Vec<_> = stored.iter().map(|(_, data)| standard::published(suite, data)).collect();
        key_packages.sort();
        Ok(Start::Mls(MlsStart {
            cipher_suite: suite.into(),
            signature_priv: standard::signature_private(suite, &self.keys.secret),
            key_packages,
            external_psks: Vec::new(),
        }))
    }

    fn export_state(&mut self) -> Result<Bytes, Error> {
        self.state()?.to_export()
    }

    fn misbehave(&mut self, fault: &Fault) -> Result<(), Error> {
        if *fault == Fault::DegenerateKey {
            return Err(Error::unsupported("the library makes the HPKE keys of a key package itself"));
        }
        self.fault = fault.clone();
        Ok(())
    }

    fn craft(&mut self, forgery: &Forgery) -> Result<Forged, Error> {
        match forgery {
            Forgery::Message { group, claim, plaintext } => {
                Ok(Forged::Packets(self.forge_message(group, claim, plaintext.as_ref())?))
            }
            Forgery::Change { group, claim, add, remove } => {
                Ok(Forged::Packets(self.forge_change(group, claim, add, remove)?))
            }
            Forgery::UninvitedJoin { group } => Ok(Forged::Packets(self.forge_join(group)?)),
            Forgery::BrokenBundle { bundle } => Ok(Forged::Bundle(broken(bundle)?)),
            Forgery::KeyDistribution { .. } => Err(Error::unsupported("MLS has no key distributions")),
            Forgery::RewrittenIdentity { .. } => Err(Error::unsupported("MLS has no session-opening packets")),
        }
    }
}

fn parse(bytes: &[u8]) -> Result<MlsMessage, Error> {
    MlsMessage::from_bytes(bytes).map_err(translate)
}

/// A packet's message, if it is of the content that the packet's kind stands for.
fn expect(packet: &Packet, expected: ContentType) -> Result<MlsMessage, Error> {
    let message = parse(packet.bytes.as_ref())?;
    match message.description() {
        MlsMessageDescription::PrivateProtocolMessage { content_type, .. }
        | MlsMessageDescription::PublicProtocolMessage { content_type, .. }
            if content_type == expected =>
        {
            Ok(message)
        }
        _ => Err(Error::bad_request(format!("a {} with other content", packet.kind.label()))),
    }
}

fn unexpected(received: &ReceivedMessage) -> Error {
    Error::internal(format!("the library took a packet for something else: {received:?}"))
}

/// Who joins by an external commit.
fn joiner(message: &MlsMessage) -> Option<SigningIdentity> {
    match message.description() {
        MlsMessageDescription::PublicProtocolMessage { sender: Sender::NewMemberCommit, .. } => {
            message.commit_path_leaf_node().map(|leaf| leaf.signing_identity.clone())
        }
        _ => None,
    }
}

fn member(state: &GroupState, index: u32) -> Result<SigningIdentity, Error> {
    let member = state.member_at_index(index);
    Ok(member.ok_or_else(|| Error::internal(format!("no member at index {index}")))?.signing_identity)
}

fn leaf_of<P: CryptoProvider + Clone>(group: &Group<P>, device: &DeviceId) -> Result<u32, Error> {
    let member = group.member_with_identity(device.to_string().as_bytes()).map_err(|error| match error {
        MlsError::MemberNotFound => Error::new(ErrorClass::NotMember, format!("{device} is not in the group")),
        error => translate(error),
    })?;
    Ok(member.index)
}

/// A commit with these changes, and with what others have proposed.
fn commit<'a, P: CryptoProvider + Clone>(
    group: &'a mut Group<P>,
    add: &[Bundle],
    remove: &[DeviceId],
) -> Result<mls_rs::group::CommitBuilder<'a, Settings<P>>, Error> {
    let leaves = remove.iter().map(|device| leaf_of(group, device)).collect::<Result<Vec<_>, _>>()?;
    let mut commit = group.commit_builder();
    for bundle in add {
        commit = commit.add_member(parse(bundle.bytes.as_ref())?).map_err(translate)?;
    }
    for leaf in leaves {
        commit = commit.remove_member(leaf).map_err(translate)?;
    }
    Ok(commit)
}

/// A key package with a bit of its signature flipped: the last of its fields.
fn broken(bundle: &Bundle) -> Result<Bundle, Error> {
    if parse(bundle.bytes.as_ref())?.as_key_package().is_none() {
        return Err(Error::bad_request("not a key package"));
    }
    let mut broken = bundle.clone();
    if let Some(byte) = broken.bytes.0.last_mut() {
        *byte ^= 1;
    }
    Ok(broken)
}
