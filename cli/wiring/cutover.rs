//! The ports of a cutover on the real parts: fences and sync of the two databases, route table, forwarder, audit.
//!
//! Owns the translation and no decision: what comes next is decided by `banyan_cutover`. What must stay true: each
//! call may be repeated; each ends within its limit; an error is never taken for "it did not happen".

mod check;

use super::{control, events};
use crate::config::{Config, Job as Configured};
use async_trait::async_trait;
use banyan_control::{AuditOutcome, CommitError, ControlError, ControlStore};
use banyan_cutover::{
    Acknowledged, Check, Drained, Fence, FenceChange, MarkerKind, Move, PortError, Ports, Record,
    RecordOutcome, Route, RouteMove, Standing, Step, Switch, Verified,
};
use banyan_domain::{Actor, Change, ContextName, Epoch, Side};
use banyan_events::forwarder::{self, ForwarderConfig, Insertion};
use banyan_sync_jobs::{
    ContextFence, FenceMoved, Job, JobWatch, RunMode, SequencePair, SyncError, VerifyOptions,
};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Comparisons before the hold, so that the one during it is short.
const CATCH_UP_ROUNDS: usize = 3;
/// So few aggregates are compared within the hold without a further round before it.
const FEW_ROOTS: u64 = 50;
/// Under constant writes some marks always wait; so few are moved within the hold.
const FEW_MARKS: u64 = 100;
/// How often a wait for the sync looks again.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Differing aggregates and conflicts that are named at most.
const NAMED_MAX: usize = 5;

/// What a cutover of one context works on.
pub(crate) struct World<'a> {
    pub(crate) config: &'a Config,
    pub(crate) context: ContextName,
    pub(crate) store: Arc<dyn ControlStore>,
    pub(crate) actor: Actor,
    /// Only shadow evidence since then counts for the gate.
    pub(crate) evidence_since: Option<String>,
    legacy: ContextFence,
    new: ContextFence,
    /// The context's jobs in both directions.
    jobs: Vec<&'a Configured>,
    sequences: &'a [SequencePair],
    forwarder: Option<ForwarderConfig>,
    /// Looks at the jobs of the direction that is being drained, kept while clients wait.
    looks: Mutex<Vec<JobWatch>>,
    /// Lines on their way to the audit.
    audit: mpsc::UnboundedSender<Line>,
    written: Mutex<Option<JoinHandle<u32>>>,
    /// Where a crash test wants the process to stop.
    halt_at: Option<String>,
}

impl<'a> World<'a> {
    /// The world of this context, without touching anything.
    pub(crate) fn new(
        config: &'a Config,
        context: &ContextName,
        store: Arc<dyn ControlStore>,
        actor: Actor,
    ) -> Option<Self> {
        let jobs: Vec<&Configured> = jobs(config, context);
        let urls = jobs.first()?.urls.clone();
        let specs: Vec<_> = jobs.iter().map(|job| &job.spec).collect();
        let fence = |side| ContextFence::of(context, side, urls.clone(), &specs);
        let events = config.contexts.get(context);
        let has_events = events.is_some_and(|places| !places.events.is_empty());
        let forwarder = events::settings(config)
            .filter(|settings| has_events && settings.insertion != Insertion::Tap);
        let (audit, lines) = mpsc::unbounded_channel();
        let written = tokio::spawn(write(store.clone(), context.clone(), lines));
        Some(Self {
            config,
            context: context.clone(),
            store,
            actor,
            evidence_since: None,
            legacy: fence(Side::Legacy),
            new: fence(Side::New),
            sequences: config.contexts.get(context).map_or(&[], |places| &places.sequences),
            jobs,
            audit,
            written: Mutex::new(Some(written)),
            forwarder,
            looks: Mutex::default(),
            halt_at: std::env::var("BANYAN_TEST_HALT_AT").ok(),
        })
    }

    /// Waits until the audit has every line; says how many it lacks.
    pub(crate) async fn written(mut self) -> u32 {
        let (closed, _) = mpsc::unbounded_channel();
        drop(std::mem::replace(&mut self.audit, closed));
        match self.written.lock().await.take() {
            Some(writing) => writing.await.unwrap_or(0),
            None => 0,
        }
    }

