//! Playing a scenario: actors with devices, a server that may be malicious, and what was observed.
//!
//! [`play`] takes a vector and a way to start an implementation, and returns [`Observations`]: facts, no judgement. The
//! devices live in a worker process; everything else (network, server, applications with their policy) is here.

mod evaluate;
mod log;
mod server;
mod steps;
mod tape;
mod world;

use std::collections::BTreeMap;

use e2esm_adapter::{Asker, Capability, Description, DeviceId, FactKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::vector::{Polarity, Vector};
use crate::worker::{Failure, Launch, Limits, Worker};

pub use log::{Entry, Log, Matter};
pub use tape::{Heard, Tape};

/// Where a verdict is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// Every decision that the library hands to its application is answered as permissively as its API allows.
    Library,
    /// The suite's one shared policy answers.
    Policy,
}

impl Layer {
    /// Both, in the order of the tables.
    pub const ALL: [Self; 2] = [Self::Library, Self::Policy];

    /// The name used in JSON and on the command line.
    pub fn label(self) -> &'static str {
        match self {
            Self::Library => "library",
            Self::Policy => "policy",
        }
    }
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Checked {
    /// The step of the vector, counted from 0.
    pub step: usize,
    /// What kind of check.
    pub polarity: Polarity,
    /// What a sound system does here, in words.
    pub expected: String,
    /// What happened, in words.
    pub observed: String,
    /// Whether what happened is what a sound system does. Always true for a graded check that found no silence.
    pub holds: bool,
    /// Where the library asked the application about exactly the fact that explains a bad outcome, and was told yes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub consulted: Vec<Consultation>,
    /// For a graded check: points reached and points possible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<(u32, u32)>,
}

/// A question that explains a bad outcome.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Consultation {
    /// The library's own name for the place.
    pub point: String,
    /// Who asked there.
    pub asker: Asker,
    /// About what kind of fact.
    pub fact: FactKind,
}

/// What stopped a scenario before its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// A capability that the vector needs is declared unsupported.
    Unsupported {
        /// Which.
        capability: Capability,
        /// Why, as the adapter declares it.
        because: String,
    },
    /// A step that every sound system can take was refused.
    Refused {
        /// Which step, counted from 0.
        step: usize,
        /// What it was, in words.
        action: String,
        /// What the implementation said.
        reason: String,
    },
    /// The implementation's process failed.
    Failed {
        /// Which step, counted from 0.
        step: usize,
        /// How.
        failure: Failure,
    },
}

/// What crossed the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Traffic {
    /// Packets that devices gave to the server.
    pub packets: u64,
    /// Bytes of them.
    pub bytes_up: u64,
    /// Bytes that the server handed to members' devices (copies for attackers are not counted).
    pub bytes_fanned_out: u64,
}

/// Everything that was observed of one scenario, one implementation and one layer.
#[derive(Clone, Debug)]
pub struct Observations {
    /// What the checks found, up to where the scenario stopped.
    pub checks: Vec<Checked>,
    /// What stopped it, if it did not reach its end.
    pub stop: Option<Stop>,
    /// What crossed the server.
    pub traffic: Traffic,
    /// Step by step.
    pub log: Log,
}

/// An implementation that plays in a scenario: who it says it is, and how to start it.
#[derive(Clone, Copy, Debug)]
pub struct Player<'a> {
    /// Who it is.
    pub description: &'a Description,
    /// How to start it.
    pub launch: &'a Launch,
}

/// Who plays whose devices: one implementation all of them, or several of one wire protocol.
#[derive(Clone, Debug)]
pub struct Cast<'a> {
    players: Vec<Player<'a>>,
    parts: BTreeMap<DeviceId, usize>,
}

impl<'a> Cast<'a> {
    /// One implementation plays everybody.
    pub fn one(description: &'a Description, launch: &'a Launch) -> Self {
        Self { players: vec![Player { description, launch }], parts: BTreeMap::new() }
    }

    /// Two implementations play: the second one these devices, the first one all others. A thief's device is of the
    /// implementation that it was stolen from.
    pub fn two(players: [Player<'a>; 2], second: impl IntoIterator<Item = DeviceId>) -> Self {
        Self { players: players.to_vec(), parts: second.into_iter().map(|device| (device, 1)).collect() }
    }

    /// The reason for which a capability is not there, if it is not.
    fn lacks(&self, capability: Capability) -> Option<&str> {
        self.players.iter().find_map(|player| player.description.unsupported.get(&capability)).map(String::as_str)
    }

    fn supports(&self, capability: Capability) -> bool {
        self.lacks(capability).is_none()
    }

    fn place(&self, handle: &DeviceId) -> usize {
        self.parts.get(handle).copied().unwrap_or(0)
    }

    fn start(&self, limits: Limits) -> Result<Vec<Worker>, Failure> {
        self.players.iter().map(|player| Worker::start(player.launch, limits)).collect()
    }
}

/// Plays one scenario at the library layer, and tapes what one of its devices is given.
///
/// # Errors
/// The process could not be started, or failed while devices were made.
pub fn tape(
    vector: &Vector,
    cast: &Cast<'_>,
    limits: Limits,
    seed: u64,
    device: &DeviceId,
) -> Result<(Observations, Tape), Failure> {
    let mut world = world::World::new(vector, cast, Layer::Library, limits, seed)?;
    world.tape = Some(Tape::new(device));
    let observations = world.play();
    Ok((observations, world.tape.unwrap_or_else(|| Tape::new(device))))
}

/// Plays one scenario.
pub fn play(vector: &Vector, cast: &Cast<'_>, layer: Layer, limits: Limits, seed: u64) -> Observations {
    let stopped =
        |stop| Observations { checks: Vec::new(), stop: Some(stop), traffic: Traffic::default(), log: Log::default() };
    for capability in vector.implied_needs().into_iter().chain(vector.needs.iter().copied()) {
        if let Some(because) = cast.lacks(capability) {
            return stopped(Stop::Unsupported { capability, because: because.to_owned() });
        }
    }
    match world::World::new(vector, cast, layer, limits, seed) {
        Ok(mut world) => world.play(),
        Err(failure) => stopped(Stop::Failed { step: 0, failure }),
    }
}
