//! One RabbitMQ channel at work: publishing with confirms, consuming, acknowledging.
//!
//! What must stay true: at most `WINDOW` publishes are unconfirmed; a consumer ends by closing its channel
//! and never by cancelling (a cancel hands the queue to the next consumer while unacknowledged messages are
//! still out, which breaks the order).

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt as _, poll};
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions,
};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Confirmation, Connection, PublisherConfirm};
use tokio::time::timeout;

use super::{REPLY_MAX, convert, short};
use crate::broker::unrouted::Unrouted;
use crate::broker::{BrokerError, BrokerKind, Consumer, Delivery, GoOn, Message};
use crate::metrics;

/// Unconfirmed publishes on one channel; beyond it the oldest confirm is awaited first.
const WINDOW: usize = 256;
/// Messages that wait together for the socket: waiting for each alone would cost two changes of thread per message.
const GROUP: usize = 32;
/// Longest wait for the socket to take a message; a broker under alarm stops reading.
const SEND_MAX: Duration = Duration::from_secs(10);
/// Longest wait for one confirm.
const CONFIRM_MAX: Duration = Duration::from_secs(15);

/// A consumer with a channel of its own.
pub(super) struct RabbitConsumer {
    channel: Channel,
    /// `None` only while being dropped.
    deliveries: Option<lapin::Consumer>,
    queue: String,
    /// Keeps the connection open for as long as the consumer lives.
    connection: Arc<Connection>,
}

/// Publishes in order; resolves when every message is confirmed.
pub(super) async fn publish_confirmed(
    channel: &Channel,
    messages: &[Message],
    go_on: GoOn<'_>,
) -> Result<(), BrokerError> {
    let result = publish_window(channel, messages, go_on).await;
    metrics::published(BrokerKind::RabbitMq, messages.len(), result.as_ref().err());
    result
}

async fn publish_window(
    channel: &Channel,
    messages: &[Message],
    go_on: GoOn<'_>,
) -> Result<(), BrokerError> {
    let mut window: VecDeque<(&Message, PublisherConfirm)> = VecDeque::with_capacity(WINDOW);
    let mut unrouted = Unrouted::default();
    for group in messages.chunks(GROUP) {
        while window.len() > WINDOW - GROUP
            && let Some(oldest) = window.pop_front()
        {
            confirmed(oldest, &mut unrouted).await?;
        }
        let mut sending = Vec::with_capacity(GROUP);
        for message in group {
            if !go_on() {
                return Err(unconfirmed("the publisher may not go on"));
            }
            let mut sent = Box::pin(send(channel, message));
            // The first poll hands the message to lapin's loop, so their order is that of the messages.
            let at_once = poll!(&mut sent);
            sending.push((message, sent, at_once));
        }
        for (message, sent, at_once) in sending {
            let sent = match at_once {
                Poll::Ready(sent) => sent,
                Poll::Pending => sent.await,
            };
            window.push_back((message, sent?));
        }
    }
    for oldest in window {
        confirmed(oldest, &mut unrouted).await?;
    }
    unrouted.into_result()
}

async fn send(channel: &Channel, message: &Message) -> Result<PublisherConfirm, BrokerError> {
    let properties = convert::to_amqp(&message.properties)?;
    let sending = channel.basic_publish(
        short(&message.exchange)?,
        short(&message.routing_key)?,
        BasicPublishOptions { mandatory: message.is_mandatory, ..Default::default() },
        &message.body,
        properties,
    );
    match timeout(SEND_MAX, sending).await {
        Ok(Ok(confirm)) => Ok(confirm),
        Ok(Err(error)) => Err(publish_error(message, &error)),
        Err(_elapsed) => Err(unconfirmed("the broker did not take it in time")),
    }
}

/// lapin hands a returned message to whichever confirm comes next, so what was returned says itself which it is; nobody
/// else may publish on the channel meanwhile.
async fn confirmed(
    (message, confirm): (&Message, PublisherConfirm),
    unrouted: &mut Unrouted,
) -> Result<(), BrokerError> {
    match timeout(CONFIRM_MAX, confirm).await {
        Ok(Ok(Confirmation::Ack(returned))) => {
            if let Some(returned) = returned {
                let delivery = &returned.delivery;
                unrouted.add(delivery.exchange.as_str(), delivery.routing_key.as_str());
            }
            Ok(())
        }
        Ok(Ok(Confirmation::Nack(_))) => Err(BrokerError::Refused {
            reason: "negative confirm: a queue is full, or the broker could not store it"
                .to_owned(),
        }),
        Ok(Ok(Confirmation::NotRequested)) => Err(unconfirmed("the channel has no confirms")),
        Ok(Err(error)) => Err(publish_error(message, &error)),
        Err(_elapsed) => Err(unconfirmed("no confirm in time")),
    }
}

