//! The two sources of a diff: files, URLs, standard input.
//!
//! Owns reading within a limit and what is known about a body before it is read: status, headers, type. What must stay
//! true: nothing is read beyond the limit, no credential of a URL is shown, and no header is compared that only one
//! kind of source can have.

use crate::exit::Exit;
use crate::failure::Failure;
use banyan_diff::Obs;
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

const CONTENT_TYPE: &str = "content-type";
const CONTENT_ENCODING: &str = "content-encoding";

/// How sources are read.
pub(crate) struct Request {
    headers: HeaderMap,
    timeout: Duration,
    max_size: usize,
}

/// One side, in memory.
pub(crate) struct Loaded {
    /// As typed, without credentials.
    pub(crate) name: String,
    /// The status, of a URL.
    pub(crate) status: Option<u16>,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
    elapsed: Option<Duration>,
}

impl Request {
    pub(crate) fn new(
        headers: &[String],
        timeout_ms: u64,
        max_size: usize,
    ) -> Result<Self, Failure> {
        let mut map = HeaderMap::new();
        for header in headers {
            // Only a name is repeated: the rest may be a credential.
            let refused = || {
                let what = match header.split_once(':') {
                    Some((name, _)) => format!("`--header`: `{name}` is no header"),
                    None => "a `--header` has no colon".to_owned(),
                };
                usage(what).hint("write 'Name: value'")
            };
            let (name, value) = header.split_once(':').ok_or_else(refused)?;
            let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| refused())?;
            let value = HeaderValue::from_str(value.trim()).map_err(|_| refused())?;
            map.append(name, value);
        }
        Ok(Self { headers: map, timeout: Duration::from_millis(timeout_ms), max_size })
    }

    fn too_large(&self, name: &str) -> Failure {
        let limit = self.max_size;
        Failure::new(
            "banyan::diff::too_large",
            Exit::Inconclusive,
            format!("`{name}` is larger than {limit} bytes and was not compared"),
        )
        .hint("--max-size 1GiB, or cut the sources")
    }
}

fn usage(message: String) -> Failure {
    Failure::new("banyan::diff::usage", Exit::Usage, message)
}

/// Reads both sides; URLs at the same time.
pub(crate) async fn load(
    legacy: &str,
    new: &str,
    request: &Request,
) -> Result<(Loaded, Loaded), Failure> {
    if legacy == "-" && new == "-" {
        return Err(usage("both sides are stdin".to_owned()).hint("name a file or URL for one"));
    }
    tokio::try_join!(one(legacy, request), one(new, request))
}

async fn one(name: &str, request: &Request) -> Result<Loaded, Failure> {
    if name == "-" {
        return file("stdin", std::io::stdin().lock(), request);
    }
    if !name.starts_with("http://") && !name.starts_with("https://") {
        let opened = std::fs::File::open(name).map_err(|error| unreadable(name, &error))?;
        let mut loaded = file(name, opened, request)?;
        loaded.headers = by_ending(Path::new(name));
        return Ok(loaded);
    }
    let url = Url::parse(name)
        .map_err(|error| usage(format!("`{}` is no URL: {error}", without_user(name))))?;
    fetch(url, request).await
}

fn unreadable(name: &str, error: &std::io::Error) -> Failure {
    Failure::of("banyan::diff::unreadable", Exit::Usage, &format!("cannot read `{name}`"), error)
        .hint("name two files or http(s) URLs, or `-` for stdin")
}

fn file(name: &str, source: impl Read, request: &Request) -> Result<Loaded, Failure> {
    let mut body = Vec::new();
    let limit = u64::try_from(request.max_size).unwrap_or(u64::MAX).saturating_add(1);
    source.take(limit).read_to_end(&mut body).map_err(|error| unreadable(name, &error))?;
    if body.len() > request.max_size {
        return Err(request.too_large(name));
    }
    Ok(Loaded { name: name.to_owned(), status: None, headers: Vec::new(), body, elapsed: None })
}

/// Type and encoding by the ending of a file's name.
fn by_ending(path: &Path) -> Vec<(String, Vec<u8>)> {
    let ending =
        |path: &Path| path.extension().map(|end| end.to_string_lossy().to_ascii_lowercase());
    let mut headers = Vec::new();
    let encoding = match ending(path).as_deref() {
        Some("gz") => Some("gzip"),
        Some("br") => Some("br"),
        Some("zst") => Some("zstd"),
        _ => None,
    };
    let inner = encoding.map_or(path, |_| Path::new(path.file_stem().unwrap_or_default()));
    let media = match ending(inner).as_deref() {
        Some("json" | "har" | "geojson") => Some("application/json"),
        Some("ndjson" | "jsonl") => Some("application/x-ndjson"),
        Some("html" | "htm") => Some("text/html"),
        Some("txt" | "md" | "csv" | "log" | "yaml" | "yml" | "toml") => Some("text/plain"),
        Some("xml" | "xhtml" | "svg") => Some("application/xml"),
        Some("js" | "mjs") => Some("application/javascript"),
        Some("css") => Some("text/css"),
        _ => None,
    };
    headers.extend(encoding.map(|name| (CONTENT_ENCODING.to_owned(), name.as_bytes().to_vec())));
    headers.extend(media.map(|media| (CONTENT_TYPE.to_owned(), media.as_bytes().to_vec())));
    headers
}

/// A URL's text without user and password.
fn without_user(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    match authority.rsplit_once('@') {
        Some((user, _)) => {
            format!("{scheme}://{}", rest.get(user.len() + 1..).unwrap_or_default())
        }
        None => text.to_owned(),
    }
}

