//! Which events belong to a context: by routing key, type, header or a member of a JSON body.
//!
//! What must stay true: of one kind of condition any may hold, of the kinds given all must hold; a matcher without
//! conditions matches nothing, so that a forgotten line never sweeps up another context's events. A body is parsed
//! only when everything cheaper holds.

use banyan_domain::ContextName;

use crate::broker::{HeaderValue, Message, topic_matches};

/// Which events belong to a context.
#[derive(Debug, Clone)]
pub struct ContextMatcher {
    /// The context.
    pub context: ContextName,
    /// Topic patterns on the routing key, such as `message.*`.
    pub routing_keys: Vec<String>,
    /// Topic patterns on the AMQP `type` (or a CloudEvents type header), such as `message.*`.
    pub kinds: Vec<String>,
    /// Headers that must have exactly this text.
    pub headers: Vec<Expected>,
    /// JSON pointers (RFC 6901) into the body whose value must be this text, number or flag.
    pub pointers: Vec<Expected>,
}

/// A named place and the value that is expected there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Header name or JSON pointer.
    pub place: String,
    /// Its value as text.
    pub value: String,
}

impl Expected {
    /// Reads `place=value`.
    ///
    /// # Errors
    /// A fragment that says the rule.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((place, value)) if !place.is_empty() => {
                Ok(Self { place: place.to_owned(), value: value.to_owned() })
            }
            Some(_) | None => Err(format!("must be PLACE=VALUE, found `{text}`")),
        }
    }
}

impl ContextMatcher {
    /// Without conditions: matches nothing until some are added.
    pub fn new(context: ContextName) -> Self {
        Self {
            context,
            routing_keys: Vec::new(),
            kinds: Vec::new(),
            headers: Vec::new(),
            pointers: Vec::new(),
        }
    }

    /// Adds patterns on the routing key.
    #[must_use]
    pub fn routing_keys(mut self, patterns: &[&str]) -> Self {
        self.routing_keys.extend(patterns.iter().map(|pattern| (*pattern).to_owned()));
        self
    }

    /// Whether the event belongs to the context.
    pub(super) fn matches(&self, message: &Message) -> bool {
        let some_condition = !(self.routing_keys.is_empty()
            && self.kinds.is_empty()
            && self.headers.is_empty()
            && self.pointers.is_empty());
        some_condition
            && any_or_none(&self.routing_keys, |key| topic_matches(key, &message.routing_key))
            && any_or_none(&self.kinds, |kind| has_kind(message, kind))
            && any_or_none(&self.headers, |expected| has_header(message, expected))
            && self.has_pointer(message)
    }

    fn has_pointer(&self, message: &Message) -> bool {
        if self.pointers.is_empty() {
            return true;
        }
        let Ok(body) = serde_json::from_slice::<serde_json::Value>(&message.body) else {
            return false;
        };
        self.pointers.iter().any(|expected| match body.pointer(&expected.place) {
            Some(serde_json::Value::String(text)) => *text == expected.value,
            Some(serde_json::Value::Bool(flag)) => flag.to_string() == expected.value,
            Some(serde_json::Value::Number(number)) => number.to_string() == expected.value,
            Some(
                serde_json::Value::Null
                | serde_json::Value::Array(_)
                | serde_json::Value::Object(_),
            )
            | None => false,
        })
    }
}

fn any_or_none<T>(conditions: &[T], holds: impl Fn(&T) -> bool) -> bool {
    conditions.is_empty() || conditions.iter().any(holds)
}

fn has_kind(message: &Message, pattern: &str) -> bool {
    let of_envelope =
        ["cloudEvents_type", "cloudEvents:type", "ce-type"].map(|name| message.text_header(name));
    let kinds = [message.properties.kind.as_deref()].into_iter().chain(of_envelope).flatten();
    kinds.into_iter().any(|kind| topic_matches(pattern, kind))
}

#[expect(clippy::wildcard_enum_match_arm, reason = "other header kinds have no text form")]
fn has_header(message: &Message, expected: &Expected) -> bool {
    let Some(value) = message.properties.headers.as_ref().and_then(|all| all.get(&expected.place))
    else {
        return false;
    };
    match value {
        HeaderValue::Text(bytes) => bytes == expected.value.as_bytes(),
        HeaderValue::Bool(flag) => flag.to_string() == expected.value,
        HeaderValue::I32(number) => number.to_string() == expected.value,
        HeaderValue::I64(number) => number.to_string() == expected.value,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matcher() -> ContextMatcher {
        ContextMatcher::new(ContextName::new("messages").unwrap())
    }

    fn event() -> Message {
        Message::new("x", "app.events", br#"{"a":{"kind":"message"},"n":7,"on":true}"#.to_vec())
            .kind("message.sent")
            .header("domain", "messages")
            .header("shard", 3_i64)
    }

    fn with(conditions: impl Fn(&mut ContextMatcher)) -> bool {
        let mut matcher = matcher();
        conditions(&mut matcher);
        matcher.matches(&event())
    }

    fn expected(text: &str) -> Vec<Expected> {
        vec![Expected::parse(text).unwrap()]
    }

    #[test]
    fn each_kind_of_condition_matches_and_refuses() {
        assert!(with(|m| m.routing_keys = vec!["other".into(), "app.*".into()]));
        assert!(!with(|m| m.routing_keys = vec!["app".into()]));
        assert!(with(|m| m.kinds = vec!["message.*".into()]));
        assert!(!with(|m| m.kinds = vec!["track.*".into()]));
        for (text, holds) in [("domain=messages", true), ("domain=m", false), ("shard=3", true)] {
            assert_eq!(with(|m| m.headers = expected(text)), holds, "{text}");
        }
        for (text, holds) in
            [("/a/kind=message", true), ("/n=7", true), ("/on=true", true), ("/a=message", false)]
        {
            assert_eq!(with(|m| m.pointers = expected(text)), holds, "{text}");
        }
    }

    #[test]
    fn all_kinds_given_must_hold_and_none_given_matches_nothing() {
        assert!(!with(|_| {}));
        let both = |kind: &str| {
            with(|m| {
                m.routing_keys = vec!["app.*".into()];
                m.kinds = vec![kind.into()];
            })
        };
        assert!(both("message.*") && !both("track.*"));
        let mut pointer = matcher();
        pointer.pointers = expected("/a=1");
        assert!(!pointer.matches(&Message::new("x", "k", b"no json".to_vec())));
    }

    #[test]
    fn a_cloud_event_type_counts_as_a_type() {
        let mut kinds = matcher();
        kinds.kinds = vec!["message.sent".into()];
        for header in ["cloudEvents_type", "cloudEvents:type", "ce-type"] {
            let event = Message::new("x", "k", Vec::new()).header(header, "message.sent");
            assert!(kinds.matches(&event), "{header}");
        }
    }
}
