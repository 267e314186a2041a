//! Why the admin API cannot start, and how it says no.
//!
//! Owns [`AdminError`] for the process and [`Problem`] for the caller. What must stay true: every answer that
//! is no success is `{code, message, hint, retryable}`, and neither tokens nor the store's inner errors are in it.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use banyan_control::{CommitError, ControlError};
use banyan_domain::Refusal;
use serde::Serialize;
use std::io;
use std::net::SocketAddr;

/// Why the admin API cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// The listener is open to other machines and nobody needs a token.
    #[error("the admin API on {listen} would be open to other machines without any token")]
    Unprotected {
        /// The address.
        listen: SocketAddr,
    },
    /// A token is too easy to guess.
    #[error("the admin token `{name}` is shorter than {min} characters")]
    WeakToken {
        /// Name of the token.
        name: String,
        /// The shortest one allowed.
        min: usize,
    },
    /// Two tokens have the same name, or the same secret.
    #[error("the admin token `{name}` is there twice, by name or by secret")]
    SameToken {
        /// Name of the second one.
        name: String,
    },
    /// The address cannot be listened on.
    #[error("the admin API cannot listen on {listen}")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl AdminError {
    /// The stable code, the key of `banyan explain`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unprotected { .. } => "banyan::admin::unprotected",
            Self::WeakToken { .. } => "banyan::admin::weak_token",
            Self::SameToken { .. } => "banyan::admin::same_token",
            Self::Listen { .. } => "banyan::admin::listen",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Unprotected { .. } => {
                "listen on 127.0.0.1, or declare at least one admin token".to_owned()
            }
            Self::WeakToken { .. } => "make one: openssl rand -hex 24".to_owned(),
            Self::SameToken { .. } => "give each person or program its own token".to_owned(),
            Self::Listen { listen, .. } => {
                format!("find who uses the port: ss -ltnp 'sport = :{}'", listen.port())
            }
        }
    }
}

/// An answer that is no success.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    body: ProblemBody,
}

#[derive(Debug, Serialize)]
struct ProblemBody {
    code: &'static str,
    message: String,
    hint: String,
    retryable: bool,
}

impl Problem {
    pub(crate) fn new(
        status: StatusCode,
        code: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        let (message, hint) = (message.into(), hint.into());
        let body = ProblemBody { code, message, hint, retryable: false };
        Self { status, body }
    }

    pub(crate) fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "banyan::admin::unauthorized",
            "no valid token",
            "send `Authorization: Bearer TOKEN` with a token from the admin section of banyan.toml",
        )
    }

    pub(crate) fn forbidden(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "banyan::admin::forbidden", message, hint)
    }

    pub(crate) fn unknown(what: &str) -> Self {
        let message = format!("{what} does not exist");
        Self::new(StatusCode::NOT_FOUND, "banyan::admin::not_found", message, "GET /api/routes")
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        let hint = "see the README of proxy/admin for the form of each request";
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "banyan::admin::invalid", message, hint)
    }

    pub(crate) fn busy() -> Self {
        let message = "too many requests at the same time";
        let mut problem =
            Self::new(StatusCode::SERVICE_UNAVAILABLE, "banyan::admin::busy", message, "try again");
        problem.body.retryable = true;
        problem
    }
}

impl From<CommitError> for Problem {
    fn from(error: CommitError) -> Self {
        let status = match &error {
            CommitError::Stale { .. } => StatusCode::CONFLICT,
            CommitError::Refused(refusal) => status_of(refusal),
            CommitError::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        let message = match &error {
            CommitError::Stale { at_ms, .. } => format!("{error} {}", ago(*at_ms)),
            CommitError::Refused(_) | CommitError::Store(_) => error.to_string(),
        };
        let (code, hint, retryable) = (error.code(), error.hint(), error.retryable());
        Self { status, body: ProblemBody { code, message, hint, retryable } }
    }
}

impl From<ControlError> for Problem {
    fn from(error: ControlError) -> Self {
        Self::from(CommitError::Store(error))
    }
}

fn status_of(refusal: &Refusal) -> StatusCode {
    if matches!(refusal, Refusal::Frozen { .. }) {
        StatusCode::LOCKED
    } else if matches!(refusal, Refusal::UnknownEndpoint { .. } | Refusal::UnknownContext { .. }) {
        StatusCode::NOT_FOUND
    } else {
        StatusCode::UNPROCESSABLE_ENTITY
    }
}

/// `12 s ago`, for a Unix time in ms.
fn ago(at_ms: u64) -> String {
    let seconds = banyan_control::clock::now_ms().saturating_sub(at_ms) / 1_000;
    match seconds {
        0..120 => format!("{seconds} s ago"),
        120..7_200 => format!("{} min ago", seconds / 60),
        7_200.. => format!("{} h ago", seconds / 3_600),
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let retry = self.body.retryable.then(|| (header::RETRY_AFTER, HeaderValue::from(1)));
        let challenge = (self.status == StatusCode::UNAUTHORIZED)
            .then(|| (header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
        let mut response = (self.status, Json(self.body)).into_response();
        response.headers_mut().extend(retry.into_iter().chain(challenge));
        response
    }
}
