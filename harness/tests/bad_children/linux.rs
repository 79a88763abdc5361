//! Children that hang, die, lie or leave others behind. Each ends as rows of its own; all other rows are there; the run ends;
//! and no process is left.
//!
//! A bad child is this very test binary: a sound implementation behind streams that go wrong. So it is bad at one place only.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write, stdin, stdout};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use e2esm_adapter::serve_stdio;
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;

/// How a test tells this binary that it is to be a child, and which.
const BAD: &str = "--bad-child";
/// More requests than the probe has, and fewer than any of the scenarios.
const LATER: u64 = 45;
/// What a scenario may take, in seconds.
const LIMIT: &str = "3";
/// What a whole run may take before it counts as hanging: many times what it takes.
const WHOLE_RUN: Duration = Duration::from_secs(150);
/// The vectors that are played.
const VECTORS: &str = "removal/{cannot-send,own-device,rejoin-gap}";
const ROWS: usize = 3;

/// A bad child: its name, what is wrong with it, and what its rows say.
const CHILDREN: [(&str, &str, &str); 16] = [
    ("hangs-at-start", "never answers", "did not answer within the scenario's 3000 ms"),
    ("hangs-later", "stops answering in the middle", "did not answer within the scenario's 3000 ms"),
    ("exits-early", "ends with status 0 in the middle", "ended (exit status: 0)"),
    ("aborts", "aborts in the middle", "ended (signal: 6 (SIGABRT)"),
    ("garbage", "prints what is no JSON", "answered nonsense: expected ident at line 1 column 2, in `this is no JSON"),
    ("half-a-line", "prints half a reply and ends", "answered nonsense: its last line is not complete"),
    ("endless-line", "prints a line of a gigabyte", "answered nonsense: a line of more than 64 MB"),
    ("wrong-id", "answers with another id", "answered nonsense: it answered request"),
    ("duplicate-reply", "answers twice", "answered nonsense: it answered request"),
    ("closes-stdin", "reads no more, and does not end", "did not answer within the scenario's 3000 ms"),
    ("grandchild-holds-pipe", "ends, and what it started holds its output", "ended (exit status: 0)"),
    (
        "ignores-sigterm",
        "stops answering, and ignores what can be ignored",
        "did not answer within the scenario's 3000 ms",
    ),
    ("out-of-order", "answers the second request before the first", "did not answer within the scenario's 3000 ms"),
    ("last-word", "says something unasked at the end", "answered nonsense: it said `one more thing` unasked"),
    ("leaves-a-process", "does everything right, and leaves a process", "left processes behind: sh, sleep"),
    ("hungry-grandchild", "lets a process of its own eat the memory", "used more than 300 MB of resident memory"),
];

pub(super) fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == BAD) {
        be_bad(&arguments[at + 1]);
        return;
    }
    let trials = CHILDREN
        .iter()
        .map(|(name, what, says)| Trial::test(format!("{name}: {what}"), move || check(name, says)))
        .chain([Trial::test("a good child: the same rows as the built-in one, and nothing said", good_child)])
        .chain([Trial::test("a keeper that is killed: its program is killed all the same", killed_keeper)]);
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit();
}

/// The exit code, the rows of each implementation, and what was said on stderr.
type Ran = (i32, BTreeMap<String, Vec<Value>>, String);

