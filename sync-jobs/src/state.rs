//! The checkpoint row of a job on its target: phase, cursor, lease, fence, counters.
//!
//! It lives beside the data, so that a batch and its checkpoint commit together, and a worker that lost
//! its lease is refused by the same transaction that would have written.
//!
//! What must stay true: every write of data renews and checks the lease in its own transaction; time is
//! the target database's clock only; a checkpoint is never ahead of its data.

use banyan_domain::Side;
use banyan_engine::{RootKey, Value};

use crate::connection::{Connection, as_integer, as_text};
use crate::dialect::Dialect;
use crate::error::SyncError;

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Root keys are to be enumerated; nothing of an earlier listing counts.
    List,
    /// The first copy, behind the cursor.
    Copy,
    /// Everything was copied once; only changes count.
    Drain,
}

/// The checkpoint as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) phase: Phase,
    pub(crate) cursor: Option<RootKey>,
    pub(crate) roots_total: i64,
    pub(crate) roots_done: i64,
    /// How often a new listing was asked for.
    pub(crate) relists: i64,
}

/// A worker's right to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) holder: String,
    pub(crate) epoch: i64,
}

/// What a batch moves forward.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Checkpoint {
    /// The first copy is behind this key; `roots` more are done.
    Copy { cursor: RootKey, roots: usize },
    /// The whole work list is done.
    CopyDone,
    /// A drain batch.
    Drain { token: String },
}

/// Rows written by a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) inserted: u64,
    pub(crate) updated: u64,
    pub(crate) deleted: u64,
}

/// The checkpoint row of one job and direction.
#[derive(Debug, Clone)]
pub(crate) struct StateRow {
    job: String,
    to: Side,
}

impl Phase {
    fn parse(text: &str) -> Self {
        match text {
            "copy" => Self::Copy,
            "drain" => Self::Drain,
            // An unknown phase is of another version: listing again is always right.
            _ => Self::List,
        }
    }
}

impl StateRow {
    /// The row of this job toward this side.
    pub(crate) fn new(job: &str, to: Side) -> Self {
        Self { job: job.to_owned(), to }
    }

    /// The name of the job's work list.
    pub(crate) fn list_name(&self) -> String {
        format!("{}>{}", self.job, self.to.as_str())
    }

    /// The job and the direction, as they stand in the tables on the target.
    pub(crate) fn name(&self) -> (&str, &str) {
        (&self.job, self.to.as_str())
    }

    /// Makes the row if it is not there.
    pub(crate) fn create_sql(&self, dialect: &dyn Dialect) -> String {
        let (insert, end) = dialect.insert_ignore();
        format!(
            "{insert} by_state (job, direction, phase, roots_total, roots_done, lease_epoch, \
             lease_expires_ms, rows_inserted, rows_updated, rows_deleted, batches, relists) \
             VALUES ('{}', '{}', 'list', 0, 0, 0, 0, 0, 0, 0, 0, 0){end}",
            self.job,
            self.to.as_str(),
        )
    }

    /// Makes the next run list all roots again.
    pub(crate) fn relist_sql(&self) -> String {
        format!(
            "UPDATE by_state SET phase = 'list', cursor_key = NULL, relists = relists + 1 WHERE {}",
            self.is_ours()
        )
    }

    /// Forgets the row and its work list.
    pub(crate) fn delete_sql(&self) -> [String; 2] {
        [
            format!("DELETE FROM by_copy WHERE list_name = '{}'", self.list_name()),
            format!("DELETE FROM by_state WHERE {}", self.is_ours()),
        ]
    }

    /// Reads the checkpoint; `None` when the row is not there.
    pub(crate) async fn load(&self, target: &mut Connection) -> Result<Option<State>, SyncError> {
        let sql = format!(
            "SELECT phase, cursor_key, roots_total, roots_done, relists FROM by_state WHERE {}",
            self.is_ours()
        );
        let rows = target.rows("read the checkpoint", sql).await?;
        let Some([phase, cursor, total, done, relists]) = rows.first().map(Vec::as_slice) else {
            return Ok(None);
        };
        Ok(Some(State {
            phase: Phase::parse(&as_text(phase).unwrap_or_default()),
            cursor: as_text(cursor).map(RootKey::new),
            roots_total: as_integer(total).unwrap_or(0),
            roots_done: as_integer(done).unwrap_or(0),
            relists: as_integer(relists).unwrap_or(0),
        }))
    }

    /// Takes the lease if it is free, expired or ours.
    pub(crate) async fn acquire(
        &self,
        target: &mut Connection,
        holder: &str,
        ttl_ms: u128,
    ) -> Result<Lease, SyncError> {
        let clock = target.dialect.clock_ms();
        let quoted = text(target.dialect, holder)?;
        let sql = format!(
            "UPDATE by_state SET lease_holder = {quoted}, lease_epoch = lease_epoch + 1, \
             lease_expires_ms = {clock} + {ttl_ms} \
             WHERE {} AND (lease_expires_ms < {clock} OR lease_holder = {quoted})",
            self.is_ours(),
        );
        target.run("take the lease", &sql).await?;
        let sql = format!(
            "SELECT lease_holder, lease_epoch, lease_expires_ms - {clock} FROM by_state WHERE {}",
            self.is_ours()
        );
        let rows = target.rows("read the lease", sql).await?;
        let Some([found, epoch, left]) = rows.first().map(Vec::as_slice) else {
            return Err(self.missing());
        };
        let found = as_text(found).unwrap_or_default();
        if found == holder {
            return Ok(Lease { holder: found, epoch: as_integer(epoch).unwrap_or(0) });
        }
        let expires_in_ms = as_integer(left).unwrap_or(0);
        Err(SyncError::LeaseHeld { job: self.job.clone(), holder: found, expires_in_ms })
    }

