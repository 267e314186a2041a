//! What became dirty since the last clean verify, so that the next one need not look at everything.
//!
//! `by_verified` numbers the passes of a job; `by_dirty` holds the root keys that were applied since, each with
//! the number of the pass that ran then. Every apply adds its keys in its own transaction, once a pass was
//! begun. When pass N ends, what was written before it began is forgotten, except the roots that it found differing
//! or hot: under constant writes some always are, and the others need no second look because of them.
//!
//! What must stay true: a pass begins under the lock of the checkpoint row, so an apply is either
//! committed before it or recorded in it; the list is bounded, and a list that got too long says that a full
//! pass is needed, never that all is well.

use banyan_engine::{RootKey, Value};

use crate::connection::{Connection, as_integer, as_text};
use crate::dialect::{Engine, Existing, WriteTarget, write_to};
use crate::error::SyncError;
use crate::job::JobInner;
use crate::state::text;

/// Root keys that are remembered at most.
pub(crate) const DIRTY_MAX: i64 = 1_000_000;

/// The tables' names, in the order in which they are made.
pub(crate) const TABLES: [&str; 2] = ["by_verified", "by_dirty"];

/// Roots that a pass may leave unproved and still count.
pub(super) const UNPROVED_MAX: usize = 20_000;

/// What the last passes left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Since {
    /// Everything that was applied since the last clean pass is in `by_dirty`.
    Clean,
    /// No pass of this job ended clean.
    Never,
    /// More keys became dirty than are remembered.
    TooMany,
}

/// One row of `by_verified`.
struct Passes {
    number: i64,
    clean: Option<i64>,
    state: String,
    dirty: i64,
}

/// DDL of both tables.
pub(crate) fn ddl(engine: Engine) -> [&'static str; 2] {
    match engine {
        Engine::Sqlite => [
            "CREATE TABLE IF NOT EXISTS by_verified (job TEXT NOT NULL, direction TEXT NOT NULL, \
             passes INTEGER NOT NULL, clean_pass INTEGER, clean_at_ms INTEGER, state TEXT NOT NULL, \
             dirty INTEGER NOT NULL, PRIMARY KEY (job, direction))",
            "CREATE TABLE IF NOT EXISTS by_dirty (job TEXT NOT NULL, direction TEXT NOT NULL, \
             k TEXT NOT NULL, pass INTEGER NOT NULL, PRIMARY KEY (job, direction, k)) WITHOUT ROWID",
        ],
        Engine::Postgres => [
            "CREATE TABLE IF NOT EXISTS by_verified (job text NOT NULL, direction text NOT NULL, \
             passes bigint NOT NULL, clean_pass bigint, clean_at_ms bigint, state text NOT NULL, \
             dirty bigint NOT NULL, PRIMARY KEY (job, direction))",
            "CREATE TABLE IF NOT EXISTS by_dirty (job text NOT NULL, direction text NOT NULL, \
             k text COLLATE \"C\" NOT NULL, pass bigint NOT NULL, PRIMARY KEY (job, direction, k))",
        ],
        Engine::MySql => [
            "CREATE TABLE IF NOT EXISTS by_verified (job VARCHAR(32) NOT NULL, \
             direction VARCHAR(8) NOT NULL, passes BIGINT NOT NULL, clean_pass BIGINT, \
             clean_at_ms BIGINT, state VARCHAR(8) NOT NULL, dirty BIGINT NOT NULL, \
             PRIMARY KEY (job, direction)) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4",
            "CREATE TABLE IF NOT EXISTS by_dirty (job VARCHAR(32) NOT NULL, \
             direction VARCHAR(8) NOT NULL, k VARBINARY(512) NOT NULL, pass BIGINT NOT NULL, \
             PRIMARY KEY (job, direction, k)) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4",
        ],
    }
}

/// What forgets the job's passes, for uninstalling.
pub(crate) fn delete_sql(job: &JobInner) -> [String; 2] {
    TABLES.map(|table| format!("DELETE FROM {table} WHERE {}", ours(job)))
}

