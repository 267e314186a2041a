//! A service per test on a database of its own, which a test looks into and changes as an operator would.

use banyan_test_servers::{Server, or_skip, postgres};
use fixture_messages::{MessagesArgs, bind, create_schema};
use fixture_passport::{DEFAULT_SECRET, Passport};
use reqwest::{Client, Method, RequestBuilder, StatusCode, redirect::Policy};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};
use std::sync::{
    OnceLock,
    atomic::{AtomicU32, Ordering},
};
use tokio::{sync::oneshot, task::JoinHandle};

/// The Postgres that the tests share, each with a database of its own; `None` when it is not installed.
static POSTGRES: OnceLock<Option<Server>> = OnceLock::new();
static NEXT: AtomicU32 = AtomicU32::new(0);

/// Generates each test on SQLite and on a private Postgres.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name($crate::world::Place::sqlite()).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                if let Some(place) = $crate::world::Place::postgres().await {
                    super::$name(place).await;
                }
            })*
        }
    };
}
pub(crate) use on_both;

/// An empty database.
pub(crate) struct Place {
    pub(crate) url: String,
    pub(crate) folder: tempfile::TempDir,
}

pub(crate) struct World {
    pub(crate) place: Place,
    pub(crate) url: String,
    pub(crate) client: Client,
    pub(crate) passport: Passport,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

impl Place {
    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}?mode=rwc", folder.path().join("chat.db").display());
        Self { url, folder }
    }

    pub(crate) async fn postgres() -> Option<Self> {
        let start = || POSTGRES.get_or_init(|| or_skip(postgres())).as_ref().map(Server::port);
        let port = tokio::task::spawn_blocking(start).await.unwrap()?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("writes_{}_{number}", std::process::id());
        let server = format!("postgres://postgres@127.0.0.1:{port}");
        let mut connection = PgConnection::connect(&format!("{server}/postgres")).await.unwrap();
        let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
        sqlx::raw_sql(create).execute(&mut connection).await.unwrap();
        Some(Self { url: format!("{server}/{name}"), folder: tempfile::tempdir().unwrap() })
    }

    pub(crate) fn is_postgres(&self) -> bool {
        self.url.starts_with("postgres")
    }

    /// Runs a script.
    pub(crate) async fn run(&self, script: &str) {
        let script = AssertSqlSafe(script.to_owned());
        if self.is_postgres() {
            let mut connection = PgConnection::connect(&self.url).await.unwrap();
            sqlx::raw_sql(script).execute(&mut connection).await.unwrap();
        } else {
            let mut connection = SqliteConnection::connect(&self.url).await.unwrap();
            sqlx::raw_sql("PRAGMA busy_timeout = 20000").execute(&mut connection).await.unwrap();
            sqlx::raw_sql(script).execute(&mut connection).await.unwrap();
        }
    }

    /// The rows of a query whose only column is text.
    pub(crate) async fn texts(&self, sql: &str) -> Vec<String> {
        let sql = AssertSqlSafe(sql.to_owned());
        if self.is_postgres() {
            let mut connection = PgConnection::connect(&self.url).await.unwrap();
            sqlx::query_scalar(sql).fetch_all(&mut connection).await.unwrap()
        } else {
            let mut connection = SqliteConnection::connect(&self.url).await.unwrap();
            sqlx::query_scalar(sql).fetch_all(&mut connection).await.unwrap()
        }
    }

    /// The number that a query counts.
    pub(crate) async fn count(&self, from: &str) -> i64 {
        let texts = self.texts(&format!("SELECT CAST(COUNT(*) AS TEXT) FROM {from}")).await;
        texts[0].parse().unwrap()
    }

    /// The context in this state at this epoch; no row when there was none.
    pub(crate) async fn fence(&self, state: &str, epoch: u64) {
        let set = format!("UPDATE banyan_owner SET state = '{state}', epoch = {epoch}");
        if self.is_postgres() {
            // As the cutover: the lock that queues fairly before the readers' share.
            let lock = "SELECT pg_advisory_xact_lock(hashtextextended('banyan fence messages', 0))";
            self.run(&format!("BEGIN; {lock}; {set}; COMMIT;")).await;
        } else {
            self.run(&set).await;
        }
    }

    /// The context enrolled, in this state.
    pub(crate) async fn enrol(&self, state: &str) {
        self.run(&format!(
            "INSERT INTO banyan_owner (context, side, state, epoch, ordering) \
             VALUES ('messages', 'new', '{state}', 1, 'subject')"
        ))
        .await;
    }

    /// Where each conversation differs from what the sync's mapping computes from its messages.
    pub(crate) async fn wrong_conversations(&self) -> Vec<String> {
        self.texts(
            "SELECT COALESCE(c.id, m.id) FROM \
               (SELECT conversation_id AS id, MAX(id) AS last_id, COUNT(*) AS messages FROM chat_messages \
                 GROUP BY conversation_id) m \
               LEFT JOIN chat_messages l ON l.id = m.last_id \
               LEFT JOIN conversations c ON c.id = m.id \
              WHERE c.id IS NULL OR c.last_message_id <> m.last_id OR c.messages_count <> m.messages \
                 OR c.updated_at IS NULL OR c.updated_at <> l.sent_at \
                 OR c.user_low <> CASE WHEN l.author_id < l.recipient_id THEN l.author_id ELSE l.recipient_id END \
                 OR c.user_high <> CASE WHEN l.author_id < l.recipient_id THEN l.recipient_id ELSE l.author_id END",
        )
        .await
    }
}

