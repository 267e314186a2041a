//! The texts that are compared, and how many differences they have.
//!
//! Owns the seeded generator: answers as a Rails monolith gives them, and copies with planted edits. What must stay true:
//! the same seed, the same bytes; the right answer follows from what was planted, not from any tool.

use crate::{BenchError, failed};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Messages in the long list.
const MESSAGES: u64 = 5_000;

/// One case: pairs of texts.
pub(super) struct Case {
    pub(super) title: &'static str,
    pub(super) legacy: Vec<String>,
    pub(super) new: Vec<String>,
    pub(super) right: Right,
}

/// The right answer.
#[derive(Debug, Clone, Copy)]
pub(super) enum Right {
    /// That many differences.
    Differences(u64),
    /// One difference: the order.
    OneReordered,
}

impl Right {
    pub(super) const fn count(self) -> u64 {
        match self {
            Self::Differences(count) => count,
            Self::OneReordered => 1,
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Differences(count) => write!(f, "{count}"),
            Self::OneReordered => f.write_str("1 (order)"),
        }
    }
}

impl Case {
    /// Writes one line per text, for the peers.
    pub(super) fn write(&self, folder: &Path) -> Result<(PathBuf, PathBuf), BenchError> {
        let write = |name: &str, texts: &[String]| {
            let path = folder.join(name);
            std::fs::write(&path, texts.join("\n") + "\n").map_err(failed("write a case"))?;
            Ok::<_, BenchError>(path)
        };
        Ok((write("legacy.ndjson", &self.legacy)?, write("new.ndjson", &self.new)?))
    }
}

/// All cases.
pub(super) fn cases(seed: u64) -> Vec<Case> {
    let mut rng = StdRng::seed_from_u64(seed);
    let messages: Vec<Value> = (0..MESSAGES).map(|id| message(id, &mut rng)).collect();
    let text = list(&messages).to_string();
    let one = |title, new: String, right| Case {
        title,
        legacy: vec![text.clone()],
        new: vec![new],
        right,
    };
    let edited: Vec<Value> = (0..).zip(&messages).map(|(at, old)| edited(at, old)).collect();
    let mut shifted = messages.get(1..).unwrap_or_default().to_vec();
    shifted.push(message(MESSAGES, &mut rng));
    let mut shuffled = messages.clone();
    shuffled.shuffle(&mut rng);
    vec![
        answer(&mut rng),
        one("5,000 messages, spaced otherwise", spaced(&list(&messages)), Right::Differences(0)),
        one(
            "5,000 messages, 1 % edited",
            list(&edited).to_string(),
            Right::Differences(MESSAGES / 100),
        ),
        one("5,000 messages, shifted by one", list(&shifted).to_string(), Right::Differences(2)),
        one("5,000 messages, shuffled", list(&shuffled).to_string(), Right::OneReordered),
        pages(&mut rng),
    ]
}

fn list(messages: &[Value]) -> Value {
    json!({ "messages": messages, "page": 1, "total": messages.len() })
}

/// Every hundredth message has another subject.
fn edited(at: usize, old: &Value) -> Value {
    let mut new = old.clone();
    if at % 100 == 50 {
        new["subject"] = json!(format!("Re: {at}"));
    }
    new
}

/// Pages of about 10 kB of which one value was edited.
fn pages(rng: &mut StdRng) -> Case {
    let (mut legacy, mut new) = (Vec::new(), Vec::new());
    for page in 0..200 {
        let mut messages: Vec<Value> = (0..21).map(|at| message(page * 21 + at, rng)).collect();
        legacy.push(list(&messages).to_string());
        let at = rng.random_range(0..messages.len());
        messages[at]["body"] = json!("edited");
        new.push(list(&messages).to_string());
    }
    Case { title: "200 pages of 10 kB, one edit each", legacy, new, right: Right::Differences(200) }
}