/// Runs the child beside a sound implementation. Which rows are there, and what was said on stderr.
fn run(name: &str, token: &str) -> Result<Ran, Failed> {
    let directory = tempfile::tempdir()?;
    let manifest = directory.path().join("adapters.toml");
    let this = std::env::current_exe()?;
    let command = match name {
        // What is ignored stays so in the program that takes the shell's place.
        "ignores-sigterm" => format!(
            "['sh', '-c', \"trap '' TERM INT HUP; exec \\\"$0\\\" \\\"$@\\\"\", '{}', '{BAD}', '{name}', '{token}']",
            this.display()
        ),
        _ => format!("['{}', '{BAD}', '{name}', '{token}']", this.display()),
    };
    std::fs::write(&manifest, format!("[adapter.{name}]\ncommand = {command}\n"))?;
    let out = directory.path().join("results");
    let begun = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_e2esm"))
        .args(["run", "--adapter", name, "--adapter", "vodozemac", "--vector", VECTORS])
        .args(["--timeout", LIMIT, "--memory", "300", "--layer", "library"])
        .arg("--adapters")
        .arg(&manifest)
        .arg("--out")
        .arg(&out)
        .output()?;
    if begun.elapsed() > WHOLE_RUN {
        return Err(format!("the run took {:?}", begun.elapsed()).into());
    }
    let mut rows = BTreeMap::new();
    for implementation in [name, "vodozemac"] {
        let bytes = std::fs::read(out.join(format!("{implementation}.json")))
            .map_err(|error| format!("{implementation}: {error}: {}", String::from_utf8_lossy(&output.stderr)))?;
        let results: Value = serde_json::from_slice(&bytes)?;
        let vectors = results["vectors"].as_array().ok_or("no vectors")?;
        rows.insert(
            implementation.to_owned(),
            vectors.iter().map(|vector| vector["layers"]["library"].clone()).collect(),
        );
    }
    Ok((output.status.code().unwrap_or(-1), rows, String::from_utf8_lossy(&output.stderr).into_owned()))
}

fn check(name: &str, says: &str) -> Result<(), Failed> {
    let token = format!("bad-child-{name}-{}", std::process::id());
    let (code, rows, stderr) = run(name, &token)?;
    no_process(&token)?;
    if code != 1 {
        return Err(format!("exit code {code}: {stderr}").into());
    }
    let sound = &rows["vodozemac"];
    if sound.len() != ROWS || sound.iter().any(|row| row["verdict"] == "error") {
        return Err(format!("the sound implementation's rows: {sound:?}").into());
    }
    let bad = &rows[name];
    let told = bad.iter().filter(|row| row["because"].as_str().is_some_and(|because| because.contains(says))).count();
    // Who hangs in each is given up in the end: one row may say so instead.
    if bad.len() != ROWS || bad.iter().any(|row| row["verdict"] != "error") || told == 0 {
        let because: Vec<_> = bad.iter().map(|row| row["because"].to_string()).collect();
        return Err(format!("its rows: {because:#?}").into());
    }
    println!("{}", bad[0]["because"]);
    Ok(())
}

fn good_child() -> Result<(), Failed> {
    let token = format!("good-child-{}", std::process::id());
    let (code, rows, stderr) = run("sound", &token)?;
    no_process(&token)?;
    let verdicts = |name: &str| rows[name].iter().map(|row| row["verdict"].clone()).collect::<Vec<_>>();
    if code != 0 || verdicts("sound") != verdicts("vodozemac") || !stderr.is_empty() {
        return Err(format!("exit code {code}, {:?}: {stderr}", verdicts("sound")).into());
    }
    Ok(())
}

fn killed_keeper() -> Result<(), Failed> {
    let token = format!("killed-keeper-{}", std::process::id());
    let (code, rows, stderr) = run("kills-its-keeper", &token)?;
    no_process(&token)?;
    let because = rows["kills-its-keeper"][0]["because"].to_string();
    if code != 1 || !because.contains("did not answer") || !stderr.contains("had outlived its keeper") {
        return Err(format!("exit code {code}, {because}: {stderr}").into());
    }
    Ok(())
}

/// Every process that a child starts has the token among its arguments: none may be left.
fn no_process(token: &str) -> Result<(), Failed> {
    for process in std::fs::read_dir("/proc")?.flatten() {
        let path = process.path();
        let arguments = std::fs::read(path.join("cmdline")).unwrap_or_default();
        let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
        if arguments.contains(token) && !arguments.contains(" run ") {
            return Err(format!("still there: {} {arguments}", path.display()).into());
        }
    }
    Ok(())
}

