//! Prints how long the engine takes: pairs of 10 kB per second, and lists of 5,000 messages.
//!
//! Run it with `cargo run --release -p banyan-diff --example speed`. With a number, each case runs that many times
//! and nothing is timed, for `valgrind --tool=callgrind`; with a word too, only cases that have it in their name.
#![expect(clippy::print_stdout, reason = "an example that prints its measurements")]

use std::time::{Duration, Instant};

use banyan_diff::{Budget, Comparison, Obs, RuleSet, compare};

fn message(id: u32, subject: &str) -> String {
    format!(
        r#"{{"id":{id},"thread_id":{},"parent_id":null,"subject":"{subject}","body":"Hello \u003Cb\u003E, here is track {id}: it is the one that you asked for last week, with the new mix.","sender":{{"id":3,"permalink":"ada-3","username":"Ada","avatar_url":null,"uri":"/users/3","badge":"pro"}},"recipient":{{"id":17,"permalink":"bob-17","username":"Bob","avatar_url":"https://i.example/17.png","uri":"/users/17"}},"read":true,"created_at":"2014/06/12 10:00:00 +0000","updated_at":"2014/06/12 10:00:00 +0000","uri":"/messages/{id}"}}"#,
        id / 3
    )
}

fn list(ids: impl Iterator<Item = u32>, edited: u32) -> String {
    let edit = |id: u32| edited > 0 && id.is_multiple_of(edited);
    let messages: Vec<_> =
        ids.map(|id| message(id, if edit(id) { "Re: hi" } else { "Hi" })).collect();
    format!(r#"{{"messages":[{}],"page":1}}"#, messages.join(","))
}

fn once(legacy: &str, new: &str) -> Comparison {
    let headers = [("content-type".to_owned(), b"application/json".to_vec())];
    let legacy = Obs { status: 200, headers: &headers, body: legacy.as_bytes() };
    let new = Obs { status: 200, headers: &headers, body: new.as_bytes() };
    compare(&legacy, &new, &RuleSet::builtin(), &Budget::default())
}

/// How often to run, and which cases, instead of timing them all.
fn asked() -> Option<(u32, String)> {
    let mut words = std::env::args().skip(1);
    let rounds = words.next()?.parse().ok()?;
    Some((rounds, words.next().unwrap_or_default()))
}

fn measure(name: &str, legacy: &str, new: &str) {
    if let Some((rounds, word)) = asked() {
        for _ in 0..if name.contains(&word) { rounds } else { 0 } {
            std::hint::black_box(once(legacy, new));
        }
        return;
    }
    let (started, mut rounds, mut total) = (Instant::now(), 0u32, 0);
    while started.elapsed() < Duration::from_millis(500) {
        total = once(legacy, new).total_differences;
        rounds += 1;
    }
    let each = started.elapsed() / rounds;
    let per_second = 1.0 / each.as_secs_f64();
    println!(
        "{name:<34} {:>9} bytes  {each:>12.1?}  {per_second:>9.0}/s  {total} differences",
        legacy.len()
    );
}

fn main() {
    let page = list(0..18, 0);
    measure("10 kB, equal bytes", &page, &page);
    measure("10 kB, one edit", &page, &page.replacen("track 7:", "track 8:", 1));
    measure("10 kB, other spelling only", &page, &page.replace("\\u003C", "<"));
    let long = list(0..5_000, 0);
    measure("5,000 messages, 1 % edited", &long, &list(0..5_000, 100));
    measure("5,000 messages, shifted by one", &long, &list(1..5_001, 0));
    measure("5,000 messages, shuffled", &long, &list((0..5_000).map(|n| n * 2_377 % 5_000), 0));
    measure("5,000 messages, other spelling", &long, &long.replace("\\u003C", "<"));
}
