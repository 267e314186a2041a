//! How a request is read, as Rails would: format, method, parameters, caller, forgery check.
//!
//! Everything that Rack and ActionController do before the action is here, so that handlers see one settled [`Call`].
//!
//! What must stay true: only a POST can be overridden to another method; a session caller's change passes only with
//! the token of his session; a body above [`BODY_BYTES_MAX`] or slower than [`BODY_WAIT_MAX`] is not read.

use crate::failure::Failure;
use axum::{
    body::{Body, Bytes},
    extract::{FromRequestParts, Path},
    http::{HeaderMap, Method, Request, Uri, header, request::Parts, uri::PathAndQuery},
};
use fixture_passport::{Caller, CallerKind, Page, Passport};
use rand::distr::{Alphanumeric, SampleString};
use serde_json::{Map, Value};
use std::{convert::Infallible, sync::Arc, time::Duration};

/// Longest request body that is read.
pub(crate) const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Longest time that a body may take to arrive.
const BODY_WAIT_MAX: Duration = Duration::from_secs(30);
const REQUEST_ID_CHARS_MAX: usize = 255;

/// What a handler needs to know of its request. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    settled: Arc<Settled>,
}

#[derive(Debug, Default)]
struct Settled {
    caller: Option<Caller>,
    session: Option<String>,
    request_id: String,
    format: Format,
    query: Option<String>,
    params: Value,
}

/// The kind of answer that the caller wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Format {
    #[default]
    Json,
    Html,
}

/// `{id}` of the path; anything but a number is 404.
pub(crate) struct Id(pub(crate) i64);

/// Both ids of the path; anything but numbers is 404.
pub(crate) struct Ids(pub(crate) i64, pub(crate) i64);

impl Call {
    /// The caller, or 401.
    pub(crate) fn caller(&self) -> Result<i64, Failure> {
        self.visitor().ok_or(Failure::Unauthorized)
    }

    /// The caller when there is one.
    pub(crate) fn visitor(&self) -> Option<i64> {
        self.settled.caller.map(|caller| caller.user_id)
    }

    /// The caller, who must be `user_id`: else 401 or 403.
    pub(crate) fn must_be(&self, user_id: i64) -> Result<i64, Failure> {
        let caller = self.caller()?;
        if caller == user_id { Ok(caller) } else { Err(Failure::Forbidden) }
    }

    pub(crate) fn page(&self) -> Page {
        Page::from_query(self.settled.query.as_deref())
    }

    pub(crate) fn format(&self) -> Format {
        self.settled.format
    }

    /// The verified session cookie's value, for a session caller.
    pub(crate) fn session(&self) -> Option<&str> {
        self.settled.session.as_deref()
    }

    pub(crate) fn request_id(&self) -> &str {
        &self.settled.request_id
    }

    /// The parameters of one resource (`message[..]`, `{"message":{..}}`), or 400.
    pub(crate) fn resource(&self, name: &str) -> Result<&Map<String, Value>, Failure> {
        self.param(name).and_then(Value::as_object).ok_or(Failure::BadRequest)
    }

