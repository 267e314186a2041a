//! 64-bit hashes of values, for pruning and alignment.
//!
//! A hash only ever proposes equality; whoever draws a verdict from it compares the bytes. That is why a fast
//! fold-multiply with fixed seeds is enough, and why a crafted collision cannot make a mismatch look like a match.

const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;
const SEED: u64 = 0xD6E8_FEB8_6659_FD93;

/// Mixes two words.
#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "both halves of the product are folded together"
)]
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ SEED) * u128::from(b ^ MULTIPLIER);
    (product as u64) ^ ((product >> 64) as u64)
}

/// Hash of bytes.
#[inline]
pub(crate) fn of_bytes(bytes: &[u8]) -> u64 {
    let (chunks, tail) = bytes.as_chunks::<8>();
    let mut hash = bytes.len() as u64;
    for chunk in chunks {
        hash = mix(hash, u64::from_le_bytes(*chunk));
    }
    if tail.is_empty() {
        return mix(hash, MULTIPLIER);
    }
    let mut last = 0;
    for byte in tail {
        last = last << 8 | u64::from(*byte);
    }
    mix(hash, last).rotate_left(17)
}
