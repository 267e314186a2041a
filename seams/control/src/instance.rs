//! Processes that follow the route table, and whether they have caught up.
//!
//! Owns what an instance reports and how a flip learns that all of them apply it. It exists because a flip
//! is only done when every living proxy says so. What must stay true: an instance that does not answer is
//! named, never left out of the count silently.

use crate::error::ControlError;
use crate::store::ControlStore;
use banyan_domain::{ContextName, Generation};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// How often [`wait`] looks, in ms.
const LOOK_EVERY_MS: u64 = 10;

/// What an instance says about itself at each heartbeat.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceReport {
    /// Name, unique among the living processes of the installation.
    pub instance: String,
    /// What it does, such as `proxy` or `serve`.
    pub role: String,
    /// Where it takes traffic, empty if it takes none.
    pub address: String,
    /// Where its admin API listens, empty if it has none.
    pub admin_address: String,
    /// Its process id.
    pub pid: u32,
    /// When it started, Unix ms.
    pub started_ms: u64,
    /// The generation it routes by.
    pub applied: Generation,
    /// Writes it has forwarded and not yet answered.
    pub in_flight_writes: u64,
    /// The same by context; contexts without any are left out. Counted after `applied` was read, so a write that
    /// was decided by an older table is in it.
    #[serde(default)]
    pub in_flight: BTreeMap<ContextName, u64>,
    /// One word about its state, such as `ok`.
    pub state: String,
    /// Anything a person should know, may be empty.
    pub detail: String,
}

/// An instance as the store knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// What it said last.
    #[serde(flatten)]
    pub report: InstanceReport,
    /// Age of its last heartbeat, in ms.
    pub age_ms: u64,
    /// Whether that is younger than the lease.
    pub live: bool,
}

/// Who applied a generation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The generation that was waited for.
    pub generation: Generation,
    /// Instances that route by it (or by a later one).
    pub applied: usize,
    /// Instances that were alive when the wait began or joined meanwhile, less those that left in good order.
    pub of: usize,
    /// How long the wait took, in ms.
    pub elapsed_ms: u64,
    /// Names of those that did not answer.
    pub missing: Vec<String>,
}

impl Applied {
    /// Whether every instance answered.
    pub fn is_complete(&self) -> bool {
        self.applied == self.of
    }
}

impl std::fmt::Display for Applied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.of == 0 {
            return f.write_str("no proxy is running");
        }
        write!(f, "applied {}/{} in {} ms", self.applied, self.of, self.elapsed_ms)?;
        if self.missing.is_empty() {
            return Ok(());
        }
        write!(f, ", no answer from {}", self.missing.join(", "))
    }
}

/// Who holds the writes of a context and has none of them on its way any more.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drained {
    /// Who routes by the generation that holds.
    pub applied: Applied,
    /// Instances that do, but still have writes of the context on their way, with how many.
    pub busy: BTreeMap<String, u64>,
}

impl Drained {
    /// Whether every instance holds and is done.
    pub fn is_complete(&self) -> bool {
        self.applied.is_complete() && self.busy.is_empty()
    }
}

impl std::fmt::Display for Drained {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.applied.fmt(f)?;
        for (instance, writes) in &self.busy {
            write!(f, ", {writes} writes on their way through {instance}")?;
        }
        Ok(())
    }
}

/// Waits until every living instance routes by `generation`, at most `timeout`.
///
/// # Errors
/// The store's last error, when it could not be read until the time was up.
pub(crate) async fn wait<S: ControlStore + ?Sized>(
    store: &S,
    generation: Generation,
    timeout: Duration,
) -> Result<Applied, ControlError> {
    let wanted = Wish { generation, drained: None };
    Ok(wait_for(store, wanted, timeout).await?.applied)
}

/// Waits until every living instance routes by `generation` and has no write of `context` on its way, at most
/// `timeout`.
///
/// # Errors
/// The store's last error, when it could not be read until the time was up.
pub(crate) async fn wait_drained<S: ControlStore + ?Sized>(
    store: &S,
    context: &ContextName,
    generation: Generation,
    timeout: Duration,
) -> Result<Drained, ControlError> {
    wait_for(store, Wish { generation, drained: Some(context) }, timeout).await
}

/// What an instance must have done.
#[derive(Debug, Clone, Copy)]
struct Wish<'a> {
    generation: Generation,
    /// The context of which it must have no write on its way.
    drained: Option<&'a ContextName>,
}

async fn wait_for<S: ControlStore + ?Sized>(
    store: &S,
    wish: Wish<'_>,
    timeout: Duration,
) -> Result<Drained, ControlError> {
    let begin = Instant::now();
    let mut roll = Roll::default();
    loop {
        let looked = look(store, wish, &mut roll).await;
        let elapsed = begin.elapsed();
        let over = elapsed >= timeout;
        match looked {
            Ok(()) if over || roll.is_settled() => return Ok(roll.result(wish.generation, elapsed)),
            Err(error) if over => return Err(error),
            Ok(()) | Err(_) => tokio::time::sleep(Duration::from_millis(LOOK_EVERY_MS)).await,
        }
    }
}

/// What an instance's answer is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Yes,
    /// It routes by the generation, but this many writes are still on their way.
    Busy(u64),
    NotYet,
    /// Its heartbeat is older than the lease: no answer will come.
    Dead,
}

