//! The steps of a wrap and of its undo, from the bindings there are. Pure.
//!
//! What must stay true: at every moment between two steps each consumer's queue gets each message exactly once, or the message
//! waits in the raw queue.

use std::fmt;

use banyan_domain::Side;

use super::{WrapError, legacy};
use crate::broker::rabbitmq::change::{Change, Link, Receiver};
use crate::broker::{QueueOptions, Topology};
use crate::forwarder::ForwarderConfig;
use crate::management::BindingRow;

/// What the broker has now.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// `topic` or `fanout`; others cannot be wrapped.
    pub kind: String,
    /// Bindings of the monolith's exchange.
    pub of_raw: Vec<BindingRow>,
    /// Bindings of the public exchange.
    pub of_public: Vec<BindingRow>,
    /// The guard queue is there: an earlier run did not come to its end.
    pub guarded: bool,
}

/// One step of a plan; its text is for people.
#[derive(Debug, Clone, PartialEq)]
pub struct WrapStep(pub(super) Step);

/// What a step does.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    /// A change of exchanges, queues or bindings.
    Change(Change),
    /// A queue that remembers what is public already.
    Guard,
    /// The forwarder's raw queue.
    Raw,
    /// What is in the guard queue leaves the raw queue.
    Reconcile,
    /// The forwarder passes on what is left in the raw queue.
    Drain,
}

impl fmt::Display for WrapStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Step::Change(Change::DeclareExchange { name, kind }) => {
                write!(f, "declare the {kind} exchange `{name}`")
            }
            Step::Change(Change::Bind(link)) => write!(
                f,
                "bind `{}` to `{}` with key `{}`",
                link.destination, link.source, link.key
            ),
            Step::Change(Change::Unbind(link)) => write!(
                f,
                "unbind `{}` from `{}` with key `{}`",
                link.destination, link.source, link.key
            ),
            Step::Change(Change::DeleteQueue { name }) => write!(f, "delete the queue `{name}`"),
            Step::Change(Change::DeleteExchange { name }) => {
                write!(f, "delete the exchange `{name}`")
            }
            Step::Guard => f.write_str("declare the guard queue on the public exchange"),
            Step::Raw => f.write_str("declare the forwarder's raw queue"),
            Step::Reconcile => f.write_str("take out of the raw queue what is public already"),
            Step::Drain => f.write_str("let the forwarder empty the raw queue"),
        }
    }
}

impl Known {
    /// Bindings as a person gave them, `QUEUE=KEY`, of a topic exchange.
    ///
    /// # Errors
    /// [`WrapError::Config`] for another form.
    pub fn given(config: &ForwarderConfig, bindings: &[String]) -> Result<Self, WrapError> {
        let exchange = &legacy(config)?.exchange;
        let row = |text: &String| match text.split_once('=') {
            Some((queue, key)) if !queue.is_empty() => Ok(BindingRow {
                source: exchange.clone(),
                destination: queue.to_owned(),
                destination_type: "queue".to_owned(),
                routing_key: key.to_owned(),
                arguments: serde_json::Map::new(),
            }),
            Some(_) | None => {
                Err(WrapError::Config { reason: format!("`{text}` is not QUEUE=KEY") })
            }
        };
        let rows: Vec<BindingRow> = bindings.iter().map(row).collect::<Result<_, _>>()?;
        let public = rows.iter().cloned().map(|mut row| {
            row.source.clone_from(&config.public.exchange);
            row
        });
        let of_public = public.collect();
        Ok(Self { kind: "topic".to_owned(), of_raw: rows, of_public, guarded: true })
    }
}

/// The guard queue's name.
pub(super) fn guard(config: &ForwarderConfig) -> String {
    format!("banyan.guard.{}", config.public.exchange)
}

pub(super) fn guard_topology(config: &ForwarderConfig) -> Topology {
    let name = guard(config);
    let options = QueueOptions::default().classic();
    Topology::new().queue(&name, options).bind(&name, &config.public.exchange, "#")
}

struct Names<'a> {
    raw: &'a str,
    public: &'a str,
    queue: &'a str,
    /// The raw queues of both sides: bound by forwarders, not by consumers.
    own: Vec<&'a str>,
    guard: String,
}

fn names<'a>(config: &'a ForwarderConfig, known: &Known) -> Result<Names<'a>, WrapError> {
    let raw = legacy(config)?;
    if !matches!(known.kind.as_str(), "topic" | "fanout") {
        let reason = format!(
            "`{}` is a {} exchange; only topic and fanout exchanges can hand all to another one",
            raw.exchange, known.kind
        );
        return Err(WrapError::Config { reason });
    }
    Ok(Names {
        raw: &raw.exchange,
        public: &config.public.exchange,
        queue: &raw.queue,
        own: Side::ALL
            .into_iter()
            .filter_map(|side| config.raw.get(&side))
            .map(|raw| raw.queue.as_str())
            .collect(),
        guard: guard(config),
    })
}

