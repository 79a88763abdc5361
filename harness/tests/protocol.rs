//! `adapters/PROTOCOL.md` and the schemas beside it hold against what the built-in adapters really say over stdio.
//!
//! Every line to a child is written here as JSON, as somebody would who has only the document, and every line in either
//! direction is validated.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use jsonschema::Validator;
use serde_json::{Value, json};

const ALICE: &str = "alice/phone";
const BOB: &str = "bob/phone";
const GROUP: &str = "friends";

fn adapters_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../adapters")
}

fn schema(name: &str) -> Value {
    let path = adapters_folder().join("schema").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn validator(name: &str) -> Validator {
    jsonschema::validator_for(&schema(name)).expect("the schema itself is sound")
}

fn document() -> String {
    std::fs::read_to_string(adapters_folder().join("PROTOCOL.md")).expect("the document is there")
}

fn valid(validator: &Validator, line: &str) {
    let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let problems: Vec<_> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
    assert!(problems.is_empty(), "{line}: {problems:?}");
}

/// Whether a line is a request as the schema has it.
fn is_valid(validator: &Validator, line: &str) -> bool {
    serde_json::from_str(line).is_ok_and(|value: Value| validator.is_valid(&value))
}

/// A child, and both schemas.
struct Talk {
    adapter: String,
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    request: Validator,
    reply: Validator,
    next: u64,
    /// Replies of the kind `undecided` so far.
    asked: usize,
}

impl Talk {
    fn with(adapter: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_e2esm"))
            .args(["worker", "--adapter", adapter])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the worker starts");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("its output is piped"));
        let (request, reply) = (validator("request.json"), validator("reply.json"));
        Self { adapter: adapter.to_owned(), child, input, output, request, reply, next: 1, asked: 0 }
    }

    /// One line to the child, and one line back, which must keep to the schema.
    fn exchange(&mut self, line: &str) -> Value {
        let input = self.input.as_mut().expect("the child's input is open");
        input.write_all(line.as_bytes()).and_then(|()| input.write_all(b"\n")).expect("the child reads");
        let mut answer = String::new();
        self.output.read_line(&mut answer).expect("the child answers in UTF-8");
        assert!(answer.ends_with('\n'), "{}: half a line: {answer}", self.adapter);
        valid(&self.reply, answer.trim_end());
        serde_json::from_str(&answer).expect("it was valid")
    }

    /// A request, which must keep to the schema.
    fn say(&mut self, request: Value) -> Value {
        let id = self.next;
        self.next += 1;
        let line = json!({"id": id, "request": request}).to_string();
        valid(&self.request, &line);
        let answer = self.exchange(&line);
        assert_eq!(answer["id"], id, "{}: {line}", self.adapter);
        answer
    }

    /// A line that is no request by the schema; its refusal's class, and the id that it bears.
    fn babble(&mut self, line: &str) -> (String, u64) {
        assert!(!is_valid(&self.request, line), "{line} is valid");
        let answer = self.exchange(line);
        (class(&answer), answer["id"].as_u64().expect("an id"))
    }

    fn call(&mut self, handle: &str, call: Value) -> Value {
        self.say(json!({"call": {"handle": handle, "call": call}}))
    }

    fn done(&mut self, request: Value) {
        let answer = self.say(request);
        assert_eq!(answer["reply"], json!({"ok": {"done": {}}}), "{}", self.adapter);
    }

    fn device(&mut self, handle: &str) {
        self.done(json!({"device": {"handle": handle, "id": handle}}));
    }

    /// A call that must succeed, with all its questions answered yes; its answer of that kind, and its events.
    fn get(&mut self, handle: &str, call: Value, kind: &str) -> (Value, Vec<Value>) {
        let mut answer = self.call(handle, call.clone());
        let mut facts = Vec::new();
        while let Some(waits) = answer["reply"].get("undecided") {
            self.asked += 1;
            assert!(answer.get("events").is_none(), "{}: what it noticed so far is not told: {answer}", self.adapter);
            facts.push(waits["fact"].clone());
            answer = self.say(json!({"resume": {"handle": handle, "token": waits["token"], "answer": true}}));
        }
        let events = answer["events"].as_array().cloned().unwrap_or_default();
        for fact in facts {
            let told = events.iter().any(|event| event["about"] == fact && event["answer"] == true);
            assert!(told, "{}: no event tells of {fact}: {events:?}", self.adapter);
        }
        let found = answer["reply"]["ok"].get(kind).cloned();
        (found.unwrap_or_else(|| panic!("{}: to {call} it answered {answer}", self.adapter)), events)
    }

    fn packets(&mut self, handle: &str, call: Value) -> Vec<Value> {
        let (output, _) = self.get(handle, call, "output");
        output["packets"].as_array().cloned().unwrap_or_default()
    }

    fn receive(&mut self, handle: &str, packet: &Value) -> (Value, Vec<Value>) {
        self.get(handle, json!({"receive": {"packet": packet}}), "output")
    }

    /// `by` adds `who`: what the author gets back, and what the newcomer gets.
    fn add(&mut self, by: &str, group: &str, who: &str) -> (Vec<Value>, Vec<Value>) {
        let (bundle, _) = self.get(who, json!({"publish": {"peer": by}}), "bundle");
        let change = json!({"add": [bundle], "remove": [], "refresh": false});
        let packets = self.packets(by, json!({"change": {"group": group, "change": change}}));
        let (changes, welcomes): (Vec<_>, Vec<_>) = packets.into_iter().partition(|packet| packet["kind"] == "change");
        assert_eq!(changes.len(), 1, "{}: one change", self.adapter);
        assert_eq!(changes[0]["to"], json!({"group": group}), "{}", self.adapter);
        (changes, welcomes)
    }

    /// `by` writes, after whatever introductions it wants.
    fn send(&mut self, by: &str, group: &str, text: &str) -> Vec<Value> {
        let (wanted, _) = self.get(by, json!({"wants": {"group": group}}), "devices");
        for peer in wanted.as_array().expect("a list").clone() {
            let peer = peer.as_str().expect("a device").to_owned();
            let (bundle, _) = self.get(&peer, json!({"publish": {"peer": by}}), "bundle");
            self.get(by, json!({"introduce": {"bundle": bundle}}), "output");
        }
        self.packets(by, json!({"send": {"group": group, "plaintext": hex::encode(text)}}))
    }

    /// `reader` takes the packets and reads exactly this.
    fn reads(&mut self, reader: &str, packets: &[Value], group: &str, sender: &str, text: &str) {
        let read: Vec<Value> =
            packets.iter().filter_map(|packet| self.receive(reader, packet).0.get("message").cloned()).collect();
        let message = json!({"group": group, "sender": sender, "plaintext": hex::encode(text)});
        assert_eq!(read, [message], "{}", self.adapter);
    }

    fn refused(&mut self, handle: &str, call: Value) -> String {
        class(&self.call(handle, call))
    }

    /// The end of the input is the end of the child.
    fn end(mut self) {
        drop(self.input.take());
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).expect("its output ends");
        assert_eq!(rest, "", "{}: it says something unasked", self.adapter);
        let status = self.child.wait().expect("it ends");
        assert!(status.success(), "{}: {status}", self.adapter);
    }
}

