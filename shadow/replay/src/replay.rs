//! The replay: read, pace, ask both sides, hand over to the engine, keep the state.
//!
//! Owns the tasks of a run. It is a thin shell: order is `lanes`, timing is `pace`, patience is `side`, judging is
//! `banyan_shadow`, position and totals are `state`. What must stay true: an exchange is asked of the baseline first, then
//! of new; memory is bounded by the window and its bytes, whatever the size of the recording; stopping at any moment loses
//! nothing but the exchanges on their way, which a resumed run asks again.

use crate::keeper::Keeper;
use crate::lanes::Lanes;
use crate::pace::{Pace, Rate};
use crate::redact::Redactor;
use crate::route::Routes;
use crate::scan::{FileError, Scanned, Selection, scan};
use crate::session::Session;
use crate::setup::{finished, identity, redactor, start};
use crate::side::{Open, OpenExchanges, Patient, Trouble, lock};
use crate::state::{State, StateError};
use crate::{Format, Headers, Limits, Recorded, reader};
use banyan_domain::{EndpointName, Side};
use banyan_shadow::{
    Answer, AskError, Clock, Declared, Direct, MirrorRequest, Outcome, Pair, ShadowConfig,
    StartError, Summary, Unasked,
};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Exchanges that wait for their turn, behind others of their session or for a place.
const WINDOW: usize = 1_024;
/// Time between two looks at the progress, in ms.
pub(crate) const TICK_MS: u64 = 200;
/// A re-read that has not come to an end after this long without any progress is given up, in ms.
const SETTLE_MS_MAX: u64 = 60_000;

/// What legacy's answers are taken from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Baseline {
    /// A running side, by base URL.
    Url(String),
    /// The recording.
    Recorded,
}

/// Settings of a replay.
#[derive(Clone)]
pub struct ReplayConfig {
    /// The recordings, in order.
    pub files: Vec<PathBuf>,
    /// Their format; told by content when absent.
    pub format: Option<Format>,
    /// Bounds of the readers.
    pub limits: Limits,
    /// Base URL of new.
    pub against: String,
    /// Where legacy's answers come from.
    pub baseline: Baseline,
    /// How fast.
    pub rate: Rate,
    /// Exchanges on their way at once.
    pub concurrency: usize,
    /// What of the recording is replayed.
    pub selection: Selection,
    /// Headers to set on every request, in place of recorded ones.
    pub headers: Headers,
    /// Limit of one request, in ms.
    pub timeout_ms: u64,
    /// Largest answer.
    pub body_bytes_max: usize,
    /// How long a side may be gone, in ms.
    pub give_up_ms: u64,
    /// The engine: rules, budget, redaction, rechecks. Sides and limits of concurrency are filled in here.
    pub shadow: ShadowConfig,
    /// What else makes two runs the same replay, such as the rules.
    pub identity: BTreeMap<String, String>,
    /// Where the state is kept.
    pub state: Option<PathBuf>,
    /// Whether to go on from that state.
    pub resume: bool,
}

/// What a replay is doing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Seen {
    /// Exchanges with an outcome.
    pub done: u64,
    /// Exchanges to replay.
    pub total: u64,
    /// Confirmed mismatches.
    pub mismatched: u64,
    /// Reads that only new failed.
    pub new_errors: u64,
    /// Share of the wanted rate that the sides bear.
    pub share: f64,
    /// Why it does not go on, if it does not.
    pub waiting: Option<String>,
}

/// How a replay ended.
#[derive(Debug)]
pub struct Finished {
    /// What was found.
    pub summary: Summary,
    /// The endpoints that the report is about.
    pub declared: Vec<Declared>,
    /// What the recording holds.
    pub scanned: Scanned,
    /// Exchanges with an outcome.
    pub done: u64,
    /// Whether it was stopped before its end.
    pub stopped: bool,
    /// Exchanges that were done before, when it was resumed.
    pub resumed: u64,
    /// What there is to say.
    pub warnings: Vec<String>,
}

/// Why a replay cannot be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// A recording cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A side's address is none.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The state cannot be gone on from.
    #[error(transparent)]
    State(#[from] StateError),
    /// A side cannot be reached, or was gone for too long.
    #[error("reach {side} at `{url}`")]
    Unreachable {
        /// The side.
        side: Side,
        /// Its address.
        url: String,
    },
    /// The recording is redacted under another key than the one given.
    #[error(
        "compare with answers that were redacted under key {recorded}: the key given is {given}"
    )]
    OtherKey {
        /// Name of the recording's key.
        recorded: String,
        /// Name of the key that was given.
        given: String,
    },
    /// Reading failed in a way that is a bug.
    #[error("read the recording: {0}")]
    Broken(String),
}

