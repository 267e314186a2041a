//! The life of a batch from one side: receive, decide, publish, mark, acknowledge; and what a marker does to it.
//!
//! What must stay true: exactly this order. Whatever fails, nothing later has happened: an event is never
//! acknowledged before it was published, and never published before its decision was stored. A marker is met only
//! after everything before it was acknowledged, so the next owner's first event comes after the last owner's last.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use banyan_domain::{ContextName, Epoch, Side};
use tokio_util::sync::CancellationToken;

use super::config::{Insertion, RawPlace};
use super::decide::{content_hash, emitter_key};
use super::lease::Claim;
use super::log::{Arrival, Decided, Terms, Unacked};
use super::marker::Marker;
use super::ownership::MarkerEffect;
use super::{Forwarder, ForwarderError, SideParts, Step};
use crate::broker::{Broker, BrokerKind, Consumer, Delivery, Message, PublishId};
use crate::metrics;

/// Where a `user_id` goes that RabbitMQ would refuse from another user's connection.
const USER_ID_HEADER: &str = "x-banyan-user-id";
/// Marks an event that an operator released from the quarantine; its value is the row.
const RELEASED_HEADER: &str = "x-banyan-released";
/// Most events in one transaction.
const BATCH_MAX: usize = 500;
/// How often orders of operators are looked for while no event comes.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often a held queue asks whether it may go on, besides being told.
const HOLD_LOOK_EVERY: Duration = Duration::from_millis(200);

/// Consumes one side's raw queue.
pub(super) struct SideLoop<'a> {
    forwarder: &'a Forwarder,
    side: Side,
    claim: Claim,
    place: String,
    raw: &'a RawPlace,
    broker: Arc<dyn Broker>,
    /// `None`: publish on the consumer's own channel.
    public: Option<Arc<dyn Broker>>,
    public_kind: BrokerKind,
    /// Names this forwarder and store to a broker that remembers publishes.
    publisher: String,
    unacked: VecDeque<Unacked>,
}

impl<'a> SideLoop<'a> {
    /// Prepares to consume.
    pub(super) fn new(parts: &SideParts<'a>, side: Side) -> Result<Self, ForwarderError> {
        let config = &parts.forwarder.config;
        let place = format!("raw {side}");
        let raw = config.raw.get(&side).ok_or_else(|| ForwarderError::Config {
            reason: format!("the raw place of `{side}` is missing"),
        })?;
        let broker = Arc::clone(parts.brokers.get(&place, &raw.broker)?);
        let public = parts.brokers.get("public", &config.public.broker)?;
        Ok(Self {
            forwarder: parts.forwarder,
            side,
            claim: parts.lease.claim(),
            place,
            raw,
            broker,
            public: (raw.broker != config.public.broker).then(|| Arc::clone(public)),
            public_kind: public.kind(),
            publisher: format!("{}@{}", config.name, parts.forwarder.store.instance),
            unacked: VecDeque::new(),
        })
    }

    /// Consumes until cancelled. At a marker whose counterpart has not come, the consumer ends, so that the broker
    /// keeps the queue with nothing unacknowledged, and a new one begins when the counterpart was met.
    pub(super) async fn run(mut self, cancel: CancellationToken) -> Result<(), ForwarderError> {
        loop {
            let mut consumer = self.consume().await?;
            let held = self.work(&mut *consumer, &cancel).await?;
            drop(consumer);
            let Some(marker) = held else { return Ok(()) };
            tracing::info!(side = %self.side, %marker, "the raw queue waits at a marker");
            metrics::held(self.side, true);
            let goes_on = self.wait_at(&marker, &cancel).await;
            metrics::held(self.side, false);
            if !goes_on? {
                return Ok(());
            }
        }
    }

    /// The unacknowledged events of the last consumer come again first.
    async fn consume(&mut self) -> Result<Box<dyn Consumer>, ForwarderError> {
        let forwarder = self.forwarder;
        self.unacked = forwarder.store.unacked(self.side).await?;
        let consumer = self.broker.consume(&self.raw.queue, forwarder.config.prefetch).await;
        consumer.map_err(ForwarderError::broker(&self.place))
    }

