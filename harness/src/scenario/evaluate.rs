//! What a check finds in the world and in the log. Facts in words, and whether they are what a sound system does; what
//! follows from them is the verdict's business.

use std::collections::BTreeSet;

use e2esm_adapter::{
    Address, Answer, Call, DeviceId, Event, Fact, Fingerprint, FingerprintKind, GroupId, Message, PacketKind, Roster,
};

use crate::vector::{Check, Decisive, FingerprintOf, Notice, Polarity, Role, Step, describe};

use super::log::{Delivery, Entry};
use super::world::{Trouble, World, is_unsupported, odd};
use super::{Checked, Consultation};

/// What happened, and whether that is right.
struct Finding {
    holds: bool,
    /// Whether a decision of the application could explain that it does not hold: something bad was done, not merely left
    /// undone or done for another reason.
    explicable: bool,
    observed: String,
    score: Option<(u32, u32)>,
}

impl Finding {
    fn new(holds: bool, observed: impl Into<String>) -> Self {
        Self { holds, explicable: true, observed: observed.into(), score: None }
    }
}

impl World<'_> {
    pub(super) fn evaluate(&mut self, check: &Check) -> Result<Checked, Trouble> {
        let finding = match check {
            Check::Read { message, by } => self.read(message, by),
            Check::Unreadable { message, by, .. } => self.unreadable(message, by),
            Check::Refused { attempt, by, reasons, .. } => self.all_refused(attempt, by, reasons),
            Check::NotAttributed { attempt, by, claim, .. } => self.not_attributed(attempt, by, claim),
            Check::Members { group, of, are } => self.members(group, of, are)?,
            Check::NotMember { group, of, who, .. } => self.names(group, of, who, false)?,
            Check::StillMember { group, of, who, .. } => self.names(group, of, who, true)?,
            Check::SameView { group, of } => self.same_view(group, of)?,
            Check::SplitNoticed { group, message, between, .. } => self.split_noticed(group, message, between)?,
            Check::NoHiddenRecipient { group, message, by, .. } => self.no_hidden_recipient(group, message, by)?,
            Check::FingerprintsEqual { between } => self.compare(between, true)?,
            Check::FingerprintsDiffer { between } => self.compare(between, false)?,
            Check::Notified { who, of, about } => self.notified(who, *of, about),
            Check::NoticeFirst { who, about, new_key_of } => self.notice_first(who, about, new_key_of),
            Check::ReadOrLost { message, by } => self.read_or_lost(message, by),
            Check::CountReaders { message, among } => self.count_readers(message, among),
        };
        let polarity = check.polarity();
        let consulted = if polarity == Polarity::Negative && !finding.holds && finding.explicable {
            self.consultations(check.decided_by())
        } else {
            Vec::new()
        };
        Ok(Checked {
            step: self.step,
            polarity,
            expected: describe(&Step::Expect(check.clone())),
            observed: finding.observed,
            holds: finding.holds,
            consulted,
            score: finding.score,
        })
    }

    /// Who has read a message: the device, and from whom it says that the message comes.
    pub(super) fn readers(&self, message: &str) -> Vec<(DeviceId, DeviceId)> {
        let Some(said) = self.said.get(message) else { return Vec::new() };
        let mut readers: Vec<_> = self
            .log
            .deliveries()
            .filter_map(|delivery| match &delivery.result {
                Ok(Some(Message { sender, plaintext, .. })) if *plaintext == said.text => {
                    Some((delivery.to.clone(), sender.clone()))
                }
                _ => None,
            })
            .collect();
        if self.exposed.contains(message) {
            let outsiders = self.seats.iter().filter(|(_, seat)| seat.role == Role::Outsider);
            readers.extend(outsiders.map(|(handle, _)| (handle.clone(), said.by.clone())));
        }
        readers.dedup();
        readers
    }

    fn has_read(&self, message: &str, device: &DeviceId) -> bool {
        self.readers(message).iter().any(|(reader, _)| reader == device)
    }

    /// What became of the deliveries of a named step at a device.
    fn deliveries<'a>(&'a self, name: &'a str, to: &'a DeviceId) -> impl Iterator<Item = &'a Delivery> {
        self.log.deliveries().filter(move |delivery| delivery.name.as_deref() == Some(name) && delivery.to == *to)
    }

    fn read(&self, message: &str, by: &[DeviceId]) -> Finding {
        let truth = self.said.get(message).map(|said| said.by.clone());
        let readers = self.readers(message);
        let mut words = Vec::new();
        let mut holds = true;
        for device in by {
            let senders: BTreeSet<_> = readers.iter().filter(|(reader, _)| reader == device).map(|(_, s)| s).collect();
            let right = truth.as_ref().is_some_and(|truth| senders.contains(truth));
            holds &= right;
            words.push(match senders.first() {
                Some(_) if right => format!("{device} read it"),
                Some(sender) => format!("{device} read it as {sender}'s"),
                None => format!("{device} did not read it ({})", self.last_refusal(message, device)),
            });
        }
        Finding::new(holds, words.join("; "))
    }

    fn last_refusal(&self, name: &str, device: &DeviceId) -> String {
        if let Some((_, error)) = self.refused.get(name) {
            return format!("it was not sent: {error}");
        }
        self.deliveries(name, device)
            .filter_map(|delivery| delivery.result.as_ref().err())
            .last()
            .map_or_else(|| "nothing arrived that it could read".to_owned(), ToString::to_string)
    }

    fn unreadable(&self, message: &str, by: &[DeviceId]) -> Finding {
        let readers: Vec<_> = by.iter().filter(|device| self.has_read(message, device)).collect();
        if let Some(reader) = readers.first() {
            return Finding::new(false, format!("{reader} read it"));
        }
        // Whoever was never given it proves nothing, unless there was nothing to give.
        let names = self.names_of(message);
        let sent = !self.server.stored(message).is_empty();
        let mut holds = true;
        let mut words = Vec::new();
        for device in by {
            let is_message = |delivery: &Delivery| delivery.kind == PacketKind::Message;
            let tried = names.iter().any(|name| self.deliveries(name, device).any(is_message));
            holds &= tried || !sent;
            words.push(match tried || !sent {
                true => format!("{device} did not ({})", self.last_refusal(message, device)),
                false => format!("{device} was never given it, which proves nothing"),
            });
        }
        Finding { explicable: false, ..Finding::new(holds, words.join("; ")) }
    }

    /// The steps that bring a message: its own, and those that bring it again.
    fn names_of(&self, message: &str) -> Vec<String> {
        let again = self.vector.steps.iter().filter_map(|step| match step {
            Step::Replay { of, name, .. } if of == message => Some(name.clone()),
            Step::AskResend { message: of, name, .. } if of == message => Some(name.clone()),
            _ => None,
        });
        std::iter::once(message.to_owned()).chain(again).collect()
    }

    fn all_refused(&self, attempt: &str, by: &[DeviceId], reasons: &[e2esm_adapter::ErrorClass]) -> Finding {
        let mut words = Vec::new();
        let mut holds = true;
        let mut explicable = true;
        for device in by {
            let own = self.refused.get(attempt).filter(|(author, _)| author == device).map(|(_, error)| error);
            let mut seen = own.is_some();
            let mut errors: Vec<_> = own.into_iter().collect();
            for delivery in self.deliveries(attempt, device) {
                seen = true;
                match &delivery.result {
                    Err(error) => errors.push(error),
                    Ok(Some(_)) => {
                        holds = false;
                        words.push(format!("{device} took a message"));
                    }
                    Ok(None) => {
                        holds = false;
                        words.push(format!("{device} took a {}", delivery.kind.label()));
                    }
                }
            }
            if !seen {
                (holds, explicable) = (false, false);
                words.push(format!("{device} was brought nothing and refused nothing"));
            }
            for error in errors {
                let right = reasons.contains(&error.class);
                holds &= right;
                explicable &= right;
                words.push(format!("{device} refused{} ({error})", if right { "" } else { " for another reason" }));
            }
        }
        Finding { explicable, ..Finding::new(holds, words.join("; ")) }
    }

    fn not_attributed(&self, attempt: &str, by: &[DeviceId], claim: &DeviceId) -> Finding {
        for device in by {
            for delivery in self.deliveries(attempt, device) {
                if matches!(&delivery.result, Ok(Some(message)) if message.sender == *claim) {
                    return Finding::new(false, format!("{device} took it for {claim}'s"));
                }
            }
        }
        let mut holds = true;
        let mut words = Vec::new();
        for device in by {
            let brought = self.deliveries(attempt, device).next().is_some();
            holds &= brought;
            words.push(match brought {
                true => format!("{device} did not ({})", self.last_refusal(attempt, device)),
                false => format!("{device} was brought nothing, which proves nothing"),
            });
        }
        Finding { explicable: false, ..Finding::new(holds, words.join("; ")) }
    }

    fn roster(&mut self, group: &GroupId, device: &DeviceId) -> Result<Result<Roster, String>, Trouble> {
        match self.call(device, Call::Roster { group: group.clone() }) {
            Ok(Answer::Roster(roster)) => Ok(Ok(roster)),
            Ok(other) => Err(odd("a roster", &other)),
            Err(Trouble::Refused(_, error)) => Ok(Err(error.to_string())),
            Err(failed) => Err(failed),
        }
    }

    fn members(&mut self, group: &GroupId, of: &[DeviceId], are: &[DeviceId]) -> Result<Finding, Trouble> {
        let expected: BTreeSet<_> = are.iter().cloned().collect();
        let mut words = Vec::new();
        let mut holds = true;
        for device in of {
            let (right, word) = match self.roster(group, device)? {
                Ok(roster) => {
                    let members: BTreeSet<_> = roster.members.into_iter().collect();
                    (members == expected, format!("{device} sees {}", list(&members)))
                }
                Err(error) => (false, format!("{device} has no roster ({error})")),
            };
            holds &= right;
            words.push(word);
        }
        Ok(Finding::new(holds, words.join("; ")))
    }

    fn names(&mut self, group: &GroupId, of: &[DeviceId], who: &DeviceId, wanted: bool) -> Result<Finding, Trouble> {
        let mut words = Vec::new();
        let mut holds = true;
        for device in of {
            match self.roster(group, device)? {
                Ok(roster) => {
                    let named = roster.members.contains(who);
                    holds &= named == wanted;
                    words.push(format!("{device}'s roster {} {who}", if named { "names" } else { "does not name" }));
                }
                Err(error) => {
                    holds = false;
                    words.push(format!("{device} has no roster ({error})"));
                }
            }
        }
        Ok(Finding::new(holds, words.join("; ")))
    }

    fn fingerprint(&mut self, side: &FingerprintOf) -> Result<Result<Fingerprint, String>, Trouble> {
        let call = Call::Fingerprint { group: side.group.clone(), peer: side.peer.clone() };
        match self.call(&side.device, call) {
            Ok(Answer::Fingerprint(fingerprint)) => Ok(Ok(fingerprint)),
            Ok(other) => Err(odd("a fingerprint", &other)),
            Err(trouble) if is_unsupported(&trouble) => Ok(Err("unsupported".to_owned())),
            Err(Trouble::Refused(_, error)) => Ok(Err(error.to_string())),
            Err(failed) => Err(failed),
        }
    }

    fn compare(&mut self, between: &[FingerprintOf; 2], equal: bool) -> Result<Finding, Trouble> {
        let [one, two] = between;
        let (left, right) = (self.fingerprint(one)?, self.fingerprint(two)?);
        Ok(match (left, right) {
            (Ok(left), Ok(right)) => {
                let same = left == right;
                let word = if same { "equal" } else { "different" };
                Finding::new(same == equal, format!("{} and {} see {word} values", one.device, two.device))
            }
            (Err(error), _) | (_, Err(error)) => Finding::new(false, format!("nothing to compare ({error})")),
        })
    }

    /// The epoch authenticator, where the protocol has one: the peer does not matter then.
    fn authenticator(&mut self, group: &GroupId, device: &DeviceId) -> Result<Option<String>, Trouble> {
        let peer = self.id(device);
        let side = FingerprintOf { device: device.clone(), group: group.clone(), peer };
        Ok(match self.fingerprint(&side)? {
            Ok(Fingerprint { kind: FingerprintKind::EpochAuthenticator, value }) => Some(value),
            _ => None,
        })
    }

    fn same_view(&mut self, group: &GroupId, of: &[DeviceId]) -> Result<Finding, Trouble> {
        let mut views = BTreeSet::new();
        let mut words = Vec::new();
        for device in of {
            let authenticator = self.authenticator(group, device)?;
            match self.roster(group, device)? {
                Ok(roster) => {
                    words.push(format!("{device} sees {}", list(&roster.members)));
                    views.insert((roster.members, authenticator));
                }
                Err(error) => {
                    words.push(format!("{device} has no roster ({error})"));
                    views.insert((vec![], Some(format!("{device}"))));
                }
            }
        }
        let same = views.len() == 1;
        words.push(if same { "one view".to_owned() } else { format!("{} views", views.len()) });
        Ok(Finding::new(same, words.join("; ")))
    }

    fn split_noticed(
        &mut self,
        group: &GroupId,
        message: &str,
        [from, to]: &[DeviceId; 2],
    ) -> Result<Finding, Trouble> {
        if !self.has_read(message, to) {
            let why = self.last_refusal(message, to);
            return Ok(Finding::new(true, format!("{to} did not take {from}'s message ({why})")));
        }
        let (left, right) = (self.authenticator(group, from)?, self.authenticator(group, to)?);
        Ok(match (left, right) {
            (Some(left), Some(right)) if left != right => {
                Finding::new(true, format!("{to} read it, and the epoch authenticators of {from} and {to} differ"))
            }
            _ => Finding::new(false, format!("{to} read {from}'s message, and nothing shows that their groups differ")),
        })
    }

    fn no_hidden_recipient(&mut self, group: &GroupId, message: &str, by: &DeviceId) -> Result<Finding, Trouble> {
        if !self.has_read(message, by) {
            return Ok(Finding::new(true, format!("{by} did not take it ({})", self.last_refusal(message, by))));
        }
        let named = match self.roster(group, by)? {
            Ok(roster) => roster.members,
            Err(_) => Vec::new(),
        };
        let sender = self.said.get(message).map(|said| said.by.clone());
        for (reader, _) in self.readers(message) {
            let id = self.id(&reader);
            if Some(&id) != sender.as_ref() && !named.contains(&id) {
                return Ok(Finding::new(false, format!("{reader} read it too, and {by}'s roster does not name {id}")));
            }
        }
        Ok(Finding::new(true, format!("{by}'s roster names everybody who read it")))
    }

    fn notified(&self, who: &DeviceId, of: Notice, about: &DeviceId) -> Finding {
        let told = self.log.noticed().any(|(device, event)| device == who && is_notice(event, of, about));
        Finding::new(told, format!("{who} was {}told", if told { "" } else { "not " }))
    }

    fn notice_first(&self, who: &DeviceId, about: &DeviceId, new_key_of: &DeviceId) -> Finding {
        let told = self.log.entries.iter().position(|entry| {
            matches!(entry, Entry::Noticed { device, event } if device == who && is_notice(event, Notice::KeyChanged, about))
        });
        // A packet to the device counts once the new key can open it, which its holder shows by taking it.
        let mut last_sent = None;
        let mut opened = None;
        for (index, entry) in self.log.entries.iter().enumerate() {
            match entry {
                Entry::Sent { device, to, kind, .. }
                    if device == who && *to == Address::Device(about.clone()) && is_encrypted(*kind) =>
                {
                    last_sent = Some(index);
                }
                Entry::Delivered(delivery)
                    if delivery.to == *new_key_of && is_encrypted(delivery.kind) && delivery.result.is_ok() =>
                {
                    opened = opened.or(last_sent);
                }
                _ => {}
            }
        }
        match (told, opened) {
            (Some(told), Some(opened)) if told < opened => {
                Finding::new(true, format!("{who} was told first, and sent to the new key afterwards"))
            }
            (Some(_), None) => Finding::new(true, format!("{who} was told, and sent nothing to the new key")),
            (Some(_), Some(_)) => {
                Finding::new(false, format!("{who} sent to the new key first, and was told afterwards"))
            }
            (None, Some(_)) => Finding::new(false, format!("{who} sent to the new key and was never told")),
            (None, None) => Finding::new(false, format!("{who} was never told")),
        }
    }

    fn read_or_lost(&self, message: &str, by: &[DeviceId]) -> Finding {
        let mut words = Vec::new();
        let mut read = 0;
        let mut holds = true;
        for device in by {
            if self.has_read(message, device) {
                read += 1;
                words.push(format!("{device} read it"));
                continue;
            }
            let lost = self.deliveries(message, device).any(|delivery| delivery.result.is_err());
            holds &= lost;
            words.push(match lost {
                true => format!("{device} was told that it is lost ({})", self.last_refusal(message, device)),
                false => format!("{device} was told nothing"),
            });
        }
        Finding { score: Some((read, count(by))), ..Finding::new(holds, words.join("; ")) }
    }

    fn count_readers(&self, message: &str, among: &[DeviceId]) -> Finding {
        let readers: Vec<_> = among.iter().filter(|device| self.has_read(message, device)).collect();
        let words: Vec<_> = among
            .iter()
            .map(|device| match readers.contains(&device) {
                true => format!("{device} read it"),
                false => format!("{device} did not ({})", self.last_refusal(message, device)),
            })
            .collect();
        let score = Some((u32::try_from(readers.len()).unwrap_or(u32::MAX), count(among)));
        Finding { score, ..Finding::new(true, words.join("; ")) }
    }

    /// Where honest devices' applications were asked about one of these facts and said yes.
    fn consultations(&self, decisive: &[Decisive]) -> Vec<Consultation> {
        // To affirm that a device's true keys are its own explains nothing.
        let honest = self.seats.values().filter(|seat| seat.role == Role::Honest);
        let truth: BTreeSet<_> = honest.map(|seat| (&seat.id, &seat.identity)).collect();
        let true_identity = |fact: &Fact| matches!(fact, Fact::Identity { device, identity, .. } if truth.contains(&(device, identity)));
        let begins = |name: &str| {
            let step = self.vector.steps.iter().position(|step| step.name() == Some(name));
            self.log.entries.iter().position(|entry| matches!(entry, Entry::Step(index) if Some(*index) == step))
        };
        let starts: Vec<_> =
            decisive.iter().map(|wanted| wanted.since.as_deref().and_then(begins).unwrap_or(0)).collect();
        let found: BTreeSet<Consultation> = self
            .log
            .entries
            .iter()
            .enumerate()
            .filter_map(|(place, entry)| match entry {
                Entry::Noticed { device, event } => Some((place, device, event)),
                _ => None,
            })
            .filter(|(_, device, _)| self.seats.get(*device).is_some_and(|seat| seat.role == Role::Honest))
            .filter_map(|(place, _, event)| match event {
                Event::Consulted { point, asker, about, answer: true }
                    if !true_identity(about)
                        && decisive.iter().zip(&starts).any(|(wanted, start)| {
                            place >= *start && wanted.fact == about.kind() && about.about() == Some(&wanted.about)
                        }) =>
                {
                    Some(Consultation { point: point.clone(), asker: *asker, fact: about.kind() })
                }
                _ => None,
            })
            .collect();
        found.into_iter().collect()
    }
}

