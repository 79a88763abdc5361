//! A vector in the making: the group in which it plays, what is delivered to the passive device, and what is expected.
//!
//! The group is the same everywhere. Bob is the passive device. Alice, carol and erin are honest members; mallory is the
//! insider. All of them are clients of mls-rs, and nothing that is faulty is ever given to the honest ones, whose state is
//! what bob's is compared with.
//!
//! | leaf | 0 | 1 | 2 | 3 | 4 | 5 |
//! |---|---|---|---|---|---|---|
//! | member | alice | mallory | bob | carol | blank | erin |

use anyhow::{Context, Result, ensure};
use e2esm_adapter::{Delivered, Delivery, DeliveryKind, ErrorClass, ExternalPsk, Start};
use e2esm_playback::{Draft, Fault, ObservedOutcome, Rule};
use mls_rs::crypto::{SignaturePublicKey, SignatureSecretKey};
use mls_rs::group::CommitBuilder;
use mls_rs::{CipherSuiteProvider, ExtensionList, MlsMessage};

use crate::bent::Call;
use crate::commit::Making;
use crate::epoch::{Epoch, Invitation, crypto};
use crate::member::{Member, PSK, Settings, key_package_in, library};
use crate::wire::{
    KeyPackage, PRIVATE_MESSAGE, PUBLIC_MESSAGE, PrivateMessage, PublicMessage, WELCOME, content, message,
};

// Leaves of the group.
pub(crate) const ALICE: u32 = 0;
pub(crate) const MALLORY: u32 = 1;
pub(crate) const BOB: u32 = 2;
pub(crate) const CAROL: u32 = 3;
pub(crate) const BLANK: u32 = 4;
pub(crate) const ERIN: u32 = 5;
/// Beyond the tree.
pub(crate) const NOWHERE: u32 = 4096;

/// What is wrong with a packet, and how a sound device says no.
#[derive(Clone, Copy)]
pub(crate) struct Wrong {
    /// The delivery's name; that of its twin has `-honest` behind it.
    pub(crate) name: &'static str,
    /// What is sent and why.
    pub(crate) comment: &'static str,
    /// Which kind of packet.
    pub(crate) packet: &'static str,
    /// Which field.
    pub(crate) field: &'static str,
    /// What was done to it.
    pub(crate) change: &'static str,
    /// Of RFC 9420.
    pub(crate) section: &'static str,
    /// What that section demands, in our words.
    pub(crate) demands: &'static str,
    /// Any of these.
    pub(crate) reasons: &'static [ErrorClass],
}

impl Wrong {
    fn fault(&self) -> Fault {
        let rule = Rule {
            document: "RFC 9420".to_owned(),
            section: self.section.to_owned(),
            demands: self.demands.to_owned(),
        };
        Fault {
            packet: self.packet.to_owned(),
            field: self.field.to_owned(),
            change: self.change.to_owned(),
            rule: Some(rule),
        }
    }
}

/// What a file says about itself.
#[derive(Clone, Copy)]
pub(crate) struct Head {
    /// `theme/name`.
    pub(crate) id: &'static str,
    /// A few words.
    pub(crate) title: &'static str,
    /// What happens to the device.
    pub(crate) description: &'static str,
    /// Ids of the requirements.
    pub(crate) requirements: &'static [&'static str],
}

/// Where a scene plays: suite and day.
#[derive(Clone, Copy)]
pub(crate) struct Setting<'a> {
    /// The suite.
    pub(crate) cipher_suite: u16,
    /// The day of the recording.
    pub(crate) date: &'a str,
}

enum Outcome {
    Accepted(Delivered),
    Rejected {
        wrong: Wrong,
        twin: String,
    },
    /// Refused, or kept as a proposal in an epoch that goes on.
    Open {
        wrong: Wrong,
        facts: Delivered,
    },
}

/// What an implementation is known to do, and since when it is in another group than everybody else.
struct Known {
    implementation: &'static str,
    /// What it takes.
    delivery: String,
    note: &'static str,
}

