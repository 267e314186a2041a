//! Verify: compares every aggregate of both sides, also while they are written.
//!
//! All roots of both sides are listed on this machine (`roots`). 1. Each chunk of them becomes lanes on both sides, in
//! the databases where they can (`encode.rs`); equal lanes and nothing pending: done, one row per table
//! and side moved. 2. Else lanes per root. 3. Roots that still differ or have pending changes go through
//! stable windows (`banyan_engine::StableWindow`) with their rows, some chunks later, when they are quiet.
//!
//! What must stay true: a root counts as equal only on a quiet look; one that never got quiet is reported
//! as hot, never as equal; memory holds bounded lists of keys and the rows of one small chunk.

pub(crate) mod clean;
mod level;
mod measure;
mod roots;
mod settle;

use std::sync::Arc;
use std::time::Duration;

use crate::drain;
use crate::error::SyncError;
use crate::job::{Job, JobInner};
use crate::row_diff::RowDiff;
use banyan_domain::Side;
use banyan_engine::RootKey;
use level::Verifier;

/// Differing roots that are kept by key, for a repair.
const KEPT_KEYS_MAX: usize = 100_000;

/// How to verify.
#[derive(Debug, Clone)]
pub struct VerifyOptions {
    /// Only these roots; all of both sides when `None`.
    pub keys: Option<Vec<String>>,
    /// Only what was applied since the last pass that ended clean, or waits to be applied. Sees what went
    /// through the job; a change that somebody made on the target beside it needs a full pass.
    pub since_clean: bool,
    /// Roots of the first chunk, and of each chunk of named `keys`; else the size follows the job's `chunk_target`.
    pub keys_per_chunk: usize,
    /// Windows that a moving root gets before it is called hot.
    pub windows: u32,
    /// Wait before the second window; doubles, at most one second.
    pub window_wait: Duration,
    /// Differing and hot roots listed by name, each; the counts go on.
    pub listed_max: usize,
}

impl Default for VerifyOptions {
    fn default() -> Self {
        Self {
            keys: None,
            since_clean: false,
            keys_per_chunk: 1_000,
            windows: 8,
            window_wait: Duration::from_millis(50),
            listed_max: 100,
        }
    }
}

/// What verify found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Roots looked at.
    pub checked: u64,
    /// Roots whose rows are the same on both sides.
    pub equal: u64,
    /// Roots that differ although nothing is pending.
    pub differing_total: u64,
    /// The first of them, with their rows.
    pub differing: Vec<KeyDiff>,
    /// Roots that never got quiet: pending or changing in every window.
    pub hot_total: u64,
    /// The first of them.
    pub hot_unverified: Vec<String>,
    /// Changes that wait to be applied, at the end.
    pub pending: i64,
    /// Whether the first copy is done; before that, roots that it did not reach differ.
    pub copied: bool,
    /// Roots whose chunk was proved equal by its lanes alone.
    pub equal_by_lanes: u64,
    /// Tables whose rows were hashed by this program instead of their database.
    pub hashed_here: Vec<HashedHere>,
    /// Why `since_clean` could not answer; nothing was looked at then.
    pub full_pass_needed: Option<&'static str>,
}

/// A table whose rows came over the wire to be hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashedHere {
    /// The side.
    pub side: Side,
    /// The target table that the rows are for.
    pub table: String,
    /// Why the database could not do it.
    pub reason: String,
}

/// One root that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyDiff {
    /// The root key.
    pub key: String,
    /// The rows that differ.
    pub rows: Vec<RowDiff>,
}

impl VerifyReport {
    /// Whether both sides are proved equal.
    pub fn is_clean(&self) -> bool {
        self.checked == self.equal && self.full_pass_needed.is_none()
    }
}

impl Job {
    /// Compares both sides. Safe beside a running worker.
    ///
    /// # Errors
    /// No connection, a job that is not installed, or a mapping that does not fit.
    pub async fn verify(&self, options: VerifyOptions) -> Result<VerifyReport, SyncError> {
        self.comparison(options).await?.run().await
    }

    /// A comparison that is to be run more than once: connecting and learning the tables takes longer than to compare some
    /// aggregates. It is for moments in which the tables do not change.
    ///
    /// # Errors
    /// As [`Job::verify`].
    pub async fn comparison(&self, options: VerifyOptions) -> Result<Comparison, SyncError> {
        Ok(Comparison(Verifier::open(&self.inner, options).await?))
    }
}

/// Compares both sides of a job again and again. It is of no use after an error.
pub struct Comparison(Verifier);

impl Comparison {
    /// As [`Job::verify`].
    ///
    /// # Errors
    /// As [`Job::verify`].
    pub async fn run(&mut self) -> Result<VerifyReport, SyncError> {
        run(&mut self.0).await?;
        Ok(std::mem::take(&mut self.0.report))
    }

    /// From now on a moving root gets so many windows before it is called hot.
    pub const fn set_windows(&mut self, windows: u32) {
        self.0.options.windows = windows;
    }

    /// The side that is compared with its source.
    pub fn to(&self) -> Side {
        self.0.job.to
    }
}

/// The report and the keys of the differing roots, as far as they are kept.
pub(crate) async fn verify(
    job: &Arc<JobInner>,
    options: VerifyOptions,
) -> Result<(VerifyReport, Vec<RootKey>), SyncError> {
    let mut verifier = Verifier::open(job, options).await?;
    run(&mut verifier).await?;
    Ok((verifier.report, verifier.differing_keys))
}

async fn run(verifier: &mut Verifier) -> Result<(), SyncError> {
    Box::pin(verifier.run()).await?;
    verifier.report.pending = drain::pending(&mut verifier.source, &verifier.job).await?;
    Ok(())
}
