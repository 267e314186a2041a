//! The first pass over a recording: what is in it, and what of it will be replayed.
//!
//! Owns the filter of both passes. It exists because a report wants names of endpoints and a progress wants a total before
//! the first request is sent. What must stay true: the same file and settings give the same numbers to the same exchanges,
//! so that a resumed replay knows which are done.

use crate::redact::is_redacted_target;
use crate::route::Routes;
use crate::session::{Session, SessionKey};
use crate::{Entry, Format, Head, Limits, ReadError, Recorded, RecordedBody, Unread, open};
use banyan_domain::{EndpointName, Percent};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// Places that are named per reason.
const PLACES_MAX: usize = 5;

/// What of a recording is replayed.
#[derive(Debug, Clone)]
pub struct Selection {
    /// Share of sessions.
    pub percent: Percent,
    /// At most so many exchanges.
    pub limit: Option<u64>,
    /// Where the session of an exchange comes from.
    pub session_key: SessionKey,
    /// Only these endpoints; all when empty.
    pub endpoints: BTreeSet<EndpointName>,
    /// Whether legacy's recorded answer is needed.
    pub needs_answer: bool,
}

/// Entries that were left out for one reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// How many.
    pub count: u64,
    /// Where the first ones are: file and line or entry.
    pub places: Vec<String>,
}

/// What a pass saw.
#[derive(Debug, Clone, Default)]
pub struct Scanned {
    /// Exchanges that can be replayed as far as the file is concerned.
    pub exchanges: u64,
    /// Of these, those that are replayed.
    pub selected: u64,
    /// Entries that are no replayable exchange.
    pub unread: BTreeMap<Unread, LeftOut>,
    /// Exchanges that are left out, by endpoint and reason.
    pub left_out: BTreeMap<(EndpointName, &'static str), u64>,
    /// Exchanges of paths that are not declared.
    pub undeclared: u64,
    /// Head of the recordings, when they are of the own format.
    pub head: Option<Head>,
    /// Remarks of the readers.
    pub warnings: Vec<String>,
}

/// What becomes of an exchange.
pub(crate) enum Choice {
    /// It is replayed.
    Take(EndpointName, Option<Session>),
    /// It is not.
    Leave(EndpointName, &'static str),
    /// Its path is not declared.
    Undeclared,
}

impl Selection {
    /// Decides over the exchange with this number (all exchanges counted).
    pub(crate) fn choose(
        &self,
        endpoint: Option<EndpointName>,
        recorded: &Recorded,
        number: u64,
    ) -> Choice {
        let Some(endpoint) = endpoint else { return Choice::Undeclared };
        let session = self.session_key.of(recorded);
        if !self.endpoints.is_empty() && !self.endpoints.contains(&endpoint) {
            Choice::Leave(endpoint, "not_selected")
        } else if !Session::is_taken(session, number, self.percent) {
            Choice::Leave(endpoint, "sampled")
        } else if is_redacted_target(&recorded.target) {
            Choice::Leave(endpoint, "redacted_target")
        } else if self.needs_answer && !has_answer(recorded) {
            Choice::Leave(endpoint, "no_recorded_answer")
        } else {
            Choice::Take(endpoint, session)
        }
    }
}

fn has_answer(recorded: &Recorded) -> bool {
    let answer = recorded.legacy.as_ref();
    answer.is_some_and(|answer| recorded.method == "HEAD" || answer.body != RecordedBody::Missing)
}

/// Reads all files, and names their endpoints first if they are to be inferred.
///
/// # Errors
/// When a file cannot be read as what it is.
pub fn scan(
    files: &[PathBuf],
    format: Option<Format>,
    limits: &Limits,
    selection: &Selection,
    routes: &mut Routes,
) -> Result<Scanned, FileError> {
    if routes.learns() {
        learn(files, format, limits, routes)?;
    }
    let mut scanned = Scanned::default();
    for file in files {
        let fail = |source| FileError { file: file.clone(), source };
        let mut opened = open(file, format).map_err(fail)?;
        if let Some(head) = opened.head() {
            let first = scanned.head.get_or_insert_with(|| head.clone());
            if (first.redacted, &first.key) != (head.redacted, &head.key) {
                scanned
                    .warnings
                    .push(format!("`{}` was recorded under another key", file.display()));
            }
        }
        let words = opened.format.places();
        let ending = opened.read(limits, &mut |entry| {
            match entry {
                Entry::Exchange(recorded) => scanned.take(&recorded, selection, routes),
                Entry::Skipped { place, why } => {
                    let left_out = scanned.unread.entry(why).or_default();
                    left_out.add(file, words, place);
                }
            }
            ControlFlow::Continue(())
        });
        if let Some(warning) = ending.map_err(fail)?.warning {
            scanned.warnings.push(format!("`{}`: {warning}", file.display()));
        }
    }
    Ok(scanned)
}

/// Names the undeclared endpoints of all files.
///
/// # Errors
/// When a file cannot be read as what it is.
pub fn learn(
    files: &[PathBuf],
    format: Option<Format>,
    limits: &Limits,
    routes: &mut Routes,
) -> Result<(), FileError> {
    for file in files {
        let read = open(file, format).and_then(|mut opened| {
            opened.read(limits, &mut |entry| {
                if let Entry::Exchange(recorded) = entry {
                    routes.see(&recorded);
                }
                ControlFlow::Continue(())
            })
        });
        read.map_err(|source| FileError { file: file.clone(), source })?;
    }
    routes.settle();
    Ok(())
}

impl Scanned {
    fn take(&mut self, recorded: &Recorded, selection: &Selection, routes: &Routes) {
        let number = self.exchanges;
        self.exchanges += 1;
        let endpoint = routes.find(&recorded.method, &recorded.target);
        match selection.choose(endpoint, recorded, number) {
            Choice::Take(endpoint, _) => {
                if selection.limit.is_some_and(|limit| self.selected >= limit) {
                    *self.left_out.entry((endpoint, "over_limit")).or_insert(0) += 1;
                } else {
                    self.selected += 1;
                }
            }
            Choice::Leave(endpoint, why) => {
                *self.left_out.entry((endpoint, why)).or_insert(0) += 1;
            }
            Choice::Undeclared => self.undeclared += 1,
        }
    }
}

impl LeftOut {
    /// Counts one, and names its place if it is among the first.
    pub fn add(&mut self, file: &Path, words: &str, place: u64) {
        self.count += 1;
        if self.places.len() < PLACES_MAX {
            let name =
                file.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
            self.places.push(format!("{name} {words} {place}"));
        }
    }
}

/// A file that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read `{}`", file.display())]
pub struct FileError {
    /// The file.
    pub file: PathBuf,
    /// Why.
    pub source: ReadError,
}
