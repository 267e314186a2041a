//! What a forwarder is doing, read from its store and the brokers, also from another process.
//!
//! What must stay true: the status says what was last stored and how old it is; a leader that gave no sign of
//! life for longer than its lease is never shown as running.

use std::collections::BTreeMap;

use banyan_domain::{Epoch, Side};
use serde::Serialize;

use super::config::Insertion;
use super::decide::Decision;
use super::handover::HandoverView;
use super::log::UNROUTED;
use super::quarantine::{AuditRow, DROPPED, LateEvent, RELEASED};
use super::store::{Store, now_ms};
use super::{ForwarderConfig, ForwarderError};
use crate::broker::{self, BrokerError};

/// Most late events that a status lists.
const LATE_LISTED_MAX: u32 = 500;
/// Most acts of operators that a status lists.
const ACTS_LISTED_MAX: u32 = 20;

/// What a forwarder does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    /// Never ran on this store.
    NeverStarted,
    /// Leads and forwards.
    Running,
    /// Waits for the lease of another one.
    Standby,
    /// Hit an error and tries again; `reason` says which.
    Waiting,
    /// Ended in order.
    Stopped,
    /// Gave no sign of life for longer than its lease.
    Silent,
}

impl RunState {
    /// Its word in the store and in output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NeverStarted => "never-started",
            Self::Running => "running",
            Self::Standby => "standby",
            Self::Waiting => "waiting",
            Self::Stopped => "stopped",
            Self::Silent => "silent",
        }
    }

    fn from_word(word: &str) -> Self {
        [Self::Running, Self::Standby, Self::Waiting, Self::Stopped]
            .into_iter()
            .find(|state| state.as_str() == word)
            .unwrap_or(Self::NeverStarted)
    }
}

/// The whole status, as `banyan events status --json` prints it.
#[derive(Debug, Clone, Serialize)]
pub struct ForwarderStatus {
    /// The forwarder's name.
    pub name: String,
    /// What it does.
    pub state: RunState,
    /// Why, in one line.
    pub reason: String,
    /// Age of that information.
    pub age_ms: Option<u64>,
    /// Whether every broker answered just now.
    pub connected: bool,
    /// Raw queue of each side.
    pub sides: Vec<SideStatus>,
    /// One per configured context.
    pub contexts: Vec<ContextStatus>,
    /// Events of no context, passed through.
    pub unmigrated: u64,
    /// How the forwarder is put into the stream: `tap`, `vhost`, `exchange` or `wrap`.
    pub insertion: &'static str,
    /// Raw queues that wait at a marker of a handover.
    pub held: Vec<HeldAt>,
    /// The last handover of each context.
    pub handovers: Vec<HandoverView>,
    /// Late events that wait for an operator, oldest first per context; at most 500 are listed.
    pub quarantine: Vec<LateEvent>,
    /// How many wait.
    pub quarantine_events: u64,
    /// How many may wait; then the forwarder stops.
    pub quarantine_events_max: u64,
    /// What operators did last, newest first; at most 20.
    pub acts: Vec<AuditRow>,
}

/// A raw queue that is not read past a marker until the other side's marker was met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HeldAt {
    /// Whose queue.
    pub side: Side,
    /// The context of the marker.
    pub context: String,
    /// `open`, mostly.
    pub marker: String,
    /// The ownership that it is about.
    pub epoch: i64,
    /// Since when, in milliseconds since 1970.
    pub since_ms: i64,
}

/// One side's raw queue.
#[derive(Debug, Clone, Serialize)]
pub struct SideStatus {
    /// The side.
    pub side: Side,
    /// Its raw queue.
    pub queue: String,
    /// Events waiting there, of all contexts; `None` when the broker did not answer.
    pub lag_events: Option<u64>,
    /// At most so old is the oldest of them, in seconds; `None` when unknown.
    pub lag_seconds_max: Option<i64>,
    /// Why it did not answer.
    pub error: Option<String>,
}

/// One context.
#[derive(Debug, Clone, Serialize)]
pub struct ContextStatus {
    /// The context.
    pub context: String,
    /// The owner last acted on; `None` before its first event.
    pub owner: Option<Side>,
    /// That ownership's number.
    pub epoch: Option<Epoch>,
    /// Whether the owner's `open` was met; before it, nothing of the context is published.
    pub opened: bool,
    /// The ownership that the control store told last; greater than `epoch` while a handover is under way.
    pub told_epoch: Option<Epoch>,
    /// Events published to the public exchange.
    pub forwarded: u64,
    /// Events that a tap would have published.
    pub tapped: u64,
    /// Events of the other side, recorded only.
    pub muted: u64,
    /// Events of a sealed side, decided late since ever; those that still wait are in `quarantine`.
    pub late: u64,
    /// Late events that an operator released and that were published.
    pub released: u64,
    /// Late events that an operator dropped.
    pub dropped: u64,
    /// Events that their emitter sent twice.
    pub dup: u64,
    /// Published events that reached no queue, because no consumer is bound to their routing key.
    pub unrouted: u64,
    /// Events waiting in the owner's raw queue. All contexts of a side share it.
    pub lag_events: Option<u64>,
    /// When an event was last published, in milliseconds since 1970.
    pub last_forwarded_ms: Option<i64>,
    /// Decided and not marked as published: being published now, or interrupted.
    pub undelivered: u64,
}

