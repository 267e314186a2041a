//! The messages of one call that no queue was bound for.

use std::collections::BTreeMap;

use super::BrokerError;

/// Counts them by routing key.
#[derive(Debug, Default)]
pub(super) struct Unrouted {
    exchange: String,
    routing_keys: BTreeMap<String, u64>,
}

impl Unrouted {
    pub(super) fn add(&mut self, exchange: &str, routing_key: &str) {
        exchange.clone_into(&mut self.exchange);
        *self.routing_keys.entry(routing_key.to_owned()).or_default() += 1;
    }

    /// Takes in the outcome of a part of the call; any other error ends the call.
    pub(super) fn take_in(&mut self, part: Result<(), BrokerError>) -> Result<(), BrokerError> {
        match part {
            Err(BrokerError::Unroutable { exchange, routing_keys }) => {
                self.exchange = exchange;
                for (key, count) in routing_keys {
                    *self.routing_keys.entry(key).or_default() += count;
                }
                Ok(())
            }
            other => other,
        }
    }

    pub(super) fn into_result(self) -> Result<(), BrokerError> {
        if self.routing_keys.is_empty() {
            return Ok(());
        }
        let Self { exchange, routing_keys } = self;
        Err(BrokerError::Unroutable { exchange, routing_keys })
    }
}
