//! What mls-rs asks its application, where, and what comes of each answer.

#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use e2esm_adapter::{
    Adapter, Answer, Bytes, Call, Change, Decision, DeviceId, Dispatcher, ErrorClass, Event, Fact, FactKind, Frame,
    Output, Packet, PacketKind, Reply, ReplyFrame, Request, Stance,
};
use e2esm_testing::Net;

fn set(net: &mut Net, device: &DeviceId, stance: Stance) {
    net.device(device).unwrap().notebook().set_stance(stance);
}

fn decide(net: &mut Net, device: &DeviceId, fact: Fact, answer: bool) {
    net.device(device).unwrap().notebook().decide(Decision { fact, answer });
}

fn identity_of(net: &mut Net, device: &DeviceId) -> Fact {
    let identity = net.device(device).unwrap().identity().unwrap();
    Fact::Identity { device: device.clone(), identity, previous: None }
}

fn add(device: &DeviceId, by: &DeviceId) -> Fact {
    Fact::Add { group: team(), device: device.clone(), by: by.clone(), authenticated: true }
}

fn remove(device: &DeviceId, by: &DeviceId) -> Fact {
    Fact::Remove { group: team(), device: device.clone(), by: by.clone(), authenticated: true }
}

fn points(events: &[Event]) -> Vec<&str> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Consulted { point, .. } => Some(point.as_str()),
            _ => None,
        })
        .collect()
}

#[test]
fn author_and_receivers_are_asked_who_may_be_added_and_whose_the_credential_is() {
    each(|adapter| {
        let mut net = with_outsider(adapter, group_of(adapter, &["alice", "bob"]), "carol");
        let expected = [add(&id("carol"), &id("alice")), identity_of(&mut net, &id("carol"))];
        well(net.change(&id("alice"), &team(), &[id("carol")], &[], false).unwrap());
        for name in ["alice", "bob"] {
            let events = events(&mut net, &id(name));
            assert_eq!(facts(&events), expected, "{name}");
            assert_eq!(points(&events), ["MlsRules::filter_proposals", "IdentityProvider::validate_member"]);
        }
    });
}

#[test]
fn a_newcomer_is_asked_about_everybody_but_itself() {
    each(|adapter| {
        let mut net = with_outsider(adapter, group_of(adapter, &["alice", "bob"]), "carol");
        let mut expected = vec![identity_of(&mut net, &id("alice")), identity_of(&mut net, &id("bob"))];
        well(net.change(&id("alice"), &team(), &[id("carol")], &[], false).unwrap());
        // The library validates leaves in parallel: in any order.
        let mut asked = facts(&events(&mut net, &id("carol")));
        let by_name = |fact: &Fact| fact.about().cloned();
        asked.sort_by_key(by_name);
        expected.sort_by_key(by_name);
        assert_eq!(asked, expected);
    });
}

#[test]
fn a_removal_and_its_author_are_asked_about() {
    each(|adapter| {
        let mut net = group_of(adapter, &["alice", "bob", "carol"]);
        well(net.change(&id("bob"), &team(), &[], &[id("carol")], false).unwrap());
        let shown = facts(&events(&mut net, &id("alice")));
        // The removal forces a path, and with it comes bob's new leaf.
        assert_eq!(shown, [remove(&id("carol"), &id("bob")), identity_of(&mut net, &id("bob"))]);
    });
}

#[test]
fn an_external_join_is_its_own_act() {
    each(|adapter| {
        let mut net = with_outsider(adapter, group_of(adapter, &["alice", "bob"]), "carol");
        let info = net.device(&id("alice")).unwrap().group_info(&team()).unwrap();
        let join = only(net.device(&id("carol")).unwrap().external_join(info.as_ref()).unwrap());
        let own = facts(&events(&mut net, &id("carol")));
        assert!(own.contains(&add(&id("carol"), &id("carol"))));
        assert_eq!(own.len(), 3, "alice, bob, and whether to join at all");
        receive(&mut net, &id("bob"), &join).unwrap();
        let expected = [add(&id("carol"), &id("carol")), identity_of(&mut net, &id("carol"))];
        assert_eq!(facts(&events(&mut net, &id("bob"))), expected);
    });
}

