//! Schema drift: what changed about a table since somebody accepted it, and whether a job may go on.
//!
//! A mapping is written for the tables as they were. A column that is added hurts nobody; a type, key or
//! collation that changes can make values differ without any row being written, so no trigger fires.
//!
//! What must stay true: the order of columns means nothing; a table that is gone, or was never accepted,
//! always stops; what is accepted once is not reported again.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A table as it is declared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableForm {
    /// Its columns.
    pub columns: Vec<ColumnForm>,
}

/// A column as it is declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnForm {
    /// The name.
    pub name: String,
    /// The type with its sizes.
    pub declared: String,
    /// The collation; empty if it has none.
    pub collation: String,
    /// The place in the primary key from 1 on; 0 if it is not part of it.
    pub key: u16,
}

/// What kind of change it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DriftClass {
    /// A column came, which no mapping names yet.
    NewColumn,
    /// A column is gone or has another name.
    DroppedColumn,
    /// A column has another type or size.
    Type,
    /// A column compares text in another way.
    Collation,
    /// The primary key consists of other columns.
    Key,
    /// The table is gone, or was never accepted.
    Table,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// Its kind.
    pub class: DriftClass,
    /// The table or column.
    pub object: String,
    /// What it was and what it is.
    pub change: String,
}

/// With which changes a job goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriftPolicy {
    /// Changes that are only noted; all others stop the job.
    pub continued: Vec<DriftClass>,
}

/// The changes of all tables, judged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DriftVerdict {
    /// Changes that somebody must accept first.
    pub stops: Vec<Drift>,
    /// Changes that are only said.
    pub notes: Vec<Drift>,
}

impl DriftClass {
    /// The classes that a job may go on with.
    pub const CHOOSABLE: [Self; 5] =
        [Self::NewColumn, Self::DroppedColumn, Self::Type, Self::Collation, Self::Key];

    /// The class as a word of the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NewColumn => "new-column",
            Self::DroppedColumn => "dropped-column",
            Self::Type => "type",
            Self::Collation => "collation",
            Self::Key => "key",
            Self::Table => "table",
        }
    }

    /// The choosable class of this word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::CHOOSABLE.into_iter().find(|class| class.as_str() == word)
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}", self.object, self.change)
    }
}

impl Default for DriftPolicy {
    /// A new column is noted, everything else stops.
    fn default() -> Self {
        Self { continued: vec![DriftClass::NewColumn] }
    }
}

impl DriftPolicy {
    /// Sorts the changes into those that stop the job and those that are only said.
    pub fn judge(&self, changes: Vec<Drift>) -> DriftVerdict {
        let goes_on = |drift: &Drift| {
            drift.class != DriftClass::Table && self.continued.contains(&drift.class)
        };
        let (notes, stops) = changes.into_iter().partition(goes_on);
        DriftVerdict { stops, notes }
    }
}

/// What changed about a table; `None` is a table that was never accepted, or is gone.
pub fn drift(table: &str, accepted: Option<&TableForm>, found: Option<&TableForm>) -> Vec<Drift> {
    let whole = |change: &str| {
        let object = table.to_owned();
        vec![Drift { class: DriftClass::Table, object, change: change.to_owned() }]
    };
    let (before, after) = match (accepted, found) {
        (_, None) => return whole("is gone"),
        (None, Some(_)) => return whole("was not part of the job before"),
        (Some(before), Some(after)) => (before, after),
    };
    let mut changes = Vec::new();
    for old in &before.columns {
        match after.column(&old.name) {
            None => changes.push(change(table, &old.name, DriftClass::DroppedColumn, "is gone")),
            Some(new) => changes.extend(column_drift(table, old, new)),
        }
    }
    for new in &after.columns {
        if before.column(&new.name).is_none() {
            let text = format!("is new ({})", new.declared);
            changes.push(change(table, &new.name, DriftClass::NewColumn, text));
        }
    }
    let (old, new) = (before.key(), after.key());
    if old != new {
        let text = format!("had the primary key ({old}) and has ({new})");
        let object = table.to_owned();
        changes.push(Drift { class: DriftClass::Key, object, change: text });
    }
    changes
}

impl TableForm {
    fn column(&self, name: &str) -> Option<&ColumnForm> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The primary key's columns in order.
    fn key(&self) -> String {
        let mut columns: Vec<&ColumnForm> = self.columns.iter().filter(|c| c.key > 0).collect();
        columns.sort_by_key(|column| column.key);
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        names.join(", ")
    }
}

