//! The practice context on real servers: a seeded monolith on MariaDB, an empty service on Postgres.

use std::time::{Duration, Instant};

use banyan_sync_jobs::SideUrls;
use banyan_test_servers::{Server, or_skip};
use sqlx::mysql::MySqlConnectOptions;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Executor, MySqlConnection, PgConnection};

/// Tables of the monolith on MariaDB.
pub(crate) const MARIADB_TABLES: &str = "
CREATE TABLE users (id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, permalink VARCHAR(255) NOT NULL,
  username VARCHAR(255) NOT NULL, plan VARCHAR(16) NOT NULL DEFAULT 'free',
  avatar_url VARCHAR(255)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;
CREATE TABLE message_threads (id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
  subject VARCHAR(255) NOT NULL DEFAULT '', creator_id BIGINT NOT NULL)
  ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;
CREATE TABLE messages (id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, thread_id BIGINT NOT NULL,
  parent_id BIGINT, sender_id BIGINT NOT NULL, recipient_id BIGINT NOT NULL,
  body MEDIUMTEXT NOT NULL, edited_at DATETIME, created_at DATETIME NOT NULL,
  updated_at DATETIME NOT NULL, KEY (thread_id), KEY (sender_id, recipient_id), KEY (recipient_id))
  ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;
CREATE TABLE message_receipts (id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
  message_id BIGINT NOT NULL, user_id BIGINT NOT NULL, read_at DATETIME, deleted_at DATETIME,
  UNIQUE KEY (message_id, user_id)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
";

/// Tables of the service on Postgres.
pub(crate) const POSTGRES_TABLES: &str = "
CREATE TABLE people (id BIGINT PRIMARY KEY, permalink TEXT NOT NULL, username TEXT NOT NULL,
  avatar_url TEXT, plan TEXT NOT NULL DEFAULT 'free');
CREATE TABLE conversations (id TEXT PRIMARY KEY, user_low BIGINT NOT NULL, user_high BIGINT NOT NULL,
  last_message_id BIGINT, messages_count BIGINT NOT NULL DEFAULT 0, updated_at TIMESTAMP);
CREATE TABLE chat_messages (id BIGINT PRIMARY KEY, conversation_id TEXT NOT NULL,
  thread_id BIGINT NOT NULL, parent_id BIGINT, subject TEXT, author_id BIGINT NOT NULL,
  recipient_id BIGINT NOT NULL, body TEXT NOT NULL, sent_at TIMESTAMP NOT NULL,
  edited_at TIMESTAMP, read_at TIMESTAMP, changed_at TIMESTAMP NOT NULL,
  hidden_for_author BOOLEAN NOT NULL DEFAULT FALSE,
  hidden_for_recipient BOOLEAN NOT NULL DEFAULT FALSE);
CREATE INDEX chat_messages_of_conversation ON chat_messages (conversation_id, id);
";

/// Statements that seed `users` users and `messages` messages (MariaDB).
pub(crate) fn mariadb_seed(users: u32, messages: u32) -> String {
    format!(
        "INSERT INTO users (id, permalink, username, plan, avatar_url)
 SELECT seq, CONCAT('user-', seq), CONCAT('User ', seq, ' é😀'), IF(seq % 7, 'free', 'pro'),
        IF(seq % 3, CONCAT('a/', seq), NULL) FROM seq_1_to_{users};
INSERT INTO message_threads (id, subject, creator_id)
 SELECT seq, CONCAT('Subject ', seq), 1 FROM seq_1_to_{messages} WHERE seq <= {messages} / 4 + 1;
INSERT INTO messages (id, thread_id, parent_id, sender_id, recipient_id, body, edited_at,
                      created_at, updated_at)
 SELECT seq, seq DIV 4 + 1, NULLIF(seq % 4, 0), (seq DIV 4 * 7919) % {users} + 1,
        (seq DIV 4 * 104729 + seq % 2) % {users} + 1,
        CONCAT('Body ''', seq, ''' \\\\ | NULL cafÃ©'),
        IF(seq % 9, NULL, '2014-06-13 10:00:00'), '2014-06-12 10:00:00', '2014-06-12 10:00:00'
   FROM seq_1_to_{messages};
INSERT INTO message_receipts (message_id, user_id, read_at, deleted_at)
 SELECT id, recipient_id, IF(id % 3, NULL, '2014-06-14 10:00:00'),
        IF(id % 11, NULL, '2014-06-15 10:00:00') FROM messages;
INSERT INTO message_receipts (message_id, user_id, deleted_at)
 SELECT id, sender_id, IF(id % 13, NULL, '2014-06-15 10:00:00') FROM messages
  WHERE sender_id <> recipient_id;"
    )
}

/// Both servers.
pub(crate) struct Servers {
    mariadb: Server,
    postgres: Server,
}

impl Servers {
    /// Starts both; `None` when one is not installed.
    pub(crate) async fn start() -> Option<Self> {
        let booted = tokio::task::spawn_blocking(|| {
            (banyan_test_servers::mariadb(), banyan_test_servers::postgres())
        });
        let (mariadb, postgres) = booted.await.expect("works");
        Some(Self { mariadb: or_skip(mariadb)?, postgres: or_skip(postgres)? })
    }

    /// The practice world: a seeded monolith, an empty service.
    pub(crate) async fn world(
        &self,
        users: u32,
        messages: u32,
    ) -> (MySqlConnection, PgConnection, SideUrls) {
        let urls = SideUrls {
            legacy: format!("mysql://root@127.0.0.1:{}/m", self.mariadb.port()),
            new: format!("postgres://postgres@127.0.0.1:{}/postgres", self.postgres.port()),
        };
        let admin = format!("mysql://root@127.0.0.1:{}/mysql", self.mariadb.port());
        my(&mut mysql(&admin).await, "CREATE DATABASE m CHARACTER SET utf8mb4").await;
        let mut legacy = mysql(&urls.legacy).await;
        my(&mut legacy, MARIADB_TABLES).await;
        my(&mut legacy, &mariadb_seed(users, messages)).await;
        let options: PgConnectOptions = urls.new.parse().expect("works");
        let mut new = patiently(async || options.connect().await).await;
        pg(&mut new, POSTGRES_TABLES).await;
        (legacy, new, urls)
    }
}

/// Connects as an application would.
pub(crate) async fn mysql(url: &str) -> MySqlConnection {
    let options: MySqlConnectOptions = url.parse().expect("works");
    patiently(async || options.connect().await).await
}

/// A server that listens may not be ready yet.
async fn patiently<T>(mut connect: impl AsyncFnMut() -> Result<T, sqlx::Error>) -> T {
    let started = Instant::now();
    loop {
        match connect().await {
            Ok(connection) => return connection,
            Err(error) => assert!(started.elapsed() < Duration::from_secs(30), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Runs statements on MariaDB.
pub(crate) async fn my(on: &mut MySqlConnection, sql: &str) {
    on.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.expect("works");
}

/// Runs statements on Postgres.
pub(crate) async fn pg(on: &mut PgConnection, sql: &str) {
    on.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.expect("works");
}
