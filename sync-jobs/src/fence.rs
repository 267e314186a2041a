//! The fence of a context in one side's database: triggers that refuse writes unless the side owns the context.
//!
//! Whatever goes round the proxy (a cron job, a console, a stale proxy) is refused by the database itself, in the writer's own
//! transaction. The row that decides is `banyan_owner`; the triggers read it under a shared lock, so that closing it waits
//! for exactly the transactions that already wrote. The sync's own sessions are let through by their tag.
//!
//! What must stay true: a trigger is there only together with the row (without the row every write is refused); each move
//! of the row is one compare-and-set; a wait for it is short, and whoever blocks it is named.

mod block;
mod ddl;
mod sequence;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use banyan_cutover::{Fence, FenceState, Move, sql};
use banyan_domain::{ContextName, Epoch, Side};
use tokio::sync::Mutex;

use banyan_engine::Value;

use crate::capture::InstalledTrigger;
use crate::connection::{Connection, as_integer, as_text};
use crate::dialect::Engine;
use crate::error::SyncError;
use crate::install::{self, exists};
use crate::plan::PlanCapture;
use crate::spec::JobSpec;
use crate::url::SideUrls;

pub(crate) use ddl::{SQLITE_TAG_DDL as TAG_DDL, SQLITE_TAG_TABLE as TAG_TABLE};
pub use sequence::{IdCounter, Raised, SequencePair};

/// The fence of one context on one side.
#[derive(Clone)]
pub struct ContextFence {
    context: ContextName,
    side: Side,
    urls: SideUrls,
    tables: Vec<String>,
    /// A connection that is kept for the next reading: a switch reads often while clients wait.
    kept: Arc<Mutex<Option<Connection>>>,
    /// Another one, for what a switch changes meanwhile.
    spare: Arc<Mutex<Option<Connection>>>,
}

/// What became of a move of the fence row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FenceMoved {
    /// The row is now this.
    Done(Fence),
    /// The row is not where the move starts from; nothing was changed.
    NotApplicable(Fence),
    /// Others keep the row locked; nothing was changed. Names their sessions, as far as the engine tells.
    Blocked {
        /// The sessions.
        by: Vec<String>,
    },
}

/// What a side has of its fence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FenceStatus {
    /// The side.
    pub side: Side,
    /// The row; `None` when the context is not enrolled.
    pub fence: Option<Fence>,
    /// The tables that the fence guards.
    pub tables: Vec<String>,
    /// What is missing: the table, the row, triggers.
    pub missing: Vec<String>,
}

impl ContextFence {
    /// The fence of a context on a side: it guards every table of the context's two-way jobs there. Jobs in one direction only
    /// bring what the monolith keeps owning, so their tables are not fenced.
    pub fn of(context: &ContextName, side: Side, urls: SideUrls, specs: &[&JobSpec]) -> Self {
        let jobs = specs.iter().filter(|spec| spec.context == context.as_str());
        let mut tables = BTreeSet::new();
        for spec in jobs.filter(|spec| spec.is_two_way()) {
            tables.extend(spec.captures_on(side).map(|(_, capture)| capture.table.clone()));
            tables.extend(spec.tables_to(side).map(|table| table.name.clone()));
        }
        let tables = tables.into_iter().collect();
        let (kept, spare) = Default::default();
        Self { context: context.clone(), side, urls, tables, kept, spare }
    }

    /// The side.
    pub const fn side(&self) -> Side {
        self.side
    }

    /// The tables that it guards.
    pub fn tables(&self) -> &[String] {
        &self.tables
    }

    /// What is there and what is missing.
    ///
    /// # Errors
    /// No connection.
    pub async fn status(&self) -> Result<FenceStatus, SyncError> {
        let mut at = self.connect().await?;
        let fence = self.row(&mut at).await?;
        let start = Fence::new(FenceState::Shut, Epoch(0));
        let missing = self.steps(&mut at, start).await?.into_iter().map(|step| step.object);
        Ok(FenceStatus {
            side: self.side,
            fence,
            tables: self.tables.clone(),
            missing: missing.collect(),
        })
    }

    /// What `install` would make, with its exact statements. A row that is there stays as it is; else it begins as `start`.
    ///
    /// # Errors
    /// No connection.
    pub async fn missing(&self, start: Fence) -> Result<Vec<PlanCapture>, SyncError> {
        let mut at = self.connect().await?;
        self.steps(&mut at, start).await
    }

