//! The account of reads: what became of each, in memory until it is saved.
//!
//! Owns the shared ledger and the promise that a read leaves exactly one outcome. What must stay true: the lock is held
//! for map operations only; an [`Account`] that is dropped without a verdict (a task was stopped) counts as lost.

use crate::advice::Sums;
use crate::ask::Failure;
use crate::ledger::{Ledger, LedgerLimit};
use crate::noise::NoiseLedger;
use crate::queue::SkipCounter;
use crate::redact::Redaction;
use crate::sample::{self, Case};
use crate::tally::{Outcome, Sample, TallyBatch};
use crate::undeclared::Collector;
use crate::{MirrorRequest, SkipReason, event, lag, metric};
use banyan_diff::{Comparison, Fragment, Part, Severity, Tally};
use banyan_domain::EndpointName;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Groups whose samples are limited apart; beyond, all start anew.
const QUOTA_GROUPS_MAX: usize = 10_000;

/// Upper bounds of convergence times, in ms, and the word of each.
const LAG_BOUNDS: [(u64, &str); 6] = [
    (250, "le_250ms"),
    (1_000, "le_1s"),
    (2_000, "le_2s"),
    (4_000, "le_4s"),
    (8_000, "le_8s"),
    (16_000, "le_16s"),
];
const LAG_OVER: &str = "over_16s";

/// Endpoint, shape and kind.
type SampleGroup = (EndpointName, String, String);

/// The ledger that all tasks write.
pub(crate) struct Books {
    ledger: Mutex<Ledger>,
    redaction: Redaction,
    quota: Mutex<HashMap<SampleGroup, (u64, u32)>>,
    samples_per_minute: u32,
    lost: AtomicU64,
}

/// One read that must get an outcome.
pub(crate) struct Account {
    books: Arc<Books>,
    endpoint: EndpointName,
    at_ms: u64,
    /// Tells whoever replays that this read is in the books.
    tag: Option<u64>,
    open: bool,
}

impl Books {
    pub(crate) fn new(limit: LedgerLimit, redaction: Redaction, samples_per_minute: u32) -> Self {
        let ledger = Mutex::new(Ledger::new(limit));
        let quota = Mutex::new(HashMap::new());
        Self { ledger, redaction, quota, samples_per_minute, lost: AtomicU64::new(0) }
    }

    /// Opens the account of a read.
    pub(crate) fn open(self: &Arc<Self>, endpoint: &EndpointName, at_ms: u64) -> Account {
        Account { books: self.clone(), endpoint: endpoint.clone(), at_ms, tag: None, open: true }
    }

    /// Reads that were lost at shutdown.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Acquire)
    }

    /// Enters the skips that the queue counted.
    pub(crate) fn enter_skips(&self, counter: &SkipCounter, now_ms: u64) {
        for (endpoint, reason, count) in counter.take() {
            self.ledger().outcome(now_ms, &endpoint, Outcome::Skipped, reason.as_str(), count);
        }
    }

    /// Enters what a look for noise saw.
    pub(crate) fn noise(&self, endpoint: &EndpointName, at_ms: u64, look: NoiseLedger) {
        self.ledger().noise(at_ms, endpoint, look);
    }

    /// A value in the form in which it may be stored.
    pub(crate) fn redacted(&self, part: &Part, value: &Fragment) -> String {
        self.redaction.hidden(part, value)
    }

    /// Counts what candidate rules explain.
    pub(crate) fn enter_suggestions(
        &self,
        endpoint: &EndpointName,
        at_ms: u64,
        tallies: Vec<Tally>,
    ) {
        self.ledger().advice().tallies(endpoint, at_ms, tallies);
    }

    /// Counts undeclared requests, when it is time or nothing comes after.
    pub(crate) fn enter_undeclared(&self, collector: &mut Collector, now_ms: u64, last: bool) {
        collector.collect();
        if last || collector.is_due(now_ms) {
            let mut sums = Sums::default();
            collector.take(now_ms, &mut sums);
            self.ledger().advice().merge(sums);
        }
    }

    /// Takes everything that waits to be saved, if anything does.
    pub(crate) fn take(&self) -> Option<(Ledger, TallyBatch)> {
        let ledger = self.ledger().take();
        (!ledger.is_empty()).then(|| {
            let batch = ledger.batch();
            (ledger, batch)
        })
    }

    /// Takes back what could not be saved and tells how much waits.
    pub(crate) fn take_back(&self, unsaved: Ledger) -> usize {
        let mut ledger = self.ledger();
        ledger.take_back(unsaved);
        ledger.len()
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether another sample of this group is wanted in this minute.
    fn wants_sample(&self, sample: &Sample) -> bool {
        let minute = sample.at_ms / 60_000;
        let mut quota = self.quota.lock().unwrap_or_else(PoisonError::into_inner);
        if quota.len() >= QUOTA_GROUPS_MAX {
            quota.clear();
        }
        let key = (sample.endpoint.clone(), sample.shape.clone(), sample.kind.clone());
        let (of, used) = quota.entry(key).or_insert((minute, 0));
        if *of < minute {
            (*of, *used) = (minute, 0);
        }
        *used += 1;
        *used <= self.samples_per_minute
    }
}

impl Account {
    /// The same account, whose tag is saved together with its outcome.
    pub(crate) fn tagged(mut self, tag: u64) -> Self {
        self.tag = Some(tag);
        self
    }

    /// It was not compared.
    pub(crate) fn skip(self, reason: SkipReason) {
        metric::skipped(&self.endpoint, reason);
        self.close(Outcome::Skipped, reason.as_str(), |_, _| {});
    }

