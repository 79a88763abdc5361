//! A recorded vector from a scenario: one device of a live run, and what it was given.
//!
//! What is expected is the scenario's word: what it says must be refused is expected to be refused, for the reasons that
//! it allows. Where the live run did not keep all of the scenario's promises, nothing is recorded.

use std::collections::BTreeMap;

use e2esm_adapter::{
    Adapter, Bytes, Delivered, Delivery, DeliveryKind, Description, DeviceId, ErrorClass, PacketKind, Protocol, Start,
};
use e2esm_playback::{Draft, DraftError, Fault, Recorded};

use crate::scenario::{Cast, Heard, Stop, Tape, tape};
use crate::vector::{Check, Step, Vector};
use crate::worker::{Failure, Launch, Limits};

/// What is wrong with a packet that was taken before.
const AGAIN: &str = "delivered again";

/// Why nothing was recorded.
#[derive(Debug, thiserror::Error)]
pub enum NotRecorded {
    /// The implementation's process failed.
    #[error("the implementation {0}")]
    Failed(#[from] Failure),
    /// The scenario stopped.
    #[error("the scenario stopped at step {step}: {reason}")]
    Stopped {
        /// Counted from 1.
        step: usize,
        /// Why.
        reason: String,
    },
    /// A capability is missing.
    #[error("{0}")]
    Unsupported(String),
    /// A check does not hold: what was sent is not what a sound system takes.
    #[error(
        "the live run does not keep what the scenario promises (at the library layer): expected {expected}; observed {observed}"
    )]
    Broken {
        /// What was promised.
        expected: String,
        /// What happened.
        observed: String,
    },
    /// Not one of the scenario's devices.
    #[error("{device} is no device of {scenario}: expected one of {devices}")]
    NoDevice {
        /// Which was asked for.
        device: DeviceId,
        /// Of which scenario.
        scenario: String,
        /// Which there are.
        devices: String,
    },
    /// It does something of its own.
    #[error("{device} is not passive in {scenario}: {acts}. Choose a device that only receives")]
    Active {
        /// Which device.
        device: DeviceId,
        /// In which scenario.
        scenario: String,
        /// What it does.
        acts: String,
    },
    /// Nothing is to be recorded.
    #[error("{device} is given nothing that it takes: there is nothing to record")]
    Nothing {
        /// Which device.
        device: DeviceId,
    },
    /// What a passive device makes of it is not what the live one made of it.
    #[error(
        "{0}. If this device sends messages of its own, these may have changed its sessions: choose one that only receives"
    )]
    Draft(#[from] DraftError),
}

/// What to record.
pub struct Order<'a> {
    /// The scenario.
    pub vector: &'a Vector,
    /// The device.
    pub device: &'a DeviceId,
    /// Whose vector: an implementation may speak several protocols.
    pub protocol: Protocol,
    /// The day, `YYYY-MM-DD`.
    pub date: &'a str,
    /// From what message texts are made.
    pub seed: u64,
}

/// Plays the scenario live, in a worker, and makes a vector of what the device is given; `adapter` is the same
/// implementation, on which it is played for the first time.
///
/// # Errors
/// [`NotRecorded`].
pub fn record(
    order: &Order<'_>,
    launch: &Launch,
    description: &Description,
    adapter: &dyn Adapter,
    limits: Limits,
) -> Result<Recorded, NotRecorded> {
    let Order { vector, device, .. } = *order;
    let devices =
        vector.actors.iter().flat_map(|actor| actor.devices.iter().map(|device| DeviceId::new(&actor.user.0, device)));
    let devices: Vec<_> = devices.collect();
    if !devices.contains(device) {
        return Err(NotRecorded::NoDevice {
            device: device.clone(),
            scenario: vector.id.clone(),
            devices: devices.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        });
    }
    for capability in &vector.needs {
        if let Some(because) = description.unsupported.get(capability) {
            return Err(NotRecorded::Unsupported(format!("`{}`: {because}", capability.label())));
        }
    }
    let (observations, tape) = tape(vector, &Cast::one(description, launch), limits, order.seed, device)?;
    match observations.stop {
        Some(Stop::Failed { failure, .. }) => return Err(NotRecorded::Failed(failure)),
        Some(Stop::Refused { step, reason, .. }) => return Err(NotRecorded::Stopped { step: step + 1, reason }),
        Some(Stop::Unsupported { because, .. }) => return Err(NotRecorded::Unsupported(because)),
        None => {}
    }
    if let Some(broken) = observations.checks.iter().find(|check| !check.holds) {
        let (expected, observed) = (broken.expected.clone(), broken.observed.clone());
        return Err(NotRecorded::Broken { expected, observed });
    }
    if !tape.acts.is_empty() {
        let (device, scenario) = (device.clone(), vector.id.clone());
        return Err(NotRecorded::Active { device, scenario, acts: tape.acts.join(", ") });
    }
    draft(order, &tape, adapter)?.record(adapter, &description.cipher_suite).map_err(NotRecorded::Draft)
}

