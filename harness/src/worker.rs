//! An implementation in a child process, driven over the stdio protocol, with limits on time and memory.
//!
//! Whatever the child does (panic, abort, hang, eat memory, talk nonsense) becomes a [`Failure`], never the end of the
//! run; when the [`Worker`] is dropped the child is gone.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use e2esm_adapter::{
    Answer, Call, Delivered, Delivery, Description, DeviceId, Error, Event, Fact, Frame, PROTOCOL_VERSION, Reply,
    ReplyFrame, Request, Stance, Start,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::keeper;

/// The longest line that a child may print, in bytes; beyond it the child is talking nonsense.
const MAX_LINE: u64 = 64 << 20;
/// How much of the end of a child's stderr is kept for the report, in bytes.
const MAX_STDERR: usize = 16 << 10;
/// How long a child may take to end once its input has ended.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long a keeper may take to end what it keeps.
#[cfg(target_os = "linux")]
const KEEPER_PATIENCE: Duration = Duration::from_secs(8);
/// How long a keeper's report may take to be read once the keeper has ended.
const REPORT_PATIENCE: Duration = Duration::from_secs(2);
/// How many lines of the end of a child's stderr are told as the reason of its end, and how long each may be.
const REASON: (usize, usize) = (5, 200);
/// How often the child's memory is looked at while it works.
const MEMORY_INTERVAL: Duration = Duration::from_millis(20);

/// What a child may use in one scenario.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Limits {
    /// Wall time, in seconds.
    pub seconds: f64,
    /// Resident memory, in bytes. Not address space: an address-space limit breaks runtimes that reserve much of it.
    pub memory_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { seconds: 30.0, memory_bytes: 2 << 30 }
    }
}

/// How to start a child.
#[derive(Clone, Debug, Default)]
pub struct Launch {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Where it runs; where the harness does if there is none.
    pub directory: Option<PathBuf>,
    /// What is added to its environment.
    pub environment: BTreeMap<String, String>,
    /// For a program that is not of this project: this program, which then keeps it (see [`crate::keeper`]).
    pub keeper: Option<PathBuf>,
}

impl Launch {
    fn command(&self) -> Command {
        let mut command = match &self.keeper {
            #[cfg(target_os = "linux")]
            Some(keeper) => {
                let mut command = Command::new(keeper);
                // By the time the keeper could ask who started it, that may have ended.
                command.arg("keep").arg("--harness").arg(std::process::id().to_string());
                command.arg("--").arg(&self.program);
                command
            }
            _ => Command::new(&self.program),
        };
        command.args(&self.arguments).envs(&self.environment);
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command
    }
}

/// How a child ended a scenario that it should have gone on with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[serde(tag = "failure", rename_all = "snake_case")]
pub enum Failure {
    /// It could not be started.
    #[error("could not be started: {reason}")]
    NotStarted {
        /// Why.
        reason: String,
    },
    /// It panicked.
    #[error("panicked: {message}")]
    Panicked {
        /// What it said.
        message: String,
    },
    /// It ended otherwise: aborted, was killed, closed its output.
    #[error("ended ({status}){}", .stderr.is_empty().then(String::new).unwrap_or_else(|| format!(": {stderr}")))]
    Ended {
        /// How.
        status: String,
        /// The end of what it said on stderr.
        stderr: String,
    },
    /// It did not answer in time, and was killed.
    #[error("did not answer within the scenario's {milliseconds} ms and was killed")]
    TimedOut {
        /// The limit.
        milliseconds: u64,
    },
    /// It used too much memory, and was killed.
    #[error("used more than {megabytes} MB of resident memory and was killed")]
    OutOfMemory {
        /// The limit.
        megabytes: u64,
    },
    /// It ended as it should, but processes that it had started went on.
    #[error("left processes behind: {}", .processes.join(", "))]
    LeftProcesses {
        /// Their names.
        processes: Vec<String>,
    },
    /// It was not started: it had hung in too many scenarios already.
    #[error("was not started any more: it had hung in {scenarios} scenarios")]
    GivenUp {
        /// In how many.
        scenarios: usize,
    },
    /// It answered with something that is not an answer to the question.
    #[error("answered nonsense: {reason}")]
    Nonsense {
        /// What.
        reason: String,
    },
}

/// What came of a call, with what the device noticed.
#[derive(Clone, Debug)]
pub struct Called {
    /// The answer, or the refusal.
    pub result: Result<Answer, Error>,
    /// What the device noticed.
    pub events: Vec<Event>,
}