    /// One parameter of the body.
    pub(crate) fn param(&self, name: &str) -> Option<&Value> {
        self.settled.params.get(name)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Call {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        let call = parts.extensions.get::<Self>().cloned();
        Ok(call.unwrap_or_else(|| Self { settled: Arc::default() }))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let path = Path::<i64>::from_request_parts(parts, state).await;
        path.map(|Path(id)| Self(id)).map_err(|_| Failure::NotFound)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Ids {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let path = Path::<(i64, i64)>::from_request_parts(parts, state).await;
        path.map(|Path((first, second))| Self(first, second)).map_err(|_| Failure::NotFound)
    }
}

/// Settles a request: reads its body, rewrites its method and path for the router, attaches the [`Call`].
pub(crate) async fn settle(
    passport: &Passport,
    request_id: String,
    request: Request<Body>,
) -> Result<Request<Body>, Failure> {
    let (mut parts, body) = request.into_parts();
    let params = if parts.method == Method::GET {
        Value::Null
    } else {
        read_params(&parts.headers, &read_body(body).await?)?
    };
    parts.method = effective_method(&parts, &params);
    let (uri, suffix) = without_suffix(&parts.uri);
    parts.uri = uri;

    let authorization = text(&parts.headers, header::AUTHORIZATION);
    let cookies = text(&parts.headers, header::COOKIE);
    let caller = passport.caller(authorization, cookies);
    refuse_forgery(passport, &parts, &params, caller)?;

    let by_session = caller.is_some_and(|caller| caller.by == CallerKind::Session);
    let session = cookies.filter(|_| by_session).and_then(fixture_passport::session_cookie);
    let settled = Settled {
        caller,
        session: session.map(str::to_owned),
        request_id,
        format: suffix.unwrap_or_else(|| accepted(text(&parts.headers, header::ACCEPT))),
        query: parts.uri.query().map(str::to_owned),
        params,
    };
    parts.extensions.insert(Call { settled: Arc::new(settled) });
    Ok(Request::from_parts(parts, Body::empty()))
}

/// The caller's `X-Request-Id`, cleaned as Rails does, or a random one.
pub(crate) fn request_id(headers: &HeaderMap) -> String {
    let kept: String = headers
        .get("x-request-id")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .chars()
        .filter(|character| character.is_ascii_alphanumeric() || "-_@.".contains(*character))
        .take(REQUEST_ID_CHARS_MAX)
        .collect();
    if kept.is_empty() { Alphanumeric.sample_string(&mut rand::rng(), 32) } else { kept }
}

/// A whole number, given as a number or (by forms) as text.
pub(crate) fn integer(value: Option<&Value>) -> Option<i64> {
    let value = value?;
    value.as_i64().or_else(|| value.as_str()?.trim().parse().ok())
}

async fn read_body(body: Body) -> Result<Bytes, Failure> {
    let read = axum::body::to_bytes(body, BODY_BYTES_MAX);
    match tokio::time::timeout(BODY_WAIT_MAX, read).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => Err(Failure::TooLarge),
        Err(_) => Err(Failure::BadRequest),
    }
}

fn read_params(headers: &HeaderMap, body: &Bytes) -> Result<Value, Failure> {
    if body.is_empty() {
        return Ok(Value::Null);
    }
    if is_form(headers) {
        return Ok(form_params(body));
    }
    let params: Value = serde_json::from_slice(body).map_err(|_| Failure::BadRequest)?;
    if params.is_object() { Ok(params) } else { Err(Failure::BadRequest) }
}

/// `message[body]=Hi&_method=patch` as `{"message":{"body":"Hi"},"_method":"patch"}`.
fn form_params(body: &[u8]) -> Value {
    let mut params = Map::new();
    for (key, value) in url::form_urlencoded::parse(body) {
        let value = Value::String(value.into_owned());
        match key.strip_suffix(']').and_then(|key| key.split_once('[')) {
            Some((resource, attribute)) => {
                let slot = params.entry(resource).or_insert_with(|| Value::Object(Map::new()));
                if let Some(attributes) = slot.as_object_mut() {
                    attributes.insert(attribute.to_owned(), value);
                }
            }
            None => {
                params.insert(key.into_owned(), value);
            }
        }
    }
    Value::Object(params)
}

fn effective_method(parts: &Parts, params: &Value) -> Method {
    if parts.method != Method::POST {
        return parts.method.clone();
    }
    let field = params.get("_method").and_then(Value::as_str).filter(|_| is_form(&parts.headers));
    let header = parts.headers.get("x-http-method-override").and_then(|value| value.to_str().ok());
    match field.or(header).map(str::to_ascii_uppercase).as_deref() {
        Some("PUT") => Method::PUT,
        Some("PATCH") => Method::PATCH,
        Some("DELETE") => Method::DELETE,
        Some(_) | None => Method::POST,
    }
}

/// `/messages/91.json/` as `/messages/91` and the format that the suffix asked for.
fn without_suffix(uri: &Uri) -> (Uri, Option<Format>) {
    let path = uri.path().trim_end_matches('/');
    let (path, format) = match path.strip_suffix(".json") {
        Some(path) => (path, Some(Format::Json)),
        None => (path, None),
    };
    let path = if path.is_empty() { "/" } else { path };
    let target = uri.query().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = PathAndQuery::try_from(target).ok().or(parts.path_and_query);
    (Uri::from_parts(parts).unwrap_or_else(|_| uri.clone()), format)
}

fn refuse_forgery(
    passport: &Passport,
    parts: &Parts,
    params: &Value,
    caller: Option<Caller>,
) -> Result<(), Failure> {
    let by_session = caller.is_some_and(|caller| caller.by == CallerKind::Session);
    // Logging in anew needs no old page; the password is the proof.
    if parts.method == Method::GET || !by_session || parts.uri.path() == "/login" {
        return Ok(());
    }
    let header = parts.headers.get("x-csrf-token").and_then(|value| value.to_str().ok());
    let field = params.get("authenticity_token").and_then(Value::as_str);
    let cookies = text(&parts.headers, header::COOKIE);
    if header.or(field).is_some_and(|token| passport.csrf_matches(cookies, token)) {
        Ok(())
    } else {
        Err(Failure::InvalidToken)
    }
}

/// HTML when `Accept` names it with a higher weight than JSON, or before it with the same; else JSON.
fn accepted(accept: Option<&str>) -> Format {
    let mut best = (0.0_f32, Format::Json);
    for part in accept.unwrap_or_default().split(',') {
        let mut fields = part.split(';').map(str::trim);
        let format = match fields.next().unwrap_or_default() {
            "text/html" | "application/xhtml+xml" => Format::Html,
            "application/json" => Format::Json,
            _ => continue,
        };
        let weight = fields.find_map(|field| field.strip_prefix("q=")?.parse().ok()).unwrap_or(1.0);
        if weight > best.0 {
            best = (weight, format);
        }
    }
    best.1
}

fn is_form(headers: &HeaderMap) -> bool {
    let content_type = text(headers, header::CONTENT_TYPE).unwrap_or_default();
    content_type.starts_with("application/x-www-form-urlencoded")
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(method: &str, headers: &[(&str, &str)]) -> Parts {
        let mut builder = Request::builder().method(method).uri("/messages/1");
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap().into_parts().0
    }

    #[test]
    fn suffix_and_trailing_slash_do_not_reach_the_router() {
        let split = |uri: &str| {
            let (uri, format) = without_suffix(&uri.parse().unwrap());
            (uri.to_string(), format)
        };
        assert_eq!(split("/messages/91.json?a=b"), ("/messages/91?a=b".into(), Some(Format::Json)));
        assert_eq!(split("/users/3/"), ("/users/3".into(), None));
        assert_eq!(split("/"), ("/".into(), None));
        assert_eq!(split("//"), ("/".into(), None));
        assert_eq!(split("/.json"), ("/".into(), Some(Format::Json)));
    }

    #[test]
    fn html_needs_to_be_preferred() {
        assert_eq!(accepted(None), Format::Json);
        assert_eq!(accepted(Some("*/*")), Format::Json);
        assert_eq!(accepted(Some("text/html,application/json")), Format::Html);
        assert_eq!(accepted(Some("application/json, text/html")), Format::Json);
        assert_eq!(accepted(Some("application/json;q=0.3, text/html;q=0.5")), Format::Html);
        assert_eq!(accepted(Some("text/html;q=0")), Format::Json);
    }

    #[test]
    fn only_a_post_can_be_overridden() {
        let form = ("content-type", "application/x-www-form-urlencoded");
        let params = form_params(b"_method=patch");
        assert_eq!(effective_method(&parts("POST", &[form]), &params), Method::PATCH);
        assert_eq!(effective_method(&parts("POST", &[]), &params), Method::POST);
        assert_eq!(effective_method(&parts("PUT", &[form]), &params), Method::PUT);
        let header = ("x-http-method-override", "DELETE");
        assert_eq!(effective_method(&parts("POST", &[header]), &Value::Null), Method::DELETE);
        assert_eq!(effective_method(&parts("GET", &[header]), &Value::Null), Method::GET);
        let get = ("x-http-method-override", "GET");
        assert_eq!(effective_method(&parts("POST", &[get]), &Value::Null), Method::POST);
    }

    #[test]
    fn forms_nest_one_level() {
        let params =
            form_params("message[body]=a+b%26%C3%A9&message[recipient_id]=17&x=1".as_bytes());
        assert_eq!(params["message"]["body"], "a b&é");
        assert_eq!(integer(params["message"].get("recipient_id")), Some(17));
        assert_eq!(params["x"], "1");
        assert_eq!(form_params(b"a=1&a[b]=2")["a"], "1");
    }

    #[test]
    fn request_ids_are_cleaned_or_made() {
        let mut headers = HeaderMap::new();
        assert_eq!(request_id(&headers).len(), 32);
        assert_ne!(request_id(&headers), request_id(&headers));
        headers.insert("x-request-id", "ab c<1>\"-_".parse().unwrap());
        assert_eq!(request_id(&headers), "abc1-_");
    }
}