/// Adds the keys of a batch; to be called inside the transaction that applies them.
pub(crate) async fn record(
    target: &mut Connection,
    (job, direction): (&str, &str),
    keys: &[RootKey],
    limit: i64,
) -> Result<(), SyncError> {
    let ours = format!("job = '{job}' AND direction = '{direction}'");
    if keys.is_empty() {
        return Ok(());
    }
    let Some(passes) = load(target, &ours).await?.filter(|passes| passes.state == "on") else {
        return Ok(());
    };
    let more = i64::try_from(keys.len()).unwrap_or(i64::MAX);
    let mut dirty = passes.dirty.saturating_add(more);
    if dirty > limit {
        // The counter counts a key once per batch; the table has it once.
        let sql = format!("SELECT COUNT(*) FROM by_dirty WHERE {ours}");
        let real = target.integer("count the dirty keys", sql).await?.unwrap_or(0);
        dirty = real.saturating_add(more);
    }
    if dirty > limit {
        let sql = format!("UPDATE by_verified SET state = 'over' WHERE {ours}");
        return target.run("stop to record dirty keys", &sql).await.map(drop);
    }
    insert(target, (job, direction), passes.number, keys).await?;
    let sql = format!("UPDATE by_verified SET dirty = {dirty} WHERE {ours}");
    target.run("count the dirty keys", &sql).await.map(drop)
}

async fn insert(
    target: &mut Connection,
    (job, direction): (&str, &str),
    pass: i64,
    keys: &[RootKey],
) -> Result<(), SyncError> {
    let table = WriteTarget {
        table: "by_dirty",
        columns: vec!["job", "direction", "k", "pass"],
        key: vec!["job", "direction", "k"],
    };
    let (start, end) = target.dialect.write_frame(&table, Existing::Maybe);
    for chunk in keys.chunks(1_500) {
        let mut sql = start.clone();
        for (at, key) in chunk.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            let key = text(target.dialect, key.as_str())?;
            write_to(&mut sql, format_args!("{comma}('{job}','{direction}',{key},{pass})"));
        }
        sql.push_str(&end);
        target.run("record dirty keys", &sql).await?;
    }
    Ok(())
}

/// Begins a pass and says its number: from now on every apply is recorded.
pub(crate) async fn begin(job: &JobInner, target: &mut Connection) -> Result<i64, SyncError> {
    let ours = ours(job);
    let (insert, end) = target.dialect.insert_ignore();
    let create = format!(
        "{insert} by_verified (job, direction, passes, state, dirty) \
         VALUES ('{}', '{}', 0, 'off', 0){end}",
        job.spec.name,
        job.to.as_str()
    );
    lock(target, &ours).await?;
    target.run("begin a pass", &create).await?;
    let passes = load(target, &ours).await?;
    if passes.is_some_and(|passes| passes.state == "over") {
        // What was not remembered cannot be checked later; this pass starts anew.
        let forget = format!("DELETE FROM by_dirty WHERE {ours}");
        target.run("forget the dirty keys", &forget).await?;
        let reset = format!("UPDATE by_verified SET clean_pass = NULL, dirty = 0 WHERE {ours}");
        target.run("forget the clean pass", &reset).await?;
    }
    let next = format!("UPDATE by_verified SET passes = passes + 1, state = 'on' WHERE {ours}");
    target.run("begin a pass", &next).await?;
    let number = load(target, &ours).await?.map_or(0, |passes| passes.number);
    target.commit().await?;
    Ok(number)
}

/// Starts a transaction with the lock that every apply takes first.
async fn lock(target: &mut Connection, ours: &str) -> Result<(), SyncError> {
    target.begin_write().await?;
    let lock = format!("UPDATE by_state SET relists = relists WHERE {ours}");
    target.run("lock the checkpoint", &lock).await.map(drop)
}

/// Ends a pass that proved all its roots equal but these: what was dirty before it is forgotten, they stay dirty.
pub(crate) async fn end(
    job: &JobInner,
    target: &mut Connection,
    pass: i64,
    unproved: &[RootKey],
) -> Result<(), SyncError> {
    let ours = ours(job);
    lock(target, &ours).await?;
    let clock = target.dialect.clock_ms();
    let sql = format!(
        "UPDATE by_verified SET clean_pass = {pass}, clean_at_ms = {clock} WHERE {ours} \
         AND state = 'on' AND (clean_pass IS NULL OR clean_pass < {pass})"
    );
    // An older pass that ends after a newer one proves nothing new.
    if target.run("end the pass", &sql).await? == 1 {
        let forget = format!("DELETE FROM by_dirty WHERE {ours} AND pass < {pass}");
        target.run("forget what was proved equal", &forget).await?;
        // Under the newest number: a pass that runs beside this one has not looked at them and must not forget them.
        let newest = load(target, &ours).await?.map_or(pass, |passes| passes.number);
        insert(target, job.state.name(), newest, unproved).await?;
    }
    target.commit().await
}

