//! `banyan shadow diff`: two files or URLs by the engine of shadow reads.
//!
//! Owns the way from two sources to a verdict and an exit code. It needs no configuration, so that it is useful alone.
//! What must stay true: whatever was not compared is inconclusive or an error, never "same".

mod render;
mod source;

use crate::args::DiffArgs;
use crate::config::problem::Problem;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;
use crate::wiring::control;
use banyan_diff::{
    Budget, Comparison, Day, Difference, Kind, Rule, RuleSet, Severity, Verdict, compare,
    rules_from_toml,
};
use serde_json::{Value, json};
use source::{Loaded, Request};
use std::path::Path;

/// Differences that are kept at least, so that the worst are among those shown.
const KEPT: usize = 10_000;
/// Steps of the engine: seconds of work, for people who wait for one answer.
const STEPS: u64 = 2_000_000_000;
const NODES: u32 = 20_000_000;

/// What was compared and what came out.
pub(crate) struct Outcome {
    pub(crate) legacy: Loaded,
    pub(crate) new: Loaded,
    pub(crate) comparison: Comparison,
    pub(crate) rules: RuleSet,
    /// Differences that are shown.
    pub(crate) shown: usize,
    pub(crate) warnings: Vec<String>,
}

pub(crate) async fn run(args: &DiffArgs, output: &Output) -> Result<Exit, Failure> {
    let rules = rules(args)?;
    let request = Request::new(&args.headers, args.timeout, args.max_size)?;
    let (legacy, new) = source::load(&args.legacy, &args.new, &request).await?;
    let (legacy, new) = source::matched(legacy, new, args.content_type.as_deref());
    let shown = usize::try_from(args.max_differences).unwrap_or(usize::MAX);
    let budget = Budget {
        nodes: NODES,
        body_bytes: args.max_size,
        steps: STEPS,
        differences: shown.max(KEPT),
    };
    let mut comparison = compare(&legacy.obs(), &new.obs(), &rules, &budget);
    worst_first(&mut comparison.differences);
    let mut warnings = Vec::new();
    if !args.headers.is_empty() && !legacy.is_url() && !new.is_url() {
        warnings.push("`--header` has no effect: no source is a URL".to_owned());
    }
    warnings.extend([&legacy, &new].into_iter().filter_map(|side| broken_json(side, &comparison)));
    let outcome = Outcome { legacy, new, comparison, rules, shown, warnings };
    let exit = exit(outcome.comparison.verdict);
    if output.is_json() {
        output.json("banyan.shadow.diff/1", &data(&outcome, exit), &outcome.warnings);
    } else if !output.is_silent() {
        output.lines(&render::lines(&outcome, output));
        for warning in &outcome.warnings {
            output.note(&format!("warning: {warning}"));
        }
    }
    Ok(exit)
}

fn rules(args: &DiffArgs) -> Result<RuleSet, Failure> {
    let base = if args.no_builtin { RuleSet::empty() } else { RuleSet::builtin() };
    let own = args.ignore.iter().map(|selector| {
        Rule::ignore(selector, "asked for by --ignore").map_err(|error| {
            Failure::new("banyan::diff::rule", Exit::Usage, format!("`--ignore`: {error}"))
                .hint(error.hint())
        })
    });
    let mut rules = base.with(own.collect::<Result<Vec<_>, _>>()?);
    for file in &args.rules {
        rules = rules.with(read_rules(file)?);
    }
    let rules = rules.on(Day::of_unix_ms(control::now_ms()));
    Ok(match &args.endpoint {
        Some(endpoint) => rules.for_endpoint(endpoint),
        None => rules,
    })
}

/// The rules of a file, or all of its problems.
pub(super) fn read_rules(file: &Path) -> Result<Vec<Rule>, Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        let message = format!("cannot read the rules `{}`", file.display());
        Failure::new("banyan::diff::unreadable", Exit::Usage, message)
            .because(error.to_string())
            .hint("--rules names a TOML file with [[rule]] tables")
    })?;
    rules_from_toml(&text).map_err(|problems| {
        let problems = problems.into_iter().map(|found| {
            let problem = Problem::error(Some(found.span), found.message);
            match found.hint {
                Some(hint) => problem.hint(hint),
                None => problem,
            }
        });
        Failure::config(file, &text, problems.collect())
    })
}

