//! Mixed groups: two implementations of one wire protocol in one scenario.
//!
//! In a pair the first implementation plays the first device of a scenario and every second one after it, the other one
//! the rest: so each is creator, adder and joiner, writer and reader, and a user's two devices are of different
//! implementations where that user has two. The mark of a mixed scenario is how it comes out with either of them alone: what
//! both do alone they are to do together. Where they do not, the first step that went otherwise is told, with the bytes of
//! the packet, the bundle or the group information that was refused.

use std::collections::{BTreeMap, BTreeSet};

use e2esm_adapter::{Bytes, Description, DeviceId};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::probe::probe;
use crate::results::{Environment, Run, Suite};
use crate::scenario::{Cast, Entry, Layer, Log, Matter, Observations, Player, Stop, play};
use crate::suite::{Settings, Target, in_pool};
use crate::vector::{Role, Vector, describe};
use crate::verdict::{Verdict, verdict};
use crate::worker::{Failure, Worker};

/// The version of this document's schema.
pub const SCHEMA_VERSION: u32 = 1;

/// Every ordered pair, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "E2ESM interoperability")]
pub struct Interop {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// What ran.
    pub suite: Suite,
    /// Where it ran.
    pub environment: Environment,
    /// How it ran.
    pub run: Run,
    /// Who took part.
    pub implementations: Vec<Description>,
    /// The pairs, in the order of the implementations.
    pub pairs: Vec<Pair>,
}

/// Two implementations in one scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// The adapter that plays the first device, and every second one after it.
    pub first: String,
    /// The adapter that plays the others.
    pub second: String,
    /// The scenarios.
    pub cells: Vec<Cell>,
}

/// One scenario at one layer, played by a pair.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cell {
    /// The vector's id.
    pub vector: String,
    /// The layer.
    pub layer: Layer,
    /// How the mixed scenario comes out.
    pub verdict: Verdict,
    /// How it comes out with the first implementation alone, and with the second.
    pub alone: [Verdict; 2],
    /// What that means.
    pub outcome: Outcome,
    /// Where it first went otherwise, for an outcome that differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difference: Option<Difference>,
    /// Why that is expected, where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<String>,
}

/// What a mixed verdict means beside those of the two alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every check holds, or it comes out as with one of them alone.
    AsAlone,
    /// One of them cannot do what the scenario needs.
    Unsupported,
    /// It comes out worse, for a reason that is known: see `harness/interop-divergences.json`.
    Explained,
    /// It comes out worse.
    Differs,
}

/// The first thing that went otherwise than with one implementation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// The step of the vector, counted from 0.
    pub step: usize,
    /// What the step is, in words.
    pub action: String,
    /// The device that did otherwise, and whose implementation it is.
    pub device: DeviceId,
    /// The adapter that plays it.
    pub played_by: String,
    /// What happened, and what happens otherwise, in words.
    pub observed: String,
    /// What of others' it was given there: the packet, or the bundles or the group information.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub given: Vec<Culprit>,
}

/// What was given to the device that did otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Culprit {
    /// What it is.
    pub matter: Matter,
    /// From whom; a packet's sender is who the server says.
    pub from: DeviceId,
    /// The adapter that plays that device.
    pub made_by: String,
    /// Its bytes.
    pub bytes: Bytes,
}

/// A mixed outcome that is known to be worse than alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KnownDifference {
    /// The first adapter.
    pub first: String,
    /// The second adapter.
    pub second: String,
    /// The vector.
    pub vector: String,
    /// The layers.
    pub layers: BTreeSet<Layer>,
    /// The verdict that is expected.
    pub verdict: Verdict,
    /// Why.
    pub reason: String,
    /// A line of a library's source, documentation or issue list.
    pub source: String,
}

/// The checked-in list.
///
/// # Errors
/// If that file is malformed: the project's own tests exclude it.
pub fn known_differences() -> Result<Vec<KnownDifference>, serde_json::Error> {
    serde_json::from_str(include_str!("../interop-divergences.json"))
}

/// Whether a scenario is played by pairs if nobody says otherwise: all of removal and device addition, and of the others those
/// without an outsider, who would have to forge what one implementation makes.
pub fn is_mixed_by_default(vector: &Vector) -> bool {
    matches!(vector.theme(), "removal" | "device-addition")
        || vector.actors.iter().all(|actor| actor.role != Role::Outsider)
}

/// Who can be in one group: the same protocol and cipher suite, as the implementations name them.
fn wire(description: &Description) -> (&str, &str) {
    (&description.protocol, &description.cipher_suite)
}

