//! Steps and checks as sentences: what `e2esm show` and `e2esm explain` print.

use e2esm_adapter::{DeviceId, Fault};

use super::{Alteration, Check, GroupInfoSource, Notice, Step};

/// A step or check as a sentence.
pub fn describe(step: &Step) -> String {
    match step {
        Step::CreateGroup { by, group, with, .. } if with.is_empty() => format!("{by} creates the group `{group}`"),
        Step::CreateGroup { by, group, with, .. } => format!("{by} creates the group `{group}` with {}", list(with)),
        Step::Add { by, group, who, .. } => format!("{by} adds {} to `{group}`", list(who)),
        Step::Remove { by, group, who, .. } => format!("{by} removes {} from `{group}`", list(who)),
        Step::Refresh { by, group, .. } => format!("{by} replaces its own keys in `{group}`"),
        Step::Race { group, changes } => {
            let acts: Vec<_> = changes.iter().map(|c| format!("{} removes {}", c.by, list(&c.remove))).collect();
            format!("at the same time in `{group}`: {}; the server takes the first", acts.join(", "))
        }
        Step::Send { by, group, message, quotes: None } => format!("{by} sends {message} to `{group}`"),
        Step::Send { by, group, message, quotes: Some(quoted) } => {
            format!("{by} sends {message} to `{group}`, quoting {quoted}")
        }
        Step::Withhold { to, kinds } if kinds.is_empty() => {
            format!("from now on the server keeps everything back from {}", list(to))
        }
        Step::Withhold { to, kinds } => {
            let kinds: Vec<_> = kinds.iter().map(|kind| kind.label()).collect();
            format!("from now on the server keeps each {} back from {}", kinds.join(" and "), list(to))
        }
        Step::Deliver { to, reversed } => {
            format!(
                "the server hands over what it kept back from {}{}",
                list(to),
                if *reversed { ", last first" } else { "" }
            )
        }
        Step::Replay { of, to, .. } => format!("the server delivers {of} again, to {}", list(to)),
        Step::Tamper { from, to, alter, .. } => {
            let how = match alter {
                Alteration::RelabelOpening { claim } => format!("labelled as {claim}'s"),
                Alteration::RewriteIdentity { by } => format!("bearing {by}'s identity key"),
                Alteration::FlipLastBit {} => "with the last bit flipped".to_owned(),
            };
            format!("from now on the server slips a copy, {how}, in ahead of what {from} sends to {}", list(to))
        }
        Step::StopTampering {} => "the server stops tampering".to_owned(),
        Step::ForgeMessage { by, group, claim, message } => {
            format!("{by}, no member, crafts a message {message} to `{group}` under {claim}'s name")
        }
        Step::ForgeKeyDistribution { by, group, claim, message } => {
            format!("{by} sends the members of `{group}` a sender key under {claim}'s name, and {message} under it")
        }
        Step::InjectMember { by, group, claim, .. } => {
            format!("{by} and the server make as if {claim} had added {by} to `{group}`")
        }
        Step::ForgeRemoval { by, group, claim, who, .. } => {
            format!("{by} and the server make as if {claim} had removed {who} from `{group}`")
        }
        Step::UninvitedJoin { by, group, .. } => {
            format!("{by} joins `{group}` by its own act, knowing only what the server knows")
        }
        Step::SwapIdentity { device, by } => format!("the server serves {by} in the place of {device}"),
        Step::RestoreIdentity { device } => format!("the server serves {device} itself again"),
        Step::Reregistered { device, to, .. } => {
            format!("the server tells {} that {device} has registered anew", list(to))
        }
        Step::BreakBundle { device, by } => format!("{by} breaks the signature of the next bundle of {device}"),
        Step::LinkDevice { device, by } => format!("{by} vouches for {device}, which joins its user's devices"),
        Step::ListDevice { device, to } => format!("the server lists {device} as one more device, to {}", list(to)),
        Step::RevokeDevice { device, by } => format!("{by} takes {device} off its user's device list"),
        Step::StealState { from, by } => {
            format!("{by} copies the whole state of {from}, and is given all later traffic")
        }
        Step::PublishLink { by, group } => format!("{by} publishes a link to `{group}`"),
        Step::ExternalJoin { by, group, info, .. } => {
            let source = match info {
                GroupInfoSource::Published => "published",
                GroupInfoSource::Leaked => "leaked",
            };
            format!("{by} joins `{group}` by its own act, with {source} information")
        }
        Step::AskResend { to, message, device, .. } => {
            format!("the server asks {to} to send {message} once more, to {device}")
        }
        Step::ShareHistory { by, group, to, .. } => {
            format!("{by}'s client hands {to} the keys of what was sent to `{group}` before")
        }
        Step::RequestKeys { by, group, from, .. } => format!("{by} asks {from} for the keys of `{group}`"),
        Step::Verify { by, peer } => format!("{by} compares keys with {peer} out of band"),
        Step::Misbehave { by, fault } => match fault {
            Fault::None => format!("{by} is honest again"),
            Fault::RelabelledSender(device) => format!("from now on {by} labels its messages as {device}'s"),
            Fault::WrongLeafSignature => format!("{by} will sign its next leaf with another key"),
            Fault::WrongParentHash => format!("{by} will send a wrong parent hash"),
            Fault::WrongConfirmationTag => format!("{by} will send a wrong confirmation tag"),
            Fault::DegenerateKey => format!("{by} publishes bundles with an all-zero key"),
        },
        Step::Expect(check) => describe_check(check),
    }
}