struct Step {
    name: String,
    comment: String,
    bytes: Vec<u8>,
    outcome: Outcome,
}

/// The group and the vector so far.
pub(crate) struct Scene {
    pub(crate) alice: Member,
    pub(crate) mallory: Member,
    pub(crate) carol: Member,
    pub(crate) erin: Member,
    /// Only publishes key packages.
    pub(crate) bob: Member,
    head: Head,
    cipher_suite: u16,
    date: String,
    steps: Vec<Step>,
    known: Option<Known>,
    messages: usize,
    groups: usize,
    with_psk: bool,
}

/// A commit being built by the library.
pub(crate) type Builder<'a> = CommitBuilder<'a, Settings>;

impl Scene {
    /// The group, of which bob has become a member by an honest Welcome from mallory.
    pub(crate) fn new(head: Head, setting: Setting<'_>) -> Result<Self> {
        Self::with_extensions(head, setting, ExtensionList::new())
    }

    /// The same, in a group with these extensions.
    pub(crate) fn with_extensions(head: Head, setting: Setting<'_>, extensions: ExtensionList) -> Result<Self> {
        let mut scene = Self::outside(head, setting, false)?;
        scene.gather(extensions)?;
        let (welcome, _) = scene.invite()?;
        scene.accept("join", "Mallory's Welcome, with which bob joins.", welcome)?;
        scene.carol_commits("carol-commits")?;
        scene.message()?;
        Ok(scene)
    }

    /// Nobody has a group yet. If `paths`, every commit of mallory's has a path.
    pub(crate) fn outside(head: Head, setting: Setting<'_>, paths: bool) -> Result<Self> {
        let suite = setting.cipher_suite;
        Ok(Self {
            alice: Member::new("alice", suite, false)?,
            mallory: Member::new("mallory", suite, paths)?,
            carol: Member::new("carol", suite, false)?,
            erin: Member::new("erin", suite, false)?,
            bob: Member::new("bob", suite, false)?,
            head,
            cipher_suite: suite,
            date: setting.date.to_owned(),
            steps: Vec::new(),
            known: None,
            messages: 0,
            groups: 0,
            with_psk: false,
        })
    }

    /// Everybody but bob makes a new group, in which everybody has sent a path. The leaf for bob is blank, and parents above
    /// it are not.
    pub(crate) fn gather(&mut self, extensions: ExtensionList) -> Result<()> {
        self.groups += 1;
        let id = format!("{} {}", self.head.id, self.groups);
        let strangers = ["xavier", "dave"].map(|name| Member::new(name, self.cipher_suite, false));
        let [xavier, dave] = strangers;
        self.alice.create(id.as_bytes(), extensions)?;
        let newcomers = [
            self.mallory.key_package()?,
            xavier?.key_package()?,
            self.carol.key_package()?,
            dave?.key_package()?,
            self.erin.key_package()?,
        ];
        let mut commit = self.alice.group()?.commit_builder();
        for newcomer in newcomers {
            commit = commit.add_member(newcomer).map_err(library)?;
        }
        let commit = commit.build().map_err(library)?;
        self.alice.group()?.apply_pending_commit().map_err(library)?;
        for member in [&mut self.mallory, &mut self.carol, &mut self.erin] {
            member.join(&commit.welcome_messages[0])?;
        }
        let removal = self.alice.group()?.commit_builder().remove_member(BOB).map_err(library)?;
        let removal = removal.remove_member(BLANK).map_err(library)?.build().map_err(library)?;
        self.settle(Who::Alice, &removal.commit_message.to_bytes().map_err(library)?)?;
        for who in [Who::Carol, Who::Erin, Who::Mallory] {
            let commit = self.who(who).group()?.commit(Vec::new()).map_err(library)?;
            self.settle(who, &commit.commit_message.to_bytes().map_err(library)?)?;
        }
        Ok(())
    }

