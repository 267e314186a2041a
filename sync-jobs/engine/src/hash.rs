//! The hash of one aggregate: what verify compares instead of the rows.
//!
//! Well-known tools encode a row by joining its texts with a separator, so that `a|b, c` and `a, b|c`
//! collide, or NULL and the text `NULL`; and they add row hashes by XOR, which cancels the same
//! change made twice. Here each value is `~` for NULL, else `<length>:<text>`, which can be read back
//! in one way only, and whole rows are fed to one cryptographic hash.
//!
//! What must stay true: the encoding is injective for rows of one table, and rows come in the order
//! of their primary keys.

use crate::diff::KeyedRows;
use crate::value::Value;

/// The hash of one aggregate's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AggregateHash([u8; 16]);

/// Feeds the tables of one aggregate into one hash.
#[derive(Debug, Default)]
pub struct AggregateHasher {
    hasher: blake3::Hasher,
    buffer: String,
}

impl AggregateHasher {
    /// A hasher that saw nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one table of the aggregate. Tables must come in the order of the job.
    pub fn table(&mut self, rows: &KeyedRows) {
        self.hasher.update(format!("{}#", rows.len()).as_bytes());
        for row in rows.rows() {
            self.buffer.clear();
            encode_row(row, &mut self.buffer);
            self.hasher.update(self.buffer.as_bytes());
        }
    }

    /// The hash of what was added.
    pub fn finish(&self) -> AggregateHash {
        let mut hash = [0; 16];
        self.hasher.finalize_xof().fill(&mut hash);
        AggregateHash(hash)
    }
}

/// Twelve hex digits that tell two texts apart: marks installed triggers with what they were made of.
pub fn fingerprint(text: &str) -> String {
    let hash = blake3::hash(text.as_bytes());
    hash.to_hex().as_str().get(..12).unwrap_or_default().to_owned()
}

/// Appends the row's encoding: `~` for NULL, else the text's length in bytes, `:`, the text.
pub fn encode_row(row: &[Value], into: &mut String) {
    for value in row {
        match value.canonical_text() {
            None => into.push('~'),
            Some(text) => {
                into.push_str(&text.len().to_string());
                into.push(':');
                into.push_str(&text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(row: &[Value]) -> String {
        let mut text = String::new();
        encode_row(row, &mut text);
        text
    }

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn what_other_tools_confuse_is_told_apart() {
        let pairs = [
            (vec![text("a|b"), text("c")], vec![text("a"), text("b|c")]),
            (vec![Value::Null], vec![text("NULL")]),
            (vec![Value::Null], vec![text("")]),
            (vec![text("~")], vec![Value::Null]),
            (vec![text("1:a")], vec![text("1"), text("a")]),
            (vec![text("a ")], vec![text("a")]),
        ];
        for (left, right) in pairs {
            assert_ne!(encoded(&left), encoded(&right));
        }
    }

    #[test]
    fn the_same_flip_in_two_rows_does_not_cancel() {
        let hash = |flags: [bool; 2]| {
            let mut rows = KeyedRows::default();
            for (id, flag) in flags.into_iter().enumerate() {
                rows.insert(&[0], vec![Value::Int(id as i128), Value::Bool(flag)]).unwrap();
            }
            let mut hasher = AggregateHasher::new();
            hasher.table(&rows);
            hasher.finish()
        };
        assert_ne!(hash([true, true]), hash([false, false]));
        assert_eq!(hash([true, false]), hash([true, false]));
    }

    fn any_row() -> impl Strategy<Value = Vec<Value>> {
        let value = prop_oneof![Just(Value::Null), "[~:0-9a-zé|]{0,4}".prop_map(Value::Text),];
        proptest::collection::vec(value, 0..4)
    }

    proptest! {
        #[test]
        fn the_encoding_is_injective(a in any_row(), b in any_row()) {
            prop_assert_eq!(encoded(&a) == encoded(&b), a == b);
        }
    }
}
