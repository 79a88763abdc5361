//! JSON Schemas, derived from the types. The checked-in copies are compared with these in the tests.

use schemars::Schema;

/// The schemas, each with its path in the repository.
pub fn all() -> Vec<(&'static str, Schema)> {
    vec![
        ("adapters/schema/request.json", schemars::schema_for!(e2esm_adapter::Frame)),
        ("adapters/schema/reply.json", schemars::schema_for!(e2esm_adapter::ReplyFrame)),
        ("vectors/schema/vector.json", schemars::schema_for!(crate::vector::Vector)),
        ("vectors/schema/recorded.json", schemars::schema_for!(e2esm_playback::Recorded)),
        ("vectors/schema/collection.json", schemars::schema_for!(e2esm_playback::Collection)),
        ("vectors/schema/requirements.json", schemars::schema_for!(Vec<crate::vector::load::Requirement>)),
        ("results/schema/results.json", schemars::schema_for!(crate::results::Results)),
        ("results/schema/divergences.json", schemars::schema_for!(Vec<crate::divergence::Divergence>)),
        ("results/schema/interop.json", schemars::schema_for!(crate::interop::Interop)),
        ("results/schema/benchmarks.json", schemars::schema_for!(crate::bench::document::Benchmarks)),
        ("results/schema/comparison.json", schemars::schema_for!(crate::compare::Comparison)),
    ]
}
