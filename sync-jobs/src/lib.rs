//! Sync jobs: keep two databases with different models saying the same while a context moves.
//!
//! The unit is the *aggregate*: one root key and its rows. Triggers on the source mark root keys dirty
//! in the change table `by_change`; a job reads the current source aggregate in one snapshot, compares
//! it with the target's rows, and writes only what differs, together with its checkpoint, in one target
//! transaction. First copy, drain, plan and verify all use the same mapping, so they cannot disagree.
//!
//! What must stay true: a change row is deleted (by its exact id) only after its root was applied from a
//! snapshot that contained it; two workers never both write (lease epoch checked in every apply);
//! memory is bounded by the limits of the job, whatever the tables' sizes.

mod aggregate;
mod apply;
mod bulk;
mod cache;
mod capture;
mod conflict;
mod connection;
mod control;
mod cursor;
mod decode;
mod dialect;
mod doctor;
mod drain;
mod encode;
mod error;
mod fence;
mod form;
mod gate;
mod install;
mod job;
mod listing;
mod memcached;
mod metric;
mod operate;
mod pause;
mod plan;
mod probe;
mod progress;
mod publish;
mod repair;
mod row_diff;
mod run;
mod schedule;
mod select;
mod session;
mod shape;
mod slot;
mod source_type;
mod spec;
mod state;
mod status;
mod tables;
mod unique;
mod url;
mod verify;
mod watch;

pub use cache::CacheKey;
pub use conflict::Conflicts;
pub use control::Orders;
pub use dialect::Engine;
pub use doctor::{DoctorCheck, DoctorOptions, DoctorReport, Finding};
pub use error::SyncError;
pub use fence::{ContextFence, FenceMoved, FenceStatus, IdCounter, Raised, SequencePair};
pub use install::{InstallReport, UninstallReport};
pub use job::{Job, Ports};
pub use operate::{CacheHook, LagQuery, Operate, SideThrottle, Throttle};
pub use pause::{NoPause, Pause, PausePoint};
pub use plan::{Plan, PlanCapture, PlanTable};
pub use progress::{
    Counters, JobState, NoProgress, NoProgressStore, Progress, ProgressEvent, ProgressStore,
    ProgressStoreError, RunOutcome, RunRecord, Watermark,
};
pub use repair::{RepairOptions, RepairOutcome, RepairReport};
pub use row_diff::{ColumnDiff, RowDiff, RowDiffKind};
pub use run::{RunMode, RunSummary};
pub use schedule::{Clock, Scheduler, SlotEvent, SlotWatch, TargetClock};
pub use spec::{
    CaptureEvent, CaptureMode, CaptureSpec, CursorSpec, JobSpec, KeepSpec, Limits, RootsSpec,
    Rules, SpecError, SpecProblem, TableSpec,
};
pub use status::{JobStatus, SlotStatus};
pub use url::SideUrls;
pub use verify::{Comparison, HashedHere, KeyDiff, VerifyOptions, VerifyReport};
pub use watch::{FirstWay, JobLook, JobWatch, WorkerLook};

pub use banyan_domain::Side;
pub use banyan_engine::{
    DriftClass, DriftPolicy, KeyShape, Missed, Overlap, PartKind, PassReason, Passed, Schedule,
    ScheduleError, ScheduleRules, ZeroDate,
};
