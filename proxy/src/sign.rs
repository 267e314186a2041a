//! Keyed signatures of short texts that travel through clients.
//!
//! Owns HMAC-SHA256 with a purpose, so that a signature for one cookie is worthless in another. What must stay
//! true: comparison takes the same time wherever the texts differ.

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// A signing key for one purpose.
#[derive(Clone)]
pub(crate) struct Signer {
    keyed: Hmac<Sha256>,
}

/// Bytes of a signature that are kept; 128 bits.
const TAG_BYTES: usize = 16;

impl Signer {
    /// A key from a secret of any length.
    pub(crate) fn new(secret: &[u8], purpose: &str) -> Option<Self> {
        // HMAC takes keys of any length, so this never refuses; the type says it could.
        let mut keyed = Hmac::<Sha256>::new_from_slice(secret).ok()?;
        keyed.update(purpose.as_bytes());
        keyed.update(b"\0");
        Some(Self { keyed })
    }

    /// A key that only this process knows.
    pub(crate) fn random(purpose: &str) -> Option<Self> {
        Self::new(&rand::random::<[u8; 32]>(), purpose)
    }

    /// The signature of a text, in lower-case hex.
    pub(crate) fn sign(&self, text: &str) -> String {
        let mut mac = self.keyed.clone();
        mac.update(text.as_bytes());
        let tag = mac.finalize().into_bytes();
        let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
        tag.iter().take(TAG_BYTES).flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
    }

    /// Whether `signature` is the one of `text`.
    pub(crate) fn is_of(&self, text: &str, signature: &str) -> bool {
        let expected = self.sign(text);
        bool::from(subtle::ConstantTimeEq::ct_eq(expected.as_bytes(), signature.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_fits_one_text_one_key_and_one_purpose() {
        let signer = Signer::new(b"secret", "a").unwrap();
        let signature = signer.sign("text");
        assert_eq!(signature.len(), 32);
        assert!(signer.is_of("text", &signature));
        assert!(!signer.is_of("texu", &signature));
        assert!(!Signer::new(b"secret", "b").unwrap().is_of("text", &signature));
        assert!(!Signer::new(b"secreu", "a").unwrap().is_of("text", &signature));
        assert!(!Signer::random("a").unwrap().is_of("text", &signature));
    }
}
