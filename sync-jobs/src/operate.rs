//! How a job is operated: when it sweeps, what holds it back, and which caches it clears.
//!
//! It is beside the job's mapping, because it says nothing about data and an operator changes it more often.
//!
//! What must stay true: everything here may be absent; then a job follows or runs at once, as fast as it can.

use std::path::PathBuf;
use std::time::Duration;

use banyan_domain::Side;
use banyan_engine::Schedule;

use crate::cache::CacheKey;
use crate::url::SideUrls;

/// Schedule, throttle and caches of a job.
#[derive(Debug, Clone, Default)]
pub struct Operate {
    /// When `banyan serve` sweeps.
    pub schedule: Option<Schedule>,
    /// What holds the job back.
    pub throttle: Throttle,
    /// Caches that hold what the target's rows say.
    pub caches: Vec<CacheHook>,
}

/// What holds a job back.
#[derive(Debug, Clone, Default)]
pub struct Throttle {
    /// Rows that the copy reads per second at most.
    pub rows_per_second: Option<u64>,
    /// While this file is there, the job does nothing.
    pub pause_file: Option<PathBuf>,
    /// What is measured on the sides.
    pub sides: Vec<SideThrottle>,
}

/// What is measured on one side.
#[derive(Debug, Clone)]
pub struct SideThrottle {
    /// The side.
    pub side: Side,
    /// How far its replicas are behind.
    pub lag: Option<LagQuery>,
    /// Statements that may run at once; the copy waits above it.
    pub running_max: Option<u64>,
}

/// A query that says how far a replica is behind.
#[derive(Debug, Clone)]
pub struct LagQuery {
    /// One number: seconds. NULL counts as unknown.
    pub query: String,
    /// The copy waits above it.
    pub max: Duration,
    /// Where to ask, if it is not the side's own database; only the side's own entry is used.
    pub replica: Option<SideUrls>,
}

/// Keys to delete from one memcached server after rows of the target changed.
#[derive(Debug, Clone)]
pub struct CacheHook {
    /// The side whose database the cache is in front of.
    pub side: Side,
    /// `HOST:PORT`.
    pub server: String,
    /// Names of the keys.
    pub keys: Vec<CacheKey>,
}
