//! The row of a schedule in `by_slot` on the target: which slots are decided, and who runs one.
//!
//! `cursor_ms` is the last slot that is decided; it moves by compare-and-set only, so of several schedulers
//! one gets a slot. `run_slot_ms` is the slot that was claimed and has not ended (0: none); its claim expires by
//! the target's clock, and then another scheduler takes the slot up.
//!
//! What must stay true: a slot is claimed once; a claim that expired is taken up, not claimed again; a
//! sweep is asked for in the transaction that writes down that it was.

use banyan_engine::Value;

use crate::connection::{Connection, as_integer, as_text};
use crate::error::SyncError;
use crate::install;
use crate::job::JobInner;
use crate::state::text;

/// Longest note that is kept.
const NOTE_MAX: usize = 200;

/// The row as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SlotRow {
    pub(crate) cursor_ms: i64,
    pub(crate) run_slot_ms: i64,
    pub(crate) holder: String,
    /// When the claim expires; past when it has.
    pub(crate) expires_in_ms: i64,
    pub(crate) sweep_slot_ms: i64,
    pub(crate) sweep_relists: i64,
    pub(crate) runs: i64,
    pub(crate) passed: i64,
    pub(crate) note: String,
}

/// The job's own state beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Beside {
    pub(crate) phase: String,
    pub(crate) relists: i64,
    /// How long a worker's lease goes on.
    pub(crate) leased_ms: i64,
}

/// One scheduler at the job's row; `clock` is an expression in Unix milliseconds.
pub(crate) struct Slots<'a> {
    pub(crate) job: &'a JobInner,
    pub(crate) holder: &'a str,
    pub(crate) clock: String,
    pub(crate) ttl_ms: u128,
}

impl Slots<'_> {
    /// Reads the row; the first to come makes it, with nothing missed.
    pub(crate) async fn load(&self, target: &mut Connection) -> Result<SlotRow, SyncError> {
        if let Some(row) = read(self.job, target, &self.clock).await? {
            return Ok(row);
        }
        let (insert, end) = target.dialect.insert_ignore();
        let sql = format!(
            "{insert} by_slot (job, direction, cursor_ms, run_slot_ms, holder, expires_ms, \
             sweep_slot_ms, sweep_relists, runs, passed, note) \
             VALUES ('{}', '{}', {}, 0, '', 0, 0, -1, 0, 0, ''){end}",
            self.job.spec.name,
            self.job.to.as_str(),
            self.clock,
        );
        target.run("start the schedule", &sql).await?;
        read(self.job, target, &self.clock).await?.ok_or_else(|| self.job.state.missing())
    }

    /// Claims a slot; false when another scheduler was first.
    pub(crate) async fn claim(
        &self,
        target: &mut Connection,
        before_ms: i64,
        slot_ms: i64,
        folded: usize,
    ) -> Result<bool, SyncError> {
        let set = format!(
            "cursor_ms = {slot_ms}, run_slot_ms = {slot_ms}, holder = {}, \
             expires_ms = {} + {}, runs = runs + 1, passed = passed + {folded}, note = ''",
            text(target.dialect, self.holder)?,
            self.clock,
            self.ttl_ms
        );
        self.update(
            target,
            "claim a slot",
            &set,
            &format!("cursor_ms = {before_ms} AND run_slot_ms = 0"),
        )
        .await
    }

    /// Takes a slot up whose claim expired; false when another scheduler was first.
    pub(crate) async fn take_up(
        &self,
        target: &mut Connection,
        slot_ms: i64,
    ) -> Result<bool, SyncError> {
        let set = format!(
            "holder = {}, expires_ms = {} + {}",
            text(target.dialect, self.holder)?,
            self.clock,
            self.ttl_ms
        );
        let condition = format!("run_slot_ms = {slot_ms} AND expires_ms < {}", self.clock);
        self.update(target, "take a slot up", &set, &condition).await
    }

    /// Keeps the claim; false when it was lost.
    pub(crate) async fn keep(
        &self,
        target: &mut Connection,
        slot_ms: i64,
    ) -> Result<bool, SyncError> {
        let set = format!("expires_ms = {} + {}", self.clock, self.ttl_ms);
        let condition = self.held(target, slot_ms)?;
        self.update(target, "keep the slot", &set, &condition).await
    }

    /// Lets another scheduler take the slot up at once.
    pub(crate) async fn give_back(
        &self,
        target: &mut Connection,
        slot_ms: i64,
    ) -> Result<bool, SyncError> {
        let condition = self.held(target, slot_ms)?;
        self.update(target, "give the slot back", "expires_ms = 0", &condition).await
    }

    /// The slot's run ended; false when the claim was lost before.
    pub(crate) async fn end(
        &self,
        target: &mut Connection,
        slot_ms: i64,
        note: &str,
    ) -> Result<bool, SyncError> {
        let note = text(target.dialect, &crate::control::cut(note, NOTE_MAX))?;
        let set = format!("run_slot_ms = 0, holder = '', expires_ms = 0, note = {note}");
        let condition = self.held(target, slot_ms)?;
        self.update(target, "end the slot", &set, &condition).await
    }

    /// Passes over slots; false when another scheduler decided them.
    pub(crate) async fn pass(
        &self,
        target: &mut Connection,
        before_ms: i64,
        last_ms: i64,
        count: usize,
        note: &str,
    ) -> Result<bool, SyncError> {
        let note = text(target.dialect, &crate::control::cut(note, NOTE_MAX))?;
        let set = format!("cursor_ms = {last_ms}, passed = passed + {count}, note = {note}");
        self.update(target, "pass over slots", &set, &format!("cursor_ms = {before_ms}")).await
    }

    /// Asks for a listing of all roots, as the sweep of this slot; false when one is under way already.
    pub(crate) async fn ask_sweep(
        &self,
        target: &mut Connection,
        slot_ms: i64,
    ) -> Result<bool, SyncError> {
        let ours = self.job.state.is_ours();
        target.begin_write().await?;
        let sql = format!(
            "UPDATE by_state SET phase = 'list', cursor_key = NULL, relists = relists + 1 \
             WHERE {ours} AND phase = 'drain'"
        );
        let asked = target.run("ask for a sweep", &sql).await? == 1;
        let set = format!(
            "sweep_slot_ms = {slot_ms}, \
             sweep_relists = (SELECT relists FROM by_state WHERE {ours})"
        );
        let condition = self.held(target, slot_ms)?;
        if asked && self.update(target, "write the sweep down", &set, &condition).await? {
            target.commit().await?;
            return Ok(true);
        }
        target.rollback().await?;
        Ok(false)
    }

    fn held(&self, target: &Connection, slot_ms: i64) -> Result<String, SyncError> {
        let holder = text(target.dialect, self.holder)?;
        Ok(format!("run_slot_ms = {slot_ms} AND holder = {holder}"))
    }

    async fn update(
        &self,
        target: &mut Connection,
        act: &str,
        set: &str,
        condition: &str,
    ) -> Result<bool, SyncError> {
        let ours = self.job.state.is_ours();
        let sql = format!("UPDATE by_slot SET {set} WHERE {ours} AND {condition}");
        Ok(target.run(act, &sql).await? == 1)
    }
}

