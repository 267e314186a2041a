//! The request that asks the other side the same.
//!
//! Owns which reads can be asked again and what is changed about them: hop-by-hop and conditional headers go, the loop
//! guard comes, everything else stays as the client sent it (credentials and `accept-encoding` too: both change
//! answers). What must stay true: pure; only GET and HEAD; the target is never rewritten.

use crate::{Exchange, SkipReason};
use std::fmt;

/// Marks a mirrored request, so that a proxy never mirrors it again.
pub const SHADOW_HEADER: &str = "x-banyan-shadow";
/// Counts how many Banyan parts a request has passed.
pub const HOPS_HEADER: &str = "x-banyan-hops";
/// Above this many hops a request runs in circles.
const HOPS_MAX: u8 = 3;

/// Headers that belong to one connection (RFC 9110 7.6.1) or to a body that is not sent again.
const HOP_BY_HOP: [&str; 12] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-length",
    "expect",
    "http2-settings",
];

/// Headers that make an answer depend on what the client has stored.
const CONDITIONAL: [&str; 5] =
    ["if-none-match", "if-modified-since", "if-match", "if-unmodified-since", "if-range"];

/// A read, ready to be sent to either side.
#[derive(Clone, PartialEq, Eq)]
pub struct MirrorRequest {
    /// `GET` or `HEAD`.
    pub method: String,
    /// Path and query, byte for byte as the client sent them.
    pub path_and_query: String,
    /// Headers in wire order, names in lower case; kept in memory only.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl MirrorRequest {
    /// The request for an exchange, or why it cannot be asked again.
    ///
    /// A conditional request that was answered in full is asked without its conditions; one that was answered 304, and
    /// any range, is skipped: there is no whole answer to compare.
    pub fn of(exchange: &Exchange) -> Result<Self, SkipReason> {
        let headers: Vec<(String, Vec<u8>)> = exchange
            .request_headers
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
            .collect();
        let value = |wanted: &str| find(&headers, wanted);
        if exchange.method != "GET" && exchange.method != "HEAD" {
            return Err(SkipReason::UnsafeMethod);
        }
        if value("upgrade").is_some() {
            return Err(SkipReason::Upgraded);
        }
        if matches!(exchange.served.status, 206 | 304) || value("range").is_some() {
            return Err(SkipReason::ConditionalOrRange);
        }
        if has_body(&headers) || !exchange.path_and_query.starts_with('/') {
            return Err(SkipReason::InexactTarget);
        }
        let hops = hops(value(HOPS_HEADER));
        if value(SHADOW_HEADER).is_some() || hops >= HOPS_MAX {
            return Err(SkipReason::Loop);
        }
        Ok(Self {
            method: exchange.method.clone(),
            path_and_query: exchange.path_and_query.clone(),
            headers: forwarded(headers, hops + 1),
        })
    }

    /// The first value of a header, by lower-case name.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        find(&self.headers, name)
    }
}

/// Shows neither headers nor target: they hold credentials and ids.
impl fmt::Debug for MirrorRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MirrorRequest").field("method", &self.method).finish_non_exhaustive()
    }
}

fn find<'h>(headers: &'h [(String, Vec<u8>)], wanted: &str) -> Option<&'h [u8]> {
    headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_slice())
}

fn has_body(headers: &[(String, Vec<u8>)]) -> bool {
    find(headers, "transfer-encoding").is_some()
        || find(headers, "content-length").is_some_and(|length| length.trim_ascii() != b"0")
}

/// An unreadable count is as bad as one that is too high.
fn hops(header: Option<&[u8]>) -> u8 {
    let text = header.map(|value| std::str::from_utf8(value).unwrap_or("?"));
    text.map_or(0, |text| text.trim().parse().unwrap_or(HOPS_MAX))
}

