//! The actor that owns a broker file: takes requests, commits them in groups, wakes waiting consumers.
//!
//! It runs on its own thread with its own small runtime, so that it lives as long as any handle of the file
//! and not as long as the runtime that opened it first.
//!
//! What must stay true: an answer leaves only after the commit that it speaks of; a refused message has
//! written nothing; a wait for messages costs one cheap read per tick and no write lock.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::store::{Store, Work};
use crate::broker::{BrokerError, Delivery, Message, Topology};

/// How often a waiting consumer looks for messages that another process published.
const POLL: Duration = Duration::from_millis(25);
/// Beats per lease: a session survives some missed ones.
const BEATS_PER_LEASE: u32 = 4;
/// Requests in one commit.
const GROUP_MAX: usize = 256;
/// Wait for requests when there is nothing else to do.
const IDLE: Duration = Duration::from_mins(1);

/// What is asked of the file.
pub(super) enum Command {
    Declare { topology: Topology },
    Publish { session: Option<i64>, messages: Vec<Message> },
    Open { queue: String },
    Fetch { session: i64, messages_max: usize },
    Ack { session: i64, acked: Acked },
    Release { session: i64 },
    Depth { queue: String },
}

/// Deliveries that their consumer has done with.
pub(super) struct Acked {
    pub(super) queue: String,
    pub(super) tags: Vec<u64>,
}

/// What the file answers.
pub(super) enum Answer {
    Done,
    Session(i64),
    Deliveries(Vec<Delivery>),
    Depth(u64),
}

/// A command and where its answer goes.
pub(super) struct Request {
    pub(super) command: Command,
    pub(super) reply: oneshot::Sender<Result<Answer, BrokerError>>,
}

struct Actor {
    store: Store,
    inbox: mpsc::Receiver<Request>,
    /// Fetches that found nothing yet.
    waiting: Vec<Request>,
    /// Sessions of this process, to be kept alive.
    sessions: Vec<i64>,
    lease: Duration,
    next_beat: Instant,
    /// Something may have become available since the waiting ones were last served.
    stirred: bool,
}

/// Opens the file and starts its thread; returns when the file is usable.
pub(super) async fn spawn(
    path: PathBuf,
    lease: Duration,
    inbox: mpsc::Receiver<Request>,
) -> Result<(), BrokerError> {
    let place = path.display().to_string();
    let failed = move |reason: String| BrokerError::Storage { path: place.clone(), reason };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| failed(error.to_string()))?;
    let (opened, ready) = oneshot::channel();
    std::thread::Builder::new()
        .name("banyan-broker".to_owned())
        .spawn(move || {
            runtime.block_on(async move {
                let opening = Store::open(&path).await;
                let result = opening.as_ref().map(|_| ()).map_err(Clone::clone);
                if opened.send(result).is_err() {
                    return;
                }
                if let Ok(store) = opening {
                    Actor::new(store, inbox, lease).run().await;
                }
            });
        })
        .map_err(|error| failed(error.to_string()))?;
    ready.await.map_err(|_gone| failed("its thread ended".to_owned()))?
}

impl Actor {
    fn new(store: Store, inbox: mpsc::Receiver<Request>, lease: Duration) -> Self {
        Self {
            store,
            inbox,
            waiting: Vec::new(),
            sessions: Vec::new(),
            lease,
            next_beat: Instant::now(),
            stirred: true,
        }
    }

    /// Until the last handle is gone: take requests, commit them, beat, wake who waits.
    async fn run(mut self) {
        loop {
            match timeout(self.patience(), self.inbox.recv()).await {
                Ok(Some(first)) => self.serve(first).await,
                Ok(None) => break,
                Err(_elapsed) => {}
            }
            self.beat().await;
            self.wake().await;
        }
        for session in std::mem::take(&mut self.sessions) {
            self.release(session).await;
        }
        self.store.close().await;
    }

    fn patience(&self) -> Duration {
        let beat = if self.sessions.is_empty() {
            IDLE
        } else {
            self.next_beat.saturating_duration_since(Instant::now())
        };
        if self.waiting.is_empty() { beat } else { beat.min(POLL) }
    }

    /// Takes what else is already there and commits it all at once.
    async fn serve(&mut self, first: Request) {
        let mut group = Vec::new();
        self.sort_in(first, &mut group);
        while group.len() < GROUP_MAX {
            match self.inbox.try_recv() {
                Ok(request) => self.sort_in(request, &mut group),
                Err(_empty) => break,
            }
        }
        if !group.is_empty() {
            self.commit(group).await;
            self.stirred = true;
        }
    }

    fn sort_in(&mut self, request: Request, group: &mut Vec<Request>) {
        match request.command {
            Command::Fetch { .. } => {
                self.waiting.push(request);
                self.stirred = true;
            }
            Command::Declare { .. }
            | Command::Publish { .. }
            | Command::Open { .. }
            | Command::Ack { .. }
            | Command::Release { .. }
            | Command::Depth { .. } => group.push(request),
        }
    }

