//! A private MariaDB with a filled table and an empty one, a private Postgres with an empty one, and the jobs between them.

use crate::{BenchError, failed};
use banyan_sync_jobs::{
    CaptureEvent, CaptureMode, CaptureSpec, Job, JobSpec, KeyShape, Limits, PartKind, Ports,
    RootsSpec, Rules, Side, SideUrls, TableSpec,
};
use banyan_test_servers::{Server, mariadb, postgres};
use sqlx::{AssertSqlSafe, Connection as _, Executor, MySqlConnection, PgConnection};

const COLUMNS: &str = "id, owner_id, title, body, amount, made_at, flag";

pub(super) struct World {
    pub(super) mariadb: Server,
    pub(super) postgres: Server,
    pub(super) rows: u32,
    pub(super) directory: tempfile::TempDir,
}

/// A target.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target {
    MariaDb,
    Postgres,
}

/// What an aggregate is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Root {
    /// The twenty rows of an owner, found by the index on `owner_id`.
    Owner,
    /// One row, by the primary key.
    Item,
}

impl Root {
    pub(super) const ALL: [Self; 2] = [Self::Owner, Self::Item];

    /// The name of Banyan's case; none has another's in it, so that `--only` tells them apart.
    pub(super) const fn case(self) -> &'static str {
        match self {
            Self::Owner => "banyan",
            Self::Item => "one-row aggregates",
        }
    }

    const fn column(self) -> &'static str {
        match self {
            Self::Owner => "owner_id",
            Self::Item => "id",
        }
    }
}

impl World {
    pub(super) async fn start(rows: u32) -> Result<Self, BenchError> {
        let (mariadb, postgres) = tokio::task::spawn_blocking(|| (mariadb(), postgres()))
            .await
            .map_err(failed("start servers"))?;
        let world = Self {
            mariadb: mariadb.map_err(failed("start MariaDB"))?,
            postgres: postgres.map_err(failed("start Postgres"))?,
            rows,
            directory: tempfile::tempdir().map_err(failed("make a folder"))?,
        };
        world.my("mysql", "CREATE DATABASE source; CREATE DATABASE target").await?;
        for database in ["source", "target"] {
            world
                .my(
                    database,
                    "CREATE TABLE items (id BIGINT NOT NULL PRIMARY KEY, owner_id BIGINT NOT NULL, \
                     title VARCHAR(255) NOT NULL, body TEXT, amount DECIMAL(12,2), \
                     made_at DATETIME NOT NULL, flag TINYINT NOT NULL, KEY (owner_id)) ENGINE=InnoDB \
                     DEFAULT CHARSET=utf8mb4",
                )
                .await?;
        }
        world
            .my(
                "source",
                &format!(
                    "INSERT INTO items SELECT seq, seq DIV 20, CONCAT('Title ', seq, ' é'), \
                     IF(seq % 5, CONCAT(REPEAT('lorem ipsum ', 10), seq), NULL), seq / 100, \
                     '2014-06-12 10:00:00' + INTERVAL seq SECOND, seq % 2 FROM seq_1_to_{rows}; \
                     ANALYZE TABLE items"
                ),
            )
            .await?;
        world
            .pg("CREATE TABLE items (id BIGINT PRIMARY KEY, owner_id BIGINT NOT NULL, \
                 title TEXT NOT NULL, body TEXT, amount NUMERIC(12,2), made_at TIMESTAMP NOT NULL, \
                 flag SMALLINT NOT NULL); CREATE INDEX ON items (owner_id)")
            .await?;
        Ok(world)
    }

    fn mysql_url(&self, database: &str) -> String {
        format!("mysql://root@127.0.0.1:{}/{database}", self.mariadb.port())
    }

