//! Every input of the fuzz corpora through the oracles of the fuzz targets, without libFuzzer.
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

#[path = "fuzz/src/oracle.rs"]
#[expect(unreachable_pub, reason = "the library of another workspace exports them")]
mod oracle;

use std::path::Path;

/// Runs an oracle over the inputs of one target; gives their number.
fn run(target: &str, oracle: fn(&[u8])) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let input = std::fs::read(&path).unwrap();
        let held = std::panic::catch_unwind(|| oracle(&input));
        assert!(held.is_ok(), "{} breaks the promise above", path.display());
        // Every beginning is an input too.
        (0..input.len().min(400)).for_each(|end| oracle(&input[..end]));
        count += 1;
    }
    count
}

#[test]
fn every_input_of_the_corpora_keeps_the_promises() {
    for (target, oracle) in [
        ("json", oracle::json as fn(&[u8])),
        ("html", oracle::html),
        ("decode", oracle::decode),
        ("selectors", oracle::selectors),
    ] {
        assert!(run(target, oracle) >= 4, "{target} has a corpus");
    }
}

#[test]
fn every_target_is_run_here_and_the_corpora_are_small() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    let this = include_str!("corpus.rs");
    for entry in std::fs::read_dir(root.join("targets")).unwrap() {
        let name = entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned();
        assert!(this.contains(&format!("(\"{name}\", oracle")), "{name} is not run");
    }
}
