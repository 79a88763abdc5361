//! With the stance to ask, a call waits at `is_trusted_identity` with nothing changed, and is taken up again.

#![allow(clippy::unwrap_used)]

mod common;

use common::{IS_TRUSTED_IDENTITY, adapter, phones, team};
use e2esm_adapter::{
    Answer, Bundle, Call, Change, DeviceId, Dispatcher, ErrorClass, Event, Fact, Frame, Packet, PacketKind, Reply,
    ReplyFrame, Request, Stance,
};

struct Seats<'a> {
    dispatcher: Dispatcher<'a>,
    id: u64,
}

impl Seats<'_> {
    fn ask(&mut self, request: Request) -> ReplyFrame {
        self.id += 1;
        self.dispatcher.handle(Frame { id: self.id, request })
    }

    fn call(&mut self, device: &DeviceId, call: Call) -> ReplyFrame {
        self.ask(Request::Call { handle: device.to_string(), call })
    }

    fn answer(&mut self, device: &DeviceId, call: Call) -> Answer {
        match self.call(device, call).reply {
            Reply::Ok(answer) => *answer,
            other => panic!("not answered: {other:?}"),
        }
    }

    fn state(&mut self, device: &DeviceId) -> Answer {
        self.answer(device, Call::ExportState {})
    }

    fn stance(&mut self, device: &DeviceId, stance: Stance) {
        self.ask(Request::Stance { handle: device.to_string(), stance });
    }

    fn resume(&mut self, device: &DeviceId, token: u64, answer: bool) -> ReplyFrame {
        self.ask(Request::Resume { handle: device.to_string(), token, answer })
    }

    fn publish(&mut self, device: &DeviceId, peer: &DeviceId) -> Bundle {
        match self.answer(device, Call::Publish { peer: peer.clone() }) {
            Answer::Bundle(bundle) => bundle,
            other => panic!("no bundle: {other:?}"),
        }
    }

    fn packets(&mut self, device: &DeviceId, call: Call) -> Vec<Packet> {
        packets(self.answer(device, call))
    }

    /// Makes the call twice: looking at the state ends the first one's waiting.
    fn waits_and_leaves_everything_as_it_was(&mut self, device: &DeviceId, call: &Call) -> (u64, Fact) {
        let before = self.state(device);
        let frame = self.call(device, call.clone());
        assert!(matches!(frame.reply, Reply::Undecided { .. }), "{frame:?}");
        assert_eq!(frame.events, []);
        assert_eq!(self.state(device), before);
        match self.call(device, call.clone()).reply {
            Reply::Undecided { token, fact } => (token, *fact),
            other => panic!("not asked again: {other:?}"),
        }
    }
}

fn packets(answer: Answer) -> Vec<Packet> {
    match answer {
        Answer::Output(output) => output.packets,
        other => panic!("no packets: {other:?}"),
    }
}

fn done(frame: ReplyFrame) -> Answer {
    let asked: Vec<_> = frame
        .events
        .iter()
        .filter(|event| matches!(event, Event::Consulted { point, .. } if point == IS_TRUSTED_IDENTITY))
        .collect();
    assert!(!asked.is_empty(), "{:?}", frame.events);
    match frame.reply {
        Reply::Ok(answer) => *answer,
        other => panic!("not done: {other:?}"),
    }
}

fn about(fact: &Fact, device: &DeviceId) {
    assert!(matches!(fact, Fact::Identity { .. }), "{fact:?}");
    assert_eq!(fact.about(), Some(device));
}

fn refused(frame: &ReplyFrame) {
    assert!(matches!(&frame.reply, Reply::Error(error) if error.class == ErrorClass::UntrustedIdentity), "{frame:?}");
}

