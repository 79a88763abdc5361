//! Forgeries by somebody outside the group, who knows what the server knows: its id, its members' names, its epoch.
//!
//! The outsider plays the group to itself: a parallel group of impostors under the same id and names, at the same epoch. What
//! comes out has every visible byte right and none of the keys.

use e2esm_account::Account;
use e2esm_adapter::{
    Address, Bundle, Bytes, DeviceId, Error, ErrorClass, Forged, Forgery, KnownGroup, Packet, PacketKind,
};
use openmls::group::{GroupId as MlsGroupId, MlsGroup, StagedWelcome};
use openmls::prelude::{JoinProposal, LeafNodeParameters, MlsMessageBodyIn, MlsMessageOut};
use openmls_rust_crypto::MemoryStorage;

use crate::bent::{Plan, build};
use crate::credential::credential_of;
use crate::device::{OpenMlsDevice, external_commit, leaves_to_remove, open_bundle, parse, to_bytes};
use crate::errors::refused;
use crate::meter::SignatureKey;
use crate::provider::{Backend, Company, Parts, Provider, create_config, join_config, key_package};

/// Each epoch of a parallel group is a commit: more than these are not played out.
const MOST_CHANGES: u64 = 10_000;

/// Crafts what is asked for.
pub(crate) fn craft<C: Backend>(outsider: &OpenMlsDevice<C>, forgery: &Forgery) -> Result<Forged, Error> {
    match forgery {
        Forgery::Message { group, claim, plaintext } => {
            let mut parallel = Parallel::<C>::new(outsider.company, group, claim)?;
            let message = parallel.message(plaintext.as_ref())?;
            Ok(Forged::Packets(vec![packet(PacketKind::Message, group, claim, message)]))
        }
        Forgery::Change { group, claim, add, remove } => change(outsider, group, claim, add, remove),
        Forgery::UninvitedJoin { group } => {
            let join = uninvited_join(outsider, group)?;
            Ok(Forged::Packets(vec![packet(PacketKind::Change, group, &outsider.id, join)]))
        }
        Forgery::BrokenBundle { bundle } => broken(bundle).map(Forged::Bundle),
        Forgery::KeyDistribution { .. } => Err(Error::unsupported("MLS has no sender keys that travel")),
        Forgery::RewrittenIdentity { .. } => {
            Err(Error::unsupported("MLS has no session-opening packet that bears its sender's identity key"))
        }
    }
}

/// The commit of a parallel group, and, where the outsider slips itself in, an external Add proposal of its own: that is
/// the one change that RFC 9420, 12.1.8 lets a stranger ask for.
fn change<C: Backend>(
    outsider: &OpenMlsDevice<C>,
    group: &KnownGroup,
    claim: &DeviceId,
    add: &[Bundle],
    remove: &[DeviceId],
) -> Result<Forged, Error> {
    let mut parallel = Parallel::<C>::new(outsider.company, group, claim)?;
    let commit = parallel.commit(add, remove)?;
    let mut packets = vec![packet(PacketKind::Change, group, claim, commit)];
    for bundle in add.iter().filter(|bundle| bundle.device == outsider.id) {
        let proposal = JoinProposal::new::<MemoryStorage>(
            open_bundle(&outsider.provider, bundle)?,
            MlsGroupId::from_slice(group.id.0.as_bytes()),
            group.changes.into(),
            &outsider.signer,
        )
        .map_err(refused("proposing oneself"))?;
        packets.push(packet(PacketKind::Proposal, group, &outsider.id, to_bytes(&proposal)?));
    }
    Ok(Forged::Packets(packets))
}

/// An external commit with the GroupInfo of a parallel group.
fn uninvited_join<C: Backend>(outsider: &OpenMlsDevice<C>, group: &KnownGroup) -> Result<Bytes, Error> {
    let claim = group.members.first().unwrap_or(&outsider.id);
    let info = Parallel::<C>::new(outsider.company, group, claim)?.group_info()?;
    let MlsMessageBodyIn::GroupInfo(info) = parse(info.as_ref())? else {
        return Err(Error::internal("an exported GroupInfo is something else"));
    };
    let (crypto, scratch) = (&outsider.provider.crypto, MemoryStorage::default());
    let parts = Parts { crypto, rand: crypto, storage: &scratch };
    external_commit(&parts, &outsider.signer, &outsider.account, info, outsider.company).map(|(_, commit)| commit)
}

/// The signature is the last field of a key package (RFC 9420, 10).
fn broken(bundle: &Bundle) -> Result<Bundle, Error> {
    let MlsMessageBodyIn::KeyPackage(_) = parse(bundle.bytes.as_ref())? else {
        return Err(Error::bad_request("the bundle is not a key package"));
    };
    let mut broken = bundle.clone();
    if let Some(last) = broken.bytes.0.last_mut() {
        *last ^= 1;
    }
    Ok(broken)
}

fn packet(kind: PacketKind, group: &KnownGroup, from: &DeviceId, bytes: Bytes) -> Packet {
    let (group, to) = (group.id.clone(), Address::Group(group.id.clone()));
    Packet { kind, group, from: from.clone(), to, opens_session: false, bytes, seal: None }
}

