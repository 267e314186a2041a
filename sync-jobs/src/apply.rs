//! Writes the difference of some aggregates to the target, in one transaction with its checkpoint.
//!
//! Deletes run children first, writes parents first. Rows are found by primary key; a row that moved to
//! another aggregate is one update, because the batch is compared as a whole.
//!
//! What must stay true: lease and fence are checked inside the transaction; only what differs is
//! written; `REPLACE` is never used; the caller drops the connection after any error.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use banyan_cutover::Fence;
use banyan_engine::{KeyedRows, RootKey, RowChange, TableDiff, Value, keep};

use crate::aggregate::{self, ReadFor, Tables};
use crate::bulk;
use crate::cache;
use crate::connection::Connection;
use crate::dialect::Existing;
use crate::drain;
use crate::error::SyncError;
use crate::job::JobInner;
use crate::pause::{Pause, PausePoint};
use crate::select;
use crate::shape::TableShape;
use crate::state::{Checkpoint, Lease, State, StateRow, Written};
use crate::unique;
use crate::verify;

/// One batch: these roots should have these rows.
pub(crate) struct Batch<'a> {
    pub(crate) keys: &'a [RootKey],
    pub(crate) source: &'a Tables,
    pub(crate) checkpoint: &'a Checkpoint,
}

/// Under which right and limits a batch is written.
pub(crate) struct Applier<'a> {
    pub(crate) job: &'a JobInner,
    pub(crate) state: &'a StateRow,
    pub(crate) lease: &'a Lease,
    /// The fence as it was before the source was read.
    pub(crate) fence: Option<Fence>,
    pub(crate) shapes: &'a [TableShape],
    pub(crate) pause: &'a dyn Pause,
    pub(crate) ttl_ms: u128,
    pub(crate) bytes_max: usize,
    /// Whether the target has the triggers of the other direction: then writes of others are noticed.
    pub(crate) is_watched: bool,
    /// Whether the first attempt takes rows that their roots do not have for new: it does not look whether they are there
    /// under another root, and writes in bulk. What is there all the same refuses that attempt, and a careful one follows.
    pub(crate) is_bold: bool,
}

/// What became of a batch.
pub(crate) enum Applied {
    /// It is committed; so many of its roots were set aside, because an application wrote them on the target.
    /// `was_refused`: only a careful attempt did it.
    Done { written: Written, aside: usize, was_refused: bool },
    /// The target's rows are too heavy for it.
    TooHeavy,
    /// Aggregates outside of the batch hold unique values that it needs: they have to be applied with it.
    Taken { by: Vec<RootKey> },
}

enum Attempt {
    Ended(Applied),
    /// Somebody wrote to a root of the batch meanwhile.
    Overtaken,
}

