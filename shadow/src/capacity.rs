//! How much shadow traffic a side gets.
//!
//! Owns the decision for each request to a side: its rate, its number at once, and how much less of both while the side
//! suffers. It exists so that shadow reads are never the load that brings a side down, the monolith least of all. What
//! must stay true: pure (times and answers in, decisions out); never above the configured limits; when the side is slow,
//! fails or asks for rest, the share halves at once, and grows back by small steps and only on good answers; it never
//! becomes nothing, so that the end of the trouble is noticed.
//!
//! A side suffers when answers are several times slower than its own usual ones for the same endpoints, when many more
//! answers than usual are errors, when it answers 429 or 503, or when it cannot be reached. What is usual is learned from
//! the answers themselves. While a side gets less, it rises by a fifth per hundred seconds only, so a side that is slower
//! for good is accepted after some minutes.

use banyan_domain::EndpointName;
use std::collections::BTreeMap;

/// Limits of the shadow traffic to one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CapacityConfig {
    /// Requests per second, mirrored reads and re-reads together.
    pub per_second: u32,
    /// Requests at once.
    pub at_once: usize,
}

impl Default for CapacityConfig {
    fn default() -> Self {
        Self { per_second: 300, at_once: 4 }
    }
}

/// What a request is for; under pressure the less important ones are refused first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The first read of a comparison.
    Mirror,
    /// A re-read that decides about a mismatch.
    Reread,
    /// A look that only measures lag.
    Look,
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The configured limit is reached.
    OverCapacity,
    /// The side suffers and gets less.
    BackingOff,
}

/// What an answer says about its side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sign {
    /// Answered, after so many ms.
    Fine(u64),
    /// Answered with a 5xx.
    Errored,
    /// Asked for rest, for so many ms if it said how long.
    Overloaded(Option<u64>),
    /// Could not be reached, or did not answer in time.
    Unreachable,
}

/// How a side stands, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It gets all it is allowed.
    Free,
    /// It gets less.
    BackingOff,
    /// It gets nothing until a time that it named.
    Resting,
}

/// Signs are judged together over this time, in ms ..
const WINDOW_MS: u64 = 1_000;
/// .. or longer, until there are so many, ..
const WINDOW_SIGNS: u32 = 8;
/// .. but not longer than this, in ms.
const WINDOW_MAX_MS: u64 = 10_000;
/// Answers that are so many times slower than usual mean that the side suffers.
const SLOW: f64 = 2.5;
/// Added to all times before they are compared, in ms: a jump from 1 to 30, as when clients come to an idle side, is no
/// trouble that shadow reads made.
const SLACK_MS: f64 = 20.0;
/// More errors than twice the usual share and this mean that it suffers.
const ERRORS: f64 = 0.2;
/// Smallest share.
const SHARE_MIN: f64 = 1.0 / 64.0;
/// Growth of the share per window of good answers.
const GROWTH: f64 = 0.05;
/// Smallest rate, per second.
const RATE_MIN: f64 = 1.0;
/// Longest rest that a side can ask for, in ms.
const REST_MAX_MS: u64 = 300_000;
/// How much the logarithm of a usual time rises per window at most, while the side gets all ..
const RISE: f64 = 0.01;
/// .. and while it gets less.
const RISE_REDUCED: f64 = 0.002;
/// The part of the way down that a usual time goes per window.
const FALL: f64 = 0.05;
/// Windows in which a usual time is learned as their mean.
const LEARNED: u32 = 20;
/// Endpoints whose usual times are known apart; beyond, all are learned anew.
const ENDPOINTS_MAX: usize = 10_000;

/// The shadow traffic to one side.
#[derive(Debug)]
pub(crate) struct Capacity {
    config: CapacityConfig,
    share: f64,
    in_flight: usize,
    /// Requests that may be sent now.
    saved: f64,
    last_ms: Option<u64>,
    rest_until_ms: u64,
    window: Window,
    /// Halved in this window already.
    halved: bool,
    usual: BTreeMap<EndpointName, Usual>,
    usual_errors: f64,
    told: Standing,
}

/// The time of an endpoint's answers.
#[derive(Debug, Clone, Copy)]
struct Usual {
    /// Logarithm of what is usual, in ms with the slack.
    log: f64,
    windows: u32,
    /// Sum and number of the logarithms in this window.
    sum: f64,
    answers: u32,
}

/// Signs that are judged together.
#[derive(Debug, Clone, Copy, Default)]
struct Window {
    since_ms: Option<u64>,
    fine: u32,
    errors: u32,
    /// Sum of the logarithms of times over the usual ones.
    slower: f64,
}

impl Capacity {
    pub(crate) fn new(config: CapacityConfig) -> Self {
        Self {
            config,
            share: 1.0,
            in_flight: 0,
            saved: 0.0,
            last_ms: None,
            rest_until_ms: 0,
            window: Window::default(),
            halved: false,
            usual: BTreeMap::new(),
            usual_errors: 0.0,
            told: Standing::Free,
        }
    }

    /// The share of its allowance that the side gets, 0 to 1.
    pub(crate) const fn share(&self) -> f64 {
        self.share
    }

