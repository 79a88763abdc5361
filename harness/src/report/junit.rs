//! JUnit, for CI systems: one suite for each implementation, one test for each vector and layer.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Property, Report, TestCase, TestCaseStatus, TestSuite};

use crate::divergence::Divergences;
use crate::suite::Column;
use crate::verdict::Verdict;

/// The report. A verdict that is not as expected is a failure, and so is an entry of expected divergences that is no longer
/// right; an unsupported one is skipped; an expected divergence passes and says so, with its reason.
///
/// # Errors
/// Those of the XML writer.
pub fn report(columns: &[Column], divergences: &Divergences) -> Result<String, quick_junit::SerializeError> {
    let mut report = Report::new("e2esm");
    for column in columns {
        let mut suite = TestSuite::new(column.name.clone());
        for row in &column.rows {
            let known = divergences.find(&column.name, &row.vector, row.layer);
            let status = match (divergences.objection(&column.name, row), row.verdict) {
                (None, Verdict::Unsupported) => {
                    let mut status = TestCaseStatus::skipped();
                    status.set_message(row.because());
                    status
                }
                (None, _) => TestCaseStatus::success(),
                (Some(sentence), verdict) => {
                    let kind = if verdict == Verdict::Error { NonSuccessKind::Error } else { NonSuccessKind::Failure };
                    let mut status = TestCaseStatus::non_success(kind);
                    let (message, kind) = match known {
                        Some(_) => (sentence, "divergence"),
                        None => (row.because(), verdict.label()),
                    };
                    status.set_message(message).set_type(kind);
                    status
                }
            };
            let mut case = TestCase::new(format!("{} [{}]", row.vector, row.layer.label()), status);
            case.set_classname(row.vector.split('/').next().unwrap_or_default().to_owned())
                .set_time(Duration::from_secs_f64(row.milliseconds / 1000.0));
            case.add_property(Property::new("verdict", row.verdict.label()));
            if let Some(divergence) = known.filter(|known| known.verdict == row.verdict) {
                case.add_property(Property::new("expected divergence", divergence.reason.as_str()));
            }
            suite.add_test_case(case);
        }
        report.add_test_suite(suite);
    }
    report.to_string()
}
