//! What is compared: one side's answer as the shell saw it.
//!
//! Owns no bytes, so that the worker that holds them pays nothing. Must stay true: header names are lower case and the
//! order of the multimap is that of the wire.

/// One answer: status, headers in wire order, raw body (content encoding not yet removed).
#[derive(Debug, Clone, Copy)]
pub struct Obs<'a> {
    /// The HTTP status code.
    pub status: u16,
    /// Ordered multimap; names in lower case.
    pub headers: &'a [(String, Vec<u8>)],
    /// The body as it was on the wire.
    pub body: &'a [u8],
}

impl<'a> Obs<'a> {
    /// The first value of a header, trimmed; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.trim_ascii())
    }

    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.headers.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.trim_ascii())
    }
}
