//! Databases of all three engines, each fresh, as an application would use them.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::{Duration, Instant};

use banyan_sync_jobs::{
    CaptureEvent, CaptureMode, CaptureSpec, JobSpec, KeyShape, Limits, PartKind, RootsSpec, Rules,
    Side, TableSpec,
};
use banyan_test_servers::{Server, or_skip};
use sqlx::mysql::MySqlConnectOptions;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{
    AssertSqlSafe, ConnectOptions, Executor, MySqlConnection, PgConnection, Row, SqliteConnection,
};
use tempfile::TempDir;
use tokio::sync::OnceCell;

/// An engine, in the order of the arrays of the tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    Sqlite,
    Postgres,
    MariaDb,
}

impl At {
    pub(crate) const ALL: [Self; 3] = [Self::Sqlite, Self::Postgres, Self::MariaDb];
}

/// Both servers and a directory for SQLite files.
pub(crate) struct Bases {
    mariadb: Server,
    postgres: Server,
    dir: TempDir,
}

/// One database with a connection to it.
pub(crate) struct Base {
    pub(crate) url: String,
    on: On,
}

enum On {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
    MariaDb(MySqlConnection),
}

/// Booted once per test binary; the servers end with it.
static BASES: OnceCell<Option<Bases>> = OnceCell::const_new();

impl Bases {
    /// The servers, booted at the first call; the tests' databases need names of their own.
    pub(crate) async fn start() -> Option<&'static Self> {
        BASES.get_or_init(Self::boot).await.as_ref()
    }

    async fn boot() -> Option<Self> {
        let booted = tokio::task::spawn_blocking(|| {
            (banyan_test_servers::mariadb(), banyan_test_servers::postgres())
        })
        .await;
        let (mariadb, postgres) = booted.unwrap();
        let dir = tempfile::tempdir().unwrap();
        Some(Self { mariadb: or_skip(mariadb)?, postgres: or_skip(postgres)?, dir })
    }

    /// A fresh database.
    pub(crate) async fn make(&self, at: At, name: &str) -> Base {
        match at {
            At::Sqlite => {
                let file = self.dir.path().join(format!("{name}.db"));
                let options = SqliteConnectOptions::new().filename(&file).create_if_missing(true);
                let on = options.busy_timeout(Duration::from_secs(20)).connect().await.unwrap();
                Base { url: format!("sqlite:{}", file.display()), on: On::Sqlite(on) }
            }
            At::Postgres => {
                let url = |name: &str| {
                    format!("postgres://postgres@127.0.0.1:{}/{name}", self.postgres.port())
                };
                let mut admin = pg(&url("postgres")).await;
                admin.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
                Base { url: url(name), on: On::Postgres(pg(&url(name)).await) }
            }
            At::MariaDb => {
                let url =
                    |name: &str| format!("mysql://root@127.0.0.1:{}/{name}", self.mariadb.port());
                let mut admin = mysql(&url("mysql")).await;
                let create = format!("CREATE DATABASE {name} CHARACTER SET utf8mb4");
                admin.execute(AssertSqlSafe(create)).await.unwrap();
                Base::mariadb(url(name)).await
            }
        }
    }
}

impl Base {
    /// A MariaDB database that is there.
    pub(crate) async fn mariadb(url: String) -> Self {
        let on = On::MariaDb(mysql(&url).await);
        Self { url, on }
    }

    pub(crate) async fn run(&mut self, sql: &str) {
        let text = sqlx::raw_sql(AssertSqlSafe(sql));
        let done = match &mut self.on {
            On::Sqlite(on) => on.execute(text).await.map(drop),
            On::Postgres(on) => on.execute(text).await.map(drop),
            On::MariaDb(on) => on.execute(text).await.map(drop),
        };
        assert!(done.is_ok(), "{done:?}: {sql}");
    }

    /// The first column of all rows, as text.
    pub(crate) async fn texts(&mut self, sql: &str) -> Vec<Option<String>> {
        let text = sqlx::raw_sql(AssertSqlSafe(sql));
        match &mut self.on {
            On::Sqlite(on) => {
                let rows = on.fetch_all(text).await.unwrap();
                rows.iter().map(|row| row.get_unchecked(0)).collect()
            }
            On::Postgres(on) => {
                let rows = on.fetch_all(text).await.unwrap();
                rows.iter().map(|row| row.get_unchecked(0)).collect()
            }
            On::MariaDb(on) => {
                let rows = on.fetch_all(text).await.unwrap();
                rows.iter().map(|row| row.get_unchecked(0)).collect()
            }
        }
    }
}

async fn mysql(url: &str) -> MySqlConnection {
    let options: MySqlConnectOptions = url.parse().unwrap();
    patiently(async || options.connect().await).await
}

async fn pg(url: &str) -> PgConnection {
    let options: PgConnectOptions = url.parse().unwrap();
    patiently(async || options.connect().await).await
}

/// A server that listens may not be ready yet.
async fn patiently<T>(mut connect: impl AsyncFnMut() -> Result<T, sqlx::Error>) -> T {
    let started = Instant::now();
    loop {
        match connect().await {
            Ok(connection) => return connection,
            Err(error) => assert!(started.elapsed() < Duration::from_secs(30), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Table `facts` of legacy becomes table `copies` of new, as it is.
pub(crate) fn facts_job(columns: &[&str]) -> JobSpec {
    JobSpec {
        name: "facts".to_owned(),
        context: "facts".to_owned(),
        root: "fact".to_owned(),
        follow: false,
        mode: CaptureMode::Trigger,
        key: KeyShape::new("", vec![PartKind::Integer]),
        roots: vec![RootsSpec {
            side: Side::Legacy,
            select: "SELECT id AS k FROM facts".to_owned(),
        }],
        captures: vec![CaptureSpec {
            side: Side::Legacy,
            table: "facts".to_owned(),
            key: "{row}.id".to_owned(),
            events: CaptureEvent::ALL.to_vec(),
            cursor: None,
        }],
        tables: vec![TableSpec {
            to: Side::New,
            name: "copies".to_owned(),
            key: vec!["id".to_owned()],
            root_column: "id".to_owned(),
            select: format!(
                "SELECT id, {} FROM facts WHERE id IN ({{keys.1}})",
                columns.join(", ")
            ),
            current: None,
            keep: vec![],
            shared: false,
        }],
        limits: Limits { lease_ttl: Duration::from_millis(1_500), ..Limits::default() },
        rules: Rules::default(),
    }
}
