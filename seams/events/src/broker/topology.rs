//! What a broker must have before anybody publishes: exchanges, queues, bindings.
//!
//! Declared as one value so that a supervisor can say it again after every reconnect, and so that both
//! brokers take the same words.
//!
//! What must stay true: declaring is idempotent, and a name declared with other options is an error, never a
//! silent change. Topic matching is RabbitMQ's, including its treatment of empty words.

use serde::{Deserialize, Serialize};

/// How an exchange chooses the queues of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExchangeKind {
    /// Binding patterns with `*` (one word) and `#` (any number of words).
    Topic,
    /// Every bound queue.
    Fanout,
    /// Bindings equal to the routing key.
    Direct,
}

/// How a queue behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueOptions {
    /// Only one consumer gets messages at a time, the others stand by. Keeps the queue's order. Default: on.
    pub single_active_consumer: bool,
    /// RabbitMQ: a replicated quorum queue instead of a classic one. The embedded broker ignores it. Default: on.
    pub quorum: bool,
    /// Most messages waiting; a publish beyond it is refused, never dropped.
    /// `None`: 1,000,000 on the embedded broker, RabbitMQ's own alarms there.
    pub max_length: Option<u32>,
    /// Beyond `max_length` the oldest waiting message is dropped instead of the publish being refused. Only for
    /// queues beside the stream, whose loss harms nobody. Default: off.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub drops_oldest: bool,
}

impl Default for QueueOptions {
    fn default() -> Self {
        Self { single_active_consumer: true, quorum: true, max_length: None, drops_oldest: false }
    }
}

impl QueueOptions {
    /// Several consumers share the work; order between them is lost.
    pub fn shared() -> Self {
        Self { single_active_consumer: false, ..Self::default() }
    }

    /// Refuses publishes beyond this many waiting messages.
    #[must_use]
    pub fn max_length(mut self, messages: u32) -> Self {
        self.max_length = Some(messages);
        self
    }

    /// Keeps only the newest messages: for a queue beside the stream.
    #[must_use]
    pub fn drop_oldest_beyond(mut self, messages: u32) -> Self {
        self.max_length = Some(messages);
        self.drops_oldest = true;
        self
    }

    /// A classic queue, for RabbitMQ versions without quorum queues.
    #[must_use]
    pub fn classic(mut self) -> Self {
        self.quorum = false;
        self
    }
}

/// Exchanges, queues and bindings to be there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Topology {
    /// In declaration order.
    pub exchanges: Vec<(String, ExchangeKind)>,
    /// In declaration order.
    pub queues: Vec<(String, QueueOptions)>,
    /// Queue, exchange, pattern.
    pub bindings: Vec<Binding>,
}

/// One binding: the exchange's messages that match go to the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The queue that receives.
    pub queue: String,
    /// The exchange that is listened to.
    pub exchange: String,
    /// Topic pattern, or the exact key of a direct exchange.
    pub pattern: String,
}

impl Topology {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a durable exchange.
    #[must_use]
    pub fn exchange(mut self, name: impl Into<String>, kind: ExchangeKind) -> Self {
        self.exchanges.push((name.into(), kind));
        self
    }

    /// Adds a durable queue.
    #[must_use]
    pub fn queue(mut self, name: impl Into<String>, options: QueueOptions) -> Self {
        self.queues.push((name.into(), options));
        self
    }

    /// Binds a queue to an exchange.
    #[must_use]
    pub fn bind(
        mut self,
        queue: impl Into<String>,
        exchange: impl Into<String>,
        pattern: impl Into<String>,
    ) -> Self {
        self.bindings.push(Binding {
            queue: queue.into(),
            exchange: exchange.into(),
            pattern: pattern.into(),
        });
        self
    }

    /// Adds everything of `other` that is not already here.
    pub fn merge(&mut self, other: &Self) {
        merge_into(&mut self.exchanges, &other.exchanges);
        merge_into(&mut self.queues, &other.queues);
        merge_into(&mut self.bindings, &other.bindings);
    }
}

fn merge_into<T: Clone + PartialEq>(all: &mut Vec<T>, more: &[T]) {
    for item in more {
        if !all.contains(item) {
            all.push(item.clone());
        }
    }
}

/// Whether a topic pattern matches a routing key, as RabbitMQ's topic exchange decides it.
///
/// An empty text has no words at all, so `#` matches an empty key and `*` does not.
pub fn topic_matches(pattern: &str, key: &str) -> bool {
    let key: Vec<&str> = words(key).collect();
    // reachable[i]: the pattern read so far can match exactly the first i words.
    let mut reachable = vec![false; key.len() + 1];
    if let Some(first) = reachable.first_mut() {
        *first = true;
    }
    for part in words(pattern) {
        reachable = match part {
            "#" => {
                let first = reachable.iter().position(|yes| *yes).unwrap_or(usize::MAX);
                (0..reachable.len()).map(|i| i >= first).collect()
            }
            word => std::iter::once(false)
                .chain(
                    reachable
                        .iter()
                        .zip(&key)
                        .map(|(yes, have)| *yes && (word == "*" || word == *have)),
                )
                .collect(),
        };
    }
    reachable.last().copied().unwrap_or(false)
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split('.').filter(move |_| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, word for word: `#` eats zero or more words, `*` exactly one.
    fn naive(pattern: &[&str], key: &[&str]) -> bool {
        match (pattern.split_first(), key.split_first()) {
            (None, None) => true,
            (Some((&"#", rest)), None) => naive(rest, key),
            (Some((&"#", rest)), Some((_, tail))) => naive(rest, key) || naive(pattern, tail),
            (Some((word, rest)), Some((have, tail))) => {
                (*word == "*" || word == have) && naive(rest, tail)
            }
            (None, Some(_)) | (Some(_), None) => false,
        }
    }

    fn texts() -> impl Strategy<Value = (Vec<&'static str>, Vec<&'static str>)> {
        let part = prop_oneof![Just("#"), Just("*"), Just("a"), Just("b"), Just("")];
        let word = prop_oneof![Just("a"), Just("b"), Just("")];
        (proptest::collection::vec(part, 0..6), proptest::collection::vec(word, 0..6))
    }

    proptest! {
        #[test]
        fn topic_matching_equals_its_definition((pattern, key) in texts()) {
            // One empty word cannot be written: its text is that of no words.
            prop_assume!(pattern != [""] && key != [""]);
            prop_assert_eq!(topic_matches(&pattern.join("."), &key.join(".")), naive(&pattern, &key));
        }
    }

    #[test]
    fn topic_examples_of_the_rabbitmq_tutorial_hold() {
        for (pattern, key, expected) in [
            ("*.orange.*", "quick.orange.rabbit", true),
            ("*.orange.*", "quick.orange.male.rabbit", false),
            ("lazy.#", "lazy", true),
            ("lazy.#", "lazy.orange.male.rabbit", true),
            ("#", "", true),
            ("*", "", false),
            ("message.*", "message.sent", true),
            ("message.*", "message", false),
            ("#.a.#", "b.a", true),
        ] {
            assert_eq!(topic_matches(pattern, key), expected, "{pattern} on {key}");
        }
    }
}
