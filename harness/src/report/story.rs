//! One scenario as a story: what the vector says (`e2esm show`), and what happened (`e2esm explain`).

use std::collections::BTreeSet;
use std::fmt::Write;

use e2esm_adapter::{Address, Event, Fact};

use crate::scenario::{Entry, Layer, Observations, Stop};
use crate::vector::load::Requirement;
use crate::vector::{Polarity, Role, Step, TrustStore, Vector, describe};
use crate::verdict::{Verdict, verdict, without_group_object};

/// Marks a line for the one who prints it: colours are not the story's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// A heading.
    Heading,
    /// As it is.
    Plain,
    /// Detail.
    Faint,
    /// What a sound system does.
    Good,
    /// What it does not do.
    Bad,
    /// What an application must see to.
    Notable,
}

/// Lines with their mood.
pub type Story = Vec<(Mood, String)>;

/// The scenario as readable steps, with requirements and precedents.
pub fn show(vector: &Vector, requirements: &[Requirement]) -> Story {
    let mut story = vec![
        (Mood::Heading, format!("{}: {}", vector.id, vector.title)),
        (Mood::Plain, String::new()),
        (Mood::Plain, vector.description.clone()),
        (Mood::Plain, String::new()),
        (Mood::Heading, "requirements".to_owned()),
    ];
    for id in &vector.requirements {
        if let Some(requirement) = requirements.iter().find(|requirement| requirement.id == *id) {
            let section = requirement.section.as_ref().map(|section| format!(", {section}")).unwrap_or_default();
            story.push((Mood::Plain, format!("  {id}  {} ({}{section})", requirement.statement, requirement.document)));
            story.push((Mood::Faint, format!("      a user takes for granted: {}", requirement.expectation)));
        }
    }
    if !vector.precedents.is_empty() {
        story.push((Mood::Heading, "precedents".to_owned()));
        for precedent in &vector.precedents {
            let url = precedent.url.as_ref().map(|url| format!(" <{url}>")).unwrap_or_default();
            story.push((Mood::Plain, format!("  {}{url}", precedent.name)));
        }
    }
    story.push((Mood::Heading, "actors".to_owned()));
    for actor in &vector.actors {
        let mut line = format!("  {} ({})", actor.user, actor.devices.join(", "));
        match actor.role {
            Role::Honest => {}
            Role::Insider => {
                line.push_str(", an insider: follows neither protocol nor policy where it does not want to")
            }
            Role::Outsider => line.push_str(", an outsider: works with the server and is given every packet"),
        }
        if let Some(posed) = &actor.poses_as {
            let _ = write!(line, ", poses as {posed}");
        }
        match vector.policy.trust_store.get(&actor.user) {
            Some(TrustStore::VerifiedOnly) => line.push_str(", trusts verified keys only"),
            Some(TrustStore::Blind) => line.push_str(", trusts any key"),
            Some(TrustStore::Tofu) | None => {}
        }
        story.push((Mood::Plain, line));
    }
    if !vector.needs.is_empty() {
        let needs: Vec<_> = vector.needs.iter().map(|capability| capability.label()).collect();
        story.push((Mood::Plain, format!("needs {}", needs.join(", "))));
    }
    if !vector.policy.admins.is_empty() {
        let admins: Vec<_> = vector.policy.admins.iter().map(ToString::to_string).collect();
        story.push((Mood::Plain, format!("policy: only {} may add and remove others", admins.join(", "))));
    }
    story.push((Mood::Heading, "steps".to_owned()));
    for (index, step) in vector.steps.iter().enumerate() {
        story.push((step_mood(step), format!("  {:>2}. {}", index + 1, step_line(step))));
    }
    if !vector.notes.is_empty() {
        story.push((Mood::Heading, "notes".to_owned()));
        story.extend(vector.notes.iter().map(|note| (Mood::Plain, format!("  {note}"))));
    }
    story
}

fn step_mood(step: &Step) -> Mood {
    if matches!(step, Step::Expect(_)) { Mood::Notable } else { Mood::Plain }
}

fn step_line(step: &Step) -> String {
    match step {
        Step::Expect(check) => {
            let kind = match check.polarity() {
                Polarity::Positive => "expect",
                Polarity::Negative => "expect (must not happen otherwise)",
                Polarity::Graded => "count",
            };
            format!("{kind}: {}", describe(step))
        }
        step => match step.name() {
            Some(name)
                if !matches!(
                    step,
                    Step::Send { .. } | Step::ForgeMessage { .. } | Step::ForgeKeyDistribution { .. }
                ) =>
            {
                format!("{} [`{name}`]", describe(step))
            }
            _ => describe(step),
        },
    }
}

