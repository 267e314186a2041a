//! Declaring exchanges, queues and bindings: all is checked before anything is written.

use super::{Work, storage};
use crate::broker::{BrokerError, ExchangeKind, Topology};

impl Work<'_> {
    pub(in crate::broker::embedded) async fn declare(
        &mut self,
        topology: &Topology,
    ) -> Result<(), BrokerError> {
        self.check_exchanges(topology).await?;
        self.check_queues(topology).await?;
        self.check_bindings(topology).await?;
        self.write_topology(topology).await.map_err(|error| self.failed(&*error))
    }

    async fn check_exchanges(&mut self, topology: &Topology) -> Result<(), BrokerError> {
        for (name, kind) in &topology.exchanges {
            let known: Option<String> =
                self.value_of("SELECT kind FROM exchanges WHERE name = ?1", name).await?;
            if known.as_deref().is_some_and(|known| known != kind_word(*kind)) {
                let reason = format!("it is {}", known.unwrap_or_default());
                return Err(BrokerError::TopologyConflict { name: name.clone(), reason });
            }
        }
        Ok(())
    }

    async fn check_queues(&mut self, topology: &Topology) -> Result<(), BrokerError> {
        for (name, options) in &topology.queues {
            let known: Option<String> =
                self.value_of("SELECT options FROM queues WHERE name = ?1", name).await?;
            let wanted = serde_json::to_string(options).map_err(|error| self.failed(&error))?;
            if known.as_ref().is_some_and(|known| *known != wanted) {
                let reason = format!("it has {}", known.unwrap_or_default());
                return Err(BrokerError::TopologyConflict { name: name.clone(), reason });
            }
        }
        Ok(())
    }

    async fn check_bindings(&mut self, topology: &Topology) -> Result<(), BrokerError> {
        for binding in &topology.bindings {
            let (exchange, queue) = (&binding.exchange, &binding.queue);
            if !topology.exchanges.iter().any(|(name, _)| name == exchange)
                && self
                    .value_of("SELECT kind FROM exchanges WHERE name = ?1", exchange)
                    .await?
                    .is_none()
            {
                return Err(BrokerError::NoExchange { exchange: exchange.clone() });
            }
            if !topology.queues.iter().any(|(name, _)| name == queue)
                && self
                    .value_of("SELECT options FROM queues WHERE name = ?1", queue)
                    .await?
                    .is_none()
            {
                return Err(BrokerError::NoQueue { queue: queue.clone() });
            }
        }
        Ok(())
    }

    pub(super) async fn value_of(
        &mut self,
        query: &'static str,
        key: &str,
    ) -> Result<Option<String>, BrokerError> {
        let path = self.path;
        sqlx::query_scalar(query)
            .bind(key)
            .fetch_optional(&mut *self.tx)
            .await
            .map_err(|error| storage(path, &error))
    }

    async fn write_topology(
        &mut self,
        topology: &Topology,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let mut written = 0;
        for (name, kind) in &topology.exchanges {
            let insert = "INSERT OR IGNORE INTO exchanges (name, kind) VALUES (?1, ?2)";
            let query = sqlx::query(insert).bind(name).bind(kind_word(*kind));
            written += query.execute(&mut *self.tx).await?.rows_affected();
        }
        for (name, options) in &topology.queues {
            let insert =
                "INSERT OR IGNORE INTO queues (name, options, single_active) VALUES (?1, ?2, ?3)";
            let query = sqlx::query(insert)
                .bind(name)
                .bind(serde_json::to_string(options)?)
                .bind(options.single_active_consumer);
            written += query.execute(&mut *self.tx).await?.rows_affected();
        }
        for binding in &topology.bindings {
            let insert =
                "INSERT OR IGNORE INTO bindings (exchange, queue, pattern) VALUES (?1, ?2, ?3)";
            let query = sqlx::query(insert)
                .bind(&binding.exchange)
                .bind(&binding.queue)
                .bind(&binding.pattern);
            written += query.execute(&mut *self.tx).await?.rows_affected();
        }
        if written > 0 {
            // A fresh token, not a counter: a number could be reused after a rollback.
            sqlx::query("UPDATE meta SET value = ?1 WHERE key = 'topology'")
                .bind(uuid::Uuid::new_v4().to_string())
                .execute(&mut *self.tx)
                .await?;
        }
        Ok(())
    }
}

fn kind_word(kind: ExchangeKind) -> &'static str {
    match kind {
        ExchangeKind::Topic => "topic",
        ExchangeKind::Fanout => "fanout",
        ExchangeKind::Direct => "direct",
    }
}
