//! HTTP Archive 1.2, as browsers and proxies save it.
//!
//! Read as a stream: `log.entries` is walked one entry at a time, whatever the size of the file. Many programs write HAR
//! loosely: every field but the URL may be missing. What must stay true: an entry of a wrong form is skipped, the rest is
//! read; only broken JSON ends the reading, with a warning.

use crate::http1;
use crate::{
    Ending, Entry, Headers, Limits, ReadError, Recorded, RecordedAnswer, RecordedBody, Sink, Unread,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use chrono::DateTime;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::Value;
use std::cell::Cell;
use std::fmt;
use std::io::{self, BufRead, Read};
use std::ops::ControlFlow;
use std::rc::Rc;

/// Reads all entries of an archive.
///
/// # Errors
/// When the stream cannot be read, or is no archive.
pub fn read(
    input: &mut dyn BufRead,
    limits: &Limits,
    sink: &mut Sink<'_>,
) -> Result<Ending, ReadError> {
    let left = Rc::new(Cell::new(limits.entry_bytes));
    if input.fill_buf()?.starts_with(b"\xEF\xBB\xBF") {
        input.consume(3);
    }
    let metered = Metered { inner: input, left: left.clone() };
    let mut walk = Walk { sink, place: 0, stopped: false, left, limit: limits.entry_bytes };
    let mut json = serde_json::Deserializer::from_reader(metered);
    let walked = Level { walk: &mut walk, key: "log" }.deserialize(&mut json);
    match walked {
        Ok(true) => Ok(Ending::default()),
        _ if walk.stopped => Ok(Ending::default()),
        Ok(false) => Err(not_har("it has no `log.entries`".to_owned())),
        Err(error) if walk.place > 0 => Ok(Ending::warned(format!(
            "it cannot be read behind entry {} ({error}); all before was read",
            walk.place
        ))),
        Err(error) => Err(not_har(error.to_string())),
    }
}

fn not_har(why: String) -> ReadError {
    ReadError::NotThat { format: "HAR", why }
}

/// The state of a walk through an archive.
struct Walk<'w, 's> {
    sink: &'w mut Sink<'s>,
    place: u64,
    stopped: bool,
    left: Rc<Cell<usize>>,
    limit: usize,
}

/// An object in which one key is walked into: `log`, then `entries`.
struct Level<'l, 'w, 's> {
    walk: &'l mut Walk<'w, 's>,
    key: &'static str,
}

/// The list of entries.
struct Entries<'l, 'w, 's>(&'l mut Walk<'w, 's>);

impl<'de> DeserializeSeed<'de> for Level<'_, '_, '_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<bool, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Level<'_, '_, '_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with `{}`", self.key)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let mut found = false;
        while let Some(key) = map.next_key::<String>()? {
            if key != self.key {
                map.next_value::<IgnoredAny>()?;
            } else if self.key == "log" {
                found |= map.next_value_seed(Level { walk: self.walk, key: "entries" })?;
            } else {
                map.next_value_seed(Entries(self.walk))?;
                found = true;
            }
            self.walk.left.set(self.walk.limit);
        }
        Ok(found)
    }
}

impl<'de> DeserializeSeed<'de> for Entries<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Entries<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of entries")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(value) = list.next_element::<Value>()? {
            self.0.place += 1;
            self.0.left.set(self.0.limit);
            let place = self.0.place;
            let entry = match exchange(&value, place) {
                Ok(recorded) => Entry::Exchange(Box::new(recorded)),
                Err(why) => Entry::Skipped { place, why },
            };
            if (self.0.sink)(entry) == ControlFlow::Break(()) {
                self.0.stopped = true;
                return Err(A::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}

/// Fails when one entry takes more than its share of bytes.
struct Metered<'i> {
    inner: &'i mut dyn BufRead,
    left: Rc<Cell<usize>>,
}

impl Read for Metered<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(to)?;
        let Some(left) = self.left.get().checked_sub(count) else {
            return Err(io::Error::other("an entry is larger than is kept"));
        };
        self.left.set(left);
        Ok(count)
    }
}

