//! The context `messages`: the nine endpoints that will be carved out.
//!
//! What must stay true: the contract in `legacy-fixture/README.md`, to the byte.

use super::{back_or, change, created, found, listed, text};
use crate::{
    event::{EventType, now},
    failure::{Errors, Failure, json_response},
    message::{self, Conversation, Draft, Message},
    request::{Call, Id, Ids, integer},
    server::App,
    user::{self, User},
};
use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;

const SUBJECT_CHARS_MAX: usize = 255;
const BODY_CHARS_MAX: usize = 10_000;

#[derive(Serialize)]
struct ListView<'a> {
    messages: &'a [Message],
    page: i64,
    per_page: i64,
    total: i64,
}

#[derive(Serialize)]
struct ConversationsView<'a> {
    conversations: &'a [Conversation],
    page: i64,
    per_page: i64,
    total: i64,
}

#[derive(Serialize)]
struct ConversationView<'a> {
    conversation: HeadView,
    messages: &'a [Message],
    page: i64,
    per_page: i64,
    total: i64,
}

#[derive(Serialize)]
struct HeadView {
    id: String,
    with: User,
}

#[derive(Serialize)]
struct UnreadView {
    user_id: i64,
    unread_count: i64,
}

#[derive(Serialize)]
struct MessageView<'a> {
    message: &'a Message,
}

/// What may be done to a message.
#[derive(Clone, Copy)]
enum Act {
    Update,
    MarkRead,
    Delete,
}

/// `messages.list`
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Id(user_id): Id,
    call: Call,
) -> Result<Response, Failure> {
    call.must_be(user_id)?;
    let page = call.page();
    let inbox = message::inbox(&mut app.database.clone(), user_id, page).await?;
    let view = ListView {
        messages: &inbox.rows,
        page: page.page,
        per_page: page.per_page,
        total: inbox.total,
    };
    Ok(listed(&format!("/users/{user_id}/messages"), page, inbox.total, &view))
}

/// `messages.conversations`
pub(super) async fn conversations(
    State(app): State<Arc<App>>,
    Id(user_id): Id,
    call: Call,
) -> Result<Response, Failure> {
    call.must_be(user_id)?;
    let page = call.page();
    let partners = message::conversations(&mut app.database.clone(), user_id, page).await?;
    let view = ConversationsView {
        conversations: &partners.rows,
        page: page.page,
        per_page: page.per_page,
        total: partners.total,
    };
    Ok(listed(&format!("/users/{user_id}/conversations"), page, partners.total, &view))
}

/// `messages.conversation`
pub(super) async fn conversation(
    State(app): State<Arc<App>>,
    Ids(user_id, other_id): Ids,
    call: Call,
) -> Result<Response, Failure> {
    call.must_be(user_id)?;
    let page = call.page();
    let with = found(user::find(&mut app.database.clone(), other_id).await?)?;
    let messages =
        message::conversation(&mut app.database.clone(), user_id, other_id, page).await?;
    let view = ConversationView {
        conversation: HeadView { id: message::conversation_id(user_id, other_id), with },
        messages: &messages.rows,
        page: page.page,
        per_page: page.per_page,
        total: messages.total,
    };
    let path = format!("/users/{user_id}/conversations/{other_id}");
    Ok(listed(&path, page, messages.total, &view))
}

/// `messages.unread_count`
pub(super) async fn unread_count(
    State(app): State<Arc<App>>,
    Id(user_id): Id,
    call: Call,
) -> Result<Response, Failure> {
    call.must_be(user_id)?;
    let unread_count = message::unread_count(&mut app.database.clone(), user_id).await?;
    Ok(json_response(StatusCode::OK, &UnreadView { user_id, unread_count }))
}

/// `messages.show`
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Id(id): Id,
    call: Call,
) -> Result<Response, Failure> {
    let caller = call.caller()?;
    let message = found(message::find(&mut app.database.clone(), id).await?)?;
    let visible = found(Some(message).filter(|message| message.visible_to(caller)))?;
    Ok(json_response(StatusCode::OK, &MessageView { message: &visible }))
}

/// `messages.create`
pub(super) async fn create(State(app): State<Arc<App>>, call: Call) -> Result<Response, Failure> {
    call.caller()?;
    let carried = (Arc::clone(&app), call.clone());
    let message = app.carry(move || store(carried.0.clone(), carried.1.clone())).await?;
    let response =
        created(&format!("/messages/{}", message.id), &MessageView { message: &message });
    Ok(back_or(&call, response))
}

/// `messages.update`
pub(super) async fn update(
    State(app): State<Arc<App>>,
    Id(id): Id,
    call: Call,
) -> Result<Response, Failure> {
    act(app, id, call, Act::Update).await
}

/// `messages.mark_read`
pub(super) async fn mark_read(
    State(app): State<Arc<App>>,
    Id(id): Id,
    call: Call,
) -> Result<Response, Failure> {
    act(app, id, call, Act::MarkRead).await
}

/// `messages.delete`
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    Id(id): Id,
    call: Call,
) -> Result<Response, Failure> {
    act(app, id, call, Act::Delete).await
}

