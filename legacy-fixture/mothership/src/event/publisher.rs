//! The task that publishes what the audits hold back.
//!
//! It reads unpublished audits in order, gives each event to the broker, waits for the confirm, and marks the batch.
//! The audits are the queue, so its length has no limit of memory and a crash forgets nothing.
//!
//! What must stay true: an audit is marked only after the broker has its event, so a crash in between repeats the
//! event under the same `message_id` and never loses it; one event waits for the one before it; what another process
//! on the same database committed is found, too.

use super::{Audit, Line};
use crate::{
    MothershipError,
    database::{Arg, Database, Reader, padded_list},
};
use banyan_seams::events::broker::{
    Broker, BrokerError, ExchangeKind, Message, PublishId, Topology, connect,
};
use serde_json::Value;
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::task::JoinHandle;

/// How often it looks when nobody wakes it: another process may have committed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// How long the end waits for events that the broker has not taken.
const DRAIN_MAX: Duration = Duration::from_secs(15);
const INSTANCE_KEY: &str = "instance";

/// What is read and marked at a time. Walks `index_audits_on_published`.
const BATCH: &str = "SELECT id, event_type, subject_type, subject_id, user_id, request_id, \
     CAST(created_at AS CHAR), data FROM audits WHERE published = 0 ORDER BY id LIMIT 200";
const MARK: &str = "UPDATE audits SET published = 1 WHERE id IN ";

/// The running task, if there is a broker.
#[derive(Debug)]
pub(crate) struct Publisher {
    task: Option<JoinHandle<()>>,
}

/// Where events go.
#[derive(Debug, Clone)]
pub(crate) struct Destination {
    pub(crate) broker: String,
    pub(crate) exchange: String,
}

/// All that publishing needs.
pub(super) struct Destined {
    pub(super) to: Destination,
    pub(super) instance: String,
    pub(super) database: Database,
    pub(super) line: Arc<Line>,
}

struct Outgoing {
    audit_id: i64,
    kind: String,
    body: Vec<u8>,
}

impl Publisher {
    pub(super) fn absent() -> Self {
        Self { task: None }
    }

    pub(super) fn start(destined: Destined) -> Self {
        Self { task: Some(tokio::spawn(destined.run())) }
    }

    /// Waits until all events are out. [`Events::close`](super::Events::close) must come before.
    pub(crate) async fn drain(self) {
        let Some(mut task) = self.task else { return };
        if tokio::time::timeout(DRAIN_MAX, &mut task).await.is_err() {
            task.abort();
            tracing::error!("events left for the next start: the broker did not take them");
        }
    }
}

/// Doubling waits.
struct Patience(Duration);

impl Patience {
    async fn wait(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(RETRY_MAX);
    }
}

