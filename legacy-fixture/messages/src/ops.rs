//! The operations of the context `messages` and the trait that controllers depend on.
//!
//! [`Messages`] is the seam as a controller sees it: plain methods. It is implemented once, for [`Seam`], with one
//! line per method.
//!
//! What must stay true: reads are [`Read`], changes are [`Write`]; their names are the endpoint names of `banyan.toml`.

use crate::letter::{Errors, Letter};
use banyan_seams::{Cx, Lab, Op, Read, Seam, SeamError, Serve, Switch, Write};
use fixture_passport::Page;

/// What the application itself refuses with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The body has no `message`, or one with a text that cannot be stored.
    BadRequest,
    /// The caller is no user.
    Unauthorized,
    /// The caller may see the message but not do this to it.
    Forbidden,
    /// No such thing, or not the caller's.
    NotFound,
    /// The values are not acceptable.
    Invalid(Errors),
}

/// Any answer of the context.
pub(crate) type Answered<T> = Result<T, SeamError<Refusal>>;

/// A user as messages show him.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Person {
    pub(crate) id: i64,
    pub(crate) permalink: String,
    pub(crate) username: String,
    pub(crate) avatar_url: Option<String>,
    pub(crate) plan: String,
}

/// A message with its people. Times are the database's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) id: i64,
    pub(crate) thread_id: i64,
    pub(crate) parent_id: Option<i64>,
    pub(crate) subject: Option<String>,
    pub(crate) body: String,
    pub(crate) author: Person,
    pub(crate) recipient: Person,
    pub(crate) sent_at: String,
    pub(crate) read_at: Option<String>,
    pub(crate) edited_at: Option<String>,
    pub(crate) changed_at: String,
}

/// One page of a longer list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Paged<T> {
    pub(crate) rows: Vec<T>,
    pub(crate) total: i64,
}

/// A conversation in the list of a user's conversations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Partner {
    pub(crate) last_message: Message,
    pub(crate) messages_count: i64,
    pub(crate) unread_count: i64,
}

/// One conversation with its other person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Conversation {
    pub(crate) with: Person,
    pub(crate) messages: Paged<Message>,
}

/// A user's page of something.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageOf {
    pub(crate) user_id: i64,
    pub(crate) page: Page,
}

/// A user's page of his conversation with another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageWith {
    pub(crate) user_id: i64,
    pub(crate) other_id: i64,
    pub(crate) page: Page,
}

/// A message as a user asks for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MessageOf {
    pub(crate) user_id: i64,
    pub(crate) message_id: i64,
}

/// A message that a user wants to send; no letter when the request had none that can be read.
#[derive(Debug, Clone)]
pub(crate) struct NewMessage {
    pub(crate) user_id: i64,
    pub(crate) request_id: String,
    pub(crate) letter: Option<Letter>,
}

/// A message that a user wants to change, and the request by which he does.
#[derive(Debug, Clone)]
pub(crate) struct Act {
    pub(crate) of: MessageOf,
    pub(crate) request_id: String,
}

/// A new body for a message; none when the request had none that can be read.
#[derive(Debug, Clone)]
pub(crate) struct NewBody {
    pub(crate) act: Act,
    pub(crate) body: Option<String>,
}

/// Declares an operation: its type, its kind, its endpoint, what it takes and gives.
macro_rules! op {
    ($type:ident: $kind:ident $name:literal, $req:ty => $resp:ty) => {
        #[doc = concat!("`", $name, "`.")]
        pub(crate) struct $type;
        impl Op for $type {
            const NAME: &'static str = $name;
            type Req = $req;
            type Resp = $resp;
            type Error = Refusal;
        }
        impl $kind for $type {}
    };
}

op!(Inbox: Read "messages.list", PageOf => Paged<Message>);
op!(Conversations: Read "messages.conversations", PageOf => Paged<Partner>);
op!(OneConversation: Read "messages.conversation", PageWith => Conversation);
op!(UnreadCount: Read "messages.unread_count", i64 => i64);
op!(Show: Read "messages.show", MessageOf => Message);
op!(Create: Write "messages.create", NewMessage => Message);
op!(Update: Write "messages.update", NewBody => Message);
op!(MarkRead: Write "messages.mark_read", Act => Message);
op!(Delete: Write "messages.delete", Act => ());

