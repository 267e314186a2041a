//! The pages for browsers, and the two answers about the process itself.
//!
//! What must stay true: pages read and write through the same rows and endpoints as the API.

use super::{
    found,
    session::{csrf_token, with_cookie},
};
use crate::{
    event::{now, pending},
    failure::{Failure, json_response},
    html::{Form, Html, escape, hidden},
    message::{self, Message},
    request::{Call, Id},
    server::App,
    track,
    user::{self, Profile},
};
use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use fixture_passport::{Page, time};
use serde_json::json;
use std::sync::Arc;

/// `GET /`
pub(super) async fn home(State(app): State<Arc<App>>, call: Call) -> Result<Response, Failure> {
    let mut html = Html::new("Home", csrf_token(&app, &call));
    match call.visitor() {
        Some(user_id) => {
            let user = found(user::find(&mut app.database.clone(), user_id).await?)?;
            let unread = message::unread_count(&mut app.database.clone(), user_id).await?;
            html.add(format!(
                "<p>Hello {}. <a href=\"/inbox\">Inbox ({unread})</a>, <a href=\"/users/{user_id}\">you</a></p>",
                escape(&user.username)
            ));
            html.form(
                &Form { action: "/logout", method: "post", return_to: "/", button: "Log out" },
                "",
            );
        }
        None => html.add("<p><a href=\"/login\">Log in</a></p>"),
    }
    Ok(shown(&call, html))
}

/// `GET /login`
pub(super) async fn login(State(app): State<Arc<App>>, call: Call) -> Response {
    let mut html = Html::new("Log in", csrf_token(&app, &call));
    let form = Form { action: "/login", method: "post", return_to: "/", button: "Log in" };
    let fields = "<input name=\"login\"><input name=\"password\" type=\"password\">";
    html.form(&form, fields);
    shown(&call, html)
}

/// `GET /users/{id}` for a browser.
pub(super) async fn user(app: &App, call: &Call, profile: &Profile) -> Result<Response, Failure> {
    let user = &profile.user;
    let tracks =
        track::of_user(&mut app.database.clone(), user.id, call.visitor(), Page::from_query(None))
            .await?;
    let mut html = Html::new(user.username.as_str(), csrf_token(app, call));
    html.add(format!(
        "<p>{} tracks, {} followers, follows {}</p>\n<ul>",
        profile.track_count, profile.followers_count, profile.followings_count
    ));
    for track in &tracks.rows {
        let (id, title, plays) = (track.id, escape(&track.title), track.playback_count);
        html.add(format!("<li><a href=\"/tracks/{id}\">{title}</a>, {plays} plays</li>"));
    }
    html.add("</ul>");
    let here = format!("/users/{}", user.id);
    compose(&mut html, user.id, &here);
    Ok(shown(call, html))
}

/// `GET /inbox`: partners and received messages.
pub(super) async fn inbox(State(app): State<Arc<App>>, call: Call) -> Result<Response, Failure> {
    let user_id = call.caller()?;
    let mut html = Html::new("Inbox", csrf_token(&app, &call));
    let partners =
        message::conversations(&mut app.database.clone(), user_id, Page::from_query(None)).await?;
    html.add("<ul>");
    for partner in &partners.rows {
        html.add(format!(
            "<li><a href=\"/inbox/{}\">{}</a>: {} messages, {} unread</li>",
            partner.with.id,
            escape(&partner.with.username),
            partner.messages_count,
            partner.unread_count
        ));
    }
    html.add("</ul>");
    let inbox = message::inbox(&mut app.database.clone(), user_id, call.page()).await?;
    for message in &inbox.rows {
        show_message(&mut html, message, user_id, "/inbox");
    }
    Ok(shown(&call, html))
}

/// `GET /inbox/{other_id}`: one conversation.
pub(super) async fn conversation(
    State(app): State<Arc<App>>,
    Id(other_id): Id,
    call: Call,
) -> Result<Response, Failure> {
    let user_id = call.caller()?;
    let other = found(user::find(&mut app.database.clone(), other_id).await?)?;
    let mut html = Html::new(format!("You and {}", other.username), csrf_token(&app, &call));
    let here = format!("/inbox/{other_id}");
    let page = call.page();
    let messages =
        message::conversation(&mut app.database.clone(), user_id, other_id, page).await?;
    for message in &messages.rows {
        show_message(&mut html, message, user_id, &here);
    }
    compose(&mut html, other_id, &here);
    Ok(shown(&call, html))
}

/// `GET /status`: different each time, on purpose.
pub(super) async fn status(State(app): State<Arc<App>>) -> Result<Response, Failure> {
    let events_pending = pending(&app.database).await?;
    let status = json!({
        "server_time": time::rails(&now()),
        "pid": std::process::id(),
        "uptime_ms": u64::try_from(app.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        "requests_inside": app.workers.occupied(),
        "events_pending": events_pending,
        "events_lost": app.events.lost(),
    });
    Ok(json_response(StatusCode::OK, &status))
}

/// `GET /healthz`
pub(super) async fn healthz() -> Response {
    json_response(StatusCode::OK, &json!({ "status": "ok" }))
}

fn show_message(html: &mut Html, message: &Message, user_id: i64, here: &str) {
    html.add(format!(
        "<article id=\"message-{}\"><h2>{}</h2><p>{} to {}, {}</p><p>{}</p></article>",
        message.id,
        escape(&message.subject),
        escape(&message.sender.username),
        escape(&message.recipient.username),
        message.created_at,
        escape(&message.body)
    ));
    let (path, read) = (message.uri(), format!("{}/read", message.uri()));
    if message.recipient.id == user_id && !message.read {
        html.form(&Form { action: &read, method: "put", return_to: here, button: "Mark read" }, "");
    }
    html.form(&Form { action: path, method: "delete", return_to: here, button: "Delete" }, "");
}

fn compose(html: &mut Html, recipient_id: i64, here: &str) {
    let form = Form { action: "/messages", method: "post", return_to: here, button: "Send" };
    let fields = hidden("message[recipient_id]", &recipient_id.to_string())
        + "<input name=\"message[subject]\"><textarea name=\"message[body]\"></textarea>";
    html.form(&form, &fields);
}

fn shown(call: &Call, html: Html) -> Response {
    let content_type = HeaderValue::from_static("text/html; charset=utf-8");
    let response = ([(header::CONTENT_TYPE, content_type)], html.finish()).into_response();
    match call.session() {
        Some(session) => with_cookie(response, session),
        None => response,
    }
}
