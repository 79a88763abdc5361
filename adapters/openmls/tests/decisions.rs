//! What the library leaves to its application is asked, and the answer is enforced.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Cast, assert_refused, cast, kinds, only, well, with_both};
use e2esm_adapter::{
    Adapter, Answer, Bundle, Call, Change, Decision, DeviceId, Dispatcher, ErrorClass, Event, Fact, FactKind, Frame,
    GroupId, Packet, PacketKind, Reply, Request, Stance,
};

const ADD: &str = "CommitBuilder::propose_adds";
const STAGED: &str = "ProcessedMessageContent::StagedCommitMessage";
const CREDENTIALS: &str = "StagedCommit::credentials_to_verify";
const JOIN: &str = "StagedWelcome::members";
const JOIN_EXTERNALLY: &str = "ExternalCommitBuilder::build_group";

fn points(asked: &[(String, Fact)]) -> Vec<&str> {
    asked.iter().map(|(point, _)| point.as_str()).collect()
}

fn about(asked: &[(String, Fact)]) -> Vec<&DeviceId> {
    asked.iter().filter_map(|(_, fact)| fact.about()).collect()
}

impl Cast {
    fn trusts(&mut self, by: &DeviceId, fact: Fact, answer: bool) {
        self.net.device(by).unwrap().notebook().decide(Decision { fact, answer });
    }

    /// The fact that these keys are this device's.
    fn identity(&mut self, of: &DeviceId) -> Fact {
        let identity = self.net.device(of).unwrap().identity().unwrap();
        Fact::Identity { device: of.clone(), identity, previous: None }
    }
}

#[test]
fn the_author_is_asked_for_the_keys_of_those_it_adds() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, dave) = (cast.alice.clone(), cast.dave.clone());
        let group = cast.group.clone();
        let identity = cast.identity(&dave);
        cast.trusts(&alice, identity.clone(), false);
        let bundle = cast.net.claim(&dave, &alice).unwrap();
        let change = Change { add: vec![bundle], ..Change::default() };
        for _ in 0..2 {
            assert_refused(
                cast.net.device(&alice).unwrap().change(&group, &change),
                ErrorClass::UntrustedIdentity,
                "said no",
            );
        }
        cast.drain();
        cast.trusts(&alice, identity.clone(), true);
        cast.net.device(&alice).unwrap().change(&group, &change).unwrap();
        assert_eq!(cast.asked(&alice), [(ADD.to_owned(), identity)]);
    });
}

#[test]
fn the_keys_in_a_bundle_are_asked_about_under_the_name_that_was_wanted() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, dave) = (cast.alice.clone(), cast.dave.clone());
        // The server hands out dave's bundle for erin's.
        let bundle = cast.net.claim(&dave, &alice).unwrap();
        let erin = common::phone("erin");
        let packets = cast.commit(&alice, &[Bundle { device: erin.clone(), ..bundle }], &[], false);
        let Fact::Identity { identity, .. } = cast.identity(&dave) else { unreachable!() };
        let fact = Fact::Identity { device: erin.clone(), identity, previous: None };
        assert_eq!(cast.asked(&alice), [(ADD.to_owned(), fact)]);
        assert_eq!(packets[1].to, e2esm_adapter::Address::Device(erin));
    });
}

#[test]
fn members_are_asked_before_they_take_a_change() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, bob, carol, dave) = (cast.alice.clone(), cast.bob.clone(), cast.carol.clone(), cast.dave.clone());
        let group = cast.group.clone();
        let bundle = cast.net.claim(&dave, &bob).unwrap();
        let packets = cast.commit(&bob, &[bundle], &[&carol], false);
        cast.drain();

        cast.receive(&alice, &packets[0]).unwrap();
        let asked = cast.asked(&alice);
        let (remove, add) = (
            Fact::Remove { group: group.clone(), device: carol.clone(), by: bob.clone(), authenticated: true },
            Fact::Add { group: group.clone(), device: dave.clone(), by: bob.clone(), authenticated: true },
        );
        let identity = cast.identity(&dave);
        assert_eq!(
            asked,
            [(STAGED.to_owned(), remove.clone()), (CREDENTIALS.to_owned(), identity), (STAGED.to_owned(), add.clone()),]
        );

        // Who is removed is asked too: it is the same commit.
        cast.trusts(&carol, add, false);
        for _ in 0..2 {
            assert_refused(cast.receive(&carol, &packets[0]), ErrorClass::Refused, "said no");
        }
        assert_eq!(cast.roster(&carol).len(), 3);
        assert!(!cast.events(&carol).iter().any(|event| matches!(event, Event::MemberRemoved { .. })));

        // The author is not asked about its own change.
        cast.drain();
        cast.receive(&bob, &packets[0]).unwrap();
        assert!(cast.asked(&bob).is_empty());
    });
}

