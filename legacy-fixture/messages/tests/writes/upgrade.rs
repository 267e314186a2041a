//! A database from before the service wrote is brought to what it needs, with its rows and its triggers.

use crate::world::{Place, World, on_both};
use fixture_messages::create_schema;
use reqwest::StatusCode;
use serde_json::json;

on_both!(an_older_database_keeps_its_rows_and_triggers_and_gives_new_ids);

const OLD: &str = "
CREATE TABLE chat_messages (
    id {id} PRIMARY KEY, conversation_id TEXT NOT NULL, thread_id BIGINT NOT NULL, parent_id BIGINT, subject TEXT,
    author_id BIGINT NOT NULL, recipient_id BIGINT NOT NULL, body TEXT NOT NULL, sent_at {time} NOT NULL,
    edited_at {time}, read_at {time}, changed_at {time} NOT NULL,
    hidden_for_author {flag} NOT NULL DEFAULT {no}, hidden_for_recipient {flag} NOT NULL DEFAULT {no});
CREATE INDEX of_an_operator ON chat_messages (sent_at);
CREATE TABLE captured (id BIGINT);
INSERT INTO chat_messages (id, conversation_id, thread_id, author_id, recipient_id, body, sent_at, changed_at)
VALUES (70, '1:2', 9, 1, 2, 'old', '2014-06-12 10:00:00', '2014-06-12 10:00:00');
";
const SQLITE_TRIGGER: &str = "
CREATE TRIGGER capture AFTER INSERT ON chat_messages BEGIN INSERT INTO captured VALUES (NEW.id); END;
CREATE TRIGGER other AFTER INSERT ON captured BEGIN UPDATE chat_messages SET subject = subject WHERE id = NEW.id; END;";
const POSTGRES_TRIGGER: &str = "
CREATE FUNCTION capture() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO captured VALUES (NEW.id); RETURN NEW; END $$;
CREATE TRIGGER capture AFTER INSERT ON chat_messages FOR EACH ROW EXECUTE FUNCTION capture();";

async fn an_older_database_keeps_its_rows_and_triggers_and_gives_new_ids(place: Place) {
    let (id, time, flag, no) = if place.is_postgres() {
        ("BIGINT", "TIMESTAMP", "BOOLEAN", "FALSE")
    } else {
        ("INTEGER", "TEXT", "INTEGER", "0")
    };
    let old = OLD.replace("{id}", id).replace("{time}", time);
    place.run(&old.replace("{flag}", flag).replace("{no}", no)).await;
    place.run(if place.is_postgres() { POSTGRES_TRIGGER } else { SQLITE_TRIGGER }).await;
    create_schema(&place.url).await.unwrap();
    create_schema(&place.url).await.unwrap();
    assert_eq!(place.count("captured").await, 0, "moving rows is no change");
    let world = World::start(place, None).await;
    world.place.enrol("open").await;
    let (status, created) = world.create(1, 2, "new").await;
    assert_eq!((status, &created["message"]["id"]), (StatusCode::CREATED, &json!(71)));
    let rows = world.place.texts("SELECT id || ' ' || body FROM chat_messages ORDER BY id").await;
    assert_eq!(rows, ["70 old", "71 new"]);
    assert_eq!(world.place.texts("SELECT CAST(id AS TEXT) FROM captured").await, ["71"]);
    assert_eq!(world.place.wrong_conversations().await, [""; 0]);
    let indexes = if world.place.is_postgres() {
        "pg_indexes WHERE indexname IN ('of_an_operator', 'chat_messages_received')"
    } else {
        "sqlite_master WHERE name IN ('of_an_operator', 'chat_messages_received')"
    };
    assert_eq!(world.place.count(indexes).await, 2);
    world.end().await;
}