/// One exchange on its way from the reader.
pub(crate) struct Item {
    pub(crate) number: u64,
    pub(crate) session: Option<Session>,
    pub(crate) endpoint: EndpointName,
    pub(crate) recorded: Box<Recorded>,
    /// Its share of the bytes that may wait.
    pub(crate) _share: OwnedSemaphorePermit,
}

/// What the tasks of a run share.
pub(crate) struct Run {
    pub(crate) config: ReplayConfig,
    pub(crate) direct: Direct,
    pub(crate) patient: Patient,
    pub(crate) open: OpenExchanges,
    pub(crate) redactor: Option<Redactor>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Host to name when the recording says none.
    pub(crate) host: Option<String>,
}

/// Replays a recording.
///
/// # Errors
/// When a file or the state cannot be read, or a side cannot be reached.
pub async fn replay(
    config: ReplayConfig,
    mut routes: Routes,
    clock: Arc<dyn Clock>,
    progress: watch::Sender<Seen>,
    stop: CancellationToken,
) -> Result<Finished, ReplayError> {
    let (files, format, limits) = (config.files.clone(), config.format, config.limits);
    let selection = config.selection.clone();
    let scanning = tokio::task::spawn_blocking(move || {
        scan(&files, format, &limits, &selection, &mut routes).map(|scanned| (scanned, routes))
    });
    let (scanned, routes) =
        scanning.await.map_err(|error| ReplayError::Broken(error.to_string()))??;
    let routes = Arc::new(routes);
    let redactor = redactor(&config, &scanned)?;
    let identity = identity(&config);
    let state = match (&config.state, config.resume) {
        (Some(path), true) => State::load(path, &identity)?,
        (Some(_) | None, _) => State::new(identity),
    };
    let resumed = state.done();
    let open = OpenExchanges::default();
    let keeper = Keeper::new(state, config.state.clone(), open.clone());
    let (run, shadow) = start(config, &routes, redactor, open, &keeper, clock)?;
    if let Some(side) = run.patient.unreachable().await {
        shadow.stop().await;
        return Err(run.unreachable(side));
    }
    let run = Arc::new(run);
    let ended = run.clone().drive(&routes, &keeper, &scanned, &progress, &stop).await;
    if ended.is_ok() && !stop.is_cancelled() {
        run.settle(&keeper, &scanned, &progress, &stop).await;
    }
    shadow.stop().await;
    keeper.store().await;
    ended?;
    Ok(finished(&run, &routes, &keeper, scanned, resumed))
}