#[test]
fn a_refresh_that_brings_nothing_but_new_keys_for_the_tree_is_not_asked_about() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, bob) = (cast.alice.clone(), cast.bob.clone());
        well(cast.change(&bob, &[], &[], true));
        assert!(cast.events(&alice).is_empty());
    });
}

#[test]
fn a_credential_that_changes_is_asked_about_with_the_old_account_key() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, bob, carol, dave) = (cast.alice.clone(), cast.bob.clone(), cast.carol.clone(), cast.dave.clone());
        let group = cast.group.clone();
        // Carol's device is taken into Dave's account, and shows it with its next refresh.
        let old = cast.net.device(&carol).unwrap().identity().unwrap().account_key;
        let request = cast.net.device(&carol).unwrap().link_request().unwrap();
        let word = cast.net.device(&dave).unwrap().authorise(&request).unwrap();
        cast.net.device(&carol).unwrap().accept_authorisation(&word).unwrap();
        let Fact::Identity { device, identity, .. } = cast.identity(&carol) else { unreachable!() };
        let fact = Fact::Identity { device, identity, previous: Some(old) };
        let packet = only(cast.commit(&carol, &[], &[], true));

        cast.trusts(&alice, fact.clone(), false);
        assert_refused(cast.receive(&alice, &packet), ErrorClass::UntrustedIdentity, "said no");
        cast.trusts(&alice, fact.clone(), true);
        cast.drain();
        for member in [&alice, &bob, &carol] {
            cast.receive(member, &packet).unwrap();
        }
        let events = cast.events(&alice);
        assert!(events.contains(&Event::KeyChanged { device: carol.clone() }), "{events:?}");
        assert_eq!(cast.asked(&bob), [(CREDENTIALS.to_owned(), fact)]);
        cast.is_well();
        // Once shown it is the credential that stands.
        well(cast.net.change(&carol, &group, &[], &[], true).unwrap());
        assert!(cast.asked(&bob).is_empty());
    });
}

#[test]
fn a_device_that_comes_back_with_another_account_is_asked_about_with_the_old_one() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, bob, carol) = (cast.alice.clone(), cast.bob.clone(), cast.carol.clone());
        let old = cast.net.device(&carol).unwrap().identity().unwrap().account_key;
        let mut again = adapter.device(&carol).unwrap();
        let bundle = again.publish(&alice).unwrap();
        let packets = cast.commit(&alice, &[bundle], &[&carol], false);
        let Fact::Identity { previous, .. } = &cast.asked(&alice)[0].1 else { unreachable!() };
        assert_eq!(*previous, Some(old.clone()));
        cast.receive(&bob, &packets[0]).unwrap();
        let events = cast.events(&bob);
        assert!(events.contains(&Event::KeyChanged { device: carol }));
        assert!(events.iter().any(|event| matches!(
            event,
            Event::Consulted { about: Fact::Identity { previous: Some(previous), .. }, .. } if *previous == old
        )));
    });
}

#[test]
fn whoever_joins_is_asked_about_everybody_who_is_there() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, bob, carol, dave) = (cast.alice.clone(), cast.bob.clone(), cast.carol.clone(), cast.dave.clone());
        let bundle = cast.net.claim(&dave, &alice).unwrap();
        let packets = cast.commit(&alice, &[bundle], &[], false);
        let identity = cast.identity(&carol);
        cast.trusts(&dave, identity.clone(), false);
        for _ in 0..2 {
            assert_refused(cast.receive(&dave, &packets[1]), ErrorClass::UntrustedIdentity, "said no");
            let group = cast.group.clone();
            assert_refused(cast.net.device(&dave).unwrap().roster(&group), ErrorClass::BadRequest, "no group");
        }
        cast.trusts(&dave, identity, true);
        cast.drain();
        cast.receive(&dave, &packets[1]).unwrap();
        let asked = cast.asked(&dave);
        assert_eq!(points(&asked), [JOIN; 3]);
        assert_eq!(kinds(&asked), [FactKind::Identity; 3]);
        assert_eq!(about(&asked), [&alice, &bob, &carol]);
    });
}

