//! A message that cannot be read neither blocks the queue nor vanishes.

use banyan_seams::events::broker::Message;
use fixture_consumers::App;
use serde_json::json;

use crate::world::{Running, World, body, legacy, on_both_brokers, outside};

on_both_brokers!(
    an_unreadable_message_is_put_aside_once_and_the_next_goes_on,
    with_no_room_aside_the_queue_is_held_and_goes_on_when_there_is_room,
);

fn unreadable(number: i64) -> Message {
    let mut message = legacy("message.sent", number);
    message.body = b"{\"type\": \"message.se".to_vec();
    message.header("x-trace", "t-1")
}

async fn an_unreadable_message_is_put_aside_once_and_the_next_goes_on(world: World) {
    let publisher = world.publisher().await;
    let push = world.run(App::PushNotifications).await;
    let mut nobody = body("message.sent", 3);
    nobody["data"] = json!({});
    let mut without_recipient = legacy("message.sent", 3);
    without_recipient.body = nobody.to_string().into_bytes();
    let mut nameless = legacy("message.sent", 4);
    nameless.properties.message_id = None;
    let half = legacy("message.sent", 5).header("cloudEvents_id", "5");
    let messages = [
        [legacy("message.sent", 1), unreadable(2), without_recipient, nameless, half].to_vec(),
        // Everything once more, as after a lost acknowledgement.
        vec![unreadable(2), legacy("message.sent", 6)],
    ];
    publisher.publish_all(messages.concat()).await.unwrap();
    let status = push.until_consumed(6).await;
    for (name, wanted) in [("poison", 4), ("effects", 2), ("duplicates", 1), ("notifications", 2)] {
        assert_eq!(status[name], wanted, "{name}: {status:#}");
    }
    assert_eq!(status["problem"], "4 unreadable messages are put aside, see /poison");
    assert_eq!(status["state"], "consuming");
    let aside = push.get("/poison").await.1;
    let reasons: Vec<&str> = aside["poison"]
        .as_array()
        .unwrap()
        .iter()
        .rev()
        .map(|row| row["reason"].as_str().unwrap())
        .collect();
    let wanted = ["no JSON object", "`data.recipient_id`", "no message_id", "no legal CloudEvent"];
    for (reason, wanted) in reasons.iter().zip(wanted) {
        assert!(reason.contains(wanted), "{reasons:?}");
    }
    assert_eq!(reasons.len(), 4);
    push.stop().await;
    // All of it is kept: headers and body, byte by byte.
    let mut database = outside(&world.database(App::PushNotifications)).await;
    let (body, properties): (Vec<u8>, String) =
        sqlx::query_as("SELECT body, properties FROM poison WHERE event_id = 'mothership-2'")
            .fetch_one(&mut database)
            .await
            .unwrap();
    assert_eq!(body, unreadable(2).body);
    let properties: banyan_seams::events::broker::Properties =
        serde_json::from_str(&properties).unwrap();
    assert!(properties.headers.unwrap().contains_key("x-trace"));
}

async fn with_no_room_aside_the_queue_is_held_and_goes_on_when_there_is_room(world: World) {
    let publisher = world.publisher().await;
    let mut args = world.args(App::Stats);
    args.poison_max = 2;
    let stats = Running::start(App::Stats, args, None).await;
    let messages = vec![
        unreadable(1),
        unreadable(2),
        legacy("message.sent", 3),
        unreadable(4),
        legacy("message.sent", 5),
    ];
    publisher.publish_all(messages).await.unwrap();
    let status = stats.until("it is held", |status| status["state"] == "waiting").await;
    let reason = status["reason"].as_str().unwrap();
    assert!(reason.contains("2 unreadable messages are put aside"), "{reason}");
    assert_eq!((&status["consumed"], &status["poison"]), (&json!(3), &json!(2)), "nothing is lost");
    let mut database = outside(&world.database(App::Stats)).await;
    sqlx::raw_sql("DELETE FROM poison").execute(&mut database).await.unwrap();
    let status = stats.until_consumed(5).await;
    assert_eq!((&status["effects"], &status["poison"]), (&json!(2), &json!(1)));
    stats.until("it goes on by itself", |status| status["state"] == "consuming").await;
    stats.stop().await;
}
