//! A declared type, taken apart: `decimal(12,4) unsigned` is a name, two numbers and the rest.
//!
//! What must stay true: what cannot be read as a number is no number, so the caller refuses the type.

/// A declared type in parts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Declared {
    /// The type's words without what stands in parentheses, in lower case.
    pub(super) name: String,
    /// The numbers in parentheses.
    pub(super) numbers: Vec<i64>,
}

impl Declared {
    /// Takes a declared type apart.
    pub(super) fn parse(text: &str) -> Self {
        let (before, rest) = text.split_once('(').unwrap_or((text, ""));
        // The words of an enum may hold parentheses themselves; they are no numbers either way.
        let (inside, after) = rest.rsplit_once(')').unwrap_or(("", rest));
        let name = format!("{} {}", before.trim(), after.trim());
        let numbers = inside.split(',').map_while(|n| n.trim().parse().ok()).collect();
        Self { name: name.trim().to_ascii_lowercase(), numbers }
    }

    /// The first word of the name.
    pub(super) fn word(&self) -> &str {
        self.name.split_whitespace().next().unwrap_or_default()
    }

    /// The number at this place; `default` if none is written, `None` if it does not fit.
    pub(super) fn number<T: TryFrom<i64>>(&self, at: usize, default: T) -> Option<T> {
        match self.numbers.get(at) {
            Some(number) => T::try_from(*number).ok(),
            None => Some(default),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declared_type_is_taken_apart() {
        for (text, name, numbers) in [
            ("decimal(12,4) unsigned", "decimal unsigned", vec![12, 4]),
            ("timestamp(3) without time zone", "timestamp without time zone", vec![3]),
            ("enum('a','b(1)')", "enum", vec![]),
            ("BIGINT", "bigint", vec![]),
            ("numeric(4,-2)", "numeric", vec![4, -2]),
        ] {
            assert_eq!(Declared::parse(text), Declared { name: name.to_owned(), numbers });
        }
        assert_eq!(Declared::parse("numeric(4,-2)").number::<u32>(1, 0), None);
    }
}