/// One answer of 0.6 MB: nested, with numbers, and with edits of each kind.
fn answer(rng: &mut StdRng) -> Case {
    let tracks: Vec<Value> = (0..700).map(|id| track(id, rng)).collect();
    let mut new = tracks.clone();
    let mut planted = 0;
    for (at, track) in new.iter_mut().enumerate() {
        let Some(track) = track.as_object_mut() else { continue };
        match at % 70 {
            10 => track.insert("title".to_owned(), json!("edited")),
            25 => track.shift_remove("genre"),
            40 => track.insert("added".to_owned(), json!(true)),
            55 => track.insert("plays".to_owned(), json!(at.to_string())),
            _ => continue,
        };
        planted += 1;
    }
    let text = |tracks: &[Value]| json!({ "collection": tracks, "next": null }).to_string();
    Case {
        title: "an answer of 0.6 MB, some edits",
        legacy: vec![text(&tracks)],
        new: vec![text(&new)],
        right: Right::Differences(planted),
    }
}

fn words(count: usize, rng: &mut StdRng) -> String {
    const WORDS: [&str; 16] = [
        "here",
        "is",
        "the",
        "track",
        "that",
        "you",
        "asked",
        "for",
        "last",
        "week",
        "with",
        "a",
        "new",
        "mix",
        "caf\u{e9}",
        "<b>",
    ];
    let word = |_| WORDS[rng.random_range(0..WORDS.len())];
    (0..count).map(word).collect::<Vec<_>>().join(" ")
}

fn user(rng: &mut StdRng) -> Value {
    let id = rng.random_range(1..2_000);
    json!({
        "id": id, "permalink": format!("user-{id}"), "username": words(1, rng),
        "avatar_url": format!("https://i.example/{id}.png"), "uri": format!("/users/{id}"),
    })
}

fn message(id: u64, rng: &mut StdRng) -> Value {
    json!({
        "id": id, "thread_id": id / 3, "parent_id": null, "subject": words(3, rng),
        "body": words(18, rng), "sender": user(rng), "recipient": user(rng),
        "read": rng.random_bool(0.5), "created_at": "2014/06/12 10:00:00 +0000",
    })
}

fn track(id: u64, rng: &mut StdRng) -> Value {
    json!({
        "id": id, "title": words(4, rng), "user": user(rng), "description": words(40, rng),
        "genre": words(1, rng), "plays": rng.random_range(0..1_000_000),
        "duration": f64::from(rng.random_range(0..1_000_000)) / 100.0,
        "peaks": (0..24).map(|_| rng.random_range(0..140)).collect::<Vec<u8>>(),
        "tags": (0..5).map(|_| words(1, rng)).collect::<Vec<_>>(),
        "license": { "kind": "cc-by", "terms": null, "commercial": true },
        "comments": (0..2).map(|_| user(rng)).collect::<Vec<_>>(),
    })
}

/// The same value with a space after each comma and colon.
fn spaced(value: &Value) -> String {
    struct Spaced;
    impl serde_json::ser::Formatter for Spaced {
        fn begin_array_value<W: ?Sized + Write>(
            &mut self,
            writer: &mut W,
            first: bool,
        ) -> std::io::Result<()> {
            writer.write_all(if first { b"" } else { b", " })
        }

        fn begin_object_key<W: ?Sized + Write>(
            &mut self,
            writer: &mut W,
            first: bool,
        ) -> std::io::Result<()> {
            writer.write_all(if first { b"" } else { b", " })
        }

        fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
            writer.write_all(b": ")
        }
    }
    let mut out = Vec::new();
    let mut writer = serde_json::Serializer::with_formatter(&mut out, Spaced);
    // Writing a value to memory cannot fail.
    drop(serde::Serialize::serialize(value, &mut writer));
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_bytes_of_the_promised_sizes() {
        let (one, two) = (cases(7), cases(7));
        for (a, b) in one.iter().zip(&two) {
            assert!(a.legacy == b.legacy && a.new == b.new, "{}", a.title);
        }
        let size = |at: usize| one[at].legacy[0].len();
        assert!((500_000..800_000).contains(&size(0)), "{}", size(0));
        assert!((2_000_000..3_000_000).contains(&size(1)), "{}", size(1));
        assert!((8_000..12_000).contains(&size(5)), "{}", size(5));
        let spaced: Value = serde_json::from_str(&one[1].new[0]).unwrap();
        assert_eq!(spaced, serde_json::from_str::<Value>(&one[1].legacy[0]).unwrap());
        assert_ne!(one[1].new[0], one[1].legacy[0]);
    }
}
