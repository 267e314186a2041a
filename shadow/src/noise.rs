//! Looking for noise: when legacy is read again only to see whether it agrees with itself.
//!
//! Owns which reads are looked at and how many at once; what the answers say is `banyan_noise`'s. It exists because a
//! difference that legacy shows against itself says nothing about new, and only re-reads can tell. What must stay true:
//! whether a read is looked at never depends on what that look will show; looks are bounded in number and rate, go through
//! the same [`crate::guard`] as everything else, and are the first thing to be left out when there is no room.

mod ledger;
mod places;
mod reads;

pub(crate) use ledger::NoiseLedger;
pub use places::{NoisePlace, NoiseTotal, judge_noise};

use crate::metric;
use crate::worker::{Core, Read};
use banyan_diff::{Comparison, RuleSet};
use banyan_domain::{EndpointName, Side};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use tokio::task::JoinSet;

/// What the ids of rules begin with that hide accepted noise.
pub const NOISE_RULE: &str = "noise/";

/// Limits of looks for noise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NoiseConfig {
    /// Share of mirrored GETs whose request is put to legacy again, in percent.
    pub percent: f64,
    /// Looks per second at reads that mismatched or whose differences were all noise, besides that share.
    pub per_second: u32,
    /// Looks at once; further ones are left out and counted.
    pub waiting_max: usize,
}

impl NoiseConfig {
    /// Legacy is never asked again for this.
    pub const OFF: Self = Self { percent: 0.0, per_second: 0, waiting_max: 0 };

    /// The usual limits with this share; a share of 0 turns all looks off.
    pub fn with_percent(percent: f64) -> Self {
        if percent > 0.0 { Self { percent, ..Self::default() } } else { Self::OFF }
    }
}

impl Default for NoiseConfig {
    fn default() -> Self {
        Self { percent: 2.0, per_second: 2, waiting_max: 32 }
    }
}

/// The rules of endpoints with accepted noise: all of their rules, the learned ones last. Can be replaced while reads
/// are compared; each comparison uses one state of it.
#[derive(Debug, Clone, Default)]
pub struct LearnedRules(Arc<RwLock<Arc<BTreeMap<EndpointName, RuleSet>>>>);

/// Why a read is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Chosen {
    /// By chance: stands for all reads.
    Sampled,
    /// Because of what its comparison showed: tells more about differences, less about rates.
    Suspected,
}

/// The looks that are going on.
#[derive(Default)]
pub(crate) struct Looks {
    state: Mutex<State>,
    waiting: Arc<()>,
}

#[derive(Default)]
struct State {
    tasks: JoinSet<()>,
    /// Second of the last suspected look, and how many it had.
    second: (u64, u32),
}

impl LearnedRules {
    /// Takes other rules from now on.
    pub fn replace(&self, rules: BTreeMap<EndpointName, RuleSet>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }

    /// The rules of an endpoint, if it has accepted noise.
    pub(crate) fn of(&self, endpoint: &EndpointName) -> Option<RuleSet> {
        let rules = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        rules.get(endpoint).cloned()
    }
}

/// Whether a rule that hides accepted noise had a part in a comparison.
pub(crate) fn hid(comparison: &Comparison) -> bool {
    comparison.hidden.iter().any(|hidden| hidden.rule.starts_with(NOISE_RULE))
}

impl Looks {
    /// Looks at a read that was just compared, if it is its turn.
    pub(crate) fn offer(&self, core: &Arc<Core>, read: &Read, comparison: &Comparison) {
        // New as the owner is ahead of legacy: what legacy shows then is late, not noisy.
        if read.request.method != "GET" || core.plan.owner(&read.context) != Side::Legacy {
            return;
        }
        let sampled = core.dice.percent(core.config.noise.percent);
        let suspected = !comparison.differences.is_empty() || hid(comparison);
        match (sampled, suspected) {
            (true, _) => self.start(core, read, Chosen::Sampled),
            (false, true) => self.start(core, read, Chosen::Suspected),
            (false, false) => {}
        }
    }

    fn start(&self, core: &Arc<Core>, read: &Read, chosen: Chosen) {
        let mut state = self.state();
        while state.tasks.try_join_next().is_some() {}
        let full = Arc::strong_count(&self.waiting) > core.config.noise.waiting_max;
        if full || core.is_closing() || !state.has_room(core, chosen) {
            metric::noise_look(&read.endpoint, "left_out");
            return;
        }
        let (core, read, place) = (core.clone(), read.clone(), self.waiting.clone());
        state.tasks.spawn(async move {
            let seen = reads::look(&core, &read, chosen).await;
            metric::noise_look(&read.endpoint, if seen.is_some() { "done" } else { "broken_off" });
            drop(place);
        });
    }

    /// Stops all looks: what they would have seen is not missed.
    pub(crate) async fn stop(&self) {
        let mut tasks = std::mem::take(&mut self.state().tasks);
        tasks.shutdown().await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Sampled looks are bounded by their share; suspected ones by the second.
    fn has_room(&mut self, core: &Core, chosen: Chosen) -> bool {
        if chosen == Chosen::Sampled {
            return true;
        }
        let second = core.clock.now_ms() / 1_000;
        if self.second.0 != second {
            self.second = (second, 0);
        }
        let room = self.second.1 < core.config.noise.per_second;
        self.second.1 += u32::from(room);
        room
    }
}