#[test]
fn who_takes_its_place_again_asks_to_be_removed_and_added() {
    each(|adapter| {
        let mut net = group_of(adapter, &["alice", "bob", "carol"]);
        let info = net.device(&id("alice")).unwrap().group_info(&team()).unwrap();
        let join = only(net.device(&id("bob")).unwrap().external_join(info.as_ref()).unwrap());
        receive(&mut net, &id("carol"), &join).unwrap();
        let expected = [add(&id("bob"), &id("bob")), remove(&id("bob"), &id("bob")), identity_of(&mut net, &id("bob"))];
        assert_eq!(facts(&events(&mut net, &id("carol"))), expected);
    });
}

#[test]
fn who_takes_the_place_of_another_account_is_asked_about_with_the_previous_one() {
    each(|adapter| {
        let mut net = group_of(adapter, &["alice", "bob", "carol"]);
        let previous = net.device(&id("bob")).unwrap().identity().unwrap().account_key;
        let info = net.device(&id("alice")).unwrap().group_info(&team()).unwrap();
        let mut impostor = adapter.device(&id("bob")).unwrap();
        let identity = impostor.identity().unwrap();
        let join = only(impostor.external_join(info.as_ref()).unwrap());

        let question = Fact::Identity { device: id("bob"), identity, previous: Some(previous) };
        decide(&mut net, &id("carol"), question.clone(), false);
        let refused = refusal(receive(&mut net, &id("carol"), &join));
        assert_eq!(
            (refused.0, refused.1.as_str()),
            (ErrorClass::UntrustedIdentity, "External commit contains removal of other identity")
        );
        receive(&mut net, &id("alice"), &join).unwrap();
        let seen = events(&mut net, &id("alice"));
        assert!(facts(&seen).contains(&question));
        assert!(points(&seen).contains(&"IdentityProvider::valid_successor"));
        assert_eq!(noticed(seen).last(), Some(&Event::KeyChanged { device: id("bob") }));
        // Carol, who refused, is where the real bob is.
        let message = message_by(&mut net, &id("bob"), "still me");
        assert!(receive(&mut net, &id("carol"), &message).unwrap().message.is_some());
    });
}

#[test]
fn nobody_is_asked_when_a_message_comes() {
    each(|adapter| {
        let mut net = group_of(adapter, &["alice", "bob"]);
        everybody_reads_everybody(&mut net, &["alice", "bob"]);
        assert!(events(&mut net, &id("alice")).is_empty());
    });
}

#[test]
fn a_no_refuses_the_change_in_the_facts_own_class_and_a_later_yes_takes_it() {
    each(|adapter| {
        let mut net = with_outsider(adapter, group_of(adapter, &["alice", "bob"]), "carol");
        let identity = identity_of(&mut net, &id("carol"));
        let bundle = net.claim(&id("carol"), &id("alice")).unwrap();
        let change = Change { add: vec![bundle], ..Change::default() };
        for (fact, class) in
            [(identity.clone(), ErrorClass::UntrustedIdentity), (add(&id("carol"), &id("alice")), ErrorClass::Refused)]
        {
            decide(&mut net, &id("alice"), fact.clone(), false);
            assert_eq!(refusal(net.device(&id("alice")).unwrap().change(&team(), &change)).0, class);
            decide(&mut net, &id("alice"), fact, true);
        }
        let output = change_by(&mut net, &id("alice"), change);
        let packet = packets(&output, PacketKind::Change).remove(0);
        decide(&mut net, &id("bob"), identity.clone(), false);
        assert_eq!(refusal(receive(&mut net, &id("bob"), &packet)).0, ErrorClass::UntrustedIdentity);
        decide(&mut net, &id("bob"), identity, true);
        decide(&mut net, &id("bob"), add(&id("carol"), &id("alice")), false);
        assert_eq!(refusal(receive(&mut net, &id("bob"), &packet)).0, ErrorClass::Refused);
        everybody_reads_everybody(&mut net, &["alice", "bob"]);
        decide(&mut net, &id("bob"), add(&id("carol"), &id("alice")), true);
        net.deliver(output).into_iter().for_each(|(_, _, result)| {
            result.unwrap();
        });
        everybody_agrees(&mut net, &["alice", "bob", "carol"]);
    });
}

