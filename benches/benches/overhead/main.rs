//! What the harness adds: instructions of an operation through the suite's trait, as the benchmarks measure it, against
//! instructions of the same operation by direct calls into the library.
//!
//! Both ways do the same with the same configuration in a group of the same shape: they send messages of the same length,
//! and another member understands them. Each is counted by callgrind in processes of its own, which this program starts
//! of itself. It fails if any difference is above [`BOUND`], in whichever direction: where the trait is much cheaper, the
//! two ways do not do the same.

mod direct_mls_rs;
mod direct_openmls;

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};
use e2esm::bench::callgrind::valgrind;
use e2esm::bench::cell::{Cell, GroupState, Operation};
use e2esm::bench::stage::{Stage, measured};
use e2esm_benches::{Task, cache, cell, one_thread, task};

use crate::direct_mls_rs::MlsRs;
use crate::direct_openmls::OpenMls;

/// What is compared.
const IMPLEMENTATIONS: &[&str] = &["openmls-rustcrypto", "mls-rs-rustcrypto"];
const OPERATIONS: &[Operation] = &[Operation::Send, Operation::Update];
const SIZE: u32 = 128;

/// Processes for each way. Counts depend on addresses and on the seeds of hash tables, by about one part in ten thousand.
const RUNS: usize = 3;

/// By how many per cent the two ways may differ.
const BOUND: f64 = 1.0;

/// As long as what the suite sends.
const PLAINTEXT: &[u8] = b"thirty-two bytes to be measured.";

/// The first of the arguments of a process that counts.
const COUNT: &str = "--count";

/// An operation without the harness.
trait Direct {
    /// What is measured.
    fn act(&mut self) -> Result<()>;

    /// The length of what was sent.
    fn bytes(&self) -> u64;

    /// Another member takes what was sent, and comes to the same result.
    fn check(&mut self) -> Result<()>;
}

/// One of the two ways.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Direct,
    Trait,
}

impl Way {
    fn label(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Trait => "trait",
        }
    }
}

/// The measured region: callgrind finds it by this name.
#[inline(never)]
fn counted<T>(work: impl FnOnce() -> T) -> T {
    work()
}

/// Does the operation twice, checked, and says how many bytes it sent. Only the second time counts: libraries make tables
/// once, and find out what the processor can do.
fn act(way: Way, cell: &Cell) -> Result<u64> {
    match way {
        Way::Direct => {
            let mut warm_up = directly(cell)?;
            warm_up.act()?;
            warm_up.check()?;
            let mut direct = directly(cell)?;
            counted(|| direct.act())?;
            direct.check()?;
            Ok(direct.bytes())
        }
        Way::Trait => {
            let adapter = e2esm::registry::find(&cell.setting.adapter).context("there is no such implementation")?;
            let stage = Stage::new(&*adapter, cell, &cache())?;
            let bytes = stage.warm_up()?.bytes_up;
            let mut scene = stage.scene()?;
            counted(|| measured(&mut scene))?;
            scene.check()?;
            Ok(bytes)
        }
    }
}

fn directly(cell: &Cell) -> Result<Box<dyn Direct>> {
    let Cell { operation, setting, .. } = cell;
    Ok(match setting.adapter.as_str() {
        "openmls-rustcrypto" => Box::new(OpenMls::ready(*operation, setting.size)?),
        "mls-rs-rustcrypto" => Box::new(MlsRs::ready(*operation, setting.size)?),
        other => bail!("{other} is not compared"),
    })
}

/// The instructions of one run in a process of its own, and the bytes that it sent.
fn run(way: Way, cell: &Cell) -> Result<(u64, u64)> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("callgrind.out");
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg("--toggle-collect=overhead::counted*")
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(format!("--log-file={}", directory.path().join("log").display()))
        .arg(std::env::current_exe()?)
        .args([COUNT, way.label(), &cell.setting.adapter, cell.operation.label()])
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "{}, {}: {}", cell.id(), way.label(), output.status);
    let bytes = String::from_utf8(output.stdout)?.trim().parse().context("the number of bytes")?;
    Ok((total(&file)?, bytes))
}

