//! Comparison of benchmark runs: every rule by an example, the gate, the thresholds, the exports, and the commands.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use e2esm::bench::cell::{Actor, Cell, GroupState, Operation, Setting};
use e2esm::bench::document::{
    BenchRun, BenchSuite, Benchmarks, Count, Fit, Measure, Measurement, Outcome, SCHEMA_VERSION, Sampling, Spread, Time,
};
use e2esm::compare::{
    Between, Change, Comparison, Incomparable, Judgement, Thresholds, Value, between, compare, export, text,
};
use e2esm::results::Environment;
use e2esm_adapter::Description;
use serde_json::json;

/// An implementation whose cryptography is metered.
const METERED: &str = "openmls-rustcrypto";
/// One whose functions are counted instead.
const OPAQUE: &str = "libsignal-rust";
const SEND: &str = "send/openmls-rustcrypto/flat/8";
const OPAQUE_SEND: &str = "send/libsignal-rust/flat/8";

fn description(name: &str, implementation: &str, version: &str) -> Description {
    Description {
        name: name.to_owned(),
        implementation: implementation.to_owned(),
        version: version.to_owned(),
        protocol: "MLS (RFC 9420)".to_owned(),
        cipher_suite: "suite 1".to_owned(),
        crypto_provider: "RustCrypto".to_owned(),
        configuration: BTreeMap::new(),
        group_object: true,
        recorded: BTreeSet::new(),
        unsupported: BTreeMap::new(),
    }
}

fn exactly(value: u64) -> Count {
    Count { low: value, high: value, runs: 3 }
}

fn ranging(low: u64, high: u64) -> Count {
    Count { low, high, runs: 3 }
}

fn ratio(median: f64, low: f64, high: f64) -> Spread {
    Spread { median, low, high, samples: 20 }
}

fn measurement(adapter: &str, operation: Operation, size: u32, counts: &[(&str, Count)]) -> Measurement {
    let setting = Setting { adapter: adapter.to_owned(), state: GroupState::Flat, size, actor: Actor::First };
    let mut measurement = Measurement::new(&Cell { operation, setting, threads: 1 }, Outcome::Measured);
    measurement.counts = counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
    measurement.time = Time::of(vec![1_000_000, 1_100_000, 1_200_000]);
    measurement
}

fn document() -> Benchmarks {
    let metered = [
        ("bytes_up", exactly(200)),
        ("calls.sign", exactly(1)),
        ("calls.hash", exactly(12)),
        ("peak_bytes", ranging(4000, 4100)),
        ("allocated_bytes", ranging(9000, 9100)),
        ("instructions", exactly(1_000_000)),
    ];
    let opaque = [
        ("bytes_up", exactly(300)),
        ("functions.x25519", exactly(4)),
        ("peak_bytes", exactly(2000)),
        ("allocated_bytes", exactly(5000)),
        ("instructions", exactly(2_000_000)),
    ];
    let mut measurements = vec![
        measurement(METERED, Operation::Send, 8, &metered),
        measurement(METERED, Operation::Send, 16, &metered),
        measurement(OPAQUE, Operation::Send, 8, &opaque),
        measurement(OPAQUE, Operation::Send, 16, &opaque),
    ];
    for measurement in measurements.iter_mut().filter(|measurement| measurement.adapter == OPAQUE) {
        measurement.missing.insert("calls".to_owned(), "the library does not let itself be metered".to_owned());
    }
    Benchmarks {
        schema_version: SCHEMA_VERSION,
        suite: BenchSuite { version: "0.1.0".to_owned(), commit: "0123abc".to_owned(), forge: 1 },
        environment: Environment {
            system: "linux x86_64".to_owned(),
            cpu: Some("a processor".to_owned()),
            cores: 2,
            memory_bytes: Some(8 << 30),
            governor: None,
            rustc: "rustc 1.91.0".to_owned(),
            profile: "release".to_owned(),
        },
        run: BenchRun {
            started_unix: 1_760_000_000,
            tier: "quick".to_owned(),
            measures: vec![Measure::Time, Measure::Counts, Measure::Heap, Measure::Instructions],
            sampling: Sampling { warm_up: 1, counted: 3, least: 3, most: 20, seconds: 1.0, instructions_up_to: 512 },
            against: None,
            burden: None,
        },
        complete: true,
        adapters: [description(METERED, "openmls", "0.9.2"), description(OPAQUE, "libsignal", "0.85.3")]
            .map(|description| (description.name.clone(), description))
            .into(),
        measurements,
        fits: vec![fit("instructions", 1.0, 0.9, 1.1), fit("time", 1.0, 0.9, 1.1)],
    }
}

fn fit(of: &str, exponent: f64, low: f64, high: f64) -> Fit {
    let sizes = vec![8, 16, 32];
    Fit { id: "send/openmls-rustcrypto/flat".to_owned(), of: of.to_owned(), exponent, low, high, sizes }
}

fn of<'a>(benchmarks: &'a mut Benchmarks, id: &str) -> &'a mut Measurement {
    benchmarks.measurements.iter_mut().find(|measurement| measurement.id == id).expect("such a measurement")
}

fn count(benchmarks: &mut Benchmarks, id: &str, name: &str, count: Count) {
    of(benchmarks, id).counts.insert(name.to_owned(), count);
}

fn without(benchmarks: &mut Benchmarks, id: &str, name: &str) {
    of(benchmarks, id).counts.remove(name).expect("it was there");
}

fn edited(edit: impl FnOnce(&mut Benchmarks)) -> Benchmarks {
    let mut document = document();
    edit(&mut document);
    document
}

fn thresholds() -> Thresholds {
    Thresholds::checked_in().expect("benches/gate.toml is well-formed")
}

/// Those by which the examples are judged: benches/gate.toml may change with the noise.
fn fixed() -> Thresholds {
    Thresholds {
        exact: 0.0,
        inexact: 0.01,
        state_bytes: 0.02,
        heap: 0.01,
        peak_bytes: 0.05,
        instructions: 0.002,
        time: 0.05,
        exponent: 0.05,
        overrides: Vec::new(),
    }
}