fn column_drift(table: &str, old: &ColumnForm, new: &ColumnForm) -> Vec<Drift> {
    let mut changes = Vec::new();
    if old.declared != new.declared {
        let text = format!("was {} and is {}", old.declared, new.declared);
        changes.push(change(table, &old.name, DriftClass::Type, text));
    }
    if old.collation != new.collation {
        let word = |collation: &str| {
            if collation.is_empty() { "none".to_owned() } else { collation.to_owned() }
        };
        let text =
            format!("had collation {} and has {}", word(&old.collation), word(&new.collation));
        changes.push(change(table, &old.name, DriftClass::Collation, text));
    }
    changes
}

fn change(table: &str, column: &str, class: DriftClass, change: impl Into<String>) -> Drift {
    Drift { class, object: format!("{table}.{column}"), change: change.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn column(name: &str, declared: &str, collation: &str, key: u16) -> ColumnForm {
        let (name, declared) = (name.to_owned(), declared.to_owned());
        ColumnForm { name, declared, collation: collation.to_owned(), key }
    }

    fn form(columns: &[ColumnForm]) -> TableForm {
        TableForm { columns: columns.to_vec() }
    }

    #[test]
    fn each_change_is_named_with_its_class() {
        let before = form(&[
            column("id", "bigint", "", 1),
            column("body", "varchar(20)", "utf8mb4_bin", 0),
            column("gone", "int", "", 0),
        ]);
        let after = form(&[
            column("body", "varchar(10)", "utf8mb4_general_ci", 0),
            column("id", "bigint", "", 0),
            column("uid", "uuid", "", 1),
        ]);
        let found: Vec<(DriftClass, String)> = drift("notes", Some(&before), Some(&after))
            .into_iter()
            .map(|drift| (drift.class, drift.to_string()))
            .collect();
        let want = [
            (DriftClass::Type, "`notes.body` was varchar(20) and is varchar(10)"),
            (
                DriftClass::Collation,
                "`notes.body` had collation utf8mb4_bin and has utf8mb4_general_ci",
            ),
            (DriftClass::DroppedColumn, "`notes.gone` is gone"),
            (DriftClass::NewColumn, "`notes.uid` is new (uuid)"),
            (DriftClass::Key, "`notes` had the primary key (id) and has (uid)"),
        ];
        assert_eq!(found, want.map(|(class, text)| (class, text.to_owned())));
    }

    #[test]
    fn a_table_that_is_gone_or_new_stops_under_every_policy() {
        let all = DriftPolicy { continued: DriftClass::CHOOSABLE.to_vec() };
        let known = form(&[]);
        for (before, after) in [(Some(&known), None), (None, Some(&known)), (None, None)] {
            assert_eq!(all.judge(drift("notes", before, after)).stops.len(), 1);
        }
    }

    #[test]
    fn a_new_column_is_noted_and_the_rest_stops_unless_told_otherwise() {
        let before = form(&[column("id", "int", "", 1)]);
        let after = form(&[column("id", "bigint", "", 1), column("new", "int", "", 0)]);
        let changes = drift("notes", Some(&before), Some(&after));
        let verdict = DriftPolicy::default().judge(changes.clone());
        assert_eq!((verdict.stops.len(), verdict.notes.len()), (1, 1));
        let lenient = DriftPolicy { continued: vec![DriftClass::Type] };
        let verdict = lenient.judge(changes);
        assert_eq!(verdict.stops[0].class, DriftClass::NewColumn);
        assert_eq!(verdict.notes[0].class, DriftClass::Type);
    }

    fn any_form() -> impl Strategy<Value = TableForm> {
        let types = prop_oneof![Just("int"), Just("text")];
        let collations = prop_oneof![Just(""), Just("ci")];
        proptest::collection::btree_map("[a-d]", (types, collations, 0_u16..2), 0..4).prop_map(
            |map| {
                let columns = map
                    .into_iter()
                    .map(|(name, (declared, collation, key))| {
                        column(&name, declared, collation, key)
                    })
                    .collect();
                TableForm { columns }
            },
        )
    }

    proptest! {
        #[test]
        fn there_is_drift_exactly_between_different_forms(a in any_form(), b in any_form()) {
            prop_assert_eq!(drift("t", Some(&a), Some(&b)).is_empty(), a == b);
            prop_assert!(drift("t", Some(&a), Some(&a)).is_empty());
        }
    }
}
