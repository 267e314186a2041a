//! The service against the real monolith: on the same rows both must answer the same bytes, for every endpoint.
//!
//! The rows are moved by plain SQL here; in life the sync does it.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use fixture_messages::{MessagesArgs, bind, create_schema};
use fixture_mothership::MothershipArgs;
use fixture_passport::{DEFAULT_SECRET, Passport};
use reqwest::Client;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, SqliteConnection};
use std::{path::Path, time::Duration};
use tokio::{sync::oneshot, task::JoinHandle};

const USERS: u32 = 120;
const MESSAGES: u32 = 5_000;

const FILL: &str = "
INSERT INTO people SELECT id, permalink, username, avatar_url, plan FROM legacy.users;
INSERT INTO chat_messages (id, conversation_id, thread_id, parent_id, subject, author_id, recipient_id, body,
    sent_at, edited_at, read_at, changed_at, hidden_for_author, hidden_for_recipient)
SELECT m.id, MIN(m.sender_id, m.recipient_id) || ':' || MAX(m.sender_id, m.recipient_id), m.thread_id, m.parent_id,
    t.subject, m.sender_id, m.recipient_id, m.body, m.created_at, m.edited_at, rr.read_at, m.updated_at,
    sr.deleted_at IS NOT NULL, rr.deleted_at IS NOT NULL
FROM legacy.messages m
JOIN legacy.message_threads t ON t.id = m.thread_id
LEFT JOIN legacy.message_receipts sr ON sr.message_id = m.id AND sr.user_id = m.sender_id
LEFT JOIN legacy.message_receipts rr ON rr.message_id = m.id AND rr.user_id = m.recipient_id;
";

struct Running {
    url: String,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    async fn mothership(folder: &Path) -> Self {
        let ready_file = folder.join("ready");
        let args = MothershipArgs {
            users: USERS,
            messages: MESSAGES,
            ready_file: Some(ready_file.clone()),
            ..MothershipArgs::on(format!("sqlite:{}", folder.join("legacy.db").display()))
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            fixture_mothership::run(args, async { drop(stopped.await) }).await.unwrap();
        });
        let address = loop {
            if let Ok(address) = std::fs::read_to_string(&ready_file) {
                break address;
            }
            assert!(!task.is_finished(), "the mothership must start");
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        Self { url: format!("http://{address}"), stop, task }
    }

    async fn messages(folder: &Path) -> Self {
        let database = format!("sqlite:{}", folder.join("chat.db").display());
        create_schema(&database).await.unwrap();
        let mut connection = SqliteConnection::connect(&database).await.unwrap();
        let legacy = folder.join("legacy.db").display().to_string();
        let script = format!("ATTACH '{legacy}' AS legacy; {FILL}");
        sqlx::raw_sql(AssertSqlSafe(script)).execute(&mut connection).await.unwrap();
        let bound = bind(MessagesArgs::on(database)).await.unwrap();
        let url = bound.url().to_owned();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            bound.serve(async { drop(stopped.await) }).await.unwrap();
        });
        Self { url, stop, task }
    }

    async fn end(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
    }
}

/// What a client can see of an answer and both sides must have alike.
async fn answer(
    client: &Client,
    site: &Running,
    token: &str,
    path: &str,
) -> (u16, Vec<(String, String)>, String) {
    let request = client.get(format!("{}{path}", site.url)).header("authorization", token);
    let response = request.send().await.unwrap();
    let names = ["content-type", "content-length", "link", "etag", "cache-control"];
    let headers = names.into_iter().filter_map(|name| {
        let value = response.headers().get(name)?;
        Some((name.to_owned(), value.to_str().unwrap().to_owned()))
    });
    let headers = headers.collect();
    (response.status().as_u16(), headers, response.text().await.unwrap())
}

/// Every kind of change through the monolith's API, so that its own writes are compared too.
async fn change_some(client: &Client, mothership: &Running, oauth: impl Fn(i64) -> String) {
    for round in 0..40 {
        let (sender, recipient) = (round % 20 + 1, (round * 7) % 20 + 1);
        let body = json!({ "message": { "recipient_id": recipient, "subject": "s", "body": format!("b🌳 {round}") } });
        let create = client
            .post(format!("{}/messages", mothership.url))
            .header("authorization", oauth(sender));
        let created: Value = create.json(&body).send().await.unwrap().json().await.unwrap();
        let id = created["message"]["id"].as_i64().unwrap();
        let url = format!("{}/messages/{id}", mothership.url);
        let act = match round % 5 {
            0 => client
                .patch(&url)
                .json(&json!({ "message": { "body": "edited" } }))
                .header("authorization", oauth(sender)),
            1 => client.put(format!("{url}/read")).header("authorization", oauth(recipient)),
            2 => client.delete(&url).header("authorization", oauth(sender)),
            3 => client.delete(&url).header("authorization", oauth(recipient)),
            _ => continue,
        };
        assert!(act.send().await.unwrap().status().is_success(), "round {round}");
    }
}

#[tokio::test]
async fn the_service_answers_the_same_bytes_as_the_monolith_on_the_same_rows() {
    let folder = tempfile::tempdir().unwrap();
    let (client, passport) = (Client::new(), Passport::new(DEFAULT_SECRET));
    let oauth = |user: i64| format!("OAuth {}", passport.token(user));
    let mothership = Running::mothership(folder.path()).await;
    change_some(&client, &mothership, oauth).await;
    let messages = Running::messages(folder.path()).await;

    let mut compared = 0;
    for user in 1..=i64::from(USERS) {
        let mut paths = vec![format!("/users/{user}/messages/unread_count")];
        for list in ["messages", "conversations"] {
            for query in [
                "",
                "?page=2",
                "?page=2&per_page=5",
                "?per_page=100",
                "?page=0&per_page=x",
                "?page=99",
            ] {
                paths.push(format!("/users/{user}/{list}{query}"));
            }
        }
        for other in [1, 2, user, user % 20 + 1, (user * 7) % 120 + 1, 5_000] {
            paths.push(format!("/users/{user}/conversations/{other}"));
            paths.push(format!("/users/{user}/conversations/{other}?page=2&per_page=3"));
        }
        paths.extend((0..12).map(|step| format!("/messages/{}", user * 37 + step * 101)));
        paths.extend(
            (0..40)
                .filter(|_| user <= 20)
                .map(|step| format!("/messages/{}", i64::from(MESSAGES) + step)),
        );
        paths.push(format!("/users/{}/messages", user + 1));
        paths.push("/messages/x".to_owned());
        for path in paths {
            let expected = answer(&client, &mothership, &oauth(user), &path).await;
            let found = answer(&client, &messages, &oauth(user), &path).await;
            assert_eq!(found, expected, "user {user} {path}");
            compared += 1;
        }
    }
    assert!(compared > 4_000, "{compared}");
    drop(client);
    messages.end().await;
    mothership.end().await;
}
