//! JUnit, for CI systems: one suite for each implementation, one test for each vector and layer.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::divergence::Divergences;
use crate::suite::Column;
use crate::verdict::Verdict;

/// The report. A verdict that is not as expected is a failure, an unsupported one is skipped, an expected divergence passes
/// and says so.
///
/// # Errors
/// Those of the XML writer.
pub fn report(columns: &[Column], divergences: &Divergences) -> Result<String, quick_junit::SerializeError> {
    let mut report = Report::new("e2esm");
    for column in columns {
        let mut suite = TestSuite::new(column.name.clone());
        for row in &column.rows {
            let reason = row.because();
            let known = divergences.find(&column.name, &row.vector, row.layer);
            let status = match (row.verdict, known) {
                (Verdict::Unsupported, _) => {
                    let mut status = TestCaseStatus::skipped();
                    status.set_message(reason);
                    status
                }
                (verdict, Some(divergence)) if divergence.verdict == verdict => TestCaseStatus::success(),
                (verdict, None) if verdict.needs_no_reason() => TestCaseStatus::success(),
                (verdict, _) => {
                    let kind = if verdict == Verdict::Error { NonSuccessKind::Error } else { NonSuccessKind::Failure };
                    let mut status = TestCaseStatus::non_success(kind);
                    status.set_message(reason).set_type(verdict.label());
                    status
                }
            };
            let mut case = TestCase::new(format!("{} [{}]", row.vector, row.layer.label()), status);
            case.set_classname(row.vector.split('/').next().unwrap_or_default().to_owned())
                .set_time(Duration::from_secs_f64(row.milliseconds / 1000.0));
            case.add_property(quick_junit::Property::new("verdict", row.verdict.label()));
            suite.add_test_case(case);
        }
        report.add_test_suite(suite);
    }
    report.to_string()
}
