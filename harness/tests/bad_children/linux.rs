//! Children that hang, die, lie or leave others behind. Each ends as rows of its own; all other rows are there; the run ends;
//! and no process is left.
//!
//! A bad child is this very test binary: a sound implementation behind streams that go wrong. So it is bad at one place only.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write, stdin, stdout};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use e2esm::worker::{Failure, Launch, Limits, Worker};
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
const CHILDREN: [(&str, &str, &str); 22] = [
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
    (
        "leaves-a-strange-name",
        "leaves a process whose name is no UTF-8 and speaks to terminals",
        "left processes behind: a\\u{1b}[31mb\u{fffd}",
    ),
    ("leaves-many", "leaves more names than the end of stderr holds", "left processes behind: "),
    ("leaves-a-headless-process", "leaves a process whose first thread has ended", "left processes behind: python3"),
    ("leaves-a-chain", "leaves a process that starts another and ends, again and again", "left processes behind: "),
    (
        "silences-its-keeper",
        "does everything right, and kills its keeper",
        "ended (its keeper did not report: signal: 9 (SIGKILL))",
    ),
    (
        "crashes-like-node",
        "ends with an error that is not the last line of many",
        "ended (exit status: 1): Error: \\u{1b}[31mboom\\u{1b}[0m | Node.js v20.0.0",
    ),
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
        .chain([Trial::test("a keeper that is killed: its program is killed all the same", killed_keeper)])
        .chain([Trial::test("a keeper whose harness is gone already: nothing is started", late_keeper)])
        .chain([Trial::test("a program that is to run where there is nothing: that is what is said", no_directory)]);
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

/// What a child is made with, if that is more than a shell.
fn needs(name: &str) -> Option<&'static str> {
    match name {
        "leaves-a-headless-process" => Some("python3"),
        "leaves-a-chain" => Some("perl"),
        _ => None,
    }
}

fn check(name: &str, says: &str) -> Result<(), Failed> {
    if let Some(program) = needs(name)
        && Command::new(program).arg("--version").output().is_err()
    {
        println!("there is no {program} on this machine: {name} was not tried");
        return Ok(());
    }
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

fn late_keeper() -> Result<(), Failed> {
    let directory = tempfile::tempdir()?;
    let trace = directory.path().join("trace");
    let keep = |harness: u32| {
        let mut keeper = Command::new(env!("CARGO_BIN_EXE_e2esm"));
        keeper.args(["keep", "--harness", &harness.to_string(), "--", "touch"]).arg(&trace).output()
    };
    // Whoever has adopted it, it is not the one that wanted it: here that one is its own child, which has ended.
    let mut gone = Command::new("true").spawn()?;
    gone.wait()?;
    let output = keep(gone.id())?;
    if trace.exists() || !output.stderr.is_empty() {
        return Err(format!("it started its program: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let output = keep(std::process::id())?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    if !trace.exists() || !stderr.contains(r#"{"status":"exit status: 0","left":[]}"#) {
        return Err(format!("it did not keep its program: {stderr}").into());
    }
    Ok(())
}

fn no_directory() -> Result<(), Failed> {
    let launch = Launch {
        program: "sh".into(),
        directory: Some("/no/such/directory".into()),
        keeper: Some(env!("CARGO_BIN_EXE_e2esm").into()),
        ..Launch::default()
    };
    match Worker::start(&launch, Limits::default()) {
        Err(Failure::NotStarted { reason }) if reason.contains("/no/such/directory: No such file") => Ok(()),
        Err(failure) => Err(failure.to_string().into()),
        Ok(_) => Err("it was started".into()),
    }
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
    detached_program(&["sh", "-c", "sleep 1000; :", token], output)
}

fn detached_program(words: &[&str], output: Stdio) -> std::io::Result<()> {
    // The first shell ends at once: nobody waits for the other, which goes on in a session of its own.
    let mut child = Command::new("sh")
        .args(["-c", "setsid \"$0\" \"$@\" &"])
        .args(words)
        .stdin(Stdio::null())
        .stdout(output)
        .spawn()?;
    child.wait()?;
    Ok(())
}

/// Waits for a sign of what was detached: that it is what it is to be.
fn once_there(sign: impl Fn() -> bool) {
    let begun = Instant::now();
    while !sign() && begun.elapsed() < Duration::from_secs(2) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether a process is there whose `/proc/PID/stat` holds these bytes.
fn there_is(bytes: &[u8]) -> bool {
    let Ok(processes) = std::fs::read_dir("/proc") else { return false };
    let holds = |stat: Vec<u8>| stat.windows(bytes.len()).any(|part| part == bytes);
    processes.flatten().any(|process| std::fs::read(process.path().join("stat")).is_ok_and(holds))
}

/// What is left behind by children that leave something odd.
fn leave(name: &str, token: &str) -> std::io::Result<()> {
    match name {
        "leaves-a-process" => detached(token, Stdio::null()),
        "leaves-a-strange-name" => {
            let script = r"printf 'a\033[31mb\377' > /proc/$$/comm; sleep 1000; :";
            detached_program(&["sh", "-c", script, token], Stdio::null())?;
            once_there(|| there_is(b"(a\x1b[31mb\xff)"));
            Ok(())
        }
        // Their names are two hundred, and each is written with 87 characters.
        "leaves-many" => {
            let script = r"i=100; while [ $i -lt 300 ]; do
                ( e='\033\033\033\033'; printf $e$e$e$i > /proc/self/comm; sleep 1000; : ) &
                i=$((i + 1)); done; wait";
            detached_program(&["sh", "-c", script, token], Stdio::null())?;
            once_there(|| there_is(&[&[0x1b; 12], &b"299)"[..]].concat()));
            Ok(())
        }
        "leaves-a-headless-process" => {
            let script = "import ctypes, threading, time\n\
                threading.Thread(target=time.sleep, args=(1000,)).start()\n\
                ctypes.CDLL(None).pthread_exit(None)";
            detached_program(&["python3", "-c", script, token], Stdio::null())?;
            once_there(|| there_is(b"(python3) Z"));
            Ok(())
        }
        // It ends by itself, in case nobody can end it: long after it is to have been found.
        "leaves-a-chain" => {
            let script = "my $end = time + 2; while (time < $end) { exit if fork }";
            detached_program(&["perl", "-e", script, token], Stdio::null())
        }
        _ => Ok(()),
    }
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
        "silences-its-keeper" => kill_keeper().expect("it is there"),
        _ => leave(name, &token).expect("sh is there"),
    }
}

fn kill_keeper() -> std::io::Result<()> {
    let keeper = rustix::process::getppid().expect("there is one");
    Ok(rustix::process::kill_process(keeper, rustix::process::Signal::KILL)?)
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
            "crashes-like-node" if self.count == LATER => {
                let places = "    at somewhere (node:internal:1:2)\n".repeat(10);
                eprint!("\n\nError: \x1b[31mboom\x1b[0m\n{places}\nNode.js v20.0.0\n");
                std::process::exit(1);
            }
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
                kill_keeper()?;
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
