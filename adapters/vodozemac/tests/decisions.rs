//! With stance Ask every call stops at each question, and goes on from where it was once it is answered.

#![allow(clippy::unwrap_used)]

mod common;

use common::{adapter, id, team};
use e2esm_adapter::{
    Adapter, Address, Answer, Bundle, Bytes, Call, Change, Device, DeviceId, Dispatcher, Error, ErrorClass, Event,
    Fact, FactKind, Frame, Output, Packet, PacketKind, Reply, Request, Stance,
};

struct Desk<'a> {
    dispatcher: Dispatcher<'a>,
    /// What is answered; everything else is a yes.
    refuse: Vec<FactKind>,
    /// What was asked during the last call.
    asked: Vec<Fact>,
    events: Vec<Event>,
}

impl<'a> Desk<'a> {
    fn new(adapter: &'a dyn Adapter, names: &[&str]) -> Self {
        let dispatcher = Dispatcher::new(adapter);
        let mut desk = Self { dispatcher, refuse: Vec::new(), asked: Vec::new(), events: Vec::new() };
        names.iter().for_each(|name| desk.seat(name));
        desk
    }

    fn seat(&mut self, name: &str) {
        let handle = name.to_owned();
        let id = id(name.trim_start_matches("new "));
        self.request(Request::Device { handle: handle.clone(), id });
        self.request(Request::Stance { handle, stance: Stance::Ask });
    }

    fn request(&mut self, request: Request) -> Reply {
        let frame = self.dispatcher.handle(Frame { id: 1, request });
        self.events = frame.events;
        frame.reply
    }

    fn try_call(&mut self, name: &str, call: Call) -> Result<Answer, Error> {
        self.asked.clear();
        let handle = name.to_owned();
        let mut reply = self.request(Request::Call { handle: handle.clone(), call });
        loop {
            match reply {
                Reply::Undecided { token, fact } => {
                    assert!(!self.asked.contains(&fact), "asked twice: {fact:?}");
                    let answer = !self.refuse.contains(&fact.kind());
                    self.asked.push(*fact);
                    reply = self.request(Request::Resume { handle: handle.clone(), token, answer });
                }
                Reply::Ok(answer) => return Ok(*answer),
                Reply::Error(error) => return Err(error),
                Reply::Hello { .. } => panic!("hello"),
            }
        }
    }

    fn call(&mut self, name: &str, call: Call) -> Output {
        match self.try_call(name, call).unwrap() {
            Answer::Output(output) => output,
            answer => panic!("{answer:?}"),
        }
    }

    fn kinds(&self) -> Vec<FactKind> {
        self.asked.iter().map(Fact::kind).collect()
    }

    /// Every question that was answered is an event of the finished call, once.
    fn recorded(&self) {
        let consulted: Vec<_> = self
            .events
            .iter()
            .filter_map(|event| match event {
                Event::Consulted { about, .. } => Some(about.clone()),
                _ => None,
            })
            .collect();
        assert_eq!(consulted, self.asked);
    }

    fn bundle(&mut self, of: &str, by: &str) -> Bundle {
        match self.try_call(of, Call::Publish { peer: id(by) }).unwrap() {
            Answer::Bundle(bundle) => bundle,
            answer => panic!("{answer:?}"),
        }
    }

    /// A call that refuses the questions of one kind, and the same call again with a yes.
    fn refused_then(&mut self, name: &str, kind: FactKind, call: Call) -> Output {
        self.refuse = vec![kind];
        let error = self.try_call(name, call.clone()).unwrap_err();
        assert_eq!(self.kinds().last(), Some(&kind), "{error}");
        assert_eq!(error.class, self.asked.last().unwrap().refusal());
        self.refuse.clear();
        let output = self.call(name, call);
        self.recorded();
        output
    }

    fn receive(&mut self, name: &str, kind: FactKind, packet: &Packet) -> Output {
        self.refused_then(name, kind, Call::Receive { packet: packet.clone() })
    }

