//! Each vector x built-in implementation is a test of its own, named `theme/name::implementation`: both layers must come out
//! as expected. `cargo test removal/` runs a theme, `cargo test ::vodozemac` an implementation.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use e2esm::divergence::Divergences;
use e2esm::probe::probe;
use e2esm::registry;
use e2esm::scenario::Layer;
use e2esm::suite::{Column, Settings, Target, run_one};
use e2esm::vector::load::embedded;
use e2esm::worker::{Limits, Worker};
use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::from_args();
    let program = PathBuf::from(env!("CARGO_BIN_EXE_e2esm"));
    let settings = Arc::new(Settings { layers: Layer::ALL.to_vec(), limits: Limits::default(), seed: 0, jobs: 1 });
    let divergences = Arc::new(Divergences::checked_in()?);
    let mut trials = Vec::new();
    for adapter in registry::built_in() {
        let target = Arc::new(Target::built_in(program.clone(), &adapter.describe().name));
        let probed = Arc::new(OnceLock::new());
        for vector in embedded()?.vectors {
            let (target, probed) = (target.clone(), probed.clone());
            let (settings, divergences) = (settings.clone(), divergences.clone());
            let name = format!("{}::{}", vector.id, target.name);
            trials.push(Trial::test(name, move || {
                let probe_it =
                    || Worker::start(&target.launch, settings.limits).and_then(|mut worker| probe(&mut worker));
                let description = probed.get_or_init(probe_it).clone().map_err(failed)?;
                let rows =
                    settings.layers.iter().map(|layer| run_one(&target, &description, &vector, *layer, &settings));
                let column = Column { name: target.name.clone(), rows: rows.collect(), description: Some(description) };
                match divergences.unexpected(std::slice::from_ref(&column)).first() {
                    Some(unexpected) => Err(format!("[{}] {}", unexpected.layer.label(), unexpected.sentence).into()),
                    None => {
                        for row in &column.rows {
                            println!("[{}] {}: {}", row.layer.label(), row.verdict.label(), row.because());
                        }
                        Ok(())
                    }
                }
            }));
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}

fn failed(failure: impl std::fmt::Display) -> Failed {
    format!("the implementation {failure}").into()
}
