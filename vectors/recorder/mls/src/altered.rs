//! Packets that were changed on their way, each ahead of the packet itself. Whoever changes them holds no key: the server,
//! or anybody on the line.
//!
//! One file for each kind of packet. Between the copies there are messages that must be read, so that no device passes by
//! refusing everything from the first one on, and at the end the packet itself must still be taken.

use std::collections::VecDeque;

use anyhow::{Context, Result};
use e2esm_adapter::{Delivered, Delivery, ErrorClass, Start};
use e2esm_playback::{Draft, Fault, Recorded};

use crate::alter::{self, Alteration};
use crate::fields::{self, Field};
use crate::members::{Changes, Committed, Member, MlsRsMember, OpenMlsMember, Party, Proposal};
use crate::verdict::{Protection, Verdict, verdict};
use crate::{Recorder, Recording, delivery, epoch_reached, message_read};

/// The group that everything happens in, unless it needs a second one.
const FRIENDS: &str = "friends";

/// After so many refusals something is read.
const REFUSALS: usize = 2;

/// So many messages are written before there are proposals.
const WRITTEN_AHEAD: usize = 60;

/// All files.
///
/// # Errors
/// The first disagreement.
pub fn record(recorder: &Recorder) -> Result<Vec<Recorded>> {
    Ok(vec![
        commit_with_path(recorder)?,
        commit_with_add(recorder)?,
        commit_with_remove(recorder)?,
        commit_by_reference(recorder)?,
        update_proposal(recorder)?,
        add_proposal(recorder)?,
        remove_proposal(recorder)?,
        external_commit(recorder)?,
        external_add_proposal(recorder)?,
        welcome(recorder)?,
        ratchet_tree(recorder)?,
        private_message(recorder)?,
        private_commit(recorder)?,
        private_proposal(recorder)?,
    ])
}

/// How many of the changes that a field can suffer are recorded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Share {
    None,
    /// So many, in turn: the next field begins with another one.
    Few(usize),
    All,
}

/// What is said about a file.
struct Head {
    id: &'static str,
    title: &'static str,
    description: &'static str,
    requirements: &'static [&'static str],
}

/// A file in the making: carol is the passive device, at leaf 2 of four, and the others go on around her.
struct File<'a, M> {
    recorder: &'a Recorder,
    by: Recording<'a>,
    draft: Draft,
    party: Party<M>,
    epoch: u64,
    said: usize,
    /// Messages of this epoch that have been written already and not been delivered.
    written: VecDeque<Said>,
    /// Who writes between two refusals.
    speakers: &'static [(&'static str, u32)],
    refused: usize,
    turn: usize,
}

/// A message on its way.
struct Said {
    text: String,
    by: &'static str,
    leaf: u32,
    packet: Vec<u8>,
}

/// A kind of packet, and how it is altered.
struct Kind<'a> {
    /// What it is called in a fault.
    packet: &'a str,
    protection: Protection,
    /// The name of the delivery that is the packet itself.
    twin: &'a str,
    /// Another packet of the kind, which lends its fields.
    other: Option<&'a [u8]>,
    /// How many changes of a field, by its path.
    share: fn(&str) -> Share,
    /// Changes that leave a packet which is as good as it was.
    innocent: &'a [(&'a str, &'a str)],
}

/// Those who are in the group beside carol, and their leaves.
const ALICE: (&str, u32) = ("alice", 0);
const BOB: (&str, u32) = ("bob", 1);
const DAVE: (&str, u32) = ("dave", 3);
/// All of them.
const SPEAKERS: [(&str, u32); 3] = [ALICE, BOB, DAVE];

