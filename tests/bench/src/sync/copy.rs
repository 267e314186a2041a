//! First copies into an empty table.

use super::Bench;
use super::tool::shell;
use super::world::{Root, Target, World};
use crate::{BenchError, failed};
use banyan_sync_jobs::RunMode;
use tokio_util::sync::CancellationToken;

const TO_MARIADB: &str = "first copy MariaDB -> MariaDB";
const TO_POSTGRES: &str = "first copy MariaDB -> Postgres";

pub(super) async fn round(
    bench: &mut Bench<'_>,
    world: &World,
    round: u32,
) -> Result<(), BenchError> {
    to_mariadb(bench, world, round).await?;
    to_postgres(bench, world, round).await
}

async fn to_mariadb(bench: &mut Bench<'_>, world: &World, round: u32) -> Result<(), BenchError> {
    let port = world.mariadb.port();
    banyan(bench, world, round, (TO_MARIADB, Target::MariaDb)).await?;
    world.empty(Target::MariaDb).await?;
    let dump = format!(
        "mariadb-dump -uroot -h127.0.0.1 -P{port} --single-transaction --no-create-info source items \
         | mariadb -uroot -h127.0.0.1 -P{port} target"
    );
    bench
        .case(round, (TO_MARIADB, "mariadb-dump --single-transaction | mariadb"), async || {
            shell(&["mariadb-dump", "mariadb"], &dump).await?;
            world.count(Target::MariaDb).await
        })
        .await?;
    world.empty(Target::MariaDb).await?;
    let folder = world.directory.path().join(format!("dump-{round}")).display().to_string();
    let mydumper = format!(
        "mydumper -u root -h 127.0.0.1 -P {port} -B source -t 2 -o {folder} && \
         myloader -u root -h 127.0.0.1 -P {port} -B target -o -t 2 -d {folder}"
    );
    bench
        .case(round, (TO_MARIADB, "mydumper, myloader (2 threads)"), async || {
            shell(&["mydumper", "myloader"], &mydumper).await?;
            world.count(Target::MariaDb).await
        })
        .await
}

async fn to_postgres(bench: &mut Bench<'_>, world: &World, round: u32) -> Result<(), BenchError> {
    let (my, pg) = (world.mariadb.port(), world.postgres.port());
    banyan(bench, world, round, (TO_POSTGRES, Target::Postgres)).await?;
    world.empty(Target::Postgres).await?;
    // What no tool that moves all rows as text can beat by much.
    let floor = format!(
        "mariadb -uroot -h127.0.0.1 -P{my} --default-character-set=utf8mb4 --quick -N -B -e 'SELECT * FROM items' source \
         | sed 's/\\tNULL\\t/\\t\\\\N\\t/g' \
         | psql -q -h 127.0.0.1 -p {pg} -U postgres -c 'COPY items FROM STDIN'"
    );
    bench
        .case(round, (TO_POSTGRES, "mariadb --quick | psql COPY"), async || {
            shell(&["mariadb", "psql"], &floor).await?;
            world.count(Target::Postgres).await
        })
        .await?;
    world.empty(Target::Postgres).await?;
    let load = world.directory.path().join("items.load");
    let script = format!(
        "LOAD DATABASE FROM mysql://root@127.0.0.1:{my}/source INTO postgresql://postgres@127.0.0.1:{pg}/postgres \
         WITH data only, truncate, workers = 2, concurrency = 1 \
         INCLUDING ONLY TABLE NAMES MATCHING 'items' ALTER SCHEMA 'source' RENAME TO 'public';"
    );
    std::fs::write(&load, script).map_err(failed("write the script"))?;
    let pgloader = format!("pgloader {}", load.display());
    bench
        .case(round, (TO_POSTGRES, "pgloader"), async || {
            shell(&["pgloader"], &pgloader).await?;
            world.count(Target::Postgres).await
        })
        .await?;
    // Verify needs what Banyan knows of the target.
    world.empty(Target::Postgres).await
}

/// Install, copy, and give the table back empty handed: triggers and checkpoint belong to the time.
async fn banyan(
    bench: &mut Bench<'_>,
    world: &World,
    round: u32,
    (group, target): (&'static str, Target),
) -> Result<(), BenchError> {
    for root in Root::ALL {
        world.empty(target).await?;
        let job = world.job(target, root)?;
        bench
            .case(round, (group, root.case()), async || {
                job.install().await.map_err(failed("install"))?;
                job.run(RunMode::Once, CancellationToken::new()).await.map_err(failed("copy"))?;
                world.count(target).await
            })
            .await?;
        job.uninstall(true).await.map_err(failed("uninstall"))?;
    }
    Ok(())
}