fn forwarded(headers: Vec<(String, Vec<u8>)>, hops: u8) -> Vec<(String, Vec<u8>)> {
    let nominated: Vec<String> = headers
        .iter()
        .filter(|(name, _)| name == "connection")
        .flat_map(|(_, value)| value.split(|byte| *byte == b','))
        .map(|name| String::from_utf8_lossy(name.trim_ascii()).to_ascii_lowercase())
        .collect();
    let stays = |name: &str| {
        !HOP_BY_HOP.contains(&name)
            && !CONDITIONAL.contains(&name)
            && name != HOPS_HEADER
            // `Connection: host` must not take away what says whom the request is for.
            && (name == "host" || !nominated.iter().any(|own| own == name))
    };
    let mut kept: Vec<_> = headers.into_iter().filter(|(name, _)| stays(name)).collect();
    kept.push((SHADOW_HEADER.to_owned(), b"1".to_vec()));
    kept.push((HOPS_HEADER.to_owned(), hops.to_string().into_bytes()));
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::exchange;

    fn with(headers: &[(&str, &str)]) -> Exchange {
        let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), v.as_bytes().to_vec()));
        Exchange { request_headers: headers.collect(), ..exchange("messages.list", "/a?b=%2F") }
    }

    fn sent(headers: &[(&str, &str)]) -> Vec<(String, String)> {
        let request = MirrorRequest::of(&with(headers)).unwrap();
        let text = |v: Vec<u8>| String::from_utf8(v).unwrap();
        request.headers.into_iter().map(|(n, v)| (n, text(v))).collect()
    }

    #[test]
    fn credentials_host_and_repeated_headers_stay_connection_headers_go() {
        let sent = sent(&[
            ("Host", "api.example"),
            ("Authorization", "OAuth 1"),
            ("Accept-Encoding", "gzip"),
            ("X-A", "1"),
            ("X-A", "2"),
            ("Connection", "close, X-Secret, host"),
            ("X-Secret", "s"),
            ("TE", "trailers"),
            ("X-Banyan-Hops", "1"),
        ]);
        let expected = [
            ("host", "api.example"),
            ("authorization", "OAuth 1"),
            ("accept-encoding", "gzip"),
            ("x-a", "1"),
            ("x-a", "2"),
            ("x-banyan-shadow", "1"),
            ("x-banyan-hops", "2"),
        ];
        let expected = expected.map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(sent, expected);
    }

    #[test]
    fn conditions_are_left_out_when_the_answer_was_whole_and_skipped_when_not() {
        let conditional = [("If-None-Match", "W/\"a\""), ("If-Modified-Since", "x")];
        assert!(sent(&conditional).iter().all(|(name, _)| !name.starts_with("if-")));
        let mut exchange = with(&conditional);
        exchange.served.status = 304;
        assert_eq!(MirrorRequest::of(&exchange), Err(SkipReason::ConditionalOrRange));
        assert_eq!(
            MirrorRequest::of(&with(&[("Range", "bytes=0-1")])),
            Err(SkipReason::ConditionalOrRange)
        );
    }

    #[test]
    fn loops_writes_tunnels_and_bodies_are_skipped() {
        let skipped = |headers: &[(&str, &str)]| MirrorRequest::of(&with(headers)).unwrap_err();
        assert_eq!(skipped(&[("x-banyan-shadow", "1")]), SkipReason::Loop);
        assert_eq!(skipped(&[("x-banyan-hops", "3")]), SkipReason::Loop);
        assert_eq!(skipped(&[("x-banyan-hops", "many")]), SkipReason::Loop);
        assert_eq!(skipped(&[("upgrade", "websocket")]), SkipReason::Upgraded);
        assert_eq!(skipped(&[("content-length", "3")]), SkipReason::InexactTarget);
        assert_eq!(skipped(&[("transfer-encoding", "chunked")]), SkipReason::InexactTarget);
        let post = Exchange { method: "POST".into(), ..with(&[]) };
        assert_eq!(MirrorRequest::of(&post), Err(SkipReason::UnsafeMethod));
        let absolute = Exchange { path_and_query: "http://a/".into(), ..with(&[]) };
        assert_eq!(MirrorRequest::of(&absolute), Err(SkipReason::InexactTarget));
    }
}
