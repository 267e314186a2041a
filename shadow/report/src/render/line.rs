//! The sentences that every rendering shares.
//!
//! Owns the first line, the line of an endpoint, and what a pass still needs. It exists so that a terminal, a page and a
//! pull-request comment never say different things. What must stay true: numbers before opinions; what is not decided
//! says what is missing; no control character of an answer is passed on.

use crate::gate::{Bound, FailReason, GateVerdict, OpenReason};
use crate::model::{EndpointReport, LagReport, NoiseReport, Report, Source};
use crate::number::{counted, duration, grouped, percent, plain, share, utc};

/// Text of answers, request lines and names, without what could steer a terminal or break a document.
pub(crate) fn clean(text: &str) -> String {
    let steers = |c: char| {
        c.is_control() || matches!(c, '\u{FFFE}' | '\u{FFFF}')
        // Bidirectional controls can make a line read as another one.
        || matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if steers(c) { '\u{FFFD}' } else { c }).collect()
}

/// What the counted things are called: reads of endpoints, or events.
struct Words {
    endpoint: &'static str,
    request: &'static str,
}

fn words(report: &Report) -> Words {
    match report.source {
        Source::Live | Source::Replay { .. } => {
            Words { endpoint: "endpoint", request: "distinct request" }
        }
        Source::Events { .. } => Words { endpoint: "type of event", request: "event" },
    }
}

/// `1 endpoint`, `2 types of event`.
fn endpoints(count: u64, words: &Words) -> String {
    match words.endpoint.split_once(' ') {
        Some((noun, rest)) => format!("{} {rest}", counted(count, noun)),
        None => counted(count, words.endpoint),
    }
}

/// What follows the verdict word of the whole report.
pub(crate) fn headline(report: &Report) -> String {
    let since = report.since_ms.map(|ms| format!(" since {}", utc(ms))).unwrap_or_default();
    if report.endpoints.is_empty() {
        return format!("nothing was compared{since}");
    }
    let of_rank = |rank| report.endpoints.iter().filter(move |e| e.gate.rank() == rank).count();
    let sum = |count: fn(&EndpointReport) -> u64| report.endpoints.iter().map(count).sum::<u64>();
    format!(
        "{}: {} pass, {} fail, {} inconclusive; {} compared, {} differ, {}{}",
        endpoints(report.endpoints.len() as u64, &words(report)),
        of_rank(2),
        of_rank(0),
        of_rank(1),
        grouped(sum(|e| e.compared)),
        grouped(sum(|e| e.mismatched)),
        report.gate,
        if since.is_empty() { since } else { format!(",{since}") },
    )
}

/// Where the comparisons come from.
pub(crate) fn source(report: &Report) -> String {
    match &report.source {
        Source::Live => "live traffic".to_owned(),
        Source::Replay { file } => format!("replay of {}", clean(file)),
        Source::Events { context } => format!("events of {}", clean(context)),
    }
}

/// What the gate asks for, in words.
pub(crate) fn gate(report: &Report) -> String {
    let gate = &report.gate;
    let mut parts = vec![format!(
        "at least {} of {}s must agree, proven with {} confidence",
        plain(gate.target_percent),
        words(report).request,
        plain(gate.confidence * 100.0),
    )];
    match gate.bound {
        Bound::Once => {}
        Bound::Watched => parts.push("at every look".to_owned()),
    }
    if gate.min_compared > 1 {
        parts.push(format!("over at least {}", grouped(gate.min_compared)));
    }
    if let Some(ms) = gate.quiet_for_ms {
        parts.push(format!("no mismatch for {}", duration(ms)));
    }
    if let Some(ms) = gate.max_lag_p99_ms {
        parts.push(format!("lag p99 at most {}", duration(ms)));
    }
    if gate.min_coverage_percent < 100.0 {
        let least = plain(gate.min_coverage_percent);
        parts.push(format!("verdicts on at least {least} of the endpoints"));
    }
    parts.join(", ")
}

/// Everything after `endpoint:` on its gate line.
pub(crate) fn endpoint(endpoint: &EndpointReport, report: &Report) -> String {
    let mut parts = vec![seen(endpoint, report)];
    for (count, what) in [
        (endpoint.noise, "equal but for noise"),
        (endpoint.lag, "late"),
        (endpoint.inconclusive, "undecided"),
        (endpoint.errors, "with errors"),
    ] {
        if count > 0 {
            parts.push(format!("{} {what}", grouped(count)));
        }
    }
    if !endpoint.hidden.is_empty() {
        let rules = counted(endpoint.hidden.len() as u64, "rule");
        parts.push(format!("{} hidden by {rules}", grouped(endpoint.hidden_total())));
    }
    parts.push(format!("{} skipped", grouped(endpoint.skipped_total())));
    parts.join(", ")
}

fn seen(endpoint: &EndpointReport, report: &Report) -> String {
    let compared = grouped(endpoint.compared);
    match endpoint.gate {
        GateVerdict::Inconclusive { needed, why } => format!(
            "{} compared, {} needed  ({} so far){}",
            counted(endpoint.distinct_requests, words(report).request),
            grouped(needed),
            mismatches(endpoint.mismatched),
            if why == OpenReason::Evidence { String::new() } else { format!(", {why}") },
        ),
        GateVerdict::Pass => format!(
            "{compared} compared, {} differ ({}, {}), proven: {} of {} agree",
            grouped(endpoint.mismatched),
            share(endpoint.mismatched, endpoint.compared),
            report.gate,
            percent(endpoint.proven_percent),
            counted(endpoint.distinct_requests, words(report).request),
        ),
        GateVerdict::Fail { why } => format!(
            "{} of {compared} compared differ ({}, {}){}",
            grouped(endpoint.mismatched),
            share(endpoint.mismatched, endpoint.compared),
            report.gate,
            match why {
                FailReason::OverBudget => String::new(),
                FailReason::Breaking { .. }
                | FailReason::NewErrors { .. }
                | FailReason::UnderNoise { .. }
                | FailReason::Lag { .. } => format!(", {why}"),
            },
        ),
    }
}