fn compared(a: &Benchmarks, b: &Benchmarks) -> Comparison {
    compare(a, b, &fixed()).expect("comparable")
}

fn change<'a>(comparison: &'a Comparison, id: &str, measure: &str) -> &'a Change {
    let mut all = comparison.changes.iter().chain(&comparison.fits);
    all.find(|change| change.id == id && change.measure == measure)
        .unwrap_or_else(|| panic!("no {measure} of {id} in {:#?}", comparison.changes))
}

/// `same`, `worse` and so on.
fn word(judgement: &Judgement) -> &'static str {
    match judgement {
        Judgement::Same => "same",
        Judgement::Within => "within",
        Judgement::Better => "better",
        Judgement::Worse => "worse",
        Judgement::Lost(_) => "lost",
        Judgement::NotCompared(_) => "not compared",
    }
}

fn reason(judgement: &Judgement) -> &str {
    match judgement {
        Judgement::Lost(reason) | Judgement::NotCompared(reason) => reason,
        other => panic!("{other:?} has no reason"),
    }
}

#[test]
fn a_document_is_the_same_as_itself() {
    let comparison = compared(&document(), &document());
    for change in comparison.changes.iter().filter(|change| change.measure != "time") {
        assert_eq!((word(&change.judgement), change.difference), ("same", Some(0.0)), "{change:?}");
    }
    assert_eq!(comparison.totals.measurements, 4);
    // Six counts of one implementation, one more of the other, and two exponents.
    assert_eq!(comparison.totals.measures, 9);
    assert!(comparison.regressions().is_empty());
    assert!(comparison.notes.is_empty(), "{:?}", comparison.notes);
    let text = text::comparison(&comparison, ["a.json", "b.json"], false, false);
    assert!(text.ends_with("4 measurements x 9 measures compared, all the same"), "{text}");
}

#[test]
fn a_difference_is_judged_by_the_rule_of_its_measure() {
    let cases: &[(&str, &str, Count, Count, &str)] = &[
        // Exact counts: any difference counts.
        ("one more call", "calls.sign", exactly(1), exactly(2), "worse"),
        ("one call fewer", "calls.hash", exactly(12), exactly(11), "better"),
        ("one more byte", "bytes_up", exactly(820_792), exactly(820_793), "worse"),
        ("one byte fewer", "bytes_up", exactly(200), exactly(199), "better"),
        ("from nothing", "calls.sign", exactly(0), exactly(1), "worse"),
        ("to nothing", "calls.sign", exactly(1), exactly(0), "better"),
        // Intervals: only a gap counts, beyond 1 %.
        ("the same interval", "bytes_up", ranging(1000, 1100), ranging(1000, 1100), "same"),
        ("overlapping", "bytes_up", ranging(1000, 1100), ranging(1099, 1200), "within"),
        ("touching", "bytes_up", ranging(1000, 1100), ranging(1100, 1200), "within"),
        ("a gap of 0.9 %", "bytes_up", ranging(900, 1000), ranging(1009, 1100), "within"),
        ("a gap of 1.1 %", "bytes_up", ranging(900, 1000), ranging(1011, 1100), "worse"),
        ("a gap of 1.1 % below", "bytes_up", ranging(1000, 1100), ranging(900, 989), "better"),
        ("exact before, an interval after", "bytes_up", exactly(1000), ranging(1001, 1002), "within"),
        ("an interval before, exact after", "bytes_up", ranging(1000, 1002), exactly(1050), "worse"),
        ("a peak 4 % higher", "peak_bytes", ranging(900, 1000), ranging(1040, 1100), "within"),
        ("a peak 6 % higher", "peak_bytes", ranging(900, 1000), ranging(1060, 1100), "worse"),
        // The heap and stored states, exact or not: 1 %, 5 % for the peak, 2 % for states.
        ("one more byte of heap", "allocated_bytes", exactly(4000), exactly(4001), "within"),
        ("0.9 % more allocations", "allocations", exactly(1000), exactly(1009), "within"),
        ("1.1 % more allocations", "allocations", exactly(1000), exactly(1011), "worse"),
        ("a gap of 1.1 %", "allocated_bytes", ranging(900, 1000), ranging(1011, 1100), "worse"),
        ("a peak 4 % higher where all runs agree", "peak_bytes", exactly(1000), exactly(1040), "within"),
        ("a state 1 % larger", "state_bytes", exactly(1000), exactly(1010), "within"),
        ("a state 3 % larger", "state_bytes", exactly(1000), exactly(1030), "worse"),
        ("a state 3 % smaller", "state_bytes", exactly(1000), exactly(970), "better"),
        // Instructions, exact or not: 0.2 %.
        ("0.1 % more instructions", "instructions", exactly(1_000_000), exactly(1_001_000), "within"),
        ("exactly 0.2 % more", "instructions", exactly(1_000_000), exactly(1_002_000), "within"),
        ("0.3 % more instructions", "instructions", exactly(1_000_000), exactly(1_003_000), "worse"),
        ("0.3 % fewer instructions", "instructions", exactly(1_000_000), exactly(997_000), "better"),
        ("0.1 % fewer instructions", "instructions", exactly(1_000_000), exactly(999_000), "within"),
    ];
    for (name, measure, before, after, expected) in cases {
        let a = edited(|document| count(document, SEND, measure, *before));
        let b = edited(|document| count(document, SEND, measure, *after));
        let comparison = compared(&a, &b);
        let change = change(&comparison, SEND, measure);
        assert_eq!(word(&change.judgement), *expected, "{name}: {change:?}");
        assert_eq!(comparison.regressions().len(), usize::from(*expected == "worse"), "{name}");
        let other = usize::from(*expected == "better");
        assert_eq!(
            (comparison.totals.worse, comparison.totals.better),
            (comparison.regressions().len(), other),
            "{name}"
        );
    }
}

