//! The chat store: the new side of the seam, on the service's own tables.
//!
//! Each read takes one snapshot of the database and answers from it. Changes are in `src/write.rs`.
//!
//! What must stay true: an answer comes from one snapshot, and shows a user nothing that is not his.

use crate::{
    database::{Bind, Database, Tx},
    ops::{
        Answered, Conversation, Conversations, Inbox, Message, MessageOf, OneConversation, PageOf,
        PageWith, Paged, Partner, Person, Refusal, Show, UnreadCount,
    },
    sql,
};
use banyan_seams::{Cx, SeamError, Serve, domain::ContextName};
use fixture_passport::Page;

/// Two of the planted mistakes live here; the other two in the views.
const UNLUCKY_USERS: (i64, i64) = (100, 7);

/// The chat model over a database.
#[derive(Debug, Clone)]
pub(crate) struct ChatStore {
    pub(crate) database: Database,
    pub(crate) context: ContextName,
    defects: bool,
}

/// A message and its people as one row.
#[derive(Debug, sqlx::FromRow)]
pub(crate) struct MessageRow {
    id: i64,
    thread_id: i64,
    parent_id: Option<i64>,
    subject: Option<String>,
    body: String,
    sent_at: String,
    read_at: Option<String>,
    edited_at: Option<String>,
    changed_at: String,
    author_id: i64,
    author_permalink: String,
    author_username: String,
    author_avatar_url: Option<String>,
    author_plan: String,
    recipient_id: i64,
    recipient_permalink: String,
    recipient_username: String,
    recipient_avatar_url: Option<String>,
    recipient_plan: String,
}

#[derive(Debug, sqlx::FromRow)]
struct PartnerRow {
    messages_count: i64,
    unread_count: i64,
    #[sqlx(flatten)]
    last_message: MessageRow,
}

impl ChatStore {
    /// A store on `database`; with `defects`, two realistic mistakes are in it.
    pub(crate) fn new(database: Database, context: ContextName, defects: bool) -> Self {
        Self { database, context, defects }
    }

    async fn snapshot(&self) -> Answered<Tx> {
        self.database.snapshot().await.map_err(|error| unavailable(&error))
    }

    fn offset_in_conversation(&self, page: Page) -> i64 {
        let off_by_one = i64::from(self.defects && page.page > 1);
        page.offset() - off_by_one
    }
}

impl Serve<Inbox> for ChatStore {
    async fn serve(&self, _: Cx, of: PageOf) -> Answered<Paged<Message>> {
        let mut snapshot = self.snapshot().await?;
        let user = Bind::Number(of.user_id);
        let total = count(&mut snapshot, sql::INBOX_TOTAL, std::slice::from_ref(&user)).await?;
        let window = [user, Bind::Number(of.page.per_page), Bind::Number(of.page.offset())];
        let rows = all::<MessageRow>(&mut snapshot, sql::INBOX, &window).await?;
        end(snapshot).await?;
        Ok(Paged { rows: rows.into_iter().map(Message::from).collect(), total })
    }
}

impl Serve<Conversations> for ChatStore {
    async fn serve(&self, _: Cx, of: PageOf) -> Answered<Paged<Partner>> {
        let mut snapshot = self.snapshot().await?;
        let user = Bind::Number(of.user_id);
        let total = count(&mut snapshot, sql::PARTNERS_TOTAL, std::slice::from_ref(&user)).await?;
        let window = [user, Bind::Number(of.page.per_page), Bind::Number(of.page.offset())];
        let rows = all::<PartnerRow>(&mut snapshot, sql::PARTNERS, &window).await?;
        end(snapshot).await?;
        Ok(Paged { rows: rows.into_iter().map(Partner::from).collect(), total })
    }
}

