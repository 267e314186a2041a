//! Advice of the shadow reads between the shadow, the store and the terminal.

use crate::config::Config;
use banyan_control::advice as store;
use banyan_diff::{Cause, Suggestion, Tally, cover, rules_from_toml};
use banyan_report::{Report, SuggestionReport, TemplateReport};
use banyan_shadow::Advice;
use banyan_template::{Limits, Pin, Seen, StatusClass, Template, Templates};
use std::collections::BTreeMap;

/// The shadow's advice in the store's words: the same fields.
pub(crate) fn stored(advice: Advice) -> store::Advice {
    store::Advice {
        templates: advice
            .templates
            .into_iter()
            .map(|row| store::TemplateCount {
                at_ms: row.at_ms,
                method: row.method,
                path: row.path,
                query: row.query,
                status: row.status,
                media: row.media,
                count: row.count,
            })
            .collect(),
        lost: advice
            .lost
            .into_iter()
            .map(|row| store::LostCount { at_ms: row.at_ms, reason: row.reason, count: row.count })
            .collect(),
        suggestions: advice
            .suggestions
            .into_iter()
            .map(|row| store::SuggestionCount {
                at_ms: row.at_ms,
                endpoint: row.endpoint,
                shape: row.shape,
                kind: row.kind,
                transition: row.transition,
                rule: row.rule,
                explained: row.explained,
                seen: row.seen,
                hides_breaking: row.hides_breaking,
            })
            .collect(),
    }
}

/// The templates that are given: those of the file, and the paths of declared endpoints (with another method than the
/// declared one they are undeclared, but the path is known).
pub(crate) fn pins(config: &Config) -> Vec<Pin> {
    let declared = config.catalogue.endpoints();
    let declared = declared.map(|endpoint| Pin { method: None, path: endpoint.path.clone() });
    config.shadow.templates.iter().cloned().chain(declared).collect()
}

/// What is stored as templates. Names that were saved before they were many are merged now.
pub(crate) fn templates(config: &Config, rows: &[store::TemplateCount]) -> Vec<Template> {
    let mut templates = Templates::new(Limits::default(), pins(config));
    let mut add = |row: &store::TemplateCount| {
        let Some(status) = StatusClass::from_word(&row.status) else { return };
        let target = format!("{}?{}", row.path, row.query);
        let seen = Seen { method: &row.method, target: &target, status, media: &row.media };
        templates.see(&seen, row.count);
    };
    // Client errors count only under paths that are known: the others come first.
    let is_error = |row: &&store::TemplateCount| row.status == StatusClass::ClientError.as_str();
    rows.iter().filter(|row| !is_error(row)).for_each(&mut add);
    rows.iter().filter(is_error).for_each(&mut add);
    let declared = |template: &Template| {
        config.catalogue.endpoints().any(|endpoint| {
            endpoint.path.as_str() == template.path && endpoint.methods.contains(&template.method)
        })
    };
    templates.list().into_iter().filter(|template| !declared(template)).collect()
}

/// Puts what was found out into a report.
pub(crate) fn fill(config: &Config, advice: &store::Advice, report: &mut Report) {
    let mut templates = templates(config, &advice.templates);
    templates.sort_by(|a, b| (b.count, &a.path, &a.query).cmp(&(a.count, &b.path, &b.query)));
    report.templates = templates
        .into_iter()
        .map(|template| TemplateReport {
            note: answers(&template),
            method: template.method,
            template: template.path,
            requests: template.count,
            query: template.query,
        })
        .collect();
    report.suggestions = suggestions(advice)
        .into_iter()
        .map(|(endpoint, suggestion)| SuggestionReport {
            endpoint,
            cause: causes(&suggestion),
            rule: suggestion.rule,
            explains: suggestion.explains,
            of: suggestion.of,
            hides_breaking: suggestion.hides_breaking,
        })
        .collect();
}

/// What a rule explains, on one line.
fn causes(suggestion: &Suggestion) -> String {
    let line = |cause: &Cause| format!("{} {} {}", cause.shape, cause.kind, cause.transition);
    suggestion.causes.iter().map(line).collect::<Vec<_>>().join(", ")
}

/// How a template answered: `412 2xx text/html, 3 5xx`.
pub(crate) fn answers(template: &Template) -> String {
    let answers = template.answers.iter().map(|answers| {
        let text = format!("{} {} {}", answers.count, answers.status.as_str(), answers.media);
        text.trim_end().to_owned()
    });
    answers.collect::<Vec<_>>().join(", ")
}

/// The rules that explain most, per endpoint, limited to it.
pub(crate) fn suggestions(advice: &store::Advice) -> Vec<(String, Suggestion)> {
    let mut tallies: BTreeMap<&str, Vec<Tally>> = BTreeMap::new();
    for row in &advice.suggestions {
        tallies.entry(row.endpoint.as_str()).or_default().push(Tally {
            cause: Cause {
                shape: row.shape.clone(),
                kind: row.kind.clone(),
                transition: row.transition.clone(),
            },
            rule: row.rule.clone(),
            explained: row.explained,
            seen: row.seen,
            hides_breaking: row.hides_breaking,
        });
    }
    let mut found = Vec::new();
    for (endpoint, tallies) in tallies {
        for mut suggestion in cover(&tallies) {
            let rules = rules_from_toml(&suggestion.rule).unwrap_or_default();
            let Some(rule) = rules.into_iter().next() else { continue };
            suggestion.rule = rule.for_endpoint(endpoint).to_toml();
            found.push((endpoint.to_owned(), suggestion));
        }
    }
    found.sort_by(|(a, x), (b, y)| (y.explains, a).cmp(&(x.explains, b)));
    found
}