    /// The fence of one side.
    pub(crate) const fn fence_of(&self, side: Side) -> &ContextFence {
        match side {
            Side::Legacy => &self.legacy,
            Side::New => &self.new,
        }
    }

    /// The context's jobs, opened toward a side.
    pub(crate) fn open(&self, to: Side) -> Result<Vec<Job>, PortError> {
        let open = |job: &&Configured| job.open(to, super::sync::quiet_ports(&self.store));
        self.jobs.iter().map(open).collect::<Result<_, _>>().map_err(|error| sync_error(to, &error))
    }

    /// The actor of this moment.
    fn now(&self) -> Actor {
        Actor { at_ms: control::now_ms(), ..self.actor.clone() }
    }

    /// Waits until at most so many marks are pending toward a side. A living worker does it; without one it is done here.
    async fn settle(&self, to: Side, end: Instant, few: u64) -> Result<Drained, PortError> {
        let mut looks = self.looks.lock().await;
        let drained = self.drain_by(to, end, few, &mut looks).await;
        if drained.is_err() {
            looks.clear();
        }
        drained
    }

    async fn drain_by(
        &self,
        to: Side,
        end: Instant,
        few: u64,
        looks: &mut Vec<JobWatch>,
    ) -> Result<Drained, PortError> {
        let failed = |error: SyncError| sync_error(to, &error);
        let jobs = self.open(to)?;
        if looks.first().is_none_or(|look| look.to() != to) {
            looks.clear();
            for job in &jobs {
                looks.push(job.watch().await.map_err(failed)?);
            }
        }
        let mut drained = Drained::default();
        let mut before = None;
        loop {
            let (mut pending, mut rows) = (0, 0);
            drained.conflicts.clear();
            for (job, look) in jobs.iter().zip(looks.iter_mut()) {
                let found = look.look().await.map_err(failed)?;
                if found.conflicts > 0 {
                    drained.conflicts.push(format!(
                        "job `{}` has set {} aside (banyan sync conflicts {} --to {to})",
                        job.name(),
                        found.conflicts,
                        job.name()
                    ));
                }
                rows += found.rows;
                let open = found.pending + if found.copied { 0 } else { few + 1 };
                if open > 0 && found.worker.is_none() {
                    run_once(job, end).await.map_err(failed)?;
                    continue;
                }
                pending += open;
            }
            drained.pending = pending;
            drained.rows = rows.saturating_sub(*before.get_or_insert(rows));
            if pending <= few || !drained.conflicts.is_empty() || Instant::now() >= end {
                return Ok(drained);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn change(&self, change: Change) -> Result<banyan_domain::Generation, PortError> {
        let committed = self.store.commit(&self.config.catalogue, &change, None, &self.now()).await;
        let committed = committed.map_err(|error| match error {
            CommitError::Refused(refusal) => PortError::Refused {
                what: "control store".to_owned(),
                code: refusal.code().to_owned(),
                reason: refusal.to_string(),
                hint: refusal.hint(),
            },
            CommitError::Store(error) => store_error(&error),
            stale @ CommitError::Stale { .. } => PortError::Unreachable {
                what: "control store".to_owned(),
                reason: stale.to_string(),
            },
        })?;
        Ok(committed.table.generation)
    }
}

/// A line of the audit.
struct Line {
    outcome: AuditOutcome,
    detail: String,
    actor: Actor,
}

/// Writes lines as they come; answers how many could not be written.
async fn write(
    store: Arc<dyn ControlStore>,
    context: ContextName,
    mut lines: mpsc::UnboundedReceiver<Line>,
) -> u32 {
    let mut lost = 0;
    while let Some(Line { outcome, detail, actor }) = lines.recv().await {
        let noted = store.note("cutover", context.as_str(), outcome, &detail, &actor).await;
        if let Err(error) = noted {
            tracing::warn!(%error, detail, "a step of a cutover is not in the audit");
            lost += 1;
        }
    }
    lost
}

/// The context's jobs that go both ways; the others bring what the monolith keeps owning.
pub(crate) fn jobs<'a>(config: &'a Config, context: &ContextName) -> Vec<&'a Configured> {
    let of_context = config.jobs.iter().filter(|job| job.spec.context == context.as_str());
    of_context.filter(|job| job.spec.is_two_way()).collect()
}

async fn run_once(job: &Job, end: Instant) -> Result<(), SyncError> {
    let stop = CancellationToken::new();
    let guard = stop.clone().drop_guard();
    let timer = stop.clone();
    let timer = tokio::spawn(async move {
        tokio::time::sleep_until(end.into()).await;
        timer.cancel();
    });
    let ran = job.run(RunMode::Once, stop).await;
    timer.abort();
    drop(guard);
    match ran {
        // Somebody else works, or the limit has come: the next look tells.
        Ok(_) | Err(SyncError::LeaseHeld { .. } | SyncError::OtherDirection { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// An error of the sync in the words of the protocol.
fn sync_error(side: Side, error: &SyncError) -> PortError {
    let what = format!("database of side {side}");
    if error.is_transient() {
        return PortError::Unreachable { what, reason: error.chain() };
    }
    PortError::Refused {
        what,
        code: "banyan::sync::failed".to_owned(),
        reason: error.chain(),
        hint: error.hint().unwrap_or_default(),
    }
}

fn store_error(error: &ControlError) -> PortError {
    PortError::Unreachable { what: "control store".to_owned(), reason: error.to_string() }
}

fn events_error(error: &forwarder::ForwarderError) -> PortError {
    PortError::Unreachable { what: "forwarder".to_owned(), reason: error.to_string() }
}

#[async_trait]
impl Ports for World<'_> {
    fn context(&self) -> &ContextName {
        &self.context
    }

    async fn fence(&self, side: Side) -> Result<Fence, PortError> {
        let read = self.fence_of(side).read().await.map_err(|error| sync_error(side, &error))?;
        read.ok_or_else(|| PortError::Refused {
            what: format!("database of side {side}"),
            code: "banyan::cutover::no_fence".to_owned(),
            reason: format!("context `{}` has no fence there", self.context),
            hint: format!("banyan context fence install {} --execute", self.context),
        })
    }

    async fn route(&self) -> Result<Route, PortError> {
        let table = self.store.table().await.map_err(|error| store_error(&error))?;
        let state = table.contexts.get(&self.context).ok_or_else(|| PortError::Refused {
            what: "control store".to_owned(),
            code: "banyan::cutover::unknown_context".to_owned(),
            reason: format!("it does not know context `{}`", self.context),
            hint: "start `banyan serve` once".to_owned(),
        })?;
        let instances = self.store.instances().await.map_err(|error| store_error(&error))?;
        let live = instances.into_iter().filter(|instance| instance.live);
        let mut missing = Vec::new();
        let mut in_flight = 0;
        for instance in live {
            in_flight += instance.report.in_flight.get(&self.context).copied().unwrap_or(0);
            if instance.report.applied < table.generation {
                missing.push(instance.report.instance);
            }
        }
        Ok(Route {
            owner: state.owner,
            epoch: state.epoch,
            armed: state.armed,
            holding: state.holding,
            changed_ms: state.under_way_ms.max(state.stamp.since_ms),
            missing,
            in_flight,
        })
    }

    async fn standing(&self) -> Result<Option<Standing>, PortError> {
        let Some(settings) = &self.forwarder else { return Ok(None) };
        let table = self.store.table().await.map_err(|error| store_error(&error))?;
        let Some(state) = table.contexts.get(&self.context) else { return Ok(None) };
        let told = (state.owner, state.epoch);
        let found = forwarder::acted_on(settings, &self.context, told).await;
        let found = found.map_err(|error| events_error(&error))?;
        Ok(Some(Standing {
            owner: found.owner,
            epoch: found.epoch,
            opened: found.opened,
            voided: found.voided,
        }))
    }

    async fn preflight(&self, switch: &Switch) -> Result<Vec<Check>, PortError> {
        check::preflight(self, switch).await
    }

    async fn change_fence(
        &self,
        side: Side,
        wanted: Move,
        lock_wait: Duration,
    ) -> Result<FenceChange, PortError> {
        let moved = self.fence_of(side).change(wanted, lock_wait).await;
        Ok(match moved.map_err(|error| sync_error(side, &error))? {
            FenceMoved::Done(fence) => FenceChange::Done(fence),
            FenceMoved::NotApplicable(fence) => FenceChange::NotApplicable(fence),
            FenceMoved::Blocked { by } => FenceChange::Blocked { by },
        })
    }

    async fn change_route(
        &self,
        switch: &Switch,
        wanted: RouteMove,
        ack_wait: Duration,
    ) -> Result<Acknowledged, PortError> {
        let (context, epoch) = (self.context.clone(), switch.epoch);
        let generation = self
            .change(match wanted {
                RouteMove::Arm => Change::Arm { context, epoch },
                RouteMove::Hold => Change::Hold { context, epoch },
                RouteMove::Disarm => Change::Disarm { context, epoch },
                RouteMove::MoveOwner => Change::MoveOwner { context, to: switch.to(), epoch },
            })
            .await?;
        let applied = self.store.wait_applied(generation, ack_wait).await;
        let applied = applied.map_err(|error| store_error(&error))?;
        Ok(Acknowledged {
            applied: applied.applied as u64,
            of: applied.of as u64,
            missing: applied.missing,
            elapsed_ms: applied.elapsed_ms,
        })
    }

    async fn catch_up(&self, switch: &Switch, within: Duration) -> Result<Drained, PortError> {
        let end = Instant::now() + within;
        let to = switch.to();
        let drained = self.settle(to, end, FEW_MARKS).await?;
        // The base for the short comparison during the hold; what differs is told there, or by the checks.
        for job in self.open(to)? {
            // Each round looks only at what changed during the one before.
            let mut needs_full = false;
            for _ in 0..CATCH_UP_ROUNDS {
                let options =
                    VerifyOptions { since_clean: true, windows: 1, ..VerifyOptions::default() };
                let report = job.verify(options).await.map_err(|error| sync_error(to, &error))?;
                needs_full = report.full_pass_needed.is_some();
                if needs_full || report.checked < FEW_ROOTS {
                    break;
                }
            }
            if needs_full {
                let full = job.verify(VerifyOptions::default());
                let limited = tokio::time::timeout_at(end.into(), full).await;
                let what = format!("verify of job `{}`", job.name());
                let after_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
                let waiting_for = "a full comparison; run banyan sync verify before".to_owned();
                limited
                    .map_err(|_| PortError::TimedOut { what, after_ms, waiting_for })?
                    .map_err(|error| sync_error(to, &error))?;
            }
        }
        Ok(drained)
    }

    async fn drain(&self, switch: &Switch, within: Duration) -> Result<Drained, PortError> {
        self.settle(switch.to(), Instant::now() + within, 0).await
    }

    async fn verify(&self, switch: &Switch, within: Duration) -> Result<Verified, PortError> {
        let to = switch.to();
        let mut verified = Verified { equal: true, ..Verified::default() };
        for job in self.open(to)? {
            let options = VerifyOptions { since_clean: true, ..VerifyOptions::default() };
            let report = tokio::time::timeout(within, job.verify(options)).await;
            let report = report.map_err(|_| PortError::TimedOut {
                what: format!("verify of job `{}`", job.name()),
                after_ms: u64::try_from(within.as_millis()).unwrap_or(u64::MAX),
                waiting_for: "both databases".to_owned(),
            })?;
            let report = report.map_err(|error| sync_error(to, &error))?;
            verified.checked += report.checked;
            if let Some(why) = report.full_pass_needed {
                verified.equal = false;
                verified.differing.push(format!("job `{}` needs a full pass: {why}", job.name()));
            }
            verified.equal &= report.differing_total == 0 && report.hot_total == 0;
            let differing = report.differing.iter().map(|found| found.key.clone());
            verified.differing.extend(differing.chain(report.hot_unverified).take(NAMED_MAX));
        }
        Ok(verified)
    }

    async fn raise_sequences(&self, switch: &Switch) -> Result<u64, PortError> {
        let from: Vec<&str> = self.sequences.iter().map(|pair| pair.of(switch.from)).collect();
        let to: Vec<&str> = self.sequences.iter().map(|pair| pair.of(switch.to())).collect();
        let next = self.fence_of(switch.from).next_ids(&from).await;
        let next = next.map_err(|error| sync_error(switch.from, &error))?;
        let wanted: Vec<(&str, i64)> = to.into_iter().zip(next).collect();
        let raised = self.fence_of(switch.to()).raise(&wanted).await;
        let raised = raised.map_err(|error| sync_error(switch.to(), &error))?;
        Ok(raised.iter().filter(|raised| raised.now > raised.before).count() as u64)
    }

    async fn put_marker(
        &self,
        side: Side,
        kind: MarkerKind,
        epoch: Epoch,
    ) -> Result<(), PortError> {
        let Some(settings) = &self.forwarder else { return Ok(()) };
        let kind = match kind {
            MarkerKind::Open => forwarder::MarkerKind::Open,
            MarkerKind::Seal => forwarder::MarkerKind::Seal,
            MarkerKind::Void => forwarder::MarkerKind::Void,
        };
        let marker = forwarder::Marker { kind, context: self.context.clone(), epoch };
        forwarder::put(settings, side, &marker).await.map_err(|error| events_error(&error))
    }

    async fn unpublished(&self, side: Side) -> Result<u64, PortError> {
        let places = self.config.contexts.get(&self.context);
        let query = places.and_then(|places| places.legacy_unpublished.as_deref());
        if let (Side::Legacy, Some(query)) = (side, query) {
            let counted = self.fence_of(side).count(query).await;
            return counted.map_err(|error| sync_error(side, &error));
        }
        let Some(url) = places.and_then(|places| places.databases.get(&side)) else { return Ok(0) };
        let failed = |error: banyan_outbox::OutboxError| PortError::Unreachable {
            what: format!("outbox of side {side}"),
            reason: error.to_string(),
        };
        let outbox = banyan_outbox::open(url).await.map_err(failed)?;
        match outbox.status().await {
            Ok(status) => {
                let own = status.contexts.iter().filter(|row| row.context == self.context.as_str());
                Ok(own.map(|row| row.ready + row.waiting).sum())
            }
            // A side that publishes by itself has no outbox.
            Err(error) if error.is_absent() => Ok(0),
            Err(error) => Err(failed(error)),
        }
    }

    async fn turn_sync(&self, switch: &Switch) -> Result<(), PortError> {
        // Both sides were just proved equal and the new owner's triggers mark every change since: the way back has nothing
        // to copy. `banyan serve` follows the owner by itself.
        for job in self.open(switch.from)? {
            let turned = job.take_as_copied().await;
            turned.map_err(|error| sync_error(switch.from, &error))?;
        }
        Ok(())
    }

    async fn record(&self, record: &Record) -> Result<(), PortError> {
        let outcome = match record.outcome {
            RecordOutcome::Done => AuditOutcome::Done,
            RecordOutcome::Failed | RecordOutcome::Overtaken | RecordOutcome::Retried => {
                AuditOutcome::Refused
            }
        };
        let detail = format!(
            "{}: {} {} in {} ms{}",
            record.switch,
            record.step,
            record.outcome.as_str(),
            record.elapsed_ms,
            if record.detail.is_empty() { String::new() } else { format!(": {}", record.detail) },
        );
        // Clients wait during a hold, so the line is written beside it, in its order.
        let line = Line { outcome, detail, actor: self.now() };
        drop(self.audit.send(line));
        Ok(())
    }

    fn now_ms(&self) -> u64 {
        control::now_ms()
    }

    async fn pause(&self, wait: Duration) {
        tokio::time::sleep(wait).await;
    }

    async fn done(&self, step: Step) {
        if self.halt_at.as_deref() == Some(step.as_str()) {
            tracing::warn!(%step, "halted for a test");
            std::future::pending::<()>().await;
        }
    }
}
