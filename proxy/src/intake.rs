//! What is read of a request before it is decided.
//!
//! Owns the strict reading of target, client address and cookies. It exists because routing may only rely on what
//! every server reads the same way. What must stay true: the path that is decided is the path that is forwarded.

use crate::network::Network;
use banyan_domain::sticky::Headers;
use http::{HeaderMap, HeaderValue, header};
use pingora::http::RequestHeader;
use std::fmt::{self, Write};
use std::net::IpAddr;

/// The parts of a request target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    /// The raw path, without query and fragment.
    pub(crate) path: &'a [u8],
    /// Path and query as they go out when the target came in absolute form.
    pub(crate) rewritten: Option<&'a [u8]>,
    /// Whether a fragment was cut off, which no client may send.
    pub(crate) fragment: bool,
}

/// Why a target is refused before it is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoOrigin;

/// Reads a raw request target: origin form, absolute form, or `*` of OPTIONS.
///
/// Puma and others cut a fragment off, so the path ends at `#` too; whoever decides must refuse such a path
/// if it is declared.
pub(crate) fn target<'a>(method: &http::Method, raw: &'a [u8]) -> Result<Target<'a>, NoOrigin> {
    let (origin, absolute) = match after_authority(raw) {
        Some(rest) => (rest, true),
        None => (raw, false),
    };
    let end = origin.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(origin.len());
    let path = origin.get(..end).unwrap_or_default();
    let path = if absolute && path.is_empty() { b"/" } else { path };
    let asterisk = path == b"*" && *method == http::Method::OPTIONS;
    if !path.starts_with(b"/") && !asterisk {
        return Err(NoOrigin);
    }
    Ok(Target { path, rewritten: absolute.then_some(origin), fragment: origin.contains(&b'#') })
}

/// What follows scheme and authority of a target in absolute form.
fn after_authority(raw: &[u8]) -> Option<&[u8]> {
    if raw.first() == Some(&b'/') {
        return None;
    }
    let scheme = ["http://", "https://"].into_iter().find(|scheme| {
        raw.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme.as_bytes()))
    })?;
    let rest = raw.get(scheme.len()..)?;
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#'));
    rest.get(end.unwrap_or(rest.len())..)
}

/// An address as text, without an allocation.
pub(crate) struct AddressText {
    bytes: [u8; 48],
    length: usize,
}

impl AddressText {
    pub(crate) fn new(address: Option<IpAddr>) -> Self {
        let mut text = Self { bytes: [0; 48], length: 0 };
        match address {
            Some(IpAddr::V4(address)) => text.push_v4(address.octets()),
            // The longest address has 45 characters; an error would leave a prefix.
            Some(IpAddr::V6(address)) => write!(text, "{address}").unwrap_or_default(),
            None => {}
        }
        text
    }

    /// By hand, because the formatter takes longer than the rest of the decision.
    fn push_v4(&mut self, octets: [u8; 4]) {
        for (index, octet) in octets.into_iter().enumerate() {
            if index > 0 {
                self.push(b'.');
            }
            if octet >= 100 {
                self.push(b'0' + octet / 100);
            }
            if octet >= 10 {
                self.push(b'0' + octet / 10 % 10);
            }
            self.push(b'0' + octet % 10);
        }
    }

    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.length) {
            *place = byte;
            self.length += 1;
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        self.bytes.get(..self.length).and_then(|b| std::str::from_utf8(b).ok()).unwrap_or_default()
    }
}

impl fmt::Write for AddressText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

/// The headers of a request as the decision reads them.
pub(crate) struct HeaderView<'a>(pub(crate) &'a HeaderMap);

impl Headers for HeaderView<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.to_str().ok()
    }
}