/// A running child.
pub struct Worker {
    child: Child,
    /// `None` once the input has been ended.
    outbox: Option<Sender<Vec<u8>>>,
    lines: Receiver<Result<Vec<u8>, String>>,
    stderr: Receiver<String>,
    limits: Limits,
    deadline: Instant,
    next_id: u64,
    kept: bool,
}

impl Worker {
    /// Starts a child. Its time runs from now.
    ///
    /// # Errors
    /// [`Failure::NotStarted`].
    pub fn start(launch: &Launch, limits: Limits) -> Result<Self, Failure> {
        let not_started = |reason: std::io::Error| Failure::NotStarted {
            reason: match &launch.directory {
                // The system says only that something is missing.
                Some(directory) if !directory.is_dir() => {
                    format!("the directory it is to run in, {}: {reason}", directory.display())
                }
                _ => reason.to_string(),
            },
        };
        let mut child = launch
            .command()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .env("RUST_BACKTRACE", "0")
            .spawn()
            .map_err(not_started)?;
        let (Some(stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(Failure::NotStarted { reason: "its pipes are missing".to_owned() });
        };
        // Written by a thread of its own: a child that does not read must not hold up the one who watches the clock.
        let (outbox, requests) = channel::<Vec<u8>>();
        thread::spawn(move || {
            let mut stdin = stdin;
            for request in requests {
                if stdin.write_all(&request).and_then(|()| stdin.flush()).is_err() {
                    return;
                }
            }
        });
        let (line_sender, lines) = sync_channel(1);
        thread::spawn(move || read_lines(BufReader::new(stdout), &line_sender));
        let (stderr_sender, stderr_text) = sync_channel(1);
        thread::spawn(move || {
            // Nobody may be left to take it: that is no loss.
            let _ = stderr_sender.send(end_of(stderr));
        });
        let deadline = Instant::now() + Duration::from_secs_f64(limits.seconds);
        let kept = cfg!(target_os = "linux") && launch.keeper.is_some();
        Ok(Self { child, outbox: Some(outbox), lines, stderr: stderr_text, limits, deadline, next_id: 1, kept })
    }

    /// Asks the child who it is.
    ///
    /// # Errors
    /// A [`Failure`], above all `Nonsense` for another version of the protocol.
    pub fn hello(&mut self) -> Result<Description, Failure> {
        match self.request(Request::Hello {})?.reply {
            Reply::Hello { version: PROTOCOL_VERSION, description } => Ok(*description),
            Reply::Hello { version, .. } => Err(Failure::Nonsense {
                reason: format!("it speaks version {version} of the protocol, expected {PROTOCOL_VERSION}"),
            }),
            other => Err(unexpected("hello", &other)),
        }
    }

    /// Makes a device.
    ///
    /// # Errors
    /// A [`Failure`]; the inner error is the adapter's refusal.
    pub fn device(&mut self, handle: &DeviceId, id: &DeviceId) -> Result<Result<(), Error>, Failure> {
        self.done(Request::Device { handle: handle.to_string(), id: id.clone() })
    }

    /// Makes a device from a copied state.
    ///
    /// # Errors
    /// A [`Failure`]; the inner error is the adapter's refusal.
    pub fn restore(
        &mut self,
        handle: &DeviceId,
        id: &DeviceId,
        state: e2esm_adapter::Bytes,
    ) -> Result<Result<(), Error>, Failure> {
        self.done(Request::Restore { handle: handle.to_string(), id: id.clone(), state })
    }

    /// Sets a device's stance.
    ///
    /// # Errors
    /// A [`Failure`].
    pub fn stance(&mut self, handle: &DeviceId, stance: Stance) -> Result<(), Failure> {
        self.done(Request::Stance { handle: handle.to_string(), stance })?
            .map_err(|error| Failure::Nonsense { reason: format!("it refused a stance: {error}") })
    }

    /// Makes a device that only receives.
    ///
    /// # Errors
    /// A [`Failure`]; the inner error is the adapter's refusal.
    pub fn passive(&mut self, handle: &str, start: &Start) -> Result<Result<(), Error>, Failure> {
        self.done(Request::Passive { handle: handle.to_owned(), start: Box::new(start.clone()) })
    }

    /// Delivers something to such a device.
    ///
    /// # Errors
    /// A [`Failure`]; the inner error is the device's refusal.
    pub fn deliver(&mut self, handle: &str, delivery: &Delivery) -> Result<Result<Delivered, Error>, Failure> {
        let request = Request::Deliver { handle: handle.to_owned(), delivery: Box::new(delivery.clone()) };
        match self.request(request)?.reply {
            Reply::Ok(answer) => match *answer {
                Answer::Delivered(delivered) => Ok(Ok(*delivered)),
                other => Err(unexpected("a delivery", &Reply::Ok(Box::new(other)))),
            },
            Reply::Error(error) => Ok(Err(error)),
            other => Err(unexpected("a delivery", &other)),
        }
    }

    fn done(&mut self, request: Request) -> Result<Result<(), Error>, Failure> {
        match self.request(request)?.reply {
            Reply::Ok(_) => Ok(Ok(())),
            Reply::Error(error) => Ok(Err(error)),
            other => Err(unexpected("a device", &other)),
        }
    }

    /// Calls a device, and answers its questions with `decide` until it is done.
    ///
    /// # Errors
    /// A [`Failure`].
    pub fn call(
        &mut self,
        handle: &DeviceId,
        call: Call,
        mut decide: impl FnMut(&mut Self, &Fact) -> Result<bool, Failure>,
    ) -> Result<Called, Failure> {
        let mut frame = self.request(Request::Call { handle: handle.to_string(), call })?;
        loop {
            match frame.reply {
                Reply::Ok(answer) => return Ok(Called { result: Ok(*answer), events: frame.events }),
                Reply::Error(error) => return Ok(Called { result: Err(error), events: frame.events }),
                Reply::Undecided { token, fact } => {
                    let answer = decide(self, &fact)?;
                    frame = self.request(Request::Resume { handle: handle.to_string(), token, answer })?;
                }
                other @ Reply::Hello { .. } => return Err(unexpected("a call", &other)),
            }
        }
    }

    /// Sends a line that is no request of this protocol and expects the refusal `unsupported`: whoever answers anything
    /// else would also claim to have passed what it never ran.
    ///
    /// # Errors
    /// [`Failure::Nonsense`].
    pub fn probe_unknown_verb(&mut self) -> Result<(), Failure> {
        let id = self.take_id();
        self.write(format!("{{\"id\":{id},\"request\":{{\"no_such_verb_{id}\":{{}}}}}}\n").into_bytes())?;
        match self.reply(id)?.reply {
            Reply::Error(Error { class: e2esm_adapter::ErrorClass::Unsupported, .. }) => Ok(()),
            other => Err(unexpected("a verb that does not exist (`unsupported` was expected)", &other)),
        }
    }

    /// Sends a line as it is, and expects a reply with that id: for those who look at the protocol itself.
    ///
    /// # Errors
    /// A [`Failure`].
    pub fn exchange(&mut self, line: &str, id: u64) -> Result<ReplyFrame, Failure> {
        self.write(format!("{line}\n").into_bytes())?;
        self.reply(id)
    }

    fn take_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    fn request(&mut self, request: Request) -> Result<ReplyFrame, Failure> {
        let id = self.take_id();
        let mut line = serde_json::to_vec(&Frame { id, request })
            .map_err(|error| Failure::Nonsense { reason: error.to_string() })?;
        line.push(b'\n');
        self.write(line)?;
        self.reply(id)
    }

    fn write(&mut self, line: Vec<u8>) -> Result<(), Failure> {
        match self.outbox.as_ref().map(|outbox| outbox.send(line)) {
            Some(Ok(())) => Ok(()),
            _ => Err(self.ended()),
        }
    }

    fn reply(&mut self, id: u64) -> Result<ReplyFrame, Failure> {
        let line = loop {
            let now = Instant::now();
            if now >= self.deadline {
                self.kill();
                return Err(Failure::TimedOut { milliseconds: (self.limits.seconds * 1000.0).round() as u64 });
            }
            match self.lines.recv_timeout(MEMORY_INTERVAL.min(self.deadline - now)) {
                Ok(Ok(line)) => break line,
                Ok(Err(reason)) => {
                    self.kill();
                    return Err(Failure::Nonsense { reason });
                }
                Err(RecvTimeoutError::Timeout) => self.check_memory()?,
                Err(RecvTimeoutError::Disconnected) => return Err(self.ended()),
            }
        };
        self.check_memory()?;
        let mut frame: ReplyFrame = serde_json::from_slice(&line)
            .map_err(|error| Failure::Nonsense { reason: format!("{error}, in `{}`", beginning(&line)) })?;
        if let Reply::Error(error) = &mut frame.reply {
            error.text = harmless(&error.text);
        }
        if frame.id != id {
            return Err(Failure::Nonsense { reason: format!("it answered request {} to request {id}", frame.id) });
        }
        Ok(frame)
    }

    fn check_memory(&mut self) -> Result<(), Failure> {
        match resident_bytes(self.child.id()) {
            Some(bytes) if bytes > self.limits.memory_bytes => {
                self.kill();
                Err(Failure::OutOfMemory { megabytes: self.limits.memory_bytes >> 20 })
            }
            _ => Ok(()),
        }
    }

    fn kill(&mut self) {
        #[cfg(target_os = "linux")]
        if self.kept {
            // The keeper ends all that the program has started, and then itself.
            if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw)
                && matches!(self.child.try_wait(), Ok(None))
            {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
            if self.wait_briefly(KEEPER_PATIENCE).is_some() {
                return;
            }
        }
        // An error here means that it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// The child has closed its output: how did it end?
    fn ended(&mut self) -> Failure {
        let status = self.wait_briefly(Duration::from_millis(500));
        if status.is_none() {
            self.kill();
        }
        let stderr = self.stderr.recv_timeout(Duration::from_millis(500)).unwrap_or_default();
        let (stderr, kept) = keeper::split_report(&stderr);
        if kept.is_none()
            && self.kept
            && status.and_then(|status| status.code()) == Some(i32::from(keeper::NOT_STARTED))
        {
            return Failure::NotStarted { reason: last_lines(stderr) };
        }
        match (kept, status) {
            (None, Some(status)) if status.code() == Some(101) && stderr.contains("panicked at") => {
                Failure::Panicked { message: panic_message(stderr) }
            }
            // By Rust's own convention too.
            (Some(kept), _) if kept.status == "exit status: 101" && stderr.contains("panicked at") => {
                Failure::Panicked { message: panic_message(stderr) }
            }
            (Some(kept), _) if kept.status != "killed" => {
                Failure::Ended { status: kept.status, stderr: last_lines(stderr) }
            }
            (None, Some(status)) => Failure::Ended { status: status.to_string(), stderr: last_lines(stderr) },
            _ => Failure::Ended { status: "closed its output".to_owned(), stderr: last_lines(stderr) },
        }
    }

    fn wait_briefly(&mut self, patience: Duration) -> Option<ExitStatus> {
        let begun = Instant::now();
        let mut pause = Duration::from_micros(200);
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            if begun.elapsed() >= patience {
                return None;
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(10));
        }
    }

    /// Ends the input of a program that is not of this project and lets it end.
    ///
    /// # Errors
    /// [`Failure::Nonsense`] if it still had something to say, [`Failure::LeftProcesses`] if what it had started goes on,
    /// [`Failure::Ended`] if its keeper does not say whether that is so. Who does not end in time is killed, and that is no
    /// failure: `e2esm conformance` tells of it.
    pub fn finish(mut self) -> Result<Option<String>, Failure> {
        if !self.kept {
            return Ok(None);
        }
        self.outbox = None;
        let begun = Instant::now();
        let unasked = match self.lines.recv_timeout(FAREWELL) {
            Ok(Ok(line)) => Some(format!("it said `{}` unasked", beginning(&line).trim_end())),
            Ok(Err(reason)) => Some(format!("at its end: {reason}")),
            Err(_) => None,
        };
        if let Some(reason) = unasked {
            self.kill();
            return Err(Failure::Nonsense { reason });
        }
        // One farewell, whether its output is what lingers or itself.
        self.wait_briefly(FAREWELL.saturating_sub(begun.elapsed()));
        self.kill();
        let stderr = self.stderr.recv_timeout(REPORT_PATIENCE).unwrap_or_default();
        match keeper::split_report(&stderr) {
            (_, Some(kept)) if !kept.left.is_empty() => Err(Failure::LeftProcesses { processes: kept.left }),
            (_, Some(kept)) => Ok(Some(kept.status)),
            // Nobody knows what was left behind then: that must not pass for nothing.
            (stderr, None) => {
                let how = self.child.try_wait().ok().flatten().map_or_else(String::new, |status| format!(": {status}"));
                Err(Failure::Ended { status: format!("its keeper did not report{how}"), stderr: last_lines(stderr) })
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kill();
    }
}

fn unexpected(to: &str, reply: &Reply) -> Failure {
    Failure::Nonsense { reason: format!("to {to} it answered {}", shown(reply)) }
}

/// As it stands on the wire, or the beginning of it.
pub(crate) fn shown(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default().chars().take(160).collect()
}

fn read_lines(mut stdout: impl BufRead, sender: &SyncSender<Result<Vec<u8>, String>>) {
    loop {
        let mut line = Vec::new();
        let message = match stdout.by_ref().take(MAX_LINE).read_until(b'\n', &mut line) {
            Ok(0) => return,
            Ok(_) if line.ends_with(b"\n") => Ok(line),
            Ok(_) if line.len() as u64 == MAX_LINE => Err(format!("a line of more than {} MB", MAX_LINE >> 20)),
            Ok(_) => Err("its last line is not complete".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        let last = message.is_err();
        if sender.send(message).is_err() || last {
            return;
        }
    }
}

/// The last [`MAX_STDERR`] bytes of a stream, read to its end so that the writer never blocks on it.
fn end_of(mut stream: impl Read) -> String {
    let mut kept = Vec::new();
    let mut chunk = [0; 4096];
    // An error ends the text, nothing more.
    while let Ok(count @ 1..) = stream.read(&mut chunk) {
        kept.extend_from_slice(&chunk[..count]);
        if kept.len() > 2 * MAX_STDERR {
            kept.drain(..kept.len() - MAX_STDERR);
        }
    }
    kept.drain(..kept.len().saturating_sub(MAX_STDERR));
    harmless(&String::from_utf8_lossy(&kept).replace("\r\n", "\n"))
}

/// Text of a child that a terminal takes for text: its control characters are shown, not obeyed.
pub(crate) fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() && !matches!(character, '\n' | '\t') {
            shown.extend(character.escape_debug());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// As much of a line as is told.
fn beginning(line: &[u8]) -> String {
    harmless(&String::from_utf8_lossy(&line[..line.len().min(120)]))
}

/// Peak resident memory of a process and what it has started, where the system tells.
#[cfg(target_os = "linux")]
fn resident_bytes(pid: u32) -> Option<u64> {
    keeper::resident_bytes(pid)
}

#[cfg(not(target_os = "linux"))]
fn resident_bytes(_pid: u32) -> Option<u64> {
    None
}

fn panic_message(stderr: &str) -> String {
    let mut lines = stderr.lines().skip_while(|line| !line.contains("panicked at"));
    let place = lines.next().unwrap_or_default();
    let message = lines.next().unwrap_or_default();
    match place.split_once("panicked at ") {
        Some((_, place)) => format!("{message} (at {})", place.trim_end_matches(':')),
        None => message.to_owned(),
    }
}

/// The end of what a child said. Several lines, because not every runtime says last what went wrong; and without the places
/// on the stack, of which some print so many that nothing else would be left.
fn last_lines(stderr: &str) -> String {
    let (count, length) = REASON;
    let is_place = |line: &str| line.starts_with([' ', '\t']) && line.trim_start().starts_with("at ");
    let mut lines: Vec<String> = stderr
        .lines()
        .rev()
        .filter(|line| !line.trim().is_empty() && !is_place(line))
        .take(count)
        .map(|line| match line.trim().char_indices().nth(length) {
            Some((end, _)) => format!("{}...", &line.trim()[..end]),
            None => line.trim().to_owned(),
        })
        .collect();
    lines.reverse();
    lines.join(" | ")
}

#[cfg(test)]
mod tests {
    use super::{end_of, harmless, last_lines};

    #[test]
    fn control_characters_are_shown() {
        assert_eq!(harmless("a\u{1b}[2Jb\u{9b}c\u{7f}\r\td\n"), "a\\u{1b}[2Jb\\u{9b}c\\u{7f}\\r\td\n");
        assert_eq!(end_of(&b"one\r\n\x1btwo\xff\n"[..]), "one\n\\u{1b}two\u{fffd}\n");
    }

    #[test]
    fn what_a_runtime_says_last_does_not_hide_the_error() {
        let node = "file:///main.mjs:1\nthrow new Error(\"boom\")\n      ^\n\nError: boom\n    at file:///main.mjs:1:7\n    \
                    at async node:internal/modules/run_main:111:5\n\nNode.js v20.20.2\n";
        assert_eq!(
            last_lines(node),
            "file:///main.mjs:1 | throw new Error(\"boom\") | ^ | Error: boom | Node.js v20.20.2"
        );
        assert_eq!(last_lines("one\n\nat least two\n"), "one | at least two");
        assert_eq!(last_lines(&"x".repeat(1000)).len(), 203);
        assert_eq!(last_lines(" \n"), "");
    }
}
