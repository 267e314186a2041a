//! A proof that may be looked at after every request: the bound of a watched gate.
//!
//! Owns two e-processes for a share of mismatches, one against "at least the budget", one against "at most the budget".
//! It exists because the exact bound of [`crate::binomial`] holds for one look at a number of requests fixed beforehand.
//! Who looks every minute and stops at the first pass gives a bad side many chances. What must stay true: whatever the
//! moment of looking, a side that misses the budget passes with a chance of at most 1 - confidence, once and for all;
//! and the same for a side that keeps the budget and fails.
//!
//! # Derivation
//! Let the requests disagree independently with chance p. For any q below the budget c the product of the factors q/c
//! (a mismatch) and (1-q)/(1-c) (agreement) is a nonnegative supermartingale from 1 whenever p >= c: the mean of a factor is
//! p q/c + (1-p)(1-q)/(1-c), which is 1 at p = c and falls in p. So is its mixture over q with any density on (0, c), here
//! Jeffreys' Beta(1/2, 1/2) cut off at c. After n requests with k mismatches the mixture is
//!
//! ```text
//! E(n, k) = B(k+1/2, n-k+1/2) I_c(k+1/2, n-k+1/2) / ( pi I_c(1/2, 1/2) c^k (1-c)^(n-k) )
//! ```
//!
//! and Ville's inequality bounds the chance that it *ever* reaches 1/a by a. The other test mixes over (c, 1).
//! A mismatch that is found on a request seen before only lowers E, so late mismatches keep the promise; a beginning that
//! moves with the clock does not, so a watched gate needs a fixed one.
//!
//! Sources: Ville 1939; Robbins 1970, "Statistical methods related to the law of the iterated logarithm" (mixtures);
//! Krichevsky and Trofimov 1981 (this prior); Howard, Ramdas, McAuliffe, Sekhon 2021, "Time-uniform, nonparametric,
//! nonasymptotic confidence sequences"; Waudby-Smith and Ramdas 2024, "Estimating means of bounded random variables by betting".
//! Rejected: spending the error over planned looks (needs a plan), Hoeffding-type mixtures (several times more requests at shares
//! near one).

use crate::binomial::{self, float, ln_beta, ln_incomplete_beta};

/// Parameter of the prior.
const HALF: f64 = 0.5;

/// Logarithm of the evidence that the chance of a mismatch is below `chance`.
pub fn ln_evidence_below(failures: u64, trials: u64, chance: f64) -> f64 {
    let (a, b) = posterior(failures, trials);
    ln_ratio(a, b, chance) + ln_incomplete_beta(a, b, chance)
        - ln_incomplete_beta(HALF, HALF, chance)
}

/// Logarithm of the evidence that the chance of a mismatch is above `chance`.
pub fn ln_evidence_above(failures: u64, trials: u64, chance: f64) -> f64 {
    let (a, b) = posterior(failures, trials);
    let rest = 1.0 - chance;
    ln_ratio(a, b, chance) + ln_incomplete_beta(b, a, rest) - ln_incomplete_beta(HALF, HALF, rest)
}

/// Whether the evidence proves, at `confidence`, a chance of mismatches of at most `chance`.
pub fn proves_below(failures: u64, trials: u64, chance: f64, confidence: f64) -> bool {
    trials > 0 && ln_evidence_below(failures, trials, chance) >= -(1.0 - confidence).ln()
}

/// Whether the evidence proves, at `confidence`, a chance of mismatches of at least `chance`.
pub fn proves_above(failures: u64, trials: u64, chance: f64, confidence: f64) -> bool {
    failures > 0 && ln_evidence_above(failures, trials, chance) >= -(1.0 - confidence).ln()
}

/// The fewest trials after which `failures` failures prove a chance of at most `chance`; `None` when no sensible number does.
pub fn trials_needed(failures: u64, chance: f64, confidence: f64) -> Option<u64> {
    binomial::fewest(failures, |trials| proves_below(failures, trials, chance, confidence))
}

/// Lower bound of the share of agreeing requests that holds at every look.
pub fn lower_bound(failures: u64, trials: u64, confidence: f64) -> f64 {
    binomial::largest_share(|share| proves_below(failures, trials, 1.0 - share, confidence))
}

fn posterior(failures: u64, trials: u64) -> (f64, f64) {
    (float(failures) + HALF, float(trials.saturating_sub(failures)) + HALF)
}

/// The mixture over the whole of (0, 1) against the budget.
fn ln_ratio(a: f64, b: f64, chance: f64) -> f64 {
    ln_beta(a, b)
        - std::f64::consts::PI.ln()
        - (a - HALF) * chance.ln()
        - (b - HALF) * (-chance).ln_1p()
}

#[cfg(test)]
mod tests;
