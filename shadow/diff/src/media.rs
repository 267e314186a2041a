//! Media types: what a body claims to be, and what it looks like.
//!
//! Owns the lists of types and the sniffing of bodies whose type is missing or known to lie. Must stay true: sniffing
//! only proposes a form; whoever acts on it parses the body.

use crate::record;

/// What a media type says that the body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// No type, or one that says nothing about the form.
    Nothing,
    Json,
    Ndjson,
    Events,
    Pairs,
    Html,
    Text,
    Binary,
}

impl Claim {
    /// The claim of a media type in lower case without parameters.
    pub(crate) fn of(media: &str) -> Self {
        let family = media.split('/').next().unwrap_or_default();
        match media {
            "application/json" | "text/json" => Self::Json,
            _ if record::is_ndjson(media) => Self::Ndjson,
            _ if media.ends_with("+json") => Self::Json,
            "text/event-stream" => Self::Events,
            "application/x-www-form-urlencoded" => Self::Pairs,
            "text/html" | "application/xhtml+xml" => Self::Html,
            "application/xml" | "application/javascript" => Self::Text,
            "application/octet-stream" | "application/pdf" | "application/zip" => Self::Binary,
            _ if family == "text" || media.ends_with("+xml") => Self::Text,
            _ if matches!(family, "image" | "audio" | "video" | "font") => Self::Binary,
            _ => Self::Nothing,
        }
    }

    /// Whether the body may be something else all the same: types that servers send for want of a better one, and
    /// `text/html`, which `render :text => json` of Rails sends.
    pub(crate) fn may_lie(self, media: &str) -> bool {
        match self {
            Self::Nothing | Self::Html => true,
            Self::Text | Self::Binary => {
                matches!(media, "text/plain" | "application/octet-stream" | "text/javascript")
            }
            Self::Json | Self::Ndjson | Self::Events | Self::Pairs => false,
        }
    }
}

/// Whether a body begins like a JSON object or array.
pub(crate) fn looks_like_json(body: &[u8]) -> bool {
    matches!(without_mark(body).trim_ascii_start().first(), Some(b'{' | b'['))
}

/// Whether a body begins like a page: with a doctype or one of the elements that only whole pages have.
pub(crate) fn looks_like_page(body: &[u8]) -> bool {
    let mut rest = without_mark(body).trim_ascii_start();
    while let Some(comment) = rest.strip_prefix(b"<!--") {
        let Some(end) = comment.windows(3).position(|end| end == b"-->") else { return false };
        rest = comment.get(end + 3..).unwrap_or_default().trim_ascii_start();
    }
    ["<!doctype html", "<html", "<head", "<body"].iter().any(|start| {
        let after = rest.get(start.len());
        let whole = after.is_none_or(|byte| byte.is_ascii_whitespace() || b"/>".contains(byte));
        whole && rest.get(..start.len()).is_some_and(|is| is.eq_ignore_ascii_case(start.as_bytes()))
    })
}

/// A body without its UTF-8 byte order mark.
pub(crate) fn without_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_claim_a_form() {
        for (media, claim) in [
            ("", Claim::Nothing),
            ("application/x-thing", Claim::Nothing),
            ("application/problem+json", Claim::Json),
            ("application/x-ndjson", Claim::Ndjson),
            ("application/stream+json", Claim::Ndjson),
            ("text/event-stream", Claim::Events),
            ("text/html", Claim::Html),
            ("application/xhtml+xml", Claim::Html),
            ("image/svg+xml", Claim::Text),
            ("text/css", Claim::Text),
            ("image/png", Claim::Binary),
        ] {
            assert_eq!(Claim::of(media), claim, "{media}");
        }
    }

    #[test]
    fn pages_are_told_from_fragments() {
        for page in ["<!DOCTYPE html>", "\u{FEFF} <HTML lang=de>", "<!-- a --> <head>", "<body\n>"]
        {
            assert!(looks_like_page(page.as_bytes()), "{page}");
        }
        for other in ["", "<header>", "<li>", "<!-- <html>", "html", "<!doctype xml>", "<bodyx>"] {
            assert!(!looks_like_page(other.as_bytes()), "{other}");
        }
    }
}
