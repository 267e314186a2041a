//! Multi-row inserts of one fixed size, so that one prepared statement serves almost all of a table's rows.
//!
//! What must stay true: a statement stays below every driver's bind limit (SQLite: 32,766).

use crate::{
    MothershipError,
    database::{Arg, Tx},
};

const ROWS_PER_STATEMENT: usize = 500;

/// Rows of one table that wait to be inserted.
pub(super) struct Bulk {
    table: &'static str,
    columns: &'static [&'static str],
    args: Vec<Arg>,
}

impl Bulk {
    pub(super) fn new(table: &'static str, columns: &'static [&'static str]) -> Self {
        Self { table, columns, args: Vec::new() }
    }

    /// Adds a row, its values in the order of the columns.
    pub(super) fn push<const N: usize>(&mut self, row: [Arg; N]) {
        debug_assert_eq!(N, self.columns.len(), "row of `{}`", self.table);
        self.args.extend(row);
    }

    /// Inserts all rows; gives their number.
    pub(super) async fn insert(self, tx: &mut Tx) -> Result<u64, MothershipError> {
        let width = self.columns.len();
        let full = self.statement(ROWS_PER_STATEMENT);
        let mut rows = 0;
        for chunk in self.args.chunks(ROWS_PER_STATEMENT * width) {
            let done = if chunk.len() == ROWS_PER_STATEMENT * width {
                tx.execute(full.clone().into(), chunk).await?
            } else {
                tx.execute_once(self.statement(chunk.len() / width).into(), chunk).await?
            };
            rows += done.rows;
        }
        Ok(rows)
    }

    fn statement(&self, rows: usize) -> String {
        let row = format!("({})", vec!["?"; self.columns.len()].join(", "));
        let (table, columns) = (self.table, self.columns.join(", "));
        format!("INSERT INTO {table} ({columns}) VALUES {}", vec![row; rows].join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statement_has_a_place_for_each_value() {
        let bulk = Bulk::new("plays", &["track_id", "user_id"]);
        assert_eq!(
            bulk.statement(2),
            "INSERT INTO plays (track_id, user_id) VALUES (?, ?), (?, ?)"
        );
    }
}