/// What an endpoint still needs for a pass, e.g. `2,958 more distinct requests, at the rate so far about 3h 00m`.
pub(crate) fn still_needed(endpoint: &EndpointReport, report: &Report) -> Option<String> {
    let GateVerdict::Inconclusive { needed, why } = endpoint.gate else { return None };
    match why {
        OpenReason::Evidence => Some(more_requests(endpoint, needed, words(report).request)),
        OpenReason::Dormant => Some(format!(
            "a phase that compares: banyan route flip {} shadow",
            clean(&endpoint.endpoint)
        )),
        OpenReason::Undecided { count } => {
            Some(format!("a decision on {}: see what keeps them open", comparisons(count)))
        }
        OpenReason::Restless { age_ms } => {
            Some(format!("more time without a mismatch, the last was {} ago", duration(age_ms)))
        }
        OpenReason::Silent => Some("traffic now: nothing was compared lately".to_owned()),
        OpenReason::Coverage => None,
        OpenReason::Trimmed => Some("a later beginning: what came before is deleted".to_owned()),
        OpenReason::OneSided => Some("events of both sides".to_owned()),
    }
}

fn more_requests(endpoint: &EndpointReport, needed: u64, noun: &str) -> String {
    if needed == u64::MAX {
        return "a larger budget: no number of requests would prove this one".to_owned();
    }
    let more = needed.saturating_sub(endpoint.distinct_requests);
    let text = counted(more, &format!("more {noun}"));
    match endpoint.distinct_per_hour {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an estimate in two digits; the cast saturates"
        )]
        Some(rate) if rate > 0.0 => {
            let ms = (more as f64 / rate * 3_600_000.0) as u64;
            format!("{text}, at the rate so far about {}", duration(ms))
        }
        Some(_) => format!("{text}, none came in lately"),
        None => text,
    }
}

fn comparisons(count: u64) -> String {
    counted(count, "comparison")
}

fn mismatches(count: u64) -> String {
    format!("{} mismatch{}", grouped(count), if count == 1 { "" } else { "es" })
}

/// The head above the delays of the whole report.
pub(crate) fn lag_title(report: &Report) -> &'static str {
    match report.source {
        Source::Live | Source::Replay { .. } => "Lag over all endpoints",
        Source::Events { .. } => "Delay over all types of event",
    }
}

/// What to do next; `open` is an endpoint that lacks evidence.
pub(crate) fn hints(report: &Report, open: Option<&str>) -> Vec<String> {
    let (more, none) = match report.source {
        Source::Live | Source::Replay { .. } => (
            "raise `mirror-percent`, wait, or allow more mismatches",
            "put an endpoint into shadow: banyan route flip <endpoint> shadow",
        ),
        Source::Events { .. } => (
            "wait, look further back with --since, or allow more mismatches",
            "no event of the context was read: banyan events status, and --since for a longer period",
        ),
    };
    let open = open.map(|name| format!("hint: {name} needs more traffic: {more}"));
    let none = report.endpoints.is_empty().then(|| format!("hint: {none}"));
    open.into_iter().chain(none).collect()
}

/// The four numbers of a lag histogram: of the reads that were late, or of all pairs of events.
pub(crate) fn lag(lag: &LagReport, report: &Report) -> String {
    let what = match report.source {
        Source::Live | Source::Replay { .. } => "late",
        Source::Events { .. } => "pairs, apart",
    };
    format!(
        "{} {what}: p50 {}, p95 {}, p99 {}, max {}",
        grouped(lag.count),
        duration(lag.p50_ms),
        duration(lag.p95_ms),
        duration(lag.p99_ms),
        duration(lag.max_ms),
    )
}

/// What is known of a place at which legacy differs from itself. Holds no text of others, so it may stand outside of a code span.
pub(crate) fn noise(place: &NoiseReport) -> String {
    let mut parts = vec![format!(
        "{} of {} pairs of legacy differ ({} to {})",
        grouped(place.noisy),
        grouped(place.pairs),
        percent(place.rate_low_percent),
        percent(place.rate_high_percent),
    )];
    parts.push(match (place.accepted, place.hidden) {
        (true, hidden) => format!("accepted, {} hidden", counted(hidden, "difference")),
        // What hid it is not accepted any more.
        (false, 1..) => {
            format!("not accepted, {} hidden before", counted(place.hidden, "difference"))
        }
        (false, 0) => "not accepted".to_owned(),
    });
    if place.is_real {
        parts.push(format!(
            "new alone differed {}, legacy alone {}",
            counted(place.new_alone, "time"),
            grouped(place.legacy_alone),
        ));
    }
    parts.join(", ")
}

/// The word for a place of noise: whether new differs beyond it.
pub(crate) const fn noise_word(place: &NoiseReport) -> &'static str {
    if place.is_real { "REAL" } else { "noise" }
}

/// `first to last`, or one time when they are the same, or nothing.
pub(crate) fn span(first_ms: Option<u64>, last_ms: Option<u64>) -> String {
    match (first_ms, last_ms) {
        (Some(first), Some(last)) if first / 1_000 != last / 1_000 => {
            format!("{} to {}", utc(first), utc(last))
        }
        (Some(at), _) | (None, Some(at)) => utc(at),
        (None, None) => String::new(),
    }
}