    /// Whether one more request may be sent; if so, [`Self::answered`] or [`Self::abandoned`] must follow.
    pub(crate) fn admit(&mut self, now_ms: u64, purpose: Purpose) -> Result<(), Refused> {
        self.earn(now_ms);
        if now_ms < self.rest_until_ms {
            return Err(Refused::BackingOff);
        }
        let kept = match purpose {
            Purpose::Reread => 0.0,
            Purpose::Mirror => 0.2,
            Purpose::Look => 0.5,
        };
        let affordable = self.saved >= 1.0 + kept * self.burst();
        if !affordable || self.in_flight >= self.at_once() {
            return Err(self.refusal());
        }
        self.saved -= 1.0;
        self.in_flight += 1;
        Ok(())
    }

    /// A request was given up before it said anything.
    pub(crate) fn abandoned(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// A request was answered, or failed.
    pub(crate) fn answered(&mut self, now_ms: u64, endpoint: &EndpointName, sign: Sign) {
        self.abandoned();
        self.window.since_ms.get_or_insert(now_ms);
        match sign {
            Sign::Fine(ms) => {
                self.window.fine += 1;
                self.window.slower += self.slower(endpoint, ms);
            }
            Sign::Errored => self.window.errors += 1,
            Sign::Overloaded(rest_ms) => {
                self.window.errors += 1;
                let rest_ms = rest_ms.unwrap_or(0).min(REST_MAX_MS);
                self.rest_until_ms = self.rest_until_ms.max(now_ms.saturating_add(rest_ms));
                self.halve();
            }
            Sign::Unreachable => {
                self.window.errors += 1;
                self.halve();
            }
        }
        self.judge(now_ms);
    }

    /// How the side stands, when that changed since it was last told.
    pub(crate) fn change(&mut self, now_ms: u64) -> Option<Standing> {
        let standing = if now_ms < self.rest_until_ms {
            Standing::Resting
        } else if self.share < 1.0 {
            Standing::BackingOff
        } else {
            Standing::Free
        };
        (standing != self.told).then(|| {
            self.told = standing;
            standing
        })
    }

    /// Judges the window when it is over.
    fn judge(&mut self, now_ms: u64) {
        let signs = self.window.fine + self.window.errors;
        let age_ms = now_ms.saturating_sub(self.window.since_ms.unwrap_or(now_ms));
        if age_ms < WINDOW_MS || (signs < WINDOW_SIGNS && age_ms < WINDOW_MAX_MS) {
            return;
        }
        let window = std::mem::take(&mut self.window);
        let errors = f64::from(window.errors) / f64::from(signs.max(1));
        let slower = (window.slower / f64::from(window.fine.max(1))).exp();
        let enough = signs >= WINDOW_SIGNS;
        if enough && (slower > SLOW || errors > 2.0 * self.usual_errors + ERRORS) {
            self.halve();
        } else if !self.halved && window.fine > 0 {
            self.share = (self.share + GROWTH).min(1.0);
        }
        self.usual_errors += (errors - self.usual_errors) * 0.02;
        let rise = if self.share < 1.0 { RISE_REDUCED } else { RISE };
        self.usual.values_mut().for_each(|usual| usual.learn(rise));
        self.halved = false;
    }

    fn halve(&mut self) {
        if !self.halved {
            self.share = (self.share / 2.0).max(SHARE_MIN);
            self.saved = self.saved.min(self.burst());
            self.halved = true;
        }
    }

    /// The logarithm of a time over the usual one of its endpoint.
    fn slower(&mut self, endpoint: &EndpointName, ms: u64) -> f64 {
        let log = (f64::from(u32::try_from(ms).unwrap_or(u32::MAX)) + SLACK_MS).ln();
        if self.usual.len() >= ENDPOINTS_MAX {
            self.usual.clear();
        }
        let new = Usual { log, windows: 0, sum: 0.0, answers: 0 };
        let usual = self.usual.entry(endpoint.clone()).or_insert(new);
        usual.sum += log;
        usual.answers += 1;
        log - usual.log
    }

    fn rate(&self) -> f64 {
        (f64::from(self.config.per_second) * self.share).max(RATE_MIN)
    }

    /// What may be saved up: a second's worth.
    fn burst(&self) -> f64 {
        self.rate().max(2.0)
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "requests at once are few"
    )]
    fn at_once(&self) -> usize {
        ((self.config.at_once as f64 * self.share) as usize).max(1)
    }

    fn earn(&mut self, now_ms: u64) {
        let burst = self.burst();
        self.saved = match self.last_ms {
            None => burst,
            Some(last_ms) => {
                let passed = u32::try_from(now_ms.saturating_sub(last_ms)).unwrap_or(u32::MAX);
                (self.saved + self.rate() * f64::from(passed) / 1_000.0).min(burst)
            }
        };
        self.last_ms = Some(now_ms);
    }

    const fn refusal(&self) -> Refused {
        if self.share < 1.0 { Refused::BackingOff } else { Refused::OverCapacity }
    }
}

impl Usual {
    /// Follows the window's mean: down by parts, up by small steps.
    fn learn(&mut self, rise: f64) {
        if self.answers > 0 {
            let off = self.sum / f64::from(self.answers) - self.log;
            self.windows = self.windows.saturating_add(1);
            self.log += match self.windows {
                windows @ ..=LEARNED => off / f64::from(windows),
                _ if off < 0.0 => off * FALL,
                _ => off.min(rise),
            };
        }
        (self.sum, self.answers) = (0.0, 0);
    }
}

/// The time that a `retry-after` header asks for, in ms; a date counts as half a minute.
pub(crate) fn retry_after_ms(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?.trim();
    if text.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return Some(30_000);
    }
    text.parse::<u64>().ok().map(|seconds| seconds.saturating_mul(1_000))
}

#[cfg(test)]
mod tests;
