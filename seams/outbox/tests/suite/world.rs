//! A world per test: a database of its own on a shared server or in a file, and events to emit into it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use banyan_cutover::{Fence, FenceState};
use banyan_domain::{ContextName, Epoch, Side};
use banyan_outbox::fence::{self, Order, OwnerRow};
use banyan_outbox::{Dialect, Emitted, Engine, NewEvent, Outbox, emit, install};
use banyan_test_servers::{Server, mariadb, or_skip, postgres};
use sqlx::pool::PoolOptions;
use sqlx::{Executor as _, MySql, Pool, Postgres, Sqlite};
use tokio::sync::OnceCell;

static MARIADB: OnceCell<Option<Server>> = OnceCell::const_new();
static POSTGRES: OnceCell<Option<Server>> = OnceCell::const_new();
/// InnoDB shows its transactions anew only when nobody looked for 100 ms, so tests look one at a time, and seldom.
static LOOKING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// Longest wait for something that must happen.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// An outbox in a database of its own.
pub(crate) struct World<DB: Engine> {
    pub(crate) pool: Pool<DB>,
    pub(crate) outbox: Outbox<DB>,
    pub(crate) url: String,
    pub(crate) directory: tempfile::TempDir,
}

impl World<Sqlite> {
    pub(crate) async fn sqlite() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}?mode=rwc", directory.path().join("service.db").display());
        Some(Self::as_services_open_it(url, directory).await)
    }

    /// In a directory of the test.
    pub(crate) async fn sqlite_in(directory: &std::path::Path) -> Self {
        let url = format!("sqlite:{}?mode=rwc", directory.join("service.db").display());
        Self::as_services_open_it(url, tempfile::tempdir().unwrap()).await
    }

    async fn as_services_open_it(url: String, directory: tempfile::TempDir) -> Self {
        // SQLite gives the lock to whoever asks at the right moment: on a busy machine one may wait for long.
        let patient = PoolOptions::<Sqlite>::new().after_connect(|connection, _| {
            Box::pin(
                async move { connection.execute("PRAGMA busy_timeout = 30000").await.map(drop) },
            )
        });
        let world = Self::with(patient, url, directory).await;
        // The mode stays in the file.
        world.run("PRAGMA journal_mode = WAL").await;
        world
    }
}

impl World<MySql> {
    pub(crate) async fn mariadb() -> Option<Self> {
        let start = || async { or_skip(tokio::task::spawn_blocking(mariadb).await.unwrap()) };
        let port = MARIADB.get_or_init(start).await.as_ref()?.port();
        let server = format!("mysql://root@127.0.0.1:{port}");
        let name = fresh_name();
        let admin = Pool::<MySql>::connect(&format!("{server}/mysql")).await.unwrap();
        create_database(&admin, &name).await;
        Some(Self::at(format!("{server}/{name}"), tempfile::tempdir().unwrap()).await)
    }
}

impl World<Postgres> {
    pub(crate) async fn postgres() -> Option<Self> {
        let start = || async { or_skip(tokio::task::spawn_blocking(postgres).await.unwrap()) };
        let port = POSTGRES.get_or_init(start).await.as_ref()?.port();
        let server = format!("postgres://postgres@127.0.0.1:{port}");
        let name = fresh_name();
        let admin = Pool::<Postgres>::connect(&format!("{server}/postgres")).await.unwrap();
        create_database(&admin, &name).await;
        Some(Self::at(format!("{server}/{name}"), tempfile::tempdir().unwrap()).await)
    }
}

fn fresh_name() -> String {
    format!("t{}", DATABASES.fetch_add(1, Ordering::Relaxed))
}

async fn create_database<DB: Engine>(admin: &Pool<DB>, name: &str) {
    let mut connection = admin.acquire().await.unwrap();
    DB::run(&mut connection, &format!("CREATE DATABASE {name}"), &[]).await.unwrap();
    drop(connection);
    admin.close().await;
}

impl<DB: Engine> World<DB> {
    async fn at(url: String, directory: tempfile::TempDir) -> Self {
        Self::with(PoolOptions::new(), url, directory).await
    }

    async fn with(options: PoolOptions<DB>, url: String, directory: tempfile::TempDir) -> Self {
        let options = options.max_connections(12).acquire_timeout(SOON);
        let pool = options.connect(&url).await.unwrap();
        install(&pool).await.unwrap();
        install(&pool).await.expect("made twice");
        let world = Self { outbox: Outbox::new(pool.clone()), pool, url, directory };
        world.run("CREATE TABLE chat_messages (id BIGINT NOT NULL PRIMARY KEY)").await;
        world
    }

    /// Enrols `messages` of side `new` with an open fence at epoch 1.
    pub(crate) async fn owned(self, order: Order) -> Self {
        self.enrol("messages", order).await;
        self
    }

