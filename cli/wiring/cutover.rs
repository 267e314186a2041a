//! The ports of a cutover on the real parts: fences and sync of the two databases, route table, forwarder, audit.
//!
//! Owns the translation and no decision: what comes next is decided by `banyan_cutover`. What must stay true: each
//! call may be repeated; each ends within its limit; an error is never taken for "it did not happen".

mod audit;
mod check;
mod compare;
mod drain;
mod error;
mod halt;

use self::audit::Line;
use self::compare::{catch_up, compare};
use self::drain::Until;
use self::error::{events_error, store_error, sync_error, timed_out};
use self::halt::Halt;
use super::{control, events};
use crate::config::{Config, Job as Configured};
use async_trait::async_trait;
use banyan_control::{AuditOutcome, CommitError, ControlStore};
use banyan_cutover::{
    Acknowledged, Check, Drained, Fence, FenceChange, MarkerKind, Move, PortError, Ports, Record,
    RecordOutcome, Route, RouteMove, Standing, Step, Switch, Verified,
};
use banyan_domain::{Actor, Change, ContextName, Epoch, Side};
use banyan_events::forwarder::{self, Insertion};
use banyan_sync_jobs::{
    Comparison, ContextFence, FenceMoved, FirstWay, IdCounter, Job, JobWatch, SequencePair,
};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;

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
    forwarder: Option<forwarder::Remote>,
    /// Looks at the jobs of the direction that is being drained, kept while clients wait.
    looks: Mutex<Vec<JobWatch>>,
    /// The comparisons of the direction that was caught up, kept while clients wait.
    comparisons: Mutex<Vec<Comparison>>,
    /// The ways back that never ran, once they were looked for, and whether both sides were proved equal since.
    way_back: Mutex<Option<(Vec<FirstWay>, bool)>>,
    /// Lines on their way to the audit.
    audit: mpsc::UnboundedSender<Line>,
    written: Mutex<Option<JoinHandle<u32>>>,
    /// Where a crash test wants the process to stop.
    halt: Option<Halt>,
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
            .filter(|settings| has_events && settings.insertion != Insertion::Tap)
            .map(forwarder::Remote::new);
        let (audit, lines) = mpsc::unbounded_channel();
        let written = tokio::spawn(audit::write(store.clone(), context.clone(), lines));
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
            comparisons: Mutex::default(),
            way_back: Mutex::default(),
            halt: Halt::from_env(),
        })
    }

    /// Waits until the audit has every line; says how many it lacks.
    pub(crate) async fn written(mut self) -> u32 {
        if let Some(forwarder) = &self.forwarder {
            forwarder.close().await;
        }
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

    /// Before the owner is named, so before anybody syncs the other way: both sides were proved equal by this run and the new
    /// owner's triggers mark every change since, so the way back has nothing to copy. Without it, it copies; that is all.
    async fn note_way_back(&self) {
        let Some((first, proved)) = self.way_back.lock().await.take() else { return };
        for way in first.into_iter().filter(|_| proved) {
            let job = way.name().to_owned();
            match way.take_as_copied().await {
                Ok(true) => {}
                Ok(false) => {
                    tracing::info!(job, "the way back has begun meanwhile, or copies anew");
                }
                Err(error) => {
                    let error = error.chain();
                    tracing::warn!(job, error, "the way back copies anew");
                }
            }
        }
    }

    /// Looks for ways back that never ran, before both sides are compared.
    async fn look_back(&self, switch: &Switch) -> Result<(), PortError> {
        let mut first = Vec::new();
        for job in self.open(switch.from)? {
            let found = job.first_way().await;
            first.extend(found.map_err(|error| sync_error(switch.from, &error))?);
        }
        *self.way_back.lock().await = Some((first, false));
        Ok(())
    }

    /// What happens while clients wait ends within the time that they may be held.
    async fn while_held<T>(
        &self,
        what: &str,
        work: impl Future<Output = Result<T, PortError>>,
    ) -> Result<T, PortError> {
        let limit = self.config.cutover.hold_max;
        let ended = tokio::time::timeout(limit, work).await;
        ended.unwrap_or_else(|_| Err(timed_out(what.to_owned(), limit, "its server")))
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

/// The context's jobs that go both ways; the others bring what the monolith keeps owning.
pub(crate) fn jobs<'a>(config: &'a Config, context: &ContextName) -> Vec<&'a Configured> {
    let of_context = config.jobs.iter().filter(|job| job.spec.context == context.as_str());
    of_context.filter(|job| job.spec.is_two_way()).collect()
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
        let Some(forwarder) = &self.forwarder else { return Ok(None) };
        let settings = forwarder.config();
        // A new file would know nothing, and a marker would be taken for put.
        if !settings.database.exists() {
            let place = settings.database.display();
            return Err(PortError::Unreachable {
                what: "forwarder".to_owned(),
                reason: format!(
                    "its decisions `{place}` are not here: run this where it runs, or start banyan serve"
                ),
            });
        }
        let table = self.store.table().await.map_err(|error| store_error(&error))?;
        let Some(state) = table.contexts.get(&self.context) else { return Ok(None) };
        let told = (state.owner, state.epoch);
        let found = forwarder.acted_on(&self.context, told).await;
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
        if wanted == RouteMove::MoveOwner {
            self.note_way_back().await;
        }
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
        let drained = self.settle(to, end, Until::Nearly).await?;
        // Clients would be held for what cannot end in time.
        if drained.pending > Until::Nearly.few(within) && drained.conflicts.is_empty() {
            let waiting_for =
                format!("the sync: {} marks wait (banyan sync list)", drained.pending);
            return Err(timed_out("catching up".to_owned(), within, &waiting_for));
        }
        // The base for the short comparison during the hold; what differs is told there, or by the checks.
        let mut comparisons = Vec::new();
        for job in self.open(to)? {
            let compared = tokio::time::timeout_at(end.into(), catch_up(&job)).await;
            let waiting_for =
                format!("a comparison; run banyan sync verify {} --to {to} before", job.name());
            let compared = compared.map_err(|_| {
                timed_out(format!("verify of job `{}`", job.name()), within, &waiting_for)
            })?;
            comparisons.push(compared.map_err(|error| sync_error(to, &error))?);
        }
        *self.comparisons.lock().await = comparisons;
        self.look_back(switch).await?;
        for side in Side::ALL {
            let warm = self.fence_of(side).warm_up().await;
            warm.map_err(|error| sync_error(side, &error))?;
        }
        if let Some(forwarder) = &self.forwarder
            && let Err(error) = forwarder.connect(to).await
        {
            tracing::warn!(%error, "the open marker will need a connection of its own");
        }
        Ok(drained)
    }

    async fn drain(&self, switch: &Switch, within: Duration) -> Result<Drained, PortError> {
        self.settle(switch.to(), Instant::now() + within, Until::Drained).await
    }

    async fn verify(&self, switch: &Switch, within: Duration) -> Result<Verified, PortError> {
        let to = switch.to();
        let mut verified = Verified { equal: true, ..Verified::default() };
        let end = Instant::now() + within;
        // Whoever goes on in the place of another has not caught up before.
        if self.way_back.lock().await.is_none() {
            let look = Box::pin(self.look_back(switch));
            self.while_held("looking for the way back", look).await?;
        }
        let mut kept = std::mem::take(&mut *self.comparisons.lock().await).into_iter();
        for job in self.open(to)? {
            let comparison = kept.next().filter(|kept| kept.to() == to);
            let report = tokio::time::timeout_at(end.into(), compare(&job, comparison)).await;
            let what = || format!("verify of job `{}`", job.name());
            let report = report.map_err(|_| timed_out(what(), within, "both databases"))?;
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
        if let Some((_, proved)) = &mut *self.way_back.lock().await {
            *proved = verified.equal;
        }
        Ok(verified)
    }

    async fn raise_sequences(&self, switch: &Switch) -> Result<u64, PortError> {
        let from: Vec<&str> = self.sequences.iter().map(|pair| pair.of(switch.from)).collect();
        let to: Vec<&str> = self.sequences.iter().map(|pair| pair.of(switch.to())).collect();
        let (source, target) = (self.fence_of(switch.from), self.fence_of(switch.to()));
        let raise = async {
            let (given, counters) =
                futures_util::join!(source.id_counters(&from), target.id_counters(&to));
            let given = given.map_err(|error| sync_error(switch.from, &error))?;
            let counters = counters.map_err(|error| sync_error(switch.to(), &error))?;
            let least = given.iter().map(IdCounter::next);
            let wanted: Vec<_> = counters.into_iter().zip(least).collect();
            let raised = target.raise(&wanted).await;
            raised.map_err(|error| sync_error(switch.to(), &error))
        };
        let raised = self.while_held("raising id counters", Box::pin(raise)).await?;
        Ok(raised.iter().filter(|raised| raised.now > raised.before).count() as u64)
    }

    async fn put_marker(
        &self,
        side: Side,
        kind: MarkerKind,
        epoch: Epoch,
    ) -> Result<(), PortError> {
        let Some(forwarder) = &self.forwarder else { return Ok(()) };
        let kind = match kind {
            MarkerKind::Open => forwarder::MarkerKind::Open,
            MarkerKind::Seal => forwarder::MarkerKind::Seal,
            MarkerKind::Void => forwarder::MarkerKind::Void,
        };
        let marker = forwarder::Marker { kind, context: self.context.clone(), epoch };
        let put =
            async { forwarder.put(side, &marker).await.map_err(|error| events_error(&error)) };
        if kind == forwarder::MarkerKind::Open {
            return self.while_held("putting the open marker", put).await;
        }
        put.await
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

    async fn turn_sync(&self, _switch: &Switch) -> Result<(), PortError> {
        // `banyan serve` follows the owner by itself; what it need not copy was noted before the owner was named.
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
        if let Some(halt) = &self.halt {
            halt.at(step).await;
        }
    }
}
