//! Mismatches that wait for their re-reads.
//!
//! Owns the places, the rate and the timing of rechecks; what the re-reads mean is [`crate::settle`]'s. What must stay
//! true: places, bytes and rate are bounded, one cause cannot take all places, and a mismatch that finds no place is
//! inconclusive.

use crate::SkipReason;
use crate::account::Account;
use crate::config::RecheckConfig;
use crate::metric;
use crate::reread;
use crate::sample::Case;
use crate::settle::{Settle, Settled, Suspect};
use crate::tally::Outcome;
use crate::worker::{Core, Read};
use banyan_diff::{Comparison, Verdict};
use banyan_domain::ContextName;
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::task::JoinSet;

/// Lags are remembered for one to two of these spans, in ms.
const LAG_SPAN_MS: u64 = 300_000;

/// The waiting mismatches.
pub(crate) struct Rechecks {
    config: RecheckConfig,
    state: Arc<Mutex<State>>,
    tasks: Mutex<JoinSet<()>>,
}

#[derive(Default)]
struct State {
    waiting: usize,
    bytes: usize,
    causes: HashMap<u64, usize>,
    rate: Rate,
    /// Longest lag per context: of the present span, and of the one before.
    lags: BTreeMap<ContextName, (u64, u64, u64)>,
}

/// Entries per second, unused ones saved up for two seconds.
#[derive(Default)]
struct Rate {
    last_ms: Option<u64>,
    /// In thousandths of an entry.
    saved: u64,
}

/// A place among the waiting; given back when dropped.
struct Place {
    state: Arc<Mutex<State>>,
    cause: u64,
    bytes: usize,
}

impl Rechecks {
    pub(crate) fn new(config: &RecheckConfig) -> Self {
        Self { config: config.clone(), state: Arc::default(), tasks: Mutex::default() }
    }

    /// Lets a mismatch wait for its re-reads, or closes its account when there is no place.
    pub(crate) fn enter(
        &self,
        core: &Arc<Core>,
        account: Account,
        read: Read,
        comparison: &Comparison,
        bytes: usize,
    ) {
        if core.is_closing() {
            return account.skip(SkipReason::Shutdown);
        }
        let now_ms = core.clock.now_ms();
        let Some(place) = self.place(cause(&read, comparison), bytes, now_ms) else {
            return account.inconclusive("no_budget");
        };
        let suspect = match comparison.verdict {
            Verdict::NewError => Suspect::NewError,
            Verdict::Match
            | Verdict::MatchNormalised
            | Verdict::Mismatch(_)
            | Verdict::Inconclusive(_)
            | Verdict::LegacyError
            | Verdict::BothError => Suspect::Difference,
        };
        let settle = Settle::new(suspect, now_ms);
        let recheck = recheck(core.clone(), account, read, settle, place);
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(recheck);
    }

    /// Stops all re-reads; their accounts count as lost.
    pub(crate) async fn stop(&self) {
        let mut tasks = {
            let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *tasks)
        };
        tasks.shutdown().await;
    }

    fn place(&self, cause: u64, bytes: usize, now_ms: u64) -> Option<Place> {
        let mut state = lock(&self.state);
        let alike = state.causes.get(&cause).copied().unwrap_or(0);
        let fits = state.waiting < self.config.waiting_max
            && alike < self.config.per_cause_max
            && state.bytes.saturating_add(bytes) <= self.config.bytes_max;
        if !fits || !state.rate.take(self.config.per_second, now_ms) {
            return None;
        }
        state.waiting += 1;
        state.bytes += bytes;
        state.causes.insert(cause, alike + 1);
        metric::rechecks_waiting(state.waiting);
        Some(Place { state: self.state.clone(), cause, bytes })
    }

    /// Without a watermark: twice the longest lag that was seen lately.
    pub(crate) fn quiet_ms(&self, context: &ContextName) -> u64 {
        let state = lock(&self.state);
        state.lags.get(context).map_or(0, |(_, now, before)| now.max(before).saturating_mul(2))
    }

    fn saw_lag(&self, context: &ContextName, now_ms: u64, lag_ms: u64) {
        let span = now_ms / LAG_SPAN_MS;
        let mut state = lock(&self.state);
        let (of, now, before) = state.lags.entry(context.clone()).or_insert((span, 0, 0));
        if *of != span {
            (*before, *now) = (if *of + 1 == span { *now } else { 0 }, 0);
            *of = span;
        }
        *now = (*now).max(lag_ms);
    }
}