    /// Mallory adds bob: the Welcome and bob's key package. All members have taken the commit.
    pub(crate) fn invite(&mut self) -> Result<(Vec<u8>, KeyPackage)> {
        let key_package = self.bob.key_package()?;
        let bob = key_package_in(&key_package)?;
        let commit = self.mallory.group()?.commit_builder().add_member(key_package).map_err(library)?;
        let commit = commit.build().map_err(library)?;
        self.settle(Who::Mallory, &commit.commit_message.to_bytes().map_err(library)?)?;
        Ok((commit.welcome_messages[0].to_bytes().map_err(library)?, bob))
    }

    fn who(&mut self, who: Who) -> &mut Member {
        match who {
            Who::Alice => &mut self.alice,
            Who::Mallory => &mut self.mallory,
            Who::Carol => &mut self.carol,
            Who::Erin => &mut self.erin,
        }
    }

    /// The one who made a commit applies it, and the others take it.
    fn settle(&mut self, by: Who, commit: &[u8]) -> Result<()> {
        for who in Who::ALL {
            if who == by {
                self.who(who).group()?.apply_pending_commit().map_err(library)?;
            } else {
                self.who(who).take(commit)?;
            }
        }
        Ok(())
    }

    /// What holds now, by what alice says.
    fn standing(&mut self) -> Result<Delivered> {
        let group = self.alice.group()?;
        let members = group.roster().members().into_iter().map(|member| e2esm_adapter::Member {
            leaf_index: member.index,
            identity: member
                .signing_identity
                .credential
                .as_basic()
                .map(|basic| basic.identifier())
                .unwrap_or_default()
                .into(),
            signature_key: member.signing_identity.signature_key.as_bytes().into(),
        });
        Ok(Delivered {
            group_id: Some(group.group_id().into()),
            epoch: Some(group.current_epoch()),
            epoch_authenticator: Some(group.epoch_authenticator().map_err(library)?.as_bytes().into()),
            roster: Some(members.collect()),
            ..Delivered::default()
        })
    }

    fn push(&mut self, name: &str, comment: &str, bytes: Vec<u8>, outcome: Outcome) {
        self.steps.push(Step { name: name.to_owned(), comment: comment.to_owned(), bytes, outcome });
    }

    /// A packet with which bob enters the epoch that the others are in.
    pub(crate) fn accept(&mut self, name: &str, comment: &str, bytes: Vec<u8>) -> Result<()> {
        let facts = self.standing()?;
        self.push(name, comment, bytes, Outcome::Accepted(facts));
        Ok(())
    }

    /// A proposal that bob keeps.
    fn accept_proposal(&mut self, name: &str, comment: &str, bytes: Vec<u8>) -> Result<()> {
        let facts = self.unchanged()?;
        self.push(name, comment, bytes, Outcome::Accepted(facts));
        Ok(())
    }

    /// What holds after a proposal: the epoch is what it was.
    fn unchanged(&mut self) -> Result<Delivered> {
        Ok(Delivered { epoch_authenticator: None, roster: None, ..self.standing()? })
    }

    /// A packet that bob refuses. Its twin is the delivery of its name with `-honest` behind it.
    pub(crate) fn reject(&mut self, wrong: Wrong, bytes: Vec<u8>) {
        let twin = format!("{}-honest", wrong.name);
        self.push(wrong.name, wrong.comment, bytes, Outcome::Rejected { wrong, twin });
    }

    /// The Commit of a proposal that was left open.
    pub(crate) fn reject_committed(&mut self, wrong: Wrong, bytes: Vec<u8>) {
        let name = format!("{}-committed", wrong.name);
        let twin = format!("{name}-honest");
        self.push(&name, wrong.comment, bytes, Outcome::Rejected { wrong, twin });
    }

    /// A proposal that bob may refuse, or keep until it is committed.
    pub(crate) fn open_proposal(&mut self, wrong: Wrong, bytes: Vec<u8>) -> Result<()> {
        let facts = self.unchanged()?;
        self.push(wrong.name, wrong.comment, bytes, Outcome::Open { wrong, facts });
        Ok(())
    }

    /// An implementation is known to take the faulty packet of this name. What comes after that it cannot take.
    pub(crate) fn known(&mut self, implementation: &'static str, wrong: &Wrong, note: &'static str) {
        self.known = Some(Known { implementation, delivery: wrong.name.to_owned(), note });
    }

