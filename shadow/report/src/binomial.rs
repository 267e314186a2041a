//! Exact binomial tails and the Clopper-Pearson bound.
//!
//! Owns the numerics: the regularized incomplete beta function by its continued fraction, and searches over it. It exists
//! because normal approximations are too kind exactly where a gate works, at shares near one. What must stay true: exact
//! to about ten digits up to 10^8 trials (tested against published sample sizes), total for all arguments.

/// Trials beyond which [`trials_needed`] gives up.
const TRIALS_MAX: u64 = 1 << 40;

/// Terms of the continued fraction; it needs about the root of the number of trials.
const TERMS_MAX: u32 = 200_000;

/// P(X <= `successes`) for X binomial with `trials` and chance `p`.
pub fn at_most(successes: u64, trials: u64, p: f64) -> f64 {
    if successes >= trials {
        return 1.0;
    }
    incomplete_beta(float(trials - successes), float(successes) + 1.0, 1.0 - p)
}

/// P(X >= `successes`) for X binomial with `trials` and chance `p`.
pub fn at_least(successes: u64, trials: u64, p: f64) -> f64 {
    if successes == 0 {
        return 1.0;
    }
    if successes > trials {
        return 0.0;
    }
    incomplete_beta(float(successes), float(trials - successes) + 1.0, p)
}

/// One-sided Clopper-Pearson lower bound of the share of successes, given `failures` of `trials`.
pub fn lower_bound(failures: u64, trials: u64, confidence: f64) -> f64 {
    if trials == 0 || failures >= trials {
        return 0.0;
    }
    largest_share(|share| at_most(failures, trials, 1.0 - share) <= 1.0 - confidence)
}

