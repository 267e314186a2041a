//! The life of a batch from one side: receive, decide, publish, mark, acknowledge; and what a marker does to it.
//!
//! What must stay true: exactly this order. Whatever fails, nothing later has happened: an event is never
//! acknowledged before it was published, and never published before its decision was stored. Batches follow each other
//! closely (one is published while the next is decided) but never overtake. A marker is met only
//! after everything before it was acknowledged, so the next owner's first event comes after the last owner's last.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;

use banyan_domain::{ContextName, Epoch, Side};
use tokio_util::sync::CancellationToken;

use super::batch::{Arrival, Decided, Known};
use super::config::{Insertion, RawPlace};
use super::decide::{content_hash_with, emitter_key};
use super::lease::Claim;
use super::log::Terms;
use super::marker::Marker;
use super::ownership::MarkerEffect;
use super::{Forwarder, ForwarderError, SideParts, Step};
use crate::broker::{Broker, BrokerError, BrokerKind, Consumer, Delivery, Message, PublishId};
use crate::metrics;

/// Where a `user_id` goes that RabbitMQ would refuse from another user's connection.
const USER_ID_HEADER: &str = "x-banyan-user-id";
/// Marks an event that an operator released from the quarantine; its value is the row.
const RELEASED_HEADER: &str = "x-banyan-released";
/// Most events in one transaction.
const BATCH_MAX: usize = 500;
/// Batches that may be out at once: one being acknowledged, one being published, one being decided.
const BATCHES_OUT: usize = 3;
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
}

/// What one consumer has out, oldest last: everything here is unacknowledged.
struct Flow {
    /// Anonymous rows of earlier consumers whose acknowledgement is not certain; a redelivery may be one of them.
    unacked: VecDeque<Known>,
    /// Decided, not yet published.
    decided: Option<Batch>,
    /// Published, not yet marked.
    published: Option<Batch>,
}

/// Events and what was decided about each.
struct Batch {
    deliveries: Vec<Delivery>,
    decided: Vec<Decided>,
    began: Instant,
}

impl Flow {
    fn is_empty(&self) -> bool {
        self.decided.is_none() && self.published.is_none()
    }

    /// Every row that is on its way.
    fn rows(&self) -> BTreeSet<i64> {
        let batches = self.decided.iter().chain(&self.published);
        batches.flat_map(|batch| &batch.decided).map(|decided| decided.row).collect()
    }
}

