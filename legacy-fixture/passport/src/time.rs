//! Times as the public answers show them.
//!
//! Databases hold UTC text without a zone; Rails shows `2014/06/12 10:00:00 +0000`. Only text is touched, so that
//! both sides agree to the byte.
//!
//! What must stay true: whole seconds, UTC, and no panic on odd input (it is shown as it is, with the zone).

/// `2014/06/12 10:00:00 +0000` from the database's `2014-06-12 10:00:00` (a `T` and fractions are accepted).
pub fn rails(database_text: &str) -> String {
    let second: String = database_text
        .chars()
        .take("2014-06-12 10:00:00".len())
        .map(|character| match character {
            '-' => '/',
            'T' => ' ',
            other => other,
        })
        .collect();
    second + " +0000"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn database_text_becomes_rails_text() {
        assert_eq!(rails("2014-06-12 10:00:00"), "2014/06/12 10:00:00 +0000");
        assert_eq!(rails("2014-06-12T10:00:00.123456"), "2014/06/12 10:00:00 +0000");
    }
}
