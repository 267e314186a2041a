//! When the next exchange may go.
//!
//! Owns the schedule: so many per second, or as it was recorded. Open loop: a slow side does not slow the schedule, only
//! the limit on concurrency and the throttle do. What must stay true: pure; after a stall a fixed rate does not make up
//! more than a tenth of a second, so that a stall never ends in a burst.

use std::str::FromStr;

/// What a fixed rate may make up after a stall, in microseconds.
const CATCH_UP_US: u64 = 100_000;

/// How fast to replay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rate {
    /// Exchanges per second.
    Fixed(f64),
    /// As recorded, so many times as fast.
    Timed(f64),
    /// As fast as the limit on concurrency allows.
    Max,
}

/// The schedule of one run.
#[derive(Debug)]
pub(crate) struct Pace {
    rate: Rate,
    next_us: u64,
    /// Begin of the run, and the recorded time that it stands for.
    origin: Option<(u64, u64)>,
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rule = || format!("must be `50/s`, `600/m`, `1x`, `2x` or `max`, found `{text}`");
        let number = |text: &str| {
            text.parse::<f64>()
                .ok()
                .filter(|n| n.is_finite() && *n > 0.0 && *n <= 1e6)
                .ok_or_else(rule)
        };
        if text == "max" {
            return Ok(Self::Max);
        }
        if let Some(factor) = text.strip_suffix('x') {
            return Ok(Self::Timed(number(factor)?));
        }
        match text.split_once('/') {
            Some((count, "s")) => Ok(Self::Fixed(number(count)?)),
            Some((count, "m")) => Ok(Self::Fixed(number(count)? / 60.0)),
            None | Some(_) => Err(rule()),
        }
    }
}

impl Pace {
    /// A schedule that begins at its first use.
    pub(crate) const fn new(rate: Rate) -> Self {
        Self { rate, next_us: 0, origin: None }
    }

    /// When the next exchange may go, in the microseconds of `now_us`. `share` of the rate is left by the throttle, above
    /// 0 and at most 1.
    pub(crate) fn due_us(&mut self, now_us: u64, recorded_ms: Option<u64>, share: f64) -> u64 {
        match self.rate {
            Rate::Max => now_us,
            Rate::Fixed(per_second) => {
                let due = self.next_us.max(now_us.saturating_sub(CATCH_UP_US));
                self.next_us = due.saturating_add(whole(1e6 / (per_second * share)));
                due
            }
            Rate::Timed(factor) => {
                // What has no time goes with the one before it.
                let Some(recorded_ms) = recorded_ms else { return self.next_us.max(now_us) };
                let (begin_us, first_ms) = *self.origin.get_or_insert((now_us, recorded_ms));
                let after_ms = recorded_ms.saturating_sub(first_ms);
                let after = std::time::Duration::from_millis(after_ms).as_secs_f64() * 1e6 / factor;
                self.next_us = begin_us.saturating_add(whole(after));
                self.next_us
            }
        }
    }
}

/// Whole microseconds of a share; a schedule is bounded to a century.
fn whole(us: f64) -> u64 {
    let seconds = (us / 1e6).clamp(0.0, 3.2e9);
    let duration = std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default();
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_as_people_write_them() {
        assert_eq!("50/s".parse(), Ok(Rate::Fixed(50.0)));
        assert_eq!("30/m".parse(), Ok(Rate::Fixed(0.5)));
        assert_eq!("1.5x".parse(), Ok(Rate::Timed(1.5)));
        assert_eq!("max".parse(), Ok(Rate::Max));
        for wrong in ["", "50", "0/s", "-1x", "x", "1/h", "nan/s", "infx"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_fixed_rate_is_kept_and_a_stall_makes_no_burst() {
        let mut pace = Pace::new(Rate::Fixed(100.0));
        let mut now = 5_000_000;
        for _ in 0..1_000 {
            now = pace.due_us(now, None, 1.0).max(now);
        }
        let took = now - 5_000_000;
        assert!((9_800_000..10_000_000).contains(&took), "{took}");
        now += 60_000_000;
        let at_once = (0..100).filter(|_| pace.due_us(now, None, 1.0) <= now).count();
        assert_eq!(at_once, 11);
        let throttled = pace.due_us(now, None, 0.5) + 20_000;
        assert_eq!(pace.due_us(now, None, 1.0), throttled);
    }

    #[test]
    fn recorded_times_are_kept_at_their_factor() {
        let mut pace = Pace::new(Rate::Timed(2.0));
        assert_eq!(pace.due_us(1_000, Some(50_000), 1.0), 1_000);
        assert_eq!(pace.due_us(2_000, Some(51_000), 1.0), 501_000);
        assert_eq!(pace.due_us(3_000, None, 1.0), 501_000);
        assert_eq!(pace.due_us(3_000, Some(40_000), 1.0), 1_000, "out of order: at once");
        assert_eq!(Pace::new(Rate::Max).due_us(7, None, 1.0), 7);
    }
}
