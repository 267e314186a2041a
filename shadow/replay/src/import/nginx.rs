//! Access logs in the combined format of nginx and Apache.
//!
//! `ADDRESS - USER [10/Oct/2000:13:55:36 -0700] "GET /a HTTP/1.1" 200 2326 "REFERER" "AGENT"`, more fields may follow.
//! A log knows neither host nor credentials nor answers: it says what was asked, and with which status it was answered.
//! What must stay true: line by line, so that a log of any size is read in the memory of one line.

use crate::http1;
use crate::line::{self, Line};
use crate::{Ending, Entry, Limits, ReadError, Recorded, RecordedAnswer, Sink, Unread};
use chrono::DateTime;
use std::io::BufRead;
use std::ops::ControlFlow;

/// Reads all lines of a log.
///
/// # Errors
/// When the stream cannot be read.
pub fn read(
    input: &mut dyn BufRead,
    limits: &Limits,
    sink: &mut Sink<'_>,
) -> Result<Ending, ReadError> {
    let mut line = Vec::new();
    let mut place = 0;
    loop {
        place += 1;
        let read = match line::next(input, &mut line, limits.entry_bytes) {
            Ok(read) => read,
            Err(error) if place > 1 => {
                return Ok(Ending::warned(format!("it is cut off at line {place} ({error})")));
            }
            Err(error) => return Err(error.into()),
        };
        let entry = match read {
            Line::End => return Ok(Ending::default()),
            Line::TooLong => Entry::Skipped { place, why: Unread::TooLarge },
            Line::Whole | Line::Unfinished if line.trim_ascii().is_empty() => continue,
            Line::Whole | Line::Unfinished => match parse(&line, place) {
                Ok(recorded) => Entry::Exchange(Box::new(recorded)),
                Err(why) => Entry::Skipped { place, why },
            },
        };
        if sink(entry) == ControlFlow::Break(()) {
            return Ok(Ending::default());
        }
    }
}

/// Whether a line is one of a combined log.
pub(crate) fn is_line(line: &[u8]) -> bool {
    Fields::of(line).is_some_and(|fields| fields.status.is_some())
}

/// Reads one line.
///
/// # Errors
/// Why there is no exchange in it.
pub fn parse(line: &[u8], place: u64) -> Result<Recorded, Unread> {
    let fields = Fields::of(line).ok_or(Unread::Malformed)?;
    let status = fields.status.ok_or(Unread::Malformed)?;
    let request = unescaped(fields.request);
    let request = std::str::from_utf8(&request).map_err(|_| Unread::Malformed)?;
    let mut words = request.split(' ').filter(|word| !word.is_empty());
    let method = words.next().filter(|word| word.bytes().all(|b| b.is_ascii_uppercase()));
    let method = method.ok_or(Unread::Malformed)?;
    let target = words.next().ok_or(Unread::Malformed)?;
    let target = match http1::path_and_query(target) {
        Some(target) => target,
        None if method == "GET" || method == "HEAD" => return Err(Unread::NoPath),
        None => return Err(Unread::UnsafeMethod),
    };
    let named = [("referer", fields.referer), ("user-agent", fields.agent)];
    let headers = named.into_iter().filter_map(|(name, value)| {
        let value = unescaped(value?);
        (value != b"-" && !value.is_empty()).then(|| (name.to_owned(), value))
    });
    let who = String::from_utf8_lossy(fields.who);
    let session = match fields.user {
        b"-" => who.into_owned(),
        user => format!("{who} {}", String::from_utf8_lossy(user)),
    };
    Ok(Recorded {
        place,
        at_ms: time_ms(fields.time),
        session: Some(session),
        method: method.to_owned(),
        target,
        headers: headers.collect(),
        legacy: Some(RecordedAnswer { status, ..RecordedAnswer::default() }),
        ..Recorded::default()
    })
}

/// The fields of a line, escapes not removed.
struct Fields<'l> {
    who: &'l [u8],
    user: &'l [u8],
    time: &'l [u8],
    request: &'l [u8],
    status: Option<u16>,
    referer: Option<&'l [u8]>,
    agent: Option<&'l [u8]>,
}

impl<'l> Fields<'l> {
    fn of(line: &'l [u8]) -> Option<Self> {
        let (who, rest) = word(line)?;
        let (_, rest) = word(rest)?;
        let bracket = rest.iter().position(|byte| *byte == b'[')?;
        let (user, rest) = rest.split_at_checked(bracket)?;
        let user = user.trim_ascii();
        let rest = rest.get(1..)?;
        let end = rest.iter().position(|byte| *byte == b']')?;
        let (time, rest) = rest.split_at_checked(end)?;
        let (request, rest) = quoted(rest.get(1..)?)?;
        let (status, rest) = word(rest.trim_ascii_start())?;
        let status = std::str::from_utf8(status).ok().and_then(|text| text.parse().ok());
        let status = status.filter(|status| (100..600).contains(status));
        let rest = word(rest).map_or(&[][..], |(_, rest)| rest);
        let (referer, rest) = quoted(rest).map_or((None, rest), |(text, rest)| (Some(text), rest));
        let agent = quoted(rest).map(|(text, _)| text);
        Some(Self { who, user, time, request, status, referer, agent })
    }
}

/// The next word and what follows its space.
fn word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.trim_ascii_start();
    if text.is_empty() {
        return None;
    }
    let end = text.iter().position(|byte| *byte == b' ').unwrap_or(text.len());
    text.split_at_checked(end)
}

/// The next text in quotes; `\"` does not end it.
fn quoted(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.trim_ascii_start().strip_prefix(b"\"")?;
    let mut escaped = false;
    let end = text.iter().position(|byte| {
        let ends = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    })?;
    let (inside, rest) = text.split_at_checked(end)?;
    Some((inside, rest.get(1..)?))
}

/// Removes `\xHH`, `\"` and `\\`, which both servers write.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'\\' {
            out.push(*byte);
            continue;
        }
        match after {
            [b'x', high, low, behind @ ..] if hex(*high).is_some() && hex(*low).is_some() => {
                out.push(hex(*high).unwrap_or(0) << 4 | hex(*low).unwrap_or(0));
                rest = behind;
            }
            [plain @ (b'"' | b'\\'), behind @ ..] => {
                out.push(*plain);
                rest = behind;
            }
            _ => out.push(b'\\'),
        }
    }
    out
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

fn time_ms(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    let time = DateTime::parse_from_str(text, "%d/%b/%Y:%H:%M:%S %z").ok()?;
    u64::try_from(time.timestamp_millis()).ok()
}