/// Whether the event tells of that about that device. A question is a notice too: the application knows from then on.
fn is_notice(event: &Event, of: Notice, about: &DeviceId) -> bool {
    match (of, event) {
        (Notice::MemberAdded, Event::MemberAdded { device, .. })
        | (Notice::MemberRemoved, Event::MemberRemoved { device, .. })
        | (Notice::KeyChanged, Event::KeyChanged { device }) => device == about,
        (of, Event::Consulted { about: fact, .. }) => match (of, fact) {
            (Notice::MemberAdded, Fact::Add { device, .. })
            | (Notice::MemberRemoved, Fact::Remove { device, .. })
            | (Notice::KeyChanged, Fact::Identity { device, previous: Some(_), .. }) => device == about,
            _ => false,
        },
        _ => false,
    }
}

/// Whether packets of this kind are encrypted to one device's key.
fn is_encrypted(kind: PacketKind) -> bool {
    matches!(kind, PacketKind::Message | PacketKind::KeyDistribution)
}

fn count(devices: &[DeviceId]) -> u32 {
    u32::try_from(devices.len()).unwrap_or(u32::MAX)
}

fn list<'a>(devices: impl IntoIterator<Item = &'a DeviceId>) -> String {
    let names: Vec<String> = devices.into_iter().map(ToString::to_string).collect();
    format!("[{}]", names.join(", "))
}
