//! Planted causes: does the engine find each with its verdict, kind, place and cause, and does it stay silent under noise?
//!
//! `BANYAN_PAIRS=100000 cargo test --release -p banyan-diff --test planted -- --nocapture` is the full run;
//! `BANYAN_SEED=7` starts elsewhere.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::unnecessary_wraps,
    clippy::wildcard_enum_match_arm,
    clippy::needless_pass_by_value,
    clippy::format_push_string,
    clippy::struct_excessive_bools,
    clippy::cast_precision_loss,
    clippy::string_slice,
    clippy::explicit_auto_deref,
    reason = "a generator: causes share one signature, texts are its own, and it fails by panicking"
)]

mod answer;
mod cause;
mod dice;
mod html;
mod json;
mod noise;
mod score;
mod suggestion;
mod world;

use std::collections::BTreeMap;

use dice::Dice;
use score::Score;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// Answers that are tried until one has a place for a cause.
const TRIES: u64 = 200;

#[test]
fn each_planted_cause_is_found_with_verdict_kind_place_and_cause() {
    let (first, wanted) = (setting("BANYAN_SEED", 1), setting("BANYAN_PAIRS", 4_000));
    let causes = cause::catalogue();
    let mut scores: BTreeMap<&str, Score> = BTreeMap::new();
    for nth in 0..wanted {
        let cause = &causes[usize::try_from(nth).unwrap() % causes.len()];
        let seed = first.wrapping_mul(1_000_003).wrapping_add(nth);
        let mut dice = Dice::new(seed);
        let pair = (0..TRIES).find_map(|_| (cause.plant)(&mut dice));
        let pair = pair.unwrap_or_else(|| panic!("no place for `{}` from seed {seed}", cause.name));
        scores.entry(cause.name).or_default().add(seed, cause.name, &pair);
    }
    let (table, all) = score::table(&scores);
    println!("{} causes, seeds from {}\n{table}", causes.len(), first.wrapping_mul(1_000_003));
    for wrong in all.wrong.iter().take(8) {
        println!("{wrong}\n");
    }
    for (name, share) in [
        ("verdict", all.verdict()),
        ("precision", all.precision()),
        ("recall", all.recall()),
        ("path", all.path()),
        ("cause", all.cause()),
        ("rule", all.rule()),
    ] {
        assert!(share >= 99.0, "{name} is right in {share:.2} % only");
    }
    for (name, score) in &scores {
        assert!(score.verdict() >= 99.0 && score.recall() >= 99.0, "`{name}` is not found");
    }
}

#[test]
fn noise_is_never_a_mismatch() {
    let (first, wanted) = (setting("BANYAN_SEED", 1), setting("BANYAN_PAIRS", 4_000));
    let mut score = Score::default();
    for nth in 0..wanted {
        let seed = first.wrapping_mul(7_000_003).wrapping_add(nth);
        let pair = noise::equal_up_to_noise(&mut Dice::new(seed));
        score.add(seed, "noise", &pair);
    }
    println!(
        "{} pairs equal up to noise, seeds from {}",
        score.pairs,
        first.wrapping_mul(7_000_003)
    );
    assert!(score.verdicts == score.pairs && score.reported == 0, "{}", score.wrong.join("\n\n"));
}
