//! The difference between the rows an aggregate should have and the rows it has.
//!
//! Apply reads what is true now on the source, compares, and writes only what differs. This gives
//! idempotence, freedom from order, deletes, exact counters, and the dry run, all from one function.
//!
//! What must stay true: `apply(diff(target, source)) == source`; rows are matched by primary key
//! only; two source rows with one primary key are an error, because either could win.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::value::Value;

/// Rows of one table by primary key; every row has all columns of the mapping, in its order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyedRows {
    rows: BTreeMap<Vec<Value>, Vec<Value>>,
}

/// One row that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowChange {
    /// The target misses the row.
    Insert {
        /// The row as it should be.
        row: Vec<Value>,
    },
    /// The target has the primary key with other values.
    Update {
        /// The row as it is.
        before: Vec<Value>,
        /// The row as it should be.
        after: Vec<Value>,
    },
    /// The target has a row that the source does not.
    Delete {
        /// The row as it is.
        row: Vec<Value>,
    },
}

/// What to write to one table, ordered by primary key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableDiff {
    /// The changes, at most one per primary key.
    pub changes: Vec<RowChange>,
}

/// Rows that cannot be matched by primary key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RowsError {
    /// The mapping's select returned one primary key twice.
    #[error("the primary key ({key}) comes twice")]
    Twice {
        /// The key's values as canonical text.
        key: String,
    },
    /// A part of the primary key is NULL.
    #[error("the primary key ({key}) has a NULL part")]
    NullKey {
        /// The key's values as canonical text.
        key: String,
    },
}

impl KeyedRows {
    /// Adds one row; `key` holds the positions of the primary key's columns.
    ///
    /// # Errors
    /// [`RowsError`] when the key has a NULL or is there already.
    pub fn insert(&mut self, key: &[usize], row: Vec<Value>) -> Result<(), RowsError> {
        let key: Vec<Value> =
            key.iter().map(|at| row.get(*at).cloned().unwrap_or(Value::Null)).collect();
        if key.contains(&Value::Null) {
            return Err(RowsError::NullKey { key: key_text(&key) });
        }
        match self.rows.entry(key) {
            Entry::Vacant(place) => {
                place.insert(row);
                Ok(())
            }
            Entry::Occupied(place) => Err(RowsError::Twice { key: key_text(place.key()) }),
        }
    }

