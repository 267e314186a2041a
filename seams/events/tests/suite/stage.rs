//! The stage of a forwarder test: owners that the test sets, pause points, raw and public places, a consumer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use banyan_domain::{ContextName, Epoch, Side};
use banyan_events::broker::{Broker, Consumer, ExchangeKind, Message, QueueOptions, Topology};
use banyan_events::forwarder::{
    self, Forwarder, ForwarderConfig, ForwarderStatus, Marker, MarkerKind, Owners, OwnersError,
    Pause, PublicPlace, RawPlace, Step,
};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::world::{Place, SOON, numbered};

/// Owners as the test sets them; `None` = the control store does not answer.
pub(crate) struct SetOwners(Mutex<BTreeMap<ContextName, Option<(Side, Epoch)>>>);

#[async_trait]
impl Owners for SetOwners {
    async fn owner(&self, context: &ContextName) -> Result<(Side, Epoch), OwnersError> {
        self.0.lock().unwrap().get(context).copied().flatten().ok_or_else(|| OwnersError {
            context: context.clone(),
            reason: "the control store does not answer".to_owned(),
        })
    }
}

pub(crate) fn messages() -> ContextName {
    ContextName::new("messages").unwrap()
}

impl SetOwners {
    pub(crate) fn new(owner: Side) -> Arc<Self> {
        let owners = Arc::new(Self(Mutex::default()));
        owners.set(Some((owner, Epoch(1))));
        owners
    }

    pub(crate) fn set(&self, owner: Option<(Side, Epoch)>) {
        self.0.lock().unwrap().insert(messages(), owner);
    }
}

/// Stops the forwarder at one step, once, for ever.
pub(crate) struct StopAt {
    pub(crate) step: Step,
    pub(crate) stopped: Notify,
    armed: Mutex<bool>,
}

#[async_trait]
impl Pause for StopAt {
    async fn at(&self, _side: Side, step: Step) {
        if step == self.step && std::mem::take(&mut *self.armed.lock().unwrap()) {
            self.stopped.notify_one();
            std::future::pending::<()>().await;
        }
    }
}

pub(crate) fn stop_at(step: Step) -> Arc<StopAt> {
    Arc::new(StopAt { step, stopped: Notify::new(), armed: Mutex::new(true) })
}

/// A forwarder task that ends in order when told, or at once when dropped.
pub(crate) struct Running {
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) fn start(forwarder: Forwarder) -> Self {
        let cancel = CancellationToken::new();
        let token = cancel.clone();
        Self { cancel, task: tokio::spawn(async move { forwarder.run(token).await }) }
    }

    pub(crate) async fn stop(mut self) {
        self.cancel.cancel();
        tokio::time::timeout(SOON, &mut self.task).await.expect("it ends").unwrap();
    }

    /// Ends it in the middle of whatever it does, as a crash would.
    pub(crate) async fn crash(mut self) {
        self.task.abort();
        assert!((&mut self.task).await.is_err());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Raw exchanges, a public exchange and one consumer's queue on it.
pub(crate) struct World {
    /// Lives as long as the world: it holds the files.
    _place: Place,
    pub(crate) config: ForwarderConfig,
    pub(crate) owners: Arc<SetOwners>,
    pub(crate) broker: Arc<dyn Broker>,
}

impl World {
    pub(crate) async fn new(place: Place) -> Self {
        Self::with_raw_queues(place, QueueOptions::default()).await
    }

    pub(crate) async fn with_raw_queues(place: Place, raw: QueueOptions) -> Self {
        let url = place.url.clone();
        let mut config = config_of(&place, &url);
        for place in config.raw.values_mut() {
            place.queue_options = raw;
        }
        let topology = Topology::new()
            .exchange("raw.legacy", ExchangeKind::Topic)
            .exchange("raw.new", ExchangeKind::Topic)
            .exchange("semantic-events", ExchangeKind::Topic)
            .queue("f.legacy", raw)
            .queue("f.new", raw)
            // Classic, because a quorum queue of a single node can stay without a leader after a crash
            // (rabbitmq-server issue 10070), and this queue is the consumer's choice, not ours.
            .queue("push", QueueOptions::default().classic())
            .bind("f.legacy", "raw.legacy", "#")
            .bind("f.new", "raw.new", "#")
            .bind("push", "semantic-events", "#");
        let broker = place.with(&topology).await;
        Self { _place: place, config, owners: SetOwners::new(Side::Legacy), broker }
    }

    pub(crate) async fn forwarder(&self) -> Forwarder {
        Forwarder::open(self.config.clone(), self.owners.clone()).await.unwrap()
    }

    pub(crate) async fn run(&self) -> Running {
        Running::start(self.forwarder().await)
    }

    pub(crate) async fn consumer(&self) -> Box<dyn Consumer> {
        self.broker.consume("push", 500).await.unwrap()
    }

    pub(crate) async fn status(&self) -> ForwarderStatus {
        forwarder::status(&self.config).await.unwrap()
    }

    /// Waits until the status is as described.
    pub(crate) async fn until(
        &self,
        what: &str,
        holds: impl Fn(&ForwarderStatus) -> bool,
    ) -> ForwarderStatus {
        let give_up = Instant::now() + SOON;
        loop {
            let status = self.status().await;
            if holds(&status) {
                return status;
            }
            assert!(Instant::now() < give_up, "{what}: {status:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

pub(crate) fn config_of(place: &Place, public_url: &str) -> ForwarderConfig {
    let database = place.directory.path().join("forwarder.db");
    let public = PublicPlace::new(public_url, "semantic-events");
    let mut config = ForwarderConfig::new("test", database, public)
        .raw(Side::Legacy, RawPlace::new(&place.url, "raw.legacy", "f.legacy"))
        .raw(Side::New, RawPlace::new(&place.url, "raw.new", "f.new"))
        .context(messages(), &["message.*"]);
    config.lease = Duration::from_millis(500);
    config.prefetch = 50;
    config
}

pub(crate) fn event(exchange: &str, id: usize) -> Message {
    numbered(exchange, "message.sent", id).message_id(format!("m-{id}"))
}

impl SetOwners {
    pub(crate) fn get(&self) -> (Side, Epoch) {
        self.0.lock().unwrap()[&messages()].unwrap()
    }
}

impl World {
    /// Puts a marker of the context `messages` into a side's raw queue.
    pub(crate) async fn put(&self, side: Side, kind: MarkerKind, epoch: u64) {
        // As whoever moves an ownership must: what the forwarder acts on is asked before anything changes.
        let told = self.owners.get();
        forwarder::acted_on(&self.config, &messages(), told).await.unwrap();
        if kind == MarkerKind::Seal {
            // Whoever seals has told the control store before.
            let sealed = (side.other(), Epoch(epoch));
            self.owners.set(Some(if told.1 < sealed.1 { sealed } else { told }));
        }
        let marker = Marker { kind, context: messages(), epoch: Epoch(epoch) };
        forwarder::put(&self.config, side, &marker).await.unwrap();
    }

    /// Hands the emission over as a cutover does: open, the control store, seal.
    pub(crate) async fn hand_over(&self, to: Side, epoch: u64) {
        self.put(to, MarkerKind::Open, epoch).await;
        self.owners.set(Some((to, Epoch(epoch))));
        self.put(to.other(), MarkerKind::Seal, epoch).await;
    }
}
