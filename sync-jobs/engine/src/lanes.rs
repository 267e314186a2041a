//! Lanes: sums of row hashes that two databases can compute and compare without moving the rows.
//!
//! This file is the specification. `sync-jobs/src/encode.rs` writes the same in the SQL of MariaDB and of
//! Postgres; tests hold both against this one. A row is encoded column by column:
//!
//! - `~` for NULL;
//! - `<canonical text>;` for kinds whose texts never hold a `;` or begin with `~`: numbers, truths, times, dates, uuids (their
//!   32 digits). A length before them would make a database compute each text twice;
//! - else `<octets>:<canonical text>` up to [`INLINE_OCTETS`] octets; bytes are lower-case hex;
//! - `#<octets>:<md5 of the value>` above, so that no concatenation grows beyond a packet.
//!
//! The MD5 of the whole row gives two numbers of 60 bits; the lanes of a chunk are the count of its rows and
//! the exact sums of these numbers. A hash is not linear, so the same flip in two rows does not cancel as
//! it does with XOR of checksums; sums need no order, so no collation takes part.
//!
//! What must stay true: the encoding is injective; the sums are exact, never modulo something that a
//! database rounds.

use std::fmt::Write as _;

use md5::{Digest, Md5};

use crate::kind::ColumnKind;
use crate::value::{Value, hex};

/// Longest value that is encoded as it is; above, its hash stands for it.
pub const INLINE_OCTETS: usize = 1_024;

/// Bits of one lane: fifteen hex digits fit a signed 64-bit number of every database.
const LANE_BITS: u32 = 60;

/// What a chunk of rows adds up to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Lanes {
    /// How many rows.
    pub rows: u64,
    /// The sums of both lanes.
    pub sums: [u128; 2],
}

/// Encodes and adds rows; keeps its buffer between rows.
#[derive(Debug, Default)]
pub struct LaneAdder {
    buffer: String,
}

impl Lanes {
    /// Adds other rows.
    pub fn merge(&mut self, other: Self) {
        self.rows += other.rows;
        for (sum, more) in self.sums.iter_mut().zip(other.sums) {
            *sum += more;
        }
    }
}

impl LaneAdder {
    /// The lanes of one row, whose values are canonical for these kinds.
    pub fn row<'v>(&mut self, row: impl Iterator<Item = (&'v Value, ColumnKind)>) -> Lanes {
        self.buffer.clear();
        for (value, kind) in row {
            encode_value(value, kind, &mut self.buffer);
        }
        let hash = u128::from_be_bytes(md5_of(self.buffer.as_bytes()));
        let mask = (1_u128 << LANE_BITS) - 1;
        Lanes { rows: 1, sums: [hash >> (128 - LANE_BITS), (hash >> (128 - 2 * LANE_BITS)) & mask] }
    }
}

/// Appends the encoding of one value.
pub fn encode_value(value: &Value, kind: ColumnKind, into: &mut String) {
    match value {
        Value::Null => into.push('~'),
        Value::Text(text) if kind == ColumnKind::Uuid => {
            into.push_str(&text.replace('-', ""));
            into.push(';');
        }
        Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_) | Value::Bytes(_)
            if ends_itself(kind) =>
        {
            into.push_str(&value.canonical_text().unwrap_or_default());
            into.push(';');
        }
        Value::Text(text) if text.len() > INLINE_OCTETS => push_hashed(text.as_bytes(), into),
        Value::Bytes(bytes) if bytes.len() > INLINE_OCTETS => push_hashed(bytes, into),
        Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_) | Value::Bytes(_) => {
            push_inline(&value.canonical_text().unwrap_or_default(), into);
        }
    }
}

/// Whether a text of this kind is told from what follows without its length.
fn ends_itself(kind: ColumnKind) -> bool {
    // Spelled out by kind: what is new gets a length until somebody thought about it.
    match kind {
        ColumnKind::Integer { .. }
        | ColumnKind::Decimal { .. }
        | ColumnKind::Bool
        | ColumnKind::Timestamp { .. }
        | ColumnKind::Date
        | ColumnKind::Uuid => true,
        ColumnKind::Float
        | ColumnKind::Real
        | ColumnKind::Text { .. }
        | ColumnKind::Char { .. }
        | ColumnKind::Set
        | ColumnKind::Bytes
        | ColumnKind::Binary { .. }
        | ColumnKind::Bits { .. }
        | ColumnKind::Time { .. }
        | ColumnKind::Year
        | ColumnKind::Json { .. }
        | ColumnKind::Any => false,
    }
}

fn push_inline(text: &str, into: &mut String) {
    push_formatted(into, format_args!("{}:", text.len()));
    into.push_str(text);
}

fn push_hashed(bytes: &[u8], into: &mut String) {
    push_formatted(into, format_args!("#{}:", bytes.len()));
    into.push_str(&hex(&md5_of(bytes)));
}