fn exchange(entry: &Value, place: u64) -> Result<Recorded, Unread> {
    let request = entry.get("request").ok_or(Unread::Malformed)?;
    let url = text(request, "url").ok_or(Unread::Malformed)?;
    let status = entry.pointer("/response/status").and_then(Value::as_u64).unwrap_or(0);
    let socket = text(entry, "_resourceType") == Some("websocket")
        || url.starts_with("ws:")
        || url.starts_with("wss:")
        || status == 101;
    if socket {
        return Err(Unread::Upgraded);
    }
    let headers = headers(request);
    let began_ms = text(entry, "startedDateTime").and_then(time_ms);
    let elapsed_ms = entry.get("time").and_then(Value::as_f64).and_then(whole_ms);
    Ok(Recorded {
        place,
        at_ms: began_ms.map(|at| at.saturating_add(elapsed_ms.unwrap_or(0))),
        method: text(request, "method").unwrap_or("GET").to_ascii_uppercase(),
        target: http1::path_and_query(url).ok_or(Unread::NoPath)?,
        headers,
        legacy: entry.get("response").and_then(|response| answer(response, elapsed_ms)),
        ..Recorded::default()
    })
}

/// The answer; nothing when the browser got none (status 0).
fn answer(response: &Value, elapsed_ms: Option<u64>) -> Option<RecordedAnswer> {
    let status = response.get("status")?.as_u64().and_then(|status| u16::try_from(status).ok())?;
    if !(100..600).contains(&status) {
        return None;
    }
    let content = response.get("content");
    let mut headers = headers(response);
    // The archive holds bodies decoded.
    let undone = ["content-encoding", "transfer-encoding", "content-length"];
    headers.retain(|(name, _)| !undone.contains(&name.as_str()));
    if !headers.iter().any(|(name, _)| name == "content-type")
        && let Some(mime) = content.and_then(|content| text(content, "mimeType"))
        && !mime.is_empty()
    {
        headers.push(("content-type".to_owned(), mime.as_bytes().to_vec()));
    }
    Some(RecordedAnswer { status, headers, body: body(content), elapsed_ms })
}

/// The body; missing when the size says that there was one but its text was not saved.
fn body(content: Option<&Value>) -> RecordedBody {
    let Some(content) = content else { return RecordedBody::Missing };
    let Some(body) = text(content, "text") else {
        let empty = content.get("size").and_then(Value::as_i64) == Some(0);
        return if empty { RecordedBody::Whole(Bytes::new()) } else { RecordedBody::Missing };
    };
    if text(content, "encoding") == Some("base64") {
        let packed: Vec<u8> = body.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        return STANDARD
            .decode(packed)
            .map_or(RecordedBody::Missing, |b| RecordedBody::Whole(b.into()));
    }
    RecordedBody::Whole(Bytes::copy_from_slice(body.as_bytes()))
}

/// The headers; HTTP/2's pseudo headers are left out, but the authority is the host.
fn headers(of: &Value) -> Headers {
    let list = of.get("headers").and_then(Value::as_array);
    let pairs = list.into_iter().flatten().filter_map(|pair| {
        let name = text(pair, "name")?.to_ascii_lowercase();
        Some((name, text(pair, "value").unwrap_or_default().as_bytes().to_vec()))
    });
    let renamed = pairs
        .map(|(name, value)| (if name == ":authority" { "host".to_owned() } else { name }, value));
    renamed.filter(|(name, _)| !name.starts_with(':') && !name.is_empty()).collect()
}

fn text<'v>(value: &'v Value, key: &str) -> Option<&'v str> {
    value.get(key)?.as_str()
}

fn time_ms(text: &str) -> Option<u64> {
    let time = DateTime::parse_from_rfc3339(text).ok()?;
    u64::try_from(time.timestamp_millis()).ok()
}

fn whole_ms(ms: f64) -> Option<u64> {
    let rounded = std::time::Duration::try_from_secs_f64(ms / 1_000.0).ok()?;
    u64::try_from(rounded.as_millis()).ok()
}