#[test]
fn a_committer_leaves_out_a_proposal_that_it_may_not_commit() {
    each(|adapter| {
        for fact in [FactKind::Add, FactKind::Identity] {
            let mut net = with_outsider(adapter, group_of(adapter, &["alice", "bob"]), "mallory");
            let proposal = own_proposal(&mut net, &id("mallory"), &["alice", "bob"], 1);
            for name in ["alice", "bob"] {
                receive(&mut net, &id(name), &proposal).unwrap();
            }
            let question = match fact {
                FactKind::Add => add(&id("mallory"), &id("mallory")),
                _ => identity_of(&mut net, &id("mallory")),
            };
            decide(&mut net, &id("alice"), question, false);
            let output = change_by(&mut net, &id("alice"), Change::default());
            assert_eq!(asked(&events(&mut net, &id("alice"))).last(), Some(&(fact, Some(id("mallory")), false)));
            assert!(packets(&output, PacketKind::Welcome).is_empty());
            well(net.deliver(output));
            everybody_agrees(&mut net, &["alice", "bob"]);
            everybody_reads_everybody(&mut net, &["alice", "bob"]);
        }
    });
}

#[test]
fn a_receiver_refuses_a_commit_with_a_proposal_that_may_not_be() {
    each(|adapter| {
        let mut net = with_outsider(adapter, group_of(adapter, &["alice", "bob"]), "mallory");
        let proposal = own_proposal(&mut net, &id("mallory"), &["alice", "bob"], 1);
        for name in ["alice", "bob"] {
            receive(&mut net, &id(name), &proposal).unwrap();
        }
        let output = change_by(&mut net, &id("alice"), Change::default());
        let packet = packets(&output, PacketKind::Change).remove(0);
        set(&mut net, &id("bob"), Stance::No);
        assert_eq!(refusal(receive(&mut net, &id("bob"), &packet)).0, ErrorClass::Refused);
        set(&mut net, &id("bob"), Stance::Yes);
        receive(&mut net, &id("bob"), &packet).unwrap();
    });
}

/// Devices behind the dispatcher, as a worker process has them.
struct Desk<'a> {
    dispatcher: Dispatcher<'a>,
    frames: u64,
}

impl<'a> Desk<'a> {
    fn new(adapter: &'a dyn Adapter, names: &[&str]) -> Self {
        let mut desk = Self { dispatcher: Dispatcher::new(adapter), frames: 0 };
        for name in names {
            desk.request(Request::Device { handle: (*name).into(), id: id(name) });
        }
        desk
    }

    fn request(&mut self, request: Request) -> ReplyFrame {
        self.frames += 1;
        self.dispatcher.handle(Frame { id: self.frames, request })
    }

    fn call(&mut self, handle: &str, call: Call) -> ReplyFrame {
        self.request(Request::Call { handle: handle.into(), call })
    }

    fn output(&mut self, handle: &str, call: Call) -> Output {
        output(self.call(handle, call))
    }

    fn ask(&mut self, handle: &str) {
        self.request(Request::Stance { handle: handle.into(), stance: Stance::Ask });
    }

    /// Answers every question with yes; the questions, and what came in the end.
    fn affirm(&mut self, handle: &str, mut reply: ReplyFrame) -> (Vec<Fact>, ReplyFrame) {
        let mut questions = Vec::new();
        while let Reply::Undecided { token, fact } = reply.reply {
            questions.push(*fact);
            reply = self.request(Request::Resume { handle: handle.into(), token, answer: true });
        }
        (questions, reply)
    }

    /// Alice's group with bob in it.
    fn team(adapter: &'a dyn Adapter, names: &[&str]) -> Self {
        let mut desk = Self::new(adapter, names);
        desk.output("alice", Call::CreateGroup { group: team() });
        let bob = desk.bundle("bob");
        let output = desk.output("alice", add_call(bob));
        desk.deliver("alice", &output, PacketKind::Change);
        desk.deliver("bob", &output, PacketKind::Welcome);
        desk
    }

