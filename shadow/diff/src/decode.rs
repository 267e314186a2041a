//! Content encodings.
//!
//! Owns the way from wire bytes to the body that is compared. Must stay true: never expands beyond the budget, and what
//! it cannot undo is inconclusive instead of different.

use std::borrow::Cow;
use std::io::Read;

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

use crate::{Budget, Obs, Why};

/// Encodings that may be stacked on one body.
const CHAIN_MAX: usize = 4;

/// The body with its content encodings undone.
pub(crate) fn body<'a>(obs: &Obs<'a>, budget: &Budget) -> Result<Cow<'a, [u8]>, Why> {
    if obs.body.len() > budget.body_bytes {
        return Err(Why::OverBudget);
    }
    let mut body = Cow::Borrowed(obs.body);
    if obs.body.is_empty() {
        return Ok(body);
    }
    let encodings: Vec<String> = obs
        .values("content-encoding")
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(|name| String::from_utf8_lossy(name.trim_ascii()).to_ascii_lowercase())
        .filter(|name| !name.is_empty() && name != "identity")
        .collect();
    if encodings.len() > CHAIN_MAX {
        return Err(Why::Undecodable);
    }
    for encoding in encodings.iter().rev() {
        body = Cow::Owned(undo(encoding, &body, budget.body_bytes)?);
    }
    Ok(body)
}

fn undo(encoding: &str, body: &[u8], cap: usize) -> Result<Vec<u8>, Why> {
    match encoding {
        "gzip" | "x-gzip" => read(MultiGzDecoder::new(body), cap),
        // Servers send both forms under this name: with a zlib header as the standard says, and without.
        "deflate" => match read(ZlibDecoder::new(body), cap) {
            Err(Why::Undecodable) => read(DeflateDecoder::new(body), cap),
            decided => decided,
        },
        _ => Err(Why::Undecodable),
    }
}

fn read(decoder: impl Read, cap: usize) -> Result<Vec<u8>, Why> {
    let mut out = Vec::new();
    let limit = (cap as u64).saturating_add(1);
    decoder.take(limit).read_to_end(&mut out).map_err(|_| Why::Undecodable)?;
    if out.len() > cap { Err(Why::OverBudget) } else { Ok(out) }
}
