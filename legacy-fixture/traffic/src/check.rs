//! What answers must look like: the contract as types and plausibility rules.
//!
//! Pure: an answer and the question decide. What must stay true: a rule holds for every correct answer, whatever other
//! users do at the same time; so rules compare parts of one answer, never two answers of different moments.

use fixture_passport::Page;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};

/// What is wrong, or nothing.
pub(crate) type Checked<T = ()> = Result<T, String>;

/// `USER` of the contract.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct User {
    pub(crate) id: i64,
    pub(crate) permalink: String,
    username: String,
    #[serde(deserialize_with = "nullable")]
    avatar_url: Option<String>,
    uri: String,
    badge: Option<String>,
}

/// `MESSAGE` of the contract.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Message {
    pub(crate) id: i64,
    thread_id: i64,
    #[serde(deserialize_with = "nullable")]
    parent_id: Option<i64>,
    subject: String,
    pub(crate) body: String,
    pub(crate) sender: User,
    pub(crate) recipient: User,
    pub(crate) read: bool,
    #[serde(deserialize_with = "nullable")]
    pub(crate) read_at: Option<String>,
    #[serde(deserialize_with = "nullable")]
    pub(crate) edited_at: Option<String>,
    pub(crate) created_at: String,
    updated_at: String,
    uri: String,
}

/// Answer of `messages.show` and of writes.
#[derive(Debug, Deserialize)]
pub(crate) struct OneMessage {
    pub(crate) message: Message,
}

/// Answer of `messages.list`.
#[derive(Debug, Deserialize)]
pub(crate) struct Inbox {
    pub(crate) messages: Vec<Message>,
    page: i64,
    per_page: i64,
    pub(crate) total: i64,
}

/// Answer of `messages.conversations`.
#[derive(Debug, Deserialize)]
pub(crate) struct Partners {
    pub(crate) conversations: Vec<Partner>,
    page: i64,
    per_page: i64,
    pub(crate) total: i64,
}

/// One row of `messages.conversations`.
#[derive(Debug, Deserialize)]
pub(crate) struct Partner {
    id: String,
    pub(crate) with: User,
    pub(crate) last_message: Message,
    pub(crate) messages_count: i64,
    pub(crate) unread_count: i64,
}

/// Answer of `messages.conversation`.
#[derive(Debug, Deserialize)]
pub(crate) struct Conversation {
    #[serde(rename = "conversation")]
    head: ConversationHead,
    pub(crate) messages: Vec<Message>,
    page: i64,
    per_page: i64,
    total: i64,
}

#[derive(Debug, Deserialize)]
struct ConversationHead {
    id: String,
    with: User,
}

/// Answer of `messages.unread_count`.
#[derive(Debug, Deserialize)]
pub(crate) struct Unread {
    user_id: i64,
    pub(crate) unread_count: i64,
}

/// Answer of `users.show`; it has more keys, which are not our business.
#[derive(Debug, Deserialize)]
pub(crate) struct Profile {
    pub(crate) user: User,
}

/// Answer of `session.create` and `session.show`.
#[derive(Debug, Deserialize)]
pub(crate) struct Session {
    pub(crate) user: User,
    pub(crate) csrf_token: String,
}

/// The ids in a list answer of the monolith's own endpoints: `tracks`, `comments`, `suggestions`.
pub(crate) fn ids(body: &str, key: &str) -> Checked<Vec<i64>> {
    let value: serde_json::Value = parse(body)?;
    let rows = value.get(key).and_then(serde_json::Value::as_array);
    let rows = rows.ok_or_else(|| format!("`{key}` must be a list"))?;
    let id = |row: &serde_json::Value| row.get("id").and_then(serde_json::Value::as_i64);
    let ids: Option<Vec<i64>> = rows.iter().map(id).collect();
    let ids = ids.ok_or_else(|| format!("each of `{key}` must have an `id`"))?;
    require(ids.iter().all(|id| *id > 0), || format!("ids of `{key}` must be positive"))?;
    Ok(ids)
}

