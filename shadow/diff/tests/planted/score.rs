//! Precision and recall, per cause and over all.

use std::collections::BTreeMap;
use std::fmt::Write;

use banyan_diff::{Budget, Comparison, compare_outcomes};

use super::cause::{Found, Pair};

#[derive(Debug, Default, Clone)]
pub(crate) struct Score {
    pub(crate) pairs: u32,
    /// Pairs with the right verdict.
    pub(crate) verdicts: u32,
    /// Differences that were planted.
    pub(crate) planted: u64,
    /// Differences that were reported.
    pub(crate) reported: u64,
    /// Planted differences that were reported with kind and shape.
    pub(crate) located: u64,
    /// ... and with the exact pointer, where there is one right answer.
    pub(crate) pointed: u64,
    /// ... and with the cause.
    pub(crate) explained: u64,
    /// Pairs whose rule was or was not hit as expected.
    pub(crate) rules: u32,
    /// The first pairs that went wrong.
    pub(crate) wrong: Vec<String>,
}

impl Score {
    pub(crate) fn add(&mut self, seed: u64, name: &str, pair: &Pair) {
        let (legacy, new) = (pair.legacy.outcome(), pair.new.outcome());
        let comparison = compare_outcomes(&legacy, &new, &pair.rules, &Budget::default());
        let reported = reported(&comparison);
        let (mut located, mut pointed, mut explained) = (0, 0, 0);
        let mut left = reported.clone();
        for planted in &pair.found {
            let kind = |found: &Found| found.kind == planted.kind && found.shape == planted.shape;
            let exact = |found: &Found| {
                kind(found) && (planted.pointer.is_none() || found.pointer == planted.pointer)
            };
            let at = left.iter().position(exact).or_else(|| left.iter().position(kind));
            let Some(at) = at else { continue };
            let found = left.swap_remove(at);
            located += 1;
            pointed += u64::from(exact(&found));
            explained += u64::from(found.cause == planted.cause);
        }
        let verdict = comparison.verdict == pair.verdict;
        let rule = pair.hidden.is_none_or(|rule| comparison.hidden.iter().any(|h| h.rule == rule));
        let planted = pair.found.len() as u64;
        let fine = verdict && rule && planted == reported.len() as u64 && planted == located;
        if (!fine || located != pointed || located != explained) && self.wrong.len() < 3 {
            let text =
                |bytes: &[u8]| String::from_utf8_lossy(bytes).chars().take(300).collect::<String>();
            self.wrong.push(format!(
                "seed {seed} `{name}`\n  rules    {:?}\n  expected {:?} {:?} {:?}\n  got      {:?} {reported:?} hidden {:?}\n  legacy {:?}\n    {}\n  new    {:?}\n    {}",
                pair.rules.rules().map(banyan_diff::Rule::to_toml).collect::<Vec<_>>(),
                pair.verdict,
                pair.found,
                pair.hidden,
                comparison.verdict,
                comparison.hidden,
                shown(&pair.legacy.headers),
                text(&pair.legacy.body),
                shown(&pair.new.headers),
                text(&pair.new.body),
            ));
        }
        self.pairs += 1;
        self.verdicts += u32::from(verdict);
        self.rules += u32::from(rule);
        self.planted += planted;
        self.reported += reported.len() as u64;
        self.located += located;
        self.pointed += pointed;
        self.explained += explained;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.pairs += other.pairs;
        self.verdicts += other.verdicts;
        self.rules += other.rules;
        self.planted += other.planted;
        self.reported += other.reported;
        self.located += other.located;
        self.pointed += other.pointed;
        self.explained += other.explained;
        self.wrong.extend(other.wrong.iter().cloned());
    }

    pub(crate) fn verdict(&self) -> f64 {
        percent(u64::from(self.verdicts), u64::from(self.pairs))
    }

    /// Of what was reported, the share that was planted, by kind and place.
    pub(crate) fn precision(&self) -> f64 {
        percent(self.located, self.reported)
    }

    /// Of what was planted, the share that was reported, by kind and place.
    pub(crate) fn recall(&self) -> f64 {
        percent(self.located, self.planted)
    }

    pub(crate) fn path(&self) -> f64 {
        percent(self.pointed, self.planted)
    }

    pub(crate) fn cause(&self) -> f64 {
        percent(self.explained, self.planted)
    }

    pub(crate) fn rule(&self) -> f64 {
        percent(u64::from(self.rules), u64::from(self.pairs))
    }
}

fn shown(headers: &[(String, Vec<u8>)]) -> Vec<String> {
    headers.iter().map(|(n, v)| format!("{n}: {}", String::from_utf8_lossy(v))).collect()
}

fn percent(part: u64, of: u64) -> f64 {
    if of == 0 { 100.0 } else { part as f64 * 100.0 / of as f64 }
}

fn reported(comparison: &Comparison) -> Vec<Found> {
    comparison
        .differences
        .iter()
        .map(|difference| Found {
            kind: difference.kind.label().into_owned(),
            shape: difference.location.shape.clone(),
            pointer: Some(difference.location.pointer.clone()),
            cause: difference.transition(),
        })
        .collect()
}

/// A line per cause and one for all.
pub(crate) fn table(scores: &BTreeMap<&str, Score>) -> (String, Score) {
    let mut text = format!(
        "{:<44} {:>6} {:>8} {:>9} {:>7} {:>7} {:>7} {:>7}\n",
        "cause", "pairs", "verdict", "precision", "recall", "path", "cause", "rule"
    );
    let mut all = Score::default();
    let mut line = |name: &str, score: &Score| {
        writeln!(
            text,
            "{name:<44} {:>6} {:>8.2} {:>9.2} {:>7.2} {:>7.2} {:>7.2} {:>7.2}",
            score.pairs,
            score.verdict(),
            score.precision(),
            score.recall(),
            score.path(),
            score.cause(),
            score.rule()
        )
        .unwrap();
    };
    for (name, score) in scores {
        line(name, score);
        all.merge(score);
    }
    line("all", &all);
    (text, all)
}
