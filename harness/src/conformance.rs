//! Whether a program keeps to the stdio protocol, asked before any vector: `adapters/PROTOCOL.md`, point by point.
//!
//! Vectors ask what a messenger protects. This asks whether the suite and the adapter mean the same by a line. Each check
//! is a sentence of the document; one that fails does not keep the next from being made, unless the program has ended.

use std::time::{Duration, Instant};

use e2esm_account::vouched;
use e2esm_adapter::{
    Address, Answer, Bundle, Bytes, Call, Capability, Change, Description, DeviceId, Error, ErrorClass, Event, GroupId,
    Identity, Output, Packet, PacketKind, Reply, ReplyFrame, Stance,
};
use serde::Serialize;
use serde_json::json;

use crate::peers::is_name;
use crate::probe::probe;
use crate::suite::Target;
use crate::worker::{Failure, Launch, Limits, Worker, shown};

/// In how many checks a program may hang before it is asked nothing more.
const PATIENCE: usize = 3;
/// How much of a process's time may be spent when a check begins, as one part of so many: beyond it the check has a new
/// process, so that none has to do with what others have left of the time.
const SPENT: u32 = 10;

/// What a check came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome", content = "because")]
pub enum Outcome {
    /// As the document says.
    Kept,
    /// Otherwise, and how.
    Broken(String),
    /// Not asked, and why.
    Skipped(String),
}

/// A sentence of the document, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Point {
    /// What the document says.
    pub says: &'static str,
    /// What the program does.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// Why a check does not hold.
enum Trouble {
    /// What it did, and what was expected.
    Broken(String),
    /// It did not answer in time.
    Hung(String),
    /// There is nothing to ask.
    Skipped(String),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::TimedOut { milliseconds } => {
                Self::Hung(format!("it did not answer within {milliseconds} ms and was killed"))
            }
            failure => Self::Broken(format!("it {failure}")),
        }
    }
}

type Check = fn(&mut Examiner) -> Result<(), Trouble>;

/// The checks, in the order of the document.
const CHECKS: [(&str, Check); 25] = [
    ("it answers `hello` with version 1 of the protocol and a description", Examiner::hello),
    ("its name can be a file's", Examiner::name),
    ("a verb that does not exist is `unsupported`", Examiner::unknown_verb),
    ("a call that does not exist is `unsupported`", Examiner::unknown_call),
    ("an unknown field is `bad_request`, in a request and in a call", Examiner::unknown_field),
    ("a missing field and a field of another type are `bad_request`", Examiner::wrong_field),
    ("malformed hex is `bad_request`", Examiner::malformed_hex),
    ("a device's name has the form user/device; anything else is `bad_request`", Examiner::malformed_device),
    (
        "a line that is no JSON, or no request, is `bad_request` with the id 0 or its own, and the child goes on",
        Examiner::garbage,
    ),
    ("whitespace, the order of fields and escapes are free", Examiner::free_form),
    ("a reply bears the request's id, also a large one", Examiner::large_id),
    ("a handle that does not exist, or exists already, is `bad_request`", Examiner::handles),
    ("two devices may have one id under different handles, and share nothing", Examiner::one_id_twice),
    ("`identity` stays the same, and the voucher holds", Examiner::identity),
    ("every stance is taken, another one is refused, and `trust` with a fact is `done`", Examiner::stances),
    ("a token that no call waits for is `bad_request`", Examiner::unknown_token),
    ("what it declares is what it has (the probe)", Examiner::capabilities),
    ("a group that exists is `duplicate`, one that does not is `bad_request`", Examiner::group_names),
    ("a change is one `change` packet, then a welcome, and is pending until it comes back", Examiner::change),
    ("a message to a group is one packet to the group, and everybody else in it reads it", Examiner::message),
    (
        "an altered packet and junk are refused, never as `internal`, and the next honest packet is taken",
        Examiner::tampering,
    ),
    ("a packet of a million bytes is refused, and the child goes on", Examiner::large_packet),
    ("with stance `ask` every question waits for its answer, and is then told as `consulted`", Examiner::questions),
    ("a removed device notices its removal, and its roster is as it was or without it", Examiner::removal),
    (
        "the end of the input is the end: it exits with status 0, says nothing more and leaves nothing behind",
        Examiner::end,
    ),
];

