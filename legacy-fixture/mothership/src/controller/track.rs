//! Tracks with their comments and plays.
//!
//! What must stay true: somebody else's private track is 404 everywhere, also for comments and plays.

use super::{change, created, found, listed, text};
use crate::{
    event::{EventType, now},
    failure::{Errors, Failure, json_response},
    request::{Call, Id, integer},
    server::App,
    track::{self, Comment, CommentDraft, Sharing, Track, TrackDraft},
    user,
};
use axum::{extract::State, http::StatusCode, response::Response};
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;

const TITLE_CHARS_MAX: usize = 255;
const COMMENT_CHARS_MAX: usize = 2_000;

#[derive(Serialize)]
struct TracksView<'a> {
    tracks: &'a [Track],
    page: i64,
    per_page: i64,
    total: i64,
}

#[derive(Serialize)]
struct TrackView {
    track: Track,
}

#[derive(Serialize)]
struct CommentsView<'a> {
    comments: &'a [Comment],
    page: i64,
    per_page: i64,
    total: i64,
}

#[derive(Serialize)]
struct CommentView {
    comment: Comment,
}

#[derive(Serialize)]
struct PlayView {
    track_id: i64,
    playback_count: i64,
}

/// `GET /users/{id}/tracks`
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Id(user_id): Id,
    call: Call,
) -> Result<Response, Failure> {
    found(user::find(&mut app.database.clone(), user_id).await?)?;
    let page = call.page();
    let tracks = track::of_user(&mut app.database.clone(), user_id, call.visitor(), page).await?;
    let view = TracksView {
        tracks: &tracks.rows,
        page: page.page,
        per_page: page.per_page,
        total: tracks.total,
    };
    Ok(listed(&format!("/users/{user_id}/tracks"), page, tracks.total, &view))
}

/// `GET /tracks/{id}`
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Id(id): Id,
    call: Call,
) -> Result<Response, Failure> {
    let track = audible(&app, &call, id).await?;
    Ok(json_response(StatusCode::OK, &TrackView { track }))
}

/// `POST /tracks` with `track[title]`, `track[sharing]`, `track[duration_ms]`.
pub(super) async fn create(State(app): State<Arc<App>>, call: Call) -> Result<Response, Failure> {
    let draft = validated_track(&call)?;
    let carried = Arc::clone(&app);
    let stored = app.carry(move || store(carried.clone(), call.clone(), draft.clone())).await?;
    Ok(created(&format!("/tracks/{}", stored.id), &TrackView { track: stored }))
}

/// `GET /tracks/{id}/comments`
pub(super) async fn comments(
    State(app): State<Arc<App>>,
    Id(id): Id,
    call: Call,
) -> Result<Response, Failure> {
    audible(&app, &call, id).await?;
    let page = call.page();
    let comments = track::comments(&mut app.database.clone(), id, page).await?;
    let view = CommentsView {
        comments: &comments.rows,
        page: page.page,
        per_page: page.per_page,
        total: comments.total,
    };
    Ok(listed(&format!("/tracks/{id}/comments"), page, comments.total, &view))
}

/// `POST /tracks/{id}/comments` with `comment[body]`, `comment[timestamp_ms]`.
pub(super) async fn comment(
    State(app): State<Arc<App>>,
    Id(id): Id,
    call: Call,
) -> Result<Response, Failure> {
    call.caller()?;
    audible(&app, &call, id).await?;
    let draft = validated_comment(&call, id)?;
    let carried = Arc::clone(&app);
    let stored =
        app.carry(move || store_comment(carried.clone(), call.clone(), draft.clone())).await?;
    Ok(created(&format!("/comments/{}", stored.id), &CommentView { comment: stored }))
}

/// `POST /tracks/{id}/plays`
pub(super) async fn play(
    State(app): State<Arc<App>>,
    Id(id): Id,
    call: Call,
) -> Result<Response, Failure> {
    call.caller()?;
    audible(&app, &call, id).await?;
    let carried = Arc::clone(&app);
    let playback_count = app.carry(move || store_play(carried.clone(), call.clone(), id)).await?;
    Ok(json_response(StatusCode::CREATED, &PlayView { track_id: id, playback_count }))
}

