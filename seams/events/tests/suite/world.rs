//! What each test builds for itself: a broker of either kind, names, short waits.

use std::sync::Arc;
use std::time::Duration;

use banyan_events::broker::{self, Broker, Consumer, Delivery, Message, Topology};

use banyan_test_servers::{RabbitMq, or_skip, rabbitmq};
use tokio::sync::OnceCell;

/// The RabbitMQ that the tests share; `None` when it is not installed.
static SHARED: OnceCell<Option<RabbitMq>> = OnceCell::const_new();

/// Longest wait for something that must happen.
pub(crate) const SOON: Duration = Duration::from_secs(20);
/// How long something that must not happen is given to happen.
pub(crate) const NEVER: Duration = Duration::from_millis(300);

/// A place for one test: a URL, and the directory that lives as long.
pub(crate) struct Place {
    pub(crate) url: String,
    pub(crate) directory: tempfile::TempDir,
}

impl Place {
    pub(crate) fn embedded() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("embedded:{}?lease_ms=400", directory.path().join("broker.db").display());
        Self { url, directory }
    }

    pub(crate) async fn rabbitmq() -> Option<Self> {
        let start = || async { or_skip(tokio::task::spawn_blocking(rabbitmq).await.unwrap()) };
        let url = SHARED.get_or_init(start).await.as_ref()?.fresh_url();
        Some(Self { url, directory: tempfile::tempdir().unwrap() })
    }

    pub(crate) async fn connect(&self) -> Arc<dyn Broker> {
        broker::connect(&self.url).await.unwrap()
    }

    pub(crate) async fn with(&self, topology: &Topology) -> Arc<dyn Broker> {
        let broker = self.connect().await;
        broker.declare(topology).await.unwrap();
        broker
    }
}

/// Runs each named test once per broker.
macro_rules! on_both_brokers {
    ($($test:ident),+ $(,)?) => {
        mod on_embedded {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test(crate::world::Place::embedded()).await;
            })+
        }
        mod on_rabbitmq {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                if let Some(place) = crate::world::Place::rabbitmq().await {
                    super::$test(place).await;
                }
            })+
        }
    };
}
pub(crate) use on_both_brokers;

pub(crate) fn numbered(exchange: &str, key: &str, number: usize) -> Message {
    Message::new(exchange, key, number.to_string().into_bytes()).persistent()
}

pub(crate) fn number(delivery: &Delivery) -> usize {
    std::str::from_utf8(&delivery.message.body).unwrap().parse().unwrap()
}

pub(crate) async fn next(consumer: &mut Box<dyn Consumer>) -> Delivery {
    tokio::time::timeout(SOON, consumer.next()).await.expect("a message").unwrap()
}

pub(crate) async fn take(consumer: &mut Box<dyn Consumer>, count: usize) -> Vec<Delivery> {
    let mut taken = Vec::new();
    for _ in 0..count {
        taken.push(next(consumer).await);
    }
    taken
}

pub(crate) async fn nothing_comes(consumer: &mut Box<dyn Consumer>) {
    if let Ok(delivery) = tokio::time::timeout(NEVER, consumer.next()).await {
        panic!("unexpected {delivery:?}");
    }
}