/// Ends a pass that proved too little: without an earlier clean one there is nothing to record for.
pub(crate) async fn end_unclean(
    job: &JobInner,
    target: &mut Connection,
    pass: i64,
) -> Result<(), SyncError> {
    let ours = ours(job);
    lock(target, &ours).await?;
    let sql = format!(
        "UPDATE by_verified SET state = 'off', dirty = 0 \
         WHERE {ours} AND clean_pass IS NULL AND passes = {pass}"
    );
    if target.run("end the pass", &sql).await? == 1 {
        let forget = format!("DELETE FROM by_dirty WHERE {ours}");
        target.run("forget the dirty keys", &forget).await?;
    }
    target.commit().await
}

/// Whether only what is in `by_dirty` needs a look.
pub(super) async fn since(job: &JobInner, target: &mut Connection) -> Result<Since, SyncError> {
    let passes = load(target, &ours(job)).await?;
    Ok(match passes {
        Some(passes) if passes.state == "over" => Since::TooMany,
        Some(Passes { clean: Some(_), .. }) => Since::Clean,
        Some(_) | None => Since::Never,
    })
}

/// The select that copies the dirty keys into a work list, without its insert.
pub(super) fn dirty_keys(job: &JobInner) -> String {
    format!("SELECT k FROM by_dirty WHERE {}", ours(job))
}

fn ours(job: &JobInner) -> String {
    format!("job = '{}' AND direction = '{}'", job.spec.name, job.to.as_str())
}

async fn load(target: &mut Connection, ours: &str) -> Result<Option<Passes>, SyncError> {
    let sql = format!("SELECT passes, clean_pass, state, dirty FROM by_verified WHERE {ours}");
    let rows = target.rows("read the passes", sql).await?;
    let Some([number, clean, state, dirty]) = rows.first().map(Vec::as_slice) else {
        return Ok(None);
    };
    Ok(Some(Passes {
        number: as_integer(number).unwrap_or(0),
        clean: Some(clean).filter(|value| **value != Value::Null).and_then(as_integer),
        state: as_text(state).unwrap_or_default(),
        dirty: as_integer(dirty).unwrap_or(0),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::url::SideUrls;
    use banyan_domain::Side;

    async fn sqlite(dir: &tempfile::TempDir) -> Connection {
        let file = dir.path().join("new.db");
        std::fs::write(&file, "").unwrap();
        let url = format!("sqlite:{}", file.display());
        let urls = SideUrls { legacy: url.clone(), new: url };
        let mut on = Connection::open(&urls, Side::New).await.unwrap();
        for sql in ddl(Engine::Sqlite) {
            on.run("create", sql).await.unwrap();
        }
        let row = "INSERT INTO by_verified VALUES ('j', 'new', 3, 2, 0, 'on', 0)";
        on.run("insert", row).await.unwrap();
        on
    }

    async fn state(on: &mut Connection) -> (String, Option<i64>) {
        let passes = load(on, "job = 'j'").await.unwrap().unwrap();
        let sql = "SELECT COUNT(*) FROM by_dirty WHERE pass = 3".to_owned();
        (passes.state, on.integer("count", sql).await.unwrap())
    }

    #[tokio::test]
    async fn keys_are_recorded_once_up_to_the_limit_and_then_a_full_pass_is_needed() {
        let dir = tempfile::tempdir().unwrap();
        let mut on = sqlite(&dir).await;
        let key = |n: i32| RootKey::new(n.to_string());
        for _ in 0..9 {
            // The same keys again and again fill no list.
            record(&mut on, ("j", "new"), &[key(1), key(2)], 5).await.unwrap();
        }
        assert_eq!(state(&mut on).await, ("on".to_owned(), Some(2)));
        record(&mut on, ("j", "new"), &[key(3), key(4), key(5)], 5).await.unwrap();
        assert_eq!(state(&mut on).await, ("on".to_owned(), Some(5)));
        record(&mut on, ("other", "new"), &[key(6)], 5).await.unwrap();
        record(&mut on, ("j", "new"), &[key(6)], 5).await.unwrap();
        assert_eq!(state(&mut on).await, ("over".to_owned(), Some(5)));
        record(&mut on, ("j", "new"), &[key(7)], 5).await.unwrap();
        assert_eq!(state(&mut on).await, ("over".to_owned(), Some(5)), "nothing more is kept");
    }
}