#[derive(Default)]
struct Counts {
    /// By context and decision.
    decided: BTreeMap<(String, String), u64>,
    /// By context: events and last time.
    sent: BTreeMap<String, (u64, i64)>,
    undelivered: BTreeMap<String, u64>,
    owners: BTreeMap<String, Owner>,
    /// When each side's raw queue was last seen empty.
    drained: BTreeMap<String, i64>,
}

struct Owner {
    side: Option<Side>,
    epoch: Epoch,
    opened: bool,
    told: Epoch,
}

/// Reads the status; works while the forwarder runs in another process, and while brokers are down.
///
/// # Errors
/// [`ForwarderError::Store`] when its store cannot be read.
pub async fn status(config: &ForwarderConfig) -> Result<ForwarderStatus, ForwarderError> {
    let store = Store::open(&config.database).await?;
    let (state, reason, age_ms) = run_state(&store, config).await?;
    let counts = counts(&store).await.map_err(|error| store.failed(&error))?;
    let mut sides = Vec::with_capacity(config.raw.len());
    for (side, raw) in &config.raw {
        let depth = depth(&raw.broker, &raw.queue).await;
        let drained = counts.drained.get(side.as_str());
        sides.push(SideStatus {
            lag_seconds_max: depth.as_ref().ok().and_then(|depth| match depth {
                0 => Some(0),
                1.. => drained.map(|at| now_ms().saturating_sub(*at) / 1_000),
            }),
            side: *side,
            queue: raw.queue.clone(),
            lag_events: depth.as_ref().ok().copied(),
            error: depth.err().map(|error| error.to_string()),
        });
    }
    let contexts = config
        .contexts
        .iter()
        .map(|matcher| context_status(config, matcher.context.as_str(), &counts, &sides));
    let failed = |error: sqlx::Error| store.failed(&error);
    Ok(ForwarderStatus {
        insertion: config.insertion.as_str(),
        held: held(&store).await.map_err(failed)?,
        handovers: store.handovers().await.map_err(failed)?,
        quarantine: store.late(LATE_LISTED_MAX).await.map_err(failed)?,
        quarantine_events: store.late_waiting().await?,
        quarantine_events_max: config.retention.late_max,
        acts: store.audited(ACTS_LISTED_MAX).await.map_err(failed)?,
        name: config.name.clone(),
        state,
        reason,
        age_ms,
        connected: sides.iter().all(|side| side.error.is_none()),
        contexts: contexts.collect(),
        unmigrated: counts.decided("", Decision::Unmigrated),
        sides,
    })
}

/// How many logged events name further routing keys in a `CC` header.
///
/// # Errors
/// [`ForwarderError::Store`].
pub async fn routed_copies(config: &ForwarderConfig) -> Result<u64, ForwarderError> {
    let store = Store::open(&config.database).await?;
    let count = "SELECT COUNT(*) FROM forwarder_log
        WHERE properties IS NOT NULL AND json_extract(properties, '$.headers.CC') IS NOT NULL";
    let events: i64 = sqlx::query_scalar(count)
        .fetch_one(&mut *store.lock().await)
        .await
        .map_err(|error| store.failed(&error))?;
    Ok(events.unsigned_abs())
}

async fn held(store: &Store) -> Result<Vec<HeldAt>, sqlx::Error> {
    let rows: Vec<(String, String, String, i64, i64)> =
        sqlx::query_as("SELECT side, context, marker, epoch, since_ms FROM forwarder_hold")
            .fetch_all(&mut *store.lock().await)
            .await?;
    let held = |(side, context, marker, epoch, since_ms): (String, String, String, i64, i64)| {
        Some(HeldAt { side: Side::from_word(&side)?, context, marker, epoch, since_ms })
    };
    Ok(rows.into_iter().filter_map(held).collect())
}

async fn depth(url: &str, queue: &str) -> Result<u64, BrokerError> {
    let broker = broker::connect(url).await?;
    let depth = broker.depth(queue).await;
    broker.close().await;
    depth
}