/// The sum in callgrind's file.
fn total(file: &Path) -> Result<u64> {
    let text = std::fs::read_to_string(file)?;
    let sum = text.lines().find_map(|line| line.strip_prefix("totals:").or_else(|| line.strip_prefix("summary:")));
    let sum = sum.context("callgrind's file has no total")?.trim().parse()?;
    ensure!(sum > 0, "nothing was counted: the measured region was not found");
    Ok(sum)
}

fn median(mut counts: Vec<u64>) -> u64 {
    counts.sort_unstable();
    counts[counts.len() / 2]
}

/// Counts one operation both ways and prints a line of the table; whether the difference is within the bound.
fn compare(cell: &Cell) -> Result<bool> {
    let (mut direct, mut through) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let (instructions, sent_directly) = run(Way::Direct, cell)?;
        direct.push(instructions);
        let (instructions, sent) = run(Way::Trait, cell)?;
        through.push(instructions);
        ensure!(sent == sent_directly, "{}: {sent_directly} bytes directly, {sent} through the trait", cell.id());
    }
    let (direct, through) = (median(direct), median(through));
    let difference = 100.0 * (through as f64 / direct as f64 - 1.0);
    let Cell { operation, setting, .. } = cell;
    println!("{operation:<10}{:<20}{direct:>15}{through:>19}{difference:>+14.2}", setting.adapter);
    Ok(difference.abs() <= BOUND)
}

/// Both ways once, without valgrind.
fn test(cell: &Cell) -> Result<()> {
    let (direct, through) = (act(Way::Direct, cell)?, act(Way::Trait, cell)?);
    ensure!(direct == through, "{}: {direct} bytes directly, {through} through the trait", cell.id());
    Ok(())
}

/// What this program does when it has started itself under valgrind.
fn count(way: &str, adapter: &str, operation: &str) -> Result<()> {
    let way = [Way::Direct, Way::Trait].into_iter().find(|known| known.label() == way).context("which way?")?;
    let operation = operation.parse().map_err(anyhow::Error::msg)?;
    println!("{}", act(way, &cell(operation, adapter, GroupState::Flat, SIZE))?);
    Ok(())
}

fn go() -> Result<bool> {
    one_thread()?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, way, adapter, operation] = arguments.as_slice()
        && first == COUNT
    {
        count(way, adapter, operation)?;
        return Ok(true);
    }
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let cells = OPERATIONS
        .iter()
        .flat_map(|operation| IMPLEMENTATIONS.iter().map(|adapter| cell(*operation, adapter, GroupState::Flat, SIZE)));
    let cells: Vec<_> = cells.filter(|cell| filter.is_none_or(|filter| cell.id().contains(filter))).collect();
    let task = task();
    if task == Task::Measure && valgrind().is_none() {
        println!("overhead: nothing is counted: there is no valgrind (Debian's package is `valgrind`)");
        return Ok(true);
    }
    if task == Task::Measure && !cells.is_empty() {
        println!(
            "{:<10}{:<20}{:>15}{:>19}{:>14}",
            "operation", "implementation", "direct", "through the trait", "difference, %"
        );
    }
    let mut within = true;
    for cell in &cells {
        match task {
            Task::List => println!("{}: benchmark", cell.id()),
            Task::Test => test(cell)?,
            Task::Measure => {
                // Not under valgrind, so that prepared states come from the cache there.
                test(cell)?;
                within &= compare(cell)?;
            }
        }
    }
    Ok(within)
}

fn main() -> ExitCode {
    match go() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("overhead: the two ways differ by more than {BOUND} %");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("overhead: {error:#}");
            ExitCode::FAILURE
        }
    }
}