    pub(crate) async fn enrol(&self, name: &str, order: Order) {
        let fence = Fence::new(FenceState::Open, Epoch(1));
        let row = OwnerRow { context: context(name), side: Side::New, fence, order };
        let mut tx = self.pool.begin().await.unwrap();
        fence::enrol(&mut tx, &row).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Emits one event in a transaction of its own.
    pub(crate) async fn emit(&self, event: &NewEvent) -> Emitted {
        let mut tx = self.pool.begin_with(begin_write::<DB>()).await.unwrap();
        let emitted = emit(&mut tx, event).await.unwrap();
        tx.commit().await.unwrap();
        emitted
    }

    /// Emits events `from..to`, taking turns among `subjects` subjects.
    pub(crate) async fn emit_many(&self, numbers: std::ops::Range<usize>, subjects: usize) {
        for number in numbers {
            self.emit(&event(number % subjects, number)).await;
        }
    }

    pub(crate) async fn run(&self, sql: &str) -> u64 {
        let mut connection = self.pool.acquire().await.unwrap();
        DB::run(&mut connection, sql, &[]).await.unwrap()
    }

    pub(crate) async fn count(&self, sql: &str) -> i64 {
        let mut connection = self.pool.acquire().await.unwrap();
        let rows: Vec<(i64,)> = DB::rows(&mut connection, sql, &[], usize::MAX).await.unwrap();
        rows[0].0
    }

    /// Rows in a state.
    pub(crate) async fn rows_in(&self, state: &str) -> i64 {
        self.count(&format!("SELECT COUNT(*) FROM banyan_outbox WHERE state = '{state}'")).await
    }

    pub(crate) async fn texts(&self, sql: &str) -> Vec<String> {
        let mut connection = self.pool.acquire().await.unwrap();
        let rows: Vec<(String,)> = DB::rows(&mut connection, sql, &[], usize::MAX).await.unwrap();
        rows.into_iter().map(|(text,)| text).collect()
    }

    /// Waits until a count is as wanted.
    pub(crate) async fn until(&self, what: &str, sql: &str, wanted: impl Fn(i64) -> bool) {
        self.until_seen(what, sql, Duration::from_millis(5), wanted).await;
    }

    async fn until_seen(
        &self,
        what: &str,
        sql: &str,
        every: Duration,
        wanted: impl Fn(i64) -> bool,
    ) {
        let waiting = async {
            while !wanted(self.count(sql).await) {
                tokio::time::sleep(every).await;
            }
        };
        let happened = tokio::time::timeout(SOON, waiting).await.is_ok();
        assert!(happened, "{what}: {sql} is {}", self.count(sql).await);
    }

    /// Waits until nothing is to be published any more.
    pub(crate) async fn until_empty(&self) {
        let open = "SELECT COUNT(*) FROM banyan_outbox WHERE state IN ('ready', 'waiting')";
        self.until("the outbox must become empty", open, |count| count == 0).await;
    }

    /// Waits until something of an epoch is ready, so that the epoch was one in which emitters emitted.
    pub(crate) async fn until_emitted(&self, epoch: u64) {
        let sql =
            format!("SELECT COUNT(*) FROM banyan_outbox WHERE state = 'ready' AND epoch = {epoch}");
        self.until("somebody must emit", &sql, |count| count > 0).await;
    }

    /// Waits until another session of this database waits for a lock.
    pub(crate) async fn until_somebody_waits(&self) {
        let sql = match DB::DIALECT {
            Dialect::MySql => {
                "SELECT COUNT(*) FROM information_schema.innodb_trx t
                 JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id
                 WHERE t.trx_state = 'LOCK WAIT' AND p.db = DATABASE()"
            }
            Dialect::Postgres => {
                "SELECT COUNT(*) FROM pg_stat_activity
                 WHERE wait_event_type = 'Lock' AND datname = current_database()"
            }
            // Its waiters sleep and try again, which nobody can see; give them the time to get there.
            Dialect::Sqlite => {
                return tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let _one_at_a_time = LOOKING.lock().await;
        let every = Duration::from_millis(150);
        tokio::time::sleep(every).await;
        self.until_seen("somebody must wait for a lock", sql, every, |count| count > 0).await;
    }
}

/// How a transaction that is going to write begins.
pub(crate) fn begin_write<DB: Engine>() -> &'static str {
    match DB::DIALECT {
        Dialect::MySql | Dialect::Postgres => "BEGIN",
        Dialect::Sqlite => "BEGIN IMMEDIATE",
    }
}

pub(crate) fn context(name: &str) -> ContextName {
    ContextName::new(name).unwrap()
}

/// Event `number` of a subject; the number is its data.
pub(crate) fn event(subject: usize, number: usize) -> NewEvent {
    NewEvent::new(context("messages"), "message.sent", format!("s{subject}"))
        .data("application/json", number.to_string().into_bytes())
}

/// Runs each named test once per engine.
macro_rules! on_every_engine {
    ($($test:ident),+ $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                if let Some(world) = crate::world::World::sqlite().await {
                    super::$test(world).await;
                }
            })+
        }
        crate::world::on_servers!($($test),+);
    };
}
pub(crate) use on_every_engine;

/// Runs each named test once per engine that has several writers at the same time.
macro_rules! on_servers {
    ($($test:ident),+ $(,)?) => {
        mod on_mariadb {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                if let Some(world) = crate::world::World::mariadb().await {
                    super::$test(world).await;
                }
            })+
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                if let Some(world) = crate::world::World::postgres().await {
                    super::$test(world).await;
                }
            })+
        }
    };
}
pub(crate) use on_servers;
