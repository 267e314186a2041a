//! Length and escaping.

use super::*;
use crate::{Gate, sample};

#[test]
fn report_reads_as_a_comment() {
    insta::assert_snapshot!(render_markdown(&sample::full(), MARKDOWN_BYTES_MAX));
}

#[test]
fn report_of_nothing_says_so() {
    let report = Report::new(1, None, Gate::default(), Vec::new());
    let text = render_markdown(&report, MARKDOWN_BYTES_MAX);
    assert!(text.starts_with("## INCONCLUSIVE: nothing was compared\n"), "{text}");
}

#[test]
fn fifty_thousand_mismatches_stay_below_the_limit_and_say_what_was_cut() {
    let report = sample::huge(50_000);
    let started = std::time::Instant::now();
    let text = render_markdown(&report, MARKDOWN_BYTES_MAX);
    assert!(started.elapsed().as_secs_f64() < 1.0, "{:?}", started.elapsed());
    assert!(text.len() <= MARKDOWN_BYTES_MAX && text.len() > MARKDOWN_BYTES_MAX - 2_000);
    let last = text.trim_end().lines().last().unwrap();
    assert!(last.starts_with("**cut after") && last.contains("of 50,000 groups"), "{last}");
    // The worst come first: whatever is shown of an endpoint is breaking as long as there is anything breaking.
    assert!(text.contains("**breaking**") && text.starts_with("## FAIL: 5 endpoints"));
}

#[test]
fn any_limit_is_kept() {
    for limit in [0, 1_024, 2_000, 5_000, 20_000] {
        for report in [sample::huge(500), sample::hostile(), sample::full()] {
            let text = render_markdown(&report, limit);
            assert!(text.len() <= limit.max(1_024), "{limit}: {}", text.len());
        }
    }
}

/// What stands outside of code spans, by CommonMark's rule: a run of backticks is closed by the next run of the same length.
#[expect(clippy::string_slice, reason = "cut at backticks, which are one byte")]
fn outside_code(line: &str) -> String {
    let mut rest = line;
    let mut outside = String::new();
    while let Some(start) = rest.find('`') {
        outside.push_str(&rest[..start]);
        let fence = rest[start..].chars().take_while(|c| *c == '`').count();
        let inner = &rest[start + fence..];
        let mut at = 0;
        let end = loop {
            let run = inner[at..].find('`').map(|next| at + next).expect("a fence is closed");
            let length = inner[run..].chars().take_while(|c| *c == '`').count();
            if length == fence {
                break run;
            }
            at = run + length;
        };
        rest = &inner[end + fence..];
    }
    outside + rest
}

#[test]
fn hostile_values_stay_in_their_code_spans() {
    let text = render_markdown(&sample::hostile(), MARKDOWN_BYTES_MAX);
    assert!(text.contains("@octocat"));
    for line in text.lines() {
        let outside = outside_code(line);
        for evil in ["@", "<", "#1", "http", "\\", "title", "script"] {
            assert!(!outside.contains(evil), "{evil:?} in {outside:?} of {line:?}");
        }
        if line.starts_with("| ") {
            assert_eq!(line.matches('|').count(), 8, "{line}");
        }
        assert!(!line.contains(['\u{1b}', '\u{0}', '\u{202E}']), "{line:?}");
    }
}
