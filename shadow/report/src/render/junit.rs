//! The gate as JUnit XML, for the test page of a CI server.
//!
//! Owns the mapping of verdicts: one test case per endpoint, a failure fails, an open question is skipped with its reason and never a
//! pass. It exists because every CI server reads this form. What must stay true: well-formed for any value (`quick-junit`
//! writes it, characters that XML cannot hold are replaced); a report of nothing has one skipped case, because an empty suite
//! counts as green.

use quick_junit::{NonSuccessKind, Report as Junit, TestCase, TestCaseStatus, TestSuite};

use crate::gate::GateVerdict;
use crate::model::{EndpointReport, Report};
use crate::number::{counted, grouped};

use super::line::{self, clean};

/// Groups described in one test case, the worst first.
const GROUPS_MAX: usize = 50;

/// The gate's verdicts as test cases. The only error is one of the XML writer, which does not fail on text in memory.
pub fn render_junit(report: &Report) -> Result<String, std::fmt::Error> {
    let mut suite = TestSuite::new("banyan.shadow");
    suite.add_test_cases(report.endpoints.iter().map(|endpoint| case(endpoint, report)));
    if let GateVerdict::Inconclusive { why, .. } = report.verdict()
        && report.endpoints.iter().all(|endpoint| !is_open(endpoint))
    {
        let mut status = TestCaseStatus::skipped();
        status.set_message(format!("{}: {why}", line::headline(report)));
        suite.add_test_case(named("coverage", status));
    }
    let mut junit = Junit::new("banyan shadow gate");
    junit.add_test_suite(suite);
    junit.to_string().map_err(|_| std::fmt::Error)
}

fn is_open(endpoint: &EndpointReport) -> bool {
    matches!(endpoint.gate, GateVerdict::Inconclusive { .. })
}

fn case(endpoint: &EndpointReport, report: &Report) -> TestCase {
    let message = format!("{}: {}", endpoint.gate.word(), line::endpoint(endpoint, report));
    let mut status = match endpoint.gate {
        GateVerdict::Pass => TestCaseStatus::success(),
        GateVerdict::Fail { .. } => TestCaseStatus::non_success(NonSuccessKind::Failure),
        GateVerdict::Inconclusive { .. } => TestCaseStatus::skipped(),
    };
    match endpoint.gate {
        GateVerdict::Pass => {}
        GateVerdict::Fail { why } => {
            status.set_message(clean(&message)).set_type(clean(&why.to_string()));
            status.set_description(details(endpoint));
        }
        GateVerdict::Inconclusive { why, .. } => {
            let needs = line::still_needed(endpoint, report).unwrap_or_default();
            status.set_message(clean(&format!("{message}; needs {needs}")));
            status.set_type(clean(&why.to_string()));
        }
    }
    let mut case = named(&endpoint.endpoint, status);
    case.set_system_out(clean(&message));
    case
}

fn named(name: &str, status: TestCaseStatus) -> TestCase {
    let mut case = TestCase::new(clean(name), status);
    case.set_classname("banyan.shadow");
    case
}

/// What differs, a line per group and example.
fn details(endpoint: &EndpointReport) -> String {
    let mut lines = Vec::new();
    for group in endpoint.groups.iter().take(GROUPS_MAX) {
        let count = counted(group.count, "time");
        lines.push(clean(&format!("{} {} {} {count}", group.severity, group.path, group.kind)));
        for example in group.examples.iter().take(1) {
            let value = |side: &Option<String>| side.clone().unwrap_or_else(|| "(none)".to_owned());
            let (legacy, new) = (value(&example.legacy), value(&example.new));
            lines.push(clean(&format!("  {}: legacy {legacy}, new {new}", example.request)));
            lines.push(clean(&format!("  {}{}", example.replay, example.note)));
        }
    }
    let all = endpoint.groups.len();
    if all > GROUPS_MAX {
        let (shown, all) = (grouped(GROUPS_MAX as u64), grouped(all as u64));
        lines.push(format!("cut after {shown} of {all} groups"));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests;