/// Joins several `Cookie` headers into one. HTTP/2 clients may split them (RFC 9113, 8.2.3); applications and
/// sticky keys expect one.
pub(crate) fn join_cookies(head: &mut RequestHeader) {
    let mut values = head.headers.get_all(header::COOKIE).iter();
    if values.next().is_none() || values.next().is_none() {
        return;
    }
    let parts: Vec<&[u8]> =
        head.headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    // Parts of legal values joined by a legal separator are a legal value.
    if let Ok(joined) = HeaderValue::from_bytes(&parts.join(&b"; "[..])) {
        drop(head.remove_header(&header::COOKIE));
        head.insert_header(header::COOKIE, joined).unwrap_or_default();
    }
}

/// The client's address: the peer's, or, when the peer is a trusted proxy, the nearest address in `X-Forwarded-For`
/// that is none.
pub(crate) fn client_address(
    peer: Option<IpAddr>,
    headers: &HeaderMap,
    trusted: &[Network],
) -> Option<IpAddr> {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(*address));
    let peer = peer.map(|address| address.to_canonical())?;
    if trusted.is_empty() || !is_trusted(&peer) {
        return Some(peer);
    }
    let values = headers.get_all("x-forwarded-for").iter().rev();
    let hops = values.filter_map(|value| value.to_str().ok()).flat_map(|text| text.rsplit(','));
    let mut nearest = peer;
    for hop in hops {
        let Ok(address) = hop.trim().parse::<IpAddr>() else { break };
        nearest = address.to_canonical();
        if !is_trusted(&nearest) {
            break;
        }
    }
    Some(nearest)
}

/// Bytes of all header names and values.
pub(crate) fn header_bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum()
}

/// Whether a request asks for a WebSocket. Other upgrades (`h2c` of curl) are hop by hop and end here.
pub(crate) fn asks_for_tunnel(headers: &HeaderMap) -> bool {
    headers
        .get(header::UPGRADE)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;

    #[test]
    fn the_path_of_every_legal_form_is_found() {
        let path = |raw: &'static str| {
            target(&Method::GET, raw.as_bytes())
                .ok()
                .map(|t| (std::str::from_utf8(t.path).unwrap(), t.rewritten.is_some(), t.fragment))
        };
        assert_eq!(path("/a/b?c=/d"), Some(("/a/b", false, false)));
        assert_eq!(path("/a#x"), Some(("/a", false, true)));
        assert_eq!(path("http://host/a?b"), Some(("/a", true, false)));
        assert_eq!(path("HTTPS://host"), Some(("/", true, false)));
        assert_eq!(path("http://host?x"), Some(("/", true, false)));
        for bad in ["a/b", "*", "", "?x", "ftp://host/a", "\\a"] {
            assert_eq!(path(bad), None, "{bad}");
        }
        assert!(target(&Method::OPTIONS, b"*").is_ok());
    }

    #[test]
    fn addresses_are_written_as_the_standard_library_does() {
        for text in ["0.0.0.0", "127.0.0.1", "10.20.100.255", "203.9.99.109", "::1", "2001:db8::ff"]
        {
            assert_eq!(AddressText::new(text.parse().ok()).as_str(), text);
        }
        assert_eq!(AddressText::new(None).as_str(), "");
    }

    #[test]
    fn split_cookies_become_one() {
        let mut head = RequestHeader::build("GET", b"/", None).unwrap();
        head.append_header("cookie", "a=1").unwrap();
        head.append_header("cookie", "b=2").unwrap();
        join_cookies(&mut head);
        let values: Vec<_> = head.headers.get_all("cookie").iter().collect();
        assert_eq!(values, ["a=1; b=2"]);
    }

    #[test]
    fn only_trusted_peers_may_name_the_client() {
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", HeaderValue::from_static("6.6.6.6, 8.8.8.8"));
        headers.append("x-forwarded-for", HeaderValue::from_static("10.0.0.2"));
        let peer = Some("10.0.0.1".parse().unwrap());
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let address = |trusted: &[Network]| client_address(peer, &headers, trusted).unwrap();
        assert_eq!(address(&[]).to_string(), "10.0.0.1");
        assert_eq!(address(&trusted).to_string(), "8.8.8.8");
    }
}