fn unconfirmed(reason: &str) -> BrokerError {
    BrokerError::Unconfirmed { reason: reason.to_owned() }
}

/// Says "not arrived" only when the broker's words are about this very message's exchange.
fn publish_error(message: &Message, error: &lapin::Error) -> BrokerError {
    let reason = error.to_string();
    let named = format!("no exchange '{}'", message.exchange);
    match convert::reply_code(error) {
        Some(404) if reason.contains(&named) => {
            BrokerError::NoExchange { exchange: message.exchange.clone() }
        }
        Some(_) | None => BrokerError::Unconfirmed { reason },
    }
}

impl RabbitConsumer {
    pub(super) async fn start(
        connection: Arc<Connection>,
        channel: Channel,
        queue: &str,
        prefetch: u16,
    ) -> Result<Self, BrokerError> {
        let name = short(queue)?;
        let starting = async {
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
            let options = BasicConsumeOptions::default();
            channel
                .basic_consume(name, ShortString::default(), options, FieldTable::default())
                .await
        };
        let lost = |reason: String| BrokerError::ConsumerLost { queue: queue.to_owned(), reason };
        match timeout(REPLY_MAX, starting).await {
            Ok(Ok(deliveries)) => Ok(Self {
                channel,
                deliveries: Some(deliveries),
                queue: queue.to_owned(),
                connection,
            }),
            Ok(Err(error)) if convert::reply_code(&error) == Some(404) => {
                Err(BrokerError::NoQueue { queue: queue.to_owned() })
            }
            Ok(Err(error)) => Err(lost(error.to_string())),
            Err(_elapsed) => Err(lost("no answer to basic.consume in time".to_owned())),
        }
    }

    fn lost(&self, reason: impl Into<String>) -> BrokerError {
        BrokerError::ConsumerLost { queue: self.queue.clone(), reason: reason.into() }
    }

    async fn acknowledge(&self, tag: u64, options: BasicAckOptions) -> Result<(), BrokerError> {
        if !self.channel.status().connected() {
            return Err(self.lost("its channel is closed"));
        }
        match timeout(SEND_MAX, self.channel.basic_ack(tag, options)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.lost(error.to_string())),
            Err(_elapsed) => Err(self.lost("the broker took no acknowledgement in time")),
        }
    }
}

#[async_trait]
impl Consumer for RabbitConsumer {
    async fn next(&mut self) -> Result<Delivery, BrokerError> {
        let next = match self.deliveries.as_mut() {
            Some(deliveries) => deliveries.next().await,
            None => None,
        };
        match next {
            Some(Ok(delivery)) => Ok(convert::from_delivery(delivery)),
            Some(Err(error)) => Err(self.lost(error.to_string())),
            None => Err(self.lost("the broker cancelled it, or its channel is closed")),
        }
    }

    async fn publish_while(
        &mut self,
        messages: Vec<Message>,
        go_on: GoOn<'_>,
    ) -> Result<(), BrokerError> {
        messages.iter().try_for_each(Message::validate)?;
        publish_confirmed(&self.channel, &messages, go_on).await
    }

    async fn ack_through(&mut self, tag: u64) -> Result<(), BrokerError> {
        self.acknowledge(tag, BasicAckOptions { multiple: true }).await
    }

    async fn ack(&mut self, tags: &[u64]) -> Result<(), BrokerError> {
        for tag in tags {
            self.acknowledge(*tag, BasicAckOptions { multiple: false }).await?;
        }
        Ok(())
    }
}

impl Drop for RabbitConsumer {
    fn drop(&mut self) {
        let (channel, deliveries) = (self.channel.clone(), self.deliveries.take());
        // Close first: dropping lapin's consumer on an open channel would send a cancel.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let connection = Arc::clone(&self.connection);
            runtime.spawn(async move {
                drop(timeout(REPLY_MAX, channel.close(200, "consumer dropped".into())).await);
                drop((deliveries, connection));
            });
        }
    }
}