/// The devices that the second implementation plays.
fn seconds(vector: &Vector) -> BTreeSet<DeviceId> {
    let thieves = vector.thieves();
    let devices = vector
        .actors
        .iter()
        .flat_map(|actor| actor.devices.iter().map(|device| DeviceId::new(&actor.user.0, device)))
        .filter(|device| !thieves.contains(device));
    devices.skip(1).step_by(2).collect()
}

/// An implementation that has said who it is.
pub struct Ready {
    /// How it is started.
    pub target: Target,
    /// Who it is.
    pub description: Description,
}

/// Asks every implementation who it is, and probes it.
///
/// # Errors
/// The first one that fails.
pub fn ready(targets: Vec<Target>, settings: &Settings) -> Result<Vec<Ready>, (String, Failure)> {
    targets
        .into_iter()
        .map(|target| {
            let asked = Worker::start(&target.launch, settings.limits).and_then(|mut worker| probe(&mut worker));
            match asked {
                Ok(description) => Ok(Ready { target, description }),
                Err(failure) => Err((target.name.clone(), failure)),
            }
        })
        .collect()
}

/// The ordered pairs that there are, as places in the list.
pub fn pairs(all: &[Ready]) -> Vec<[usize; 2]> {
    let mut pairs = Vec::new();
    for (first, one) in all.iter().enumerate() {
        for (second, other) in all.iter().enumerate() {
            if first != second && wire(&one.description) == wire(&other.description) {
                pairs.push([first, second]);
            }
        }
    }
    pairs
}

/// How many scenarios [`run`] plays.
pub fn work(pairs: &[[usize; 2]], vectors: &[Vector], settings: &Settings) -> usize {
    let alone: BTreeSet<_> = pairs.iter().flatten().collect();
    (alone.len() + pairs.len()) * vectors.len() * settings.layers.len()
}

/// Plays every vector with every pair, and with each implementation alone. `done` is called after each scenario.
pub fn run(
    all: &[Ready],
    pairs: &[[usize; 2]],
    vectors: &[Vector],
    settings: &Settings,
    known: &[KnownDifference],
    done: &(dyn Fn() + Sync),
) -> Vec<Pair> {
    let work = || {
        let one_of: BTreeSet<usize> = pairs.iter().flatten().copied().collect();
        let scenes: Vec<(usize, Layer)> =
            (0..vectors.len()).flat_map(|vector| settings.layers.iter().map(move |layer| (vector, *layer))).collect();
        let jobs: Vec<_> = one_of.iter().flat_map(|&who| scenes.iter().map(move |&scene| (who, scene))).collect();
        let alone: BTreeMap<(usize, (usize, Layer)), Observations> = jobs
            .into_par_iter()
            .map(|(who, (vector, layer))| {
                let ready = &all[who];
                let cast = Cast::one(&ready.description, &ready.target.launch);
                let observations = play(&vectors[vector], &cast, layer, settings.limits, settings.seed);
                done();
                ((who, (vector, layer)), observations)
            })
            .collect();
        let jobs: Vec<_> = pairs.iter().flat_map(|&pair| scenes.iter().map(move |&scene| (pair, scene))).collect();
        let cells: Vec<([usize; 2], Cell)> = jobs
            .into_par_iter()
            .map(|(pair, scene)| {
                let cell = mixed(all, pair, &vectors[scene.0], scene, &alone, settings, known);
                done();
                (pair, cell)
            })
            .collect();
        let mut by_pair: BTreeMap<[usize; 2], Vec<Cell>> = BTreeMap::new();
        for (pair, cell) in cells {
            by_pair.entry(pair).or_default().push(cell);
        }
        by_pair
            .into_iter()
            .map(|([first, second], cells)| Pair {
                first: all[first].target.name.clone(),
                second: all[second].target.name.clone(),
                cells,
            })
            .collect()
    };
    in_pool(settings.jobs, work)
}

fn mixed(
    all: &[Ready],
    pair: [usize; 2],
    vector: &Vector,
    scene: (usize, Layer),
    alone: &BTreeMap<(usize, (usize, Layer)), Observations>,
    settings: &Settings,
    known: &[KnownDifference],
) -> Cell {
    let layer = scene.1;
    let players = pair.map(|who| Player { description: &all[who].description, launch: &all[who].target.launch });
    let seconds = seconds(vector);
    let cast = Cast::two(players, seconds.iter().cloned());
    let observations = play(vector, &cast, layer, settings.limits, settings.seed);
    let of = |observations: &Observations| verdict(layer, &observations.checks, observations.stop.as_ref());
    let by_one = pair.map(|who| alone.get(&(who, scene)));
    let verdicts = by_one.map(|observations| observations.map_or(Verdict::Error, of));
    let mixed = of(&observations);
    let [first, second] = pair.map(|who| all[who].target.name.as_str());
    let entry = known.iter().find(|entry| {
        entry.first == first
            && entry.second == second
            && entry.vector == vector.id
            && entry.layers.contains(&layer)
            && entry.verdict == mixed
    });
    let outcome = match mixed {
        Verdict::Unsupported => Outcome::Unsupported,
        Verdict::Pass | Verdict::Graded => Outcome::AsAlone,
        worse if verdicts.contains(&worse) => Outcome::AsAlone,
        _ if entry.is_some() => Outcome::Explained,
        _ => Outcome::Differs,
    };
    let difference = matches!(outcome, Outcome::Differs | Outcome::Explained).then(|| {
        let who = |device: &DeviceId| if seconds.contains(device) { second.to_owned() } else { first.to_owned() };
        difference(vector, &observations, by_one[0], &who)
    });
    Cell {
        vector: vector.id.clone(),
        layer,
        verdict: mixed,
        alone: verdicts,
        outcome,
        difference: difference.flatten(),
        explanation: entry
            .filter(|_| outcome == Outcome::Explained)
            .map(|entry| format!("{} ({})", entry.reason, entry.source)),
    }
}

