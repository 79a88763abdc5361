//! Instructions of operations, counted by valgrind's callgrind through gungraun: they show the small changes that a clock
//! loses in its noise.
//!
//! gungraun needs valgrind and a runner of the library's own version; without them this target says so, and that is all.
//! Its names must be identifiers: `process-update/mls-rs-awslc/flat/8` is
//! `instructions::counted::flat::process_update mls_rs_awslc_8`.

use std::process::{Command, ExitCode, Stdio};

use e2esm::bench::callgrind::valgrind;
use e2esm::bench::cell::{Cell, GroupState, Operation};
use e2esm::bench::prepare::prepare;
use e2esm::bench::stage::{Scene, Stage, measured};
use e2esm_adapter::Adapter;
use e2esm_benches::{Task, cache, cell, cells, one_thread, task};

/// The version of gungraun in `Cargo.toml`.
const VERSION: &str = "0.20.0";

/// gungraun's runner: where gungraun itself looks for it.
const RUNNER: &str = match option_env!("GUNGRAUN_RUNNER") {
    Some(path) => path,
    None => "gungraun-runner",
};

/// The benches, each with its attribute: gungraun has no other way to give it a name.
mod counted {
    use gungraun::prelude::*;

    use super::{Scene, measured, ready};

    pub(super) const IMPLEMENTATIONS: &[&str] =
        &["openmls-rustcrypto", "openmls-libcrux", "mls-rs-rustcrypto", "mls-rs-awslc", "libsignal-rust", "vodozemac"];
    pub(super) const SIZES: &[u32] = &[8, 128, 512];

    macro_rules! operations {
        ($($function:ident = $label:literal,)+) => {
            pub(super) const OPERATIONS: &[&str] = &[$($label,)+];

            $(
                #[library_benchmark(setup = ready)]
                #[bench::openmls_rustcrypto_8($label, "openmls-rustcrypto", 8)]
                #[bench::openmls_rustcrypto_128($label, "openmls-rustcrypto", 128)]
                #[bench::openmls_rustcrypto_512($label, "openmls-rustcrypto", 512)]
                #[bench::openmls_libcrux_8($label, "openmls-libcrux", 8)]
                #[bench::openmls_libcrux_128($label, "openmls-libcrux", 128)]
                #[bench::openmls_libcrux_512($label, "openmls-libcrux", 512)]
                #[bench::mls_rs_rustcrypto_8($label, "mls-rs-rustcrypto", 8)]
                #[bench::mls_rs_rustcrypto_128($label, "mls-rs-rustcrypto", 128)]
                #[bench::mls_rs_rustcrypto_512($label, "mls-rs-rustcrypto", 512)]
                #[bench::mls_rs_awslc_8($label, "mls-rs-awslc", 8)]
                #[bench::mls_rs_awslc_128($label, "mls-rs-awslc", 128)]
                #[bench::mls_rs_awslc_512($label, "mls-rs-awslc", 512)]
                #[bench::libsignal_rust_8($label, "libsignal-rust", 8)]
                #[bench::libsignal_rust_128($label, "libsignal-rust", 128)]
                #[bench::libsignal_rust_512($label, "libsignal-rust", 512)]
                #[bench::vodozemac_8($label, "vodozemac", 8)]
                #[bench::vodozemac_128($label, "vodozemac", 128)]
                #[bench::vodozemac_512($label, "vodozemac", 512)]
                fn $function(mut scene: Scene<'static>) -> Scene<'static> {
                    if let Err(error) = measured(&mut scene) {
                        panic!("{}: {error}", $label);
                    }
                    scene
                }
            )+

            library_benchmark_group!(name = flat, benchmarks = [$($function),+]);
        };
    }

    operations! {
        update = "update",
        process_update = "process-update",
        remove_1 = "remove-1",
        add_1 = "add-1",
        join = "join",
        send = "send",
        receive = "receive",
    }

    main!(
        // Where prepared states are depends on these; everything else is cleared.
        config = LibraryBenchmarkConfig::default().pass_through_envs(["HOME", "XDG_CACHE_HOME", "E2ESM_CACHE"]),
        library_benchmark_groups = flat
    );

    /// gungraun's own `main`: it starts the runner, or is what the runner has started.
    pub(super) fn run() {
        main();
    }
}

/// The scene of one cell. This runs under valgrind as well, but does not count. A first run, whose answer is checked, is
/// thrown away: libraries make tables once, and find out what the processor can do.
fn ready(operation: &str, adapter: &str, size: u32) -> Scene<'static> {
    let scene = || -> Result<Scene<'static>, String> {
        let cell = cell(operation.parse()?, adapter, GroupState::Flat, size);
        let adapter = e2esm::registry::find(adapter).ok_or("there is no such implementation")?;
        // Both last as long as the process, which is for this one scene.
        let stage = Box::leak(Box::new(checked(Box::leak(adapter), &cell)?));
        stage.scene().map_err(|error| error.to_string())
    };
    scene().unwrap_or_else(|error| panic!("{operation}/{adapter}/flat/{size}: void, {error}"))
}

