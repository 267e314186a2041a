//! Banyan's relay: rows of an outbox to the raw exchange with confirms, marked as sent.

use super::Shot;
use super::world::{Clock, RAW, RAW_QUEUE, World};
use crate::{BenchError, failed};
use banyan_cutover::{Fence, FenceState};
use banyan_domain::{ContextName, Epoch, Side};
use banyan_outbox::fence::{self, Order, OwnerRow};
use banyan_outbox::{Engine, NewEvent, Outbox, Relay, RelayConfig, emit, install};
use banyan_test_servers::{Server, mariadb, postgres};
use sqlx::{MySql, Pool, Postgres, Sqlite};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

const SUBJECTS: usize = 5_000;
const ROWS_PER_TRANSACTION: usize = 500;

/// Where the outbox is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Database {
    MariaDb,
    Postgres,
    Sqlite,
}

impl Database {
    pub(super) const ALL: [Self; 3] = [Self::MariaDb, Self::Postgres, Self::Sqlite];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::MariaDb => "banyan relay from MariaDB",
            Self::Postgres => "banyan relay from Postgres",
            Self::Sqlite => "banyan relay from SQLite",
        }
    }
}

/// An outbox full of rows.
pub(super) enum Filled {
    MariaDb(Pool<MySql>, Server),
    Postgres(Pool<Postgres>, Server),
    Sqlite(Pool<Sqlite>, tempfile::TempDir),
}

impl Filled {
    pub(super) async fn make(database: Database, world: &World) -> Result<Self, BenchError> {
        const WHAT: &str = "fill an outbox";
        match database {
            Database::MariaDb => {
                let server = start(mariadb).await?;
                let url = format!("mysql://root@127.0.0.1:{}/mysql", server.port());
                let admin = Pool::<MySql>::connect(&url).await.map_err(failed(WHAT))?;
                sqlx::query("CREATE DATABASE bench").execute(&admin).await.map_err(failed(WHAT))?;
                let url = format!("mysql://root@127.0.0.1:{}/bench", server.port());
                let pool = Pool::connect(&url).await.map_err(failed(WHAT))?;
                fill(&pool, world).await?;
                Ok(Self::MariaDb(pool, server))
            }
            Database::Postgres => {
                let server = start(postgres).await?;
                let url = format!("postgres://postgres@127.0.0.1:{}/postgres", server.port());
                let pool = Pool::connect(&url).await.map_err(failed(WHAT))?;
                fill(&pool, world).await?;
                Ok(Self::Postgres(pool, server))
            }
            Database::Sqlite => {
                let directory = tempfile::tempdir().map_err(failed(WHAT))?;
                let path = directory.path().join("service.db");
                let url = format!("sqlite:{}?mode=rwc", path.display());
                let pool = Pool::<Sqlite>::connect(&url).await.map_err(failed(WHAT))?;
                sqlx::query("PRAGMA journal_mode = WAL")
                    .execute(&pool)
                    .await
                    .map_err(failed(WHAT))?;
                fill(&pool, world).await?;
                Ok(Self::Sqlite(pool, directory))
            }
        }
    }

    pub(super) async fn relay(self, world: &World) -> Result<Shot, BenchError> {
        match self {
            Self::MariaDb(pool, _server) => relay(pool, world).await,
            Self::Postgres(pool, _server) => relay(pool, world).await,
            Self::Sqlite(pool, _directory) => relay(pool, world).await,
        }
    }
}

async fn start(server: fn() -> Result<Server, String>) -> Result<Server, BenchError> {
    let started = tokio::task::spawn_blocking(server).await.map_err(failed("start a database"))?;
    started.map_err(failed("start a database"))
}

async fn fill<DB: Engine>(pool: &Pool<DB>, world: &World) -> Result<(), BenchError> {
    const WHAT: &str = "fill an outbox";
    install(pool).await.map_err(failed(WHAT))?;
    let context = ContextName::new("messages").map_err(failed(WHAT))?;
    let mut tx = pool.begin().await.map_err(failed(WHAT))?;
    let fence = Fence::new(FenceState::Open, Epoch(1));
    let row = OwnerRow { context: context.clone(), side: Side::New, fence, order: Order::Subject };
    fence::enrol(&mut tx, &row).await.map_err(failed(WHAT))?;
    tx.commit().await.map_err(failed(WHAT))?;
    let numbers: Vec<usize> = (0..world.rows).collect();
    for chunk in numbers.chunks(ROWS_PER_TRANSACTION) {
        let mut tx = pool.begin().await.map_err(failed(WHAT))?;
        for number in chunk {
            let subject = format!("s{}", number % SUBJECTS);
            let event = NewEvent::new(context.clone(), "message.sent", subject)
                .data("application/json", vec![b'x'; world.bytes]);
            emit(&mut tx, &event).await.map_err(failed(WHAT))?;
        }
        tx.commit().await.map_err(failed(WHAT))?;
    }
    Ok(())
}

async fn relay<DB: Engine>(pool: Pool<DB>, world: &World) -> Result<Shot, BenchError> {
    let broker = Arc::clone(&world.broker);
    let relay = Relay::new(Outbox::new(pool.clone()), broker, RelayConfig::new(RAW));
    let cancel = CancellationToken::new();
    let token = cancel.clone();
    let clock = Clock::start();
    let running = tokio::spawn(async move { relay.run(token).await });
    let per_second = world.until(&clock, RAW_QUEUE, world.rows).await?;
    let shot = clock.shot(per_second, world.rows);
    cancel.cancel();
    running.await.map_err(failed("stop the relay"))?;
    pool.close().await;
    Ok(shot)
}
