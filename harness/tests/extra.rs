//! Scenarios beside the published vectors. `unusual/`: sound but unusual ways to use a sound implementation, which nothing
//! may accuse. `network/`: what the server of the harness can do that no published vector uses yet, and the replay cache.

use std::path::{Path, PathBuf};

use e2esm::registry;
use e2esm::scenario::Layer;
use e2esm::suite::{PATIENCE, Settings, Target, run};
use e2esm::vector::load::{directory, embedded};
use e2esm::verdict::Verdict;
use e2esm::worker::Limits;

#[test]
fn another_cipher_suite_and_another_wire_format_policy_come_out_like_the_usual_ones() {
    let vectors = embedded().expect("the embedded vectors are well-formed").vectors;
    let program = PathBuf::from(env!("CARGO_BIN_EXE_e2esm"));
    let settings =
        Settings { layers: Layer::ALL.to_vec(), limits: Limits::default(), seed: 0, jobs: 2, patience: PATIENCE };
    for unusual in registry::unusual() {
        let name = unusual.describe().name;
        let (usual, _) = name.rsplit_once('-').expect("a usual name, a hyphen, and what is unusual");
        let targets = [usual, &name].map(|name| Target::built_in(program.clone(), name));
        let columns = run(&targets, &vectors, &settings, &|| {});
        assert!(columns.iter().all(|column| column.rows.len() == vectors.len() * 2));
        for (one, other) in columns[0].rows.iter().zip(&columns[1].rows) {
            assert_eq!((&one.vector, one.layer, one.verdict), (&other.vector, other.layer, other.verdict), "{name}");
        }
    }
}

#[test]
fn sound_implementations_pass_the_extra_scenarios() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/extra");
    let vectors = directory(&root).expect("the vectors are well-formed").vectors;
    let program = PathBuf::from(env!("CARGO_BIN_EXE_e2esm"));
    let targets: Vec<_> = registry::built_in()
        .iter()
        .map(|adapter| Target::built_in(program.clone(), &adapter.describe().name))
        .collect();
    let settings =
        Settings { layers: Layer::ALL.to_vec(), limits: Limits::default(), seed: 0, jobs: 2, patience: PATIENCE };
    let columns = run(&targets, &vectors, &settings, &|| {});
    assert_eq!(columns.len(), targets.len());
    for column in columns {
        assert_eq!(column.rows.len(), vectors.len() * 2);
        for row in column.rows {
            let name = format!("{} {} [{}]", column.name, row.vector, row.layer.label());
            // vodozemac returns a message's index and leaves replay to the caller.
            let expected = match (column.name.as_str(), row.vector.as_str(), row.layer) {
                ("vodozemac", "network/replayed", Layer::Library) => Verdict::LeftToTheApplication,
                _ => Verdict::Pass,
            };
            assert_eq!(row.verdict, expected, "{name}: {}", row.because());
        }
    }
}
