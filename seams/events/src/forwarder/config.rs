//! What the forwarder is told: where the sides publish, where consumers listen, which events are whose.
//!
//! What must stay true: the raw and the public exchange are never the same place, or the forwarder would
//! read what it writes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use banyan_domain::{ContextName, Side};

use super::ForwarderError;
use crate::broker::{ExchangeKind, QueueOptions, Topology, topic_matches};

/// A forwarder's configuration.
///
/// Legacy is led to the raw place in one of two ways, both without touching its code: another virtual host
/// or file in its broker URL (the exchange keeps its name), or another exchange name on the same broker.
#[derive(Debug, Clone)]
pub struct ForwarderConfig {
    /// Forwarders of the same name and store take turns: one leads, the others stand by.
    pub name: String,
    /// Where each side publishes.
    pub raw: BTreeMap<Side, RawPlace>,
    /// Where consumers listen.
    pub public: PublicPlace,
    /// Which events belong to which context; the first match counts. An event without one is unmigrated:
    /// legacy's passes through, the new side's is recorded.
    pub contexts: Vec<ContextMatcher>,
    /// The forwarder's own SQLite file; all forwarders of one name must use the same.
    pub database: PathBuf,
    /// Events in flight per side, and the largest batch.
    pub prefetch: u16,
    /// What a duplicate is recognised by.
    pub dedupe: Dedupe,
    /// After how long a forwarder that gave no sign of life is replaced.
    pub lease: Duration,
    /// How much of the log is kept.
    pub retention: Retention,
    /// Larger bodies are not kept in the log (they are forwarded all the same).
    pub logged_body_bytes_max: usize,
}

/// Where one side publishes.
#[derive(Debug, Clone)]
pub struct RawPlace {
    /// Broker URL, see [`crate::broker::connect`].
    pub broker: String,
    /// The exchange that the side publishes to.
    pub exchange: String,
    /// How that exchange routes.
    pub exchange_kind: ExchangeKind,
    /// The forwarder's queue on it.
    pub queue: String,
    /// Options of that queue; the default (quorum, single active consumer) keeps order and fences.
    pub queue_options: QueueOptions,
}

/// Where consumers listen.
#[derive(Debug, Clone)]
pub struct PublicPlace {
    /// Broker URL. Equal to a raw place's URL, its events are published on the channel they came from,
    /// so that a forwarder which lost its queue cannot publish. Otherwise over a connection of its own.
    pub broker: String,
    /// The exchange that consumers bind to.
    pub exchange: String,
    /// How that exchange routes.
    pub exchange_kind: ExchangeKind,
}

/// Which events belong to a context.
#[derive(Debug, Clone)]
pub struct ContextMatcher {
    /// The context.
    pub context: ContextName,
    /// Topic patterns on the routing key, such as `message.*`.
    pub routing_keys: Vec<String>,
}

/// What a duplicate is recognised by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dedupe {
    /// The CloudEvents source and id, else `message_id`; an event with neither as under `Content`.
    #[default]
    Id,
    /// Ids are ignored, for emitters that reuse them: only a redelivery of the same bytes is recognised.
    Content,
}

/// How much of the log is kept. Rows are trimmed every minute, oldest first; late events and events that
/// are decided but not forwarded are never trimmed. A duplicate of a trimmed event is not recognised.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Most rows.
    pub rows_max: u64,
    /// Oldest row.
    pub age_max: Duration,
    /// Late events waiting for an operator; at this many the forwarder stops instead of dropping one.
    pub late_max: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { rows_max: 500_000, age_max: Duration::from_hours(7 * 24), late_max: 10_000 }
    }
}

impl RawPlace {
    /// A topic exchange and a queue with the default options.
    pub fn new(
        broker: impl Into<String>,
        exchange: impl Into<String>,
        queue: impl Into<String>,
    ) -> Self {
        Self {
            broker: broker.into(),
            exchange: exchange.into(),
            exchange_kind: ExchangeKind::Topic,
            queue: queue.into(),
            queue_options: QueueOptions::default(),
        }
    }

    pub(super) fn topology(&self) -> Topology {
        Topology::new()
            .exchange(&self.exchange, self.exchange_kind)
            .queue(&self.queue, self.queue_options)
            .bind(&self.queue, &self.exchange, "#")
    }
}

impl PublicPlace {
    /// A topic exchange.
    pub fn new(broker: impl Into<String>, exchange: impl Into<String>) -> Self {
        Self {
            broker: broker.into(),
            exchange: exchange.into(),
            exchange_kind: ExchangeKind::Topic,
        }
    }
}