#[test]
fn whoever_lets_itself_in_is_asked_about_everybody_and_everybody_about_it() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, bob, carol, dave) = (cast.alice.clone(), cast.bob.clone(), cast.carol.clone(), cast.dave.clone());
        let group = cast.group.clone();
        let info = cast.net.device(&alice).unwrap().group_info(&group).unwrap();
        let identity = cast.identity(&carol);
        cast.trusts(&dave, identity.clone(), false);
        for _ in 0..2 {
            let refused = cast.net.device(&dave).unwrap().external_join(info.as_ref());
            assert_refused(refused, ErrorClass::UntrustedIdentity, "said no");
            assert_refused(cast.net.device(&dave).unwrap().roster(&group), ErrorClass::BadRequest, "no group");
        }
        cast.trusts(&dave, identity, true);
        cast.drain();
        let packet = only(cast.net.device(&dave).unwrap().external_join(info.as_ref()).unwrap().packets);
        let asked = cast.asked(&dave);
        assert_eq!(points(&asked), [JOIN_EXTERNALLY; 3]);
        assert_eq!(about(&asked), [&alice, &bob, &carol]);

        cast.stance(&bob, Stance::No);
        assert_refused(cast.receive(&bob, &packet), ErrorClass::UntrustedIdentity, "said no");
        let identity = cast.identity(&dave);
        cast.trusts(&bob, identity.clone(), true);
        assert_refused(cast.receive(&bob, &packet), ErrorClass::Refused, "said no");
        assert_eq!(cast.roster(&bob).len(), 3);
        cast.stance(&bob, Stance::Yes);
        cast.drain();
        cast.receive(&bob, &packet).unwrap();
        let add = Fact::Add { group, device: dave.clone(), by: dave, authenticated: true };
        assert_eq!(cast.asked(&bob), [(CREDENTIALS.to_owned(), identity), (STAGED.to_owned(), add)]);
    });
}

#[test]
fn a_muted_device_asks_nothing_and_does_all_the_same() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, bob, carol, dave) = (cast.alice.clone(), cast.bob.clone(), cast.carol.clone(), cast.dave.clone());
        let group = cast.group.clone();
        for device in [&alice, &bob, &carol, &dave] {
            // Whatever it would have answered.
            cast.stance(device, Stance::No);
            cast.net.device(device).unwrap().notebook().mute();
        }
        well(cast.change(&alice, &[&dave], &[&carol], true));
        cast.reads(&dave, &[&alice, &bob]);
        assert_eq!(cast.roster(&dave), [alice.clone(), bob.clone(), dave.clone()]);
        assert_refused(cast.net.device(&carol).unwrap().send(&group, b"hello?"), ErrorClass::NotMember, "removed");
        let info = cast.net.device(&bob).unwrap().group_info(&group).unwrap();
        let packet = only(cast.net.device(&carol).unwrap().external_join(info.as_ref()).unwrap().packets);
        for member in [&alice, &bob, &dave] {
            cast.receive(member, &packet).unwrap();
            assert_eq!(cast.roster(member).len(), 4);
        }
        for device in [&alice, &bob, &carol, &dave] {
            assert!(cast.events(device).is_empty(), "{device}");
        }
    });
}

#[test]
fn a_rejoin_is_asked_about_as_a_removal_too() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, bob, carol) = (cast.alice.clone(), cast.bob.clone(), cast.carol.clone());
        let group = cast.group.clone();
        let info = cast.net.device(&alice).unwrap().group_info(&group).unwrap();
        let packet = only(cast.net.device(&carol).unwrap().external_join(info.as_ref()).unwrap().packets);
        cast.receive(&bob, &packet).unwrap();
        let asked = cast.asked(&bob);
        assert_eq!(kinds(&asked), [FactKind::Remove, FactKind::Identity, FactKind::Add]);
        assert_eq!(about(&asked), [&carol; 3]);
    });
}