/// The row, if there is one.
pub(crate) async fn read(
    job: &JobInner,
    target: &mut Connection,
    clock: &str,
) -> Result<Option<SlotRow>, SyncError> {
    let sql = format!(
        "SELECT cursor_ms, run_slot_ms, holder, expires_ms - {clock}, sweep_slot_ms, \
         sweep_relists, runs, passed, note FROM by_slot WHERE {}",
        job.state.is_ours()
    );
    let rows = target.rows("read the schedule", sql).await?;
    Ok(rows.first().and_then(|row| parse(row)))
}

fn parse(row: &[Value]) -> Option<SlotRow> {
    let [cursor, run, holder, left, sweep, relists, runs, passed, note] = row else { return None };
    Some(SlotRow {
        cursor_ms: as_integer(cursor)?,
        run_slot_ms: as_integer(run)?,
        holder: as_text(holder)?,
        expires_in_ms: as_integer(left)?,
        sweep_slot_ms: as_integer(sweep)?,
        sweep_relists: as_integer(relists)?,
        runs: as_integer(runs)?,
        passed: as_integer(passed)?,
        note: as_text(note)?,
    })
}

/// The number of the listing that is a sweep. The table must be there.
pub(crate) async fn sweep_relists(
    job: &JobInner,
    target: &mut Connection,
) -> Result<Option<i64>, SyncError> {
    let sql = format!("SELECT sweep_relists FROM by_slot WHERE {}", job.state.is_ours());
    target.integer("look for a sweep", sql).await
}

/// What the checkpoint says; nothing when the job is not installed.
pub(crate) async fn beside(
    job: &JobInner,
    target: &mut Connection,
) -> Result<Option<Beside>, SyncError> {
    if !install::exists(target, "by_state").await? {
        return Ok(None);
    }
    let clock = target.dialect.clock_ms();
    let sql = format!(
        "SELECT phase, relists, lease_expires_ms - {clock} FROM by_state WHERE {}",
        job.state.is_ours()
    );
    let rows = target.rows("read the checkpoint", sql).await?;
    Ok(rows.first().and_then(|row| match row.as_slice() {
        [phase, relists, left] => Some(Beside {
            phase: as_text(phase)?,
            relists: as_integer(relists)?,
            leased_ms: as_integer(left)?,
        }),
        _ => None,
    }))
}
