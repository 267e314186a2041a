//! The seeded world seen through HTTP: all views of the same messages agree.

use crate::world::{World, on_both};
use serde_json::Value;
use std::collections::BTreeMap;

on_both! { |args| { args.users = 40; args.messages = 2_500; };
    views_of_one_user_agree,
    seeded_people_are_as_the_contract_says,
}

async fn views_of_one_user_agree(world: World) {
    for user_id in [1, 2, 7, 39] {
        let inbox = walk(&world, user_id, &format!("/users/{user_id}/messages"), "messages").await;
        let partners =
            walk(&world, user_id, &format!("/users/{user_id}/conversations"), "conversations")
                .await;
        assert!(!inbox.is_empty() && !partners.is_empty());
        assert!(inbox.windows(2).all(|pair| id(&pair[0]) > id(&pair[1])), "newest first");
        let newest = |partner: &Value| id(&partner["last_message"]);
        assert!(partners.windows(2).all(|pair| newest(&pair[0]) > newest(&pair[1])));

        let mut received = BTreeMap::new();
        for partner in &partners {
            let path = format!("/users/{user_id}/conversations/{}", partner["with"]["id"]);
            let messages = walk(&world, user_id, &path, "messages").await;
            assert_eq!(partner["messages_count"], messages.len(), "{path}");
            assert_eq!(partner["last_message"], messages[0], "{path}");
            let to_me = |message: &&Value| message["recipient"]["id"] == user_id;
            let unread = messages.iter().filter(to_me).filter(|message| message["read"] == false);
            assert_eq!(partner["unread_count"], unread.count(), "{path}");
            received.extend(
                messages.iter().filter(to_me).map(|message| (id(message), message.clone())),
            );
        }
        let from_inbox: BTreeMap<_, _> =
            inbox.iter().map(|message| (id(message), message.clone())).collect();
        assert_eq!(received, from_inbox, "user {user_id}");
        let unread = inbox.iter().filter(|message| message["read"] == false).count();
        let path = format!("/users/{user_id}/messages/unread_count");
        assert_eq!(world.json(user_id, &path).await["unread_count"], unread);
    }
}

async fn seeded_people_are_as_the_contract_says(world: World) {
    let mut badges = 0;
    let mut faceless = 0;
    for id in 1..=40 {
        let user = world.json(id, &format!("/users/{id}")).await["user"].take();
        badges += usize::from(user.get("badge").is_some_and(|badge| badge == "pro"));
        faceless += usize::from(user["avatar_url"].is_null());
        assert!(user["permalink"].as_str().unwrap().ends_with(&format!("-{id}")));
    }
    assert!((1..=10).contains(&badges), "{badges} of 40 are pro");
    assert!((4..=22).contains(&faceless), "{faceless} of 40 have no avatar");
}

/// All pages of a list, checked against its total.
async fn walk(world: &World, user_id: i64, path: &str, key: &str) -> Vec<Value> {
    let mut rows = Vec::new();
    for page in 1.. {
        let mut list = world.json(user_id, &format!("{path}?per_page=50&page={page}")).await;
        let total = usize::try_from(list["total"].as_u64().unwrap()).unwrap();
        let some = list[key].as_array_mut().unwrap();
        if some.is_empty() {
            assert_eq!(rows.len(), total, "{path}");
            break;
        }
        rows.append(some);
    }
    rows
}

fn id(thing: &Value) -> i64 {
    thing["id"].as_i64().unwrap()
}
