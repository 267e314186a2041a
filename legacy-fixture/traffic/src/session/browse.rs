//! The reads of a visit.
//!
//! What must stay true: what the user himself did shows at once; what others did may show or not.

use super::{AUDIT_PAUSE, AUDIT_SAMPLES, Visit};
use crate::{
    check::{
        self, Checked, Conversation, Inbox, Message, OneMessage, Partners, Profile, Unread, require,
    },
    client::{Ask, Reply, Wants},
    endpoint::Endpoint,
    pace::Stopped,
    script::Query,
};
use chrono::Utc;
use serde_json::json;

impl Visit<'_> {
    pub(super) async fn inbox(&mut self, query: Query) -> Result<(), Stopped> {
        let (me, page) = (self.me, query.page());
        let ask = Ask::get(Endpoint::List, format!("/users/{me}/messages{query}"));
        let ask = self.maybe_revalidate(ask);
        let inbox = self.ask(ask, 200, |visit, inbox: &Inbox, reply| {
            inbox.check(me, page, reply.header("link"))?;
            visit.agree(&inbox.messages)?;
            let is_first = page.page == 1;
            if is_first { visit.memory.covers_inbox(inbox, me, page.per_page) } else { Ok(()) }
        });
        if let Some(inbox) = inbox.await? {
            self.memory.inbox_total = inbox.total;
            self.saw(&inbox.messages);
        }
        Ok(())
    }

    pub(super) async fn partners(&mut self, query: Query) -> Result<Option<Partners>, Stopped> {
        let (me, page) = (self.me, query.page());
        let ask = Ask::get(Endpoint::Conversations, format!("/users/{me}/conversations{query}"));
        let partners = self.ask(ask, 200, |visit, partners: &Partners, reply| {
            partners.check(me, page, reply.header("link"))?;
            partners
                .conversations
                .iter()
                .try_for_each(|row| visit.memory.agrees(&row.last_message))?;
            let is_first = page.page == 1;
            if is_first { visit.memory.covers_partners(partners, page.per_page) } else { Ok(()) }
        });
        let partners = partners.await?;
        for row in partners.iter().flat_map(|partners| &partners.conversations) {
            self.memory.saw_partner(row.with.id, row.messages_count);
        }
        Ok(partners)
    }

    pub(super) async fn conversation(&mut self, other: i64, query: Query) -> Result<(), Stopped> {
        let (me, page) = (self.me, query.page());
        let path = format!("/users/{me}/conversations/{other}{query}");
        let ask = self.maybe_revalidate(Ask::get(Endpoint::Conversation, path));
        let found = self.ask(ask, 200, |visit, found: &Conversation, reply| {
            found.check(me, other, page, reply.header("link"))?;
            visit.agree(&found.messages)?;
            if page.page > 1 {
                return Ok(());
            }
            visit.memory.covers_conversation(&found.messages, other, page.per_page)
        });
        if let Some(found) = found.await? {
            self.saw(&found.messages);
        }
        Ok(())
    }

    pub(super) async fn unread(&mut self) -> Result<Option<Unread>, Stopped> {
        let me = self.me;
        let ask = Ask::get(Endpoint::UnreadCount, format!("/users/{me}/messages/unread_count"));
        self.ask(ask, 200, |_, unread: &Unread, _| unread.check(me)).await
    }

    pub(super) async fn show(&mut self, id: i64) -> Result<(), Stopped> {
        if self.memory.is_deleted(id) {
            return self.show_gone(id).await;
        }
        let me = self.me;
        let ask = self.maybe_revalidate(Ask::get(Endpoint::Show, format!("/messages/{id}")));
        let shown = self.ask(ask, 200, |visit, shown: &OneMessage, _| {
            shown.message.check(me)?;
            require(shown.message.id == id, || format!("message {} instead", shown.message.id))?;
            visit.memory.agrees(&shown.message)
        });
        if let Some(shown) = shown.await? {
            self.saw(&[shown.message]);
        }
        Ok(())
    }

    pub(super) async fn show_gone(&mut self, id: i64) -> Result<(), Stopped> {
        let ask = Ask::get(Endpoint::Show, format!("/messages/{id}"));
        self.ask_plain(ask, 404, |reply| is_error(reply, "404", "Not Found")).await.map(drop)
    }

    pub(super) async fn pry(&mut self, other: i64) -> Result<(), Stopped> {
        let ask = Ask::get(Endpoint::List, format!("/users/{other}/messages"));
        self.ask_plain(ask, 403, |reply| is_error(reply, "403", "Forbidden")).await.map(drop)
    }

    /// The unread count equals the sum over the conversations, as soon as nobody writes to this user for a moment
    /// and both answers come from sides that have caught up; wrong only when it never does.
    pub(super) async fn audit(&mut self) -> Result<(), Stopped> {
        let mut samples = Vec::new();
        for _ in 0..AUDIT_SAMPLES {
            let all = Query { page: None, per_page: Some(100) };
            let Some(partners) = self.partners(all).await? else { return Ok(()) };
            let Some(unread) = self.unread().await? else { return Ok(()) };
            let sum: i64 = partners.conversations.iter().map(|row| row.unread_count).sum();
            if partners.total > 100 || sum == unread.unread_count {
                return Ok(());
            }
            samples.push((unread.unread_count, sum));
            self.session.pace.rest(AUDIT_PAUSE).await?;
        }
        let path = format!("/users/{}/messages/unread_count", self.me);
        let why = format!("unread count and sum over conversations never agree: {samples:?}");
        self.fail(&Ask::get(Endpoint::UnreadCount, path), None, why);
        Ok(())
    }

    pub(super) async fn user(&mut self, id: i64) -> Result<Option<Profile>, Stopped> {
        let ask = Ask::get(Endpoint::User, format!("/users/{id}"));
        let ask = self.maybe_revalidate(ask);
        self.ask(ask, 200, |_, profile: &Profile, _| {
            require(profile.user.id == id, || format!("user {} instead", profile.user.id))?;
            profile.user.check()
        })
        .await
    }

    pub(super) async fn suggestions(&mut self, id: i64) -> Result<(), Stopped> {
        let ask = Ask::get(Endpoint::Suggestions, format!("/users/{id}/suggestions"));
        let checked = |reply: &Reply| check::ids(&reply.body, "suggestions").map(drop);
        self.ask_plain(ask, 200, checked).await.map(drop)
    }

    pub(super) async fn tracks(&mut self, user: i64) -> Result<(), Stopped> {
        let ask = Ask::get(Endpoint::Tracks, format!("/users/{user}/tracks"));
        let checked = |reply: &Reply| check::ids(&reply.body, "tracks").map(drop);
        if let Some(reply) = self.ask_plain(ask, 200, checked).await? {
            self.memory.saw_tracks(&check::ids(&reply.body, "tracks").unwrap_or_default());
        }
        Ok(())
    }

    pub(super) async fn track(&mut self, id: i64) -> Result<(), Stopped> {
        let ask = Ask::get(Endpoint::Track, format!("/tracks/{id}"));
        let checked = |reply: &Reply| {
            let value: serde_json::Value = check::parse(&reply.body)?;
            let found = value.pointer("/track/id").and_then(serde_json::Value::as_i64);
            require(found == Some(id), || format!("track {found:?} instead"))
        };
        self.ask_plain(ask, 200, checked).await.map(drop)
    }

    pub(super) async fn comments(&mut self, track: i64) -> Result<(), Stopped> {
        let ask = Ask::get(Endpoint::Comments, format!("/tracks/{track}/comments"));
        let checked = |reply: &Reply| check::ids(&reply.body, "comments").map(drop);
        self.ask_plain(ask, 200, checked).await.map(drop)
    }

    pub(super) async fn html_page(&mut self, path: String) -> Result<Option<String>, Stopped> {
        let mut ask = Ask::get(Endpoint::Page, path);
        ask.wants = Wants::Html;
        let checked = |reply: &Reply| {
            let kind = reply.header("content-type").unwrap_or_default();
            require(kind.starts_with("text/html"), || format!("content type `{kind}`"))?;
            require(reply.csrf_meta().is_some(), || "a page without a CSRF token".to_owned())
        };
        let token = self.ask_plain(ask, 200, checked).await?.and_then(|page| page.csrf_meta());
        if let Some(token) = &token {
            self.browser.keep_csrf_token(token.clone());
        }
        Ok(token)
    }

    fn agree(&self, messages: &[Message]) -> Checked {
        messages.iter().try_for_each(|message| self.memory.agrees(message))
    }

    fn saw(&mut self, messages: &[Message]) {
        let (me, now) = (self.me, Utc::now());
        // Oldest first, so that the newest are remembered longest.
        messages.iter().rev().for_each(|message| self.memory.saw(message, me, now));
    }
}

/// Rails' error body.
fn is_error(reply: &Reply, status: &str, error: &str) -> Checked {
    let expected = json!({ "status": status, "error": error });
    let found: serde_json::Value = check::parse(&reply.body)?;
    require(found == expected, || format!("error body {found} instead of {expected}"))
}
