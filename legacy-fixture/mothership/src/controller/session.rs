//! Logging in and out, and who one is.
//!
//! What must stay true: the session cookie changes at login and logout only, because the proxy uses it as a sticky key.

use super::{back_or, found, text};
use crate::{
    failure::{Failure, json_response},
    request::Call,
    server::App,
    user::{self, User},
};
use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::Utc;
use fixture_passport::{Passport, SESSION_COOKIE, csrf};
use serde::Serialize;
use serde_json::{Map, Value};
use std::sync::Arc;

#[derive(Serialize)]
struct SessionView {
    user: User,
    csrf_token: String,
}

/// `POST /login` with `login` (permalink or email) and `password`.
pub(super) async fn login(State(app): State<Arc<App>>, call: Call) -> Result<Response, Failure> {
    let mut params = Map::new();
    for name in ["login", "password"] {
        params.insert(name.to_owned(), call.param(name).cloned().unwrap_or(Value::Null));
    }
    let (login, password) = (text(&params, "login"), text(&params, "password"));
    let user = user::authenticate(&mut app.database.clone(), login, password).await?;
    let user = user.ok_or(Failure::Unauthorized)?;
    let issued_unix_s = u64::try_from(Utc::now().timestamp()).unwrap_or_default();
    let session = app.passport.session(user.id, issued_unix_s);
    let csrf_token = masked_csrf(&app.passport, &session);
    let response = json_response(StatusCode::OK, &SessionView { user, csrf_token });
    Ok(with_cookie(back_or(&call, response), &session))
}

/// `POST /logout`
pub(super) async fn logout(call: Call) -> Response {
    let response = back_or(&call, StatusCode::OK.into_response());
    let response = match response.status() {
        StatusCode::OK => StatusCode::NO_CONTENT.into_response(),
        _ => response,
    };
    let expired = format!("{SESSION_COOKIE}=; path=/; max-age=0; HttpOnly; SameSite=Lax");
    cookie(response, &expired)
}

/// `GET /session`
pub(super) async fn show(State(app): State<Arc<App>>, call: Call) -> Result<Response, Failure> {
    let user = found(user::find(&mut app.database.clone(), call.caller()?).await?)?;
    let csrf_token = csrf_token(&app, &call);
    let response = json_response(StatusCode::OK, &SessionView { user, csrf_token });
    Ok(match call.session() {
        Some(session) => with_cookie(response, session),
        None => response,
    })
}

/// A fresh mask of the caller's token; for callers without a session it is a token that opens nothing.
pub(super) fn csrf_token(app: &App, call: &Call) -> String {
    masked_csrf(&app.passport, call.session().unwrap_or_default())
}

/// Rails sends the session back whenever it was looked at; its value stays the same.
pub(super) fn with_cookie(response: Response, session: &str) -> Response {
    cookie(response, &format!("{SESSION_COOKIE}={session}; path=/; HttpOnly; SameSite=Lax"))
}

fn masked_csrf(passport: &Passport, session: &str) -> String {
    csrf::mask(&passport.csrf_raw(session), &rand::random())
}

fn cookie(mut response: Response, value: &str) -> Response {
    if let Ok(value) = HeaderValue::try_from(value) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
    response
}