impl Batch {
    fn rows_to_mark(&self) -> Vec<i64> {
        let published = self.decided.iter().filter(|decided| decided.publish);
        published.map(|decided| decided.row).collect()
    }
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
        })
    }

    /// Consumes until cancelled. At a marker whose counterpart has not come, the consumer ends, so that the broker
    /// keeps the queue with nothing unacknowledged, and a new one begins when the counterpart was met.
    pub(super) async fn run(self, cancel: CancellationToken) -> Result<(), ForwarderError> {
        loop {
            // The unacknowledged events of the last consumer come again first.
            let unacked = self.forwarder.store.unacked(self.side).await?;
            let mut flow = Flow { unacked, decided: None, published: None };
            let mut consumer = self.consume().await?;
            let held = self.work(&mut *consumer, &mut flow, &cancel).await?;
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

    async fn consume(&self) -> Result<Box<dyn Consumer>, ForwarderError> {
        let prefetch = self.forwarder.config.prefetch;
        let consumer = self.broker.consume(&self.raw.queue, prefetch).await;
        consumer.map_err(ForwarderError::broker(&self.place))
    }

    /// Batch after batch until cancelled (`None`) or held at a marker; what was received is finished.
    async fn work(
        &self,
        consumer: &mut dyn Consumer,
        flow: &mut Flow,
        cancel: &CancellationToken,
    ) -> Result<Option<Marker>, ForwarderError> {
        let prefetch = usize::from(self.forwarder.config.prefetch);
        let batch_max = (prefetch / BATCHES_OUT).clamp(1, BATCH_MAX);
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            if cancel.is_cancelled() {
                self.drain(consumer, flow).await?;
                return Ok(None);
            }
            // Orders come first, or a full quarantine could never be emptied.
            if look.tick().now_or_never().is_some() {
                self.drain(consumer, flow).await?;
                self.release(consumer).await?;
            }
            let batch = if flow.is_empty() {
                tokio::select! {
                    biased;
                    () = cancel.cancelled() => continue,
                    _ = look.tick() => {
                        self.release(consumer).await?;
                        continue;
                    }
                    batch = consumer.next_batch(batch_max) => batch,
                }
            } else {
                // Never waits for more while something is in hand.
                consumer.next_batch(batch_max).now_or_never().unwrap_or_else(|| Ok(Vec::new()))
            };
            let batch = batch.map_err(ForwarderError::broker(&self.place))?;
            if let Some(held) = self.process(consumer, flow, batch).await? {
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

    /// The events between markers as one batch each; answers the marker that the queue is held at. Without any event
    /// it takes what is in hand one step further.
    async fn process(
        &self,
        consumer: &mut dyn Consumer,
        flow: &mut Flow,
        batch: Vec<Delivery>,
    ) -> Result<Option<Marker>, ForwarderError> {
        let read = |delivery: &Delivery| Marker::read(&delivery.message);
        let mut rest = batch;
        loop {
            let end = rest.iter().position(|delivery| read(delivery).is_some());
            let Some(end) = end else {
                self.forward(consumer, flow, rest).await?;
                return Ok(None);
            };
            let after = rest.split_off(end + 1);
            let marked = rest.pop();
            self.forward(consumer, flow, rest).await?;
            self.drain(consumer, flow).await?;
            if let Some(delivery) = marked
                && let Some(marker) = read(&delivery)
                && self.meet(consumer, &delivery, &marker).await? == MarkerEffect::Hold
            {
                return Ok(Some(marker));
            }
            rest = after;
            if rest.is_empty() {
                return Ok(None);
            }
        }
    }

    /// Takes in one batch, or when the quarantine has no room for all of it, as much as it has room for.
    async fn forward(
        &self,
        consumer: &mut dyn Consumer,
        flow: &mut Flow,
        events: Vec<Delivery>,
    ) -> Result<(), ForwarderError> {
        let mut parts = vec![events];
        while let Some(part) = parts.pop() {
            let Some((mut first, error)) = self.turn(consumer, flow, part).await? else { continue };
            if first.len() == 1 {
                return Err(error);
            }
            // Nothing was decided; what the try took for met is taken in anew.
            self.drain(consumer, flow).await?;
            flow.unacked = self.forwarder.store.unacked(self.side).await?;
            let second = first.split_off(first.len() / 2);
            parts.extend([second, first]);
        }
        Ok(())
    }

    /// Finishes everything that is in hand.
    async fn drain(
        &self,
        consumer: &mut dyn Consumer,
        flow: &mut Flow,
    ) -> Result<(), ForwarderError> {
        while !flow.is_empty() {
            self.turn(consumer, flow, Vec::new()).await?;
        }
        Ok(())
    }

    /// One step of each batch: while the decided one is published, the published one before it is marked and the next
    /// one decided. Gives the events back when the quarantine has no room for them; the others go on all the same.
    async fn turn(
        &self,
        consumer: &mut dyn Consumer,
        flow: &mut Flow,
        next: Vec<Delivery>,
    ) -> Result<Option<(Vec<Delivery>, ForwarderError)>, ForwarderError> {
        let flying = flow.rows();
        let (marking, publishing) = (flow.published.take(), flow.decided.take());
        let (stored, published) = tokio::join!(
            self.store(marking.as_ref(), &mut flow.unacked, flying, next),
            self.publish(consumer, publishing.as_ref()),
        );
        let stored = stored?;
        published?;
        if let Some(marked) = marking {
            self.acknowledge(consumer, &marked).await?;
        }
        flow.published = publishing;
        match stored {
            Stored::Nothing => {}
            Stored::Decided(batch) => flow.decided = Some(batch),
            Stored::NoRoom(events, error) => return Ok(Some((events, error))),
        }
        Ok(None)
    }

    /// Marks one batch as forwarded, then decides another one.
    async fn store(
        &self,
        marking: Option<&Batch>,
        unacked: &mut VecDeque<Known>,
        flying: BTreeSet<i64>,
        next: Vec<Delivery>,
    ) -> Result<Stored, ForwarderError> {
        if let Some(batch) = marking {
            let rows = batch.rows_to_mark();
            if !rows.is_empty() {
                self.forwarder.store.mark_forwarded(&rows).await?;
            }
            self.pause(Step::Marked).await;
        }
        if next.is_empty() {
            return Ok(Stored::Nothing);
        }
        let began = Instant::now();
        self.pause(Step::Received).await;
        match self.decide(&next, unacked, flying).await {
            Ok(decided) => {
                self.pause(Step::Decided).await;
                Ok(Stored::Decided(Batch { deliveries: next, decided, began }))
            }
            Err(error @ ForwarderError::QuarantineFull { .. }) => Ok(Stored::NoRoom(next, error)),
            Err(error) => Err(error),
        }
    }

    async fn meet(
        &self,
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

    async fn pause(&self, step: Step) {
        self.forwarder.pause.at(self.side, step).await;
    }

    async fn decide(
        &self,
        batch: &[Delivery],
        unacked: &mut VecDeque<Known>,
        flying: BTreeSet<i64>,
    ) -> Result<Vec<Decided>, ForwarderError> {
        let config = &self.forwarder.config;
        let arrivals: Vec<Arrival<'_>> = batch
            .iter()
            .map(|delivery| {
                let message = &delivery.message;
                let properties = serde_json::to_string(&message.properties).unwrap_or_default();
                Arrival {
                    context: config.context_of(message),
                    key: emitter_key(config.dedupe, message),
                    content_hash: content_hash_with(message, &properties),
                    properties,
                    redelivered: delivery.redelivered,
                    message,
                }
            })
            .collect();
        let owners = ask_owners(self.forwarder, &arrivals).await?;
        let terms = Terms { config, claim: &self.claim, side: self.side, owners: &owners };
        let decided = self.forwarder.store.decide(&terms, unacked, flying, &arrivals).await?;
        for (arrival, decided) in arrivals.iter().zip(&decided).filter(|(_, d)| d.fresh) {
            metrics::decided(arrival.context, self.side, decided.decision);
        }
        Ok(decided)
    }

    /// Publishes what the decisions say, in the order of the raw queue.
    async fn publish(
        &self,
        consumer: &mut dyn Consumer,
        batch: Option<&Batch>,
    ) -> Result<(), ForwarderError> {
        let Some(batch) = batch else { return Ok(()) };
        let decided = batch.deliveries.iter().zip(&batch.decided);
        let messages: Vec<Message> = decided
            .filter(|(_, decided)| decided.publish)
            .map(|(delivery, decided)| self.public_form(delivery.message.clone(), decided.row))
            .collect();
        if !messages.is_empty()
            && let Some(routing_keys) = self.send(consumer, messages).await?
        {
            self.note_unrouted(batch, &routing_keys).await?;
        }
        self.pause(Step::Published).await;
        Ok(())
    }

    /// Publishes for as long as the lease is certainly held: a process that slept through it sends nothing more. Answers
    /// the routing keys that no consumer is bound to, which is as before Banyan: those events are gone.
    async fn send(
        &self,
        consumer: &mut dyn Consumer,
        messages: Vec<Message>,
    ) -> Result<Option<BTreeMap<String, u64>>, ForwarderError> {
        let leads = || self.claim.is_fresh();
        let published = match &self.public {
            Some(public) => public.publish_while(messages, &leads).await,
            None => consumer.publish_while(messages, &leads).await,
        };
        match published {
            Ok(()) => Ok(None),
            Err(BrokerError::Unroutable { routing_keys, .. }) => Ok(Some(routing_keys)),
            Err(_) if !leads() => Err(self.claim.lost()),
            Err(error) => Err(ForwarderError::broker("public")(error)),
        }
    }

    /// Counts the events of a batch that reached no queue, and says so.
    async fn note_unrouted(
        &self,
        batch: &Batch,
        routing_keys: &BTreeMap<String, u64>,
    ) -> Result<(), ForwarderError> {
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for (delivery, _) in
            batch.deliveries.iter().zip(&batch.decided).filter(|(_, decided)| decided.publish)
        {
            if routing_keys.contains_key(&delivery.message.routing_key) {
                let context = self.forwarder.config.context_of(&delivery.message);
                *counts.entry(context.map_or("", ContextName::as_str)).or_default() += 1;
            }
        }
        for (context, events) in counts {
            self.forwarder.store.note_unrouted(self.side, context, events).await?;
            metrics::unrouted(context, events);
        }
        let keys: Vec<&str> = routing_keys.keys().map(String::as_str).collect();
        tracing::warn!(side = %self.side, ?keys, "no consumer is bound to these routing keys");
        Ok(())
    }

    /// Publishes the late events that an operator released.
    async fn release(&self, consumer: &mut dyn Consumer) -> Result<(), ForwarderError> {
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
        if let Some(keys) = self.send(consumer, messages).await? {
            tracing::warn!(?keys, "released events reached no queue");
        }
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
        message.publish_once(id).mandatory()
    }

    async fn acknowledge(
        &self,
        consumer: &mut dyn Consumer,
        batch: &Batch,
    ) -> Result<(), ForwarderError> {
        let Some(last) = batch.deliveries.last() else { return Ok(()) };
        let acked = consumer.ack_through(last.tag).await;
        acked.map_err(ForwarderError::broker(&self.place))?;
        let key =
            |delivery: &Delivery| emitter_key(self.forwarder.config.dedupe, &delivery.message);
        // Only redeliveries without an id need to know where the acknowledged ones end.
        if batch.deliveries.iter().any(|delivery| key(delivery).is_none())
            && let Some(row) = batch.decided.iter().map(|decided| decided.row).max()
        {
            self.forwarder.store.mark_acked(self.side, row).await?;
        }
        self.pause(Step::Acked).await;
        metrics::batch_done(self.side, batch.deliveries.len(), batch.began.elapsed());
        Ok(())
    }
}

/// What became of the events that were to be decided.
enum Stored {
    /// There were none.
    Nothing,
    Decided(Batch),
    /// The quarantine has no room for them: nothing was stored.
    NoRoom(Vec<Delivery>, ForwarderError),
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
