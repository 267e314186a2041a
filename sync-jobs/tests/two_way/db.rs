//! The three engines behind one face, as an application would use them.

use std::time::Duration;

use banyan_sync_jobs::SideUrls;
use banyan_test_servers::{Server, or_skip};
use sqlx::mysql::MySqlConnectOptions;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sqlx::{
    AssertSqlSafe, ConnectOptions, Executor, MySqlConnection, PgConnection, SqliteConnection,
};
use tempfile::TempDir;
use tokio::sync::OnceCell;

static MARIADB: OnceCell<Option<Server>> = OnceCell::const_new();
static POSTGRES: OnceCell<Option<Server>> = OnceCell::const_new();

/// Which engine a side has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Db {
    Sqlite,
    Maria,
    Postgres,
}

/// One connection of an application.
pub(crate) enum Client {
    Sqlite(SqliteConnection),
    Maria(MySqlConnection),
    Postgres(PgConnection),
}

/// Two fresh databases; servers are shared by the tests of this file.
pub(crate) struct Sides {
    pub(crate) urls: SideUrls,
    pub(crate) legacy: Db,
    pub(crate) new: Db,
    _directory: TempDir,
}

impl Sides {
    /// `None` where a server is not installed.
    pub(crate) async fn make(legacy: Db, new: Db) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let urls = SideUrls {
            legacy: fresh(legacy, &directory, "legacy").await?,
            new: fresh(new, &directory, "new").await?,
        };
        Some(Self { urls, legacy, new, _directory: directory })
    }

    pub(crate) async fn on_legacy(&self) -> Client {
        Client::open(self.legacy, &self.urls.legacy).await
    }

    pub(crate) async fn on_new(&self) -> Client {
        Client::open(self.new, &self.urls.new).await
    }
}

impl Client {
    /// A server that listens may not be ready yet.
    pub(crate) async fn open(db: Db, url: &str) -> Self {
        let started = std::time::Instant::now();
        loop {
            match Self::connect(db, url).await {
                Ok(client) => return client,
                Err(error) => assert!(started.elapsed() < Duration::from_secs(30), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn connect(db: Db, url: &str) -> Result<Self, sqlx::Error> {
        Ok(match db {
            Db::Sqlite => {
                let options: SqliteConnectOptions = url.parse().unwrap();
                let options = options
                    .journal_mode(SqliteJournalMode::Wal)
                    .busy_timeout(Duration::from_mins(1));
                Self::Sqlite(options.connect().await?)
            }
            Db::Maria => {
                let options: MySqlConnectOptions = url.parse().unwrap();
                Self::Maria(options.connect().await?)
            }
            Db::Postgres => {
                let options: PgConnectOptions = url.parse().unwrap();
                Self::Postgres(options.connect().await?)
            }
        })
    }

    /// Runs statements.
    pub(crate) async fn run(&mut self, sql: &str) {
        self.tried(sql).await.unwrap_or_else(|error| panic!("{error}: {sql}"));
    }

    /// Runs statements that a lock may refuse.
    pub(crate) async fn tried(&mut self, sql: &str) -> Result<(), sqlx::Error> {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql));
        match self {
            Self::Sqlite(c) => c.execute(sql).await.map(drop),
            Self::Maria(c) => c.execute(sql).await.map(drop),
            Self::Postgres(c) => c.execute(sql).await.map(drop),
        }
    }

    /// One number.
    pub(crate) async fn number(&mut self, sql: &str) -> i64 {
        let sql = sql.to_owned();
        match self {
            Self::Sqlite(c) => sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(c).await.unwrap(),
            Self::Maria(c) => sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(c).await.unwrap(),
            Self::Postgres(c) => sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(c).await.unwrap(),
        }
    }

    /// One transaction; tried again when a lock or a deadlock refuses it, as applications do.
    pub(crate) async fn transaction(&mut self, statements: &[String]) {
        let begin = match self {
            Self::Sqlite(_) => "BEGIN IMMEDIATE",
            Self::Maria(_) | Self::Postgres(_) => "BEGIN",
        };
        for _ in 0..50 {
            let mut done = self.tried(begin).await;
            for sql in statements {
                if done.is_ok() {
                    done = self.tried(sql).await;
                }
            }
            if done.is_ok() {
                done = self.tried("COMMIT").await;
            }
            let Err(error) = done else { return };
            drop(self.tried("ROLLBACK").await);
            let text = error.to_string().to_lowercase();
            let is_lock = ["lock", "busy", "serialize"].iter().any(|word| text.contains(word));
            assert!(is_lock, "{error}: {statements:?}");
        }
        panic!("refused fifty times: {statements:?}");
    }
}

async fn fresh(db: Db, directory: &TempDir, side: &str) -> Option<String> {
    let name = format!("{side}_{:x}", rand::random::<u64>());
    match db {
        Db::Sqlite => {
            let url = format!("sqlite:{}", directory.path().join(&name).display());
            let options: SqliteConnectOptions = url.parse().unwrap();
            let options = options.create_if_missing(true).journal_mode(SqliteJournalMode::Wal);
            options.connect().await.unwrap();
            Some(url)
        }
        Db::Maria => {
            let port = MARIADB.get_or_init(mariadb).await.as_ref()?.port();
            let server = format!("mysql://root@127.0.0.1:{port}");
            let mut admin = Client::open(db, &format!("{server}/mysql")).await;
            admin.run(&format!("CREATE DATABASE {name} CHARACTER SET utf8mb4")).await;
            Some(format!("{server}/{name}"))
        }
        Db::Postgres => {
            let port = POSTGRES.get_or_init(postgres).await.as_ref()?.port();
            let server = format!("postgres://postgres@127.0.0.1:{port}");
            let mut admin = Client::open(db, &format!("{server}/postgres")).await;
            admin.run(&format!("CREATE DATABASE {name}")).await;
            Some(format!("{server}/{name}"))
        }
    }
}

async fn mariadb() -> Option<Server> {
    or_skip(tokio::task::spawn_blocking(banyan_test_servers::mariadb).await.unwrap())
}

async fn postgres() -> Option<Server> {
    or_skip(tokio::task::spawn_blocking(banyan_test_servers::postgres).await.unwrap())
}
