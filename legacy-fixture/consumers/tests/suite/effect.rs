//! One effect per event, however often and in whatever form it is delivered.

use banyan_seams::events::envelope::Mode;
use fixture_consumers::App;
use serde_json::json;

use crate::world::{World, body, cloud, legacy, on_both_brokers};

on_both_brokers!(
    a_recipient_is_notified_once_however_often_the_message_is_delivered,
    a_day_is_counted_once_however_often_its_events_are_delivered,
    a_queue_keeps_what_comes_while_nobody_consumes,
);

async fn a_recipient_is_notified_once_however_often_the_message_is_delivered(world: World) {
    let publisher = world.publisher().await;
    let push = world.run(App::PushNotifications).await;
    let mut to_oneself = body("message.sent", 2);
    to_oneself["data"]["recipient_id"] = json!(3);
    let mut own = legacy("message.sent", 2);
    own.body = to_oneself.to_string().into_bytes();
    let messages = vec![
        legacy("message.sent", 1),
        legacy("message.sent", 1),
        own,
        cloud("message.sent", 3, Mode::Binary),
        cloud("message.sent", 3, Mode::Structured),
        legacy("message.read", 4),
        legacy("track.played", 5),
        legacy("message.sent", 1),
    ];
    publisher.publish_all(messages).await.unwrap();
    let seen = |status: &serde_json::Value| status["duplicates"] == 3;
    let status = push.until("all are seen", seen).await;
    for (name, wanted) in [
        ("consumed", 4),
        ("effects", 2),
        ("poison", 0),
        ("notifications", 2),
        ("notified_messages", 2),
    ] {
        assert_eq!(status[name], wanted, "{name}: {status:#}");
    }
    assert_eq!(status["last_event_at"], "2014-06-12 10:00:00");
    assert_eq!(
        (&status["consumer"], &status["reason"]),
        (&json!("push-notifications"), &json!(""))
    );
    let (code, answer) = push.get("/notifications?user_id=17").await;
    let rows = answer["notifications"].as_array().unwrap();
    let of = |row: &serde_json::Value| (row["message_id"].clone(), row["sender_id"].clone());
    assert_eq!(code, 200);
    assert_eq!(
        rows.iter().map(of).collect::<Vec<_>>(),
        [(json!(3), json!(3)), (json!(1), json!(3))]
    );
    assert_eq!(push.get("/notifications?user_id=3").await.1["notifications"], json!([]));
    assert_eq!(push.get("/notifications").await.0, 400);
    assert_eq!(push.get("/stats").await.0, 404, "that is the other consumer's");
    assert_eq!(push.get("/").await.1, push.status().await);
    push.stop().await;
}

async fn a_day_is_counted_once_however_often_its_events_are_delivered(world: World) {
    let publisher = world.publisher().await;
    let stats = world.run(App::Stats).await;
    let mut messages: Vec<_> = (0..20).map(|number| legacy("track.played", number)).collect();
    messages.extend((10..20).map(|number| legacy("track.played", number)));
    messages.push(cloud("message.sent", 1, Mode::BinaryCe));
    messages.push(legacy("track.created", 99));
    messages.push(cloud("message.sent", 1, Mode::BinaryCe));
    messages.push(legacy("user.followed", 30));
    publisher.publish_all(messages).await.unwrap();
    let status = stats.until_consumed(22).await;
    assert_eq!((&status["duplicates"], &status["effects"]), (&json!(11), &json!(22)));
    let row =
        |kind: &str, events: i64| json!({ "day": "2014-06-12", "type": kind, "events": events });
    let wanted = [row("message.sent", 1), row("track.played", 20), row("user.followed", 1)];
    assert_eq!(stats.get("/stats").await.1["stats"], json!(wanted), "nobody counts track.created");
    // What was counted stays counted, and stays known, over a restart.
    stats.stop().await;
    let stats = world.run(App::Stats).await;
    publisher.publish(legacy("track.played", 3)).await.unwrap();
    stats.until("seen again", |status| status["duplicates"] == 12).await;
    assert_eq!(stats.get("/stats").await.1["stats"], json!(wanted));
    stats.stop().await;
}

async fn a_queue_keeps_what_comes_while_nobody_consumes(world: World) {
    let publisher = world.publisher().await;
    for app in App::ALL {
        world.run(app).await.stop().await;
    }
    let messages = (0..200).map(|number| legacy("message.sent", number)).collect();
    publisher.publish_all(messages).await.unwrap();
    for app in App::ALL {
        let mut args = world.args(app);
        args.prefetch = 7;
        let running = crate::world::Running::start(app, args, None).await;
        assert_eq!(running.until_consumed(200).await["duplicates"], 0);
        running.stop().await;
    }
}
