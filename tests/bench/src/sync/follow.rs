//! How late the target is while the source is written.

use super::world::{Root, Target, World};
use crate::{BenchError, failed};
use banyan_sync_jobs::RunMode;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, MySqlConnection};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How often the target is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long the last write may take to arrive.
const ARRIVES_WITHIN: Duration = Duration::from_mins(1);
/// New rows per aggregate.
const ROWS_PER_OWNER: u32 = 20;

/// Lag of one target: from the commit of a new row to when it was seen there.
#[derive(Debug, serde::Serialize)]
pub(super) struct Follow {
    target: String,
    writes: u32,
    writes_per_second: f64,
    p50_ms: u64,
    p99_ms: u64,
    max_ms: u64,
}

impl Follow {
    pub(super) fn line(&self) -> String {
        let Self { target, writes, writes_per_second, p50_ms, p99_ms, max_ms } = self;
        format!(
            "  {target:10} {writes} writes, {writes_per_second:.0}/s: p50 {p50_ms} ms, p99 {p99_ms} ms, longest {max_ms} ms"
        )
    }
}

/// A follower, and so many writes per second for so long; every second one is a new row, whose arrival is timed.
pub(super) async fn measure(
    world: &World,
    target: Target,
    rate: u32,
    seconds: u32,
) -> Result<Follow, BenchError> {
    world.empty(target).await?;
    let job = world.job(target, Root::Owner)?;
    job.install().await.map_err(failed("install"))?;
    job.run(RunMode::Once, CancellationToken::new()).await.map_err(failed("copy"))?;
    let stop = CancellationToken::new();
    let follower = tokio::spawn({
        let (job, stop) = (job.clone(), stop.clone());
        async move { job.run(RunMode::Follow, stop).await }
    });
    let source = world.source().await?;
    let writer = tokio::spawn(write(source, world.rows, rate, rate * seconds));
    let arrived = arrivals(world, target, rate * seconds / 2).await?;
    let (committed, took) = writer.await.map_err(failed("write"))??;
    stop.cancel();
    follower.await.map_err(failed("follow"))?.map_err(failed("follow"))?;
    job.uninstall(true).await.map_err(failed("uninstall"))?;
    world.my("source", &format!("DELETE FROM items WHERE id > {}", world.rows)).await?;
    let lag = |(at, seen): (&Instant, &Instant)| seen.saturating_duration_since(*at).as_millis();
    let mut lags: Vec<u128> = committed.iter().zip(&arrived).map(lag).collect();
    lags.sort_unstable();
    let at = |percent: usize| {
        let place = (lags.len() * percent).div_ceil(100).max(1) - 1;
        lags.get(place).and_then(|lag| u64::try_from(*lag).ok()).unwrap_or(u64::MAX)
    };
    Ok(Follow {
        target: format!("{target:?}"),
        writes: rate * seconds,
        writes_per_second: f64::from(rate * seconds) / took.as_secs_f64(),
        p50_ms: at(50),
        p99_ms: at(99),
        max_ms: at(100),
    })
}

/// Writes one row after the other, at its time or as soon as the one before is committed; gives when each new one was.
async fn write(
    mut source: MySqlConnection,
    rows: u32,
    rate: u32,
    writes: u32,
) -> Result<(Vec<Instant>, Duration), BenchError> {
    let begun = Instant::now();
    let mut committed = Vec::new();
    for n in 0..writes {
        let due = begun + Duration::from_secs(1) * n / rate;
        tokio::time::sleep_until(due.into()).await;
        let sql = if n % 2 == 0 {
            let id = u64::from(n) * 7_919 % u64::from(rows) + 1;
            format!("UPDATE items SET title = 'w{n}' WHERE id = {id}")
        } else {
            let id = rows + n / 2 + 1;
            let owner = id / ROWS_PER_OWNER;
            format!("INSERT INTO items VALUES ({id}, {owner}, 'n{n}', NULL, 1, NOW(), 0)")
        };
        let text = sqlx::raw_sql(AssertSqlSafe(sql));
        source.execute(text).await.map_err(failed("write"))?;
        if n % 2 == 1 {
            committed.push(Instant::now());
        }
    }
    let took = begun.elapsed();
    source.close().await.map_err(failed("close"))?;
    Ok((committed, took))
}

/// When each new row was seen first, in their order: they are applied in the order of their commits.
async fn arrivals(world: &World, target: Target, rows: u32) -> Result<Vec<Instant>, BenchError> {
    let mut looker = world.looker(target).await?;
    let mut arrived: Vec<Instant> = Vec::new();
    let mut last = Instant::now();
    while arrived.len() < rows as usize {
        let sql = "SELECT COALESCE(MAX(id), 0) FROM items";
        let new = looker.number(sql).await? - i64::from(world.rows);
        let (new, now) = (usize::try_from(new).unwrap_or(0), Instant::now());
        if new > arrived.len() {
            arrived.resize(new, now);
            last = now;
        }
        if last.elapsed() > ARRIVES_WITHIN {
            let found = arrived.len();
            return Err(failed("follow")(format!("{found} of {rows} new rows arrived")));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(arrived)
}