    /// An application message by alice, which bob reads.
    pub(crate) fn message(&mut self) -> Result<()> {
        self.messages += 1;
        let text = format!("message {}", self.messages);
        self.message_by(Who::Alice, &format!("message-{}", self.messages), "A message by alice in this state.", &text)
    }

    /// An application message, which bob reads.
    pub(crate) fn message_by(&mut self, who: Who, name: &str, comment: &str, text: &str) -> Result<()> {
        let group = self.who(who).group()?;
        let message = group.encrypt_application_message(text.as_bytes(), Vec::new()).map_err(library)?;
        let facts = Delivered {
            plaintext: Some(text.as_bytes().into()),
            sender_leaf: Some(group.current_member_index()),
            group_id: Some(group.group_id().into()),
            ..Delivered::default()
        };
        self.push(name, comment, message.to_bytes().map_err(library)?, Outcome::Accepted(facts));
        Ok(())
    }

    /// Carol commits nothing but a path, and everybody takes it.
    fn carol_commits(&mut self, name: &str) -> Result<()> {
        let commit = self.carol.group()?.commit(Vec::new()).map_err(library)?;
        let commit = commit.commit_message.to_bytes().map_err(library)?;
        self.settle(Who::Carol, &commit)?;
        self.accept(name, "Carol's Commit with a path: the parents above bob are set, and he has their keys.", commit)
    }

    /// What mallory knows of the present epoch.
    pub(crate) fn epoch(&mut self) -> Result<Epoch> {
        let group = self.mallory.group()?.clone();
        let mut epoch = Epoch::of(&self.mallory, &group)?;
        epoch.psks.insert(PSK.0.to_vec(), PSK.1.to_vec());
        Ok(epoch)
    }

    /// A signature key that is nobody's.
    pub(crate) fn stranger(&self) -> Result<(SignatureSecretKey, SignaturePublicKey)> {
        self.mallory.suite().signature_key_generate().map_err(crypto)
    }

    /// Everybody has the pre-shared key, bob too.
    pub(crate) fn share_psk(&mut self) {
        self.with_psk = true;
    }

