//! Changes of a live topology that a [`Topology`](crate::broker::Topology) cannot say: moving and removing bindings.
//!
//! Only a wrap and its undo need them. What must stay true: each may be done twice, the second time changes nothing.

use std::time::Duration;

use lapin::options::{
    ExchangeBindOptions, ExchangeDeclareOptions, ExchangeDeleteOptions, ExchangeUnbindOptions,
    QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Map, Value};
use tokio::time::timeout;

use super::{REPLY_MAX, RabbitBroker, declared, short};
use crate::broker::BrokerError;

/// How often a queue is looked at whose readers should leave.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What a binding leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Receiver {
    /// A queue.
    Queue,
    /// An exchange.
    Exchange,
}

/// One binding on a live broker.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Link {
    pub(crate) source: String,
    pub(crate) receiver: Receiver,
    pub(crate) destination: String,
    pub(crate) key: String,
    pub(crate) arguments: Map<String, Value>,
}

/// One change.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Change {
    /// Declare a durable exchange of this kind.
    DeclareExchange { name: String, kind: String },
    /// Add a binding.
    Bind(Link),
    /// Remove a binding.
    Unbind(Link),
    /// Remove a queue with everything in it.
    DeleteQueue { name: String },
    /// Remove an exchange that nothing is bound to.
    DeleteExchange { name: String },
}

/// Who reads a queue and what waits in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Census {
    pub(crate) consumers: u32,
    pub(crate) messages: u64,
}

impl RabbitBroker {
    /// Counts consumers and waiting messages. Without consumers nothing is out unacknowledged, so the count is all there is.
    pub(crate) async fn census(&self, queue: &str) -> Result<Census, BrokerError> {
        let (_connection, channel) = self.channel().await?;
        let options = QueueDeclareOptions::durable().passive();
        let asking = channel.queue_declare(short(queue)?, options, FieldTable::default());
        let found = declared(queue, timeout(REPLY_MAX, asking).await)?;
        Ok(Census { consumers: found.consumer_count(), messages: u64::from(found.message_count()) })
    }

    /// As [`RabbitBroker::census`], once nobody reads the queue any more.
    pub(crate) async fn census_unread(&self, queue: &str) -> Result<Census, BrokerError> {
        let give_up = tokio::time::Instant::now() + REPLY_MAX;
        loop {
            let census = self.census(queue).await?;
            if census.consumers == 0 {
                return Ok(census);
            }
            if tokio::time::Instant::now() > give_up {
                let reason = format!("`{queue}` still has {} consumers", census.consumers);
                return Err(BrokerError::Refused { reason });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Does one change and waits for the broker's word.
    pub(crate) async fn change(&self, change: &Change) -> Result<(), BrokerError> {
        let (_connection, channel) = self.channel().await?;
        match change {
            Change::DeclareExchange { name, kind } => {
                let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
                let kind = lapin::ExchangeKind::Custom(kind.clone());
                let doing =
                    channel.exchange_declare(short(name)?, kind, options, FieldTable::default());
                declared(name, timeout(REPLY_MAX, doing).await)
            }
            Change::Bind(link) => {
                let (to, from, key) =
                    (short(&link.destination)?, short(&link.source)?, short(&link.key)?);
                let arguments = table(&link.arguments)?;
                match link.receiver {
                    Receiver::Queue => {
                        let options = QueueBindOptions::default();
                        let doing = channel.queue_bind(to, from, key, options, arguments);
                        declared(&link.destination, timeout(REPLY_MAX, doing).await)
                    }
                    Receiver::Exchange => {
                        let options = ExchangeBindOptions::default();
                        let doing = channel.exchange_bind(to, from, key, options, arguments);
                        declared(&link.destination, timeout(REPLY_MAX, doing).await)
                    }
                }
            }
            Change::Unbind(link) => {
                let (to, from, key) =
                    (short(&link.destination)?, short(&link.source)?, short(&link.key)?);
                let arguments = table(&link.arguments)?;
                match link.receiver {
                    Receiver::Queue => {
                        let doing = channel.queue_unbind(to, from, key, arguments);
                        declared(&link.destination, timeout(REPLY_MAX, doing).await)
                    }
                    Receiver::Exchange => {
                        let options = ExchangeUnbindOptions::default();
                        let doing = channel.exchange_unbind(to, from, key, options, arguments);
                        declared(&link.destination, timeout(REPLY_MAX, doing).await)
                    }
                }
            }
            Change::DeleteQueue { name } => {
                let doing = channel.queue_delete(short(name)?, QueueDeleteOptions::default());
                declared(name, timeout(REPLY_MAX, doing).await).map(drop)
            }
            Change::DeleteExchange { name } => {
                let options = ExchangeDeleteOptions { if_unused: true, ..Default::default() };
                let doing = channel.exchange_delete(short(name)?, options);
                declared(name, timeout(REPLY_MAX, doing).await)
            }
        }
    }
}

/// Arguments of a binding; header exchanges take texts, numbers and flags.
fn table(arguments: &Map<String, Value>) -> Result<FieldTable, BrokerError> {
    let mut table = FieldTable::default();
    for (name, value) in arguments {
        let value = match value {
            Value::String(text) => AMQPValue::LongString(text.as_str().into()),
            Value::Bool(flag) => AMQPValue::Boolean(*flag),
            Value::Number(number) => AMQPValue::LongLongInt(number.as_i64().unwrap_or(0)),
            Value::Null | Value::Array(_) | Value::Object(_) => {
                let reason = format!("the binding argument `{name}` cannot be copied");
                return Err(BrokerError::InvalidMessage { reason });
            }
        };
        table.insert(short(name)?, value);
    }
    Ok(table)
}
