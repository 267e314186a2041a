//! Mismatches that wait for their re-reads.
//!
//! Owns the places, the rate and the timing of rechecks; what the re-reads mean is [`crate::settle`]'s. What must stay
//! true: places, bytes and rate are bounded, one cause cannot take all places, and a mismatch that finds no place is
//! inconclusive.

use crate::account::Account;
use crate::advise;
use crate::config::RecheckConfig;
use crate::metric;
use crate::observe::Confirmed;
use crate::probe::Looks;
use crate::reread;
use crate::sample::Case;
use crate::settle::{Pair, Proof, Settle, Settled, Suspect};
use crate::worker::{Core, Read};
use crate::{Answer, SkipReason};
use banyan_diff::{Comparison, Kind, Mismatch, Verdict};
use banyan_domain::{ContextName, Side};
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

/// A comparison that may be a mismatch.
pub(crate) struct Suspected {
    pub(crate) answers: Pair,
    /// When the mirrored read was asked, in ms; nothing when the answers were not given just now, as in a replay.
    pub(crate) asked_ms: Option<u64>,
    pub(crate) comparison: Comparison,
}

#[derive(Default)]
struct State {
    waiting: usize,
    bytes: usize,
    causes: HashMap<u64, usize>,
    contexts: BTreeMap<ContextName, Waiting>,
    /// Longest lag per context: of the present span, and of the one before.
    lags: BTreeMap<ContextName, (u64, u64, u64)>,
}