fn draft(order: &Order<'_>, tape: &Tape, adapter: &dyn Adapter) -> Result<Draft, NotRecorded> {
    let Order { vector, device, protocol, date, .. } = *order;
    let nothing = || NotRecorded::Nothing { device: device.clone() };
    let start = match (protocol, &tape.start) {
        (Protocol::Megolm, _) => Start::Megolm(e2esm_adapter::MegolmStart {}),
        (_, Some(start)) if start.protocol() == protocol => start.clone(),
        (_, Some(_)) => return Err(NotRecorded::Unsupported(format!("it publishes no keys of {}", protocol.label()))),
        (_, None) => return Err(nothing()),
    };
    let requirements: Vec<&str> = vector.requirements.iter().map(String::as_str).collect();
    let view = device.to_string().replace('/', "-");
    let library = adapter.describe().implementation;
    let id = format!("{}/{}-{view}-{library}", protocol.label(), vector.id);
    let title = format!("{} ({device}, {library})", vector.title);
    let mut draft = Draft::new(&id, &title, &vector.description, &requirements, date, start.clone());
    draft.from_scenario(&vector.id);

    let mut passive = adapter.passive(&start).map_err(|error| NotRecorded::Unsupported(error.text))?;
    let mut given: Vec<(Bytes, String)> = Vec::new();
    let mut names: BTreeMap<String, usize> = BTreeMap::new();
    let mut steps: Vec<(String, &Heard, &Delivery, Option<Delivered>)> = Vec::new();
    // A word of the server's own is no packet of the protocol.
    let of_protocol = |heard: &&Heard| !matches!(heard.kind, PacketKind::DeviceList | PacketKind::KeyRequest);
    for heard in tape.heard.iter().filter(of_protocol) {
        let last = heard.deliveries.len().saturating_sub(1);
        for (place, delivery) in heard.deliveries.iter().enumerate() {
            if protocol_of(delivery.kind, protocol) != protocol {
                continue;
            }
            let name = numbered(&mut names, heard.name.as_deref().unwrap_or(word(heard.kind)));
            // A refused packet was refused at its last part.
            let refused = place == last && heard.result.is_err();
            let told = passive.deliver(delivery);
            let facts = match (&heard.result, refused) {
                (_, true) => None,
                (Ok(Some(message)), _) if place == last => {
                    Some(Delivered { plaintext: Some(message.plaintext.clone()), ..Delivered::default() })
                }
                // What a pairwise message carries is the group management's own framing: what the library opened it to.
                // Whether a change removes this device, it says itself.
                _ => {
                    let told = told.unwrap_or_default();
                    Some(Delivered { plaintext: told.plaintext, removed: told.removed, ..Delivered::default() })
                }
            };
            steps.push((name, heard, delivery, facts));
        }
    }
    let taken: Vec<(PacketKind, DeliveryKind, String)> = steps
        .iter()
        .filter(|(.., facts)| facts.is_some())
        .map(|(name, heard, delivery, _)| (heard.kind, delivery.kind, name.clone()))
        .collect();
    if taken.is_empty() {
        return Err(nothing());
    }
    // The same kind of packet if one is taken; else, for MLS, whatever is.
    let like = |heard: &Heard, delivery: &Delivery| {
        let same = taken.iter().find(|(packet, kind, _)| *packet == heard.kind && *kind == delivery.kind);
        same.or_else(|| taken.iter().find(|(_, kind, _)| *kind == delivery.kind)).map(|(.., name)| name.clone())
    };
    let mut removed = false;
    for (name, heard, delivery, facts) in steps {
        let comment = format!("From {}.", heard.label);
        match facts {
            Some(facts) => {
                removed = (removed || facts.removed) && heard.kind != PacketKind::Welcome;
                draft.accept(&name, &comment, delivery.clone(), facts);
                given.push((delivery.bytes.clone(), name));
            }
            None => {
                let again = given.iter().find(|(bytes, _)| *bytes == delivery.bytes).map(|(_, first)| first.clone());
                let change = match &again {
                    Some(_) => AGAIN.to_owned(),
                    None => format!("{}: {}", vector.id, heard.name.as_deref().unwrap_or(word(heard.kind))),
                };
                let packet = word(heard.kind).to_owned();
                let fault = Fault { packet, field: "whole".to_owned(), change, rule: None };
                let Some(twin) = again.or_else(|| like(heard, delivery)) else {
                    // Nothing of its kind is ever taken: there is no twin to tell the refusal from deafness.
                    continue;
                };
                let place = if removed { Place::Removed } else { Place::of(&given) };
                let flags = flags(vector, heard, &fault, place);
                let reasons = reasons(vector, heard, device);
                draft.reject(&name, &comment, delivery.clone(), &flags, fault, &twin, &reasons);
            }
        }
    }
    Ok(draft)
}

