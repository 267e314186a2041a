//! Differences of two answers: one call, [`compare`], from bytes to a verdict with located differences.
//!
//! Owns the model of what "the same answer" means: exact numbers, key order, harmless Rails habits, lists aligned by
//! identity. It exists apart from the shadow shell so that the same engine serves live shadowing, replay and the diff
//! command, and can be fuzzed. What must stay true: pure (no I/O, no clock, no threads), no panic on any bytes, bounded
//! work, and whatever exceeds a bound is *inconclusive*, never a match.

mod align;
mod bijection;
mod binary;
mod body;
mod budget;
mod charset;
mod compare;
mod cookie;
mod decode;
mod difference;
mod exact;
mod explain;
mod findings;
mod fragment;
mod hash;
mod header;
mod html;
mod json;
mod likeness;
mod mask;
mod media;
mod normalise;
mod observation;
mod outcome;
mod pairs;
mod path;
mod record;
mod rule;
mod suggest;
mod text;
mod time;
mod transition;
mod tree;
mod value;
mod verdict;

pub use bijection::Bijections;
pub use budget::Budget;
pub use compare::{Comparison, Sides, compare, compare_with};
pub use difference::{AttrChange, Difference, Failure, Kind, Location, Part, ValueChange};
pub use findings::Hidden;
pub use fragment::{Fragment, ValueClass};
pub use json::{JsonError, JsonErrorKind, check_json};
pub use observation::Obs;
pub use outcome::{Outcome, compare_outcomes};
pub use rule::{
    Action, BijectionRule, Day, DayError, Expected, HostPair, KeyRule, Normaliser, Order, Pack,
    Protect, Refused, Replacement, Rule, RuleError, RuleErrorKind, RuleHealth, RuleProblem,
    RuleSet, RuleSource, RuleState, Run, Scope, StatusScope, StatusScopeError, TimeFormat,
    TimeRule, Tolerance, Types, UnknownRule, builtin_ids, rules_from_array, rules_from_toml,
};
pub use suggest::{Cause, Mismatch, Suggester, Suggestion, Tally, cover, propose, suggest};
pub use verdict::{Severity, Verdict, Why};
