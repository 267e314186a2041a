//! The small HTTP face: how the consumer does and what it has made. It changes nothing.

use std::sync::Arc;

use axum::extract::{Query, State as Shared};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::live::Live;
use crate::store::Store;

/// What answering needs.
pub(crate) struct Face {
    pub(crate) app: App,
    pub(crate) store: Store,
    pub(crate) live: Arc<Live>,
    pub(crate) queue: String,
}

#[derive(Deserialize)]
struct OfUser {
    user_id: Option<String>,
}

pub(crate) fn router(face: Face) -> Router {
    let router = Router::new()
        .route("/", get(status))
        .route("/status", get(status))
        .route("/poison", get(poison));
    let router = match face.app {
        App::PushNotifications => router.route("/notifications", get(notifications)),
        App::Stats => router.route("/stats", get(stats)),
    };
    router.fallback(not_found).with_state(Arc::new(face))
}

async fn status(Shared(face): Shared<Arc<Face>>) -> Response {
    let state = face.live.get();
    let progress = match face.store.progress().await {
        Ok(progress) => progress,
        Err(error) => return unavailable(&error),
    };
    let mut status = Map::new();
    status.insert("consumer".to_owned(), face.app.as_str().into());
    status.insert("queue".to_owned(), face.queue.as_str().into());
    status.insert("state".to_owned(), state.as_str().into());
    status.insert("reason".to_owned(), state.reason().into());
    if progress.poison > 0 {
        let problem = format!("{} unreadable messages are put aside, see /poison", progress.poison);
        status.insert("problem".to_owned(), problem.into());
    }
    if let Value::Object(progress) = json!(progress) {
        status.extend(progress);
    }
    if face.app == App::PushNotifications {
        match face.store.notified().await {
            Ok(notified) => {
                status.insert("notifications".to_owned(), notified.notifications.into());
                status.insert("notified_messages".to_owned(), notified.messages.into());
            }
            Err(error) => return unavailable(&error),
        }
    }
    Json(status).into_response()
}

async fn notifications(Shared(face): Shared<Arc<Face>>, Query(of): Query<OfUser>) -> Response {
    let Some(user_id) = of.user_id.and_then(|id| id.parse::<i64>().ok()) else {
        return error(400, "say whose: /notifications?user_id=17");
    };
    listed("notifications", face.store.notifications(user_id).await)
}

async fn stats(Shared(face): Shared<Arc<Face>>) -> Response {
    listed("stats", face.store.days().await)
}

async fn poison(Shared(face): Shared<Arc<Face>>) -> Response {
    listed("poison", face.store.aside().await)
}

async fn not_found() -> Response {
    error(404, "Not Found")
}

fn listed<T: Serialize>(name: &str, rows: Result<Vec<T>, sqlx::Error>) -> Response {
    match rows {
        Ok(rows) => Json(json!({ name: rows })).into_response(),
        Err(error) => unavailable(&error),
    }
}

fn unavailable(why: &sqlx::Error) -> Response {
    tracing::error!(error = why as &dyn std::error::Error, "cannot read the database");
    error(503, "the consumer's database cannot be read")
}

/// In the form of the monolith's errors.
fn error(status: u16, text: &str) -> Response {
    let body = Json(json!({ "status": status.to_string(), "error": text }));
    let status = axum::http::StatusCode::from_u16(status).unwrap_or_default();
    (status, body).into_response()
}
