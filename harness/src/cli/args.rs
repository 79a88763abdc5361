//! What can be said on the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use e2esm::bench::cell::{Actor, GroupState, Operation};
use e2esm::bench::document::Measure;

use super::commands::compare::CompareArguments;
use super::commands::costs::CostsArguments;
use super::commands::export::ExportArguments;

/// Plays vectors for end-to-end secure messaging against real implementations.
#[derive(Debug, Parser)]
#[command(
    name = "e2esm",
    version,
    about,
    long_about = "Plays vectors for end-to-end secure messaging (authentication, removal, device addition, participation, integrity) \
                  against real implementations of MLS, Signal and Matrix cryptography, and says which keep which promises.\n\n\
                  Without a command it does what `e2esm run` does: all vectors, all built-in implementations, a table at the end, \
                  JSON in results/.",
    after_help = "Exit codes: 0 as expected, 1 unexpected verdicts or regressions, 2 misuse, 130 interrupted.\nColours respect NO_COLOR."
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Play vectors against implementations
    Run(RunArguments),
    /// List what there is
    List {
        /// What to list
        what: Listed,
        #[command(flatten)]
        peers: PeerSource,
        #[command(flatten)]
        vectors: VectorSource,
    },
    /// Show a vector as readable steps, with its requirements and precedents
    Show {
        /// The vector's id, such as removal/cannot-read-next
        vector: String,
        #[command(flatten)]
        vectors: VectorSource,
    },
    /// Tell step by step what was sent, what each device answered, and why the verdict followed
    Explain(ExplainArguments),
    /// Check a directory of vectors of your own: THEME/NAME.json, and recorded ones in recorded/
    Check {
        /// The directory
        directory: PathBuf,
    },
    /// Play recorded vectors, bytes in and outcome out, on implementations
    VerifyRecorded(VerifyRecordedArguments),
    /// Make a recorded vector of what one device of a scenario is given
    Record(RecordArguments),
    /// Play the MLS working group's passive-client test vectors on the MLS implementations
    MlsVectors(MlsVectorsArguments),
    /// Take a protocol's collection of recorded vectors apart: a file for each
    Split {
        /// The collection, such as vectors/recorded/mls.json [default: all of those in the binary]
        #[arg(long, value_name = "FILE")]
        collection: Option<PathBuf>,
        /// Where the files go: PROTOCOL/THEME/NAME.json below it
        directory: PathBuf,
    },
    /// Write what is generated from the recorded vectors: a collection for each protocol, and tables in vectors/README.md
    Combine {
        /// The root of a checkout
        #[arg(default_value = ".")]
        root: PathBuf,
        /// Write nothing; exit with 1 if something is not current
        #[arg(long)]
        check: bool,
    },
    /// Let the suite test itself: deliberately flawed implementations must be caught, sound but unusual ones must not
    Rogues(RogueArguments),
    /// Measure what group operations cost
    Bench(BenchArguments),
    /// Print the tables of a run of benchmarks
    Costs(CostsArguments),
    /// Compare two runs of benchmarks, or two implementations within one
    Compare(CompareArguments),
    /// Export exact measures for services that watch them over time
    Export(ExportArguments),
    /// The prepared group states that benchmarks keep
    Cache {
        /// What to do with them
        #[command(subcommand)]
        action: CacheAction,
    },
    /// Install or list the suite's peers: implementations that are programs in other languages
    Peers {
        /// What to do with them
        #[command(subcommand)]
        action: PeerAction,
    },
    /// Play scenarios with two implementations of one wire protocol in one conversation or group, every ordered pair
    Interop(InteropArguments),
    /// Check that a program keeps to the stdio protocol, before any vector
    Conformance(ConformanceArguments),
    /// Write a working skeleton of an adapter
    NewAdapter(NewAdapterArguments),
    /// Print the JSON Schemas of vectors, results and the stdio protocol, or write them
    Schema {
        /// Write them below this directory, the root of a checkout, instead of printing them
        directory: Option<PathBuf>,
    },
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Serve one implementation over stdin and stdout (what the harness starts)
    #[command(hide = true)]
    Worker(WorkerArguments),
    /// Run a program and end it with all that it started (what the harness puts before programs that are not its own)
    #[command(hide = true)]
    Keep {
        /// The process that wants it kept: when it is not the parent any more, everything ends
        #[arg(long)]
        harness: u32,
        /// The program and its arguments
        #[arg(last = true, required = true)]
        command: Vec<std::ffi::OsString>,
    },
    /// Measure one cell as asked over stdin (what `bench` starts)
    #[command(hide = true)]
    BenchWorker {
        /// Threads in every pool
        #[arg(long, default_value_t = 1)]
        threads: usize,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Listed {
    Vectors,
    Adapters,
    Rogues,
    Requirements,
}

#[derive(Debug, Clone, Default, Args)]
pub(crate) struct VectorSource {
    /// Take the vectors from this directory instead of those in the binary
    #[arg(long = "vectors", value_name = "DIR")]
    pub directory: Option<PathBuf>,
}

/// Where adapters that are programs of their own are looked up.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct PeerSource {
    /// Also know the adapters of this file [default: adapters.toml, if there is one here]
    #[arg(long, value_name = "FILE")]
    pub adapters: Option<PathBuf>,
    /// Where peers are installed [default: target/peers in the checkout that this program was built in]
    #[arg(long = "peers", value_name = "DIR", env = "E2ESM_PEERS")]
    pub root: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    /// Only these: a name (see `e2esm list adapters`), `all`, a program's path, or a command line; may be repeated
    #[arg(long, value_name = "ADAPTER")]
    pub adapter: Vec<String>,
    #[command(flatten)]
    pub peers: PeerSource,
    /// Only vectors whose id matches, such as 'removal/*'; may be repeated
    #[arg(long, value_name = "GLOB")]
    pub vector: Vec<String>,
    /// Which layer: the library alone, with the shared policy, or both
    #[arg(long, value_enum, default_value_t = Layers::Both)]
    pub layer: Layers,
    /// Bad verdicts that are known, beside those of harness/divergences.json: a file of the same form; may be repeated
    #[arg(long, value_name = "FILE")]
    pub divergences: Vec<PathBuf>,
    /// Where the JSON goes
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub out: PathBuf,
    /// What to print at the end
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    #[command(flatten)]
    pub vectors: VectorSource,
    #[command(flatten)]
    pub limits: LimitArguments,
}