#[test]
fn a_primitive_that_was_never_called_is_zero_where_it_would_have_been_seen() {
    let (all, less) = (document(), edited(|document| without(document, SEND, "calls.sign")));
    let fewer = compared(&all, &less);
    assert_eq!(change(&fewer, SEND, "calls.sign").b, Some(Value::exactly(0.0)));
    assert_eq!(word(&change(&fewer, SEND, "calls.sign").judgement), "better");
    let more = compared(&less, &all);
    assert_eq!(word(&change(&more, SEND, "calls.sign").judgement), "worse");
    assert_eq!(
        more.regressions(),
        ["worse: send/openmls-rustcrypto/flat/8: calls.sign 0 -> 1 (from 0), threshold 0 %"]
    );
    // The function is known from the other size.
    let less = edited(|document| without(document, OPAQUE_SEND, "functions.x25519"));
    assert_eq!(word(&change(&compared(&less, &all), OPAQUE_SEND, "functions.x25519").judgement), "worse");
    assert_eq!(word(&change(&compared(&all, &less), OPAQUE_SEND, "functions.x25519").judgement), "better");
}

#[test]
fn counts_that_are_gone_altogether_are_lost_and_not_better() {
    let cases: Vec<(&str, Benchmarks, &str, &str, &str)> = vec![
        (
            "the meter has come off",
            edited(|document| {
                for measurement in &mut document.measurements {
                    measurement.counts.retain(|name, _| !name.starts_with("calls."));
                }
            }),
            SEND,
            "calls.sign",
            "are they still counted?",
        ),
        (
            "the adapter says that it is not metered any more",
            edited(|document| {
                let send = of(document, SEND);
                send.counts.retain(|name, _| !name.starts_with("calls."));
                send.missing.insert("calls".to_owned(), "no metering".to_owned());
            }),
            SEND,
            "calls.sign",
            "B: no metering",
        ),
        (
            "the function has another name now",
            edited(|document| {
                for measurement in &mut document.measurements {
                    measurement.counts.remove("functions.x25519");
                }
            }),
            OPAQUE_SEND,
            "functions.x25519",
            "are they still counted?",
        ),
        (
            "no valgrind",
            edited(|document| {
                let send = of(document, SEND);
                send.counts.remove("instructions");
                send.missing.insert("instructions".to_owned(), "there is no valgrind on this machine".to_owned());
            }),
            SEND,
            "instructions",
            "B: there is no valgrind on this machine",
        ),
        (
            "no reason given",
            edited(|document| without(document, SEND, "allocated_bytes")),
            SEND,
            "allocated_bytes",
            "does not say why",
        ),
    ];
    for (name, b, id, measure, word) in cases {
        let comparison = compared(&document(), &b);
        let change = change(&comparison, id, measure);
        assert!(matches!(change.judgement, Judgement::Lost(_)), "{name}: {change:?}");
        assert!(reason(&change.judgement).contains(word), "{name}: {change:?}");
        assert!(comparison.totals.lost > 0 && comparison.totals.better == 0, "{name}");
        let line = format!("lost: {id}: {measure} ");
        assert!(comparison.regressions().iter().any(|regression| regression.starts_with(&line)), "{name}");
    }
}

#[test]
fn what_one_side_was_not_asked_for_is_not_compared() {
    let cases: Vec<(Benchmarks, &str, &str)> = vec![
        (
            edited(|document| {
                document.run.measures.retain(|measure| *measure != Measure::Heap);
                without(document, SEND, "peak_bytes");
            }),
            "peak_bytes",
            "did not measure heap",
        ),
        (
            edited(|document| {
                document.run.sampling.instructions_up_to = 4;
                without(document, SEND, "instructions");
            }),
            "instructions",
            "counts instructions in groups of at most 4",
        ),
    ];
    for (less, measure, word) in cases {
        for (a, b) in [(&document(), &less), (&less, &document())] {
            let comparison = compared(a, b);
            let change = change(&comparison, SEND, measure);
            assert!(matches!(change.judgement, Judgement::NotCompared(_)), "{change:?}");
            assert!(reason(&change.judgement).contains(word), "{change:?}");
            assert!(comparison.regressions().is_empty());
        }
    }
}

#[test]
fn exponents_differ_where_their_intervals_do() {
    let cases = [
        ("overlapping", 1.15, 1.05, 1.25, "within"),
        ("a gap of 0.04", 1.2, 1.14, 1.26, "within"),
        ("quadratic", 2.0, 1.9, 2.1, "worse"),
        ("flat", 0.1, 0.0, 0.2, "better"),
        ("equal", 1.0, 0.9, 1.1, "same"),
    ];
    for (name, exponent, low, high, expected) in cases {
        for of in ["time", "instructions"] {
            let b = edited(|document| document.fits = vec![fit(of, exponent, low, high)]);
            let comparison = compared(&document(), &b);
            let measure = format!("exponent.{of}");
            let change = change(&comparison, "send/openmls-rustcrypto/flat", &measure);
            assert_eq!(word(&change.judgement), expected, "{name}: {change:?}");
            assert_eq!(comparison.regressions().len(), usize::from(expected == "worse"), "{name}");
        }
    }
    let b = edited(|document| document.fits = vec![fit("time", 2.0, 1.9, 2.1)]);
    assert_eq!(
        compared(&document(), &b).regressions(),
        [
            "worse: send/openmls-rustcrypto/flat: exponent.time 1.00 (0.90..1.10) -> 2.00 (1.90..2.10) (+0.800), threshold 0.05"
        ]
    );
    let other_sizes = edited(|document| document.fits[1].sizes = vec![8, 16, 64]);
    let comparison = compared(&document(), &other_sizes);
    let change = change(&comparison, "send/openmls-rustcrypto/flat", "exponent.time");
    assert_eq!(reason(&change.judgement), "it was fitted over other sizes");
}

