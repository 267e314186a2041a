//! The consumer's own database: effects, inbox marks, what was put aside, and how far it is.
//!
//! It is one SQLite file. What must stay true: everything that comes of a message is in one transaction with its inbox
//! mark; the transaction takes the write lock at its beginning; the table `poison` has a limit, and beyond it nothing
//! more is taken.

use std::str::FromStr as _;
use std::time::Duration;

use banyan_outbox::{Inbox, Seen, install};
use banyan_seams::events::broker::Message;
use serde::Serialize;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};
use sqlx::{FromRow, Sqlite, SqlitePool, Transaction};

use crate::app::App;
use crate::error::ConsumerError;
use crate::event::{Event, Received, Unreadable};
use crate::pause::{Pause, Step};

const CONNECTIONS_MAX: u32 = 4;
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Marks are kept this long; a queue must not keep a message longer.
const KEEP_MARKS: Duration = Duration::from_hours(30 * 24);
/// Rows of one answer.
const ROWS_MAX: i64 = 1_000;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS notifications (
    id INTEGER PRIMARY KEY,
    user_id INTEGER NOT NULL,
    message_id INTEGER NOT NULL,
    sender_id INTEGER NOT NULL,
    sent_at TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS notifications_of_user ON notifications (user_id, id);
CREATE INDEX IF NOT EXISTS notifications_of_message ON notifications (message_id);
CREATE TABLE IF NOT EXISTS daily (
    day TEXT NOT NULL, type TEXT NOT NULL, events INTEGER NOT NULL, PRIMARY KEY (day, type)
);
CREATE TABLE IF NOT EXISTS poison (
    id INTEGER PRIMARY KEY,
    source TEXT NOT NULL,
    event_id TEXT NOT NULL,
    reason TEXT NOT NULL,
    routing_key TEXT NOT NULL,
    properties TEXT NOT NULL,
    body BLOB NOT NULL,
    put_aside_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%S', 'now'))
);
CREATE TABLE IF NOT EXISTS progress (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    consumed INTEGER NOT NULL DEFAULT 0,
    effects INTEGER NOT NULL DEFAULT 0,
    duplicates INTEGER NOT NULL DEFAULT 0,
    last_event_at TEXT
);
INSERT INTO progress (id) VALUES (1) ON CONFLICT DO NOTHING;
";

const NOTIFY: &str =
    "INSERT INTO notifications (user_id, message_id, sender_id, sent_at) VALUES (?, ?, ?, ?)";
const COUNT: &str = "INSERT INTO daily (day, type, events) VALUES (?, ?, 1)
    ON CONFLICT (day, type) DO UPDATE SET events = events + 1";
const PUT_ASIDE: &str =
    "INSERT INTO poison (source, event_id, reason, routing_key, properties, body)
    VALUES (?, ?, ?, ?, ?, ?)";
const POISON: &str = "SELECT COUNT(*) FROM poison";
const TOOK: &str = "UPDATE progress SET consumed = consumed + 1, effects = effects + ?,
    last_event_at = MAX(COALESCE(last_event_at, ''), ?)";
const TOOK_POISON: &str = "UPDATE progress SET consumed = consumed + 1";
const SAW_AGAIN: &str = "UPDATE progress SET duplicates = duplicates + 1";
const PROGRESS: &str = "SELECT consumed, effects, duplicates, last_event_at,
    (SELECT COUNT(*) FROM poison) AS poison FROM progress";
const NOTIFIED: &str = "SELECT COUNT(*) AS notifications,
    COUNT(DISTINCT message_id) AS messages FROM notifications";
/// By `notifications_of_user`.
const OF_USER: &str = "SELECT id, user_id, message_id, sender_id, sent_at FROM notifications
    WHERE user_id = ? ORDER BY id DESC LIMIT ?";
const DAYS: &str = "SELECT day, type AS kind, events FROM daily ORDER BY day DESC, type LIMIT ?";
const ASIDE: &str = "SELECT id, source, event_id, reason, routing_key, LENGTH(body) AS body_bytes,
    put_aside_at FROM poison ORDER BY id DESC LIMIT ?";

/// The database of one consumer.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    app: App,
    pool: SqlitePool,
    inbox: Inbox,
    poison_max: u32,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It was read; its effect, if it has one, is made.
    Read,
    /// It was taken before.
    Again,
    /// It was put aside.
    PutAside,
}