/// Makes every check on a program, in one process where it neither fails nor is slow. Each check has a process's whole time,
/// or nearly; who hangs in three is not asked for the rest.
pub fn examine(target: &Target, limits: Limits, done: &dyn Fn()) -> Vec<Point> {
    let launch = target.launch.clone();
    let mut examiner =
        Examiner { launch, limits, worker: None, since: Instant::now(), description: None, next: 0, hung: 0 };
    CHECKS
        .iter()
        .map(|(says, check)| {
            let outcome = match examiner.make(*check) {
                Ok(()) => Outcome::Kept,
                Err(Trouble::Broken(reason) | Trouble::Hung(reason)) => Outcome::Broken(reason),
                Err(Trouble::Skipped(reason)) => Outcome::Skipped(reason),
            };
            // Whatever has happened to this process, the next check has one that works or says that there is none.
            if matches!(outcome, Outcome::Broken(_)) {
                examiner.worker = None;
            }
            done();
            Point { says, outcome }
        })
        .collect()
}

/// How many checks there are.
pub fn checks() -> usize {
    CHECKS.len()
}

struct Examiner {
    launch: Launch,
    limits: Limits,
    worker: Option<Worker>,
    /// When that process was started.
    since: Instant,
    description: Option<Description>,
    /// Distinguishes the names of groups and devices of one process.
    next: u32,
    /// In how many checks it has hung.
    hung: usize,
}

/// Two members of a group.
struct Pair {
    group: GroupId,
    one: DeviceId,
    two: DeviceId,
}

impl Examiner {
    fn make(&mut self, check: Check) -> Result<(), Trouble> {
        if self.hung >= PATIENCE {
            return Err(Trouble::Skipped(format!("it hangs: in {} points already", self.hung)));
        }
        if self.since.elapsed() > Duration::from_secs_f64(self.limits.seconds) / SPENT {
            self.worker = None;
        }
        let outcome = check(self);
        if matches!(outcome, Err(Trouble::Hung(_))) {
            self.hung += 1;
        }
        outcome
    }

    fn worker(&mut self) -> Result<&mut Worker, Trouble> {
        if self.worker.is_none() {
            self.since = Instant::now();
            self.worker = Some(Worker::start(&self.launch, self.limits)?);
        }
        self.worker.as_mut().ok_or_else(|| Trouble::Skipped("there is no process".to_owned()))
    }

    /// Sends a line and gives the reply.
    fn say(&mut self, line: &str, id: u64) -> Result<Reply, Trouble> {
        let ReplyFrame { reply, .. } = self.worker()?.exchange(line, id)?;
        Ok(reply)
    }

    /// Sends a request with the id 7.
    fn request(&mut self, request: &serde_json::Value) -> Result<Reply, Trouble> {
        self.say(&json!({ "id": 7, "request": request }).to_string(), 7)
    }

    fn refused(&mut self, request: &serde_json::Value, class: ErrorClass) -> Result<(), Trouble> {
        let reply = self.request(request)?;
        refusal(&request.to_string(), &reply, class)
    }

    fn fresh(&mut self, user: &str) -> DeviceId {
        self.next += 1;
        DeviceId::new(&format!("{user}{}", self.next), "phone")
    }

    fn device(&mut self, user: &str) -> Result<DeviceId, Trouble> {
        let id = self.fresh(user);
        self.worker()?
            .device(&id, &id)?
            .map_err(|error| Trouble::Broken(format!("it cannot make a device: {error}")))?;
        Ok(id)
    }

    fn call(&mut self, device: &DeviceId, call: Call) -> Result<Result<Answer, Error>, Trouble> {
        Ok(self.worker()?.call(device, call, |_, _| Ok(true))?.result)
    }

    fn must(&mut self, device: &DeviceId, call: Call) -> Result<Answer, Trouble> {
        let verb = call.verb();
        let result = self.call(device, call)?;
        result.map_err(|error| Trouble::Broken(format!("`{verb}` was refused: {error}")))
    }

    fn output(&mut self, device: &DeviceId, call: Call) -> Result<Output, Trouble> {
        match self.must(device, call)? {
            Answer::Output(output) => Ok(output),
            other => broken(format!("expected an output, not {}", shown(&other))),
        }
    }