/// The largest share of successes that is proven; `proven` holds below some share and not above it.
pub(crate) fn largest_share(proven: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..80 {
        let middle = f64::midpoint(low, high);
        if proven(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

/// The fewest trials after which `failures` failures prove, at `confidence`, a failure chance of at most `chance`.
/// `None` when no sensible number does.
pub fn trials_needed(failures: u64, chance: f64, confidence: f64) -> Option<u64> {
    fewest(failures, |trials| at_most(failures, trials, chance) <= 1.0 - confidence)
}

/// The fewest trials, more than `failures`, that prove; once proven, more trials prove too.
pub(crate) fn fewest(failures: u64, proves: impl Fn(u64) -> bool) -> Option<u64> {
    let mut high = failures.checked_add(1)?;
    while !proves(high) {
        high = high.checked_mul(2).filter(|trials| *trials <= TRIALS_MAX)?;
    }
    let mut low = failures;
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if proves(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    Some(high)
}

/// Regularized incomplete beta function I_x(a, b).
fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    ln_incomplete_beta(a, b, x).exp()
}

/// Its logarithm, which keeps its digits where the function itself is next to zero.
pub(crate) fn ln_incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x.is_nan() || x <= 0.0 {
        return f64::NEG_INFINITY;
    }
    if x >= 1.0 {
        return 0.0;
    }
    let front = a * x.ln() + b * (-x).ln_1p() - ln_beta(a, b);
    let value = if x < (a + 1.0) / (a + b + 2.0) {
        front + (fraction(a, b, x) / a).ln()
    } else {
        (-(front.exp() * fraction(b, a, 1.0 - x) / b).min(1.0)).ln_1p()
    };
    value.min(0.0)
}

/// Logarithm of the beta function.
pub(crate) fn ln_beta(a: f64, b: f64) -> f64 {
    ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b)
}

/// The continued fraction of the incomplete beta function, by Lentz' method.
fn fraction(a: f64, b: f64, x: f64) -> f64 {
    let nonzero = |value: f64| if value.abs() < 1e-300 { 1e-300 } else { value };
    let mut upper = 1.0;
    let mut lower = 1.0 / nonzero(1.0 - (a + b) * x / (a + 1.0));
    let mut value = lower;
    for term in 1..=TERMS_MAX {
        let n = f64::from(term);
        let even = n * (b - n) * x / ((a + 2.0 * n - 1.0) * (a + 2.0 * n));
        let odd = -(a + n) * (a + b + n) * x / ((a + 2.0 * n) * (a + 2.0 * n + 1.0));
        let before = value;
        for factor in [even, odd] {
            lower = 1.0 / nonzero(1.0 + factor * lower);
            upper = nonzero(1.0 + factor / upper);
            value *= lower * upper;
        }
        if (value - before).abs() <= value.abs() * 1e-15 {
            break;
        }
    }
    value
}

/// Logarithm of the gamma function for positive arguments: Stirling's series, after lifting small arguments.
fn ln_gamma(x: f64) -> f64 {
    const SERIES: [f64; 5] =
        [1.0 / 12.0, -1.0 / 360.0, 1.0 / 1_260.0, -1.0 / 1_680.0, 1.0 / 1_188.0];
    let (mut x, mut lifted) = (x, 0.0);
    while x < 12.0 {
        lifted += x.ln();
        x += 1.0;
    }
    let inverse_square = 1.0 / (x * x);
    let series = SERIES.iter().rev().fold(0.0, |sum, term| sum * inverse_square + term) / x;
    (x - 0.5) * x.ln() - x + 0.5 * std::f64::consts::TAU.ln() + series - lifted
}

#[expect(clippy::cast_precision_loss, reason = "counts of requests stay far below 2^53")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same tail as a sum of its terms.
    fn sum_at_most(successes: u64, trials: u64, p: f64) -> f64 {
        let mut term = (float(trials) * (-p).ln_1p()).exp();
        let mut sum = term;
        for i in 0..successes {
            term *= float(trials - i) / float(i + 1) * p / (1.0 - p);
            sum += term;
        }
        sum
    }

    #[test]
    fn tails_agree_with_the_sum_of_their_terms() {
        for trials in [1, 2, 10, 299, 4_742, 50_000] {
            for successes in [0, 1, 3, 10, 60] {
                for p in [0.0001, 0.001, 0.01, 0.3] {
                    if successes >= trials || float(trials) * p > 600.0 {
                        continue;
                    }
                    let (exact, sum) =
                        (at_most(successes, trials, p), sum_at_most(successes, trials, p));
                    assert!((exact - sum).abs() < 1e-9, "{successes} {trials} {p}: {exact} {sum}");
                    let rest = at_least(successes + 1, trials, p);
                    assert!((exact + rest - 1.0).abs() < 1e-9, "{successes} {trials} {p}");
                }
            }
        }
    }

    #[test]
    fn needed_trials_are_those_of_the_design() {
        for (chance, expected) in [
            (0.01, [299, 473, 773, 1_693]),
            (0.001, [2_995, 4_742, 7_752, 16_959]),
            (0.0001, [29_956, 47_437, 77_535, 169_619]),
        ] {
            let needed =
                [0, 1, 3, 10].map(|failures| trials_needed(failures, chance, 0.95).unwrap());
            assert_eq!(needed, expected, "{chance}");
        }
    }

    #[test]
    fn lower_bound_is_where_the_tail_meets_the_confidence() {
        let bound = lower_bound(0, 2_995, 0.95);
        assert!(bound >= 0.999 && lower_bound(0, 2_994, 0.95) < 0.999, "{bound}");
        assert!((lower_bound(0, 1, 0.95) - 0.05).abs() < 1e-9);
        assert!(lower_bound(0, 0, 0.95) == 0.0 && lower_bound(5, 5, 0.95) == 0.0);
    }

    #[test]
    fn absurd_arguments_have_an_answer() {
        assert!(trials_needed(0, 0.0, 0.95).is_none());
        assert!(trials_needed(u64::MAX, 0.1, 0.95).is_none());
        assert!(at_most(10_000, 10_000_000, 0.001).is_finite());
        assert!(at_least(1 << 40, 1 << 41, 0.5).is_finite());
        assert!((at_most(5, 3, 0.5) - 1.0).abs() < f64::EPSILON);
    }
}
