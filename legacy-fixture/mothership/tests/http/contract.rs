//! The public contract of the context `messages`, through HTTP, on SQLite and on MariaDB when a server is named.

use crate::world::{World, on_both};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

on_both! { |_| ();
    message_has_the_contracts_shape_and_key_order,
    inbox_is_newest_first_without_deleted_ones,
    conversations_count_only_what_the_caller_sees,
    self_message_is_one_conversation_with_oneself,
    reply_takes_thread_and_subject_of_its_parent,
    edit_read_and_delete_move_updated_at,
    only_the_right_person_may_act,
    blank_body_and_unknown_recipient_are_422,
    callers_are_checked_before_rows,
    text_is_utf8_as_stored,
    pages_link_to_each_other,
}

async fn message_has_the_contracts_shape_and_key_order(world: World) {
    let body = json!({ "message": { "recipient_id": 17, "subject": "Hi", "body": "ho", "parent_id": null } });
    let response = world.api(Method::POST, 3, "/messages").json(&body).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::CREATED);
    assert_eq!(response.headers()["location"], "/messages/1");
    assert_eq!(response.headers()["content-type"], "application/json; charset=utf-8");
    let text = response.text().await.unwrap();
    let message: Value = serde_json::from_str::<Value>(&text).unwrap()["message"].take();
    let at = message["created_at"].as_str().unwrap();
    assert_eq!(at.len(), "2014/06/12 10:00:00 +0000".len(), "{at}");
    let users = [message["sender"].to_string(), message["recipient"].to_string()];
    for user in &users {
        let keys: Vec<_> = serde_json::from_str::<Value>(user)
            .unwrap()
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect();
        assert_eq!(keys[..5], ["id", "permalink", "username", "avatar_url", "uri"]);
        assert!(keys[5..].is_empty() || keys[5..] == ["badge"], "{keys:?}");
    }
    let expected = format!(
        r#"{{"message":{{"id":1,"thread_id":1,"parent_id":null,"subject":"Hi","body":"ho","sender":{},"recipient":{},"read":false,"read_at":null,"edited_at":null,"created_at":"{at}","updated_at":"{at}","uri":"/messages/1"}}}}"#,
        users[0], users[1]
    );
    assert_eq!(text, expected);
    assert_eq!(world.text(17, "/messages/1").await, expected);
    assert_eq!(
        world.text(3, "/users/3/messages/unread_count").await,
        r#"{"user_id":3,"unread_count":0}"#
    );
    let list = world.text(17, "/users/17/messages").await;
    assert_eq!(list, format!(r#"{{"messages":[{message}],"page":1,"per_page":20,"total":1}}"#));
    let conversations = world.text(17, "/users/17/conversations").await;
    assert_eq!(
        conversations,
        format!(
            r#"{{"conversations":[{{"id":"3:17","with":{},"last_message":{message},"messages_count":1,"unread_count":1}}],"page":1,"per_page":20,"total":1}}"#,
            users[0]
        )
    );
    let conversation = world.text(3, "/users/3/conversations/17").await;
    assert_eq!(
        conversation,
        format!(
            r#"{{"conversation":{{"id":"3:17","with":{}}},"messages":[{message}],"page":1,"per_page":20,"total":1}}"#,
            users[1]
        )
    );
}

async fn inbox_is_newest_first_without_deleted_ones(world: World) {
    for body in ["one", "two", "three"] {
        world.send(3, 17, body).await;
    }
    world.send(17, 3, "an answer is not in the inbox of its writer").await;
    assert_eq!(world.act(Method::DELETE, 17, "/messages/2").await.0, 204);
    let inbox = world.json(17, "/users/17/messages").await;
    assert_eq!(bodies(&inbox), ["three", "one"]);
    assert_eq!(inbox["total"], 2);
    assert_eq!(world.act(Method::DELETE, 17, "/messages/2").await.0, 404, "gone for the caller");
    assert_eq!(world.get(17, "/messages/2").await.status(), 404);
    assert_eq!(world.get(3, "/messages/2").await.status(), 200, "there for the other");
    assert_eq!(world.json(17, "/users/17/messages/unread_count").await["unread_count"], 2);
}

async fn conversations_count_only_what_the_caller_sees(world: World) {
    world.send(3, 17, "a").await;
    world.send(17, 3, "b").await;
    world.send(5, 3, "c").await;
    world.send(3, 17, "d").await;
    assert_eq!(world.act(Method::DELETE, 3, "/messages/4").await.0, 204);
    let mine = world.json(3, "/users/3/conversations").await;
    let shown: Vec<_> = mine["conversations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|partner| {
            let last = partner["last_message"]["body"].as_str().unwrap().to_owned();
            (
                partner["id"].to_string(),
                last,
                partner["messages_count"].clone(),
                partner["unread_count"].clone(),
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            ("\"3:5\"".to_owned(), "c".to_owned(), json!(1), json!(1)),
            ("\"3:17\"".to_owned(), "b".to_owned(), json!(2), json!(1)),
        ]
    );
    let theirs = world.json(17, "/users/17/conversations").await;
    assert_eq!(theirs["conversations"][0]["last_message"]["body"], "d");
    assert_eq!(theirs["conversations"][0]["messages_count"], 3);
    assert_eq!(theirs["conversations"][0]["unread_count"], 2);

    assert_eq!(world.act(Method::DELETE, 3, "/messages/3").await.0, 204);
    assert_eq!(world.json(3, "/users/3/conversations").await["total"], 1, "no empty partners");
    let empty = world.json(3, "/users/3/conversations/5").await;
    assert_eq!((empty["total"].clone(), empty["messages"].clone()), (json!(0), json!([])));
    assert_eq!(world.get(3, "/users/3/conversations/9999").await.status(), 404);
}

async fn self_message_is_one_conversation_with_oneself(world: World) {
    world.send(3, 3, "note").await;
    assert_eq!(world.json(3, "/users/3/messages").await["total"], 1);
    assert_eq!(world.json(3, "/users/3/messages/unread_count").await["unread_count"], 1);
    let conversations = world.json(3, "/users/3/conversations").await;
    assert_eq!(conversations["conversations"][0]["id"], "3:3");
    assert_eq!(conversations["conversations"][0]["messages_count"], 1);
    assert_eq!(conversations["conversations"][0]["unread_count"], 1);
    assert_eq!(world.json(3, "/users/3/conversations/3").await["total"], 1);
    assert_eq!(world.act(Method::PUT, 3, "/messages/1/read").await.1["message"]["read"], true);
    assert_eq!(world.json(3, "/users/3/messages/unread_count").await["unread_count"], 0);
    assert_eq!(world.act(Method::DELETE, 3, "/messages/1").await.0, 204);
    assert_eq!(world.get(3, "/messages/1").await.status(), 404);
    assert_eq!(world.json(3, "/users/3/conversations").await["total"], 0);
}

async fn reply_takes_thread_and_subject_of_its_parent(world: World) {
    let first = world.send(3, 17, "a").await;
    let reply =
        json!({ "recipient_id": 3, "subject": "ignored", "body": "b", "parent_id": first["id"] });
    let reply = world.create(17, reply).await;
    assert_eq!(reply["thread_id"], first["thread_id"]);
    assert_eq!(reply["parent_id"], first["id"]);
    assert_eq!(reply["subject"], "Hi");
    assert_ne!(world.send(3, 17, "new").await["thread_id"], first["thread_id"]);
    let stranger =
        json!({ "message": { "recipient_id": 3, "body": "b", "parent_id": first["id"] } });
    let refused = world.api(Method::POST, 5, "/messages").json(&stranger).send().await.unwrap();
    assert_eq!(refused.text().await.unwrap(), r#"{"errors":{"parent":["must exist"]}}"#);
}

async fn edit_read_and_delete_move_updated_at(world: World) {
    let sent = world.send(3, 17, "a").await;
    let body = json!({ "message": { "body": "b" } });
    let edited = world.api(Method::PATCH, 3, "/messages/1").json(&body).send().await.unwrap();
    assert_eq!(edited.status(), 200);
    let edited = edited.json::<Value>().await.unwrap()["message"].take();
    assert_eq!(edited["body"], "b");
    assert!(edited["edited_at"].as_str().unwrap() >= sent["created_at"].as_str().unwrap());
    assert_eq!(edited["updated_at"], edited["edited_at"]);
    assert_eq!(edited["read"], false);

    let (status, read) = world.act(Method::PUT, 17, "/messages/1/read").await;
    assert_eq!((status, &read["message"]["read"]), (200, &json!(true)));
    assert_eq!(read["message"]["updated_at"], read["message"]["read_at"]);
    let (status, again) = world.act(Method::PUT, 17, "/messages/1/read").await;
    assert_eq!((status, again), (200, read), "idempotent");
}

async fn only_the_right_person_may_act(world: World) {
    world.send(3, 17, "a").await;
    let body = json!({ "message": { "body": "b" } });
    let edit = |user_id| world.api(Method::PATCH, user_id, "/messages/1").json(&body).send();
    assert_eq!(edit(17).await.unwrap().status(), 403);
    assert_eq!(edit(5).await.unwrap().status(), 404);
    assert_eq!(world.act(Method::PUT, 3, "/messages/1/read").await.0, 403);
    assert_eq!(world.act(Method::PUT, 5, "/messages/1/read").await.0, 404);
    assert_eq!(world.act(Method::DELETE, 5, "/messages/1").await.0, 404);
    assert_eq!(world.get(5, "/messages/1").await.status(), 404);
    assert_eq!(
        world.json(17, "/messages/1").await["message"]["updated_at"],
        world.json(17, "/messages/1").await["message"]["created_at"]
    );
}

async fn blank_body_and_unknown_recipient_are_422(world: World) {
    let refused = async |message: Value| {
        let request = world.api(Method::POST, 3, "/messages").json(&json!({ "message": message }));
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    assert_eq!(
        refused(json!({ "recipient_id": 17, "body": " " })).await,
        (422, r#"{"errors":{"body":["can't be blank"]}}"#.to_owned())
    );
    assert_eq!(
        refused(json!({ "recipient_id": 99_999, "body": "a" })).await,
        (422, r#"{"errors":{"recipient":["must exist"]}}"#.to_owned())
    );
    assert_eq!(
        refused(json!({})).await,
        (422, r#"{"errors":{"body":["can't be blank"],"recipient":["must exist"]}}"#.to_owned())
    );
    let long =
        json!({ "recipient_id": 17, "body": "ä".repeat(10_001), "subject": "s".repeat(256) });
    assert_eq!(refused(long).await.0, 422);
    world.send(3, 17, "kept").await;
    let request =
        world.api(Method::PATCH, 3, "/messages/1").json(&json!({ "message": { "body": "" } }));
    assert_eq!(request.send().await.unwrap().status(), 422);
    let nothing = world.api(Method::POST, 3, "/messages").json(&json!({})).send().await.unwrap();
    assert_eq!(nothing.status(), 400);
    assert_eq!(world.json(17, "/users/17/messages").await["total"], 1);
}

async fn callers_are_checked_before_rows(world: World) {
    for path in [
        "/users/3/messages",
        "/users/3/conversations",
        "/users/3/conversations/9999",
        "/messages/1",
    ] {
        let response = world.anonymous(Method::GET, path).send().await.unwrap();
        assert_eq!(response.status(), 401, "{path}");
        assert_eq!(response.text().await.unwrap(), r#"{"status":"401","error":"Unauthorized"}"#);
    }
    for path in
        ["/users/3/messages", "/users/3/messages/unread_count", "/users/3/conversations/9999"]
    {
        let response = world.get(4, path).await;
        assert_eq!(response.status(), 403, "{path}");
        assert_eq!(response.text().await.unwrap(), r#"{"status":"403","error":"Forbidden"}"#);
    }
    for path in [
        "/messages/1",
        "/messages/x",
        "/users/x/messages",
        "/nothing",
        "/messages/99999999999999999999",
    ] {
        let response = world.get(3, path).await;
        assert_eq!(response.status(), 404, "{path}");
        assert_eq!(response.text().await.unwrap(), r#"{"status":"404","error":"Not Found"}"#);
    }
    assert_eq!(world.act(Method::PATCH, 3, "/users/3/messages").await.0, 404, "no such route");
}

async fn text_is_utf8_as_stored(world: World) {
    for body in ["👩‍🎤 🇩🇪", "cafÃ© — naÃ¯ve", "a \"quote\" <b>&amp;\\ \u{1F600}\n\ttab", "音楽"]
    {
        let sent = world.send(3, 17, body).await;
        assert_eq!(sent["body"], body);
        let shown = world.text(17, sent["uri"].as_str().unwrap()).await;
        assert!(shown.contains(&serde_json::to_string(body).unwrap()), "{shown}");
    }
}

async fn pages_link_to_each_other(world: World) {
    for number in 0..7 {
        world.send(3, 17, &number.to_string()).await;
    }
    let page = async |query: &str| {
        let response = world.get(17, &format!("/users/17/messages{query}")).await;
        let link = response.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
        (link, response.json::<Value>().await.unwrap())
    };
    let (link, first) = page("?per_page=3").await;
    assert_eq!(bodies(&first), ["6", "5", "4"]);
    assert_eq!(
        link.unwrap(),
        "</users/17/messages?page=2&per_page=3>; rel=\"next\", </users/17/messages?page=3&per_page=3>; rel=\"last\""
    );
    let (_, last) = page("?per_page=3&page=3").await;
    assert_eq!((bodies(&last), &last["page"]), (vec!["0".to_owned()], &json!(3)));
    let (link, beyond) = page("?page=9").await;
    assert_eq!((bodies(&beyond), &beyond["total"]), (vec![], &json!(7)));
    assert!(link.unwrap().contains("rel=\"prev\""));
    let (link, all) = page("?page=x&per_page=1000").await;
    assert_eq!((link, all["page"].clone(), all["per_page"].clone()), (None, json!(1), json!(100)));
    let (_, paged) = {
        let response = world.get(3, "/users/3/conversations/17?per_page=2&page=2").await;
        (response.status(), response.json::<Value>().await.unwrap())
    };
    assert_eq!(
        (bodies(&paged), &paged["total"]),
        (vec!["4".to_owned(), "3".to_owned()], &json!(7))
    );
}

fn bodies(list: &Value) -> Vec<String> {
    let messages = list["messages"].as_array().unwrap();
    messages.iter().map(|message| message["body"].as_str().unwrap().to_owned()).collect()
}
