//! The roots that one verify looks at: each once, in order, in a scratch database of this process.
//!
//! The work list of the first copy lives on the target, because it must survive the worker. This one need not: kept here, a
//! verify writes a million keys to no server and no replica, and one that is killed leaves nothing behind. SQLite
//! holds it: in memory up to [`CACHE_KIB`], beyond in a file without a name in the folder for temporary files.
//!
//! What must stay true: each root once; memory is bounded by the cache and one batch of keys.

use banyan_engine::RootKey;
use futures_util::StreamExt;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Executor, QueryBuilder, Row, Sqlite};
use tokio::sync::mpsc;

use crate::connection::{Connection, as_keys, failed};
use crate::error::SyncError;

/// Keys per insert.
const KEYS_PER_INSERT: usize = 1_500;
/// Batches that wait to be written.
const BATCHES_AHEAD: usize = 2;
/// Memory of the scratch database.
const CACHE_KIB: u32 = 16 * 1024;
/// Octets of keys that a chunk has at most, so that the statements which list them stay far below a packet's limit.
const KEY_OCTETS_PER_CHUNK: usize = 256 * 1024;

/// The roots to look at.
pub(super) struct Roots {
    scratch: SqliteConnection,
}

impl Roots {
    /// No roots yet.
    pub(super) async fn none() -> Result<Self, SyncError> {
        // Lost with the process anyway, so nothing is written twice or waited for.
        let options = SqliteConnectOptions::new()
            .filename("")
            .journal_mode(SqliteJournalMode::Off)
            .synchronous(SqliteSynchronous::Off)
            .pragma("cache_size", format!("-{CACHE_KIB}"))
            .disable_statement_logging();
        let mut scratch = options.connect().await.map_err(no_scratch)?;
        // Octets, so that no two keys are one; and never committed, so that only what outgrows the cache is written.
        let begin = "CREATE TABLE roots (k BLOB PRIMARY KEY) WITHOUT ROWID; BEGIN";
        scratch.execute(sqlx::raw_sql(begin)).await.map_err(no_scratch)?;
        Ok(Self { scratch })
    }

    /// Adds those that selects of one column give on both sides, which are read at once.
    pub(super) async fn add(
        &mut self,
        (source, of_source): (&mut Connection, Vec<String>),
        (target, of_target): (&mut Connection, Vec<String>),
    ) -> Result<(), SyncError> {
        let (batches, mut read) = mpsc::channel(BATCHES_AHEAD);
        let of_source = list(source, of_source, batches.clone());
        let of_target = list(target, of_target, batches);
        let insert = async {
            while let Some(batch) = read.recv().await {
                self.insert(batch).await?;
            }
            Ok(())
        };
        tokio::try_join!(of_source, of_target, insert).map(drop)
    }

    async fn insert(&mut self, keys: Vec<RootKey>) -> Result<(), SyncError> {
        if keys.is_empty() {
            return Ok(());
        }
        let mut insert = QueryBuilder::<Sqlite>::new("INSERT OR IGNORE INTO roots (k) ");
        insert.push_values(keys, |mut row, key| {
            row.push_bind(key.as_str().as_bytes().to_vec());
        });
        insert.build().execute(&mut self.scratch).await.map(drop).map_err(no_scratch)
    }

    /// How many there are.
    pub(super) async fn count(&mut self) -> Result<i64, SyncError> {
        let count = sqlx::query_scalar("SELECT COUNT(*) FROM roots");
        count.fetch_one(&mut self.scratch).await.map_err(no_scratch)
    }

    /// The next ones in order behind `cursor`, at most `limit`.
    pub(super) async fn next(
        &mut self,
        cursor: Option<&RootKey>,
        limit: usize,
    ) -> Result<Vec<RootKey>, SyncError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let query = match cursor {
            Some(key) => sqlx::query("SELECT k FROM roots WHERE k > ? ORDER BY k LIMIT ?")
                .bind(key.as_str().as_bytes().to_vec()),
            None => sqlx::query("SELECT k FROM roots ORDER BY k LIMIT ?"),
        };
        let rows = query.bind(limit).fetch_all(&mut self.scratch).await.map_err(no_scratch)?;
        let (mut keys, mut octets) = (Vec::with_capacity(rows.len()), 0);
        for row in rows {
            let key: Vec<u8> = row.try_get(0).map_err(no_scratch)?;
            octets += key.len();
            if octets > KEY_OCTETS_PER_CHUNK && !keys.is_empty() {
                break;
            }
            keys.push(RootKey::new(String::from_utf8_lossy(&key)));
        }
        Ok(keys)
    }
}

