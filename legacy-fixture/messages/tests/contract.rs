//! The public contract over HTTP, on a small hand-filled database: on SQLite and on a
//! private Postgres.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use banyan_test_servers::{Server, or_skip, postgres};
use fixture_messages::{MessagesArgs, bind, create_schema};
use fixture_passport::{DEFAULT_SECRET, Passport, csrf, weak_etag};
use reqwest::{Client, Method, Response, StatusCode, header};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};
use std::sync::OnceLock;
use tokio::sync::oneshot;

/// Ada (1) is pro, Bob (2) has no avatar, Cy (3) never wrote; Dee (107) is one of the unlucky 1 %.
/// People 50 is nobody's contact; 60 wrote a message but has not been synced yet.
const PEOPLE: &str = "
INSERT INTO people (id, permalink, username, avatar_url, plan) VALUES
 (1, 'ada-1', 'Ada', 'https://img.example/1.jpg', 'pro'),
 (2, 'bob-2', 'Bob', NULL, 'free'),
 (3, 'cy-3', 'Cy', NULL, 'free'),
 (107, 'dee-107', 'Dee', NULL, 'pro');
";

/// Columns: conversation, thread, parent, subject, author, recipient, body, read, hidden for author, for recipient.
const MESSAGES: &str = "
INSERT INTO chat_messages (id, conversation_id, thread_id, parent_id, subject, author_id, recipient_id, body,
    sent_at, edited_at, read_at, changed_at, hidden_for_author, hidden_for_recipient) VALUES
 (10, '1:2', 5, NULL, 'Hi', 1, 2, 'hello', '2014-06-12 10:00:00', NULL, '2014-06-12 11:00:00', '2014-06-12 11:00:00', {no}, {no}),
 (11, '1:2', 5, 10, 'Hi', 2, 1, 'cafÃ© 🌳', '2014-06-12 10:05:00', '2014-06-12 10:06:00', NULL, '2014-06-12 10:06:00', {no}, {no}),
 (12, '1:2', 6, NULL, 'Gone', 1, 2, 'deleted by the author', '2014-06-12 10:10:00', NULL, NULL, '2014-06-12 10:20:00', {yes}, {no}),
 (13, '1:2', 7, NULL, 'Gone', 2, 1, 'deleted by the recipient', '2014-06-12 10:11:00', NULL, NULL, '2014-06-12 10:21:00', {no}, {yes}),
 (14, '1:1', 8, NULL, 'Note', 1, 1, 'to myself', '2014-06-12 10:12:00', NULL, NULL, '2014-06-12 10:12:00', {no}, {no}),
 (15, '1:1', 9, NULL, 'Note', 1, 1, 'to myself, deleted', '2014-06-12 10:13:00', NULL, NULL, '2014-06-12 10:13:00', {yes}, {yes}),
 (16, '1:107', 10, NULL, '', 107, 1, 'from dee', '2014-06-12 10:14:00', NULL, '2014-06-12 10:15:00', '2014-06-12 10:15:00', {no}, {no}),
 (17, '2:107', 11, NULL, 'x', 107, 2, 'all deleted', '2014-06-12 10:15:00', NULL, NULL, '2014-06-12 10:15:00', {no}, {yes}),
 (18, '1:60', 12, NULL, 'x', 60, 1, 'author unknown yet', '2014-06-12 10:16:00', NULL, NULL, '2014-06-12 10:16:00', {no}, {no});
";

struct World {
    url: String,
    client: Client,
    passport: Passport,
    stop: oneshot::Sender<()>,
    served: tokio::task::JoinHandle<()>,
    _folder: tempfile::TempDir,
}

