//! Shadow reads wired to the control store: the tally goes there, the plan and the lag come from the agent.

use super::advice;
use crate::config::Config;
use crate::config::noise::LockFile;
use crate::exit::Exit;
use crate::failure::Failure;
use arc_swap::ArcSwap;
use async_trait::async_trait;
use banyan_control::agent::Watermarks;
use banyan_control::{Agent, ControlStore, ShadowBatch, ShadowSummary};
use banyan_diff::{Day, RuleHealth, RuleSet, RuleSource, RuleState, Run};
use banyan_domain::{Compiled, ContextName, EndpointName, Generation, Phase, Side};
use banyan_report::{RuleReport, RuleState as ReportedState};
use banyan_shadow::{
    EndpointConfig, EndpointSummary, HttpConfig, LagSource, MirrorPlan, NoiseConfig, NumericIds,
    Ports, QueueLimit, Redaction, RedactionKey, ShadowConfig, Summary, SystemClock, TallyBatch,
    TallyError, TallyStore,
};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

/// The settings of shadow reads, with the noise that is accepted now.
///
/// # Errors
/// Exit 3 when the accepted noise cannot be read, exit 6 when the redaction key can neither be read nor made.
pub(crate) fn settings(config: &Config) -> Result<ShadowConfig, Failure> {
    let section = &config.shadow;
    let today = Day::of_unix_ms(super::control::now_ms());
    for rule in section.rules.rules().filter(|rule| rule.is_expired(today)) {
        tracing::warn!(rule = %rule.id(), "a rule has expired and does not apply any more");
    }
    let rules = section.rules.on(today);
    let endpoints = config.catalogue.endpoints().map(|endpoint| {
        let rules = rules.for_endpoint(endpoint.name.as_str());
        (
            endpoint.name.clone(),
            EndpointConfig {
                rules,
                template: Some(endpoint.path.clone()),
                version: config.versions.get(&endpoint.name).cloned(),
            },
        )
    });
    let http = HttpConfig {
        legacy_url: config.proxy.legacy.clone(),
        new_urls: config
            .contexts
            .iter()
            .map(|(name, places)| (name.clone(), places.new.clone()))
            .collect(),
        connect_timeout_ms: config.proxy.connect_timeout_ms,
        timeout_ms: section.timeout_ms,
        body_bytes_max: config.proxy.tee_max_bytes,
    };
    let mut settings = ShadowConfig::new(http, endpoints.collect(), redaction(config)?);
    settings.queue = QueueLimit { exchanges: section.queue, bytes: section.queue_bytes };
    settings.workers = section.workers;
    settings.rules = rules;
    settings.pins = advice::pins(config);
    settings.protect = section.protect.clone();
    settings.recheck.settle.delays_ms.clone_from(&section.recheck_ms);
    settings.noise = NoiseConfig::with_percent(section.noise_percent);
    settings
        .learned
        .replace(LockFile::load(config)?.lock.rules(&super::noise::base_rules(&settings)));
    settings.recheck.settle.quiet_ms = section.recheck_quiet_ms;
    settings.sides.legacy = section.legacy;
    for (context, places) in &config.contexts {
        settings.sides.contexts.insert(context.clone(), places.shadow.capacity);
        settings.recheck.contexts.insert(context.clone(), places.shadow.rechecks);
    }
    Ok(settings)
}

/// How values are made fit to store and to show.
///
/// # Errors
/// Exit 6 when the redaction key can neither be read nor made.
pub(crate) fn redaction(config: &Config) -> Result<Redaction, Failure> {
    let section = &config.shadow;
    let ids = if section.show_ids { NumericIds::Shown } else { NumericIds::Hidden };
    let redaction = Redaction::new(redaction_key(&config.control.snapshot)?, ids);
    Ok(redaction.with_shown(section.show.iter().cloned()))
}

/// Every rule that is not built in, and the built-in ones that hid something, with what became of them.
pub(crate) fn rule_reports(rules: &RuleSet, summary: &Summary, now_ms: u64) -> Vec<RuleReport> {
    let mut seen: BTreeMap<&str, (u64, u64, u64)> = BTreeMap::new();
    let mut compared = 0;
    for endpoint in summary.endpoints.values() {
        compared += endpoint
            .outcomes
            .iter()
            .filter(|(outcome, _)| banyan_control::shadow::is_compared(outcome))
            .flat_map(|(_, reasons)| reasons.values())
            .sum::<u64>();
        for row in &endpoint.hidden {
            let seen = seen.entry(&row.rule).or_insert((0, u64::MAX, 0));
            *seen = (seen.0 + row.count, seen.1.min(row.first_ms), seen.2.max(row.last_ms));
        }
    }
    let hits = seen.iter().map(|(rule, seen)| ((*rule).to_owned(), seen.0)).collect();
    let run = Run { hits: &hits, compared, today: Day::of_unix_ms(now_ms) };
    let states = rules.audit(&run).into_iter();
    states
        .filter(|state| state.hits > 0 || state.source != RuleSource::Builtin)
        .map(|state| {
            let seen = seen.get(state.id.as_str());
            RuleReport {
                first_ms: seen.map(|seen| seen.1),
                last_ms: seen.map(|seen| seen.2),
                action: state.action,
                selector: state.at,
                origin: state.source.as_str().to_owned(),
                owner: state.owner.unwrap_or_default(),
                reason: state.reason,
                expires: state.expires.map(|day| day.to_string()),
                state: match state.health {
                    RuleHealth::Used | RuleHealth::Idle => ReportedState::Active,
                    RuleHealth::Dead => ReportedState::Dead,
                    RuleHealth::Expired => ReportedState::Expired,
                },
                hidden: state.hits,
                id: state.id,
            }
        })
        .collect()
}

