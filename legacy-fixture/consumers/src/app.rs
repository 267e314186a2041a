//! The two applications: what each listens to and what it calls itself.

/// Which of the two consumers runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum App {
    /// One notification to the recipient of each message.
    PushNotifications,
    /// Counts events per day and type.
    Stats,
}

impl App {
    /// Both.
    pub const ALL: [Self; 2] = [Self::PushNotifications, Self::Stats];

    /// Its name: of the command, of the inbox, and of its queue unless told otherwise.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PushNotifications => "push-notifications",
            Self::Stats => "stats",
        }
    }

    /// The routing keys that its queue is bound to.
    pub const fn patterns(self) -> &'static [&'static str] {
        match self {
            Self::PushNotifications => &["message.*"],
            Self::Stats => &["message.*", "track.played", "comment.created", "user.followed"],
        }
    }
}
