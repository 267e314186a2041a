//! Clears cache keys after an apply: a legacy application must not answer from a cache that its own writes
//! would have cleared.
//!
//! The keys of changed aggregates are written to `by_cache` in the transaction that changes them, and
//! leave it after memcached confirmed. A task beside the worker does that, so that a server which is away delays
//! keys, never rows.
//!
//! What must stay true: at least once: a crash anywhere between commit and confirmation leaves the row; a row
//! is removed only if nobody wrote the key again meanwhile (its stamp); one row per key and server, so the table
//! is bounded by the number of keys, and memory by one batch.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use banyan_engine::{Backoff, KeyPart, KeyShape, RootKey, RowChange, TableDiff, Value};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::connection::{Connection, as_integer, as_text};
use crate::dialect::{Existing, STATEMENT_BYTES_MAX, WriteTarget};
use crate::error::SyncError;
use crate::job::JobInner;
use crate::memcached::{self, Memcached};
use crate::metric;
use crate::publish::Note;
use crate::shape::TableShape;
use crate::state::text;

/// Keys per read of the table.
const KEYS_PER_BATCH: usize = 500;
/// Longest time between two looks without a commit.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the end of a run waits for the keys that are left.
const END_LIMIT: Duration = Duration::from_secs(5);

static STAMP: AtomicI64 = AtomicI64::new(0);

/// The name of a cache key: text with `{key}` (the root key) or `{key.N}` (its N-th part).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheKey {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Key,
    /// The N-th part, counted from 0.
    Part(usize),
}

impl CacheKey {
    /// Reads a name for keys of this shape.
    ///
    /// # Errors
    /// What is wrong with it: an unknown placeholder, a part that keys do not have, or characters that
    /// memcached refuses.
    pub fn parse(name: &str, shape: &KeyShape) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = name;
        while let Some((before, after)) = rest.split_once('{') {
            let (inner, after) = after.split_once('}').ok_or("`{` is not closed")?;
            pieces.push(Piece::Text(before.to_owned()));
            pieces.push(match inner.strip_prefix("key") {
                Some("") => Piece::Key,
                Some(part) => Piece::Part(part_number(part, shape)?),
                None => return Err(format!("`{{{inner}}}` is not `{{key}}` or `{{key.N}}`")),
            });
            rest = after;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        if !pieces.iter().any(|piece| !matches!(piece, Piece::Text(_))) {
            return Err("must hold `{key}` or `{key.N}`, or each change clears the same key".into());
        }
        let fixed: String = pieces.iter().filter_map(Piece::text).collect();
        if !fixed.is_empty() && !memcached::is_legal(&fixed) {
            return Err("must be at most 250 bytes without spaces".to_owned());
        }
        Ok(Self { pieces })
    }

    /// The name for one root; nothing if memcached could not hold it.
    fn of(&self, key: &RootKey, parts: &[KeyPart]) -> Option<String> {
        let mut name = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => name.push_str(text),
                Piece::Key => name.push_str(key.as_str()),
                Piece::Part(at) => match parts.get(*at)? {
                    KeyPart::Integer(number) => name.push_str(&number.to_string()),
                    KeyPart::Text(text) => name.push_str(text),
                },
            }
        }
        memcached::is_legal(&name).then_some(name)
    }
}

impl Piece {
    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Key | Self::Part(_) => None,
        }
    }
}

fn part_number(text: &str, shape: &KeyShape) -> Result<usize, String> {
    let number = text.strip_prefix('.').and_then(|n| n.parse::<usize>().ok());
    let parts = shape.parts().len();
    match number {
        Some(n) if (1..=parts).contains(&n) => Ok(n - 1),
        Some(_) | None => Err(format!("`{{key{text}}}`: the job's key has {parts} parts")),
    }
}

/// Writes the keys of what `diffs` changes, inside the transaction that writes them.
pub(crate) async fn enqueue(
    job: &JobInner,
    target: &mut Connection,
    shapes: &[TableShape],
    diffs: &[TableDiff],
) -> Result<(), SyncError> {
    if !hooks(job) {
        return Ok(());
    }
    let keys = names(job, &changed_roots(shapes, diffs));
    if keys.is_empty() {
        return Ok(());
    }
    let columns = vec!["job", "direction", "server", "k", "stamp"];
    let key = vec!["job", "direction", "server", "k"];
    let frame = WriteTarget { table: "by_cache", columns, key };
    let (start, end) = target.dialect.write_frame(&frame, Existing::Maybe);
    let stamp = stamp().to_string();
    let mut sql = String::new();
    // In order, as they are removed, so that two transactions lock them in one order.
    for (server, key) in &keys {
        sql.push_str(if sql.is_empty() { &start } else { "," });
        let (server, key) = (text(target.dialect, server)?, text(target.dialect, key)?);
        let (name, to) = (job.spec.name.as_str(), job.to.as_str());
        sql.extend(["('", name, "','", to, "',", &server, ",", &key, ",", &stamp, ")"]);
        if sql.len() > STATEMENT_BYTES_MAX {
            sql.push_str(&end);
            target.run("write cache keys", &sql).await?;
            sql.clear();
        }
    }
    if !sql.is_empty() {
        sql.push_str(&end);
        target.run("write cache keys", &sql).await?;
    }
    Ok(())
}

