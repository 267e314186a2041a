//! The changes of a visit, and logging in.
//!
//! What must stay true: a fact is remembered only from a good answer; after a bad one nothing is known about the
//! message, and it is not touched again.

use super::Visit;
use crate::{
    check::{self, Checked, Message, OneMessage, Session as SessionView, require},
    client::{Ask, Payload, Reply},
    endpoint::Endpoint,
    pace::Stopped,
    script::{self, Letter, Written},
};
use chrono::Utc;
use rand::RngExt;
use reqwest::Method;
use serde_json::json;

/// The form of a change: scripts send JSON, pages send forms with `_method`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Script,
    Form,
}

impl Visit<'_> {
    /// A browser's way in: its own page, the login form, a page with a CSRF token. False when it failed.
    pub(super) async fn log_in(&mut self) -> Result<bool, Stopped> {
        let me = self.me;
        let Some(profile) = self.user(me).await? else { return Ok(false) };
        let fields = [("login", profile.user.permalink), ("password", "secret".to_owned())];
        let payload = match self.style() {
            Style::Form => Payload::Form(owned(fields)),
            Style::Script => Payload::Json(fields.into_iter().collect()),
        };
        let ask = Ask::new(Endpoint::Login, Method::POST, "/login", payload);
        let entered = self.ask(ask, 200, |visit, entered: &SessionView, _| {
            require(entered.user.id == me, || format!("logged in as {}", entered.user.id))?;
            require(visit.browser.has_session(), || "no session cookie after the login".to_owned())
        });
        let Some(entered) = entered.await? else { return Ok(false) };
        let token = match self.session.random.random_range(0..3) {
            0 => Some(entered.csrf_token),
            1 => self.html_page("/".to_owned()).await?,
            _ => {
                let ask = Ask::get(Endpoint::Session, "/session");
                let shown = self.ask(ask, 200, |_, shown: &SessionView, _| {
                    require(shown.user.id == me, || format!("session of {}", shown.user.id))
                });
                shown.await?.map(|shown| shown.csrf_token)
            }
        };
        let Some(token) = token else { return Ok(false) };
        self.browser.keep_csrf_token(token);
        Ok(true)
    }

    pub(super) async fn create(&mut self, letter: Letter) -> Result<(), Stopped> {
        let me = self.me;
        let Letter { recipient_id, subject, body } = letter;
        let payload = match self.style() {
            Style::Form => Payload::Form(owned([
                ("message[recipient_id]", recipient_id.to_string()),
                ("message[subject]", subject),
                ("message[body]", body.clone()),
            ])),
            Style::Script => Payload::Json(json!({
                "message": { "recipient_id": recipient_id, "subject": subject, "body": body, "parent_id": null },
            })),
        };
        let ask = Ask::new(Endpoint::Create, Method::POST, "/messages", payload);
        let created = self.ask(ask, 201, |_, created: &OneMessage, reply| {
            let message = &created.message;
            message.check(me)?;
            let people = (message.sender.id, message.recipient.id);
            require(people == (me, recipient_id), || format!("message from and to {people:?}"))?;
            require(message.body == body, || format!("stored body {:?}", message.body))?;
            let location = reply.header("location");
            require(location == Some(&format!("/messages/{}", message.id)), || {
                format!("location {location:?} of message {}", message.id)
            })
        });
        if let Some(OneMessage { message }) = created.await? {
            self.memory.wrote(&message);
            self.memory.saw(&message, me, Utc::now());
            self.look_after(Written::Created { id: message.id, recipient_id });
        }
        Ok(())
    }

    pub(super) async fn create_blank(&mut self, recipient_id: i64) -> Result<(), Stopped> {
        let payload =
            Payload::Json(json!({ "message": { "recipient_id": recipient_id, "body": " " } }));
        let ask = Ask::new(Endpoint::Create, Method::POST, "/messages", payload);
        let refused = |reply: &Reply| {
            let found: serde_json::Value = check::parse(&reply.body)?;
            let expected = json!({ "errors": { "body": ["can't be blank"] } });
            require(found == expected, || format!("error body {found} instead of {expected}"))
        };
        self.ask_plain(ask, 422, refused).await.map(drop)
    }

    pub(super) async fn update(&mut self, id: i64, body: String) -> Result<(), Stopped> {
        let path = format!("/messages/{id}");
        let ask = match self.style() {
            Style::Form => {
                let fields =
                    owned([("_method", "patch".to_owned()), ("message[body]", body.clone())]);
                Ask::new(Endpoint::Update, Method::POST, path, Payload::Form(fields))
            }
            Style::Script => {
                let payload = Payload::Json(json!({ "message": { "body": body } }));
                Ask::new(Endpoint::Update, Method::PATCH, path, payload)
            }
        };
        let wanted = body.clone();
        let edited = self.change(ask, id, move |message| {
            require(message.body == wanted, || format!("stored body {:?}", message.body))?;
            require(message.edited_at.is_some(), || "edited_at is null after an edit".to_owned())
        });
        if let Some(message) = edited.await? {
            self.memory.edited(id, &body);
            let other = message.other(self.me);
            self.look_after(Written::Edited { id, other });
        }
        Ok(())
    }

    pub(super) async fn mark_read(&mut self, id: i64) -> Result<(), Stopped> {
        let path = format!("/messages/{id}/read");
        let ask = self.without_fields(Endpoint::MarkRead, Method::PUT, path);
        let read = self.change(ask, id, |message| {
            require(message.read, || "not read after it was marked read".to_owned())
        });
        if let Some(message) = read.await? {
            self.memory.marked_read(id, message.read_at.as_deref().unwrap_or_default());
            let other = message.other(self.me);
            self.look_after(Written::Read { id, other });
        }
        Ok(())
    }

    pub(super) async fn delete(&mut self, id: i64) -> Result<(), Stopped> {
        let ask = self.without_fields(Endpoint::Delete, Method::DELETE, format!("/messages/{id}"));
        let empty = |reply: &Reply| require(reply.body.is_empty(), || "204 with a body".to_owned());
        if self.ask_plain(ask, 204, empty).await?.is_some() {
            self.memory.deleted(id);
            self.look_after(Written::Deleted { id });
        } else {
            self.memory.forget(id);
        }
        Ok(())
    }

    pub(super) async fn comment(&mut self, track: i64, body: String) -> Result<(), Stopped> {
        let payload = Payload::Json(json!({ "comment": { "body": body, "timestamp_ms": 1_000 } }));
        let path = format!("/tracks/{track}/comments");
        let ask = Ask::new(Endpoint::Comment, Method::POST, path, payload);
        let stored = |reply: &Reply| {
            let value: serde_json::Value = check::parse(&reply.body)?;
            let found = value.pointer("/comment/body").and_then(serde_json::Value::as_str);
            require(found == Some(body.as_str()), || format!("stored body {found:?}"))
        };
        self.ask_plain(ask, 201, stored).await.map(drop)
    }

    pub(super) async fn play(&mut self, track: i64) -> Result<(), Stopped> {
        let ask =
            self.without_fields(Endpoint::Play, Method::POST, format!("/tracks/{track}/plays"));
        let counted = |reply: &Reply| {
            let value: serde_json::Value = check::parse(&reply.body)?;
            let found = value.get("playback_count").and_then(serde_json::Value::as_i64);
            require(found.is_some_and(|count| count > 0), || format!("playback count {found:?}"))
        };
        self.ask_plain(ask, 201, counted).await.map(drop)
    }

    /// A change of one message that answers with it.
    async fn change(
        &mut self,
        ask: Ask,
        id: i64,
        check: impl FnOnce(&Message) -> Checked,
    ) -> Result<Option<Message>, Stopped> {
        let me = self.me;
        let changed = self.ask(ask, 200, |_, changed: &OneMessage, _| {
            changed.message.check(me)?;
            require(changed.message.id == id, || {
                format!("message {} instead", changed.message.id)
            })?;
            check(&changed.message)
        });
        let changed = changed.await?;
        if changed.is_none() {
            self.memory.forget(id);
        }
        Ok(changed.map(|changed| changed.message))
    }

    /// A change without fields of its own: a page's button or a script's bare request.
    fn without_fields(&mut self, endpoint: Endpoint, method: Method, path: String) -> Ask {
        match self.style() {
            Style::Form => {
                let real = owned([("_method", method.as_str().to_ascii_lowercase())]);
                let fields = if method == Method::POST { Vec::new() } else { real };
                Ask::new(endpoint, Method::POST, path, Payload::Form(fields))
            }
            Style::Script => Ask::new(endpoint, method, path, Payload::Nothing),
        }
    }

    fn style(&mut self) -> Style {
        if self.session.random.random_ratio(1, 3) { Style::Form } else { Style::Script }
    }

    /// With a high share of writes there is no time to look after each.
    fn look_after(&mut self, written: Written) {
        let session = &mut *self.session;
        let percent = u32::from(session.shared.writes_percent);
        if session.random.random_range(0..100) < 3_000 / percent.max(30) {
            let steps = script::follow_up(&mut session.random, &written, self.me);
            self.todo.extend(steps);
        }
    }
}

fn owned<const N: usize>(fields: [(&str, String); N]) -> Vec<(String, String)> {
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
