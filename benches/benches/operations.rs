//! Group operations through the trait, as `operation/implementation/state/N`. The large-group benches of every operation,
//! with exact measures, build on this one.

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use e2esm_adapter::{Bytes, Call};
use e2esm_benches::flat;

const SIZES: [usize; 2] = [2, 8];

fn operations(criterion: &mut Criterion) {
    for adapter in e2esm::registry::built_in() {
        let name = adapter.describe().name;
        for size in SIZES {
            criterion.bench_function(&format!("create/{name}/flat/{size}"), |bencher| {
                bencher.iter_with_large_drop(|| flat(adapter.as_ref(), size).expect("a group"));
            });
            criterion.bench_function(&format!("send/{name}/flat/{size}"), |bencher| {
                let prepare = || {
                    let mut prepared = flat(adapter.as_ref(), size).expect("a group");
                    prepared.check().expect("everybody reads");
                    prepared
                };
                bencher.iter_batched(
                    prepare,
                    |mut prepared| {
                        let plaintext = Bytes(vec![0x61; 32]);
                        prepared
                            .call_creator(&Call::Send { group: prepared.group.clone(), plaintext })
                            .expect("a send");
                        prepared
                    },
                    BatchSize::PerIteration,
                );
            });
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = operations
}
criterion_main!(benches);