impl World {
    /// A service that owns the context, with people 1 to 9.
    pub(crate) async fn owner(place: Place) -> Self {
        let world = Self::start(place, None).await;
        world.place.enrol("open").await;
        world
    }

    /// A service, not enrolled.
    pub(crate) async fn start(place: Place, broker: Option<String>) -> Self {
        create_schema(&place.url).await.unwrap();
        let person = |id| format!("({id}, 'p-{id}', 'P{id}', NULL, 'free')");
        let people: Vec<String> = (1..10).map(person).collect();
        let insert = "INSERT INTO people (id, permalink, username, avatar_url, plan) VALUES";
        place.run(&format!("{insert} {}", people.join(", "))).await;
        Self::serve(place, broker).await
    }

    /// A service on a database that is made already.
    pub(crate) async fn serve(place: Place, broker: Option<String>) -> Self {
        let bound = bind(MessagesArgs { broker, ..MessagesArgs::on(&place.url) }).await.unwrap();
        let url = bound.url().to_owned();
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(async move {
            bound.serve(async { drop(stopped.await) }).await.unwrap();
        });
        let client = Client::builder().redirect(Policy::none()).no_proxy().build().unwrap();
        let passport = Passport::new(DEFAULT_SECRET);
        Self { place, url, client, passport, stop, served }
    }

    pub(crate) fn request(&self, method: Method, user: i64, path: &str) -> RequestBuilder {
        let token = format!("OAuth {}", self.passport.token(user));
        self.client.request(method, format!("{}{path}", self.url)).header("authorization", token)
    }

    /// Sends a message; gives its status and body.
    pub(crate) async fn create(&self, from: i64, to: i64, body: &str) -> (StatusCode, Value) {
        let body = json!({ "message": { "recipient_id": to, "subject": "Hi", "body": body } });
        let request = self.request(Method::POST, from, "/messages").json(&body);
        answer(request).await
    }

    pub(crate) async fn act(&self, method: Method, user: i64, path: &str) -> (StatusCode, Value) {
        answer(self.request(method, user, path)).await
    }

    pub(crate) async fn end(self) -> Place {
        drop(self.client);
        self.stop.send(()).unwrap();
        self.served.await.unwrap();
        self.place
    }
}

pub(crate) async fn answer(request: RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.unwrap();
    let status = response.status();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::Null))
}
