//! `[events]` and the events of a context: where the sides publish, where consumers listen, whose event is whose.

use super::problem::Problem;
use super::reader::{Found, Section};
use super::section::secret;
use super::{url_relative_to, value};
use banyan_domain::Side;
use banyan_events::forwarder::{Expected, Insertion};
use banyan_parity::KeySpec;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

/// Which events belong to a context: all kinds of condition that are given must hold, of each kind any.
#[derive(Debug, Clone, Default)]
pub(crate) struct ContextEvents {
    /// Patterns on the routing key.
    pub(crate) routing_keys: Vec<String>,
    /// Patterns on the AMQP `type`.
    pub(crate) kinds: Vec<String>,
    /// Headers and their values.
    pub(crate) headers: Vec<Expected>,
    /// JSON pointers into the body and their values.
    pub(crate) pointers: Vec<Expected>,
    /// How both sides' events are paired.
    pub(crate) parity: Parity,
}

impl ContextEvents {
    /// Whether no event is the context's.
    pub(crate) fn is_empty(&self) -> bool {
        let Self { routing_keys, kinds, headers, pointers, parity: _ } = self;
        routing_keys.is_empty() && kinds.is_empty() && headers.is_empty() && pointers.is_empty()
    }
}

/// How the events of both sides are paired.
#[derive(Debug, Clone)]
pub(crate) struct Parity {
    /// What two events of one change have in common.
    pub(crate) key: KeySpec,
    /// How far apart they may be.
    pub(crate) window_ms: u64,
    /// From which distance on the later one is late.
    pub(crate) late_max_ms: u64,
}

impl Default for Parity {
    fn default() -> Self {
        Self { key: KeySpec::default(), window_ms: 300_000, late_max_ms: 30_000 }
    }
}

impl Parity {
    fn read(section: &Section<'_>) -> Self {
        let default = Self::default();
        let key = section.strings("parity-key").and_then(|words| parity_key(section, &words));
        let window_ms = section.or("parity-window", "5m", window).unwrap_or(default.window_ms);
        let late_max_ms =
            section.or("parity-late-max", "30s", value::duration_ms).unwrap_or(default.late_max_ms);
        if late_max_ms > window_ms {
            let span = section.key_span("parity-late-max").or(section.key_span("parity-window"));
            let problem = "`parity-late-max` is longer than `parity-window`: nothing would be late";
            section.problem(
                Problem::error(span, problem)
                    .hint("a pair that is further apart than the window is no pair"),
            );
        }
        Self { key: key.unwrap_or(default.key), window_ms, late_max_ms }
    }
}

/// A time within which the two events of a pair can be found.
pub(crate) fn window(text: &str) -> Result<u64, String> {
    let ms = value::duration_ms(text)?;
    if (1_000..=86_400_000).contains(&ms) {
        return Ok(ms);
    }
    Err(format!("must be from 1s to 24h, found `{text}`"))
}

fn parity_key(section: &Section<'_>, words: &[Found<String>]) -> Option<KeySpec> {
    let mut is_right = true;
    for word in words {
        if let Err(rule) = KeySpec::check_word(&word.value) {
            is_right = false;
            section.problem(Problem::error(word.span.clone(), format!("`parity-key`: {rule}")));
        }
    }
    if !is_right {
        return None;
    }
    match KeySpec::parse(words.iter().map(|word| word.value.as_str())) {
        Ok(key) => Some(key),
        Err(rule) => {
            let span = section.key_span("parity-key");
            section.problem(
                Problem::error(span, format!("`parity-key` {rule}"))
                    .hint("parity-key = [\"type\", \"subject\"]"),
            );
            None
        }
    }
}

impl ContextEvents {
    pub(crate) fn read(section: &Section<'_>) -> Self {
        let texts = |key| {
            let found = section.strings(key).unwrap_or_default();
            found.into_iter().map(|found| found.value).collect()
        };
        Self {
            routing_keys: texts("events"),
            kinds: texts("event-types"),
            headers: expected(section, "event-headers"),
            pointers: expected(section, "event-pointers"),
            parity: Parity::read(section),
        }
    }
}

fn expected(section: &Section<'_>, key: &'static str) -> Vec<Expected> {
    let mut all = Vec::new();
    for found in section.strings(key).unwrap_or_default() {
        match Expected::parse(&found.value) {
            Ok(one) => all.push(one),
            Err(rule) => section.problem(Problem::error(found.span, format!("`{key}`: {rule}"))),
        }
    }
    all
}

fn parse_insertion(text: &str) -> Result<Insertion, String> {
    let known = Insertion::ALL.into_iter().find(|known| known.as_str() == text);
    known.ok_or_else(|| format!("must be `tap`, `vhost`, `exchange` or `wrap`, found `{text}`"))
}

fn management_url(text: &str) -> Result<String, String> {
    match reqwest::Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.host().is_some() => {
            Ok(text.trim_end_matches('/').to_owned())
        }
        Ok(_) | Err(_) => {
            Err("must be a URL such as \"http://user:password@127.0.0.1:15672\"".to_owned())
        }
    }
}