async fn audible(app: &App, call: &Call, id: i64) -> Result<Track, Failure> {
    let track = track::find(&mut app.database.clone(), id).await?;
    found(track.filter(|track| track.visible_to(call.visitor())))
}

fn validated_track(call: &Call) -> Result<TrackDraft, Failure> {
    let user_id = call.caller()?;
    let resource = call.resource("track")?;
    let mut errors = Errors::default();
    let title = text(resource, "title").to_owned();
    if title.trim().is_empty() {
        errors.add("title", "can't be blank");
    } else if title.chars().count() > TITLE_CHARS_MAX {
        errors.add("title", &format!("is too long (maximum is {TITLE_CHARS_MAX} characters)"));
    }
    let sharing = Sharing::parse(resource.get("sharing").and_then(Value::as_str));
    if sharing.is_none() {
        errors.add("sharing", "is not included in the list");
    }
    errors.into_result()?;
    let duration_ms = integer(resource.get("duration_ms")).unwrap_or_default().max(0);
    Ok(TrackDraft { user_id, title, sharing: sharing.unwrap_or(Sharing::Private), duration_ms })
}

fn validated_comment(call: &Call, track_id: i64) -> Result<CommentDraft, Failure> {
    let user_id = call.caller()?;
    let resource = call.resource("comment")?;
    let body = text(resource, "body").to_owned();
    let mut errors = Errors::default();
    if body.trim().is_empty() {
        errors.add("body", "can't be blank");
    } else if body.chars().count() > COMMENT_CHARS_MAX {
        errors.add("body", &format!("is too long (maximum is {COMMENT_CHARS_MAX} characters)"));
    }
    errors.into_result()?;
    let timestamp_ms = integer(resource.get("timestamp_ms"));
    Ok(CommentDraft { track_id, user_id, body, timestamp_ms })
}

async fn store(app: Arc<App>, call: Call, draft: TrackDraft) -> Result<Track, Failure> {
    let now = now();
    let mut tx = app.database.begin().await?;
    if user::find(&mut tx, draft.user_id).await?.is_none() {
        return Err(Failure::Unauthorized);
    }
    let id = track::insert(&mut tx, &draft, &now).await?;
    let stored = found(track::find(&mut tx, id).await?)?;
    let data = json!({ "title": draft.title, "sharing": draft.sharing.as_str() });
    let change = change(&call, EventType::TrackCreated, id, now, data);
    app.events.commit(tx, change).await?;
    Ok(stored)
}

async fn store_comment(app: Arc<App>, call: Call, draft: CommentDraft) -> Result<Comment, Failure> {
    let now = now();
    let mut tx = app.database.begin().await?;
    if user::find(&mut tx, draft.user_id).await?.is_none() {
        return Err(Failure::Unauthorized);
    }
    let id = track::insert_comment(&mut tx, &draft, &now).await?;
    let stored = found(track::find_comment(&mut tx, id).await?)?;
    let data = json!({ "track_id": draft.track_id, "timestamp_ms": draft.timestamp_ms });
    let change = change(&call, EventType::CommentCreated, id, now, data);
    app.events.commit(tx, change).await?;
    Ok(stored)
}

async fn store_play(app: Arc<App>, call: Call, track_id: i64) -> Result<i64, Failure> {
    let (now, user_id) = (now(), call.caller()?);
    let mut tx = app.database.begin().await?;
    if user::find(&mut tx, user_id).await?.is_none() {
        return Err(Failure::Unauthorized);
    }
    let play_id = track::insert_play(&mut tx, track_id, user_id, &now).await?;
    let playback_count = found(track::find(&mut tx, track_id).await?)?.playback_count;
    let data = json!({ "play_id": play_id, "playback_count": playback_count });
    let change = change(&call, EventType::TrackPlayed, track_id, now, data);
    app.events.commit(tx, change).await?;
    Ok(playback_count)
}
