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

/// Waits until every living instance routes by `generation`, at most `timeout`.
///
/// # Errors
/// The store's last error, when it could not be read until the time was up.
pub(crate) async fn wait<S: ControlStore + ?Sized>(
    store: &S,
    generation: Generation,
    timeout: Duration,
) -> Result<Applied, ControlError> {
    let begin = Instant::now();
    let mut roll = Roll::default();
    loop {
        let looked = look(store, generation, &mut roll).await;
        let elapsed = begin.elapsed();
        let over = elapsed >= timeout;
        match looked {
            Ok(()) if over || roll.is_settled() => return Ok(roll.result(generation, elapsed)),
            Err(error) if over => return Err(error),
            Ok(()) | Err(_) => tokio::time::sleep(Duration::from_millis(LOOK_EVERY_MS)).await,
        }
    }
}

/// What an instance's answer is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Yes,
    NotYet,
    /// Its heartbeat is older than the lease: no answer will come.
    Dead,
}

/// All instances that were seen alive during the wait.
#[derive(Debug, Default)]
struct Roll(BTreeMap<String, Answer>);

async fn look<S: ControlStore + ?Sized>(
    store: &S,
    wanted: Generation,
    roll: &mut Roll,
) -> Result<(), ControlError> {
    let instances = store.instances().await?;
    // Read after the instances: an instance ahead of the store follows another history (the file was
    // replaced), so its number says nothing about this generation.
    let newest = store.generation().await?;
    roll.update(&instances, wanted, newest);
    Ok(())
}

impl Roll {
    fn update(&mut self, instances: &[Instance], wanted: Generation, newest: Generation) {
        self.0.retain(|name, _| instances.iter().any(|i| i.report.instance == *name));
        for instance in instances {
            let name = &instance.report.instance;
            let applied = instance.report.applied;
            let answer = match (instance.live, applied >= wanted && applied <= newest) {
                (true, true) => Answer::Yes,
                (true, false) => Answer::NotYet,
                (false, _) if self.0.contains_key(name) => Answer::Dead,
                (false, _) => continue,
            };
            self.0.insert(name.clone(), answer);
        }
    }

    fn is_settled(&self) -> bool {
        self.0.values().all(|answer| match answer {
            Answer::Yes | Answer::Dead => true,
            Answer::NotYet => false,
        })
    }

    fn result(&self, generation: Generation, elapsed: Duration) -> Applied {
        let missing = self.0.iter().filter(|(_, answer)| **answer != Answer::Yes);
        let missing: Vec<String> = missing.map(|(name, _)| name.clone()).collect();
        Applied {
            generation,
            applied: self.0.len() - missing.len(),
            of: self.0.len(),
            elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            missing,
        }
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

    #[test]
    fn an_instance_that_dies_during_the_wait_is_named_and_one_that_leaves_is_not() {
        let mut roll = Roll::default();
        let update = |roll: &mut Roll, all: &[Instance]| {
            roll.update(all, Generation(5), Generation(5));
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
        roll.update(&[instance("a", 17, true)], Generation(2), Generation(2));
        assert_eq!(roll.result(Generation(2), Duration::ZERO).missing, ["a"]);
    }

    #[test]
    fn instances_that_were_dead_before_are_not_waited_for() {
        let mut roll = Roll::default();
        roll.update(&[instance("gone", 1, false)], Generation(2), Generation(2));
        assert!(roll.is_settled());
        assert_eq!(roll.result(Generation(2), Duration::ZERO).to_string(), "no proxy is running");
    }
}
