//! GoReplay's file output: `.gor`, also inside gzip.
//!
//! A message is a head line `TYPE ID TIMESTAMP_NS [LATENCY_NS]`, the raw HTTP message, and a line of three monkeys. Type 1
//! is a request, 2 the original's answer, 3 the answer to a replay (taken as new's). Answers follow their request after
//! any number of others. What must stay true: exchanges come in the order of their requests; requests that wait for an
//! answer are bounded by number and by bytes, the oldest then goes without one.

use crate::http1;
use crate::line::{self, Line};
use crate::{
    Ending, Entry, Limits, ReadError, Recorded, RecordedAnswer, RecordedBody, Sink, Unread,
};
use std::collections::{HashMap, VecDeque};
use std::io::BufRead;
use std::ops::ControlFlow;

/// The line between two messages.
const SEPARATOR: &[u8] = "🐵🙈🙉".as_bytes();

/// The head of a message.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    kind: u8,
    id: String,
    at_ms: u64,
    latency_ms: Option<u64>,
}

/// Requests in order, some with their answers.
struct Open {
    first: u64,
    waiting: VecDeque<Waiting>,
    by_id: HashMap<String, u64>,
    bytes: usize,
}

struct Waiting {
    entry: Entry,
    answered: bool,
    bytes: usize,
    id: String,
}

/// Reads all messages of a stream.
///
/// # Errors
/// When the stream cannot be read.
pub fn read(
    input: &mut dyn BufRead,
    limits: &Limits,
    sink: &mut Sink<'_>,
) -> Result<Ending, ReadError> {
    let mut open = Open { first: 0, waiting: VecDeque::new(), by_id: HashMap::new(), bytes: 0 };
    let (mut message, mut line) = (Vec::new(), Vec::new());
    let (mut place, mut too_large) = (1, false);
    let mut warning = None;
    loop {
        let read = match raw_line(input, &mut line, limits.entry_bytes) {
            Ok(read) => read,
            Err(error) if place > 1 => {
                warning = Some(format!("it is cut off or damaged in message {place} ({error})"));
                Line::End
            }
            Err(error) => return Err(error.into()),
        };
        let separated = matches!(read, Line::Whole | Line::Unfinished) && line == SEPARATOR;
        if separated || read == Line::End {
            if !message.trim_ascii().is_empty() || too_large {
                let why = too_large.then_some(Unread::TooLarge);
                if open.take(&message, place, why, sink) == ControlFlow::Break(()) {
                    return Ok(Ending::default());
                }
                place += 1;
            }
            message.clear();
            too_large = false;
        } else {
            too_large |= read == Line::TooLong || message.len() + line.len() > limits.entry_bytes;
            if too_large {
                message.clear();
            } else {
                message.extend_from_slice(&line);
                message.push(b'\n');
            }
        }
        if open.shed(limits, sink) == ControlFlow::Break(()) {
            return Ok(Ending::default());
        }
        if read == Line::End {
            // The sink may break here too; there is nothing left to stop.
            let _ended = open.rest(sink).is_break();
            return Ok(Ending { warning });
        }
    }
}

/// A line with its carriage return, which belongs to the HTTP message.
fn raw_line(input: &mut dyn BufRead, line: &mut Vec<u8>, max: usize) -> std::io::Result<Line> {
    let read = line::next_raw(input, line, max)?;
    if line.strip_suffix(b"\r") == Some(SEPARATOR) {
        line.pop();
    }
    Ok(read)
}

/// Whether a line looks like the head of a message.
pub(crate) fn is_payload_head(line: &[u8]) -> bool {
    Head::parse(line).is_some()
}

impl Head {
    fn parse(line: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(line).ok()?;
        let mut words = text.trim().split(' ');
        let kind = match words.next()? {
            "1" => 1,
            "2" => 2,
            "3" => 3,
            _ => return None,
        };
        let id =
            words.next().filter(|id| id.len() >= 8 && id.bytes().all(|b| b.is_ascii_hexdigit()))?;
        let at_ns: u64 = words.next()?.parse().ok()?;
        let latency_ns: Option<u64> = words.next().and_then(|word| word.parse().ok());
        Some(Self {
            kind,
            id: id.to_owned(),
            at_ms: at_ns / 1_000_000,
            latency_ms: latency_ns.map(|ns| ns / 1_000_000),
        })
    }
}