/// Reads the keys of a side batch by batch.
async fn list(
    at: &mut Connection,
    selects: Vec<String>,
    batches: mpsc::Sender<Vec<RootKey>>,
) -> Result<(), SyncError> {
    let side = at.side;
    for select in selects {
        let mut rows = at.stream(select).chunks(KEYS_PER_INSERT);
        while let Some(batch) = rows.next().await {
            let batch: Result<Vec<_>, _> = batch.into_iter().collect();
            let batch = batch.map_err(|source| failed(side, "list the root keys", source))?;
            if batches.send(as_keys(&batch).collect()).await.is_err() {
                // Who writes them has failed, and says why.
                return Ok(());
            }
        }
    }
    Ok(())
}

fn no_scratch(source: sqlx::Error) -> SyncError {
    SyncError::Scratch { source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::url::SideUrls;
    use banyan_domain::Side;

    fn keys(texts: &[&str]) -> Vec<RootKey> {
        texts.iter().map(|text| RootKey::new(*text)).collect()
    }

    #[tokio::test]
    async fn each_root_of_both_sides_comes_once_in_the_order_of_its_octets() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let url = format!("sqlite:{}", file.path().display());
        let urls = SideUrls { legacy: url.clone(), new: url };
        let mut source = Connection::open(&urls, Side::Legacy).await.unwrap();
        let mut target = Connection::open(&urls, Side::New).await.unwrap();
        let mut roots = Roots::none().await.unwrap();
        let first =
            "SELECT 'b' AS k UNION ALL SELECT 'B' UNION ALL SELECT '' UNION ALL SELECT NULL";
        let second = "SELECT 'ä' AS k UNION ALL SELECT 'b' UNION ALL SELECT 10";
        let none = "SELECT 1 AS k WHERE 1 = 0";
        let of_source = (&mut source, vec![first.to_owned()]);
        let of_target = (&mut target, vec![second.to_owned(), none.to_owned()]);
        roots.add(of_source, of_target).await.unwrap();
        assert_eq!(roots.count().await.unwrap(), 5);
        assert_eq!(roots.next(None, 3).await.unwrap(), keys(&["", "10", "B"]));
        let after = RootKey::new("B");
        assert_eq!(roots.next(Some(&after), 3).await.unwrap(), keys(&["b", "ä"]));
        assert_eq!(roots.next(Some(&RootKey::new("ä")), 3).await.unwrap(), []);
    }

    #[tokio::test]
    async fn long_keys_make_short_chunks_and_none_is_passed_over() {
        let mut roots = Roots::none().await.unwrap();
        let long =
            |n: usize| RootKey::new(format!("{n:04}{}", "x".repeat(KEY_OCTETS_PER_CHUNK / 3)));
        roots.insert((0..7).map(long).collect()).await.unwrap();
        let (mut cursor, mut sizes) = (None, Vec::new());
        loop {
            let chunk = roots.next(cursor.as_ref(), 100).await.unwrap();
            let Some(last) = chunk.last().cloned() else { break };
            sizes.push(chunk.len());
            cursor = Some(last);
        }
        assert_eq!(sizes, [2, 2, 2, 1]);
    }

    /// Linux names the open files of a process, and those that have no name any more.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_list_beyond_the_cache_goes_to_a_file_that_nobody_has_to_delete() {
        let unnamed = || {
            let files = std::fs::read_dir("/proc/self/fd").unwrap().filter_map(Result::ok);
            let targets = files.filter_map(|file| std::fs::read_link(file.path()).ok());
            let names = targets.map(|name| name.display().to_string());
            names.filter(|name| name.contains("etilqs") && name.ends_with("(deleted)")).count()
        };
        let mut roots = Roots::none().await.unwrap();
        let key = |n: u32| RootKey::new(format!("{n:08}{}", "x".repeat(200)));
        for batch in 0..80 {
            roots.insert((batch * 1_500..(batch + 1) * 1_500).map(key).collect()).await.unwrap();
        }
        assert_eq!(roots.count().await.unwrap(), 120_000);
        assert!(unnamed() > 0, "more than 24 MB do not fit the cache");
    }
}
