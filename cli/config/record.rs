//! `[shadow.record]`: live reads into a file.
//!
//! Owns its keys. What must stay true: without `file` nothing is recorded; raw recording must be spelled out.

use super::reader::Section;
use super::{relative_to, value};
use banyan_domain::Percent;
use std::path::Path;

/// What is recorded, and where.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    /// The recording.
    pub(crate) file: String,
    /// Most bytes of it and of its older part, `FILE.1`.
    pub(crate) bytes_max: usize,
    /// Share of sessions.
    pub(crate) percent: Percent,
    /// Only these endpoints; all when empty.
    pub(crate) endpoints: Vec<String>,
    /// Keep credentials and values as they are.
    pub(crate) raw: bool,
}

impl Record {
    /// Nothing when no file is named.
    pub(crate) fn read(section: &Section<'_>, base: &Path) -> Option<Self> {
        let file = section.optional("file", value::text);
        let bytes_max = section.or("max-size", "1GiB", value::bytes);
        let percent = section.or("percent", "100", value::percent);
        let raw = section.or("raw", "false", value::flag);
        let endpoints = section.strings("endpoints").unwrap_or_default();
        section.finish();
        Some(Self {
            file: relative_to(base, &file?.value),
            bytes_max: bytes_max?,
            percent: percent?,
            endpoints: endpoints.into_iter().map(|found| found.value).collect(),
            raw: raw?,
        })
    }
}
