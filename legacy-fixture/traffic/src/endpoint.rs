//! The endpoints that traffic goes to, by name.
//!
//! What must stay true: the names of the context `messages` are those of the contract; names are the only labels of
//! summaries.

/// An endpoint of the practice world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    /// `GET /users/{user_id}/messages`
    List,
    /// `GET /users/{user_id}/conversations`
    Conversations,
    /// `GET /users/{user_id}/conversations/{other_id}`
    Conversation,
    /// `GET /users/{user_id}/messages/unread_count`
    UnreadCount,
    /// `GET /messages/{id}`
    Show,
    /// `POST /messages`
    Create,
    /// `PATCH /messages/{id}`
    Update,
    /// `PUT /messages/{id}/read`
    MarkRead,
    /// `DELETE /messages/{id}`
    Delete,
    /// `GET /users/{id}`
    User,
    /// `GET /users/{id}/suggestions`
    Suggestions,
    /// `GET /users/{id}/tracks`
    Tracks,
    /// `GET /tracks/{id}`
    Track,
    /// `GET /tracks/{id}/comments`
    Comments,
    /// HTML pages: `/`, `/inbox`, `/users/{id}`
    Page,
    /// `POST /tracks/{id}/comments`
    Comment,
    /// `POST /tracks/{id}/plays`
    Play,
    /// `POST /login`
    Login,
    /// `GET /session`
    Session,
}

impl Endpoint {
    /// All endpoints.
    pub const ALL: [Self; 19] = [
        Self::List,
        Self::Conversations,
        Self::Conversation,
        Self::UnreadCount,
        Self::Show,
        Self::Create,
        Self::Update,
        Self::MarkRead,
        Self::Delete,
        Self::User,
        Self::Suggestions,
        Self::Tracks,
        Self::Track,
        Self::Comments,
        Self::Page,
        Self::Comment,
        Self::Play,
        Self::Login,
        Self::Session,
    ];

    /// The name, for example `messages.list`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::List => "messages.list",
            Self::Conversations => "messages.conversations",
            Self::Conversation => "messages.conversation",
            Self::UnreadCount => "messages.unread_count",
            Self::Show => "messages.show",
            Self::Create => "messages.create",
            Self::Update => "messages.update",
            Self::MarkRead => "messages.mark_read",
            Self::Delete => "messages.delete",
            Self::User => "users.show",
            Self::Suggestions => "users.suggestions",
            Self::Tracks => "tracks.list",
            Self::Track => "tracks.show",
            Self::Comments => "comments.list",
            Self::Page => "pages.show",
            Self::Comment => "comments.create",
            Self::Play => "plays.create",
            Self::Login => "session.create",
            Self::Session => "session.show",
        }
    }

    /// True when it changes rows (a login does not).
    pub const fn is_write(self) -> bool {
        match self {
            Self::Create
            | Self::Update
            | Self::MarkRead
            | Self::Delete
            | Self::Comment
            | Self::Play => true,
            Self::List
            | Self::Conversations
            | Self::Conversation
            | Self::UnreadCount
            | Self::Show
            | Self::User
            | Self::Suggestions
            | Self::Tracks
            | Self::Track
            | Self::Comments
            | Self::Page
            | Self::Login
            | Self::Session => false,
        }
    }

    /// True when it belongs to the context `messages`.
    pub(crate) fn is_of_messages(self) -> bool {
        self.as_str().starts_with("messages.")
    }

    /// True when a visitor may choose to read it at any time.
    pub(crate) const fn is_plain_read(self) -> bool {
        match self {
            Self::List
            | Self::Conversations
            | Self::Conversation
            | Self::UnreadCount
            | Self::Show
            | Self::User
            | Self::Suggestions
            | Self::Tracks
            | Self::Track
            | Self::Comments
            | Self::Page => true,
            Self::Create
            | Self::Update
            | Self::MarkRead
            | Self::Delete
            | Self::Comment
            | Self::Play
            | Self::Login
            | Self::Session => false,
        }
    }
}