/// The life of one recheck: wait, read both sides again, decide; until settled.
async fn recheck(core: Arc<Core>, account: Account, read: Read, mut settle: Settle, place: Place) {
    let config = core.config.recheck.settle.clone();
    let mut due = settle.first_due(&config);
    let settled = loop {
        let Some(at_ms) = due else { break Settled::Inconclusive("no_recheck") };
        wait_until(&core, settle.first_ms(), at_ms).await;
        if !core.still_planned(&read) {
            return account.skip(SkipReason::PhaseChanged);
        }
        let (next, settled) = reread::round(&core, &read, settle).await;
        settle = next;
        match settled {
            Settled::Again(at_ms) => due = Some(at_ms),
            Settled::Lag
            | Settled::Watch
            | Settled::Mismatch(_)
            | Settled::NewError(_)
            | Settled::Inconclusive(_) => break settled,
        }
    };
    drop(place);
    finish(&core, account, &read, settle.first_ms(), settled);
}

/// Waits until `at_ms`, moved a little by chance.
async fn wait_until(core: &Core, first_ms: u64, at_ms: u64) {
    let at_ms = first_ms.saturating_add(core.dice.jitter(at_ms.saturating_sub(first_ms)));
    core.clock.sleep(at_ms.saturating_sub(core.clock.now_ms())).await;
}

fn finish(core: &Core, account: Account, read: &Read, first_ms: u64, settled: Settled) {
    match settled {
        Settled::Lag => {
            let now_ms = core.clock.now_ms();
            let after_ms = now_ms.saturating_sub(first_ms);
            core.rechecks.saw_lag(&read.context, now_ms, after_ms);
            account.lag(&read.request, after_ms);
        }
        Settled::Mismatch(comparison) => {
            let case = Case {
                endpoint: &read.endpoint,
                template: core.endpoint(&read.endpoint).template.as_ref(),
                request: &read.request,
                served_by: read.served_by,
                generation: read.generation,
                at_ms: read.at_ms,
            };
            account.mismatch(&case, &comparison);
        }
        Settled::NewError(comparison) => {
            account.compared(&read.request, Outcome::NewError, &comparison);
        }
        Settled::Inconclusive(why) => account.inconclusive(why),
        Settled::Again(_) | Settled::Watch => account.inconclusive("still_moving"),
    }
}

/// What mismatches of one cause have in common: endpoint, places and kinds.
fn cause(read: &Read, comparison: &Comparison) -> u64 {
    let places: BTreeSet<(&str, String)> = comparison
        .differences
        .iter()
        .map(|difference| {
            (difference.location.shape.as_str(), difference.kind.label().into_owned())
        })
        .collect();
    let mut hasher = DefaultHasher::new();
    (read.endpoint.as_str(), places).hash(&mut hasher);
    hasher.finish()
}

impl Rate {
    fn take(&mut self, per_second: u32, now_ms: u64) -> bool {
        let full = u64::from(per_second) * 2_000;
        self.saved = match self.last_ms {
            None => full,
            Some(last_ms) => {
                let earned = now_ms.saturating_sub(last_ms).saturating_mul(u64::from(per_second));
                self.saved.saturating_add(earned).min(full)
            }
        };
        self.last_ms = Some(now_ms);
        let Some(left) = self.saved.checked_sub(1_000) else { return false };
        self.saved = left;
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        state.waiting -= 1;
        state.bytes -= self.bytes;
        if let Some(alike) = state.causes.get_mut(&self.cause) {
            *alike -= 1;
            if *alike == 0 {
                state.causes.remove(&self.cause);
            }
        }
        metric::rechecks_waiting(state.waiting);
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_allows_a_short_burst_and_then_what_time_earns() {
        let mut rate = Rate::default();
        let burst = (0..100).filter(|_| rate.take(10, 0)).count();
        assert_eq!(burst, 20);
        assert!(!rate.take(10, 99));
        assert!(rate.take(10, 101));
        assert_eq!((101..10_101).filter(|now_ms| rate.take(10, *now_ms)).count(), 100);
    }

    #[test]
    fn one_cause_cannot_take_all_places_and_places_come_back() {
        let config = RecheckConfig { waiting_max: 3, per_cause_max: 2, ..RecheckConfig::default() };
        let rechecks = Rechecks::new(&config);
        let first = rechecks.place(1, 10, 0);
        let second = rechecks.place(1, 10, 0);
        assert!(first.is_some() && second.is_some());
        assert!(rechecks.place(1, 10, 0).is_none(), "a third of the same cause");
        let rare = rechecks.place(2, 10, 0);
        assert!(rare.is_some());
        assert!(rechecks.place(3, 10, 0).is_none(), "all places are taken");
        drop(first);
        assert!(rechecks.place(3, config.bytes_max, 0).is_none(), "too many bytes");
        assert!(rechecks.place(3, 10, 0).is_some());
    }
}
