//! From stored counts to judged places.
//!
//! Owns the way from what looks counted to what is shown and accepted. What must stay true: pure; all places of all
//! endpoints are judged together, so that the promise about false alarms holds for the whole list.

use crate::summary::Summary;
use crate::tally::NoiseSums;
use banyan_domain::EndpointName;
use banyan_noise::{ALPHA, Counts, Decision, Judged, Refusal, STEADY_PAIRS, decide, stat};

/// Pairs in which legacy must have differed from itself before a place is proposed; fewer may be two writes in a row.
const PROPOSED_NOISY: u64 = 3;

/// Counts of noise over the whole time; with empty shape and kind, of the whole endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoiseTotal {
    /// Where, with indices removed.
    pub shape: String,
    /// What kind.
    pub kind: String,
    /// The counts.
    pub sums: NoiseSums,
    /// First counted, Unix ms.
    pub first_ms: u64,
    /// Last counted, Unix ms.
    pub last_ms: u64,
}

/// One place with what its evidence amounts to.
#[derive(Debug, Clone, PartialEq)]
pub struct NoisePlace {
    /// Where, with indices removed.
    pub shape: String,
    /// What kind.
    pub kind: String,
    /// The evidence.
    pub counts: Counts,
    /// Pairs in which legacy changed there and kept what it changed to.
    pub moved: u64,
    /// 95 % interval of the share of reads on which legacy differs from itself there, in percent.
    pub rate_percent: (f64, f64),
    /// The decision.
    pub judged: Judged,
    /// The token of a value of legacy that differed.
    pub example: Option<String>,
    /// First counted, Unix ms.
    pub first_ms: u64,
    /// Last counted, Unix ms.
    pub last_ms: u64,
}

impl NoisePlace {
    /// Whether it can be accepted as noise.
    pub fn is_noise(&self) -> bool {
        self.judged.decision == Decision::Noise
    }

    /// Whether accepting it is proposed: noise that was seen often enough.
    pub fn is_proposed(&self) -> bool {
        self.is_noise() && self.counts.noisy >= PROPOSED_NOISY
    }

    /// Whether new differs there beyond legacy's noise.
    pub fn is_real(&self) -> bool {
        self.judged.decision == Decision::Real
    }
}

/// Judges every place at which legacy or new was seen to differ; `protected` tells what the configuration protects.
pub fn judge_noise(
    summary: &Summary,
    protected: &dyn Fn(&EndpointName, &str) -> bool,
) -> Vec<(EndpointName, NoisePlace)> {
    let mut places = Vec::new();
    for (endpoint, evidence) in &summary.endpoints {
        let whole = evidence.noise.iter().find(|total| total.shape.is_empty());
        let whole = whole.map_or_else(NoiseSums::default, |total| total.sums.clone());
        for total in evidence.noise.iter().filter(|total| !total.shape.is_empty()) {
            let refusal = Refusal::of(&total.shape, &total.kind)
                .or_else(|| protected(endpoint, &total.shape).then_some(Refusal::UserProtected));
            places.push((
                endpoint,
                total,
                counts(&whole, &total.sums),
                rate(&whole, total),
                refusal,
            ));
        }
    }
    let evidence: Vec<_> =
        places.iter().map(|(_, _, counts, _, refusal)| (*counts, *refusal)).collect();
    let judged = decide(&evidence, ALPHA);
    let places = places.into_iter().zip(judged);
    places
        .map(|((endpoint, total, counts, rate_percent, _), judged)| {
            let place = NoisePlace {
                shape: total.shape.clone(),
                kind: total.kind.clone(),
                counts,
                moved: total.sums.moved,
                rate_percent,
                judged,
                example: total.sums.example.clone(),
                first_ms: total.first_ms,
                last_ms: total.last_ms,
            };
            (endpoint.clone(), place)
        })
        .collect()
}

fn counts(whole: &NoiseSums, place: &NoiseSums) -> Counts {
    Counts {
        pairs: whole.pairs + whole.suspected_pairs,
        noisy: place.noisy + place.suspected_noisy,
        new_alone: place.new_alone,
        legacy_alone: place.legacy_alone,
    }
}

/// Reads chosen by chance stand for all; those chosen because they differed do not, and serve only while there are few.
fn rate(whole: &NoiseSums, total: &NoiseTotal) -> (f64, f64) {
    let sums = &total.sums;
    let (noisy, pairs) = if whole.pairs >= STEADY_PAIRS {
        (sums.noisy, whole.pairs)
    } else {
        (sums.noisy + sums.suspected_noisy, whole.pairs + whole.suspected_pairs)
    };
    let (low, high) = stat::wilson(noisy, pairs);
    (low * 100.0, high * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::EndpointSummary;

    fn total(shape: &str, kind: &str, sums: NoiseSums) -> NoiseTotal {
        NoiseTotal { shape: shape.into(), kind: kind.into(), sums, first_ms: 1, last_ms: 2 }
    }

    fn judged(totals: Vec<NoiseTotal>) -> Vec<NoisePlace> {
        let endpoint = EndpointName::new("messages.list").unwrap();
        let evidence = EndpointSummary { noise: totals, ..EndpointSummary::default() };
        let summary = Summary { endpoints: [(endpoint, evidence)].into(), ..Summary::default() };
        let protected = |_: &EndpointName, path: &str| path == "$.amount";
        judge_noise(&summary, &protected).into_iter().map(|(_, place)| place).collect()
    }

    #[test]
    fn pairs_are_the_endpoints_and_the_rate_comes_from_reads_chosen_by_chance() {
        let whole = NoiseSums { pairs: 100, suspected_pairs: 50, ..NoiseSums::default() };
        let sums = NoiseSums { noisy: 10, suspected_noisy: 40, ..NoiseSums::default() };
        let places = judged(vec![total("", "", whole), total("$.a", "value_changed:string", sums)]);
        let place = &places[0];
        assert_eq!((places.len(), place.counts.pairs, place.counts.noisy), (1, 150, 50));
        assert!(place.rate_percent.0 > 5.0 && place.rate_percent.1 < 18.0, "{place:?}");
        assert!(place.is_proposed());
    }

    #[test]
    fn real_and_protected_places_are_not_proposed() {
        let whole = NoiseSums { pairs: 100, ..NoiseSums::default() };
        let noisy = NoiseSums { noisy: 10, ..NoiseSums::default() };
        let real = NoiseSums { new_alone: 20, ..noisy.clone() };
        let rare = NoiseSums { noisy: 2, ..NoiseSums::default() };
        let value = "value_changed:string";
        let places = judged(vec![
            total("", "", whole),
            total("$.amount", value, noisy.clone()),
            total("$.b", value, real),
            total("$.c", value, rare),
            total("$.d", "key_missing", noisy),
        ]);
        let words: Vec<String> = places.iter().map(|p| p.judged.decision.to_string()).collect();
        assert_eq!(words, ["refused (user_protected)", "real", "noise", "refused (structure)"]);
        assert!(places.iter().all(|place| !place.is_proposed()));
    }
}