    fn described(&mut self) -> Result<Description, Trouble> {
        match &self.description {
            Some(description) => Ok(description.clone()),
            None => Err(Trouble::Skipped("it did not answer `hello`".to_owned())),
        }
    }

    fn needs_groups(&mut self) -> Result<(), Trouble> {
        match self.described()?.unsupported.get(&Capability::Groups) {
            Some(reason) => Err(Trouble::Skipped(format!("it has no groups: {reason}"))),
            None => Ok(()),
        }
    }

    /// A group of two.
    fn pair(&mut self) -> Result<Pair, Trouble> {
        let (one, two) = (self.device("one")?, self.device("two")?);
        let group = GroupId(format!("group {}", self.next));
        self.output(&one, Call::CreateGroup { group: group.clone() })?;
        let packets = self.add(&one, &two, &group)?;
        for packet in packets {
            let reader = if packet.kind == PacketKind::Change { &one } else { &two };
            self.output(reader, Call::Receive { packet })?;
        }
        Ok(Pair { group, one, two })
    }

    fn bundle(&mut self, of: &DeviceId, peer: &DeviceId) -> Result<Bundle, Trouble> {
        match self.must(of, Call::Publish { peer: peer.clone() })? {
            Answer::Bundle(bundle) => Ok(bundle),
            other => broken(format!("expected a bundle, not {}", shown(&other))),
        }
    }

    fn add(&mut self, by: &DeviceId, who: &DeviceId, group: &GroupId) -> Result<Vec<Packet>, Trouble> {
        let change = Change { add: vec![self.bundle(who, by)?], ..Change::default() };
        Ok(self.output(by, Call::Change { group: group.clone(), change })?.packets)
    }

    /// The packets of a message, sent after a session was opened where one is wanted.
    fn send(&mut self, by: &DeviceId, group: &GroupId, text: &[u8]) -> Result<Vec<Packet>, Trouble> {
        let wanted = match self.must(by, Call::Wants { group: group.clone() })? {
            Answer::Devices(devices) => devices,
            other => return broken(format!("expected devices, not {}", shown(&other))),
        };
        for device in wanted {
            let bundle = self.bundle(&device, by)?;
            self.output(by, Call::Introduce { bundle })?;
        }
        Ok(self.output(by, Call::Send { group: group.clone(), plaintext: text.into() })?.packets)
    }

    /// Delivers packets as a server would, and everything that is answered to them; what `reader` reads.
    fn deliver(
        &mut self,
        pair: &Pair,
        packets: Vec<Packet>,
        reader: &DeviceId,
    ) -> Result<Vec<e2esm_adapter::Message>, Trouble> {
        let mut read = Vec::new();
        let mut open: std::collections::VecDeque<_> = packets.into();
        while let Some(packet) = open.pop_front() {
            let to = if packet.from == pair.one { &pair.two } else { &pair.one };
            let output = self.output(to, Call::Receive { packet })?;
            read.extend(output.message.filter(|_| to == reader));
            open.extend(output.packets);
        }
        Ok(read)
    }

    fn roster(&mut self, device: &DeviceId, group: &GroupId) -> Result<Vec<DeviceId>, Trouble> {
        match self.must(device, Call::Roster { group: group.clone() })? {
            Answer::Roster(roster) => Ok(roster.members),
            other => broken(format!("expected a roster, not {}", shown(&other))),
        }
    }

    fn hello(&mut self) -> Result<(), Trouble> {
        let description = self.worker()?.hello()?;
        let again = self.worker()?.hello()?;
        if description != again {
            return broken("asked twice, it describes itself in two ways".to_owned());
        }
        self.description = Some(description);
        Ok(())
    }

    fn name(&mut self) -> Result<(), Trouble> {
        let name = self.described()?.name;
        if is_name(&name) {
            Ok(())
        } else {
            broken(format!(
                "it calls itself `{name}`: expected at most 64 of a-z, 0-9, `-`, `_` and `.`, and no `.` at the beginning"
            ))
        }
    }

    fn unknown_verb(&mut self) -> Result<(), Trouble> {
        self.refused(&json!({ "no_such_verb": {} }), ErrorClass::Unsupported)
    }

    fn unknown_call(&mut self) -> Result<(), Trouble> {
        let device = self.device("call")?;
        self.refused(&json!({ "call": { "handle": device, "call": { "no_such_call": {} } } }), ErrorClass::Unsupported)
    }

