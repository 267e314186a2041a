//! Entity tags: the same body has the same tag on both sides.
//!
//! Rails makes them of the body after the fact; so both applications do, and a client that is moved from one side to
//! the other keeps its cache.
//!
//! What must stay true: tags are weak and depend on the body alone.

use crate::passport::hex;
use sha2::{Digest, Sha256};

/// The `ETag` of a body: `W/"<32 hex digits>"`.
pub fn weak_etag(body: &[u8]) -> String {
    let digest = Sha256::digest(body);
    format!("W/\"{}\"", digest.get(..16).map_or_else(String::new, hex))
}

/// True when an `If-None-Match` header holds `etag` (weak comparison, lists and `*` included): answer 304.
pub fn not_modified(if_none_match: Option<&str>, etag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    if_none_match.is_some_and(|header| {
        header.trim() == "*" || header.split(',').any(|tag| opaque(tag) == opaque(etag))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tag_is_weak_and_of_the_body_alone() {
        let tag = weak_etag(b"{}");
        assert!(tag.starts_with("W/\"") && tag.ends_with('"') && tag.len() == 36, "{tag}");
        assert_eq!(tag, weak_etag(b"{}"));
        assert_ne!(tag, weak_etag(b"[]"));
    }

    #[test]
    fn if_none_match_takes_lists_strong_tags_and_star() {
        let tag = weak_etag(b"{}");
        let strong = tag.trim_start_matches("W/").to_owned();
        assert!(not_modified(Some(&tag), &tag));
        assert!(not_modified(Some(&format!("\"a\", {strong}")), &tag));
        assert!(not_modified(Some("*"), &tag));
        assert!(!not_modified(Some("\"a\""), &tag));
        assert!(!not_modified(None, &tag));
    }
}
