//! Which format a file has, and reading it as that.
//!
//! Owns the detection by content: the ending of a name is only a hint that people forget. What must stay true: gzip and
//! zstd are looked through; the same bytes always give the same answer.

use crate::import::{gor, har, nginx, vcr};
use crate::recording::{self, Head};
use crate::{Ending, Entry, Limits, ReadError, Sink, Unread};
use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that are looked at to tell the format.
const PEEK: usize = 16 << 10;

/// The formats that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Banyan's own.
    Recording,
    /// HTTP Archive 1.2, as browsers save it.
    Har,
    /// GoReplay's file output.
    Gor,
    /// Access log of nginx or Apache, combined.
    Nginx,
    /// A cassette of VCR, YAML or JSON.
    Vcr,
}

/// A file that was opened, and what it turned out to be.
pub struct Opened {
    /// The format.
    pub format: Format,
    /// Its size on disk; nothing for a pipe.
    pub length: Option<u64>,
    taken: Arc<AtomicU64>,
    input: Box<dyn BufRead + Send>,
    head: Option<Head>,
}

impl Format {
    /// All names, for messages.
    pub const NAMES: &'static str = "banyan, har, gor, nginx, vcr";

    /// The word for options and counts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Recording => "banyan",
            Self::Har => "har",
            Self::Gor => "gor",
            Self::Nginx => "nginx",
            Self::Vcr => "vcr",
        }
    }

    /// What its places count: lines or entries.
    pub const fn places(self) -> &'static str {
        match self {
            Self::Recording | Self::Nginx => "line",
            Self::Har | Self::Gor | Self::Vcr => "entry",
        }
    }

    /// Tells the format by the first bytes, decompressed.
    pub fn detect(start: &[u8]) -> Option<Self> {
        let start = start.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(start).trim_ascii_start();
        let first = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let has = |wanted: &[u8]| start.windows(wanted.len()).any(|part| part == wanted);
        if Head::is_head(first) || first.starts_with(b"{\"banyan\":\"recording\"") {
            return Some(Self::Recording);
        }
        if gor::is_payload_head(first) {
            return Some(Self::Gor);
        }
        if has(b"http_interactions") {
            return Some(Self::Vcr);
        }
        if start.starts_with(b"{") {
            return has(b"\"log\"").then_some(Self::Har);
        }
        // A log may begin with a line that was cut off by rotation.
        let lines = start.split(|byte| *byte == b'\n').take(20);
        lines.into_iter().any(nginx::is_line).then_some(Self::Nginx)
    }
}

/// Opens a file; tells its format unless one is given.
///
/// # Errors
/// When it cannot be read, or looks like nothing that is known.
pub fn open(path: &Path, format: Option<Format>) -> Result<Opened, ReadError> {
    let file = File::open(path)?;
    let about = file.metadata()?;
    let taken = Arc::new(AtomicU64::new(0));
    let counted = Taken { inner: file, taken: taken.clone() };
    let (start, input) = peeked(Box::new(BufReader::with_capacity(1 << 16, counted)))?;
    let (start, input) = if start.starts_with(b"\x1f\x8b") {
        peeked(Box::new(BufReader::new(flate2::bufread::MultiGzDecoder::new(input))))?
    } else if start.starts_with(b"\x28\xb5\x2f\xfd") {
        peeked(Box::new(BufReader::new(zstd::Decoder::with_buffer(input)?)))?
    } else {
        (start, input)
    };
    let format = match format {
        Some(format) => format,
        None => Format::detect(&start).ok_or(ReadError::Unknown)?,
    };
    let first = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let head = serde_json::from_slice(first).ok().filter(|_| format == Format::Recording);
    let length = about.is_file().then_some(about.len());
    Ok(Opened { format, length, taken, input, head })
}

type Input = Box<dyn BufRead + Send>;

/// The first bytes of a stream, and the stream with them still in it.
fn peeked(mut input: Input) -> Result<(Vec<u8>, Input), ReadError> {
    let mut start = Vec::new();
    let read = input.by_ref().take(PEEK as u64).read_to_end(&mut start);
    // A stream that breaks off right at its start still tells its format.
    if let Err(error) = read
        && start.is_empty()
    {
        return Err(error.into());
    }
    let chained = Cursor::new(start.clone()).chain(input);
    Ok((start, Box::new(chained)))
}

impl Opened {
    /// The head of an own recording.
    pub const fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    /// Bytes of the file that were read so far; grows while another thread reads.
    pub fn progress(&self) -> Arc<AtomicU64> {
        self.taken.clone()
    }

    /// Reads all entries; those that are no reads come as skipped.
    ///
    /// # Errors
    /// When the file cannot be read at all; a single bad entry is only skipped.
    pub fn read(&mut self, limits: &Limits, sink: &mut Sink<'_>) -> Result<Ending, ReadError> {
        read(self.format, &mut self.input, limits, sink)
    }
}

/// Reads all entries of a stream of one format, decompressed; those that are no reads come as skipped.
///
/// # Errors
/// When the stream is not of that format at all, or breaks off at its beginning.
pub fn read(
    format: Format,
    input: &mut dyn BufRead,
    limits: &Limits,
    sink: &mut Sink<'_>,
) -> Result<Ending, ReadError> {
    let mut only_reads = |entry: Entry| -> ControlFlow<()> {
        sink(match entry {
            Entry::Exchange(recorded) => checked(recorded),
            skipped @ Entry::Skipped { .. } => skipped,
        })
    };
    match format {
        Format::Recording => recording::read_lines(input, limits, &mut |_| {}, &mut only_reads),
        Format::Har => har::read(input, limits, &mut only_reads),
        Format::Gor => gor::read(input, limits, &mut only_reads),
        Format::Nginx => nginx::read(input, limits, &mut only_reads),
        Format::Vcr => vcr::read(input, limits, &mut only_reads),
    }
}

/// Leaves out what must not or cannot be asked again; names what has no name.
fn checked(mut recorded: Box<crate::Recorded>) -> Entry {
    let place = recorded.place;
    let skipped = |why| Entry::Skipped { place, why };
    if recorded.method != "GET" && recorded.method != "HEAD" {
        return skipped(Unread::UnsafeMethod);
    }
    if recorded.header("upgrade").is_some() {
        return skipped(Unread::Upgraded);
    }
    if recorded.id.is_empty() {
        recorded.id = place.to_string();
    }
    Entry::Exchange(recorded)
}

/// Counts what is read of a file.
struct Taken {
    inner: File,
    taken: Arc<AtomicU64>,
}

impl Read for Taken {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(to)?;
        self.taken.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}
