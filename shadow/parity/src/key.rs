//! What two events of one change have in common.
//!
//! Owns the words of `parity-key` and how an event answers them. It exists because both sides name an event themselves (their
//! message ids never agree), so a pair can only be found by what the event is about. What must stay true: an event that lacks
//! a part has no key at all, it is never paired by the rest.

use crate::EventKey;

/// Parts of one key, and choices of one part.
const PARTS_MAX: usize = 8;
/// Longest value of a part; a longer one is no name of a change.
const VALUE_MAX: usize = 512;

/// What an event says about itself.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// What happened.
    pub kind: &'a str,
    /// The attribute `subject` of CloudEvents.
    pub subject: Option<&'a str>,
    /// The routing key.
    pub routing_key: &'a str,
    /// The emitter's id of it.
    pub message_id: Option<&'a str>,
    /// Text headers, names as they were sent.
    pub headers: &'a [(String, String)],
    /// The payload, if it was kept.
    pub body: Option<&'a [u8]>,
}

/// The parts of a context's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySpec {
    parts: Vec<Part>,
}

/// One part; the first choice that an event has is its value.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    word: String,
    choices: Vec<(String, Choice)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Choice {
    Type,
    Subject,
    RoutingKey,
    MessageId,
    TraceId,
    Pointer(String),
    Header(String),
}

impl Default for KeySpec {
    /// `type` and `subject`: what CloudEvents have.
    fn default() -> Self {
        let part = |word: &str, choice| Part {
            word: word.to_owned(),
            choices: vec![(word.to_owned(), choice)],
        };
        Self { parts: vec![part("type", Choice::Type), part("subject", Choice::Subject)] }
    }
}

impl KeySpec {
    /// Reads one word of `parity-key`: choices divided by `|`.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn check_word(word: &str) -> Result<(), String> {
        part(word).map(drop)
    }

    /// A key of these words.
    ///
    /// # Errors
    /// The rule that they break.
    pub fn parse<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let parts = words.into_iter().map(part).collect::<Result<Vec<_>, _>>()?;
        if parts.len() > PARTS_MAX {
            return Err(format!("must have at most {PARTS_MAX} parts, found {}", parts.len()));
        }
        if !parts.iter().any(Part::names_a_change) {
            return Err("needs a part that says which change it is: `subject`, a JSON pointer, \
                        `message-id`, `trace-id` or `header:NAME`"
                .to_owned());
        }
        Ok(Self { parts })
    }

    /// The words, as the configuration has them.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().map(|part| part.word.as_str())
    }

    /// The key of an event, or the word of the first part that it lacks.
    ///
    /// # Errors
    /// That word.
    pub fn key(&self, facts: &Facts<'_>) -> Result<EventKey, String> {
        let mut json = Parsed::Not;
        let mut key = EventKey { text: String::new(), subject: String::new(), parts: Vec::new() };
        for part in &self.parts {
            let found = part
                .choices
                .iter()
                .find_map(|(word, choice)| Some((word, choice.value(facts, &mut json)?)));
            let (word, value) = found.ok_or_else(|| part.word.clone())?;
            append(&mut key.text, &value);
            if part.is_subject() {
                append(&mut key.subject, &value);
            }
            key.parts.push((word.clone(), value));
        }
        if key.subject.is_empty() {
            key.subject.clone_from(&key.text);
        }
        Ok(key)
    }
}

impl Part {
    fn names_a_change(&self) -> bool {
        self.choices.iter().any(|(_, choice)| match choice {
            Choice::Type | Choice::RoutingKey => false,
            Choice::Subject
            | Choice::MessageId
            | Choice::TraceId
            | Choice::Pointer(_)
            | Choice::Header(_) => true,
        })
    }

    /// Whether it says what the event happened to. A request id or trace does not: it spans subjects.
    fn is_subject(&self) -> bool {
        self.choices.iter().any(|(_, choice)| match choice {
            Choice::Subject | Choice::Pointer(_) => true,
            Choice::Type
            | Choice::RoutingKey
            | Choice::MessageId
            | Choice::TraceId
            | Choice::Header(_) => false,
        })
    }
}

/// The body as JSON, parsed when the first pointer asks for it.
enum Parsed {
    Not,
    Done(Option<serde_json::Value>),
}

impl Choice {
    fn value(&self, facts: &Facts<'_>, json: &mut Parsed) -> Option<String> {
        let value = match self {
            Self::Type => facts.kind.to_owned(),
            Self::Subject => facts.subject?.to_owned(),
            Self::RoutingKey => facts.routing_key.to_owned(),
            Self::MessageId => facts.message_id?.to_owned(),
            Self::TraceId => trace_id(facts)?,
            Self::Header(name) => header(facts, name)?.to_owned(),
            Self::Pointer(pointer) => scalar(json.of(facts.body)?.pointer(pointer)?)?,
        };
        (!value.is_empty() && value.len() <= VALUE_MAX).then_some(value)
    }
}

