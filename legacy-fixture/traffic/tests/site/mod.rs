//! A tiny site with the contract's manners in memory, which can be told to misbehave in one known way.

#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::wildcard_enum_match_arm, reason = "each place knows the faults that are its own")]

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    response::Response,
};
use fixture_passport::{Caller, CallerKind, DEFAULT_SECRET, Page, Passport, csrf, link_header};
use serde_json::{Map, Value, json};
use std::sync::{Arc, Mutex, MutexGuard};

const TIME: &str = "2014/06/12 10:00:00 +0000";

/// The one thing that is wrong with the site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Nothing,
    ListIs500,
    UnreadIs503,
    ShowIsHtml,
    ShowLacksReadAt,
    ShowHasIsoTime,
    CreateIsLost,
    CreateChangesBody,
    UpdateIsLost,
    ReadIsLost,
    DeleteIsLost,
    UnreadIsOneTooHigh,
    ListShowsForeign,
    ListIsOldestFirst,
    LinkIsMissing,
    PageLacksToken,
    SessionIsOfAnother,
    ForeignListIsShown,
    BlankIsAccepted,
    NotModifiedWithoutReason,
}

/// A running site and what it was asked.
pub(crate) struct Site {
    pub(crate) url: String,
    shared: Arc<Shared>,
}

struct Shared {
    fault: Fault,
    passport: Passport,
    state: Mutex<World>,
}

#[derive(Default)]
struct World {
    messages: Vec<Stored>,
    asked: Vec<String>,
}

#[derive(Clone)]
struct Stored {
    id: i64,
    sender: i64,
    recipient: i64,
    subject: String,
    body: String,
    edited: bool,
    read: bool,
    hidden_for: Vec<i64>,
}

impl Site {
    pub(crate) async fn start(fault: Fault, users: i64) -> Self {
        let state = Mutex::new(World::seeded(users));
        let shared = Arc::new(Shared { fault, passport: Passport::new(DEFAULT_SECRET), state });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, shared }
    }

    /// `traffic-<seed>-<session>-<number> METHOD path` of each request, in the order of their ids.
    pub(crate) fn asked(&self) -> Vec<String> {
        let mut asked = self.shared.state().asked.clone();
        asked.sort();
        asked
    }
}

impl World {
    /// Each user wrote to the next few.
    fn seeded(users: i64) -> Self {
        let mut world = Self::default();
        for round in 1..=30 {
            for sender in 1..=users {
                let recipient = (sender + round % 4) % users + 1;
                world.store(sender, recipient, "seeded".to_owned(), format!("old {round}"));
            }
        }
        world
    }

    fn store(&mut self, sender: i64, recipient: i64, subject: String, body: String) -> Stored {
        let id = i64::try_from(self.messages.len()).unwrap() + 1;
        let hidden_for = Vec::new();
        let stored =
            Stored { id, sender, recipient, subject, body, edited: false, read: false, hidden_for };
        self.messages.push(stored.clone());
        stored
    }

    /// What `me` sees, newest first.
    fn visible(&self, me: i64) -> Vec<&Stored> {
        let mine = |stored: &&Stored| {
            (stored.sender == me || stored.recipient == me) && !stored.hidden_for.contains(&me)
        };
        self.messages.iter().rev().filter(mine).collect()
    }
}

impl Stored {
    fn json(&self) -> Value {
        let read_at = self.read.then_some(TIME);
        json!({"id": self.id, "thread_id": self.id, "parent_id": null, "subject": self.subject, "body": self.body,
            "sender": user(self.sender), "recipient": user(self.recipient), "read": self.read, "read_at": read_at,
            "edited_at": self.edited.then_some(TIME), "created_at": TIME, "updated_at": TIME,
            "uri": format!("/messages/{}", self.id)})
    }

    fn other(&self, me: i64) -> i64 {
        if self.sender == me { self.recipient } else { self.sender }
    }
}

