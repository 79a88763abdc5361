//! Reaching a group state without simulating everybody: two members live, the others are bundles that somebody made and
//! threw away, or leaves of a forged tree. What comes out is the stored state of the two, which goes into the cache.

use e2esm_adapter::{Adapter, Address, Bundle, Bytes, Change, Device, DeviceId, Error, Output, Packet, PacketKind};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::suite::in_pool;

use super::cache::{Cache, CacheError, Key};
use super::cell::{Actor, GroupState, Setting, group, member};

/// Part of every key: raised when states are reached in another way.
const VERSION: u32 = 1;

/// Adds in one commit while a state is being reached. Larger batches are slower in total, because the work for one grows
/// faster than it does; smaller ones too, because each costs a walk through the tree.
const BATCH: usize = 512;

/// From what keys and names of forged members are made.
const SEED: u64 = 9420;

/// A device as it stored itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stored {
    /// Whose.
    pub id: DeviceId,
    /// What [`Device::store`] gave.
    pub store: Bytes,
}

impl Stored {
    /// Stores a device.
    ///
    /// # Errors
    /// The device's.
    pub fn of(id: &DeviceId, device: &mut dyn Device) -> Result<Self, Error> {
        Ok(Self { id: id.clone(), store: device.store()? })
    }

    /// Makes the device again. It asks nobody and notes nothing.
    ///
    /// # Errors
    /// The adapter's.
    pub fn load(&self, adapter: &dyn Adapter) -> Result<Box<dyn Device>, Error> {
        let device = adapter.load(&self.id, self.store.as_ref())?;
        device.notebook().mute();
        Ok(device)
    }
}

/// A group in a state: its two live members.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Prepared {
    /// Who will act.
    pub actor: Stored,
    /// Who will check what came of it.
    pub observer: Stored,
}