impl Default for RunArguments {
    fn default() -> Self {
        Self {
            adapter: Vec::new(),
            peers: PeerSource::default(),
            vector: Vec::new(),
            layer: Layers::Both,
            divergences: Vec::new(),
            out: PathBuf::from("results"),
            format: Format::Table,
            vectors: VectorSource::default(),
            limits: LimitArguments::default(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Layers {
    Library,
    Policy,
    Both,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
    Junit,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct LimitArguments {
    /// Scenarios at a time [default: one for each processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: Option<u16>,
    /// Seconds that one scenario may take [default: 30; 10 for rogues, some of which never return]
    #[arg(long, value_name = "S", value_parser = positive)]
    pub timeout: Option<f64>,
    /// Megabytes of resident memory that one scenario's process may use (on Linux)
    #[arg(long, value_name = "MB", default_value_t = 2048, value_parser = clap::value_parser!(u64).range(16..=1_048_576))]
    pub memory: u64,
    /// From what message texts are made
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,
}

impl Default for LimitArguments {
    fn default() -> Self {
        Self { jobs: None, timeout: None, memory: 2048, seed: 0 }
    }
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 86_400.0 => Ok(seconds),
        _ => Err("expected a number of seconds above 0 and at most 86400".to_owned()),
    }
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArguments {
    /// The vector's id, such as integrity/reencrypt-undelivered
    pub vector: String,
    /// The implementation: an adapter or a rogue by name, a program's path, or a command line
    #[arg(long, value_name = "ADAPTER")]
    pub adapter: String,
    #[command(flatten)]
    pub peers: PeerSource,
    /// Which layer: the library alone, with the shared policy, or both
    #[arg(long, value_enum, default_value_t = Layers::Both)]
    pub layer: Layers,
    #[command(flatten)]
    pub vectors: VectorSource,
    #[command(flatten)]
    pub limits: LimitArguments,
}

#[derive(Debug, Args)]
pub(crate) struct RogueArguments {
    /// Only these rogues (see `e2esm list rogues`); may be repeated
    #[arg(long, value_name = "NAME")]
    pub rogue: Vec<String>,
    /// What to print
    #[arg(long, value_enum, default_value_t = RogueFormat::Table)]
    pub format: RogueFormat,
    #[command(flatten)]
    pub limits: LimitArguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RogueFormat {
    Table,
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyRecordedArguments {
    /// A file or a directory of recorded vectors [default: those in the binary]
    pub path: Option<PathBuf>,
    /// Only these: a name (see `e2esm list adapters`), a rogue, `all`, a program's path, or a command line; may be repeated
    #[arg(long, value_name = "ADAPTER")]
    pub adapter: Vec<String>,
    #[command(flatten)]
    pub peers: PeerSource,
    /// Only vectors whose id matches, such as 'mls/removal/*'; may be repeated
    #[arg(long, value_name = "GLOB")]
    pub vector: Vec<String>,
    /// What to print
    #[arg(long, value_enum, default_value_t = RogueFormat::Table)]
    pub format: RogueFormat,
    #[command(flatten)]
    pub limits: LimitArguments,
}

#[derive(Debug, Args)]
pub(crate) struct RecordArguments {
    /// The scenario's id, such as removal/cannot-read-next
    pub scenario: String,
    /// Whose bytes to record: a built-in implementation
    #[arg(long, value_name = "NAME")]
    pub adapter: String,
    /// Which device's view: USER/DEVICE. It must be one that only receives
    #[arg(long, value_name = "DEVICE")]
    pub passive: e2esm_adapter::DeviceId,
    /// For an implementation of several protocols: which one's packets [default: the first that it plays]
    #[arg(long, value_name = "NAME", value_parser = protocol)]
    pub protocol: Option<e2esm_adapter::Protocol>,
    /// The day to write down, YYYY-MM-DD [default: today, UTC]
    #[arg(long, value_name = "DAY")]
    pub date: Option<String>,
    /// Where the file goes [default: printed]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub vectors: VectorSource,
    #[command(flatten)]
    pub limits: LimitArguments,
}

fn protocol(text: &str) -> Result<e2esm_adapter::Protocol, String> {
    let all = e2esm_adapter::Protocol::ALL;
    all.into_iter()
        .find(|protocol| protocol.label() == text)
        .ok_or_else(|| format!("expected one of {}", all.map(e2esm_adapter::Protocol::label).join(", ")))
}

#[derive(Debug, Args)]
pub(crate) struct MlsVectorsArguments {
    /// The folder with the working group's passive-client*.json
    pub directory: PathBuf,
    /// Only these: a name (see `e2esm list adapters`), `all`, a program's path, or a command line; may be repeated
    #[arg(long, value_name = "ADAPTER")]
    pub adapter: Vec<String>,
    #[command(flatten)]
    pub peers: PeerSource,
    /// What to print
    #[arg(long, value_enum, default_value_t = RogueFormat::Table)]
    pub format: RogueFormat,
    #[command(flatten)]
    pub limits: LimitArguments,
}

#[derive(Debug, Args)]
pub(crate) struct WorkerArguments {
    /// A built-in implementation
    #[arg(long)]
    pub adapter: Option<String>,
    /// A deliberately flawed one
    #[arg(long)]
    pub rogue: Option<String>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Cells, tiers and what they are for: benches/tiers.toml and benches/MODELS.md. Exit codes: 0 everything was \
                        measured, 1 an answer was wrong or an implementation failed, 2 misuse, 130 interrupted."
)]
pub(crate) struct BenchArguments {
    /// Which cells to measure: quick, nightly or extended (see benches/tiers.toml)
    #[arg(long, value_name = "NAME", default_value = "quick")]
    pub tier: String,
    /// Take the tiers from this file
    #[arg(long, value_name = "FILE")]
    pub tiers: Option<PathBuf>,
    /// Only these operations, such as update; may be repeated
    #[arg(long, value_name = "NAME")]
    pub operation: Vec<Operation>,
    /// Only these implementations (see `e2esm list adapters`); may be repeated
    #[arg(long, value_name = "NAME")]
    pub adapter: Vec<String>,
    /// Only these group states: flat, creator-path, full, churn10, staircase; may be repeated
    #[arg(long, value_name = "NAME")]
    pub state: Vec<GroupState>,
    /// Only groups of this size, also where the tier has none; may be repeated
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
    pub size: Vec<u32>,
    /// Only these actors: first, middle, last; may be repeated
    #[arg(long, value_name = "NAME")]
    pub actor: Vec<Actor>,
    /// Measure only this; may be repeated
    #[arg(long, value_name = "WHAT", value_enum)]
    pub measure: Vec<Measure>,
    /// Threads in every pool, the libraries' own included, in place of what the tier says
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Take the time in interleaved pairs with another build: a revision of this repository, or a program
    #[arg(long, value_name = "REV_OR_BINARY")]
    pub against: Option<String>,
    /// Where the JSON goes [default: results/bench-TIER.json]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Go on with an interrupted run
    #[arg(long)]
    pub resume: bool,
    /// Begin anew even where an interrupted run could go on
    #[arg(long, conflicts_with = "resume")]
    pub fresh: bool,
    /// Print the cells and stop
    #[arg(long)]
    pub list: bool,
    /// What to print at the end
    #[arg(long, value_enum, default_value_t = BenchFormat::Table)]
    pub format: BenchFormat,
    #[command(flatten)]
    pub cache: CacheArguments,
    /// Burden every implementation a little: the gate's own tests
    #[arg(long, hide = true)]
    pub burden: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BenchFormat {
    Table,
    Json,
    None,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct CacheArguments {
    /// Where prepared group states are kept [default: $E2ESM_CACHE, or e2esm in the user's cache directory]
    #[arg(long = "cache", value_name = "DIR")]
    pub directory: Option<PathBuf>,
    /// Gigabytes of them that are kept
    #[arg(long = "cache-bound", value_name = "GB", default_value_t = 4.0)]
    pub bound: f64,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CacheAction {
    /// What there is, with sizes and ages
    List {
        #[command(flatten)]
        cache: CacheArguments,
    },
    /// Remove everything
    Clear {
        #[command(flatten)]
        cache: CacheArguments,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum PeerAction {
    /// Install peers: exact versions, nothing global; a peer with a source into a directory of its own, another one where it lies
    Install {
        /// Which [default: all]
        name: Vec<String>,
        #[command(flatten)]
        source: PeerSource,
        /// Install again what is there
        #[arg(long)]
        force: bool,
    },
    /// What is there, what is missing, and what this machine lacks for it
    List {
        #[command(flatten)]
        source: PeerSource,
        /// What to print
        #[arg(long, value_enum, default_value_t = RogueFormat::Table)]
        format: RogueFormat,
    },
    /// Remove what was installed
    Remove {
        /// Which
        name: Vec<String>,
        /// All of them
        #[arg(long, conflicts_with = "name")]
        all: bool,
        #[command(flatten)]
        source: PeerSource,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ConformanceArguments {
    /// A program's path, a command line, or an adapter's name
    pub adapter: String,
    #[command(flatten)]
    pub peers: PeerSource,
    /// What to print
    #[arg(long, value_enum, default_value_t = RogueFormat::Table)]
    pub format: RogueFormat,
    #[command(flatten)]
    pub limits: LimitArguments,
}

#[derive(Debug, Args)]
pub(crate) struct NewAdapterArguments {
    /// In which language
    #[arg(long, value_enum)]
    pub language: Language,
    /// Where: a directory that does not exist yet, or an empty one
    pub directory: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    Python,
    Node,
    Rust,
}

#[derive(Debug, Args)]
#[command(
    after_help = "In a pair the first implementation plays the first device of a scenario and every second one after it, the other \
                  one the rest. A cell is as good as the scenario comes out with either implementation alone. Exit codes: 0 \
                  everything came out so or is expected otherwise, 1 something did not, 2 misuse."
)]
pub(crate) struct InteropArguments {
    /// Only these (see `run`); may be repeated [default: the built-in implementations and the peers that are installed]
    #[arg(long, value_name = "ADAPTER")]
    pub adapter: Vec<String>,
    #[command(flatten)]
    pub peers: PeerSource,
    /// Only vectors whose id matches, such as 'removal/*'; may be repeated [default: those without an outsider]
    #[arg(long, value_name = "GLOB")]
    pub vector: Vec<String>,
    /// Which layer: the library alone, with the shared policy, or both
    #[arg(long, value_enum, default_value_t = Layers::Both)]
    pub layer: Layers,
    /// Where the JSON goes: interop.json in this directory
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub out: PathBuf,
    /// What to print at the end
    #[arg(long, value_enum, default_value_t = RogueFormat::Table)]
    pub format: RogueFormat,
    #[command(flatten)]
    pub vectors: VectorSource,
    #[command(flatten)]
    pub limits: LimitArguments,
}
