//! The promise of a watched gate, by simulation, and its price.

use super::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const CONFIDENCE: f64 = 0.95;

/// For each number of mismatches, the requests from which on a gate passes.
fn thresholds(chance: f64, needed: fn(u64, f64, f64) -> Option<u64>, count: u64) -> Vec<u64> {
    (0..count).map(|k| needed(k, chance, CONFIDENCE).unwrap_or(u64::MAX)).collect()
}

/// Whether a gate that is looked at after every request ever passes.
fn ever(requests: &[bool], passes: impl Fn(u64, u64) -> bool) -> bool {
    let mut failures = 0;
    requests.iter().zip(1..).any(|(mismatch, trials)| {
        failures += u64::from(*mismatch);
        passes(failures, trials)
    })
}

/// How often a gate passes a side with mismatches at `rate`, in percent of the worlds.
struct Passed {
    /// Looked at after every request, with the watched bound.
    watched: f64,
    /// Looked at after every request, with the bound for one look.
    plain: f64,
    /// Looked at once, at the end, with the bound for one look.
    plain_once: f64,
}

fn passed(rate: f64, chance: f64, worlds: u32, seed: u64) -> Passed {
    const REQUESTS: u64 = 20_000;
    let watched = thresholds(chance, trials_needed, 500);
    let plain = thresholds(chance, binomial::trials_needed, 500);
    let mut random = StdRng::seed_from_u64(seed);
    let mut counts = [0_u32; 3];
    for _ in 0..worlds {
        let world: Vec<bool> = (0..REQUESTS).map(|_| random.random_bool(rate)).collect();
        let over = |table: &[u64], k: u64, n: u64| {
            usize::try_from(k).ok().and_then(|k| table.get(k)).is_some_and(|needed| n >= *needed)
        };
        let failures = world.iter().filter(|mismatch| **mismatch).count() as u64;
        counts[0] += u32::from(ever(&world, |k, n| over(&watched, k, n)));
        counts[1] += u32::from(ever(&world, |k, n| over(&plain, k, n)));
        counts[2] += u32::from(over(&plain, failures, REQUESTS));
    }
    let [watched, plain, plain_once] =
        counts.map(|count| f64::from(count) * 100.0 / f64::from(worlds));
    println!(
        "seed {seed:#x}, {worlds} worlds of {REQUESTS} requests, mismatches {rate}, budget {chance}: passed by \
         watched {watched:.2} %, by plain at each look {plain:.2} %, by plain once {plain_once:.2} %"
    );
    Passed { watched, plain, plain_once }
}

fn worlds(by_default: u32) -> u32 {
    std::env::var("BANYAN_WORLDS").ok().and_then(|text| text.parse().ok()).unwrap_or(by_default)
}

#[test]
fn peeking_after_every_request_keeps_the_promise_only_with_the_watched_bound() {
    let bad = passed(0.012, 0.01, worlds(2_000), 0x5EED_0B00);
    assert!(bad.watched <= 5.0 && bad.plain > 5.0 && bad.plain > 3.0 * bad.watched);
}

#[test]
fn the_promise_holds_at_the_edge_of_the_budget() {
    // The hardest bad side misses the budget by nothing; three standard errors are left to the dice.
    let worlds = worlds(2_000);
    let edge = passed(0.01, 0.01, worlds, 0x5EED_0B02);
    let most = 5.0 + 3.0 * (5.0 * 95.0 / f64::from(worlds)).sqrt();
    assert!(edge.watched <= most && edge.plain_once <= most, "{most}");
    assert!(edge.plain > 20.0, "{}", edge.plain);
}

