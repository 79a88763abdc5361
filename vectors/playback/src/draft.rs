//! Making a recorded vector: what a recorder knows is written down, what only the device can tell (epoch authenticators,
//! rosters) is taken from a first play, and everybody else then has to agree with it.

use std::collections::BTreeMap;

use e2esm_adapter::{Adapter, Delivered, Delivery, Error, ErrorClass, Start};

use crate::file::{Disagreement, Expected, Fault, Implementation, ObservedOutcome, Recorded, Rejection, Step};
use crate::flags::flag;
use crate::play::{confirms, judge};

/// A vector that is being made.
pub struct Draft {
    vector: Recorded,
}

/// Why a draft is no vector.
#[derive(Debug, thiserror::Error)]
pub enum DraftError {
    /// The recording implementation itself does not take what it starts with.
    #[error("{id}: {implementation} does not take the start: {error}")]
    Start {
        /// Which vector.
        id: String,
        /// Who.
        implementation: String,
        /// Why.
        error: Error,
    },
    /// The outcome is not the one that the recorder expects.
    #[error("{id}: `{delivery}` with {implementation}: {why}")]
    Outcome {
        /// Which vector.
        id: String,
        /// Which delivery.
        delivery: String,
        /// Who.
        implementation: String,
        /// What is wrong.
        why: String,
    },
    /// A flag without a note.
    #[error("{id}: the flag `{flag}` is not known")]
    Flag {
        /// Which vector.
        id: String,
        /// Which flag.
        flag: String,
    },
}

impl Draft {
    /// A vector without deliveries. `id` is `protocol/theme/name`, `date` is `YYYY-MM-DD`.
    pub fn new(id: &str, title: &str, description: &str, requirements: &[&str], date: &str, start: Start) -> Self {
        let nobody =
            Implementation { implementation: String::new(), version: String::new(), crypto_provider: String::new() };
        let vector = Recorded {
            id: id.to_owned(),
            title: title.to_owned(),
            description: description.to_owned(),
            protocol: start.protocol(),
            cipher_suite: String::new(),
            scenario: None,
            requirements: requirements.iter().map(|&id| id.to_owned()).collect(),
            recorded_by: nobody,
            confirmed_by: Vec::new(),
            disagreements: Vec::new(),
            recorded_on: date.to_owned(),
            valid_until: None,
            flags: BTreeMap::new(),
            start,
            deliveries: Vec::new(),
        };
        Self { vector }
    }

    /// Names the scenario that this was recorded from.
    pub fn from_scenario(&mut self, id: &str) -> &mut Self {
        self.vector.scenario = Some(id.to_owned());
        self
    }

    /// Says why an implementation is known to show another outcome.
    pub fn disagreement(&mut self, implementation: &str, delivery: &str, observed: ObservedOutcome, note: &str) {
        self.vector.disagreements.push(Disagreement {
            implementation: implementation.to_owned(),
            delivery: delivery.to_owned(),
            observed,
            note: note.to_owned(),
        });
    }

    /// Something that is taken, and of which the recorder knows `facts`; the rest is added by [`record`](Self::record).
    pub fn accept(&mut self, name: &str, comment: &str, delivery: Delivery, facts: Delivered) -> &mut Self {
        self.push(name, comment, delivery, &[], None, None, Expected::Accepted(facts))
    }

    /// The same, with flags: a late message.
    pub fn accept_flagged(
        &mut self,
        name: &str,
        comment: &str,
        delivery: Delivery,
        flags: &[&str],
        facts: Delivered,
    ) -> &mut Self {
        self.push(name, comment, delivery, flags, None, None, Expected::Accepted(facts))
    }

    /// Something that is refused for one of `reasons`. `twin` is the delivery, here before or after it, that it would be
    /// without its fault.
    #[allow(clippy::too_many_arguments)]
    pub fn reject(
        &mut self,
        name: &str,
        comment: &str,
        delivery: Delivery,
        flags: &[&str],
        fault: Fault,
        twin: &str,
        reasons: &[ErrorClass],
    ) -> &mut Self {
        let rejected = Expected::Rejected(Rejection { reasons: reasons.to_vec() });
        self.push(name, comment, delivery, flags, Some(fault), Some(twin), rejected)
    }

    /// Something that may be refused or taken, and if taken must be exactly this message of this sender.
    #[allow(clippy::too_many_arguments)]
    pub fn harmless(
        &mut self,
        name: &str,
        comment: &str,
        delivery: Delivery,
        flags: &[&str],
        fault: Fault,
        twin: &str,
        facts: Delivered,
    ) -> &mut Self {
        self.push(name, comment, delivery, flags, Some(fault), Some(twin), Expected::Harmless(facts))
    }