/// The context `messages` as controllers see it.
pub(crate) trait Messages: Send + Sync + 'static {
    /// What the user received and did not delete, newest first.
    fn inbox(&self, cx: Cx, of: PageOf) -> impl Future<Output = Answered<Paged<Message>>> + Send;
    /// With whom the user has visible messages, newest first.
    fn conversations(
        &self,
        cx: Cx,
        of: PageOf,
    ) -> impl Future<Output = Answered<Paged<Partner>>> + Send;
    /// The user's messages with another user, newest first.
    fn conversation(
        &self,
        cx: Cx,
        of: PageWith,
    ) -> impl Future<Output = Answered<Conversation>> + Send;
    /// How many received messages the user has not read.
    fn unread_count(&self, cx: Cx, user_id: i64) -> impl Future<Output = Answered<i64>> + Send;
    /// One message that the user may see.
    fn show(&self, cx: Cx, of: MessageOf) -> impl Future<Output = Answered<Message>> + Send;
    /// Sends a message of the user.
    fn create(&self, cx: Cx, new: NewMessage) -> impl Future<Output = Answered<Message>> + Send;
    /// Changes the body of a message that the user sent.
    fn update(&self, cx: Cx, new: NewBody) -> impl Future<Output = Answered<Message>> + Send;
    /// Marks a message that the user received as read.
    fn mark_read(&self, cx: Cx, act: Act) -> impl Future<Output = Answered<Message>> + Send;
    /// Hides a message for the user.
    fn delete(&self, cx: Cx, act: Act) -> impl Future<Output = Answered<()>> + Send;
}

/// A side that serves the whole context.
pub(crate) trait ServeMessages:
    Serve<Inbox>
    + Serve<Conversations>
    + Serve<OneConversation>
    + Serve<UnreadCount>
    + Serve<Show>
    + Serve<Create>
    + Serve<Update>
    + Serve<MarkRead>
    + Serve<Delete>
{
}

impl<T> ServeMessages for T where
    T: Serve<Inbox>
        + Serve<Conversations>
        + Serve<OneConversation>
        + Serve<UnreadCount>
        + Serve<Show>
        + Serve<Create>
        + Serve<Update>
        + Serve<MarkRead>
        + Serve<Delete>
{
}

impl<L: ServeMessages, R: ServeMessages, S: Switch, B: Lab> Messages for Seam<L, R, S, B> {
    async fn inbox(&self, cx: Cx, of: PageOf) -> Answered<Paged<Message>> {
        self.read::<Inbox>(cx, of).await
    }
    async fn conversations(&self, cx: Cx, of: PageOf) -> Answered<Paged<Partner>> {
        self.read::<Conversations>(cx, of).await
    }
    async fn conversation(&self, cx: Cx, of: PageWith) -> Answered<Conversation> {
        self.read::<OneConversation>(cx, of).await
    }
    async fn unread_count(&self, cx: Cx, user_id: i64) -> Answered<i64> {
        self.read::<UnreadCount>(cx, user_id).await
    }
    async fn show(&self, cx: Cx, of: MessageOf) -> Answered<Message> {
        self.read::<Show>(cx, of).await
    }
    async fn create(&self, cx: Cx, new: NewMessage) -> Answered<Message> {
        self.write::<Create>(cx, new).await
    }
    async fn update(&self, cx: Cx, new: NewBody) -> Answered<Message> {
        self.write::<Update>(cx, new).await
    }
    async fn mark_read(&self, cx: Cx, act: Act) -> Answered<Message> {
        self.write::<MarkRead>(cx, act).await
    }
    async fn delete(&self, cx: Cx, act: Act) -> Answered<()> {
        self.write::<Delete>(cx, act).await
    }
}
