//! Each vector x built-in implementation is a test of its own, named `theme/name::implementation`: both layers must come out
//! as expected. Recorded vectors are named `recorded/protocol/theme/name::implementation`, for those that play the protocol.
//! `cargo test removal/` runs a theme, `cargo test ::vodozemac` an implementation, `cargo test recorded/` all recorded ones.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use e2esm::divergence::Divergences;
use e2esm::probe::probe;
use e2esm::recorded::{self, Agreement};
use e2esm::registry;
use e2esm::scenario::Layer;
use e2esm::suite::{Column, PATIENCE, Settings, Target, run_one};
use e2esm::vector::load::embedded;
use e2esm::worker::{Limits, Worker};
use e2esm_playback::Implementation;
use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::from_args();
    let program = PathBuf::from(env!("CARGO_BIN_EXE_e2esm"));
    let settings = Arc::new(Settings {
        layers: Layer::ALL.to_vec(),
        limits: Limits::default(),
        seed: 0,
        jobs: 1,
        patience: PATIENCE,
    });
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
    trials.extend(recorded_trials(&program)?);
    libtest_mimic::run(&arguments, trials).exit();
}

fn recorded_trials(program: &Path) -> Result<Vec<Trial>, Box<dyn std::error::Error>> {
    let vectors: Vec<_> = recorded::embedded()?.into_iter().map(Arc::new).collect();
    let mut trials = Vec::new();
    for adapter in registry::built_in() {
        let description = Arc::new(adapter.describe());
        let target = Arc::new(Target::built_in(program.to_owned(), &description.name));
        for vector in vectors.iter().filter(|vector| description.recorded.contains(&vector.protocol)) {
            let (description, target, vector) = (description.clone(), target.clone(), vector.clone());
            let name = format!("recorded/{}::{}", vector.id, target.name);
            trials.push(Trial::test(name, move || {
                let finding = recorded::find(&target, &description, &vector, Limits::default());
                let row = recorded::Row { vector: vector.id.clone(), finding };
                match row.judge(&vector, &Implementation::from(&*description)) {
                    (Agreement::Agrees, _) => Ok(()),
                    (agreement @ (Agreement::Known | Agreement::Unsupported), why) => {
                        println!("{}: {why}", agreement.label());
                        Ok(())
                    }
                    (agreement, why) => Err(format!("{}: {why}", agreement.label()).into()),
                }
            }));
        }
    }
    Ok(trials)
}

fn failed(failure: impl std::fmt::Display) -> Failed {
    format!("the implementation {failure}").into()
}
