//! `banyan shadow noise list|accept|forget`.
//!
//! Owns the way from evidence to an accepted place and back. What must stay true: nothing is accepted that is refused, real,
//! or was never seen noisy; what is written is shown; many places at once need `--yes`.

use crate::args::{NoiseCommand, NoisePlace, NoiseWindow, Who};
use crate::config::Config;
use crate::config::noise::{Entry, Lock, LockFile, Place, is_protected, is_selectable};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, columns, thousands};
use crate::wiring::{control, shadow};
use banyan_noise::{ALPHA, Decision};
use banyan_shadow::{NoisePlace as NoiseEvidence, judge_noise};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// How soon a running `banyan serve` takes up a changed file.
const TAKEN_UP: &str = "banyan serve takes it up within 2 s";

pub(crate) async fn run(
    config: &Config,
    command: &NoiseCommand,
    output: &Output,
) -> Result<Exit, Failure> {
    match command {
        NoiseCommand::List(window) => list(config, window, output).await,
        NoiseCommand::Accept { endpoint, path, place, all_proposed, yes, who } => {
            let file = LockFile::load(config)?;
            let candidates = Candidates::load(config, place.window.since.as_deref()).await?;
            match (endpoint, path, all_proposed) {
                (Some(endpoint), Some(path), false) => {
                    super::flip::endpoint(config, endpoint)?;
                    let wanted = (endpoint.as_str(), path.as_str(), place);
                    accept(file, &candidates, wanted, who, output)
                }
                (None, None, true) => accept_all(file, &candidates, *yes, who, output),
                (_, _, _) => Err(Failure::new(
                    "banyan::usage",
                    Exit::Usage,
                    "name an endpoint and a path, or use --all-proposed alone",
                )
                .hint("banyan shadow noise accept messages.list '$.token'")),
            }
        }
        NoiseCommand::Forget { endpoint, path } => {
            forget(config, endpoint, path.as_deref(), output).await
        }
    }
}

/// Everything that evidence says about noise.
struct Candidates {
    places: Vec<(String, NoiseEvidence)>,
}

impl Candidates {
    async fn load(config: &Config, since: Option<&str>) -> Result<Self, Failure> {
        let since_ms =
            since.map(|text| super::shadow::since(text, control::now_ms())).transpose()?;
        let store = control::look(config).await?;
        let stored =
            store.shadow_summary(since_ms).await.map_err(|error| control::store_failure(&error))?;
        let summary = shadow::summary(config, stored)?;
        let judged = judge_noise(&summary, &|_, path| is_protected(config, path));
        let places = judged.into_iter().map(|(name, place)| (name.as_str().to_owned(), place));
        Ok(Self { places: places.collect() })
    }

    fn of<'a>(
        &'a self,
        endpoint: &'a str,
        path: &'a str,
    ) -> impl Iterator<Item = &'a NoiseEvidence> {
        let here =
            move |found: &&(String, NoiseEvidence)| found.0 == endpoint && found.1.shape == path;
        self.places.iter().filter(here).map(|(_, place)| place)
    }
}

fn key(endpoint: &str, place: &NoiseEvidence) -> Place {
    Place { endpoint: endpoint.to_owned(), path: place.shape.clone(), kind: place.kind.clone() }
}

fn is_proposed(lock: &Lock, endpoint: &str, place: &NoiseEvidence) -> bool {
    place.is_proposed()
        && is_selectable(&place.shape)
        && !lock.entries.contains_key(&key(endpoint, place))
}

