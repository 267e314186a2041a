//! The places at which two answers differ.
//!
//! Owns the key under which evidence is counted. It exists because one field shows many kinds of difference, and only the
//! same value class in its place can be noise. What must stay true: a place that a comparison could not see in full gives
//! no evidence at all.

use banyan_diff::{Comparison, Difference, Fragment, Kind, ValueClass, Verdict};
use std::collections::{BTreeMap, BTreeSet};

use crate::same_band;

/// What evidence is counted under, within an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The shape path, e.g. `$.messages[*].token`.
    pub shape: String,
    /// The label of the kind; `class_changed:FROM->TO` when the value became something else.
    pub kind: String,
}

/// The places at which two answers to one request differ.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// By exact place: the keys that differ there.
    by_path: BTreeMap<String, BTreeSet<Key>>,
}

impl Places {
    /// The places of a comparison; nothing when it did not see all of both answers, or one of them is an error.
    pub fn of(comparison: &Comparison) -> Option<Self> {
        let usable = matches!(
            comparison.verdict,
            Verdict::Match | Verdict::MatchNormalised | Verdict::Mismatch(_)
        );
        let listed = comparison.differences.len() as u64 == comparison.total_differences;
        (usable && listed).then(|| Self::of_differences(&comparison.differences))
    }

    /// The places of these differences.
    pub fn of_differences(differences: &[Difference]) -> Self {
        let mut places = Self::default();
        for difference in differences {
            let at = places.by_path.entry(difference.location.path.clone()).or_default();
            at.insert(Key::of(difference));
        }
        places
    }

    /// Whether the answers agree.
    pub fn is_empty(&self) -> bool {
        self.by_path.is_empty()
    }

    pub(crate) fn differs(&self, path: &str) -> bool {
        self.by_path.contains_key(path)
    }

    /// All keys, each once.
    pub fn keys(&self) -> BTreeSet<&Key> {
        self.by_path.values().flatten().collect()
    }

    /// Exact places with what differs there.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, &Key)> {
        self.by_path
            .iter()
            .flat_map(|(path, keys)| keys.iter().map(move |key| (path.as_str(), key)))
    }

    pub(crate) fn contains(&self, path: &str, key: &Key) -> bool {
        self.by_path.get(path).is_some_and(|keys| keys.contains(key))
    }

    /// Adds the places of another comparison.
    pub fn extend(&mut self, other: Self) {
        for (path, keys) in other.by_path {
            self.by_path.entry(path).or_default().extend(keys);
        }
    }
}

impl Key {
    /// The key of a difference.
    pub fn of(difference: &Difference) -> Self {
        let shape = difference.location.shape.clone();
        Self { shape, kind: kind(difference) }
    }
}

fn kind(difference: &Difference) -> String {
    let class = |side: &Option<Fragment>| side.as_ref().map(Fragment::class);
    let is_value = matches!(difference.kind, Kind::ValueChanged { .. } | Kind::HeaderChanged);
    if is_value
        && let (Some(legacy), Some(new)) = (class(&difference.legacy), class(&difference.new))
        && !same_band(legacy, new)
    {
        return format!("class_changed:{}->{}", word(legacy), word(new));
    }
    difference.kind.label().into_owned()
}

/// The class without its size, except where the size is what differs.
fn word(class: ValueClass) -> String {
    class.to_string().replace("<=", "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use banyan_diff::{Budget, Obs, RuleSet, compare};

    fn places(legacy: &str, new: &str) -> Places {
        let headers = [("content-type".to_owned(), b"application/json".to_vec())];
        let obs =
            |body: &'static str| Obs { status: 200, headers: &headers, body: body.as_bytes() };
        let (legacy, new) = (legacy.to_owned().leak(), new.to_owned().leak());
        let comparison = compare(&obs(legacy), &obs(new), &RuleSet::builtin(), &Budget::default());
        Places::of(&comparison).unwrap()
    }

    fn kinds(legacy: &str, new: &str) -> Vec<String> {
        places(legacy, new).keys().into_iter().map(|key| key.kind.clone()).collect()
    }

    #[test]
    fn a_value_of_another_class_is_its_own_kind() {
        assert_eq!(kinds(r#"{"a":"x"}"#, r#"{"a":"y"}"#), ["value_changed:string"]);
        let uuid = r#"{"a":"9f2c4f9e-27f3-4cc1-ae3f-0a4a9a9d21b7"}"#;
        assert_eq!(kinds(uuid, r#"{"a":"gone"}"#), ["class_changed:uuid->string(4)"]);
        assert_ne!(kinds(uuid, r#"{"a":null}"#), ["value_changed:string"]);
        assert!(places(uuid, uuid).is_empty());
    }

    #[test]
    fn an_answer_that_was_not_seen_in_full_is_no_evidence() {
        let mut comparison = compare(
            &Obs { status: 200, headers: &[], body: b"a" },
            &Obs { status: 200, headers: &[], body: b"b" },
            &RuleSet::empty(),
            &Budget::default(),
        );
        assert!(Places::of(&comparison).is_some());
        comparison.total_differences += 1;
        assert!(Places::of(&comparison).is_none());
        comparison.verdict = Verdict::NewError;
        assert!(Places::of(&comparison).is_none());
    }
}