/// How far a consumer is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, FromRow)]
pub(crate) struct Progress {
    /// Different messages taken, those put aside included.
    pub(crate) consumed: i64,
    /// Effects made.
    pub(crate) effects: i64,
    /// Deliveries of messages that had been taken before.
    pub(crate) duplicates: i64,
    /// Messages put aside and still there.
    pub(crate) poison: i64,
    /// When the newest event happened.
    pub(crate) last_event_at: Option<String>,
}

/// Notifications, and the messages that they are about: equal, or somebody was notified twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, FromRow)]
pub(crate) struct Notified {
    pub(crate) notifications: i64,
    pub(crate) messages: i64,
}

/// A notification.
#[derive(Debug, Clone, Serialize, FromRow)]
pub(crate) struct NotificationRow {
    id: i64,
    user_id: i64,
    message_id: i64,
    sender_id: i64,
    sent_at: String,
}

/// How often something happened on a day.
#[derive(Debug, Clone, Serialize, FromRow)]
pub(crate) struct DayRow {
    day: String,
    #[serde(rename = "type")]
    kind: String,
    events: i64,
}

/// A message that was put aside, without its body.
#[derive(Debug, Clone, Serialize, FromRow)]
pub(crate) struct PoisonRow {
    id: i64,
    source: String,
    event_id: String,
    reason: String,
    routing_key: String,
    body_bytes: i64,
    put_aside_at: String,
}

impl Store {
    /// Opens `sqlite:..`, made when missing, with all tables.
    pub(crate) async fn open(app: App, url: &str, poison_max: u32) -> Result<Self, ConsumerError> {
        let failed = ConsumerError::database("open the database");
        if !url.starts_with("sqlite:") {
            let scheme = url.split(':').next().unwrap_or_default().to_owned();
            return Err(ConsumerError::DatabaseUrl { scheme });
        }
        // sqlx's `synchronous` is FULL: what is acknowledged is on the disk.
        let options = SqliteConnectOptions::from_str(url)
            .map_err(&failed)?
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .busy_timeout(BUSY_TIMEOUT);
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(BUSY_TIMEOUT)
            .connect_with(options)
            .await
            .map_err(&failed)?;
        install(&pool).await.map_err(ConsumerError::inbox)?;
        sqlx::raw_sql(SCHEMA).execute(&pool).await.map_err(&failed)?;
        let inbox = Inbox::new(app.as_str()).map_err(ConsumerError::inbox)?;
        Ok(Self { app, pool, inbox, poison_max })
    }

    /// Takes one message: its effect once, however often it is delivered. Acknowledge it after this returned `Ok`.
    pub(crate) async fn take(
        &self,
        message: &Message,
        pause: &dyn Pause,
    ) -> Result<Taken, ConsumerError> {
        let failed = ConsumerError::database("store the effect of a message");
        let received = Received::read(message);
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(&failed)?;
        let taken = match self.inbox.once(&mut tx, &received.key).await {
            Ok(Seen::First) => self.first(&mut tx, &received, message).await?,
            Ok(Seen::Again) => {
                sqlx::query(SAW_AGAIN).execute(&mut *tx).await.map_err(&failed)?;
                Taken::Again
            }
            Err(error) => return Err(ConsumerError::inbox(error)),
        };
        pause.at(Step::EffectMade).await;
        tx.commit().await.map_err(&failed)?;
        Ok(taken)
    }

    async fn first(
        &self,
        tx: &mut Transaction<'_, Sqlite>,
        received: &Received,
        message: &Message,
    ) -> Result<Taken, ConsumerError> {
        let read = match &received.content {
            Ok(event) => self.has_effect(tx, event).await?,
            Err(unreadable) => Err(unreadable.clone()),
        };
        match read {
            Ok(()) => Ok(Taken::Read),
            Err(unreadable) => {
                self.put_aside(tx, received, message, &unreadable).await?;
                Ok(Taken::PutAside)
            }
        }
    }

