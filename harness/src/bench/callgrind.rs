//! Instructions and calls of functions, counted by valgrind's callgrind on a simulated processor: the same for the same
//! binary and input, however busy the machine is.
//!
//! The child runs under it as it is, with one thread, and only [`measured`](super::stage::measured) is counted: once, after
//! a run outside of it in which tables are made and libraries find out what the processor can do. Where a library does not
//! let its cryptography be metered, the calls of a few of its own functions stand for it ([`FUNCTIONS`]).

use std::collections::{BTreeMap, HashMap};
use std::io::BufRead;
use std::path::Path;
use std::process::{Command, Stdio};

use super::child::{Ask, Child, Start, Tell, Trouble};

/// The name by which the measured region is found.
const REGION: &str = "*stage::measured*";

/// Which functions of libsignal, vodozemac and what they build on stand for a primitive: the count's name, and what their
/// symbols contain. Only functions that the compiler leaves whole can be counted, so these were found in release builds.
pub const FUNCTIONS: &[(&str, &[&str])] = &[
    (
        "sign",
        &["PrivateKey::calculate_signature_for_multipart_message", "vodozemac::types::ed25519::Ed25519Keypair::sign"],
    ),
    (
        "verify",
        &["PublicKey::verify_signature_for_multipart_message", "ed25519_dalek::verifying::VerifyingKey::verify_strict"],
    ),
    ("x25519", &["x25519_dalek::x25519::StaticSecret::diffie_hellman"]),
    (
        "x25519_key",
        &["<x25519_dalek::x25519::PublicKey as core::convert::From<&x25519_dalek::x25519::StaticSecret>>::from"],
    ),
    ("kem_encapsulate", &["libcrux_ml_kem::mlkem1024::kyber::encapsulate", "libcrux_ml_kem::mlkem768::encapsulate"]),
    ("kem_decapsulate", &["libcrux_ml_kem::mlkem1024::kyber::decapsulate", "libcrux_ml_kem::mlkem768::decapsulate"]),
    ("hkdf_expand", &["hkdf::Hkdf<H,I>::expand_multi_info", "hkdf::GenericHkdf<H>::expand_multi_info"]),
    ("sha256_blocks", &["sha2::sha256::compress256"]),
    ("aes_key", &["<aes::ni::Aes256Enc as crypto_common::KeyInit>::new", "aes::backends::x86_aes::Aes<15_usize>::new"]),
];

/// What callgrind saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Instructions executed in the measured region, by all that it calls.
    pub instructions: u64,
    /// Calls by function.
    pub calls: BTreeMap<String, u64>,
}