/// All instances that were seen alive during the wait.
#[derive(Debug, Default)]
struct Roll(BTreeMap<String, Answer>);

async fn look<S: ControlStore + ?Sized>(
    store: &S,
    wish: Wish<'_>,
    roll: &mut Roll,
) -> Result<(), ControlError> {
    let instances = store.instances().await?;
    // Read after the instances: an instance ahead of the store follows another history (the file was
    // replaced), so its number says nothing about this generation.
    let newest = store.generation().await?;
    roll.update(&instances, wish, newest);
    Ok(())
}

impl Roll {
    fn update(&mut self, instances: &[Instance], wish: Wish<'_>, newest: Generation) {
        self.0.retain(|name, _| instances.iter().any(|i| i.report.instance == *name));
        for instance in instances {
            let name = &instance.report.instance;
            let applied = instance.report.applied;
            let busy = wish.drained.and_then(|context| instance.report.in_flight.get(context));
            let has = applied >= wish.generation && applied <= newest;
            let answer = match (instance.live, has, busy.copied().unwrap_or(0)) {
                (true, true, 0) => Answer::Yes,
                (true, true, writes) => Answer::Busy(writes),
                (true, false, _) => Answer::NotYet,
                (false, ..) if self.0.contains_key(name) => Answer::Dead,
                (false, ..) => continue,
            };
            self.0.insert(name.clone(), answer);
        }
    }

    fn is_settled(&self) -> bool {
        self.0.values().all(|answer| match answer {
            Answer::Yes | Answer::Dead => true,
            Answer::NotYet | Answer::Busy(_) => false,
        })
    }

    fn result(&self, generation: Generation, elapsed: Duration) -> Drained {
        let mut missing = Vec::new();
        let mut busy = BTreeMap::new();
        for (name, answer) in &self.0 {
            match answer {
                Answer::Yes => {}
                Answer::Busy(writes) => drop(busy.insert(name.clone(), *writes)),
                Answer::NotYet | Answer::Dead => missing.push(name.clone()),
            }
        }
        let applied = Applied {
            generation,
            applied: self.0.len() - missing.len(),
            of: self.0.len(),
            elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            missing,
        };
        Drained { applied, busy }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(name: &str, applied: u64, live: bool) -> Instance {
        let report = InstanceReport {
            instance: name.to_owned(),
            applied: Generation(applied),
            ..InstanceReport::default()
        };
        Instance { report, age_ms: 0, live }
    }

    const fn wish(generation: u64) -> Wish<'static> {
        Wish { generation: Generation(generation), drained: None }
    }

    #[test]
    fn an_instance_with_writes_on_their_way_is_waited_for_and_named_with_their_number() {
        let messages = ContextName::new("messages").unwrap();
        let tracks = ContextName::new("tracks").unwrap();
        let wish = Wish { generation: Generation(5), drained: Some(&messages) };
        let busy = |name: &str, context: &ContextName, writes: u64| {
            let mut busy = instance(name, 5, true);
            busy.report.in_flight.insert(context.clone(), writes);
            busy
        };
        let mut roll = Roll::default();
        let all = [busy("a", &messages, 3), busy("b", &tracks, 9), instance("c", 4, true)];
        roll.update(&all, wish, Generation(5));
        assert!(!roll.is_settled());
        let text = roll.result(Generation(5), Duration::from_millis(9)).to_string();
        let expected = "applied 2/3 in 9 ms, no answer from c, 3 writes on their way through a";
        assert_eq!(text, expected);
        let all = [busy("a", &messages, 0), busy("b", &tracks, 9), instance("c", 5, true)];
        roll.update(&all, wish, Generation(5));
        assert!(roll.is_settled() && roll.result(Generation(5), Duration::ZERO).is_complete());
    }

    #[test]
    fn an_instance_that_dies_during_the_wait_is_named_and_one_that_leaves_is_not() {
        let mut roll = Roll::default();
        let update = |roll: &mut Roll, all: &[Instance]| {
            roll.update(all, wish(5), Generation(5));
        };
        update(
            &mut roll,
            &[instance("a", 5, true), instance("b", 4, true), instance("c", 4, true)],
        );
        assert!(!roll.is_settled());
        update(&mut roll, &[instance("a", 5, true), instance("b", 4, false)]);
        assert!(roll.is_settled());
        let result = roll.result(Generation(5), Duration::from_millis(87));
        assert_eq!(result.to_string(), "applied 1/2 in 87 ms, no answer from b");
    }

    #[test]
    fn an_instance_ahead_of_the_store_does_not_count_as_applied() {
        let mut roll = Roll::default();
        roll.update(&[instance("a", 17, true)], wish(2), Generation(2));
        assert_eq!(roll.result(Generation(2), Duration::ZERO).applied.missing, ["a"]);
    }

    #[test]
    fn instances_that_were_dead_before_are_not_waited_for() {
        let mut roll = Roll::default();
        roll.update(&[instance("gone", 1, false)], wish(2), Generation(2));
        assert!(roll.is_settled());
        assert_eq!(roll.result(Generation(2), Duration::ZERO).to_string(), "no proxy is running");
    }
}
