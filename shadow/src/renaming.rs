//! Renamings of ids over many reads.
//!
//! Owns one memory per endpoint that has a rule with a renaming, within a limit of bytes over all of them. It exists so
//! that a new id can be compared with what it was called before. What must stay true: values are only kept as hashes
//! under a key of this process; memory is bounded, and an operator is told once when old ids are forgotten.

use crate::config::ShadowConfig;
use crate::event;
use banyan_diff::{Bijections, Budget, Comparison, Obs, RuleSet, compare_with};
use banyan_domain::EndpointName;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The memories of all endpoints that need one.
#[derive(Debug, Default)]
pub(crate) struct Renamings(BTreeMap<EndpointName, Renaming>);

/// The memory of one endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Renaming {
    endpoint: EndpointName,
    known: Arc<Mutex<Bijections>>,
}

impl Renamings {
    pub(crate) fn new(config: &ShadowConfig) -> Self {
        let renamed: Vec<&EndpointName> = config
            .endpoints
            .iter()
            .filter(|(_, endpoint)| endpoint.rules.renames())
            .map(|(name, _)| name)
            .collect();
        let bytes = config.renaming_bytes_max / renamed.len().max(1);
        let key = config.redaction.key_for(b"renaming");
        let memory = |name: &EndpointName| Renaming {
            endpoint: name.clone(),
            known: Arc::new(Mutex::new(Bijections::new(key, bytes))),
        };
        Self(renamed.into_iter().map(|name| (name.clone(), memory(name))).collect())
    }

    pub(crate) fn of(&self, endpoint: &EndpointName) -> Option<Renaming> {
        self.0.get(endpoint).cloned()
    }
}

impl Renaming {
    /// Compares with what is known; comparisons of one endpoint take turns.
    pub(crate) fn compare(
        &self,
        legacy: &Obs<'_>,
        new: &Obs<'_>,
        rules: &RuleSet,
        budget: &Budget,
    ) -> Comparison {
        // A comparison that panicked left at worst fewer bindings.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let before = known.evicted();
        let comparison = compare_with(legacy, new, rules, budget, &mut known);
        if before == 0 && known.evicted() > 0 {
            event::renamings_forgotten(&self.endpoint);
        }
        comparison
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use banyan_diff::{Action, BijectionRule, Rule, Types};

    #[test]
    fn an_id_that_gets_two_names_in_two_reads_is_a_mismatch() {
        let action = Action::Bijection(BijectionRule { domain: "user".into(), types: Types::Same });
        let rule = Rule::new("$.user", action, "ids are new").unwrap();
        let rules = RuleSet::builtin().with([rule]);
        let mut config = fixture::config();
        let list = EndpointName::new("messages.list").unwrap();
        config.endpoints.get_mut(&list).unwrap().rules = rules.clone();
        let renamings = Renamings::new(&config);
        assert!(renamings.of(&EndpointName::new("messages.show").unwrap()).is_none());
        let renaming = renamings.of(&list).unwrap();
        let headers = [("content-type".to_owned(), b"application/json".to_vec())];
        let is_match = |legacy: &[u8], new: &[u8]| {
            let legacy = Obs { status: 200, headers: &headers, body: legacy };
            let new = Obs { status: 200, headers: &headers, body: new };
            renaming.compare(&legacy, &new, &rules, &Budget::default()).verdict.is_match()
        };
        assert!(is_match(br#"{"user":1}"#, br#"{"user":70}"#));
        assert!(is_match(br#"{"user":2}"#, br#"{"user":71}"#));
        assert!(!is_match(br#"{"user":2}"#, br#"{"user":70}"#));
        assert!(is_match(br#"{"user":1}"#, br#"{"user":70}"#));
    }
}
