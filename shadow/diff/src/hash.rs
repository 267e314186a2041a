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

/// Hash of bytes: short texts by one or two words, others by two words per step on two independent lanes.
#[inline]
pub(crate) fn of_bytes(bytes: &[u8]) -> u64 {
    let len = bytes.len();
    if len < 8 {
        return mix(padded(bytes), len as u64);
    }
    let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) else {
        return 0;
    };
    if len <= 16 {
        let first = mix(len as u64, u64::from_le_bytes(*first));
        return mix(first, u64::from_le_bytes(*last));
    }
    long(bytes)
}

/// Hash of the first `len` of these bytes, at most 15; the same as [`of_bytes`] of them.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the low half of the bytes is meant")]
pub(crate) fn of_first(bytes: [u8; 16], len: usize) -> u64 {
    let all = u128::from_le_bytes(bytes);
    let first = all as u64;
    if len < 8 {
        return mix(first & !(u64::MAX << (len * 8)), len as u64);
    }
    mix(mix(len as u64, first), (all >> ((len - 8) * 8)) as u64)
}

/// Fewer than 8 bytes as one word, the rest of it zero.
#[inline]
fn padded(bytes: &[u8]) -> u64 {
    if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        // Where both overlap they hold the same bytes.
        let last = u64::from(u32::from_le_bytes(*last)) << ((bytes.len() - 4) * 8);
        return u64::from(u32::from_le_bytes(*first)) | last;
    }
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

fn long(bytes: &[u8]) -> u64 {
    let (pairs, _) = bytes.as_chunks::<16>();
    let (mut one, mut two) = (bytes.len() as u64, MULTIPLIER);
    for pair in pairs {
        let (low, high) = words(pair);
        one = mix(one, low);
        two = mix(two, high);
    }
    // What is left is at most 15 bytes; the last 16 cover it, because there are more than 16.
    if let Some(last) = bytes.last_chunk::<16>() {
        let (low, high) = words(last);
        one = mix(one, low);
        two = mix(two, high);
    }
    mix(one, two.rotate_left(29))
}

#[inline]
fn words(pair: &[u8; 16]) -> (u64, u64) {
    let word = |half: &[u8]| half.first_chunk::<8>().map_or(0, |word| u64::from_le_bytes(*word));
    let (low, high) = pair.split_at(8);
    (word(low), word(high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_and_the_length_count() {
        let text: Vec<u8> = (0..100).collect();
        let mut seen = std::collections::HashSet::new();
        for len in 0..=text.len() {
            assert!(seen.insert(of_bytes(&text[..len])), "{len}");
            if len < 16 {
                let first = *text.first_chunk::<16>().unwrap();
                assert_eq!(of_first(first, len), of_bytes(&text[..len]), "{len}");
            }
            for at in 0..len {
                let mut changed = text[..len].to_vec();
                changed[at] ^= 0x80;
                assert!(seen.insert(of_bytes(&changed)), "{len} {at}");
            }
        }
    }
}
