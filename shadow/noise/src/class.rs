//! When two values are of the same class.
//!
//! Owns the band within which a value may change and still be "the same kind of thing". It exists because noise hides
//! values, and a token that becomes `null` or a paragraph must not hide with it. What must stay true: symmetric; another
//! JSON type is another class.

use banyan_diff::ValueClass;

/// Whether two values are of one class: the same word, hex digits of the same length, text whose length is at most about
/// doubled or halved.
pub fn same_band(legacy: ValueClass, new: ValueClass) -> bool {
    match (legacy, new) {
        (ValueClass::Hex(a), ValueClass::Hex(b)) => a == b,
        (ValueClass::String(a), ValueClass::String(b)) => a.max(b) <= a.min(b).saturating_mul(2),
        // A counter that crosses 10^9 does not become another thing.
        (ValueClass::Int, ValueClass::Epoch) | (ValueClass::Epoch, ValueClass::Int) => true,
        (ValueClass::Array(_) | ValueClass::Object, _) => false,
        (a, b) => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_may_change_but_not_become_something_else() {
        use ValueClass::{Bool, Empty, Epoch, Hex, Int, Iso8601, Null, Number, String, Url, Uuid};
        let same = [
            (Uuid, Uuid),
            (Bool, Bool),
            (Int, Epoch),
            (Hex(32), Hex(32)),
            (String(16), String(32)),
        ];
        let other = [
            (Uuid, Null),
            (Uuid, String(64)),
            (Hex(32), Hex(64)),
            (String(16), String(64)),
            (String(1), Empty),
            (Iso8601, Epoch),
            (Int, Number),
            (Url, String(32)),
            (ValueClass::Array(3), ValueClass::Array(3)),
        ];
        for (a, b) in same {
            assert!(same_band(a, b) && same_band(b, a), "{a} {b}");
        }
        for (a, b) in other {
            assert!(!same_band(a, b) && !same_band(b, a), "{a} {b}");
        }
    }
}