/// Whatever a test makes of it, no child stays behind.
impl Drop for Talk {
    fn drop(&mut self) {
        // An error means that it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn class(answer: &Value) -> String {
    let error = &answer["reply"]["error"];
    error["class"].as_str().unwrap_or_else(|| panic!("no refusal: {answer}")).to_owned()
}

fn flipped(packet: &Value) -> Value {
    let mut bytes = hex::decode(packet["bytes"].as_str().expect("hex")).expect("hex");
    *bytes.last_mut().expect("a packet is not empty") ^= 1;
    let mut packet = packet.clone();
    packet["bytes"] = json!(hex::encode(bytes));
    packet
}

fn has_event(events: &[Value], name: &str, device: &str) -> bool {
    events.iter().any(|event| event["event"] == name && event["device"] == device)
}

fn names() -> Vec<String> {
    let names: Vec<_> = e2esm::registry::built_in().iter().map(|adapter| adapter.describe().name).collect();
    assert!(names.len() >= 3, "{names:?}");
    names
}

/// Hello, and two devices; bob is asked.
fn begin(adapter: &str) -> (Talk, Value) {
    let mut talk = Talk::with(adapter);
    let hello = talk.say(json!({"hello": {}}))["reply"]["hello"].clone();
    assert_eq!(hello["version"], 1, "{adapter}");
    assert_eq!(hello["description"]["name"], adapter);
    talk.device(ALICE);
    talk.device(BOB);
    talk.done(json!({"stance": {"handle": BOB, "stance": "ask"}}));
    (talk, hello["description"].clone())
}

/// A group of alice and bob, of which bob was asked.
fn befriend(talk: &mut Talk) {
    talk.get(ALICE, json!({"create_group": {"group": GROUP}}), "output");
    let (changes, welcomes) = talk.add(ALICE, GROUP, BOB);
    let (_, events) = talk.receive(ALICE, &changes[0]);
    assert!(has_event(&events, "member_added", BOB), "{}: {events:?}", talk.adapter);
    for welcome in &welcomes {
        talk.receive(BOB, welcome);
    }
}

#[test]
fn a_small_life_is_as_the_document_says() {
    for adapter in names() {
        let (mut talk, description) = begin(&adapter);
        let unsupported = |capability: &str| description["unsupported"].get(capability).is_some();
        let (identity, _) = talk.get(BOB, json!({"identity": {}}), "identity");
        assert_eq!(identity["account_key"] == identity["device_key"], identity["voucher"] == "", "{adapter}");

        talk.get(ALICE, json!({"create_group": {"group": GROUP}}), "output");
        assert_eq!(talk.refused(ALICE, json!({"create_group": {"group": GROUP}})), "duplicate", "{adapter}");
        let (changes, welcomes) = talk.add(ALICE, GROUP, BOB);
        let (before, _) = talk.get(ALICE, json!({"roster": {"group": GROUP}}), "roster");
        assert_eq!(before["members"], json!([ALICE]), "{adapter}: the change is pending");
        let (_, events) = talk.receive(ALICE, &changes[0]);
        assert!(has_event(&events, "member_added", BOB), "{adapter}: {events:?}");

        // A wrong token changes nothing; a no refuses; after that the same call is taken as if nothing had been.
        let welcome = json!({"receive": {"packet": welcomes[0]}});
        let waits = talk.call(BOB, welcome.clone())["reply"]["undecided"].clone();
        let resume = |token: &Value, answer: bool| json!({"resume": {"handle": BOB, "token": token, "answer": answer}});
        assert!(waits["fact"]["fact"].is_string(), "{adapter}: nobody is asked about a welcome");
        assert_eq!(class(&talk.say(resume(&json!(987_654), true))), "bad_request", "{adapter}");
        let no = talk.say(resume(&waits["token"], false));
        assert!(["untrusted_identity", "refused"].contains(&class(&no).as_str()), "{adapter}: {no}");
        let told = no["events"].as_array().expect("a refused call has events too");
        assert!(told.iter().any(|event| event["about"] == waits["fact"] && event["answer"] == false), "{adapter}");
        for welcome in &welcomes {
            let (_, events) = talk.receive(BOB, welcome);
            assert!(events.iter().any(|event| event["event"] == "joined"), "{adapter}: {events:?}");
        }
        assert!(talk.asked > 0, "{adapter}: no question was answered");

        let sent = talk.send(ALICE, GROUP, "hello");
        let to_group = |packet: &Value| packet["kind"] == "message" && packet["to"] == json!({"group": GROUP});
        assert_eq!(sent.iter().filter(|packet| to_group(packet)).count(), 1, "{adapter}: one packet to the group");
        let distributes = sent.iter().any(|packet| packet["kind"] == "key_distribution");
        assert_eq!(distributes, !unsupported("key_distribution"), "{adapter}");
        talk.reads(BOB, &sent, GROUP, ALICE, "hello");
        talk.done(json!({"stance": {"handle": BOB, "stance": "yes"}}));
        let sent = talk.send(BOB, GROUP, "hello yourself");
        talk.reads(ALICE, &sent, GROUP, BOB, "hello yourself");

        // A refused packet costs nothing.
        let sent = talk.send(ALICE, GROUP, "again");
        let refused = talk.refused(BOB, json!({"receive": {"packet": flipped(&sent[0])}}));
        assert_eq!(refused, "auth_failed", "{adapter}");
        talk.reads(BOB, &sent, GROUP, ALICE, "again");

        for handle in [ALICE, BOB] {
            let (roster, _) = talk.get(handle, json!({"roster": {"group": GROUP}}), "roster");
            assert_eq!(roster["members"], json!([ALICE, BOB]), "{adapter}");
            assert_eq!(roster["authenticated"], description["group_object"], "{adapter}");
        }
        if !unsupported("fingerprint") {
            let (one, _) = talk.get(ALICE, json!({"fingerprint": {"group": GROUP, "peer": BOB}}), "fingerprint");
            let (two, _) = talk.get(BOB, json!({"fingerprint": {"group": GROUP, "peer": ALICE}}), "fingerprint");
            assert_eq!(one, two, "{adapter}");
            assert_eq!(one["kind"] == "epoch_authenticator", !unsupported("epochs"), "{adapter}");
        }
        let nobody = json!({"add": [], "remove": ["carol/phone"], "refresh": false});
        assert_eq!(
            talk.refused(ALICE, json!({"change": {"group": GROUP, "change": nobody}})),
            "not_member",
            "{adapter}"
        );

        // Who is removed is told so, and what it still sends nobody takes.
        let change = json!({"add": [], "remove": [BOB], "refresh": false});
        let packets = talk.packets(ALICE, json!({"change": {"group": GROUP, "change": change}}));
        for handle in [ALICE, BOB] {
            let (_, events) = talk.receive(handle, &packets[0]);
            assert!(has_event(&events, "member_removed", BOB), "{adapter}, {handle}: {events:?}");
        }
        let after = talk.call(BOB, json!({"send": {"group": GROUP, "plaintext": "00"}}));
        match after["reply"]["ok"]["output"]["packets"].as_array() {
            Some(packets) => {
                let refused = talk.refused(ALICE, json!({"receive": {"packet": packets[0]}}));
                assert!(["stale_epoch", "not_member"].contains(&refused.as_str()), "{adapter}: {refused}");
            }
            None => assert_eq!(class(&after), "not_member", "{adapter}"),
        }
        let (roster, _) = talk.get(ALICE, json!({"roster": {"group": GROUP}}), "roster");
        assert_eq!(roster["members"], json!([ALICE]), "{adapter}");
        talk.end();
    }
}

#[test]
fn what_is_unsupported_says_so_and_nothing_else_does() {
    let nobody = json!({"device": "nobody/nowhere", "bytes": "00"});
    let known = json!({"id": "none", "members": [], "changes": 0});
    let calls = [
        ("pairwise_sessions", json!({"introduce": {"bundle": nobody}})),
        ("resend", json!({"resend": {"group": "none", "plaintext": "00", "bundle": nobody, "acknowledged": false}})),
        ("history", json!({"share_history": {"group": "none", "to": "nobody/nowhere"}})),
        ("key_request", json!({"request_keys": {"group": "none", "holder": "nobody/nowhere"}})),
        ("linking", json!({"link_request": {}})),
        ("linking", json!({"accept_authorisation": {"authorisation": nobody}})),
        ("fingerprint", json!({"fingerprint": {"group": "none", "peer": "nobody/nowhere"}})),
        ("external_join", json!({"group_info": {"group": "none"}})),
        ("external_join", json!({"external_join": {"group_info": "00"}})),
        ("ratchet_tree", json!({"tree_in_welcome": {"group": "none", "inside": true}})),
        ("ratchet_tree", json!({"ratchet_tree": {"group": "none"}})),
        ("state_export", json!({"export_state": {}})),
        ("persistence", json!({"store": {}})),
        ("standard_keys", json!({"standard_keys": {}})),
        ("relabelled_sender", json!({"misbehave": {"fault": {"relabelled_sender": "nobody/nowhere"}}})),
        ("wrong_parent_hash", json!({"misbehave": {"fault": "wrong_parent_hash"}})),
        (
            "forged_message",
            json!({"craft": {"forgery": {"message": {"group": known, "claim": "bob/phone", "plaintext": "00"}}}}),
        ),
        ("uninvited_join", json!({"craft": {"forgery": {"uninvited_join": {"group": known}}}})),
        ("broken_bundle", json!({"craft": {"forgery": {"broken_bundle": {"bundle": nobody}}}})),
    ];
    let mut missing = BTreeSet::new();
    for adapter in names() {
        let (mut talk, description) = begin(&adapter);
        for (capability, call) in &calls {
            let answer = talk.call(ALICE, call.clone());
            let declared = description["unsupported"].get(*capability).is_some();
            let says = answer["reply"]["error"]["class"] == "unsupported";
            assert_eq!(says, declared, "{adapter}: {capability}: {answer}");
            missing.extend(declared.then_some(*capability));
        }
        talk.end();
    }
    assert!(missing.len() >= 4 && missing.len() < calls.len(), "{missing:?}");
}

#[test]
fn devices_are_known_by_their_handles_and_can_be_copied_stored_and_linked() {
    for adapter in names() {
        let (mut talk, description) = begin(&adapter);
        befriend(&mut talk);
        talk.done(json!({"stance": {"handle": BOB, "stance": "yes"}}));
        assert_eq!(class(&talk.say(json!({"device": {"handle": BOB, "id": BOB}}))), "bad_request", "{adapter}");
        // Another who claims to be bob has keys of its own.
        talk.done(json!({"device": {"handle": "mallory/phone", "id": BOB}}));
        let (true_keys, _) = talk.get(BOB, json!({"identity": {}}), "identity");
        let (other_keys, _) = talk.get("mallory/phone", json!({"identity": {}}), "identity");
        assert_ne!(true_keys, other_keys, "{adapter}");
        for (capability, verb, make, field) in
            [("state_export", "export_state", "restore", "state"), ("persistence", "store", "load", "store")]
        {
            if description["unsupported"].get(capability).is_some() {
                continue;
            }
            let (bytes, _) = talk.get(BOB, json!({verb: {}}), "bytes");
            let handle = format!("copy/{make}");
            let mut fields = json!({"handle": handle, "id": BOB});
            fields[field] = bytes;
            talk.done(json!({make: fields}));
            let (copied_keys, _) = talk.get(&handle, json!({"identity": {}}), "identity");
            assert_eq!(copied_keys, true_keys, "{adapter}: {verb}");
            let (roster, _) = talk.get(&handle, json!({"roster": {"group": GROUP}}), "roster");
            assert_eq!(roster["members"], json!([ALICE, BOB]), "{adapter}: {verb}");
        }
        if description["unsupported"].get("linking").is_none() {
            talk.device("bob/tablet");
            let (request, _) = talk.get("bob/tablet", json!({"link_request": {}}), "link_request");
            let (word, _) = talk.get(BOB, json!({"authorise": {"request": request}}), "authorisation");
            let elsewhere = talk.refused(ALICE, json!({"accept_authorisation": {"authorisation": word}}));
            assert_eq!(elsewhere, "bad_request", "{adapter}: it is for another device");
            talk.get("bob/tablet", json!({"accept_authorisation": {"authorisation": word}}), "done");
            let (linked, _) = talk.get("bob/tablet", json!({"identity": {}}), "identity");
            assert_eq!(linked["account_key"], true_keys["account_key"], "{adapter}");
        }
        talk.end();
    }
}

#[test]
fn an_answer_given_beforehand_holds() {
    for adapter in names() {
        let (mut talk, _) = begin(&adapter);
        talk.get(ALICE, json!({"create_group": {"group": GROUP}}), "output");
        let (changes, welcomes) = talk.add(ALICE, GROUP, BOB);
        talk.receive(ALICE, &changes[0]);
        let receive = json!({"receive": {"packet": welcomes[0]}});
        let waits = talk.call(BOB, receive.clone())["reply"]["undecided"].clone();
        let decision = json!({"fact": waits["fact"], "answer": false});
        talk.done(json!({"trust": {"handle": BOB, "decision": decision}}));
        let answer = talk.call(BOB, receive.clone());
        assert!(["untrusted_identity", "refused"].contains(&class(&answer).as_str()), "{adapter}: {answer}");
        // The call that waited is forgotten with its token.
        let resume = json!({"resume": {"handle": BOB, "token": waits["token"], "answer": true}});
        assert_eq!(class(&talk.say(resume)), "bad_request", "{adapter}");
        let decision = json!({"fact": waits["fact"], "answer": true});
        talk.done(json!({"trust": {"handle": BOB, "decision": decision}}));
        talk.get(BOB, receive, "output");
        talk.end();
    }
}

/// A delivery to a passive device: a refusal, or what holds now.
fn deliver(talk: &mut Talk, handle: &str, delivery: &Value) -> Value {
    talk.say(json!({"deliver": {"handle": handle, "delivery": delivery}}))["reply"].clone()
}

#[test]
fn a_passive_device_reads_what_a_live_one_was_given() {
    let mut read = 0;
    for adapter in names() {
        let (mut talk, description) = begin(&adapter);
        if description["unsupported"].get("standard_keys").is_some() {
            continue;
        }
        talk.done(json!({"stance": {"handle": BOB, "stance": "yes"}}));
        talk.get(ALICE, json!({"create_group": {"group": GROUP}}), "output");
        let (changes, welcomes) = talk.add(ALICE, GROUP, BOB);
        let (start, _) = talk.get(BOB, json!({"standard_keys": {}}), "start");
        talk.receive(ALICE, &changes[0]);
        let mut brought: Vec<Value> = Vec::new();
        let sent = |talk: &mut Talk, packet: &Value, brought: &mut Vec<Value>| {
            talk.receive(BOB, packet);
            let transcript = talk.call(BOB, json!({"transcript": {}}))["reply"].clone();
            match transcript["ok"]["deliveries"].as_array() {
                Some(deliveries) => brought.extend(deliveries.iter().cloned()),
                // Packets are the library's own bytes.
                None => brought.push(json!({"kind": "mls_message", "bytes": packet["bytes"]})),
            }
        };
        for welcome in &welcomes {
            sent(&mut talk, welcome, &mut brought);
        }
        for packet in talk.send(ALICE, GROUP, "hello") {
            sent(&mut talk, &packet, &mut brought);
        }
        talk.done(json!({"passive": {"handle": "sessions", "start": start}}));
        // Megolm is a protocol of its own.
        let megolm = start.get("olm").is_some();
        if megolm {
            talk.done(json!({"passive": {"handle": "messages", "start": {"megolm": {}}}}));
        }
        let again = json!({"passive": {"handle": "sessions", "start": start}});
        assert_eq!(class(&talk.say(again)), "bad_request", "{adapter}");
        let (last, earlier) = brought.split_last().expect("something was brought");
        for delivery in earlier {
            let kind = delivery["kind"].as_str().expect("a kind");
            let handle = if megolm && kind == "session_key" { "messages" } else { "sessions" };
            let reply = deliver(&mut talk, handle, delivery);
            assert!(reply["ok"]["delivered"].is_object(), "{adapter}: {delivery}: {reply}");
        }
        let handle = if megolm { "messages" } else { "sessions" };
        let reply = deliver(&mut talk, handle, &flipped(last));
        assert_eq!(reply["error"]["class"], "auth_failed", "{adapter}: {reply}");
        let reply = deliver(&mut talk, handle, last);
        assert_eq!(reply["ok"]["delivered"]["plaintext"], hex::encode("hello"), "{adapter}: {reply}");
        assert_eq!(class(&talk.say(json!({"deliver": {"handle": BOB, "delivery": last}}))), "bad_request");
        read += 1;
        talk.end();
    }
    assert!(read >= 3, "only {read} adapters export what they published");
}

/// One of each protocol that is published, on each adapter that plays it.
#[test]
fn published_recorded_vectors_play_over_raw_lines() {
    let vectors = e2esm::recorded::embedded().expect("the embedded vectors are well-formed");
    let vectors: Vec<Value> = vectors.iter().map(|vector| serde_json::to_value(vector).expect("JSON")).collect();
    let mut played = 0;
    for adapter in names() {
        let (mut talk, description) = begin(&adapter);
        let protocols = description["recorded"].as_array().cloned().unwrap_or_default();
        for protocol in protocols {
            // Vectors with a known disagreement are not for this test.
            let plain = |vector: &&Value| {
                vector["protocol"] == protocol && vector["disagreements"].as_array().is_none_or(Vec::is_empty)
            };
            let Some(vector) = vectors.iter().find(plain) else { continue };
            let handle = protocol.as_str().expect("a name");
            let started = talk.say(json!({"passive": {"handle": handle, "start": vector["start"]}}));
            if started["reply"]["error"]["class"] == "unsupported" {
                continue;
            }
            assert_eq!(started["reply"], json!({"ok": {"done": {}}}), "{adapter}: {}", vector["id"]);
            for step in vector["deliveries"].as_array().expect("deliveries") {
                let fields = ["kind", "from", "bytes", "ratchet_tree"];
                let given = fields.iter().filter_map(|field| Some(((*field).to_owned(), step.get(*field)?.clone())));
                let reply = deliver(&mut talk, handle, &Value::Object(given.collect()));
                let place = format!("{adapter}: {} {}: {reply}", vector["id"], step["name"]);
                if let Some(facts) = step["expected"].get("accepted") {
                    assert_eq!(reply["ok"]["delivered"]["plaintext"], facts["plaintext"], "{place}");
                } else if let Some(rejected) = step["expected"].get("rejected") {
                    let reasons = rejected["reasons"].as_array().expect("reasons");
                    assert!(reasons.contains(&reply["error"]["class"]), "{place}");
                }
                played += 1;
            }
        }
        talk.end();
    }
    assert!(played > 0 || vectors.is_empty(), "nobody plays what is published");
}

#[test]
fn what_is_no_request_is_refused_and_the_child_goes_on() {
    for adapter in names() {
        let (mut talk, _) = begin(&adapter);
        let packet = json!({"kind": "message", "group": GROUP, "from": ALICE, "to": {"group": GROUP}, "bytes": "00"});
        let receive = |packet: Value| json!({"call": {"handle": BOB, "call": {"receive": {"packet": packet}}}});
        let with = |field: &str, value: Value| {
            let mut packet = packet.clone();
            packet[field] = value;
            packet
        };
        let cases = [
            ("bad_request", json!({"hello": {"surprise": 1}})),
            ("bad_request", json!({"device": {"handle": "x"}})),
            ("bad_request", json!({"call": {"handle": BOB, "call": {"identity": {}}, "surprise": 1}})),
            ("bad_request", json!({"call": {"handle": BOB, "call": {"roster": {"group": GROUP, "surprise": 1}}}})),
            ("bad_request", receive(with("surprise", json!(1)))),
            ("bad_request", receive(with("bytes", json!("0")))),
            ("bad_request", receive(with("bytes", json!("no hex")))),
            ("bad_request", receive(with("bytes", json!([0])))),
            ("unsupported", receive(with("kind", json!("rumour")))),
            ("unsupported", json!({"no_such_verb": {}})),
            ("unsupported", json!({"call": {"handle": BOB, "call": {"no_such_verb": {}}}})),
            ("unsupported", json!({"call": {"handle": BOB, "call": {"misbehave": {"fault": "politeness"}}}})),
        ];
        for (expected, request) in cases {
            let line = json!({"id": 77, "request": request}).to_string();
            assert_eq!(talk.babble(&line), (expected.to_owned(), 77), "{adapter}: {line}");
        }
        let line = json!({"id": 78, "request": {"hello": {}}, "surprise": 1}).to_string();
        assert_eq!(talk.babble(&line), ("bad_request".to_owned(), 78), "{adapter}");
        for line in ["this is no JSON", "{\"id\":79,\"request\":{\"hello\":{", "", "[]", "{\"request\":{\"hello\":{}}}"]
        {
            assert_eq!(talk.babble(line), ("bad_request".to_owned(), 0), "{adapter}: {line}");
        }
        // What the schema leaves to the document.
        let device = |id: &str| json!({"device": {"handle": "nobody", "id": id}});
        for id in ["nobody", "/phone", "bob/", "bob/phone/2"] {
            assert_eq!(class(&talk.say(device(id))), "bad_request", "{adapter}: {id}");
        }
        for request in [
            json!({"call": {"handle": "nobody/nowhere", "call": {"identity": {}}}}),
            json!({"stance": {"handle": "nobody/nowhere", "stance": "yes"}}),
            json!({"resume": {"handle": BOB, "token": 5, "answer": true}}),
            json!({"deliver": {"handle": "nobody", "delivery": {"kind": "message", "bytes": "00"}}}),
        ] {
            assert_eq!(class(&talk.say(request)), "bad_request", "{adapter}");
        }
        befriend(&mut talk);
        let sent = talk.send(ALICE, GROUP, "after all that");
        talk.reads(BOB, &sent, GROUP, ALICE, "after all that");
        talk.end();
    }
}

#[test]
fn the_schema_of_replies_refuses_what_is_no_reply() {
    let reply = validator("reply.json");
    let good = json!({"id": 1, "reply": {"ok": {"output": {}}}, "events": [{"event": "joined", "group": GROUP}], "nanoseconds": 5});
    assert!(reply.is_valid(&good));
    assert!(reply.is_valid(&json!({"id": 1, "reply": {"ok": {"done": {}}}})), "events and nanoseconds are optional");
    for bad in [
        json!({"id": 1}),
        json!({"reply": {"ok": {"done": {}}}}),
        json!({"id": -1, "reply": {"ok": {"done": {}}}}),
        json!({"id": 1, "reply": {"ok": {"done": {}}}, "surprise": 1}),
        json!({"id": 1, "reply": {"ok": {"nothing": {}}}}),
        json!({"id": 1, "reply": {"ok": {"done": {}, "output": {}}}}),
        json!({"id": 1, "reply": {"ok": {"bytes": "ABCD"}}}),
        json!({"id": 1, "reply": {"ok": {"output": {"surprise": 1}}}}),
        json!({"id": 1, "reply": {"error": {"class": "sorry", "text": ""}}}),
        json!({"id": 1, "reply": {"error": {"class": "refused"}}}),
        json!({"id": 1, "reply": {"undecided": {"token": 1}}}),
        json!({"id": 1, "reply": {"ok": {"done": {}}}, "events": [{"event": "joined", "group": GROUP, "surprise": 1}]}),
        json!({"id": 1, "reply": {"ok": {"done": {}}}, "events": [{"event": "born"}]}),
    ] {
        assert!(!reply.is_valid(&bad), "{bad}");
    }
}

/// Visits every schema within a schema, with its place.
fn visit(schema: &Value, place: &str, seen: &mut impl FnMut(&str, &serde_json::Map<String, Value>)) {
    match schema {
        Value::Object(map) => {
            seen(place, map);
            map.iter().for_each(|(key, value)| visit(value, &format!("{place}/{key}"), seen));
        }
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(i, value)| visit(value, &format!("{place}/{i}"), seen))
        }
        _ => {}
    }
}

