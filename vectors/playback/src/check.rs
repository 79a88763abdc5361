//! What must be true of a recorded vector before anybody plays it.

use std::collections::{BTreeMap, BTreeSet};

use e2esm_adapter::{Delivered, DeliveryKind, ErrorClass, Protocol, Start};

use crate::file::{Expected, Fault, Recorded, Step};
use crate::flags::flag;

/// The themes that a recorded vector may belong to.
const THEMES: [&str; 7] =
    ["authentication", "removal", "device-addition", "participation", "integrity", "secrecy", "robustness"];

/// Every problem of one vector, each as a sentence that names the field. `requirements` are the ids that are known.
pub fn check(vector: &Recorded, requirements: &BTreeSet<String>) -> Vec<String> {
    let mut problems = Vec::new();
    head(vector, requirements, &mut problems);
    start(vector, &mut problems);
    let mut names = BTreeSet::new();
    for (index, step) in vector.deliveries.iter().enumerate() {
        if !names.insert(step.name.as_str()) {
            problems.push(format!("deliveries[{index}].name: `{}` is there twice", step.name));
        }
        let place = format!("deliveries[{index}] (`{}`)", step.name);
        for problem in delivery(vector, step) {
            problems.push(format!("{place}: {problem}"));
        }
    }
    order(vector, &mut problems);
    flags(vector, &mut problems);
    problems
}

fn head(vector: &Recorded, requirements: &BTreeSet<String>, problems: &mut Vec<String>) {
    let parts: Vec<_> = vector.id.split('/').collect();
    match parts[..] {
        [protocol, theme, name] => {
            if protocol != vector.protocol.label() {
                problems.push(format!("id: `{protocol}` is not the protocol, {}", vector.protocol.label()));
            }
            if !THEMES.contains(&theme) {
                problems.push(format!("id: `{theme}` is no theme: one of {}", THEMES.join(", ")));
            }
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if name.is_empty() || !name.chars().all(plain) {
                problems.push(format!("id: `{name}` is to be of lower-case letters, digits and hyphens"));
            }
        }
        _ => problems.push(format!("id: `{}` is not `protocol/theme/name`", vector.id)),
    }
    for (field, text) in [("title", &vector.title), ("description", &vector.description)] {
        if text.trim().is_empty() {
            problems.push(format!("{field}: is empty"));
        }
    }
    if vector.requirements.is_empty() {
        problems.push("requirements: none is named".to_owned());
    }
    for id in vector.requirements.iter().filter(|id| !requirements.contains(*id)) {
        problems.push(format!("requirements: `{id}` is not in requirements.json"));
    }
    if vector.confirmed_by.iter().any(|other| other.implementation == vector.recorded_by.implementation) {
        problems.push("confirmed_by: an implementation does not confirm itself".to_owned());
    }
    let day = |text: &str| {
        let parts: Vec<_> = text.split('-').map(str::len).collect();
        parts == [4, 2, 2] && text.chars().all(|c| c.is_ascii_digit() || c == '-')
    };
    for (field, date) in [("recorded_on", Some(&vector.recorded_on)), ("valid_until", vector.valid_until.as_ref())] {
        if let Some(date) = date.filter(|date| !day(date)) {
            problems.push(format!("{field}: `{date}` is not a day as YYYY-MM-DD"));
        }
    }
    for (index, known) in vector.disagreements.iter().enumerate() {
        if !vector.deliveries.iter().any(|step| step.name == known.delivery) {
            problems.push(format!("disagreements[{index}]: there is no delivery `{}`", known.delivery));
        }
        if known.note.trim().is_empty() {
            problems.push(format!("disagreements[{index}].note: says nothing"));
        }
    }
}