    #[allow(clippy::too_many_arguments)]
    fn push(
        &mut self,
        name: &str,
        comment: &str,
        delivery: Delivery,
        flags: &[&str],
        fault: Option<Fault>,
        twin: Option<&str>,
        expected: Expected,
    ) -> &mut Self {
        self.vector.deliveries.push(Step {
            name: name.to_owned(),
            comment: comment.to_owned(),
            kind: delivery.kind,
            from: delivery.from,
            bytes: delivery.bytes,
            ratchet_tree: delivery.ratchet_tree,
            flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
            fault,
            twin: twin.map(str::to_owned),
            expected,
        });
        self
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.vector.id
    }

    /// What its device starts with.
    pub fn start(&self) -> &Start {
        &self.vector.start
    }

    /// The deliveries so far.
    pub fn steps(&self) -> &[Step] {
        &self.vector.deliveries
    }

    /// Plays it on the implementation that recorded it, and adds to each accepted delivery what that tells and the recorder
    /// did not know.
    ///
    /// # Errors
    /// [`DraftError`] for the first outcome that is not the one the recorder wrote down.
    pub fn record(mut self, adapter: &dyn Adapter, cipher_suite: &str) -> Result<Recorded, DraftError> {
        let description = adapter.describe();
        let implementation = &description.implementation;
        let vector = &mut self.vector;
        let mut passive = adapter.passive(&vector.start).map_err(|error| DraftError::Start {
            id: vector.id.clone(),
            implementation: implementation.clone(),
            error,
        })?;
        for step in &mut vector.deliveries {
            let outcome = passive.deliver(&step.delivery());
            let known = vector
                .disagreements
                .iter()
                .any(|known| known.implementation == *implementation && known.delivery == step.name);
            if let (Expected::Accepted(facts), Ok(delivered)) = (&mut step.expected, &outcome) {
                *facts = united(facts, delivered);
            }
            if let (Err(why), false) = (judge(&step.expected, &outcome), known) {
                return Err(DraftError::Outcome {
                    id: vector.id.clone(),
                    delivery: step.name.clone(),
                    implementation: implementation.clone(),
                    why,
                });
            }
        }
        for name in vector.deliveries.iter().flat_map(|step| &step.flags) {
            let note = flag(name).ok_or_else(|| DraftError::Flag { id: vector.id.clone(), flag: name.clone() })?;
            vector.flags.insert(name.clone(), note);
        }
        vector.cipher_suite = cipher_suite.to_owned();
        vector.recorded_by = Implementation::from(&description);
        Ok(self.vector)
    }
}

impl Recorded {
    /// Lets another implementation play it, and writes down that it agrees. Whoever does not have the cipher suite is
    /// passed over; whoever plays another configuration of the implementation that recorded it must agree, and is no
    /// confirmation.
    ///
    /// # Errors
    /// [`DraftError`] for the first outcome that differs and is not a known disagreement.
    pub fn confirm(&mut self, adapter: &dyn Adapter) -> Result<(), DraftError> {
        let description = adapter.describe();
        if !description.recorded.contains(&self.protocol) {
            return Ok(());
        }
        let implementation = description.implementation.clone();
        let played = match confirms(self, adapter) {
            Ok(played) => played,
            Err(error) if error.class == ErrorClass::Unsupported => return Ok(()),
            Err(error) => return Err(DraftError::Start { id: self.id.clone(), implementation, error }),
        };
        let known = |delivery: &str| {
            let mut known = self.disagreements.iter();
            known.any(|known| known.implementation == implementation && known.delivery == delivery)
        };
        let mut agrees = true;
        for played in played {
            let Some(why) = played.wrong else { continue };
            if !known(&played.delivery) {
                return Err(DraftError::Outcome {
                    id: self.id.clone(),
                    delivery: played.delivery,
                    implementation,
                    why,
                });
            }
            agrees = false;
        }
        if agrees && implementation != self.recorded_by.implementation {
            self.confirmed_by.push(Implementation::from(&description));
            self.confirmed_by.sort();
            self.confirmed_by.dedup();
        }
        Ok(())
    }
}

/// What the recorder knows, and what the device tells besides. Where they differ the recorder's word stands, and the play
/// fails on it. What was read is the recorder's to know.
fn united(known: &Delivered, told: &Delivered) -> Delivered {
    fn either<T: Clone>(known: &Option<T>, told: &Option<T>) -> Option<T> {
        known.clone().or_else(|| told.clone())
    }
    Delivered {
        plaintext: known.plaintext.clone(),
        sender: either(&known.sender, &told.sender),
        sender_leaf: either(&known.sender_leaf, &told.sender_leaf),
        group_id: either(&known.group_id, &told.group_id),
        epoch: either(&known.epoch, &told.epoch),
        epoch_authenticator: either(&known.epoch_authenticator, &told.epoch_authenticator),
        roster: either(&known.roster, &told.roster),
        removed: known.removed,
        message_index: either(&known.message_index, &told.message_index),
        safety_number: either(&known.safety_number, &told.safety_number),
    }
}
