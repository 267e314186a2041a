//! A tap: the forwarder stands beside the stream, decides and records, and publishes nothing.

use banyan_domain::Side;
use banyan_events::broker::{ExchangeKind, QueueOptions, Topology};
use banyan_events::forwarder::{Forwarder, ForwarderConfig, Insertion, PublicPlace, RawPlace};

use crate::stage::{Running, SetOwners, event, messages};
use crate::world::{NEVER, Place, SOON, nothing_comes, number, numbered, on_both_brokers, take};

on_both_brokers!(
    a_tap_records_and_publishes_nothing_and_consumers_keep_their_events,
    a_tap_that_nobody_reads_never_refuses_a_publish,
);

fn tap(place: &Place) -> ForwarderConfig {
    let database = place.directory.path().join("tap.db");
    let public = PublicPlace::new(&place.url, "live");
    let mut config = ForwarderConfig::new("tap", database, public)
        .raw(Side::Legacy, RawPlace::new(&place.url, "live", "tap.legacy"))
        .context(messages(), &["message.*"]);
    config.insertion = Insertion::Tap;
    config
}

/// The exchange as the monolith and its consumer declared it.
fn live() -> Topology {
    Topology::new()
        .exchange("live", ExchangeKind::Topic)
        .queue("push", QueueOptions::default().classic())
        .bind("push", "live", "#")
}

async fn a_tap_records_and_publishes_nothing_and_consumers_keep_their_events(place: Place) {
    let broker = place.with(&live()).await;
    let config = tap(&place);
    let forwarder = Forwarder::open(config.clone(), SetOwners::new(Side::Legacy)).await.unwrap();
    let running = Running::start(forwarder);
    let give_up = std::time::Instant::now() + SOON;
    let mut sent = 0;
    loop {
        // Those before the tap stood are not its business.
        broker.publish(event("live", sent)).await.unwrap();
        broker.publish(numbered("live", "track.played", 1_000 + sent)).await.unwrap();
        sent += 1;
        let status = banyan_events::forwarder::status(&config).await.unwrap();
        let seen = status.contexts[0].tapped;
        if seen > 0 && status.unmigrated > 0 {
            assert_eq!((status.contexts[0].forwarded, status.contexts[0].undelivered), (0, 0));
            assert_eq!(status.insertion, "tap");
            break;
        }
        assert!(std::time::Instant::now() < give_up, "{status:#?}");
        tokio::time::sleep(NEVER / 6).await;
    }
    running.stop().await;
    let mut push = broker.consume("push", 1_000).await.unwrap();
    let seen = take(&mut push, 2 * sent).await;
    let numbers: std::collections::BTreeSet<_> = seen.iter().map(number).collect();
    assert_eq!(numbers.len(), 2 * sent, "each once");
    nothing_comes(&mut push).await;
}

async fn a_tap_that_nobody_reads_never_refuses_a_publish(place: Place) {
    let queue = QueueOptions::default().drop_oldest_beyond(10);
    let topology = live().queue("tap.legacy", queue).bind("tap.legacy", "live", "#");
    let broker = place.with(&topology).await;
    broker.publish_all((0..50).map(|id| event("live", id)).collect()).await.unwrap();
    let mut tapped = broker.consume("tap.legacy", 100).await.unwrap();
    let kept: Vec<_> = take(&mut tapped, 10).await.iter().map(number).collect();
    assert_eq!(kept, (40..50).collect::<Vec<_>>(), "the newest");
    let mut push = broker.consume("push", 100).await.unwrap();
    assert_eq!(take(&mut push, 50).await.len(), 50, "consumers lose nothing");
}
