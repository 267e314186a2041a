//! From answers of one request to evidence.
//!
//! Owns what a pair of re-reads and a triple say. It exists to keep writes out: while an application lives, two answers of
//! one side differ for two reasons, and only one of them is noise. What must stay true: what a triple leaves out depends
//! on its two later answers in the same way, so that under "new is another legacy" both signs stay equally likely.
//!
//! A *pair* is two reads of legacy within milliseconds. Where they differ a third read follows at once: a write changes a
//! place once and the third read shows what the second showed (`moved`, no evidence); noise goes on.
//!
//! A *triple* is a read of legacy, one of new after the sync has passed the first, and legacy again; then a last one, if
//! anything differs. New alone differs, or legacy alone: that is the sign. Left out are places that moved (the last read
//! equals the second or new's, and not the first) and places that were not at rest between the reads.

use crate::{Key, Places};
use std::collections::{BTreeMap, BTreeSet};

/// Counts for one place (endpoint, shape, kind).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Counts {
    /// Pairs of re-reads of legacy.
    pub pairs: u64,
    /// Of these, those in which legacy differed from itself.
    pub noisy: u64,
    /// Triples in which only new differed.
    pub new_alone: u64,
    /// Triples in which only legacy's second answer differed.
    pub legacy_alone: u64,
}

/// What a pair of re-reads of legacy shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PairEvidence {
    /// Legacy differed from itself, and not because of a write.
    pub noisy: BTreeSet<Key>,
    /// Legacy changed once and kept what it changed to: a write, or noise that is slower than the reads.
    pub moved: BTreeSet<Key>,
}

/// What a triple shows at one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sign {
    /// New differed where legacy agreed with itself.
    NewAlone,
    /// Legacy differed from itself where new agreed with it.
    LegacyAlone,
}

/// The comparisons of a triple; each in the order of the names, legacy first.
#[derive(Debug, Clone, Default)]
pub struct Triple {
    /// Legacy's first answer and its second.
    pub first_second: Places,
    /// Legacy's first answer and new's.
    pub first_new: Places,
    /// Legacy's first answer and its last.
    pub first_last: Places,
    /// Legacy's second answer and its last.
    pub second_last: Places,
    /// Legacy's last answer and new's.
    pub last_new: Places,
    /// Neighbours among the reads of legacy between the first and new's.
    pub between: Places,
}

/// Reads a pair. `again` compares the second answer with a third one that was read at once.
pub fn pair(first_second: &Places, again: &Places) -> PairEvidence {
    let mut evidence = PairEvidence::default();
    for (path, key) in first_second.entries() {
        let goes_on = again.differs(path);
        let set = if goes_on { &mut evidence.noisy } else { &mut evidence.moved };
        set.insert(key.clone());
    }
    evidence.moved.retain(|key| !evidence.noisy.contains(key));
    evidence
}

/// Reads a triple: at most one sign per key, however many elements of a list show it.
pub fn triple(triple: &Triple) -> BTreeMap<Key, Sign> {
    let mut balance: BTreeMap<&Key, i64> = BTreeMap::new();
    for (path, key) in triple.first_new.entries() {
        if !triple.first_second.contains(path, key) && triple.at_rest(path) {
            *balance.entry(key).or_default() += 1;
        }
    }
    for (path, key) in triple.first_second.entries() {
        if !triple.first_new.contains(path, key) && triple.at_rest(path) {
            *balance.entry(key).or_default() -= 1;
        }
    }
    let sign = |(key, balance): (&Key, i64)| match balance {
        0 => None,
        1.. => Some((key.clone(), Sign::NewAlone)),
        ..0 => Some((key.clone(), Sign::LegacyAlone)),
    };
    balance.into_iter().filter_map(sign).collect()
}

impl Triple {
    fn at_rest(&self, path: &str) -> bool {
        let moved = self.first_last.differs(path)
            && !(self.second_last.differs(path) && self.last_new.differs(path));
        !moved && !self.between.differs(path)
    }
}

impl Counts {
    /// Adds other counts of the same place.
    pub fn add(&mut self, other: Self) {
        self.pairs = self.pairs.saturating_add(other.pairs);
        self.noisy = self.noisy.saturating_add(other.noisy);
        self.new_alone = self.new_alone.saturating_add(other.new_alone);
        self.legacy_alone = self.legacy_alone.saturating_add(other.legacy_alone);
    }
}

#[cfg(test)]
mod tests;
