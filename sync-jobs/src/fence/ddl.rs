//! The triggers of a fence, per engine.
//!
//! What must stay true: names are `by_fence_<context>_<n>_<suffix>`; a refusal has the code and the text that applications and
//! the proxy know it by; where the engine allows it, a refused writer keeps no lock on the row.

use banyan_cutover::sql;
use banyan_domain::{ContextName, Side};

use crate::capture::{CaptureObject, InstalledTrigger, mark};
use crate::connection::Connection;
use crate::dialect::{Dialect, Engine, ORIGIN};

/// The table with the tag of the running transaction, SQLite only.
pub(crate) const SQLITE_TAG_TABLE: &str = "by_session";
/// What makes it; the same as the change capture's.
pub(crate) const SQLITE_TAG_DDL: &str =
    "CREATE TABLE IF NOT EXISTS by_session (origin TEXT NOT NULL)";

/// The row events of MySQL, MariaDB and SQLite.
const ROW_EVENTS: [(&str, &str); 3] = [("INSERT", "bi"), ("UPDATE", "bu"), ("DELETE", "bd")];
/// The one statement trigger of Postgres.
const STATEMENT: &str = "bs";

impl CaptureObject {
    /// Whether an installed trigger is this one, with this text.
    pub(super) fn is(&self, trigger: &InstalledTrigger) -> bool {
        trigger.name == self.name
            && trigger.table == bare(&self.table)
            && trigger.text.contains(&self.mark)
    }
}

fn bare(table: &str) -> &str {
    table.rsplit('.').next().unwrap_or(table)
}

/// Whether a trigger has a name of this context's fence.
pub(super) fn is_of_context(trigger: &str, context: &ContextName) -> bool {
    let Some(rest) = trigger.strip_prefix(&format!("by_fence_{context}_")) else { return false };
    let Some((number, suffix)) = rest.split_once('_') else { return false };
    let known = suffix == STATEMENT || ROW_EVENTS.iter().any(|(_, of)| *of == suffix);
    known && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
}

/// A number for each table: the one that its installed triggers have, else the next free one. A table more in the mapping
/// must not take the guard off the others for a while.
fn numbers(context: &ContextName, tables: &[String], own: &[InstalledTrigger]) -> Vec<u32> {
    let number_of = |trigger: &InstalledTrigger| {
        let rest = trigger.name.strip_prefix(&format!("by_fence_{context}_"))?;
        rest.split_once('_')?.0.parse::<u32>().ok()
    };
    let known: Vec<Option<u32>> = tables
        .iter()
        .map(|table| own.iter().find(|trigger| trigger.table == bare(table)).and_then(number_of))
        .collect();
    let mut free = (1..).filter(|number| !known.contains(&Some(*number)));
    known.iter().map(|known| known.or_else(|| free.next()).unwrap_or_default()).collect()
}

/// The triggers of these tables, beside those that are installed.
pub(super) fn needed(
    at: &Connection,
    context: &ContextName,
    side: Side,
    tables: &[String],
    own: &[InstalledTrigger],
) -> Vec<CaptureObject> {
    let mut objects = Vec::new();
    for (number, table) in numbers(context, tables, own).into_iter().zip(tables) {
        let name = |suffix: &str| format!("by_fence_{context}_{number}_{suffix}");
        match at.engine() {
            Engine::Postgres => {
                objects.push(postgres(at.dialect, context, side, table, name(STATEMENT)));
            }
            Engine::MySql | Engine::Sqlite => {
                for (event, suffix) in ROW_EVENTS {
                    let make = if at.engine() == Engine::MySql { mysql } else { sqlite };
                    objects.push(make(at.dialect, context, side, table, event, name(suffix)));
                }
            }
        }
    }
    objects
}

/// A plain read inside a trigger takes the same lock as a locking one in InnoDB, so there is only one.
fn mysql(
    dialect: &dyn Dialect,
    context: &ContextName,
    side: Side,
    table: &str,
    event: &str,
    name: String,
) -> CaptureObject {
    let body = format!(
        "DECLARE by_state VARCHAR(8); DECLARE by_text VARCHAR(128); \
         IF @by_origin IS NULL OR @by_origin <> '{ORIGIN}' THEN \
         SET by_state = (SELECT o.state FROM {owner} o WHERE o.context = '{context}' \
         LOCK IN SHARE MODE); \
         IF by_state IS NULL OR by_state <> 'open' THEN \
         SET by_text = CONCAT('{prefix}context `{context}` is ', COALESCE(by_state, 'unknown'), ' on {side}'); \
         SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = {errno}, MESSAGE_TEXT = by_text; \
         END IF; END IF;",
        owner = sql::OWNER_TABLE,
        prefix = sql::REFUSED,
        errno = sql::REFUSED_MYSQL,
    );
    let mark = mark(&format!("{table}{event}{body}"));
    let create = format!(
        "CREATE TRIGGER {} BEFORE {event} ON {} FOR EACH ROW BEGIN {body} {mark} END",
        dialect.name(&name),
        dialect.name(table),
    );
    CaptureObject { name, table: table.to_owned(), mark, create: vec![create] }
}