impl Open {
    /// Takes a message: a request waits, an answer goes to its request.
    fn take(
        &mut self,
        message: &[u8],
        place: u64,
        why: Option<Unread>,
        sink: &mut Sink<'_>,
    ) -> ControlFlow<()> {
        if let Some(why) = why {
            self.push(Entry::Skipped { place, why }, String::new(), 0);
            return ControlFlow::Continue(());
        }
        let message = message.strip_suffix(b"\n").unwrap_or(message);
        let start = message.iter().position(|byte| *byte == b'\n').unwrap_or(message.len());
        let (head, rest) = message.split_at(start);
        let rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        let Some(head) = Head::parse(head) else {
            self.push(Entry::Skipped { place, why: Unread::Malformed }, String::new(), 0);
            return ControlFlow::Continue(());
        };
        if head.kind != 1 {
            return match self.answer(&head, rest) {
                Ok(()) => ControlFlow::Continue(()),
                Err(why) => sink(Entry::Skipped { place, why }),
            };
        }
        match request(&head, rest) {
            Ok(recorded) => {
                let recorded = Recorded { place, ..recorded };
                let bytes = recorded.bytes();
                self.push(Entry::Exchange(Box::new(recorded)), head.id, bytes);
            }
            Err(why) => self.push(Entry::Skipped { place, why }, head.id, 0),
        }
        ControlFlow::Continue(())
    }

    fn push(&mut self, entry: Entry, id: String, bytes: usize) {
        let at = self.first + self.waiting.len() as u64;
        // An entry without an exchange waits for nothing.
        let answered = matches!(entry, Entry::Skipped { .. }) && id.is_empty();
        if !id.is_empty() {
            self.by_id.insert(id.clone(), at);
        }
        self.bytes += bytes;
        self.waiting.push_back(Waiting { entry, answered, bytes, id });
    }

    fn answer(&mut self, head: &Head, message: &[u8]) -> Result<(), Unread> {
        let at = *self.by_id.get(&head.id).ok_or(Unread::NoRequest)?;
        let index = usize::try_from(at - self.first).map_err(|_| Unread::NoRequest)?;
        let waiting = self.waiting.get_mut(index).ok_or(Unread::NoRequest)?;
        waiting.answered = true;
        let Entry::Exchange(recorded) = &mut waiting.entry else { return Ok(()) };
        let response = http1::response(message).ok_or(Unread::Malformed)?;
        let answer = RecordedAnswer {
            status: response.status,
            headers: response.headers,
            body: RecordedBody::Whole(response.body),
            elapsed_ms: head.latency_ms,
        };
        if head.kind == 2 {
            recorded.legacy = Some(answer);
        } else {
            recorded.new = Some(answer);
        }
        let bytes = recorded.bytes();
        self.bytes += bytes.saturating_sub(waiting.bytes);
        waiting.bytes = bytes;
        Ok(())
    }

    /// Gives on what needs not wait any longer. An answered request stays for a moment: a replayed answer may follow.
    fn shed(&mut self, limits: &Limits, sink: &mut Sink<'_>) -> ControlFlow<()> {
        while let Some(first) = self.waiting.front() {
            let over = self.waiting.len() > limits.open_requests
                || self.bytes > limits.entry_bytes.saturating_mul(2);
            let settled = first.answered && self.waiting.len() > limits.open_requests / 10;
            if !over && !settled {
                break;
            }
            self.give(sink)?;
        }
        ControlFlow::Continue(())
    }

    fn rest(&mut self, sink: &mut Sink<'_>) -> ControlFlow<()> {
        while !self.waiting.is_empty() {
            self.give(sink)?;
        }
        ControlFlow::Continue(())
    }

    fn give(&mut self, sink: &mut Sink<'_>) -> ControlFlow<()> {
        let Some(first) = self.waiting.pop_front() else { return ControlFlow::Continue(()) };
        if self.by_id.get(&first.id) == Some(&self.first) {
            self.by_id.remove(&first.id);
        }
        self.first += 1;
        self.bytes = self.bytes.saturating_sub(first.bytes);
        sink(first.entry)
    }
}

fn request(head: &Head, message: &[u8]) -> Result<Recorded, Unread> {
    let request = http1::request(message).ok_or(Unread::Malformed)?;
    let target = http1::path_and_query(&request.target);
    if target.is_none() && request.method == "GET" {
        return Err(Unread::NoPath);
    }
    Ok(Recorded {
        id: head.id.clone(),
        at_ms: Some(head.at_ms),
        method: request.method,
        target: target.unwrap_or(request.target),
        headers: request.headers,
        ..Recorded::default()
    })
}