    fn unknown_field(&mut self) -> Result<(), Trouble> {
        self.refused(&json!({ "hello": { "surprise": 1 } }), ErrorClass::BadRequest)?;
        let device = self.device("field")?;
        let call = json!({ "call": { "handle": device, "call": { "roster": { "group": "g", "surprise": 1 } } } });
        self.refused(&call, ErrorClass::BadRequest)?;
        let id = self.fresh("field");
        self.refused(&json!({ "device": { "handle": id, "id": id, "surprise": null } }), ErrorClass::BadRequest)
    }

    fn wrong_field(&mut self) -> Result<(), Trouble> {
        let id = self.fresh("field");
        self.refused(&json!({ "device": { "handle": id } }), ErrorClass::BadRequest)?;
        self.refused(&json!({ "device": { "handle": 7, "id": id } }), ErrorClass::BadRequest)?;
        let device = self.device("field")?;
        self.refused(&json!({ "call": { "handle": device, "call": { "roster": {} } } }), ErrorClass::BadRequest)?;
        self.refused(
            &json!({ "call": { "handle": device, "call": { "roster": { "group": [] } } } }),
            ErrorClass::BadRequest,
        )
    }

    fn malformed_hex(&mut self) -> Result<(), Trouble> {
        self.needs_groups()?;
        let device = self.device("hex")?;
        for hex in ["0", "zz", "0x00", " 00"] {
            let call = json!({ "send": { "group": "g", "plaintext": hex } });
            self.refused(&json!({ "call": { "handle": device, "call": call } }), ErrorClass::BadRequest)?;
        }
        Ok(())
    }

    fn malformed_device(&mut self) -> Result<(), Trouble> {
        for id in ["nobody", "a/b/c", "/phone", "alice/", ""] {
            self.refused(&json!({ "device": { "handle": format!("h {id}"), "id": id } }), ErrorClass::BadRequest)?;
        }
        Ok(())
    }

    fn garbage(&mut self) -> Result<(), Trouble> {
        for line in ["this is no JSON", "{", "[]", "\"text\"", "{\"request\":{\"hello\":{}}}", "\u{fffd}"] {
            let reply = self.say(line, 0)?;
            refusal(line, &reply, ErrorClass::BadRequest)?;
        }
        let reply = self.say("{\"id\":9}", 9)?;
        refusal("{\"id\":9}", &reply, ErrorClass::BadRequest)?;
        let reply = self.say("{\"id\":9,\"request\":{\"hello\":{}},\"surprise\":1}", 9)?;
        refusal("a frame with an unknown field", &reply, ErrorClass::BadRequest)?;
        self.hello()
    }

    fn free_form(&mut self) -> Result<(), Trouble> {
        let line = " { \"request\" : { \"\\u0068ello\" : { } } , \"id\" : 12 } ";
        match self.say(line, 12)? {
            Reply::Hello { .. } => Ok(()),
            other => broken(format!("to `{line}` it answered {}", shown(&other))),
        }
    }

    fn large_id(&mut self) -> Result<(), Trouble> {
        // The largest that every language has exactly.
        for id in [0, (1 << 53) - 1] {
            self.say(&json!({ "id": id, "request": { "hello": {} } }).to_string(), id)?;
        }
        Ok(())
    }

    fn handles(&mut self) -> Result<(), Trouble> {
        let nobody = self.fresh("nobody");
        self.refused(&json!({ "call": { "handle": nobody, "call": { "identity": {} } } }), ErrorClass::BadRequest)?;
        self.refused(&json!({ "stance": { "handle": nobody, "stance": "yes" } }), ErrorClass::BadRequest)?;
        let device = self.device("handle")?;
        self.refused(&json!({ "device": { "handle": device, "id": device } }), ErrorClass::BadRequest)
    }

    fn one_id_twice(&mut self) -> Result<(), Trouble> {
        let first = self.device("twice")?;
        let second = DeviceId::new(&first.user.0, "impostor");
        self.worker()?
            .device(&second, &first)?
            .map_err(|error| Trouble::Broken(format!("another device of the same id was refused: {error}")))?;
        let keys = [self.keys(&first)?, self.keys(&second)?];
        if keys[0].device_key == keys[1].device_key {
            return broken("both have one device key".to_owned());
        }
        Ok(())
    }

