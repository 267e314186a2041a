//! The same requests to the monolith and to the service, both with the same people: the same answers to the byte.

use crate::world::{Place, World, answer, on_both};
use fixture_messages::create_schema;
use fixture_mothership::{Mothership, MothershipArgs};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, SqliteConnection};
use tokio::sync::oneshot;

on_both!(
    every_write_answers_as_the_monolith_to_the_byte,
    pages_of_the_monolith_may_post_here,
    a_text_with_a_nul_character_is_a_bad_request,
);

/// One request of the script: who, what, with which body.
#[derive(Clone)]
struct Ask {
    user: i64,
    method: Method,
    path: String,
    content: Content,
}

#[derive(Clone)]
enum Content {
    Nothing,
    Json(Value),
    Form(&'static str),
    Raw(&'static str, Vec<u8>),
}

fn ask(user: i64, method: &str, path: &str, content: Content) -> Ask {
    Ask { user, method: method.parse().unwrap(), path: path.to_owned(), content }
}

fn create(user: i64, message: &Value) -> Ask {
    ask(user, "POST", "/messages", Content::Json(json!({ "message": message })))
}

fn edit(user: i64, id: i64, body: &str) -> Ask {
    let content = Content::Json(json!({ "message": { "body": body } }));
    ask(user, "PATCH", &format!("/messages/{id}"), content)
}

fn plain(user: i64, method: &str, path: &str) -> Ask {
    ask(user, method, path, Content::Nothing)
}

/// Messages 1 to 9 come to be; the texts say which.
fn sent() -> Vec<Ask> {
    let text = |count: usize| "é".repeat(count);
    vec![
        create(1, &json!({ "recipient_id": 2, "subject": "Hi", "body": "1: <b>café</b> 🌳" })),
        create(
            2,
            &json!({ "recipient_id": 1, "subject": "not mine", "body": "2: reply", "parent_id": 1 }),
        ),
        ask(
            2,
            "POST",
            "/messages",
            Content::Form(
                "message[recipient_id]=1&message[body]=3%3A+form%26&message[parent_id]=2",
            ),
        ),
        create(
            2,
            &json!({ "recipient_id": 3, "body": "4: a thread goes on with another", "parent_id": "1" }),
        ),
        create(1, &json!({ "recipient_id": 1, "subject": "", "body": "5: to myself" })),
        create(
            3,
            &json!({ "recipient_id": "1", "subject": text(255), "body": text(10_000), "parent_id": "" }),
        ),
        create(3, &json!({ "recipient_id": 1, "subject": 7, "body": "7: no subject" })),
        create(1, &json!({ "recipient_id": 2, "body": "8", "parent_id": null })),
        create(1, &json!({ "recipient_id": 4, "subject": "  s  ", "body": "  9\n" })),
    ]
}

/// None of these takes an id.
fn refused() -> Vec<Ask> {
    let text = |count: usize| "é".repeat(count);
    vec![
        create(3, &json!({ "recipient_id": 1, "body": "x", "parent_id": 1 })),
        create(1, &json!({ "recipient_id": 1, "body": "x", "parent_id": 999 })),
        create(1, &json!({ "recipient_id": 1, "body": "x", "parent_id": "first" })),
        create(1, &json!({ "recipient_id": 999, "body": "x" })),
        create(1, &json!({ "body": " \n" })),
        create(
            1,
            &json!({ "recipient_id": [2], "subject": text(256), "body": text(10_001), "parent_id": {} }),
        ),
        create(999, &json!({ "recipient_id": 1, "body": "from nobody" })),
        create(1, &json!("hello")),
        plain(1, "POST", "/messages"),
        ask(1, "POST", "/messages", Content::Json(json!({ "text": 1 }))),
        ask(1, "POST", "/messages", Content::Form("a=b")),
        ask(1, "POST", "/messages", Content::Raw("application/json", b"{\"message\":".to_vec())),
        ask(1, "POST", "/messages", Content::Raw("application/json", b"[1]".to_vec())),
        ask(1, "POST", "/messages", Content::Raw("application/json", vec![b' '; (1 << 20) + 1])),
        ask(1, "POST", "/nothing", Content::Raw("application/json", b"[".to_vec())),
    ]
}

/// Edits are the writer's, reading is the recipient's and counts the first time.
fn edited_and_read() -> Vec<Ask> {
    vec![
        edit(1, 1, "1: edited 東京"),
        edit(1, 1, "1: edited 東京"),
        edit(2, 1, "not mine"),
        edit(3, 1, "not to be seen"),
        edit(1, 999, "nothing"),
        edit(1, 1, " "),
        edit(1, 1, &"é".repeat(10_001)),
        plain(1, "PATCH", "/messages/1"),
        plain(2, "PATCH", "/messages/1"),
        ask(1, "PUT", "/messages/1.json", Content::Form("message[body]=by+put")),
        ask(
            1,
            "POST",
            "/messages/8/",
            Content::Form("_method=patch&message%5Bbody%5D=8%3A+by+form"),
        ),
        plain(2, "PUT", "/messages/1/read"),
        plain(2, "PUT", "/messages/1/read"),
        plain(1, "PUT", "/messages/1/read"),
        plain(3, "PUT", "/messages/1/read"),
        plain(1, "PUT", "/messages/5/read"),
        plain(1, "PUT", "/messages/999/read"),
        ask(1, "POST", "/messages/2/read", Content::Form("_method=put")),
        ask(1, "PUT", "/messages/3/read", Content::Raw("application/json", b"{".to_vec())),
    ]
}

/// Deleting is for the caller only.
fn deleted() -> Vec<Ask> {
    vec![
        plain(1, "DELETE", "/messages/1"),
        plain(1, "DELETE", "/messages/1"),
        plain(1, "GET", "/messages/1"),
        plain(2, "GET", "/messages/1"),
        edit(1, 1, "deleted"),
        create(
            1,
            &json!({ "recipient_id": 2, "body": "10: answers what I deleted", "parent_id": 1 }),
        ),
        plain(1, "DELETE", "/messages/5"),
        plain(1, "DELETE", "/messages/6"),
        plain(3, "GET", "/messages/6"),
        plain(3, "DELETE", "/messages/6"),
        plain(4, "DELETE", "/messages/6"),
        ask(2, "POST", "/messages/8", Content::Form("_method=delete")),
        plain(1, "DELETE", "/messages/999"),
    ]
}

/// All that anybody can read afterwards.
fn reads() -> Vec<Ask> {
    let mut reads = Vec::new();
    for user in 1..=5 {
        for path in ["messages", "conversations", "messages/unread_count"] {
            reads.push(plain(user, "GET", &format!("/users/{user}/{path}")));
        }
        for other in 1..=5 {
            reads.push(plain(user, "GET", &format!("/users/{user}/conversations/{other}")));
        }
        reads.extend((1..=12).map(|id| plain(user, "GET", &format!("/messages/{id}"))));
    }
    reads
}

/// A monolith without messages, whose people the service gets.
struct Legacy {
    url: String,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

async fn both(place: Place) -> (Legacy, World) {
    let file = place.folder.path().join("legacy.db").display().to_string();
    let args =
        MothershipArgs { users: 8, messages: 0, ..MothershipArgs::on(format!("sqlite:{file}")) };
    let mothership = Mothership::open(&args).await.unwrap();
    let url = format!("http://{}", mothership.address());
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(async move {
        mothership.serve(async { drop(stopped.await) }).await.unwrap();
    });
    create_schema(&place.url).await.unwrap();
    let mut legacy = SqliteConnection::connect(&format!("sqlite:{file}")).await.unwrap();
    let people = "SELECT '(' || id || ',' || quote(permalink) || ',' || quote(username) || ',' || \
                  quote(avatar_url) || ',' || quote(plan) || ')' FROM users";
    let people: Vec<String> =
        sqlx::query_scalar(AssertSqlSafe(people)).fetch_all(&mut legacy).await.unwrap();
    let insert = "INSERT INTO people (id, permalink, username, avatar_url, plan) VALUES";
    place.run(&format!("{insert} {}", people.join(","))).await;
    place.enrol("open").await;
    (Legacy { url, stop, task }, World::serve(place, None).await)
}

fn request(world: &World, site: &str, ask: &Ask) -> RequestBuilder {
    let token = format!("OAuth {}", world.passport.token(ask.user));
    let url = format!("{site}{}", ask.path);
    let request = world.client.request(ask.method.clone(), url).header("authorization", token);
    match &ask.content {
        Content::Nothing => request,
        Content::Json(value) => request.json(value),
        Content::Form(text) => {
            request.header("content-type", "application/x-www-form-urlencoded").body(*text)
        }
        Content::Raw(kind, bytes) => request.header("content-type", *kind).body(bytes.clone()),
    }
}

/// Status, the headers that count, and the body; a time is only said to be one, for a second may pass in between.
async fn seen(request: RequestBuilder) -> (u16, Vec<(String, String)>, String) {
    let response = request.send().await.unwrap();
    let names =
        ["content-type", "content-length", "link", "location", "cache-control", "retry-after"];
    let headers = names.into_iter().filter_map(|name| {
        let value = response.headers().get(name)?;
        Some((name.to_owned(), value.to_str().unwrap().to_owned()))
    });
    let mut headers: Vec<_> = headers.collect();
    headers.push(("etag".to_owned(), response.headers().contains_key("etag").to_string()));
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, headers, without_times(&text))
}

/// `2026/01/02 03:04:05 +0000`, recognised by its end.
fn without_times(text: &str) -> String {
    let mut kept = String::new();
    for piece in text.split_inclusive(" +0000\"") {
        match piece.strip_suffix(" +0000\"") {
            Some(before) => {
                let (text, time) = before.split_at(before.len() - "2026/01/02 03:04:05".len());
                assert!(time.chars().all(|c| c.is_ascii_digit() || "/: ".contains(c)), "{time}");
                kept.push_str(text);
                kept.push_str("TIME\"");
            }
            None => kept.push_str(piece),
        }
    }
    kept
}

async fn every_write_answers_as_the_monolith_to_the_byte(place: Place) {
    let (legacy, world) = both(place).await;
    let script = [sent(), refused(), edited_and_read(), deleted(), reads()].concat();
    for (step, ask) in script.iter().enumerate() {
        let expected = seen(request(&world, &legacy.url, ask)).await;
        let found = seen(request(&world, &world.url, ask)).await;
        assert_eq!(found, expected, "step {step}: user {} {} {}", ask.user, ask.method, ask.path);
    }
    assert_eq!(world.place.count("chat_messages").await, 10);
    assert_eq!(world.place.wrong_conversations().await, [""; 0]);
    let of = "SELECT thread_id || ' ' || subject FROM chat_messages WHERE id IN (2, 3, 4, 10) ORDER BY id";
    assert_eq!(world.place.texts(of).await, ["1 Hi"; 4], "a reply takes thread and subject");
    drop(world.end().await);
    legacy.stop.send(()).unwrap();
    legacy.task.await.unwrap();
}

/// The one text that the monolith stores and the service does not.
async fn a_text_with_a_nul_character_is_a_bad_request(place: Place) {
    let world = World::owner(place).await;
    assert_eq!(world.create(1, 2, "a").await.0, StatusCode::CREATED);
    assert_eq!(world.create(1, 2, "a\0b").await.0, StatusCode::BAD_REQUEST);
    let edit = json!({ "message": { "body": "\0" } });
    let edited = answer(world.request(Method::PATCH, 1, "/messages/1").json(&edit)).await;
    assert_eq!(edited.0, StatusCode::BAD_REQUEST);
    assert_eq!(world.place.count("chat_messages WHERE body = 'a'").await, 1);
    world.end().await;
}

async fn pages_of_the_monolith_may_post_here(place: Place) {
    let (legacy, world) = both(place).await;
    let forms = [
        "message[recipient_id]=2&message[body]=x&return_to=/inbox/2?page=2",
        "message[recipient_id]=2&message[body]=x&return_to=//evil.example",
        "message[recipient_id]=2&message[body]=x&return_to=https://evil.example",
        "message[recipient_id]=2&message[body]=x&return_to=inbox",
        "message[recipient_id]=2&message[body]=&return_to=/inbox/2",
    ];
    let mut found = Vec::new();
    for form in forms {
        let ask = ask(1, "POST", "/messages", Content::Form(form));
        let expected = seen(request(&world, &legacy.url, &ask)).await;
        found.push(seen(request(&world, &world.url, &ask)).await);
        assert_eq!(found.last(), Some(&expected), "{form}");
    }
    let statuses: Vec<u16> = found.iter().map(|(status, ..)| *status).collect();
    assert_eq!(statuses, [303, 201, 201, 201, 422]);
    let location = ("location".to_owned(), "/inbox/2?page=2".to_owned());
    assert!(found[0].1.contains(&location), "{:?}", found[0]);
    drop(world.end().await);
    legacy.stop.send(()).unwrap();
    legacy.task.await.unwrap();
}
