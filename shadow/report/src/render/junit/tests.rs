//! The test cases, read back by the reader of the same format.

use super::*;
use crate::{Gate, sample};

fn read(xml: &str) -> Junit {
    Junit::deserialize_from_str(xml).unwrap()
}

#[test]
fn one_test_case_per_endpoint_and_open_is_skipped() {
    let xml = render_junit(&sample::report()).unwrap();
    insta::assert_snapshot!(xml);
    let read = read(&xml);
    assert_eq!((read.tests, read.failures, read.errors, read.skipped), (3, 1, 0, 1));
    let cases = &read.test_suites[0].test_cases;
    let is_skipped = |case: &TestCase| matches!(case.status, TestCaseStatus::Skipped { .. });
    let skipped: Vec<_> = cases.iter().filter(|c| is_skipped(c)).map(|c| c.name.as_str()).collect();
    assert_eq!(skipped, ["messages.unread_count"]);
}

#[test]
fn a_report_of_nothing_is_a_skipped_case_not_an_empty_suite() {
    let report = Report::new(1, None, Gate::default(), Vec::new());
    let read = read(&render_junit(&report).unwrap());
    assert_eq!((read.tests, read.skipped), (1, 1));
    assert!(matches!(read.test_suites[0].test_cases[0].status, TestCaseStatus::Skipped { .. }));
}

#[test]
fn hostile_values_survive_as_text() {
    let xml = render_junit(&sample::hostile()).unwrap();
    assert!(!xml.contains("<script>") && !xml.contains('\u{1b}') && !xml.contains('\u{0}'));
    let read = read(&xml);
    let name = read.test_suites[0].test_cases[0].name.as_str();
    assert!(name.contains("<script>alert(1)</script>"), "{name}");
}

#[test]
fn fifty_thousand_mismatches_are_written_quickly_and_briefly() {
    let report = sample::huge(50_000);
    let started = std::time::Instant::now();
    let xml = render_junit(&report).unwrap();
    assert!(started.elapsed().as_secs_f64() < 1.0, "{:?}", started.elapsed());
    assert!(xml.len() < 300_000 && xml.contains("cut after 50 of 10,000 groups"), "{}", xml.len());
}