/// What an operator should know of a rule.
pub(crate) fn rule_warning(state: &RuleState) -> Option<String> {
    match state.health {
        RuleHealth::Expired => {
            let day = state.expires.map(|day| day.to_string()).unwrap_or_default();
            Some(format!("rule `{}` expired on {day} and does not apply any more", state.id))
        }
        RuleHealth::Dead => Some(format!("rule `{}` is dead: it hid nothing", state.id)),
        RuleHealth::Used | RuleHealth::Idle => None,
    }
}

/// The key under which samples are redacted: random, made once, kept beside the snapshot file.
fn redaction_key(snapshot: &str) -> Result<RedactionKey, Failure> {
    key_file(&format!("{snapshot}.key"))
}

/// The key in a file, which is made with a random one when there is none.
pub(crate) fn key_file(path: &str) -> Result<RedactionKey, Failure> {
    let failed = |error: &std::io::Error| {
        Failure::new(
            "banyan::shadow::key",
            Exit::Unreachable,
            format!("cannot keep the redaction key `{path}`"),
        )
        .because(error.to_string())
        .hint("check that its folder exists and is writable")
    };
    if !Path::new(path).exists() {
        let key =
            [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()].map(|id| id.simple().to_string()).concat();
        let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        match made.and_then(|mut file| file.write_all(key.as_bytes())) {
            Ok(()) => {}
            // Another process of this folder was faster: its key serves both.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(&error)),
        }
    }
    let key = std::fs::read(path).map_err(|error| failed(&error))?;
    Ok(RedactionKey::derive(&key))
}

/// What shadow reads need of the rest.
pub(crate) fn ports(agent: &Agent) -> Ports {
    Ports {
        store: Arc::new(Tally(agent.store())),
        plan: Arc::new(Plan(agent.table())),
        lag: Some(Arc::new(Lag(agent.watermarks()))),
        observer: None,
        clock: Arc::new(SystemClock),
        seed: u64::from(std::process::id()) ^ super::control::now_ms(),
    }
}

struct Plan(Arc<ArcSwap<Compiled>>);

impl MirrorPlan for Plan {
    fn still_planned(&self, endpoint: &EndpointName, mirror_to: Side, _: Generation) -> bool {
        let table = self.0.load();
        let Some(found) = table.endpoints().iter().find(|e| e.spec.name == *endpoint) else {
            return false;
        };
        match found.phase {
            Phase::Legacy | Phase::Retired => false,
            Phase::Shadow => mirror_to == Side::New,
            Phase::Canary(_) => true,
            Phase::New => mirror_to == Side::Legacy && found.spec.mirror_back,
        }
    }

    fn owner(&self, context: &ContextName) -> Side {
        self.0.load().context(context).map_or(Side::Legacy, |context| context.state.owner)
    }
}

struct Lag(Arc<ArcSwap<Watermarks>>);

impl LagSource for Lag {
    fn watermark_ms(&self, context: &ContextName) -> Option<u64> {
        self.0.load().get(context).copied()
    }
}

struct Tally(Arc<dyn ControlStore>);

#[async_trait]
impl TallyStore for Tally {
    async fn save(&self, batch: TallyBatch) -> Result<(), TallyError> {
        self.0.record_shadow(&stored(batch)).await.map_err(|error| TallyError(Box::new(error)))
    }
}

