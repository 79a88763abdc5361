//! Playing a recorded vector, and judging what came of it.

use e2esm_adapter::{Adapter, Bytes, Delivered, Delivery, Error, ErrorClass};

use crate::file::{Expected, Recorded, Rejection};

/// What became of a delivery.
pub type Outcome = Result<Delivered, Error>;

/// One delivery, played.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Played {
    /// The delivery's name.
    pub delivery: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Why that is not what was expected, if it is not.
    pub wrong: Option<String>,
}

/// Plays all deliveries in order, whatever comes of them.
///
/// # Errors
/// Those of `deliver` that are no outcome: a child that died.
pub fn play<E>(vector: &Recorded, mut deliver: impl FnMut(&Delivery) -> Result<Outcome, E>) -> Result<Vec<Played>, E> {
    let played = vector.deliveries.iter().map(|step| {
        let outcome = deliver(&step.delivery())?;
        let wrong = judge(&step.expected, &outcome).err();
        Ok(Played { delivery: step.name.clone(), outcome, wrong })
    });
    played.collect()
}

/// Whether an adapter in this process agrees with every outcome: the first one that it does not agree with otherwise.
///
/// # Errors
/// Those of [`Adapter::passive`], above all `Unsupported` for another cipher suite.
pub fn confirms(vector: &Recorded, adapter: &dyn Adapter) -> Result<Vec<Played>, Error> {
    let mut passive = adapter.passive(&vector.start)?;
    play(vector, |delivery| Ok(passive.deliver(delivery)))
}

/// Whether an outcome is the one expected.
///
/// # Errors
/// Why not, as half a sentence.
pub fn judge(expected: &Expected, outcome: &Outcome) -> Result<(), String> {
    match (expected, outcome) {
        // Whatever is expected, a failure of its own is no answer.
        (_, Err(error)) if matches!(error.class, ErrorClass::Internal | ErrorClass::Unsupported) => {
            Err(format!("failed: {error}"))
        }
        (Expected::Accepted(_), Err(error)) => Err(format!("refused, and accepted was expected: {error}")),
        (Expected::Rejected(Rejection { reasons }), Err(error)) if !reasons.contains(&error.class) => {
            let reasons: Vec<_> = reasons.iter().map(|class| class.label()).collect();
            Err(format!("refused for another reason than {}: {error}", reasons.join(", ")))
        }
        (Expected::Rejected(_) | Expected::Harmless(_), Err(_)) => Ok(()),
        (Expected::Rejected(_), Ok(_)) => Err("accepted, and a refusal was expected".to_owned()),
        (Expected::Accepted(facts), Ok(delivered)) => holds(facts, delivered),
        (Expected::Harmless(facts), Ok(delivered)) => {
            holds(facts, delivered).map_err(|why| format!("accepted with something else in it: {why}"))
        }
    }
}

/// Whether every fact that is named holds. What was read must be named: a packet that yields a message where none is
/// expected is no agreement.
fn holds(facts: &Delivered, delivered: &Delivered) -> Result<(), String> {
    fn same<T: PartialEq + std::fmt::Debug>(name: &str, fact: &Option<T>, found: &Option<T>) -> Result<(), String> {
        match (fact, found) {
            (Some(fact), Some(found)) if fact == found => Ok(()),
            (Some(fact), Some(found)) => Err(format!("{name} is {}, not {}", brief(found), brief(fact))),
            (Some(fact), None) => Err(format!("{name} is not told, and {} was expected", brief(fact))),
            (None, _) => Ok(()),
        }
    }
    let shown = |bytes: &Option<Bytes>| bytes.as_ref().map(|bytes| hex::encode(&bytes.0));
    match (&facts.plaintext, &delivered.plaintext) {
        (None, Some(found)) => return Err(format!("a message was read: {}", hex::encode(&found.0))),
        (fact, found) => same("the plaintext", &shown(fact), &shown(found))?,
    }
    same("the sender", &facts.sender, &delivered.sender)?;
    same("the sender's leaf", &facts.sender_leaf, &delivered.sender_leaf)?;
    same("the group id", &shown(&facts.group_id), &shown(&delivered.group_id))?;
    same("the epoch", &facts.epoch, &delivered.epoch)?;
    same("the epoch authenticator", &shown(&facts.epoch_authenticator), &shown(&delivered.epoch_authenticator))?;
    same("the roster", &facts.roster, &delivered.roster)?;
    same("the message index", &facts.message_index, &delivered.message_index)?;
    same("the safety number", &facts.safety_number, &delivered.safety_number)?;
    match (facts.removed, delivered.removed) {
        (true, false) => Err("this device is still a member, and was to be removed".to_owned()),
        (false, true) => Err("this device is removed, and was to stay".to_owned()),
        _ => Ok(()),
    }
}

fn brief(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    if text.chars().count() <= 160 { text } else { format!("{}...", text.chars().take(157).collect::<String>()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(plaintext: &[u8], leaf: u32) -> Delivered {
        Delivered { plaintext: Some(plaintext.into()), sender_leaf: Some(leaf), ..Delivered::default() }
    }

    fn refused(class: ErrorClass) -> Outcome {
        Err(Error::new(class, "no"))
    }

    /// Every pair of what is expected and what comes, and whether the two agree.
    #[test]
    fn every_outcome_is_judged() {
        let accepted = Expected::Accepted(read(b"m", 1));
        let quiet = Expected::Accepted(Delivered { epoch: Some(3), ..Delivered::default() });
        let harmless = Expected::Harmless(read(b"m", 1));
        let rejected = Expected::Rejected(Rejection { reasons: vec![ErrorClass::AuthFailed, ErrorClass::NoKey] });
        let epoch = |epoch, removed| Ok(Delivered { epoch: Some(epoch), removed, ..Delivered::default() });
        let cases: [(&Expected, Outcome, bool); 18] = [
            (&accepted, Ok(read(b"m", 1)), true),
            (&accepted, Ok(read(b"n", 1)), false),
            (&accepted, Ok(read(b"m", 2)), false),
            (&accepted, Ok(Delivered::default()), false),
            (&accepted, refused(ErrorClass::AuthFailed), false),
            (&quiet, epoch(3, false), true),
            (&quiet, epoch(4, false), false),
            (&quiet, epoch(3, true), false),
            (&quiet, Ok(Delivered { epoch: Some(3), ..read(b"m", 1) }), false),
            (&harmless, Ok(read(b"m", 1)), true),
            (&harmless, refused(ErrorClass::BadRequest), true),
            (&harmless, Ok(read(b"m", 2)), false),
            (&harmless, refused(ErrorClass::Internal), false),
            (&rejected, refused(ErrorClass::AuthFailed), true),
            (&rejected, refused(ErrorClass::NoKey), true),
            (&rejected, refused(ErrorClass::BadRequest), false),
            (&rejected, Ok(Delivered::default()), false),
            (&rejected, refused(ErrorClass::Unsupported), false),
        ];
        for (index, (expected, outcome, agrees)) in cases.into_iter().enumerate() {
            assert_eq!(judge(expected, &outcome).is_ok(), agrees, "case {index}: {:?}", judge(expected, &outcome));
        }
    }
}
