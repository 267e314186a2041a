//! What becomes of late events: nothing without a person, a reason and a trace.

use banyan_domain::Side;
use banyan_events::forwarder::{
    self, ForwarderStatus, Operator, QuarantineError, Resolution, Selection, Step,
};

use crate::stage::{Running, World, event, messages, stop_at};
use crate::world::{Place, SOON, next, nothing_comes, number, on_both_brokers, take};

on_both_brokers!(
    late_events_wait_until_each_is_released_or_dropped,
    a_crash_while_releasing_loses_nothing,
);

fn ann(reason: &str) -> Operator {
    Operator { name: "ann".to_owned(), reason: reason.to_owned() }
}

/// New owns; legacy's events 10 to 13 came after its seal.
async fn with_stragglers(place: Place) -> (World, ForwarderStatus) {
    let world = World::new(place).await;
    let running = world.run().await;
    world.broker.publish(event("raw.legacy", 1)).await.unwrap();
    world.hand_over(Side::New, 2).await;
    world.broker.publish_all((10..14).map(|id| event("raw.legacy", id)).collect()).await.unwrap();
    world.broker.publish(event("raw.new", 2)).await.unwrap();
    let status = world
        .until("late", |status| status.quarantine_events == 4 && status.contexts[0].forwarded == 2)
        .await;
    running.stop().await;
    (world, status)
}

async fn late_events_wait_until_each_is_released_or_dropped(place: Place) {
    let (world, status) = with_stragglers(place).await;
    let mut push = world.consumer().await;
    assert_eq!(take(&mut push, 2).await.iter().map(number).collect::<Vec<_>>(), [1, 2]);
    let ids: Vec<i64> = status.quarantine.iter().map(|late| late.id).collect();
    let first = &status.quarantine[0];
    assert_eq!(
        (first.side, first.epoch, first.message_id.as_deref()),
        (Side::Legacy, 2, Some("m-10"))
    );
    let resolve = |selection, resolution, reason| {
        let config = world.config.clone();
        async move { forwarder::resolve(&config, &selection, resolution, &ann(reason)).await }
    };
    let no_reason = resolve(Selection::Ids(ids.clone()), Resolution::Drop, " ").await;
    assert!(matches!(no_reason, Err(QuarantineError::NoReason)));
    let unknown = resolve(Selection::Ids(vec![ids[0], 9_999]), Resolution::Drop, "x").await;
    let Err(QuarantineError::NotThere(missing)) = unknown else { panic!("{unknown:?}") };
    assert_eq!(missing, [9_999]);
    let seen_three = Selection::Context { context: messages(), expected: Some(3) };
    let changed = resolve(seen_three, Resolution::Drop, "x").await;
    assert!(matches!(changed, Err(QuarantineError::Changed { expected: 3, found: 4 })));
    assert_eq!(world.status().await.quarantine_events, 4, "a refusal resolves nothing");

    resolve(Selection::Ids(vec![ids[1]]), Resolution::Drop, "new said it").await.unwrap();
    resolve(Selection::Ids(vec![ids[3]]), Resolution::Release, "new did not").await.unwrap();
    let status = world.status().await;
    assert!(status.quarantine.iter().any(|late| late.id == ids[3] && late.releasing));
    let running = world.run().await;
    let released = next(&mut push).await;
    assert_eq!(number(&released), 13);
    assert_eq!(released.message.text_header("x-banyan-released"), Some(&*ids[3].to_string()));
    assert_eq!(released.message.properties.message_id.as_deref(), Some("m-13"));
    let rest = Selection::Context { context: messages(), expected: Some(2) };
    resolve(rest, Resolution::Release, "all of them").await.unwrap();
    assert_eq!(take(&mut push, 2).await.iter().map(number).collect::<Vec<_>>(), [10, 12]);
    let status = world.until("empty", |status| status.contexts[0].released == 3).await;
    assert_eq!(status.quarantine_events, 0);
    let context = &status.contexts[0];
    assert_eq!((context.late, context.released, context.dropped), (4, 3, 1));
    let acts: Vec<_> =
        status.acts.iter().map(|act| (&*act.action, act.events, &*act.reason)).collect();
    assert_eq!(
        acts,
        [("release", 2, "all of them"), ("release", 1, "new did not"), ("drop", 1, "new said it")]
    );
    let nothing = Selection::Context { context: messages(), expected: None };
    let empty = resolve(nothing, Resolution::Drop, "x").await;
    assert!(matches!(empty, Err(QuarantineError::Empty)));
    nothing_comes(&mut push).await;
    running.stop().await;
}

async fn a_crash_while_releasing_loses_nothing(place: Place) {
    let (world, _) = with_stragglers(place).await;
    let mut push = world.consumer().await;
    take(&mut push, 2).await;
    let all = Selection::Context { context: messages(), expected: None };
    forwarder::resolve(&world.config, &all, Resolution::Release, &ann("late")).await.unwrap();
    let stop = stop_at(Step::Released);
    let crashed = Running::start(world.forwarder().await.with_pause(stop.clone()));
    tokio::time::timeout(SOON, stop.stopped.notified()).await.expect("published");
    crashed.crash().await;
    let running = world.run().await;
    world.until("released", |status| status.contexts[0].released == 4).await;
    let mut seen = Vec::new();
    while let Ok(delivery) = tokio::time::timeout(crate::world::NEVER, push.next()).await {
        let delivery = delivery.unwrap();
        let id = delivery.message.properties.message_id.clone().unwrap();
        assert_eq!(id, format!("m-{}", number(&delivery)), "a repetition has the same id");
        seen.push(number(&delivery));
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, [10, 11, 12, 13]);
    running.stop().await;
}
