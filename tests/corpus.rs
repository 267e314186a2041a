//! Every input of the fuzz corpora, and mutations of them, through the oracles of the fuzz targets, without libFuzzer.
//!
//! `BANYAN_FUZZ_SECONDS=600 cargo test -p banyan --test corpus -- --nocapture mutated` mutates each target for so long.
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

#[path = "fuzz/src/oracle.rs"]
#[expect(unreachable_pub, reason = "the library of another workspace exports them")]
mod oracle;
#[path = "fuzz/src/recording.rs"]
#[expect(unreachable_pub, reason = "the library of another workspace exports them")]
mod recording;

use std::path::Path;
use std::time::{Duration, Instant};

type Oracle = fn(&[u8]);

const TARGETS: &[(&str, Oracle)] = &[
    ("json", oracle::json),
    ("html", oracle::html),
    ("decode", oracle::decode),
    ("rules", oracle::rules),
    ("selectors", oracle::selectors),
    ("gor", recording::gor),
    ("har", recording::har),
    ("log", recording::log),
    ("vcr", recording::vcr),
    ("recording", recording::recording),
];

/// Mutations per target in a normal run.
const MUTATIONS: u64 = 300;
/// Longer inputs are cut.
const INPUT_MAX: usize = 16_384;

fn root() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz")
}

/// The inputs of one target, in a fixed order.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = std::fs::read_dir(root().join("corpus").join(target)).unwrap();
    let mut paths: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Runs an oracle; a broken promise shows the input.
fn hold(target: &str, oracle: Oracle, input: &[u8]) {
    let held = std::panic::catch_unwind(|| oracle(input));
    assert!(held.is_ok(), "`{target}` breaks the promise above on b\"{}\"", input.escape_ascii());
}

#[test]
fn every_input_of_the_corpora_and_every_beginning_keeps_the_promises() {
    for (target, oracle) in TARGETS {
        let corpus = corpus(target);
        assert!(corpus.len() >= 4, "{target} has no corpus");
        for input in corpus {
            hold(target, *oracle, &input);
            (0..input.len().min(400)).for_each(|end| hold(target, *oracle, &input[..end]));
        }
    }
}

#[test]
fn mutated_inputs_keep_the_promises() {
    let seconds = std::env::var("BANYAN_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let only = std::env::var("BANYAN_FUZZ_TARGET").unwrap_or_default();
    let seed = std::env::var("BANYAN_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(2014);
    for (target, oracle) in TARGETS.iter().filter(|(target, _)| target.contains(&*only)) {
        let (corpus, mut random) = (corpus(target), Random(seed));
        let (started, mut count) = (Instant::now(), 0);
        let goes_on = |count: u64| match seconds {
            Some(seconds) => started.elapsed() < Duration::from_secs(seconds),
            None => count < MUTATIONS,
        };
        while goes_on(count) {
            let input = mutated(&corpus, &mut random);
            let before = Instant::now();
            hold(target, *oracle, &input);
            let took = before.elapsed();
            assert!(
                took < Duration::from_secs(20),
                "{target}: {took:?} for {:?}",
                input.escape_ascii()
            );
            count += 1;
        }
        println!("{target}: {count} mutations from seed {seed} in {:.1?}", started.elapsed());
    }
}

/// Splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ (mixed >> 31)) % (bound.max(1) as u64)).unwrap()
    }
}

/// An input of the corpus with up to eight mutations.
fn mutated(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = corpus[random.below(corpus.len())].clone();
    for _ in 0..=random.below(8) {
        let (from, to) = (random.below(input.len() + 1), random.below(input.len() + 1));
        let (from, to) = (from.min(to), from.max(to).min(from.min(to) + 64));
        match random.below(6) {
            0 if from < input.len() => input[from] ^= 1 << random.below(8),
            1 => input.insert(from, u8::try_from(random.below(256)).unwrap()),
            2 => drop(input.drain(from..to)),
            3 => {
                let copy = input[from..to].to_vec();
                let at = random.below(input.len() + 1);
                input.splice(at..at, copy);
            }
            _ => {
                let other = &corpus[random.below(corpus.len())];
                let (a, b) = (random.below(other.len() + 1), random.below(other.len() + 1));
                input.splice(from..to, other[a.min(b)..a.max(b)].iter().copied());
            }
        }
        input.truncate(INPUT_MAX);
    }
    input
}

#[test]
fn every_fuzz_target_is_run_here_and_the_corpora_are_small() {
    for entry in std::fs::read_dir(root().join("targets")).unwrap() {
        let name = entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned();
        assert!(TARGETS.iter().any(|(target, _)| *target == name), "{name} is not run");
    }
    let bytes: usize = TARGETS.iter().flat_map(|(target, _)| corpus(target)).map(|i| i.len()).sum();
    assert!(bytes < 200_000, "{bytes} bytes of corpora");
}
