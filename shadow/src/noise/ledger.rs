//! Counts of noise between two saves.
//!
//! Owns the sums per place and their bound. What must stay true: pure; over the bound time gets coarser, then the places
//! seen least go first, and each loss is counted.

use super::Chosen;
use crate::metric;
use crate::tally::{NoiseCount, NoiseSums};
use banyan_domain::EndpointName;
use banyan_noise::Sign;
use std::collections::BTreeMap;

/// Different counts that may wait to be saved.
const COUNTS_MAX: usize = 5_000;

/// Over [`COUNTS_MAX`] counts of a day are one.
const DAY_MS: u64 = 86_400_000;

/// A place in an endpoint. Shape and kind are empty for what concerns all of its places.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Spot {
    pub(crate) shape: String,
    pub(crate) kind: String,
}

/// Counts that grow: of one look, or of all since the last save.
#[derive(Debug, Clone, Default)]
pub(crate) struct NoiseLedger {
    sums: BTreeMap<(u64, Option<EndpointName>, Spot), NoiseSums>,
}

impl NoiseLedger {
    /// A pair of re-reads was compared.
    pub(crate) fn pair(&mut self, chosen: Chosen) {
        match chosen {
            Chosen::Sampled => self.own(Spot::default()).pairs += 1,
            Chosen::Suspected => self.own(Spot::default()).suspected_pairs += 1,
        }
    }

    /// Legacy differed from itself at a place.
    pub(crate) fn noisy(&mut self, spot: Spot, chosen: Chosen, example: Option<String>) {
        let sums = self.own(spot);
        match chosen {
            Chosen::Sampled => sums.noisy += 1,
            Chosen::Suspected => sums.suspected_noisy += 1,
        }
        sums.example = example;
    }

    /// Legacy changed and kept what it changed to.
    pub(crate) fn moved(&mut self, spot: Spot) {
        self.own(spot).moved += 1;
    }

    /// A triple was read to its end.
    pub(crate) fn triple(&mut self) {
        self.own(Spot::default()).triples += 1;
    }

    /// A triple had a sign at a place.
    pub(crate) fn sign(&mut self, spot: Spot, sign: Sign) {
        match sign {
            Sign::NewAlone => self.own(spot).new_alone += 1,
            Sign::LegacyAlone => self.own(spot).legacy_alone += 1,
        }
    }

    fn own(&mut self, spot: Spot) -> &mut NoiseSums {
        self.sums.entry((0, None, spot)).or_default()
    }

    /// Enters what a look saw of an endpoint, under a span of time.
    pub(crate) fn enter(&mut self, start_ms: u64, endpoint: &EndpointName, look: Self) {
        for ((_, _, spot), sums) in look.sums {
            self.sums.entry((start_ms, Some(endpoint.clone()), spot)).or_default().add(sums);
        }
        self.bound();
    }

    /// Takes over counts that came later.
    pub(crate) fn merge(&mut self, newer: Self) {
        for (key, sums) in newer.sums {
            self.sums.entry(key).or_default().add(sums);
        }
        self.bound();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sums.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.sums.len()
    }

    /// A copy in the form in which it is saved.
    pub(crate) fn counts(&self) -> Vec<NoiseCount> {
        let counts = self.sums.iter().filter_map(|((at_ms, endpoint, spot), sums)| {
            Some(NoiseCount {
                at_ms: *at_ms,
                endpoint: endpoint.clone()?,
                shape: spot.shape.clone(),
                kind: spot.kind.clone(),
                sums: sums.clone(),
            })
        });
        counts.collect()
    }

    fn bound(&mut self) {
        if self.sums.len() > COUNTS_MAX {
            for ((at_ms, endpoint, spot), sums) in std::mem::take(&mut self.sums) {
                let start_ms = at_ms - at_ms % DAY_MS;
                self.sums.entry((start_ms, endpoint, spot)).or_default().add(sums);
            }
            metric::dropped("noise_time", 1);
        }
        while self.sums.len() > COUNTS_MAX {
            let least = self.sums.iter().min_by_key(|(_, sums)| sums.seen());
            let Some(key) = least.map(|(key, _)| key.clone()) else { return };
            self.sums.remove(&key);
            metric::dropped("noise", 1);
        }
    }
}

impl NoiseSums {
    /// Adds other counts of the same place.
    pub fn add(&mut self, other: Self) {
        self.pairs += other.pairs;
        self.noisy += other.noisy;
        self.suspected_pairs += other.suspected_pairs;
        self.suspected_noisy += other.suspected_noisy;
        self.moved += other.moved;
        self.triples += other.triples;
        self.new_alone += other.new_alone;
        self.legacy_alone += other.legacy_alone;
        self.example = other.example.or(self.example.take());
    }

    fn seen(&self) -> u64 {
        let noise = self.noisy + self.suspected_noisy + self.moved;
        self.pairs + self.suspected_pairs + noise + self.new_alone + self.legacy_alone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> EndpointName {
        EndpointName::new("messages.list").unwrap()
    }

    fn look(shape: usize) -> NoiseLedger {
        let mut look = NoiseLedger::default();
        look.pair(Chosen::Sampled);
        let spot = Spot { shape: format!("$.f{shape}"), kind: "k".into() };
        look.noisy(spot, Chosen::Sampled, Some("tok".into()));
        look
    }

    #[test]
    fn looks_add_up_and_survive_a_failed_save() {
        let mut ledger = NoiseLedger::default();
        ledger.enter(1_000, &endpoint(), look(1));
        let mut unsaved = std::mem::take(&mut ledger);
        ledger.enter(1_000, &endpoint(), look(1));
        unsaved.merge(ledger);
        let counts = unsaved.counts();
        assert_eq!(counts.len(), 2);
        assert_eq!(
            (counts[0].shape.as_str(), counts[0].sums.pairs, counts[0].sums.noisy),
            ("", 2, 0)
        );
        assert_eq!((counts[1].shape.as_str(), counts[1].sums.noisy), ("$.f1", 2));
        assert_eq!(counts[1].sums.example.as_deref(), Some("tok"));
    }

    #[test]
    fn time_gets_coarser_before_a_place_is_lost_and_the_rarest_goes_first() {
        let mut ledger = NoiseLedger::default();
        for second in 0..2 * COUNTS_MAX as u64 {
            ledger.enter(second * 1_000, &endpoint(), look(1));
        }
        let noisy: u64 = ledger.counts().iter().map(|count| count.sums.noisy).sum();
        assert_eq!(noisy, 2 * COUNTS_MAX as u64);
        for shape in 0..2 * COUNTS_MAX {
            ledger.enter(0, &endpoint(), look(shape));
        }
        assert!(ledger.len() <= COUNTS_MAX);
        assert!(ledger.counts().iter().any(|count| count.shape == "$.f1"));
    }
}