impl Destined {
    /// Ends when the line is closed and empty.
    async fn run(mut self) {
        let mut broker: Option<Arc<dyn Broker>> = None;
        loop {
            // Asked before reading, so that what is committed after the reading wakes this task.
            let is_closed = self.line.closed.is_cancelled();
            let batch = self.unpublished().await;
            if batch.is_empty() {
                if is_closed {
                    break;
                }
                tokio::select! {
                    () = self.line.changed.notified() => {}
                    () = self.line.closed.cancelled() => {}
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
                continue;
            }
            for outgoing in &batch {
                self.publish(&mut broker, outgoing).await;
            }
            self.mark(&batch).await;
        }
        if let Some(broker) = broker {
            broker.close().await;
        }
    }

    async fn unpublished(&mut self) -> Vec<Outgoing> {
        let mut patience = Patience(RETRY_FIRST);
        loop {
            match self.read().await {
                Ok(batch) => return batch,
                Err(error) => tracing::warn!(%error, "events wait for the database"),
            }
            patience.wait().await;
        }
    }

    async fn read(&mut self) -> Result<Vec<Outgoing>, MothershipError> {
        let rows = self.database.rows(BATCH.into(), &[]).await?;
        let outgoing = rows.iter().map(|row| {
            let mut cells = row.cells();
            let (id, kind, subject) = (cells.int()?, cells.text()?, cells.text()?);
            let (subject_id, actor_id) = (cells.int()?, cells.maybe_int()?);
            let (request_id, at) = (cells.maybe_text()?.unwrap_or_default(), cells.text()?);
            let data = cells.maybe_text()?.unwrap_or_default();
            let audit = Audit {
                id,
                event_type: &kind,
                subject_type: &subject,
                subject_id,
                actor_id,
                request_id: &request_id,
                at: &at,
                data: serde_json::from_str(&data).unwrap_or(Value::Null),
            };
            let body = audit.body();
            Ok(Outgoing { audit_id: id, kind, body })
        });
        outgoing.collect()
    }

    /// Tries until it is marked: else the events would go out again and again.
    async fn mark(&self, batch: &[Outgoing]) {
        let ids: Vec<i64> = batch.iter().map(|outgoing| outgoing.audit_id).collect();
        let (places, args) = padded_list(&ids);
        let mut patience = Patience(RETRY_FIRST);
        while let Err(error) = self.try_mark(format!("{MARK}({places})"), &args).await {
            tracing::warn!(%error, "published events wait to be marked");
            patience.wait().await;
        }
    }

    async fn try_mark(&self, sql: String, args: &[Arg]) -> Result<(), MothershipError> {
        let mut tx = self.database.begin().await?;
        tx.execute(sql.into(), args).await?;
        tx.commit().await
    }

    /// Tries until the broker has it. Only an event that no broker takes is given up.
    async fn publish(&self, broker: &mut Option<Arc<dyn Broker>>, outgoing: &Outgoing) {
        let mut patience = Patience(RETRY_FIRST);
        loop {
            match self.try_publish(broker, outgoing).await {
                Ok(()) => return,
                Err(error @ BrokerError::InvalidMessage { .. }) => {
                    self.line.lost.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(%error, audit_id = outgoing.audit_id, "event cannot be sent");
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, audit_id = outgoing.audit_id, "event waits for the broker");
                    // Not only the connection may be gone, also the exchange: the next try declares it again.
                    *broker = None;
                }
            }
            patience.wait().await;
        }
    }

    async fn try_publish(
        &self,
        broker: &mut Option<Arc<dyn Broker>>,
        outgoing: &Outgoing,
    ) -> Result<(), BrokerError> {
        let connected = if let Some(broker) = broker {
            Arc::clone(broker)
        } else {
            let fresh = connect(&self.to.broker).await?;
            let exchange = Topology::new().exchange(&self.to.exchange, ExchangeKind::Topic);
            fresh.declare(&exchange).await?;
            Arc::clone(broker.insert(fresh))
        };
        let message = Message::new(&self.to.exchange, &outgoing.kind, outgoing.body.clone())
            .message_id(format!("mothership-{}", outgoing.audit_id))
            .content_type("application/json")
            .kind(&outgoing.kind)
            .persistent()
            .publish_once(PublishId {
                publisher: format!("mothership-{}", self.instance),
                sequence: outgoing.audit_id,
            });
        connected.publish(message).await
    }
}

pub(super) fn refuse_unknown_broker(url: &str) -> Result<(), MothershipError> {
    if ["embedded:", "amqp://", "amqps://"].iter().any(|scheme| url.starts_with(scheme)) {
        Ok(())
    } else {
        let scheme = url.split(':').next().unwrap_or_default();
        Err(MothershipError::BrokerUrl { url: format!("{scheme}:...") })
    }
}

/// A name of this database, kept in it: brokers that remember publishes need to tell databases apart.
pub(super) async fn instance(database: &Database) -> Result<String, MothershipError> {
    const FIND: &str = "SELECT value FROM ar_internal_metadata WHERE name = ?";
    if let Some(row) = database.clone().rows(FIND.into(), &[INSTANCE_KEY.into()]).await?.first() {
        return row.cells().text();
    }
    let instance = uuid::Uuid::new_v4().to_string();
    let mut tx = database.begin().await?;
    let insert = "INSERT INTO ar_internal_metadata (name, value) VALUES (?, ?)";
    tx.execute(insert.into(), &[INSTANCE_KEY.into(), instance.as_str().into()]).await?;
    tx.commit().await?;
    Ok(instance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_brokers_are_refused_without_their_password() {
        let error = refuse_unknown_broker("kafka://u:geheim@h").unwrap_err().to_string();
        assert!(error.contains("kafka") && error.contains("hint"), "{error}");
        assert!(!error.contains("geheim"), "{error}");
    }
}
