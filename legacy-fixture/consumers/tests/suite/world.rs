//! A world per test: a broker, and consumers with databases of their own.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use banyan_seams::events::broker::{Broker, ExchangeKind, Message, Topology, connect};
use banyan_seams::events::envelope::{CloudEvent, Mode};
use banyan_test_servers::{RabbitMq, or_skip, rabbitmq};
use fixture_consumers::{App, ConsumerArgs, ConsumerError, Pause, QueueType, bind};
use serde_json::{Value, json};
use sqlx::Connection as _;
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The RabbitMQ that the tests share; `None` when it is not installed.
static SHARED: OnceCell<Option<RabbitMq>> = OnceCell::const_new();

/// Longest wait for something that must happen.
pub(crate) const SOON: Duration = Duration::from_secs(40);

pub(crate) struct World {
    pub(crate) broker_url: String,
    pub(crate) directory: tempfile::TempDir,
}

impl World {
    pub(crate) fn embedded() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("broker.db");
        Self { broker_url: format!("embedded:{}?lease_ms=400", file.display()), directory }
    }

    pub(crate) async fn rabbitmq() -> Option<Self> {
        let start = || async { or_skip(tokio::task::spawn_blocking(rabbitmq).await.unwrap()) };
        let broker_url = SHARED.get_or_init(start).await.as_ref()?.fresh_url();
        Some(Self { broker_url, directory: tempfile::tempdir().unwrap() })
    }

    pub(crate) fn args(&self, app: App) -> ConsumerArgs {
        let database = format!("sqlite:{}", self.database(app));
        let mut args = ConsumerArgs::on(database, &self.broker_url);
        // A quorum queue of a single node can stay without a leader after a crash (rabbitmq-server issue 10070).
        args.queue_type = QueueType::Classic;
        args
    }

    pub(crate) fn database(&self, app: App) -> String {
        self.directory.path().join(format!("{}.db", app.as_str())).display().to_string()
    }

    pub(crate) async fn run(&self, app: App) -> Running {
        Running::start(app, self.args(app), None).await
    }

    pub(crate) async fn publisher(&self) -> Arc<dyn Broker> {
        let broker = connect(&self.broker_url).await.unwrap();
        let exchange = Topology::new().exchange("public-events", ExchangeKind::Topic);
        broker.declare(&exchange).await.unwrap();
        broker
    }
}

/// A consumer under test; ends when dropped.
pub(crate) struct Running {
    pub(crate) url: String,
    stop: CancellationToken,
    task: JoinHandle<Result<(), ConsumerError>>,
}

impl Running {
    /// Returns once it consumes.
    pub(crate) async fn start(app: App, args: ConsumerArgs, pause: Option<Arc<dyn Pause>>) -> Self {
        let running = Self::begin(app, args, pause).await;
        running.until("it consumes", |status| status["state"] == "consuming").await;
        running
    }

    /// Returns before it consumes.
    pub(crate) async fn begin(app: App, args: ConsumerArgs, pause: Option<Arc<dyn Pause>>) -> Self {
        let bound = bind(app, args).await.unwrap();
        let bound = match pause {
            Some(pause) => bound.with_pause(pause),
            None => bound,
        };
        let url = bound.url().to_owned();
        let stop = CancellationToken::new();
        let task = tokio::spawn(bound.serve(stop.clone().cancelled_owned()));
        Self { url, stop, task }
    }

    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(SOON, &mut self.task).await.expect("it ends");
        ended.unwrap().unwrap();
    }

    /// As SIGKILL: whatever it does is not finished.
    pub(crate) async fn kill(mut self) {
        self.task.abort();
        assert!((&mut self.task).await.unwrap_err().is_cancelled());
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = client.get(format!("{}{path}", self.url)).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    pub(crate) async fn status(&self) -> Value {
        self.get("/status").await.1
    }

    /// Waits until the status is as described.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let give_up = Instant::now() + SOON;
        loop {
            let status = self.status().await;
            if holds(&status) {
                return status;
            }
            assert!(Instant::now() < give_up, "{what}: {status:#}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until so many different messages were taken.
    pub(crate) async fn until_consumed(&self, count: i64) -> Value {
        self.until("messages are consumed", |status| status["consumed"] == count).await
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The body of an event, as the contract says; `number` names message and audit.
pub(crate) fn body(kind: &str, number: i64) -> Value {
    json!({
        "type": kind, "audit_id": number, "occurred_at": "2014/06/12 10:00:00 +0000",
        "request_id": "r", "subject": { "type": "Message", "id": number }, "actor_id": 3,
        "data": { "thread_id": 1, "sender_id": 3, "recipient_id": 17 },
    })
}

/// As the monolith publishes it.
pub(crate) fn legacy(kind: &str, number: i64) -> Message {
    let body = body(kind, number).to_string().into_bytes();
    let id = format!("mothership-{number}");
    Message::new("public-events", kind, body).message_id(id).kind(kind).persistent()
}

/// As the service's outbox publishes it.
pub(crate) fn cloud(kind: &str, number: i64, mode: Mode) -> Message {
    let body = body(kind, number).to_string().into_bytes();
    let event = CloudEvent::new(format!("e-{number}"), "/messages/new-messages", kind)
        .subject(number.to_string())
        .time("2014-06-12T10:00:00Z".parse().unwrap())
        .data("application/json", body);
    event.to_message(mode, "public-events", kind).unwrap()
}

/// A connection to a database file from outside.
pub(crate) async fn outside(path: &str) -> sqlx::SqliteConnection {
    assert!(Path::new(path).exists(), "{path}");
    sqlx::SqliteConnection::connect(&format!("sqlite:{path}")).await.unwrap()
}

/// Runs each named test once per broker.
macro_rules! on_both_brokers {
    ($($test:ident),+ $(,)?) => {
        mod on_embedded {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test(crate::world::World::embedded()).await;
            })+
        }
        mod on_rabbitmq {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                if let Some(world) = crate::world::World::rabbitmq().await {
                    super::$test(world).await;
                }
            })+
        }
    };
}
pub(crate) use on_both_brokers;