    fn keys(&mut self, device: &DeviceId) -> Result<Identity, Trouble> {
        match self.must(device, Call::Identity {})? {
            Answer::Identity(identity) => Ok(identity),
            other => broken(format!("expected an identity, not {}", shown(&other))),
        }
    }

    fn identity(&mut self) -> Result<(), Trouble> {
        let device = self.device("identity")?;
        let identity = self.keys(&device)?;
        if self.keys(&device)? != identity {
            return broken("asked twice, it shows two identities".to_owned());
        }
        if identity.device_key.as_ref().is_empty() {
            return broken("its device key is empty".to_owned());
        }
        if !vouched(&device, &identity) {
            return broken(
                "the voucher is not the account key's signature over this device's name and key, as the document has it, nor \
                 are both keys equal and the voucher empty"
                    .to_owned(),
            );
        }
        Ok(())
    }

    fn stances(&mut self) -> Result<(), Trouble> {
        let device = self.device("stance")?;
        for stance in [Stance::Ask, Stance::No, Stance::Yes] {
            self.worker()?.stance(&device, stance)?;
        }
        let reply = self.request(&json!({ "stance": { "handle": device, "stance": "perhaps" } }))?;
        if !matches!(&reply, Reply::Error(error) if matches!(error.class, ErrorClass::Unsupported | ErrorClass::BadRequest))
        {
            return broken(format!("to the stance `perhaps` it answered {}", shown(&reply)));
        }
        let decision = json!({ "fact": { "fact": "listed_device", "device": device }, "answer": true });
        match self.request(&json!({ "trust": { "handle": device, "decision": decision } }))? {
            Reply::Ok(_) => Ok(()),
            other => broken(format!("to `trust` it answered {}", shown(&other))),
        }
    }

    fn unknown_token(&mut self) -> Result<(), Trouble> {
        let device = self.device("token")?;
        self.refused(&json!({ "resume": { "handle": device, "token": 4711, "answer": true } }), ErrorClass::BadRequest)
    }

    fn capabilities(&mut self) -> Result<(), Trouble> {
        // In a process of its own, as before every run.
        let mut worker = Worker::start(&self.launch, self.limits)?;
        match probe(&mut worker) {
            Ok(_) => Ok(()),
            // It says by itself what was expected.
            Err(Failure::Nonsense { reason }) => broken(reason),
            Err(failure) => Err(failure.into()),
        }
    }

    fn group_names(&mut self) -> Result<(), Trouble> {
        self.needs_groups()?;
        let device = self.device("group")?;
        let group = GroupId("a group \u{2713}".to_owned());
        self.output(&device, Call::CreateGroup { group: group.clone() })?;
        let again = self.call(&device, Call::CreateGroup { group: group.clone() })?;
        class("a group that exists", &again, &[ErrorClass::Duplicate])?;
        let nowhere = GroupId("nowhere".to_owned());
        for call in [
            Call::Roster { group: nowhere.clone() },
            Call::Send { group: nowhere.clone(), plaintext: Bytes(b"text".to_vec()) },
            Call::Change { group: nowhere, change: Change::default() },
        ] {
            let verb = call.verb();
            let result = self.call(&device, call)?;
            class(&format!("`{verb}` in a group that does not exist"), &result, &[ErrorClass::BadRequest])?;
        }
        if self.roster(&device, &group)? != [device] {
            return broken("a new group has other members than its creator".to_owned());
        }
        Ok(())
    }

