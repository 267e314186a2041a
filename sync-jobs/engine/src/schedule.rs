//! When a job runs: cron slots in a time zone, and what to do about slots that were missed.
//!
//! A *slot* is a moment that the cron expression names, in Unix milliseconds. The shell keeps one number,
//! the last slot that is decided; [`Schedule::decide`] says from it, the time and whether a run is under way
//! what to do now. It exists apart so that clock changes and outages are tested without a clock.
//!
//! What must stay true: slots are decided in order and each once; the next slot is always later than
//! the moment it is asked for; what is not run is reported with its reason, never lost silently; the work of
//! one decision is bounded, however long the scheduler was away.

use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

#[cfg(test)]
mod tests;

/// Slots that one decision looks at; what is older is passed over without being counted.
const LOOK_MAX: usize = 10_000;
/// The longest jitter and deadline: [`LOOK_MAX`] slots, one per minute, reach behind both of them.
const LONGEST: Duration = Duration::from_hours(24);
/// Missed slots that `all` still runs, the newest ones.
pub const CATCH_UP_MAX: usize = 24;

/// What happens to slots that could not start within their deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Missed {
    /// They are not run.
    Skip,
    /// One run stands for all of them, and for a slot that is due at the moment.
    One,
    /// Each is run, in order, at most the newest [`CATCH_UP_MAX`].
    All,
}

/// What happens to a slot that comes while a run is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Overlap {
    /// It is not run.
    Forbid,
    /// It waits for the end of the run.
    Queue,
}

/// The rules beside the expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScheduleRules {
    /// Each slot starts up to this much later, by a fixed amount per job and slot.
    pub jitter: Duration,
    /// A slot that could not start this long after its time is missed.
    pub deadline: Duration,
    /// What happens to missed slots.
    pub missed: Missed,
    /// What happens to slots during a run.
    pub overlap: Overlap,
}

/// A schedule of one job.
#[derive(Debug, Clone)]
pub struct Schedule {
    job: String,
    text: String,
    cron: Cron,
    zone: Tz,
    rules: ScheduleRules,
}

/// An expression or rule that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// The cron expression is wrong.
    #[error("`{text}` is no cron expression of five fields (minute hour day month weekday): {why}")]
    Cron {
        /// As it was written.
        text: String,
        /// What is wrong.
        why: String,
    },
    /// The expression never comes true.
    #[error("`{text}` names a moment that never comes")]
    Never {
        /// As it was written.
        text: String,
    },
    /// The time zone is not known.
    #[error("`{name}` is no time zone of the IANA database, such as `Europe/Berlin`")]
    Zone {
        /// As it was written.
        name: String,
    },
    /// The rules contradict each other.
    #[error("`missed = \"all\"` runs every slot, so it needs `overlap = \"queue\"`")]
    AllNeedsQueue,
    /// Jitter or deadline is too long to tell slots apart.
    #[error("`{key}` must be at most one day")]
    TooLong {
        /// Which of them.
        key: &'static str,
    },
}

/// Slots that are not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// The first of them.
    pub first_ms: i64,
    /// The last of them.
    pub last_ms: i64,
    /// How many; at least so many when `more`.
    pub count: usize,
    /// Whether there were older ones that nobody counted.
    pub more: bool,
}

/// Why slots are not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PassReason {
    /// They could not start in time.
    Missed,
    /// A run was under way.
    Overlap,
    /// More were missed than are made up for.
    Dropped,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Nothing before this moment; nothing ever when there is none.
    Wait {
        /// When the next slot starts.
        until_ms: Option<i64>,
    },
    /// A slot is due and waits for the run that is under way.
    WaitForRun {
        /// The slot.
        slot_ms: i64,
    },
    /// Take note that these slots are not run, then ask again.
    Pass {
        /// The slots.
        passed: Passed,
        /// Why.
        why: PassReason,
    },
    /// Run this slot.
    Run {
        /// The slot; it is decided now, and so is all before it.
        slot_ms: i64,
        /// Missed slots that this run stands for.
        folded: Option<Passed>,
    },
}

impl Missed {
    /// The policy of this word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Skip, Self::One, Self::All].into_iter().find(|policy| policy.as_str() == word)
    }

    /// The word of the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::One => "one",
            Self::All => "all",
        }
    }
}

impl Overlap {
    /// The policy of this word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Forbid, Self::Queue].into_iter().find(|policy| policy.as_str() == word)
    }

    /// The word of the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forbid => "forbid",
            Self::Queue => "queue",
        }
    }
}

impl PassReason {
    /// One word for metrics and output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missed => "missed",
            Self::Overlap => "overlap",
            Self::Dropped => "dropped",
        }
    }
}

impl Default for ScheduleRules {
    /// No jitter, one minute to start, one run for all that was missed, no run beside another.
    fn default() -> Self {
        Self {
            jitter: Duration::ZERO,
            deadline: Duration::from_mins(1),
            missed: Missed::One,
            overlap: Overlap::Forbid,
        }
    }
}