/// What waits in one context.
#[derive(Default)]
struct Waiting {
    places: usize,
    rate: Rate,
    measured: usize,
    measured_rate: Rate,
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
    context: ContextName,
    cause: u64,
    bytes: usize,
    /// Whether its lag is measured.
    measured: bool,
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
        suspected: Suspected,
    ) {
        if core.is_closing() {
            return account.skip(SkipReason::Shutdown);
        }
        let Suspected { answers, asked_ms, comparison } = suspected;
        let now_ms = core.clock.now_ms();
        let bytes = answers.owner.bytes() + answers.other.bytes();
        let cause = cause(&read, &comparison);
        let Some(place) = self.place(&read.context, cause, bytes, now_ms) else {
            return account.inconclusive("no_budget");
        };
        let suspect = match comparison.verdict {
            Verdict::NewError if is_silence(&comparison) => Suspect::Silence,
            Verdict::NewError => Suspect::NewError,
            Verdict::Match
            | Verdict::MatchNormalised
            | Verdict::Mismatch(_)
            | Verdict::Inconclusive(_)
            | Verdict::LegacyError
            | Verdict::BothError => Suspect::Difference,
        };
        let mut settle = Settle::new(suspect, now_ms, answers);
        let measured = place.measured && suspect == Suspect::Difference;
        settle.looks = asked_ms.filter(|_| measured).map(|at_ms| Looks::new(read.at_ms, at_ms));
        let answered_ms = asked_ms.map_or(now_ms, |_| read.at_ms.min(now_ms));
        let recheck = recheck(core.clone(), account, Arc::new(read), (settle, answered_ms), place);
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

    fn place(&self, context: &ContextName, cause: u64, bytes: usize, now_ms: u64) -> Option<Place> {
        let limits = self.config.limits(context);
        let mut state = lock(&self.state);
        let alike = state.causes.get(&cause).copied().unwrap_or(0);
        let room = alike < self.config.per_cause_max
            && state.bytes.saturating_add(bytes) <= self.config.bytes_max;
        let own = state.contexts.entry(context.clone()).or_default();
        if !room || own.places >= limits.waiting_max || !own.rate.take(limits.per_second, now_ms) {
            return None;
        }
        let measured = own.measured < limits.measured_max
            && own.measured_rate.take(limits.measured_per_second, now_ms);
        own.places += 1;
        own.measured += usize::from(measured);
        state.waiting += 1;
        state.bytes += bytes;
        state.causes.insert(cause, alike + 1);
        metric::rechecks_waiting(state.waiting);
        let context = context.clone();
        Some(Place { state: self.state.clone(), context, cause, bytes, measured })
    }

    /// Without a watermark: twice the longest lag that was seen lately, and no less than what is configured.
    pub(crate) fn quiet_ms(&self, context: &ContextName) -> u64 {
        let state = lock(&self.state);
        let seen =
            state.lags.get(context).map_or(0, |(_, now, before)| now.max(before).saturating_mul(2));
        seen.max(self.config.settle.quiet_ms)
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
async fn recheck(
    core: Arc<Core>,
    account: Account,
    read: Arc<Read>,
    (settle, answered_ms): (Settle, u64),
    place: Place,
) {
    let settled = rounds(&core, &read, settle).await;
    drop(place);
    match settled {
        Some(settled) => finish(&core, account, &read, answered_ms, settled),
        None => account.skip(SkipReason::PhaseChanged),
    }
}

/// Rounds of re-reads until settled; nothing when the mirror is no longer planned.
async fn rounds(core: &Arc<Core>, read: &Arc<Read>, mut settle: Settle) -> Option<Settled> {
    let config = core.config.recheck.settle.clone();
    let first_ms = settle.first_ms();
    let mut due = settle.first_due(&config);
    loop {
        let Some(at_ms) = due else { return Some(Settled::Inconclusive("no_recheck")) };
        let at_ms = first_ms.saturating_add(core.dice.jitter(at_ms.saturating_sub(first_ms)));
        if let Some(lag) = look_until(core, read, &mut settle, at_ms).await {
            return Some(lag);
        }
        wait_until(core, at_ms).await;
        if !core.still_planned(read) {
            return None;
        }
        let (next, settled) = reread::round(core, read, settle).await;
        settle = next;
        match settled {
            Settled::Again(at_ms) => due = Some(at_ms),
            Settled::Lag(_)
            | Settled::Raced
            | Settled::Watch
            | Settled::Mismatch(_)
            | Settled::NewError(_)
            | Settled::NotComparable
            | Settled::Inconclusive(_) => return Some(settled),
        }
    }
}

/// Looks at the other side until `at_ms`, where that is afforded; the lag when it shows what the owner had shown.
async fn look_until(core: &Core, read: &Read, settle: &mut Settle, at_ms: u64) -> Option<Settled> {
    while let Some(look) = settle.looks {
        // The last look is right before the round, so that the round does not find first what a look should measure.
        wait_until(core, look.due_ms().min(at_ms)).await;
        if !core.still_planned(read) {
            return None;
        }
        if let Some(agreed) = reread::look(core, read, settle).await {
            return Some(Settled::Lag(agreed.lag_ms));
        }
        if look.due_ms() >= at_ms {
            return None;
        }
    }
    None
}

async fn wait_until(core: &Core, at_ms: u64) {
    core.clock.sleep(at_ms.saturating_sub(core.clock.now_ms())).await;
}

fn finish(core: &Core, account: Account, read: &Read, answered_ms: u64, settled: Settled) {
    match settled {
        Settled::Lag(lag_ms) => {
            let now_ms = core.clock.now_ms();
            let after_ms = now_ms.saturating_sub(answered_ms);
            core.rechecks.saw_lag(&read.context, now_ms, lag_ms.unwrap_or(after_ms));
            account.lag(&read.request, after_ms, lag_ms);
        }
        Settled::Raced => account.raced(&read.request),
        Settled::Mismatch(proof) => confirmed(core, account, read, &proof),
        Settled::NewError(comparison) => account.new_error(&case(core, read), &comparison),
        Settled::NotComparable => account.not_comparable(),
        Settled::Inconclusive(why) => account.inconclusive(why),
        Settled::Again(_) | Settled::Watch => account.inconclusive("still_moving"),
    }
}

/// A mismatch is confirmed: the observer sees the answers, then it is counted.
fn confirmed(core: &Core, account: Account, read: &Read, proof: &Proof) {
    let Proof { comparison, answers: Pair { owner, other } } = proof;
    let (legacy, new): (&Answer, &Answer) = match core.plan.owner(&read.context) {
        Side::Legacy => (owner, other),
        Side::New => (other, owner),
    };
    suggest(core, read, legacy, new);
    if let Some(observer) = &core.observer {
        observer.confirmed(&Confirmed { seen: core.seen(read), comparison, legacy, new });
    }
    account.mismatch(&case(core, read), comparison);
}

fn case<'a>(core: &'a Core, read: &'a Read) -> Case<'a> {
    Case {
        endpoint: &read.endpoint,
        template: core.endpoint(&read.endpoint).template.as_ref(),
        request: &read.request,
        served_by: read.served_by,
        generation: read.generation,
        at_ms: read.at_ms,
    }
}

/// Whether new gave no answer at all.
fn is_silence(comparison: &Comparison) -> bool {
    comparison.differences.iter().any(|d| matches!(d.kind, Kind::OutcomeChanged { .. }))
}

/// Tries rules that would explain a confirmed mismatch, on this recheck's task.
fn suggest(core: &Core, read: &Read, legacy: &Answer, new: &Answer) {
    if legacy.bytes() + new.bytes() > advise::BYTES_MAX {
        return metric::dropped("suggestion", 1);
    }
    let mismatch = Mismatch { legacy: legacy.obs(), new: new.obs() };
    let (now_ms, rules) = (core.clock.now_ms(), core.judge(read).rules);
    let tallies =
        core.advisor.advise(&read.endpoint, now_ms, &mismatch, &rules, &core.config.budget);
    core.books.enter_suggestions(&read.endpoint, now_ms, tallies);
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
        if let Some(own) = state.contexts.get_mut(&self.context) {
            own.places -= 1;
            own.measured -= usize::from(self.measured);
        }
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
    use crate::RecheckLimits;

    #[test]
    fn the_rate_allows_a_short_burst_and_then_what_time_earns() {
        let mut rate = Rate::default();
        let burst = (0..100).filter(|_| rate.take(10, 0)).count();
        assert_eq!(burst, 20);
        assert!(!rate.take(10, 99));
        assert!(rate.take(10, 101));
        assert_eq!((101..10_101).filter(|now_ms| rate.take(10, *now_ms)).count(), 100);
    }

    fn messages() -> ContextName {
        ContextName::new("messages").unwrap()
    }

    #[test]
    fn one_cause_cannot_take_all_places_and_places_come_back() {
        let limits = RecheckLimits { waiting_max: 3, ..RecheckLimits::default() };
        let config = RecheckConfig { limits, per_cause_max: 2, ..RecheckConfig::default() };
        let rechecks = Rechecks::new(&config);
        let place = |cause, bytes| rechecks.place(&messages(), cause, bytes, 0);
        let first = place(1, 10);
        let second = place(1, 10);
        assert!(first.is_some() && second.is_some());
        assert!(place(1, 10).is_none(), "a third of the same cause");
        let rare = place(2, 10);
        assert!(rare.is_some());
        assert!(place(3, 10).is_none(), "all places are taken");
        drop(first);
        assert!(place(3, config.bytes_max).is_none(), "too many bytes");
        assert!(place(3, 10).is_some());
    }

    #[test]
    fn each_context_has_its_own_places_rate_and_share_of_measured_ones() {
        let limits = RecheckLimits {
            waiting_max: 4,
            per_second: 100,
            measured_per_second: 1,
            measured_max: 1,
        };
        let plans = ContextName::new("plans").unwrap();
        let own = RecheckLimits { waiting_max: 1, ..limits };
        let contexts = [(plans.clone(), own)].into_iter().collect();
        let rechecks =
            Rechecks::new(&RecheckConfig { limits, contexts, ..RecheckConfig::default() });
        let places: Vec<_> =
            (0..4).filter_map(|at| rechecks.place(&messages(), at, 1, 0)).collect();
        assert_eq!(
            places.iter().map(|p| p.measured).collect::<Vec<_>>(),
            [true, false, false, false]
        );
        assert!(rechecks.place(&messages(), 9, 1, 0).is_none());
        let other = rechecks.place(&plans, 9, 1, 0);
        assert!(other.is_some_and(|place| place.measured), "another context is not kept out");
        drop(places);
        assert!(rechecks.place(&messages(), 9, 1, 900).is_some_and(|place| place.measured));
    }
}