    fn change(&mut self) -> Result<(), Trouble> {
        self.needs_groups()?;
        let (one, two) = (self.device("one")?, self.device("two")?);
        let group = GroupId(format!("group {}", self.next));
        self.output(&one, Call::CreateGroup { group: group.clone() })?;
        let packets = self.add(&one, &two, &group)?;
        let kinds: Vec<_> = packets.iter().map(|packet| packet.kind).collect();
        if kinds.first() != Some(&PacketKind::Change)
            || kinds.iter().filter(|kind| **kind == PacketKind::Change).count() != 1
            || !kinds.contains(&PacketKind::Welcome)
        {
            return broken(format!("expected one change and then a welcome, not {}", shown(&kinds)));
        }
        for packet in &packets {
            if packet.from != one || packet.group != group || packet.seal.is_some() {
                return broken(format!(
                    "a packet from {} in {} with another label than its maker's",
                    packet.from, packet.group
                ));
            }
        }
        if packets[0].to != Address::Group(group.clone()) {
            return broken("the change is not addressed to the group".to_owned());
        }
        if self.roster(&one, &group)? != [one.clone()] {
            return broken("it is in force at its author before the server has delivered it back".to_owned());
        }
        for packet in packets {
            let reader = if packet.kind == PacketKind::Change { &one } else { &two };
            self.output(reader, Call::Receive { packet })?;
        }
        for device in [&one, &two] {
            let roster = self.roster(device, &group)?;
            if roster != [one.clone(), two.clone()] {
                return broken(format!("{device} then sees {}, expected both, sorted", shown(&roster)));
            }
        }
        Ok(())
    }

    fn message(&mut self) -> Result<(), Trouble> {
        self.needs_groups()?;
        let pair = self.pair()?;
        for (sender, reader) in [(&pair.one, &pair.two), (&pair.two, &pair.one), (&pair.one, &pair.two)] {
            let text = format!("from {sender}");
            let packets = self.send(sender, &pair.group, text.as_bytes())?;
            let messages: Vec<_> = packets.iter().filter(|packet| packet.kind == PacketKind::Message).collect();
            if messages.len() != 1 || messages[0].to != Address::Group(pair.group.clone()) {
                return broken(format!(
                    "expected one packet of kind `message` to the group, there are {}",
                    messages.len()
                ));
            }
            let read = self.deliver(&pair, packets, reader)?;
            let expected = e2esm_adapter::Message {
                group: pair.group.clone(),
                sender: sender.clone(),
                plaintext: Bytes(text.into_bytes()),
            };
            if read != [expected.clone()] {
                return broken(format!("{reader} read {}, expected {}", shown(&read), shown(&expected)));
            }
        }
        Ok(())
    }

    fn tampering(&mut self) -> Result<(), Trouble> {
        self.needs_groups()?;
        let pair = self.pair()?;
        let packets = self.send(&pair.one, &pair.group, b"first")?;
        self.deliver(&pair, packets, &pair.two)?;
        let packets = self.send(&pair.one, &pair.group, b"second")?;
        for packet in &packets {
            let mut altered = packet.clone();
            if let Some(byte) = altered.bytes.0.last_mut() {
                *byte ^= 1;
            }
            let mut junk = packet.clone();
            junk.bytes = Bytes(vec![0xff; 7]);
            let mut empty = packet.clone();
            empty.bytes = Bytes::default();
            for (what, bad) in
                [("an altered packet", altered), ("seven bytes of junk", junk), ("an empty packet", empty)]
            {
                match self.call(&pair.two, Call::Receive { packet: bad })? {
                    Err(Error { class: ErrorClass::Internal | ErrorClass::Unsupported, text, .. }) => {
                        return broken(format!("{what} was refused as something of its own: {text}"));
                    }
                    Ok(Answer::Output(Output { message: Some(_), .. })) => {
                        // Whose the flaw is, vectors find out; it is no matter of the protocol.
                        return Err(Trouble::Skipped(format!(
                            "{what} was read as a message: see what the vectors say"
                        )));
                    }
                    _ => {}
                }
            }
        }
        let read = self.deliver(&pair, packets, &pair.two)?;
        if read.iter().any(|message| message.plaintext.as_ref() == b"second") {
            return Ok(());
        }
        broken("the honest packet after them was not read".to_owned())
    }

    fn large_packet(&mut self) -> Result<(), Trouble> {
        self.needs_groups()?;
        let pair = self.pair()?;
        let packet = Packet {
            kind: PacketKind::Message,
            group: pair.group.clone(),
            from: pair.one.clone(),
            to: Address::Group(pair.group.clone()),
            opens_session: false,
            bytes: Bytes(vec![0x5a; 500_000]),
            seal: None,
        };
        match self.call(&pair.two, Call::Receive { packet })? {
            Err(_) => {}
            Ok(answer) => return broken(format!("it took it: {}", shown(&answer))),
        }
        self.roster(&pair.two, &pair.group).map(drop)
    }