#[test]
fn the_schemas_leave_no_object_open_but_those_that_the_document_names() {
    let mut closed = 0;
    for name in ["request.json", "reply.json"] {
        visit(&schema(name), "", &mut |place, map| {
            if map.get("type") != Some(&json!("object")) || map.get("additionalProperties") == Some(&json!(false)) {
                closed += 1;
                return;
            }
            // Names to text.
            let known = ["/$defs/Description/properties/configuration", "/$defs/Description/properties/unsupported"];
            assert!(known.contains(&place), "{name}: {place} is open");
        });
    }
    assert!(closed > 100, "only {closed} closed objects");
}

/// The names that one of alternatives has: verbs, kinds, values.
fn alternatives(schema: &Value, definition: &str) -> Vec<(String, Value)> {
    let list = schema["$defs"][definition]["oneOf"].as_array().unwrap_or_else(|| panic!("no {definition}"));
    list.iter()
        .map(|alternative| {
            let name = alternative["required"][0].as_str().unwrap_or_else(|| panic!("{definition}: {alternative}"));
            (name.to_owned(), alternative["properties"][name].clone())
        })
        .collect()
}

#[test]
fn the_document_names_every_verb_field_and_value() {
    let document = document();
    let (prose, transcript) = document.split_once("\n## A conversation\n").expect("a conversation");
    assert!(transcript.contains("\n## Checklist\n"));
    let named = |name: &str| ["`", "\""].iter().any(|quote| prose.contains(&format!("{quote}{name}{quote}")));
    let mut names = BTreeSet::new();
    for file in ["request.json", "reply.json"] {
        visit(&schema(file), "", &mut |_, map| {
            if let Some(Value::Object(properties)) = map.get("properties") {
                names.extend(properties.keys().cloned());
            }
            names.extend(map.get("const").and_then(Value::as_str).map(str::to_owned));
            if let Some(Value::Array(values)) = map.get("enum") {
                names.extend(values.iter().filter_map(Value::as_str).map(str::to_owned));
            }
        });
    }
    names.extend(e2esm_adapter::Capability::ALL.iter().map(|capability| capability.label().to_owned()));
    assert!(names.len() > 150, "only {} names", names.len());
    let missing: Vec<_> = names.iter().filter(|name| !named(name)).collect();
    assert!(missing.is_empty(), "PROTOCOL.md does not name {missing:?}");
    // Verbs have rows of their own, which name their fields.
    for definition in ["Request", "Call"] {
        for (verb, fields) in alternatives(&schema("request.json"), definition) {
            let rows: Vec<_> = prose.lines().filter(|line| line.starts_with(&format!("| `{verb}` |"))).collect();
            assert!(!rows.is_empty(), "no row for the verb {verb}");
            for field in fields["properties"].as_object().into_iter().flatten().map(|(field, _)| field) {
                assert!(rows.iter().any(|row| row.contains(&format!("`{field}`"))), "{verb}: no {field}");
            }
        }
    }
    for definition in ["Reply", "Answer"] {
        for (kind, _) in alternatives(&schema("reply.json"), definition) {
            assert!(named(&kind), "{definition}: {kind}");
        }
    }
}