/// Sorts by severity, then by the first place of its shape and kind, so that what belongs together stands together.
fn worst_first(differences: &mut Vec<Difference>) {
    let mut seen = std::collections::HashMap::new();
    let mut keyed: Vec<((std::cmp::Reverse<Severity>, usize), Difference)> = Vec::new();
    for difference in differences.drain(..) {
        let next = seen.len();
        let key = (difference.location.shape.clone(), difference.kind.label());
        let group = *seen.entry(key).or_insert(next);
        keyed.push(((std::cmp::Reverse(difference.severity), group), difference));
    }
    keyed.sort_by_key(|(key, _)| *key);
    differences.extend(keyed.into_iter().map(|(_, difference)| difference));
}

const fn exit(verdict: Verdict) -> Exit {
    match verdict {
        Verdict::Match | Verdict::MatchNormalised => Exit::Yes,
        Verdict::Mismatch(_) | Verdict::NewError | Verdict::LegacyError => Exit::No,
        Verdict::Inconclusive(_) | Verdict::BothError => Exit::Inconclusive,
    }
}

/// Says why a body that claims to be JSON was compared as text.
fn broken_json(side: &Loaded, comparison: &Comparison) -> Option<String> {
    if comparison.verdict.is_match() || !side.claims_json() || side.body.is_empty() {
        return None;
    }
    let body = side.body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&side.body);
    let error = banyan_diff::check_json(body).err()?;
    if error.kind.is_limit() {
        return None;
    }
    let before = body.get(..error.at).unwrap_or(body);
    let line = before.split(|byte| *byte == b'\n').count();
    let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
    let name = render::safe(&side.name);
    Some(format!("{name} is no JSON, line {line} column {column}: {}", error.kind))
}

fn data(outcome: &Outcome, exit: Exit) -> Value {
    let comparison = &outcome.comparison;
    let verdict = comparison.verdict;
    let severity =
        if let Verdict::Mismatch(severity) = verdict { Some(severity.as_str()) } else { None };
    let why = if let Verdict::Inconclusive(why) = verdict { Some(why.as_str()) } else { None };
    let shown: Vec<Value> = comparison.differences.iter().take(outcome.shown).map(entry).collect();
    let reasons = outcome.rules.list();
    let hidden: Vec<Value> = comparison
        .hidden
        .iter()
        .map(|hidden| {
            let reason = reasons.iter().find(|(id, _, _)| *id == hidden.rule);
            json!({
                "rule": hidden.rule,
                "location": hidden.location,
                "count": hidden.count,
                "reason": reason.map(|(_, reason, _)| reason),
            })
        })
        .collect();
    json!({
        "verdict": verdict.as_str(),
        "severity": severity,
        "why": why,
        "exit": exit.number(),
        "legacy": outcome.legacy.describe(),
        "new": outcome.new.describe(),
        "total_differences": comparison.total_differences,
        "differences": shown,
        "hidden": hidden,
    })
}

fn entry(difference: &Difference) -> Value {
    let side = |fragment: &Option<banyan_diff::Fragment>| {
        fragment.as_ref().map(|f| json!({ "text": f.text, "class": f.class().to_string() }))
    };
    let kind = difference.kind;
    let moved = if let Kind::ArrayReordered { moved } = kind { Some(moved) } else { None };
    json!({
        "severity": difference.severity.as_str(),
        "kind": kind.label(),
        "path": difference.location.path,
        "pointer": difference.location.pointer,
        "shape": difference.location.shape,
        "legacy": side(&difference.legacy),
        "new": side(&difference.new),
        "moved": moved,
    })
}

#[cfg(test)]
mod tests;