fn start(vector: &Recorded, problems: &mut Vec<String>) {
    if vector.start.protocol() != vector.protocol {
        problems.push(format!(
            "start: is that of {}, not {}",
            vector.start.protocol().label(),
            vector.protocol.label()
        ));
    }
    let mut length = |field: &str, found: usize, wanted: &[usize]| {
        if !wanted.contains(&found) {
            problems.push(format!("start.{field}: {found} bytes, and {wanted:?} were expected"));
        }
    };
    match &vector.start {
        Start::Mls(start) => {
            for package in &start.key_packages {
                length("key_packages.init_priv", package.init_priv.0.len(), &[32, 48, 56, 66]);
                length("key_packages.encryption_priv", package.encryption_priv.0.len(), &[32, 48, 56, 66]);
            }
            length("signature_priv", start.signature_priv.0.len(), &[32, 48, 57, 66]);
        }
        Start::Signal(start) => {
            length("identity_key_priv", start.identity_key_priv.0.len(), &[32]);
            for prekey in &start.one_time_prekeys {
                length("one_time_prekeys.priv", prekey.private.0.len(), &[32]);
            }
            for prekey in &start.signed_prekeys {
                length("signed_prekeys.priv", prekey.private.0.len(), &[32]);
                length("signed_prekeys.signature", prekey.signature.0.len(), &[64]);
            }
            for prekey in &start.kyber_prekeys {
                length("kyber_prekeys.pub", prekey.public.0.len(), &[1569]);
                length("kyber_prekeys.priv", prekey.private.0.len(), &[3169]);
                length("kyber_prekeys.signature", prekey.signature.0.len(), &[64]);
            }
        }
        Start::Olm(start) => {
            length("ed25519_priv", start.ed25519_priv.0.len(), &[32, 64]);
            length("curve25519_priv", start.curve25519_priv.0.len(), &[32]);
            for key in &start.one_time_keys {
                length("one_time_keys.priv", key.private.0.len(), &[32]);
            }
        }
        Start::Megolm(_) => {}
    }
}

fn delivery(vector: &Recorded, step: &Step) -> Vec<String> {
    let mut problems = Vec::new();
    use DeliveryKind::*;
    let (kinds, labelled): (&[DeliveryKind], bool) = match vector.protocol {
        Protocol::Mls => (&[MlsMessage], false),
        Protocol::Signal => (&[PrekeyMessage, Message, SenderKeyDistribution, SenderKeyMessage], true),
        Protocol::Olm => (&[PrekeyMessage, Message], true),
        Protocol::Megolm => (&[SessionKey, ExportedSessionKey, MegolmMessage], false),
    };
    if !kinds.contains(&step.kind) {
        problems.push(format!("kind: {:?} is not of this protocol", step.kind));
    }
    if step.from.is_some() != labelled {
        problems.push(format!("from: is to be {}", if labelled { "there" } else { "absent" }));
    }
    match &step.expected {
        Expected::Accepted(_) => {
            if step.twin.is_some() {
                problems.push("twin: what is accepted has none".to_owned());
            }
        }
        Expected::Rejected(rejection) => {
            if rejection.reasons.is_empty() {
                problems.push("expected.rejected.reasons: none is named".to_owned());
            }
            let no_reason = [ErrorClass::Internal, ErrorClass::Unsupported, ErrorClass::UndecidedTrust];
            for class in rejection.reasons.iter().filter(|class| no_reason.contains(class)) {
                problems.push(format!("expected.rejected.reasons: `{}` is no reason", class.label()));
            }
            faulty(vector, step, &mut problems);
        }
        Expected::Harmless(facts) => {
            let message = facts.plaintext.is_some() && (facts.sender.is_some() || facts.sender_leaf.is_some());
            // Whether an invalid MLS proposal is refused when it comes or when it is committed is left open, too. If it is
            // kept nothing changes: not even the epoch.
            let proposal = vector.protocol == Protocol::Mls && facts.plaintext.is_none() && facts.epoch.is_some();
            // A session key without a signature may be kept beside the one that is here, or refused for it.
            let key = step.kind == DeliveryKind::ExportedSessionKey && *facts == Delivered::default();
            if !message && !proposal && !key {
                let problem = "expected.harmless: the message and its sender are to be named, or the epoch that stays";
                problems.push(problem.to_owned());
            }
            faulty(vector, step, &mut problems);
        }
    }
    problems
}