fn push_formatted(into: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    if into.write_fmt(text).is_err() {
        debug_assert!(false, "a String takes all text");
    }
}

fn md5_of(bytes: &[u8]) -> [u8; 16] {
    Md5::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    fn lanes(rows: &[Vec<Value>]) -> Lanes {
        let mut sum = Lanes::default();
        let mut adder = LaneAdder::default();
        for row in rows {
            sum.merge(adder.row(row.iter().map(|value| (value, ColumnKind::Any))));
        }
        sum
    }

    #[test]
    fn the_definition_is_pinned() {
        let mut encoded = String::new();
        for value in [Value::Int(1), Value::Null, text("a|b")] {
            encode_value(&value, ColumnKind::Any, &mut encoded);
        }
        assert_eq!(encoded, "1:1~3:a|b");
        let long = "x".repeat(INLINE_OCTETS + 1);
        encoded.clear();
        encode_value(&text(&long), ColumnKind::TEXT, &mut encoded);
        assert!(encoded.starts_with("#1025:") && encoded.len() == 38, "{encoded}");
        encoded.clear();
        encode_value(&Value::Bytes(vec![0xab, 0x00]), ColumnKind::Bytes, &mut encoded);
        assert_eq!(encoded, "4:ab00");
        encoded.clear();
        let uid = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
        for (value, kind) in [
            (Value::Int(-7), ColumnKind::INTEGER),
            (Value::Null, ColumnKind::INTEGER),
            (text("12.5"), ColumnKind::Decimal { digits: 12, scale: 2 }),
            (Value::Bool(true), ColumnKind::Bool),
            (text("2014-06-12 10:00:00"), ColumnKind::Timestamp { digits: 6 }),
            (text(uid), ColumnKind::Uuid),
        ] {
            encode_value(&value, kind, &mut encoded);
        }
        assert_eq!(encoded, "-7;~12.5;1;2014-06-12 10:00:00;a0eebc999c0b4ef8bb6d6bb9bd380a11;");
        let row = lanes(&[vec![text("")]]);
        let hash = hex(&md5_of(b"0:"));
        let part = |range: std::ops::Range<usize>| {
            u128::from_str_radix(hash.get(range).unwrap(), 16).unwrap()
        };
        assert_eq!(row.sums, [part(0..15), part(15..30)]);
    }

    #[test]
    fn what_xor_of_checksums_misses_changes_the_lanes() {
        let row = |id: i128, flag: bool| vec![Value::Int(id), Value::Bool(flag)];
        let before = lanes(&[row(1, true), row(2, true)]);
        assert_ne!(before, lanes(&[row(1, false), row(2, false)]), "paired flips");
        let swapped =
            |a: &str, b: &str| lanes(&[vec![Value::Int(1), text(a)], vec![Value::Int(2), text(b)]]);
        assert_ne!(swapped("x", "y"), swapped("y", "x"), "swapped values");
        assert_ne!(lanes(&[vec![text("a|b"), text("c")]]), lanes(&[vec![text("a"), text("b|c")]]));
        assert_ne!(lanes(&[vec![Value::Null]]), lanes(&[vec![text("~")]]));
        assert_ne!(lanes(&[vec![text("a ")]]), lanes(&[vec![text("a")]]));
        assert_ne!(lanes(&[vec![]]), lanes(&[]), "an empty row is a row");
    }

    fn any_value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(|n| Value::Int(i128::from(n))),
            any::<String>().prop_map(Value::Text),
            proptest::collection::vec(any::<u8>(), 0..8).prop_map(Value::Bytes),
        ]
    }

    proptest! {
        #[test]
        fn lanes_do_not_depend_on_order_and_merge_like_their_rows(
            rows in proptest::collection::vec(proptest::collection::vec(any_value(), 2), 0..8),
            at in 0_usize..8
        ) {
            let mut turned = rows.clone();
            turned.reverse();
            prop_assert_eq!(lanes(&rows), lanes(&turned));
            let (left, right) = rows.split_at(at.min(rows.len()));
            let mut sum = lanes(left);
            sum.merge(lanes(right));
            prop_assert_eq!(sum, lanes(&rows));
        }

        #[test]
        fn rows_of_texts_collide_only_when_they_are_equal(
            left in proptest::collection::vec(proptest::option::of("[~:#0-9a|]{0,3}"), 3),
            right in proptest::collection::vec(proptest::option::of("[~:#0-9a|]{0,3}"), 3)
        ) {
            let row = |of: &[Option<String>]| -> Vec<Value> {
                of.iter().map(|t| t.clone().map_or(Value::Null, Value::Text)).collect()
            };
            let (a, b) = (row(&left), row(&right));
            prop_assert_eq!(lanes(std::slice::from_ref(&a)) == lanes(std::slice::from_ref(&b)), a == b);
        }
    }
}