/// The answer as one of the types here.
pub(crate) fn parse<T: DeserializeOwned>(body: &str) -> Checked<T> {
    serde_json::from_str(body)
        .map_err(|error| format!("answer does not follow the contract: {error}"))
}

/// `Err` with the reason unless it holds.
pub(crate) fn require(holds: bool, reason: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(reason()) }
}

impl User {
    pub(crate) fn check(&self) -> Checked {
        let id = self.id;
        require(id > 0, || format!("user id {id} must be positive"))?;
        require(!self.permalink.is_empty() && !self.username.is_empty(), || {
            format!("user {id} must have a permalink and a username")
        })?;
        require(self.avatar_url.as_deref() != Some(""), || {
            format!("user {id} has an empty avatar")
        })?;
        require(self.uri == format!("/users/{id}"), || format!("user {id} has uri {}", self.uri))?;
        let badge = self.badge.as_deref();
        require(matches!(badge, None | Some("pro")), || format!("user {id} has badge {badge:?}"))
    }
}

impl Message {
    /// As `me` may see it.
    pub(crate) fn check(&self, me: i64) -> Checked {
        let id = self.id;
        require(id > 0 && self.thread_id > 0, || format!("message {id} must have positive ids"))?;
        self.sender.check().map_err(|why| format!("message {id}: sender: {why}"))?;
        self.recipient.check().map_err(|why| format!("message {id}: recipient: {why}"))?;
        require(self.sender.id == me || self.recipient.id == me, || {
            format!(
                "message {id} from {} to {} is not the caller's",
                self.sender.id, self.recipient.id
            )
        })?;
        require(self.parent_id.is_none_or(|parent| parent > 0 && parent < id), || {
            format!("message {id} cannot answer {:?}", self.parent_id)
        })?;
        require(self.subject.chars().count() <= 255, || {
            format!("message {id}: subject is too long")
        })?;
        require(!self.body.is_empty(), || format!("message {id} has no body"))?;
        require(self.read == self.read_at.is_some(), || {
            format!("message {id}: read is {} but read_at is {:?}", self.read, self.read_at)
        })?;
        require(self.uri == format!("/messages/{id}"), || {
            format!("message {id} has uri {}", self.uri)
        })?;
        let times = [
            Some(&self.created_at),
            Some(&self.updated_at),
            self.read_at.as_ref(),
            self.edited_at.as_ref(),
        ];
        times.into_iter().flatten().try_for_each(|time| {
            require(is_rails_time(time), || format!("message {id} has the time `{time}`"))
        })
    }

    /// The other one of the two people (or the caller himself).
    pub(crate) fn other(&self, me: i64) -> i64 {
        if self.sender.id == me { self.recipient.id } else { self.sender.id }
    }
}

impl Inbox {
    pub(crate) fn check(&self, me: i64, asked: Page, link: Option<&str>) -> Checked {
        Paged::of(self.page, self.per_page, self.total, self.messages.len()).check(asked, link)?;
        check_messages(&self.messages, me)?;
        let foreign = self.messages.iter().find(|message| message.recipient.id != me);
        require(foreign.is_none(), || "a message that the caller did not receive".to_owned())
    }
}

impl Partners {
    pub(crate) fn check(&self, me: i64, asked: Page, link: Option<&str>) -> Checked {
        let rows = self.conversations.len();
        Paged::of(self.page, self.per_page, self.total, rows).check(asked, link)?;
        self.conversations.iter().try_for_each(|partner| partner.check(me))?;
        let newest: Vec<_> = self.conversations.iter().map(|row| row.last_message.id).collect();
        require(is_descending(&newest), || {
            format!("conversations must be newest first: {newest:?}")
        })
    }
}

