//! From a first mismatch to a verdict: lag, confirmed, or not settled.
//!
//! Owns the decision over re-reads. It exists because the sync is always a little behind while writes go on: a
//! difference only counts when both sides had the time to agree, and did not. What must stay true: pure; a mismatch is
//! confirmed only after a watch: the owner's answer was read again and again and did not move until the sync had passed
//! the start of the watch, and the other side still differs. Everything else is `lag` or inconclusive.
//!
//! The rounds before the watch are cheap and tell lag early; alone they are no proof, because a value can go and come
//! back between two rounds (an unread count does) while the other side is caught in between.
//!
//! The rejected alternative, counting mismatches above a noise threshold, hides a rare real defect and still
//! reports lag as a defect under enough writes.

use crate::Answer;
use banyan_diff::{Comparison, Verdict};

/// When a mismatch is looked at again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettleConfig {
    /// Times of the re-reads after the mismatch was seen, in ms; each later one doubles the last.
    pub delays_ms: Vec<u64>,
    /// No re-read begins later than this after the mismatch, in ms.
    pub max_wait_ms: u64,
    /// How much newer than the owner's answer the sync's watermark must be, in ms: covers clocks that differ.
    pub margin_ms: u64,
    /// Time between two looks at the owner while a mismatch is being proven, in ms.
    pub watch_every_ms: u64,
    /// Longest such watch, in ms; a sync that has not passed its start by then is behind.
    pub watch_max_ms: u64,
}

impl Default for SettleConfig {
    fn default() -> Self {
        Self {
            delays_ms: vec![250, 1_000, 4_000],
            max_wait_ms: 16_000,
            margin_ms: 1_000,
            watch_every_ms: 200,
            watch_max_ms: 3_000,
        }
    }
}

/// What the decision needs to compare answers.
pub(crate) trait Judge {
    /// The owner's answer against the other side's, in the right orientation.
    fn across(&self, owner: &Answer, other: &Answer) -> Comparison;
    /// Whether two answers of one side say the same.
    fn same(&self, earlier: &Answer, later: &Answer) -> bool;
}

/// One round of re-reads: the owner, the other side, the owner again.
pub(crate) struct Reads {
    pub(crate) before: Answer,
    pub(crate) other: Answer,
    pub(crate) after: Answer,
    /// When the round ended, in ms.
    pub(crate) ended_ms: u64,
    /// What the sync had passed before the other side was read, if a sync tells; see [`crate::LagSource`].
    pub(crate) watermark_ms: Option<u64>,
    /// Without a watermark: how long the owner must not have moved, from lags that were seen, in ms.
    pub(crate) quiet_ms: u64,
}

/// What a watch over the owner's answer saw.
pub(crate) enum Watched {
    /// The owner's answer moved.
    Moved,
    /// The sync did not pass the start of the watch in time.
    Behind,
    /// The owner's answer did not move until the sync had passed; the last answers.
    Unmoved { owner: Answer, other: Answer },
}

/// What a round, or a failed one, amounts to.
#[derive(Debug)]
pub(crate) enum Settled {
    /// Both sides agree now.
    Lag,
    /// They differ and did not move over rounds: watch the owner to prove it.
    Watch,
    /// They differ for good; the differences of the last comparison.
    Mismatch(Box<Comparison>),
    /// Only the new side failed, until the end; the last comparison.
    NewError(Box<Comparison>),
    /// Look again at this time, in ms.
    Again(u64),
    /// No verdict within the time allowed; the word of why.
    Inconclusive(&'static str),
}

/// What was seen first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Suspect {
    /// The answers differ.
    Difference,
    /// Only the new side answered 5xx; a restart passes, an error stays.
    NewError,
}

/// A mismatch on its way to a verdict.
#[derive(Debug)]
pub(crate) struct Settle {
    suspect: Suspect,
    first_ms: u64,
    rounds: usize,
    stable: Option<Stable>,
}

/// Answers that did not move since they were first in hand.
#[derive(Debug)]
struct Stable {
    owner: Answer,
    other: Answer,
    /// When the owner's answer was in hand, in ms.
    since_ms: u64,
}

impl Settle {
    /// A mismatch that was seen at `first_ms`.
    pub(crate) const fn new(suspect: Suspect, first_ms: u64) -> Self {
        Self { suspect, first_ms, rounds: 0, stable: None }
    }

    /// Both sides agree now. Of an error that went away nothing can be said: it is no lag.
    const fn agree(&self) -> Settled {
        match self.suspect {
            Suspect::Difference => Settled::Lag,
            Suspect::NewError => Settled::Inconclusive("transient_error"),
        }
    }

    /// When the mismatch was seen, in ms.
    pub(crate) const fn first_ms(&self) -> u64 {
        self.first_ms
    }

