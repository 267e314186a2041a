//! The routes, and what the controllers have in common.
//!
//! What must stay true: the nine endpoints of the context `messages` always answer JSON, in every format a client
//! accepts, because the carved service knows nothing else; pages have paths of their own.

mod message;
mod page;
mod session;
mod track;
mod user;

use crate::{
    event::{Change, EventType},
    failure::{Failure, json_response},
    request::Call,
    server::App,
};
use axum::{
    Router,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post, put},
};
use fixture_passport::{Page, link_header};
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;

/// All routes, without the fallback.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/users/{user_id}/messages", get(message::list))
        .route("/users/{user_id}/messages/unread_count", get(message::unread_count))
        .route("/users/{user_id}/conversations", get(message::conversations))
        .route("/users/{user_id}/conversations/{other_id}", get(message::conversation))
        .route("/messages", post(message::create))
        .route(
            "/messages/{id}",
            get(message::show).patch(message::update).put(message::update).delete(message::delete),
        )
        .route("/messages/{id}/read", put(message::mark_read))
        .route("/login", get(page::login).post(session::login))
        .route("/logout", post(session::logout))
        .route("/session", get(session::show))
        .route("/users/{id}", get(user::show))
        .route("/users/{id}/tracks", get(track::list))
        .route("/users/{id}/followings", post(user::follow))
        .route("/users/{id}/suggestions", get(user::suggestions))
        .route("/tracks", post(track::create))
        .route("/tracks/{id}", get(track::show))
        .route("/tracks/{id}/comments", get(track::comments).post(track::comment))
        .route("/tracks/{id}/plays", post(track::play))
        .route("/", get(page::home))
        .route("/inbox", get(page::inbox))
        .route("/inbox/{other_id}", get(page::conversation))
        .route("/status", get(page::status))
        .route("/healthz", get(page::healthz))
}

/// A JSON answer with its `Link` header.
fn listed(path: &str, page: Page, total: i64, value: &impl Serialize) -> Response {
    let mut response = json_response(StatusCode::OK, value);
    let link = link_header(path, page, total).and_then(|link| HeaderValue::try_from(link).ok());
    if let Some(link) = link {
        response.headers_mut().insert(header::LINK, link);
    }
    response
}

/// 201 with the place of the new thing.
fn created(location: &str, value: &impl Serialize) -> Response {
    let mut response = json_response(StatusCode::CREATED, value);
    if let Ok(location) = HeaderValue::try_from(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// A page's form says where to go afterwards (`return_to`, a path of ours); API callers get `response`.
fn back_or(call: &Call, response: Response) -> Response {
    let target = call.param("return_to").and_then(Value::as_str).filter(|path| is_ours(path));
    match target {
        Some(path) if response.status().is_success() => Redirect::to(path).into_response(),
        Some(_) | None => response,
    }
}

/// Only paths of this site, so that no form can send a visitor elsewhere.
fn is_ours(path: &str) -> bool {
    path.starts_with('/')
        && !path.starts_with("//")
        && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
}

/// A text parameter; absent, null and non-text count as empty.
fn text<'p>(resource: &'p serde_json::Map<String, Value>, name: &str) -> &'p str {
    resource.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// What the transaction of this call changed. The caller is known by now: the change is his.
fn change(call: &Call, event_type: EventType, subject_id: i64, now: String, data: Value) -> Change {
    let (actor_id, request_id) = (call.visitor(), call.request_id().to_owned());
    Change { event_type, subject_id, actor_id, request_id, now, data }
}

/// What was found, or 404.
fn found<T>(thing: Option<T>) -> Result<T, Failure> {
    thing.ok_or(Failure::NotFound)
}

#[cfg(test)]
mod tests {
    use super::is_ours;

    #[test]
    fn forms_return_to_this_site_only() {
        assert!(is_ours("/inbox/3?page=2"));
        for elsewhere in
            ["https://evil.example", "//evil.example", "/\\evil.example", "/a\r\nb", ""]
        {
            assert!(!is_ours(elsewhere), "{elsewhere:?}");
        }
    }
}