    /// The rows in the order of their primary keys.
    pub fn rows(&self) -> impl Iterator<Item = &Vec<Value>> {
        self.rows.values()
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Makes the changes, as a target database would.
    pub fn apply(&mut self, key: &[usize], diff: &TableDiff) {
        let key_of = |row: &[Value]| -> Vec<Value> {
            key.iter().map(|at| row.get(*at).cloned().unwrap_or(Value::Null)).collect()
        };
        for change in &diff.changes {
            match change {
                RowChange::Insert { row } | RowChange::Update { after: row, .. } => {
                    self.rows.insert(key_of(row), row.clone());
                }
                RowChange::Delete { row } => {
                    self.rows.remove(&key_of(row));
                }
            }
        }
    }
}

impl TableDiff {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

/// A column whose value on the target stays, because the source does not know it exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Its position.
    pub column: usize,
    /// The position of a column that, when it differs, makes the source's value count after all.
    pub unless: Option<usize>,
}

/// `source` with the target's values in the kept columns of rows that both have. New rows stay as they are.
pub fn keep(target: &KeyedRows, source: &KeyedRows, rules: &[Keep]) -> KeyedRows {
    let mut kept = source.clone();
    for (key, row) in &mut kept.rows {
        let Some(have) = target.rows.get(key) else { continue };
        for rule in rules {
            if rule.unless.is_some_and(|at| row.get(at) != have.get(at)) {
                continue;
            }
            if let (Some(value), Some(found)) = (row.get_mut(rule.column), have.get(rule.column)) {
                value.clone_from(found);
            }
        }
    }
    kept
}

/// What to write so that `target` becomes `source`.
pub fn diff(target: &KeyedRows, source: &KeyedRows) -> TableDiff {
    let mut changes = Vec::new();
    let mut have = target.rows.iter().peekable();
    for (key, row) in &source.rows {
        while let Some((_, extra)) = have.next_if(|(other, _)| *other < key) {
            changes.push(RowChange::Delete { row: extra.clone() });
        }
        match have.next_if(|(other, _)| *other == key) {
            None => changes.push(RowChange::Insert { row: row.clone() }),
            Some((_, before)) if before != row => {
                changes.push(RowChange::Update { before: before.clone(), after: row.clone() });
            }
            Some(_) => {}
        }
    }
    changes.extend(have.map(|(_, extra)| RowChange::Delete { row: extra.clone() }));
    TableDiff { changes }
}

fn key_text(key: &[Value]) -> String {
    let parts: Vec<_> =
        key.iter().map(|v| v.canonical_text().unwrap_or("NULL".into()).into_owned()).collect();
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row(id: i128, text: &str) -> Vec<Value> {
        vec![Value::Int(id), Value::Text(text.to_owned())]
    }

    fn rows(of: &[(i128, &str)]) -> KeyedRows {
        let mut rows = KeyedRows::default();
        for (id, text) in of {
            rows.insert(&[0], row(*id, text)).unwrap();
        }
        rows
    }

    #[test]
    fn each_kind_of_change_is_found() {
        let target = rows(&[(1, "same"), (2, "old"), (4, "gone"), (9, "gone too")]);
        let source = rows(&[(1, "same"), (2, "changed"), (3, "added")]);
        assert_eq!(
            diff(&target, &source).changes,
            vec![
                RowChange::Update { before: row(2, "old"), after: row(2, "changed") },
                RowChange::Insert { row: row(3, "added") },
                RowChange::Delete { row: row(4, "gone") },
                RowChange::Delete { row: row(9, "gone too") },
            ]
        );
    }

    #[test]
    fn one_primary_key_twice_is_refused() {
        let mut rows = rows(&[(1, "a")]);
        assert!(matches!(rows.insert(&[0], row(1, "b")), Err(RowsError::Twice { .. })));
        assert!(matches!(
            rows.insert(&[0], vec![Value::Null, Value::Null]),
            Err(RowsError::NullKey { .. })
        ));
    }

    #[test]
    fn a_kept_column_stays_unless_its_witness_differs() {
        let of = |id: i128, kept: &str, witness: &str| {
            vec![Value::Int(id), Value::Text(kept.to_owned()), Value::Text(witness.to_owned())]
        };
        let rows = |of: [Vec<Value>; 2]| {
            let mut rows = KeyedRows::default();
            for row in of {
                rows.insert(&[0], row).unwrap();
            }
            rows
        };
        let target = rows([of(1, "exact", "set"), of(2, "exact", "set")]);
        let source = rows([of(1, "about", "set"), of(2, "about", "unset")]);
        let always = [Keep { column: 1, unless: None }];
        let unless = [Keep { column: 1, unless: Some(2) }];
        assert_eq!(diff(&target, &keep(&target, &source, &unless)).changes.len(), 1);
        let after = of(2, "exact", "unset");
        let before = of(2, "exact", "set");
        let update = RowChange::Update { before, after };
        assert_eq!(diff(&target, &keep(&target, &source, &always)).changes, [update]);
        assert_eq!(keep(&KeyedRows::default(), &source, &always), source);
    }

    fn any_rows() -> impl Strategy<Value = KeyedRows> {
        proptest::collection::btree_map(0_i128..20, "[a-c]{0,2}", 0..15).prop_map(|map| {
            let mut rows = KeyedRows::default();
            for (id, text) in map {
                rows.insert(&[0], row(id, &text)).unwrap();
            }
            rows
        })
    }

    proptest! {
        #[test]
        fn applying_the_difference_gives_the_source_and_nothing_is_left(
            target in any_rows(), source in any_rows()
        ) {
            let change = diff(&target, &source);
            let mut after = target.clone();
            after.apply(&[0], &change);
            prop_assert_eq!(&after, &source);
            prop_assert!(diff(&after, &source).is_empty());
            after.apply(&[0], &change);
            prop_assert_eq!(&after, &source, "a repeated batch changes nothing");
        }

        #[test]
        fn no_difference_exactly_for_equal_rows(a in any_rows(), b in any_rows()) {
            prop_assert_eq!(diff(&a, &b).is_empty(), a == b);
        }
    }
}