#[test]
fn what_was_measured_and_is_not_any_more_is_lost() {
    let outcomes = [
        (Outcome::Void("the members disagree".to_owned()), "void, because an answer was wrong: the members disagree"),
        (Outcome::Failed("it ran out of memory".to_owned()), "failed: it ran out of memory"),
        (Outcome::Unsupported("no such call".to_owned()), "unsupported: no such call"),
    ];
    for (outcome, words) in outcomes {
        let b = edited(|document| of(document, SEND).outcome = outcome);
        let comparison = compared(&document(), &b);
        assert_eq!(comparison.regressions(), [format!("lost: {SEND}: now {words}")]);
        assert_eq!(comparison.totals.lost, 1);
        // The other way round it is a gain, and no reason for a gate to close.
        let comparison = compared(&b, &document());
        assert_eq!(comparison.gained.iter().map(|gained| gained.reason.as_str()).collect::<Vec<_>>(), [words]);
        assert!(comparison.regressions().is_empty());
        let comparison = compared(&b, &b);
        assert_eq!((comparison.in_neither.len(), comparison.lost.len()), (1, 0));
    }
    let no_send = |document: &mut Benchmarks| document.measurements.retain(|measurement| measurement.id != SEND);
    let comparison = compared(&document(), &edited(no_send));
    assert_eq!(
        comparison.regressions(),
        [format!("lost: {SEND}: it is not in B, although that is of the same tier, quick")]
    );
    assert_eq!(compared(&edited(no_send), &document()).only_in_b, [SEND]);
    let gone = edited(|document| {
        document.measurements.retain(|measurement| measurement.adapter == METERED);
        document.adapters.remove(OPAQUE);
    });
    let comparison = compared(&document(), &gone);
    assert_eq!(comparison.lost.len(), 2);
    assert_eq!(comparison.lost[0].reason, "B has no libsignal-rust");
}

#[test]
fn another_tier_has_other_measurements_and_loses_none() {
    let b = edited(|document| {
        document.measurements.retain(|measurement| measurement.id != SEND);
        without(document, "send/openmls-rustcrypto/flat/16", "instructions");
        document.run.tier = "nightly".to_owned();
    });
    let comparison = compared(&document(), &b);
    assert_eq!(comparison.only_in_a, [SEND]);
    assert!(comparison.regressions().is_empty(), "{:?}", comparison.regressions());
    assert!(comparison.notes[0].contains("A is of tier quick, B of tier nightly"), "{:?}", comparison.notes);
}

#[test]
fn an_incomplete_document_is_compared_as_far_as_it_goes() {
    let b = edited(|document| {
        document.complete = false;
        document.measurements.truncate(1);
        without(document, SEND, "instructions");
    });
    let comparison = compared(&document(), &b);
    assert_eq!(comparison.notes, ["B is incomplete: 3 measurements of A are missing in it"]);
    let counted = edited(|document| {
        document.complete = false;
        without(document, OPAQUE_SEND, "instructions");
        without(document, OPAQUE_SEND, "functions.x25519");
    });
    for measure in ["instructions", "functions.x25519"] {
        let lost = compared(&document(), &counted);
        assert!(reason(&change(&lost, OPAQUE_SEND, measure).judgement).starts_with("B is incomplete"), "{measure}");
    }
    assert_eq!(word(&change(&comparison, SEND, "bytes_up").judgement), "same");
    let unreached = "B is incomplete and has not come to it: go on with `e2esm bench --resume`";
    assert_eq!(reason(&change(&comparison, SEND, "instructions").judgement), unreached);
    assert_eq!(comparison.lost.len(), 3);
    assert!(comparison.lost.iter().all(|lost| lost.reason == unreached));
}

#[test]
fn another_machine_or_compiler_bars_what_depends_on_it() {
    let slower = |document: &mut Benchmarks| {
        count(document, SEND, "instructions", exactly(2_000_000));
        count(document, SEND, "bytes_up", exactly(201));
        count(document, OPAQUE_SEND, "functions.x25519", exactly(5));
    };
    let machine = edited(|document| {
        document.environment.cpu = Some("another processor".to_owned());
        slower(document);
    });
    let compiler = edited(|document| {
        document.environment.rustc = "rustc 1.92.0".to_owned();
        slower(document);
    });
    let cases = [
        (machine, "another machine (linux x86_64, a processor against linux x86_64, another processor)", "worse", true),
        (compiler, "another compiler (rustc 1.91.0 against rustc 1.92.0)", "not compared", false),
    ];
    for (b, why, functions, bars_times) in cases {
        let comparison = compared(&document(), &b);
        assert_eq!(reason(&change(&comparison, SEND, "instructions").judgement), why);
        assert_eq!(word(&change(&comparison, SEND, "bytes_up").judgement), "worse");
        assert_eq!(word(&change(&comparison, SEND, "allocated_bytes").judgement), "same");
        assert_eq!(word(&change(&comparison, OPAQUE_SEND, "functions.x25519").judgement), functions);
        let series = "send/openmls-rustcrypto/flat";
        assert_eq!(reason(&change(&comparison, series, "exponent.instructions").judgement), why);
        let time = word(&change(&comparison, series, "exponent.time").judgement);
        assert_eq!(time, if bars_times { "not compared" } else { "same" });
        assert!(comparison.notes.iter().any(|note| note.starts_with(why)), "{:?}", comparison.notes);
    }
}

#[test]
fn documents_that_mean_different_things_are_refused() {
    let refusal = |b: &Benchmarks| compare(&document(), b, &fixed()).expect_err("not comparable");
    let schema = edited(|document| document.schema_version = SCHEMA_VERSION + 1);
    assert_eq!(refusal(&schema), Incomparable::Schema(SCHEMA_VERSION, SCHEMA_VERSION + 1));
    // Two of a foreign version are no better than one.
    assert!(matches!(compare(&schema, &schema, &fixed()), Err(Incomparable::Schema(..))));
    let forge = edited(|document| document.suite.forge = 2);
    assert_eq!(refusal(&forge), Incomparable::Forge(1, 2));
    let debug = edited(|document| document.environment.profile = "debug".to_owned());
    assert_eq!(refusal(&debug).to_string(), "a release build against a debug build: measure both with --release");
    assert!(compared(&debug, &debug).notes[0].contains("debug builds"));
    let twice = edited(|document| document.measurements.push(document.measurements[0].clone()));
    assert_eq!(refusal(&twice), Incomparable::Duplicate { document: "B", id: SEND.to_owned() });
    let strangers = edited(|document| {
        document.run.tier = "nightly".to_owned();
        document.fits.clear();
        document.measurements = vec![measurement(METERED, Operation::Join, 8, &[("bytes_up", exactly(1))])];
    });
    let mut unfitted = document();
    unfitted.fits.clear();
    let refused = compare(&unfitted, &strangers, &fixed()).expect_err("nothing in common");
    assert_eq!(refused, Incomparable::Nothing("they have no measurement in common".to_owned()));
    let times = edited(|document| {
        document.fits.clear();
        document.run.measures = vec![Measure::Time];
        document.measurements.iter_mut().for_each(|measurement| measurement.counts.clear());
    });
    let refused = compare(&times, &times, &fixed()).expect_err("times alone").to_string();
    assert!(refused.contains("wall time is never compared across documents"), "{refused}");
}