    /// A group of these, made with every question asked.
    fn group(&mut self, names: &[&str]) {
        let (first, others) = names.split_first().unwrap();
        self.call(first, Call::CreateGroup { group: team() });
        let add = others.iter().map(|name| self.bundle(name, first)).collect();
        let change = Change { add, ..Change::default() };
        let output = self.refused_then(first, FactKind::Identity, Call::Change { group: team(), change });
        assert_eq!(self.kinds(), vec![FactKind::Identity; others.len()]);
        self.call(first, Call::Receive { packet: output.packets[0].clone() });
        for name in others {
            self.receive(name, FactKind::Add, &output.packets[1]);
            assert!(self.events.contains(&Event::Joined { group: team() }));
        }
    }

    fn send(&mut self, by: &str, text: &str) -> Vec<Packet> {
        let call = Call::Send { group: team(), plaintext: text.as_bytes().into() };
        self.call(by, call).packets
    }
}

fn to(packets: &[Packet], name: &str) -> Packet {
    packets.iter().find(|packet| packet.to == Address::Device(id(name))).unwrap().clone()
}

#[test]
fn a_conversation_goes_on_through_every_question() {
    let adapter = adapter();
    let mut desk = Desk::new(&*adapter, &["alice", "bob", "carol"]);
    desk.group(&["alice", "bob", "carol"]);

    let packets = desk.send("alice", "hello");
    for name in ["bob", "carol"] {
        desk.receive(name, FactKind::Identity, &to(&packets, name));
        assert!(desk.events.contains(&Event::KeyAccepted { group: team(), owner: id("alice") }));
    }
    let message = packets.last().unwrap();
    desk.receive("bob", FactKind::Recipients, message);
    let output = desk.receive("carol", FactKind::Replay, message);
    assert_eq!(desk.kinds(), [FactKind::Recipients, FactKind::Replay]);
    assert_eq!(output.message.unwrap().plaintext, Bytes::from(b"hello".as_slice()));

    let change = Change { remove: vec![id("carol")], ..Change::default() };
    let removal = desk.call("alice", Call::Change { group: team(), change }).packets.remove(0);
    desk.receive("bob", FactKind::Remove, &removal);
    desk.call("alice", Call::Receive { packet: removal });

    desk.refuse = vec![FactKind::StaleKey];
    let packets = desk.send("alice", "without carol");
    assert_eq!(desk.kinds(), [FactKind::StaleKey]);
    assert_eq!(packets.len(), 2, "a new key for bob");
    desk.recorded();
    desk.refuse.clear();
    assert!(desk.try_call("carol", Call::Receive { packet: packets[1].clone() }).is_err());
    desk.call("bob", Call::Receive { packet: packets[0].clone() });
    let output = desk.call("bob", Call::Receive { packet: packets[1].clone() });
    assert!(output.message.is_some());
}

#[test]
fn history_waits_at_both_ends() {
    let adapter = adapter();
    let mut desk = Desk::new(&*adapter, &["alice", "bob", "carol"]);
    desk.group(&["alice", "bob"]);
    let bundle = desk.bundle("alice", "bob");
    desk.call("bob", Call::Introduce { bundle });
    let from_bob = desk.send("bob", "from bob");
    desk.call("alice", Call::Receive { packet: to(&from_bob, "alice") });
    let bundle = desk.bundle("carol", "alice");
    desk.call("alice", Call::Introduce { bundle });
    let call = Call::ShareHistory { group: team(), to: id("carol") };
    let history = desk.refused_then("alice", FactKind::History, call);
    assert_eq!(history.packets.len(), 1, "alice has said nothing herself");
    desk.call("carol", Call::CreateGroup { group: team() });

    let packet = &history.packets[0];
    desk.receive("carol", FactKind::Sender, packet);
    // The refused try has opened the session already: what it had decrypted was held.
    assert_eq!(desk.kinds(), [FactKind::NonMemberSender, FactKind::Sender]);
    let owner = id("bob");
    let fact = Fact::Sender { group: team(), claimed: owner.clone(), owner: id("alice") };
    assert!(desk.asked.contains(&fact));
    assert!(desk.events.contains(&Event::KeyAccepted { group: team(), owner }));
    let output = desk.call("carol", Call::Receive { packet: from_bob.last().unwrap().clone() });
    assert!(output.message.is_some());
}