/// Where a device stands when it refuses something.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Outside,
    Member,
    Removed,
}

impl Place {
    fn of(given: &[(Bytes, String)]) -> Self {
        if given.is_empty() { Self::Outside } else { Self::Member }
    }
}

/// What the refusal of a packet is about: where the device stands, and what the step that the packet stems from does.
fn flags(vector: &Vector, heard: &Heard, fault: &Fault, place: Place) -> Vec<&'static str> {
    if fault.change == AGAIN {
        return vec!["Replayed"];
    }
    let step = vector.steps.iter().find(|step| step.name().is_some() && step.name() == heard.name.as_deref());
    let relabels =
        |step: &Step| matches!(step, Step::Misbehave { fault: e2esm_adapter::Fault::RelabelledSender(_), .. });
    match step {
        Some(
            Step::ForgeMessage { .. }
            | Step::ForgeKeyDistribution { .. }
            | Step::InjectMember { .. }
            | Step::ForgeRemoval { .. }
            | Step::UninvitedJoin { .. },
        ) => vec!["Outsider"],
        Some(Step::Tamper { .. }) => vec!["Altered"],
        Some(Step::Send { .. }) if place == Place::Member && vector.steps.iter().any(relabels) => vec!["Relabelled"],
        _ => match place {
            Place::Removed => vec!["AfterRemoval"],
            Place::Outside => vec!["BeforeJoining"],
            // Of another branch of the group, if not of another epoch of this one.
            Place::Member => vec!["OtherEpoch"],
        },
    }
}

/// Whose vector a kind of delivery belongs into, for an implementation that speaks several protocols.
fn protocol_of(kind: DeliveryKind, asked: Protocol) -> Protocol {
    match kind {
        DeliveryKind::MlsMessage => Protocol::Mls,
        DeliveryKind::SenderKeyDistribution | DeliveryKind::SenderKeyMessage => Protocol::Signal,
        DeliveryKind::SessionKey | DeliveryKind::ExportedSessionKey | DeliveryKind::MegolmMessage => Protocol::Megolm,
        DeliveryKind::PrekeyMessage | DeliveryKind::Message => match asked {
            Protocol::Signal => Protocol::Signal,
            _ => Protocol::Olm,
        },
    }
}

/// Why the scenario says that it is refused: what a check on this step allows; else, for what must not be read, any reason that
/// says that it cannot be.
fn reasons(vector: &Vector, heard: &Heard, device: &DeviceId) -> Vec<ErrorClass> {
    for (_, check) in vector.checks() {
        if let Check::Refused { attempt, by, reasons, .. } = check
            && heard.name.as_ref() == Some(attempt)
            && by.contains(device)
        {
            return reasons.clone();
        }
    }
    vec![
        ErrorClass::Duplicate,
        ErrorClass::AuthFailed,
        ErrorClass::NoKey,
        ErrorClass::NotMember,
        ErrorClass::StaleEpoch,
        ErrorClass::BadRequest,
    ]
}

fn numbered(names: &mut BTreeMap<String, usize>, name: &str) -> String {
    let count = names.entry(name.to_owned()).or_insert(0);
    *count += 1;
    if *count == 1 { name.to_owned() } else { format!("{name} ({count})") }
}

fn word(kind: PacketKind) -> &'static str {
    match kind {
        PacketKind::Change => "commit",
        PacketKind::Welcome => "welcome",
        PacketKind::Message => "message",
        PacketKind::KeyDistribution => "key distribution",
        PacketKind::KeyRequest => "key request",
        PacketKind::DeviceList => "device list",
        PacketKind::Proposal => "proposal",
    }
}
