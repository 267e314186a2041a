//! Users: their page, whom they follow, whom they might follow.
//!
//! What must stay true: suggestions are drawn anew each time (the harmless noise that a comparison must tolerate).

use super::{change, created, found, page};
use crate::{
    event::{EventType, now},
    failure::{Errors, Failure, json_response},
    request::{Call, Format, Id, integer},
    server::App,
    user::{self, Profile, User},
};
use axum::{extract::State, http::StatusCode, response::Response};
use rand::RngExt;
use serde::Serialize;
use serde_json::json;
use std::sync::Arc;

const SUGGESTIONS: usize = 5;

#[derive(Serialize)]
struct ProfileView<'a> {
    user: &'a Profile,
}

#[derive(Serialize)]
struct SuggestionsView {
    suggestions: Vec<User>,
}

#[derive(Serialize)]
struct FollowingView {
    following: Following,
}

#[derive(Serialize)]
struct Following {
    id: i64,
    follower_id: i64,
    followee_id: i64,
}

/// `GET /users/{id}`: JSON or a page.
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Id(id): Id,
    call: Call,
) -> Result<Response, Failure> {
    let profile = found(user::profile(&mut app.database.clone(), id).await?)?;
    match call.format() {
        Format::Json => Ok(json_response(StatusCode::OK, &ProfileView { user: &profile })),
        Format::Html => page::user(&app, &call, &profile).await,
    }
}

/// `GET /users/{id}/suggestions`
pub(super) async fn suggestions(
    State(app): State<Arc<App>>,
    Id(id): Id,
) -> Result<Response, Failure> {
    found(user::find(&mut app.database.clone(), id).await?)?;
    let id_max = user::id_max(&mut app.database.clone()).await?;
    let ids = random_ids(id_max);
    let mut suggestions = user::find_all(&mut app.database.clone(), &ids).await?;
    suggestions.retain(|user| user.id != id);
    Ok(json_response(StatusCode::OK, &SuggestionsView { suggestions }))
}

/// `POST /users/{id}/followings` with `following[followee_id]`; 201 the first time, 200 afterwards.
pub(super) async fn follow(
    State(app): State<Arc<App>>,
    Id(follower_id): Id,
    call: Call,
) -> Result<Response, Failure> {
    call.must_be(follower_id)?;
    let followee_id = integer(call.resource("following")?.get("followee_id")).unwrap_or_default();
    let carried = (Arc::clone(&app), call);
    let stored =
        app.carry(move || store(carried.0.clone(), carried.1.clone(), follower_id, followee_id));
    let (id, fresh) = stored.await?;
    let view = FollowingView { following: Following { id, follower_id, followee_id } };
    Ok(match fresh {
        Fresh::Yes => created(&format!("/users/{follower_id}/followings/{id}"), &view),
        Fresh::No => json_response(StatusCode::OK, &view),
    })
}

enum Fresh {
    Yes,
    No,
}

async fn store(
    app: Arc<App>,
    call: Call,
    follower_id: i64,
    followee_id: i64,
) -> Result<(i64, Fresh), Failure> {
    let now = now();
    let mut tx = app.database.begin().await?;
    let mut errors = Errors::default();
    if follower_id == followee_id {
        errors.add("followee", "can't be yourself");
    } else if user::find(&mut tx, followee_id).await?.is_none() {
        errors.add("followee", "must exist");
    }
    errors.into_result()?;
    if let Some(id) = user::following(&mut tx, follower_id, followee_id).await? {
        return Ok((id, Fresh::No));
    }
    let id = user::follow(&mut tx, follower_id, followee_id, &now).await?;
    let data = json!({ "following_id": id });
    let change = change(&call, EventType::UserFollowed, followee_id, now, data);
    app.events.commit(tx, change).await?;
    Ok((id, Fresh::Yes))
}

fn random_ids(id_max: i64) -> Vec<i64> {
    let mut random = rand::rng();
    (0..SUGGESTIONS).map(|_| random.random_range(1..=id_max.max(1))).collect()
}