impl<'a> Applier<'a> {
    /// A careful one, for so many roots on a target that nobody watches.
    pub(crate) fn of(
        job: &'a JobInner,
        (lease, state): (&'a Lease, &State),
        shapes: &'a [TableShape],
        keys: usize,
    ) -> Self {
        Self {
            job,
            state: &job.state,
            lease,
            fence: state.fence,
            shapes,
            pause: job.ports.pause.as_ref(),
            ttl_ms: job.ttl_ms(),
            bytes_max: job.bytes_max(keys),
            is_watched: false,
            is_bold: false,
        }
    }

    /// Applies one batch.
    pub(crate) async fn apply(
        &self,
        target: &mut Connection,
        batch: &Batch<'_>,
    ) -> Result<Applied, SyncError> {
        let mut aside = BTreeSet::new();
        let mut is_bold = self.is_bold;
        loop {
            let error = match self.attempt(target, batch, &mut aside, is_bold).await {
                Ok(Attempt::Ended(applied)) => return Ok(applied),
                // Each time one root more is set aside, so this ends.
                Ok(Attempt::Overtaken) => continue,
                // Whatever it was refused for, the careful attempt knows how to do it or names what is wrong.
                Err(error) if is_bold && error.is_refused() => {
                    target.rollback().await?;
                    tracing::debug!(error = error.chain(), "a bulk write was refused");
                    is_bold = false;
                    continue;
                }
                Err(error) if error.is_unique_violation() => error,
                Err(error) => return Err(error),
            };
            target.rollback().await?;
            let by = unique::holders(target, self.shapes, batch.source, batch.keys).await?;
            return if by.is_empty() { Err(error) } else { Ok(Applied::Taken { by }) };
        }
    }

    async fn attempt(
        &self,
        target: &mut Connection,
        batch: &Batch<'_>,
        aside: &mut BTreeSet<RootKey>,
        is_bold: bool,
    ) -> Result<Attempt, SyncError> {
        target.begin_write().await?;
        self.state.renew(target, self.lease, self.ttl_ms).await?;
        self.state.check_fence(target, self.fence).await?;
        if self.is_watched {
            aside.extend(drain::pending_of(target, &self.job.spec.name, batch.keys).await?);
        }
        let read =
            aggregate::read_target(target, self.shapes, batch.keys, ReadFor::Write, self.bytes_max);
        let Ok(have) = read.await? else {
            target.rollback().await?;
            return Ok(Attempt::Ended(Applied::TooHeavy));
        };
        let diffs = if aside.is_empty() {
            aggregate::differences(self.shapes, &have, batch.source)
        } else {
            let (have, want) = aggregate::set_aside(self.shapes, &have, batch.source, aside)?;
            aggregate::differences(self.shapes, &have, &want)
        };
        if self.is_watched {
            self.write_tagged(target, &diffs, is_bold).await?;
            if !diffs.iter().all(TableDiff::is_empty) {
                drain::forget_echo(target, &self.job.spec.name).await?;
            }
            let seen = drain::pending_of(target, &self.job.spec.name, batch.keys).await?;
            if !seen.is_subset(aside) {
                target.rollback().await?;
                aside.extend(seen);
                return Ok(Attempt::Overtaken);
            }
            self.state.add_conflicts(target, aside).await?;
        } else if self.job.spec.is_two_way() {
            self.write_tagged(target, &diffs, is_bold).await?;
        } else {
            self.write(target, &diffs, is_bold).await?;
        }
        cache::enqueue(self.job, target, self.shapes, &diffs).await?;
        verify::clean::record(target, self.state.name(), batch.keys, verify::clean::DIRTY_MAX)
            .await?;
        let written = count(self.shapes, &diffs);
        self.state.save(target, batch.checkpoint, written).await?;
        self.pause.reach(PausePoint::BeforeCommit).await;
        target.commit().await?;
        let was_refused = self.is_bold && !is_bold;
        Ok(Attempt::Ended(Applied::Done { written, aside: aside.len(), was_refused }))
    }

    /// Writes so that the target's triggers can tell it from an application's writes, and removes the marks they made.
    async fn write_tagged(
        &self,
        target: &mut Connection,
        diffs: &[TableDiff],
        is_bold: bool,
    ) -> Result<(), SyncError> {
        if diffs.iter().all(TableDiff::is_empty) {
            return Ok(());
        }
        let tag = target.dialect.tag();
        if let Some((begin, _)) = tag {
            target.run("tag the transaction", begin).await?;
        }
        self.write(target, diffs, is_bold).await?;
        if let Some((_, end)) = tag {
            target.run("end the tag", end).await?;
        }
        Ok(())
    }

    async fn write(
        &self,
        target: &mut Connection,
        diffs: &[TableDiff],
        is_bold: bool,
    ) -> Result<(), SyncError> {
        for (shape, diff) in self.shapes.iter().zip(diffs).rev() {
            // A shared row may be another aggregate's too.
            if !shape.spec.shared {
                delete_rows(target, shape, diff).await?;
            }
        }
        for (shape, diff) in self.shapes.iter().zip(diffs) {
            unique::park(target, shape, diff).await?;
        }
        for (shape, diff) in self.shapes.iter().zip(diffs) {
            // A shared row is often there, by another aggregate.
            if is_bold && !shape.spec.shared && bulk::has(target, shape) {
                bulk::write_new(target, shape, diff).await?;
            } else {
                write_rows(target, shape, diff).await?;
            }
        }
        Ok(())
    }
}

fn count(shapes: &[TableShape], diffs: &[TableDiff]) -> Written {
    let mut written = Written::default();
    for (shape, diff) in shapes.iter().zip(diffs) {
        for change in &diff.changes {
            match change {
                RowChange::Insert { .. } => written.inserted += 1,
                RowChange::Update { .. } => written.updated += 1,
                RowChange::Delete { .. } => written.deleted += u64::from(!shape.spec.shared),
            }
        }
    }
    written
}

async fn delete_rows(
    target: &mut Connection,
    shape: &TableShape,
    diff: &TableDiff,
) -> Result<(), SyncError> {
    let rows: Vec<Vec<Value>> = diff
        .changes
        .iter()
        .filter_map(|change| match change {
            RowChange::Delete { row } => Some(row.clone()),
            RowChange::Insert { .. } | RowChange::Update { .. } => None,
        })
        .collect();
    let act = format!("delete from table `{}`", shape.spec.name);
    for chunk in rows.chunks(1_000) {
        let sql = format!(
            "DELETE FROM {} WHERE {}",
            target.dialect.name(&shape.spec.name),
            key_condition(target, shape, chunk)?
        );
        target.run(&act, &sql).await?;
    }
    Ok(())
}

async fn write_rows(
    target: &mut Connection,
    shape: &TableShape,
    diff: &TableDiff,
) -> Result<(), SyncError> {
    let (mut inserts, mut upserts) = (Vec::new(), Vec::new());
    for change in &diff.changes {
        match change {
            RowChange::Insert { row } => inserts.push(row.clone()),
            RowChange::Update { after, .. } => upserts.push(after.clone()),
            RowChange::Delete { .. } => {}
        }
    }
    if shape.spec.shared {
        (inserts, upserts) = (each_once(shape, inserts)?, each_once(shape, upserts)?);
    }
    if target.dialect.upsert_names_key() && shape.keep.is_empty() {
        // One statement serves both: the conflict clause names the primary key.
        upserts.append(&mut inserts);
    } else {
        split_moved(target, shape, &mut inserts, &mut upserts).await?;
    }
    bulk::write_all(target, shape, inserts.iter(), Existing::No).await?;
    bulk::write_all(target, shape, upserts.iter(), Existing::Maybe).await
}

/// Shared rows that several aggregates show, each once.
///
/// # Errors
/// When two aggregates say different things of one row.
fn each_once(shape: &TableShape, rows: Vec<Vec<Value>>) -> Result<Vec<Vec<Value>>, SyncError> {
    let mut once: BTreeMap<Vec<Value>, Vec<Value>> = BTreeMap::new();
    for row in rows {
        match once.entry(key_of(shape, &row)) {
            Entry::Vacant(place) => {
                place.insert(row);
            }
            Entry::Occupied(other) => {
                if !shape.compared(&row).eq(shape.compared(other.get())) {
                    let problem = "two aggregates give one shared row different values".to_owned();
                    return Err(SyncError::Shape { table: shape.spec.name.clone(), problem });
                }
            }
        }
    }
    Ok(once.into_values().collect())
}

fn key_of(shape: &TableShape, row: &[Value]) -> Vec<Value> {
    shape.key.iter().filter_map(|at| row.get(*at).cloned()).collect()
}

/// Moves rows from `inserts` to `upserts` whose primary key is there under another root; kept columns stay as they are.
async fn split_moved(
    target: &mut Connection,
    shape: &TableShape,
    inserts: &mut Vec<Vec<Value>>,
    upserts: &mut Vec<Vec<Value>>,
) -> Result<(), SyncError> {
    let mut there = KeyedRows::default();
    let columns: Vec<&str> = shape.columns.iter().map(|column| column.exact.as_str()).collect();
    for chunk in inserts.chunks(1_000) {
        let sql = format!(
            "SELECT {} FROM {} WHERE {}{}",
            columns.join(", "),
            target.dialect.name(&shape.spec.name),
            key_condition(target, shape, chunk)?,
            target.dialect.for_update(),
        );
        for row in target.rows("look for moved rows", sql).await? {
            let row = shape.target_row(row)?;
            there
                .insert(&shape.key, row)
                .map_err(|source| SyncError::Rows { table: shape.spec.name.clone(), source })?;
        }
    }
    if there.is_empty() {
        return Ok(());
    }
    let keys: BTreeSet<Vec<Value>> = there.rows().map(|row| key_of(shape, row)).collect();
    let (moved, fresh): (Vec<_>, Vec<_>) =
        std::mem::take(inserts).into_iter().partition(|row| keys.contains(&key_of(shape, row)));
    *inserts = fresh;
    let mut wanted = KeyedRows::default();
    for row in moved {
        wanted
            .insert(&shape.key, row)
            .map_err(|source| SyncError::Rows { table: shape.spec.name.clone(), source })?;
    }
    upserts.extend(keep(&there, &wanted, &shape.keep).rows().cloned());
    Ok(())
}

/// `key IN (..)`, or `(a, b) IN (..)` for a key of several columns.
fn key_condition(
    target: &Connection,
    shape: &TableShape,
    rows: &[Vec<Value>],
) -> Result<String, SyncError> {
    let names: Vec<String> = shape.spec.key.iter().map(|c| target.dialect.name(c)).collect();
    let mut lists = Vec::with_capacity(rows.len());
    for row in rows {
        let values = shape.key.iter().filter_map(|at| row.get(*at).cloned());
        lists.push(select::literals(target.dialect, values)?);
    }
    if names.len() == 1 {
        return Ok(format!("{} IN ({})", names.join(""), lists.join(",")));
    }
    let values = target.dialect.row_list(&lists);
    Ok(format!("({}) IN ({values})", names.join(", ")))
}