impl ForwarderConfig {
    /// Without places of the sides and contexts; add them to `raw` and `contexts`.
    pub fn new(name: impl Into<String>, database: impl Into<PathBuf>, public: PublicPlace) -> Self {
        Self {
            name: name.into(),
            raw: BTreeMap::new(),
            public,
            contexts: Vec::new(),
            database: database.into(),
            prefetch: 200,
            dedupe: Dedupe::default(),
            lease: Duration::from_secs(6),
            retention: Retention::default(),
            logged_body_bytes_max: 64 * 1024,
        }
    }

    /// Adds where a side publishes.
    #[must_use]
    pub fn raw(mut self, side: Side, place: RawPlace) -> Self {
        self.raw.insert(side, place);
        self
    }

    /// Adds a context and its routing keys.
    #[must_use]
    pub fn context(mut self, context: ContextName, routing_keys: &[&str]) -> Self {
        let routing_keys = routing_keys.iter().map(|key| (*key).to_owned()).collect();
        self.contexts.push(ContextMatcher { context, routing_keys });
        self
    }

    /// Every place with its URL, for connecting.
    pub(super) fn places(&self) -> impl Iterator<Item = (String, &str)> {
        let raw = self.raw.iter().map(|(side, raw)| (format!("raw {side}"), raw.broker.as_str()));
        raw.chain([("public".to_owned(), self.public.broker.as_str())])
    }

    /// The context of a routing key; the first match counts.
    pub(super) fn context_of(&self, routing_key: &str) -> Option<&ContextName> {
        self.contexts
            .iter()
            .find(|matcher| {
                matcher.routing_keys.iter().any(|pattern| topic_matches(pattern, routing_key))
            })
            .map(|matcher| &matcher.context)
    }

    /// Refuses what contradicts itself.
    ///
    /// # Errors
    /// [`ForwarderError::Config`] with the rule.
    pub fn check(&self) -> Result<(), ForwarderError> {
        let refuse = |reason: String| Err(ForwarderError::Config { reason });
        if self.name.is_empty() {
            return refuse("its name is empty".to_owned());
        }
        if !self.raw.contains_key(&Side::Legacy) {
            return refuse("the raw place of `legacy` is missing".to_owned());
        }
        for (side, raw) in &self.raw {
            if raw.broker == self.public.broker && raw.exchange == self.public.exchange {
                return refuse(format!(
                    "the raw exchange of `{side}` is the public one; give it another name or broker"
                ));
            }
        }
        let mut queues: Vec<_> = self.raw.values().map(|raw| (&raw.broker, &raw.queue)).collect();
        queues.sort_unstable();
        queues.dedup();
        if queues.len() < self.raw.len() {
            return refuse("both sides use the same raw queue".to_owned());
        }
        if self.prefetch == 0 || self.retention.rows_max < 10 * u64::from(self.prefetch) {
            return refuse("`prefetch` must be at least 1, `rows-max` ten times that".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> ForwarderConfig {
        let public = PublicPlace::new("embedded:/tmp/b.db", "semantic-events");
        ForwarderConfig::new("demo", "/tmp/f.db", public)
            .raw(Side::Legacy, RawPlace::new("embedded:/tmp/b.db", "raw.legacy", "f.legacy"))
            .context(ContextName::new("messages").unwrap(), &["message.*"])
    }

    #[test]
    fn an_event_belongs_to_the_first_context_that_matches() {
        let other = ContextName::new("rest").unwrap();
        let config = config().context(other.clone(), &["#.sent", "track.#"]);
        assert_eq!(config.context_of("message.sent").unwrap().as_str(), "messages");
        assert_eq!(config.context_of("track.played"), Some(&other));
        assert_eq!(config.context_of("user.followed"), None);
    }

    #[test]
    fn a_forwarder_that_would_read_what_it_writes_is_refused() {
        let raw = RawPlace::new("embedded:/tmp/b.db", "semantic-events", "f.new");
        let error = config().raw(Side::New, raw).check().unwrap_err().to_string();
        assert!(error.contains("raw exchange of `new` is the public one"), "{error}");
        let raw = RawPlace::new("embedded:/tmp/b.db", "raw.new", "f.legacy");
        let error = config().raw(Side::New, raw).check().unwrap_err().to_string();
        assert!(error.contains("same raw queue"), "{error}");
        config().check().unwrap();
    }
}
