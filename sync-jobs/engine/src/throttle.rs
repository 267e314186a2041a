//! Whether the first copy may go on, and if not, why: a pure decision over readings.
//!
//! The shell measures (a lag query, running statements, a pause file, orders of operators) and asks
//! before each chunk. A pause holds everything; the other limits hold only copying and sweeping, because a drain
//! that falls behind makes the lag and the cutover's hold longer.
//!
//! What must stay true: what cannot be measured holds the copy, it is never taken for "all is well"; the
//! reason is always given with the numbers that a person needs to judge it.

use std::fmt;
use std::time::Duration;

use banyan_domain::Side;

/// How long to wait before the readings are taken again.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// One chunk takes at most this part of a second's rows, so that a limit does not come in bursts.
const CHUNK_PART: f64 = 0.25;

/// A measured value and the highest that is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gauge<T> {
    /// What was found; the error says why nothing was.
    pub found: Result<T, String>,
    /// The highest value that is allowed.
    pub max: T,
}

/// What was measured on one side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SideReadings {
    /// The side.
    pub side: Side,
    /// How far its replicas are behind.
    pub lag: Option<Gauge<Duration>>,
    /// Statements that run at this moment.
    pub running: Option<Gauge<u64>>,
}

/// All that a decision looks at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Readings {
    /// An operator's pause: who, and why.
    pub paused: Option<(String, String)>,
    /// The pause file, if it is there.
    pub pause_file: Option<String>,
    /// The sides.
    pub sides: Vec<SideReadings>,
    /// How long the copy has to rest to stay within its rows per second, and that limit.
    pub rest: Option<(Duration, u64)>,
}

/// Why a job waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitReason {
    /// An operator paused it.
    Paused {
        /// Who.
        by: String,
        /// Why; may be empty.
        why: String,
    },
    /// The pause file is there.
    PauseFile {
        /// Its path.
        path: String,
    },
    /// A replica is behind.
    ReplicaLag {
        /// The side.
        side: Side,
        /// How far.
        lag: Duration,
        /// The limit.
        max: Duration,
    },
    /// The server is busy.
    Running {
        /// The side.
        side: Side,
        /// Statements that run.
        running: u64,
        /// The limit.
        max: u64,
    },
    /// The lag or the load could not be measured.
    Unknown {
        /// The side.
        side: Side,
        /// What was to be measured.
        what: &'static str,
        /// Why it was not.
        why: String,
    },
    /// The rows of this second are used up.
    RowsPerSecond {
        /// The limit.
        max: u64,
    },
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Go {
    /// Copy and drain.
    On,
    /// Wait at most this long, then look again.
    Wait {
        /// How long.
        pause: Duration,
        /// Why.
        because: WaitReason,
    },
}

impl WaitReason {
    /// One word for metrics.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Paused { .. } => "paused",
            Self::PauseFile { .. } => "pause-file",
            Self::ReplicaLag { .. } => "replica-lag",
            Self::Running { .. } => "running",
            Self::Unknown { .. } => "unknown",
            Self::RowsPerSecond { .. } => "rows-per-second",
        }
    }

    /// All words.
    pub const WORDS: [&'static str; 6] =
        ["paused", "pause-file", "replica-lag", "running", "unknown", "rows-per-second"];

    /// Whether the drain has to wait as well.
    pub const fn holds_drain(&self) -> bool {
        match self {
            Self::Paused { .. } | Self::PauseFile { .. } => true,
            Self::ReplicaLag { .. }
            | Self::Running { .. }
            | Self::Unknown { .. }
            | Self::RowsPerSecond { .. } => false,
        }
    }
}