/// Step by step what was sent, to whom, what each device answered, and why the verdict followed.
pub fn explain(vector: &Vector, layer: Layer, observations: &Observations) -> Story {
    let mut story = Vec::new();
    let words = match layer {
        Layer::Library => "the library alone: whatever it asks its application is answered with yes",
        Layer::Policy => "the library with the shared policy: the policy answers",
    };
    story.push((Mood::Heading, format!("at the layer `{}` ({words})", layer.label())));
    let mut checks = observations.checks.iter();
    // A question is told once: libraries ask the same thing at every message. What outsiders are asked is not told at all:
    // they affirm whatever helps them.
    let mut told = BTreeSet::new();
    let outsiders: BTreeSet<String> = vector
        .actors
        .iter()
        .filter(|actor| actor.role == Role::Outsider)
        .flat_map(|actor| actor.devices.iter().map(|device| format!("{}/{device}", actor.user)))
        .collect();
    for entry in &observations.log.entries {
        match entry {
            Entry::Step(index) => {
                let step = &vector.steps[*index];
                story.push((Mood::Plain, String::new()));
                story.push((step_mood(step), format!("{:>2}. {}", index + 1, step_line(step))));
                if matches!(step, Step::Expect(_))
                    && let Some(checked) = checks.next()
                {
                    let mood = if checked.holds { Mood::Good } else { Mood::Bad };
                    let word = if checked.holds { "holds" } else { "does not hold" };
                    story.push((mood, format!("      {word}: {}", checked.observed)));
                    for consultation in &checked.consulted {
                        let fact = consultation.fact.label();
                        story.push((
                            Mood::Notable,
                            format!(
                                "      the application had been asked about this ({fact}) at {}, and had said yes",
                                consultation.point
                            ),
                        ));
                    }
                }
            }
            Entry::Called { device, verb, error: Some(error), .. } => {
                story.push((Mood::Notable, format!("      {device} refuses to {}: {error}", verb.replace('_', " "))));
            }
            Entry::Called { .. } => {}
            Entry::Noticed { device, event } => {
                let device = device.to_string();
                let question = matches!(event, Event::Consulted { .. });
                if let Some((mood, line)) = noticed(&device, event)
                    && !(question && (outsiders.contains(&device) || !told.insert(line.clone())))
                {
                    story.push((mood, line));
                }
            }
            Entry::Sent { device, kind, to, bytes } => {
                let to = match to {
                    Address::Group(group) => format!("the group `{group}`"),
                    Address::Device(device) => device.to_string(),
                    Address::Devices(devices) => devices.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
                    Address::Server => "the server".to_owned(),
                };
                story.push((
                    Mood::Plain,
                    format!("      {device} gives the server a {} for {to} ({bytes} bytes)", kind.label()),
                ));
            }
            Entry::Withheld { from, kind } => {
                story.push((Mood::Notable, format!("      the server keeps the {} back from {from}", kind.label())));
            }
            Entry::Delivered(delivery) => {
                let who = &delivery.to;
                let kind = delivery.kind.label();
                let how = if delivery.tapped { " (given everything by the server)" } else { "" };
                story.push(match &delivery.result {
                    Ok(Some(message)) => {
                        let text = String::from_utf8_lossy(message.plaintext.as_ref()).into_owned();
                        (Mood::Plain, format!("      {who}{how} reads \"{text}\" as {}'s", message.sender))
                    }
                    Ok(None) => (Mood::Faint, format!("      {who}{how} takes the {kind}")),
                    Err(error) => (Mood::Faint, format!("      {who}{how} refuses the {kind}: {error}")),
                });
            }
            Entry::Server(words) => story.push((Mood::Notable, format!("      {words}"))),
        }
    }
    story.push((Mood::Plain, String::new()));
    story.extend(conclusion(layer, observations));
    story
}