/// A cell that has given a right answer once.
fn checked<'a>(adapter: &'a dyn Adapter, cell: &Cell) -> Result<Stage<'a>, String> {
    let stage = Stage::new(adapter, cell, &cache()).map_err(|error| error.to_string())?;
    stage.warm_up().map_err(|error| error.to_string())?;
    Ok(stage)
}

/// Does each operation once in the smallest group, without valgrind.
fn test() -> Result<(), String> {
    let operations = counted::OPERATIONS.iter().map(|label| label.parse()).collect::<Result<Vec<Operation>, _>>()?;
    for adapter in e2esm::registry::built_in() {
        for cell in cells(&*adapter, &operations, &[GroupState::Flat], &counted::SIZES[..1]) {
            checked(&*adapter, &cell).map_err(|error| format!("{}: void, {error}", cell.id()))?;
        }
    }
    Ok(())
}

/// Nobody is left out by mistake.
fn complete() -> Result<(), String> {
    let built_in: Vec<_> = e2esm::registry::built_in().iter().map(|adapter| adapter.describe().name).collect();
    if built_in == counted::IMPLEMENTATIONS {
        Ok(())
    } else {
        Err(format!(
            "there are benches of {}, but built in are {}",
            counted::IMPLEMENTATIONS.join(", "),
            built_in.join(", ")
        ))
    }
}

/// What is missing, and how to get it.
fn missing() -> Option<String> {
    if valgrind().is_none() {
        return Some("there is no valgrind (Debian's package is `valgrind`)".to_owned());
    }
    let output = Command::new(RUNNER).arg("--version").stderr(Stdio::null()).output();
    let found = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let get = format!("`cargo install gungraun-runner --version {VERSION}`");
    match found {
        Ok(found) if found == format!("gungraun-runner {VERSION}") => None,
        Ok(found) => Some(format!("`{RUNNER}` is `{found}` and not {VERSION} ({get})")),
        Err(_) => Some(format!("there is no `{RUNNER}` ({get})")),
    }
}

/// Reaches all states beforehand: under valgrind that would take fifty times as long.
fn prepare_all() -> Result<(), String> {
    for adapter in e2esm::registry::built_in() {
        for cell in cells(&*adapter, &[Operation::Send], &[GroupState::Flat], counted::SIZES) {
            prepare(&*adapter, &cell.setting, &cache()).map_err(|error| format!("{}: {error}", cell.id()))?;
        }
    }
    Ok(())
}

fn run() -> Result<(), String> {
    one_thread().map_err(|error| format!("the pool of threads: {error}"))?;
    if std::env::args().nth(1).is_some_and(|argument| argument == "--gungraun-run") {
        // The runner has started this process under valgrind.
        counted::run();
        return Ok(());
    }
    complete()?;
    let task = task();
    if task == Task::Test {
        return test();
    }
    if let Some(missing) = missing() {
        println!("instructions: nothing is counted: {missing}");
        return Ok(());
    }
    if task == Task::Measure {
        prepare_all()?;
    }
    counted::run();
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("instructions: {error}");
            ExitCode::FAILURE
        }
    }
}