/// One who bears a member's name, with keys of its own.
struct Impostor<C> {
    provider: Provider<C>,
    signer: SignatureKey,
    account: Account,
}

impl<C: Backend> Impostor<C> {
    fn new(name: &DeviceId) -> Result<Self, Error> {
        let signer = SignatureKey::generate()?;
        let account = Account::new(name, signer.public());
        Ok(Self { provider: Provider::new()?, signer, account })
    }

    fn commit(&self, group: &mut MlsGroup, plan: Plan) -> Result<(MlsMessageOut, Option<MlsMessageOut>), Error> {
        let Self { provider, signer, .. } = self;
        let crypto = &provider.crypto;
        let (commit, welcome, _) = build(group, &provider.storage, crypto, crypto, signer, plan)
            .map_err(refused("building a forged commit"))?
            .stage_commit(provider)
            .map_err(refused("staging a forged commit"))?
            .into_messages();
        Ok((commit, welcome))
    }
}

/// The parallel group, from the view of the impostor who bears the claimed name.
struct Parallel<C> {
    actor: Impostor<C>,
    group: MlsGroup,
}

impl<C: Backend> Parallel<C> {
    /// The members sit in the tree in the order in which they are known: the outsider's best guess.
    fn new(company: Company, known: &KnownGroup, claim: &DeviceId) -> Result<Self, Error> {
        if known.changes > MOST_CHANGES {
            return Err(Error::new(
                ErrorClass::BadRequest,
                format!("a parallel group of {} changes: {MOST_CHANGES} are the most", known.changes),
            ));
        }
        let mut names: Vec<&DeviceId> = known.members.iter().collect();
        if !names.contains(&claim) {
            names.insert(0, claim);
        }
        // Before the first change there is only the creator.
        let (first, others) = match (known.changes, &names[..]) {
            (0, _) | (_, []) => (claim, &[][..]),
            (_, [first, others @ ..]) => (*first, others),
        };
        let creator = Impostor::<C>::new(first)?;
        let mut group = MlsGroup::new_with_group_id(
            &creator.provider,
            &creator.signer,
            &create_config(company),
            MlsGroupId::from_slice(known.id.0.as_bytes()),
            credential_of(&creator.account, company)?,
        )
        .map_err(refused("creating a parallel group"))?;
        for _ in 1..known.changes {
            creator.commit(&mut group, plan(Vec::new(), true))?;
            group.merge_pending_commit(&creator.provider).map_err(refused("advancing a parallel group"))?;
        }
        if known.changes == 0 {
            return Ok(Self { actor: creator, group });
        }
        let others = others.iter().map(|name| Impostor::<C>::new(name)).collect::<Result<Vec<_>, _>>()?;
        let mut add = Vec::new();
        for other in &others {
            let credential = credential_of(&other.account, company)?;
            let bundle = key_package(&other.provider, &other.signer, company, credential);
            add.push(bundle.map_err(refused("making an impostor's key package"))?.into_key_package());
        }
        let (_, welcome) = creator.commit(&mut group, plan(add, others.is_empty()))?;
        group.merge_pending_commit(&creator.provider).map_err(refused("filling a parallel group"))?;
        let claimed = others.into_iter().find(|other| other.account.link_request().device == *claim);
        match (claimed, welcome) {
            (Some(actor), Some(welcome)) if first != claim => {
                let MlsMessageBodyIn::Welcome(welcome) = parse(to_bytes(&welcome)?.as_ref())? else {
                    return Err(Error::internal("a Welcome is something else"));
                };
                let group =
                    StagedWelcome::new_from_welcome(&actor.provider, &join_config(company, true), welcome, None)
                        .and_then(|staged| staged.into_group(&actor.provider))
                        .map_err(refused("joining a parallel group"))?;
                Ok(Self { actor, group })
            }
            _ => Ok(Self { actor: creator, group }),
        }
    }

    fn message(&mut self, plaintext: &[u8]) -> Result<Bytes, Error> {
        let Impostor { provider, signer, .. } = &self.actor;
        let message = self.group.create_message(provider, signer, plaintext);
        to_bytes(&message.map_err(refused("encrypting a forged message"))?)
    }

    fn commit(&mut self, add: &[Bundle], remove: &[DeviceId]) -> Result<Bytes, Error> {
        let provider = &self.actor.provider;
        let add = add.iter().map(|bundle| open_bundle(provider, bundle)).collect::<Result<Vec<_>, _>>()?;
        let remove = leaves_to_remove(&self.group, remove)?;
        let (commit, _) = self.actor.commit(&mut self.group, Plan { remove, ..plan(add, true) })?;
        to_bytes(&commit)
    }

    fn group_info(&self) -> Result<Bytes, Error> {
        let info = self.group.export_group_info(&self.actor.provider.crypto, &self.actor.signer, true);
        to_bytes(&info.map_err(refused("exporting a forged GroupInfo"))?)
    }
}

fn plan(add: Vec<openmls::prelude::KeyPackage>, refresh: bool) -> Plan {
    Plan { add, remove: Vec::new(), refresh, leaf: LeafNodeParameters::default() }
}