#[test]
fn the_conversation_in_the_document_keeps_to_the_schemas() {
    let (request, reply) = (validator("request.json"), validator("reply.json"));
    let document = document();
    let (_, conversation) = document.split_once("\n## A conversation\n").expect("a conversation");
    let mut open: Option<Value> = None;
    let (mut exchanges, mut kinds) = (0, BTreeSet::new());
    let mut quoted = false;
    for line in conversation.lines() {
        if line.starts_with("```") {
            quoted = !quoted;
            continue;
        }
        if !quoted {
            continue;
        }
        let (mark, line) = line.split_at_checked(3).expect("a mark and a line");
        match mark {
            "-> " => {
                valid(&request, line);
                open = serde_json::from_str(line).ok();
            }
            "!> " => {
                assert!(!is_valid(&request, line), "{line} is a request");
                open = Some(serde_json::from_str(line).unwrap_or_else(|_| json!({"id": 0})));
            }
            "<- " => {
                valid(&reply, line);
                let answer: Value = serde_json::from_str(line).expect("it was valid");
                let asked = open.take().expect("an answer follows a question");
                assert_eq!(answer["id"], asked["id"], "{line}");
                kinds.extend(answer["reply"].as_object().into_iter().flatten().map(|(kind, _)| kind.clone()));
                exchanges += 1;
            }
            _ => panic!("a line without a mark: {mark}{line}"),
        }
    }
    assert!(open.is_none() && !quoted, "the conversation breaks off");
    assert!(exchanges >= 30, "only {exchanges} exchanges");
    assert_eq!(kinds.len(), 4, "{kinds:?}");
}
