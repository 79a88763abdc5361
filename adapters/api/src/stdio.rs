//! The stdio protocol, first version: line-delimited JSON, one request and one reply, each with the same id.
//!
//! [`serve_stdio`] is all that an implementation in Rust needs; the harness runs the built-in ones the same way, in a
//! worker process, so that a panic, an abort, a hang or a leak costs that process's rows only.

use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::time::Instant;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::decision::{Decision, Event, Fact, Stance};
use crate::describe::Description;
use crate::device::{Adapter, Answer, Call, Device};
use crate::error::{Error, ErrorClass};
use crate::ids::{Bytes, DeviceId};
use crate::recorded::{Delivery, Passive, Start};

/// The version of the protocol: a child with another one is refused.
pub const PROTOCOL_VERSION: u32 = 1;

/// One line to the child.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Frame {
    /// The reply bears the same.
    pub id: u64,
    /// What is asked.
    pub request: Request,
}

/// What can be asked of a child.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Who are you? Answered with [`Reply::Hello`].
    Hello {},
    /// Make a device; `handle` names it from now on (two devices may claim the same id).
    Device {
        /// The harness's name for it.
        handle: String,
        /// Who it claims to be.
        id: DeviceId,
    },
    /// Make a device from a copied state.
    Restore {
        /// The harness's name for it.
        handle: String,
        /// Who it claims to be.
        id: DeviceId,
        /// What was exported.
        state: Bytes,
    },
    /// Make a device from what it stored.
    Load {
        /// The harness's name for it.
        handle: String,
        /// Who it is.
        id: DeviceId,
        /// What it stored.
        store: Bytes,
    },
    /// Make a device that only receives, for a recorded vector; `handle` names it from now on.
    Passive {
        /// The harness's name for it.
        handle: String,
        /// What it starts with.
        start: Box<Start>,
    },
    /// Something for such a device.
    Deliver {
        /// Which.
        handle: String,
        /// What.
        delivery: Box<Delivery>,
    },
    /// How this device answers what is not in its table.
    Stance {
        /// Which device.
        handle: String,
        /// How.
        stance: Stance,
    },
    /// Puts an answer into this device's table.
    Trust {
        /// Which device.
        handle: String,
        /// The answer.
        decision: Decision,
    },
    /// A call to a device.
    Call {
        /// Which device.
        handle: String,
        /// What.
        call: Call,
    },
    /// The answer that a call waits for: the call is taken up again, and answered (or asks again).
    Resume {
        /// Which device.
        handle: String,
        /// The token of the waiting call.
        token: u64,
        /// Yes or no.
        answer: bool,
    },
}

/// One line from the child.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplyFrame {
    /// That of the request.
    pub id: u64,
    /// What came of it.
    pub reply: Reply,
    /// What the device noticed meanwhile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Event>,
    /// How long it took by the child's own clock, in nanoseconds.
    #[serde(default)]
    pub nanoseconds: u64,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Reply {
    /// To [`Request::Hello`].
    Hello {
        /// [`PROTOCOL_VERSION`].
        version: u32,
        /// Who I am.
        description: Box<Description>,
    },
    /// It worked.
    Ok(Box<Answer>),
    /// It was refused.
    Error(Error),
    /// It waits for a decision about this fact. What the device noticed so far is not told: the call is taken up from its
    /// start, and notices it again.
    Undecided {
        /// For [`Request::Resume`].
        token: u64,
        /// What is to be decided.
        fact: Box<Fact>,
    },
}

struct Seat {
    device: Box<dyn Device>,
    waiting: Option<(u64, Fact, Call)>,
}

/// The devices of one child, and the calls that wait for a decision.
pub struct Dispatcher<'a> {
    adapter: &'a dyn Adapter,
    seats: HashMap<String, Seat>,
    passives: HashMap<String, Box<dyn Passive>>,
    next_token: u64,
}

impl<'a> Dispatcher<'a> {
    /// No devices yet.
    pub fn new(adapter: &'a dyn Adapter) -> Self {
        Self { adapter, seats: HashMap::new(), passives: HashMap::new(), next_token: 1 }
    }

    /// Takes one request.
    pub fn handle(&mut self, frame: Frame) -> ReplyFrame {
        let start = Instant::now();
        let mut events = Vec::new();
        let reply = self.reply(frame.request, &mut events).unwrap_or_else(Reply::Error);
        let nanoseconds = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        ReplyFrame { id: frame.id, reply, events, nanoseconds }
    }