impl Partner {
    fn check(&self, me: i64) -> Checked {
        self.with.check()?;
        self.last_message.check(me)?;
        let other = self.with.id;
        require(self.id == conversation_id(me, other), || format!("conversation id {}", self.id))?;
        require(self.last_message.other(me) == other, || {
            format!("last message {} is not one with {other}", self.last_message.id)
        })?;
        let (all, unread) = (self.messages_count, self.unread_count);
        require(all >= 1 && (0..=all).contains(&unread), || format!("{unread} unread of {all}"))
    }
}

impl Conversation {
    pub(crate) fn check(&self, me: i64, other: i64, asked: Page, link: Option<&str>) -> Checked {
        Paged::of(self.page, self.per_page, self.total, self.messages.len()).check(asked, link)?;
        let head = &self.head;
        head.with.check()?;
        require(head.with.id == other && head.id == conversation_id(me, other), || {
            format!("conversation {} with {} instead of {other}", head.id, head.with.id)
        })?;
        check_messages(&self.messages, me)?;
        let foreign = self.messages.iter().find(|message| {
            let pair = (message.sender.id, message.recipient.id);
            pair != (me, other) && pair != (other, me)
        });
        require(foreign.is_none(), || "a message of another conversation".to_owned())
    }
}

impl Unread {
    pub(crate) fn check(&self, me: i64) -> Checked {
        require(self.user_id == me, || format!("count of user {}", self.user_id))?;
        require(self.unread_count >= 0, || format!("{} unread messages", self.unread_count))
    }
}

/// The frame of every list.
struct Paged {
    page: i64,
    per_page: i64,
    total: i64,
    rows: i64,
}

impl Paged {
    fn of(page: i64, per_page: i64, total: i64, rows: usize) -> Self {
        Self { page, per_page, total, rows: i64::try_from(rows).unwrap_or(i64::MAX) }
    }

    /// The number of rows is not compared with the total: the monolith reads them one after the other.
    fn check(&self, asked: Page, link: Option<&str>) -> Checked {
        let Self { page, per_page, total, rows } = *self;
        require((page, per_page) == (asked.page, asked.per_page), || {
            format!(
                "page {page} of {per_page} instead of page {} of {}",
                asked.page, asked.per_page
            )
        })?;
        require(total >= 0 && rows <= per_page, || format!("{rows} rows of {total} on a page"))?;
        let has_next = link.is_some_and(|link| link.contains("rel=\"next\""));
        let more = page * per_page < total;
        require(has_next == more, || format!("link {link:?} on page {page} of {total} rows"))
    }
}

fn check_messages(messages: &[Message], me: i64) -> Checked {
    messages.iter().try_for_each(|message| message.check(me))?;
    let ids: Vec<_> = messages.iter().map(|message| message.id).collect();
    require(is_descending(&ids), || format!("messages must be newest first: {ids:?}"))
}

fn is_descending(ids: &[i64]) -> bool {
    ids.windows(2).all(|pair| matches!(pair, [newer, older] if newer > older))
}

fn conversation_id(one: i64, other: i64) -> String {
    format!("{}:{}", one.min(other), one.max(other))
}

/// `2014/06/12 10:00:00 +0000`.
fn is_rails_time(text: &str) -> bool {
    let pattern = b"dddd/dd/dd dd:dd:dd +0000";
    text.len() == pattern.len()
        && text.bytes().zip(pattern).all(|(byte, expected)| match expected {
            b'd' => byte.is_ascii_digit(),
            literal => byte == *literal,
        })
}