async fn list(config: &Config, window: &NoiseWindow, output: &Output) -> Result<Exit, Failure> {
    for name in &window.endpoints {
        super::flip::endpoint(config, name)?;
    }
    let file = LockFile::load(config)?;
    let candidates = Candidates::load(config, window.since.as_deref()).await?;
    let wanted =
        |name: &str| window.endpoints.is_empty() || window.endpoints.iter().any(|e| e == name);
    let mut rows: BTreeMap<Place, Value> = BTreeMap::new();
    for (endpoint, place) in candidates.places.iter().filter(|(name, _)| wanted(name)) {
        let state = state(&file.lock, endpoint, place);
        rows.insert(key(endpoint, place), row(place, state, &file.lock, endpoint));
    }
    for (place, entry) in file.lock.entries.iter().filter(|(place, _)| wanted(&place.endpoint)) {
        rows.entry(place.clone()).or_insert_with(|| quiet_row(place, entry));
    }
    let rows: Vec<Value> = rows.into_values().collect();
    let real = rows.iter().filter(|row| row["decision"] == "real").count();
    if output.is_json() {
        let data = json!({ "file": config.shadow.noise_lock, "alpha": ALPHA, "places": rows });
        output.json("banyan.shadow.noise.list/1", &data, &[]);
        return Ok(Exit::Yes);
    }
    if rows.is_empty() {
        output.line("no noise: legacy never differed from itself where it was asked again");
        return Ok(Exit::Yes);
    }
    output.lines(&columns(&table(&rows)));
    if real > 0 {
        output.note(&format!(
            "{real} REAL: new differs there beyond legacy's noise; banyan explain banyan::noise::real"
        ));
    }
    let proposed = rows.iter().filter(|row| row["state"] == "proposed").count();
    if proposed > 0 {
        output.note(&format!("{proposed} proposed: banyan shadow noise accept --all-proposed"));
    }
    Ok(Exit::Yes)
}

fn state(lock: &Lock, endpoint: &str, place: &NoiseEvidence) -> &'static str {
    if lock.entries.contains_key(&key(endpoint, place)) {
        "accepted"
    } else if is_proposed(lock, endpoint, place) {
        "proposed"
    } else {
        "open"
    }
}

fn row(place: &NoiseEvidence, state: &str, lock: &Lock, endpoint: &str) -> Value {
    let refusal = match place.judged.decision {
        Decision::Refused(refusal) => Some(refusal.as_str()),
        Decision::Unknown | Decision::Steady | Decision::Noise | Decision::Real => None,
    };
    let accepted = lock.entries.get(&key(endpoint, place)).map(accepted);
    json!({
        "endpoint": endpoint,
        "path": place.shape,
        "kind": place.kind,
        "pairs": place.counts.pairs,
        "noisy": place.counts.noisy,
        "moved": place.moved,
        "rate_low_percent": place.rate_percent.0,
        "rate_high_percent": place.rate_percent.1,
        "new_alone": place.counts.new_alone,
        "legacy_alone": place.counts.legacy_alone,
        "p": place.judged.p,
        "needed": place.judged.needed,
        "decision": place.judged.decision.as_str(),
        "refused": refusal,
        "state": state,
        "example": place.example,
        "accepted": accepted,
    })
}

/// An accepted place of which nothing was seen in the time asked for.
fn quiet_row(place: &Place, entry: &Entry) -> Value {
    json!({
        "endpoint": place.endpoint,
        "path": place.path,
        "kind": place.kind,
        "pairs": 0,
        "noisy": 0,
        "moved": 0,
        "rate_low_percent": 0.0,
        "rate_high_percent": 100.0,
        "new_alone": 0,
        "legacy_alone": 0,
        "p": 1.0,
        "needed": Value::Null,
        "decision": Decision::Unknown.as_str(),
        "refused": Value::Null,
        "state": "accepted",
        "example": entry.example,
        "accepted": accepted(entry),
    })
}

fn accepted(entry: &Entry) -> Value {
    json!({
        "by": entry.accepted_by,
        "at_ms": entry.accepted_ms,
        "reason": entry.reason,
        "pairs": entry.pairs,
        "noisy": entry.noisy,
    })
}

fn table(rows: &[Value]) -> Vec<Vec<String>> {
    let head = ["STATE", "DECISION", "ENDPOINT", "PATH", "KIND", "NOISY", "RATE 95 %", "NEW ALONE"];
    let head = head.into_iter().chain(["LEGACY ALONE", "P"]);
    let mut lines = vec![head.map(str::to_owned).collect::<Vec<_>>()];
    for row in rows {
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let number = |key: &str| thousands(row[key].as_u64().unwrap_or(0));
        let float = |key: &str| row[key].as_f64().unwrap_or(0.0);
        let decision = match (text("decision").as_str(), row["refused"].as_str()) {
            ("real", _) => "REAL".to_owned(),
            (_, Some(refusal)) => format!("refused ({refusal})"),
            (word, None) => word.to_owned(),
        };
        lines.push(vec![
            text("state"),
            decision,
            text("endpoint"),
            text("path"),
            text("kind"),
            format!("{}/{}", number("noisy"), number("pairs")),
            format!("{:.1}-{:.1} %", float("rate_low_percent"), float("rate_high_percent")),
            number("new_alone"),
            number("legacy_alone"),
            p_value(float("p")),
        ]);
    }
    lines
}