impl Schedule {
    /// The schedule of a job.
    ///
    /// # Errors
    /// [`ScheduleError`] for an expression that is wrong or never comes true, an unknown zone, or rules that
    /// contradict each other.
    pub fn new(
        job: &str,
        text: &str,
        zone: &str,
        rules: ScheduleRules,
    ) -> Result<Self, ScheduleError> {
        let parser =
            CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(text).map_err(|error| ScheduleError::Cron {
            text: text.to_owned(),
            why: error.to_string(),
        })?;
        let zone = Tz::from_str(zone).map_err(|_| ScheduleError::Zone { name: zone.to_owned() })?;
        if rules.missed == Missed::All && rules.overlap == Overlap::Forbid {
            return Err(ScheduleError::AllNeedsQueue);
        }
        for (key, length) in [("jitter", rules.jitter), ("deadline", rules.deadline)] {
            if length > LONGEST {
                return Err(ScheduleError::TooLong { key });
            }
        }
        let schedule = Self { job: job.to_owned(), text: text.to_owned(), cron, zone, rules };
        // An expression that comes true at all does so within the eight years between two leap days.
        if schedule.next_after(946_684_800_000).is_none() {
            return Err(ScheduleError::Never { text: text.to_owned() });
        }
        Ok(schedule)
    }

    /// The expression as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The time zone.
    pub fn zone(&self) -> &str {
        self.zone.name()
    }

    /// The rules.
    pub fn rules(&self) -> ScheduleRules {
        self.rules
    }

    /// All names of time zones, for suggestions.
    pub fn zones() -> impl Iterator<Item = &'static str> {
        chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name())
    }

    /// The first slot later than this moment.
    pub fn next_after(&self, ms: i64) -> Option<i64> {
        let next = self.cron.find_next_occurrence(&self.at(ms)?, false).ok()?;
        Some(next.timestamp() * 1_000).filter(|slot| *slot > ms)
    }

    /// When a slot starts: its own time plus its jitter.
    pub fn starts_ms(&self, slot_ms: i64) -> i64 {
        let jitter_ms = u64::try_from(self.rules.jitter.as_millis()).unwrap_or(u64::MAX);
        if jitter_ms == 0 {
            return slot_ms;
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.job.as_bytes()).update(&slot_ms.to_be_bytes());
        let mut first = [0; 8];
        first.copy_from_slice(hasher.finalize().as_bytes().first_chunk::<8>().unwrap_or(&[0; 8]));
        let late = u64::from_be_bytes(first) % jitter_ms.saturating_add(1);
        slot_ms.saturating_add(i64::try_from(late).unwrap_or(i64::MAX))
    }

    /// What to do at `now_ms`, when all slots up to `last_ms` are decided.
    pub fn decide(&self, last_ms: i64, now_ms: i64, running: bool) -> Decision {
        let (slots, more) = self.due(last_ms, now_ms);
        let Some((first, last)) = slots.first().copied().zip(slots.last().copied()) else {
            let until_ms = self.next_after(last_ms).map(|slot| self.starts_ms(slot));
            return Decision::Wait { until_ms };
        };
        let passed = |slots: &[i64]| {
            let (first_ms, last_ms) = slots.first().copied().zip(slots.last().copied())?;
            Some(Passed { first_ms, last_ms, count: slots.len(), more })
        };
        let pass = |slots: &[i64], why| match passed(slots) {
            Some(passed) => Decision::Pass { passed, why },
            None => Decision::Run { slot_ms: first, folded: None },
        };
        if running {
            return match self.rules.overlap {
                Overlap::Forbid => pass(&slots, PassReason::Overlap),
                Overlap::Queue => Decision::WaitForRun { slot_ms: first },
            };
        }
        let late = slots.iter().take_while(|slot| self.is_late(**slot, now_ms)).count();
        let (late, _) = slots.split_at(late);
        match self.rules.missed {
            _ if late.is_empty() => Decision::Run { slot_ms: first, folded: None },
            Missed::Skip => pass(late, PassReason::Missed),
            Missed::One => {
                let (_, folded) = slots.split_last().unwrap_or((&last, &[]));
                Decision::Run { slot_ms: last, folded: passed(folded) }
            }
            Missed::All if late.len() > CATCH_UP_MAX => {
                let (dropped, _) = late.split_at(late.len().saturating_sub(CATCH_UP_MAX));
                pass(dropped, PassReason::Dropped)
            }
            Missed::All => Decision::Run { slot_ms: first, folded: None },
        }
    }

    fn is_late(&self, slot_ms: i64, now_ms: i64) -> bool {
        let deadline = i64::try_from(self.rules.deadline.as_millis()).unwrap_or(i64::MAX);
        now_ms > self.starts_ms(slot_ms).saturating_add(deadline)
    }

    /// Slots after `last_ms` whose start has come, in order, the newest if there are too many.
    fn due(&self, last_ms: i64, now_ms: i64) -> (Vec<i64>, bool) {
        let mut slots = Vec::new();
        let mut at = self.at(now_ms);
        let mut inclusive = true;
        let mut more = false;
        while let Some(from) = at {
            let Ok(slot) = self.cron.find_previous_occurrence(&from, inclusive) else { break };
            let ms = slot.timestamp() * 1_000;
            if ms <= last_ms {
                break;
            }
            if slots.len() == LOOK_MAX {
                more = true;
                break;
            }
            slots.push(ms);
            inclusive = false;
            at = Some(slot);
        }
        slots.reverse();
        // In order: a slot whose start has come waits for an earlier one whose jitter is longer.
        let started = slots.iter().take_while(|slot| self.starts_ms(**slot) <= now_ms).count();
        slots.truncate(started);
        (slots, more)
    }

    /// The moment in the schedule's zone, in whole seconds.
    fn at(&self, ms: i64) -> Option<DateTime<Tz>> {
        let utc: DateTime<Utc> = DateTime::from_timestamp(ms.div_euclid(1_000), 0)?;
        Some(utc.with_timezone(&self.zone))
    }
}
