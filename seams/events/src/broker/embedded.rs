//! The embedded broker: one SQLite file that several processes may open at once.
//!
//! Owns the handle, its consumer, and the registry that lets all handles of a process share one actor per
//! file ([`actor`]), which is the only thing that touches the file ([`store`]). It exists so that the demo and
//! small installations need no server.
//!
//! What must stay true: everything goes through the actor, in the order of arrival, many requests to one
//! durable commit; a message taken from the file is never lost between the actor and the consumer, also
//! when a wait is cancelled.

mod actor;
mod store;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};

use self::actor::{Acked, Answer, Command, Request};
use super::unrouted::Unrouted;
use super::{
    Broker, BrokerError, BrokerKind, BrokerState, Consumer, Delivery, GoOn, Message, Topology,
};
use crate::metrics;

/// How long a consumer that stopped beating keeps its queue, unless the URL says otherwise.
const LEASE_DEFAULT: Duration = Duration::from_secs(5);
/// Requests waiting for the actor; beyond it callers wait.
const REQUESTS_MAX: usize = 1_024;
/// Largest body, in bytes.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Messages in one request; a longer list is sent in windows of this size.
const WINDOW: usize = 256;

/// One actor per file and process, as long as any handle of it lives.
static ACTORS: LazyLock<Mutex<HashMap<PathBuf, mpsc::WeakSender<Request>>>> =
    LazyLock::new(Mutex::default);

/// A handle on a broker file.
pub struct EmbeddedBroker {
    requests: mpsc::Sender<Request>,
    closed: AtomicBool,
}

struct EmbeddedConsumer {
    requests: mpsc::Sender<Request>,
    session: i64,
    queue: String,
    prefetch: usize,
    /// Handed out and not acknowledged.
    unacked: BTreeSet<u64>,
    /// Taken from the file, not handed out yet.
    ready: VecDeque<Delivery>,
    /// A fetch under way; kept here so that a cancelled wait does not lose its answer.
    pending: Option<oneshot::Receiver<Result<Answer, BrokerError>>>,
}

impl EmbeddedBroker {
    /// Opens `embedded:/path/file?lease_ms=N`, making the file when absent.
    ///
    /// # Errors
    /// [`BrokerError::Url`] or [`BrokerError::Storage`].
    pub async fn open(url: &str) -> Result<Self, BrokerError> {
        let (path, lease) = parse(url)?;
        let path = absolute(&path)?;
        let requests = match running_actor(&path) {
            Some(requests) => requests,
            None => start_actor(path, lease).await?,
        };
        Ok(Self { requests, closed: AtomicBool::new(false) })
    }

    async fn ask(&self, command: Command) -> Result<Answer, BrokerError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(BrokerError::Closed);
        }
        ask(&self.requests, command).await
    }
}

fn parse(url: &str) -> Result<(PathBuf, Duration), BrokerError> {
    let bad = |reason: &str| BrokerError::Url { reason: reason.to_owned() };
    let rest =
        url.strip_prefix("embedded:").ok_or_else(|| bad("it must begin with `embedded:`"))?;
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    if path.is_empty() {
        return Err(bad("`embedded:` needs the path of a file"));
    }
    let lease = match query.strip_prefix("lease_ms=") {
        Some(text) => match text.parse() {
            Ok(ms @ 100..=600_000) => Duration::from_millis(ms),
            Ok(_) | Err(_) => return Err(bad("`lease_ms` must be 100 to 600000")),
        },
        None if query.is_empty() => LEASE_DEFAULT,
        None => return Err(bad("the only option of `embedded:` is `lease_ms`")),
    };
    Ok((path.into(), lease))
}

/// The same file must have the same name, whatever way it was written.
fn absolute(path: &Path) -> Result<PathBuf, BrokerError> {
    let storage = |error: std::io::Error| BrokerError::Storage {
        path: path.display().to_string(),
        reason: error.to_string(),
    };
    let name = path.file_name().ok_or_else(|| BrokerError::Url {
        reason: "`embedded:` needs the path of a file, not of a directory".to_owned(),
    })?;
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    Ok(parent.canonicalize().map_err(storage)?.join(name))
}

fn running_actor(path: &Path) -> Option<mpsc::Sender<Request>> {
    let actors = ACTORS.lock().unwrap_or_else(PoisonError::into_inner);
    actors.get(path)?.upgrade().filter(|requests| !requests.is_closed())
}

async fn start_actor(path: PathBuf, lease: Duration) -> Result<mpsc::Sender<Request>, BrokerError> {
    let (requests, inbox) = mpsc::channel(REQUESTS_MAX);
    actor::spawn(path.clone(), lease, inbox).await?;
    let mut actors = ACTORS.lock().unwrap_or_else(PoisonError::into_inner);
    actors.retain(|_, sender| sender.strong_count() > 0);
    actors.insert(path, requests.downgrade());
    Ok(requests)
}

async fn ask(requests: &mpsc::Sender<Request>, command: Command) -> Result<Answer, BrokerError> {
    let (reply, answer) = oneshot::channel();
    requests.send(Request { command, reply }).await.map_err(|_gone| BrokerError::Closed)?;
    answer.await.map_err(|_gone| BrokerError::Closed)?
}

async fn publish_windows(
    requests: &mpsc::Sender<Request>,
    session: Option<i64>,
    messages: Vec<Message>,
    go_on: GoOn<'_>,
) -> Result<(), BrokerError> {
    let mut messages = messages.into_iter().peekable();
    let mut unrouted = Unrouted::default();
    while messages.peek().is_some() {
        if !go_on() {
            let reason = "the publisher may not go on".to_owned();
            return Err(BrokerError::Unconfirmed { reason });
        }
        let window: Vec<Message> = messages.by_ref().take(WINDOW).collect();
        window.iter().try_for_each(check_size)?;
        let count = window.len();
        let result = ask(requests, Command::Publish { session, messages: window }).await;
        metrics::published(BrokerKind::Embedded, count, result.as_ref().err());
        unrouted.take_in(result.map(drop))?;
    }
    unrouted.into_result()
}

