//! What both sides do: legacy publishes with ids until it is confirmed, the service emits in its transactions; the
//! emission moves between them by the steps of a handover.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use banyan_cutover::Move;
use banyan_domain::{Epoch, Side};
use banyan_events::broker::{self, Broker, Message};
use banyan_events::forwarder::{self, Marker, MarkerKind};
use banyan_outbox::{Emitted, NewEvent, emit, fence};
use sqlx::{MySql, Pool};

use crate::replica::{Setup, tell_owner};
use crate::world::context;

const AGGREGATES: usize = 50;

/// What was published by whom.
#[derive(Default)]
pub(super) struct Expected {
    /// Id to ownership, aggregate, and number within the aggregate.
    pub(super) public: BTreeMap<String, (usize, usize, usize)>,
    pub(super) others: usize,
}

pub(super) struct Script {
    setup: Setup,
    broker: Arc<dyn Broker>,
    service: Pool<MySql>,
    expected: Expected,
    written: usize,
}

impl Script {
    pub(super) async fn new(setup: Setup, url: &str, service: Pool<MySql>) -> Self {
        let broker = broker::connect(url).await.unwrap();
        Self { setup, broker, service, expected: Expected::default(), written: 0 }
    }

    pub(super) async fn play(
        mut self,
        events: usize,
        ownerships: usize,
        rate: usize,
        over: Arc<AtomicBool>,
    ) -> Expected {
        let mut owner = Side::Legacy;
        for ownership in 0..ownerships {
            let pause = Duration::from_millis(50);
            let chunk = (rate / 20).max(1);
            for _ in 0..events.div_ceil(chunk) {
                let started = Instant::now();
                self.owned(owner, chunk, ownership).await;
                self.not_owned(owner.other(), chunk / 5).await;
                tokio::time::sleep(pause.saturating_sub(started.elapsed())).await;
            }
            if ownership + 1 < ownerships {
                self.hand_over(owner, ownership).await;
                owner = owner.other();
            }
        }
        over.store(true, Ordering::SeqCst);
        self.expected
    }

    /// Open, control store, fence, stragglers, fence and outbox, seal.
    async fn hand_over(&mut self, owner: Side, ownership: usize) {
        let (next, epoch) = (owner.other(), ownership as u64 + 2);
        self.put(next, MarkerKind::Open, epoch).await;
        tell_owner(&self.setup.directory, next, epoch);
        if next == Side::New {
            self.change(Move::Open(Epoch(epoch))).await;
        }
        self.owned(next, 20, ownership + 1).await;
        self.owned(owner, 20, ownership).await;
        if owner == Side::New {
            self.change(Move::Drain(Epoch(epoch))).await;
            self.until_outbox_is_empty().await;
        }
        self.put(owner, MarkerKind::Seal, epoch).await;
    }

    async fn owned(&mut self, side: Side, count: usize, ownership: usize) {
        match side {
            Side::Legacy => {
                for (id, aggregate) in self.publish(side, count).await {
                    let number = number_of(&id);
                    self.expected.public.insert(id, (ownership, aggregate, number));
                }
            }
            Side::New => self.emit(count, Some(ownership)).await,
        }
    }

    /// A service that does not own emits all the same, and something stray publishes to its raw exchange.
    async fn not_owned(&mut self, side: Side, count: usize) {
        self.expected.others += count;
        match side {
            Side::Legacy => drop(self.publish(side, count).await),
            Side::New => {
                self.emit(count / 2, None).await;
                self.publish(side, count - count / 2).await;
            }
        }
    }

    /// As an emitter without an outbox does: again, with the same ids, until it is confirmed.
    async fn publish(&mut self, side: Side, count: usize) -> Vec<(String, usize)> {
        let (mut batch, mut ids) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for _ in 0..count {
            self.written += 1;
            let (id, aggregate) = (format!("{side}-{}", self.written), self.written % AGGREGATES);
            let body = format!("{id} of {aggregate}").into_bytes();
            let message = Message::new(format!("raw.{side}"), "message.sent", body);
            batch.push(message.persistent().message_id(&id));
            ids.push((id, aggregate));
        }
        let give_up = Instant::now() + Duration::from_mins(2);
        while let Err(error) = self.broker.publish_all(batch.clone()).await {
            assert!(Instant::now() < give_up, "{error}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        ids
    }

    /// In one transaction, as a service does; `ownership` says that it must be public.
    async fn emit(&mut self, count: usize, ownership: Option<usize>) {
        let mut tx = self.service.begin().await.unwrap();
        for _ in 0..count {
            self.written += 1;
            let (number, aggregate) = (self.written, self.written % AGGREGATES);
            let id = uuid::Uuid::now_v7();
            let event = NewEvent::new(context("messages"), "message.sent", aggregate.to_string())
                .data("text/plain", format!("{number} of {aggregate}").into_bytes())
                .id(id);
            let is_ready = emit(&mut tx, &event).await.unwrap() != Emitted::Muted;
            assert_eq!(is_ready, ownership.is_some(), "the fence decides");
            if let Some(ownership) = ownership {
                self.expected.public.insert(id.to_string(), (ownership, aggregate, number));
            }
        }
        tx.commit().await.unwrap();
    }

    async fn change(&self, wanted: Move) {
        let mut tx = self.service.begin().await.unwrap();
        fence::change(&mut tx, &context("messages"), wanted).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn until_outbox_is_empty(&self) {
        let left = "SELECT COUNT(*) FROM banyan_outbox WHERE state IN ('ready', 'waiting', 'dead')";
        let give_up = Instant::now() + Duration::from_mins(2);
        loop {
            let rows: i64 = sqlx::query_scalar(left).fetch_one(&self.service).await.unwrap();
            if rows == 0 {
                return;
            }
            assert!(Instant::now() < give_up, "{rows} rows are not relayed");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn put(&self, side: Side, kind: MarkerKind, epoch: u64) {
        let marker = Marker { kind, context: context("messages"), epoch: Epoch(epoch) };
        while let Err(error) = forwarder::put(&self.setup.config(), side, &marker).await {
            println!("{marker} again: {error}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn number_of(id: &str) -> usize {
    id.rsplit_once('-').unwrap().1.parse().unwrap()
}