impl Serve<OneConversation> for ChatStore {
    async fn serve(&self, _: Cx, of: PageWith) -> Answered<Conversation> {
        let mut snapshot = self.snapshot().await?;
        let other = [Bind::Number(of.other_id)];
        let Some(with) = one::<Person>(&mut snapshot, sql::PERSON, &other).await? else {
            return Err(SeamError::App(Refusal::NotFound));
        };
        let pair = [
            Bind::Number(of.user_id),
            Bind::Text(conversation_id(of.user_id, of.other_id)),
            Bind::Number(of.page.per_page),
            Bind::Number(self.offset_in_conversation(of.page)),
        ];
        let (of_whom, _) = pair.split_at(2);
        let total = count(&mut snapshot, sql::CONVERSATION_TOTAL, of_whom).await?;
        let rows = all::<MessageRow>(&mut snapshot, sql::CONVERSATION, &pair).await?;
        end(snapshot).await?;
        let rows = rows.into_iter().map(Message::from).collect();
        Ok(Conversation { with, messages: Paged { rows, total } })
    }
}

impl Serve<UnreadCount> for ChatStore {
    async fn serve(&self, _: Cx, user_id: i64) -> Answered<i64> {
        let mut snapshot = self.snapshot().await?;
        let found = count(&mut snapshot, sql::UNREAD_COUNT, &[Bind::Number(user_id)]).await?;
        end(snapshot).await?;
        let (of, unlucky) = UNLUCKY_USERS;
        let one_too_high = i64::from(self.defects && user_id % of == unlucky);
        Ok(found + one_too_high)
    }
}

impl Serve<Show> for ChatStore {
    async fn serve(&self, _: Cx, of: MessageOf) -> Answered<Message> {
        let mut snapshot = self.snapshot().await?;
        let binds = [Bind::Number(of.user_id), Bind::Number(of.message_id)];
        let row = one::<MessageRow>(&mut snapshot, sql::MESSAGE, &binds).await?;
        end(snapshot).await?;
        row.map(Message::from).ok_or(SeamError::App(Refusal::NotFound))
    }
}

/// The id of the conversation of two users: `<lower>:<higher>`.
pub(crate) fn conversation_id(one: i64, other: i64) -> String {
    format!("{}:{}", one.min(other), one.max(other))
}

async fn all<T: crate::database::AnyRow>(
    snapshot: &mut Tx,
    sql: &'static str,
    binds: &[Bind],
) -> Answered<Vec<T>> {
    snapshot.all(sql, binds).await.map_err(|error| unavailable(&error))
}

async fn one<T: crate::database::AnyRow>(
    snapshot: &mut Tx,
    sql: &'static str,
    binds: &[Bind],
) -> Answered<Option<T>> {
    snapshot.one(sql, binds).await.map_err(|error| unavailable(&error))
}

async fn count(snapshot: &mut Tx, sql: &'static str, binds: &[Bind]) -> Answered<i64> {
    snapshot.count(sql, binds).await.map_err(|error| unavailable(&error))
}

async fn end(snapshot: Tx) -> Answered<()> {
    snapshot.end().await.map_err(|error| unavailable(&error))
}

fn unavailable(error: &sqlx::Error) -> SeamError<Refusal> {
    SeamError::Unavailable(format!("cannot read the chat store: {error}"))
}

impl From<MessageRow> for Message {
    fn from(row: MessageRow) -> Self {
        Self {
            id: row.id,
            thread_id: row.thread_id,
            parent_id: row.parent_id,
            subject: row.subject,
            body: row.body,
            author: Person {
                id: row.author_id,
                permalink: row.author_permalink,
                username: row.author_username,
                avatar_url: row.author_avatar_url,
                plan: row.author_plan,
            },
            recipient: Person {
                id: row.recipient_id,
                permalink: row.recipient_permalink,
                username: row.recipient_username,
                avatar_url: row.recipient_avatar_url,
                plan: row.recipient_plan,
            },
            sent_at: row.sent_at,
            read_at: row.read_at,
            edited_at: row.edited_at,
            changed_at: row.changed_at,
        }
    }
}

impl From<PartnerRow> for Partner {
    fn from(row: PartnerRow) -> Self {
        Self {
            last_message: Message::from(row.last_message),
            messages_count: row.messages_count,
            unread_count: row.unread_count,
        }
    }
}
