//! A made-up world for the tests of this crate: exchanges, a store in memory, simulated sides.

use crate::{
    Answer, Ask, AskError, Clock, EndpointConfig, Exchange, HttpConfig, MirrorRequest, NumericIds,
    Ports, Redaction, RedactionKey, Served, ShadowConfig, Sleep, TallyBatch, TallyError,
    TallyStore,
};
use async_trait::async_trait;
use banyan_diff::RuleSet;
use banyan_domain::{ContextName, EndpointName, Generation, PathTemplate, Side};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::{Notify, oneshot};

pub(crate) fn exchange(endpoint: &str, path_and_query: &str) -> Exchange {
    let endpoint = EndpointName::new(endpoint).unwrap();
    Exchange {
        context: endpoint.context(),
        endpoint,
        served_by: Side::Legacy,
        mirror_to: Side::New,
        generation: Generation(1),
        method: "GET".into(),
        path_and_query: path_and_query.into(),
        request_headers: vec![],
        served: Served { status: 200, headers: vec![], body: Bytes::new(), elapsed_ms: 1 },
        at_ms: 1,
    }
}

pub(crate) fn json(status: u16, body: impl Into<String>) -> Answer {
    let headers = vec![("content-type".to_owned(), b"application/json".to_vec())];
    Answer { status, headers, body: Bytes::from(body.into()) }
}

/// The exchange of a read that a side answered at `at_ms`.
pub(crate) fn served(
    endpoint: &str,
    target: &str,
    by: Side,
    answer: Answer,
    at_ms: u64,
) -> Exchange {
    let served =
        Served { status: answer.status, headers: answer.headers, body: answer.body, elapsed_ms: 1 };
    Exchange { served_by: by, mirror_to: by.other(), served, at_ms, ..exchange(endpoint, target) }
}

pub(crate) fn redaction() -> Redaction {
    Redaction::new(RedactionKey::derive(b"test"), NumericIds::Shown)
}

/// A configuration with the endpoints of the messages context.
pub(crate) fn config() -> ShadowConfig {
    let http = HttpConfig {
        legacy_url: "http://127.0.0.1:1".into(),
        new_urls: BTreeMap::new(),
        connect_timeout_ms: 1_000,
        timeout_ms: 2_000,
        body_bytes_max: 1 << 20,
    };
    let endpoints = [
        ("messages.list", "/users/{user_id}/messages"),
        ("messages.show", "/messages/{id}"),
        ("messages.unread_count", "/users/{user_id}/messages/unread_count"),
    ];
    let endpoints = endpoints.map(|(name, path)| {
        let template = Some(PathTemplate::new(path).unwrap());
        (
            EndpointName::new(name).unwrap(),
            EndpointConfig { rules: RuleSet::builtin(), template, version: None },
        )
    });
    let mut config = ShadowConfig::new(http, endpoints.into_iter().collect(), redaction());
    config.sides.new.per_second = 100_000;
    config.sides.legacy.per_second = 100_000;
    config
}

/// Time that only moves when a test lets it: see [`VirtualClock::until`].
pub(crate) struct VirtualClock {
    now_ms: AtomicU64,
    /// Waits by the time they end.
    waits: Mutex<BTreeMap<(u64, u64), oneshot::Sender<()>>>,
    counter: AtomicU64,
}

impl VirtualClock {
    pub(crate) fn start() -> Arc<Self> {
        let (now_ms, counter) = (AtomicU64::new(1_000_000), AtomicU64::new(0));
        Arc::new(Self { now_ms, waits: Mutex::default(), counter })
    }

    /// Lets time go on until `work` is done: whenever all tasks wait, the clock jumps to the next end of a wait.
    pub(crate) async fn until<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = Self::idle() => self.jump(),
            }
        }
    }

    /// Lets so much time pass.
    pub(crate) async fn pass(&self, ms: u64) {
        self.until(self.sleep(ms)).await;
        Self::idle().await;
    }

    /// Gives all tasks the time to come to a wait; a yield lets whatever is ready run, up to 61 polls.
    async fn idle() {
        for _ in 0..40 {
            tokio::task::yield_now().await;
        }
    }

    fn jump(&self) {
        let first = self.waits.lock().unwrap().pop_first();
        if let Some(((at_ms, _), wait)) = first {
            self.now_ms.fetch_max(at_ms, Ordering::SeqCst);
            // Nobody waits any more when the task was stopped.
            let _gone = wait.send(()).is_err();
        }
    }
}