/// The version of the valgrind at hand; `None` where there is none.
pub fn valgrind() -> Option<String> {
    let output = Command::new("valgrind").arg("--version").stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Measures one cell under callgrind, in surroundings made anew. If calls of `functions` are wanted, and the cryptography is
/// not metered, they are counted too, which takes two more runs.
///
/// # Errors
/// [`Trouble`], also where the answer was wrong.
pub fn count(program: &Path, prepare: &Ask, functions: bool, interrupted: &dyn Fn() -> bool) -> Result<Seen, Trouble> {
    let region = [format!("--toggle-collect={REGION}")];
    let (mut seen, metered) = watch(program, prepare, true, &region, interrupted)?;
    if seen.instructions == 0 {
        return Err(Trouble("nothing was counted: the measured region was not found".to_owned()));
    }
    seen.calls.clear();
    if functions && !metered {
        // Callgrind counts calls outside of a region too. The same process without the operation has just those.
        let (with, _) = watch(program, prepare, true, &[], interrupted)?;
        let (without, _) = watch(program, prepare, false, &[], interrupted)?;
        for (name, calls) in with.calls {
            let more = calls.saturating_sub(without.calls.get(&name).copied().unwrap_or(0));
            if more > 0 {
                seen.calls.insert(name, more);
            }
        }
    }
    Ok(seen)
}

fn watch(
    program: &Path,
    prepare: &Ask,
    act: bool,
    region: &[String],
    interrupted: &dyn Fn() -> bool,
) -> Result<(Seen, bool), Trouble> {
    let directory = tempfile::tempdir().map_err(|error| Trouble(format!("a directory for callgrind: {error}")))?;
    let mut under = vec!["valgrind".to_owned(), "--tool=callgrind".to_owned()];
    under.extend_from_slice(region);
    under.extend([
        "--compress-strings=no".to_owned(),
        "--compress-pos=no".to_owned(),
        // Bundles are made by threads of their own: the first one is the one that measures.
        "--separate-threads=yes".to_owned(),
        format!("--callgrind-out-file={}", directory.path().join("out").display()),
        // One log that nobody reads, or each child would write its own to the terminal.
        format!("--log-file={}", directory.path().join("log").display()),
    ]);
    let start = Start { program: program.to_owned(), under, patience: 1800.0 };
    let mut child = Child::start(&start, 1)?;
    let metered = match child.ask(prepare, interrupted)? {
        Tell::Ready { metered, .. } => metered,
        other => return Err(Trouble(format!("it was not made ready: {other:?}"))),
    };
    for ask in [Ask::WarmUp {}, Ask::Bare { act }] {
        match child.ask(&ask, interrupted)? {
            Tell::Done {} => {}
            other => return Err(Trouble(format!("it was not measured: {other:?}"))),
        }
    }
    child.finish(interrupted)?;
    let path = directory.path().join("out-01");
    let trouble = |reason: String| Trouble(format!("what callgrind wrote: {reason}"));
    let file = std::fs::File::open(&path).map_err(|error| trouble(error.to_string()))?;
    Ok((parse(std::io::BufReader::new(file)).map_err(trouble)?, metered))
}

/// Reads callgrind's format: `cfn=NAME` names the function that the next `calls=COUNT ...` is to, and `totals:` is the sum.
fn parse(text: impl BufRead) -> Result<Seen, String> {
    let mut seen = Seen::default();
    let mut total = None;
    let mut callee = String::new();
    let mut calls: HashMap<String, u64> = HashMap::new();
    for line in text.lines() {
        let line = line.map_err(|error| error.to_string())?;
        if let Some(name) = line.strip_prefix("cfn=") {
            name.clone_into(&mut callee);
        } else if let Some(rest) = line.strip_prefix("calls=") {
            let count = rest.split_whitespace().next().and_then(|count| count.parse::<u64>().ok());
            let count = count.ok_or_else(|| format!("`{line}` has no number of calls"))?;
            *calls.entry(callee.clone()).or_default() += count;
        } else if let Some(rest) = line.strip_prefix("totals:").or_else(|| line.strip_prefix("summary:")) {
            total = rest.split_whitespace().next().and_then(|sum| sum.parse().ok());
        }
    }
    seen.instructions = total.ok_or("it has no total")?;
    seen.calls = calls.into_iter().collect();
    Ok(seen)
}

impl Seen {
    /// The calls of the functions that stand for primitives, by the document's names; those never called are left out.
    pub fn functions(&self) -> BTreeMap<String, u64> {
        FUNCTIONS
            .iter()
            .map(|(name, parts)| {
                let stands = |symbol: &str| parts.iter().any(|part| symbol.contains(part));
                let calls = self.calls.iter().filter(|(symbol, _)| stands(symbol)).map(|(_, calls)| calls).sum();
                (format!("functions.{name}"), calls)
            })
            .filter(|(_, calls)| *calls > 0)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn calls_are_added_up_and_the_total_is_read() {
        let text = "events: Ir\nfn=a\n1 10\ncfn=b::c\ncalls=3 0\n1 30\nfn=d\ncfn=b::c\ncalls=2 0\n1 20\ntotals: 60\n";
        let seen = parse(text.as_bytes()).unwrap();
        assert_eq!(seen.instructions, 60);
        assert_eq!(seen.calls, BTreeMap::from([("b::c".to_owned(), 5)]));
    }

    #[test]
    fn a_file_without_a_total_is_an_error_and_not_a_zero() {
        assert!(parse("fn=a\n".as_bytes()).is_err());
        assert!(parse("cfn=a\ncalls=x 1\ntotals: 3\n".as_bytes()).is_err());
    }
}
