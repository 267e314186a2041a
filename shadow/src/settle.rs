//! From a first mismatch to a verdict: lag, confirmed, or not settled.
//!
//! Owns the decision over re-reads. It exists because the sync is always a little behind while writes go on: a
//! difference only counts when both sides had the time to agree, and did not. What must stay true: pure; a mismatch is
//! confirmed only after a watch: the owner's answer was read again and again and did not move *where the sides differ*
//! until the sync had passed the start of the watch, and the other side still differs there. Everything else is `lag`,
//! not comparable or inconclusive.
//!
//! Settlement is per place ([`crate::moves`]): a counter that moves in every answer keeps no other field from being
//! confirmed, and is not confirmed itself, unless its presence, type or class is wrong.
//!
//! The rounds before the watch are cheap and tell lag early; alone they are no proof, because a value can go and come
//! back between two rounds (an unread count does) while the other side is caught in between.
//!
//! The rejected alternative, counting mismatches above a noise threshold, hides a rare real defect and still
//! reports lag as a defect under enough writes.

use crate::Answer;
use crate::moves::{self, Moves, Stand};
use crate::probe::Looks;
use banyan_diff::{Comparison, Difference, Verdict};
use banyan_domain::Side;
use std::collections::BTreeSet;

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
    /// Without a watermark: how long the owner is watched at the least, in ms. A sync that is later than this can make a
    /// false mismatch until such a lag was seen; from then on the watch takes twice the longest lag seen lately.
    pub quiet_ms: u64,
    /// Longest such watch with a watermark, in ms; a sync that has not passed its start by then is behind.
    pub watch_max_ms: u64,
}

impl Default for SettleConfig {
    fn default() -> Self {
        Self {
            delays_ms: vec![250, 1_000, 4_000],
            max_wait_ms: 16_000,
            margin_ms: 1_000,
            watch_every_ms: 200,
            quiet_ms: 6_000,
            watch_max_ms: 10_000,
        }
    }
}

/// What the decision needs to compare answers.
pub(crate) trait Judge {
    /// The owner's answer against the other side's, in the right orientation.
    fn across(&self, owner: &Answer, other: &Answer) -> Comparison;
    /// Two answers of one side, one after the other.
    fn within(&self, earlier: &Answer, later: &Answer) -> Comparison;
    /// The side whose answers the other one follows.
    fn owner(&self) -> Side;
    /// Whether both answers say which version they show, and it is not the same.
    fn other_version(&self, owner: &Answer, other: &Answer, across: &Comparison) -> bool;
}

/// An answer of each side.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub(crate) owner: Answer,
    pub(crate) other: Answer,
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
    /// Without a watermark: how long the owner must be watched, from lags that were seen, in ms.
    pub(crate) quiet_ms: u64,
}

/// What a watch over the owner's answer saw.
pub(crate) enum Watched {
    /// The owner's answer moved wherever the sides differ.
    Moved,
    /// The sync did not pass the start of the watch in time.
    Behind,
    /// The other side shows what the client had seen; the lag in ms, if it can be told.
    Agreed(Option<u64>),
    /// What differs did not move until the sync had passed; the last answers.
    Unmoved(Pair),
}

/// What a round, or a failed one, amounts to.
#[derive(Debug)]
pub(crate) enum Settled {
    /// Both sides agree now, and the owner did not move meanwhile; the lag in ms, where it was measured.
    Lag(Option<u64>),
    /// Both sides agree, or the other side shows what the owner showed before; but the owner moved, so that how late the
    /// other side is cannot be told.
    Raced,
    /// They differ and did not move over rounds: watch the owner to prove it.
    Watch,
    /// They differ for good.
    Mismatch(Box<Proof>),
    /// Only the new side failed, until the end; the last comparison.
    NewError(Box<Comparison>),
    /// Look again at this time, in ms.
    Again(u64),
    /// The sides never showed the same version.
    NotComparable,
    /// No verdict within the time allowed; the word of why.
    Inconclusive(&'static str),
}

/// A confirmed mismatch: the differences that stood until the end, and the answers that show them.
#[derive(Debug)]
pub(crate) struct Proof {
    pub(crate) comparison: Comparison,
    pub(crate) answers: Pair,
}

/// What was seen first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Suspect {
    /// The answers differ.
    Difference,
    /// Only the new side answered 5xx; a restart passes, an error stays.
    NewError,
    /// Only the new side did not answer in time; a busy moment passes, a request that hangs stays.
    Silence,
}

/// Rounds in which new must be silent, after the first time, before that is its error.
const SILENCES: usize = 2;