/// What a log says of one thing: whether it went well, and in words how.
struct Told<'l> {
    step: usize,
    device: &'l DeviceId,
    well: bool,
    observed: String,
    given: Vec<(Matter, &'l DeviceId, &'l Bytes)>,
}

/// Every call and delivery of a log, by what it is: step, device, what it was asked, and the how-manieth of these.
fn told(log: &Log) -> Vec<(String, Told<'_>)> {
    let mut step = 0;
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    let mut all = Vec::new();
    for entry in &log.entries {
        let (what, one) = match entry {
            Entry::Step(index) => {
                step = *index;
                continue;
            }
            Entry::Called { device, verb, given, error } => {
                let observed = match error {
                    Some(error) => format!("`{verb}` was refused: {error}"),
                    None => format!("`{verb}` was done"),
                };
                let given = given.iter().map(|given| (given.matter, &given.from, &given.bytes)).collect();
                (format!("{step} {device} {verb}"), Told { step, device, well: error.is_none(), observed, given })
            }
            Entry::Delivered(delivery) if !delivery.tapped => {
                let observed = match &delivery.result {
                    Ok(Some(message)) => format!("a message of {} was read", message.sender),
                    Ok(None) => "it was taken".to_owned(),
                    Err(error) => format!("it was refused: {error}"),
                };
                let given = vec![(Matter::Packet(delivery.kind), &delivery.label, &delivery.bytes)];
                let well = delivery.result.is_ok();
                let what = format!("{step} {} {:?} {}", delivery.to, delivery.kind, delivery.label);
                (what, Told { step, device: &delivery.to, well, observed, given })
            }
            _ => continue,
        };
        let place = count.entry(what.clone()).or_default();
        *place += 1;
        all.push((format!("{what} {place}"), one));
    }
    all
}

/// The first thing that was refused and is not alone, or was not and is; if all went as alone, the check or the step at which
/// the scenario came out otherwise.
fn difference(
    vector: &Vector,
    mixed: &Observations,
    alone: Option<&Observations>,
    who: &dyn Fn(&DeviceId) -> String,
) -> Option<Difference> {
    let action = |step: usize| vector.steps.get(step).map(describe).unwrap_or_default();
    let usual: BTreeMap<_, _> = alone.map(|alone| told(&alone.log)).unwrap_or_default().into_iter().collect();
    for (what, one) in told(&mixed.log) {
        let Some(usually) = usual.get(&what) else { continue };
        if usually.well == one.well {
            continue;
        }
        return Some(Difference {
            step: one.step,
            action: action(one.step),
            device: one.device.clone(),
            played_by: who(one.device),
            observed: format!("{}; with {} alone, {}", one.observed, who(&first_device(vector)?), usually.observed),
            given: one
                .given
                .into_iter()
                .map(|(matter, from, bytes)| Culprit {
                    matter,
                    from: from.clone(),
                    made_by: who(from),
                    bytes: bytes.clone(),
                })
                .collect(),
        });
    }
    let device = first_device(vector)?;
    let (step, observed) = match (&mixed.stop, mixed.checks.iter().find(|check| !check.holds)) {
        (Some(Stop::Refused { step, reason, .. }), _) => (*step, reason.clone()),
        (Some(Stop::Failed { step, failure }), _) => (*step, format!("an implementation {failure}")),
        (_, Some(check)) => (check.step, format!("expected: {}; observed: {}", check.expected, check.observed)),
        _ => return None,
    };
    let played_by = who(&device);
    Some(Difference { step, action: action(step), device, played_by, observed, given: Vec::new() })
}

fn first_device(vector: &Vector) -> Option<DeviceId> {
    let actor = vector.actors.first()?;
    Some(DeviceId::new(&actor.user.0, actor.devices.first()?))
}
