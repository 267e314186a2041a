//! The life of a batch from one side: receive, decide, publish, mark, acknowledge.
//!
//! What must stay true: exactly this order. Whatever fails, nothing later has happened: an event is never
//! acknowledged before it was published, and never published before its decision was stored.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use banyan_domain::{ContextName, Epoch, Side};
use tokio_util::sync::CancellationToken;

use super::decide::{content_hash, emitter_key};
use super::lease::Claim;
use super::log::{Arrival, Decided, Terms, Unacked};
use super::{Forwarder, ForwarderError, SideParts, Step};
use crate::broker::{Broker, BrokerKind, Consumer, Delivery, Message, PublishId};
use crate::metrics;

/// Where a `user_id` goes that RabbitMQ would refuse from another user's connection.
const USER_ID_HEADER: &str = "x-banyan-user-id";
/// Most events in one transaction.
const BATCH_MAX: usize = 500;

/// Consumes one side's raw queue.
pub(super) struct SideLoop<'a> {
    forwarder: &'a Forwarder,
    side: Side,
    claim: Claim,
    place: String,
    consumer: Box<dyn Consumer>,
    /// `None`: publish on the consumer's own channel.
    public: Option<Arc<dyn Broker>>,
    public_kind: BrokerKind,
    /// Names this forwarder and store to a broker that remembers publishes.
    publisher: String,
    unacked: VecDeque<Unacked>,
}

impl<'a> SideLoop<'a> {
    /// Starts to consume. The unacknowledged events of the last run come again first.
    pub(super) async fn start(parts: &SideParts<'a>, side: Side) -> Result<Self, ForwarderError> {
        let config = &parts.forwarder.config;
        let place = format!("raw {side}");
        let raw = config.raw.get(&side).ok_or_else(|| ForwarderError::Config {
            reason: format!("the raw place of `{side}` is missing"),
        })?;
        let broker = parts.brokers.get(&place, &raw.broker)?;
        let public = parts.brokers.get("public", &config.public.broker)?;
        let unacked = parts.forwarder.store.unacked(side).await?;
        let consumer = broker
            .consume(&raw.queue, config.prefetch)
            .await
            .map_err(ForwarderError::broker(&place))?;
        Ok(Self {
            forwarder: parts.forwarder,
            side,
            claim: parts.lease.claim(),
            place,
            consumer,
            public: (raw.broker != config.public.broker).then(|| Arc::clone(public)),
            public_kind: public.kind(),
            publisher: format!("{}@{}", config.name, parts.forwarder.store.instance),
            unacked,
        })
    }

    /// Batch after batch until cancelled; a batch that was received is finished.
    pub(super) async fn run(mut self, cancel: CancellationToken) -> Result<(), ForwarderError> {
        let batch_max = usize::from(self.forwarder.config.prefetch).min(BATCH_MAX);
        loop {
            let batch = tokio::select! {
                biased;
                () = cancel.cancelled() => return Ok(()),
                batch = self.consumer.next_batch(batch_max) => batch,
            };
            let batch = batch.map_err(ForwarderError::broker(&self.place))?;
            self.process(&batch).await?;
        }
    }

    async fn process(&mut self, batch: &[Delivery]) -> Result<(), ForwarderError> {
        let started = std::time::Instant::now();
        self.pause(Step::Received).await;
        let decided = self.decide(batch).await?;
        self.pause(Step::Decided).await;
        let published = self.publish(batch, &decided).await?;
        self.pause(Step::Published).await;
        if !published.is_empty() {
            self.forwarder.store.mark_forwarded(&published).await?;
        }
        self.pause(Step::Marked).await;
        self.acknowledge(batch, &decided).await?;
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
                context: config.context_of(&delivery.message.routing_key),
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
        batch: &[Delivery],
        decided: &[Decided],
    ) -> Result<Vec<i64>, ForwarderError> {
        let wanted = || batch.iter().zip(decided).filter(|(_, decided)| decided.publish);
        let messages: Vec<Message> = wanted()
            .map(|(delivery, decided)| self.public_form(&delivery.message, decided))
            .collect();
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        let rows = wanted().map(|(_, decided)| decided.row).collect();
        let published = match &self.public {
            Some(public) => public.publish_all(messages).await,
            None => self.consumer.publish_all(messages).await,
        };
        published.map_err(ForwarderError::broker("public"))?;
        Ok(rows)
    }

    /// The same bytes under the public exchange's name.
    fn public_form(&self, message: &Message, decided: &Decided) -> Message {
        let mut message = message.clone();
        message.exchange.clone_from(&self.forwarder.config.public.exchange);
        if self.public_kind == BrokerKind::RabbitMq
            && let Some(user) = message.properties.user_id.take()
        {
            message = message.header(USER_ID_HEADER, user);
        }
        let id = PublishId { publisher: self.publisher.clone(), sequence: decided.row };
        message.publish_once(id)
    }

    async fn acknowledge(
        &mut self,
        batch: &[Delivery],
        decided: &[Decided],
    ) -> Result<(), ForwarderError> {
        let Some(last) = batch.last() else { return Ok(()) };
        let acked = self.consumer.ack_through(last.tag).await;
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
