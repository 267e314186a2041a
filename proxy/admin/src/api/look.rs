//! Handlers that only read.

use crate::error::Problem;
use crate::server::Shared;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use banyan_control::status::{EndpointView, Local, StampView, StatusView};
use banyan_control::why::{self, WhyQuery, WhyView};
use banyan_control::{AuditEntry, ControlError, status};
use banyan_domain::{Epoch, Generation, Side};
use prometheus::TextEncoder;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Audit entries that are given when the caller does not say how many.
const AUDIT_DEFAULT: u32 = 50;
/// The most that are given.
const AUDIT_MAX: u32 = 1_000;
/// Audit entries shown beside one endpoint.
const AUDIT_BESIDE: usize = 10;

#[derive(Debug, Serialize)]
pub(super) struct RoutesView {
    generation: Generation,
    frozen: Option<StampView>,
    routes: Vec<RouteView>,
}

#[derive(Debug, Serialize)]
pub(super) struct RouteView {
    context: String,
    owner: Side,
    epoch: Epoch,
    #[serde(flatten)]
    endpoint: EndpointView,
    /// The last tries about this endpoint; only in the view of one endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    audit: Option<Vec<AuditEntry>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct AuditQuery {
    limit: Option<u32>,
    since_ms: Option<u64>,
}

pub(super) async fn live() -> &'static str {
    "ok\n"
}

pub(super) async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    let readiness = &shared.parts.readiness;
    let ready = readiness.is_ready();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, format!("{}\n", readiness.as_str())).into_response()
}

pub(super) async fn metrics() -> Response {
    let text = TextEncoder::new().encode_to_string(&prometheus::gather());
    match text {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

pub(super) async fn status(State(shared): State<Arc<Shared>>) -> Result<Json<StatusView>, Problem> {
    Ok(Json(shared.status().await?))
}

pub(super) async fn routes(State(shared): State<Arc<Shared>>) -> Result<Json<RoutesView>, Problem> {
    let status = shared.status().await?;
    let (generation, frozen) = (status.generation, status.frozen.clone());
    Ok(Json(RoutesView { generation, frozen, routes: routes_of(status) }))
}

pub(super) async fn route(
    State(shared): State<Arc<Shared>>,
    Path(endpoint): Path<String>,
) -> Result<Json<RouteView>, Problem> {
    let routes = routes_of(shared.status().await?);
    let found = routes.into_iter().find(|route| route.endpoint.endpoint == endpoint);
    let mut route = found.ok_or_else(|| Problem::unknown(&format!("endpoint `{endpoint}`")))?;
    // Beside the point when the store is away: the route itself is known here.
    let entries = shared.parts.store.audit(AUDIT_MAX, None).await.unwrap_or_default();
    let about = |entry: &AuditEntry| entry.target == endpoint || entry.target == route.context;
    route.audit = Some(entries.into_iter().filter(about).take(AUDIT_BESIDE).collect());
    Ok(Json(route))
}

fn routes_of(status: StatusView) -> Vec<RouteView> {
    let contexts = status.contexts.into_iter();
    let routes = contexts.flat_map(|context| {
        let (name, owner, epoch) = (context.context, context.owner, context.epoch);
        context.endpoints.into_iter().map(move |endpoint| RouteView {
            context: name.clone(),
            owner,
            epoch,
            endpoint,
            audit: None,
        })
    });
    routes.collect()
}

pub(super) async fn audit(
    State(shared): State<Arc<Shared>>,
    query: Result<Query<AuditQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Vec<AuditEntry>>, Problem> {
    let Query(query) = query.map_err(|error| Problem::invalid(error.body_text()))?;
    let limit = query.limit.unwrap_or(AUDIT_DEFAULT).min(AUDIT_MAX);
    Ok(Json(shared.parts.store.audit(limit, query.since_ms).await?))
}

pub(super) async fn why(
    State(shared): State<Arc<Shared>>,
    body: Bytes,
) -> Result<Json<WhyView>, Problem> {
    let query: WhyQuery =
        serde_json::from_slice(&body).map_err(|error| Problem::invalid(error.to_string()))?;
    let table = shared.parts.table.load_full();
    Ok(Json(why::view(&table, &query)))
}

impl Shared {
    /// The state as the store tells it, else as this process knows it.
    async fn status(&self) -> Result<StatusView, ControlError> {
        let parts = &self.parts;
        let local = Local { table: parts.raw_table.load_full(), health: parts.health.load_full() };
        let catalogue = parts.catalogue.load_full();
        let inputs =
            status::gather(parts.store.as_ref(), &self.name, catalogue, Some(local)).await?;
        Ok(status::view(&inputs))
    }
}
