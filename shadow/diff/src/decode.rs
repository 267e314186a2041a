//! Content encodings.
//!
//! Owns the way from wire bytes to the body that is compared: the chain of gzip, deflate, brotli and zstd, undone from
//! its end. Must stay true: never expands beyond the budget, a bomb is recognised long before that, and what it cannot
//! undo is inconclusive instead of different.

use std::borrow::Cow;
use std::io::Read;

use brotli_decompressor::Decompressor;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

use crate::{Budget, Obs, Why};

/// Encodings that may be stacked on one body.
const CHAIN_MAX: usize = 4;

/// What any body may expand to.
const EXPANSION_FREE: usize = 4 << 20;

/// Beyond [`EXPANSION_FREE`], the output per byte of input that is still believed; lists of similar records pack
/// to 1:10 or 1:50, a bomb of zeros to 1:200 up to 1:1,000 (gzip) or 1:100,000 (brotli, zstd).
const RATIO_MAX: usize = 100;

/// The largest window of a zstd frame, as a power of two: what RFC 9659 allows for content encoding.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

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
        .take(CHAIN_MAX + 1)
        .collect();
    if encodings.len() > CHAIN_MAX {
        return Err(Why::Undecodable);
    }
    // One cap for the whole chain: what the stages put out together.
    let believed = obs.body.len().saturating_mul(RATIO_MAX).max(EXPANSION_FREE);
    let mut left = budget.body_bytes.min(believed);
    for encoding in encodings.iter().rev() {
        let undone = undo(encoding, &body, left)?;
        left -= undone.len().min(left);
        body = Cow::Owned(undone);
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
        // This first byte asks for a window beyond RFC 7932, up to 1 GiB for a body of ten bytes.
        "br" if body.first().is_some_and(|first| first & 0x7F == 0x11) => Err(Why::Undecodable),
        "br" => read(Decompressor::new(body, 4096), cap),
        "zstd" => {
            let mut decoder =
                zstd::stream::read::Decoder::with_buffer(body).map_err(|_| Why::Undecodable)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(|_| Why::Undecodable)?;
            read(decoder, cap)
        }
        _ => Err(Why::Undecodable),
    }
}

fn read(decoder: impl Read, cap: usize) -> Result<Vec<u8>, Why> {
    let mut out = Vec::new();
    let limit = (cap as u64).saturating_add(1);
    decoder.take(limit).read_to_end(&mut out).map_err(|_| Why::Undecodable)?;
    if out.len() > cap { Err(Why::OverBudget) } else { Ok(out) }
}

#[cfg(test)]
mod tests;
