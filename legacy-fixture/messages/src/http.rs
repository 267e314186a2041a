//! The controllers: from a request to an answer through the context's trait.
//!
//! They know HTTP and [`Messages`], not the chat store: the seam decides who answers.
//!
//! What must stay true: the checks come in the monolith's order (unreadable body 400, forged 422, unknown path 404, 401,
//! 403, unknown row 404), a request body is read to a bound, and no failure below becomes anything but a status.

use crate::{
    answer::{Answer, Asked},
    call::{Call, overridden, plain},
    letter::{self, Letter},
    ops::{Act, MessageOf, Messages, NewBody, NewMessage, PageOf, PageWith, Refusal},
    params::Params,
    view::{self, UnreadCountView, Views},
};
use axum::{
    body::Body,
    extract::{Request, State},
};
use banyan_seams::{Cx, HOPS_HEADER, SeamError};
use fixture_passport::{Caller, CallerKind, Page, Passport, link_header};
use http::{HeaderMap, HeaderName, Method, Response, StatusCode, header, request::Parts};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// A request that is not answered after this long is 503.
const DEADLINE: Duration = Duration::from_secs(10);

/// Everything that answering needs.
pub(crate) struct App<M> {
    pub(crate) messages: M,
    pub(crate) passport: Passport,
    pub(crate) views: Views,
    pub(crate) delay: Duration,
}

/// Answers any request.
pub(crate) async fn answer<M: Messages>(
    State(app): State<Arc<App<M>>>,
    request: Request,
) -> Response<Body> {
    let started = Instant::now();
    let (parts, body) = request.into_parts();
    let params = Params::read(&parts, body).await;
    let asked = Asked {
        method: parts.method.clone(),
        if_none_match: text(&parts.headers, header::IF_NONE_MATCH).map(str::to_owned),
        request_id: request_id(text(&parts.headers, HeaderName::from_static("x-request-id"))),
    };
    if !app.delay.is_zero() {
        tokio::time::sleep(app.delay).await;
    }
    let answer = match &params {
        Ok(params) => app.dispatch(&parts, params, &asked.request_id).await,
        Err(status) => refusal(*status),
    };
    answer.into_response(&asked, started.elapsed())
}

impl<M: Messages> App<M> {
    async fn dispatch(&self, parts: &Parts, params: &Params, request_id: &str) -> Answer {
        let authorization = text(&parts.headers, header::AUTHORIZATION);
        let cookies = text(&parts.headers, header::COOKIE);
        let caller = self.passport.caller(authorization, cookies);
        if !self.is_from_own_page(caller, &parts.method, &parts.headers, params) {
            return Answer::error(StatusCode::UNPROCESSABLE_ENTITY, "Invalid authenticity token");
        }
        let from_header = text(&parts.headers, HeaderName::from_static("x-http-method-override"));
        let method = overridden(&parts.method, from_header, params.form_text("_method"));
        let path = plain(parts.uri.path());
        let Some(call) = Call::of(&method, path) else { return refusal(StatusCode::NOT_FOUND) };
        let Some(caller) = caller else { return refusal(StatusCode::UNAUTHORIZED) };
        let hops = text(&parts.headers, HeaderName::from_static(HOPS_HEADER));
        let cx = Cx::new(format!("user:{}", caller.user_id), DEADLINE).with_hops(hops);
        let me = caller.user_id;
        let page = Page::from_query(parts.uri.query());
        let answered = match call {
            Call::Create | Call::Update { .. } | Call::MarkRead { .. } | Call::Delete { .. } => {
                let changed = self.change(call, cx, Change { me, request_id, params }).await;
                changed.map(|answer| back_or(params, answer))
            }
            Call::Inbox { .. }
            | Call::Conversations { .. }
            | Call::Conversation { .. }
            | Call::UnreadCount { .. }
            | Call::Show { .. } => self.read(call, me, cx, Query { path, page }).await,
        };
        answered.unwrap_or_else(|refused| refused)
    }

    async fn read(&self, call: Call, me: i64, cx: Cx, query: Query<'_>) -> Result<Answer, Answer> {
        let Query { page, .. } = query;
        let (app, views) = (&self.messages, self.views);
        match call {
            Call::Inbox { user } => {
                let user_id = only_self(user, me)?;
                let inbox = app.inbox(cx, PageOf { user_id, page }).await.map_err(failed)?;
                Ok(Answer::json(&views.inbox(&inbox, page)).with_link(query.link(inbox.total)))
            }
            Call::Conversations { user } => {
                let user_id = only_self(user, me)?;
                let of = PageOf { user_id, page };
                let list = app.conversations(cx, of).await.map_err(failed)?;
                let view = view::conversations(&list, user_id, page);
                Ok(Answer::json(&view).with_link(query.link(list.total)))
            }
            Call::Conversation { user, other } => {
                let user_id = only_self(user, me)?;
                let of = PageWith { user_id, other_id: other, page };
                let found = app.conversation(cx, of).await.map_err(failed)?;
                let view = view::conversation(&found, user_id, page);
                Ok(Answer::json(&view).with_link(query.link(found.messages.total)))
            }
            Call::UnreadCount { user } => {
                let user_id = only_self(user, me)?;
                let unread_count = app.unread_count(cx, user_id).await.map_err(failed)?;
                Ok(Answer::json(&UnreadCountView { user_id, unread_count }))
            }
            Call::Show { message } => {
                let of = MessageOf { user_id: me, message_id: message };
                let shown = app.show(cx, of).await.map_err(failed)?;
                Ok(Answer::json(&views.show(&shown)))
            }
            Call::Create | Call::Update { .. } | Call::MarkRead { .. } | Call::Delete { .. } => {
                Err(refusal(StatusCode::NOT_FOUND))
            }
        }
    }

