//! Candidate rules for confirmed mismatches, tried while their answers are in memory.
//!
//! Owns one suggester per endpoint and the limit on what it may cost. It exists because a rule can only be proven on raw
//! answers, and those are never stored. What must stay true: it runs on the task of a recheck, never on the way of an
//! answer; at most one mismatch per second and endpoint, none with large bodies; only places that may be stored leave it.

use crate::redact;
use banyan_diff::{Budget, Mismatch, Protect, RuleSet, Suggester, Tally, compare};
use banyan_domain::EndpointName;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Mismatches of one endpoint that are looked at per second.
const PER_SECOND: u64 = 1;
/// Bytes of both answers above which a mismatch is not looked at.
pub(crate) const BYTES_MAX: usize = 128 << 10;
/// Endpoints that have a suggester; names are declared ones, so this is only a last resort.
const ENDPOINTS_MAX: usize = 1_000;

/// The suggesters of all endpoints.
pub(crate) struct Advisor {
    protect: Protect,
    endpoints: Mutex<BTreeMap<EndpointName, Slot>>,
}

#[derive(Default)]
struct Slot {
    second: u64,
    used: u64,
    /// Away while a task uses it.
    suggester: Option<Suggester>,
}

impl Advisor {
    pub(crate) fn new(protect: Protect) -> Self {
        Self { protect, endpoints: Mutex::new(BTreeMap::new()) }
    }

    /// Learns from a mismatch and tries what it knows on it; nothing when this second's share is used up.
    pub(crate) fn advise(
        &self,
        endpoint: &EndpointName,
        now_ms: u64,
        mismatch: &Mismatch<'_>,
        rules: &RuleSet,
        budget: &Budget,
    ) -> Vec<Tally> {
        let Some(mut suggester) = self.take(endpoint, now_ms) else { return Vec::new() };
        let before = compare(&mismatch.legacy, &mismatch.new, rules, budget);
        suggester.learn(mismatch, &before, budget);
        let tallies = suggester.try_on(mismatch, &before, rules, budget);
        if let Some(slot) = self.endpoints().get_mut(endpoint) {
            slot.suggester = Some(suggester);
        }
        // A place with a key that may be data is not stored, and so is no rule for it.
        tallies
            .into_iter()
            .filter(|tally| redact::shape(&tally.cause.shape) == tally.cause.shape)
            .collect()
    }

    /// The suggester of an endpoint, when it may work now.
    fn take(&self, endpoint: &EndpointName, now_ms: u64) -> Option<Suggester> {
        let second = now_ms / 1_000;
        let mut endpoints = self.endpoints();
        if endpoints.len() >= ENDPOINTS_MAX && !endpoints.contains_key(endpoint) {
            return None;
        }
        let new =
            || Slot { suggester: Some(Suggester::new(self.protect.clone())), ..Slot::default() };
        let slot = endpoints.entry(endpoint.clone()).or_insert_with(new);
        if slot.second != second {
            (slot.second, slot.used) = (second, 0);
        }
        if slot.used >= PER_SECOND {
            return None;
        }
        slot.used += 1;
        slot.suggester.take()
    }

    fn endpoints(&self) -> std::sync::MutexGuard<'_, BTreeMap<EndpointName, Slot>> {
        self.endpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use banyan_diff::Obs;

    fn endpoint() -> EndpointName {
        EndpointName::new("messages.list").unwrap()
    }

    fn advised(advisor: &Advisor, now_ms: u64, legacy: &str, new: &str) -> Vec<Tally> {
        let headers = [("content-type".to_owned(), b"application/json".to_vec())];
        let mismatch = Mismatch {
            legacy: Obs { status: 200, headers: &headers, body: legacy.as_bytes() },
            new: Obs { status: 200, headers: &headers, body: new.as_bytes() },
        };
        let (rules, budget) = (RuleSet::builtin(), Budget::default());
        advisor.advise(&endpoint(), now_ms, &mismatch, &rules, &budget)
    }

    #[test]
    fn one_mismatch_per_second_is_looked_at() {
        let advisor = Advisor::new(Protect::default());
        let looked = |now_ms| !advised(&advisor, now_ms, r#"{"a":"X"}"#, r#"{"a":"x"}"#).is_empty();
        assert!(looked(1_000));
        assert!(!looked(1_999));
        assert!(looked(2_000));
    }

    #[test]
    fn a_key_that_may_be_data_leaves_nothing() {
        let advisor = Advisor::new(Protect::default());
        let secret = r#"{"ada@mail.example":"X","4711471147114711":"X"}"#;
        let tallies = advised(&advisor, 1_000, secret, &secret.replace('X', "x"));
        assert!(
            !format!("{tallies:?}").contains("ada@") && !format!("{tallies:?}").contains("4711")
        );
    }
}
