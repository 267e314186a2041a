//! What only the embedded broker promises: leases between processes, publishing once, speed.

use std::time::Instant;

use banyan_events::broker::{self, BrokerError, ExchangeKind, PublishId, QueueOptions, Topology};

use crate::world::{Place, next, nothing_comes, number, numbered, take};

fn one_queue() -> Topology {
    Topology::new()
        .exchange("x", ExchangeKind::Topic)
        .queue("q", QueueOptions::default())
        .bind("q", "x", "#")
}

const CHILD_DIRECTORY: &str = "BANYAN_TEST_CHILD_DIRECTORY";

/// Not a test: what the child process of the next one does. It takes messages and never lets go.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs only as a child process of another test"]
async fn child_takes_messages_and_hangs() {
    let Ok(directory) = std::env::var(CHILD_DIRECTORY) else { return };
    let url = format!("embedded:{directory}/broker.db?lease_ms=400");
    let broker = broker::connect(&url).await.unwrap();
    let mut consumer = broker.consume("q", 5).await.unwrap();
    take(&mut consumer, 5).await;
    broker.publish(numbered("x", "from.child", 99)).await.unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_a_killed_process_come_back_in_order() {
    let place = Place::embedded();
    let topology =
        one_queue().queue("seen", QueueOptions::default()).bind("seen", "x", "from.child");
    let broker = place.with(&topology).await;
    broker.publish_all((0..8).map(|i| numbered("x", "a", i)).collect()).await.unwrap();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["embedded::child_takes_messages_and_hangs", "--exact", "--ignored"])
        .env(CHILD_DIRECTORY, place.directory.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut seen = broker.consume("seen", 1).await.unwrap();
    assert_eq!(number(&next(&mut seen).await), 99, "a waiting consumer hears of other processes");
    let mut consumer = broker.consume("q", 20).await.unwrap();
    nothing_comes(&mut consumer).await;
    child.kill().unwrap();
    child.wait().unwrap();
    let taken = take(&mut consumer, 9).await;
    assert_eq!(taken.iter().map(number).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6, 7, 99]);
    assert!(taken.iter().take(5).all(|delivery| delivery.redelivered));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_publish_with_the_same_id_is_stored_once() {
    let place = Place::embedded();
    let broker = place.with(&one_queue()).await;
    let once = |number: usize, sequence| {
        numbered("x", "a", number)
            .publish_once(PublishId { publisher: "forwarder".to_owned(), sequence })
    };
    broker.publish_all(vec![once(0, 1), once(1, 2)]).await.unwrap();
    broker.publish_all(vec![once(0, 1), once(1, 2), once(2, 3), once(2, 3)]).await.unwrap();
    let mut consumer = broker.consume("q", 10).await.unwrap();
    assert_eq!(take(&mut consumer, 3).await.iter().map(number).collect::<Vec<_>>(), [0, 1, 2]);
    nothing_comes(&mut consumer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_survive_the_end_of_every_handle() {
    let place = Place::embedded();
    let broker = place.with(&one_queue()).await;
    broker.publish(numbered("x", "a", 1)).await.unwrap();
    drop(broker);
    let broker = place.connect().await;
    let mut consumer = broker.consume("q", 1).await.unwrap();
    assert_eq!(number(&next(&mut consumer).await), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_confirmed_publishes_fit_in_a_second() {
    let place = Place::embedded();
    let broker = place.with(&one_queue()).await;
    let began = Instant::now();
    let writers = (0..8).map(|_| {
        let broker = broker.clone();
        tokio::spawn(async move {
            for batch in 0..10 {
                let messages = (0..50).map(|i| numbered("x", "a", batch * 50 + i)).collect();
                broker.publish_all(messages).await.unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let seconds = began.elapsed().as_secs_f64();
    eprintln!("4,000 confirmed publishes: {:.0}/s", 4_000.0 / seconds);
    assert!(seconds < 4.0, "at least 1,000/s");
    assert_eq!(broker.depth("q").await.unwrap(), 4_000);
}

#[tokio::test]
async fn a_wrong_url_is_refused_with_the_rule() {
    for (url, rule) in [
        ("embedded:", "needs the path"),
        ("embedded:/tmp/x.db?lease=1", "only option"),
        ("embedded:/tmp/x.db?lease_ms=1", "100 to 600000"),
        ("kafka://x", "scheme must be"),
    ] {
        let Err(error) = broker::connect(url).await else { panic!("{url} was taken") };
        assert!(matches!(error, BrokerError::Url { .. }), "{error}");
        assert!(error.to_string().contains(rule), "{error}");
        assert!(error.hint().is_some());
    }
    let absent = broker::connect("embedded:/no/such/directory/broker.db").await;
    assert!(matches!(absent.err(), Some(BrokerError::Storage { .. })));
}