#[test]
fn a_side_within_the_budget_is_hardly_ever_failed_however_often_one_looks() {
    let (chance, requests, worlds) = (0.02, 4_000, 600);
    // The fewest mismatches that fail after n requests, once per n.
    let fewest = |proves: &dyn Fn(u64, u64) -> bool| -> Vec<u64> {
        let mut k = 1;
        let at = |n: u64, k: &mut u64| {
            while *k <= n && !proves(*k, n) {
                *k += 1;
            }
            *k
        };
        (1..=requests).map(|n| at(n, &mut k)).collect()
    };
    let watched = fewest(&|k, n| proves_above(k, n, chance, CONFIDENCE));
    let plain = fewest(&|k, n| binomial::at_least(k, n, chance) <= 1.0 - CONFIDENCE);
    let mut random = StdRng::seed_from_u64(0x5EED_0B01);
    let (mut by_watched, mut by_plain) = (0, 0);
    for _ in 0..worlds {
        let world: Vec<bool> = (0..requests).map(|_| random.random_bool(chance)).collect();
        let over = |table: &[u64], k: u64, n: u64| k >= table[usize::try_from(n - 1).unwrap()];
        by_watched += u32::from(ever(&world, |k, n| over(&watched, k, n)));
        by_plain += u32::from(ever(&world, |k, n| over(&plain, k, n)));
    }
    let share = |count: u32| f64::from(count) / f64::from(worlds);
    println!("seed 0x5eed0b01: failed by watched {}, plain {}", share(by_watched), share(by_plain));
    assert!(share(by_watched) <= 0.05, "watched {}", share(by_watched));
    assert!(share(by_plain) > 0.15, "plain {}", share(by_plain));
}

#[test]
fn watching_costs_a_third_more_requests() {
    for (chance, expected) in [
        (0.01, [377, 663, 1_079, 2_233]),
        (0.001, [3_787, 6_655, 10_825, 22_385]),
        (0.0001, [37_883, 66_570, 108_281, 223_905]),
    ] {
        let needed = [0, 1, 3, 10].map(|k| trials_needed(k, chance, CONFIDENCE).unwrap());
        assert_eq!(needed, expected, "{chance}");
        for (k, needed) in [0, 1, 3, 10].into_iter().zip(needed) {
            let plain = binomial::trials_needed(k, chance, CONFIDENCE).unwrap();
            assert!(needed > plain && needed < plain * 3 / 2, "{k}: {needed} against {plain}");
        }
    }
}

#[test]
fn the_closed_form_is_the_mixture() {
    // The mixture as a sum over small steps of q = c sin^2(t), under which Jeffreys' density is flat.
    let (chance, trials, failures) = (0.05_f64, 120, 2);
    let end = chance.sqrt().asin();
    let steps = 20_000;
    let mean = (0..steps)
        .map(|step| {
            let q = (end * (f64::from(step) + 0.5) / f64::from(steps)).sin().powi(2);
            let agreeing = ((1.0 - q) / (1.0 - chance)).powi(trials - failures);
            (q / chance).powi(failures) * agreeing
        })
        .sum::<f64>()
        / f64::from(steps);
    let closed = ln_evidence_below(2, 120, chance).exp();
    assert!((closed / mean - 1.0).abs() < 1e-6, "{closed} against {mean}");
}

#[test]
fn evidence_starts_at_one_and_absurd_arguments_have_an_answer() {
    assert!(ln_evidence_below(0, 0, 0.001).abs() < 1e-9);
    assert!(ln_evidence_above(0, 0, 0.001).abs() < 1e-9);
    assert!(!proves_below(0, 0, 0.001, CONFIDENCE) && !proves_above(0, 0, 0.001, CONFIDENCE));
    assert!(!proves_below(9, 3, 0.001, CONFIDENCE) && proves_above(9, 9, 0.001, CONFIDENCE));
    assert!(trials_needed(u64::MAX, 0.1, CONFIDENCE).is_none());
    assert!(lower_bound(0, 0, CONFIDENCE) <= 0.0);
    let bound = lower_bound(0, 10_000, CONFIDENCE);
    assert!(bound > 0.999 && bound < binomial::lower_bound(0, 10_000, CONFIDENCE), "{bound}");
}