/// Why a state was not reached.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The implementation refused something.
    #[error("{doing}: {source}")]
    Refused {
        /// What was being done.
        doing: &'static str,
        /// What it said.
        source: Error,
    },
    /// The two members do not agree on what came out.
    #[error("the live members of the prepared group differ: {0}")]
    Differ(String),
    /// The forge could not make the tree.
    #[error(transparent)]
    Forge(#[from] e2esm_forge::ForgeError),
    /// The cache could not be written.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

fn refused(doing: &'static str) -> impl Fn(Error) -> PrepareError {
    move |source| PrepareError::Refused { doing, source }
}

/// The state, from the cache or reached anew.
///
/// # Errors
/// [`PrepareError`].
pub fn prepare(adapter: &dyn Adapter, setting: &Setting, cache: &Cache) -> Result<Prepared, PrepareError> {
    let description = adapter.describe();
    let Setting { adapter: name, state, size, actor } = setting;
    let label = format!("{name}-{state}-{size}-{actor}");
    let key = Key::new(&label, &(VERSION, e2esm_forge::VERSION, SEED, &description));
    if let Some(prepared) = cache.get(&key) {
        return Ok(prepared);
    }
    let prepared = if description.group_object {
        match forged(*state).filter(|_| *size > 2) {
            Some(state) => from_forge(adapter, setting, state, cache)?,
            None => from_creator(adapter, setting)?,
        }
    } else {
        from_creator(adapter, setting)?
    };
    cache.put(&key, &prepared)?;
    Ok(prepared)
}

fn forged(state: GroupState) -> Option<e2esm_forge::State> {
    match state {
        GroupState::Flat | GroupState::CreatorPath => None,
        GroupState::Full => Some(e2esm_forge::State::Full),
        GroupState::Churn10 => Some(e2esm_forge::State::Churn10),
        GroupState::Staircase => Some(e2esm_forge::State::Staircase),
    }
}

/// A fresh device that asks nobody.
///
/// # Errors
/// The adapter's.
pub fn device(adapter: &dyn Adapter, id: &DeviceId) -> Result<Box<dyn Device>, Error> {
    let device = adapter.device(id)?;
    device.notebook().mute();
    Ok(device)
}

/// Bundles of devices that nobody keeps, made on all processors.
///
/// # Errors
/// The adapter's.
pub fn throw_away(adapter: &dyn Adapter, ids: &[DeviceId], claimed_by: &DeviceId) -> Result<Vec<Bundle>, Error> {
    let make = || ids.par_iter().map(|id| device(adapter, id)?.publish(claimed_by)).collect();
    // Making them is no part of what is measured: all processors, whatever pool the measured work is given.
    in_pool(processors(), make)
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Whether the server gives this packet to that device, which is a member.
pub fn reaches(packet: &Packet, device: &DeviceId) -> bool {
    match &packet.to {
        Address::Group(_) => true,
        Address::Device(to) => to == device,
        Address::Devices(to) => to.contains(device),
        Address::Server => false,
    }
}

/// The change among these packets: it comes back to its author.
pub fn change_of(packets: &[Packet]) -> Result<&Packet, Error> {
    packets
        .iter()
        .find(|packet| packet.kind == PacketKind::Change)
        .ok_or_else(|| Error::internal("a change without a packet for the group"))
}

/// A creator adds everybody, in batches.
fn from_creator(adapter: &dyn Adapter, setting: &Setting) -> Result<Prepared, PrepareError> {
    let Setting { size, actor, state, .. } = setting;
    let creator_id = member(0);
    let other_leaf = actor.leaf(*size).max(actor.observer_leaf(*size));
    let other_id = member(other_leaf);
    let mut creator = device(adapter, &creator_id).map_err(refused("making the creator"))?;
    let mut other = device(adapter, &other_id).map_err(refused("making a member"))?;
    creator.create_group(&group()).map_err(refused("creating the group"))?;
    // RFC 9420, section 12.4.3.1, has each newcomer's secrets bound to the whole GroupInfo: with the tree in it, letting in k
    // costs k times the tree.
    let apart = adapter.describe().group_object;
    if apart {
        creator.tree_in_welcome(&group(), false).map_err(refused("taking the tree out of the Welcome"))?;
    }
    let leaves: Vec<u32> = (1..*size).collect();
    let mut joined = false;
    for batch in leaves.chunks(BATCH) {
        let names: Vec<_> = batch.iter().filter(|leaf| **leaf != other_leaf).map(|leaf| member(*leaf)).collect();
        let mut add = throw_away(adapter, &names, &creator_id).map_err(refused("making bundles"))?;
        let comes = batch.iter().position(|leaf| *leaf == other_leaf);
        if let Some(place) = comes {
            add.insert(place, other.publish(&creator_id).map_err(refused("publishing a bundle"))?);
        }
        let change = Change { add, ..Change::default() };
        let Output { packets, .. } = creator.change(&group(), &change).map_err(refused("adding members"))?;
        let own = change_of(&packets).map_err(refused("adding members"))?;
        creator.receive(own).map_err(refused("taking the change back"))?;
        if joined {
            other.receive(own).map_err(refused("taking a change"))?;
        }
        if comes.is_some() {
            for packet in packets.iter().filter(|packet| packet.kind != PacketKind::Change) {
                if !reaches(packet, &other_id) {
                    continue;
                }
                if apart && packet.kind == PacketKind::Welcome {
                    let tree = creator.ratchet_tree(&group()).map_err(refused("exporting the tree"))?;
                    other.join_with_tree(packet, tree.as_ref()).map_err(refused("joining"))?;
                } else {
                    other.receive(packet).map_err(refused("joining"))?;
                }
            }
            joined = true;
        }
    }
    if apart {
        creator.tree_in_welcome(&group(), true).map_err(refused("putting the tree into the Welcome again"))?;
    }
    if *state != GroupState::Flat {
        refresh(&mut *creator, &mut *other)?;
    }
    finish((creator_id, creator), (other_id, other), *actor)
}

/// `by` replaces its keys, and `other` follows.
fn refresh(by: &mut dyn Device, other: &mut dyn Device) -> Result<(), PrepareError> {
    let change = Change { refresh: true, ..Change::default() };
    let Output { packets, .. } = by.change(&group(), &change).map_err(refused("replacing keys"))?;
    let own = change_of(&packets).map_err(refused("replacing keys"))?;
    by.receive(own).map_err(refused("taking the change back"))?;
    other.receive(own).map_err(refused("taking a change"))?;
    Ok(())
}

/// Two members join a forged tree by their own acts, each into the hole that was left for it.
fn from_forge(
    adapter: &dyn Adapter,
    setting: &Setting,
    state: e2esm_forge::State,
    cache: &Cache,
) -> Result<Prepared, PrepareError> {
    let Setting { size, actor, .. } = setting;
    let mut holes = [actor.leaf(*size), actor.observer_leaf(*size)];
    // A joiner takes the leftmost hole.
    holes.sort_unstable();
    let info = tree(*size, holes, state, cache)?;
    let [first_id, second_id] = holes.map(member);
    let mut first = device(adapter, &first_id).map_err(refused("making a member"))?;
    let mut second = device(adapter, &second_id).map_err(refused("making a member"))?;
    first.external_join(info.as_ref()).map_err(refused("joining the forged group"))?;
    let info = first.group_info(&group()).map_err(refused("exporting the GroupInfo"))?;
    let Output { packets, .. } = second.external_join(info.as_ref()).map_err(refused("joining after the first"))?;
    let commit = change_of(&packets).map_err(refused("joining after the first"))?;
    first.receive(commit).map_err(refused("taking an external commit"))?;
    finish((first_id, first), (second_id, second), *actor)
}

/// The GroupInfo of a forged group: the same bytes for every implementation.
fn tree(size: u32, holes: [u32; 2], state: e2esm_forge::State, cache: &Cache) -> Result<Bytes, PrepareError> {
    let plan = e2esm_forge::Plan { suite: 1, state, size, holes: holes.to_vec(), seed: SEED, group: group() };
    let label = format!("forge-{}-{size}-{}-{}", state.label(), holes[0], holes[1]);
    let key = Key::new(&label, &(e2esm_forge::VERSION, plan.suite, plan.seed));
    if let Some(info) = cache.get(&key) {
        return Ok(info);
    }
    let info = Bytes(e2esm_forge::forge(&plan)?.group_info);
    cache.put(&key, &info)?;
    Ok(info)
}

type Live = (DeviceId, Box<dyn Device>);

fn finish(mut low: Live, mut high: Live, actor: Actor) -> Result<Prepared, PrepareError> {
    agree(&mut *low.1, &mut *high.1).map_err(PrepareError::Differ)?;
    let stored = |(id, device): &mut Live| Stored::of(id, &mut **device).map_err(refused("storing a member"));
    let (low, high) = (stored(&mut low)?, stored(&mut high)?);
    Ok(match actor {
        Actor::First => Prepared { actor: low, observer: high },
        Actor::Middle | Actor::Last => Prepared { actor: high, observer: low },
    })
}

/// Whether two members see the same roster and, where the protocol has one, the same epoch authenticator.
///
/// # Errors
/// What differs, or what could not be asked.
pub fn agree(one: &mut dyn Device, other: &mut dyn Device) -> Result<(), String> {
    let group = group();
    let roster = |device: &mut dyn Device| device.roster(&group).map_err(|error| format!("the roster: {error}"));
    let (mine, theirs) = (roster(one)?, roster(other)?);
    if mine.members != theirs.members {
        return Err(format!("rosters of {} and {} members", mine.members.len(), theirs.members.len()));
    }
    if !mine.authenticated {
        return Ok(());
    }
    // MLS: one value for the whole group, whoever the peer is.
    let nobody = member(0);
    let value = |device: &mut dyn Device| {
        device.fingerprint(&group, &nobody).map_err(|error| format!("the epoch authenticator: {error}"))
    };
    if value(one)? == value(other)? { Ok(()) } else { Err("epoch authenticators".to_owned()) }
}