async fn fetch(url: Url, request: &Request) -> Result<Loaded, Failure> {
    let name = without_user(url.as_str());
    let failed = |error: reqwest::Error| {
        let doing = format!("cannot get `{name}`");
        let slow = error.is_timeout();
        let failure = Failure::of(
            "banyan::diff::unreachable",
            Exit::Unreachable,
            &doing,
            &error.without_url(),
        );
        failure.hint(if slow { "--timeout 2m" } else { "is it running, and is the URL right?" })
    };
    let local = url.host_str().is_some_and(|host| {
        let host = host.trim_matches(['[', ']']);
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    });
    let builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .user_agent(concat!("banyan/", env!("CARGO_PKG_VERSION")))
        .timeout(request.timeout);
    let builder = if local { builder.no_proxy() } else { builder };
    let client = builder.build().map_err(failed)?;
    let started = Instant::now();
    let asked = client.get(url).headers(request.headers.clone());
    let mut response = asked.send().await.map_err(failed)?;
    let status = response.status().as_u16();
    let headers = response.headers().iter();
    let headers = headers.map(|(n, v)| (n.as_str().to_owned(), v.as_bytes().to_vec())).collect();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > request.max_size {
            return Err(request.too_large(&name));
        }
        body.extend_from_slice(&chunk);
    }
    let elapsed = Some(started.elapsed());
    Ok(Loaded { name, status: Some(status), headers, body, elapsed })
}

/// Leaves the headers that can be compared: all of two URLs, else only what says how to read the bodies.
pub(crate) fn matched(
    mut legacy: Loaded,
    mut new: Loaded,
    content_type: Option<&str>,
) -> (Loaded, Loaded) {
    if !(legacy.is_url() && new.is_url()) {
        let media = common(legacy.content_type(), new.content_type());
        for side in [&mut legacy, &mut new] {
            side.headers.retain(|(name, _)| name == CONTENT_ENCODING);
            side.headers.extend(media.clone().map(|media| (CONTENT_TYPE.to_owned(), media)));
        }
    }
    if let Some(media) = content_type {
        for side in [&mut legacy, &mut new] {
            side.headers.retain(|(name, _)| name != CONTENT_TYPE);
            side.headers.push((CONTENT_TYPE.to_owned(), media.as_bytes().to_vec()));
        }
    }
    (legacy, new)
}

/// The type that both bodies are read as; none when the names contradict each other, then the bytes decide.
fn common(legacy: Option<&[u8]>, new: Option<&[u8]>) -> Option<Vec<u8>> {
    let media = |value: &[u8]| {
        let end = value.iter().position(|byte| *byte == b';').unwrap_or(value.len());
        value.get(..end).unwrap_or(value).trim_ascii().to_ascii_lowercase()
    };
    match (legacy, new) {
        (Some(a), Some(b)) => (media(a) == media(b)).then(|| a.to_vec()),
        (one, other) => one.or(other).map(<[u8]>::to_vec),
    }
}

impl Loaded {
    pub(crate) fn obs(&self) -> Obs<'_> {
        Obs { status: self.status.unwrap_or(200), headers: &self.headers, body: &self.body }
    }

    pub(crate) const fn is_url(&self) -> bool {
        self.status.is_some()
    }

    fn content_type(&self) -> Option<&[u8]> {
        self.headers.iter().find(|(name, _)| name == CONTENT_TYPE).map(|(_, value)| &value[..])
    }

    /// Whether the bytes are the body itself.
    pub(crate) fn is_plain(&self) -> bool {
        !self.headers.iter().any(|(name, _)| name == CONTENT_ENCODING)
    }

    pub(crate) fn claims_json(&self) -> bool {
        let json = |media: &[u8]| {
            let media = String::from_utf8_lossy(media).to_ascii_lowercase();
            let media = media.split(';').next().unwrap_or_default().trim().to_owned();
            media == "application/json" || media == "text/json" || media.ends_with("+json")
        };
        self.is_plain() && self.content_type().is_some_and(json)
    }

    pub(crate) fn elapsed_ms(&self) -> Option<u64> {
        self.elapsed.map(|elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
    }

    /// For `--json`.
    pub(crate) fn describe(&self) -> Value {
        json!({
            "source": self.name,
            "status": self.status,
            "content_type": self.content_type().map(String::from_utf8_lossy),
            "bytes": self.body.len(),
            "elapsed_ms": self.elapsed_ms(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn media(name: &str) -> Vec<String> {
        let headers = by_ending(Path::new(name));
        headers.iter().map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
    }

    #[test]
    fn endings_say_type_and_encoding() {
        assert_eq!(media("a/B.JSON"), ["application/json"]);
        assert_eq!(media("b.html.gz"), ["gzip", "text/html"]);
        assert_eq!(media("README"), [""; 0]);
        assert_eq!(media(".gz"), [""; 0]);
    }

    #[test]
    fn both_bodies_are_read_as_one_type_or_by_their_bytes() {
        assert_eq!(
            common(Some(b"text/html; charset=utf-8"), Some(b"text/HTML")).unwrap().len(),
            24
        );
        assert_eq!(common(None, Some(b"text/html")).unwrap(), b"text/html");
        assert_eq!(common(Some(b"text/plain"), Some(b"application/json")), None);
    }

    #[test]
    fn credentials_are_not_repeated() {
        assert_eq!(without_user("http://ada:s3cret@h:1/p?q=a@b"), "http://h:1/p?q=a@b");
        assert_eq!(without_user("http://h/p@q"), "http://h/p@q");
        for header in ["Authorization Bearer s3cret", "A b: s3cret", "A: s3cret\u{1}"] {
            let refused = Request::new(&[header.to_owned()], 1, 1).err().unwrap();
            assert!(!refused.message.contains("s3cret"), "{}", refused.message);
        }
    }
}