#[test]
fn a_refused_rejoin_leaves_the_old_membership_as_it_was() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, carol, group) = (cast.alice.clone(), cast.carol.clone(), cast.group.clone());
        let info = cast.net.device(&alice).unwrap().group_info(&group).unwrap();
        cast.stance(&carol, Stance::No);
        let refused = cast.net.device(&carol).unwrap().external_join(info.as_ref());
        assert_refused(refused, ErrorClass::UntrustedIdentity, "said no");
        let state = cast.net.device(&carol).unwrap().export_state().unwrap();
        cast.net.insert(&carol, adapter.restore(&carol, state.as_ref()).unwrap());
        cast.is_well();
    });
}

/// A child of the suite, as the harness sees it.
struct Child<'a> {
    dispatcher: Dispatcher<'a>,
    next: u64,
}

impl<'a> Child<'a> {
    fn new(adapter: &'a dyn Adapter, devices: &[&DeviceId]) -> Self {
        let mut child = Self { dispatcher: Dispatcher::new(adapter), next: 1 };
        for id in devices {
            let request = Request::Device { handle: id.to_string(), id: (*id).clone() };
            assert!(matches!(child.request(request).0, Reply::Ok(_)));
        }
        child
    }

    fn request(&mut self, request: Request) -> (Reply, Vec<Event>) {
        let id = self.next;
        self.next += 1;
        let frame = self.dispatcher.handle(Frame { id, request });
        (frame.reply, frame.events)
    }

    fn stance(&mut self, of: &DeviceId, stance: Stance) {
        self.request(Request::Stance { handle: of.to_string(), stance });
    }

    fn call(&mut self, of: &DeviceId, call: Call) -> Reply {
        self.request(Request::Call { handle: of.to_string(), call }).0
    }

