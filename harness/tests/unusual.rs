//! Sound but unusual ways to use a sound implementation: no built-in one may be accused for them, at either layer.

use std::path::{Path, PathBuf};

use e2esm::registry;
use e2esm::results::because;
use e2esm::scenario::Layer;
use e2esm::suite::{Settings, Target, run};
use e2esm::vector::load::directory;
use e2esm::verdict::Verdict;
use e2esm::worker::Limits;

#[test]
fn unusual_use_is_not_accused() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/unusual");
    let vectors = directory(&root).expect("the vectors are well-formed").vectors;
    let program = PathBuf::from(env!("CARGO_BIN_EXE_e2esm"));
    let targets: Vec<_> = registry::built_in()
        .iter()
        .map(|adapter| Target::built_in(program.clone(), &adapter.describe().name))
        .collect();
    let settings = Settings { layers: Layer::ALL.to_vec(), limits: Limits::default(), seed: 0, jobs: 2 };
    let columns = run(&targets, &vectors, &settings, &|| {});
    assert_eq!(columns.len(), targets.len());
    for column in columns {
        assert_eq!(column.rows.len(), vectors.len() * 2);
        for row in column.rows {
            let name = format!("{} {} [{}]", column.name, row.vector, row.layer.label());
            assert_eq!(row.verdict, Verdict::Pass, "{name}: {}", because(&row));
        }
    }
}