/// A row of the file is kept in memory as a whole.
fn check_size(message: &Message) -> Result<(), BrokerError> {
    message.validate()?;
    let bytes = message.body.len();
    if bytes > BODY_BYTES_MAX {
        let reason =
            format!("body has {bytes} bytes, the limit of the embedded broker is {BODY_BYTES_MAX}");
        return Err(BrokerError::InvalidMessage { reason });
    }
    Ok(())
}

#[async_trait]
impl Broker for EmbeddedBroker {
    fn kind(&self) -> BrokerKind {
        BrokerKind::Embedded
    }

    fn state(&self) -> BrokerState {
        if self.closed.load(Ordering::Acquire) || self.requests.is_closed() {
            return BrokerState::Disconnected { reason: BrokerError::Closed.to_string() };
        }
        BrokerState::Connected
    }

    async fn declare(&self, topology: &Topology) -> Result<(), BrokerError> {
        self.ask(Command::Declare { topology: topology.clone() }).await.map(drop)
    }

    async fn publish_while(
        &self,
        messages: Vec<Message>,
        go_on: GoOn<'_>,
    ) -> Result<(), BrokerError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(BrokerError::Closed);
        }
        publish_windows(&self.requests, None, messages, go_on).await
    }

    async fn consume(&self, queue: &str, prefetch: u16) -> Result<Box<dyn Consumer>, BrokerError> {
        let queue = queue.to_owned();
        match self.ask(Command::Open { queue: queue.clone() }).await? {
            Answer::Session(session) => Ok(Box::new(EmbeddedConsumer {
                requests: self.requests.clone(),
                session,
                queue,
                prefetch: usize::from(prefetch.max(1)),
                unacked: BTreeSet::new(),
                ready: VecDeque::new(),
                pending: None,
            })),
            Answer::Done | Answer::Deliveries(_) | Answer::Depth(_) => Err(BrokerError::Closed),
        }
    }

    async fn depth(&self, queue: &str) -> Result<u64, BrokerError> {
        match self.ask(Command::Depth { queue: queue.to_owned() }).await? {
            Answer::Depth(depth) => Ok(depth),
            Answer::Done | Answer::Deliveries(_) | Answer::Session(_) => Err(BrokerError::Closed),
        }
    }

    async fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }
}

impl EmbeddedConsumer {
    /// Waits until the file has given something; the answer survives a cancelled wait in `pending`.
    async fn fill(&mut self) -> Result<(), BrokerError> {
        let room = self.prefetch.saturating_sub(self.unacked.len());
        if self.pending.is_none() {
            if room == 0 {
                // Nothing may be handed out before an acknowledgement, which needs `&mut self`.
                return std::future::pending().await;
            }
            self.send_fetch(room).await?;
        }
        let Some(pending) = self.pending.as_mut() else { return Ok(()) };
        let answer = pending.await.map_err(|_gone| BrokerError::Closed);
        self.pending = None;
        if let Answer::Deliveries(deliveries) = answer?? {
            self.ready.extend(deliveries);
        }
        Ok(())
    }

    /// Reserves its place in the actor's inbox first, so that a cancelled wait has sent nothing.
    async fn send_fetch(&mut self, messages_max: usize) -> Result<(), BrokerError> {
        let permit = self.requests.reserve().await.map_err(|_gone| BrokerError::Closed)?;
        let (reply, answer) = oneshot::channel();
        let command = Command::Fetch { session: self.session, messages_max };
        permit.send(Request { command, reply });
        self.pending = Some(answer);
        Ok(())
    }
}

#[async_trait]
impl Consumer for EmbeddedConsumer {
    async fn next(&mut self) -> Result<Delivery, BrokerError> {
        loop {
            if let Some(delivery) = self.ready.pop_front() {
                self.unacked.insert(delivery.tag);
                return Ok(delivery);
            }
            self.fill().await?;
        }
    }

    async fn publish_while(
        &mut self,
        messages: Vec<Message>,
        go_on: GoOn<'_>,
    ) -> Result<(), BrokerError> {
        publish_windows(&self.requests, Some(self.session), messages, go_on).await
    }

    async fn ack_through(&mut self, tag: u64) -> Result<(), BrokerError> {
        let tags: Vec<u64> = self.unacked.range(..=tag).copied().collect();
        self.ack(&tags).await
    }

    async fn ack(&mut self, tags: &[u64]) -> Result<(), BrokerError> {
        let tags: Vec<u64> =
            tags.iter().copied().filter(|tag| self.unacked.contains(tag)).collect();
        if tags.is_empty() {
            return Ok(());
        }
        let acked = Acked { queue: self.queue.clone(), tags: tags.clone() };
        ask(&self.requests, Command::Ack { session: self.session, acked }).await?;
        for tag in tags {
            self.unacked.remove(&tag);
        }
        Ok(())
    }
}

impl Drop for EmbeddedConsumer {
    fn drop(&mut self) {
        let (reply, _answer) = oneshot::channel();
        let release = Request { command: Command::Release { session: self.session }, reply };
        // A full inbox is no harm: the lease then ends the session.
        if self.requests.try_send(release).is_err() {
            tracing::debug!(queue = %self.queue, "consumer ends with its lease");
        }
    }
}