    /// Renews the lease, and locks the row until the transaction ends. Must come first in each
    /// transaction that writes.
    pub(crate) async fn renew(
        &self,
        target: &mut Connection,
        lease: &Lease,
        ttl_ms: u128,
    ) -> Result<(), SyncError> {
        let clock = target.dialect.clock_ms();
        let sql = format!(
            "UPDATE by_state SET lease_expires_ms = {clock} + {ttl_ms} WHERE {}",
            self.is_leased(target.dialect, lease)?
        );
        if target.run("renew the lease", &sql).await? != 1 {
            return Err(SyncError::LeaseLost { job: self.job.clone() });
        }
        Ok(())
    }

    /// Refuses to write to a side that accepts writes itself.
    pub(crate) async fn check_fence(&self, target: &mut Connection) -> Result<(), SyncError> {
        let sql = format!("SELECT fence_state FROM by_state WHERE {}", self.is_ours());
        let rows = target.rows("read the fence", sql).await?;
        let fence = rows.first().and_then(|row| row.first()).and_then(as_text);
        if fence.as_deref() == Some("OPEN") {
            return Err(SyncError::Fenced { job: self.job.clone(), side: self.to });
        }
        Ok(())
    }

    /// Writes the checkpoint of a batch, inside the batch's transaction.
    pub(crate) async fn save(
        &self,
        target: &mut Connection,
        checkpoint: &Checkpoint,
        written: Written,
    ) -> Result<(), SyncError> {
        let moved = match checkpoint {
            Checkpoint::Copy { cursor, roots } => format!(
                "cursor_key = {}, roots_done = roots_done + {roots}",
                text(target.dialect, cursor.as_str())?
            ),
            // A new listing that was asked for meanwhile must not be overwritten.
            Checkpoint::CopyDone => {
                "phase = CASE WHEN phase = 'copy' THEN 'drain' ELSE phase END, cursor_key = NULL"
                    .to_owned()
            }
            Checkpoint::Drain { token } => {
                format!("batch_token = {}", text(target.dialect, token)?)
            }
        };
        let sql = format!(
            "UPDATE by_state SET {moved}, rows_inserted = rows_inserted + {}, \
             rows_updated = rows_updated + {}, rows_deleted = rows_deleted + {}, \
             batches = batches + 1, applied_at_ms = {} WHERE {}",
            written.inserted,
            written.updated,
            written.deleted,
            target.dialect.clock_ms(),
            self.is_ours(),
        );
        target.run("save the checkpoint", &sql).await.map(drop)
    }

    /// Ends a listing of `roots_total` roots, unless a new one was asked for since `relists` was read.
    pub(crate) async fn end_list(
        &self,
        target: &mut Connection,
        lease: &Lease,
        relists: i64,
        roots_total: i64,
    ) -> Result<(), SyncError> {
        let sql = format!(
            "UPDATE by_state SET phase = 'copy', cursor_key = NULL, roots_total = {roots_total}, \
             roots_done = 0 WHERE {} AND relists = {relists}",
            self.is_leased(target.dialect, lease)?
        );
        target.run("end the listing", &sql).await.map(drop)
    }

    /// Gives the holder's lease back, so that the next worker need not wait. Not holding it is no error.
    pub(crate) async fn release(
        &self,
        target: &mut Connection,
        holder: &str,
    ) -> Result<(), SyncError> {
        let sql = format!(
            "UPDATE by_state SET lease_expires_ms = 0 WHERE {} AND lease_holder = {}",
            self.is_ours(),
            text(target.dialect, holder)?
        );
        target.run("release the lease", &sql).await.map(drop)
    }

    /// The error for a row that is not there.
    pub(crate) fn missing(&self) -> SyncError {
        SyncError::NotInstalled {
            job: self.job.clone(),
            side: self.to,
            what: "checkpoint table `by_state` or the job's row in it".to_owned(),
        }
    }

    fn is_ours(&self) -> String {
        format!("job = '{}' AND direction = '{}'", self.job, self.to.as_str())
    }

    fn is_leased(&self, dialect: &dyn Dialect, lease: &Lease) -> Result<String, SyncError> {
        Ok(format!(
            "{} AND lease_holder = {} AND lease_epoch = {}",
            self.is_ours(),
            text(dialect, &lease.holder)?,
            lease.epoch,
        ))
    }
}

/// A text literal.
pub(crate) fn text(dialect: &dyn Dialect, text: &str) -> Result<String, SyncError> {
    let mut literal = String::new();
    dialect
        .push_literal(&Value::Text(text.to_owned()), &mut literal)
        .map_err(|source| SyncError::KeyValue { source })?;
    Ok(literal)
}
