//! `banyan check`: the whole file, all problems at once; with `--online` also what it points to.

use crate::args::CheckArgs;
use crate::config::noise::LockFile;
use crate::config::problem::{self, Problem};
use crate::config::{self, Config};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, Paint};
use crate::wiring::{control, events, shadow, sync};
use banyan_diff::{Day, RuleSource, Run};
use banyan_domain::{Compiled, Outcome, RequestHead, RouteTable, decide};
use banyan_sync_jobs::Ports;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// One line of the answer.
#[derive(Debug, Serialize)]
struct Line {
    result: Finding,
    group: &'static str,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    #[serde(skip)]
    snippet: Option<String>,
}

/// What a check said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Finding {
    Ok,
    Warn,
    Fail,
}

impl Line {
    fn new(result: Finding, group: &'static str, text: impl Into<String>) -> Self {
        Self { result, group, text: text.into(), hint: None, snippet: None }
    }

    fn hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }
}

pub(crate) async fn run(file: &Path, args: &CheckArgs, output: &Output) -> Result<Exit, Failure> {
    let environment = std::env::vars().filter(|(name, _)| name.starts_with("BANYAN_")).collect();
    let loaded = config::examine(file, &environment)?;
    let shown = loaded.file.display().to_string();
    let mut lines: Vec<Line> = loaded
        .problems
        .iter()
        .map(|found| of_problem(Finding::Fail, &shown, &loaded.text, found))
        .collect();
    let mut unreachable = false;
    if let Some(config) = &loaded.config {
        lines.push(summary(config));
        lines.extend(
            config
                .warnings
                .iter()
                .map(|found| of_problem(Finding::Warn, &shown, &loaded.text, found)),
        );
        lines.extend(expectations(config, &shown));
        lines.extend(rules(config));
        lines.extend(accepted_noise(config)?);
        if args.online {
            let online = online(config).await;
            unreachable = online.iter().any(|line| line.result == Finding::Fail);
            lines.extend(online);
        }
    }
    answer(&lines, output);
    let failed = lines.iter().any(|line| line.result == Finding::Fail);
    Ok(match (loaded.config.is_some(), failed, unreachable) {
        (true, false, _) => Exit::Yes,
        (true, true, true) => Exit::Unreachable,
        (_, _, _) => Exit::Config,
    })
}

fn of_problem(result: Finding, file: &str, text: &str, found: &Problem) -> Line {
    let place = problem::location(file, text, found);
    let mut line = Line::new(result, "config", format!("{place}  {}", found.message));
    line.hint.clone_from(&found.hint);
    line.snippet = problem::snippet(text, found);
    line
}

fn summary(config: &Config) -> Line {
    let endpoints = config.catalogue.endpoints().count();
    let contexts = config.catalogue.contexts.len();
    let jobs = config.jobs.len();
    let text = format!("{contexts} contexts, {endpoints} endpoints, {jobs} sync jobs");
    if contexts == 0 {
        let hint = Some("everything goes to legacy; declare one with [[context]]".to_owned());
        return Line::new(Finding::Warn, "config", text).hint(hint);
    }
    Line::new(Finding::Ok, "config", text)
}

fn expectations(config: &Config, file: &str) -> Vec<Line> {
    let Ok(table) = Compiled::new(&config.catalogue, &RouteTable::default()) else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    for expect in &config.expects {
        let path = expect.path.split('?').next().unwrap_or_default();
        let head = RequestHead {
            method: &expect.method,
            path: path.as_bytes(),
            headers: &Vec::new(),
            address: "127.0.0.1",
            upgrade: false,
            forced: None,
            sample: 0,
        };
        let found = match decide(&table, &head, &|_, _| false) {
            Outcome::Route(decision) => {
                decision.endpoint.map_or_else(|| "none".to_owned(), |n| n.to_string())
            }
            Outcome::Refuse(refused) => format!("refused: {refused}"),
        };
        let wanted =
            expect.endpoint.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
        if found != wanted {
            let line = problem::Place::of(&config.text, expect.line).line;
            let text = format!(
                "{file}:{line}  {} {} matches {found}, expected {wanted}",
                expect.method, expect.path
            );
            lines.push(Line::new(Finding::Fail, "expect", text));
        }
    }
    if lines.is_empty() && !config.expects.is_empty() {
        lines.push(Line::new(
            Finding::Ok,
            "expect",
            format!("{} route expectations hold", config.expects.len()),
        ));
    }
    lines
}

/// Expired rules; rules that cover protected places are problems of the file.
fn rules(config: &Config) -> Vec<Line> {
    let (hits, today) = (BTreeMap::new(), Day::of_unix_ms(control::now_ms()));
    let states = config.shadow.rules.audit(&Run { hits: &hits, compared: 0, today });
    let own = states.iter().filter(|state| state.source != RuleSource::Builtin).count();
    let mut lines: Vec<Line> = states
        .iter()
        .filter_map(|state| {
            let owner =
                state.owner.as_deref().map_or(String::new(), |owner| format!(" of {owner}"));
            let text = format!("{}{owner}", shadow::rule_warning(state)?);
            let hint = "fix the difference and delete the rule, or give it a later `expires`";
            Some(Line::new(Finding::Fail, "rules", text).hint(Some(hint.to_owned())))
        })
        .collect();
    if lines.is_empty() && own > 0 {
        lines.push(Line::new(Finding::Ok, "rules", format!("{own} own rules, none has expired")));
    }
    lines
}