impl fmt::Display for WaitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paused { by, why } if why.is_empty() => write!(f, "paused by {by}"),
            Self::Paused { by, why } => write!(f, "paused by {by}: {why}"),
            Self::PauseFile { path } => write!(f, "pause file `{path}` is there"),
            Self::ReplicaLag { side, lag, max } => write!(
                f,
                "{side} replica lag {:.1} s > {:.1} s",
                lag.as_secs_f64(),
                max.as_secs_f64()
            ),
            Self::Running { side, running, max } => {
                write!(f, "{side} runs {running} statements > {max}")
            }
            Self::Unknown { side, what, why } => write!(f, "{side} {what} is unknown: {why}"),
            Self::RowsPerSecond { max } => write!(f, "{max} rows/s reached"),
        }
    }
}

/// Whether to go on.
pub fn decide(readings: &Readings) -> Go {
    let Some(because) = reason(readings) else { return Go::On };
    let pause = match (&because, readings.rest) {
        (WaitReason::RowsPerSecond { .. }, Some((rest, _))) => rest.min(LOOK_AGAIN),
        (_, _) => LOOK_AGAIN,
    };
    Go::Wait { pause, because }
}

/// The first reason to wait: what people ordered, then what hurts others, then the own limit.
fn reason(readings: &Readings) -> Option<WaitReason> {
    if let Some((by, why)) = &readings.paused {
        return Some(WaitReason::Paused { by: by.clone(), why: why.clone() });
    }
    if let Some(path) = &readings.pause_file {
        return Some(WaitReason::PauseFile { path: path.clone() });
    }
    for SideReadings { side, lag, running } in &readings.sides {
        let side = *side;
        match lag {
            Some(Gauge { found: Err(why), .. }) => {
                return Some(WaitReason::Unknown { side, what: "replica lag", why: why.clone() });
            }
            Some(Gauge { found: Ok(lag), max }) if lag > max => {
                return Some(WaitReason::ReplicaLag { side, lag: *lag, max: *max });
            }
            Some(_) | None => {}
        }
        match running {
            Some(Gauge { found: Err(why), .. }) => {
                return Some(WaitReason::Unknown { side, what: "load", why: why.clone() });
            }
            Some(Gauge { found: Ok(running), max }) if running > max => {
                return Some(WaitReason::Running { side, running: *running, max: *max });
            }
            Some(_) | None => {}
        }
    }
    let (rest, max) = readings.rest?;
    (!rest.is_zero()).then_some(WaitReason::RowsPerSecond { max })
}

/// Keeps the copy within its rows per second: rows that were read are paid for by rest.
///
/// Time is what the caller says, so that this is pure.
#[derive(Debug, Clone, Default)]
pub struct RowBudget {
    free_at: Duration,
    rows_per_key: f64,
}

impl RowBudget {
    /// A chunk of `keys` roots had `rows` rows, at time `now`, under a limit of `max` rows per second.
    pub fn spend(&mut self, now: Duration, keys: usize, rows: usize, max: Option<u64>) {
        #[expect(clippy::cast_precision_loss, reason = "sizes of chunks, far below 2^52")]
        let (keys, rows) = (keys.max(1) as f64, rows as f64);
        let latest = rows / keys;
        let weight = if self.rows_per_key == 0.0 { 1.0 } else { 0.3 };
        self.rows_per_key += weight * (latest - self.rows_per_key);
        let Some(max) = max else {
            self.free_at = now;
            return;
        };
        #[expect(clippy::cast_precision_loss, reason = "a limit that people write")]
        let cost = Duration::from_secs_f64(rows / max.max(1) as f64);
        self.free_at = self.free_at.max(now).saturating_add(cost);
    }

    /// How long to rest at time `now`.
    pub fn rest(&self, now: Duration) -> Duration {
        self.free_at.saturating_sub(now)
    }

