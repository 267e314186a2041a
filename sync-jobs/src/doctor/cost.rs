//! What the capture triggers cost a writer, measured on the source itself.
//!
//! A scratch table shaped like the captured one gets the same rows with and without the job's triggers,
//! in turns, so that caches and other load meet both alike.
//!
//! What must stay true: only tables of our own are written; they are dropped again, also after an error;
//! their marks belong to no job.

use std::time::Instant;

use super::{DoctorCheck, Finding};
use crate::connection::Connection;
use crate::dialect::Engine;
use crate::error::SyncError;
use crate::install;
use crate::job::JobInner;
use crate::spec::CaptureSpec;

/// The scratch table, and the job its marks are of.
const SCRATCH: &str = "by_scratch";
const SCRATCH_JOB: &str = "by-scratch";
/// Rows written per round.
const ROWS: u32 = 1_000;
/// Rounds with and without triggers.
const ROUNDS: usize = 5;

/// Measures the first captured table.
pub(super) async fn measure(job: &JobInner, source: &mut Connection) -> DoctorCheck {
    let answer = |finding, object: String, text: String| DoctorCheck {
        side: Some(source.side),
        topic: "trigger cost",
        finding,
        object,
        text,
        hint: None,
    };
    let unmeasured = answer(Finding::Warn, String::new(), String::new());
    let Some((_, capture)) = job.spec.captures_on(job.from()).next() else { return unmeasured };
    let object = capture.table.clone();
    let measured = with_scratch(source, capture).await;
    match measured {
        Ok(None) => {
            let text = "not measured: the table is empty".to_owned();
            DoctorCheck { object, text, ..unmeasured }
        }
        Ok(Some(cost)) => {
            let text = format!(
                "{} rows inserted and deleted: {:.1} ms without, {:.1} ms with the triggers, {:+.0} %",
                cost.rows,
                cost.plain_ms,
                cost.captured_ms,
                (cost.captured_ms / cost.plain_ms.max(0.001) - 1.0) * 100.0
            );
            DoctorCheck { finding: Finding::Ok, object, text, ..unmeasured }
        }
        Err(error) => {
            let text = format!("not measured: {}", error.chain());
            DoctorCheck { object, text, ..unmeasured }
        }
    }
}

/// Median times of a round.
struct Cost {
    rows: i64,
    plain_ms: f64,
    captured_ms: f64,
}

async fn with_scratch(
    source: &mut Connection,
    capture: &CaptureSpec,
) -> Result<Option<Cost>, SyncError> {
    let had_changes = install::all_exist(source, source.dialect.change_tables()).await?;
    if !had_changes {
        for sql in source.dialect.change_ddl() {
            source.run("make the change table", sql).await?;
        }
    }
    let made = make(source, &capture.table).await;
    let measured = match made {
        Ok(()) => rounds(source, capture).await,
        Err(error) => Err(error),
    };
    let scratch = source.dialect.name(SCRATCH);
    source.run("drop the scratch table", &format!("DROP TABLE IF EXISTS {scratch}")).await?;
    for trigger in triggers(source, capture) {
        // Postgres keeps the function of a trigger whose table is gone.
        if source.engine() == Engine::Postgres {
            let name = source.dialect.name(&trigger.0);
            source
                .run("drop the scratch function", &format!("DROP FUNCTION IF EXISTS {name}()"))
                .await?;
        }
    }
    if had_changes {
        let sql = format!("DELETE FROM by_change WHERE job = '{SCRATCH_JOB}'");
        source.run("delete the scratch marks", &sql).await?;
    } else {
        for table in source.dialect.change_tables() {
            source.run("drop the change table", &format!("DROP TABLE {table}")).await?;
        }
    }
    measured
}

async fn make(source: &mut Connection, table: &str) -> Result<(), SyncError> {
    let (scratch, table) = (source.dialect.name(SCRATCH), source.dialect.name(table));
    source.run("drop the scratch table", &format!("DROP TABLE IF EXISTS {scratch}")).await?;
    let sql = match source.engine() {
        Engine::MySql => format!("CREATE TABLE {scratch} LIKE {table}"),
        Engine::Postgres => {
            format!("CREATE TABLE {scratch} (LIKE {table} INCLUDING DEFAULTS INCLUDING INDEXES)")
        }
        Engine::Sqlite => format!("CREATE TABLE {scratch} AS SELECT * FROM {table} LIMIT 0"),
    };
    source.run("make the scratch table", &sql).await.map(drop)
}

async fn rounds(source: &mut Connection, capture: &CaptureSpec) -> Result<Option<Cost>, SyncError> {
    let (mut plain, mut captured) = (Vec::new(), Vec::new());
    let mut rows = 0;
    // One round more than is counted: the first one warms the caches.
    for round in 0..=ROUNDS {
        let (inserted, plain_ms) = write(source, &capture.table).await?;
        for (_, create) in triggers(source, capture) {
            for sql in create {
                source.run("make a scratch trigger", &sql).await?;
            }
        }
        let (_, captured_ms) = write(source, &capture.table).await?;
        for (name, _) in triggers(source, capture) {
            for sql in source.dialect.drop_trigger(&name, SCRATCH) {
                source.run("drop a scratch trigger", &sql).await?;
            }
        }
        rows = inserted;
        if rows == 0 {
            return Ok(None);
        }
        if round > 0 {
            plain.push(plain_ms);
            captured.push(captured_ms);
        }
    }
    Ok(Some(Cost { rows, plain_ms: median(plain), captured_ms: median(captured) }))
}

/// Inserts and deletes once, each in a transaction of its own.
async fn write(source: &mut Connection, table: &str) -> Result<(i64, f64), SyncError> {
    let (scratch, table) = (source.dialect.name(SCRATCH), source.dialect.name(table));
    let insert = format!("INSERT INTO {scratch} SELECT * FROM {table} LIMIT {ROWS}");
    let started = Instant::now();
    let rows = source.run("fill the scratch table", &insert).await?;
    source.run("empty the scratch table", &format!("DELETE FROM {scratch}")).await?;
    Ok((i64::try_from(rows).unwrap_or(0), started.elapsed().as_secs_f64() * 1_000.0))
}

/// Names and DDL of the job's triggers, on the scratch table.
fn triggers(source: &Connection, capture: &CaptureSpec) -> Vec<(String, Vec<String>)> {
    let scratch = CaptureSpec { table: SCRATCH.to_owned(), ..capture.clone() };
    let objects = source.dialect.capture_objects(SCRATCH_JOB, 1, &scratch);
    objects.into_iter().map(|object| (object.name, object.create)).collect()
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(0.0)
}