fn p_value(p: f64) -> String {
    if p < 1e-4 { format!("{p:.0e}") } else { format!("{p:.4}") }
}

fn accept(
    mut file: LockFile,
    candidates: &Candidates,
    (endpoint, path, wanted): (&str, &str, &NoisePlace),
    who: &Who,
    output: &Output,
) -> Result<Exit, Failure> {
    let of_kind =
        |place: &&NoiseEvidence| wanted.kind.as_ref().is_none_or(|kind| *kind == place.kind);
    let mut found: Vec<&NoiseEvidence> = candidates.of(endpoint, path).filter(of_kind).collect();
    let doing = format!("cannot accept `{path}` of `{endpoint}` as noise");
    // The rule hides every kind of value at the place, so one real kind forbids all.
    if let Some(real) = candidates.of(endpoint, path).find(|place| place.is_real()) {
        acceptable(&doing, real)?;
    }
    if wanted.kind.is_none() && found.iter().any(|place| place.is_noise()) {
        found.retain(|place| place.is_noise());
    }
    if found.is_empty() {
        return Err(Failure::new(
            "banyan::noise::no_evidence",
            Exit::Inconclusive,
            format!("{doing}: legacy was not seen to differ from itself there"),
        )
        .hint("banyan shadow noise list shows what was seen; to ignore it all the same, write a rule with a reason"));
    }
    for place in &found {
        acceptable(&doing, place)?;
    }
    if !is_selectable(path) {
        return Err(Failure::new(
            "banyan::noise::refused",
            Exit::Refused,
            format!("{doing}: no rule can select this place"),
        )
        .hint("write a `[[shadow.rule]]` for the place above it, with a reason"));
    }
    let found: Vec<_> = found.into_iter().map(|place| (endpoint, place)).collect();
    enter(&mut file.lock, &found, who);
    file.save()?;
    Ok(answer(&file, &found, Exit::Yes, output))
}

fn acceptable(doing: &str, place: &NoiseEvidence) -> Result<(), Failure> {
    let kind = &place.kind;
    match place.judged.decision {
        Decision::Refused(refusal) => Err(Failure::new(
            "banyan::noise::refused",
            Exit::Refused,
            format!("{doing}: `{kind}`: {refusal}"),
        )
        .hint(refusal.hint())),
        Decision::Real => Err(Failure::new(
            "banyan::noise::real",
            Exit::Refused,
            format!("{doing}: `{kind}`: new differs there beyond legacy's noise"),
        )
        .because(format!(
            "new alone differed on {} requests, legacy alone on {}: p = {}",
            place.counts.new_alone,
            place.counts.legacy_alone,
            p_value(place.judged.p)
        ))
        .hint("mend new, then `banyan shadow noise forget` to count anew")),
        Decision::Unknown | Decision::Steady => Err(Failure::new(
            "banyan::noise::no_evidence",
            Exit::Inconclusive,
            format!(
                "{doing}: `{kind}`: legacy did not differ from itself in {} pairs",
                place.counts.pairs
            ),
        )
        .hint("to ignore it all the same, write a rule with a reason")),
        Decision::Noise => Ok(()),
    }
}

fn accept_all(
    mut file: LockFile,
    candidates: &Candidates,
    yes: bool,
    who: &Who,
    output: &Output,
) -> Result<Exit, Failure> {
    let proposed: Vec<(&str, &NoiseEvidence)> = candidates
        .places
        .iter()
        .filter(|(endpoint, place)| is_proposed(&file.lock, endpoint, place))
        .map(|(endpoint, place)| (endpoint.as_str(), place))
        .collect();
    if proposed.is_empty() {
        return Ok(answer(&file, &[], Exit::Yes, output));
    }
    if !yes {
        return Ok(answer(&file, &proposed, Exit::No, output));
    }
    enter(&mut file.lock, &proposed, who);
    file.save()?;
    Ok(answer(&file, &proposed, Exit::Yes, output))
}