    fn reply(&mut self, request: Request, events: &mut Vec<Event>) -> Result<Reply, Error> {
        match request {
            Request::Hello {} => {
                Ok(Reply::Hello { version: PROTOCOL_VERSION, description: Box::new(self.adapter.describe()) })
            }
            Request::Device { handle, id } => {
                let device = self.adapter.device(&id)?;
                self.seat(handle, device)
            }
            Request::Restore { handle, id, state } => {
                let device = self.adapter.restore(&id, state.as_ref())?;
                self.seat(handle, device)
            }
            Request::Load { handle, id, store } => {
                let device = self.adapter.load(&id, store.as_ref())?;
                self.seat(handle, device)
            }
            Request::Passive { handle, start } => {
                let passive = self.adapter.passive(&start)?;
                if self.passives.contains_key(&handle) {
                    return Err(Error::bad_request(format!("there is a passive device `{handle}` already")));
                }
                self.passives.insert(handle, passive);
                Ok(Reply::Ok(Box::new(Answer::Done {})))
            }
            Request::Deliver { handle, delivery } => {
                let passive = self.passives.get_mut(&handle);
                let passive = passive.ok_or_else(|| Error::bad_request(format!("no passive device `{handle}`")))?;
                Ok(Reply::Ok(Box::new(Answer::Delivered(Box::new(passive.deliver(&delivery)?)))))
            }
            Request::Stance { handle, stance } => {
                self.find(&handle)?.device.notebook().set_stance(stance);
                Ok(Reply::Ok(Box::new(Answer::Done {})))
            }
            Request::Trust { handle, decision } => {
                self.find(&handle)?.device.notebook().decide(decision);
                Ok(Reply::Ok(Box::new(Answer::Done {})))
            }
            Request::Call { handle, call } => {
                let seat = self.find(&handle)?;
                seat.waiting = None;
                seat.device.notebook().forget_answers();
                self.take(&handle, call, events)
            }
            Request::Resume { handle, token, answer } => {
                let seat = self.find(&handle)?;
                match seat.waiting.take() {
                    Some((expected, fact, call)) if expected == token => {
                        seat.device.notebook().answer_once(fact, answer);
                        self.take(&handle, call, events)
                    }
                    other => {
                        seat.waiting = other;
                        Err(Error::bad_request(format!("no call waits with token {token}")))
                    }
                }
            }
        }
    }

    fn seat(&mut self, handle: String, device: Box<dyn Device>) -> Result<Reply, Error> {
        if self.seats.contains_key(&handle) {
            return Err(Error::bad_request(format!("there is a device `{handle}` already")));
        }
        self.seats.insert(handle, Seat { device, waiting: None });
        Ok(Reply::Ok(Box::new(Answer::Done {})))
    }

    fn find(&mut self, handle: &str) -> Result<&mut Seat, Error> {
        self.seats.get_mut(handle).ok_or_else(|| Error::bad_request(format!("no device `{handle}`")))
    }

    fn take(&mut self, handle: &str, call: Call, events: &mut Vec<Event>) -> Result<Reply, Error> {
        let token = self.next_token;
        let seat = self.find(handle)?;
        let result = seat.device.call(&call);
        let noticed = seat.device.notebook().take_events();
        match result {
            // The call will be taken again from the start, and notice the same things again.
            Err(Error { class: ErrorClass::UndecidedTrust, undecided: Some(fact), .. }) => {
                seat.waiting = Some((token, (*fact).clone(), call));
                self.next_token += 1;
                Ok(Reply::Undecided { token, fact })
            }
            result => {
                events.extend(noticed);
                Ok(Reply::Ok(Box::new(result?)))
            }
        }
    }
}

/// Serves `adapter` over a pair of streams until the input ends.
///
/// # Errors
/// Those of the streams. A line that is not a request is answered, not fatal: `unsupported` for an unknown verb,
/// `bad_request` for anything else.
pub fn serve_stdio(adapter: &dyn Adapter, mut input: impl BufRead, mut output: impl Write) -> std::io::Result<()> {
    let mut dispatcher = Dispatcher::new(adapter);
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line)? > 0 {
        let reply = match serde_json::from_slice::<Frame>(&line) {
            Ok(frame) => dispatcher.handle(frame),
            Err(error) => malformed(&line, &error),
        };
        line.clear();
        serde_json::to_writer(&mut output, &reply)?;
        output.write_all(b"\n")?;
        output.flush()?;
    }
    Ok(())
}

fn malformed(line: &[u8], error: &serde_json::Error) -> ReplyFrame {
    let id = serde_json::from_slice::<serde_json::Value>(line)
        .ok()
        .and_then(|frame| frame.get("id").and_then(serde_json::Value::as_u64))
        .unwrap_or(0);
    let text = error.to_string();
    let class = if text.starts_with("unknown variant") { ErrorClass::Unsupported } else { ErrorClass::BadRequest };
    ReplyFrame { id, reply: Reply::Error(Error::new(class, text)), events: Vec::new(), nanoseconds: 0 }
}