/// `[events]`: the forwarder.
#[derive(Debug, Clone)]
pub(crate) struct Events {
    /// How the forwarder is put between the monolith and its consumers.
    pub(crate) insertion: Insertion,
    /// RabbitMQ's management API with user and password, for `doctor`, `wrap` and `unwrap`.
    pub(crate) management: Option<String>,
    /// Most late events that wait for an operator.
    pub(crate) quarantine_max: usize,
    pub(crate) database: String,
    pub(crate) raw: BTreeMap<Side, RawPlace>,
    pub(crate) public_broker: String,
    pub(crate) public_exchange: String,
}

/// Where one side publishes.
#[derive(Debug, Clone)]
pub(crate) struct RawPlace {
    pub(crate) broker: String,
    pub(crate) exchange: String,
    pub(crate) queue: String,
    pub(crate) queue_type: QueueType,
}

/// How RabbitMQ keeps a raw queue; the embedded broker has one kind only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QueueType {
    /// Replicated; the right one for a cluster.
    Quorum,
    /// On one node; a killed single node finds it again at once.
    Classic,
}

impl QueueType {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "quorum" => Ok(Self::Quorum),
            "classic" => Ok(Self::Classic),
            other => Err(format!("must be `quorum` or `classic`, found `{other}`")),
        }
    }
}

impl Events {
    pub(crate) fn read(section: &Section<'_>, base: &Path) -> Option<Self> {
        let database = section.or("database", "sqlite:banyan-events.db", |text| {
            if text.starts_with("sqlite:") {
                Ok(text.to_owned())
            } else {
                Err("must start with `sqlite:`".to_owned())
            }
        });
        let insertion = section.optional("insertion", parse_insertion);
        let keys = ["management", "management-env", "management-file"];
        let management = secret(section, keys, management_url);
        let quarantine_max = section.or("quarantine-max", "10000", value::count);
        let mut raw = BTreeMap::new();
        // Different exchanges by default: on one broker a shared one would bring each side the other's events.
        let places = [
            (Side::Legacy, "legacy", "semantic-events"),
            (Side::New, "new", "semantic-events-new"),
        ];
        for (side, key, exchange) in places {
            let place = section.section(key);
            let queue = format!("banyan.raw.{side}");
            let broker = broker(&place, base, side == Side::Legacy && section.is_present());
            let exchange = place.or("exchange", exchange, value::text);
            let queue = place.or("queue", &queue, value::text);
            let queue_type = place.or("queue-type", "quorum", QueueType::parse);
            place.finish();
            if let (Some(broker), Some(exchange), Some(queue), Some(queue_type)) =
                (broker, exchange, queue, queue_type)
            {
                raw.insert(side, RawPlace { broker, exchange, queue, queue_type });
            }
        }
        let public = section.section("public");
        let public_broker = broker(&public, base, section.is_present());
        let public_exchange = public.or("exchange", "public-events", value::text);
        public.finish();
        section.finish();
        if !section.is_present() {
            return None;
        }
        let public_exchange = public_exchange?;
        let public_broker = public_broker?;
        let public =
            Public { span: public.span(), broker: public_broker, exchange: public_exchange };
        let wanted = choose_insertion(section, insertion, &raw, &public);
        Some(Self {
            insertion: wanted,
            management,
            quarantine_max: quarantine_max?,
            database: url_relative_to(base, &database?),
            raw,
            public_broker: public.broker,
            public_exchange: public.exchange,
        })
    }
}

struct Public {
    span: Option<Range<usize>>,
    broker: String,
    exchange: String,
}

/// The insertion that is told, or that the brokers tell; one that does not fit them is a problem.
fn choose_insertion(
    section: &Section<'_>,
    insertion: Option<Found<Insertion>>,
    raw: &BTreeMap<Side, RawPlace>,
    public: &Public,
) -> Insertion {
    let inferred = match raw.get(&Side::Legacy) {
        Some(place) if place.broker == public.broker => Insertion::Exchange,
        Some(_) | None => Insertion::Vhost,
    };
    let wanted = insertion.as_ref().map_or(inferred, |found| found.value);
    let clash = raw
        .iter()
        .find(|(_, place)| place.broker == public.broker && place.exchange == public.exchange);
    if let Some((side, _)) = clash.filter(|_| wanted != Insertion::Tap) {
        section.problem(
            Problem::error(
                public.span.clone(),
                format!("`events.public` is the raw exchange of `{side}`"),
            )
            .hint(
                "consumers bind to the public exchange; give it another name or vhost, or only tap",
            ),
        );
    }
    let fits = match wanted {
        Insertion::Tap => true,
        Insertion::Vhost => inferred == Insertion::Vhost,
        Insertion::Exchange | Insertion::Wrap => inferred == Insertion::Exchange,
    };
    if let Some(found) = insertion.filter(|_| !fits) {
        let word = inferred.as_str();
        section.problem(
            Problem::error(
                found.span,
                format!("`events.insertion` does not fit the brokers: they are those of `{word}`"),
            )
            .hint(
                "vhost: legacy and public have different brokers; exchange and wrap: the same one",
            ),
        );
    }
    wanted
}

fn broker(section: &Section<'_>, base: &Path, needed: bool) -> Option<String> {
    let found = secret(section, ["broker", "broker-env", "broker-file"], value::broker_url);
    if found.is_none() && needed {
        let name = section.name("broker");
        section.problem(
            Problem::error(section.span(), format!("`{name}` is missing"))
                .hint("broker = \"embedded:events.db\", or broker-env = \"NAME\" for an amqp URL with a password"),
        );
    }
    found.map(|url| url_relative_to(base, &url))
}
