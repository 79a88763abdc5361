//! The process in which one cell is measured, and the words between it and the session: a line of JSON each way.
//!
//! A process for each cell, so that a crash, a leak or a full memory costs that cell only, and no cell inherits the heap or
//! the threads of another.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child as Process, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use e2esm_adapter::meter::Metering;
use e2esm_adapter::{Adapter, Description};
use e2esm_rogues::burden::Burden;
use serde::{Deserialize, Serialize};

use super::cache::Cache;
use super::cell::Cell;
use super::document::Measurement;
use super::stage::{Stage, StageError, measured};

/// The version of these words: `--against` may start a binary of another commit.
pub const VERSION: u32 = 1;

/// From the session.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Ask {
    /// Get this ready.
    Prepare {
        /// What.
        cell: Cell,
        /// Where prepared states are kept.
        cache: PathBuf,
        /// How many bytes of them.
        bound: u64,
        /// What the implementation is burdened with, for the gate's own tests.
        burden: Option<Burden>,
    },
    /// Measure once.
    Sample {
        /// How closely to look at the cryptography.
        metering: Look,
    },
    /// Do it once, checked, outside of the region that is measured.
    WarmUp {},
    /// Make the surroundings of the operation anew, with new keys: what depends on chance shows.
    Renew {},
    /// For those who watch the process from outside: load the devices, do it (or not), and nothing else.
    Bare {
        /// Whether to do it.
        act: bool,
    },
}

/// How closely to look at the cryptography.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Look {
    /// Not at all.
    Off,
    /// Count its calls.
    Count,
    /// Count and time them.
    Time,
}

impl From<Look> for Metering {
    fn from(look: Look) -> Self {
        match look {
            Look::Off => Self::Off,
            Look::Count => Self::Count,
            Look::Time => Self::Time,
        }
    }
}

/// To the session.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Tell {
    /// It is ready.
    Ready {
        /// [`VERSION`].
        version: u32,
        /// Who is measured.
        description: Box<Description>,
        /// Whether its cryptography is metered.
        metered: bool,
    },
    /// What was measured.
    Sample(Taken),
    /// It was done.
    Done {},
    /// There is no such cell.
    Unsupported(String),
    /// The answer was wrong.
    Void(String),
    /// It did not work.
    Failed(String),
}

/// One measurement: see [`Sample`](super::stage::Sample).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Taken {
    /// Wall time.
    pub nanoseconds: u64,
    /// Time within primitives, where they were timed.
    pub within_primitives: u64,
    /// Counts by the names of the document, those of the primitives only where they were looked at.
    pub counts: Vec<(String, u64)>,
}

/// The child's side: answers until nobody asks any more.
///
/// # Errors
/// Those of the pipes.
pub fn serve(
    find: impl Fn(&str, Option<Burden>) -> Option<Box<dyn Adapter>>,
    input: impl BufRead,
    mut output: impl Write,
) -> std::io::Result<()> {
    let mut lines = input.lines();
    let mut tell = |told: &Tell| -> std::io::Result<()> {
        serde_json::to_writer(&mut output, told)?;
        output.write_all(b"\n")?;
        output.flush()
    };
    let Some(line) = lines.next() else { return Ok(()) };
    let (cell, cache, burden) = match serde_json::from_str(&line?) {
        Ok(Ask::Prepare { cell, cache, bound, burden }) => (cell, Cache::new(cache, bound), burden),
        Ok(_) => return tell(&Tell::Failed("something was asked before there was a cell".to_owned())),
        Err(error) => return tell(&Tell::Failed(format!("not understood: {error}"))),
    };
    let Some(adapter) = find(&cell.setting.adapter, burden) else {
        return tell(&Tell::Failed(format!("there is no implementation `{}`", cell.setting.adapter)));
    };
    let mut stage = match Stage::new(adapter.as_ref(), &cell, &cache) {
        Ok(stage) => stage,
        Err(error) => return tell(&bad(error)),
    };
    tell(&Tell::Ready { version: VERSION, description: Box::new(adapter.describe()), metered: adapter.metered() })?;
    for line in lines {
        let told = match serde_json::from_str(&line?) {
            Ok(Ask::Sample { metering }) => match sample(&stage, metering, adapter.metered()) {
                Ok(taken) => Tell::Sample(taken),
                Err(error) => bad(error),
            },
            Ok(Ask::WarmUp {}) => match stage.warm_up() {
                Ok(_) => Tell::Done {},
                Err(error) => bad(error),
            },
            Ok(Ask::Renew {}) => match Stage::new(adapter.as_ref(), &cell, &cache) {
                Ok(renewed) => {
                    stage = renewed;
                    Tell::Done {}
                }
                Err(error) => bad(error),
            },
            Ok(Ask::Bare { act }) => match bare(&stage, act) {
                Ok(()) => Tell::Done {},
                Err(error) => bad(error),
            },
            Ok(Ask::Prepare { .. }) => Tell::Failed("a child measures one cell".to_owned()),
            Err(error) => Tell::Failed(format!("not understood: {error}")),
        };
        tell(&told)?;
    }
    Ok(())
}

fn bad(error: StageError) -> Tell {
    match error {
        StageError::Unsupported(reason) => Tell::Unsupported(reason),
        StageError::Wrong(reason) => Tell::Void(reason),
        error @ (StageError::Prepare(_) | StageError::Refused { .. }) => Tell::Failed(error.to_string()),
    }
}

fn bare(stage: &Stage<'_>, act: bool) -> Result<(), StageError> {
    let mut scene = stage.scene()?;
    if act {
        let doing = "the measured operation";
        measured(&mut scene).map_err(|source| StageError::Refused { doing, source })?;
    }
    Ok(())
}