    /// One transaction for the group; answers go out after its commit.
    async fn commit(&mut self, group: Vec<Request>) {
        let until_ms = now_ms().saturating_add(as_ms(self.lease));
        let (commands, replies): (Vec<_>, Vec<_>) =
            group.into_iter().map(|request| (request.command, request.reply)).unzip();
        match apply_all(&mut self.store, &commands, until_ms).await {
            Ok(answers) => {
                for ((answer, reply), command) in answers.into_iter().zip(replies).zip(commands) {
                    self.answer(&command, answer, reply).await;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the broker file did not take a group of requests");
                for reply in replies {
                    drop(reply.send(Err(error.clone())));
                }
            }
        }
    }

    async fn answer(
        &mut self,
        command: &Command,
        answer: Result<Answer, BrokerError>,
        reply: oneshot::Sender<Result<Answer, BrokerError>>,
    ) {
        if let Command::Release { session } = command {
            self.sessions.retain(|mine| mine != session);
        }
        let opened = if let Ok(Answer::Session(session)) = &answer { Some(*session) } else { None };
        self.sessions.extend(opened);
        if let (Err(_unheard), Some(session)) = (reply.send(answer), opened) {
            // Nobody waits for this session any more; kept, it would block the queue for ever.
            self.release(session).await;
        }
    }

    /// Keeps own sessions alive and ends those of dead processes, a few times per lease.
    async fn beat(&mut self) {
        if self.sessions.is_empty() || Instant::now() < self.next_beat {
            return;
        }
        self.next_beat = Instant::now() + self.lease / BEATS_PER_LEASE;
        let now = now_ms();
        let until = now.saturating_add(as_ms(self.lease));
        match self.store.beat(&self.sessions, now, until).await {
            Ok(alive) => self.sessions = alive,
            Err(error) => tracing::warn!(%error, "the broker file did not take a heartbeat"),
        }
        self.stirred = true;
    }

    /// Serves the waiting fetches when something may have changed.
    async fn wake(&mut self) {
        self.waiting.retain(|request| !request.reply.is_closed());
        if self.waiting.is_empty() {
            return;
        }
        if !self.stirred && !self.store.changed_elsewhere().await.unwrap_or(true) {
            return;
        }
        self.stirred = false;
        for request in std::mem::take(&mut self.waiting) {
            let Command::Fetch { session, messages_max } = request.command else { continue };
            match self.store.claim(session, messages_max).await {
                Ok(deliveries) if deliveries.is_empty() => self.waiting.push(request),
                Ok(deliveries) => self.hand_out(session, request, deliveries).await,
                Err(error) => drop(request.reply.send(Err(error))),
            }
        }
    }

    async fn hand_out(&mut self, session: i64, request: Request, deliveries: Vec<Delivery>) {
        if request.reply.send(Ok(Answer::Deliveries(deliveries))).is_err() {
            // The consumer died meanwhile: give everything back at once instead of at its lease's end.
            self.release(session).await;
        }
    }

    async fn release(&mut self, session: i64) {
        self.sessions.retain(|mine| *mine != session);
        let commands = [Command::Release { session }];
        if let Err(error) = apply_all(&mut self.store, &commands, now_ms()).await {
            tracing::warn!(%error, "a consumer's messages come back only at the end of its lease");
        }
    }
}

/// Applies commands in order within one transaction. The outer error fails all, an inner one only its own.
async fn apply_all(
    store: &mut Store,
    commands: &[Command],
    until_ms: i64,
) -> Result<Vec<Result<Answer, BrokerError>>, BrokerError> {
    let mut work = store.begin().await?;
    let mut answers = Vec::with_capacity(commands.len());
    for command in commands {
        let answer = apply(&mut work, command, until_ms).await;
        if let Err(BrokerError::Storage { .. }) = answer {
            answer?;
        } else {
            answers.push(answer);
        }
    }
    work.commit().await?;
    Ok(answers)
}

async fn apply(
    work: &mut Work<'_>,
    command: &Command,
    until_ms: i64,
) -> Result<Answer, BrokerError> {
    match command {
        Command::Declare { topology } => work.declare(topology).await.map(|()| Answer::Done),
        Command::Publish { session, messages } => {
            work.publish(*session, messages).await.map(|()| Answer::Done)
        }
        Command::Open { queue } => work.open_session(queue, until_ms).await.map(Answer::Session),
        Command::Ack { session, acked } => {
            work.ack(*session, &acked.queue, &acked.tags).await.map(|()| Answer::Done)
        }
        Command::Release { session } => work.release(*session).await.map(|()| Answer::Done),
        Command::Depth { queue } => work.depth(queue).await.map(Answer::Depth),
        // Fetches wait outside of the group, see `sort_in`.
        Command::Fetch { .. } => Ok(Answer::Deliveries(Vec::new())),
    }
}

fn now_ms() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

fn as_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
