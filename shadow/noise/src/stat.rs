//! The three numbers behind a decision about noise.
//!
//! Owns the sign test, Benjamini-Hochberg and the Wilson interval. It exists so that the formulas stand in one place with
//! their exact tests. What must stay true: total for all counts; the sign test is exact, never a normal approximation.

use banyan_report::binomial;

/// 97.5 % point of the normal distribution: a two-sided interval of 95 %.
const Z: f64 = 1.959_963_984_540_054;

/// P(X >= `new_alone`) for X binomial with `new_alone + legacy_alone` trials and chance 1/2.
///
/// If new is just another legacy, a request on which exactly one of the two re-reads differs from the first answer is as
/// likely to be one kind as the other, whatever the rate of the noise. This is therefore exact for any noise.
pub fn sign_test(new_alone: u64, legacy_alone: u64) -> f64 {
    binomial::at_least(new_alone, new_alone.saturating_add(legacy_alone), 0.5)
}

/// The fewest requests on which new alone must differ to be called real at `alpha`, next to `legacy_alone` requests on
/// which legacy alone did. Nothing when no sensible number does.
pub fn needed(legacy_alone: u64, alpha: f64) -> Option<u64> {
    let proves = |new_alone| sign_test(new_alone, legacy_alone) < alpha;
    let mut high = legacy_alone.checked_add(1)?;
    while !proves(high) {
        high = high.checked_mul(2).filter(|high| *high < 1 << 40)?;
    }
    let mut low = legacy_alone;
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

/// Which of the tests with these p-values are significant when among those called so a share of at most `alpha` may be
/// wrong (Benjamini and Hochberg's step-up procedure).
pub fn benjamini_hochberg(p_values: &[f64], alpha: f64) -> Vec<bool> {
    let mut sorted = p_values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let count = float(sorted.len() as u64);
    let below = |(rank, p): (u64, &f64)| *p < alpha * float(rank) / count;
    let passing = (1..).zip(&sorted).filter(|ranked| below(*ranked)).map(|(_, p)| *p);
    let threshold = passing.last();
    p_values.iter().map(|p| threshold.is_some_and(|threshold| *p <= threshold)).collect()
}

/// The 95 % Wilson interval of a share, as shares; `(0, 1)` when nothing was tried.
pub fn wilson(part: u64, whole: u64) -> (f64, f64) {
    if whole == 0 {
        return (0.0, 1.0);
    }
    let (n, share) = (float(whole), float(part.min(whole)) / float(whole));
    let centre = share + Z * Z / (2.0 * n);
    let spread = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + Z * Z / n;
    (((centre - spread) / scale).max(0.0), ((centre + spread) / scale).min(1.0))
}

#[expect(clippy::cast_precision_loss, reason = "counts beyond 2^53 are not counted one by one")]
const fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn the_sign_test_is_exact() {
        assert!(close(sign_test(0, 0), 1.0) && close(sign_test(0, 9), 1.0));
        assert!(close(sign_test(10, 0), 1.0 / 1_024.0));
        // 1 + 10 + 45 of 1,024.
        assert!(close(sign_test(8, 2), 56.0 / 1_024.0));
        assert!(close(sign_test(1, 1), 0.75));
        assert!(sign_test(u64::MAX, u64::MAX).is_finite());
    }

    #[test]
    fn the_power_is_stated_in_counts() {
        let table = [0, 1, 2, 5, 10, 50, 100].map(|c| needed(c, 1e-4).unwrap());
        for (c, b) in [0, 1, 2, 5, 10, 50, 100].into_iter().zip(table) {
            assert!(sign_test(b, c) < 1e-4 && sign_test(b - 1, c) >= 1e-4, "{b} beside {c}");
        }
        assert_eq!(table, [14, 17, 20, 26, 36, 96, 161]);
        assert_eq!(needed(0, 0.0), None);
    }

    #[test]
    fn the_step_up_procedure_takes_all_below_the_last_that_passes() {
        assert_eq!(benjamini_hochberg(&[], 0.05), Vec::<bool>::new());
        // The textbook case: 0.04 alone would fail at 0.05 / 4 * 3, but all four pass with it at rank 4.
        assert_eq!(benjamini_hochberg(&[0.04, 0.01, 0.03, 0.049], 0.05), [true; 4]);
        assert_eq!(benjamini_hochberg(&[0.04, 0.2, 0.01], 0.05), [false, false, true]);
        assert_eq!(benjamini_hochberg(&[1.0, 1.0], 0.05), [false, false]);
    }

    #[test]
    fn wilson_is_known_and_holds_its_share() {
        let (low, high) = wilson(0, 30);
        assert!(low == 0.0 && (high - 0.1135).abs() < 1e-4, "{high}");
        let (low, high) = wilson(5, 10);
        assert!((low - 0.2366).abs() < 1e-4 && (high - 0.7634).abs() < 1e-4);
        assert_eq!(wilson(0, 0), (0.0, 1.0));
        for whole in 1..60 {
            for part in 0..=whole {
                let (low, high) = wilson(part, whole);
                let share = float(part) / float(whole);
                assert!(0.0 <= low && low <= share + 1e-12 && share <= high + 1e-12 && high <= 1.0);
            }
        }
    }
}
