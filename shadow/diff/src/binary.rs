//! Bodies that are no text: equal or not, by length and digest.
//!
//! Owns the description that a report shows. Must stay true: never decides equality, the caller compared the bytes.

use crate::difference::{Difference, Kind, Part};
use crate::findings::Findings;
use crate::{Fragment, path};

/// Reports two different bodies.
pub(crate) fn report(legacy: &[u8], new: &[u8], findings: &mut Findings) {
    let kind = Kind::BinaryChanged;
    findings.push(Difference {
        location: path::plain(Part::Body),
        kind,
        legacy: Some(describe(legacy)),
        new: Some(describe(new)),
        severity: kind.severity(),
        hint: None,
    });
}

/// Length and the first 64 bits of the BLAKE3 digest.
pub(crate) fn describe(bytes: &[u8]) -> Fragment {
    let digest = blake3::hash(bytes).to_hex();
    let short = digest.as_str().get(..16).unwrap_or_default();
    Fragment::of_binary(format!("{} bytes, blake3 {short}", bytes.len()))
}