impl World {
    /// A service on its own SQLite file, or on a fresh Postgres database below `server`.
    async fn start(server: Option<&str>, defects: bool, extra: &[String]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = match server {
            None => format!("sqlite:{}", folder.path().join("chat.db").display()),
            Some(server) => fresh_postgres(server).await,
        };
        create_schema(&database).await.unwrap();
        fill(&database, extra).await;
        let bound = bind(MessagesArgs { defects, ..MessagesArgs::on(database) }).await.unwrap();
        let url = bound.url().to_owned();
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(async move {
            bound.serve(async { drop(stopped.await) }).await.unwrap();
        });
        let passport = Passport::new(DEFAULT_SECRET);
        Self { url, client: Client::new(), passport, stop, served, _folder: folder }
    }

    async fn get(&self, user: i64, path: &str) -> Response {
        self.request(Method::GET, path)
            .header("authorization", self.oauth(user))
            .send()
            .await
            .unwrap()
    }

    async fn json(&self, user: i64, path: &str) -> Value {
        let response = self.get(user, path).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        response.json().await.unwrap()
    }

    async fn status(&self, user: i64, path: &str) -> u16 {
        self.get(user, path).await.status().as_u16()
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    fn oauth(&self, user: i64) -> String {
        format!("OAuth {}", self.passport.token(user))
    }

    async fn end(self) {
        drop(self.client);
        self.stop.send(()).unwrap();
        self.served.await.unwrap();
    }
}

async fn fresh_postgres(server: &str) -> String {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let name = format!("messages_{}_{number}", std::process::id());
    let mut connection = PgConnection::connect(server).await.unwrap();
    let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
    sqlx::raw_sql(create).execute(&mut connection).await.unwrap();
    let (address, _) = server.rsplit_once('/').unwrap();
    format!("{address}/{name}")
}

async fn fill(database: &str, extra: &[String]) {
    let is_postgres = database.starts_with("postgres");
    let (no, yes) = if is_postgres { ("FALSE", "TRUE") } else { ("0", "1") };
    let scripts = [PEOPLE.to_owned(), MESSAGES.to_owned()].into_iter().chain(extra.to_vec());
    for script in scripts {
        let script = AssertSqlSafe(script.replace("{no}", no).replace("{yes}", yes));
        if is_postgres {
            let mut connection = PgConnection::connect(database).await.unwrap();
            sqlx::raw_sql(script).execute(&mut connection).await.unwrap();
        } else {
            let mut connection = SqliteConnection::connect(database).await.unwrap();
            sqlx::raw_sql(script).execute(&mut connection).await.unwrap();
        }
    }
}

/// Messages from Bob (2) to Cy (3), ids from 100.
fn many(count: i64) -> Vec<String> {
    let row = |id: i64| {
        format!(
            "INSERT INTO chat_messages (id, conversation_id, thread_id, subject, author_id, recipient_id, body, \
             sent_at, changed_at, hidden_for_author, hidden_for_recipient) VALUES ({id}, '2:3', {id}, 's', 2, 3, \
             'm{id}', '2014-06-12 10:00:00', '2014-06-12 10:00:00', {{no}}, {{no}});"
        )
    };
    vec![(100..100 + count).map(row).collect()]
}

fn ids(list: &Value) -> Vec<i64> {
    list.as_array().unwrap().iter().map(|row| row["id"].as_i64().unwrap()).collect()
}

/// The Postgres that the tests share; `None` when it is not installed.
static POSTGRES: OnceLock<Option<Server>> = OnceLock::new();

/// SQLite, and Postgres if there is one.
fn servers() -> Vec<Option<String>> {
    let server = POSTGRES.get_or_init(|| or_skip(postgres())).as_ref();
    let postgres = server.map(|s| format!("postgres://postgres@127.0.0.1:{}/postgres", s.port()));
    std::iter::once(None).chain(postgres.map(Some)).collect()
}

#[tokio::test]
async fn every_read_endpoint_answers_to_the_byte() {
    for server in servers() {
        let world = World::start(server.as_deref(), false, &[]).await;
        let shown = world.get(1, "/messages/11").await.text().await.unwrap();
        assert_eq!(
            shown,
            "{\"message\":{\"id\":11,\"thread_id\":5,\"parent_id\":10,\"subject\":\"Hi\",\"body\":\"cafÃ© 🌳\",\
             \"sender\":{\"id\":2,\"permalink\":\"bob-2\",\"username\":\"Bob\",\"avatar_url\":null,\"uri\":\"/users/2\"},\
             \"recipient\":{\"id\":1,\"permalink\":\"ada-1\",\"username\":\"Ada\",\
             \"avatar_url\":\"https://img.example/1.jpg\",\"uri\":\"/users/1\",\"badge\":\"pro\"},\
             \"read\":false,\"read_at\":null,\"edited_at\":\"2014/06/12 10:06:00 +0000\",\
             \"created_at\":\"2014/06/12 10:05:00 +0000\",\"updated_at\":\"2014/06/12 10:06:00 +0000\",\
             \"uri\":\"/messages/11\"}}"
        );
        let unread = world.get(1, "/users/1/messages/unread_count").await.text().await.unwrap();
        assert_eq!(unread, "{\"user_id\":1,\"unread_count\":2}");
        let list = world.get(2, "/users/2/messages?per_page=1").await.text().await.unwrap();
        assert!(list.starts_with("{\"messages\":[{\"id\":12,"), "{list}");
        assert!(list.ends_with("],\"page\":1,\"per_page\":1,\"total\":2}"), "{list}");
        let with = "{\"id\":3,\"permalink\":\"cy-3\",\"username\":\"Cy\",\"avatar_url\":null,\"uri\":\"/users/3\"}";
        let empty = world.get(1, "/users/1/conversations/3").await.text().await.unwrap();
        let expected = format!(
            "{{\"conversation\":{{\"id\":\"1:3\",\"with\":{with}}},\"messages\":[],\"page\":1,\"per_page\":20,\"total\":0}}"
        );
        assert_eq!(empty, expected);
        let list = world.get(107, "/users/107/conversations").await.text().await.unwrap();
        assert!(
            list.starts_with("{\"conversations\":[{\"id\":\"2:107\",\"with\":{\"id\":2,"),
            "{list}"
        );
        let end =
            "\"messages_count\":1,\"unread_count\":0}],\"page\":1,\"per_page\":20,\"total\":2}";
        assert!(list.ends_with(end), "{list}");
        world.end().await;
    }
}

#[tokio::test]
async fn lists_and_counts_follow_hidden_flags_and_messages_to_oneself() {
    for server in servers() {
        let world = World::start(server.as_deref(), false, &[]).await;
        let inbox = world.json(1, "/users/1/messages").await;
        assert_eq!(ids(&inbox["messages"]), [16, 14, 11]);
        assert_eq!(inbox["total"], 3);
        let conversation = world.json(1, "/users/1/conversations/2").await;
        assert_eq!(ids(&conversation["messages"]), [11, 10]);
        let other_end = world.json(2, "/users/2/conversations/1").await;
        assert_eq!(ids(&other_end["messages"]), [13, 12, 11, 10]);
        let myself = world.json(1, "/users/1/conversations/1").await;
        assert_eq!(
            (ids(&myself["messages"]), &myself["conversation"]["id"]),
            (vec![14], &json!("1:1"))
        );
        let partners = world.json(1, "/users/1/conversations").await;
        let summary = |row: &Value| {
            let row = row.as_object().unwrap();
            let last = row["last_message"]["id"].as_i64().unwrap();
            (
                row["with"]["id"].as_i64().unwrap(),
                last,
                row["messages_count"].clone(),
                row["unread_count"].clone(),
            )
        };
        let partners: Vec<_> =
            partners["conversations"].as_array().unwrap().iter().map(summary).collect();
        assert_eq!(
            partners,
            [
                (107, 16, json!(1), json!(0)),
                (1, 14, json!(1), json!(1)),
                (2, 11, json!(2), json!(1)),
            ]
        );
        // Everything that Dee sent to Bob he deleted: she is absent from his list, he is in hers.
        let of_bob = world.json(2, "/users/2/conversations").await;
        assert_eq!(
            (of_bob["total"].clone(), &of_bob["conversations"][0]["with"]["id"]),
            (json!(1), &json!(1))
        );
        assert_eq!(world.json(2, "/users/2/messages/unread_count").await["unread_count"], 1);
        world.end().await;
    }
}

#[tokio::test]
async fn only_sender_and_recipient_see_a_message_and_only_until_they_delete_it() {
    for server in servers() {
        let world = World::start(server.as_deref(), false, &[]).await;
        let seen =
            [(1, 10, 200), (2, 10, 200), (3, 10, 404), (1, 12, 404), (2, 12, 200), (1, 13, 404)];
        for (user, message, status) in seen {
            assert_eq!(
                world.status(user, &format!("/messages/{message}")).await,
                status,
                "{user} {message}"
            );
        }
        assert_eq!(world.status(1, "/messages/15").await, 404);
        assert_eq!(world.status(1, "/messages/999").await, 404);
        world.end().await;
    }
}

#[tokio::test]
async fn what_the_sync_has_not_brought_yet_is_absent_everywhere() {
    for server in servers() {
        let world = World::start(server.as_deref(), false, &[]).await;
        assert_eq!(world.status(1, "/messages/18").await, 404);
        assert_eq!(world.status(60, "/messages/18").await, 404);
        assert_eq!(world.status(1, "/users/1/conversations/60").await, 404);
        assert_eq!(world.json(60, "/users/60/messages").await["total"], 0);
        assert_eq!(world.json(60, "/users/60/conversations").await["total"], 0);
        assert_eq!(world.json(60, "/users/60/messages/unread_count").await["unread_count"], 0);
        world.end().await;
    }
}

#[tokio::test]
async fn pages_and_links_follow_the_contract() {
    for server in servers() {
        let world = World::start(server.as_deref(), false, &many(45)).await;
        let response = world.get(3, "/users/3/messages?page=2").await;
        let link = response.headers()[header::LINK].to_str().unwrap().to_owned();
        assert_eq!(
            link,
            "</users/3/messages?page=1>; rel=\"first\", </users/3/messages?page=1>; rel=\"prev\", \
             </users/3/messages?page=3>; rel=\"next\", </users/3/messages?page=3>; rel=\"last\""
        );
        let page = response.json::<Value>().await.unwrap();
        assert_eq!(ids(&page["messages"]), (105..125).rev().collect::<Vec<_>>());
        let last = world.json(3, "/users/3/conversations/2?page=3").await;
        assert_eq!(ids(&last["messages"]), [104, 103, 102, 101, 100]);
        let behind = world.json(3, "/users/3/conversations/2?page=9&per_page=7").await;
        assert_eq!((ids(&behind["messages"]), &behind["total"]), (vec![], &json!(45)));
        let cut = world.json(3, "/users/3/messages?page=x&per_page=5000").await;
        assert_eq!((&cut["page"], &cut["per_page"]), (&json!(1), &json!(100)));
        world.end().await;
    }
}

#[tokio::test]
async fn refusals_have_rails_bodies() {
    let world = World::start(None, false, &[]).await;
    let refused = async |builder: reqwest::RequestBuilder| {
        let response = builder.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let as_user = |user| world.oauth(user);
    let get = |path: &str| world.request(Method::GET, path);
    let body =
        |status: u16, text| (status, format!("{{\"status\":\"{status}\",\"error\":\"{text}\"}}"));
    assert_eq!(refused(get("/users/1/messages")).await, body(401, "Unauthorized"));
    let forged = get("/users/1/messages").header("authorization", "OAuth 1-00");
    assert_eq!(refused(forged).await, body(401, "Unauthorized"));
    let of_other = get("/users/1/messages").header("authorization", as_user(2));
    assert_eq!(refused(of_other).await, body(403, "Forbidden"));
    for path in ["/users/1/conversations/50", "/messages/x", "/users/x/messages", "/elsewhere"] {
        let missing = get(path).header("authorization", as_user(1));
        assert_eq!(refused(missing).await, body(404, "Not Found"), "{path}");
    }
    world.end().await;
}

#[tokio::test]
async fn writes_are_refused_after_the_caller_was_checked() {
    let world = World::start(None, false, &[]).await;
    let session = world.passport.session(1, 1_402_567_200);
    let cookie = format!("_mothership_session={session}");
    let token = csrf::mask(&world.passport.csrf_raw(&session), &[9; 32]);
    let refusal = "{\"status\":\"503\",\"error\":\"messages does not own this context\"}";
    let writes = [
        (Method::POST, "/messages"),
        (Method::PATCH, "/messages/10"),
        (Method::PUT, "/messages/10/read"),
        (Method::DELETE, "/messages/10"),
    ];
    for (method, path) in writes {
        let request = || world.request(method.clone(), path);
        assert_eq!(request().send().await.unwrap().status(), 401, "{method} {path}");
        let no_token = request().header("cookie", &cookie).send().await.unwrap();
        assert_eq!(no_token.status(), 422);
        let body = no_token.text().await.unwrap();
        assert_eq!(body, "{\"status\":\"422\",\"error\":\"Invalid authenticity token\"}");
        let by_header = request().header("cookie", &cookie).header("x-csrf-token", &token);
        let by_field =
            request().header("cookie", &cookie).json(&json!({ "authenticity_token": token }));
        let by_oauth = request().header("authorization", world.oauth(1));
        for allowed in [by_header, by_field, by_oauth] {
            let response = allowed.send().await.unwrap();
            assert_eq!(response.status(), 503, "{method} {path}");
            assert_eq!(response.headers()[header::RETRY_AFTER], "1");
            assert_eq!(response.text().await.unwrap(), refusal);
        }
    }
    // A page's form: POST with `_method`, the token percent-encoded.
    let encoded = token.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    let form = world
        .request(Method::POST, "/messages/10")
        .header("cookie", &cookie)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!("_method=patch&authenticity_token={encoded}&message%5Bbody%5D=x"));
    assert_eq!(form.send().await.unwrap().status(), 503);
    assert_eq!(world.json(1, "/messages/10").await["message"]["body"], "hello");
    world.end().await;
}

#[tokio::test]
async fn answers_carry_rails_headers_and_can_be_revalidated() {
    let world = World::start(None, false, &[]).await;
    let request = |method| {
        let builder = world.request(method, "/messages/10").header("authorization", world.oauth(1));
        builder.header("x-request-id", "abc <1>-9")
    };
    let full = request(Method::GET).send().await.unwrap();
    let headers = full.headers().clone();
    assert_eq!(headers["content-type"], "application/json; charset=utf-8");
    assert_eq!(headers["cache-control"], "max-age=0, private, must-revalidate");
    assert_eq!(headers["x-request-id"], "abc1-9");
    assert_eq!(headers["x-served-by"], "messages");
    let runtime = headers["x-runtime"].to_str().unwrap();
    assert!(runtime.parse::<f64>().is_ok() && runtime.split('.').nth(1).unwrap().len() == 6);
    let body = full.bytes().await.unwrap();
    assert_eq!(headers["etag"].to_str().unwrap(), weak_etag(&body));
    let known = request(Method::GET).header("if-none-match", &headers["etag"]);
    let known = known.send().await.unwrap();
    assert_eq!(
        (known.status(), &known.headers()["etag"]),
        (StatusCode::NOT_MODIFIED, &headers["etag"])
    );
    assert!(known.bytes().await.unwrap().is_empty());
    let head = request(Method::HEAD).send().await.unwrap();
    assert_eq!((head.status(), &head.headers()["etag"]), (StatusCode::OK, &headers["etag"]));
    assert_eq!(head.headers()["content-length"].to_str().unwrap(), body.len().to_string());
    assert!(head.bytes().await.unwrap().is_empty());
    let generated = world.get(1, "/messages/10").await;
    assert!(!generated.headers()["x-request-id"].is_empty());
    world.end().await;
}

#[tokio::test]
async fn defects_are_exactly_the_four_of_the_contract() {
    let sound = World::start(None, false, &many(45)).await;
    let broken = World::start(None, true, &many(45)).await;
    let both =
        async |user, path: &str| (sound.json(user, path).await, broken.json(user, path).await);

    let (mut right, wrong) = both(1, "/messages/10").await;
    assert_eq!(wrong["message"]["created_at"], "2014-06-12T10:00:00Z");
    right["message"]["created_at"] = wrong["message"]["created_at"].clone();
    assert_eq!(right, wrong);

    let (mut right, wrong) = both(1, "/users/1/messages").await;
    for message in right["messages"].as_array_mut().unwrap() {
        message["sender"].as_object_mut().unwrap().remove("badge");
        assert_eq!(message["recipient"]["badge"], "pro");
    }
    assert_eq!(right, wrong);

    let (right, wrong) = both(3, "/users/3/conversations/2?page=2").await;
    assert_eq!(ids(&right["messages"]), (105..125).rev().collect::<Vec<_>>());
    assert_eq!(ids(&wrong["messages"]), (106..126).rev().collect::<Vec<_>>());
    assert_eq!(right["total"], wrong["total"]);

    let (right, wrong) = both(107, "/users/107/messages/unread_count").await;
    assert_eq!((&right["unread_count"], &wrong["unread_count"]), (&json!(0), &json!(1)));

    let alike = [
        (1, "/users/1/conversations"),
        (1, "/users/1/conversations/2"),
        (3, "/users/3/conversations/2"),
        (3, "/users/3/messages?page=2"),
        (1, "/users/1/messages/unread_count"),
    ];
    for (user, path) in alike {
        let (right, wrong) = both(user, path).await;
        assert_eq!(right, wrong, "{path}");
    }
    sound.end().await;
    broken.end().await;
}

#[tokio::test]
async fn the_service_answers_while_the_sync_holds_a_write_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let database = format!("sqlite:{}", folder.path().join("chat.db").display());
    let bound = bind(MessagesArgs::on(&database)).await.unwrap();
    fill(&database, &[]).await;
    let mut sync = SqliteConnection::connect(&database).await.unwrap();
    sqlx::raw_sql("BEGIN IMMEDIATE; UPDATE chat_messages SET read_at = sent_at;")
        .execute(&mut sync)
        .await
        .unwrap();
    let url = format!("{}/users/1/messages/unread_count", bound.url());
    let (stop, stopped) = oneshot::channel::<()>();
    let served = tokio::spawn(bound.serve(async { drop(stopped.await) }));
    let oauth = format!("OAuth {}", Passport::new(DEFAULT_SECRET).token(1));
    let unread = async || {
        let response =
            Client::new().get(&url).header("authorization", &oauth).send().await.unwrap();
        response.json::<Value>().await.unwrap()["unread_count"].clone()
    };
    assert_eq!(unread().await, 2);
    sqlx::raw_sql("COMMIT").execute(&mut sync).await.unwrap();
    assert_eq!(unread().await, 0);
    stop.send(()).unwrap();
    served.await.unwrap().unwrap();
}

#[tokio::test]
async fn problems_at_the_start_say_what_to_change() {
    let text = |error: fixture_messages::MessagesError| error.to_string();
    let unknown = bind(MessagesArgs::on("mysql://root:secret@localhost/x")).await.unwrap_err();
    let shown = text(unknown);
    assert!(shown.contains("--database") && !shown.contains("secret"), "{shown}");
    let missing = bind(MessagesArgs::on("sqlite:/nowhere/at/all/chat.db")).await.unwrap_err();
    assert!(text(missing).starts_with("open the database"));
    let folder = tempfile::tempdir().unwrap();
    let database = format!("sqlite:{}", folder.path().join("chat.db").display());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap();
    let busy = bind(MessagesArgs { listen, ..MessagesArgs::on(database) }).await.unwrap_err();
    assert!(text(busy).contains(&listen.to_string()));
}