impl Run {
    /// Reads, paces and asks until the recording is through, or the run is stopped.
    async fn drive(
        self: Arc<Self>,
        routes: &Arc<Routes>,
        keeper: &Arc<Keeper>,
        scanned: &Scanned,
        progress: &watch::Sender<Seen>,
        stop: &CancellationToken,
    ) -> Result<(), ReplayError> {
        let mut items = reader::start(&self.config, routes.clone(), keeper.clone());
        let mut lanes: Lanes<Item> = Lanes::default();
        let mut tasks: JoinSet<Result<(), Trouble>> = JoinSet::new();
        let mut sessions = HashMap::new();
        let mut pace = Pace::new(self.config.rate);
        let begin = tokio::time::Instant::now();
        let mut next: Option<(Item, tokio::time::Instant)> = None;
        let mut reading = true;
        let mut tick = tokio::time::interval(Duration::from_millis(TICK_MS));
        loop {
            while tasks.len() < self.places()
                && let Some((session, item)) = lanes.take()
            {
                let task = tasks.spawn(self.clone().exchange(item));
                sessions.insert(task.id(), session);
            }
            if !reading && next.is_none() && lanes.waiting() == 0 && tasks.is_empty() {
                return Ok(());
            }
            let due = next.as_ref().map_or(begin, |(_, due)| *due);
            tokio::select! {
                () = stop.cancelled() => break,
                Some(ended) = tasks.join_next_with_id(), if !tasks.is_empty() => {
                    let (id, result) = match ended {
                        Ok((id, result)) => (id, result),
                        Err(error) => (error.id(), Ok(())),
                    };
                    lanes.finished(sessions.remove(&id).flatten());
                    if let Err(Trouble::Gone(side)) = result {
                        return Err(self.unreachable(side));
                    }
                }
                () = tokio::time::sleep_until(due), if next.is_some() => {
                    if let Some((item, _)) = next.take() {
                        lanes.push(item.session, item);
                    }
                }
                item = items.recv(), if reading && next.is_none() && lanes.waiting() < WINDOW => {
                    match item {
                        Some(item) => {
                            let now = u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX);
                            let share = self.patient.share();
                            let due = pace.due_us(now, item.recorded.at_ms, share);
                            next = Some((item, begin + Duration::from_micros(due)));
                        }
                        None => reading = false,
                    }
                }
                _ = tick.tick() => progress_tick(progress, self.seen(keeper, scanned, None)),
            }
        }
        tasks.shutdown().await;
        Ok(())
    }

    /// Exchanges that may be on their way: fewer while a side suffers, one at least.
    fn places(&self) -> usize {
        let share = self.patient.share();
        let most = self.config.concurrency;
        (1..=most)
            .rev()
            .find(|places| {
                let part = u32::try_from(*places).map_or(f64::MAX, f64::from);
                part <= u32::try_from(most).map_or(f64::MAX, f64::from) * share
            })
            .unwrap_or(1)
    }

    /// The life of one exchange.
    async fn exchange(self: Arc<Self>, item: Item) -> Result<(), Trouble> {
        let unasked = Unasked {
            tag: item.number,
            endpoint: item.endpoint.clone(),
            at_ms: self.clock.now_ms(),
        };
        let prepared = crate::prepare::prepare(&self.config, self.host.as_deref(), &item);
        let (request, recorded) = match prepared {
            Ok(prepared) => prepared,
            Err(reason) => {
                self.direct.skip(&unasked, reason);
                return Ok(());
            }
        };
        let name = format!(
            "{} {}",
            if item.recorded.id.is_empty() { "entry" } else { "id" },
            item.recorded.id
        );
        lock(&self.open).insert(item.number, Open { name, legacy: recorded.clone() });
        let context = item.endpoint.context();
        let legacy = match recorded {
            Some(answer) => Ok(answer),
            None => self.patient.ask(&context, Side::Legacy, &request).await,
        };
        let answers = match legacy {
            Ok(legacy) => match self.patient.ask(&context, Side::New, &request).await {
                Err(Trouble::Failed(AskError::Timeout)) => {
                    self.direct.silent(unasked, request, legacy);
                    return Ok(());
                }
                new => new.map(|new| (legacy, new)),
            },
            Err(trouble) => Err(trouble),
        };
        match answers {
            Ok((legacy, new)) => self.compare(item, request, legacy, new).await,
            Err(Trouble::Failed(error)) => self.direct.fail(&unasked, error),
            Err(gone @ Trouble::Gone(_)) => return Err(gone),
        }
        Ok(())
    }

    async fn compare(&self, item: Item, request: MirrorRequest, legacy: Answer, new: Answer) {
        let at_ms = self.clock.now_ms();
        let opaque = |answer: &Answer| answer.body.starts_with(b"tok:");
        // Of two bodies that are only tokens nothing but their equality is known; a page may differ harmlessly.
        if self.redactor.is_some()
            && legacy.status == new.status
            && legacy.body != new.body
            && (opaque(&legacy) || opaque(&new))
        {
            let unasked = Unasked { tag: item.number, endpoint: item.endpoint, at_ms };
            return self.direct.inconclusive(&unasked, "redacted_body");
        }
        let context = item.endpoint.context();
        let (tag, endpoint) = (item.number, item.endpoint);
        self.direct.compare(Pair { tag, context, endpoint, request, legacy, new, at_ms }).await;
    }

    /// Waits for the re-reads that are still due.
    async fn settle(
        &self,
        keeper: &Keeper,
        scanned: &Scanned,
        progress: &watch::Sender<Seen>,
        stop: &CancellationToken,
    ) {
        let (mut done, mut since_ms) = (keeper.done(), self.clock.now_ms());
        while keeper.done() < scanned.selected && !stop.is_cancelled() {
            tokio::time::sleep(Duration::from_millis(TICK_MS / 4)).await;
            if keeper.done() != done {
                (done, since_ms) = (keeper.done(), self.clock.now_ms());
            }
            if self.clock.now_ms().saturating_sub(since_ms) > SETTLE_MS_MAX {
                return;
            }
            let open = scanned.selected.saturating_sub(done);
            let waiting = format!("{open} differences are looked at again");
            progress_tick(progress, self.seen(keeper, scanned, Some(waiting)));
        }
        progress_tick(progress, self.seen(keeper, scanned, None));
    }

    fn seen(&self, keeper: &Keeper, scanned: &Scanned, waiting: Option<String>) -> Seen {
        let down = self.patient.waits_for().map(|(side, since_ms)| {
            let seconds = self.clock.now_ms().saturating_sub(since_ms) / 1_000;
            format!("{side} has not answered for {seconds} s")
        });
        Seen {
            done: keeper.done(),
            total: scanned.selected,
            mismatched: keeper.count(Outcome::Mismatch),
            new_errors: keeper.count(Outcome::NewError),
            share: self.patient.share(),
            waiting: down.or(waiting),
        }
    }

    fn unreachable(&self, side: Side) -> ReplayError {
        let url = match (side, &self.config.baseline) {
            (Side::Legacy, Baseline::Url(url)) => url.clone(),
            (Side::Legacy, Baseline::Recorded) | (Side::New, _) => self.config.against.clone(),
        };
        ReplayError::Unreachable { side, url }
    }
}

fn progress_tick(progress: &watch::Sender<Seen>, seen: Seen) {
    progress.send_replace(seen);
}
