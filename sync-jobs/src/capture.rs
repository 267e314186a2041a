//! Trigger capture: which triggers a job needs on its source, and which are there.
//!
//! Each trigger carries the fingerprint of its own text, so that a trigger that somebody changed, or
//! that belongs to an older configuration, is told from the right one.
//!
//! What must stay true: names are `by_<job>_<n>_<event>`; a job owns exactly the triggers of this form;
//! an installed trigger counts only if its fingerprint is the expected one.

use banyan_engine::fingerprint;

use crate::dialect::Dialect;
use crate::spec::{CaptureEvent, CaptureMode, JobSpec};
use banyan_domain::Side;

/// One trigger with what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CaptureObject {
    /// The trigger's name.
    pub(crate) name: String,
    /// The table it is on.
    pub(crate) table: String,
    /// The mark inside its text.
    pub(crate) mark: String,
    /// The statements that make it.
    pub(crate) create: Vec<String>,
}

/// A trigger that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InstalledTrigger {
    pub(crate) name: String,
    pub(crate) table: String,
    pub(crate) text: String,
    /// Another one when the trigger was made anew, or was off for a while where an engine can do that.
    pub(crate) identity: String,
}

/// What differs between the needed and the installed triggers of a job.
#[derive(Debug, Clone, Default)]
pub(crate) struct CaptureGap {
    /// Needed and not there, or there with another text.
    pub(crate) missing: Vec<CaptureObject>,
    /// There under a name of the job, and not needed or with another text.
    pub(crate) stale: Vec<InstalledTrigger>,
}

impl CaptureGap {
    /// Whether the capture is complete.
    pub(crate) fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.stale.is_empty()
    }
}

/// All triggers that a job needs on a side.
pub(crate) fn needed(spec: &JobSpec, side: Side, dialect: &dyn Dialect) -> Vec<CaptureObject> {
    if spec.mode != CaptureMode::Trigger {
        return Vec::new();
    }
    spec.captures_on(side)
        .flat_map(|(number, capture)| dialect.capture_objects(&spec.name, number, capture))
        .collect()
}

/// Compares the needed triggers with those that are there.
pub(crate) fn gap(
    job: &str,
    needed: Vec<CaptureObject>,
    installed: Vec<InstalledTrigger>,
) -> CaptureGap {
    let own: Vec<InstalledTrigger> =
        installed.into_iter().filter(|t| is_of_job(&t.name, job)).collect();
    let is_right = |object: &CaptureObject, trigger: &InstalledTrigger| {
        trigger.name == object.name
            && trigger.table == bare(&object.table)
            && trigger.text.contains(&object.mark)
    };
    let stale = own
        .iter()
        .filter(|trigger| !needed.iter().any(|object| is_right(object, trigger)))
        .cloned()
        .collect();
    let missing = needed
        .into_iter()
        .filter(|object| !own.iter().any(|trigger| is_right(object, trigger)))
        .collect();
    CaptureGap { missing, stale }
}

/// What the triggers of a job are: another text when one of them was away for a while.
pub(crate) fn identity(job: &str, installed: &[InstalledTrigger]) -> String {
    let mut own: Vec<String> = installed
        .iter()
        .filter(|trigger| is_of_job(&trigger.name, job))
        .map(|trigger| format!("{}@{}@{}", trigger.name, trigger.table, trigger.identity))
        .collect();
    own.sort();
    fingerprint(&own.join("\n"))
}

/// `by_<job>_<number>_<suffix>`.
pub(crate) fn trigger_name(job: &str, number: usize, suffix: &str) -> String {
    format!("by_{}_{number}_{suffix}", job.replace('-', "_"))
}

/// The mark of a trigger made of this text, as an SQL comment.
pub(crate) fn mark(text: &str) -> String {
    format!("/* banyan {} */", fingerprint(text))
}