/// The file of accepted noise, if there is one.
fn accepted_noise(config: &Config) -> Result<Vec<Line>, Failure> {
    let (file, errors) = LockFile::examine(config)?;
    let Some(text) = &file.text else { return Ok(Vec::new()) };
    let shown = file.path.display().to_string();
    let line = |result, found: &Problem| Line {
        group: "noise",
        ..of_problem(result, &shown, text, found)
    };
    let mut lines: Vec<Line> = errors.iter().map(|found| line(Finding::Fail, found)).collect();
    lines.extend(file.warnings.iter().map(|found| line(Finding::Warn, found)));
    if errors.is_empty() {
        let count = file.lock.entries.len();
        lines.push(Line::new(Finding::Ok, "noise", format!("{shown}: {count} accepted places")));
    }
    Ok(lines)
}

async fn online(config: &Config) -> Vec<Line> {
    let mut lines = vec![control_store(config).await, side("legacy", &config.proxy.legacy).await];
    for (name, places) in &config.contexts {
        lines.push(side(&format!("new side of `{name}`"), &places.new).await);
    }
    for configured in &config.jobs {
        let name = &configured.spec.name;
        let plan = match configured.open(banyan_domain::Side::New, Ports::default()) {
            Ok(job) => job.plan().await,
            Err(error) => Err(error),
        };
        lines.push(match plan {
            Ok(plan) if plan.missing.is_empty() => Line::new(
                Finding::Ok,
                "sync",
                format!("job `{name}`: both databases answer, capture is installed"),
            ),
            Ok(plan) => Line::new(
                Finding::Warn,
                "sync",
                format!("job `{name}`: {} objects are not installed", plan.missing.len()),
            )
            .hint(Some(format!("banyan sync plan {name}"))),
            Err(error) => {
                let failure = sync::failure(name, &error);
                Line::new(
                    Finding::Fail,
                    "sync",
                    format!("job `{name}`: {}", failure.because.join(": ")),
                )
                .hint(failure.hint)
            }
        });
    }
    lines.extend(brokers(config).await);
    lines
}

async fn control_store(config: &Config) -> Line {
    match banyan_control::open_existing(&config.control.store).await {
        Ok(store) => Line::new(Finding::Ok, "control", format!("{} answers", store.location())),
        Err(error) => {
            Line::new(Finding::Fail, "control", error.to_string()).hint(Some(error.hint()))
        }
    }
}

async fn side(name: &str, url: &str) -> Line {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(3)).build();
    let asked = match client {
        Ok(client) => client.get(url).send().await.map(|answer| answer.status()),
        Err(error) => Err(error),
    };
    match asked {
        Ok(status) => {
            Line::new(Finding::Ok, "side", format!("{name} answers at {url} ({})", status.as_u16()))
        }
        Err(error) => {
            Line::new(Finding::Fail, "side", format!("{name} does not answer at {url}: {error}"))
                .hint(Some("is it running, and is the URL right?".to_owned()))
        }
    }
}

async fn brokers(config: &Config) -> Vec<Line> {
    if events::settings(config).is_none() {
        return Vec::new();
    }
    let Some(section) = &config.events else { return Vec::new() };
    let mut places: Vec<(String, &str)> = section
        .raw
        .iter()
        .map(|(side, place)| (format!("raw {side}"), place.broker.as_str()))
        .collect();
    places.push(("public".to_owned(), &section.public_broker));
    let mut lines = Vec::new();
    for (name, url) in places {
        let connect = banyan_events::broker::connect(url);
        lines.push(match tokio::time::timeout(Duration::from_secs(5), connect).await {
            Ok(Ok(_)) => Line::new(Finding::Ok, "events", format!("broker of {name} answers")),
            Ok(Err(error)) => {
                Line::new(Finding::Fail, "events", format!("broker of {name}: {error}"))
            }
            Err(_) => Line::new(
                Finding::Fail,
                "events",
                format!("broker of {name} did not answer within 5 s"),
            ),
        });
    }
    lines
}

fn answer(lines: &[Line], output: &Output) {
    let failed = lines.iter().filter(|line| line.result == Finding::Fail).count();
    if output.is_json() {
        output.json(
            "banyan.check/1",
            &serde_json::json!({ "ok": failed == 0, "lines": lines }),
            &[],
        );
        return;
    }
    for line in lines {
        let word = match line.result {
            Finding::Ok => output.paint(Paint::Good, "ok  "),
            Finding::Warn => output.paint(Paint::Warn, "warn"),
            Finding::Fail => output.paint(Paint::Bad, "fail"),
        };
        output.line(&format!("{word}  {:8}{}", line.group, line.text));
        if let Some(snippet) = &line.snippet {
            snippet.lines().for_each(|text| output.line(&format!("              {text}")));
        }
        if let Some(hint) = &line.hint {
            output.line(&format!("                hint: {hint}"));
        }
    }
    let passed = lines.len() - failed;
    let s = |count: usize| if count == 1 { "" } else { "s" };
    output.note(&format!("{failed} problem{}, {passed} other check{}", s(failed), s(passed)));
}
