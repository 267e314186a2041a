//! What could make a job lose changes, stop, or hurt the application: looked for before it happens.
//!
//! Each question is a query that lists faults (`probe.rs`), so an answer always names the object; what
//! needs more than a query (clocks, the cost of triggers) is beside it. Nothing is changed, except that
//! `sample` works on a scratch table of its own.
//!
//! What must stay true: both sides are asked everything, also after a fault; a question that the login may
//! not ask is a warning, never silence; samples are bounded.

mod cost;
mod mysql;
mod postgres;
mod probe;
mod sqlite;

use banyan_domain::Side;
use banyan_engine::Drift;

use crate::connection::Connection;
use crate::dialect::Engine;
use crate::error::SyncError;
use crate::form;
use crate::install;
use crate::job::{Job, JobInner};
use crate::run::unix_ms;
use probe::{Place, Probe};

/// Clocks that differ by more are worth a look: lag is measured with the source's clock.
const SKEW_WARN_MS: i64 = 1_000;
/// Clocks that differ by more make lag, leases of schedules and logs misleading.
const SKEW_FAIL_MS: i64 = 60_000;

/// Tables that `install` makes, with columns that they must have.
const OURS: [(Role, &str, &str); 4] = [
    (Role::Source, "by_change", "seq job k op origin"),
    (Role::Target, "by_state", "job direction phase cursor_key lease_epoch relists batch_token"),
    (Role::Target, "by_copy", "list_name k"),
    (Role::Target, "by_shape", "job direction side table_name form"),
];

/// What was found about one question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Finding {
    /// Nothing is wrong.
    Ok,
    /// It works, and somebody should look.
    Warn,
    /// Changes can be lost, or the job cannot run.
    Fail,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoctorCheck {
    /// The side it is about; `None` for both together.
    pub side: Option<Side>,
    /// The question: `primary key`, `cascade`, ..
    pub topic: &'static str,
    /// What was found.
    pub finding: Finding,
    /// The table, column, login or setting; empty for a healthy topic.
    pub object: String,
    /// What is so.
    pub text: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// How to look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DoctorOptions {
    /// Measure the cost of the triggers in a scratch copy of a captured table.
    pub sample: bool,
}

/// All answers about one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoctorReport {
    /// The job.
    pub job: String,
    /// The answers, source first.
    pub checks: Vec<DoctorCheck>,
}

/// What a side is to the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Source,
    Target,
}