    fn bundle(&mut self, handle: &str) -> e2esm_adapter::Bundle {
        match self.call(handle, Call::Publish { peer: id("alice") }).reply {
            Reply::Ok(answer) => match *answer {
                Answer::Bundle(bundle) => bundle,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    fn deliver(&mut self, handle: &str, output: &Output, kind: PacketKind) -> ReplyFrame {
        let packet = packets(output, kind).remove(0);
        self.call(handle, Call::Receive { packet })
    }

    fn reads(&mut self, handle: &str, packet: &Packet) -> Vec<u8> {
        output(self.call(handle, Call::Receive { packet: packet.clone() })).message.unwrap().plaintext.0
    }

    fn message(&mut self, handle: &str, text: &str) -> Packet {
        only(self.output(handle, Call::Send { group: team(), plaintext: text.as_bytes().into() }))
    }
}

fn add_call(bundle: e2esm_adapter::Bundle) -> Call {
    Call::Change { group: team(), change: Change { add: vec![bundle], ..Change::default() } }
}

fn output(frame: ReplyFrame) -> Output {
    match frame.reply {
        Reply::Ok(answer) => match *answer {
            Answer::Output(output) => output,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn kinds(facts: &[Fact]) -> Vec<FactKind> {
    facts.iter().map(Fact::kind).collect()
}

#[test]
fn a_change_waits_for_answers_at_its_author_and_at_its_receivers() {
    each(|adapter| {
        let mut desk = Desk::team(adapter, &["alice", "bob", "carol"]);
        let message = desk.message("alice", "meanwhile");
        desk.ask("alice");
        desk.ask("bob");
        let carol = desk.bundle("carol");
        let waiting = desk.call("alice", add_call(carol));
        let (questions, made) = desk.affirm("alice", waiting);
        assert_eq!(kinds(&questions), [FactKind::Add, FactKind::Identity]);
        let change = output(made);

        let waiting = desk.deliver("bob", &change, PacketKind::Change);
        assert!(waiting.events.is_empty(), "nothing is noticed yet");
        // While the question is open the group is where it was.
        assert_eq!(desk.reads("bob", &message), b"meanwhile");
        let waiting = desk.deliver("bob", &change, PacketKind::Change);
        let (questions, done) = desk.affirm("bob", waiting);
        assert_eq!(kinds(&questions), [FactKind::Add, FactKind::Identity]);
        let added = Event::MemberAdded { group: team(), device: id("carol"), by: id("alice") };
        assert_eq!(noticed(done.events), [added]);

        desk.ask("carol");
        let waiting = desk.deliver("carol", &change, PacketKind::Welcome);
        let (questions, done) = desk.affirm("carol", waiting);
        assert_eq!(kinds(&questions), [FactKind::Identity, FactKind::Identity]);
        assert_eq!(noticed(done.events), [Event::Joined { group: team() }]);
        let own = desk.deliver("alice", &change, PacketKind::Change);
        assert!(matches!(own.reply, Reply::Ok(_)), "an own change is not asked about again");
        let hello = desk.message("carol", "hello");
        assert_eq!(desk.reads("bob", &hello), b"hello");
    });
}

#[test]
fn a_waiting_change_that_is_refused_leaves_the_group_as_it_was() {
    each(|adapter| {
        let mut desk = Desk::team(adapter, &["alice", "bob", "carol"]);
        desk.ask("bob");
        let carol = desk.bundle("carol");
        let change = desk.output("alice", add_call(carol));
        let Reply::Undecided { token, .. } = desk.deliver("bob", &change, PacketKind::Change).reply else { panic!() };
        let refused = desk.request(Request::Resume { handle: "bob".into(), token, answer: false });
        let Reply::Error(error) = refused.reply else { panic!() };
        assert_eq!(error.class, ErrorClass::Refused);
        let message = desk.message("alice", "still here");
        assert_eq!(desk.reads("bob", &message), b"still here");
    });
}

#[test]
fn an_external_join_waits_for_answers_on_both_sides() {
    each(|adapter| {
        let mut desk = Desk::team(adapter, &["alice", "bob", "carol"]);
        desk.ask("carol");
        desk.ask("bob");
        let Reply::Ok(answer) = desk.call("alice", Call::GroupInfo { group: team() }).reply else { panic!() };
        let Answer::Bytes(group_info): Answer = *answer else { panic!() };
        let waiting = desk.call("carol", Call::ExternalJoin { group_info });
        let (questions, joined) = desk.affirm("carol", waiting);
        assert_eq!(kinds(&questions), [FactKind::Identity, FactKind::Identity, FactKind::Add]);
        let joined = output(joined);
        let waiting = desk.deliver("bob", &joined, PacketKind::Change);
        let (questions, done) = desk.affirm("bob", waiting);
        assert_eq!(kinds(&questions), [FactKind::Add, FactKind::Identity]);
        output(done);
        let hello = desk.message("carol", "hello");
        assert_eq!(desk.reads("bob", &hello), b"hello");
    });
}

#[test]
fn a_committer_waits_for_the_answer_about_a_proposal_that_the_library_would_leave_out() {
    each(|adapter| {
        let mut desk = Desk::team(adapter, &["alice", "bob", "mallory"]);
        let bundle = desk.bundle("mallory");
        let forgery = e2esm_adapter::Forgery::Change {
            group: known(&["alice", "bob"], 1),
            claim: id("alice"),
            add: vec![bundle],
            remove: vec![],
        };
        let Reply::Ok(answer) = desk.call("mallory", Call::Craft { forgery }).reply else { panic!() };
        let Answer::Forged(e2esm_adapter::Forged::Packets(crafted)) = *answer else { panic!() };
        let packet = crafted.into_iter().find(|packet| packet.kind == PacketKind::Proposal).unwrap();
        desk.output("alice", Call::Receive { packet });
        desk.ask("alice");
        let waiting = desk.call("alice", Call::Change { group: team(), change: Change::default() });
        let (questions, made) = desk.affirm("alice", waiting);
        assert_eq!(kinds(&questions), [FactKind::Add, FactKind::Identity]);
        assert_eq!(packets(&output(made), PacketKind::Welcome).len(), 1);
    });
}

#[test]
fn a_junk_group_information_is_a_bad_request_in_every_stance() {
    each(|adapter| {
        for stance in [Stance::Yes, Stance::No, Stance::Ask] {
            let mut carol = adapter.device(&id("carol")).unwrap();
            carol.notebook().set_stance(stance);
            let junk = Bytes::from(b"junk".as_slice());
            assert_eq!(refusal(carol.external_join(junk.as_ref())).0, ErrorClass::BadRequest);
        }
    });
}

#[test]
fn a_muted_device_does_the_same_and_neither_asks_nor_notes_anything() {
    each(|adapter| {
        let devices = ids(&["alice", "bob", "carol", "dave"]);
        let mut net = Net::new(adapter, &devices).unwrap();
        for device in &devices[1..] {
            let notebook = net.device(device).unwrap().notebook().clone();
            notebook.set_stance(Stance::No);
            notebook.mute();
        }
        net.group(&team(), &id("bob"), &ids(&["alice", "carol"])).unwrap();
        well(net.change(&id("bob"), &team(), &[id("dave")], &[id("carol")], true).unwrap());
        everybody_agrees(&mut net, &["alice", "bob", "dave"]);
        everybody_reads_everybody(&mut net, &["alice", "bob", "dave"]);
        // Members are told apart by the same names.
        for author in ["alice", "bob"] {
            let bundle = net.claim(&id("dave"), &id(author)).unwrap();
            let change = Change { add: vec![bundle], ..Change::default() };
            let refused = net.device(&id(author)).unwrap().change(&team(), &change);
            assert_eq!(refusal(refused).0, ErrorClass::Duplicate);
        }
        assert!(!events(&mut net, &id("alice")).is_empty());
        for device in &devices[1..] {
            assert!(events(&mut net, device).is_empty());
        }
    });
}
