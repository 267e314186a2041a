//! The controllers: from a request to an answer through the context's trait.
//!
//! They know HTTP and [`Messages`], not the chat store: the seam decides who answers.
//!
//! What must stay true: the checks come in the monolith's order (forged 422, unknown path 404, 401, 403, unknown row
//! 404), a request body is read to a bound and only for its token, and no failure below becomes anything but a status.

use crate::{
    answer::{Answer, Asked},
    call::{Call, overridden, plain},
    ops::{MessageOf, Messages, PageOf, PageWith, Refusal},
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
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// A request that is not answered after this long is 503.
const DEADLINE: Duration = Duration::from_secs(10);
/// Bodies are only searched for a CSRF token; longer ones are not searched.
const BODY_BYTES_MAX: usize = 1 << 20;

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
    let fields = Fields::read(&parts, body).await;
    let asked = Asked {
        method: parts.method.clone(),
        if_none_match: text(&parts.headers, header::IF_NONE_MATCH).map(str::to_owned),
        request_id: request_id(text(&parts.headers, HeaderName::from_static("x-request-id"))),
    };
    if !app.delay.is_zero() {
        tokio::time::sleep(app.delay).await;
    }
    let answer = app.dispatch(&parts, &fields).await;
    answer.into_response(&asked, started.elapsed())
}

impl<M: Messages> App<M> {
    async fn dispatch(&self, parts: &Parts, fields: &Fields) -> Answer {
        let authorization = text(&parts.headers, header::AUTHORIZATION);
        let cookies = text(&parts.headers, header::COOKIE);
        let caller = self.passport.caller(authorization, cookies);
        if !self.is_from_own_page(caller, &parts.method, &parts.headers, fields) {
            return Answer::error(StatusCode::UNPROCESSABLE_ENTITY, "Invalid authenticity token");
        }
        let from_header = text(&parts.headers, HeaderName::from_static("x-http-method-override"));
        let method = overridden(&parts.method, from_header, fields.form("_method"));
        let path = plain(parts.uri.path());
        let Some(call) = Call::of(&method, path) else { return refusal(StatusCode::NOT_FOUND) };
        let Some(caller) = caller else { return refusal(StatusCode::UNAUTHORIZED) };
        let hops = text(&parts.headers, HeaderName::from_static(HOPS_HEADER));
        let cx = Cx::new(format!("user:{}", caller.user_id), DEADLINE).with_hops(hops);
        let query = Query { path, page: Page::from_query(parts.uri.query()) };
        self.perform(call, caller.user_id, cx, query).await.unwrap_or_else(|refused| refused)
    }

    async fn perform(
        &self,
        call: Call,
        me: i64,
        cx: Cx,
        query: Query<'_>,
    ) -> Result<Answer, Answer> {
        let Query { page, .. } = query;
        let (app, views) = (&self.messages, self.views);
        let mine = |message_id| MessageOf { user_id: me, message_id };
        let shown = |message| Answer::json(&views.show(&message));
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
            Call::Show { message } => app.show(cx, mine(message)).await.map(shown).map_err(failed),
            Call::Create => app.create(cx, me).await.map(shown).map_err(failed),
            Call::Update { message } => {
                app.update(cx, mine(message)).await.map(shown).map_err(failed)
            }
            Call::MarkRead { message } => {
                app.mark_read(cx, mine(message)).await.map(shown).map_err(failed)
            }
            Call::Delete { message } => {
                let deleted = app.delete(cx, mine(message)).await;
                deleted.map(|()| Answer::no_content()).map_err(failed)
            }
        }
    }

    /// A browser's request that changes something must carry the token of one of the monolith's pages.
    fn is_from_own_page(
        &self,
        caller: Option<Caller>,
        method: &Method,
        headers: &HeaderMap,
        fields: &Fields,
    ) -> bool {
        let needs_token = caller.is_some_and(|caller| caller.by == CallerKind::Session)
            && !matches!(*method, Method::GET | Method::HEAD);
        let cookies = text(headers, header::COOKIE);
        let header = text(headers, HeaderName::from_static("x-csrf-token"));
        let field = fields.get("authenticity_token");
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

/// The top-level text fields of a form or JSON body.
#[derive(Default)]
struct Fields {
    is_form: bool,
    texts: HashMap<String, String>,
}

impl Fields {
    async fn read(parts: &Parts, body: Body) -> Self {
        let none = Self::default();
        if matches!(parts.method, Method::GET | Method::HEAD) {
            return none;
        }
        let Ok(bytes) = axum::body::to_bytes(body, BODY_BYTES_MAX).await else { return none };
        let kind = text(&parts.headers, header::CONTENT_TYPE).unwrap_or_default();
        if kind.starts_with("application/x-www-form-urlencoded") {
            return Self { is_form: true, texts: form_texts(&bytes).unwrap_or_default() };
        }
        Self { is_form: false, texts: json_texts(&bytes).unwrap_or_default() }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.texts.get(name).map(String::as_str)
    }

    /// The same for a form only.
    fn form(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|_| self.is_form)
    }
}

fn form_texts(bytes: &[u8]) -> Option<HashMap<String, String>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let uri: http::Uri = format!("/?{text}").parse().ok()?;
    let query = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&uri).ok()?;
    Some(query.0.into_iter().collect())
}

fn json_texts(bytes: &[u8]) -> Option<HashMap<String, String>> {
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(bytes).ok()?;
    let text = |(key, value): (String, serde_json::Value)| Some((key, value.as_str()?.to_owned()));
    Some(object.into_iter().filter_map(text).collect())
}

fn only_self(user: i64, me: i64) -> Result<i64, Answer> {
    if user == me { Ok(me) } else { Err(refusal(StatusCode::FORBIDDEN)) }
}

fn failed(error: SeamError<Refusal>) -> Answer {
    match error {
        SeamError::App(Refusal::NotFound) => refusal(StatusCode::NOT_FOUND),
        SeamError::NotOwner { .. } => {
            Answer::error(StatusCode::SERVICE_UNAVAILABLE, "messages does not own this context")
                .with_retry_after(1)
        }
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
    Answer::error(status, status.canonical_reason().unwrap_or_default())
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