    /// Makes what is missing: first the row, then the triggers. Safe to repeat.
    ///
    /// # Errors
    /// No connection, no right to make triggers, or a table that others keep locked.
    pub async fn install(&self, start: Fence) -> Result<Vec<PlanCapture>, SyncError> {
        let mut at = self.connect().await?;
        let steps = self.steps(&mut at, start).await?;
        for step in &steps {
            install::make(&mut at, step).await?;
        }
        Ok(steps)
    }

    /// Removes the triggers, or only says what it would remove. The row stays: it also says whether the outbox may announce.
    ///
    /// # Errors
    /// No connection, or no right to drop triggers.
    pub async fn uninstall(&self, execute: bool) -> Result<Vec<String>, SyncError> {
        let mut at = self.connect().await?;
        let mut statements = Vec::new();
        for trigger in self.own(&mut at).await? {
            statements.extend(at.dialect.drop_trigger(&trigger.name, &trigger.table));
        }
        if execute {
            for sql in &statements {
                install::ddl(&mut at, sql).await?;
            }
        }
        Ok(statements)
    }

    /// The row as it is; `None` when the context is not enrolled there.
    ///
    /// # Errors
    /// No connection.
    pub async fn read(&self) -> Result<Option<Fence>, SyncError> {
        let mut kept = self.kept.lock().await;
        // Over a kept connection the table was seen before.
        if let Some(mut at) = kept.take()
            && let Ok(fence) = self.known_row(&mut at).await
        {
            *kept = Some(at);
            return Ok(fence);
        }
        // None was kept, or it died meanwhile.
        let mut at = self.connect().await?;
        let fence = self.row(&mut at).await?;
        if fence.is_some() {
            *kept = Some(at);
        }
        Ok(fence)
    }

    /// Connects for what comes while clients wait.
    ///
    /// # Errors
    /// No connection.
    pub async fn warm_up(&self) -> Result<(), SyncError> {
        let at = self.borrow().await?;
        self.give_back(at).await;
        Ok(())
    }

    /// Moves the row, in a transaction of its own. Waits at most `wait` (whole seconds on MariaDB/MySQL) for transactions that
    /// wrote under the fence or that apply under it.
    ///
    /// # Errors
    /// [`SyncError::NotInstalled`] without a row, no connection, a lost answer: then the row says what happened.
    pub async fn change(&self, wanted: Move, wait: Duration) -> Result<FenceMoved, SyncError> {
        let mut at = self.borrow().await?;
        match block::change(self, &mut at, wanted, wait).await? {
            block::Changed::Blocked(by) => Ok(FenceMoved::Blocked { by }),
            block::Changed::Rows(rows) => {
                let found = self.row(&mut at).await?.ok_or_else(|| self.not_enrolled())?;
                self.give_back(at).await;
                Ok(if rows == 0 {
                    FenceMoved::NotApplicable(found)
                } else {
                    FenceMoved::Done(found)
                })
            }
        }
    }

    /// The number that an operator's query gives on this side: its first row has one column, a whole number or NULL, which is 0.
    ///
    /// # Errors
    /// No connection, a query that the database refuses, or an answer that is no count.
    pub async fn count(&self, query: &str) -> Result<u64, SyncError> {
        let mut at = self.connect().await?;
        let rows = at.rows("run the query of the configuration", query.to_owned()).await?;
        let found = match rows.first().map(Vec::as_slice) {
            Some([Value::Null]) => Some(0),
            Some([value]) => as_integer(value).and_then(|number| u64::try_from(number).ok()),
            Some(_) | None => None,
        };
        found.ok_or_else(|| SyncError::Count { side: self.side, query: query.to_owned() })
    }

    /// Transactions of others that are open for longer than `age`: closing the fence would wait for them if they wrote.
    ///
    /// # Errors
    /// No connection. An engine or a login that cannot tell gives none.
    pub async fn old_transactions(&self, age: Duration) -> Result<Vec<String>, SyncError> {
        let mut at = self.connect().await?;
        block::old_transactions(&mut at, age).await
    }

    async fn connect(&self) -> Result<Connection, SyncError> {
        Connection::open(&self.urls, self.side).await
    }