impl Parsed {
    fn of(&mut self, body: Option<&[u8]>) -> Option<&serde_json::Value> {
        if let Self::Not = self {
            *self = Self::Done(body.and_then(|body| serde_json::from_slice(body).ok()));
        }
        match self {
            Self::Done(json) => json.as_ref(),
            Self::Not => None,
        }
    }
}

/// A number and its text are the same name: one side may have turned it into text.
fn scalar(value: &serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Number(number) => Some(number.to_string()),
        serde_json::Value::Bool(truth) => Some(truth.to_string()),
        serde_json::Value::Null | serde_json::Value::Array(_) | serde_json::Value::Object(_) => {
            None
        }
    }
}

fn header<'a>(facts: &Facts<'a>, name: &str) -> Option<&'a str> {
    let found = facts.headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.as_str())
}

/// The second part of a W3C `traceparent`; each side has spans of its own below it.
fn trace_id(facts: &Facts<'_>) -> Option<String> {
    let names =
        ["traceparent", "cloudEvents_traceparent", "cloudEvents:traceparent", "ce-traceparent"];
    let parent = names.iter().find_map(|name| header(facts, name))?;
    let id = parent.split('-').nth(1)?;
    (id.len() == 32).then(|| id.to_owned())
}

fn append(text: &mut String, value: &str) {
    text.push_str(&value.len().to_string());
    text.push(':');
    text.push_str(value);
}

fn part(word: &str) -> Result<Part, String> {
    let read = |word: &str| Ok::<_, String>((word.to_owned(), choice(word)?));
    let choices = word.split('|').map(read).collect::<Result<Vec<_>, _>>()?;
    if choices.len() > PARTS_MAX {
        return Err(format!("must have at most {PARTS_MAX} choices, found {}", choices.len()));
    }
    Ok(Part { word: word.to_owned(), choices })
}

fn choice(word: &str) -> Result<Choice, String> {
    match word {
        "type" => Ok(Choice::Type),
        "subject" => Ok(Choice::Subject),
        "routing-key" => Ok(Choice::RoutingKey),
        "message-id" => Ok(Choice::MessageId),
        "trace-id" => Ok(Choice::TraceId),
        pointer if pointer.starts_with('/') => Ok(Choice::Pointer(pointer.to_owned())),
        other => match other.strip_prefix("header:") {
            Some(name) if !name.is_empty() => Ok(Choice::Header(name.to_owned())),
            Some(_) | None => Err(format!(
                "must be `type`, `subject`, `routing-key`, `message-id`, `trace-id`, a JSON pointer such as \
                 `/data/id` or `header:NAME`, found `{other}`"
            )),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts<'a>(body: &'a [u8], headers: &'a [(String, String)]) -> Facts<'a> {
        Facts {
            kind: "message.sent",
            subject: None,
            routing_key: "message.sent.eu",
            message_id: Some("m-1"),
            headers,
            body: Some(body),
        }
    }

    fn key(words: &[&str], facts: &Facts<'_>) -> Result<String, String> {
        KeySpec::parse(words.iter().copied()).unwrap().key(facts).map(|key| key.text)
    }

    #[test]
    fn a_key_is_made_of_what_the_event_says_and_never_of_a_part_of_it() {
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let headers = [("ce-traceparent".to_owned(), trace.to_owned())];
        let facts = facts(br#"{"subject":{"id":91},"text":""}"#, &headers);
        assert_eq!(key(&["type", "/subject/id"], &facts).unwrap(), "12:message.sent2:91");
        assert_eq!(key(&["subject|/subject/id"], &facts).unwrap(), "2:91");
        assert_eq!(key(&["trace-id"], &facts).unwrap(), "32:0af7651916cd43dd8448eb211c80319c");
        assert_eq!(key(&["type", "subject"], &facts), Err("subject".to_owned()));
        assert_eq!(
            key(&["/text"], &facts),
            Err("/text".to_owned()),
            "an empty value names nothing"
        );
        assert_eq!(key(&["/subject"], &facts), Err("/subject".to_owned()));
        assert_eq!(KeySpec::default().key(&facts), Err("subject".to_owned()));
    }

    #[test]
    fn the_subject_is_what_the_event_happened_to() {
        let facts = facts(br#"{"id":7}"#, &[]);
        let of = |words: &[&str]| {
            KeySpec::parse(words.iter().copied()).unwrap().key(&facts).unwrap().subject
        };
        assert_eq!(of(&["type", "/id", "message-id"]), "1:7");
        assert_eq!(of(&["type", "message-id"]), "12:message.sent3:m-1", "then the whole key");
    }

    #[test]
    fn a_key_that_names_no_change_and_a_word_of_no_meaning_are_refused() {
        assert!(KeySpec::parse(["type", "routing-key"]).unwrap_err().contains("which change"));
        assert!(KeySpec::parse([]).is_err());
        assert!(KeySpec::parse(["typ"]).unwrap_err().contains("found `typ`"));
        assert!(KeySpec::parse(["header:"]).is_err());
        assert!(KeySpec::parse(["/a"; 9]).unwrap_err().contains("at most 8"));
        assert!(KeySpec::check_word("subject|/data/id").is_ok());
    }
}
