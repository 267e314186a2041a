//! Comparing answers of an endpoint in the right orientation.
//!
//! Owns which rules apply where. What must stay true: the diff engine always gets legacy first, whoever answered the
//! client; an answer is compared with one of its own side under the same rules.

use crate::Answer;
use crate::renaming::Renaming;
use crate::settle::Judge;
use crate::version::Version;
use banyan_diff::{Budget, Comparison, Outcome, RuleSet, compare, compare_outcomes};
use banyan_domain::Side;

/// Rules and limits for comparisons of one endpoint.
#[derive(Debug, Clone)]
pub(crate) struct EndpointJudge {
    pub(crate) rules: RuleSet,
    pub(crate) budget: Budget,
    /// The owner of the context: whose answer the other one must become equal to.
    pub(crate) owner: Side,
    /// What ids are called on the other side, if a rule wants to know.
    pub(crate) renaming: Option<Renaming>,
    /// Where answers say which version of their data they show.
    pub(crate) version: Option<Version>,
}

impl EndpointJudge {
    /// Compares the answer of `side` with that of the other side.
    pub(crate) fn compare(&self, side: Side, own: &Answer, other: &Answer) -> Comparison {
        let (legacy, new) = match side {
            Side::Legacy => (own, other),
            Side::New => (other, own),
        };
        let (legacy, new) = (legacy.obs(), new.obs());
        match &self.renaming {
            Some(renaming) => renaming.compare(&legacy, &new, &self.rules, &self.budget),
            None => compare(&legacy, &new, &self.rules, &self.budget),
        }
    }

    /// Compares an answer of legacy with new's silence.
    pub(crate) fn silence(&self, legacy: &Answer) -> Comparison {
        let legacy = Outcome::Response(legacy.obs());
        compare_outcomes(&legacy, &Outcome::Timeout, &self.rules, &self.budget)
    }
}

impl Judge for EndpointJudge {
    fn across(&self, owner: &Answer, other: &Answer) -> Comparison {
        self.compare(self.owner, owner, other)
    }

    fn within(&self, earlier: &Answer, later: &Answer) -> Comparison {
        compare(&earlier.obs(), &later.obs(), &self.rules, &self.budget)
    }

    fn owner(&self) -> Side {
        self.owner
    }

    fn other_version(&self, owner: &Answer, other: &Answer, across: &Comparison) -> bool {
        self.version.as_ref().is_some_and(|version| version.differs(owner, other, across))
    }
}
