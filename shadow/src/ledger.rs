//! Counting between two saves.
//!
//! Owns the growing tally and its limits. It exists so that memory stays bounded while the store is away: counts are
//! merged into coarser spans of time, samples lose the oldest, distinct requests lose the newest; each loss is counted.
//! What must stay true: pure; a count is never lost, only its time gets coarser.

use crate::advice::Sums;
use crate::metric;
use crate::noise::NoiseLedger;
use crate::tally::{
    DifferenceCount, Fingerprint, HiddenCount, LagCount, Outcome, OutcomeCount, Sample, TallyBatch,
};
use banyan_domain::EndpointName;
use std::collections::{BTreeMap, VecDeque};

/// Spans of time that are counted together, from fine to coarse, in ms.
const SPANS_MS: [u64; 4] = [1_000, 60_000, 3_600_000, 86_400_000];

/// Limits of what waits to be saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerLimit {
    /// Different counts, over which time gets coarser.
    pub counts: usize,
    /// Samples, over which the oldest goes.
    pub samples: usize,
    /// Distinct requests, over which the newest goes.
    pub fingerprints: usize,
}

impl Default for LedgerLimit {
    fn default() -> Self {
        Self { counts: 20_000, samples: 500, fingerprints: 100_000 }
    }
}

/// Place of a group of differences.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Group {
    pub(crate) shape: String,
    pub(crate) kind: String,
    pub(crate) severity: &'static str,
    pub(crate) transition: String,
}

type Key<K> = (u64, EndpointName, K);

/// The tally that grows.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    limit: LedgerLimit,
    /// Index into [`SPANS_MS`].
    span: usize,
    outcomes: BTreeMap<Key<(Outcome, &'static str)>, u64>,
    differences: BTreeMap<Key<Group>, u64>,
    hidden: BTreeMap<Key<String>, u64>,
    noise: NoiseLedger,
    /// By upper bound of the bucket, in ms.
    lags: BTreeMap<Key<u64>, u64>,
    samples: VecDeque<Sample>,
    fingerprints: BTreeMap<(EndpointName, u64), (u64, bool)>,
    done: Vec<u64>,
    advice: Sums,
}

impl Ledger {
    pub(crate) fn new(limit: LedgerLimit) -> Self {
        Self { limit, ..Self::default() }
    }

    pub(crate) fn outcome(
        &mut self,
        at_ms: u64,
        endpoint: &EndpointName,
        outcome: Outcome,
        reason: &'static str,
        count: u64,
    ) {
        let key = (self.start(at_ms), endpoint.clone(), (outcome, reason));
        *self.outcomes.entry(key).or_insert(0) += count;
        self.bound();
    }

    pub(crate) fn difference(&mut self, at_ms: u64, endpoint: &EndpointName, group: Group) {
        let key = (self.start(at_ms), endpoint.clone(), group);
        *self.differences.entry(key).or_insert(0) += 1;
        self.bound();
    }

    pub(crate) fn hidden(&mut self, at_ms: u64, endpoint: &EndpointName, rule: &str, count: u64) {
        let key = (self.start(at_ms), endpoint.clone(), rule.to_owned());
        *self.hidden.entry(key).or_insert(0) += count;
        self.bound();
    }

    pub(crate) fn noise(&mut self, at_ms: u64, endpoint: &EndpointName, look: NoiseLedger) {
        let start_ms = self.start(at_ms);
        self.noise.enter(start_ms, endpoint, look);
    }

    pub(crate) fn lag(&mut self, at_ms: u64, endpoint: &EndpointName, bound_ms: u64) {
        let key = (self.start(at_ms), endpoint.clone(), bound_ms);
        *self.lags.entry(key).or_insert(0) += 1;
        self.bound();
    }

    pub(crate) fn sample(&mut self, sample: Sample) {
        self.samples.push_back(sample);
        if self.samples.len() > self.limit.samples {
            self.samples.pop_front();
            metric::dropped("sample", 1);
        }
    }

