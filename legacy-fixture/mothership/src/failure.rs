//! Answers that say no, with Rails' bodies.
//!
//! What must stay true: the bodies are part of the public contract to the byte; what went wrong inside is logged and
//! never shown.

use crate::MothershipError;
use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Map, Value, json};

const X_BANYAN_FENCED: HeaderName = HeaderName::from_static("x-banyan-fenced");

/// Why a request gets no regular answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// 400: the body or its parameters cannot be read.
    BadRequest,
    /// 401: nobody, or a credential that we did not issue.
    Unauthorized,
    /// 403: somebody else's.
    Forbidden,
    /// 404: not there, or not for the caller to know.
    NotFound,
    /// 413: the body is longer than we read.
    TooLarge,
    /// 422: the values are not acceptable.
    Invalid(Errors),
    /// 422: a browser's change without the page's token.
    InvalidToken,
    /// 500: our fault.
    Internal(MothershipError),
    /// 500: the task that carried the change died.
    Died,
    /// 503: another side owns the context; nothing was done.
    Fenced {
        /// The context.
        context: String,
    },
    /// 503: the waiting line before the workers or the database is full, or the wait was too long.
    Busy,
}

/// Validation messages by attribute, in the order in which they were added.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct Errors(Map<String, Value>);

impl Errors {
    /// Adds `message` to `attribute`.
    pub(crate) fn add(&mut self, attribute: &str, message: &str) {
        let slot = self.0.entry(attribute.to_owned()).or_insert_with(|| json!([]));
        if let Some(messages) = slot.as_array_mut() {
            messages.push(json!(message));
        }
    }

    /// `Ok` when nothing was added.
    pub(crate) fn into_result(self) -> Result<(), Failure> {
        if self.0.is_empty() { Ok(()) } else { Err(Failure::Invalid(self)) }
    }
}

impl From<MothershipError> for Failure {
    fn from(error: MothershipError) -> Self {
        if let Some(context) = error.fenced_context() {
            return Self::Fenced { context: context.to_owned() };
        }
        if error.is_overload() { Self::Busy } else { Self::Internal(error) }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self {
            Self::BadRequest => plain(StatusCode::BAD_REQUEST, "Bad Request"),
            Self::Unauthorized => plain(StatusCode::UNAUTHORIZED, "Unauthorized"),
            Self::Forbidden => plain(StatusCode::FORBIDDEN, "Forbidden"),
            Self::NotFound => plain(StatusCode::NOT_FOUND, "Not Found"),
            Self::TooLarge => plain(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large"),
            Self::Invalid(errors) => {
                json_response(StatusCode::UNPROCESSABLE_ENTITY, &json!({ "errors": errors }))
            }
            Self::InvalidToken => {
                plain(StatusCode::UNPROCESSABLE_ENTITY, "Invalid authenticity token")
            }
            Self::Internal(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(%error, cause, "request failed");
                plain(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
            }
            Self::Died => plain(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error"),
            Self::Fenced { context } => fenced(&context),
            Self::Busy => again_later("Service Unavailable"),
        }
    }
}

/// The header promises that the write had no effect, so whoever sent it may send it to the other side.
fn fenced(context: &str) -> Response {
    tracing::info!(context, "write refused: this side does not own the context");
    let mut response = again_later("mothership does not own this context");
    if let Ok(context) = HeaderValue::try_from(context) {
        response.headers_mut().insert(X_BANYAN_FENCED, context);
    }
    response
}

fn again_later(error: &str) -> Response {
    let mut response = plain(StatusCode::SERVICE_UNAVAILABLE, error);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// A JSON answer.
pub(crate) fn json_response(status: StatusCode, value: &impl Serialize) -> Response {
    // Only maps with non-text keys cannot be serialized, and we have none.
    let body = serde_json::to_vec(value).unwrap_or_default();
    let content_type = HeaderValue::from_static("application/json; charset=utf-8");
    (status, [(header::CONTENT_TYPE, content_type)], Body::from(body)).into_response()
}

fn plain(status: StatusCode, error: &str) -> Response {
    json_response(status, &json!({ "status": status.as_str(), "error": error }))
}
