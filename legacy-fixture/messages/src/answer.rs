//! An answer before it is HTTP: status, body and the few headers that depend on the request.
//!
//! What must stay true: every answer leaves through [`Answer::into_response`], so all carry the headers of the
//! contract, and the entity tag is of exactly the bytes that were sent.

use axum::body::Body;
use fixture_passport::{not_modified, weak_etag};
use http::{
    HeaderValue, Method, Response, StatusCode,
    header::{
        CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName, LINK, LOCATION, RETRY_AFTER,
        X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
    },
};
use serde::Serialize;
use std::time::Duration;

/// The context of this service.
pub(crate) const CONTEXT: &str = "messages";
const X_BANYAN_FENCED: HeaderName = HeaderName::from_static("x-banyan-fenced");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_RUNTIME: HeaderName = HeaderName::from_static("x-runtime");
const X_SERVED_BY: HeaderName = HeaderName::from_static("x-served-by");

/// What is to be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    status: StatusCode,
    body: Vec<u8>,
    link: Option<String>,
    location: Option<String>,
    is_fenced: bool,
}

/// What of the request decides about the form of its answer.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) if_none_match: Option<String>,
    pub(crate) request_id: String,
}

impl Answer {
    fn new(status: StatusCode, body: Vec<u8>) -> Self {
        Self { status, body, link: None, location: None, is_fenced: false }
    }

    /// 200 with a JSON body.
    pub(crate) fn json(body: &impl Serialize) -> Self {
        match serde_json::to_vec(body) {
            Ok(body) => Self::new(StatusCode::OK, body),
            Err(error) => {
                tracing::error!(%error, "cannot render an answer");
                Self::error(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
            }
        }
    }

    /// An error in Rails' form: `{"status":"404","error":"Not Found"}`.
    pub(crate) fn error(status: StatusCode, text: &str) -> Self {
        // Both parts are plain words of ours, so nothing needs escaping.
        let body = format!("{{\"status\":\"{}\",\"error\":\"{text}\"}}", status.as_u16());
        Self::new(status, body.into_bytes())
    }

    /// 204: done, nothing to show.
    pub(crate) fn no_content() -> Self {
        Self::new(StatusCode::NO_CONTENT, Vec::new())
    }

    /// 303: done, the next page is there.
    pub(crate) fn see_other(path: &str) -> Self {
        let answer = Self::new(StatusCode::SEE_OTHER, Vec::new());
        Self { location: Some(path.to_owned()), ..answer }
    }

    /// 503: another side owns the context; the header says that nothing was done.
    pub(crate) fn fenced() -> Self {
        let text = format!("{CONTEXT} does not own this context");
        Self { is_fenced: true, ..Self::error(StatusCode::SERVICE_UNAVAILABLE, &text) }
    }

    /// The same with another status.
    pub(crate) fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// The same with a `Location` header.
    pub(crate) fn with_location(self, location: String) -> Self {
        Self { location: Some(location), ..self }
    }

    /// The same with a `Link` header.
    pub(crate) fn with_link(self, link: Option<String>) -> Self {
        Self { link, ..self }
    }

    /// The HTTP answer; `took` becomes `X-Runtime`.
    pub(crate) fn into_response(self, asked: &Asked, took: Duration) -> Response<Body> {
        let etag = weak_etag(&self.body);
        let is_read = matches!(asked.method, Method::GET | Method::HEAD);
        let is_known = is_read
            && self.status == StatusCode::OK
            && not_modified(asked.if_none_match.as_deref(), &etag);
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        let mut set = |name: HeaderName, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        };
        set(CACHE_CONTROL, "max-age=0, private, must-revalidate");
        set(X_REQUEST_ID, &asked.request_id);
        set(X_RUNTIME, &format!("{:.6}", took.as_secs_f64()));
        set(X_SERVED_BY, "messages");
        set(X_FRAME_OPTIONS, "SAMEORIGIN");
        set(X_CONTENT_TYPE_OPTIONS, "nosniff");
        if let Some(link) = &self.link {
            set(LINK, link);
        }
        if let Some(location) = &self.location {
            set(LOCATION, location);
        }
        if self.is_fenced {
            set(RETRY_AFTER, "1");
            set(X_BANYAN_FENCED, CONTEXT);
        }
        if self.body.is_empty() {
            *response.status_mut() = self.status;
            return response;
        }
        set(ETAG, &etag);
        if is_known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        set(CONTENT_TYPE, "application/json; charset=utf-8");
        set(CONTENT_LENGTH, &self.body.len().to_string());
        *response.status_mut() = self.status;
        if asked.method != Method::HEAD {
            *response.body_mut() = Body::from(self.body);
        }
        response
    }
}