#[test]
fn other_versions_and_burdens_are_compared_and_named() {
    let b = edited(|document| {
        let described = document.adapters.get_mut(METERED).expect("it is there");
        described.version = "0.9.3".to_owned();
        described.configuration.insert("padding".to_owned(), "16".to_owned());
        document.run.burden = Some("sign twice".to_owned());
        count(document, SEND, "calls.sign", exactly(2));
    });
    let comparison = compared(&document(), &b);
    assert_eq!(comparison.regressions().len(), 1);
    let text = text::comparison(&comparison, ["old.json", "new.json"], false, false);
    for line in [
        "openmls-rustcrypto: openmls 0.9.2, suite 1, RustCrypto in A; version 0.9.2 -> 0.9.3; padding unset -> 16",
        "libsignal-rust: libsignal 0.85.3, suite 1, RustCrypto",
        "note: B is burdened on purpose: sign twice",
    ] {
        assert!(text.lines().any(|known| known == line), "{line}\nis not in\n{text}");
    }
}

#[test]
fn wall_time_is_judged_in_interleaved_pairs_alone() {
    let slow = edited(|document| of(document, SEND).time = Time::of(vec![9_000_000; 7]));
    let comparison = compared(&document(), &slow);
    assert_eq!(word(&change(&comparison, SEND, "time").judgement), "not compared");
    assert!(comparison.regressions().is_empty());

    let cases = [
        (ratio(1.08, 1.06, 1.1), "worse"),
        (ratio(1.2, 1.04, 1.4), "within"),
        (ratio(1.0, 0.98, 1.02), "within"),
        (ratio(0.9, 0.88, 0.94), "better"),
        (ratio(1.0, 1.0, 1.0), "same"),
    ];
    for (pairs, expected) in cases {
        let b = edited(|document| {
            document.run.against = Some("e2esm of 4567def".to_owned());
            of(document, SEND).against = Some(pairs);
        });
        let comparison = compared(&document(), &b);
        assert_eq!(word(&change(&comparison, SEND, "against").judgement), expected, "{pairs:?}");
        let other = change(&comparison, OPAQUE_SEND, "against");
        assert_eq!(reason(&other.judgement), "no pairs with e2esm of 4567def were taken");
    }
    let b = edited(|document| {
        document.run.against = Some("e2esm of 4567def".to_owned());
        of(document, SEND).against = Some(ratio(1.08, 1.06, 1.1));
    });
    assert_eq!(
        compared(&document(), &b).regressions(),
        ["worse: send/openmls-rustcrypto/flat/8: against 1.080 (1.060..1.100) (+6.0 %), threshold 5 %"]
    );
    // The pairs are B's own: they need nothing in A.
    let void = edited(|document| of(document, SEND).outcome = Outcome::Void("wrong".to_owned()));
    assert_eq!(compared(&void, &b).regressions().len(), 1);
    let no_send = edited(|document| document.measurements.retain(|measurement| measurement.id != SEND));
    assert_eq!(compared(&no_send, &b).regressions().len(), 1);
}

