//! Accepted noise wired to the shadow reads of a running process.
//!
//! Owns the watch over the file. What must stay true: a file that is broken or cannot be read changes nothing.

use crate::config::Config;
use crate::config::noise as lock;
use crate::config::problem::{self, Severity};
use banyan_diff::{Protect, RuleSet};
use banyan_domain::EndpointName;
use banyan_shadow::{LearnedRules, ShadowConfig};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often the file of accepted noise is looked at.
const NOISE_POLL: Duration = Duration::from_secs(1);
/// What a missing file is as good as.
const EMPTY_LOCK: &str = "version = 1";

/// The rules of each endpoint without accepted noise.
pub(crate) fn base_rules(settings: &ShadowConfig) -> BTreeMap<EndpointName, RuleSet> {
    settings.endpoints.iter().map(|(name, known)| (name.clone(), known.rules.clone())).collect()
}

/// Takes up changes of the file of accepted noise for as long as the program runs. A file that cannot be read, or is
/// broken, changes nothing and is told once.
pub(crate) fn follow(config: &Config, settings: &ShadowConfig, stop: CancellationToken) {
    let path = PathBuf::from(&config.shadow.noise_lock);
    let names: Vec<String> =
        config.catalogue.endpoints().map(|endpoint| endpoint.name.to_string()).collect();
    let known = Known {
        names,
        base: base_rules(settings),
        protect: config.shadow.protect.clone(),
        learned: settings.learned.clone(),
    };
    // What is compared with from now on must be what is in force, also if the file changed a moment ago.
    let mut seen = lock::text_of(&path).ok();
    if let Some(text) = &seen {
        known.take_up(text.as_deref().unwrap_or(EMPTY_LOCK));
    }
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(NOISE_POLL) => {}
            }
            let now = lock::text_of(&path).ok();
            if now == seen {
                continue;
            }
            match &now {
                Some(text) => {
                    known.take_up(text.as_deref().unwrap_or(EMPTY_LOCK));
                }
                None => {
                    tracing::error!("the accepted noise cannot be read, what was accepted stays");
                }
            }
            seen = now;
        }
    });
}

/// What a changed file is read with.
struct Known {
    names: Vec<String>,
    base: BTreeMap<EndpointName, RuleSet>,
    protect: Protect,
    learned: LearnedRules,
}

impl Known {
    fn take_up(&self, text: &str) {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        let (lock, problems) = lock::parse(text, &names, &self.protect);
        let broken = problems.iter().find(|problem| problem.severity == Severity::Error);
        if let Some(problem) = broken {
            let place = problem::location("noise-lock", text, problem);
            let problem = problem.message.as_str();
            tracing::error!(
                place,
                problem,
                "the accepted noise is broken, what was accepted stays"
            );
            return;
        }
        let places = lock.entries.len();
        self.learned.replace(lock.rules(&self.base));
        tracing::info!(places, "the accepted noise is in force");
    }
}