fn noticed(device: &str, event: &Event) -> Option<(Mood, String)> {
    Some(match event {
        Event::Consulted { point, about, answer, .. } => {
            let answer = if *answer { "yes" } else { "no" };
            (Mood::Notable, format!("      {device} is asked at {point}: {}? It says {answer}", question(about)))
        }
        Event::KeyChanged { device: other } => {
            (Mood::Notable, format!("      {device} notices that {other} has another key"))
        }
        Event::Skipped { device: other, .. } => {
            (Mood::Notable, format!("      {device} leaves {other} out of the message"))
        }
        Event::HistoryShared { device: other, .. } => {
            (Mood::Notable, format!("      {device} gives {other} the keys of earlier messages"))
        }
        Event::ChangeDropped { .. } => (Mood::Notable, format!("      {device} drops its own change")),
        Event::MemberAdded { device: other, .. } => (Mood::Faint, format!("      {device} sees {other} added")),
        Event::MemberRemoved { device: other, .. } => (Mood::Faint, format!("      {device} sees {other} removed")),
        Event::Joined { group } => (Mood::Faint, format!("      {device} joins `{group}`")),
        Event::SessionOpened { .. } | Event::KeyAccepted { .. } => return None,
    })
}

fn question(fact: &Fact) -> String {
    match fact {
        Fact::Identity { device, previous: Some(_), .. } => format!("may {device} have another key than before"),
        Fact::Identity { device, .. } => format!("does this key belong to {device}"),
        Fact::UnsignedPrekey { device } => {
            format!("may the prekey of {device} be used though its signature does not hold")
        }
        Fact::Add { device, by, .. } => format!("may {by} add {device}"),
        Fact::Remove { device, by, .. } => format!("may {by} remove {device}"),
        Fact::ListedDevice { device } => format!("may {device}, which the server lists, have keys"),
        Fact::Sender { claimed, owner, .. } => {
            format!("is a message of {owner}'s session {claimed}'s, as its label says")
        }
        Fact::NonMemberSender { device, .. } => format!("may {device} be read, who is no member"),
        Fact::Recipients { sender, .. } => format!("may {sender} be read, though nothing shows to whom else it sent"),
        Fact::Replay { index, .. } => format!("may message {index} of this session be taken"),
        Fact::StaleKey { device, .. } => format!("may the key that the removed {device} holds be used on"),
        Fact::History { device, .. } => format!("may {device} have the keys of what was sent before it came"),
        Fact::Resend { device, acknowledged, account_key, original } => {
            let key = if account_key == original { "the same key" } else { "another key than the first time" };
            let had = if *acknowledged { ", which had acknowledged it" } else { "" };
            format!("may a message be encrypted once more for {device}{had}, now to {key}")
        }
        Fact::KeyRequest { device, .. } => format!("may {device} have the keys that it asks for"),
    }
}

fn conclusion(layer: Layer, observations: &Observations) -> Story {
    let verdict = verdict(layer, &observations.checks, observations.stop.as_ref());
    let mut story = Vec::new();
    let mut because = match (&observations.stop, verdict) {
        (Some(Stop::Unsupported { capability, because }), _) => {
            format!("it declares `{}` unsupported: {because}", capability.label())
        }
        (Some(Stop::Refused { step, reason, .. }), _) => format!("step {} was refused: {reason}", step + 1),
        (Some(Stop::Failed { step, failure }), _) => format!("in step {} the implementation {failure}", step + 1),
        (None, Verdict::Pass) => "every check holds".to_owned(),
        (None, Verdict::Graded) => "every check holds, and some of them only count".to_owned(),
        (None, Verdict::LeftToTheApplication) => {
            "something bad happened, and the library had asked its application about exactly that".to_owned()
        }
        (None, _) => "a check does not hold, and nothing was asked that would have decided it".to_owned(),
    };
    if verdict == Verdict::Fail && observations.stop.is_none() {
        let positive = observations.checks.iter().any(|check| !check.holds && check.polarity != Polarity::Negative);
        if positive {
            because = "something that every sound system does did not happen".to_owned();
        } else if layer == Layer::Policy {
            because = "something bad happened although the policy was there to prevent it".to_owned();
        }
    }
    let mood = match verdict {
        Verdict::Pass => Mood::Good,
        Verdict::Fail | Verdict::Error => Mood::Bad,
        _ => Mood::Notable,
    };
    story.push((mood, format!("verdict at the layer `{}`: {}, because {because}", layer.label(), verdict.label())));
    if without_group_object(&observations.checks) {
        story.push((
            Mood::Faint,
            "(no group object: the question was put by the adapter's own group management, not by the library)"
                .to_owned(),
        ));
    }
    story
}