    /// The spare connection, if it still answers, else a new one. Who ends without an error gives it back.
    async fn borrow(&self) -> Result<Connection, SyncError> {
        let spare = self.spare.lock().await.take();
        if let Some(mut at) = spare
            && at.integer("see whether the connection lives", "SELECT 1".to_owned()).await.is_ok()
        {
            return Ok(at);
        }
        self.connect().await
    }

    async fn give_back(&self, at: Connection) {
        // On SQLite it is opened in no time, and the wait for locks that it was given would stay.
        if at.engine() != Engine::Sqlite {
            *self.spare.lock().await = Some(at);
        }
    }

    async fn row(&self, at: &mut Connection) -> Result<Option<Fence>, SyncError> {
        if !exists(at, sql::OWNER_TABLE).await? {
            return Ok(None);
        }
        self.known_row(at).await
    }

    async fn known_row(&self, at: &mut Connection) -> Result<Option<Fence>, SyncError> {
        let rows = at.rows("read the fence", sql::read(&self.context)).await?;
        rows.first().map(|row| parse(self.side, row)).transpose()
    }

    async fn own(&self, at: &mut Connection) -> Result<Vec<InstalledTrigger>, SyncError> {
        let all = install::triggers(at).await?;
        Ok(all.into_iter().filter(|t| ddl::is_of_context(&t.name, &self.context)).collect())
    }

    async fn steps(
        &self,
        at: &mut Connection,
        start: Fence,
    ) -> Result<Vec<PlanCapture>, SyncError> {
        let side = self.side;
        let step = |object: String, statements| PlanCapture { side, object, statements };
        let mut steps = Vec::new();
        if !exists(at, sql::OWNER_TABLE).await? {
            let ddl = owner_ddl(at.engine()).to_owned();
            steps.push(step(format!("table {}", sql::OWNER_TABLE), vec![ddl]));
        }
        if at.engine() == Engine::Sqlite && !exists(at, ddl::SQLITE_TAG_TABLE).await? {
            let statements = vec![ddl::SQLITE_TAG_DDL.to_owned()];
            steps.push(step(format!("table {}", ddl::SQLITE_TAG_TABLE), statements));
        }
        if self.row(at).await?.is_none() {
            let (insert, end) = at.dialect.insert_ignore();
            let row = sql::enrol(&self.context, side, start);
            let object = format!("row of {} for `{}`", sql::OWNER_TABLE, self.context);
            steps.push(step(object, vec![format!("{insert} {row}{end}")]));
        }
        let own = self.own(at).await?;
        let needed = ddl::needed(at, &self.context, side, &self.tables, &own);
        for trigger in &own {
            if !needed.iter().any(|object| object.is(trigger)) {
                let statements = at.dialect.drop_trigger(&trigger.name, &trigger.table);
                let object = format!("stale trigger {} on {}", trigger.name, trigger.table);
                steps.push(step(object, statements));
            }
        }
        for object in needed {
            if !own.iter().any(|trigger| object.is(trigger)) {
                steps.push(step(
                    format!("trigger {} on {}", object.name, object.table),
                    object.create,
                ));
            }
        }
        Ok(steps)
    }

    fn not_enrolled(&self) -> SyncError {
        SyncError::NotInstalled {
            job: self.context.to_string(),
            side: self.side,
            what: format!("row of `{}` for context `{}`", sql::OWNER_TABLE, self.context),
        }
    }
}

/// What makes the table of fences.
pub(crate) const fn owner_ddl(engine: Engine) -> &'static str {
    match engine {
        Engine::MySql => sql::OWNER_DDL_MYSQL,
        Engine::Sqlite | Engine::Postgres => sql::OWNER_DDL,
    }
}

/// State and epoch of a row.
///
/// # Errors
/// [`SyncError::BrokenFence`] for a row of another version or by hand: nobody may take it for no row.
pub(crate) fn parse(side: Side, row: &[Value]) -> Result<Fence, SyncError> {
    let read = || {
        let [state, epoch] = row else { return None };
        let state = FenceState::from_word(&as_text(state)?)?;
        let epoch = u64::try_from(as_integer(epoch)?).ok()?;
        Some(Fence::new(state, Epoch(epoch)))
    };
    read().ok_or_else(|| {
        let found = row.iter().filter_map(as_text).collect::<Vec<_>>().join(", ");
        SyncError::BrokenFence { side, found }
    })
}
