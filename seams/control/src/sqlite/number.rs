//! Numbers between our types and SQLite's signed 64 bits.
//!
//! Owns the two conversions. Values that do not fit are cut to the nearest that does: no time, count or
//! generation comes near 2^63.

/// An unsigned number as SQLite stores it.
pub(super) fn to_db(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A stored number as ours.
pub(super) fn from_db(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