/// A mismatch on its way to a verdict.
#[derive(Debug)]
pub(crate) struct Settle {
    suspect: Suspect,
    first_ms: u64,
    rounds: usize,
    /// The answers of the first comparison.
    pub(crate) first: Pair,
    /// The owner's last answer, whether or not it moved since.
    owner: Answer,
    /// Where the owner moved since the client was answered.
    moves: Moves,
    stable: Option<Stable>,
    /// Rounds in which new did not answer in time; nothing once it did.
    silences: Option<usize>,
    /// The looks for the moment of agreement, where the lag is measured.
    pub(crate) looks: Option<Looks>,
}

/// Differences that stood over rounds.
#[derive(Debug)]
struct Stable {
    other: Answer,
    /// Those of the last round.
    standing: Vec<Difference>,
    /// When the owner's answer was first in hand, in ms.
    since_ms: u64,
}

impl Settle {
    /// A mismatch that was seen at `first_ms`.
    pub(crate) fn new(suspect: Suspect, first_ms: u64, first: Pair) -> Self {
        let owner = first.owner.clone();
        let moves = Moves::default();
        let (stable, looks) = (None, None);
        let silences = Some(0);
        Self { suspect, first_ms, rounds: 0, first, owner, moves, stable, silences, looks }
    }

    /// Both sides agree now. Of an error that went away nothing can be said: it is no lag.
    fn agree(&self) -> Settled {
        match self.suspect {
            Suspect::Difference if self.moves.is_empty() => Settled::Lag(None),
            Suspect::Difference => Settled::Raced,
            Suspect::NewError => Settled::Inconclusive("transient_error"),
            Suspect::Silence => Settled::Inconclusive("timeout"),
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
        let stable = self.stable.as_ref().map_or(0, |stable| stable.other.bytes());
        self.first.owner.bytes() + self.first.other.bytes() + self.owner.bytes() + stable
    }

    /// Takes a round in which a side gave no answer, for a word of why.
    pub(crate) fn failed(&mut self, config: &SettleConfig, why: &'static str) -> Settled {
        self.rounds += 1;
        self.stable = None;
        self.again(config, why)
    }

    /// Takes a round in which legacy answered and new did not in time; `silence` is that, compared.
    pub(crate) fn silent(&mut self, config: &SettleConfig, silence: Comparison) -> Settled {
        let settled = self.failed(config, "timeout");
        let silences = self.silences.map_or(0, |silences| silences + 1);
        self.silences = self.silences.map(|_| silences);
        let stays = self.suspect == Suspect::Silence && silences >= SILENCES;
        if stays && silence.verdict == Verdict::NewError {
            return Settled::NewError(Box::new(silence));
        }
        settled
    }

    /// Takes a round of re-reads.
    pub(crate) fn step(
        &mut self,
        config: &SettleConfig,
        judge: &impl Judge,
        reads: &Reads,
    ) -> Settled {
        self.rounds += 1;
        self.silences = None;
        let across = judge.across(&reads.after, &reads.other);
        match across.verdict {
            Verdict::Match | Verdict::MatchNormalised => {
                self.moves.note(&judge.within(&self.owner, &reads.after));
                self.agree()
            }
            Verdict::Inconclusive(why) => Settled::Inconclusive(why.as_str()),
            Verdict::NewError if self.rounds >= config.delays_ms.len() => {
                Settled::NewError(Box::new(across))
            }
            Verdict::NewError | Verdict::LegacyError | Verdict::BothError => {
                self.stable = None;
                self.again(config, "server_error")
            }
            Verdict::Mismatch(_) => self.differ(config, judge, reads, &across),
        }
    }

    /// The sides differ.
    fn differ(
        &mut self,
        config: &SettleConfig,
        judge: &impl Judge,
        reads: &Reads,
        across: &Comparison,
    ) -> Settled {
        let since_last = judge.within(&self.owner, &reads.before);
        let within = judge.within(&reads.before, &reads.after);
        let moved = !(since_last.verdict.is_match() && within.verdict.is_match());
        self.moves.note(&since_last);
        self.moves.note(&within);
        if moved && self.raced(judge, reads, across) {
            return self.agree();
        }
        let other_version = judge.other_version(&reads.after, &reads.other, across);
        self.owner = reads.after.clone();
        if other_version {
            self.stable = None;
            let again = self.due(config);
            return again.map_or(Settled::NotComparable, Settled::Again);
        }
        let standing = self.standing(judge, across, &reads.other);
        if standing.is_empty() {
            self.stable = None;
            return self.again(config, "still_moving");
        }
        let other = reads.other.clone();
        let Some(stable) = self.stable.take() else {
            self.stable = Some(Stable { other, standing, since_ms: reads.ended_ms });
            return self.again(config, "still_moving");
        };
        let wanting = self.unproven(config, reads, stable.since_ms);
        self.stable = Some(Stable { other, standing, since_ms: stable.since_ms });
        wanting.map_or(Settled::Watch, |why| self.again(config, why))
    }

    /// The differences that stand: the owner did not move there since the client was answered, nor did the other side
    /// since the last round; or the other side's value is of another class than the owner ever had, twice.
    fn standing(&self, judge: &impl Judge, across: &Comparison, other: &Answer) -> Vec<Difference> {
        let mut other_moves = Moves::default();
        if let Some(stable) = &self.stable {
            other_moves.note(&judge.within(&stable.other, other));
        }
        let owner = judge.owner();
        let before = self.stable.as_ref().map(|stable| places(&stable.standing));
        let stands = |difference: &Difference, stand: Stand| match (stand, &before) {
            (Stand::Moving, _) => false,
            (_, None) => true,
            (Stand::OutOfClass, Some(before)) => before.contains(difference.location.path.as_str()),
            (Stand::Still, Some(_)) => other_moves.stand(difference, owner) == Stand::Still,
        };
        let standing = moves::standing(across, &self.moves, owner);
        standing.filter(|(d, stand)| stands(d, *stand)).map(|(d, _)| d.clone()).collect()
    }

    /// The owner moved, and wherever the other side differs from its last answer, it shows what an earlier one showed.
    fn raced(&self, judge: &impl Judge, reads: &Reads, across: &Comparison) -> bool {
        let Some(differences) = whole(across) else { return false };
        let mut left: BTreeSet<_> = differences.iter().map(moves::place).collect();
        for earlier in [&reads.before, &self.owner, &self.first.owner] {
            let differs = judge.across(earlier, &reads.other);
            if differs.verdict.is_match() {
                return true;
            }
            let Some(differences) = whole(&differs) else { continue };
            let there: BTreeSet<_> = differences.iter().map(moves::place).collect();
            left.retain(|place| there.contains(place));
        }
        left.is_empty()
    }

    /// Takes a look at the owner during a watch; false when nothing that differs is left where it did not move.
    pub(crate) fn look(&mut self, judge: &impl Judge, owner: Answer) -> bool {
        self.moves.note(&judge.within(&self.owner, &owner));
        self.owner = owner;
        let Some(stable) = &self.stable else { return false };
        let side = judge.owner();
        stable.standing.iter().any(|d| self.moves.stand(d, side) != Stand::Moving)
    }

    /// Takes what a watch saw; only this confirms a mismatch.
    pub(crate) fn watched(
        &mut self,
        config: &SettleConfig,
        judge: &impl Judge,
        watched: Watched,
    ) -> Settled {
        let answers = match watched {
            Watched::Unmoved(answers) => answers,
            Watched::Moved => {
                self.stable = None;
                return self.again(config, "still_moving");
            }
            Watched::Agreed(lag_ms) => return Settled::Lag(lag_ms),
            Watched::Behind => return self.again(config, "sync_behind"),
        };
        let across = judge.across(&answers.owner, &answers.other);
        match across.verdict {
            Verdict::Match | Verdict::MatchNormalised => self.agree(),
            Verdict::Inconclusive(why) => Settled::Inconclusive(why.as_str()),
            Verdict::NewError | Verdict::LegacyError | Verdict::BothError => {
                self.stable = None;
                self.again(config, "server_error")
            }
            Verdict::Mismatch(_)
                if judge.other_version(&answers.owner, &answers.other, &across) =>
            {
                self.stable = None;
                self.due(config).map_or(Settled::NotComparable, Settled::Again)
            }
            Verdict::Mismatch(_) => self.proven(config, judge, across, answers),
        }
    }

    /// What stood in the rounds and still does after the watch is confirmed; nothing else is.
    fn proven(
        &mut self,
        config: &SettleConfig,
        judge: &impl Judge,
        across: Comparison,
        answers: Pair,
    ) -> Settled {
        let Some(stable) = self.stable.take() else { return self.again(config, "still_moving") };
        let stood = places(&stable.standing);
        let side = judge.owner();
        let moves = &self.moves;
        let stands = |difference: &Difference| {
            stood.contains(difference.location.path.as_str())
                && moves.stand(difference, side) != Stand::Moving
        };
        if !across.differences.iter().any(stands) {
            return self.again(config, "still_moving");
        }
        let comparison = moves::reduced(across, stands);
        Settled::Mismatch(Box::new(Proof { comparison, answers }))
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
        if reads.quiet_ms > config.max_wait_ms {
            return Some("sync_behind");
        }
        (self.rounds < config.delays_ms.len()).then_some("still_moving")
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

fn places(differences: &[Difference]) -> BTreeSet<&str> {
    differences.iter().map(|difference| difference.location.path.as_str()).collect()
}

/// All differences of a mismatch; nothing when some are not listed, or when it is none.
fn whole(comparison: &Comparison) -> Option<&[Difference]> {
    let listed = u64::try_from(comparison.differences.len()).ok()?;
    let all = matches!(comparison.verdict, Verdict::Mismatch(_))
        && listed == comparison.total_differences;
    all.then_some(&comparison.differences)
}

#[cfg(test)]
mod tests;
