//! Allocations and peak heap of a piece of work. The counting is done by the process's global allocator, which only a
//! program can choose:
//!
//! ```
//! #[global_allocator]
//! static ALLOCATOR: &e2esm::bench::heap::Allocator = &e2esm::bench::heap::ALLOCATOR;
//! ```
//!
//! In a program that did not, nothing is known.

use std::alloc::System;
use std::hint::black_box;

use peakmem_alloc::{PeakMemAlloc, PeakMemAllocTrait};
use stats_alloc::StatsAlloc;

/// An allocator that counts: the peak by the outer layer, calls by the inner one. Neither of these crates does both.
pub type Allocator = PeakMemAlloc<&'static StatsAlloc<System>>;

/// The one that counts. A few relaxed or sequentially consistent additions for each call; nothing else changes.
pub static ALLOCATOR: Allocator = PeakMemAlloc::new(&stats_alloc::INSTRUMENTED_SYSTEM);

/// What a piece of work asked of the allocator, by all threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heap {
    /// Calls that allocate or grow.
    pub allocations: u64,
    /// Bytes asked for, those of growing included.
    pub allocated_bytes: u64,
    /// The most bytes that were allocated at any time beyond what was allocated before.
    pub peak_bytes: u64,
}

fn totals() -> (u64, u64) {
    let stats = stats_alloc::INSTRUMENTED_SYSTEM.stats();
    let grown = u64::try_from(stats.bytes_reallocated.max(0)).unwrap_or(0);
    ((stats.allocations + stats.reallocations) as u64, stats.bytes_allocated as u64 + grown)
}

/// Whether this program counts at all.
pub fn counts() -> bool {
    let before = totals();
    drop(black_box(Box::new(0_u8)));
    totals() != before
}

/// Counts while `work` is done; `None` in a program that does not count.
pub fn count<T>(work: impl FnOnce() -> T) -> (T, Option<Heap>) {
    if !counts() {
        return (work(), None);
    }
    ALLOCATOR.reset_peak_memory();
    let (allocations, bytes) = totals();
    let result = work();
    let (allocations_after, bytes_after) = totals();
    let heap = Heap {
        allocations: allocations_after - allocations,
        allocated_bytes: bytes_after - bytes,
        peak_bytes: ALLOCATOR.get_peak_memory() as u64,
    };
    (result, Some(heap))
}
