//! Asking a side over HTTP/1.1.
//!
//! Owns the one client of the workers. What must stay true: no redirect is followed, no cookie is kept, nothing is
//! decoded, no environment proxy is used, time and size are bounded, and a target that the URL library would rewrite
//! is refused instead of sent changed.
//!
//! A request without `accept` gets `accept: */*` from the client library; by RFC 9110 12.5.1 both mean the same.

use crate::{Answer, Ask, AskError, MirrorRequest, StartError};
use async_trait::async_trait;
use banyan_domain::{ContextName, Side};
use bytes::{Bytes, BytesMut};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Url};
use std::collections::BTreeMap;
use std::time::Duration;

/// Where the sides are and how long to wait for them.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// Base URL of the monolith, such as `http://127.0.0.1:3000`; no path, no query.
    pub legacy_url: String,
    /// Base URL of the carved service of each context.
    pub new_urls: BTreeMap<ContextName, String>,
    /// Bound on connecting, in ms.
    pub connect_timeout_ms: u64,
    /// Bound on the whole answer, in ms.
    pub timeout_ms: u64,
    /// Largest body that is kept; a larger one is given up.
    pub body_bytes_max: usize,
}

/// The sides, reachable over HTTP.
#[derive(Debug)]
pub struct HttpAsk {
    client: Client,
    legacy: Url,
    new: BTreeMap<ContextName, Url>,
    timeout: Duration,
    body_bytes_max: usize,
}

impl HttpAsk {
    /// A client for these sides.
    ///
    /// # Errors
    /// When a base URL is none, or the client cannot be set up (TLS).
    pub fn new(config: &HttpConfig) -> Result<Self, StartError> {
        let client = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .http1_only()
            .connect_timeout(Duration::from_millis(config.connect_timeout_ms))
            .build()
            .map_err(StartError::Client)?;
        let new = config.new_urls.iter();
        let new = new.map(|(context, url)| Ok((context.clone(), base(url)?)));
        Ok(Self {
            client,
            legacy: base(&config.legacy_url)?,
            new: new.collect::<Result<_, StartError>>()?,
            timeout: Duration::from_millis(config.timeout_ms),
            body_bytes_max: config.body_bytes_max,
        })
    }

    async fn fetch(&self, request: reqwest::Request) -> Result<Answer, AskError> {
        let mut response = self.client.execute(request).await.map_err(|error| failed(&error))?;
        let status = response.status().as_u16();
        let headers = response.headers().iter();
        let headers =
            headers.map(|(n, v)| (n.as_str().to_owned(), v.as_bytes().to_vec())).collect();
        let body = self.body(&mut response).await?;
        Ok(Answer { status, headers, body })
    }

    async fn body(&self, response: &mut reqwest::Response) -> Result<Bytes, AskError> {
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| failed(&error))? {
            if body.len() + chunk.len() > self.body_bytes_max {
                return Err(AskError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }
}

#[async_trait]
impl Ask for HttpAsk {
    async fn ask(
        &self,
        context: &ContextName,
        side: Side,
        request: &MirrorRequest,
    ) -> Result<Answer, AskError> {
        let base = match side {
            Side::Legacy => &self.legacy,
            Side::New => self.new.get(context).ok_or(AskError::NoTarget)?,
        };
        let request = prepared(base, request).ok_or(AskError::InexactTarget)?;
        tokio::time::timeout(self.timeout, self.fetch(request))
            .await
            .unwrap_or(Err(AskError::Timeout))
    }
}

fn base(text: &str) -> Result<Url, StartError> {
    let refused = || StartError::BaseUrl { url: text.to_owned() };
    let url = Url::parse(text).map_err(|_| refused())?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    if plain { Ok(url) } else { Err(refused()) }
}

/// The request to send, or nothing if it would not go out as it came in.
fn prepared(base: &Url, request: &MirrorRequest) -> Option<reqwest::Request> {
    let text = format!("{}{}", base.as_str().strip_suffix('/')?, request.path_and_query);
    let url = Url::parse(&text).ok()?;
    let sent = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    if sent != request.path_and_query || url.fragment().is_some() || url.origin() != base.origin() {
        return None;
    }
    let method = Method::from_bytes(request.method.as_bytes()).ok()?;
    let mut headers = HeaderMap::new();
    for (name, value) in &request.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        headers.append(name, HeaderValue::from_bytes(value).ok()?);
    }
    let mut prepared = reqwest::Request::new(method, url);
    *prepared.headers_mut() = headers;
    Some(prepared)
}

fn failed(error: &reqwest::Error) -> AskError {
    if error.is_timeout() {
        AskError::Timeout
    } else if error.is_builder() {
        AskError::InexactTarget
    } else {
        AskError::Unreachable
    }
}

#[cfg(test)]
mod tests;
