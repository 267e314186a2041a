//! Takes out of the raw queue what is public already.
//!
//! What must stay true: as many copies leave the raw queue as the guard queue holds of the same message, no more; what
//! stays, stays in its old place.

use std::collections::HashMap;

use super::WrapError;
use crate::broker::rabbitmq::RabbitBroker;
use crate::broker::{Broker as _, BrokerError, Delivery};
use crate::forwarder::content_hash;

/// Most messages of a queue that can be held at once: the largest prefetch.
const MESSAGES_MAX: u64 = 60_000;

/// Answers how many were taken out.
pub(super) async fn reconcile(
    broker: &RabbitBroker,
    raw: &str,
    guard: &str,
) -> Result<usize, WrapError> {
    let mut public: HashMap<String, usize> = HashMap::new();
    match hold(broker, guard).await {
        Ok((_consumer, held)) => {
            for delivery in &held {
                *public.entry(content_hash(&delivery.message)).or_default() += 1;
            }
        }
        Err(WrapError::Broker { error: BrokerError::NoQueue { .. }, .. }) => return Ok(0),
        Err(error) => return Err(error),
    }
    let (mut consumer, held) = hold(broker, raw).await?;
    let mut tags = Vec::new();
    for delivery in &held {
        if let Some(copies) = public.get_mut(&content_hash(&delivery.message))
            && let Some(left) = copies.checked_sub(1)
        {
            *copies = left;
            tags.push(delivery.tag);
        }
    }
    consumer.ack(&tags).await.map_err(|error| failed(raw, error))?;
    Ok(tags.len())
}

/// Everything that waits in a queue now, unacknowledged: it goes back to its place when the consumer is dropped.
async fn hold(
    broker: &RabbitBroker,
    queue: &str,
) -> Result<(Box<dyn crate::broker::Consumer>, Vec<Delivery>), WrapError> {
    let failed = |error| failed(queue, error);
    let messages = broker.census_unread(queue).await.map_err(failed)?.messages;
    if messages > MESSAGES_MAX {
        let (queue, limit) = (queue.to_owned(), MESSAGES_MAX);
        return Err(WrapError::TooMany { queue, messages, limit });
    }
    let mut consumer = broker.consume(queue, u16::MAX).await.map_err(failed)?;
    let mut held = Vec::new();
    while (held.len() as u64) < messages {
        held.push(consumer.next().await.map_err(failed)?);
    }
    Ok((consumer, held))
}

fn failed(queue: &str, error: BrokerError) -> WrapError {
    WrapError::Broker { step: format!("compare `{queue}`"), error }
}
