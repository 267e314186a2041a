//! When a job's progress is worth a line, and how long it still takes.
//!
//! Pure: time is what the caller says. What must stay true: one line per ten seconds or ten percent, and for a
//! new state, but never more than one per second for states that come and go; no estimate before one
//! percent was done under our eyes.

use banyan_sync_jobs::{JobState, ProgressEvent};
use std::time::Duration;

const EVERY: Duration = Duration::from_secs(10);
const STATE_GAP: Duration = Duration::from_secs(1);

/// What was shown of one job.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    printed: Option<(Duration, JobState)>,
    tenth: u64,
    began: Option<Began>,
}

/// Where the present copy was when it was first seen.
#[derive(Debug, Clone, Copy)]
struct Began {
    at: Duration,
    done: u64,
    total: u64,
}

impl Pace {
    /// Whether to print a line at time `now`.
    pub(crate) fn is_due(&mut self, now: Duration, event: &ProgressEvent) -> bool {
        let tenth = (event.done * 10).checked_div(event.total).unwrap_or(0);
        let due = match self.printed {
            None => true,
            Some((at, state)) => {
                let since = now.saturating_sub(at);
                let changed = state != event.state;
                since >= EVERY
                    || tenth > self.tenth
                    || changed && (since >= STATE_GAP || is_news(event.state))
            }
        };
        if due {
            self.printed = Some((now, event.state));
        }
        // A new copy begins with the first tenth again.
        if due || tenth < self.tenth {
            self.tenth = tenth;
        }
        due
    }

    /// How long the copy still takes, from its own pace.
    pub(crate) fn eta(&mut self, now: Duration, event: &ProgressEvent) -> Option<Duration> {
        if event.total == 0 {
            self.began = None;
            return None;
        }
        let fresh = Began { at: now, done: event.done, total: event.total };
        let same = |began: &Began| began.total == event.total && began.done <= event.done;
        let began = *self.began.filter(same).get_or_insert(fresh);
        self.began = Some(began);
        let (moved, left) = (event.done - began.done, event.total.saturating_sub(event.done));
        if left == 0 || moved == 0 || moved.saturating_mul(100) < event.total {
            return None;
        }
        let elapsed = now.saturating_sub(began.at);
        #[expect(clippy::cast_precision_loss, reason = "an estimate for people")]
        let factor = left as f64 / moved as f64;
        Duration::try_from_secs_f64(elapsed.as_secs_f64() * factor).ok()
    }
}

/// States that nobody may miss.
fn is_news(state: JobState) -> bool {
    match state {
        JobState::Failing | JobState::Done | JobState::Stopped => true,
        JobState::Starting
        | JobState::Waiting
        | JobState::Listing
        | JobState::Copying
        | JobState::Following
        | JobState::Verifying => false,
    }
}

/// `3m07s`, `12s`, `2h05m`.
pub(crate) fn short(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600.. => format!("{}h{:02}m", seconds / 3_600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use banyan_domain::Side;
    use banyan_sync_jobs::Counters;

    fn at(state: JobState, done: u64, total: u64) -> ProgressEvent {
        ProgressEvent {
            job: "people".to_owned(),
            context: "messages".to_owned(),
            to: Side::New,
            state,
            reason: None,
            done,
            total,
            rows_per_second: 0.0,
            lag_ms: None,
            pending: 0,
            counters: Counters::default(),
        }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_line_comes_per_ten_seconds_or_ten_percent_and_for_news() {
        let mut pace = Pace::default();
        let copying = |done| at(JobState::Copying, done, 1_000);
        assert!(pace.is_due(ms(0), &copying(0)), "the first");
        assert!(!pace.is_due(ms(9_999), &copying(99)));
        assert!(pace.is_due(ms(10_000), &copying(99)), "ten seconds");
        assert!(pace.is_due(ms(10_100), &copying(100)), "ten percent");
        assert!(!pace.is_due(ms(10_200), &copying(199)));
        assert!(!pace.is_due(ms(10_300), &at(JobState::Waiting, 199, 1_000)), "comes and goes");
        assert!(pace.is_due(ms(11_200), &at(JobState::Waiting, 199, 1_000)), "stays");
        assert!(pace.is_due(ms(11_201), &at(JobState::Failing, 199, 1_000)), "nobody may miss it");
        assert!(!pace.is_due(ms(11_300), &copying(0)), "a new copy begins");
        assert!(pace.is_due(ms(11_400), &copying(100)), "and has its own tenths");
    }

    #[test]
    fn a_throttled_copy_that_flaps_prints_at_most_one_line_per_second() {
        let mut pace = Pace::default();
        let mut lines = 0;
        for n in 0..600 {
            let state = if n % 2 == 0 { JobState::Copying } else { JobState::Waiting };
            lines += u32::from(pace.is_due(ms(n * 10), &at(state, 10, 100_000)));
        }
        assert!(lines <= 7, "{lines} lines in six seconds");
    }

    #[test]
    fn there_is_no_estimate_before_one_percent_was_done_under_our_eyes() {
        let mut pace = Pace::default();
        let copying = |done| at(JobState::Copying, done, 10_000);
        // Half of it was done by a run before.
        assert_eq!(pace.eta(ms(0), &copying(5_000)), None);
        assert_eq!(pace.eta(ms(1_000), &copying(5_099)), None);
        assert_eq!(pace.eta(ms(2_000), &copying(5_200)), Some(ms(48_000)));
        assert_eq!(pace.eta(ms(50_000), &copying(10_000)), None, "done");
        assert_eq!(pace.eta(ms(51_000), &copying(0)), None, "another copy");
        assert_eq!(pace.eta(ms(52_000), &at(JobState::Following, 0, 0)), None);
    }

    #[test]
    fn times_are_short() {
        assert_eq!(short(ms(12_900)), "12s");
        assert_eq!(short(ms(187_000)), "3m07s");
        assert_eq!(short(Duration::from_mins(125)), "2h05m");
    }
}
