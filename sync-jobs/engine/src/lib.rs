//! The pure part of sync: canonical values, root keys, the difference of two aggregates, row hashes,
//! chunk sizes, back-off and the stable-window verdict.
//!
//! It exists apart so that what decides about data has no I/O, no clock and no database in it and
//! can be tested by properties; `banyan_sync_jobs` is the shell that reads and writes.
//!
//! What must stay true: two values are equal exactly when their canonical text is equal, for apply
//! and for verify alike; `apply(diff(target, source), target) == source`; nothing here panics.

mod backoff;
mod canonical;
mod chunk;
mod diff;
mod drift;
mod hash;
mod json;
mod key;
mod kind;
mod lanes;
mod number;
mod schedule;
mod throttle;
mod time;
mod value;
mod verdict;

pub use backoff::Backoff;
pub use chunk::ChunkSizer;
pub use diff::{Keep, KeyedRows, RowChange, RowsError, TableDiff, diff, keep};
pub use drift::{ColumnForm, Drift, DriftClass, DriftPolicy, DriftVerdict, TableForm, drift};
pub use hash::{AggregateHash, AggregateHasher, encode_row, fingerprint};
pub use key::{KeyError, KeyPart, KeyShape, PartKind, RootKey};
pub use kind::{ColumnKind, JsonNumbers, TextLimit, UNLIMITED};
pub use lanes::{INLINE_OCTETS, LaneAdder, Lanes, encode_value};
pub use schedule::{
    CATCH_UP_MAX, Decision, Missed, Overlap, PassReason, Passed, Schedule, ScheduleError,
    ScheduleRules,
};
pub use throttle::{
    Gauge, Go, Readings, RowBudget, SideReadings, WaitReason, decide as decide_throttle,
};
pub use time::{ZeroDate, is_zero_date};
pub use value::{Value, ValueError};
pub use verdict::{Look, StableWindow, Verdict};
