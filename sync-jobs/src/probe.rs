//! Measures replica lag and load of the sides, in a task of its own.
//!
//! What must stay true: each measurement has a limit of time; a measurement that failed or is old is unknown,
//! never zero; nothing is measured while nobody asks; the task ends with its handle.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use banyan_engine::{Gauge, SideReadings};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::connection::{Connection, as_integer, as_text};
use crate::control::cut;
use crate::dialect::Engine;
use crate::error::SyncError;
use crate::job::JobInner;
use crate::operate::SideThrottle;

/// Time between two measurements.
const EVERY: Duration = Duration::from_secs(1);
/// Longest wait for one measurement.
const LIMIT: Duration = Duration::from_secs(2);
/// A measurement older than this says nothing.
const OLD: Duration = Duration::from_secs(4);

/// The measuring task.
pub(crate) struct Prober {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    asked: AtomicBool,
    found: Mutex<Option<(Instant, Vec<SideReadings>)>>,
    sides: Vec<SideThrottle>,
}

impl Prober {
    /// Starts to measure what the job's throttle names.
    pub(crate) fn start(job: Arc<JobInner>) -> Self {
        let sides = job.operate.throttle.sides.clone();
        let shared =
            Arc::new(Shared { asked: AtomicBool::new(true), found: Mutex::default(), sides });
        let task = tokio::spawn(measure_repeatedly(job, Arc::clone(&shared)));
        Self { shared, task }
    }

    /// The latest measurements.
    pub(crate) fn readings(&self) -> Vec<SideReadings> {
        self.shared.asked.store(true, Ordering::Relaxed);
        let found = self.shared.found.lock().unwrap_or_else(PoisonError::into_inner);
        match found.as_ref() {
            Some((at, readings)) if at.elapsed() < OLD => readings.clone(),
            Some(_) | None => {
                self.shared.sides.iter().map(|side| unknown(side, "not measured yet")).collect()
            }
        }
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn unknown(of: &SideThrottle, why: &str) -> SideReadings {
    SideReadings {
        side: of.side,
        lag: of.lag.as_ref().map(|lag| Gauge { found: Err(why.to_owned()), max: lag.max }),
        running: of.running_max.map(|max| Gauge { found: Err(why.to_owned()), max }),
    }
}

async fn measure_repeatedly(job: Arc<JobInner>, shared: Arc<Shared>) {
    let mut probes: Vec<Probe> = shared.sides.iter().map(|_| Probe::default()).collect();
    loop {
        if shared.asked.swap(false, Ordering::Relaxed) {
            let measured = probes.iter_mut().zip(&shared.sides).map(|(p, side)| p.side(&job, side));
            let readings = futures_util::future::join_all(measured).await;
            let mut found = shared.found.lock().unwrap_or_else(PoisonError::into_inner);
            *found = Some((Instant::now(), readings));
        }
        sleep(EVERY).await;
    }
}

/// Connections of one side's measurements, kept while they work.
#[derive(Default)]
struct Probe {
    lag: Option<Connection>,
    running: Option<Connection>,
}

impl Probe {
    async fn side(&mut self, job: &JobInner, of: &SideThrottle) -> SideReadings {
        let lag = async {
            let lag = of.lag.as_ref()?;
            let urls = lag.replica.as_ref().unwrap_or(&job.urls);
            let found = limited(&mut self.lag, async |kept| {
                if kept.is_none() {
                    *kept = Some(Connection::open(urls, of.side).await?);
                }
                let Some(connection) = kept.as_mut() else { return Ok(None) };
                seconds(connection, lag.query.clone()).await
            });
            Some(Gauge { found: found.await, max: lag.max })
        };
        let running = async {
            let max = of.running_max?;
            let found = limited(&mut self.running, async |kept| {
                if kept.is_none() {
                    *kept = Some(Connection::open(&job.urls, of.side).await?);
                }
                let Some(connection) = kept.as_mut() else { return Ok(None) };
                statements(connection, job.urls.engine(of.side)?).await
            });
            Some(Gauge { found: found.await, max })
        };
        let (lag, running) = Box::pin(futures_util::future::join(lag, running)).await;
        SideReadings { side: of.side, lag, running }
    }
}

/// Runs one measurement within its limit; a connection that failed is not kept.
async fn limited<T>(
    kept: &mut Option<Connection>,
    measure: impl AsyncFnOnce(&mut Option<Connection>) -> Result<Option<T>, SyncError>,
) -> Result<T, String> {
    let measured = timeout(LIMIT, measure(kept)).await;
    let why = match measured {
        Ok(Ok(Some(found))) => return Ok(found),
        Ok(Ok(None)) => return Err("the query gives no number".to_owned()),
        Ok(Err(error)) => cut(&error.chain(), 160),
        Err(_) => format!("no answer within {} s", LIMIT.as_secs()),
    };
    *kept = None;
    Err(why)
}

/// The first column of the first row as seconds.
async fn seconds(
    connection: &mut Connection,
    query: String,
) -> Result<Option<Duration>, SyncError> {
    let rows = connection.rows("ask for the replica lag", query).await?;
    let text = rows.first().and_then(|row| row.first()).and_then(as_text);
    let seconds = text.and_then(|text| text.trim().parse::<f64>().ok());
    Ok(seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).ok()))
}

/// Statements that run at this moment.
async fn statements(connection: &mut Connection, engine: Engine) -> Result<Option<u64>, SyncError> {
    let sql = match engine {
        Engine::MySql => "SHOW GLOBAL STATUS LIKE 'Threads_running'",
        Engine::Postgres => {
            "SELECT count(*) FROM pg_stat_activity \
             WHERE state = 'active' AND backend_type = 'client backend'"
        }
        // One writer, no server: there is nothing to spare.
        Engine::Sqlite => "SELECT 0",
    };
    let rows = connection.rows("ask for the load", sql.to_owned()).await?;
    let found = rows.first().and_then(|row| row.last()).and_then(as_integer);
    Ok(found.and_then(|count| u64::try_from(count).ok()))
}