    fn postgres_url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.postgres.port())
    }

    /// Runs statements on MariaDB.
    pub(super) async fn my(&self, database: &str, sql: &str) -> Result<(), BenchError> {
        let url = self.mysql_url(database);
        let mut on = MySqlConnection::connect(&url).await.map_err(failed("connect"))?;
        on.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.map_err(failed("run SQL"))?;
        on.close().await.map_err(failed("close"))
    }

    /// Runs statements on Postgres.
    pub(super) async fn pg(&self, sql: &str) -> Result<(), BenchError> {
        let url = self.postgres_url();
        let mut on = PgConnection::connect(&url).await.map_err(failed("connect"))?;
        on.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.map_err(failed("run SQL"))?;
        on.close().await.map_err(failed("close"))
    }

    /// Empties a target table.
    pub(super) async fn empty(&self, target: Target) -> Result<(), BenchError> {
        match target {
            Target::MariaDb => self.my("target", "TRUNCATE items").await,
            Target::Postgres => self.pg("TRUNCATE items").await,
        }
    }

    /// A connection to the filled table.
    pub(super) async fn source(&self) -> Result<MySqlConnection, BenchError> {
        MySqlConnection::connect(&self.mysql_url("source")).await.map_err(failed("connect"))
    }

    /// A connection that looks at a target.
    pub(super) async fn looker(&self, target: Target) -> Result<Looker, BenchError> {
        Ok(match target {
            Target::MariaDb => {
                let url = self.mysql_url("target");
                Looker::MariaDb(MySqlConnection::connect(&url).await.map_err(failed("connect"))?)
            }
            Target::Postgres => {
                let url = self.postgres_url();
                Looker::Postgres(PgConnection::connect(&url).await.map_err(failed("connect"))?)
            }
        })
    }

    /// Fails unless the target has all rows.
    pub(super) async fn count(&self, target: Target) -> Result<(), BenchError> {
        let found = self.looker(target).await?.number("SELECT COUNT(*) FROM items").await?;
        if found == i64::from(self.rows) {
            return Ok(());
        }
        Err(failed("copy all rows")(format!("{found} of {} arrived", self.rows)))
    }

    /// The job from the filled table to a target, not installed.
    pub(super) fn job(&self, target: Target, root: Root) -> Result<Job, BenchError> {
        let new = match target {
            Target::MariaDb => self.mysql_url("target"),
            Target::Postgres => self.postgres_url(),
        };
        let urls = SideUrls { legacy: self.mysql_url("source"), new };
        Job::open(spec(root), urls, Ports::default()).map_err(failed("open the job"))
    }
}

/// A connection that looks at a target.
pub(super) enum Looker {
    MariaDb(MySqlConnection),
    Postgres(PgConnection),
}

impl Looker {
    /// The one number of a query.
    pub(super) async fn number(&mut self, sql: &'static str) -> Result<i64, BenchError> {
        match self {
            Self::MariaDb(on) => sqlx::query_scalar(sql).fetch_one(on).await,
            Self::Postgres(on) => sqlx::query_scalar(sql).fetch_one(on).await,
        }
        .map_err(failed("count"))
    }
}

fn spec(root: Root) -> JobSpec {
    let column = root.column();
    JobSpec {
        name: "items".to_owned(),
        context: "items".to_owned(),
        root: column.to_owned(),
        follow: false,
        mode: CaptureMode::Trigger,
        key: KeyShape::new("", vec![PartKind::Integer]),
        roots: vec![RootsSpec {
            side: Side::Legacy,
            select: format!("SELECT DISTINCT {column} AS k FROM items"),
        }],
        captures: vec![CaptureSpec {
            side: Side::Legacy,
            table: "items".to_owned(),
            key: format!("{{row}}.{column}"),
            events: CaptureEvent::ALL.to_vec(),
            cursor: None,
        }],
        tables: vec![TableSpec {
            to: Side::New,
            name: "items".to_owned(),
            key: vec!["id".to_owned()],
            root_column: column.to_owned(),
            select: format!("SELECT {COLUMNS} FROM items WHERE {column} IN ({{keys.1}})"),
            current: None,
            keep: vec![],
            shared: false,
        }],
        limits: Limits::default(),
        rules: Rules::default(),
    }
}