/// One measurement in the words of the document.
///
/// # Errors
/// Those of the stage.
pub fn sample(stage: &Stage<'_>, look: Look, metered: bool) -> Result<Taken, StageError> {
    let sample = stage.sample(look.into())?;
    let mut counts =
        vec![("bytes_up".to_owned(), sample.bytes_up), ("bytes_fanned_out".to_owned(), sample.bytes_fanned_out)];
    counts.extend(sample.state_bytes.map(|bytes| ("state_bytes".to_owned(), bytes)));
    if let Some(heap) = sample.heap {
        counts.push(("allocations".to_owned(), heap.allocations));
        counts.push(("allocated_bytes".to_owned(), heap.allocated_bytes));
        counts.push(("peak_bytes".to_owned(), heap.peak_bytes));
    }
    if metered && look != Look::Off {
        counts.extend(sample.reading.calls.iter().map(|(primitive, calls)| (Measurement::calls(*primitive), *calls)));
    }
    Ok(Taken { nanoseconds: sample.nanoseconds, within_primitives: sample.reading.nanoseconds, counts })
}

/// How to start a child.
#[derive(Clone, Debug)]
pub struct Start {
    /// The program: this one, or the other side of interleaved pairs.
    pub program: PathBuf,
    /// A program to run it under, with its arguments.
    pub under: Vec<String>,
    /// Seconds until an answer is given up.
    pub patience: f64,
}

/// A child that does not answer as it should.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Trouble(pub String);

/// A running child, from the session's side.
pub struct Child {
    process: Process,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    stderr: Receiver<String>,
    patience: Duration,
}

impl Child {
    /// Starts one with that many threads in every pool.
    ///
    /// # Errors
    /// [`Trouble`] if it cannot be started.
    pub fn start(start: &Start, threads: usize) -> Result<Self, Trouble> {
        let arguments = ["bench-worker".to_owned(), "--threads".to_owned(), threads.to_string()];
        let mut words: Vec<std::ffi::OsString> = start.under.iter().map(Into::into).collect();
        words.push(start.program.clone().into());
        words.extend(arguments.map(Into::into));
        let mut process = Command::new(&words[0])
            .args(&words[1..])
            // Nothing that a library starts may have more: rayon reads this where somebody builds another pool.
            .env("RAYON_NUM_THREADS", threads.to_string())
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| Trouble(format!("{} cannot be started: {error}", words[0].to_string_lossy())))?;
        let (Some(stdout), Some(mut stderr)) = (process.stdout.take(), process.stderr.take()) else {
            return Err(Trouble("its pipes are missing".to_owned()));
        };
        let (line_sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if line_sender.send(line).is_err() {
                    return;
                }
            }
        });
        let (text_sender, stderr_text) = channel();
        thread::spawn(move || {
            let mut text = String::new();
            // Whatever could be read is told; nobody may be left to take it.
            let _ = stderr.read_to_string(&mut text);
            let _ = text_sender.send(text);
        });
        let stdin = process.stdin.take();
        let patience = Duration::from_secs_f64(start.patience);
        Ok(Self { process, stdin, lines, stderr: stderr_text, patience })
    }

    /// Asks, and waits for the answer. `interrupted` is looked at while waiting.
    ///
    /// # Errors
    /// [`Trouble`]: it ended, was silent for too long, or talked nonsense.
    pub fn ask(&mut self, ask: &Ask, interrupted: &dyn Fn() -> bool) -> Result<Tell, Trouble> {
        let mut line = serde_json::to_vec(ask).map_err(|error| Trouble(error.to_string()))?;
        line.push(b'\n');
        let written = self.stdin.as_mut().map(|stdin| stdin.write_all(&line).and_then(|()| stdin.flush()));
        if !matches!(written, Some(Ok(()))) {
            return Err(self.ended());
        }
        let deadline = Instant::now() + self.patience;
        loop {
            match self.lines.recv_timeout(Duration::from_millis(50)) {
                Ok(line) => {
                    return serde_json::from_str(&line).map_err(|error| {
                        Trouble(format!(
                            "it answered nonsense: {error}, in `{}`",
                            line.chars().take(120).collect::<String>()
                        ))
                    });
                }
                Err(RecvTimeoutError::Disconnected) => return Err(self.ended()),
                Err(RecvTimeoutError::Timeout) if interrupted() => return Err(Trouble("interrupted".to_owned())),
                Err(RecvTimeoutError::Timeout) if Instant::now() >= deadline => {
                    return Err(Trouble(format!("no answer within {} s", self.patience.as_secs_f64())));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Lets it end by itself, so that a program it runs under can write down what it saw.
    ///
    /// # Errors
    /// [`Trouble`] if it ends badly or not at all.
    pub fn finish(mut self, interrupted: &dyn Fn() -> bool) -> Result<(), Trouble> {
        self.stdin = None;
        let deadline = Instant::now() + self.patience;
        while Instant::now() < deadline && !interrupted() {
            match self.process.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(_)) => return Err(self.ended()),
                Ok(None) => thread::sleep(Duration::from_millis(10)),
                Err(error) => return Err(Trouble(error.to_string())),
            }
        }
        Err(Trouble("it does not end".to_owned()))
    }

    fn ended(&mut self) -> Trouble {
        // It has closed its pipes: it has ended, or is about to.
        let status = (0..100).find_map(|_| {
            let status = self.process.try_wait().ok().flatten();
            if status.is_none() {
                thread::sleep(Duration::from_millis(10));
            }
            status
        });
        let stderr = self.stderr.recv_timeout(Duration::from_millis(500)).unwrap_or_default();
        let last = stderr.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no word about why");
        let status = status.map_or_else(|| "closed its output".to_owned(), |status| status.to_string());
        Trouble(format!("the process ended ({status}): {last}"))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // An error means that it is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