#[test]
fn a_new_key_is_asked_about_with_the_old_one_however_often_the_call_is_made() {
    let adapter = adapter();
    let mut desk = Desk::new(&*adapter, &["alice", "bob", "new bob"]);
    desk.group(&["alice", "bob"]);
    desk.send("alice", "undelivered");
    let bundle = desk.bundle("new bob", "alice");
    let plaintext = Bytes::from(b"undelivered".as_slice());
    let call = Call::Resend { group: team(), plaintext, bundle: bundle.clone(), acknowledged: true };
    desk.refused_then("alice", FactKind::Resend, call.clone());
    let old = desk.bundle("bob", "alice");
    desk.call("alice", Call::Introduce { bundle: old });
    let output = desk.refused_then("alice", FactKind::Identity, call);
    let Fact::Resend { account_key, original, acknowledged, .. } = &desk.asked[0] else { panic!("{:?}", desk.asked) };
    assert!(account_key != original && *acknowledged);
    let Fact::Identity { previous, .. } = &desk.asked[1] else { panic!("{:?}", desk.asked) };
    assert_eq!(previous.as_ref(), Some(original));
    assert!(desk.events.contains(&Event::KeyChanged { device: id("bob") }));
    assert_eq!(output.packets.len(), 1);
}

#[test]
fn a_listed_device_and_a_key_request_wait_before_anything_is_given() {
    let adapter = adapter();
    let mut desk = Desk::new(&*adapter, &["alice", "bob"]);
    desk.group(&["alice", "bob"]);
    desk.send("alice", "one");
    let tablet = DeviceId::new("bob", "tablet");
    desk.request(Request::Device { handle: "tablet".into(), id: tablet.clone() });
    let bundle = desk.bundle("tablet", "alice");
    let packet = Packet {
        kind: PacketKind::DeviceList,
        group: team(),
        from: tablet.clone(),
        to: Address::Device(id("alice")),
        opens_session: false,
        bytes: serde_json::to_vec(&bundle).unwrap().into(),
        seal: None,
    };
    desk.receive("alice", FactKind::ListedDevice, &packet);
    assert_eq!(desk.kinds(), [FactKind::ListedDevice, FactKind::Identity]);

    desk.call("bob", Call::Receive { packet: packet.clone() });
    let call = Call::RequestKeys { group: team(), holder: id("alice") };
    let request = desk.call("bob", call).packets.remove(0);
    let output = desk.receive("alice", FactKind::KeyRequest, &request);
    assert_eq!(desk.kinds(), [FactKind::KeyRequest, FactKind::Identity]);
    assert!(desk.events.contains(&Event::HistoryShared { group: team(), device: id("bob") }));
    assert_eq!(output.packets.len(), 1);
}

#[test]
fn a_call_that_waits_and_is_never_taken_up_again_has_changed_nothing() {
    let mut devices: Vec<Box<dyn Device>> =
        ["alice", "bob", "carol"].iter().map(|name| adapter().device(&id(name)).unwrap()).collect();
    let [alice, bob, carol] = &mut devices[..] else { panic!("three") };
    alice.create_group(&team()).unwrap();
    let known = bob.publish(&id("alice")).unwrap();
    alice.introduce(&known).unwrap();
    alice.notebook().set_stance(Stance::Ask);
    let before = state(alice);

    let add = vec![bob.publish(&id("alice")).unwrap(), carol.publish(&id("alice")).unwrap()];
    let (device, identity) = (id("bob"), bob.identity().unwrap());
    alice.notebook().answer_once(Fact::Identity { device, identity, previous: None }, true);
    let change = Change { add, ..Change::default() };
    let error = alice.change(&team(), &change).unwrap_err();
    assert_eq!(error.class, ErrorClass::UndecidedTrust);
    assert!(matches!(*error.undecided.unwrap(), Fact::Identity { device, .. } if device == id("carol")));
    assert_eq!(state(alice), before, "bob's new session is gone again");
}

fn state(device: &mut Box<dyn Device>) -> serde_json::Value {
    serde_json::from_slice(device.export_state().unwrap().as_ref()).unwrap()
}
