//! What the answers look like: JSON shapes in the key order of the contract.
//!
//! What must stay true: key order, nulls and absent keys are public behaviour; `badge` exists only for plan `pro`,
//! `read` and `read_at` are the recipient's.

use crate::letter::Errors;
use crate::ops::{Conversation, Message, Paged, Partner, Person};
use fixture_passport::{Page, time};
use serde::Serialize;

/// `USER` of the contract.
#[derive(Debug, Serialize)]
pub(crate) struct UserView<'a> {
    id: i64,
    permalink: &'a str,
    username: &'a str,
    avatar_url: Option<&'a str>,
    uri: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    badge: Option<&'static str>,
}

/// `MESSAGE` of the contract.
#[derive(Debug, Serialize)]
pub(crate) struct MessageView<'a> {
    id: i64,
    thread_id: i64,
    parent_id: Option<i64>,
    subject: Option<&'a str>,
    body: &'a str,
    sender: UserView<'a>,
    recipient: UserView<'a>,
    read: bool,
    read_at: Option<String>,
    edited_at: Option<String>,
    created_at: String,
    updated_at: String,
    uri: String,
}

/// Answer of `messages.list`.
#[derive(Debug, Serialize)]
pub(crate) struct InboxView<'a> {
    messages: Vec<MessageView<'a>>,
    page: i64,
    per_page: i64,
    total: i64,
}

/// Answer of `messages.conversations`.
#[derive(Debug, Serialize)]
pub(crate) struct ConversationsView<'a> {
    conversations: Vec<PartnerView<'a>>,
    page: i64,
    per_page: i64,
    total: i64,
}

#[derive(Debug, Serialize)]
struct PartnerView<'a> {
    id: String,
    with: UserView<'a>,
    last_message: MessageView<'a>,
    messages_count: i64,
    unread_count: i64,
}

/// Answer of `messages.conversation`.
#[derive(Debug, Serialize)]
pub(crate) struct ConversationView<'a> {
    conversation: ConversationHead<'a>,
    messages: Vec<MessageView<'a>>,
    page: i64,
    per_page: i64,
    total: i64,
}

#[derive(Debug, Serialize)]
struct ConversationHead<'a> {
    id: String,
    with: UserView<'a>,
}

/// Answer of `messages.unread_count`.
#[derive(Debug, Serialize)]
pub(crate) struct UnreadCountView {
    pub(crate) user_id: i64,
    pub(crate) unread_count: i64,
}

/// Answer of `messages.show`.
#[derive(Debug, Serialize)]
pub(crate) struct ShowView<'a> {
    message: MessageView<'a>,
}

/// Answer of a change whose values are not acceptable.
#[derive(Debug, Serialize)]
pub(crate) struct ErrorsView<'a> {
    pub(crate) errors: &'a Errors,
}

/// Renders answers, with or without the two planted mistakes of views.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Views {
    pub(crate) defects: bool,
}

impl Views {
    /// What a user received.
    pub(crate) fn inbox(self, inbox: &Paged<Message>, page: Page) -> InboxView<'_> {
        let mut messages: Vec<_> = inbox.rows.iter().map(message).collect();
        if self.defects {
            for message in &mut messages {
                message.sender.badge = None;
            }
        }
        InboxView { messages, page: page.page, per_page: page.per_page, total: inbox.total }
    }

    /// One message.
    pub(crate) fn show(self, shown: &Message) -> ShowView<'_> {
        let mut message = message(shown);
        if self.defects {
            message.created_at = iso_8601(&shown.sent_at);
        }
        ShowView { message }
    }
}

/// The list of a user's conversations.
pub(crate) fn conversations(
    partners: &Paged<Partner>,
    user_id: i64,
    page: Page,
) -> ConversationsView<'_> {
    ConversationsView {
        conversations: partners.rows.iter().map(|row| partner(row, user_id)).collect(),
        page: page.page,
        per_page: page.per_page,
        total: partners.total,
    }
}

/// One conversation of a user.
pub(crate) fn conversation(
    conversation: &Conversation,
    user_id: i64,
    page: Page,
) -> ConversationView<'_> {
    let with = &conversation.with;
    ConversationView {
        conversation: ConversationHead {
            id: crate::chat::conversation_id(user_id, with.id),
            with: user(with),
        },
        messages: conversation.messages.rows.iter().map(message).collect(),
        page: page.page,
        per_page: page.per_page,
        total: conversation.messages.total,
    }
}

fn partner(row: &Partner, user_id: i64) -> PartnerView<'_> {
    let Message { author, recipient, .. } = &row.last_message;
    let with = if author.id == user_id { recipient } else { author };
    PartnerView {
        id: crate::chat::conversation_id(user_id, with.id),
        with: user(with),
        last_message: message(&row.last_message),
        messages_count: row.messages_count,
        unread_count: row.unread_count,
    }
}

fn message(message: &Message) -> MessageView<'_> {
    MessageView {
        id: message.id,
        thread_id: message.thread_id,
        parent_id: message.parent_id,
        subject: message.subject.as_deref(),
        body: &message.body,
        sender: user(&message.author),
        recipient: user(&message.recipient),
        read: message.read_at.is_some(),
        read_at: message.read_at.as_deref().map(time::rails),
        edited_at: message.edited_at.as_deref().map(time::rails),
        created_at: time::rails(&message.sent_at),
        updated_at: time::rails(&message.changed_at),
        uri: format!("/messages/{}", message.id),
    }
}

fn user(person: &Person) -> UserView<'_> {
    UserView {
        id: person.id,
        permalink: &person.permalink,
        username: &person.username,
        avatar_url: person.avatar_url.as_deref(),
        uri: format!("/users/{}", person.id),
        badge: (person.plan == "pro").then_some("pro"),
    }
}

/// What a rewrite's JSON library would write if nobody looked.
fn iso_8601(database_text: &str) -> String {
    let second: String = database_text.chars().take("2014-06-12 10:00:00".len()).collect();
    second.replace(' ', "T") + "Z"
}
