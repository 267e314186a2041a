//! A write that the fence refuses has no effect and says so; the ids go on above the service's afterwards.

use crate::world::{World, on_both};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, MySqlConnection, SqliteConnection};

on_both! { |_| ();
    a_fenced_write_is_taken_back_and_says_which_context,
    other_contexts_go_on_while_one_is_fenced,
    ids_go_on_above_those_that_the_service_gave,
}

const OWNER: &str = "
CREATE TABLE banyan_owner (context VARCHAR(48) NOT NULL PRIMARY KEY, side VARCHAR(6) NOT NULL,
    state VARCHAR(8) NOT NULL, epoch BIGINT NOT NULL, ordering VARCHAR(7) NOT NULL);
INSERT INTO banyan_owner VALUES ('messages', 'legacy', 'open', 1, 'subject');
";
const TABLES: [&str; 3] = ["messages", "message_receipts", "message_threads"];
const EVENTS: [&str; 3] = ["INSERT", "UPDATE", "DELETE"];

/// One statement per element: the MySQL ones contain semicolons.
fn triggers(is_mysql: bool) -> Vec<String> {
    let each = TABLES.into_iter().flat_map(|table| EVENTS.map(|event| (table, event)));
    let trigger = |(table, event): (&str, &str)| {
        let head =
            format!("CREATE TRIGGER fence_{table}_{event} BEFORE {event} ON {table} FOR EACH ROW");
        if is_mysql {
            format!(
                "{head} BEGIN DECLARE found VARCHAR(8); DECLARE why VARCHAR(128); \
                 SELECT state INTO found FROM banyan_owner WHERE context = 'messages' LOCK IN SHARE MODE; \
                 IF found <> 'open' THEN \
                   SET why = CONCAT('banyan fence: context `messages` is ', found, ' on legacy'); \
                   SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 31001, MESSAGE_TEXT = why; END IF; END"
            )
        } else {
            format!(
                "{head} WHEN (SELECT state FROM banyan_owner WHERE context = 'messages') <> 'open' BEGIN \
                 SELECT RAISE(ABORT, 'banyan fence: context `messages` is closed on legacy'); END"
            )
        }
    };
    each.map(trigger).collect()
}

async fn run(world: &World, statements: &[String]) {
    let database = &world.args.database;
    if database.starts_with("mysql") {
        let mut connection = MySqlConnection::connect(database).await.unwrap();
        for statement in statements {
            let sql = AssertSqlSafe(statement.clone());
            sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        }
    } else {
        let mut connection = SqliteConnection::connect(database).await.unwrap();
        for statement in statements {
            let sql = AssertSqlSafe(statement.clone());
            sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        }
    }
}

async fn count(world: &World, table: &str) -> i64 {
    let sql = AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}"));
    let database = &world.args.database;
    if database.starts_with("mysql") {
        let mut connection = MySqlConnection::connect(database).await.unwrap();
        sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
    } else {
        let mut connection = SqliteConnection::connect(database).await.unwrap();
        sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
    }
}

/// Installs the fence, open.
async fn install(world: &World) {
    run(world, &[OWNER.to_owned()]).await;
    run(world, &triggers(world.args.database.starts_with("mysql"))).await;
}

async fn set(world: &World, state: &str) {
    run(world, &[format!("UPDATE banyan_owner SET state = '{state}'")]).await;
}

async fn counts(world: &World) -> Vec<i64> {
    let mut counts = Vec::new();
    for table in TABLES.into_iter().chain(["audits"]) {
        counts.push(count(world, table).await);
    }
    counts
}

async fn a_fenced_write_is_taken_back_and_says_which_context(world: World) {
    install(&world).await;
    world.send(3, 17, "open").await;
    let before = (counts(&world).await, world.text(17, "/messages/1").await);
    for state in ["draining", "shut", "barred"] {
        set(&world, state).await;
        let create = json!({ "message": { "recipient_id": 17, "body": "x" } });
        let reply = json!({ "message": { "recipient_id": 17, "body": "x", "parent_id": 1 } });
        let edit = json!({ "message": { "body": "edited" } });
        for (user, method, path, body) in [
            (3, Method::POST, "/messages", create),
            (3, Method::POST, "/messages", reply),
            (3, Method::PATCH, "/messages/1", edit),
            (17, Method::PUT, "/messages/1/read", json!({})),
            (17, Method::DELETE, "/messages/1", json!({})),
        ] {
            let response = world.api(method, user, path).json(&body).send().await.unwrap();
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
            assert_eq!(response.headers()["retry-after"], "1");
            assert_eq!(response.headers()["x-banyan-fenced"], "messages");
            let body = response.text().await.unwrap();
            assert_eq!(body, r#"{"status":"503","error":"mothership does not own this context"}"#);
        }
        assert_eq!((counts(&world).await, world.text(17, "/messages/1").await), before);
    }
    let status = world.json(3, "/status").await;
    assert_eq!((&status["events_pending"], &status["events_lost"]), (&json!(0), &json!(0)));
    // Nobody who was refused holds the fence: it opens at once, and the next write goes through.
    set(&world, "open").await;
    let (status, read) = world.act(Method::PUT, 17, "/messages/1/read").await;
    assert_eq!((status, &read["message"]["read"]), (200, &json!(true)));
}

async fn other_contexts_go_on_while_one_is_fenced(world: World) {
    install(&world).await;
    set(&world, "draining").await;
    let track = json!({ "track": { "title": "Demo" } });
    let response = world.api(Method::POST, 4, "/tracks").json(&track).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::CREATED);
    assert!(!response.headers().contains_key("x-banyan-fenced"));
    assert_eq!(world.json(17, "/users/17/messages").await["total"], 0, "reads are not fenced");
}

/// While the service owns the context, the sync brings its rows with the service's ids.
async fn ids_go_on_above_those_that_the_service_gave(mut world: World) {
    let first = world.send(3, 17, "before").await;
    assert_eq!((&first["id"], &first["thread_id"]), (&json!(1), &json!(1)));
    let now = "'2026-01-02 03:04:05'";
    run(
        &world,
        &[
            format!("INSERT INTO message_threads (id, creator_id, created_at, updated_at) VALUES (500, 3, {now}, {now})"),
            format!(
                "INSERT INTO messages (id, thread_id, sender_id, recipient_id, body, created_at, updated_at) \
                 VALUES (900, 500, 3, 17, 'of the service', {now}, {now})"
            ),
            // Deleted again there and so here: the id is spent all the same.
            format!(
                "INSERT INTO messages (id, thread_id, sender_id, recipient_id, body, created_at, updated_at) \
                 VALUES (901, 500, 3, 17, 'gone', {now}, {now})"
            ),
            "DELETE FROM messages WHERE id = 901".to_owned(),
        ],
    )
    .await;
    let next: Value = world.send(3, 17, "after").await;
    assert_eq!((&next["id"], &next["thread_id"]), (&json!(902), &json!(501)));
    world.restart().await;
    let next: Value = world.send(3, 17, "after a restart").await;
    assert_eq!((&next["id"], &next["thread_id"]), (&json!(903), &json!(502)));
}