    fn packets(&mut self, of: &DeviceId, call: Call) -> Vec<Packet> {
        match self.call(of, call) {
            Reply::Ok(answer) => match *answer {
                Answer::Output(output) => output.packets,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    fn publish(&mut self, of: &DeviceId, peer: &DeviceId) -> Bundle {
        match self.call(of, Call::Publish { peer: peer.clone() }) {
            Reply::Ok(answer) => match *answer {
                Answer::Bundle(bundle) => bundle,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    /// Makes a call and answers what is asked until it ends; the last question with `last`. Yields what was asked, what came
    /// of it, and the events of the end.
    fn answer(&mut self, of: &DeviceId, call: Call, questions: usize, last: bool) -> (Vec<Fact>, Reply, Vec<Event>) {
        let handle = of.to_string();
        let mut asked = Vec::new();
        let (mut reply, mut events) = self.request(Request::Call { handle: handle.clone(), call });
        while let Reply::Undecided { token, fact } = reply {
            asked.push(*fact);
            let answer = last || asked.len() < questions;
            (reply, events) = self.request(Request::Resume { handle: handle.clone(), token, answer });
        }
        assert_eq!(asked.len(), questions);
        (asked, reply, events)
    }
}

fn fact_kinds(asked: &[Fact]) -> Vec<FactKind> {
    asked.iter().map(Fact::kind).collect()
}

#[test]
fn a_call_that_waits_for_answers_is_taken_up_where_it_stopped() {
    with_both(|adapter| {
        let [alice, bob, carol, dave] = ["alice", "bob", "carol", "dave"].map(common::phone);
        let group = GroupId("friends".to_owned());
        let mut child = Child::new(adapter, &[&alice, &bob, &carol, &dave]);
        child.packets(&alice, Call::CreateGroup { group: group.clone() });
        for device in [&alice, &bob, &carol, &dave] {
            child.stance(device, Stance::Ask);
        }
        let add = [&bob, &carol].map(|device| child.publish(device, &alice)).to_vec();
        let change = Call::Change { group: group.clone(), change: Change { add, ..Change::default() } };
        // Refused at the second question, then asked anew.
        let (_, reply, _) = child.answer(&alice, change.clone(), 2, false);
        assert!(matches!(reply, Reply::Error(error) if error.class == ErrorClass::UntrustedIdentity));
        let (asked, reply, events) = child.answer(&alice, change, 2, true);
        assert_eq!(fact_kinds(&asked), [FactKind::Identity; 2]);
        assert_eq!(events.len(), 2, "each question is recorded once: {events:?}");
        let Reply::Ok(answer) = reply else { panic!("{reply:?}") };
        let Answer::Output(output) = *answer else { panic!("{answer:?}") };
        let [change, welcome] = <[Packet; 2]>::try_from(output.packets).unwrap();
        child.packets(&alice, Call::Receive { packet: change });

        for device in [&bob, &carol] {
            let join = Call::Receive { packet: welcome.clone() };
            let (_, reply, _) = child.answer(device, join.clone(), 2, false);
            assert!(matches!(reply, Reply::Error(error) if error.class == ErrorClass::UntrustedIdentity));
            let (asked, reply, events) = child.answer(device, join, 2, true);
            assert_eq!(fact_kinds(&asked), [FactKind::Identity; 2]);
            assert!(matches!(reply, Reply::Ok(_)), "{reply:?}");
            assert!(events.contains(&Event::Joined { group: group.clone() }));
        }

        // Bob swaps Carol for Dave: a question about her, and two about him.
        child.stance(&bob, Stance::Yes);
        let add = vec![child.publish(&dave, &bob)];
        let swap = Change { add, remove: vec![carol.clone()], refresh: false };
        let packets = child.packets(&bob, Call::Change { group: group.clone(), change: swap });
        let take = Call::Receive { packet: packets[0].clone() };
        let (_, reply, _) = child.answer(&alice, take.clone(), 3, false);
        assert!(matches!(reply, Reply::Error(error) if error.class == ErrorClass::Refused));
        let (asked, reply, events) = child.answer(&alice, take, 3, true);
        assert_eq!(fact_kinds(&asked), [FactKind::Remove, FactKind::Identity, FactKind::Add]);
        assert!(matches!(reply, Reply::Ok(_)), "{reply:?}");
        let (device, by) = (carol.clone(), bob.clone());
        assert!(events.contains(&Event::MemberRemoved { group: group.clone(), device, by }));
        child.packets(&bob, Call::Receive { packet: packets[0].clone() });
        child.answer(&carol, Call::Receive { packet: packets[0].clone() }, 3, true);

        // And somebody lets herself in.
        let erin = common::phone("erin");
        child.request(Request::Device { handle: erin.to_string(), id: erin.clone() });
        child.stance(&erin, Stance::Ask);
        let info = match child.call(&alice, Call::GroupInfo { group: group.clone() }) {
            Reply::Ok(answer) => match *answer {
                Answer::Bytes(info) => info,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        };
        let join = Call::ExternalJoin { group_info: info };
        let (_, reply, _) = child.answer(&erin, join.clone(), 3, false);
        assert!(matches!(reply, Reply::Error(error) if error.class == ErrorClass::UntrustedIdentity));
        let (_, reply, _) = child.answer(&erin, join, 3, true);
        let Reply::Ok(answer) = reply else { panic!("{reply:?}") };
        let Answer::Output(output) = *answer else { panic!("{answer:?}") };
        let (asked, reply, _) = child.answer(&alice, Call::Receive { packet: only(output.packets) }, 2, true);
        assert_eq!(fact_kinds(&asked), [FactKind::Identity, FactKind::Add]);
        assert!(matches!(reply, Reply::Ok(_)), "{reply:?}");
    });
}

#[test]
fn a_call_that_waits_may_be_given_up() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, bob, carol, dave) = (cast.alice.clone(), cast.bob.clone(), cast.carol.clone(), cast.dave.clone());
        let bundle = cast.net.claim(&dave, &bob).unwrap();
        let packets = cast.commit(&bob, &[bundle], &[], false);
        cast.stance(&alice, Stance::Ask);
        assert_refused(cast.receive(&alice, &packets[0]), ErrorClass::UndecidedTrust, "waits");
        cast.stance(&alice, Stance::Yes);
        cast.drain();
        let mislabelled = Packet { kind: PacketKind::Message, ..packets[0].clone() };
        assert_refused(cast.receive(&alice, &mislabelled), ErrorClass::BadRequest, "other content");
        // Meanwhile everything else goes on, and another change may come first.
        cast.is_well();
        let other = only(cast.commit(&carol, &[], &[], true));
        cast.receive(&alice, &other).unwrap();
        assert_refused(cast.receive(&alice, &packets[0]), ErrorClass::StaleEpoch, "epoch differs");
    });
}