impl<'a, M: Member> File<'a, M> {
    /// The group of alice, bob, carol and dave, which carol has just been let into: epoch 1.
    fn new(
        recorder: &'a Recorder,
        by: Recording<'a>,
        head: &Head,
        member: fn(&'static str) -> Result<M>,
        key_packages: usize,
    ) -> Result<(Self, Vec<Vec<u8>>)> {
        let names = ["alice", "bob", "carol", "dave", "erin", "frank", "grace"];
        let mut party = Party::new(&names, member)?;
        let mut published =
            (0..key_packages).map(|_| party.member("carol")?.key_package()).collect::<Result<Vec<_>>>()?;
        let start = Start::Mls(party.member("carol")?.start()?);
        let draft = Draft::new(head.id, head.title, head.description, head.requirements, &recorder.date, start);

        let (bobs, carols) = (party.member("bob")?.key_package()?, published.remove(0));
        let add = vec![bobs, carols, party.member("dave")?.key_package()?];
        party.member("alice")?.create(FRIENDS)?;
        let founding = party.member("alice")?.commit(&Changes { add, ..Changes::default() }, "")?;
        party.deliver(&founding.commit, &["alice"])?;
        let invitation = founding.welcome.context("nobody is welcomed")?;
        party.member("bob")?.join(&invitation, None)?;
        party.member("dave")?.join(&invitation, None)?;

        let mut file = Self {
            recorder,
            by,
            draft,
            party,
            epoch: 1,
            said: 0,
            written: VecDeque::new(),
            speakers: &SPEAKERS,
            refused: 0,
            turn: 0,
        };
        let comment = "alice founds the group and adds bob, this device (carol) and dave: leaves 0 to 3.";
        file.enter("Welcome", comment, &invitation, 1, "alice")?;
        Ok((file, published))
    }

    /// A commit, or a Welcome to the group: `witness`, who is a member, has come into the epoch by the same.
    fn enter(&mut self, name: &str, comment: &str, packet: &[u8], epoch: u64, witness: &str) -> Result<()> {
        let facts = self.entered(FRIENDS, epoch, witness)?;
        self.take(name, comment, packet, facts);
        Ok(())
    }

    fn entered(&mut self, group: &str, epoch: u64, witness: &str) -> Result<Delivered> {
        let authenticator = self.party.member(witness)?.epoch_authenticator()?;
        Ok(Delivered { epoch_authenticator: Some(authenticator.into()), ..epoch_reached(group, epoch) })
    }

    fn take(&mut self, name: &str, comment: &str, packet: &[u8], facts: Delivered) {
        self.draft.accept(name, comment, delivery(packet), facts);
    }

    /// A commit by one of them, in force among all but carol.
    fn commit(&mut self, by: &str, changes: &Changes, data: &str) -> Result<Committed> {
        let committed = self.party.member(by)?.commit(changes, data)?;
        self.party.deliver(&committed.commit, &["alice", "bob", "dave"])?;
        self.epoch += 1;
        Ok(committed)
    }

    /// A proposal by one of them, known to all but carol.
    fn propose(&mut self, by: &str, proposal: &Proposal, data: &str) -> Result<Vec<u8>> {
        let proposed = self.party.member(by)?.propose(proposal, data)?;
        let others: Vec<_> = ["alice", "bob", "dave"].into_iter().filter(|name| *name != by).collect();
        self.party.deliver(&proposed, &others)?;
        Ok(proposed)
    }

    fn write(&mut self, (by, leaf): (&'static str, u32)) -> Result<Said> {
        self.said += 1;
        let text = format!("message {}", self.said);
        let packet = self.party.member(by)?.send(&text, "")?;
        Ok(Said { text, by, leaf, packet })
    }

    /// Has messages written now: mls-rs lets nobody write who knows of a proposal that has not been committed.
    fn write_ahead(&mut self) -> Result<()> {
        for index in 0..WRITTEN_AHEAD {
            let said = self.write(self.speakers[index % self.speakers.len()])?;
            self.written.push_back(said);
        }
        Ok(())
    }

    /// A message that is read, between two refusals.
    fn interject(&mut self) -> Result<()> {
        let said = match self.written.pop_front() {
            Some(said) => said,
            None => self.write(self.speakers[self.said % self.speakers.len()])?,
        };
        self.hear(said);
        Ok(())
    }

    fn hear(&mut self, Said { text, by, leaf, packet }: Said) {
        self.take(&text, &format!("{by} writes."), &packet, message_read(FRIENDS, &text, leaf));
        self.refused = 0;
    }

    /// Altered copies of a packet that has not been delivered and after which nobody has gone on yet.
    fn alter(&mut self, packet: &[u8], kind: &Kind<'_>) -> Result<()> {
        let (_, root) = fields::message(packet)?;
        let other = kind.other.map(|bytes| Ok::<_, anyhow::Error>((fields::message(bytes)?.1, bytes))).transpose()?;
        let lent = other.as_ref().map(|(root, bytes)| (root, *bytes));
        let mut copies = if (kind.share)(alter::WHOLE) == Share::All { alter::of_whole(packet) } else { Vec::new() };
        copies.extend(self.chosen(alter::of_fields(&root, packet, lent), &root, kind));
        self.refuse(copies, kind, delivery)
    }

    /// Of all alterations those that are recorded.
    fn chosen(&mut self, alterations: Vec<Alteration>, root: &Field, kind: &Kind<'_>) -> Vec<Alteration> {
        let mut chosen = Vec::new();
        for (path, _) in root.all() {
            let innocent = |alteration: &Alteration| kind.innocent.contains(&(path.as_str(), alteration.change));
            let of_field: Vec<_> = alterations.iter().filter(|other| other.field == path && !innocent(other)).collect();
            let count = match (kind.share)(&path) {
                Share::None => 0,
                Share::Few(count) => count.min(of_field.len()),
                Share::All => of_field.len(),
            };
            chosen.extend((0..count).map(|index| of_field[(self.turn + index) % of_field.len()].clone()));
            self.turn += count;
        }
        chosen
    }

    /// Copies that are refused, with messages between them that are read.
    fn refuse(&mut self, copies: Vec<Alteration>, kind: &Kind<'_>, deliver: impl Fn(&[u8]) -> Delivery) -> Result<()> {
        for copy in copies {
            if self.refused >= REFUSALS {
                self.interject()?;
            }
            self.refused += 1;
            let Verdict { reasons, flag, why } = verdict(kind.protection, &copy);
            let Alteration { field, change, bytes } = copy;
            let name = format!("{}, {field}: {change}", kind.twin);
            let fault = Fault { packet: kind.packet.to_owned(), field, change: change.to_owned(), rule: None };
            self.draft.reject(&name, why, deliver(&bytes), &[flag], fault, kind.twin, &reasons);
        }
        Ok(())
    }

    /// After the packet itself: everybody is heard.
    fn conclude(mut self, speakers: &[(&'static str, u32)]) -> Result<Recorded> {
        for speaker in speakers {
            let said = self.write(*speaker)?;
            self.hear(said);
        }
        self.recorder.finish(self.draft, self.by)
    }
}

/// Whether a field is inside the commit or proposal of a PublicMessage, and not of its frame.
fn inside(path: &str) -> bool {
    path.starts_with("content.commit") || path.starts_with("content.proposal")
}

/// Whether a field is in one of a leaf's lists of what its client can do, and not the first there.
fn listed(path: &str) -> bool {
    path.contains(".capabilities.") && path.ends_with(']') && !path.ends_with("[0]")
}

/// Whether a field is in a leaf, a key package or an update path: there are many, and each is covered like the others.
fn deep(path: &str) -> bool {
    path.contains("leaf_node") || path.contains("key_package.") || path.contains("path.nodes")
}

fn commit_with_path(recorder: &Recorder) -> Result<Recorded> {
    let head = Head {
        id: "mls/authentication/altered-commit-with-path",
        title: "A commit with an update path that was changed on its way",
        description: "bob replaces his keys with a commit that has an update path, sent as a PublicMessage. Ahead of it the \
                      server delivers copies in each of which one field was changed, or which are no longer one message. \
                      Everything in a member's PublicMessage is under the membership tag, so a sound device refuses every \
                      copy, goes on reading messages, and takes the commit itself. Otherwise whoever carries the packets \
                      could give the group keys that no member has chosen.",
        requirements: &["R1", "L1"],
    };
    let [by, ..] = recorder.mls_rs()?;
    let (mut file, _) = File::new(recorder, by, &head, MlsRsMember::new, 1)?;
    let path = Changes { path: true, ..Changes::default() };
    let earlier = file.commit("bob", &path, "earlier")?.commit;
    file.enter("earlier commit", "bob replaces his keys for the first time.", &earlier, 2, "alice")?;
    let commit = file.party.member("bob")?.commit(&path, "once more")?.commit;
    let kind = Kind {
        packet: "commit with path as PublicMessage",
        protection: Protection::Member,
        twin: "commit",
        other: Some(&earlier),
        share: |path| match path {
            path if listed(path) => Share::None,
            path if deep(path) => Share::Few(1),
            alter::WHOLE | "content.epoch" | "content.commit.path" | "membership_tag" => Share::All,
            _ => Share::Few(3),
        },
        innocent: &[],
    };
    file.alter(&commit, &kind)?;
    file.party.deliver(&commit, &["alice", "bob", "dave"])?;
    file.enter("commit", "bob's commit as he sent it.", &commit, 3, "alice")?;
    file.conclude(&SPEAKERS)
}

fn commit_with_add(recorder: &Recorder) -> Result<Recorded> {
    let head = Head {
        id: "mls/device-addition/altered-add-commit",
        title: "A commit that adds somebody, changed on its way",
        description: "alice adds erin with a commit that has no update path, sent as a PublicMessage, and the server changes \
                      one field after the other: above all in erin's key package, which comes with the commit. A sound \
                      device refuses every copy and then takes the commit itself, with erin's own keys. Otherwise the \
                      server could put keys of its own into the place of a newcomer's.",
        requirements: &["C1", "R2", "R6"],
    };
    let [by, ..] = recorder.mls_rs()?;
    let (mut file, _) = File::new(recorder, by, &head, MlsRsMember::new, 1)?;
    // frank is to be added as well, by a commit that comes to nothing: it lends its fields.
    let franks = Changes { add: vec![file.party.member("frank")?.key_package()?], ..Changes::default() };
    let other = file.party.member("bob")?.commit(&franks, "frank comes")?.commit;
    let add = vec![file.party.member("erin")?.key_package()?];
    let committed = file.party.member("alice")?.commit(&Changes { add, ..Changes::default() }, "erin comes")?;
    let kind = Kind {
        packet: "commit with Add by value as PublicMessage",
        protection: Protection::Member,
        twin: "commit",
        other: Some(&other),
        share: |path| match path {
            path if listed(path) => Share::None,
            path if deep(path) => Share::Few(1),
            path if inside(path) => Share::All,
            alter::WHOLE => Share::None,
            _ => Share::Few(1),
        },
        innocent: &[],
    };
    file.alter(&committed.commit, &kind)?;
    file.party.deliver(&committed.commit, &["alice", "bob", "dave"])?;
    file.party.member("erin")?.join(&committed.welcome.context("nobody is welcomed")?, None)?;
    file.enter("commit", "alice's commit as she sent it: erin has leaf 4.", &committed.commit, 2, "alice")?;
    file.conclude(&[ALICE, BOB, DAVE, ("erin", 4)])
}

fn commit_with_remove(recorder: &Recorder) -> Result<Recorded> {
    let head = Head {
        id: "mls/removal/altered-remove-commit",
        title: "A commit that removes somebody, changed on its way",
        description: "alice removes dave with a commit, sent as a PublicMessage. The server would rather have somebody else \
                      removed, or nobody, or somebody twice. A sound device refuses every such copy and then takes the \
                      commit itself. Otherwise the server could choose who is thrown out.",
        requirements: &["C3", "R1"],
    };
    let [by, ..] = recorder.mls_rs()?;
    let (mut file, _) = File::new(recorder, by, &head, MlsRsMember::new, 1)?;
    let add = Changes { add: vec![file.party.member("erin")?.key_package()?], ..Changes::default() };
    let committed = file.commit("bob", &add, "")?;
    file.party.member("erin")?.join(&committed.welcome.context("nobody is welcomed")?, None)?;
    file.enter("add commit", "bob adds erin, who gets leaf 4.", &committed.commit, 2, "alice")?;
    // bob would remove erin, by a commit that comes to nothing: it lends its fields.
    let erins = Changes { remove: vec![4], ..Changes::default() };
    let other = file.party.member("bob")?.commit(&erins, "erin goes")?.commit;
    let daves = Changes { remove: vec![DAVE.1], ..Changes::default() };
    let commit = file.party.member("alice")?.commit(&daves, "dave goes")?.commit;
    let kind = Kind {
        packet: "commit with Remove by value as PublicMessage",
        protection: Protection::Member,
        twin: "commit",
        other: Some(&other),
        share: |path| match path {
            "content.commit.path" => Share::All,
            path if deep(path) => Share::None,
            path if inside(path) => Share::All,
            _ => Share::Few(1),
        },
        innocent: &[],
    };
    file.alter(&commit, &kind)?;
    file.party.deliver(&commit, &["alice", "bob", "erin"])?;
    file.enter("commit", "alice's commit as she sent it: leaf 3 is blank.", &commit, 3, "alice")?;
    file.conclude(&[ALICE, BOB, ("erin", 4)])
}

/// What is proposed in the files of proposals and of the commit by reference.
struct Proposals {
    update: Vec<u8>,
    add: Vec<u8>,
    remove: Vec<u8>,
    /// Another of the kind that the file is about, if it needs one.
    other: Vec<u8>,
}

impl<'a> File<'a, MlsRsMember> {
    /// bob proposes new keys of his own, alice to add erin and to remove dave; nothing of it has reached carol. dave would
    /// have proposed something that nobody but the server ever sees: `other`.
    fn proposals(&mut self, other: &Proposal) -> Result<Proposals> {
        self.write_ahead()?;
        Ok(Proposals {
            other: self.party.member("dave")?.propose(other, "what dave says of it")?,
            update: self.propose("bob", &Proposal::Update, "new keys for bob")?,
            add: {
                let erins = self.party.member("erin")?.key_package()?;
                self.propose("alice", &Proposal::Add(erins), "erin may come")?
            },
            remove: self.propose("alice", &Proposal::Remove(DAVE.1), "dave may go")?,
        })
    }

    /// The three as they were sent; the one that the file is about comes last.
    fn take_proposals(&mut self, proposals: &[(&str, &str, &[u8])]) {
        for (name, comment, packet) in proposals {
            self.take(name, comment, packet, epoch_reached(FRIENDS, self.epoch));
        }
    }

    /// alice commits what has been proposed.
    fn commit_proposals(&mut self) -> Result<Vec<u8>> {
        let committed = self.party.member("alice")?.commit(&Changes::default(), "so be it")?;
        self.party.deliver(&committed.commit, &["alice", "bob"])?;
        self.party.member("erin")?.join(&committed.welcome.context("nobody is welcomed")?, None)?;
        Ok(committed.commit)
    }

    /// The commit, which is taken only if the proposals that were stored are those that were sent.
    fn conclude_proposals(mut self) -> Result<Recorded> {
        let commit = self.commit_proposals()?;
        let comment = "alice commits the three by reference: a reference is a hash of the whole proposal as it was sent, so \
                       it is found only if that was kept and no altered copy. erin gets dave's leaf.";
        self.enter("commit", comment, &commit, 2, "alice")?;
        self.conclude(&[ALICE, BOB, ("erin", 3)])
    }
}

const UPDATE: (&str, &str) = ("Update", "bob proposes new keys of his own.");
const ADD: (&str, &str) = ("Add", "alice proposes to add erin.");
const REMOVE: (&str, &str) = ("Remove", "alice proposes to remove dave.");

fn update_proposal(recorder: &Recorder) -> Result<Recorded> {
    let head = Head {
        id: "mls/authentication/altered-update-proposal",
        title: "A member's proposal of new keys, changed on its way",
        description: "bob proposes new keys of his own with an Update, sent as a PublicMessage that stands alone. A sound \
                      device refuses every changed copy, keeps the proposal itself, and finds it when alice commits it. \
                      Otherwise the server could have keys of its own committed in bob's name by somebody who believes to \
                      do bob a favour.",
        requirements: &["R1", "R6"],
    };
    let [by, ..] = recorder.mls_rs()?;
    let (mut file, _) = File::new(recorder, by, &head, MlsRsMember::new, 1)?;
    let Proposals { update, add, remove, other } = file.proposals(&Proposal::Update)?;
    file.take_proposals(&[(ADD.0, ADD.1, &add), (REMOVE.0, REMOVE.1, &remove)]);
    let kind = Kind {
        packet: "Update proposal as PublicMessage",
        protection: Protection::Member,
        twin: UPDATE.0,
        other: Some(&other),
        share: |path| match path {
            path if listed(path) => Share::None,
            path if deep(path) => Share::Few(1),
            alter::WHOLE => Share::None,
            path if inside(path) || path == "membership_tag" => Share::Few(2),
            _ => Share::Few(1),
        },
        innocent: &[],
    };
    file.alter(&update, &kind)?;
    file.take_proposals(&[(UPDATE.0, UPDATE.1, &update)]);
    file.conclude_proposals()
}

fn add_proposal(recorder: &Recorder) -> Result<Recorded> {
    let head = Head {
        id: "mls/device-addition/altered-add-proposal",
        title: "A proposal to add somebody, changed on its way",
        description: "alice proposes to add erin, as a PublicMessage that stands alone, with erin's key package in it. A \
                      sound device refuses every changed copy and keeps the proposal itself, until it is committed. \
                      Otherwise the server could have somebody else added, or erin with keys that are not hers.",
        requirements: &["C1", "R2"],
    };
    let [by, ..] = recorder.mls_rs()?;
    let (mut file, _) = File::new(recorder, by, &head, MlsRsMember::new, 1)?;
    let franks = Proposal::Add(file.party.member("frank")?.key_package()?);
    let Proposals { update, add, remove, other } = file.proposals(&franks)?;
    file.take_proposals(&[(UPDATE.0, UPDATE.1, &update), (REMOVE.0, REMOVE.1, &remove)]);
    let kind = Kind {
        packet: "Add proposal as PublicMessage",
        protection: Protection::Member,
        twin: ADD.0,
        other: Some(&other),
        share: |path| match path {
            "content.proposal" | "content.proposal.proposal_type" | "content.proposal.key_package" => Share::All,
            path if listed(path) => Share::None,
            alter::WHOLE => Share::None,
            _ => Share::Few(1),
        },
        innocent: &[],
    };
    file.alter(&add, &kind)?;
    file.take_proposals(&[(ADD.0, ADD.1, &add)]);
    file.conclude_proposals()
}

fn remove_proposal(recorder: &Recorder) -> Result<Recorded> {
    let head = Head {
        id: "mls/removal/altered-remove-proposal",
        title: "A proposal to remove somebody, changed on its way",
        description: "alice proposes to remove dave, as a PublicMessage that stands alone. The server names somebody else, or \
                      another proposer, or another state of the group. A sound device refuses every copy and keeps the \
                      proposal itself, until it is committed. Otherwise the server could have whomever it likes removed.",
        requirements: &["C3", "R1"],
    };
    let [by, ..] = recorder.mls_rs()?;
    let (mut file, _) = File::new(recorder, by, &head, MlsRsMember::new, 1)?;
    let Proposals { update, add, remove, other } = file.proposals(&Proposal::Remove(1))?;
    file.take_proposals(&[(UPDATE.0, UPDATE.1, &update), (ADD.0, ADD.1, &add)]);
    let kind = Kind {
        packet: "Remove proposal as PublicMessage",
        protection: Protection::Member,
        twin: REMOVE.0,
        other: Some(&other),
        share: |path| match path {
            path if inside(path) => Share::All,
            alter::WHOLE => Share::None,
            _ => Share::Few(3),
        },
        innocent: &[],
    };
    file.alter(&remove, &kind)?;
    file.take_proposals(&[(REMOVE.0, REMOVE.1, &remove)]);
    file.conclude_proposals()
}

fn commit_by_reference(recorder: &Recorder) -> Result<Recorded> {
    let head = Head {
        id: "mls/authentication/altered-commit-by-reference",
        title: "A commit that refers to proposals, changed on its way",
        description: "bob has proposed new keys of his own, alice to add erin and to remove dave. alice commits all three by \
                      reference. The server drops a reference, names one twice, exchanges two, or names something else. A \
                      sound device refuses every copy and then takes the commit itself. Otherwise the server could decide \
                      which of the members' proposals come into force.",
        requirements: &["R1", "C1", "C3"],
    };
    let [by, ..] = recorder.mls_rs()?;
    let (mut file, _) = File::new(recorder, by, &head, MlsRsMember::new, 1)?;
    let Proposals { update, add, remove, .. } = file.proposals(&Proposal::Update)?;
    file.take_proposals(&[(UPDATE.0, UPDATE.1, &update), (ADD.0, ADD.1, &add), (REMOVE.0, REMOVE.1, &remove)]);
    // bob would add frank, by a commit that comes to nothing: it lends its fields.
    let franks = Changes { add: vec![file.party.member("frank")?.key_package()?], ..Changes::default() };
    let other = file.party.member("bob")?.commit(&franks, "frank comes")?.commit;
    // What is said until the commit is said in the epoch before it: the copies come first.
    let committed = file.party.member("alice")?.commit(&Changes::default(), "so be it")?;
    let kind = Kind {
        packet: "commit by reference as PublicMessage",
        protection: Protection::Member,
        twin: "commit",
        other: Some(&other),
        share: |path| match path {
            "content.commit.proposals" | "content.commit.path" => Share::All,
            path if path.starts_with("content.commit.proposals") => Share::Few(4),
            alter::WHOLE => Share::None,
            path if inside(path) => Share::None,
            _ => Share::Few(1),
        },
        innocent: &[],
    };
    file.alter(&committed.commit, &kind)?;
    file.party.deliver(&committed.commit, &["alice", "bob"])?;
    file.party.member("erin")?.join(&committed.welcome.context("nobody is welcomed")?, None)?;
    let comment = "alice's commit as she sent it. erin gets dave's leaf.";
    file.enter("commit", comment, &committed.commit, 2, "alice")?;
    file.conclude(&[ALICE, BOB, ("erin", 3)])
}

fn external_commit(recorder: &Recorder) -> Result<Recorded> {
    let head = Head {
        id: "mls/participation/altered-external-commit",
        title: "Somebody who joins by a link, changed on the way in",
        description: "alice has published a GroupInfo, and erin joins with it by an external commit. No membership tag covers \
                      that: what protects it is the signature by the key of the leaf that comes with it, and the \
                      confirmation tag. A sound device refuses every changed copy and then takes the commit itself. \
                      Otherwise the server could come in under erin's name.",
        requirements: &["C1", "C2", "R6"],
    };
    let [by, ..] = recorder.mls_rs()?;
    let (mut file, _) = File::new(recorder, by, &head, MlsRsMember::new, 1)?;
    let info = file.party.member("alice")?.group_info()?;
    // frank would join as well, but erin comes first: his commit lends its fields.
    let other = file.party.member("frank")?.join_externally(&info, "frank, by the link")?;
    let commit = file.party.member("erin")?.join_externally(&info, "erin, by the link")?;
    let kind = Kind {
        packet: "external commit as PublicMessage",
        protection: Protection::NewMember,
        twin: "external commit",
        other: Some(&other),
        share: |path| match path {
            path if listed(path) => Share::None,
            path if deep(path) => Share::Few(1),
            alter::WHOLE => Share::None,
            path if path.starts_with("auth.") => Share::Few(4),
            path if inside(path) => Share::Few(2),
            _ => Share::Few(1),
        },
        innocent: &[],
    };
    file.alter(&commit, &kind)?;
    file.party.deliver(&commit, &["alice", "bob", "dave"])?;
    file.enter("external commit", "erin's commit as she sent it: she has leaf 4.", &commit, 2, "alice")?;
    file.conclude(&[ALICE, ("erin", 4)])
}

fn external_add_proposal(recorder: &Recorder) -> Result<Recorded> {
    let head = Head {
        id: "mls/device-addition/altered-external-proposal",
        title: "Somebody outside who asks to be let in, changed on the way",
        description: "erin is not a member and proposes herself (RFC 9420, section 12.1.8). Her proposal is signed by the key \
                      in her own key package, and by nothing else. A sound device refuses every changed copy, keeps the \
                      proposal itself, and lets her in when alice commits it. Otherwise the server could have somebody else \
                      committed under erin's name.",
        requirements: &["C1", "R2", "R6"],
    };
    let [by, ..] = recorder.mls_rs()?;
    let (mut file, _) = File::new(recorder, by, &head, MlsRsMember::new, 1)?;
    let info = file.party.member("alice")?.group_info()?;
    let other = file.party.member("frank")?.propose_itself(&info, "frank asks")?;
    let proposal = file.party.member("erin")?.propose_itself(&info, "erin asks")?;
    let kind = Kind {
        packet: "Add proposal by a new member as PublicMessage",
        protection: Protection::NewMember,
        twin: "proposal",
        other: Some(&other),
        share: |path| match path {
            path if listed(path) => Share::None,
            path if deep(path) => Share::Few(1),
            alter::WHOLE => Share::None,
            "auth.signature" => Share::Few(5),
            _ => Share::Few(1),
        },
        innocent: &[],
    };
    file.alter(&proposal, &kind)?;
    file.take("proposal", "erin's proposal as she sent it.", &proposal, epoch_reached(FRIENDS, 1));
    file.party.deliver(&proposal, &["alice", "bob", "dave"])?;
    let committed = file.commit("alice", &Changes::default(), "let her in")?;
    file.party.member("erin")?.join(&committed.welcome.context("nobody is welcomed")?, None)?;
    let comment = "alice commits it by reference; erin has leaf 4.";
    file.enter("commit", comment, &committed.commit, 2, "alice")?;
    file.conclude(&[ALICE, ("erin", 4)])
}

fn welcome(recorder: &Recorder) -> Result<Recorded> {
    let head = Head {
        id: "mls/device-addition/altered-welcome",
        title: "A Welcome that was changed on its way",
        description: "carol is in one group already, and erin lets her and frank into another. Ahead of that Welcome the \
                      server delivers copies in each of which one field was changed. A sound device refuses every copy, \
                      still has the key package that the Welcome is for, and joins by the Welcome itself. Otherwise the \
                      server could lead a newcomer into a group of its own making, or spend her key packages.",
        requirements: &["C1", "R6", "L1"],
    };
    let [by, ..] = recorder.mls_rs()?;
    let (mut file, published) = File::new(recorder, by, &head, MlsRsMember::new, 2)?;
    let other = file.draft.steps().first().map(|step| step.bytes.0.clone());
    let add = vec![published.into_iter().next().context("one is left")?, file.party.member("frank")?.key_package()?];
    file.party.member("erin")?.create(WORK)?;
    let committed = file.party.member("erin")?.commit(&Changes { add, ..Changes::default() }, "")?;
    file.party.deliver(&committed.commit, &["erin"])?;
    let welcome = committed.welcome.context("nobody is welcomed")?;
    let kind = Kind {
        packet: "Welcome",
        protection: Protection::Welcome,
        twin: "Welcome to work",
        other: other.as_deref(),
        // The other newcomer's secrets are none of this device's business, nor is their place.
        share: |path| match path {
            path if path.starts_with("secrets[1]") => Share::None,
            path if path.starts_with("secrets[0].") || path == "encrypted_group_info" => Share::Few(5),
            _ => Share::All,
        },
        innocent: &[("secrets", alter::REMOVED), ("secrets", alter::DOUBLED), ("secrets", alter::EXCHANGED)],
    };
    file.alter(&welcome, &kind)?;
    let entered = file.entered(WORK, 1, "erin")?;
    file.take("Welcome to work", "The Welcome as erin sent it: carol has leaf 1.", &welcome, entered);
    let packet = file.party.member("erin")?.send("to work", "")?;
    file.take("message in work", "erin writes there.", &packet, message_read(WORK, "to work", 0));
    file.conclude(&SPEAKERS)
}

/// The second group.
const WORK: &str = "work";

fn ratchet_tree(recorder: &Recorder) -> Result<Recorded> {
    let head = Head {
        id: "mls/device-addition/altered-ratchet-tree",
        title: "A ratchet tree beside a Welcome, changed on its way",
        description: "erin, frank and grace have a group and let carol in, with a Welcome that does not hold the ratchet tree: \
                      the server delivers that beside it, and nothing encrypts or signs it. It is bound all the same, by its \
                      hash in the GroupInfo. A sound device refuses the Welcome with every changed tree, and then joins with \
                      the tree itself. Otherwise the server could show a newcomer other members than there are.",
        requirements: &["T3", "C1", "R6"],
    };
    let [by, ..] = recorder.mls_rs()?;
    let (mut file, published) = File::new(recorder, by, &head, MlsRsMember::new, 2)?;
    let add = vec![file.party.member("frank")?.key_package()?, file.party.member("grace")?.key_package()?];
    file.party.member("erin")?.create(WORK)?;
    let founding = file.party.member("erin")?.commit(&Changes { add, ..Changes::default() }, "")?;
    file.party.deliver(&founding.commit, &["erin"])?;
    let invitation = founding.welcome.context("nobody is welcomed")?;
    ["frank", "grace"].iter().try_for_each(|name| file.party.member(name)?.join(&invitation, None))?;
    for name in ["frank", "grace"] {
        let commit = file.party.member(name)?.commit(&Changes { path: true, ..Changes::default() }, "")?.commit;
        file.party.deliver(&commit, &["erin", "frank", "grace"])?;
    }
    // Without a path, so that carol's leaf is an unmerged one of the parents above it.
    let changes = Changes { add: published, tree_apart: true, ..Changes::default() };
    let committed = file.party.member("erin")?.commit(&changes, "")?;
    file.party.deliver(&committed.commit, &["erin", "frank", "grace"])?;
    let welcome = committed.welcome.context("nobody is welcomed")?;
    let tree = committed.ratchet_tree.context("the tree is in the Welcome")?;

    let kind = Kind {
        packet: "ratchet tree beside a Welcome",
        protection: Protection::RatchetTree,
        twin: "Welcome to work",
        other: None,
        share: |path| match path {
            "ratchet_tree" => Share::All,
            path if listed(path) => Share::None,
            // Of the leaves, one that has made a commit.
            path if path.contains(".leaf_node.") && !path.starts_with("ratchet_tree[4].") => Share::None,
            _ => Share::Few(1),
        },
        innocent: &[],
    };
    let root = fields::ratchet_tree(&tree)?;
    let mut copies = file.chosen(alter::of_fields(&root, &tree, None), &root, &kind);
    copies.extend(alter::of_tree(&root, &tree)?);
    let beside = |tree: &[u8]| Delivery { ratchet_tree: Some(tree.into()), ..delivery(&welcome) };
    file.refuse(copies, &kind, beside)?;
    let fault = Fault {
        packet: kind.packet.to_owned(),
        field: "ratchet_tree".to_owned(),
        change: alter::LEFT_OUT.to_owned(),
        rule: None,
    };
    let why = "Without a tree nobody can join (RFC 9420, section 12.4.3.1).";
    let name = "Welcome to work, without any tree";
    file.draft.reject(name, why, delivery(&welcome), &["Altered"], fault, kind.twin, &[ErrorClass::BadRequest]);
    let comment = "The Welcome with the tree as it is: carol has leaf 3.";
    let entered = file.entered(WORK, 4, "grace")?;
    file.draft.accept(kind.twin, comment, beside(&tree), entered);
    let packet = file.party.member("grace")?.send("to work", "")?;
    file.take("message in work", "grace writes there.", &packet, message_read(WORK, "to work", 2));
    file.conclude(&SPEAKERS)
}

fn private_message(recorder: &Recorder) -> Result<Recorded> {
    let head = Head {
        id: "mls/authentication/altered-message",
        title: "A message that was changed on its way",
        description: "bob writes, and ahead of his message the server delivers copies in each of which one field was changed, \
                      or which are no longer one message. A sound device refuses every copy, and the message itself can \
                      still be read after all of them: a refused copy spends no key. Otherwise the server could change \
                      what people say, or make one message vanish by sending a broken copy first.",
        requirements: &["R1", "L1"],
    };
    let by = recorder.openmls()?;
    let (mut file, _) = File::new(recorder, by, &head, OpenMlsMember::new, 1)?;
    let refresh = file.commit("bob", &Changes { path: true, ..Changes::default() }, "")?.commit;
    file.enter("commit", "bob replaces his keys.", &refresh, 2, "alice")?;
    let other = file.party.member("bob")?.send("I am at home", "room 3")?;
    file.take("earlier message", "bob writes.", &other, message_read(FRIENDS, "I am at home", BOB.1));
    let message = file.party.member("bob")?.send("I am at work", "room 12")?;
    // bob writes nothing else: a device may forget the key of a message that is far behind its sender's last one.
    file.speakers = &[ALICE, DAVE];
    let kind = Kind {
        packet: "application message as PrivateMessage",
        protection: Protection::Application,
        twin: "message",
        other: Some(&other),
        share: |_| Share::All,
        innocent: &[],
    };
    file.alter(&message, &kind)?;
    file.take("message", "bob's message as he sent it.", &message, message_read(FRIENDS, "I am at work", BOB.1));
    file.conclude(&SPEAKERS)
}

fn private_commit(recorder: &Recorder) -> Result<Recorded> {
    let head = Head {
        id: "mls/authentication/altered-private-commit",
        title: "An encrypted commit that was changed on its way",
        description: "bob replaces his keys with a commit, sent as a PrivateMessage. A sound device refuses every changed \
                      copy, keeps the key that opens the commit itself, and then takes that. Otherwise the server could \
                      change the group's state, or shut a member out of it with a single broken copy.",
        requirements: &["R1", "L1"],
    };
    let by = recorder.openmls()?;
    let (mut file, _) = File::new(recorder, by, &head, OpenMlsMember::new, 1)?;
    let path = Changes { path: true, ..Changes::default() };
    let earlier = file.commit("bob", &path, "earlier")?.commit;
    file.enter("earlier commit", "bob replaces his keys for the first time.", &earlier, 2, "alice")?;
    let commit = file.party.member("bob")?.commit(&path, "once more")?.commit;
    let kind = Kind {
        packet: "commit as PrivateMessage",
        protection: Protection::Handshake,
        twin: "commit",
        other: Some(&earlier),
        share: |path| if path == alter::WHOLE { Share::None } else { Share::Few(5) },
        innocent: &[],
    };
    file.alter(&commit, &kind)?;
    file.party.deliver(&commit, &["alice", "bob", "dave"])?;
    file.enter("commit", "bob's commit as he sent it.", &commit, 3, "alice")?;
    file.conclude(&SPEAKERS)
}

fn private_proposal(recorder: &Recorder) -> Result<Recorded> {
    let head = Head {
        id: "mls/authentication/altered-private-proposal",
        title: "An encrypted proposal that was changed on its way",
        description: "bob proposes new keys of his own, sent as a PrivateMessage. A sound device refuses every changed copy, \
                      keeps the proposal itself, and finds it when alice commits it by reference.",
        requirements: &["R1", "L1"],
    };
    let by = recorder.openmls()?;
    let (mut file, _) = File::new(recorder, by, &head, OpenMlsMember::new, 1)?;
    file.write_ahead()?;
    let other = file.party.member("dave")?.propose(&Proposal::Update, "what dave says of it")?;
    let update = file.propose("bob", &Proposal::Update, "new keys for bob")?;
    let kind = Kind {
        packet: "proposal as PrivateMessage",
        protection: Protection::Handshake,
        twin: UPDATE.0,
        other: Some(&other),
        share: |path| if path == alter::WHOLE { Share::None } else { Share::Few(4) },
        innocent: &[],
    };
    file.alter(&update, &kind)?;
    file.take(UPDATE.0, UPDATE.1, &update, epoch_reached(FRIENDS, 1));
    let commit = file.commit("alice", &Changes::default(), "so be it")?.commit;
    file.enter("commit", "alice commits it by reference.", &commit, 2, "alice")?;
    file.conclude(&SPEAKERS)
}