fn describe_check(check: &Check) -> String {
    match check {
        Check::Read { message, by } => format!("{} can read {message}, from its true sender", list(by)),
        Check::Unreadable { message, by, .. } => format!("{} cannot read {message}", list(by)),
        Check::Refused { attempt, by, reasons, .. } => {
            let reasons: Vec<_> = reasons.iter().map(|reason| reason.label()).collect();
            format!("{} refuses `{attempt}` ({})", list(by), reasons.join(" or "))
        }
        Check::NotAttributed { attempt, by, claim, .. } => {
            format!("{} does not take `{attempt}` for {claim}'s", list(by))
        }
        Check::Members { group, of, are } => format!("{} see in `{group}` exactly {}", list(of), list(are)),
        Check::NotMember { group, of, who, .. } => format!("{} do not see {who} in `{group}`", list(of)),
        Check::StillMember { group, of, who, .. } => format!("{} still see {who} in `{group}`", list(of)),
        Check::SameView { group, of } => format!("{} have one view of `{group}`", list(of)),
        Check::SplitNoticed { message, between: [from, to], .. } => {
            format!("{to} can tell that its group is not {from}'s, or refuses {message}")
        }
        Check::NoHiddenRecipient { message, by, .. } => {
            format!("if {by} reads {message}, its roster names everybody else who does")
        }
        Check::FingerprintsEqual { between: [one, two] } => {
            format!("{} and {} compare equal values", one.device, two.device)
        }
        Check::FingerprintsDiffer { between: [one, two] } => {
            format!("{} and {} compare different values", one.device, two.device)
        }
        Check::Notified { who, of, about } => {
            let what = match of {
                Notice::MemberAdded => "was added",
                Notice::MemberRemoved => "was removed, or is to be",
                Notice::KeyChanged => "has another key",
            };
            format!("{who} is told that {about} {what}")
        }
        Check::NoticeFirst { who, about, .. } => {
            format!("{who} is told that {about} has another key before it sends anything to that key")
        }
        Check::ReadOrLost { message, by } => format!("{} reads {message}, or is told that it is lost", list(by)),
        Check::CountReaders { message, among } => format!("how many of {} can read {message}", list(among)),
    }
}

fn list(devices: &[DeviceId]) -> String {
    let names: Vec<String> = devices.iter().map(ToString::to_string).collect();
    match names.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => "nobody".to_owned(),
    }
}