impl Finding {
    /// The finding as a word of the output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

impl DoctorReport {
    /// The worst finding.
    pub fn worst(&self) -> Finding {
        self.checks.iter().map(|check| check.finding).max().unwrap_or(Finding::Ok)
    }
}

impl Job {
    /// Looks for what could go wrong on both sides.
    ///
    /// # Errors
    /// No connection to a side; everything else is an answer.
    pub async fn doctor(&self, options: DoctorOptions) -> Result<DoctorReport, SyncError> {
        let job = &self.inner;
        let mut source = job.connect_source().await?;
        let mut target = job.connect_target().await?;
        let mut checks = Vec::new();
        for (role, connection) in [(Role::Source, &mut source), (Role::Target, &mut target)] {
            let place = place(job, role, connection);
            let mut probes = probes(&place);
            if place.engine == Engine::MySql && place.is_source() {
                probes.extend(mysql::samples(connection, &place).await);
            }
            for probe in probes {
                checks.extend(probe::ask(connection, &probe).await);
            }
            checks.extend(clock(connection).await?);
        }
        checks.extend(installed(job, &mut source, &mut target).await);
        if options.sample {
            checks.push(cost::measure(job, &mut source).await);
        }
        Ok(DoctorReport { job: job.spec.name.clone(), checks })
    }
}

fn place(job: &JobInner, role: Role, connection: &Connection) -> Place {
    let spec = &job.spec;
    let mut tables: Vec<String> = match role {
        Role::Source => spec.captures_on(job.from()).map(|(_, c)| c.table.clone()).collect(),
        Role::Target => spec.tables_to(job.to).map(|table| table.name.clone()).collect(),
    };
    tables.sort();
    tables.dedup();
    let keys = match role {
        Role::Source => Vec::new(),
        Role::Target => spec
            .tables_to(job.to)
            .flat_map(|table| {
                let columns = table.key.iter().chain(std::iter::once(&table.root_column));
                columns.map(|column| (table.name.clone(), column.clone()))
            })
            .collect(),
    };
    let zero_dates = match &spec.rules.zero_date {
        banyan_engine::ZeroDate::Error => Finding::Fail,
        banyan_engine::ZeroDate::Null | banyan_engine::ZeroDate::Moment(_) => Finding::Ok,
    };
    Place { engine: connection.engine(), role, tables, keys, zero_dates }
}

fn probes(place: &Place) -> Vec<Probe> {
    match place.engine {
        Engine::Sqlite => sqlite::probes(place),
        Engine::Postgres => postgres::probes(place),
        Engine::MySql => mysql::probes(place),
    }
}

/// The database's clock beside this machine's.
async fn clock(connection: &mut Connection) -> Result<Vec<DoctorCheck>, SyncError> {
    let before = unix_ms();
    let database = connection.clock_ms().await?;
    let here = i64::midpoint(before, unix_ms());
    let skew = database - here;
    let finding = of_skew(skew);
    let hint = (finding != Finding::Ok).then(|| "let both machines keep time by NTP".to_owned());
    Ok(vec![DoctorCheck {
        side: Some(connection.side),
        topic: "clock",
        finding,
        object: "clock of the database".to_owned(),
        text: format!("{skew} ms from this machine's"),
        hint,
    }])
}

fn of_skew(skew_ms: i64) -> Finding {
    match skew_ms.saturating_abs() {
        SKEW_FAIL_MS.. => Finding::Fail,
        SKEW_WARN_MS.. => Finding::Warn,
        _ => Finding::Ok,
    }
}

/// Whether what is installed is complete and of this version.
async fn installed(
    job: &JobInner,
    source: &mut Connection,
    target: &mut Connection,
) -> Vec<DoctorCheck> {
    let check = |side, finding, object: String, text: &str| DoctorCheck {
        side: Some(side),
        topic: "installation",
        finding,
        object,
        text: text.to_owned(),
        hint: Some(format!("banyan sync plan {} shows the DDL", job.spec.name)),
    };
    let mut checks = Vec::new();
    for (side, table, columns) in OURS {
        let at = if side == Role::Source { &mut *source } else { &mut *target };
        let side = at.side;
        match lacking(at, table, columns).await {
            Ok(None) => {
                checks.push(check(side, Finding::Warn, table.to_owned(), "is not there yet"));
            }
            Ok(Some(missing)) if missing.is_empty() => {}
            Ok(Some(missing)) => {
                let text = format!("is of an older version: no {}", missing.join(", "));
                checks.push(check(side, Finding::Fail, table.to_owned(), &text));
            }
            Err(error) => checks.push(check(side, Finding::Warn, table.to_owned(), &error.chain())),
        }
    }
    if checks.is_empty() {
        checks.extend(triggers(job, source, &check).await);
        checks.extend(changed(job, source, target, &check).await);
    }
    if checks.is_empty() {
        let mut fine = check(job.from(), Finding::Ok, String::new(), "complete");
        fine.hint = None;
        checks.push(fine);
    }
    checks
}

async fn triggers(
    job: &JobInner,
    source: &mut Connection,
    check: &impl Fn(Side, Finding, String, &str) -> DoctorCheck,
) -> Vec<DoctorCheck> {
    let gap = match install::gap(job, source).await {
        Ok(gap) => gap,
        Err(error) => {
            return vec![check(job.from(), Finding::Warn, "triggers".into(), &error.chain())];
        }
    };
    let missing = gap.missing.iter().map(|object| {
        let object = format!("trigger {} on {}", object.name, object.table);
        check(job.from(), Finding::Fail, object, "is missing or changed: changes are lost")
    });
    let stale = gap.stale.iter().map(|trigger| {
        let object = format!("trigger {} on {}", trigger.name, trigger.table);
        check(job.from(), Finding::Warn, object, "is of another version or configuration")
    });
    missing.chain(stale).collect()
}

/// Tables that changed since they were accepted.
async fn changed(
    job: &JobInner,
    source: &mut Connection,
    target: &mut Connection,
    check: &impl Fn(Side, Finding, String, &str) -> DoctorCheck,
) -> Vec<DoctorCheck> {
    let verdict = match form::changes(job, source, target).await {
        Ok(verdict) => verdict,
        Err(error) => {
            return vec![check(job.to, Finding::Warn, "by_shape".into(), &error.chain())];
        }
    };
    let answer = |finding, drift: &Drift| DoctorCheck {
        side: None,
        ..check(job.to, finding, drift.object.clone(), &drift.change)
    };
    let stops = verdict.stops.iter().map(|drift| answer(Finding::Fail, drift));
    stops.chain(verdict.notes.iter().map(|drift| answer(Finding::Warn, drift))).collect()
}

/// The columns that a table of ours lacks; `None` if there is no such table.
async fn lacking(
    at: &mut Connection,
    table: &str,
    columns: &str,
) -> Result<Option<Vec<String>>, SyncError> {
    if !install::exists(at, table).await? {
        return Ok(None);
    }
    let sql = at.dialect.list_columns(table);
    let rows = at.rows("read the columns", sql).await?;
    let there: Vec<String> =
        rows.iter().filter_map(|row| row.first()).filter_map(crate::connection::as_text).collect();
    let missing = columns.split(' ').filter(|column| !there.iter().any(|name| name == column));
    Ok(Some(missing.map(str::to_owned).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skewed_clock_is_a_warning_and_a_wrong_one_a_failure() {
        for (skew_ms, finding) in [
            (0, Finding::Ok),
            (-999, Finding::Ok),
            (1_000, Finding::Warn),
            (-59_999, Finding::Warn),
            (3_600_000, Finding::Fail),
            (i64::MIN, Finding::Fail),
        ] {
            assert_eq!(of_skew(skew_ms), finding, "{skew_ms}");
        }
    }
}