/// One trigger per statement, `TRUNCATE` included. The read without lock comes first: who is refused by it keeps none.
fn postgres(
    dialect: &dyn Dialect,
    context: &ContextName,
    side: Side,
    table: &str,
    name: String,
) -> CaptureObject {
    let read = format!(
        "SELECT o.state INTO by_state FROM {} o WHERE o.context = '{context}'",
        sql::OWNER_TABLE
    );
    let refuse = format!(
        "IF by_state IS DISTINCT FROM 'open' THEN RAISE EXCEPTION USING ERRCODE = '{}', \
         MESSAGE = '{}context `{context}` is ' || COALESCE(by_state, 'unknown') || ' on {side}'; END IF;",
        sql::REFUSED_POSTGRES,
        sql::REFUSED,
    );
    let body = format!(
        "IF current_setting('by.origin', true) IS DISTINCT FROM '{ORIGIN}' THEN \
         {read}; {refuse} PERFORM {lock}; {read} FOR SHARE; {refuse} END IF;",
        lock = sql::advise_postgres(context, true).trim_start_matches("SELECT "),
    );
    let mark = mark(&format!("{table}{body}"));
    let (quoted, on) = (dialect.name(&name), dialect.name(table));
    // SECURITY DEFINER: the application's login needs no right on the table of fences.
    let function = format!(
        "CREATE OR REPLACE FUNCTION {quoted}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER \
         SET search_path FROM CURRENT AS $by$ DECLARE by_state text; BEGIN {mark} {body} RETURN NULL; END $by$"
    );
    let trigger = format!(
        "CREATE TRIGGER {quoted} BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON {on} \
         FOR EACH STATEMENT EXECUTE FUNCTION {quoted}()"
    );
    let always = format!("ALTER TABLE {on} ENABLE ALWAYS TRIGGER {quoted}");
    CaptureObject { name, table: table.to_owned(), mark, create: vec![function, trigger, always] }
}

/// SQLite has one writer at a time: whoever reads the row here already holds the database.
fn sqlite(
    dialect: &dyn Dialect,
    context: &ContextName,
    side: Side,
    table: &str,
    event: &str,
    name: String,
) -> CaptureObject {
    let when = format!(
        "NOT EXISTS (SELECT 1 FROM {SQLITE_TAG_TABLE}) AND COALESCE((SELECT o.state FROM {} o \
         WHERE o.context = '{context}'), 'unknown') <> 'open'",
        sql::OWNER_TABLE,
    );
    let body =
        format!("SELECT RAISE(ABORT, '{}context `{context}` is closed on {side}');", sql::REFUSED);
    let mark = mark(&format!("{table}{event}{when}{body}"));
    let create = format!(
        "CREATE TRIGGER {} BEFORE {event} ON {} FOR EACH ROW WHEN {when} BEGIN {mark} {body} END",
        dialect.name(&name),
        dialect.name(table),
    );
    CaptureObject { name, table: table.to_owned(), mark, create: vec![create] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_keeps_its_number_when_another_one_comes() {
        let name = ContextName::new("messages").expect("a name");
        let installed = |name: &str, table: &str| InstalledTrigger {
            name: name.to_owned(),
            table: table.to_owned(),
            text: String::new(),
            identity: String::new(),
        };
        let own = [
            installed("by_fence_messages_1_bi", "chats"),
            installed("by_fence_messages_2_bi", "people"),
        ];
        let tables = ["attachments", "public.chats", "people", "words"].map(str::to_owned);
        assert_eq!(numbers(&name, &tables, &own), [3, 1, 2, 4]);
        assert_eq!(numbers(&name, &tables, &[]), [1, 2, 3, 4]);
    }

    #[test]
    fn a_context_owns_only_triggers_of_its_exact_name() {
        let name = ContextName::new("messages").expect("a name");
        assert!(is_of_context("by_fence_messages_1_bi", &name));
        assert!(is_of_context("by_fence_messages_12_bs", &name));
        assert!(!is_of_context("by_fence_messages_2_1_bi", &name));
        assert!(!is_of_context("by_fence_messages_x_bi", &name));
        assert!(!is_of_context("by_messages_1_ai", &name));
    }
}