    /// How many keys the next chunk may have, of `keys` wished for.
    pub fn keys(&self, keys: usize, max: Option<u64>) -> usize {
        let Some(max) = max else { return keys };
        if self.rows_per_key == 0.0 {
            // Nothing is known about the rows of a key: a small first chunk tells.
            return keys.min(10);
        }
        #[expect(clippy::cast_precision_loss, reason = "a limit that people write")]
        let fits = max as f64 * CHUNK_PART / self.rows_per_key.max(0.01);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "not negative, and saturating is what is wanted"
        )]
        let fits = fits as usize;
        keys.min(fits.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn side(lag: Option<Result<u64, String>>, running: Option<Result<u64, String>>) -> Readings {
        let lag = lag.map(|found| Gauge {
            found: found.map(Duration::from_secs),
            max: Duration::from_secs(5),
        });
        let running = running.map(|found| Gauge { found, max: 40 });
        let sides = vec![SideReadings { side: Side::Legacy, lag, running }];
        Readings { sides, ..Readings::default() }
    }

    fn waits(readings: &Readings) -> String {
        match decide(readings) {
            Go::On => "on".to_owned(),
            Go::Wait { because, .. } => because.to_string(),
        }
    }

    #[test]
    fn each_reason_is_said_with_its_numbers() {
        assert_eq!(waits(&Readings::default()), "on");
        assert_eq!(waits(&side(Some(Ok(5)), Some(Ok(40)))), "on", "the limit itself is allowed");
        assert_eq!(waits(&side(Some(Ok(6)), None)), "legacy replica lag 6.0 s > 5.0 s");
        assert_eq!(waits(&side(None, Some(Ok(41)))), "legacy runs 41 statements > 40");
        let away = Some(Err("away".to_owned()));
        assert_eq!(waits(&side(away, None)), "legacy replica lag is unknown: away");
        let mut readings = side(Some(Ok(9)), None);
        readings.rest = Some((Duration::from_millis(20), 100));
        readings.pause_file = Some("stop".to_owned());
        assert_eq!(waits(&readings), "pause file `stop` is there");
        readings.paused = Some(("ada".to_owned(), "peak hour".to_owned()));
        assert_eq!(waits(&readings), "paused by ada: peak hour");
    }

    #[test]
    fn only_a_pause_holds_the_drain() {
        let held = |readings: &Readings| match decide(readings) {
            Go::On => None,
            Go::Wait { because, .. } => Some(because.holds_drain()),
        };
        assert_eq!(held(&side(Some(Ok(9)), None)), Some(false));
        let rest = Some((Duration::from_secs(9), 10));
        let readings = Readings { rest, ..Readings::default() };
        assert_eq!(held(&readings), Some(false));
        let Go::Wait { pause, .. } = decide(&readings) else { panic!("waits") };
        assert_eq!(pause, LOOK_AGAIN, "a long rest is taken in pieces, so that orders are heard");
        let paused = Some((String::new(), String::new()));
        assert_eq!(held(&Readings { paused, ..Readings::default() }), Some(true));
    }

    proptest! {
        #[test]
        fn the_rows_of_any_time_stay_within_the_limit(
            chunks in prop::collection::vec((1..50_usize, 0..400_usize), 1..60),
            max in 10..10_000_u64,
        ) {
            let mut budget = RowBudget::default();
            let (mut now, mut rows) = (Duration::ZERO, 0);
            for (keys, size) in chunks {
                now += budget.rest(now);
                budget.spend(now, keys, size, Some(max));
                rows += size;
            }
            now += budget.rest(now);
            #[expect(clippy::cast_precision_loss, reason = "small numbers")]
            let allowed = max as f64 * now.as_secs_f64();
            #[expect(clippy::cast_precision_loss, reason = "small numbers")]
            let rows = rows as f64;
            prop_assert!(rows <= allowed + 1.0, "{rows} rows in {now:?}");
        }

        #[test]
        fn a_chunk_is_never_empty_nor_larger_than_wished_for(
            keys in 1..5_000_usize, max in prop::option::of(1..100_000_u64), rows in 0..9_000_usize,
        ) {
            let mut budget = RowBudget::default();
            prop_assert!((1..=keys).contains(&budget.keys(keys, max)));
            budget.spend(Duration::ZERO, 100, rows, max);
            prop_assert!((1..=keys).contains(&budget.keys(keys, max)));
        }
    }
}
