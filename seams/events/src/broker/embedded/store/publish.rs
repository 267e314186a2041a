//! Publishing: plan against the queues' room, then write, so that a refused message has written nothing.

use super::*;

const DROP_OLDEST: &str = "DELETE FROM entries WHERE id IN (SELECT id FROM entries
    WHERE queue = ?1 AND session IS NULL ORDER BY id
    LIMIT MAX(0, (SELECT length FROM queues WHERE name = ?1) - ?2))";

/// Messages that passed every check, to be written together.
#[derive(Default)]
struct Plan<'m> {
    entries: Vec<(&'m Message, Vec<String>)>,
    ids: HashSet<&'m PublishId>,
    unrouted: Unrouted,
    /// Lengths of queues before the plan.
    lengths: HashMap<String, i64>,
    /// New entries per queue.
    added: HashMap<String, i64>,
}

impl Work<'_> {
    /// Stores the messages in order up to the first that is refused; that one is the answer. One that must be routed and
    /// is not leaves no trace, and does not stop the others.
    pub(in crate::broker::embedded) async fn publish(
        &mut self,
        session: Option<i64>,
        messages: &[Message],
    ) -> Result<(), BrokerError> {
        if let Some(session) = session {
            self.check_session(session, "").await?;
        }
        self.refresh_routes().await?;
        let mut plan = Plan::default();
        let mut refused = Ok(());
        for message in messages {
            refused = self.plan(message, &mut plan).await;
            if refused.is_err() {
                break;
            }
        }
        self.write(&plan).await.map_err(|error| self.failed(&*error))?;
        refused?;
        plan.unrouted.into_result()
    }

    /// Adds one message to the plan if its queues have room.
    async fn plan<'m>(
        &mut self,
        message: &'m Message,
        plan: &mut Plan<'m>,
    ) -> Result<(), BrokerError> {
        let id = message.publish_id.as_ref();
        if id.is_some_and(|id| plan.ids.contains(id)) || self.already_published(id).await? {
            return Ok(());
        }
        let queues = self.routes.queues_of(message)?;
        if queues.is_empty() && message.is_mandatory {
            plan.unrouted.add(&message.exchange, &message.routing_key);
            return Ok(());
        }
        for queue in &queues {
            let added = plan.added.get(queue).copied().unwrap_or(0);
            self.check_room(queue, added, plan).await?;
        }
        for queue in &queues {
            *plan.added.entry(queue.clone()).or_default() += 1;
        }
        plan.ids.extend(id);
        plan.entries.push((message, queues));
        Ok(())
    }

    pub(super) async fn check_session(
        &mut self,
        session: i64,
        queue: &str,
    ) -> Result<(), BrokerError> {
        let path = self.path;
        let there: Option<i64> = sqlx::query_scalar("SELECT id FROM sessions WHERE id = ?1")
            .bind(session)
            .fetch_optional(&mut *self.tx)
            .await
            .map_err(|error| storage(path, &error))?;
        there.map(|_| ()).ok_or_else(|| lost(queue))
    }

    async fn refresh_routes(&mut self) -> Result<(), BrokerError> {
        let version = self.value_of("SELECT value FROM meta WHERE key = ?1", "topology").await?;
        let version = version.unwrap_or_default();
        if version != self.routes.version {
            let routes = self.read_routes(version).await.map_err(|error| self.failed(&*error))?;
            *self.routes = routes;
        }
        Ok(())
    }

    async fn read_routes(
        &mut self,
        version: String,
    ) -> Result<Routes, Box<dyn std::error::Error + Send + Sync>> {
        let mut routes = Routes { version, ..Routes::default() };
        let exchanges: Vec<(String, String)> =
            sqlx::query_as("SELECT name, kind FROM exchanges").fetch_all(&mut *self.tx).await?;
        for (name, kind) in exchanges {
            let kind = serde_json::from_value(kind.into())?;
            routes.exchanges.insert(name, Exchange { kind, bindings: Vec::new() });
        }
        let bindings: Vec<(String, String, String)> =
            sqlx::query_as("SELECT exchange, pattern, queue FROM bindings")
                .fetch_all(&mut *self.tx)
                .await?;
        for (exchange, pattern, queue) in bindings {
            if let Some(exchange) = routes.exchanges.get_mut(&exchange) {
                exchange.bindings.push((pattern, queue));
            }
        }
        let queues: Vec<(String, String)> =
            sqlx::query_as("SELECT name, options FROM queues").fetch_all(&mut *self.tx).await?;
        for (name, options) in queues {
            let options: QueueOptions = serde_json::from_str(&options)?;
            if options.drops_oldest {
                routes.drops_oldest.insert(name.clone());
            }
            routes.length_max.insert(name, options.max_length.unwrap_or(LENGTH_MAX));
        }
        Ok(routes)
    }

    async fn already_published(&mut self, id: Option<&PublishId>) -> Result<bool, BrokerError> {
        let Some(id) = id else { return Ok(false) };
        let path = self.path;
        let query = "SELECT 1 FROM published WHERE publisher = ?1 AND sequence = ?2";
        let known: Option<i64> = sqlx::query_scalar(query)
            .bind(&id.publisher)
            .bind(id.sequence)
            .fetch_optional(&mut *self.tx)
            .await
            .map_err(|error| storage(path, &error))?;
        Ok(known.is_some())
    }

    /// Whether the queue takes one more after `added` of this plan; reads its length once per plan.
    async fn check_room(
        &mut self,
        queue: &str,
        added: i64,
        plan: &mut Plan<'_>,
    ) -> Result<(), BrokerError> {
        let length = match plan.lengths.get(queue) {
            Some(length) => *length,
            None => self.length(queue).await?,
        };
        plan.lengths.insert(queue.to_owned(), length);
        let length_max = self.routes.length_max.get(queue).copied().unwrap_or(LENGTH_MAX);
        if length + added < i64::from(length_max) || self.routes.drops_oldest.contains(queue) {
            return Ok(());
        }
        Err(BrokerError::QueueFull { queue: queue.to_owned(), length_max })
    }

    async fn length(&mut self, queue: &str) -> Result<i64, BrokerError> {
        let path = self.path;
        sqlx::query_scalar("SELECT length FROM queues WHERE name = ?1")
            .bind(queue)
            .fetch_one(&mut *self.tx)
            .await
            .map_err(|error| storage(path, &error))
    }

    async fn write(
        &mut self,
        plan: &Plan<'_>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        for (message, queues) in &plan.entries {
            if let Some(id) = &message.publish_id {
                self.remember(id).await?;
            }
            let properties = serde_json::to_string(&message.properties)?;
            for queue in queues {
                sqlx::query(INSERT_ENTRY)
                    .bind(queue)
                    .bind(&message.exchange)
                    .bind(&message.routing_key)
                    .bind(&properties)
                    .bind(&message.body)
                    .execute(&mut *self.tx)
                    .await?;
            }
        }
        for (queue, count) in &plan.added {
            sqlx::query("UPDATE queues SET length = length + ?2 WHERE name = ?1")
                .bind(queue)
                .bind(count)
                .execute(&mut *self.tx)
                .await?;
            if self.routes.drops_oldest.contains(queue) {
                self.drop_oldest(queue).await?;
            }
        }
        Ok(())
    }

    /// Removes waiting messages beyond the queue's limit; those that a consumer has stay.
    async fn drop_oldest(&mut self, queue: &str) -> Result<(), sqlx::Error> {
        let length_max = self.routes.length_max.get(queue).copied().unwrap_or(LENGTH_MAX);
        let dropped = sqlx::query(DROP_OLDEST)
            .bind(queue)
            .bind(length_max)
            .execute(&mut *self.tx)
            .await?
            .rows_affected();
        if dropped > 0 {
            sqlx::query("UPDATE queues SET length = length - ?2 WHERE name = ?1")
                .bind(queue)
                .bind(i64::try_from(dropped).unwrap_or(i64::MAX))
                .execute(&mut *self.tx)
                .await?;
        }
        Ok(())
    }

    async fn remember(&mut self, id: &PublishId) -> Result<(), sqlx::Error> {
        sqlx::query("INSERT OR IGNORE INTO published (publisher, sequence) VALUES (?1, ?2)")
            .bind(&id.publisher)
            .bind(id.sequence)
            .execute(&mut *self.tx)
            .await?;
        if id.sequence % FORGET_EVERY == 0 {
            sqlx::query("DELETE FROM published WHERE publisher = ?1 AND sequence < ?2")
                .bind(&id.publisher)
                .bind(id.sequence - PUBLISH_IDS_MAX)
                .execute(&mut *self.tx)
                .await?;
        }
        Ok(())
    }
}

impl Routes {
    /// The queues that get a message: each at most once, none when nothing is bound.
    fn queues_of(&self, message: &Message) -> Result<Vec<String>, BrokerError> {
        let key = message.routing_key.as_str();
        if message.exchange.is_empty() {
            return Ok(self.length_max.keys().filter(|queue| *queue == key).cloned().collect());
        }
        let exchange = self
            .exchanges
            .get(&message.exchange)
            .ok_or_else(|| BrokerError::NoExchange { exchange: message.exchange.clone() })?;
        let mut queues: Vec<String> = exchange
            .bindings
            .iter()
            .filter(|(pattern, _)| match exchange.kind {
                ExchangeKind::Topic => topic_matches(pattern, key),
                ExchangeKind::Fanout => true,
                ExchangeKind::Direct => pattern == key,
            })
            .map(|(_, queue)| queue.clone())
            .collect();
        queues.sort_unstable();
        queues.dedup();
        Ok(queues)
    }
}
