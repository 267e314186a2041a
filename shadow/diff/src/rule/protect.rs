//! Places where no rule may lose a difference.
//!
//! Owns the list of protected selectors and the judgement whether a rule covers one. It exists because a rule that is a
//! little too broad hides exactly the defect that costs money. Must stay true: the status is always protected; a rule
//! is refused when it may select a protected place, or one that holds it.

use super::selector::Target;
use super::{Action, Rule, RuleError, trie};

/// Protected selectors.
#[derive(Debug, Clone)]
pub struct Protect {
    places: Vec<(String, Target)>,
}

/// A rule that covers a protected selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("rule `{rule}` ({action}) covers the protected `{protected}`")]
pub struct Refused {
    /// Id of the rule.
    pub rule: String,
    /// Its action.
    pub action: &'static str,
    /// The protected selector.
    pub protected: String,
}

impl Protect {
    /// The identity of elements. People add what must never be wrong, such as amounts of money.
    pub const DEFAULT: [&'static str; 4] = ["$..id", "$..uuid", "$..urn", "$.._id"];

    /// Protects these selectors.
    ///
    /// # Errors
    /// What is wrong with the first that cannot be read.
    pub fn new<'a>(selectors: impl IntoIterator<Item = &'a str>) -> Result<Self, RuleError> {
        let read = |text: &'a str| Ok((text.to_owned(), Target::parse(text)?));
        // No rule can select the status anyway.
        let others = selectors.into_iter().filter(|text| *text != "status");
        Ok(Self { places: others.map(read).collect::<Result<_, _>>()? })
    }

    /// Why a rule is refused, if it is.
    pub fn refuses(&self, rule: &Rule) -> Option<Refused> {
        if !rule.action().is_lossy() {
            return None;
        }
        let covered = self.places.iter().find(|(_, place)| covers(rule, place))?;
        Some(Refused {
            rule: rule.id(),
            action: rule.action().word(),
            protected: covered.0.clone(),
        })
    }
}

impl Default for Protect {
    fn default() -> Self {
        // The texts are constants of ours; a test reads them.
        Self::new(Self::DEFAULT).unwrap_or(Self { places: Vec::new() })
    }
}

fn covers(rule: &Rule, place: &Target) -> bool {
    let subtree = matches!(rule.action(), Action::Ignore | Action::IgnoreValue);
    match (&rule.target, place) {
        (Target::Json(own), Target::Json(place)) => {
            trie::meet(own, place) || (subtree && trie::is_above(own, place))
        }
        (Target::Header(own), Target::Header(place))
        | (Target::Cookie(own), Target::Cookie(place)) => own.meets(place),
        (Target::Text, Target::Text) | (Target::Body, Target::Body) => true,
        (Target::Html(own), Target::Html(place)) => own == place,
        (
            Target::Json(_)
            | Target::Header(_)
            | Target::Cookie(_)
            | Target::Text
            | Target::Body
            | Target::Html(_),
            _,
        ) => false,
    }
}
