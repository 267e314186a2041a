//! What reading a file yields, entry by entry.
//!
//! Owns the words for what could not be taken over, and the bounds of every reader. It exists so that all formats answer
//! alike: one bad entry is counted with its place and reading goes on. What must stay true: a reader never panics on any
//! bytes and keeps no more than its limits in memory.

use crate::Recorded;
use std::fmt;
use std::io;
use std::ops::ControlFlow;

/// An exchange, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// An exchange that can be replayed as far as the file is concerned.
    Exchange(Box<Recorded>),
    /// An entry that was left out.
    Skipped {
        /// Its place: the line of a line-wise format, else the number of the entry; both from 1.
        place: u64,
        /// Why.
        why: Unread,
    },
}

/// Why an entry was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unread {
    /// It is not in its format.
    Malformed,
    /// It is larger than a reader keeps.
    TooLarge,
    /// Its method is not GET or HEAD: writes are never replayed.
    UnsafeMethod,
    /// A WebSocket or another upgraded connection.
    Upgraded,
    /// An answer without its request.
    NoRequest,
    /// The request line names no path, such as `*` or a tunnel.
    NoPath,
}

impl Unread {
    /// All of them, in the order in which they are reported.
    pub const ALL: [Self; 6] = [
        Self::Malformed,
        Self::TooLarge,
        Self::UnsafeMethod,
        Self::Upgraded,
        Self::NoRequest,
        Self::NoPath,
    ];

    /// The word for counts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::UnsafeMethod => "unsafe_method",
            Self::Upgraded => "upgraded",
            Self::NoRequest => "no_request",
            Self::NoPath => "no_path",
        }
    }

    /// Whether it says that the file is damaged, and not only that it holds more than reads.
    pub const fn is_damage(self) -> bool {
        match self {
            Self::Malformed | Self::TooLarge | Self::NoRequest => true,
            Self::UnsafeMethod | Self::Upgraded | Self::NoPath => false,
        }
    }
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Takes entries as they are read; breaks to stop reading.
pub type Sink<'s> = dyn FnMut(Entry) -> ControlFlow<()> + 's;

/// Bounds of a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest line or entry.
    pub entry_bytes: usize,
    /// Largest file of a format that is read as a whole (VCR).
    pub whole_bytes: usize,
    /// Requests that wait for their answer (GoReplay).
    pub open_requests: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entry_bytes: 32 << 20, whole_bytes: 128 << 20, open_requests: 1_000 }
    }
}

/// How reading ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ending {
    /// What the reader has to say, such as a last frame that is cut off; what came before it was read.
    pub warning: Option<String>,
}

impl Ending {
    /// An end with a remark.
    pub(crate) fn warned(text: impl Into<String>) -> Self {
        Self { warning: Some(text.into()) }
    }
}

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The disk or pipe failed.
    #[error("read the recording")]
    Io(#[from] io::Error),
    /// A newer Banyan wrote it.
    #[error("read a recording of version {found}: this Banyan knows version {known}")]
    Newer {
        /// The version it says.
        found: u64,
        /// The newest version this reader knows.
        known: u64,
    },
    /// Its form is none of those that are read.
    #[error("tell the format: it looks like none of {}", crate::Format::NAMES)]
    Unknown,
    /// It lacks what its format begins with.
    #[error("read it as {format}: {why}")]
    NotThat {
        /// The format it was read as.
        format: &'static str,
        /// What is wrong.
        why: String,
    },
}
