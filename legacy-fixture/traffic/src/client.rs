//! One virtual user's HTTP: credentials, cookies, forms, one exchange at a time.
//!
//! What must stay true: no request is sent twice, no redirect followed; cookies are kept as a browser keeps them (a
//! proxy may pin its visitor with one), API clients keep none.

use crate::endpoint::Endpoint;
use fixture_passport::{Passport, SESSION_COOKIE};
use reqwest::{
    Client, Method, RequestBuilder,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, COOKIE, HeaderMap, IF_NONE_MATCH, SET_COOKIE},
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fmt::Write,
    time::{Duration, Instant},
};

/// Longer than any wait that the practice world allows itself.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A request to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) endpoint: Endpoint,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) payload: Payload,
    pub(crate) wants: Wants,
    pub(crate) known_etag: Option<String>,
}

/// The body of a request.
#[derive(Debug, Clone)]
pub(crate) enum Payload {
    Nothing,
    Form(Vec<(String, String)>),
    Json(Value),
}

/// The kind of answer that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wants {
    Json,
    Html,
}

/// A complete answer.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

/// A virtual user's browser or API client.
#[derive(Debug)]
pub(crate) struct Browser {
    http: Client,
    site: String,
    credential: Credential,
}

#[derive(Debug)]
enum Credential {
    Token(String),
    Session { cookies: BTreeMap<String, String>, csrf_token: Option<String> },
}

impl Ask {
    /// A GET for JSON.
    pub(crate) fn get(endpoint: Endpoint, path: impl Into<String>) -> Self {
        Self::new(endpoint, Method::GET, path, Payload::Nothing)
    }

    pub(crate) fn new(
        endpoint: Endpoint,
        method: Method,
        path: impl Into<String>,
        payload: Payload,
    ) -> Self {
        let path = path.into();
        Self { endpoint, method, path, payload, wants: Wants::Json, known_etag: None }
    }
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The CSRF token that an HTML page shows.
    pub(crate) fn csrf_meta(&self) -> Option<String> {
        let (_, after) = self.body.split_once("name=\"csrf-token\" content=\"")?;
        let (token, _) = after.split_once('"')?;
        Some(token.replace("&#43;", "+").replace("&#x2B;", "+").replace("&#x2F;", "/"))
    }
}

/// The client that all sessions share. HTTP/1.1 with keep-alive; nothing is retried above it.
pub(crate) fn http_client(connections: u32) -> Result<Client, reqwest::Error> {
    Client::builder()
        .timeout(TIMEOUT)
        .http1_only()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .pool_max_idle_per_host(usize::try_from(connections).unwrap_or(usize::MAX))
        .build()
}

impl Browser {
    /// An API client with the user's token.
    pub(crate) fn with_token(http: Client, site: &str, passport: &Passport, user_id: i64) -> Self {
        let credential = Credential::Token(passport.token(user_id));
        Self { http, site: site.to_owned(), credential }
    }

