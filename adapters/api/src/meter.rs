//! Counting cryptography: how often an operation called which primitive, and how long the primitives took.
//!
//! An adapter whose library takes its cryptography from outside wraps it, so that each call goes through [`metered`], and
//! says so ([`Adapter::metered`](crate::Adapter::metered)). Only the calls that cross that boundary count: what an HPKE
//! seal does inside is part of the seal. The meter is one for the whole process, because libraries call their provider from
//! threads of their own; whoever reads it runs one operation at a time. While it is off, which is how it starts, a call
//! costs one relaxed load more.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Instant;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Primitive {
    /// A signature made.
    Sign,
    /// A signature checked.
    Verify,
    /// A signature key pair made.
    SignatureKey,
    /// Public-key encryption (HPKE): a key generation, an agreement, and the AEAD within.
    Seal,
    /// Its decryption.
    Open,
    /// A key encapsulation whose secret is exported instead of used (RFC 9420, section 8.3), either end.
    Export,
    /// A key pair for public-key encryption made or derived.
    KemKey,
    /// Authenticated encryption with a key of the group's.
    AeadSeal,
    /// Its decryption.
    AeadOpen,
    /// A hash.
    Hash,
    /// A MAC.
    Mac,
    /// A step of key derivation: HKDF's extract or expand.
    Kdf,
}

impl Primitive {
    /// All of them, in the order of the documents.
    pub const ALL: [Self; 12] = [
        Self::Sign,
        Self::Verify,
        Self::SignatureKey,
        Self::Seal,
        Self::Open,
        Self::Export,
        Self::KemKey,
        Self::AeadSeal,
        Self::AeadOpen,
        Self::Hash,
        Self::Mac,
        Self::Kdf,
    ];

    /// The name used in JSON and in the documents.
    pub fn label(self) -> &'static str {
        match self {
            Self::Sign => "sign",
            Self::Verify => "verify",
            Self::SignatureKey => "signature_key",
            Self::Seal => "seal",
            Self::Open => "open",
            Self::Export => "export",
            Self::KemKey => "kem_key",
            Self::AeadSeal => "aead_seal",
            Self::AeadOpen => "aead_open",
            Self::Hash => "hash",
            Self::Mac => "mac",
            Self::Kdf => "kdf",
        }
    }
}

/// What the meter does with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Metering {
    /// Nothing.
    Off = 0,
    /// Counts it.
    Count = 1,
    /// Counts it and adds up its time, which costs two looks at the clock.
    Time = 2,
}

const KINDS: usize = Primitive::ALL.len();

static MODE: AtomicU8 = AtomicU8::new(Metering::Off as u8);
static CALLS: [AtomicU64; KINDS] = [const { AtomicU64::new(0) }; KINDS];
static NANOSECONDS: AtomicU64 = AtomicU64::new(0);

/// What the meter has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Calls by primitive; those never called are left out.
    pub calls: BTreeMap<Primitive, u64>,
    /// Time spent in them, in nanoseconds, summed over threads; 0 unless it was [`Metering::Time`].
    pub nanoseconds: u64,
}

/// Starts from zero.
pub fn start(metering: Metering) {
    CALLS.iter().for_each(|calls| calls.store(0, Ordering::Relaxed));
    NANOSECONDS.store(0, Ordering::Relaxed);
    MODE.store(metering as u8, Ordering::SeqCst);
}

/// Switches the meter off and reads it.
pub fn stop() -> Reading {
    MODE.store(Metering::Off as u8, Ordering::SeqCst);
    let calls = Primitive::ALL
        .into_iter()
        .map(|primitive| (primitive, CALLS[primitive as usize].load(Ordering::Relaxed)))
        .filter(|(_, calls)| *calls > 0)
        .collect();
    Reading { calls, nanoseconds: NANOSECONDS.load(Ordering::Relaxed) }
}

/// Does `work`, which is one call of `primitive`.
#[inline]
pub fn metered<T>(primitive: Primitive, work: impl FnOnce() -> T) -> T {
    if MODE.load(Ordering::Relaxed) == Metering::Off as u8 { work() } else { noted(primitive, work) }
}

#[cold]
fn noted<T>(primitive: Primitive, work: impl FnOnce() -> T) -> T {
    CALLS[primitive as usize].fetch_add(1, Ordering::Relaxed);
    if MODE.load(Ordering::Relaxed) != Metering::Time as u8 {
        return work();
    }
    let start = Instant::now();
    let result = work();
    let nanoseconds = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
    NANOSECONDS.fetch_add(nanoseconds, Ordering::Relaxed);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_between_start_and_stop_and_nowhere_else() {
        metered(Primitive::Sign, || ());
        start(Metering::Count);
        metered(Primitive::Sign, || ());
        metered(Primitive::Kdf, || ());
        metered(Primitive::Kdf, || ());
        let reading = stop();
        metered(Primitive::Sign, || ());
        assert_eq!(reading.calls, BTreeMap::from([(Primitive::Sign, 1), (Primitive::Kdf, 2)]));
        assert_eq!(reading.nanoseconds, 0, "nobody looked at the clock");
        start(Metering::Time);
        metered(Primitive::Hash, || std::thread::sleep(std::time::Duration::from_millis(2)));
        let reading = stop();
        assert!(reading.nanoseconds >= 2_000_000, "{reading:?}");
        assert_eq!(reading.calls, BTreeMap::from([(Primitive::Hash, 1)]), "it starts from zero");
    }
}
