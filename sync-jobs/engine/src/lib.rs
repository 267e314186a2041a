//! The pure part of sync: canonical values, root keys, the difference of two aggregates, row hashes,
//! chunk sizes, back-off and the stable-window verdict.
//!
//! It exists apart so that what decides about data has no I/O, no clock and no database in it and
//! can be tested by properties; `banyan_sync_jobs` is the shell that reads and writes.
//!
//! What must stay true: two values are equal exactly when their canonical text is equal, for apply
//! and for verify alike; `apply(diff(target, source), target) == source`; nothing here panics.

mod backoff;
mod chunk;
mod diff;
mod hash;
mod key;
mod lanes;
mod value;
mod verdict;

pub use backoff::Backoff;
pub use chunk::ChunkSizer;
pub use diff::{KeyedRows, RowChange, RowsError, TableDiff, diff};
pub use hash::{AggregateHash, AggregateHasher, encode_row, fingerprint};
pub use key::{KeyError, KeyPart, KeyShape, PartKind, RootKey};
pub use lanes::{INLINE_OCTETS, LaneAdder, Lanes, encode_value};
pub use value::{ColumnKind, Value, ValueError};
pub use verdict::{Look, StableWindow, Verdict};