    pub(crate) fn fingerprint(
        &mut self,
        at_ms: u64,
        endpoint: &EndpointName,
        fingerprint: u64,
        mismatched: bool,
    ) {
        let key = (endpoint.clone(), fingerprint);
        let full = self.fingerprints.len() >= self.limit.fingerprints;
        if full && !mismatched && !self.fingerprints.contains_key(&key) {
            metric::dropped("fingerprint", 1);
            return;
        }
        let seen = self.fingerprints.entry(key).or_insert((at_ms, mismatched));
        *seen = (seen.0.max(at_ms), seen.1 || mismatched);
    }

    /// A tagged read is in the books.
    pub(crate) fn done(&mut self, tag: u64) {
        self.done.push(tag);
    }

    pub(crate) fn advice(&mut self) -> &mut Sums {
        &mut self.advice
    }

    pub(crate) fn is_empty(&self) -> bool {
        let nothing = self.outcomes.is_empty() && self.samples.is_empty();
        nothing && self.fingerprints.is_empty() && self.noise.is_empty() && self.advice.is_empty()
    }

    /// How much waits, for the log.
    pub(crate) fn len(&self) -> usize {
        self.counts() + self.samples.len() + self.noise.len()
    }

    /// A copy of everything in the form in which it is saved.
    pub(crate) fn batch(&self) -> TallyBatch {
        let outcomes = self.outcomes.iter().map(|((at_ms, endpoint, (outcome, reason)), count)| {
            OutcomeCount {
                at_ms: *at_ms,
                endpoint: endpoint.clone(),
                outcome: outcome.as_str().to_owned(),
                reason: (*reason).to_owned(),
                count: *count,
            }
        });
        let differences =
            self.differences.iter().map(|((at_ms, endpoint, group), count)| DifferenceCount {
                at_ms: *at_ms,
                endpoint: endpoint.clone(),
                shape: group.shape.clone(),
                kind: group.kind.clone(),
                severity: group.severity.to_owned(),
                transition: group.transition.clone(),
                count: *count,
            });
        let hidden = self.hidden.iter().map(|((at_ms, endpoint, rule), count)| HiddenCount {
            at_ms: *at_ms,
            endpoint: endpoint.clone(),
            rule: rule.clone(),
            count: *count,
        });
        let fingerprints =
            self.fingerprints.iter().map(|((endpoint, fingerprint), seen)| Fingerprint {
                endpoint: endpoint.clone(),
                fingerprint: *fingerprint,
                at_ms: seen.0,
                mismatched: seen.1,
            });
        let lags = self.lags.iter().map(|((at_ms, endpoint, bound_ms), count)| LagCount {
            at_ms: *at_ms,
            endpoint: endpoint.clone(),
            bound_ms: *bound_ms,
            count: *count,
        });
        TallyBatch {
            outcomes: outcomes.collect(),
            differences: differences.collect(),
            hidden: hidden.collect(),
            samples: self.samples.iter().cloned().collect(),
            fingerprints: fingerprints.collect(),
            done: self.done.clone(),
            noise: self.noise.counts(),
            advice: self.advice.rows(),
            lags: lags.collect(),
        }
    }

    /// Takes back what could not be saved; `self` is what was counted meanwhile.
    pub(crate) fn take_back(&mut self, unsaved: Self) {
        let newer = std::mem::replace(self, unsaved);
        merge(&mut self.outcomes, newer.outcomes);
        merge(&mut self.differences, newer.differences);
        merge(&mut self.hidden, newer.hidden);
        self.noise.merge(newer.noise);
        self.advice.merge(newer.advice);
        merge(&mut self.lags, newer.lags);
        newer.samples.into_iter().for_each(|sample| self.sample(sample));
        for ((endpoint, fingerprint), (at_ms, mismatched)) in newer.fingerprints {
            self.fingerprint(at_ms, &endpoint, fingerprint, mismatched);
        }
        self.done.extend(newer.done);
        self.bound();
    }

    /// Takes everything, leaving an empty ledger of the same limits.
    pub(crate) fn take(&mut self) -> Self {
        let empty = Self::new(self.limit);
        std::mem::replace(self, empty)
    }

    fn start(&self, at_ms: u64) -> u64 {
        let span = SPANS_MS.get(self.span).copied().unwrap_or(u64::MAX);
        at_ms - at_ms % span
    }