impl Clock for VirtualClock {
    fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::SeqCst)
    }

    fn sleep(&self, ms: u64) -> Sleep {
        let (sender, receiver) = oneshot::channel();
        let key = (self.now_ms() + ms, self.counter.fetch_add(1, Ordering::SeqCst));
        self.waits.lock().unwrap().insert(key, sender);
        Box::pin(async move {
            receiver.await.ok();
        })
    }
}

/// Keeps batches in memory; refuses while `down`.
#[derive(Default)]
pub(crate) struct MemoryStore {
    pub(crate) batches: Mutex<Vec<TallyBatch>>,
    pub(crate) down: AtomicBool,
    pub(crate) saves: AtomicU64,
    /// Told after each batch that was kept.
    pub(crate) saved: Notify,
    /// Answers that a batch was kept only when told to.
    pub(crate) slow: AtomicBool,
    pub(crate) answer: Notify,
}

#[async_trait]
impl TallyStore for MemoryStore {
    async fn save(&self, batch: TallyBatch) -> Result<(), TallyError> {
        self.saves.fetch_add(1, Ordering::SeqCst);
        if self.down.load(Ordering::SeqCst) {
            return Err(TallyError("store is down".into()));
        }
        self.batches.lock().unwrap().push(batch);
        self.saved.notify_one();
        if self.slow.load(Ordering::SeqCst) {
            self.answer.notified().await;
        }
        Ok(())
    }
}

impl MemoryStore {
    /// Reads by outcome and reason, over all batches.
    pub(crate) fn outcomes(&self) -> BTreeMap<(String, String), u64> {
        let mut counts = BTreeMap::new();
        for batch in self.batches.lock().unwrap().iter() {
            for outcome in &batch.outcomes {
                let key = (outcome.outcome.clone(), outcome.reason.clone());
                *counts.entry(key).or_insert(0) += outcome.count;
            }
        }
        counts
    }

    /// Groups of differences by endpoint, shape, kind and transition.
    pub(crate) fn groups(&self) -> BTreeMap<[String; 4], u64> {
        let mut counts = BTreeMap::new();
        for batch in self.batches.lock().unwrap().iter() {
            for group in &batch.differences {
                let endpoint = group.endpoint.as_str().to_owned();
                let shape = group.shape.clone();
                let key = [endpoint, shape, group.kind.clone(), group.transition.clone()];
                *counts.entry(key).or_insert(0) += group.count;
            }
        }
        counts
    }

    pub(crate) fn total(&self) -> u64 {
        self.outcomes().values().sum()
    }
}

/// Sides that a function plays, each answer taking 5 ms.
pub(crate) struct Simulated<F> {
    play: F,
    clock: Arc<VirtualClock>,
    asked: AtomicU64,
}

impl<F> Simulated<F> {
    pub(crate) fn new(clock: &Arc<VirtualClock>, play: F) -> Arc<Self> {
        Arc::new(Self { play, clock: clock.clone(), asked: AtomicU64::new(0) })
    }

    /// How often a side was asked.
    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl<F> Ask for Simulated<F>
where
    F: Fn(Side, &MirrorRequest) -> Result<Answer, AskError> + Send + Sync,
{
    async fn ask(
        &self,
        _context: &ContextName,
        side: Side,
        request: &MirrorRequest,
    ) -> Result<Answer, AskError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.clock.sleep(5).await;
        (self.play)(side, request)
    }
}

/// Ports with everything planned, no sync known, and the store and clock given.
pub(crate) fn ports(store: &Arc<MemoryStore>, clock: &Arc<VirtualClock>) -> Ports {
    Ports {
        store: store.clone(),
        plan: Arc::new(|_: &EndpointName, _: Side, _: Generation| true),
        lag: None,
        observer: None,
        clock: clock.clone(),
        seed: 7,
    }
}
