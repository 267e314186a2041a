//! Recordings of traffic: own format, import, replay.
//!
//! Owns the file format of recordings, the readers of foreign ones, and the replayer that asks both sides again. It
//! exists so that new can be judged without live traffic, by the same engine, recheck and gate. What must stay true: only
//! GET and HEAD are replayed; readers never panic and never stop at one bad entry; nothing secret is stored unless raw
//! recording was spelled out.

mod entry;
mod format;
mod http1;
pub mod import;
mod keeper;
mod lanes;
mod line;
mod pace;
mod prepare;
mod reader;
mod record;
mod recorded;
mod recording;
mod redact;
mod replay;
mod route;
mod scan;
mod session;
mod setup;
mod side;
mod state;
mod throttle;

pub use entry::{Ending, Entry, Limits, ReadError, Sink, Unread};
pub use format::{Format, Opened, open, read};
pub use pace::Rate;
pub use record::{RecordConfig, RecordCounts, Recorder};
pub use recorded::{Headers, Recorded, RecordedAnswer, RecordedBody};
pub use recording::{Compression, Head, VERSION, Writer, WriterError, read_lines};
pub use redact::Redactor;
pub use replay::{Baseline, Finished, ReplayConfig, ReplayError, Seen, replay};
pub use route::{Routes, Undeclared};
pub use scan::{FileError, LeftOut, Scanned, Selection, learn, scan};
pub use session::{Session, SessionKey};
pub use side::REPLAY_HEADER;
pub use state::StateError;
