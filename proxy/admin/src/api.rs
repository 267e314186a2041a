//! The paths of the API.
//!
//! Owns the map from path to handler: [`look`] holds those that only read, [`change`] those that change the
//! routing. What must stay true: everything below `/api` is behind the guard, and no GET leads to [`change`].

mod change;
mod look;

#[cfg(test)]
mod tests;

use crate::error::Problem;
use crate::server::Shared;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::{get, post};
use std::sync::Arc;

type Routes = Router<Arc<Shared>>;

/// What needs no token: whether the process lives, wants traffic, and its metrics.
pub(crate) fn probes() -> Routes {
    Router::new()
        .route("/live", get(look::live))
        .route("/ready", get(look::ready))
        .route("/metrics", get(look::metrics))
}

/// What needs a token.
pub(crate) fn guarded() -> Routes {
    Router::new()
        .route("/api/status", get(look::status))
        .route("/api/routes", get(look::routes))
        .route("/api/routes/{endpoint}", get(look::route))
        .route("/api/audit", get(look::audit))
        .route("/api/why", post(look::why))
        .route("/api/endpoints/{endpoint}/flip", post(change::flip))
        .route("/api/endpoints/{endpoint}/rollback", post(change::rollback_endpoint))
        .route("/api/contexts/{context}/rollback", post(change::rollback_context))
        .route("/api/freeze", post(change::freeze))
        .route("/api/unfreeze", post(change::unfreeze))
}

/// The answer to a known path with another method.
pub(crate) async fn wrong_method() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "banyan::admin::method",
        "this path does not answer that method",
        "looking is GET, changing is POST",
    )
}
