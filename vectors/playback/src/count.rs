//! How much there is: for the tables, and for the claim that each fault is a different one.

use std::collections::BTreeSet;

use e2esm_adapter::Protocol;

use crate::file::{Expected, Recorded};

/// Files and deliveries of one protocol and theme.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Files.
    pub files: usize,
    /// Deliveries in them.
    pub deliveries: usize,
    /// Of these: accepted.
    pub accepted: usize,
    /// Refused.
    pub rejected: usize,
    /// Left open.
    pub harmless: usize,
}

/// What there is among `vectors`.
pub fn count<'a>(vectors: impl IntoIterator<Item = &'a Recorded>) -> Count {
    let mut count = Count::default();
    for vector in vectors {
        count.files += 1;
        count.deliveries += vector.deliveries.len();
        for step in &vector.deliveries {
            match step.expected {
                Expected::Accepted(_) => count.accepted += 1,
                Expected::Rejected(_) => count.rejected += 1,
                Expected::Harmless(_) => count.harmless += 1,
            }
        }
    }
    count
}

/// The distinct faults of a protocol: packet, field, and what was done to it.
pub fn distinct_faults<'a>(
    vectors: impl IntoIterator<Item = &'a Recorded>,
    protocol: Protocol,
) -> BTreeSet<(&'a str, &'a str, &'a str)> {
    let of_protocol = vectors.into_iter().filter(|vector| vector.protocol == protocol);
    let faults = of_protocol.flat_map(|vector| vector.deliveries.iter().filter_map(|step| step.fault.as_ref()));
    faults.map(|fault| (fault.packet.as_str(), fault.field.as_str(), fault.change.as_str())).collect()
}
