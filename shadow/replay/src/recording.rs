//! The own format: NDJSON, a versioned head line first, one exchange per line, usually in zstd frames.
//!
//! Owns writing and reading. It exists because no foreign format holds both sides' answers, the session and the outcome.
//! What must stay true: each flush ends a zstd frame, so that a crash costs at most the last frame; appending to a file
//! first cuts off what a crash left behind; a reader refuses a newer version by name.

use crate::line::{self, Line};
use crate::{Ending, Entry, Limits, ReadError, Recorded, Sink, Unread};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// The version of the format that this crate writes, and the newest it reads.
pub const VERSION: u64 = 1;

/// What the first line says of a recording.
const KIND: &str = "recording";
/// Lines are gathered up to this size before they are compressed.
const FRAME_BYTES: usize = 256 << 10;
/// Fast, and a third of the size of JSON answers.
const ZSTD_LEVEL: i32 = 3;

/// The first line of a recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Always `recording`.
    banyan: String,
    /// Version of the format.
    version: u64,
    /// Whether values were made tokens and credentials dropped.
    #[serde(default)]
    pub redacted: bool,
    /// Name of the key of the tokens; the same key gives the same name. Empty when nothing is redacted.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// When it was begun, Unix ms.
    #[serde(default)]
    pub created_ms: u64,
}

/// Whether a recording is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Plain lines.
    None,
    /// Frames of zstd.
    Zstd,
}

/// Writes a recording.
#[derive(Debug)]
pub struct Writer {
    file: File,
    compression: Compression,
    /// Lines that are not in the file yet.
    waiting: Vec<u8>,
    written: u64,
}

/// Why a recording cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriterError {
    /// The disk failed or is full.
    #[error("write the recording")]
    Io(#[from] io::Error),
    /// An exchange has no JSON form.
    #[error("write an exchange as JSON")]
    Json(#[from] serde_json::Error),
    /// The file exists and is something else.
    #[error("append to a file that is no recording of this kind")]
    Foreign,
}

impl Head {
    /// The head of a raw recording: values and credentials as they were.
    pub fn raw(created_ms: u64) -> Self {
        let (banyan, key) = (KIND.to_owned(), String::new());
        Self { banyan, version: VERSION, redacted: false, key, created_ms }
    }

    /// The head of a redacted recording.
    pub fn redacted(created_ms: u64, key: &str) -> Self {
        Self { redacted: true, key: key.to_owned(), ..Self::raw(created_ms) }
    }

    /// Whether a line is a head, of whatever version.
    pub(crate) fn is_head(line: &[u8]) -> bool {
        Self::parse(line).is_some()
    }

    fn parse(line: &[u8]) -> Option<Self> {
        let head: Self = serde_json::from_slice(line).ok()?;
        (head.banyan == KIND).then_some(head)
    }
}

impl Compression {
    /// By the ending of a file's name: `.ndjson` is plain, everything else zstd.
    pub fn of(path: &Path) -> Self {
        let plain = path.extension().is_some_and(|ending| ending == "ndjson" || ending == "json");
        if plain { Self::None } else { Self::Zstd }
    }
}

impl Writer {
    /// Makes a new recording, mode 0600; an existing file is refused.
    ///
    /// # Errors
    /// When the file exists or cannot be written.
    pub fn create(path: &Path, head: &Head) -> Result<Self, WriterError> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let compression = Compression::of(path);
        let mut writer = Self { file, compression, waiting: Vec::new(), written: 0 };
        writer.line(head)?;
        writer.flush()?;
        Ok(writer)
    }

    /// Goes on with a recording that a process left, whole or cut off.
    ///
    /// # Errors
    /// When it is no recording with such a head, or cannot be written.
    pub fn append(path: &Path, head: &Head) -> Result<Self, WriterError> {
        let mut file = OpenOptions::new().read(true).write(true).open(path)?;
        let compression = Compression::of(path);
        let first = first_line(&file, compression)?;
        let own = first.as_deref().and_then(Head::parse);
        let fits = own.is_some_and(|own| {
            own.version == VERSION && own.redacted == head.redacted && own.key == head.key
        });
        if !fits {
            return Err(WriterError::Foreign);
        }
        let whole = match compression {
            Compression::None => end_of_lines(&file)?,
            Compression::Zstd => end_of_frames(&file)?,
        };
        file.set_len(whole)?;
        file.seek(SeekFrom::Start(whole))?;
        Ok(Self { file, compression, waiting: Vec::new(), written: whole })
    }

    /// Adds an exchange; it is in the file after the next [`Writer::flush`] at the latest.
    ///
    /// # Errors
    /// When it cannot be written; what was flushed before stays readable.
    pub fn write(&mut self, recorded: &Recorded) -> Result<(), WriterError> {
        self.line(recorded)?;
        if self.waiting.len() >= FRAME_BYTES { self.flush() } else { Ok(()) }
    }

    /// Brings all lines to the file, as a frame of their own.
    ///
    /// # Errors
    /// When the disk fails or is full.
    pub fn flush(&mut self) -> Result<(), WriterError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let frame;
        let bytes = match self.compression {
            Compression::None => &self.waiting,
            Compression::Zstd => {
                frame = zstd::bulk::compress(&self.waiting, ZSTD_LEVEL)?;
                &frame
            }
        };
        self.file.write_all(bytes)?;
        self.file.flush()?;
        self.written += bytes.len() as u64;
        self.waiting.clear();
        Ok(())
    }

    /// Bytes in the file.
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// Bytes in the file, and about as many as will come with the next flush.
    pub fn size(&self) -> u64 {
        let expected = match self.compression {
            Compression::None => self.waiting.len(),
            Compression::Zstd => self.waiting.len() / 4,
        };
        self.written + expected as u64
    }

    fn line(&mut self, value: &impl Serialize) -> Result<(), WriterError> {
        serde_json::to_writer(&mut self.waiting, value)?;
        self.waiting.push(b'\n');
        Ok(())
    }
}

