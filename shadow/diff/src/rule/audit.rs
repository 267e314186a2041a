//! What is to be said of rules after a run.
//!
//! Owns the judgement of dead and expired rules. It exists as data so that the terminal, the HTML report, `check` and
//! programs say the same. Must stay true: no rule is called dead when nothing was compared; an expired rule stays in the
//! list until someone removes it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::builtin::Entry;
use super::{Day, Rule, RuleSource, Scope};

/// What is known of a run.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// Hits per rule id.
    pub hits: &'a BTreeMap<String, u64>,
    /// Comparisons in the run.
    pub compared: u64,
    /// The day, for expiry.
    pub today: Day,
}

/// One rule after a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleState {
    /// Its id.
    pub id: String,
    /// Its selector.
    pub at: String,
    /// For which comparisons it is.
    pub scope: Scope,
    /// What it allows, with its parameters.
    pub action: String,
    /// Why that is harmless.
    pub reason: String,
    /// Who answers for it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub owner: Option<String>,
    /// Its last day.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expires: Option<Day>,
    /// Where it comes from.
    pub source: RuleSource,
    /// How often it hid something in the run.
    pub hits: u64,
    /// Whether it does its work.
    pub health: RuleHealth,
}

/// Whether a rule does its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleHealth {
    /// Its last day is over: it does not apply any more.
    Expired,
    /// It hid nothing: what it is about is gone, or its selector is wrong.
    Dead,
    /// It hid something.
    Used,
    /// It hid nothing, and that says nothing: it is built in, or nothing was compared.
    Idle,
}

impl RuleHealth {
    /// The word used in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Dead => "dead",
            Self::Used => "used",
            Self::Idle => "idle",
        }
    }
}

pub(super) fn of_rule(rule: &Rule, run: &Run<'_>) -> RuleState {
    let id = rule.id();
    let hits = run.hits.get(&id).copied().unwrap_or(0);
    let health = if rule.is_expired(run.today) {
        RuleHealth::Expired
    } else if hits > 0 {
        RuleHealth::Used
    } else if rule.source == RuleSource::Builtin || run.compared == 0 {
        RuleHealth::Idle
    } else {
        RuleHealth::Dead
    };
    RuleState {
        id,
        at: rule.at.clone(),
        scope: rule.scope.clone(),
        action: rule.action.to_string(),
        reason: rule.reason.clone(),
        owner: rule.owner.clone(),
        expires: rule.expires,
        source: rule.source,
        hits,
        health,
    }
}

pub(super) fn of_builtin(entry: &Entry, run: &Run<'_>) -> RuleState {
    let hits = run.hits.get(entry.id).copied().unwrap_or(0);
    RuleState {
        id: entry.id.to_owned(),
        at: entry.at.to_owned(),
        scope: Scope::default(),
        action: entry.action.to_owned(),
        reason: entry.reason.to_owned(),
        owner: None,
        expires: None,
        source: RuleSource::Builtin,
        hits,
        health: if hits > 0 { RuleHealth::Used } else { RuleHealth::Idle },
    }
}