    /// A browser without any cookie yet.
    pub(crate) fn new(http: Client, site: &str) -> Self {
        let credential = Credential::Session { cookies: BTreeMap::new(), csrf_token: None };
        Self { http, site: site.to_owned(), credential }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.site)
    }

    /// True when a login left a session cookie here.
    pub(crate) fn has_session(&self) -> bool {
        match &self.credential {
            Credential::Token(_) => false,
            Credential::Session { cookies, .. } => cookies.contains_key(SESSION_COOKIE),
        }
    }

    /// Remembers the token of a page, for the next changes.
    pub(crate) fn keep_csrf_token(&mut self, token: String) {
        match &mut self.credential {
            Credential::Token(_) => {}
            Credential::Session { csrf_token, .. } => *csrf_token = Some(token),
        }
    }

    /// Sends a request and takes the whole answer; the error says what broke.
    pub(crate) async fn send(
        &mut self,
        ask: &Ask,
        request_id: &str,
    ) -> (Result<Reply, String>, Duration) {
        let started = Instant::now();
        let reply = self.exchange(ask, request_id).await;
        let latency = started.elapsed();
        if let Ok(reply) = &reply {
            self.keep_cookies(&reply.headers);
        }
        (reply.map_err(|error| whole_chain(&error)), latency)
    }

    async fn exchange(&self, ask: &Ask, request_id: &str) -> Result<Reply, reqwest::Error> {
        let builder = self.http.request(ask.method.clone(), self.url(&ask.path));
        let builder = builder.header("x-request-id", request_id);
        let builder = self.with_credential(builder, ask);
        let builder = match ask.wants {
            Wants::Json => builder.header(ACCEPT, "application/json"),
            Wants::Html => builder.header(ACCEPT, "text/html,application/xhtml+xml"),
        };
        let builder = match &ask.known_etag {
            Some(etag) => builder.header(IF_NONE_MATCH, etag),
            None => builder,
        };
        let response = self.with_payload(builder, &ask.payload).send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = String::from_utf8_lossy(&response.bytes().await?).into_owned();
        Ok(Reply { status, headers, body })
    }

    fn with_credential(&self, builder: RequestBuilder, ask: &Ask) -> RequestBuilder {
        match &self.credential {
            Credential::Token(token) => builder.header(AUTHORIZATION, format!("OAuth {token}")),
            Credential::Session { cookies, csrf_token } => {
                let builder = if cookies.is_empty() {
                    builder
                } else {
                    let pairs: Vec<_> =
                        cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
                    builder.header(COOKIE, pairs.join("; "))
                };
                // Forms carry the token as a field, scripts as a header.
                let is_form = matches!(ask.payload, Payload::Form(_));
                match csrf_token.as_ref().filter(|_| !is_form && ask.method != Method::GET) {
                    Some(token) => builder.header("x-csrf-token", token),
                    None => builder,
                }
            }
        }
    }

    fn with_payload(&self, builder: RequestBuilder, payload: &Payload) -> RequestBuilder {
        match payload {
            Payload::Nothing => builder,
            Payload::Json(value) => builder.json(value),
            Payload::Form(fields) => {
                let token = match &self.credential {
                    Credential::Token(_) => None,
                    Credential::Session { csrf_token, .. } => csrf_token.clone(),
                };
                let token = token.map(|token| ("authenticity_token".to_owned(), token));
                let body = form_body(fields.iter().cloned().chain(token));
                builder.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(body)
            }
        }
    }

    fn keep_cookies(&mut self, headers: &HeaderMap) {
        let Credential::Session { cookies, .. } = &mut self.credential else { return };
        for header in headers.get_all(SET_COOKIE) {
            let Some(text) = header.to_str().ok() else { continue };
            let mut parts = text.split(';');
            let Some((name, value)) = parts.next().and_then(|pair| pair.trim().split_once('='))
            else {
                continue;
            };
            let is_expired = parts.any(|part| part.trim().eq_ignore_ascii_case("max-age=0"));
            if is_expired {
                cookies.remove(name);
            } else {
                cookies.insert(name.to_owned(), value.to_owned());
            }
        }
    }
}

fn form_body(fields: impl Iterator<Item = (String, String)>) -> String {
    let encoded = fields.map(|(name, value)| format!("{}={}", encode(&name), encode(&value)));
    encoded.collect::<Vec<_>>().join("&")
}

fn encode(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._*".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            write!(encoded, "%{byte:02X}").ok();
        }
        encoded
    })
}

fn whole_chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        write!(text, ": {cause}").ok();
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_encoded_whole() {
        let fields = [("message[body]", "a b&é🌳=+"), ("x", "")];
        let owned = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let body = form_body(owned.into_iter());
        assert_eq!(body, "message%5Bbody%5D=a%20b%26%C3%A9%F0%9F%8C%B3%3D%2B&x=");
    }

    #[test]
    fn browsers_keep_and_drop_cookies_and_clients_have_none() {
        let http = http_client(1).unwrap();
        let mut headers = HeaderMap::new();
        let session = format!("{SESSION_COOKIE}=1.2.3; path=/; HttpOnly");
        headers.append(SET_COOKIE, session.parse().unwrap());
        headers.append(SET_COOKIE, "pin=legacy; Path=/".parse().unwrap());
        let mut browser = Browser::new(http.clone(), "http://a");
        browser.keep_cookies(&headers);
        assert!(browser.has_session());
        let mut expired = HeaderMap::new();
        expired.append(SET_COOKIE, format!("{SESSION_COOKIE}=; Max-Age=0").parse().unwrap());
        browser.keep_cookies(&expired);
        assert!(!browser.has_session());
        let mut client = Browser::with_token(http, "http://a", &Passport::new("s"), 3);
        client.keep_cookies(&headers);
        assert!(!client.has_session());
    }

    #[test]
    fn the_token_of_a_page_is_found() {
        let page =
            |body: &str| Reply { status: 200, headers: HeaderMap::new(), body: body.to_owned() };
        let html = "<meta name=\"csrf-token\" content=\"ab+/=\">";
        assert_eq!(page(html).csrf_meta().as_deref(), Some("ab+/="));
        assert_eq!(page("<html>").csrf_meta(), None);
    }
}