/// What was not flushed is flushed as far as possible.
impl Drop for Writer {
    fn drop(&mut self) {
        if let Err(error) = self.flush() {
            tracing::warn!(%error, "the end of a recording could not be written");
        }
    }
}

fn first_line(file: &File, compression: Compression) -> io::Result<Option<Vec<u8>>> {
    let mut from = file.try_clone()?;
    from.seek(SeekFrom::Start(0))?;
    let mut line = Vec::new();
    let limit = Limits::default().entry_bytes;
    let read = match compression {
        Compression::None => line::next(&mut BufReader::new(from), &mut line, limit)?,
        Compression::Zstd => {
            line::next(&mut BufReader::new(zstd::Decoder::new(from)?), &mut line, limit)?
        }
    };
    Ok((read == Line::Whole).then_some(line))
}

/// The length of the file up to its last line end.
fn end_of_lines(file: &File) -> io::Result<u64> {
    let mut from = file.try_clone()?;
    from.seek(SeekFrom::Start(0))?;
    let mut input = BufReader::new(from);
    let (mut at, mut whole) = (0_u64, 0_u64);
    loop {
        let buffer = input.fill_buf()?;
        if buffer.is_empty() {
            return Ok(whole);
        }
        if let Some(end) = buffer.iter().rposition(|byte| *byte == b'\n') {
            whole = at + end as u64 + 1;
        }
        let used = buffer.len();
        at += used as u64;
        input.consume(used);
    }
}

/// The length of the file up to the end of its last whole frame.
fn end_of_frames(file: &File) -> io::Result<u64> {
    let mut from = file.try_clone()?;
    let length = from.seek(SeekFrom::End(0))?;
    from.seek(SeekFrom::Start(0))?;
    let mut input = Counted { inner: BufReader::with_capacity(1 << 16, from), used: 0 };
    let mut whole = 0;
    while whole < length {
        let mut frame = zstd::Decoder::with_buffer(&mut input)?.single_frame();
        if io::copy(&mut frame, &mut io::sink()).is_err() {
            break;
        }
        drop(frame);
        whole = input.used;
    }
    Ok(whole)
}

/// Counts what is taken from a buffered reader.
struct Counted<R> {
    inner: R,
    used: u64,
}

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(to)?;
        self.used += count as u64;
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.used += amount as u64;
        self.inner.consume(amount);
    }
}

/// Reads the lines of a recording, already decompressed. The head is told to `head` before the first exchange.
///
/// # Errors
/// When the first line is no head, or one of a newer version.
pub fn read_lines(
    input: &mut dyn BufRead,
    limits: &Limits,
    head: &mut dyn FnMut(&Head),
    sink: &mut Sink<'_>,
) -> Result<Ending, ReadError> {
    let mut line = Vec::new();
    let mut place = 0;
    loop {
        let read = match line::next(input, &mut line, limits.entry_bytes) {
            Ok(read) => read,
            Err(error) if place > 0 => return Ok(broken_off(place, &error)),
            Err(error) => return Err(error.into()),
        };
        place += 1;
        let entry = match read {
            Line::End if place == 1 => return Err(no_head("it is empty")),
            Line::End => return Ok(Ending::default()),
            Line::TooLong => Some(Entry::Skipped { place, why: Unread::TooLarge }),
            Line::Whole | Line::Unfinished if place == 1 => {
                head(&known(&line)?);
                None
            }
            // Frames that were written by several processes, one after the other, or files joined by `cat`.
            Line::Whole if Head::is_head(&line) => {
                known(&line)?;
                None
            }
            Line::Whole => Some(entry(&line, place)),
            Line::Unfinished => match entry(&line, place) {
                whole @ Entry::Exchange(_) => Some(whole),
                Entry::Skipped { .. } => {
                    return Ok(Ending::warned(format!("the last line ({place}) is cut off")));
                }
            },
        };
        if let Some(entry) = entry
            && sink(entry) == ControlFlow::Break(())
        {
            return Ok(Ending::default());
        }
    }
}

fn broken_off(lines: u64, error: &io::Error) -> Ending {
    Ending::warned(format!(
        "it is cut off or damaged after line {lines} ({error}); all before was read"
    ))
}

fn known(line: &[u8]) -> Result<Head, ReadError> {
    let head = Head::parse(line).ok_or_else(|| no_head("its first line is no head"))?;
    if head.version > VERSION {
        return Err(ReadError::Newer { found: head.version, known: VERSION });
    }
    Ok(head)
}

fn no_head(why: &str) -> ReadError {
    ReadError::NotThat { format: "a recording", why: why.to_owned() }
}

fn entry(line: &[u8], place: u64) -> Entry {
    match serde_json::from_slice::<Recorded>(line) {
        Ok(recorded) if recorded.target.starts_with('/') => {
            Entry::Exchange(Box::new(Recorded { place, ..recorded }))
        }
        Ok(_) => Entry::Skipped { place, why: Unread::NoPath },
        Err(_) => Entry::Skipped { place, why: Unread::Malformed },
    }
}

#[cfg(test)]
mod tests;
