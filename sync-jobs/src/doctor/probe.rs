//! A question as a query that lists faults: each row is an object and what is wrong with it.
//!
//! What must stay true: no row means healthy; a query that fails is a warning with its reason; one probe
//! names at most [`FAULTS_MAX`] objects.

use super::{DoctorCheck, Finding, Role};
use crate::connection::{Connection, as_text};
use crate::dialect::Engine;

/// Objects named per question.
const FAULTS_MAX: usize = 20;
/// Rows looked at per table for questions about data.
pub(super) const SAMPLE_ROWS: u32 = 50_000;

/// What is asked about.
pub(super) struct Place {
    pub(super) engine: Engine,
    pub(super) role: Role,
    /// Captured tables of the source, or the job's tables of the target.
    pub(super) tables: Vec<String>,
    /// Key and root columns of the target: table, column.
    pub(super) keys: Vec<(String, String)>,
    /// What zero dates are, by the job's rules.
    pub(super) zero_dates: Finding,
}

/// One question.
pub(super) struct Probe {
    pub(super) topic: &'static str,
    /// What a fault is.
    pub(super) finding: Finding,
    /// A query with two columns: the object and what is wrong.
    pub(super) sql: String,
    pub(super) hint: &'static str,
}

impl Place {
    /// Whether the side is captured.
    pub(super) fn is_source(&self) -> bool {
        self.role == Role::Source
    }

    /// A name in the engine's quotes.
    pub(super) fn name(&self, name: &str) -> String {
        self.engine.dialect().name(name)
    }

    /// A text as a literal.
    pub(super) fn text(&self, text: &str) -> String {
        let mut literal = String::new();
        let value = banyan_engine::Value::Text(text.to_owned());
        // Only NUL is refused, and no name that the file gives has one.
        if self.engine.dialect().push_literal(&value, &mut literal).is_err() {
            return "''".to_owned();
        }
        literal
    }

    /// The tables as literals, without their schemas.
    pub(super) fn bare_tables(&self) -> String {
        let bare = self.tables.iter().map(|table| {
            let name = table.rsplit('.').next().unwrap_or(table);
            self.text(name)
        });
        bare.collect::<Vec<_>>().join(", ")
    }
}

/// Asks, and answers with at least one check.
pub(super) async fn ask(at: &mut Connection, probe: &Probe) -> Vec<DoctorCheck> {
    let check = |finding, object: String, text: String, hint: Option<String>| DoctorCheck {
        side: Some(at.side),
        topic: probe.topic,
        finding,
        object,
        text,
        hint,
    };
    let healthy = check(Finding::Ok, String::new(), "nothing wrong".to_owned(), None);
    let unasked = check(Finding::Warn, String::new(), String::new(), None);
    let named = |finding, row: &[banyan_engine::Value]| {
        let text = |at: usize| row.get(at).and_then(as_text).unwrap_or_default();
        DoctorCheck {
            finding,
            object: text(0),
            text: text(1),
            hint: Some(probe.hint.to_owned()),
            ..healthy.clone()
        }
    };
    match at.rows(&format!("check `{}`", probe.topic), probe.sql.clone()).await {
        Ok(rows) if rows.is_empty() => vec![healthy],
        Ok(rows) => {
            let mut checks: Vec<DoctorCheck> =
                rows.iter().take(FAULTS_MAX).map(|row| named(probe.finding, row)).collect();
            if rows.len() > FAULTS_MAX {
                let text = format!("and {} more", rows.len() - FAULTS_MAX);
                checks.push(DoctorCheck { finding: probe.finding, text, ..healthy });
            }
            checks
        }
        Err(error) => {
            let text = format!("not known: {}", error.chain());
            let hint = Some("give the login the right to look, or look yourself".to_owned());
            vec![DoctorCheck { text, hint, ..unasked }]
        }
    }
}