/// Null is fine, absence is not: a named deserializer switches serde's own leniency off.
fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> Result<Option<T>, D::Error> {
    Option::deserialize(from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn user(id: i64) -> Value {
        json!({"id": id, "permalink": "ada", "username": "Ada", "avatar_url": null, "uri": format!("/users/{id}")})
    }

    fn message(id: i64, sender: i64, recipient: i64) -> Value {
        let time = "2014/06/12 10:00:00 +0000";
        json!({"id": id, "thread_id": 1, "parent_id": null, "subject": "", "body": "x", "sender": user(sender),
            "recipient": user(recipient), "read": false, "read_at": null, "edited_at": null, "created_at": time,
            "updated_at": time, "uri": format!("/messages/{id}")})
    }

    fn checked(value: &Value) -> Checked {
        parse::<Message>(&value.to_string())?.check(3)
    }

    #[test]
    fn a_message_needs_every_key_and_plausible_values() {
        let good = message(9, 3, 4);
        assert_eq!(checked(&good), Ok(()));
        for key in good.as_object().unwrap().keys() {
            let mut without = good.clone();
            without.as_object_mut().unwrap().remove(key);
            assert!(checked(&without).is_err(), "{key}");
        }
        let wrong = [
            ("id", json!(0)),
            ("parent_id", json!(9)),
            ("read", json!(true)),
            ("created_at", json!("2014-06-12T10:00:00Z")),
            ("edited_at", json!("2014/06/12 10:00:00 +0200")),
            ("uri", json!("/messages/8")),
            ("body", json!("")),
            ("sender", user(5)),
        ];
        for (key, value) in wrong {
            let mut changed = good.clone();
            changed[key] = value;
            assert!(checked(&changed).is_err(), "{key}");
        }
        let mut badge = good.clone();
        badge["sender"]["badge"] = json!("pro");
        assert_eq!(checked(&badge), Ok(()));
        badge["sender"]["badge"] = json!("free");
        assert!(checked(&badge).is_err());
    }

    #[test]
    fn a_list_is_framed_ordered_and_the_callers() {
        let asked = Page::from_query(Some("per_page=2"));
        let next = "</users/3/messages?page=2&per_page=2>; rel=\"next\"";
        let inbox = |messages: &[Value], total: i64, link| {
            let list = json!({"messages": messages, "page": 1, "per_page": 2, "total": total});
            parse::<Inbox>(&list.to_string()).unwrap().check(3, asked, link)
        };
        let (new, old) = (message(9, 4, 3), message(8, 3, 3));
        assert_eq!(inbox(&[new.clone(), old.clone()], 2, None), Ok(()));
        assert_eq!(inbox(&[new.clone(), old.clone()], 3, Some(next)), Ok(()));
        assert!(inbox(&[new.clone(), old.clone()], 3, None).is_err());
        assert!(inbox(&[new.clone(), old.clone()], 2, Some(next)).is_err());
        assert!(inbox(&[old.clone(), new.clone()], 2, None).is_err());
        assert!(inbox(&[new.clone(), new.clone()], 2, None).is_err());
        assert!(inbox(&[message(9, 3, 4)], 1, None).is_err());
        assert!(inbox(&[new, old, message(7, 4, 3)], 3, Some(next)).is_err());
    }

    #[test]
    fn a_conversation_has_one_pair_only() {
        let asked = Page::from_query(None);
        let conversation = |messages: &[Value], with: i64, id: &str| {
            let value = json!({"conversation": {"id": id, "with": user(with)}, "messages": messages, "page": 1,
                "per_page": 20, "total": 1});
            parse::<Conversation>(&value.to_string()).unwrap().check(3, 4, asked, None)
        };
        assert_eq!(conversation(&[message(9, 4, 3)], 4, "3:4"), Ok(()));
        assert!(conversation(&[message(9, 4, 3)], 4, "4:3").is_err());
        assert!(conversation(&[message(9, 5, 3)], 4, "3:4").is_err());
        assert!(conversation(&[], 5, "3:5").is_err());
    }

    #[test]
    fn lists_of_the_monolith_need_ids() {
        assert_eq!(ids("{\"tracks\":[{\"id\":4}]}", "tracks"), Ok(vec![4]));
        for wrong in
            ["{}", "{\"tracks\":{}}", "{\"tracks\":[{}]}", "{\"tracks\":[{\"id\":0}]}", "<html>"]
        {
            assert!(ids(wrong, "tracks").is_err(), "{wrong}");
        }
    }
}