    /// Merges counts into coarser spans of time until they fit, or time cannot get coarser.
    fn bound(&mut self) {
        while self.counts() > self.limit.counts && self.span + 1 < SPANS_MS.len() {
            self.span += 1;
            let span = SPANS_MS.get(self.span).copied().unwrap_or(u64::MAX);
            self.outcomes = coarser(std::mem::take(&mut self.outcomes), span);
            self.differences = coarser(std::mem::take(&mut self.differences), span);
            self.hidden = coarser(std::mem::take(&mut self.hidden), span);
            self.lags = coarser(std::mem::take(&mut self.lags), span);
            metric::dropped("time", 1);
        }
        while self.differences.len() > self.limit.counts {
            self.differences.pop_first();
            metric::dropped("difference", 1);
        }
    }

    fn counts(&self) -> usize {
        self.outcomes.len() + self.differences.len() + self.hidden.len() + self.lags.len()
    }
}

fn merge<K: Ord>(into: &mut BTreeMap<K, u64>, from: BTreeMap<K, u64>) {
    for (key, count) in from {
        *into.entry(key).or_insert(0) += count;
    }
}

fn coarser<K: Ord>(fine: BTreeMap<Key<K>, u64>, span: u64) -> BTreeMap<Key<K>, u64> {
    let mut coarse = BTreeMap::new();
    for ((at_ms, endpoint, key), count) in fine {
        *coarse.entry((at_ms - at_ms % span, endpoint, key)).or_insert(0) += count;
    }
    coarse
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> EndpointName {
        EndpointName::new("messages.list").unwrap()
    }

    fn total(batch: &TallyBatch) -> u64 {
        batch.outcomes.iter().map(|outcome| outcome.count).sum()
    }

    #[test]
    fn counts_survive_a_long_outage_within_the_limit_only_their_time_gets_coarser() {
        let mut ledger = Ledger::new(LedgerLimit { counts: 100, ..LedgerLimit::default() });
        for second in 0..5_000 {
            ledger.outcome(second * 1_000, &endpoint(), Outcome::Match, "", 1);
        }
        let batch = ledger.batch();
        assert_eq!(total(&batch), 5_000);
        assert!(batch.outcomes.len() <= 100, "{}", batch.outcomes.len());
    }

    #[test]
    fn what_could_not_be_saved_is_merged_with_what_came_meanwhile() {
        let mut ledger = Ledger::new(LedgerLimit::default());
        ledger.outcome(1_000, &endpoint(), Outcome::Match, "", 2);
        ledger.fingerprint(1_000, &endpoint(), 7, true);
        let unsaved = ledger.take();
        assert!(ledger.is_empty());
        ledger.outcome(1_500, &endpoint(), Outcome::Match, "", 3);
        ledger.fingerprint(2_000, &endpoint(), 7, false);
        ledger.take_back(unsaved);
        let batch = ledger.batch();
        assert_eq!((batch.outcomes.len(), total(&batch)), (1, 5));
        let seen = batch.fingerprints.first().unwrap();
        assert_eq!((batch.fingerprints.len(), seen.at_ms, seen.mismatched), (1, 2_000, true));
    }

    #[test]
    fn the_oldest_sample_and_the_newest_request_give_way() {
        let limit = LedgerLimit { samples: 2, fingerprints: 2, ..LedgerLimit::default() };
        let mut ledger = Ledger::new(limit);
        for at_ms in 1..=3 {
            let (shape, kind, body) = ("$".into(), "k".into(), serde_json::Value::Null);
            ledger.sample(Sample { at_ms, endpoint: endpoint(), shape, kind, body });
            ledger.fingerprint(at_ms, &endpoint(), at_ms, false);
        }
        ledger.fingerprint(4, &endpoint(), 4, true);
        let batch = ledger.batch();
        assert_eq!(batch.samples.iter().map(|s| s.at_ms).collect::<Vec<_>>(), [2, 3]);
        let kept: Vec<u64> = batch.fingerprints.iter().map(|f| f.fingerprint).collect();
        assert_eq!(kept, [1, 2, 4], "a mismatched request is always kept");
    }
}