fn enter(lock: &mut Lock, places: &[(&str, &NoiseEvidence)], who: &Who) {
    let actor = control::actor(who);
    for (endpoint, place) in places {
        let place_key = key(endpoint, place);
        let comments = lock.entries.remove(&place_key).map(|earlier| earlier.comments);
        let entry = Entry {
            pairs: place.counts.pairs,
            noisy: place.counts.noisy,
            rate_low_percent: place.rate_percent.0,
            rate_high_percent: place.rate_percent.1,
            first_ms: place.first_ms,
            last_ms: place.last_ms,
            example: place.example.clone().unwrap_or_default(),
            accepted_by: one_line(&actor.name),
            accepted_ms: actor.at_ms,
            reason: one_line(&actor.reason),
            comments: comments.unwrap_or_default(),
        };
        lock.entries.insert(place_key, entry);
    }
}

/// A lock file keeps texts on one line.
fn one_line(text: &str) -> String {
    text.split(['\n', '\r']).map(str::trim).collect::<Vec<_>>().join(" ")
}

fn answer(file: &LockFile, places: &[(&str, &NoiseEvidence)], exit: Exit, output: &Output) -> Exit {
    let written = exit == Exit::Yes && !places.is_empty();
    let shown = file.path.display();
    if output.is_json() {
        let rows = places.iter().map(|(endpoint, place)| {
            row(place, state(&file.lock, endpoint, place), &file.lock, endpoint)
        });
        let data = json!({
            "file": shown.to_string(), "written": written, "places": rows.collect::<Vec<_>>(),
        });
        output.json("banyan.shadow.noise.accept/1", &data, &[]);
        return exit;
    }
    if places.is_empty() {
        output.line("nothing is proposed");
        return exit;
    }
    let word = if written { "accepted" } else { "would accept" };
    for (endpoint, place) in places {
        let (low, high) = place.rate_percent;
        output.line(&format!(
            "{word}  {endpoint}  {}  {}  legacy differs from itself in {low:.1}-{high:.1} % ({} of {} pairs)",
            place.shape, place.kind, thousands(place.counts.noisy), thousands(place.counts.pairs)
        ));
    }
    if written {
        output.note(&format!("written to {shown}: review and commit it; {TAKEN_UP}"));
    } else {
        output.note(&format!("nothing is written to {shown} yet; add --yes to do it"));
    }
    exit
}

async fn forget(
    config: &Config,
    endpoint: &str,
    path: Option<&str>,
    output: &Output,
) -> Result<Exit, Failure> {
    let mut file = LockFile::load(config)?;
    let before = file.lock.entries.len();
    file.lock.entries.retain(|place, _| {
        place.endpoint != endpoint || path.is_some_and(|path| place.path != path)
    });
    let removed = before - file.lock.entries.len();
    // An endpoint that is declared no more may still stand in the file.
    let declared = config.catalogue.endpoints().find(|e| e.name.as_str() == endpoint);
    if removed == 0 {
        super::flip::endpoint(config, endpoint)?;
    }
    if removed > 0 {
        file.save()?;
    }
    let mut rows = 0;
    if let Some(declared) = declared {
        let store = control::look(config).await?;
        let forgotten = store.forget_noise(&declared.name, path).await;
        rows = forgotten.map_err(|error| control::store_failure(&error))?;
    }
    if output.is_json() {
        let data = json!({
            "file": config.shadow.noise_lock, "entries": removed, "evidence_rows": rows,
        });
        output.json("banyan.shadow.noise.forget/1", &data, &[]);
        return Ok(if removed == 0 && rows == 0 { Exit::No } else { Exit::Yes });
    }
    if removed == 0 && rows == 0 {
        output.line("nothing to forget");
        return Ok(Exit::No);
    }
    let noun = if removed == 1 { "entry" } else { "entries" };
    output.line(&format!(
        "forgot {removed} {noun} of {} and what was counted there: differences count again",
        config.shadow.noise_lock
    ));
    if removed > 0 {
        output.note(TAKEN_UP);
    }
    Ok(Exit::Yes)
}
