//! The command line: arguments in, words and exit codes out.

mod args;
mod commands;
mod console;

use std::io::{BufReader, stdin, stdout};
use std::process::ExitCode;
#[cfg(target_os = "linux")]
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{CommandFactory, Parser};
use e2esm_adapter::serve_stdio;

use args::{Arguments, Command, RunArguments, WorkerArguments};

/// Everything as expected.
const AS_EXPECTED: u8 = 0;
/// Verdicts that nobody expected.
const UNEXPECTED: u8 = 1;
/// Misuse: unknown names, unreadable or malformed files.
const MISUSE: u8 = 2;
/// Stopped by the user, as a shell has it.
const INTERRUPTED: u8 = 130;

pub(crate) fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let command = arguments.command.unwrap_or_else(|| Command::Run(RunArguments::default()));
    let result = match command {
        Command::Run(run) => commands::run::run(&run),
        Command::List { what, peers, vectors } => commands::list::list(what, &peers, &vectors),
        Command::Show { vector, vectors } => commands::list::show(&vector, &vectors),
        Command::Explain(explain) => commands::explain::explain(&explain),
        Command::Check { directory } => commands::check::check(&directory),
        Command::VerifyRecorded(verify) => commands::verify_recorded::verify(&verify),
        Command::Record(record) => commands::record::record(&record),
        Command::MlsVectors(mls) => commands::mls_vectors::mls_vectors(&mls),
        Command::Split { collection, directory } => commands::collections::split(collection.as_deref(), &directory),
        Command::Combine { root, check } => commands::collections::combine(&root, check),
        Command::Peers { action } => commands::peers::peers(&action),
        Command::Interop(interop) => commands::interop::interop(&interop),
        Command::Conformance(conformance) => commands::conformance::conformance(&conformance),
        Command::NewAdapter(new) => commands::new_adapter::new_adapter(new.language, &new.directory),
        Command::Rogues(rogues) => commands::rogues::rogues(&rogues),
        Command::Schema { directory } => commands::schema::schema(directory.as_deref()),
        Command::Completions { shell } => {
            // What the harness starts itself is for nobody to complete.
            let all = Arguments::command();
            let shown = all.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
            let mut shown = clap::Command::new("e2esm").version(env!("CARGO_PKG_VERSION")).subcommands(shown);
            clap_complete::generate(shell, &mut shown, "e2esm", &mut stdout());
            Ok(AS_EXPECTED)
        }
        Command::Bench(bench) => commands::bench::bench(&bench),
        Command::Costs(arguments) => commands::costs::costs(&arguments),
        Command::Compare(compare) => commands::compare::compare(&compare),
        Command::Export(export) => commands::export::export(&export),
        Command::Cache { action } => commands::cache::cache(&action),
        Command::Worker(worker) => return serve(&worker),
        Command::Keep { harness, command } => return keep(harness, &command),
        Command::BenchWorker { threads } => return serve_benches(threads),
    };
    end_strays();
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("e2esm: {error:#}");
            ExitCode::from(MISUSE)
        }
    }
}

/// The child's side: one implementation over stdin and stdout.
fn serve(arguments: &WorkerArguments) -> ExitCode {
    let adapter = match (&arguments.adapter, &arguments.rogue) {
        (Some(name), _) => e2esm::registry::find(name),
        (None, Some(name)) => e2esm::rogues::find(name),
        (None, None) => None,
    };
    let Some(adapter) = adapter else {
        eprintln!("e2esm worker: there is no such implementation");
        return ExitCode::from(MISUSE);
    };
    end_with_parent();
    match serve_stdio(adapter.as_ref(), BufReader::new(stdin().lock()), stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        // The harness has gone: nobody is left to tell.
        Err(_) => ExitCode::from(UNEXPECTED),
    }
}

/// Whether there can be any: commands that start no foreign program have nothing to look for.
#[cfg(target_os = "linux")]
static ADOPTING: AtomicBool = AtomicBool::new(false);

/// From now on a foreign program whose keeper is killed becomes this process's own child.
fn adopt_strays() {
    // Where that cannot be had, the keepers do without.
    #[cfg(target_os = "linux")]
    ADOPTING.store(e2esm::keeper::adopt_strays().is_ok(), Ordering::Relaxed);
}

/// Nothing that was started survives.
fn end_strays() {
    #[cfg(target_os = "linux")]
    for name in ADOPTING.load(Ordering::Relaxed).then(e2esm::keeper::end_strays).unwrap_or_default() {
        eprintln!("e2esm: `{name}` had outlived its keeper, and was killed");
    }
}

/// A foreign program's keeper.
#[cfg(target_os = "linux")]
fn keep(harness: u32, command: &[std::ffi::OsString]) -> ExitCode {
    let Some((program, arguments)) = command.split_first() else { return ExitCode::from(MISUSE) };
    match e2esm::keeper::keep(harness, program, arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{}: {error}", program.to_string_lossy());
            ExitCode::from(e2esm::keeper::NOT_STARTED)
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn keep(_harness: u32, _command: &[std::ffi::OsString]) -> ExitCode {
    eprintln!("e2esm keep: there are no subreapers on this system");
    ExitCode::from(MISUSE)
}

/// A harness that was killed cannot end a worker that is busy: the worker looks for itself. The thread that does so has started
/// when this returns: what starting it allocates is no part of what is measured.
fn end_with_parent() {
    #[cfg(unix)]
    {
        static STARTED: std::sync::Barrier = std::sync::Barrier::new(2);
        std::thread::spawn(|| {
            STARTED.wait();
            let harness = std::os::unix::process::parent_id();
            while std::os::unix::process::parent_id() == harness {
                std::thread::sleep(std::time::Duration::from_millis(200));
            }
            std::process::exit(i32::from(UNEXPECTED));
        });
        STARTED.wait();
    }
}

/// The child's side of benchmarks: one cell, measured as often as it is asked for.
fn serve_benches(threads: usize) -> ExitCode {
    end_with_parent();
    // The one pool that openmls and mls-rs use. This thread is in it, so that with one thread nothing changes threads.
    if let Err(error) = rayon::ThreadPoolBuilder::new().num_threads(threads).use_current_thread().build_global() {
        eprintln!("e2esm bench-worker: the pool of threads: {error}");
        return ExitCode::from(UNEXPECTED);
    }
    match e2esm::bench::child::serve(e2esm::registry::benched, BufReader::new(stdin().lock()), stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(UNEXPECTED),
    }
}
