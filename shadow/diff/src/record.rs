//! Bodies that are a sequence of documents: newline-delimited JSON and server-sent events.
//!
//! Owns the way from such a body to one JSON array, so that the sequence is aligned like any list and rules reach into
//! it as `$[*].name`. Must stay true: a line that is no complete JSON text makes the body a text, never another sequence
//! than the one it is.

use crate::json::check_json;

/// Media types of newline-delimited JSON.
const NDJSON: [&str; 6] = [
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonl",
    "application/jsonlines",
    "application/x-jsonlines",
    "application/stream+json",
];

pub(crate) fn is_ndjson(media: &str) -> bool {
    NDJSON.contains(&media)
}

/// One JSON array of all lines that are not blank; `None` when a line is not one JSON text by itself. The caller parses
/// the result, which proves the rest.
pub(crate) fn ndjson(body: &[u8]) -> Option<Vec<u8>> {
    let mut array = Vec::with_capacity(body.len() + 2);
    array.push(b'[');
    let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    for line in lines.filter(|line| !line.is_empty()) {
        if !is_closed(line) {
            return None;
        }
        if array.len() > 1 {
            array.push(b',');
        }
        array.extend_from_slice(line);
    }
    array.push(b']');
    Some(array)
}

/// Whether brackets and quotes close on this line, with nothing but one value on the outside.
fn is_closed(line: &[u8]) -> bool {
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    for byte in line {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' => match depth.checked_sub(1) {
                Some(outer) => depth = outer,
                None => return false,
            },
            b',' if depth == 0 => return false,
            _ => {}
        }
    }
    depth == 0 && !quoted
}

/// One field of an event that is being read.
#[derive(Debug, Default)]
struct Event {
    name: Option<Vec<u8>>,
    id: Option<Vec<u8>>,
    retry: Option<Vec<u8>>,
    data: Option<Vec<u8>>,
}

/// One JSON array of the events in an event stream; `None` when it is not UTF-8. `data` that is a JSON object or array
/// is compared as such. Comments (`: keep-alive`) carry no meaning.
pub(crate) fn events(body: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body)).ok()?;
    let mut array = vec![b'['];
    let mut event = Event::default();
    for line in lines(text.as_bytes()) {
        if line.is_empty() {
            std::mem::take(&mut event).write(&mut array);
        } else {
            event.field(line);
        }
    }
    // A stream that was cut inside an event still shows what it began to say.
    event.write(&mut array);
    array.push(b']');
    Some(array)
}

/// Lines that end with CR LF, LF or CR.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let from = rest?;
        let Some(at) = from.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
            rest = None;
            return (!from.is_empty()).then_some(from);
        };
        let (line, end) = from.split_at(at);
        rest = end.strip_prefix(b"\r\n").or_else(|| end.get(1..));
        Some(line)
    })
}

impl Event {
    fn field(&mut self, line: &[u8]) {
        let (name, value) = match line.iter().position(|byte| *byte == b':') {
            Some(at) => (line.get(..at).unwrap_or_default(), line.get(at + 1..)),
            None => (line, None),
        };
        let value = value.unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"event" => self.name = Some(value.to_vec()),
            b"id" if !value.contains(&0) => self.id = Some(value.to_vec()),
            b"retry" if value.iter().all(u8::is_ascii_digit) => self.retry = Some(value.to_vec()),
            b"data" => match &mut self.data {
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                None => self.data = Some(value.to_vec()),
            },
            _ => {}
        }
    }

    fn write(self, array: &mut Vec<u8>) {
        let fields = [("event", self.name), ("id", self.id), ("retry", self.retry)];
        let mut written = 0;
        let mut name = |array: &mut Vec<u8>, name: &str| {
            let open = if written > 0 {
                ","
            } else if array.len() > 1 {
                ",{"
            } else {
                "{"
            };
            written += 1;
            array.extend_from_slice(open.as_bytes());
            push_text(array, name.as_bytes());
            array.push(b':');
        };
        for (field, value) in fields {
            if let Some(value) = value {
                name(array, field);
                push_text(array, &value);
            }
        }
        if let Some(data) = self.data {
            name(array, "data");
            let nested = matches!(data.first(), Some(b'{' | b'['));
            if nested && check_json(&data).is_ok() {
                array.extend_from_slice(&data);
            } else {
                push_text(array, &data);
            }
        }
        if written > 0 {
            array.push(b'}');
        }
    }
}

/// Writes bytes as a JSON string. Bytes that are not UTF-8 become lone surrogates, which no UTF-8 text can contain, so
/// different bytes stay different.
pub(crate) fn push_text(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                c if c < ' ' => push_escape(out, u32::from(c)),
                c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        for byte in chunk.invalid() {
            push_escape(out, 0xDC00 + u32::from(*byte));
        }
    }
    out.push(b'"');
}

fn push_escape(out: &mut Vec<u8>, code: u32) {
    out.extend_from_slice(format!("\\u{code:04x}").as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(array: Option<Vec<u8>>) -> Option<String> {
        array.map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn lines_become_elements_and_only_whole_lines_do() {
        assert_eq!(
            shown(ndjson(b"{\"a\":1}\r\n\n [2] \n\"x,]\"")).unwrap(),
            r#"[{"a":1},[2],"x,]"]"#
        );
        assert_eq!(shown(ndjson(b"\n")).unwrap(), "[]");
        for body in ["1,2\n3", "[1\n2]", "1,2\n[3\n4]", "]\n[", "\"a", "{\"a\":\n1}"] {
            assert_eq!(ndjson(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn events_follow_the_standard() {
        let stream = ": hi\nevent: message\nid: 7\ndata: {\"a\":1}\n\ndata:one\r\ndata: two\r\rretry:10\nretry: x\n\n\ndata";
        assert_eq!(
            shown(events(stream.as_bytes())).unwrap(),
            r#"[{"event":"message","id":"7","data":{"a":1}},{"data":"one\u000atwo"},{"retry":"10"},{"data":""}]"#
        );
        assert_eq!(shown(events(b": ping\n\n")).unwrap(), "[]");
        assert_eq!(shown(events(b"data: {oops\n\n")).unwrap(), r#"[{"data":"{oops"}]"#);
        assert_eq!(events(b"data: \xff\n\n"), None);
    }

    proptest! {
        #[test]
        fn written_texts_are_json_and_keep_bytes_apart(
            a in prop::collection::vec(any::<u8>(), 0..12),
            b in prop::collection::vec(any::<u8>(), 0..12),
        ) {
            let text = |bytes: &[u8]| {
                let mut out = Vec::new();
                push_text(&mut out, bytes);
                out
            };
            prop_assert_eq!(check_json(&text(&a)), Ok(()));
            prop_assert_eq!(text(&a) == text(&b), a == b);
        }

        #[test]
        fn any_stream_becomes_json(stream in "(event|data|id|retry|:)?:? ?[a{\"\\\\\n\r]{0,4}(\n|\r\n|\r){0,2}") {
            prop_assert_eq!(check_json(&events(stream.as_bytes()).unwrap()), Ok(()));
        }
    }
}
