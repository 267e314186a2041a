//! What the forwarder is told: where the sides publish, where consumers listen, which events are whose.
//!
//! What must stay true: the raw and the public exchange are never the same place, or the forwarder would
//! read what it writes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use banyan_domain::{ContextName, Side};

use super::ForwarderError;
use super::matcher::ContextMatcher;
use crate::broker::{ExchangeKind, Message, QueueOptions, Topology};

/// Most events that wait in the queue of a tap.
const TAP_LENGTH_MAX: u32 = 50_000;

/// A forwarder's configuration.
///
/// Legacy is led to the raw place in one of the ways of [`Insertion`], all without touching its code.
#[derive(Debug, Clone)]
pub struct ForwarderConfig {
    /// Forwarders of the same name and store take turns: one leads, the others stand by.
    pub name: String,
    /// How it is put between the monolith and its consumers.
    pub insertion: Insertion,
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

/// How the forwarder is put between the monolith and its consumers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Insertion {
    /// Beside the stream: it binds queues of its own to the exchanges that are in use, records and decides, and
    /// publishes nothing. The first step of an adoption. A tap that nobody reads drops its oldest events.
    Tap,
    /// The monolith's broker URL names another virtual host or file; its exchange keeps its name.
    #[default]
    Vhost,
    /// The monolith publishes to another exchange of the same virtual host.
    Exchange,
    /// Nothing of the monolith is changed: its exchange becomes the raw one, and its bindings move to the public one.
    Wrap,
}

impl Insertion {
    /// All ways, the harmless one first.
    pub const ALL: [Self; 4] = [Self::Tap, Self::Vhost, Self::Exchange, Self::Wrap];

    /// Its word in configuration and output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tap => "tap",
            Self::Vhost => "vhost",
            Self::Exchange => "exchange",
            Self::Wrap => "wrap",
        }
    }

    /// Whether the sides' exchanges belong to applications that declare them in their own way.
    const fn exchange_is_foreign(self) -> bool {
        match self {
            Self::Tap | Self::Wrap => true,
            Self::Vhost | Self::Exchange => false,
        }
    }
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

    pub(super) fn topology(&self, insertion: Insertion) -> Topology {
        let topology = if insertion.exchange_is_foreign() {
            Topology::new()
        } else {
            Topology::new().exchange(&self.exchange, self.exchange_kind)
        };
        // A tap must never be the reason why the monolith's publishes are refused or its broker fills up.
        let options = match insertion {
            Insertion::Tap => self.queue_options.drop_oldest_beyond(TAP_LENGTH_MAX),
            Insertion::Vhost | Insertion::Exchange | Insertion::Wrap => self.queue_options,
        };
        topology.queue(&self.queue, options).bind(&self.queue, &self.exchange, "#")
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
            insertion: Insertion::default(),
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
        self.contexts.push(ContextMatcher::new(context).routing_keys(routing_keys));
        self
    }

    /// Every place with its URL, for connecting.
    pub(super) fn places(&self) -> impl Iterator<Item = (String, &str)> {
        let raw = self.raw.iter().map(|(side, raw)| (format!("raw {side}"), raw.broker.as_str()));
        raw.chain([("public".to_owned(), self.public.broker.as_str())])
    }

    /// The context of an event; the first match counts.
    pub(super) fn context_of(&self, message: &Message) -> Option<&ContextName> {
        let matches = |matcher: &&ContextMatcher| matcher.matches(message);
        self.contexts.iter().find(matches).map(|matcher| &matcher.context)
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
            let same = raw.broker == self.public.broker && raw.exchange == self.public.exchange;
            if same && self.insertion != Insertion::Tap {
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
        let of = |key: &str| config.context_of(&Message::new("raw.legacy", key, Vec::new()));
        assert_eq!(of("message.sent").unwrap().as_str(), "messages");
        assert_eq!(of("track.played"), Some(&other));
        assert_eq!(of("user.followed"), None);
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
