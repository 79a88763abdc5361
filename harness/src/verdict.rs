//! From what was observed to a verdict: one pure function.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use e2esm_adapter::Asker;

use crate::scenario::{Checked, Layer, Stop};
use crate::vector::Polarity;

/// What follows from the observations of one scenario, one implementation and one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every check holds.
    Pass,
    /// A check does not hold.
    Fail,
    /// Only at the layer `library`: bad outcomes, each about exactly the fact that the library asked its application to
    /// affirm.
    LeftToTheApplication,
    /// Every check holds, and some of them only count.
    Graded,
    /// The implementation declares that it cannot do what the scenario needs.
    Unsupported,
    /// There is nothing to judge: the process failed.
    Error,
}

impl Verdict {
    /// All, in the order of the tables.
    pub const ALL: [Self; 6] =
        [Self::Pass, Self::LeftToTheApplication, Self::Graded, Self::Fail, Self::Unsupported, Self::Error];

    /// In words.
    pub fn label(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::LeftToTheApplication => "left to the application",
            Self::Graded => "graded",
            Self::Unsupported => "unsupported",
            Self::Error => "error",
        }
    }

    /// One letter, for tables.
    pub fn letter(self) -> &'static str {
        match self {
            Self::Pass => "P",
            Self::Fail => "F",
            Self::LeftToTheApplication => "A",
            Self::Graded => "G",
            Self::Unsupported => "-",
            Self::Error => "E",
        }
    }

    /// Whether nobody needs to explain it: a bad outcome does, unless the library asked.
    pub fn needs_no_reason(self) -> bool {
        !matches!(self, Self::Fail | Self::Error)
    }
}

/// Derives the verdict.
///
/// A scenario that a step stopped was refused something that every sound system does: fail. Of the checks, one that does
/// not hold makes it fail, except at the layer `library` if every such check is a negative one and the library asked about
/// exactly that fact.
pub fn verdict(layer: Layer, checks: &[Checked], stop: Option<&Stop>) -> Verdict {
    match stop {
        Some(Stop::Unsupported { .. }) => return Verdict::Unsupported,
        Some(Stop::Failed { .. }) => return Verdict::Error,
        Some(Stop::Refused { .. }) => return Verdict::Fail,
        None => {}
    }
    let mut broken = checks.iter().filter(|check| !check.holds).peekable();
    if broken.peek().is_some() {
        let explained = |check: &Checked| check.polarity == Polarity::Negative && !check.consulted.is_empty();
        return if layer == Layer::Library && broken.all(explained) {
            Verdict::LeftToTheApplication
        } else {
            Verdict::Fail
        };
    }
    if checks.iter().any(|check| check.polarity == Polarity::Graded) { Verdict::Graded } else { Verdict::Pass }
}

/// Whether what decided was asked by the adapter's own group management, because the library has no group object.
pub fn without_group_object(checks: &[Checked]) -> bool {
    checks.iter().flat_map(|check| &check.consulted).any(|consultation| consultation.asker == Asker::GroupManagement)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Consultation;
    use crate::worker::Failure;
    use e2esm_adapter::{Capability, FactKind};

    fn check(polarity: Polarity, holds: bool, consulted: bool) -> Checked {
        let consultation = Consultation { point: "ask".to_owned(), asker: Asker::Library, fact: FactKind::Identity };
        Checked {
            step: 0,
            polarity,
            expected: String::new(),
            observed: String::new(),
            holds,
            consulted: if consulted { vec![consultation] } else { Vec::new() },
            score: None,
        }
    }

    #[test]
    fn the_table() {
        use Layer::{Library, Policy};
        use Polarity::{Graded, Negative, Positive};
        use Verdict as V;
        let unsupported = Stop::Unsupported { capability: Capability::Epochs, because: String::new() };
        let refused = Stop::Refused { step: 0, action: String::new(), reason: String::new() };
        let failed = Stop::Failed { step: 0, failure: Failure::TimedOut { milliseconds: 1 } };
        let good = check(Positive, true, false);
        let held = check(Negative, true, false);
        let asked = check(Negative, false, true);
        let silent = check(Negative, false, false);
        let mute = check(Positive, false, true);
        let counted = check(Graded, true, false);
        let silence = check(Graded, false, false);
        type Case<'a> = (&'a str, Layer, Vec<&'a Checked>, Option<&'a Stop>, Verdict);
        let table: Vec<Case<'_>> = vec![
            ("all hold", Library, vec![&held, &good], None, V::Pass),
            ("all hold", Policy, vec![&held, &good], None, V::Pass),
            ("bad, and the library asked", Library, vec![&asked, &good], None, V::LeftToTheApplication),
            ("bad, asked, but the policy is to have said no", Policy, vec![&asked, &good], None, V::Fail),
            ("bad, and it did not ask", Library, vec![&silent, &good], None, V::Fail),
            ("one asked, one not", Library, vec![&asked, &silent, &good], None, V::Fail),
            ("nothing good happens", Library, vec![&held, &mute], None, V::Fail),
            ("asked, but nothing good happens", Library, vec![&asked, &mute], None, V::Fail),
            ("some only count", Library, vec![&counted, &good], None, V::Graded),
            ("bad outweighs counting", Library, vec![&counted, &asked], None, V::LeftToTheApplication),
            ("silence is no grade", Policy, vec![&silence, &good], None, V::Fail),
            ("a capability is missing", Library, vec![], Some(&unsupported), V::Unsupported),
            ("an honest step is refused", Library, vec![&good], Some(&refused), V::Fail),
            ("the process failed", Policy, vec![&good], Some(&failed), V::Error),
        ];
        for (what, layer, checks, stop, expected) in table {
            let checks: Vec<Checked> = checks.into_iter().cloned().collect();
            assert_eq!(verdict(layer, &checks, stop), expected, "{what}, {layer:?}");
        }
    }
}