async fn run_state(
    store: &Store,
    config: &ForwarderConfig,
) -> Result<(RunState, String, Option<u64>), ForwarderError> {
    let row: Option<(String, String, i64)> =
        sqlx::query_as("SELECT state, reason, at_ms FROM forwarder_state WHERE scope = ?1")
            .bind(&config.name)
            .fetch_optional(&mut *store.lock().await)
            .await
            .map_err(|error| store.failed(&error))?;
    let Some((state, reason, at_ms)) = row else {
        return Ok((RunState::NeverStarted, "no forwarder ran on this store".to_owned(), None));
    };
    let age_ms = u64::try_from(now_ms().saturating_sub(at_ms)).unwrap_or(0);
    let state = RunState::from_word(&state);
    if state != RunState::Stopped && u128::from(age_ms) > config.lease.as_millis() {
        let reason = format!("no sign of life for {} s; last: {reason}", age_ms / 1_000);
        return Ok((RunState::Silent, reason, Some(age_ms)));
    }
    Ok((state, reason, Some(age_ms)))
}

async fn counts(store: &Store) -> Result<Counts, sqlx::Error> {
    let mut conn = store.lock().await;
    let mut counts = Counts::default();
    let decided: Vec<(String, String, i64)> = sqlx::query_as(
        "SELECT context, decision, SUM(events) FROM forwarder_counter GROUP BY context, decision",
    )
    .fetch_all(&mut *conn)
    .await?;
    for (context, decision, events) in decided {
        counts.decided.insert((context, decision), events.unsigned_abs());
    }
    let sent: Vec<(String, i64, i64)> =
        sqlx::query_as("SELECT context, events, last_ms FROM forwarder_sent")
            .fetch_all(&mut *conn)
            .await?;
    for (context, events, last_ms) in sent {
        counts.sent.insert(context, (events.unsigned_abs(), last_ms));
    }
    let undelivered: Vec<(String, i64)> = sqlx::query_as(
        "SELECT context, COUNT(*) FROM forwarder_log WHERE forwarded_ms IS NULL
            AND decision IN ('forward', 'unmigrated') GROUP BY context",
    )
    .fetch_all(&mut *conn)
    .await?;
    for (context, events) in undelivered {
        counts.undelivered.insert(context, events.unsigned_abs());
    }
    let owners: Vec<(String, String, i64, bool, i64)> =
        sqlx::query_as("SELECT context, owner, epoch, opened, told_epoch FROM forwarder_owner")
            .fetch_all(&mut *conn)
            .await?;
    for (context, owner, epoch, opened, told) in owners {
        let (epoch, told) = (Epoch(epoch.unsigned_abs()), Epoch(told.unsigned_abs()));
        let owner = Owner { side: Side::from_word(&owner), epoch, opened, told };
        counts.owners.insert(context, owner);
    }
    let drained: Vec<(String, i64)> =
        sqlx::query_as("SELECT side, at_ms FROM forwarder_drained").fetch_all(&mut *conn).await?;
    counts.drained.extend(drained);
    Ok(counts)
}

impl Counts {
    fn decided(&self, context: &str, decision: Decision) -> u64 {
        self.counted(context, decision.as_str())
    }

    fn counted(&self, context: &str, word: &str) -> u64 {
        let key = (context.to_owned(), word.to_owned());
        self.decided.get(&key).copied().unwrap_or(0)
    }
}

fn context_status(
    config: &ForwarderConfig,
    context: &str,
    counts: &Counts,
    sides: &[SideStatus],
) -> ContextStatus {
    let taps = config.insertion == Insertion::Tap;
    let known = counts.owners.get(context);
    let owner = known.and_then(|known| known.side);
    let sent = counts.sent.get(context);
    // Before the first event nobody is known to own it; legacy is where events come from then.
    let source = owner.unwrap_or(Side::Legacy);
    let lag = sides.iter().find(|side| side.side == source).and_then(|side| side.lag_events);
    ContextStatus {
        context: context.to_owned(),
        owner,
        epoch: known.map(|known| known.epoch),
        opened: known.is_some_and(|known| known.opened),
        told_epoch: known.map(|known| known.told),
        forwarded: sent.map_or(0, |(events, _)| *events),
        tapped: if taps { counts.decided(context, Decision::Forward) } else { 0 },
        muted: counts.decided(context, Decision::Mute),
        late: counts.decided(context, Decision::Late),
        released: counts.counted(context, RELEASED),
        dropped: counts.counted(context, DROPPED),
        dup: counts.decided(context, Decision::Dup),
        unrouted: counts.counted(context, UNROUTED),
        lag_events: lag,
        last_forwarded_ms: sent.map(|(_, last_ms)| *last_ms),
        undelivered: counts.undelivered.get(context).copied().unwrap_or(0),
    }
}
