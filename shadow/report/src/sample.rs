//! Reports for tests: a plain one, one with everything in it, a hostile one and a huge one.

use std::collections::BTreeMap;

use crate::{
    Credentials, EndpointReport, Evidence, Example, Gate, Group, HiddenCount, LagBucket, LagReport,
    NoiseReport, Report, RuleReport, RuleState, Severity, Source, SuggestionReport, TemplateReport,
    Transition,
};

pub(crate) const NOW_MS: u64 = 1_402_570_800_000;

pub(crate) fn endpoint(name: &str, distinct: u64, mismatched: u64) -> EndpointReport {
    let gate = Gate::default();
    EndpointReport {
        endpoint: name.to_owned(),
        compared: distinct + 3,
        matched: distinct - mismatched,
        normalised: 0,
        noise: 0,
        mismatched,
        lag: 2,
        inconclusive: 1,
        errors: 0,
        skipped: BTreeMap::new(),
        distinct_requests: distinct,
        gate: gate.decide(Evidence { distinct, mismatched, ..Evidence::default() }),
        groups: Vec::new(),
        hidden: Vec::new(),
        phase: "shadow".to_owned(),
        last_mismatch_ms: None,
        proven_percent: gate.proven_percent(mismatched, distinct),
        distinct_per_hour: Some(900.0),
        lag_time: None,
    }
}

pub(crate) fn hidden(rule: &str, count: u64) -> HiddenCount {
    let (first_ms, last_ms) = (Some(NOW_MS - 3_600_000), Some(NOW_MS));
    HiddenCount { rule: rule.to_owned(), count, first_ms, last_ms }
}

pub(crate) fn group(path: &str, kind: &str, severity: Severity, count: u64) -> Group {
    Group {
        path: path.to_owned(),
        kind: kind.to_owned(),
        severity,
        count,
        first_seen_ms: NOW_MS - 3_600_000,
        last_seen_ms: NOW_MS,
        causes: vec![Transition { text: "rails-time -> iso8601".to_owned(), count }],
        examples: vec![Example {
            request: "GET /messages/91".to_owned(),
            location: path.replace("[*]", "[0]"),
            legacy: Some("tok:rails-time:5f0c".to_owned()),
            new: None,
            replay: "banyan shadow diff 'http://legacy/messages/91' 'http://new/messages/91'"
                .to_owned(),
            note: String::new(),
            credentials: Credentials::None,
        }],
    }
}

pub(crate) fn report() -> Report {
    let mut show = endpoint("messages.show", 2_000, 14);
    show.groups = vec![
        group("$.message.sender.badge", "key_extra", Severity::Additive, 1),
        group("$.message.created_at", "value_changed:time_format", Severity::Value, 14),
        group("$.message.created_at", "type_changed", Severity::Breaking, 2),
    ];
    show.hidden = vec![hidden("builtin/x-runtime", 1_986), hidden("builtin/x-request-id", 2_000)];
    show.skipped = BTreeMap::from([("queue_full".to_owned(), 3), ("sampled".to_owned(), 12)]);
    let list = endpoint("messages.list", 48_112, 9);
    let count = endpoint("messages.unread_count", 37, 0);
    let endpoints = vec![list, count, show];
    Report::new(NOW_MS, Some(NOW_MS - 3_600_000), Gate::default(), endpoints)
}