    /// When the first round is due, in ms; nothing if the configuration allows none.
    pub(crate) fn first_due(&self, config: &SettleConfig) -> Option<u64> {
        self.due(config)
    }

    /// Bytes of answers it keeps between rounds.
    pub(crate) fn bytes(&self) -> usize {
        self.stable.as_ref().map_or(0, |stable| stable.owner.bytes() + stable.other.bytes())
    }

    /// Takes a round in which a side gave no answer.
    pub(crate) fn failed(&mut self, config: &SettleConfig) -> Settled {
        self.rounds += 1;
        self.stable = None;
        self.again(config, "side_down")
    }

    /// Takes a round of re-reads.
    pub(crate) fn step(
        &mut self,
        config: &SettleConfig,
        judge: &impl Judge,
        reads: Reads,
    ) -> Settled {
        self.rounds += 1;
        let across = judge.across(&reads.after, &reads.other);
        match across.verdict {
            Verdict::Match | Verdict::MatchNormalised => self.agree(),
            Verdict::Inconclusive(why) => Settled::Inconclusive(why.as_str()),
            Verdict::NewError if self.rounds >= config.delays_ms.len() => {
                Settled::NewError(Box::new(across))
            }
            Verdict::NewError | Verdict::LegacyError | Verdict::BothError => {
                self.stable = None;
                self.again(config, "server_error")
            }
            Verdict::Mismatch(_) if judge.same(&reads.before, &reads.after) => {
                self.differ(config, judge, reads)
            }
            Verdict::Mismatch(_) => {
                self.stable = None;
                if judge.across(&reads.before, &reads.other).verdict.is_match() {
                    return self.agree();
                }
                self.again(config, "still_moving")
            }
        }
    }

    /// The owner did not move within the round and the sides differ.
    fn differ(&mut self, config: &SettleConfig, judge: &impl Judge, reads: Reads) -> Settled {
        let earlier = self.stable.take();
        let unmoved = earlier.filter(|stable| judge.same(&stable.owner, &reads.after));
        let Some(stable) = unmoved else {
            let since_ms = reads.ended_ms;
            self.stable = Some(Stable { owner: reads.after, other: reads.other, since_ms });
            return self.again(config, "still_moving");
        };
        let since_ms = stable.since_ms;
        let other_unmoved = judge.same(&stable.other, &reads.other);
        let wanting = if other_unmoved {
            self.unproven(config, &reads, since_ms)
        } else {
            Some("still_moving")
        };
        self.stable = Some(Stable { owner: reads.after, other: reads.other, since_ms });
        wanting.map_or(Settled::Watch, |why| self.again(config, why))
    }

    /// Takes what a watch saw; only this confirms a mismatch.
    pub(crate) fn watched(
        &mut self,
        config: &SettleConfig,
        judge: &impl Judge,
        watched: &Watched,
    ) -> Settled {
        let (owner, other) = match watched {
            Watched::Unmoved { owner, other } => (owner, other),
            Watched::Moved => {
                self.stable = None;
                return self.again(config, "still_moving");
            }
            Watched::Behind => return self.again(config, "sync_behind"),
        };
        let across = judge.across(owner, other);
        match across.verdict {
            Verdict::Match | Verdict::MatchNormalised => self.agree(),
            Verdict::Mismatch(_) => Settled::Mismatch(Box::new(across)),
            Verdict::Inconclusive(why) => Settled::Inconclusive(why.as_str()),
            Verdict::NewError | Verdict::LegacyError | Verdict::BothError => {
                self.stable = None;
                self.again(config, "server_error")
            }
        }
    }

    /// What is wanting before unmoved answers are worth a watch.
    fn unproven(
        &self,
        config: &SettleConfig,
        reads: &Reads,
        since_ms: u64,
    ) -> Option<&'static str> {
        if let Some(passed) = reads.watermark_ms {
            return (passed < since_ms.saturating_add(config.margin_ms)).then_some("sync_behind");
        }
        let quiet = reads.ended_ms.saturating_sub(since_ms) >= reads.quiet_ms;
        (self.rounds < config.delays_ms.len() || !quiet).then_some("still_moving")
    }

    fn again(&self, config: &SettleConfig, why: &'static str) -> Settled {
        self.due(config).map_or(Settled::Inconclusive(why), Settled::Again)
    }

    /// When the next round is due: the configured times, then each twice the last.
    fn due(&self, config: &SettleConfig) -> Option<u64> {
        let last = config.delays_ms.last().copied()?;
        let delay = config.delays_ms.get(self.rounds).copied().unwrap_or_else(|| {
            let doublings = (self.rounds + 1 - config.delays_ms.len()).min(20);
            last.saturating_mul(1 << doublings)
        });
        (delay <= config.max_wait_ms).then(|| self.first_ms.saturating_add(delay))
    }
}

#[cfg(test)]
mod tests;