/// Alice's group with bob in it, and each packet delivered by hand.
fn seats<'a>(adapter: &'a dyn e2esm_adapter::Adapter, alice: &DeviceId, bob: &DeviceId) -> Seats<'a> {
    let mut seats = Seats { dispatcher: Dispatcher::new(adapter), id: 0 };
    for id in [alice, bob] {
        seats.ask(Request::Device { handle: id.to_string(), id: id.clone() });
    }
    seats.answer(alice, Call::CreateGroup { group: team() });
    let change = Change { add: vec![seats.publish(bob, alice)], ..Default::default() };
    for packet in seats.packets(alice, Call::Change { group: team(), change }) {
        let to = if packet.kind == PacketKind::Change { alice } else { bob };
        seats.answer(to, Call::Receive { packet });
    }
    seats
}

#[test]
fn a_bundle_a_send_and_a_first_message_wait_and_go_on() {
    let adapter = adapter();
    let [alice, bob] = phones(["alice", "bob"]);
    let mut seats = seats(&*adapter, &alice, &bob);

    let bundle = seats.publish(&bob, &alice);
    seats.stance(&alice, Stance::Ask);
    let introduce = Call::Introduce { bundle };
    let (token, fact) = seats.waits_and_leaves_everything_as_it_was(&alice, &introduce);
    about(&fact, &bob);
    refused(&seats.resume(&alice, token, false));
    let (token, _) = seats.waits_and_leaves_everything_as_it_was(&alice, &introduce);
    let frame = seats.resume(&alice, token, true);
    assert!(frame.events.contains(&Event::SessionOpened { peer: bob.clone() }));
    done(frame);

    let send = Call::Send { group: team(), plaintext: b"hello".as_slice().into() };
    let Reply::Undecided { token, fact } = seats.call(&alice, send).reply else { panic!("nothing asked") };
    about(&fact, &bob);
    let packets = packets(done(seats.resume(&alice, token, true)));
    assert_eq!(packets.len(), 2);

    let receive = Call::Receive { packet: packets[0].clone() };
    seats.stance(&bob, Stance::Ask);
    let (token, fact) = seats.waits_and_leaves_everything_as_it_was(&bob, &receive);
    about(&fact, &alice);
    // The one-time prekeys are still there after a refusal: the same packet can be taken later.
    refused(&seats.resume(&bob, token, false));
    let (token, _) = seats.waits_and_leaves_everything_as_it_was(&bob, &receive);
    let frame = seats.resume(&bob, token, true);
    assert!(frame.events.contains(&Event::KeyAccepted { group: team(), owner: alice.clone() }));
    done(frame);

    seats.stance(&bob, Stance::Yes);
    let Answer::Output(output) = seats.answer(&bob, Call::Receive { packet: packets[1].clone() }) else {
        panic!("no output")
    };
    assert_eq!(output.message.unwrap().plaintext.0, b"hello");
}

#[test]
fn a_later_pairwise_message_waits_after_its_decryption_and_is_decrypted_again() {
    let adapter = adapter();
    let [alice, bob] = phones(["alice", "bob"]);
    let mut seats = seats(&*adapter, &alice, &bob);
    for (from, to) in [(&alice, &bob), (&bob, &alice)] {
        let send = Call::Send { group: team(), plaintext: b"hello".as_slice().into() };
        for packet in seats.packets(from, send) {
            seats.answer(to, Call::Receive { packet });
        }
    }
    let change = Change { refresh: true, ..Default::default() };
    seats.answer(&alice, Call::Change { group: team(), change });
    let packets = seats.packets(&alice, Call::Send { group: team(), plaintext: b"later".as_slice().into() });
    assert!(!packets[0].opens_session);

    seats.stance(&bob, Stance::Ask);
    let receive = Call::Receive { packet: packets[0].clone() };
    let (token, fact) = seats.waits_and_leaves_everything_as_it_was(&bob, &receive);
    about(&fact, &alice);
    refused(&seats.resume(&bob, token, false));
    let (token, _) = seats.waits_and_leaves_everything_as_it_was(&bob, &receive);
    done(seats.resume(&bob, token, true));
}
