//! What a caller wants to write, and the rules for it.
//!
//! Pure: it reads the parameters and judges texts; what needs rows (people, the parent) is judged in `src/write.rs`.
//!
//! What must stay true: rules, texts and their order are the monolith's, because callers see them in a 422; only a text
//! with a NUL character, which Postgres cannot store, is refused here alone.

use crate::params::Params;
use serde::Serialize;
use serde_json::{Map, Value, json};

const SUBJECT_CHARS_MAX: usize = 255;
const BODY_CHARS_MAX: usize = 10_000;

/// A message as its writer gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Letter {
    /// 0, which nobody has, when it is missing or no number.
    pub(crate) recipient_id: i64,
    pub(crate) subject: String,
    pub(crate) body: String,
    pub(crate) parent: Parent,
}

/// The message that is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parent {
    /// It answers none.
    Absent,
    Id(i64),
    /// No number.
    Unreadable,
}

/// Validation messages by attribute, in the order in which they were added.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct Errors(Map<String, Value>);

impl Letter {
    /// The parameters of `message`; `None` without such an object, or when a text of it cannot be stored.
    pub(crate) fn read(params: &Params) -> Option<Self> {
        let message = params.object("message")?;
        let given = message.get("parent_id");
        let is_absent = given.is_none_or(|id| id.is_null() || id.as_str() == Some(""));
        let parent = if is_absent {
            Parent::Absent
        } else {
            integer(given).map_or(Parent::Unreadable, Parent::Id)
        };
        let letter = Self {
            recipient_id: integer(message.get("recipient_id")).unwrap_or_default(),
            subject: text(message, "subject"),
            body: text(message, "body"),
            parent,
        };
        (is_storable(&letter.subject) && is_storable(&letter.body)).then_some(letter)
    }
}

/// The new body for a message; `None` without an object `message`, or when it cannot be stored.
pub(crate) fn new_body(params: &Params) -> Option<String> {
    let body = params.object("message").map(|message| text(message, "body"));
    body.filter(|body| is_storable(body))
}

/// Postgres has no NUL character in texts; on SQLite the answer is the same.
fn is_storable(text: &str) -> bool {
    !text.contains('\0')
}

/// Judges a subject.
pub(crate) fn check_subject(subject: &str, errors: &mut Errors) {
    if subject.chars().count() > SUBJECT_CHARS_MAX {
        errors.add("subject", &format!("is too long (maximum is {SUBJECT_CHARS_MAX} characters)"));
    }
}

/// Judges a body.
pub(crate) fn check_body(body: &str, errors: &mut Errors) {
    if body.trim().is_empty() {
        errors.add("body", "can't be blank");
    } else if body.chars().count() > BODY_CHARS_MAX {
        errors.add("body", &format!("is too long (maximum is {BODY_CHARS_MAX} characters)"));
    }
}

impl Errors {
    /// Adds `message` to `attribute`.
    pub(crate) fn add(&mut self, attribute: &str, message: &str) {
        let slot = self.0.entry(attribute.to_owned()).or_insert_with(|| json!([]));
        if let Some(messages) = slot.as_array_mut() {
            messages.push(json!(message));
        }
    }

    /// `Ok` when nothing was added.
    pub(crate) fn into_result(self) -> Result<(), Self> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }
}

/// A text parameter; absent, null and non-text count as empty.
fn text(of: &Map<String, Value>, name: &str) -> String {
    of.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// A whole number, given as a number or (by forms) as text.
fn integer(value: Option<&Value>) -> Option<i64> {
    let value = value?;
    value.as_i64().or_else(|| value.as_str()?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(message: &Value) -> Option<Letter> {
        Letter::read(&Params::from(json!({ "message": message })))
    }

    #[test]
    fn numbers_may_be_text_and_parents_may_be_missing() {
        let parent = |value: Value| letter(&json!({ "parent_id": value })).unwrap().parent;
        assert_eq!(parent(json!(5)), Parent::Id(5));
        assert_eq!(parent(json!(" 5 ")), Parent::Id(5));
        assert_eq!((parent(json!(null)), parent(json!(""))), (Parent::Absent, Parent::Absent));
        assert_eq!(
            (parent(json!("x")), parent(json!([]))),
            (Parent::Unreadable, Parent::Unreadable)
        );
        let sparse = letter(&json!({ "recipient_id": "17", "body": 5 })).unwrap();
        assert_eq!((sparse.recipient_id, sparse.body.as_str()), (17, ""));
        assert_eq!(letter(&json!("no object")), None);
    }

    #[test]
    fn a_text_with_a_nul_character_cannot_be_read() {
        assert_eq!(letter(&json!({ "body": "a\0b" })), None);
        assert_eq!(letter(&json!({ "subject": "\0", "body": "a" })), None);
        let edit = |body: &str| new_body(&Params::from(json!({ "message": { "body": body } })));
        assert_eq!((edit("\0"), edit("a").as_deref()), (None, Some("a")));
    }

    #[test]
    fn errors_keep_the_order_in_which_they_were_found() {
        let mut errors = Errors::default();
        check_subject(&"s".repeat(256), &mut errors);
        check_body(" \u{a0}\n", &mut errors);
        let refused = errors.into_result().unwrap_err();
        assert_eq!(
            serde_json::to_string(&refused).unwrap(),
            r#"{"subject":["is too long (maximum is 255 characters)"],"body":["can't be blank"]}"#
        );
        let mut errors = Errors::default();
        check_subject(&"é".repeat(255), &mut errors);
        check_body(&"é".repeat(10_000), &mut errors);
        assert_eq!(errors.into_result(), Ok(()));
    }
}