    async fn change(&self, call: Call, cx: Cx, change: Change<'_>) -> Result<Answer, Answer> {
        let (app, views) = (&self.messages, self.views);
        match call {
            Call::Create => {
                let message = app.create(cx, change.new_message()).await.map_err(failed)?;
                let location = format!("/messages/{}", message.id);
                let answer = Answer::json(&views.show(&message)).with_location(location);
                Ok(answer.with_status(StatusCode::CREATED))
            }
            Call::Update { message } => {
                let body = letter::new_body(change.params);
                let new = NewBody { act: change.act(message), body };
                let message = app.update(cx, new).await.map_err(failed)?;
                Ok(Answer::json(&views.show(&message)))
            }
            Call::MarkRead { message } => {
                let message = app.mark_read(cx, change.act(message)).await.map_err(failed)?;
                Ok(Answer::json(&views.show(&message)))
            }
            Call::Delete { message } => {
                app.delete(cx, change.act(message)).await.map_err(failed)?;
                Ok(Answer::no_content())
            }
            Call::Inbox { .. }
            | Call::Conversations { .. }
            | Call::Conversation { .. }
            | Call::UnreadCount { .. }
            | Call::Show { .. } => Err(refusal(StatusCode::NOT_FOUND)),
        }
    }

    /// A browser's request that changes something must carry the token of one of the monolith's pages.
    fn is_from_own_page(
        &self,
        caller: Option<Caller>,
        method: &Method,
        headers: &HeaderMap,
        params: &Params,
    ) -> bool {
        let needs_token = caller.is_some_and(|caller| caller.by == CallerKind::Session)
            && !matches!(*method, Method::GET | Method::HEAD);
        let cookies = text(headers, header::COOKIE);
        let header = text(headers, HeaderName::from_static("x-csrf-token"));
        let field = params.text("authenticity_token");
        let token = header.or(field);
        !needs_token || token.is_some_and(|token| self.passport.csrf_matches(cookies, token))
    }
}

/// The page asked for and the path that its links repeat.
#[derive(Clone, Copy)]
struct Query<'a> {
    path: &'a str,
    page: Page,
}

impl Query<'_> {
    fn link(self, total: i64) -> Option<String> {
        link_header(self.path, self.page, total)
    }
}

/// Who wants to change something, and how.
#[derive(Clone, Copy)]
struct Change<'a> {
    me: i64,
    request_id: &'a str,
    params: &'a Params,
}

impl Change<'_> {
    fn new_message(self) -> NewMessage {
        let (user_id, request_id) = (self.me, self.request_id.to_owned());
        NewMessage { user_id, request_id, letter: Letter::read(self.params) }
    }

    fn act(self, message_id: i64) -> Act {
        let of = MessageOf { user_id: self.me, message_id };
        Act { of, request_id: self.request_id.to_owned() }
    }
}

/// A page's form says where to go afterwards (`return_to`, a path of this site); API callers get `answer`.
fn back_or(params: &Params, answer: Answer) -> Answer {
    match params.text("return_to").filter(|path| is_ours(path)) {
        Some(path) => Answer::see_other(path),
        None => answer,
    }
}

/// Only paths of this site, so that no form can send a visitor elsewhere.
fn is_ours(path: &str) -> bool {
    path.starts_with('/')
        && !path.starts_with("//")
        && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
}

fn only_self(user: i64, me: i64) -> Result<i64, Answer> {
    if user == me { Ok(me) } else { Err(refusal(StatusCode::FORBIDDEN)) }
}

fn failed(error: SeamError<Refusal>) -> Answer {
    match error {
        SeamError::App(refused) => match refused {
            Refusal::BadRequest => refusal(StatusCode::BAD_REQUEST),
            Refusal::Unauthorized => refusal(StatusCode::UNAUTHORIZED),
            Refusal::Forbidden => refusal(StatusCode::FORBIDDEN),
            Refusal::NotFound => refusal(StatusCode::NOT_FOUND),
            Refusal::Invalid(errors) => {
                let answer = Answer::json(&view::ErrorsView { errors: &errors });
                answer.with_status(StatusCode::UNPROCESSABLE_ENTITY)
            }
        },
        SeamError::NotOwner { .. } => Answer::fenced(),
        SeamError::Unavailable(why) => {
            tracing::error!(why, "cannot answer");
            refusal(StatusCode::SERVICE_UNAVAILABLE)
        }
        SeamError::Timeout => {
            tracing::error!(deadline_s = DEADLINE.as_secs(), "cannot answer in time");
            refusal(StatusCode::SERVICE_UNAVAILABLE)
        }
    }
}

fn refusal(status: StatusCode) -> Answer {
    let text = if status == StatusCode::PAYLOAD_TOO_LARGE {
        "Request Entity Too Large" // Its name in the monolith's days.
    } else {
        status.canonical_reason().unwrap_or_default()
    };
    Answer::error(status, text)
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The caller's request id with odd characters removed, as Rails does it, or a new one.
fn request_id(received: Option<&str>) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let is_fine =
        |character: &char| character.is_ascii_alphanumeric() || "-_@.".contains(*character);
    let kept: String = received.unwrap_or_default().chars().filter(is_fine).take(255).collect();
    if !kept.is_empty() {
        return kept;
    }
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{:x}-{:x}", since_1970.as_nanos(), NEXT.fetch_add(1, Ordering::Relaxed))
}