    /// It could not be compared, for a word of why.
    pub(crate) fn inconclusive(self, why: &'static str) {
        self.close(Outcome::Inconclusive, why, |_, _| {});
    }

    /// Both sides were seen to agree, or new showed what legacy had shown, while legacy moved on.
    pub(crate) fn raced(self, request: &MirrorRequest) {
        self.close(Outcome::Lag, "raced", |this, ledger| {
            this.evidence(ledger, request, Outcome::Lag);
        });
    }

    /// The sides never showed the same version.
    pub(crate) fn not_comparable(self) {
        self.close(Outcome::NotComparable, "", |_, _| {});
    }

    /// A side gave no answer.
    pub(crate) fn fail(self, failure: Failure) {
        match failure {
            Failure::Skip(reason) => self.skip(reason),
            Failure::Inconclusive(why) => self.inconclusive(why),
        }
    }

    /// Both sides were seen to agree `after_ms` after the client was answered; `measured_ms` is the lag where it was
    /// looked for closely.
    pub(crate) fn lag(self, request: &MirrorRequest, after_ms: u64, measured_ms: Option<u64>) {
        let after_ms = measured_ms.unwrap_or(after_ms);
        let bound = LAG_BOUNDS.iter().find(|(bound, _)| after_ms <= *bound);
        let seconds = std::time::Duration::from_millis(after_ms).as_secs_f64();
        metric::lag(&self.endpoint, seconds);
        let word = bound.map_or(LAG_OVER, |(_, word)| word);
        self.close(Outcome::Lag, word, |this, ledger| {
            this.evidence(ledger, request, Outcome::Lag);
            if let Some(lag_ms) = measured_ms {
                ledger.lag(this.at_ms, &this.endpoint, lag::bound(lag_ms));
            }
        });
    }

    /// The one comparison decided, and not as a mismatch.
    pub(crate) fn compared(
        self,
        request: &MirrorRequest,
        outcome: Outcome,
        comparison: &Comparison,
    ) {
        self.close(outcome, "", |this, ledger| {
            this.hidden(ledger, comparison);
            this.evidence(ledger, request, outcome);
        });
    }

    /// A mismatch is confirmed.
    pub(crate) fn mismatch(self, case: &Case<'_>, comparison: &Comparison) {
        let worst = comparison.differences.iter().map(|difference| difference.severity).max();
        let severity = worst.map_or("", Severity::as_str);
        event::mismatch_confirmed(&self.endpoint, severity, comparison.total_differences);
        self.found(Outcome::Mismatch, severity, case, comparison);
    }

    /// An error of new is confirmed.
    pub(crate) fn new_error(self, case: &Case<'_>, comparison: &Comparison) {
        event::new_error_confirmed(&self.endpoint);
        self.found(Outcome::NewError, "", case, comparison);
    }

    /// Counts what is against new, with its groups and an example that tells where to look.
    fn found(
        self,
        outcome: Outcome,
        reason: &'static str,
        case: &Case<'_>,
        comparison: &Comparison,
    ) {
        let sample = self.named(sample::sample(&self.books.redaction, case, comparison));
        let wanted = self.books.wants_sample(&sample);
        self.close(outcome, reason, |this, ledger| {
            this.hidden(ledger, comparison);
            this.evidence(ledger, case.request, outcome);
            for group in sample::groups(comparison) {
                ledger.difference(this.at_ms, &this.endpoint, group);
            }
            if wanted {
                ledger.sample(sample);
            }
        });
    }

    /// A sample of a replay says which exchange of the recording it is of.
    fn named(&self, mut sample: Sample) -> Sample {
        if let (Some(tag), Some(body)) = (self.tag, sample.body.as_object_mut()) {
            body.insert("recorded".to_owned(), tag.into());
        }
        sample
    }

    fn hidden(&self, ledger: &mut Ledger, comparison: &Comparison) {
        for hidden in &comparison.hidden {
            ledger.hidden(self.at_ms, &self.endpoint, &hidden.rule, hidden.count);
        }
    }

    fn evidence(&self, ledger: &mut Ledger, request: &MirrorRequest, outcome: Outcome) {
        if !outcome.is_evidence() {
            return;
        }
        let mismatched = matches!(outcome, Outcome::Mismatch | Outcome::NewError);
        let fingerprint = sample::fingerprint(&self.books.redaction, &self.endpoint, request);
        ledger.fingerprint(self.at_ms, &self.endpoint, fingerprint, mismatched);
    }

    /// Enters the outcome and all that comes with it under one lock: a save has all of a read or nothing.
    fn close(
        mut self,
        outcome: Outcome,
        reason: &'static str,
        more: impl FnOnce(&Self, &mut Ledger),
    ) {
        self.open = false;
        metric::compared(&self.endpoint, outcome);
        let mut ledger = self.books.ledger();
        more(&self, &mut ledger);
        ledger.outcome(self.at_ms, &self.endpoint, outcome, reason, 1);
        if let Some(tag) = self.tag {
            ledger.done(tag);
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if self.open {
            self.books.lost.fetch_add(1, Ordering::AcqRel);
            metric::skipped(&self.endpoint, SkipReason::Shutdown);
            // A replay asks an unfinished read again when it is resumed; counted here it would count twice.
            if self.tag.is_none() {
                let (outcome, why) = (Outcome::Skipped, SkipReason::Shutdown.as_str());
                metric::compared(&self.endpoint, outcome);
                self.books.ledger().outcome(self.at_ms, &self.endpoint, outcome, why, 1);
            }
        }
    }
}
