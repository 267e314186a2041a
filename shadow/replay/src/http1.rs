//! HTTP/1 messages as bytes, for formats that keep them so.
//!
//! Owns request and response heads, chunked bodies, and the target of a request line. What must stay true: pure; total on
//! any bytes; a body keeps its content encoding.

use crate::Headers;
use bytes::Bytes;

/// Headers of one message.
const HEADERS_MAX: usize = 128;

/// A request without its body.
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Headers,
}

/// A response with its body, transfer encoding removed.
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Headers,
    pub(crate) body: Bytes,
}

/// Reads a request.
pub(crate) fn request(message: &[u8]) -> Option<Request> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    parsed.parse(message).ok()?.is_complete().then_some(())?;
    Some(Request {
        method: parsed.method?.to_owned(),
        target: parsed.path?.to_owned(),
        headers: list(parsed.headers),
    })
}

/// Reads a response. A chunked body that is cut off is none.
pub(crate) fn response(message: &[u8]) -> Option<Response> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(end) = parsed.parse(message).ok()? else { return None };
    let body = message.get(end..)?;
    let status = parsed.code?;
    let mut headers = list(parsed.headers);
    let chunked = headers.iter().any(|(name, value)| {
        name == "transfer-encoding" && value.to_ascii_lowercase().ends_with(b"chunked")
    });
    let body = if chunked {
        headers.retain(|(name, _)| name != "transfer-encoding");
        Bytes::from(unchunked(body)?)
    } else {
        Bytes::copy_from_slice(body)
    };
    Some(Response { status, headers, body })
}

fn list(headers: &[httparse::Header<'_>]) -> Headers {
    headers.iter().map(|header| (header.name.to_ascii_lowercase(), header.value.to_vec())).collect()
}

/// The data of all chunks; nothing if they do not end as they should.
fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let httparse::Status::Complete((head, size)) = httparse::parse_chunk_size(rest).ok()?
        else {
            return None;
        };
        if size == 0 {
            return Some(body);
        }
        let start = rest.get(head..)?;
        let size = usize::try_from(size).ok()?;
        body.extend_from_slice(start.get(..size)?);
        rest = start.get(size..)?.strip_prefix(b"\r\n")?;
    }
}

/// Path and query of a request line's target or of a URL; nothing for `*`, a tunnel, another scheme.
pub(crate) fn path_and_query(target: &str) -> Option<String> {
    let plain = target.split('#').next().unwrap_or_default();
    if plain.starts_with('/') {
        return Some(plain.to_owned());
    }
    let (scheme, rest) = plain.split_once("://")?;
    if !matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https") {
        return None;
    }
    let at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (_, path) = rest.split_at_checked(at)?;
    Some(if path.starts_with('/') { path.to_owned() } else { format!("/{path}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_and_chunks_are_read_and_broken_ones_are_not() {
        let read = request(b"GET /a?b=1 HTTP/1.1\r\nHost: x\r\nX-A: 1\r\n\r\n").unwrap();
        assert_eq!((read.method.as_str(), read.target.as_str()), ("GET", "/a?b=1"));
        assert_eq!(read.headers[1], ("x-a".to_owned(), b"1".to_vec()));
        let message = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n";
        let read = response(message).unwrap();
        assert_eq!((read.status, read.body.as_ref(), read.headers.len()), (200, &b"abcde"[..], 0));
        assert!(response(&message[..message.len() - 8]).is_none());
        assert!(request(b"GET /").is_none() && request(b"\xff\xfe").is_none());
    }

    #[test]
    fn absolute_targets_lose_their_authority() {
        let path = |text| path_and_query(text);
        assert_eq!(path("https://a.example/b?c#d").as_deref(), Some("/b?c"));
        assert_eq!(path("http://a.example?x=1").as_deref(), Some("/?x=1"));
        assert_eq!(path("http://a.example").as_deref(), Some("/"));
        assert_eq!(path("/a#b").as_deref(), Some("/a"));
        assert!(path("*").is_none() && path("ws://a/").is_none() && path("a:443").is_none());
    }
}