async fn store(app: Arc<App>, call: Call) -> Result<Message, Failure> {
    let now = now();
    let mut tx = app.database.begin().await?;
    let draft = validated_draft(&mut tx, &call).await?;
    let (id, thread_id) = message::insert(&mut tx, &draft, &now).await?;
    let data = json!({
        "thread_id": thread_id,
        "parent_id": draft.parent.map(|(parent_id, _)| parent_id),
        "sender_id": draft.sender_id,
        "recipient_id": draft.recipient_id,
    });
    let stored = found(message::find(&mut tx, id).await?)?;
    let change = change(&call, EventType::MessageSent, id, now, data);
    app.events.commit(tx, change).await?;
    Ok(stored)
}

async fn validated_draft(tx: &mut crate::database::Tx, call: &Call) -> Result<Draft, Failure> {
    let sender_id = call.caller()?;
    let resource = call.resource("message")?;
    let mut errors = Errors::default();
    let (subject, body) = (text(resource, "subject"), text(resource, "body"));
    if subject.chars().count() > SUBJECT_CHARS_MAX {
        errors.add("subject", &format!("is too long (maximum is {SUBJECT_CHARS_MAX} characters)"));
    }
    validate_body(body, &mut errors);
    let recipient_id = integer(resource.get("recipient_id")).unwrap_or_default();
    if user::find(tx, recipient_id).await?.is_none() {
        errors.add("recipient", "must exist");
    }
    let parent = parent(tx, resource.get("parent_id"), sender_id).await?;
    if parent.is_err() {
        errors.add("parent", "must exist");
    }
    errors.into_result()?;
    if user::find(tx, sender_id).await?.is_none() {
        return Err(Failure::Unauthorized);
    }
    let parent = parent.unwrap_or_default();
    Ok(Draft {
        sender_id,
        recipient_id,
        subject: subject.to_owned(),
        body: body.to_owned(),
        parent,
    })
}

/// The message that is answered; an error when there is none that the sender wrote or received.
async fn parent(
    tx: &mut crate::database::Tx,
    parent_id: Option<&Value>,
    sender_id: i64,
) -> Result<Result<Option<(i64, i64)>, ()>, Failure> {
    let absent = parent_id.is_none_or(|value| value.is_null() || value.as_str() == Some(""));
    if absent {
        return Ok(Ok(None));
    }
    let Some(parent_id) = integer(parent_id) else { return Ok(Err(())) };
    let parent = message::find(tx, parent_id).await?;
    let known = parent.filter(|parent| parent.involves(sender_id));
    Ok(known.map(|parent| Some((parent.id, parent.thread_id))).ok_or(()))
}

fn validate_body(body: &str, errors: &mut Errors) {
    if body.trim().is_empty() {
        errors.add("body", "can't be blank");
    } else if body.chars().count() > BODY_CHARS_MAX {
        errors.add("body", &format!("is too long (maximum is {BODY_CHARS_MAX} characters)"));
    }
}

async fn act(app: Arc<App>, id: i64, call: Call, act: Act) -> Result<Response, Failure> {
    call.caller()?;
    let carried = (Arc::clone(&app), call.clone());
    let changed = app.carry(move || apply(carried.0.clone(), carried.1.clone(), id, act)).await?;
    let response = match act {
        Act::Update | Act::MarkRead => {
            json_response(StatusCode::OK, &MessageView { message: &changed })
        }
        Act::Delete => StatusCode::NO_CONTENT.into_response(),
    };
    Ok(back_or(&call, response))
}

/// Gives the message as it is afterwards. Who may not see it gets 404, who may see but not do it 403.
async fn apply(app: Arc<App>, call: Call, id: i64, act: Act) -> Result<Message, Failure> {
    let caller = call.caller()?;
    let now = now();
    let mut tx = app.database.begin().await?;
    let message = found(message::find(&mut tx, id).await?)?;
    let message = found(Some(message).filter(|message| message.visible_to(caller)))?;
    let (event_type, changed) = match act {
        Act::Update => {
            if message.sender.id != caller {
                return Err(Failure::Forbidden);
            }
            message::edit(&mut tx, id, &validated_body(&call)?, &now).await?;
            (EventType::MessageEdited, true)
        }
        Act::MarkRead => {
            if message.recipient.id != caller {
                return Err(Failure::Forbidden);
            }
            let changed = message::mark_read(&mut tx, id, caller, &now).await?;
            (EventType::MessageRead, changed)
        }
        Act::Delete => (EventType::MessageDeleted, message::hide(&mut tx, id, caller, &now).await?),
    };
    if !changed {
        return Ok(message);
    }
    let after = found(message::find(&mut tx, id).await?)?;
    let data = json!({
        "thread_id": after.thread_id,
        "sender_id": after.sender.id,
        "recipient_id": after.recipient.id,
    });
    app.events.commit(tx, change(&call, event_type, id, now, data)).await?;
    Ok(after)
}

fn validated_body(call: &Call) -> Result<String, Failure> {
    let body = text(call.resource("message")?, "body");
    let mut errors = Errors::default();
    validate_body(body, &mut errors);
    errors.into_result().map(|()| body.to_owned())
}
