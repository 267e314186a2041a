//! The fence row in SQL: one text for everybody who reads or moves it.
//!
//! Owns the table `banyan_owner` and the statements of each [`Move`]. It exists here, without any database, because two shells
//! need the same row: the outbox, which emits by it, and the sync, which installs the triggers that guard the context's
//! tables. What must stay true: each move is one `UPDATE` whose condition is exactly that of [`Fence::moved`]; literals are
//! context names and numbers only.

use banyan_domain::{ContextName, Side};

use crate::fence::{Fence, FenceState, Move};

/// The table of fences, in each side's database.
pub const OWNER_TABLE: &str = "banyan_owner";
/// How every message of a refused write begins.
pub const REFUSED: &str = "banyan fence: ";
/// The error number of a refused write on MySQL and MariaDB.
pub const REFUSED_MYSQL: u16 = 31_001;
/// The `SQLSTATE` of a refused write on Postgres.
pub const REFUSED_POSTGRES: &str = "BY001";

/// Makes the table on Postgres and SQLite.
pub const OWNER_DDL: &str = "CREATE TABLE IF NOT EXISTS banyan_owner (
        context TEXT NOT NULL PRIMARY KEY, side TEXT NOT NULL, state TEXT NOT NULL,
        epoch BIGINT NOT NULL, ordering TEXT NOT NULL)";
/// Makes the table on MySQL and MariaDB.
pub const OWNER_DDL_MYSQL: &str = "CREATE TABLE IF NOT EXISTS banyan_owner (
        context VARCHAR(48) NOT NULL PRIMARY KEY, side VARCHAR(6) NOT NULL,
        state VARCHAR(8) NOT NULL, epoch BIGINT NOT NULL, ordering VARCHAR(7) NOT NULL
    ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin";

/// What stands behind `INSERT INTO` to make a context known; events keep the order of their subject.
pub fn enrol(context: &ContextName, side: Side, fence: Fence) -> String {
    format!(
        "{OWNER_TABLE} (context, side, state, epoch, ordering) \
         VALUES ('{context}', '{side}', '{}', {}, 'subject')",
        fence.state.as_str(),
        fence.epoch.0,
    )
}

/// Reads state and epoch of the context's row.
pub fn read(context: &ContextName) -> String {
    format!("SELECT state, epoch FROM {OWNER_TABLE} WHERE context = '{context}'")
}

/// The compare-and-set of a move; one row changes, or the fence is not where the move starts from.
pub fn change(context: &ContextName, wanted: Move) -> String {
    let update = |state: FenceState, epoch: u64, from: String| {
        format!(
            "UPDATE {OWNER_TABLE} SET state = '{}', epoch = {epoch} \
             WHERE context = '{context}' AND {from}",
            state.as_str()
        )
    };
    let closed_before = |epoch: u64| format!("state <> 'open' AND epoch < {epoch}");
    match wanted {
        Move::Drain(e) => {
            update(FenceState::Draining, e.0, format!("state = 'open' AND epoch < {}", e.0))
        }
        Move::Open(e) => update(FenceState::Open, e.0, closed_before(e.0)),
        Move::Bar(e) => update(FenceState::Barred, e.0, closed_before(e.0)),
        Move::Reopen { given_up, back_to } => {
            let from =
                format!("state = 'draining' AND epoch = {} AND epoch > {}", given_up.0, back_to.0);
            update(FenceState::Open, back_to.0, from)
        }
    }
}

/// Postgres lets a steady stream of row sharers starve a change for ever; its advisory locks queue fairly. Emitters and
/// the triggers take it shared, whoever changes the row takes it alone.
pub fn advise_postgres(context: &ContextName, shared: bool) -> String {
    let lock = if shared { "pg_advisory_xact_lock_shared" } else { "pg_advisory_xact_lock" };
    format!("SELECT {lock}(hashtextextended('banyan fence {context}', 0))")
}

#[cfg(test)]
mod tests {
    use super::*;
    use banyan_domain::Epoch;

    #[test]
    fn a_move_is_one_conditional_update() {
        let name = ContextName::new("messages").expect("a name");
        assert_eq!(
            change(&name, Move::Open(Epoch(7))),
            "UPDATE banyan_owner SET state = 'open', epoch = 7 \
             WHERE context = 'messages' AND state <> 'open' AND epoch < 7"
        );
        let back = Move::Reopen { given_up: Epoch(7), back_to: Epoch(5) };
        assert_eq!(
            change(&name, back),
            "UPDATE banyan_owner SET state = 'open', epoch = 5 \
             WHERE context = 'messages' AND state = 'draining' AND epoch = 7 AND epoch > 5"
        );
    }
}