/// A process that goes on by itself, outside this one's session, with the token among its arguments.
fn detached(token: &str, output: Stdio) -> std::io::Result<()> {
    // The first shell ends at once: nobody waits for the other, which sleeps in a session of its own.
    let script = format!("setsid sh -c 'sleep 1000; : {token}' &");
    let mut child = Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).stdout(output).spawn()?;
    child.wait()?;
    Ok(())
}

fn be_bad(name: &str) {
    let token = std::env::args().next_back().unwrap_or_default();
    let adapters = e2esm::registry::built_in();
    let sound = adapters.iter().find(|adapter| adapter.describe().name == "vodozemac").expect("it is built in");
    let input = Requests { inner: BufReader::new(stdin()), name: name.to_owned(), count: 0, token: token.clone() };
    let output = Replies { name: name.to_owned(), line: Vec::new(), count: 0, held: None };
    serve_stdio(sound.as_ref(), input, output).expect("the streams work");
    match name {
        "last-word" => println!("one more thing"),
        "leaves-a-process" => detached(&token, Stdio::null()).expect("sh is there"),
        _ => {}
    }
}

fn hang() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(1000));
    }
}

/// What goes wrong while requests are read.
struct Requests {
    inner: BufReader<std::io::Stdin>,
    name: String,
    count: u64,
    token: String,
}

impl Read for Requests {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.inner.read(buffer)
    }
}

impl BufRead for Requests {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.inner.consume(amount);
    }

    fn read_until(&mut self, byte: u8, line: &mut Vec<u8>) -> std::io::Result<usize> {
        self.count += 1;
        match self.name.as_str() {
            "hangs-at-start" => hang(),
            // The probe ends before this; a scenario does not.
            "hangs-later" | "ignores-sigterm" if self.count == LATER => hang(),
            "exits-early" if self.count == LATER => std::process::exit(0),
            "aborts" if self.count == LATER => std::process::abort(),
            "closes-stdin" if self.count == LATER => {
                let nothing = std::fs::File::open("/dev/null")?;
                rustix::stdio::dup2_stdin(&nothing)?;
                hang();
            }
            "grandchild-holds-pipe" if self.count == LATER => {
                detached(&self.token, Stdio::inherit())?;
                std::process::exit(0);
            }
            "hungry-grandchild" if self.count == LATER => {
                // `tail` keeps the last line, however long it is.
                let script = format!("head -c 1000000000 /dev/zero | tail | sleep 1000; : {}", self.token);
                Command::new("sh").args(["-c", &script]).stdout(Stdio::null()).spawn()?;
                hang();
            }
            "kills-its-keeper" if self.count == LATER => {
                let keeper = rustix::process::getppid().expect("there is one");
                rustix::process::kill_process(keeper, rustix::process::Signal::KILL)?;
                hang();
            }
            _ => {}
        }
        self.inner.read_until(byte, line)
    }
}

/// What goes wrong while replies are written.
struct Replies {
    name: String,
    line: Vec<u8>,
    count: u64,
    held: Option<Vec<u8>>,
}

impl Write for Replies {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.line.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let mut output = stdout();
        let line = std::mem::take(&mut self.line);
        self.count += 1;
        if self.count == LATER {
            match self.name.as_str() {
                "garbage" => return output.write_all(b"this is no JSON\n").and_then(|()| output.flush()),
                "half-a-line" => {
                    output.write_all(&line[..line.len() / 2])?;
                    output.flush()?;
                    std::process::exit(0);
                }
                "endless-line" => {
                    let chunk = vec![b'x'; 1 << 20];
                    for _ in 0..1024 {
                        output.write_all(&chunk)?;
                    }
                    return output.flush();
                }
                "wrong-id" => {
                    let text = String::from_utf8_lossy(&line).replacen("\"id\":", "\"id\":9", 1);
                    return output.write_all(text.as_bytes()).and_then(|()| output.flush());
                }
                "duplicate-reply" => output.write_all(&line)?,
                "out-of-order" => {
                    self.held = Some(line);
                    return Ok(());
                }
                _ => {}
            }
        }
        output.write_all(&line)?;
        if let Some(held) = self.held.take() {
            output.write_all(&held)?;
        }
        output.flush()
    }
}
