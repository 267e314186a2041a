//! Cross-site request forgery tokens, masked with a one-time pad as in Rails 4.2.
//!
//! Each page shows the session's raw token under another pad, so that compressed pages do not leak it (BREACH); for
//! a diff of two answers the masked token is therefore pure noise.
//!
//! What must stay true: `unmask_matches` accepts what `mask` made of the same raw token with any pad, nothing else.

use base64::{Engine, engine::general_purpose::STANDARD};
use subtle::ConstantTimeEq;

/// Length of a raw token and of a pad, in bytes.
pub const TOKEN_BYTES: usize = 32;

/// What a page shows: base64 of `pad || (pad XOR raw)`. The caller draws a fresh random pad each time.
pub fn mask(raw: &[u8; TOKEN_BYTES], pad: &[u8; TOKEN_BYTES]) -> String {
    let hidden = pad.iter().zip(raw).map(|(pad, raw)| pad ^ raw);
    STANDARD.encode(pad.iter().copied().chain(hidden).collect::<Vec<_>>())
}

/// True when `masked` hides `raw`, whatever its pad; compares in constant time.
pub fn unmask_matches(masked: &str, raw: &[u8; TOKEN_BYTES]) -> bool {
    let Ok(bytes) = STANDARD.decode(masked.trim()) else { return false };
    if bytes.len() != 2 * TOKEN_BYTES {
        return false;
    }
    let (pad, hidden) = bytes.split_at(TOKEN_BYTES);
    let found: Vec<u8> = pad.iter().zip(hidden).map(|(pad, hidden)| pad ^ hidden).collect();
    found.ct_eq(raw.as_slice()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_pad_matches_its_raw_token() {
        let raw = [7; TOKEN_BYTES];
        let (one, two) = (mask(&raw, &[1; TOKEN_BYTES]), mask(&raw, &[2; TOKEN_BYTES]));
        assert_ne!(one, two);
        assert!(unmask_matches(&one, &raw) && unmask_matches(&two, &raw));
    }

    #[test]
    fn other_tokens_and_garbage_do_not_match() {
        let raw = [7; TOKEN_BYTES];
        assert!(!unmask_matches(&mask(&[8; TOKEN_BYTES], &[1; TOKEN_BYTES]), &raw));
        for garbage in ["", "AAAA", "not base64 at all", &STANDARD.encode(raw)] {
            assert!(!unmask_matches(garbage, &raw), "{garbage}");
        }
    }
}
