//! What the evidence about a place amounts to.
//!
//! Owns the decision over all places of a report. What must stay true: a place that never was noisy is never called
//! noise; a refused place never is, whatever was counted; among noisy places the share of false alarms is bounded over
//! all of them together.

use crate::{Counts, Refusal, stat};
use std::fmt;

/// Chance of a false alarm that is accepted over all noisy places together.
///
/// So small because people look again and again while evidence grows, and each look is another chance. It costs little:
/// 14 requests on which new alone differs instead of 5 (`stat::needed`).
pub const ALPHA: f64 = 1e-4;

/// Pairs without a difference from which on a place counts as never noisy: it then differs, with 95 % confidence, in
/// less than about 10 % of requests.
pub const STEADY_PAIRS: u64 = 30;

/// What a place is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Decision {
    /// Too few pairs, none of them different. Every confirmed difference counts.
    Unknown,
    /// Legacy never differed from itself over many pairs. Every confirmed difference counts.
    Steady,
    /// Legacy differs from itself, and new does no more than that.
    Noise,
    /// Legacy differs from itself, and new differs beyond that: a real difference that the noise would hide.
    Real,
    /// Never noise. Every confirmed difference counts.
    Refused(Refusal),
}

/// A decision with the numbers behind it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judged {
    /// The decision.
    pub decision: Decision,
    /// P-value of the sign test; 1 without evidence.
    pub p: f64,
    /// Requests on which new alone must differ for [`Decision::Real`], if this were the only noisy place.
    pub needed: u64,
}

/// Judges places together, in their order. The refusal of a place comes with it.
pub fn decide(places: &[(Counts, Option<Refusal>)], alpha: f64) -> Vec<Judged> {
    let p_values: Vec<f64> = places
        .iter()
        .map(|(counts, _)| stat::sign_test(counts.new_alone, counts.legacy_alone))
        .collect();
    let is_tested =
        |(counts, refusal): &&(Counts, Option<Refusal>)| refusal.is_none() && counts.noisy > 0;
    let tested: Vec<f64> = places
        .iter()
        .zip(&p_values)
        .filter(|(place, _)| is_tested(place))
        .map(|(_, p)| *p)
        .collect();
    let mut significant = stat::benjamini_hochberg(&tested, alpha).into_iter();
    let judged = places.iter().zip(p_values).map(|((counts, refusal), p)| {
        let decision = match (refusal, counts.noisy) {
            (Some(refusal), _) => Decision::Refused(*refusal),
            (None, 0) if counts.pairs >= STEADY_PAIRS => Decision::Steady,
            (None, 0) => Decision::Unknown,
            (None, _) if significant.next() == Some(true) => Decision::Real,
            (None, _) => Decision::Noise,
        };
        let needed = stat::needed(counts.legacy_alone, alpha).unwrap_or(u64::MAX);
        Judged { decision, p, needed }
    });
    judged.collect()
}

impl Decision {
    /// The word for tables and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Steady => "steady",
            Self::Noise => "noise",
            Self::Real => "real",
            Self::Refused(_) => "refused",
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => write!(f, "refused ({})", refusal.as_str()),
            Self::Unknown | Self::Steady | Self::Noise | Self::Real => f.write_str(self.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(pairs: u64, noisy: u64, new_alone: u64, legacy_alone: u64) -> Counts {
        Counts { pairs, noisy, new_alone, legacy_alone }
    }

    fn decisions(places: &[(Counts, Option<Refusal>)]) -> Vec<&'static str> {
        decide(places, ALPHA).iter().map(|judged| judged.decision.as_str()).collect()
    }

    #[test]
    fn each_place_is_one_of_five() {
        let places = [
            (counts(29, 0, 100, 0), None),
            (counts(30, 0, 0, 0), None),
            (counts(100, 40, 3, 2), None),
            (counts(100, 40, 25, 0), None),
            (counts(100, 40, 0, 0), Some(Refusal::Structure)),
        ];
        assert_eq!(decisions(&places), ["unknown", "steady", "noise", "real", "refused"]);
    }

    #[test]
    fn the_power_is_fourteen_counts_alone_and_more_beside_other_noise() {
        let real = |new_alone| decisions(&[(counts(50, 5, new_alone, 0), None)]) == ["real"];
        assert!(real(14) && !real(13));
        let mut places = vec![(counts(50, 5, 14, 0), None)];
        places.extend([(counts(50, 5, 1, 1), None); 9]);
        assert_eq!(decisions(&places)[0], "noise", "one of ten: ten times as much is asked");
        places[0].0.new_alone = 17;
        assert_eq!(decisions(&places)[0], "real");
        let judged = decide(&[(counts(50, 5, 0, 10), None)], ALPHA);
        assert_eq!(judged[0].needed, 36);
    }

    #[test]
    fn refused_and_quiet_places_do_not_count_among_the_tested() {
        let mut places = vec![(counts(50, 5, 14, 0), None)];
        places.extend([(counts(50, 0, 0, 0), None); 50]);
        places.extend([(counts(50, 9, 0, 0), Some(Refusal::Order)); 50]);
        assert_eq!(decisions(&places)[0], "real");
    }
}