    /// Makes the effect; the inner error is of the event.
    async fn has_effect(
        &self,
        tx: &mut Transaction<'_, Sqlite>,
        event: &Event,
    ) -> Result<Result<(), Unreadable>, ConsumerError> {
        let failed = ConsumerError::database("store the effect of a message");
        let at = event.at.format("%Y-%m-%d %H:%M:%S").to_string();
        let effects = match self.app {
            App::PushNotifications => match event.notification() {
                Ok(Some(notification)) => {
                    let query = sqlx::query(NOTIFY)
                        .bind(notification.user)
                        .bind(notification.message)
                        .bind(notification.sender)
                        .bind(&at);
                    query.execute(&mut **tx).await.map_err(&failed)?;
                    1
                }
                Ok(None) => 0,
                Err(unreadable) => return Ok(Err(unreadable)),
            },
            App::Stats => {
                let day = event.at.format("%Y-%m-%d").to_string();
                let query = sqlx::query(COUNT).bind(day).bind(&event.kind);
                query.execute(&mut **tx).await.map_err(&failed)?;
                1
            }
        };
        let query = sqlx::query(TOOK).bind(effects).bind(at);
        query.execute(&mut **tx).await.map_err(&failed)?;
        Ok(Ok(()))
    }

    async fn put_aside(
        &self,
        tx: &mut Transaction<'_, Sqlite>,
        received: &Received,
        message: &Message,
        unreadable: &Unreadable,
    ) -> Result<(), ConsumerError> {
        let failed = ConsumerError::database("put an unreadable message aside");
        let aside: i64 = sqlx::query_scalar(POISON).fetch_one(&mut **tx).await.map_err(&failed)?;
        if aside >= i64::from(self.poison_max) {
            return Err(ConsumerError::PoisonFull { poison_max: self.poison_max });
        }
        let properties = serde_json::to_string(&message.properties).unwrap_or_default();
        let query = sqlx::query(PUT_ASIDE)
            .bind(&received.key.source)
            .bind(&received.key.id)
            .bind(&unreadable.0)
            .bind(&message.routing_key)
            .bind(properties)
            .bind(&message.body);
        query.execute(&mut **tx).await.map_err(&failed)?;
        sqlx::query(TOOK_POISON).execute(&mut **tx).await.map_err(&failed)?;
        tracing::warn!(
            consumer = self.app.as_str(),
            event_id = received.key.id,
            reason = unreadable.0,
            "unreadable message put aside"
        );
        Ok(())
    }

    /// Forgets marks that no queue can ask for any more.
    pub(crate) async fn clean_up(&self) -> Result<(), ConsumerError> {
        while Inbox::forget(&self.pool, KEEP_MARKS).await.map_err(ConsumerError::inbox)? {}
        Ok(())
    }

    pub(crate) async fn progress(&self) -> Result<Progress, sqlx::Error> {
        sqlx::query_as(PROGRESS).fetch_one(&self.pool).await
    }

    pub(crate) async fn notified(&self) -> Result<Notified, sqlx::Error> {
        sqlx::query_as(NOTIFIED).fetch_one(&self.pool).await
    }

    pub(crate) async fn notifications(
        &self,
        user_id: i64,
    ) -> Result<Vec<NotificationRow>, sqlx::Error> {
        sqlx::query_as(OF_USER).bind(user_id).bind(ROWS_MAX).fetch_all(&self.pool).await
    }

    pub(crate) async fn days(&self) -> Result<Vec<DayRow>, sqlx::Error> {
        sqlx::query_as(DAYS).bind(ROWS_MAX).fetch_all(&self.pool).await
    }

    pub(crate) async fn aside(&self) -> Result<Vec<PoisonRow>, sqlx::Error> {
        sqlx::query_as(ASIDE).bind(ROWS_MAX).fetch_all(&self.pool).await
    }

    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }
}