/// Each field of the model is in use.
pub(crate) fn full() -> Report {
    let lag = LagReport {
        count: 212,
        p50_ms: 310,
        p95_ms: 2_400,
        p99_ms: 4_700,
        max_ms: 5_100,
        buckets: [(Some(250), 90), (Some(1_000), 80), (Some(4_000), 38), (None, 4)]
            .map(|(le_ms, count)| LagBucket { le_ms, count })
            .to_vec(),
    };
    let rule = |id: &str, state, hidden| RuleReport {
        id: id.to_owned(),
        action: "ignore_value".to_owned(),
        selector: "$.messages[*].created_at".to_owned(),
        origin: "human".to_owned(),
        owner: "team-messages".to_owned(),
        reason: "rendered with another clock".to_owned(),
        expires: Some("2014-12-31".to_owned()),
        state,
        hidden,
        first_ms: (hidden > 0).then_some(NOW_MS - 9_000),
        last_ms: (hidden > 0).then_some(NOW_MS),
    };
    let mut report = report();
    report.endpoints[0].lag_time = Some(lag.clone());
    report.endpoints[0].last_mismatch_ms = Some(NOW_MS - 60_000);
    report.endpoints[0].groups[0].examples[0].replay = String::new();
    report.endpoints[0].groups[0].examples[0].note =
        "it held values that are not stored, so it cannot be repeated".to_owned();
    report.source = Source::Replay { file: "friday.ndjson.zst".to_owned() };
    report.lag = Some(lag);
    report.rules = vec![
        rule("times", RuleState::Active, 1_204),
        rule("old-badge", RuleState::Dead, 0),
        rule("december", RuleState::Expired, 0),
    ];
    report.noise = vec![NoiseReport {
        endpoint: "messages.list".to_owned(),
        path: "$.messages[*].score".to_owned(),
        kind: "value_changed:number".to_owned(),
        pairs: 412,
        noisy: 61,
        rate_low_percent: 11.7,
        rate_high_percent: 18.6,
        hidden: 230,
        accepted: true,
        first_ms: Some(NOW_MS - 86_400_000),
        last_ms: Some(NOW_MS),
        new_alone: 31,
        legacy_alone: 9,
        p: 0.000_3,
        is_real: true,
    }];
    report.suggestions = vec![SuggestionReport {
        endpoint: "messages.show".to_owned(),
        cause: "times lost their fraction".to_owned(),
        rule: "[[rule]]\nid = \"times\"\nat = \"$.message.created_at\"\ndo = \"time\"".to_owned(),
        explains: 412,
        of: 430,
        hides_breaking: 3,
    }];
    report.templates = vec![TemplateReport {
        method: "GET".to_owned(),
        template: "/users/{int}/tracks".to_owned(),
        requests: 1_912,
        query: vec!["page".to_owned()],
        note: "4 classes of children".to_owned(),
    }];
    report
}

/// Text that tries to leave every place it is put in.
pub(crate) const EVIL: &str = "</code><script>alert(1)</script>\" onload=\"x\" style=\"y\" ```` ` | \\| @octocat #1 https://evil.example/ ]]> \u{1b}[2J\u{0}\u{FFFE}\u{202E}\n\n# title\n<!-- &lt;";

/// A report in which every text is hostile.
pub(crate) fn hostile() -> Report {
    let evil = || EVIL.to_owned();
    let mut report = full();
    report.source = Source::Replay { file: evil() };
    for endpoint in &mut report.endpoints {
        endpoint.endpoint = evil();
        endpoint.phase = evil();
        endpoint.skipped = BTreeMap::from([(evil(), 3)]);
        endpoint.hidden = vec![hidden(EVIL, 4)];
        for group in &mut endpoint.groups {
            (group.path, group.kind) = (evil(), evil());
            group.causes = vec![Transition { text: evil(), count: 1 }];
            for example in &mut group.examples {
                (example.request, example.location, example.note) = (evil(), evil(), evil());
                (example.legacy, example.new) = (Some(evil()), Some(evil()));
            }
        }
    }
    for rule in &mut report.rules {
        (rule.id, rule.action, rule.selector) = (evil(), evil(), evil());
        (rule.origin, rule.owner, rule.reason) = (evil(), evil(), evil());
        rule.expires = Some(evil());
    }
    for noise in &mut report.noise {
        (noise.endpoint, noise.path, noise.kind) = (evil(), evil(), evil());
    }
    for hint in &mut report.suggestions {
        (hint.endpoint, hint.cause, hint.rule) = (evil(), evil(), evil());
    }
    for found in &mut report.templates {
        (found.method, found.template, found.note) = (evil(), evil(), evil());
        found.query = vec![evil()];
    }
    report
}

/// So many groups of mismatches over five endpoints.
pub(crate) fn huge(groups: usize) -> Report {
    let severities = [Severity::Value, Severity::Breaking, Severity::Additive, Severity::Order];
    let mut endpoints = Vec::new();
    for at in 0..5 {
        let mut endpoint = endpoint(&format!("messages.kind_{at}"), 60_000, 12_000);
        endpoint.groups = (0..groups / 5)
            .map(|n| {
                let path = format!("$.messages[*].thread[*].attachments[*].field_{at}_{n}");
                group(&path, "value_changed:string", severities[n % 4], 1 + n as u64 % 90)
            })
            .collect();
        endpoints.push(endpoint);
    }
    Report::new(NOW_MS, None, Gate::default(), endpoints)
}