/// Whether the job clears caches of its target.
pub(crate) fn hooks(job: &JobInner) -> bool {
    job.operate.caches.iter().any(|hook| hook.side == job.to)
}

/// The roots of all rows that changed, before and after.
fn changed_roots(shapes: &[TableShape], diffs: &[TableDiff]) -> BTreeSet<RootKey> {
    let mut roots = BTreeSet::new();
    for (shape, diff) in shapes.iter().zip(diffs) {
        let mut add = |row: &[Value]| {
            let root = row.get(shape.root).and_then(Value::canonical_text);
            roots.extend(root.map(|root| RootKey::new(root.into_owned())));
        };
        for change in &diff.changes {
            match change {
                RowChange::Insert { row } | RowChange::Delete { row } => add(row),
                RowChange::Update { before, after } => {
                    add(before);
                    add(after);
                }
            }
        }
    }
    roots
}

/// Server and name of each key to clear.
fn names(job: &JobInner, roots: &BTreeSet<RootKey>) -> BTreeSet<(String, String)> {
    let mut names = BTreeSet::new();
    let mut illegal = 0_usize;
    for root in roots {
        let parts = job.spec.key.split(root).unwrap_or_default();
        for hook in job.operate.caches.iter().filter(|hook| hook.side == job.to) {
            for key in &hook.keys {
                match key.of(root, &parts) {
                    Some(name) => drop(names.insert((hook.server.clone(), name))),
                    None => illegal += 1,
                }
            }
        }
    }
    if illegal > 0 {
        metric::cache_illegal(&job.spec.name, illegal);
        tracing::warn!(job = %job.spec.name, illegal, "cache keys that memcached cannot hold");
    }
    names
}

/// A number that no other batch has.
fn stamp() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(since.as_nanos()).unwrap_or(i64::MAX - 1);
    let before = STAMP.fetch_max(now, Ordering::Relaxed);
    if before < now { now } else { STAMP.fetch_add(1, Ordering::Relaxed) + 1 }
}

/// The task that clears keys while a run goes on.
pub(crate) struct Cleaner {
    job: Arc<JobInner>,
    note: Note,
    task: JoinHandle<()>,
}

impl Cleaner {
    /// Starts to clear the keys that are there and those that come; nothing when the job has no caches.
    pub(crate) fn start(job: &Arc<JobInner>, note: Note) -> Option<Self> {
        if !hooks(job) {
            return None;
        }
        let task = tokio::spawn(clean_repeatedly(Arc::clone(job), note.clone()));
        Some(Self { job: Arc::clone(job), note, task })
    }

    /// Clears what is left at the end of a run, for a few seconds; the rest is kept for the next run.
    pub(crate) async fn end(self) {
        self.task.abort();
        let mut cleaning = Cleaning::new(&self.job);
        let left = match timeout(END_LIMIT, cleaning.clean_all()).await {
            Ok(Ok(())) => return self.note.set(None),
            Ok(Err(why)) => why,
            Err(_) => "no time left".to_owned(),
        };
        tracing::warn!(job = %self.job.spec.name, why = left, "cache keys are kept for later");
        self.note.set(Some(format!("cache keys are kept for the next run: {left}")));
    }
}

impl Drop for Cleaner {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn clean_repeatedly(job: Arc<JobInner>, note: Note) {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    let mut cleaning = Cleaning::new(&job);
    loop {
        match cleaning.clean_all().await {
            Ok(()) => {
                backoff.succeed();
                note.set(None);
                drop(timeout(LOOK_EVERY, note.committed()).await);
            }
            Err(why) => {
                let waiting = cleaning.waiting().await;
                metric::cache_waiting(&job.spec.name, waiting.unwrap_or(-1));
                note.set(Some(match waiting {
                    Some(count) => format!("{count} cache keys wait: {why}"),
                    None => format!("cache keys wait: {why}"),
                }));
                sleep(backoff.fail()).await;
            }
        }
    }
}

/// Connections to the table and the servers.
struct Cleaning {
    job: Arc<JobInner>,
    target: Option<Connection>,
    servers: Vec<(String, Memcached)>,
}

impl Cleaning {
    fn new(job: &Arc<JobInner>) -> Self {
        let names: BTreeSet<&String> = job.operate.caches.iter().map(|hook| &hook.server).collect();
        let servers = names.into_iter().map(|name| (name.clone(), Memcached::new(name.clone())));
        Self { job: Arc::clone(job), target: None, servers: servers.collect() }
    }