    /// Mallory builds a commit with the library. It is not applied.
    pub(crate) fn build(&mut self, what: impl FnOnce(Builder<'_>) -> Result<Builder<'_>>) -> Result<Vec<u8>> {
        let commit = what(self.mallory.group()?.commit_builder())?.build().map_err(library)?;
        commit.commit_message.to_bytes().map_err(library)
    }

    /// Mallory builds a commit with the library, on a copy of her group.
    pub(crate) fn build_detached(&mut self) -> Result<Vec<u8>> {
        self.bent(as_it_is, |_| {})
    }

    /// Mallory builds a commit with the library on a copy of her group while her cryptography is bent.
    pub(crate) fn bent(
        &mut self,
        what: impl FnOnce(Builder<'_>) -> Result<Builder<'_>>,
        bend: impl FnMut(Call<'_>) + Send + 'static,
    ) -> Result<Vec<u8>> {
        let mut group = self.mallory.group()?.clone();
        let pulled = self.mallory.lever.pull(bend);
        let commit = what(group.commit_builder())?.build().map_err(library)?;
        drop(pulled);
        commit.commit_message.to_bytes().map_err(library)
    }

    /// The honest commit that mallory has built: bob and everybody else take it, and a message of alice's is read.
    pub(crate) fn honest(&mut self, wrong: &Wrong, commit: Vec<u8>) -> Result<()> {
        self.settle(Who::Mallory, &commit)?;
        self.accept(&format!("{}-honest", wrong.name), "The same without the fault.", commit)?;
        self.message()
    }

    /// A faulty commit, made while mallory's cryptography is bent, and the honest twin.
    pub(crate) fn bent_commit(
        &mut self,
        wrong: Wrong,
        what: impl Fn(Builder<'_>) -> Result<Builder<'_>>,
        bend: impl FnMut(Call<'_>) + Send + 'static,
    ) -> Result<()> {
        let faulty = self.bent(&what, bend).with_context(|| wrong.name)?;
        self.reject(wrong, faulty);
        let honest = self.build(what)?;
        self.honest(&wrong, honest)
    }

    /// An honest commit, and before it what `change` makes of it, to be signed and tagged by mallory.
    pub(crate) fn remade_commit(
        &mut self,
        wrong: Wrong,
        what: impl FnOnce(Builder<'_>) -> Result<Builder<'_>>,
        change: impl FnOnce(&mut Making<'_>) -> Result<()>,
    ) -> Result<()> {
        let epoch = self.epoch()?;
        self.remade_commit_in(&epoch, wrong, what, change)
    }

    /// The same with what mallory knows beyond the epoch itself.
    pub(crate) fn remade_commit_in(
        &mut self,
        epoch: &Epoch,
        wrong: Wrong,
        what: impl FnOnce(Builder<'_>) -> Result<Builder<'_>>,
        change: impl FnOnce(&mut Making<'_>) -> Result<()>,
    ) -> Result<()> {
        let honest = self.build(what).with_context(|| wrong.name)?;
        let mut making = Making::of(epoch, &self.mallory, &honest).with_context(|| wrong.name)?;
        change(&mut making).with_context(|| wrong.name)?;
        let faulty = making.finish()?;
        ensure!(faulty != honest, "{}: nothing is wrong with it", wrong.name);
        self.reject(wrong, faulty);
        self.honest(&wrong, honest)
    }

    /// An honest commit, and before it what `change` makes of it when it is done.
    pub(crate) fn altered_commit(
        &mut self,
        wrong: Wrong,
        change: impl FnOnce(&Epoch, &mut PublicMessage) -> Result<()>,
    ) -> Result<()> {
        let epoch = self.epoch()?;
        let honest = self.build(as_it_is)?;
        let mut faulty: PublicMessage = content(PUBLIC_MESSAGE, &honest)?;
        change(&epoch, &mut faulty).with_context(|| wrong.name)?;
        self.reject(wrong, message(PUBLIC_MESSAGE, &faulty));
        self.honest(&wrong, honest)
    }

    /// An honest proposal of mallory's (the group's extensions stay what they are), before it what `change` makes of it, and
    /// the commit of the honest one.
    pub(crate) fn remade_proposal(
        &mut self,
        wrong: Wrong,
        change: impl FnOnce(&Epoch, PublicMessage) -> Result<Vec<u8>>,
    ) -> Result<()> {
        let epoch = self.epoch()?;
        let extensions = self.mallory.group()?.context().extensions.clone();
        let honest = self.mallory.group()?.propose_group_context_extensions(extensions, Vec::new()).map_err(library)?;
        let packet = honest.to_bytes().map_err(library)?;
        let faulty = change(&epoch, content(PUBLIC_MESSAGE, &packet)?).with_context(|| wrong.name)?;
        ensure!(faulty != packet, "{}: nothing is wrong with it", wrong.name);
        self.reject(wrong, faulty);
        let twin = format!("{}-honest", wrong.name);
        self.proposal(Who::Mallory, &twin, "The same without the fault.", &honest)?;
        self.commit_proposals(&format!("{}-committed", wrong.name), "Mallory's Commit of the honest proposal.")
    }

    /// A message of mallory's, made faulty by `change`, and then an honest one.
    pub(crate) fn remade_message(
        &mut self,
        wrong: Wrong,
        change: impl FnOnce(&Epoch, PrivateMessage) -> Result<PrivateMessage>,
    ) -> Result<()> {
        let epoch = self.epoch()?;
        let text = format!("about {}", wrong.name);
        let group = self.mallory.group()?;
        let packet = group.encrypt_application_message(text.as_bytes(), b"beside".to_vec()).map_err(library)?;
        let packet = content(PRIVATE_MESSAGE, &packet.to_bytes().map_err(library)?)?;
        let faulty = change(&epoch, packet).with_context(|| wrong.name)?;
        self.reject(wrong, message(PRIVATE_MESSAGE, &faulty));
        self.message_by(
            Who::Mallory,
            &format!("{}-honest", wrong.name),
            "Mallory's next message, without the fault.",
            &text,
        )
    }

    /// A message of mallory's, made faulty while her cryptography is bent, and then an honest one.
    pub(crate) fn bent_message(&mut self, wrong: Wrong, bend: impl FnMut(Call<'_>) + Send + 'static) -> Result<()> {
        let pulled = self.mallory.lever.pull(bend);
        let text = format!("about {}", wrong.name);
        let message = self.mallory.group()?.encrypt_application_message(text.as_bytes(), Vec::new());
        drop(pulled);
        let faulty = message.and_then(|message| message.to_bytes()).map_err(library)?;
        self.reject(wrong, faulty);
        self.message_by(
            Who::Mallory,
            &format!("{}-honest", wrong.name),
            "Mallory's next message, without the fault.",
            &text,
        )
    }

    /// A message of mallory's, which bob reads: the generation of its key.
    pub(crate) fn spent_generation(&mut self, name: &str, comment: &str) -> Result<u32> {
        self.message_by(Who::Mallory, name, comment, "said once")?;
        let packet = self.steps.last().map(|step| step.bytes.clone()).unwrap_or_default();
        Ok(self.epoch()?.open(&content(PRIVATE_MESSAGE, &packet)?)?.0.generation)
    }

    /// Mallory commits nothing but a path, honestly.
    pub(crate) fn commit_empty(&mut self, name: &str) -> Result<()> {
        self.commit_proposals(name, "Mallory's Commit with a path and without proposals.")
    }

    /// Alice adds somebody who takes no part, before bob is a member.
    pub(crate) fn add_before_bob(&mut self, name: &str) -> Result<Vec<u8>> {
        let newcomer = Member::new(name, self.cipher_suite, false)?.key_package()?;
        let commit = self.alice.group()?.commit_builder().add_member(newcomer).map_err(library)?;
        let commit = commit.build().map_err(library)?.commit_message.to_bytes().map_err(library)?;
        self.settle(Who::Alice, &commit)?;
        Ok(commit)
    }

    /// Alice adds somebody who takes no part. Where they sit.
    pub(crate) fn add_extra(&mut self, name: &str) -> Result<u32> {
        let commit = self.add_before_bob(name)?;
        self.accept(&format!("add-{name}"), "Alice adds somebody.", commit)?;
        let members = self.alice.group()?.roster().members();
        let found = members.iter().find(|member| {
            member.signing_identity.credential.as_basic().is_some_and(|basic| basic.identifier() == name.as_bytes())
        });
        Ok(found.context("nobody was added")?.index)
    }

    /// The suite that is played in.
    pub(crate) fn cipher_suite(&self) -> u16 {
        self.cipher_suite
    }

    /// A proposal by somebody other than bob, which everybody takes.
    pub(crate) fn proposal(&mut self, by: Who, name: &str, comment: &str, packet: &MlsMessage) -> Result<Vec<u8>> {
        let packet = packet.to_bytes().map_err(library)?;
        for who in Who::ALL.into_iter().filter(|who| *who != by) {
            self.who(who).take(&packet)?;
        }
        self.accept_proposal(name, comment, packet.clone())?;
        Ok(packet)
    }

    /// A proposal by somebody who is no member, which everybody takes.
    pub(crate) fn proposal_from_outside(&mut self, name: &str, comment: &str, packet: &MlsMessage) -> Result<()> {
        let packet = packet.to_bytes().map_err(library)?;
        for who in Who::ALL {
            self.who(who).take(&packet)?;
        }
        self.accept_proposal(name, comment, packet)
    }

    /// Somebody has joined by this external commit; `carol` if she has, once more.
    pub(crate) fn joined(&mut self, wrong: &Wrong, commit: Vec<u8>, carol: bool) -> Result<()> {
        for who in Who::ALL.into_iter().filter(|who| !(carol && *who == Who::Carol)) {
            self.who(who).take(&commit)?;
        }
        self.accept(&format!("{}-honest", wrong.name), "The same without the fault.", commit)?;
        self.message()
    }

    /// Mallory commits what has been proposed, honestly.
    pub(crate) fn commit_proposals(&mut self, name: &str, comment: &str) -> Result<()> {
        let commit = self.build(as_it_is)?;
        self.settle(Who::Mallory, &commit)?;
        self.accept(name, comment, commit)?;
        self.message()
    }

    /// A Welcome into a new group, and before it what `change` makes of it. `change` signs and confirms what it wants
    /// signed and confirmed.
    pub(crate) fn remade_welcome(
        &mut self,
        wrong: Wrong,
        extensions: ExtensionList,
        change: impl FnOnce(&mut Self, &mut Invitation) -> Result<crate::wire::Welcome>,
    ) -> Result<()> {
        self.gather(extensions)?;
        self.remade_invitation(wrong, change)
    }

    /// The same into the group as it is now.
    pub(crate) fn remade_invitation(
        &mut self,
        wrong: Wrong,
        change: impl FnOnce(&mut Self, &mut Invitation) -> Result<crate::wire::Welcome>,
    ) -> Result<()> {
        let (honest, bob) = self.invite()?;
        let mut invitation = Invitation::open(&self.mallory, &honest, &bob).with_context(|| wrong.name)?;
        let welcome = change(self, &mut invitation).with_context(|| wrong.name)?;
        self.reject(wrong, message(WELCOME, &welcome));
        self.accept(&format!("{}-honest", wrong.name), "The same without the fault.", honest)?;
        self.message()
    }

    /// The vector, to be recorded.
    pub(crate) fn draft(self) -> Result<Draft> {
        let mut start = self.bob.start()?;
        if self.with_psk {
            start.external_psks.push(ExternalPsk { psk_id: PSK.0.into(), psk: PSK.1.as_slice().into() });
        }
        let Head { id, title, description, requirements } = self.head;
        let suffix = match self.cipher_suite {
            1 => "",
            2 => "-p256",
            3 => "-chacha20poly1305",
            _ => anyhow::bail!("no name for this suite"),
        };
        let id = format!("mls/{id}{suffix}");
        let mut draft = Draft::new(&id, title, description, requirements, &self.date, Start::Mls(start));
        for Step { name, comment, bytes, outcome } in self.steps {
            let bytes = bytes.into();
            let delivery = Delivery { kind: DeliveryKind::MlsMessage, from: None, bytes, ratchet_tree: None };
            match outcome {
                Outcome::Accepted(facts) => draft.accept(&name, &comment, delivery, facts),
                Outcome::Rejected { wrong, twin } => {
                    draft.reject(&name, &comment, delivery, &["Insider"], wrong.fault(), &twin, wrong.reasons)
                }
                Outcome::Open { wrong, facts } => {
                    let twin = format!("{name}-honest");
                    draft.harmless(&name, &comment, delivery, &["Insider"], wrong.fault(), &twin, facts)
                }
            };
        }
        if let Some(Known { implementation, delivery, note }) = self.known {
            let names: Vec<_> = draft.steps().iter().map(|step| step.name.clone()).collect();
            draft.disagreement(implementation, &delivery, ObservedOutcome::Accepted, note);
            for later in names.iter().skip_while(|name| **name != delivery).skip(1) {
                let note = format!("Follows from having taken `{delivery}`: it is in another group since then.");
                draft.disagreement(implementation, later, ObservedOutcome::Rejected, &note);
            }
        }
        Ok(draft)
    }
}

/// A commit of what has been proposed, and of nothing else.
pub(crate) fn as_it_is(builder: Builder<'_>) -> Result<Builder<'_>> {
    Ok(builder)
}

/// The members that act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// Honest.
    Alice,
    /// The insider.
    Mallory,
    /// Honest, unless mallory has her keys.
    Carol,
    /// Honest.
    Erin,
}

impl Who {
    const ALL: [Self; 4] = [Self::Alice, Self::Mallory, Self::Carol, Self::Erin];
}

#[cfg(test)]
mod tests;
