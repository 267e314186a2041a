//! Verifies of equal tables.

use super::Bench;
use super::tool::shell;
use super::world::{Root, Target, World};
use crate::{BenchError, failed};
use banyan_sync_jobs::{Job, RunMode, VerifyOptions};
use tokio_util::sync::CancellationToken;

const MARIADB: &str = "verify MariaDB = MariaDB";
const POSTGRES: &str = "verify MariaDB = Postgres";
const SCAN: &str = "one COUNT, SUM(md5 lanes) scan per side, at once";
/// Two of one family and one command line: data-diff is not maintained since 2024, reladiff goes on from it.
const DIFF_TOOLS: [&str; 2] = ["reladiff", "data-diff"];

/// The least that a checksum tool has to do.
const MY_LANES: &str = "SELECT COUNT(*), SUM(CAST(CONV(SUBSTR(h, 1, 15), 16, 10) AS UNSIGNED)), \
    SUM(CAST(CONV(SUBSTR(h, 16, 15), 16, 10) AS UNSIGNED)) FROM (SELECT MD5(CONCAT_WS(0x23, id, owner_id, \
    title, IFNULL(body, 0x7e), amount, made_at, flag)) AS h FROM items LIMIT 18446744073709551615) AS r";
const PG_LANES: &str = "SELECT COUNT(*), SUM((chr(120) || 0 || substr(h, 1, 15))::bit(64)::bigint), \
    SUM((chr(120) || 0 || substr(h, 16, 15))::bit(64)::bigint) FROM (SELECT md5(concat_ws(chr(35), id, owner_id, \
    title, coalesce(body, chr(126)), amount, made_at, flag)) AS h FROM items OFFSET 0) AS r";

pub(super) async fn round(
    bench: &mut Bench<'_>,
    world: &World,
    round: u32,
) -> Result<(), BenchError> {
    let (my, pg) = (world.mariadb.port(), world.postgres.port());
    let scan =
        |database: &str| format!("mariadb -uroot -h127.0.0.1 -P{my} {database} -e '{MY_LANES}'");
    banyan(bench, world, round, (MARIADB, Target::MariaDb)).await?;
    let both = format!("{} & p=$!; {} && wait $p", scan("source"), scan("target"));
    bench.case(round, (MARIADB, SCAN), async || shell(&["mariadb"], &both).await.map(drop)).await?;
    checksum(bench, world, round).await?;
    let address = |database: &str| format!("mysql://root@127.0.0.1:{my}/{database}");
    diff_tools(bench, round, MARIADB, [&address("source"), &address("target")]).await?;

    banyan(bench, world, round, (POSTGRES, Target::Postgres)).await?;
    let both = format!(
        "{} & p=$!; psql -q -h 127.0.0.1 -p {pg} -U postgres -c '{PG_LANES}' && wait $p",
        scan("source")
    );
    bench
        .case(round, (POSTGRES, SCAN), async || shell(&["mariadb", "psql"], &both).await.map(drop))
        .await?;
    let postgres = format!("postgresql://postgres@127.0.0.1:{pg}/postgres");
    diff_tools(bench, round, POSTGRES, [&address("source"), &postgres]).await
}

/// Leaves the target filled for the other tools, also where Banyan is not asked for.
async fn banyan(
    bench: &mut Bench<'_>,
    world: &World,
    round: u32,
    (group, target): (&'static str, Target),
) -> Result<(), BenchError> {
    for root in Root::ALL {
        if matches!(root, Root::Item) && !bench.wants(root.case()) {
            continue;
        }
        let job = filled(world, target, root).await?;
        bench.case(round, (group, root.case()), async || equal(&job).await).await?;
        job.uninstall(true).await.map_err(failed("uninstall"))?;
    }
    Ok(())
}

/// A job whose target is copied.
async fn filled(world: &World, target: Target, root: Root) -> Result<Job, BenchError> {
    world.empty(target).await?;
    let job = world.job(target, root)?;
    job.install().await.map_err(failed("install"))?;
    job.run(RunMode::Once, CancellationToken::new()).await.map_err(failed("copy"))?;
    // Planner statistics, as on a server that lives.
    match target {
        Target::MariaDb => world.my("target", "ANALYZE TABLE items").await?,
        Target::Postgres => world.pg("VACUUM ANALYZE items").await?,
    }
    Ok(job)
}

async fn equal(job: &Job) -> Result<(), BenchError> {
    let report = job.verify(VerifyOptions::default()).await.map_err(failed("verify"))?;
    if report.is_clean() && report.equal_by_lanes == report.checked {
        return Ok(());
    }
    Err(failed("verify")("the sides differ, or lanes did not decide"))
}

/// Checksums both tables on the one server; a replica would do the same work.
async fn checksum(bench: &mut Bench<'_>, world: &World, round: u32) -> Result<(), BenchError> {
    let port = world.mariadb.port();
    let line = format!(
        "pt-table-checksum --no-check-binlog-format --no-check-replication-filters --no-check-plan \
         --recursion-method=none --set-vars innodb_lock_wait_timeout=50 --max-load Threads_running=1000 --quiet \
         --replicate=target.checksums --tables=source.items,target.items h=127.0.0.1,P={port},u=root"
    );
    bench
        .case(round, (MARIADB, "pt-table-checksum, both tables"), async || {
            shell(&["pt-table-checksum"], &line).await.map(drop)
        })
        .await
}

async fn diff_tools(
    bench: &mut Bench<'_>,
    round: u32,
    group: &'static str,
    [left, right]: [&str; 2],
) -> Result<(), BenchError> {
    for tool in DIFF_TOOLS {
        let line = format!(
            "{tool} {left} items {right} items -k id -c owner_id -c title -c body -c amount -c made_at -c flag --stats"
        );
        bench.case(round, (group, tool), async || shell(&[tool], &line).await.map(drop)).await?;
    }
    Ok(())
}