/// What may not be accepted as it is needs to say what is wrong with it, and to have a twin that is accepted.
fn faulty(vector: &Recorded, step: &Step, problems: &mut Vec<String>) {
    if step.fault.is_none() {
        problems.push("fault: what is wrong with it is to be said".to_owned());
    }
    let Some(twin) = &step.twin else {
        problems.push("twin: the delivery that it would be without its fault is to be named".to_owned());
        return;
    };
    match vector.deliveries.iter().find(|other| other.name == *twin) {
        None => problems.push(format!("twin: there is no delivery `{twin}`")),
        Some(other) if !matches!(other.expected, Expected::Accepted(_)) => {
            problems.push(format!("twin: `{twin}` is not accepted"));
        }
        Some(other) if other.kind != step.kind => problems.push(format!("twin: `{twin}` is of another kind")),
        Some(_) => {}
    }
}

/// After the last refusal something is accepted: refusing everything from some point on passes nothing. Unless this device
/// has been removed: then nothing is left for it to read.
fn order(vector: &Recorded, problems: &mut Vec<String>) {
    let accepted = |step: &Step| matches!(step.expected, Expected::Accepted(_));
    if !vector.deliveries.iter().any(accepted) {
        problems.push("deliveries: none is accepted".to_owned());
    }
    let removed =
        vector.deliveries.iter().rposition(|step| matches!(&step.expected, Expected::Accepted(facts) if facts.removed));
    let last = vector.deliveries.iter().rposition(accepted);
    let refused = vector.deliveries.iter().rposition(|step| matches!(step.expected, Expected::Rejected(_)));
    if let (Some(last), Some(refused)) = (last, refused)
        && refused > last
        && removed != Some(last)
    {
        let name = &vector.deliveries[refused].name;
        problems.push(format!("deliveries: after the last refusal (`{name}`) nothing is accepted"));
    }
}

fn flags(vector: &Recorded, problems: &mut Vec<String>) {
    let used: BTreeSet<&String> = vector.deliveries.iter().flat_map(|step| &step.flags).collect();
    for name in &used {
        match (flag(name), vector.flags.get(*name)) {
            (None, _) => problems.push(format!("flags: `{name}` is not known")),
            (Some(_), None) => problems.push(format!("flags: the note of `{name}` is missing")),
            (Some(known), Some(here)) if known != *here => {
                problems.push(format!("flags: the note of `{name}` is not the suite's"));
            }
            _ => {}
        }
    }
    for name in vector.flags.keys().filter(|name| !used.contains(name)) {
        problems.push(format!("flags: no delivery bears `{name}`"));
    }
}

/// What is done to a device, one step after the other: the name, the fault and the outcome.
type Shape<'a> = Vec<(&'a str, Option<&'a Fault>, &'a str)>;

/// Every problem between vectors: an id that is used twice, and two files that test the same thing.
pub fn check_together<'a>(vectors: impl IntoIterator<Item = &'a Recorded>) -> Vec<String> {
    let mut problems = Vec::new();
    let mut ids = BTreeSet::new();
    let mut tested: BTreeMap<Shape<'_>, &str> = BTreeMap::new();
    for vector in vectors {
        if !ids.insert(vector.id.as_str()) {
            problems.push(format!("{}: the id is used twice", vector.id));
        }
        if let Some(other) = tested.insert(shape(vector), &vector.id) {
            problems.push(format!("{}: tests the same as {other}", vector.id));
        }
    }
    problems
}

fn shape(vector: &Recorded) -> Shape<'_> {
    let mut shape: Shape<'_> = vector
        .deliveries
        .iter()
        .map(|step| {
            let outcome = match step.expected {
                Expected::Accepted(_) => "accepted",
                Expected::Rejected(_) => "rejected",
                Expected::Harmless(_) => "harmless",
            };
            (step.name.as_str(), step.fault.as_ref(), outcome)
        })
        .collect();
    // The same steps with another cipher suite or recorder are another test.
    shape.push((vector.cipher_suite.as_str(), None, vector.recorded_by.implementation.as_str()));
    shape.push((vector.title.as_str(), None, vector.protocol.label()));
    shape
}