#[test]
fn a_gate_says_what_where_how_much_and_the_threshold() {
    let b = edited(|document| {
        count(document, SEND, "calls.sign", exactly(3));
        count(document, SEND, "bytes_up", exactly(201));
        count(document, SEND, "peak_bytes", ranging(5000, 5100));
        count(document, OPAQUE_SEND, "instructions", exactly(2_010_000));
        of(document, "send/libsignal-rust/flat/16").outcome = Outcome::Void("wrong".to_owned());
    });
    insta::assert_snapshot!(compared(&document(), &b).regressions().join("\n"), @"
    worse: send/openmls-rustcrypto/flat/8: bytes_up 200 -> 201 (+0.50 %), threshold 0 %
    worse: send/openmls-rustcrypto/flat/8: calls.sign 1 -> 3 (+200.0 %), threshold 0 %
    worse: send/openmls-rustcrypto/flat/8: peak_bytes 4000..4100 -> 5000..5100 (+22.0 %), threshold 5 %
    worse: send/libsignal-rust/flat/8: instructions 2000000 -> 2010000 (+0.50 %), threshold 0.2 %
    lost: send/libsignal-rust/flat/16: now void, because an answer was wrong: wrong
    ");
}

#[test]
fn the_table_shows_what_changed_and_with_all_everything() {
    let b = edited(|document| {
        count(document, SEND, "calls.sign", exactly(3));
        count(document, SEND, "calls.hash", exactly(11));
        count(document, SEND, "instructions", exactly(1_000_100));
    });
    let comparison = compared(&document(), &b);
    let short = text::comparison(&comparison, ["a.json", "b.json"], false, false);
    insta::assert_snapshot!(short, @"
    A  a.json: e2esm 0.1.0 (0123abc), tier quick, 4 measurements; linux x86_64, a processor, rustc 1.91.0, release
    B  b.json: e2esm 0.1.0 (0123abc), tier quick, 4 measurements; linux x86_64, a processor, rustc 1.91.0, release
    libsignal-rust: libsignal 0.85.3, suite 1, RustCrypto
    openmls-rustcrypto: openmls 0.9.2, suite 1, RustCrypto

    ┌────────────────────────────────┬────────────┬────┬────┬──────────┬───────────┐
    │ measurement                    ┆ measure    ┆ A  ┆ B  ┆ change   ┆ judgement │
    ╞════════════════════════════════╪════════════╪════╪════╪══════════╪═══════════╡
    │ send/openmls-rustcrypto/flat/8 ┆ calls.hash ┆ 12 ┆ 11 ┆   -8.3 % ┆ better    │
    │ send/openmls-rustcrypto/flat/8 ┆ calls.sign ┆  1 ┆  3 ┆ +200.0 % ┆ worse     │
    └────────────────────────────────┴────────────┴────┴────┴──────────┴───────────┘

    not compared: 4 values of time: wall time is never compared across documents: use `e2esm bench --against`
    4 measurements x 9 measures compared: 1 worse, 1 better, 1 within what their measures allow, 21 the same
    ");
    let long = text::comparison(&comparison, ["a.json", "b.json"], true, false);
    assert!(long.lines().count() > short.lines().count() + 20, "{long}");
    assert!(long.contains("allocated_bytes") && long.contains("not compared"), "{long}");
    let coloured = text::comparison(&comparison, ["a.json", "b.json"], false, true);
    assert!(coloured.contains('\u{1b}') && !short.contains('\u{1b}') && !long.contains('\u{1b}'));
}

#[test]
fn a_comparison_survives_json() {
    let b = edited(|document| {
        count(document, SEND, "calls.sign", exactly(0));
        of(document, "send/libsignal-rust/flat/16").outcome = Outcome::Failed("x".to_owned());
        document.environment.cpu = None;
    });
    let a = edited(|document| count(document, SEND, "bytes_up", exactly(0)));
    let comparison = compared(&a, &b);
    let value = serde_json::to_value(&comparison).expect("JSON");
    assert_eq!(serde_json::from_value::<Comparison>(value.clone()).expect("a comparison"), comparison);
    // From 0 there is no relative difference, and no infinity in JSON either.
    let bytes = change(&comparison, SEND, "bytes_up");
    assert_eq!((bytes.difference, word(&bytes.judgement)), (None, "worse"));
    let validator = jsonschema::validator_for(schemars::schema_for!(Comparison).as_value()).expect("a schema");
    let problems: Vec<_> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
    assert!(problems.is_empty(), "{problems:?}");
}

#[test]
fn two_implementations_of_one_document_are_compared_by_ratios() {
    let document = edited(|document| {
        of(document, OPAQUE_SEND).time = Time::of(vec![2_000_000, 2_100_000, 2_400_000]);
        of(document, "send/libsignal-rust/flat/16").outcome = Outcome::Failed("it took too long".to_owned());
        document.measurements.push(measurement(OPAQUE, Operation::Join, 8, &[("bytes_up", exactly(7))]));
        count(document, OPAQUE_SEND, "bytes_fanned_out", exactly(7));
        count(document, SEND, "bytes_fanned_out", exactly(7));
    });
    let found = between(&document, METERED, OPAQUE).expect("both are there");
    let ratio = |measure: &str| {
        let row = found.ratios.iter().find(|ratio| ratio.measure == measure).expect("such a measure");
        assert_eq!(row.cell, "send/flat/8");
        row.ratio.expect("a ratio")
    };
    assert_eq!(ratio("bytes_up"), Value::exactly(1.5));
    assert_eq!(ratio("instructions"), Value::exactly(2.0));
    // 2000 over 4000..4100.
    let peak = ratio("peak_bytes");
    assert_eq!((peak.low, peak.high), (2000.0 / 4100.0, 0.5));
    // 2.0, 2.1, 2.4 ms over 1.0, 1.1, 1.2 ms: three samples have all of them for an interval.
    let time = ratio("time");
    assert_eq!((time.low, time.middle, time.high), (2e6 / 1.2e6, 2.1e6 / 1.1e6, 2.4));
    // The one is metered, and of the other functions are counted: neither says anything about the other.
    assert!(found.ratios.iter().all(|ratio| !ratio.measure.contains('.')), "{:?}", found.ratios);
    assert_eq!(found.measurements, 1);
    assert_eq!(found.only_baseline[0].id, "send/flat/16");
    assert_eq!(found.only_baseline[0].reason, "failed: it took too long");
    assert_eq!(found.only_other[0].id, "join/flat/8");
    insta::assert_snapshot!(text::between(&found, false, false), @"
    baseline  openmls-rustcrypto: openmls 0.9.2, suite 1, RustCrypto
    with      libsignal-rust: libsignal 0.85.3, suite 1, RustCrypto

    ┌───────────────────┬─────────────────┬────────────────────────────┬────────────────────────────┬──────────────────────┐
    │ operation/state/N ┆ measure         ┆ openmls-rustcrypto         ┆ libsignal-rust             ┆ ratio                │
    ╞═══════════════════╪═════════════════╪════════════════════════════╪════════════════════════════╪══════════════════════╡
    │ send/flat/8       ┆ allocated_bytes ┆                 9000..9100 ┆                       5000 ┆ 0.552 (0.549..0.556) │
    │ send/flat/8       ┆ bytes_up        ┆                        200 ┆                        300 ┆                1.500 │
    │ send/flat/8       ┆ instructions    ┆                    1000000 ┆                    2000000 ┆                2.000 │
    │ send/flat/8       ┆ peak_bytes      ┆                 4000..4100 ┆                       2000 ┆ 0.494 (0.488..0.500) │
    │ send/flat/8       ┆ time            ┆ 1.10 ms (1.00 ms..1.20 ms) ┆ 2.10 ms (2.00 ms..2.40 ms) ┆ 1.909 (1.667..2.400) │
    └───────────────────┴─────────────────┴────────────────────────────┴────────────────────────────┴──────────────────────┘

    no libsignal-rust (failed: it took too long): send/flat/16
    no openmls-rustcrypto (it is not in the document): join/flat/8
    measurements that both have: 1; values: 6, of which 1 the same
    Below 1, libsignal-rust costs less; an interval that holds 1 shows no difference.
    ");

    let value = serde_json::to_value(&found).expect("JSON");
    assert_eq!(serde_json::from_value::<Between>(value).expect("a comparison"), found);
    let unknown = between(&document, METERED, "nosuch").expect_err("no such implementation");
    assert_eq!(unknown.to_string(), "there is no `nosuch` in it: expected one of libsignal-rust, openmls-rustcrypto");
    assert_eq!(between(&document, METERED, METERED).expect_err("itself"), Incomparable::Itself(METERED.to_owned()));
}

#[test]
fn a_primitive_that_one_of_two_metered_implementations_never_calls_is_zero() {
    let document = edited(|document| {
        document.adapters.insert("mls-rs-rustcrypto".to_owned(), description("mls-rs-rustcrypto", "mls-rs", "0.57.0"));
        let counts = [("calls.hash", exactly(24)), ("calls.mac", exactly(2))];
        document.measurements.push(measurement("mls-rs-rustcrypto", Operation::Send, 8, &counts));
    });
    let found = between(&document, METERED, "mls-rs-rustcrypto").expect("both are there");
    let row = |measure: &str| found.ratios.iter().find(|ratio| ratio.measure == measure).expect("such a measure");
    assert_eq!(row("calls.hash").ratio, Some(Value::exactly(2.0)));
    assert_eq!(row("calls.sign").ratio, Some(Value::exactly(0.0)));
    assert_eq!((row("calls.mac").baseline, row("calls.mac").ratio), (Value::exactly(0.0), None));
    assert!(text::between(&found, false, false).contains("from 0"));
}

#[test]
fn the_thresholds_of_the_suite_allow_what_runs_of_one_build_differ_by() {
    let thresholds = thresholds();
    // The widest gaps that were seen; benches/gate.toml says how.
    for (measure, id, seen) in [
        ("state_bytes", "store/vodozemac/flat/16", 0.0119),
        ("allocations", "store/openmls-rustcrypto/flat/16", 0.0667),
        ("allocations", "join-out-of-band/openmls-rustcrypto/flat/16", 0.0056),
        ("allocated_bytes", "update/openmls-libcrux/staircase/64", 0.0072),
        ("peak_bytes", "first-send/openmls-rustcrypto/flat/16", 0.0046),
        ("bytes_up", "send/libsignal-rust/flat/64", 0.0072),
        ("instructions", "join/vodozemac/flat/64", 0.017),
    ] {
        assert!(thresholds.of(measure, id, true) > seen, "{measure} of {id}");
    }
    for measure in ["bytes_up", "bytes_fanned_out", "calls.sign", "functions.x25519"] {
        assert_eq!(thresholds.of(measure, SEND, true), 0.0, "{measure}");
    }
    // What a gate is for must not fit through it: one more signature or agreement is a call, and no threshold is a factor.
    assert_eq!(thresholds.of("functions.x25519", OPAQUE_SEND, true), 0.0);
    let Thresholds { state_bytes, heap, peak_bytes, instructions, time, exponent, .. } = thresholds;
    assert!([state_bytes, heap, peak_bytes, instructions, time, exponent].iter().all(|threshold| *threshold <= 0.1));
}

fn file(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, text).expect("written");
    path
}

#[test]
fn thresholds_of_ones_own_are_laid_over_those_of_the_suite() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let text = r#"
        instructions = 0.01
        [[override]]
        measure = "calls.*"
        ids = "send/*"
        threshold = 1
        [[override]]
        measure = "calls.hash"
        ids = "*/openmls-rustcrypto/*"
        threshold = 0.0
        [[override]]
        measure = "bytes_down"
        ids = "*"
        threshold = 0.5
    "#;
    let own = Thresholds::read(&file(directory.path(), "own.toml", text)).expect("well-formed");
    assert_eq!((own.instructions, own.inexact), (0.01, thresholds().inexact));
    let b = edited(|document| {
        count(document, SEND, "instructions", exactly(1_009_000));
        count(document, SEND, "calls.sign", exactly(2));
        count(document, SEND, "calls.hash", exactly(13));
    });
    let comparison = compare(&document(), &b, &own).expect("comparable");
    assert_eq!(word(&change(&comparison, SEND, "instructions").judgement), "within");
    assert_eq!(word(&change(&comparison, SEND, "calls.sign").judgement), "within");
    // The last one that matches holds.
    assert_eq!(word(&change(&comparison, SEND, "calls.hash").judgement), "worse");
    assert_eq!(comparison.notes, ["the threshold for measure bytes_down of * is about nothing in these documents"]);
}

#[test]
fn malformed_thresholds_are_refused_with_file_field_and_what_was_expected() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let number = "expected a number from 0 to 1, such as 0.05 for 5 %";
    for (text, words) in [
        ("exakt = 0.0", vec!["exakt", "expected one of `exact`, `inexact`, `state_bytes`, `heap`"]),
        ("time = 5", vec!["`time`", number]),
        ("time = -0.05", vec!["`time`", number]),
        ("inexact = nan", vec!["`inexact`", number]),
        ("exact = inf", vec!["`exact`", number]),
        ("peak_bytes = '5 %'", vec!["`peak_bytes`", number]),
        ("[[override]]\nmeasure = 'time'\nids = '*'", vec!["override[0]", "missing field `threshold`"]),
        (
            "[[override]]\nmeasure = 'time'\nids = '['\nthreshold = 0",
            vec!["override[0].ids", "unclosed character class"],
        ),
        (
            "[[override]]\nmeasure = 'time'\nid = '*'\nthreshold = 0",
            vec!["override[0].id", "expected one of `measure`, `ids`"],
        ),
        ("exact = 0.0\nexact = 0.1", vec!["duplicate key"]),
        ("exact", vec!["line 1"]),
    ] {
        let path = file(directory.path(), "own.toml", text);
        let error = Thresholds::read(&path).expect_err(text).to_string();
        assert!(error.starts_with(&path.display().to_string()), "{text}: {error}");
        for word in words {
            assert!(error.contains(word), "{text}: {word} is not in {error}");
        }
    }
    let nowhere = directory.path().join("nowhere.toml");
    let error = Thresholds::read(&nowhere).expect_err("there is no such file").to_string();
    assert!(error.starts_with(&nowhere.display().to_string()), "{error}");
}