    fn questions(&mut self) -> Result<(), Trouble> {
        self.needs_groups()?;
        let (one, two) = (self.device("one")?, self.device("two")?);
        let group = GroupId(format!("group {}", self.next));
        self.output(&one, Call::CreateGroup { group: group.clone() })?;
        let packets = self.add(&one, &two, &group)?;
        let Some(welcome) = packets.into_iter().find(|packet| packet.kind == PacketKind::Welcome) else {
            return broken("there is no welcome".to_owned());
        };
        self.worker()?.stance(&two, Stance::Ask)?;
        let mut asked = Vec::new();
        let call = Call::Receive { packet: welcome };
        let called = self.worker()?.call(&two, call, |_, fact| {
            asked.push(fact.clone());
            Ok(true)
        })?;
        if asked.is_empty() {
            return Err(Trouble::Skipped("nothing is asked when a device joins".to_owned()));
        }
        called.result.map_err(|error| Trouble::Broken(format!("answered yes, it refused: {error}")))?;
        for fact in &asked {
            let told = called
                .events
                .iter()
                .any(|event| matches!(event, Event::Consulted { about, answer: true, .. } if about == fact));
            if !told {
                return broken(format!(
                    "the question `{}` was answered, and no `consulted` tells of it",
                    fact.kind().label()
                ));
            }
        }
        Ok(())
    }

    fn removal(&mut self) -> Result<(), Trouble> {
        self.needs_groups()?;
        let pair = self.pair()?;
        let change = Change { remove: vec![pair.two.clone()], ..Change::default() };
        let packets = self.output(&pair.one, Call::Change { group: pair.group.clone(), change })?.packets;
        let Some(packet) = packets.into_iter().find(|packet| packet.kind == PacketKind::Change) else {
            return broken("a removal without a `change` packet: nobody is removed then".to_owned());
        };
        self.output(&pair.one, Call::Receive { packet: packet.clone() })?;
        if self.roster(&pair.one, &pair.group)? != [pair.one.clone()] {
            return broken("its author still sees the removed device".to_owned());
        }
        let call = Call::Receive { packet };
        let called = self.worker()?.call(&pair.two, call, |_, _| Ok(true))?;
        let noticed = |event: &Event| matches!(event, Event::MemberRemoved { device, .. } if *device == pair.two);
        if called.result.is_ok() && !called.events.iter().any(noticed) {
            return broken("the removed device takes the change and tells no `member_removed` of itself".to_owned());
        }
        let roster = self.roster(&pair.two, &pair.group)?;
        let former = [pair.one.clone(), pair.two.clone()];
        if roster != former && roster != former[..1] {
            return broken(format!("the removed device then sees {}", shown(&roster)));
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), Trouble> {
        self.worker()?.hello()?;
        let Some(worker) = self.worker.take() else { return Ok(()) };
        match worker.finish()? {
            Some(status) if status == "exit status: 0" => Ok(()),
            Some(status) if status == "killed" => {
                broken("it did not end within two seconds, and was killed".to_owned())
            }
            Some(status) => broken(format!("it ended with {status}")),
            None => {
                Err(Trouble::Skipped("on this system, and for built-in adapters, that is not looked at".to_owned()))
            }
        }
    }
}

fn broken<T>(reason: String) -> Result<T, Trouble> {
    Err(Trouble::Broken(reason))
}

fn refusal(what: &str, reply: &Reply, expected: ErrorClass) -> Result<(), Trouble> {
    match reply {
        Reply::Error(error) if error.class == expected => Ok(()),
        other => broken(format!("to `{what}` it answered {}, expected `{}`", shown(other), label(expected))),
    }
}

fn class(what: &str, result: &Result<Answer, Error>, expected: &[ErrorClass]) -> Result<(), Trouble> {
    let expected_labels = || expected.iter().map(|class| label(*class)).collect::<Vec<_>>().join("` or `");
    match result {
        Err(error) if expected.contains(&error.class) => Ok(()),
        Err(error) => {
            broken(format!("{what} is `{}` ({}), expected `{}`", label(error.class), error.text, expected_labels()))
        }
        Ok(_) => broken(format!("{what} was taken, expected `{}`", expected_labels())),
    }
}

fn label(class: ErrorClass) -> String {
    serde_json::to_value(class).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}