    /// Clears all keys of all servers that answer; the first failure is told at the end.
    async fn clean_all(&mut self) -> Result<(), String> {
        let mut servers = std::mem::take(&mut self.servers);
        let mut failed = Ok(());
        for (name, memcached) in &mut servers {
            if let Err(why) = self.clean_server(name, memcached).await {
                failed = failed.and(Err(why));
            }
        }
        self.servers = servers;
        failed
    }

    async fn clean_server(&mut self, name: &str, memcached: &mut Memcached) -> Result<(), String> {
        loop {
            let batch = self.with_target(async |job, target| read(job, target, name).await).await?;
            if batch.is_empty() {
                return Ok(());
            }
            let keys: Vec<String> = batch.iter().map(|(key, _)| key.clone()).collect();
            let deleted = memcached.delete(&keys).await;
            deleted.map_err(|error| format!("memcached {name}: {error}"))?;
            metric::cache_deleted(&self.job.spec.name, keys.len());
            let confirmed = async |job: &JobInner, target: &mut Connection| {
                forget(job, target, name, &batch).await
            };
            self.with_target(confirmed).await?;
        }
    }

    /// How many keys wait, if the table can be read.
    async fn waiting(&mut self) -> Option<i64> {
        self.with_target(async |job, target| waiting(job, target).await).await.ok()
    }

    async fn with_target<T>(
        &mut self,
        act: impl AsyncFnOnce(&JobInner, &mut Connection) -> Result<T, SyncError>,
    ) -> Result<T, String> {
        let mut target = match self.target.take() {
            Some(target) => target,
            None => self.job.connect_target().await.map_err(|error| error.chain())?,
        };
        let done = act(&self.job, &mut target).await.map_err(|error| error.chain())?;
        // After an error the connection is dropped.
        self.target = Some(target);
        Ok(done)
    }
}

/// Keys that wait for a server, with their stamps.
async fn read(
    job: &JobInner,
    target: &mut Connection,
    server: &str,
) -> Result<Vec<(String, i64)>, SyncError> {
    let sql = format!(
        "SELECT k, stamp FROM by_cache WHERE {} AND server = {} ORDER BY k LIMIT {KEYS_PER_BATCH}",
        job.state.is_ours(),
        text(target.dialect, server)?
    );
    let rows = target.rows("read cache keys", sql).await?;
    let parse = |row: &Vec<Value>| match row.as_slice() {
        [key, stamp] => Some((as_text(key)?, as_integer(stamp)?)),
        _ => None,
    };
    Ok(rows.iter().filter_map(parse).collect())
}

/// Removes keys that were cleared, unless they were written again.
async fn forget(
    job: &JobInner,
    target: &mut Connection,
    server: &str,
    batch: &[(String, i64)],
) -> Result<(), SyncError> {
    let (ours, server) = (job.state.is_ours(), text(target.dialect, server)?);
    let mut statements = Vec::with_capacity(batch.len());
    for (key, stamp) in batch {
        let key = text(target.dialect, key)?;
        statements.push(format!(
            "DELETE FROM by_cache WHERE {ours} AND server = {server} AND k = {key} \
             AND stamp = {stamp}"
        ));
    }
    target.begin_write().await?;
    target.run("remove cleared cache keys", &statements.join(";")).await?;
    target.commit().await
}

/// How many keys wait. The table must be there.
pub(crate) async fn waiting(job: &JobInner, target: &mut Connection) -> Result<i64, SyncError> {
    let sql = format!("SELECT COUNT(*) FROM by_cache WHERE {}", job.state.is_ours());
    Ok(target.integer("count cache keys", sql).await?.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use banyan_engine::PartKind;

    fn pair() -> KeyShape {
        KeyShape::new(":", vec![PartKind::Integer, PartKind::Integer])
    }

    #[test]
    fn names_are_made_of_the_key_and_its_parts() {
        let key = RootKey::new("3:17");
        let parts = pair().split(&key).unwrap();
        let name = |template: &str| CacheKey::parse(template, &pair()).unwrap().of(&key, &parts);
        assert_eq!(name("conversation/{key}").as_deref(), Some("conversation/3:17"));
        assert_eq!(name("user/{key.2}/inbox/{key.1}").as_deref(), Some("user/17/inbox/3"));
        let spaced = RootKey::new("a b");
        let opaque = KeyShape::new(":", vec![]);
        assert_eq!(CacheKey::parse("u/{key}", &opaque).unwrap().of(&spaced, &[]), None);
    }

    #[test]
    fn names_that_cannot_work_are_refused() {
        for bad in ["inbox", "a {key}", "{key.3}", "{key.0}", "{keys}", "{id}", "{key"] {
            assert!(CacheKey::parse(bad, &pair()).is_err(), "{bad}");
        }
        assert!(CacheKey::parse(&format!("{}{{key}}", "x".repeat(251)), &pair()).is_err());
    }

    #[test]
    fn stamps_differ_and_grow() {
        let stamps: Vec<i64> = (0..1_000).map(|_| stamp()).collect();
        assert!(stamps.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