/// One implementation, one measurement that went well and one that did not.
fn small() -> Benchmarks {
    let counts = [
        ("bytes_up", exactly(200)),
        ("allocations", exactly(31)),
        ("calls.aead_seal", exactly(2)),
        ("peak_bytes", ranging(4000, 4101)),
        ("instructions", exactly(1_000_000)),
    ];
    edited(|document| {
        let mut void = measurement(METERED, Operation::Send, 16, &counts);
        void.outcome = Outcome::Void("wrong".to_owned());
        let uncounted = measurement(METERED, Operation::Load, 8, &[("instructions", exactly(5))]);
        document.measurements = vec![measurement(METERED, Operation::Send, 8, &counts), void, uncounted];
    })
}

#[test]
fn bencher_gets_exact_measures_by_their_slugs() {
    assert_eq!(
        export::bencher(&small()),
        json!({
            "send/openmls-rustcrypto/flat/8": {
                "allocations": { "value": 31 },
                "bytes-up": { "value": 200 },
                "calls-aead-seal": { "value": 2 },
                "peak-bytes": { "value": 4050.5, "lower_value": 4000, "upper_value": 4101 },
            }
        })
    );
}

#[test]
fn github_action_benchmark_gets_exact_measures_each_by_its_own_name() {
    let extra = "openmls 0.9.2\nsuite 1\nRustCrypto";
    let entry = |measure: &str, unit: &str, value: u64| json!({ "name": format!("{SEND} {measure}"), "unit": unit, "value": value, "extra": extra });
    assert_eq!(
        export::github_action_benchmark(&small()),
        json!([
            entry("allocations", "allocations", 31),
            entry("bytes_up", "bytes", 200),
            entry("calls.aead_seal", "calls", 2),
            { "name": format!("{SEND} peak_bytes"), "unit": "bytes", "value": 4050.5, "range": "± 50.5", "extra": extra },
        ])
    );
}