fn user(id: i64) -> Value {
    json!({"id": id, "permalink": format!("user-{id}"), "username": format!("User {id}"), "avatar_url": null,
        "uri": format!("/users/{id}")})
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, World> {
        self.state.lock().unwrap()
    }

    fn has(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn list(&self, me: i64, page: Page, path: &str) -> Response {
        let world = self.state();
        let mut received: Vec<Value> = world
            .visible(me)
            .into_iter()
            .filter(|row| row.recipient == me)
            .map(Stored::json)
            .collect();
        if self.has(Fault::ListShowsForeign) {
            received.splice(
                0..0,
                world
                    .messages
                    .iter()
                    .rev()
                    .find(|row| row.sender != me && row.recipient != me)
                    .map(Stored::json),
            );
        }
        if self.has(Fault::ListIsOldestFirst) {
            received.reverse();
        }
        self.listed(&received, "messages", json!({}), page, path)
    }

    fn conversation(&self, me: i64, other: i64, page: Page, path: &str) -> Response {
        let world = self.state();
        let rows: Vec<Value> = world
            .visible(me)
            .into_iter()
            .filter(|row| row.other(me) == other)
            .map(Stored::json)
            .collect();
        let id = format!("{}:{}", me.min(other), me.max(other));
        let head = json!({"conversation": {"id": id, "with": user(other)}});
        self.listed(&rows, "messages", head, page, path)
    }

    fn partners(&self, me: i64, page: Page, path: &str) -> Response {
        let world = self.state();
        let visible = world.visible(me);
        let mut others: Vec<i64> = Vec::new();
        for row in &visible {
            if !others.contains(&row.other(me)) {
                others.push(row.other(me));
            }
        }
        let row = |other: &i64| {
            let all: Vec<_> = visible.iter().filter(|row| row.other(me) == *other).collect();
            let unread = all.iter().filter(|row| row.recipient == me && !row.read).count();
            json!({"id": format!("{}:{}", me.min(*other), me.max(*other)), "with": user(*other),
                "last_message": all[0].json(), "messages_count": all.len(), "unread_count": unread})
        };
        let rows: Vec<Value> = others.iter().map(row).collect();
        self.listed(&rows, "conversations", json!({}), page, path)
    }

    fn listed(&self, rows: &[Value], key: &str, head: Value, page: Page, path: &str) -> Response {
        let skip = usize::try_from(page.offset()).unwrap();
        let take = usize::try_from(page.per_page).unwrap();
        let total = i64::try_from(rows.len()).unwrap();
        let shown: Vec<_> = rows.iter().skip(skip).take(take).collect();
        let mut body = head;
        body[key] = json!(shown);
        body["page"] = json!(page.page);
        body["per_page"] = json!(page.per_page);
        body["total"] = json!(total);
        let mut response = reply(200, &body);
        if let Some(link) =
            link_header(path, page, total).filter(|_| !self.has(Fault::LinkIsMissing))
        {
            response.headers_mut().insert("link", link.parse().unwrap());
        }
        response
    }

    fn show(&self, me: i64, id: i64) -> Response {
        let world = self.state();
        let Some(found) = world.visible(me).into_iter().find(|row| row.id == id) else {
            return missing();
        };
        let mut message = found.json();
        match self.fault {
            Fault::ShowIsHtml => return html("<html>sorry</html>"),
            Fault::ShowLacksReadAt => drop(message.as_object_mut().unwrap().remove("read_at")),
            Fault::ShowHasIsoTime => message["created_at"] = json!("2014-06-12T10:00:00Z"),
            _ => {}
        }
        reply(200, &json!({ "message": message }))
    }

    fn create(&self, me: i64, fields: &Value) -> Response {
        let message = &fields["message"];
        let body = message["body"].as_str().unwrap_or_default().to_owned();
        if body.trim().is_empty() && !self.has(Fault::BlankIsAccepted) {
            return reply(422, &json!({"errors": {"body": ["can't be blank"]}}));
        }
        let recipient = number(&message["recipient_id"]);
        let subject = message["subject"].as_str().unwrap_or_default().to_owned();
        let mut world = self.state();
        let mut stored = world.store(me, recipient, subject, body);
        match self.fault {
            Fault::CreateIsLost => world.messages.last_mut().unwrap().hidden_for = vec![me],
            Fault::CreateChangesBody => stored.body.push('!'),
            _ => {}
        }
        let mut response = reply(201, &json!({ "message": stored.json() }));
        let location = format!("/messages/{}", stored.id);
        response.headers_mut().insert("location", location.parse().unwrap());
        response
    }

    fn change(&self, me: i64, id: i64, act: impl FnOnce(&mut Stored), lost_by: Fault) -> Response {
        let mut world = self.state();
        if !world.visible(me).iter().any(|row| row.id == id) {
            return missing();
        }
        let index = usize::try_from(id - 1).unwrap();
        let mut changed = world.messages[index].clone();
        act(&mut changed);
        if !self.has(lost_by) {
            world.messages[index] = changed.clone();
        }
        reply(200, &json!({ "message": changed.json() }))
    }

    fn unread(&self, me: i64) -> Response {
        let world = self.state();
        let unread =
            world.visible(me).into_iter().filter(|row| row.recipient == me && !row.read).count();
        let unread = unread + usize::from(self.has(Fault::UnreadIsOneTooHigh));
        reply(200, &json!({ "user_id": me, "unread_count": unread }))
    }

    fn session(&self, user_id: i64) -> Response {
        let session = self.passport.session(user_id, 7);
        let token = csrf::mask(&self.passport.csrf_raw(&session), &[5; 32]);
        let mut response = reply(200, &json!({ "user": user(user_id), "csrf_token": token }));
        let cookie = format!("_mothership_session={session}; path=/; HttpOnly");
        response.headers_mut().insert("set-cookie", cookie.parse().unwrap());
        response
    }

    fn page(&self, cookies: Option<&str>) -> Response {
        let session = cookies.and_then(fixture_passport::session_cookie).unwrap_or_default();
        let token = csrf::mask(&self.passport.csrf_raw(session), &[6; 32]);
        match self.fault {
            Fault::PageLacksToken => html("<html></html>"),
            _ => html(&format!("<html><meta name=\"csrf-token\" content=\"{token}\"></html>")),
        }
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let id = text("x-request-id").unwrap_or_default();
    shared.state().asked.push(format!("{id} {} {}", parts.method, parts.uri));
    let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let is_form =
        text("content-type").is_some_and(|kind| kind.starts_with("application/x-www-form"));
    let fields = fields(is_form, &bytes);
    let method = fields["_method"].as_str().map_or(parts.method.to_string(), str::to_uppercase);
    let caller = shared.passport.caller(text("authorization"), text("cookie"));
    if method != "GET"
        && parts.uri.path() != "/login"
        && caller.is_some_and(|c| c.by == CallerKind::Session)
    {
        let token = text("x-csrf-token").or(fields["authenticity_token"].as_str());
        if !token.is_some_and(|token| shared.passport.csrf_matches(text("cookie"), token)) {
            return reply(422, &json!({"status": "422", "error": "Invalid authenticity token"}));
        }
    }
    if text("if-none-match").is_some() && shared.has(Fault::NotModifiedWithoutReason) {
        return Response::builder().status(500).body(Body::empty()).unwrap();
    }
    let wants_html = text("accept").is_some_and(|accept| accept.starts_with("text/html"));
    if wants_html {
        return shared.page(text("cookie"));
    }
    let mut response =
        route(&shared, &method, parts.uri.path(), parts.uri.query(), caller, &fields);
    response.headers_mut().insert("etag", "W/\"1\"".parse().unwrap());
    response
}

fn route(
    shared: &Shared,
    method: &str,
    path: &str,
    query: Option<&str>,
    caller: Option<Caller>,
    fields: &Value,
) -> Response {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let page = Page::from_query(query);
    let number = |text: &str| text.parse::<i64>().unwrap();
    let me = caller.map_or(0, |caller| caller.user_id);
    match (method, segments.as_slice()) {
        ("POST", ["login"]) => {
            let login = fields["login"].as_str().unwrap().strip_prefix("user-").unwrap();
            assert_eq!(fields["password"], "secret");
            shared.session(number(login) + i64::from(shared.has(Fault::SessionIsOfAnother)))
        }
        ("GET", ["session"]) => shared.session(me),
        ("GET", ["users", id]) => reply(200, &json!({ "user": user(number(id)) })),
        ("GET", ["users", _, "suggestions"]) => reply(200, &json!({ "suggestions": [user(1)] })),
        ("GET", ["users", id, "tracks"]) => {
            reply(200, &json!({ "tracks": [{ "id": number(id) * 10 }] }))
        }
        ("GET", ["tracks", id]) => reply(200, &json!({ "track": { "id": number(id) } })),
        ("GET", ["tracks", _, "comments"]) => reply(200, &json!({ "comments": [] })),
        ("POST", ["tracks", _, "comments"]) => reply(201, &json!({ "comment": fields["comment"] })),
        ("POST", ["tracks", _, "plays"]) => reply(201, &json!({ "playback_count": 4 })),
        ("GET", ["users", id, ..])
            if number(id) != me && !shared.has(Fault::ForeignListIsShown) =>
        {
            reply(403, &json!({"status": "403", "error": "Forbidden"}))
        }
        ("GET", ["users", _, "messages"]) if shared.has(Fault::ListIs500) => reply(500, &json!({})),
        ("GET", ["users", _, "messages"]) => shared.list(me, page, path),
        ("GET", ["users", _, "messages", "unread_count"]) if shared.has(Fault::UnreadIs503) => {
            reply(503, &json!({}))
        }
        ("GET", ["users", _, "messages", "unread_count"]) => shared.unread(me),
        ("GET", ["users", _, "conversations"]) => shared.partners(me, page, path),
        ("GET", ["users", _, "conversations", other]) => {
            shared.conversation(me, number(other), page, path)
        }
        ("GET", ["messages", id]) => shared.show(me, number(id)),
        ("POST", ["messages"]) => shared.create(me, fields),
        ("PATCH", ["messages", id]) => {
            let body = fields["message"]["body"].as_str().unwrap().to_owned();
            let edit = |stored: &mut Stored| (stored.body, stored.edited) = (body, true);
            shared.change(me, number(id), edit, Fault::UpdateIsLost)
        }
        ("PUT", ["messages", id, "read"]) => {
            shared.change(me, number(id), |stored| stored.read = true, Fault::ReadIsLost)
        }
        ("DELETE", ["messages", id]) => {
            let hide = |stored: &mut Stored| stored.hidden_for.push(me);
            let changed = shared.change(me, number(id), hide, Fault::DeleteIsLost);
            if changed.status() == 200 {
                Response::builder().status(204).body(Body::empty()).unwrap()
            } else {
                changed
            }
        }
        _ => missing(),
    }
}

/// Rails' nesting, of JSON or of a form.
fn fields(is_form: bool, bytes: &Bytes) -> Value {
    if !is_form {
        return serde_json::from_slice(bytes).unwrap_or(Value::Null);
    }
    let text = std::str::from_utf8(bytes).unwrap();
    let uri: axum::http::Uri = format!("/?{text}").parse().unwrap();
    let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&uri).unwrap().0;
    let mut all = Value::Object(Map::new());
    for (key, value) in pairs {
        match key.strip_suffix(']').and_then(|key| key.split_once('[')) {
            Some((outer, inner)) => all[outer][inner] = json!(value),
            None => all[key] = json!(value),
        }
    }
    all
}

fn number(value: &Value) -> i64 {
    value.as_i64().or_else(|| value.as_str()?.parse().ok()).unwrap()
}

fn missing() -> Response {
    reply(404, &json!({"status": "404", "error": "Not Found"}))
}

fn reply(status: u16, body: &Value) -> Response {
    let builder = Response::builder()
        .status(status)
        .header("content-type", "application/json; charset=utf-8");
    builder.header("x-served-by", "site").body(Body::from(body.to_string())).unwrap()
}

fn html(body: &str) -> Response {
    let builder = Response::builder().header("content-type", "text/html; charset=utf-8");
    builder.body(Body::from(body.to_owned())).unwrap()
}