/// Whether a key is a `SELECT` of several keys rather than an expression.
pub(crate) fn is_select(key: &str) -> bool {
    let first = key.split_whitespace().next().unwrap_or_default();
    first.eq_ignore_ascii_case("select") || first.eq_ignore_ascii_case("with")
}

/// The key with the row's name in it.
pub(crate) fn key_of(key: &str, row: &str) -> String {
    key.replace("{row}", row)
}

impl CaptureEvent {
    /// The suffix of the event's trigger.
    pub(crate) const fn suffix(self) -> &'static str {
        match self {
            Self::Insert => "ai",
            Self::Update => "au",
            Self::Delete => "ad",
        }
    }

    /// The event in DDL.
    pub(crate) const fn sql(self) -> &'static str {
        match self {
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }

    /// The letter in `by_change.op`.
    pub(crate) const fn op(self) -> &'static str {
        match self {
            Self::Insert => "I",
            Self::Update => "U",
            Self::Delete => "D",
        }
    }

    /// The row images that the event has.
    pub(crate) const fn images(self) -> &'static [&'static str] {
        match self {
            Self::Insert => &["NEW"],
            Self::Update => &["NEW", "OLD"],
            Self::Delete => &["OLD"],
        }
    }
}

fn bare(table: &str) -> &str {
    table.rsplit('.').next().unwrap_or(table)
}

/// Whether a trigger has a name of this job, and not of a job whose name only starts alike.
fn is_of_job(trigger: &str, job: &str) -> bool {
    let prefix = format!("by_{}_", job.replace('-', "_"));
    let Some(rest) = trigger.strip_prefix(&prefix) else { return false };
    let Some((number, suffix)) = rest.split_once('_') else { return false };
    number.bytes().all(|b| b.is_ascii_digit()) && ["ai", "au", "ad", "at"].contains(&suffix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str) -> CaptureObject {
        CaptureObject {
            name: name.to_owned(),
            table: "public.users".to_owned(),
            mark: mark("text"),
            create: vec![],
        }
    }

    fn installed(name: &str, text: &str) -> InstalledTrigger {
        InstalledTrigger {
            name: name.to_owned(),
            table: "users".to_owned(),
            text: text.to_owned(),
            identity: "1".to_owned(),
        }
    }

    #[test]
    fn a_trigger_that_was_made_anew_is_another_one() {
        let old =
            [installed("by_j_1_ai", "x"), installed("by_j_1_au", "x"), installed("by_o_1_ai", "x")];
        let mut new = old.clone();
        new[2].identity = "2".to_owned();
        new.reverse();
        assert_eq!(identity("j", &old), identity("j", &new), "another job's is not ours");
        new[1].identity = "2".to_owned();
        assert_ne!(identity("j", &old), identity("j", &new));
    }

    #[test]
    fn a_job_owns_only_triggers_of_its_exact_name() {
        assert!(is_of_job("by_messages_1_ai", "messages"));
        assert!(is_of_job("by_user_feed_12_at", "user-feed"));
        assert!(!is_of_job("by_messages_2_1_ai", "messages"));
        assert!(!is_of_job("by_messages_1_xx", "messages"));
    }

    #[test]
    fn a_changed_trigger_is_stale_and_missing_at_once() {
        let right = mark("text");
        let needed = vec![object("by_j_1_ai"), object("by_j_1_au")];
        let there = vec![
            installed("by_j_1_ai", &format!("BEGIN {right} END")),
            installed("by_j_1_au", "BEGIN somebody else's END"),
            installed("by_j_9_ad", &right),
            installed("by_other_1_ai", "x"),
        ];
        let gap = gap("j", needed, there);
        let missing: Vec<&str> = gap.missing.iter().map(|o| o.name.as_str()).collect();
        let stale: Vec<&str> = gap.stale.iter().map(|t| t.name.as_str()).collect();
        assert_eq!((missing, stale), (vec!["by_j_1_au"], vec!["by_j_1_au", "by_j_9_ad"]));
    }
}