/// The tally in the store's words: the same fields.
fn stored(batch: TallyBatch) -> ShadowBatch {
    use banyan_control::shadow as store;
    ShadowBatch {
        outcomes: batch
            .outcomes
            .into_iter()
            .map(|row| store::OutcomeCount {
                at_ms: row.at_ms,
                endpoint: row.endpoint,
                outcome: row.outcome,
                reason: row.reason,
                count: row.count,
            })
            .collect(),
        differences: batch
            .differences
            .into_iter()
            .map(|row| store::DifferenceCount {
                at_ms: row.at_ms,
                endpoint: row.endpoint,
                shape: row.shape,
                kind: row.kind,
                severity: row.severity,
                transition: row.transition,
                count: row.count,
            })
            .collect(),
        hidden: batch
            .hidden
            .into_iter()
            .map(|row| store::HiddenCount {
                at_ms: row.at_ms,
                endpoint: row.endpoint,
                rule: row.rule,
                count: row.count,
            })
            .collect(),
        samples: batch
            .samples
            .into_iter()
            .map(|row| store::Sample {
                at_ms: row.at_ms,
                endpoint: row.endpoint,
                shape: row.shape,
                kind: row.kind,
                body: row.body,
            })
            .collect(),
        fingerprints: batch
            .fingerprints
            .into_iter()
            .map(|row| store::Fingerprint {
                endpoint: row.endpoint,
                fingerprint: row.fingerprint,
                at_ms: row.at_ms,
                mismatched: row.mismatched,
            })
            .collect(),
        noise: batch.noise.into_iter().map(stored_noise).collect(),
        advice: advice::stored(batch.advice),
        lags: batch
            .lags
            .into_iter()
            .map(|row| store::LagCount {
                at_ms: row.at_ms,
                endpoint: row.endpoint,
                bound_ms: row.bound_ms,
                count: row.count,
            })
            .collect(),
    }
}

/// The same fields again, of what looks for noise saw.
fn stored_noise(row: banyan_shadow::NoiseCount) -> banyan_control::shadow::NoiseCount {
    use banyan_control::shadow as store;
    store::NoiseCount {
        at_ms: row.at_ms,
        endpoint: row.endpoint,
        shape: row.shape,
        kind: row.kind,
        sums: store::NoiseSums {
            pairs: row.sums.pairs,
            noisy: row.sums.noisy,
            suspected_pairs: row.sums.suspected_pairs,
            suspected_noisy: row.sums.suspected_noisy,
            moved: row.sums.moved,
            triples: row.sums.triples,
            new_alone: row.sums.new_alone,
            legacy_alone: row.sums.legacy_alone,
            example: row.sums.example,
        },
    }
}

/// What the store knows, in the report's words, with the noise that is accepted.
///
/// # Errors
/// Exit 3 when the accepted noise cannot be read.
pub(crate) fn summary(config: &Config, stored: ShadowSummary) -> Result<Summary, Failure> {
    let accepted = LockFile::load(config)?.lock.entries.into_keys().filter_map(|place| {
        Some((EndpointName::new(&place.endpoint).ok()?, place.path, place.kind))
    });
    let endpoints: BTreeMap<EndpointName, EndpointSummary> = stored
        .endpoints
        .into_iter()
        .map(|(name, endpoint)| (name, endpoint_summary(endpoint)))
        .collect();
    Ok(Summary { endpoints, accepted: accepted.collect() })
}

fn endpoint_summary(stored: banyan_control::shadow::EndpointShadow) -> EndpointSummary {
    EndpointSummary {
        outcomes: stored.outcomes.0,
        differences: stored
            .differences
            .into_iter()
            .map(|row| banyan_shadow::DifferenceTotal {
                shape: row.shape,
                kind: row.kind,
                severity: row.severity,
                transition: row.transition,
                count: row.count,
                first_ms: row.first_ms,
                last_ms: row.last_ms,
            })
            .collect(),
        hidden: stored
            .hidden
            .into_iter()
            .map(|row| banyan_shadow::HiddenTotal {
                rule: row.rule,
                count: row.count,
                first_ms: row.first_ms,
                last_ms: row.last_ms,
            })
            .collect(),
        samples: stored
            .samples
            .into_iter()
            .map(|row| banyan_shadow::Sample {
                at_ms: row.at_ms,
                endpoint: row.endpoint,
                shape: row.shape,
                kind: row.kind,
                body: row.body,
            })
            .collect(),
        distinct: stored.distinct,
        distinct_mismatched: stored.distinct_mismatched,
        noise: stored
            .noise
            .into_iter()
            .map(|row| banyan_shadow::NoiseTotal {
                shape: row.shape,
                kind: row.kind,
                sums: banyan_shadow::NoiseSums {
                    pairs: row.sums.pairs,
                    noisy: row.sums.noisy,
                    suspected_pairs: row.sums.suspected_pairs,
                    suspected_noisy: row.sums.suspected_noisy,
                    moved: row.sums.moved,
                    triples: row.sums.triples,
                    new_alone: row.sums.new_alone,
                    legacy_alone: row.sums.legacy_alone,
                    example: row.sums.example,
                },
                first_ms: row.first_ms,
                last_ms: row.last_ms,
            })
            .collect(),
        first_ms: stored.first_ms,
        lags: stored.lags,
        ..EndpointSummary::default()
    }
}