impl Names<'_> {
    /// What a consumer bound; not the forwarder's queues, not the pass-through, not the guard.
    fn is_consumers(&self, row: &BindingRow) -> bool {
        let own = row.destination_type == "queue"
            && (self.own.contains(&row.destination.as_str()) || row.destination == self.guard);
        let through = row.destination_type == "exchange" && row.destination == self.public;
        !own && !through
    }

    fn link(source: &str, row: &BindingRow) -> Link {
        let is_queue = row.destination_type == "queue";
        Link {
            source: source.to_owned(),
            receiver: if is_queue { Receiver::Queue } else { Receiver::Exchange },
            destination: row.destination.clone(),
            key: row.routing_key.clone(),
            arguments: row.arguments.clone(),
        }
    }

    fn pass_through(&self) -> Link {
        Link {
            source: self.raw.to_owned(),
            receiver: Receiver::Exchange,
            destination: self.public.to_owned(),
            key: "#".to_owned(),
            arguments: serde_json::Map::new(),
        }
    }

    fn feed(&self) -> Link {
        Link {
            source: self.raw.to_owned(),
            receiver: Receiver::Queue,
            destination: self.queue.to_owned(),
            key: "#".to_owned(),
            arguments: serde_json::Map::new(),
        }
    }
}

/// The steps of a wrap that are left.
///
/// # Errors
/// [`WrapError::Config`].
pub fn wrap_plan(config: &ForwarderConfig, known: &Known) -> Result<Vec<WrapStep>, WrapError> {
    use Change::{Bind, DeclareExchange, DeleteQueue, Unbind};
    let names = names(config, known)?;
    let consumers = || known.of_raw.iter().filter(|row| names.is_consumers(row));
    let fed = known.of_raw.iter().any(|row| row.destination == names.queue);
    let passes = known.of_raw.iter().any(|row| row.destination == names.public);
    let mut steps = Vec::new();
    let (public, kind) = (names.public.to_owned(), known.kind.clone());
    let change = Step::Change;
    if !fed || passes || consumers().next().is_some() {
        steps.push(change(DeclareExchange { name: public, kind }));
    }
    steps.extend(consumers().map(|row| change(Bind(Names::link(names.public, row)))));
    if !fed || passes {
        steps.push(change(Bind(names.pass_through())));
    }
    steps.extend(consumers().map(|row| change(Unbind(Names::link(names.raw, row)))));
    if !fed || passes {
        steps.extend([
            Step::Guard,
            Step::Raw,
            change(Bind(names.feed())),
            change(Unbind(names.pass_through())),
        ]);
    }
    if !fed || passes || known.guarded {
        steps.extend([Step::Reconcile, change(DeleteQueue { name: names.guard })]);
    }
    Ok(steps.into_iter().map(WrapStep).collect())
}

/// The steps of an unwrap; none when nothing is wrapped.
///
/// # Errors
/// [`WrapError::Config`].
pub fn unwrap_plan(config: &ForwarderConfig, known: &Known) -> Result<Vec<WrapStep>, WrapError> {
    use Change::{Bind, DeleteExchange, DeleteQueue, Unbind};
    let names = names(config, known)?;
    let consumers = || known.of_public.iter().filter(|row| names.is_consumers(row));
    let fed = known.of_raw.iter().any(|row| row.destination == names.queue);
    let passes = known.of_raw.iter().any(|row| row.destination == names.public);
    if !fed && !passes && !known.guarded && consumers().next().is_none() {
        return Ok(Vec::new());
    }
    let change = Step::Change;
    let mut steps = vec![
        Step::Guard,
        Step::Raw,
        change(Bind(names.pass_through())),
        change(Unbind(names.feed())),
        Step::Reconcile,
        Step::Drain,
    ];
    steps.extend(consumers().map(|row| change(Bind(Names::link(names.raw, row)))));
    steps.push(change(Unbind(names.pass_through())));
    steps.extend(consumers().map(|row| change(Unbind(Names::link(names.public, row)))));
    steps.extend([
        change(DeleteQueue { name: names.guard.clone() }),
        change(DeleteQueue { name: names.queue.to_owned() }),
        change(DeleteExchange { name: names.public.to_owned() }),
    ]);
    Ok(steps.into_iter().map(WrapStep).collect())
}
