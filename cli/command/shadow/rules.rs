//! `banyan shadow rules list`: which rules are in effect, and what became of each.
//!
//! Owns the list for people and programs. Must stay true: without evidence no rule is called dead.

use crate::args::RulesCommand;
use crate::config::Config;
use crate::config::noise::LockFile;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, Paint, columns, thousands};
use crate::wiring::{control, shadow};
use banyan_diff::{Day, RuleHealth, RuleSet, RuleState, Run};
use banyan_domain::EndpointName;
use serde_json::json;
use std::collections::BTreeMap;

pub(crate) async fn run(
    config: &Config,
    command: &RulesCommand,
    output: &Output,
) -> Result<Exit, Failure> {
    match command {
        RulesCommand::List { since, endpoint } => {
            list(config, since.as_deref(), endpoint.as_deref(), output).await
        }
        RulesCommand::Suggest(args) => super::suggest::run(config, args, output).await,
    }
}

async fn list(
    config: &Config,
    since: Option<&str>,
    endpoint: Option<&str>,
    output: &Output,
) -> Result<Exit, Failure> {
    let now_ms = control::now_ms();
    let since_ms = since.map(|text| super::since(text, now_ms)).transpose()?;
    if let Some(name) = endpoint {
        super::super::flip::endpoint(config, name)?;
    }
    let (seen, mut warnings) = evidence(config, since_ms, endpoint).await?;
    let rules = match endpoint {
        Some(name) => config.shadow.rules.for_endpoint(name),
        None => config.shadow.rules.clone(),
    };
    let today = Day::of_unix_ms(now_ms);
    let (hits, compared) = total(&seen);
    let mut states = rules.audit(&Run { hits: &hits, compared, today });
    states.extend(learned(config, &seen, endpoint, today)?);
    warnings.extend(states.iter().filter_map(shadow::rule_warning));
    if output.is_json() {
        output.json(
            "banyan.shadow.rules/1",
            &json!({ "compared": compared, "since_ms": since_ms, "rules": states }),
            &warnings,
        );
        return Ok(Exit::Yes);
    }
    let head = ["STATE", "HITS", "RULE", "AT", "DO", "WHERE", "SOURCE", "OWNER", "EXPIRES", "WHY"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(states.iter().map(row));
    let lines = columns(&rows);
    for (line, state) in lines.iter().zip(std::iter::once(None).chain(states.iter().map(Some))) {
        let paint = match state.map(|state| state.health) {
            Some(RuleHealth::Expired) => Some(Paint::Bad),
            Some(RuleHealth::Dead) => Some(Paint::Warn),
            Some(RuleHealth::Used | RuleHealth::Idle) | None => None,
        };
        output.line(&paint.map_or_else(|| line.clone(), |paint| output.paint(paint, line)));
    }
    for warning in &warnings {
        output.note(&format!("warning: {warning}"));
    }
    output.note(&format!("{} rules, {} comparisons", states.len(), thousands(compared)));
    Ok(Exit::Yes)
}

/// Hits per rule, and comparisons.
type Seen = (BTreeMap<String, u64>, u64);

/// What was seen on each endpoint; a store that is not there yet is a warning, not an error.
async fn evidence(
    config: &Config,
    since_ms: Option<u64>,
    endpoint: Option<&str>,
) -> Result<(BTreeMap<EndpointName, Seen>, Vec<String>), Failure> {
    let store = match control::look(config).await {
        Ok(store) => store,
        Err(failure) => {
            let warning = format!("hits are not known: {}", failure.because.join(": "));
            return Ok((BTreeMap::new(), vec![warning]));
        }
    };
    let stored =
        store.shadow_summary(since_ms).await.map_err(|error| control::store_failure(&error))?;
    let asked = |name: &EndpointName| endpoint.is_none_or(|wanted| wanted == name.as_str());
    let seen = stored.endpoints.into_iter().filter(|(name, _)| asked(name)).map(|(name, found)| {
        let mut hits = BTreeMap::new();
        for row in &found.hidden {
            *hits.entry(row.rule.clone()).or_default() += row.count;
        }
        (name, (hits, found.outcomes.compared()))
    });
    Ok((seen.collect(), Vec::new()))
}

fn total(seen: &BTreeMap<EndpointName, Seen>) -> Seen {
    let mut total = Seen::default();
    for (hits, compared) in seen.values() {
        total.1 += compared;
        for (rule, count) in hits {
            *total.0.entry(rule.clone()).or_default() += count;
        }
    }
    total
}

/// The rules of accepted noise: each is for its endpoint.
fn learned(
    config: &Config,
    seen: &BTreeMap<EndpointName, Seen>,
    endpoint: Option<&str>,
    today: Day,
) -> Result<Vec<RuleState>, Failure> {
    let names = config.catalogue.endpoints().map(|known| known.name.clone());
    let asked = |name: &EndpointName| endpoint.is_none_or(|wanted| wanted == name.as_str());
    let base = names.filter(asked).map(|name| (name, RuleSet::empty())).collect();
    let mut states = Vec::new();
    for (name, rules) in LockFile::load(config)?.lock.rules(&base) {
        let (hits, compared) = seen.get(&name).cloned().unwrap_or_default();
        states.extend(rules.audit(&Run { hits: &hits, compared, today }).into_iter().map(
            |mut state| {
                state.scope.endpoint = Some(name.to_string());
                state
            },
        ));
    }
    Ok(states)
}

fn row(state: &RuleState) -> Vec<String> {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    vec![
        state.health.as_str().to_owned(),
        thousands(state.hits),
        state.id.clone(),
        state.at.clone(),
        state.action.clone(),
        state.scope.to_string(),
        state.source.as_str().to_owned(),
        or_dash(state.owner.clone()),
        or_dash(state.expires.map(|day| day.to_string())),
        state.reason.clone(),
    ]
}