    /// Batch after batch until cancelled (`None`) or held at a marker; a batch that was received is finished.
    async fn work(
        &mut self,
        consumer: &mut dyn Consumer,
        cancel: &CancellationToken,
    ) -> Result<Option<Marker>, ForwarderError> {
        let batch_max = usize::from(self.forwarder.config.prefetch).min(BATCH_MAX);
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            // Orders come first, or a full quarantine could never be emptied.
            let batch = tokio::select! {
                biased;
                () = cancel.cancelled() => return Ok(None),
                _ = look.tick() => None,
                batch = consumer.next_batch(batch_max) => Some(batch),
            };
            let Some(batch) = batch else {
                self.release(consumer).await?;
                continue;
            };
            let batch = batch.map_err(ForwarderError::broker(&self.place))?;
            if let Some(held) = self.process(consumer, &batch).await? {
                return Ok(Some(held));
            }
        }
    }

    /// Whether to go on: `false` when cancelled.
    async fn wait_at(
        &self,
        marker: &Marker,
        cancel: &CancellationToken,
    ) -> Result<bool, ForwarderError> {
        while self.forwarder.store.still_holds(self.side, marker).await? {
            tokio::select! {
                () = cancel.cancelled() => return Ok(false),
                () = self.forwarder.moved.notified() => {}
                () = tokio::time::sleep(HOLD_LOOK_EVERY) => {}
            }
        }
        Ok(true)
    }

    /// The events between markers as one batch each; answers the marker that the queue is held at.
    async fn process(
        &mut self,
        consumer: &mut dyn Consumer,
        batch: &[Delivery],
    ) -> Result<Option<Marker>, ForwarderError> {
        let mut rest = batch;
        loop {
            let marker = |delivery: &Delivery| Marker::read(&delivery.message);
            let end = rest.iter().position(|delivery| marker(delivery).is_some());
            let (events, tail) = rest.split_at(end.unwrap_or(rest.len()));
            self.forward_all(consumer, events).await?;
            let Some((delivery, after)) = tail.split_first() else { return Ok(None) };
            if let Some(marker) = marker(delivery)
                && self.meet(consumer, delivery, &marker).await? == MarkerEffect::Hold
            {
                return Ok(Some(marker));
            }
            rest = after;
        }
    }

    /// One batch, or when the quarantine has no room for all of it, as much as it has room for.
    async fn forward_all(
        &mut self,
        consumer: &mut dyn Consumer,
        events: &[Delivery],
    ) -> Result<(), ForwarderError> {
        let mut parts = vec![events];
        while let Some(part) = parts.pop() {
            if part.is_empty() {
                continue;
            }
            match self.forward(consumer, part).await {
                Err(ForwarderError::QuarantineFull { .. }) if part.len() > 1 => {
                    // Nothing was decided; what the try took for met is taken in anew.
                    self.unacked = self.forwarder.store.unacked(self.side).await?;
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                }
                done => done?,
            }
        }
        Ok(())
    }

    async fn meet(
        &mut self,
        consumer: &mut dyn Consumer,
        delivery: &Delivery,
        marker: &Marker,
    ) -> Result<MarkerEffect, ForwarderError> {
        let forwarder = self.forwarder;
        let known = forwarder.config.contexts.iter().any(|known| known.context == marker.context);
        let effect = if known {
            let told = forwarder.owners.owner(&marker.context).await?;
            forwarder.store.meet(&self.claim, self.side, marker, told).await?
        } else {
            tracing::warn!(%marker, "a marker of a context that is not configured is passed over");
            MarkerEffect::Nothing
        };
        self.pause(Step::Met).await;
        if effect != MarkerEffect::Hold {
            let acked = consumer.ack_through(delivery.tag).await;
            acked.map_err(ForwarderError::broker(&self.place))?;
            forwarder.moved.notify_waiters();
        }
        Ok(effect)
    }

    async fn forward(
        &mut self,
        consumer: &mut dyn Consumer,
        batch: &[Delivery],
    ) -> Result<(), ForwarderError> {
        let started = std::time::Instant::now();
        self.pause(Step::Received).await;
        let decided = self.decide(batch).await?;
        self.pause(Step::Decided).await;
        let published = self.publish(consumer, batch, &decided).await?;
        self.pause(Step::Published).await;
        if !published.is_empty() {
            self.forwarder.store.mark_forwarded(&published).await?;
        }
        self.pause(Step::Marked).await;
        self.acknowledge(consumer, batch, &decided).await?;
        self.pause(Step::Acked).await;
        metrics::batch_done(self.side, batch.len(), started.elapsed());
        Ok(())
    }

    async fn pause(&mut self, step: Step) {
        self.forwarder.pause.at(self.side, step).await;
    }

    async fn decide(&mut self, batch: &[Delivery]) -> Result<Vec<Decided>, ForwarderError> {
        let config = &self.forwarder.config;
        let arrivals: Vec<Arrival<'_>> = batch
            .iter()
            .map(|delivery| Arrival {
                context: config.context_of(&delivery.message),
                key: emitter_key(config.dedupe, &delivery.message),
                content_hash: content_hash(&delivery.message),
                redelivered: delivery.redelivered,
                message: &delivery.message,
            })
            .collect();
        let owners = ask_owners(self.forwarder, &arrivals).await?;
        let terms = Terms { config, claim: &self.claim, side: self.side, owners: &owners };
        let decided = self.forwarder.store.decide(&terms, &mut self.unacked, &arrivals).await?;
        for (arrival, decided) in arrivals.iter().zip(&decided).filter(|(_, d)| d.fresh) {
            metrics::decided(arrival.context, self.side, decided.decision);
        }
        Ok(decided)
    }

    /// Publishes what the decisions say, in the order of the raw queue; answers the rows.
    async fn publish(
        &mut self,
        consumer: &mut dyn Consumer,
        batch: &[Delivery],
        decided: &[Decided],
    ) -> Result<Vec<i64>, ForwarderError> {
        let wanted = || batch.iter().zip(decided).filter(|(_, decided)| decided.publish);
        let messages: Vec<Message> = wanted()
            .map(|(delivery, decided)| self.public_form(delivery.message.clone(), decided.row))
            .collect();
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        let rows = wanted().map(|(_, decided)| decided.row).collect();
        self.send(consumer, messages).await?;
        Ok(rows)
    }

    /// Publishes for as long as the lease is certainly held: a process that slept through it sends nothing more.
    async fn send(
        &self,
        consumer: &mut dyn Consumer,
        messages: Vec<Message>,
    ) -> Result<(), ForwarderError> {
        let leads = || self.claim.is_fresh();
        let published = match &self.public {
            Some(public) => public.publish_while(messages, &leads).await,
            None => consumer.publish_while(messages, &leads).await,
        };
        match published {
            Err(_) if !leads() => Err(self.claim.lost()),
            other => other.map_err(ForwarderError::broker("public")),
        }
    }

    /// Publishes the late events that an operator released.
    async fn release(&mut self, consumer: &mut dyn Consumer) -> Result<(), ForwarderError> {
        let store = &self.forwarder.store;
        let wanted = store.releases(&self.claim, self.side).await?;
        if wanted.is_empty() || self.forwarder.config.insertion == Insertion::Tap {
            return Ok(());
        }
        let rows: Vec<i64> = wanted.iter().map(|(row, _)| *row).collect();
        let messages = wanted
            .into_iter()
            .map(|(row, message)| {
                self.public_form(message.header(RELEASED_HEADER, row.to_string()), row)
            })
            .collect();
        self.send(consumer, messages).await?;
        self.pause(Step::Released).await;
        store.mark_released(&rows).await?;
        metrics::released(self.side, rows.len());
        tracing::info!(side = %self.side, events = rows.len(), "released late events are public");
        Ok(())
    }

    /// The same bytes under the public exchange's name.
    fn public_form(&self, mut message: Message, row: i64) -> Message {
        message.exchange.clone_from(&self.forwarder.config.public.exchange);
        if self.public_kind == BrokerKind::RabbitMq
            && let Some(user) = message.properties.user_id.take()
        {
            message = message.header(USER_ID_HEADER, user);
        }
        let id = PublishId { publisher: self.publisher.clone(), sequence: row };
        message.publish_once(id)
    }

    async fn acknowledge(
        &mut self,
        consumer: &mut dyn Consumer,
        batch: &[Delivery],
        decided: &[Decided],
    ) -> Result<(), ForwarderError> {
        let Some(last) = batch.last() else { return Ok(()) };
        let acked = consumer.ack_through(last.tag).await;
        acked.map_err(ForwarderError::broker(&self.place))?;
        let key =
            |delivery: &Delivery| emitter_key(self.forwarder.config.dedupe, &delivery.message);
        // Only redeliveries without an id need to know where the acknowledged ones end.
        if batch.iter().any(|delivery| key(delivery).is_none())
            && let Some(row) = decided.iter().map(|decided| decided.row).max()
        {
            self.forwarder.store.mark_acked(self.side, row).await?;
        }
        Ok(())
    }
}

/// Asks once per context and batch.
async fn ask_owners(
    forwarder: &Forwarder,
    arrivals: &[Arrival<'_>],
) -> Result<BTreeMap<ContextName, (Side, Epoch)>, ForwarderError> {
    let mut owners = BTreeMap::new();
    for context in arrivals.iter().filter_map(|arrival| arrival.context) {
        if !owners.contains_key(context) {
            owners.insert(context.clone(), forwarder.owners.owner(context).await?);
        }
    }
    Ok(owners)
}
