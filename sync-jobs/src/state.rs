//! The checkpoint row of a job on its target: phase, cursor, lease, fence, counters.
//!
//! It lives beside the data, so that a batch and its checkpoint commit together, and a worker that lost
//! its lease is refused by the same transaction that would have written.
//!
//! What must stay true: every write of data renews and checks the lease in its own transaction; time is
//! the target database's clock only; a checkpoint is never ahead of its data.

use std::collections::BTreeSet;

use banyan_cutover::{Fence, sql};
use banyan_domain::{ContextName, Side};
use banyan_engine::{RootKey, Value};

use crate::connection::{Connection, as_integer, as_keys, as_text};
use crate::dialect::{Dialect, Engine};
use crate::drain::key_list;
use crate::error::SyncError;
use crate::fence;
use crate::spec::JobSpec;

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
    /// The fence under which the session applies, or not at all; it is read once, by [`StateRow::fence`].
    pub(crate) fence: Option<Fence>,
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
    /// The context whose fence is checked at each apply.
    fenced: Option<ContextName>,
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
    pub(crate) fn new(spec: &JobSpec, to: Side) -> Self {
        // The name was checked with the job's text.
        let context = ContextName::new(&spec.context).ok();
        let fenced = context.filter(|_| spec.is_two_way());
        Self { job: spec.name.clone(), to, fenced }
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
    pub(crate) fn delete_sql(&self) -> [String; 5] {
        [
            format!("DELETE FROM by_cursor WHERE {}", self.is_ours()),
            format!("DELETE FROM by_capture WHERE {}", self.is_ours()),
            format!("DELETE FROM by_conflict WHERE {}", self.is_ours()),
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
            fence: None,
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

    /// The target's fence; `None` for a job in one direction and for a context that was never enrolled.
    pub(crate) async fn fence(&self, target: &mut Connection) -> Result<Option<Fence>, SyncError> {
        self.read_fence(target, "").await
    }

    /// Refuses to write to a side that accepts writes itself, or under another fence than the one that was read before
    /// the source's rows were. The row stays as it is until the transaction ends.
    pub(crate) async fn check_fence(
        &self,
        target: &mut Connection,
        read: Option<Fence>,
    ) -> Result<(), SyncError> {
        let found = self.read_fence(target, target.dialect.for_share()).await?;
        if found.is_some_and(|fence| fence.is_open()) {
            return Err(SyncError::Fenced { job: self.job.clone(), side: self.to });
        }
        if found.map(|fence| fence.epoch) != read.map(|fence| fence.epoch) {
            return Err(SyncError::FenceMoved { job: self.job.clone() });
        }
        Ok(())
    }

    async fn read_fence(
        &self,
        target: &mut Connection,
        lock: &str,
    ) -> Result<Option<Fence>, SyncError> {
        let Some(context) = &self.fenced else { return Ok(None) };
        if !lock.is_empty() && target.engine() == Engine::Postgres {
            // As the triggers do: else sharers in turns could keep a switch from the row.
            target.rows("share the fence", sql::advise_postgres(context, true)).await?;
        }
        let rows = target.rows("read the fence", format!("{}{lock}", sql::read(context))).await?;
        rows.first().map(|row| fence::parse(self.to, row)).transpose()
    }

    /// The identity of the triggers that this target was filled by; `None` before it was ever noted.
    pub(crate) async fn capture(
        &self,
        target: &mut Connection,
    ) -> Result<Option<String>, SyncError> {
        let sql = format!("SELECT identity FROM by_capture WHERE {}", self.is_ours());
        let rows = target.rows("read the capture's identity", sql).await?;
        Ok(rows.first().and_then(|row| row.first()).and_then(as_text))
    }

    /// Notes the identity of the triggers; all that other ones missed has to be compared again by whoever calls this.
    pub(crate) async fn save_capture(
        &self,
        target: &mut Connection,
        identity: &str,
    ) -> Result<(), SyncError> {
        let (insert, end) = target.dialect.insert_ignore();
        let sql = format!(
            "{insert} by_capture (job, direction, identity) VALUES ('{}', '{}', '{identity}'){end}; \
             UPDATE by_capture SET identity = '{identity}' WHERE {}",
            self.job,
            self.to.as_str(),
            self.is_ours(),
        );
        target.run("note the capture's identity", &sql).await.map(drop)
    }

    /// The saved position of a capture's cursor.
    pub(crate) async fn cursor(
        &self,
        target: &mut Connection,
        capture: usize,
    ) -> Result<Option<String>, SyncError> {
        let ours = self.is_ours();
        let sql = format!("SELECT position FROM by_cursor WHERE {ours} AND capture = {capture}");
        let rows = target.rows("read a cursor's position", sql).await?;
        Ok(rows.first().and_then(|row| row.first()).and_then(as_text))
    }

    /// Saves the position of a capture's cursor: everything before it is applied.
    pub(crate) async fn save_cursor(
        &self,
        target: &mut Connection,
        capture: usize,
        position: &str,
    ) -> Result<(), SyncError> {
        let (insert, end) = target.dialect.insert_ignore();
        let position = text(target.dialect, position)?;
        let sql = format!(
            "{insert} by_cursor (job, direction, capture, position) \
             VALUES ('{}', '{}', {capture}, {position}){end}; \
             UPDATE by_cursor SET position = {position} WHERE {} AND capture = {capture}",
            self.job,
            self.to.as_str(),
            self.is_ours(),
        );
        target.run("save a cursor's position", &sql).await.map(drop)
    }

    /// Who works in the other direction, if anybody: its lease is on its own target, which is our source.
    pub(crate) async fn opposite_holder(
        &self,
        source: &mut Connection,
    ) -> Result<Option<String>, SyncError> {
        let sql = format!(
            "SELECT lease_holder FROM by_state WHERE job = '{}' AND direction = '{}' \
             AND lease_expires_ms > {}",
            self.job,
            self.to.other().as_str(),
            source.dialect.clock_ms(),
        );
        let rows = source.rows("look for the other direction", sql).await?;
        Ok(rows.first().and_then(|row| row.first()).and_then(as_text))
    }

    /// Remembers roots that both sides changed.
    pub(crate) async fn add_conflicts(
        &self,
        target: &mut Connection,
        keys: &BTreeSet<RootKey>,
    ) -> Result<(), SyncError> {
        let (insert, end) = target.dialect.insert_ignore();
        let clock = target.dialect.clock_ms();
        for key in keys {
            let key = text(target.dialect, key.as_str())?;
            let sql = format!(
                "{insert} by_conflict (job, direction, k, seen_ms) VALUES ('{}', '{}', {key}, {clock}){end}",
                self.job,
                self.to.as_str(),
            );
            target.run("remember a conflict", &sql).await?;
        }
        Ok(())
    }

    /// How many roots are set aside.
    pub(crate) async fn count_conflicts(&self, target: &mut Connection) -> Result<i64, SyncError> {
        let sql = format!("SELECT COUNT(*) FROM by_conflict WHERE {}", self.is_ours());
        Ok(target.integer("count the conflicts", sql).await?.unwrap_or(0))
    }

    /// The first roots that are set aside, in order.
    pub(crate) async fn conflicts(
        &self,
        target: &mut Connection,
        limit: usize,
    ) -> Result<Vec<RootKey>, SyncError> {
        let sql =
            format!("SELECT k FROM by_conflict WHERE {} ORDER BY k LIMIT {limit}", self.is_ours());
        let rows = target.rows("list the conflicts", sql).await?;
        Ok(as_keys(&rows).collect())
    }

    /// Which of these roots are set aside.
    pub(crate) async fn conflicts_of(
        &self,
        target: &mut Connection,
        keys: &[RootKey],
    ) -> Result<Vec<RootKey>, SyncError> {
        let list = key_list(target, keys)?;
        let sql = format!("SELECT k FROM by_conflict WHERE {} AND k IN ({list})", self.is_ours());
        let rows = target.rows("look for conflicts", sql).await?;
        Ok(as_keys(&rows).collect())
    }

    /// Forgets roots that were set aside.
    pub(crate) async fn forget_conflicts(
        &self,
        target: &mut Connection,
        keys: &[RootKey],
    ) -> Result<(), SyncError> {
        let list = key_list(target, keys)?;
        let sql = format!("DELETE FROM by_conflict WHERE {} AND k IN ({list})", self.is_ours());
        target.run("forget conflicts", &sql).await.map(drop)
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

    /// The condition that finds the job's row, in this and its sister tables.
    pub(crate) fn is_ours(&self) -> String {
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