fn e2esm(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_e2esm")).args(arguments).env("NO_COLOR", "1").output().expect("e2esm runs")
}

fn said(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_command_exits_with_1_at_a_closed_gate_alone() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let write = |name: &str, document: &Benchmarks| {
        let path = directory.path().join(name);
        document.write(&path).expect("written");
        path.display().to_string()
    };
    let a = write("a.json", &document());
    let worse = write("worse.json", &edited(|document| count(document, SEND, "calls.sign", exactly(2))));
    let debug = write("debug.json", &edited(|document| document.environment.profile = "debug".to_owned()));
    let lax = file(directory.path(), "lax.toml", "exact = 1").display().to_string();
    let bad = file(directory.path(), "bad.toml", "exakt = 1").display().to_string();

    let cases: Vec<(Vec<&str>, i32, &str, &str)> = vec![
        (vec![&a, &a], 0, "all the same", ""),
        (vec![&a, &a, "--gate"], 0, "all the same", ""),
        (vec![&a, &worse], 0, "1 worse", ""),
        (vec![&a, &worse, "--gate"], 1, "1 worse", "worse: send/openmls-rustcrypto/flat/8: calls.sign 1 -> 2"),
        (vec![&a, &worse, "--gate", "--format", "json"], 1, "\"worse\": 1", "worse: send/"),
        (vec![&worse, &a, "--gate"], 0, "1 better", ""),
        (vec![&a, &worse, "--gate", "--thresholds", &lax], 0, "1 within", ""),
        (vec![&a, &worse, "--thresholds", &bad], 2, "", "bad.toml: not a file of thresholds: field `exakt`"),
        (vec![&a, &debug], 2, "", "a release build against a debug build"),
        (vec![&a], 2, "", "<B>"),
        (vec![&a, "nowhere.json"], 2, "", "nowhere.json"),
        (vec![&a, "--baseline", METERED], 2, "", "--with <NAME>"),
        (vec![&a, &a, "--baseline", METERED, "--with", OPAQUE], 2, "", "cannot be used with"),
        (vec![&a, "--baseline", METERED, "--with", "nosuch"], 2, "", "expected one of libsignal-rust"),
        (vec![&a, "--baseline", METERED, "--with", OPAQUE], 0, "send/flat/8", ""),
    ];
    for (arguments, code, out, err) in cases {
        let output = e2esm(&[vec!["compare"], arguments.clone()].concat());
        let (stdout, stderr) = (said(&output.stdout), said(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stdout}{stderr}");
        assert!(stdout.contains(out) && stderr.contains(err), "{arguments:?}: {stdout}{stderr}");
        assert_eq!((stdout.is_empty(), stderr.is_empty()), (out.is_empty(), err.is_empty()), "{arguments:?}");
        assert!(!stdout.contains('\u{1b}'), "NO_COLOR is respected");
        if arguments.contains(&"json") {
            serde_json::from_str::<Comparison>(&stdout).expect("a comparison and nothing else");
        }
    }
}

#[test]
fn the_command_exports_to_stdout_or_a_file() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("a.json");
    small().write(&path).expect("written");
    let path = path.display().to_string();
    let out = directory.path().join("deep/out.json");
    let to = out.display().to_string();
    let output = e2esm(&["export", &path, "--format", "bencher"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output.stderr));
    assert_eq!(said(&output.stdout), format!("{:#}\n", export::bencher(&small())));
    let output = e2esm(&["export", &path, "--format", "github-action-benchmark", "--out", &to]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output.stderr));
    assert!(output.stdout.is_empty());
    let written = std::fs::read_to_string(&out).expect("written");
    assert_eq!(written, format!("{:#}\n", export::github_action_benchmark(&small())));

    let burdened = edited(|document| document.run.burden = Some("sign twice".to_owned()));
    let burdened_path = directory.path().join("burdened.json");
    burdened.write(&burdened_path).expect("written");
    let output = e2esm(&["export", &burdened_path.display().to_string(), "--format", "bencher"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output.stderr).contains("burdened on purpose (sign twice)"), "{}", said(&output.stderr));
}
