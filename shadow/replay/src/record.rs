//! Recording live reads: from the proxy's hand-over into a file.
//!
//! Owns the queue between the proxy and the disk, the share that is recorded, and rotation. What must stay true: the proxy
//! never waits, what finds no place is dropped and counted; the files together stay within their size; a disk that fails
//! ends the recording with a message and nothing else; nothing is stored unredacted unless raw was spelled out.

use crate::recording::{Head, Writer, WriterError};
use crate::redact::Redactor;
use crate::session::{Session, SessionKey};
use crate::{Headers, Recorded, RecordedAnswer, RecordedBody};
use banyan_domain::{EndpointName, PathTemplate, Percent, Side};
use banyan_shadow::{Exchange, Tap};
use prometheus::{IntCounterVec, Opts};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

/// Exchanges and bytes that may wait for the disk.
const QUEUE: usize = 1_024;
const QUEUE_BYTES: usize = 32 << 20;
/// What was recorded is on disk after this at the latest.
const FLUSH: Duration = Duration::from_secs(1);

static RECORDED: LazyLock<Option<IntCounterVec>> = LazyLock::new(|| {
    let opts = Opts::new("banyan_shadow_recorded_total", "Reads for the recording, by result.");
    let counter = IntCounterVec::new(opts, &["result"]).ok()?;
    if let Err(error) = prometheus::register(Box::new(counter.clone())) {
        tracing::warn!(%error, "a recording metric could not be registered");
    }
    Some(counter)
});

/// What is recorded, and where.
#[derive(Debug, Clone)]
pub struct RecordConfig {
    /// The file; a full one becomes `FILE.1`.
    pub path: PathBuf,
    /// Most bytes of both together.
    pub bytes_max: u64,
    /// Share of sessions.
    pub percent: Percent,
    /// Only these endpoints; all when empty.
    pub endpoints: BTreeSet<EndpointName>,
    /// Paths of the endpoints: their fixed words stay readable.
    pub templates: BTreeMap<EndpointName, PathTemplate>,
    /// Makes tokens of values; nothing for a raw recording.
    pub redactor: Option<Redactor>,
    /// Unix ms, for the head.
    pub now_ms: u64,
}

/// What became of the reads so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecordCounts {
    /// Written, or about to be.
    pub recorded: u64,
    /// Dropped: no place in the queue.
    pub dropped: u64,
}

/// A running recording; the proxy's side of it.
pub struct Recorder {
    percent: Percent,
    endpoints: BTreeSet<EndpointName>,
    sender: RwLock<Option<SyncSender<Waiting>>>,
    bytes: Arc<AtomicUsize>,
    recorded: AtomicU64,
    dropped: AtomicU64,
    /// The disk failed: nothing is taken any more.
    broken: Arc<AtomicBool>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// An exchange on its way to the disk.
struct Waiting {
    exchange: Exchange,
    number: u64,
    bytes: usize,
}

impl Recorder {
    /// Begins a recording, or goes on with one of the same kind.
    ///
    /// # Errors
    /// When the file cannot be written, or is something else.
    pub fn start(config: RecordConfig) -> Result<Arc<Self>, WriterError> {
        let file = File::open(config)?;
        let (sender, receiver) = sync_channel(QUEUE);
        let bytes = Arc::new(AtomicUsize::new(0));
        let broken = Arc::new(AtomicBool::new(false));
        let recorder = Self {
            percent: file.config.percent,
            endpoints: file.config.endpoints.clone(),
            sender: RwLock::new(Some(sender)),
            bytes: bytes.clone(),
            recorded: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            broken: broken.clone(),
            writer: Mutex::default(),
        };
        let writer = std::thread::Builder::new().name("banyan-record".to_owned());
        let writer = writer.spawn(move || file.run(&receiver, &bytes, &broken))?;
        *recorder.writer.lock().unwrap_or_else(PoisonError::into_inner) = Some(writer);
        Ok(Arc::new(recorder))
    }

    /// What became of the reads so far.
    pub fn counts(&self) -> RecordCounts {
        RecordCounts {
            recorded: self.recorded.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
        }
    }

    /// Whether the disk failed.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    /// Takes no more, and waits until all that was taken is on disk. Blocks: call it where that is allowed.
    pub fn stop(&self) -> RecordCounts {
        drop(self.sender.write().unwrap_or_else(PoisonError::into_inner).take());
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if writer.is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the recording ended by a bug; what was flushed can be read");
        }
        self.counts()
    }

    fn wants(&self, exchange: &Exchange) -> bool {
        let wanted = self.endpoints.is_empty() || self.endpoints.contains(&exchange.endpoint);
        if !wanted || self.is_broken() {
            return false;
        }
        if self.percent.get() == 100 {
            return true;
        }
        let headers = lower(&exchange.request_headers);
        let recorded = Recorded { headers, ..Recorded::default() };
        Session::is_taken(SessionKey::Auto.of(&recorded), exchange.at_ms, self.percent)
    }

    fn offer(&self, exchange: &Exchange) -> bool {
        let bytes = exchange.bytes();
        // Held for writing only while the recording ends.
        let Ok(sender) = self.sender.try_read() else { return true };
        let Some(sender) = &*sender else { return true };
        if self.bytes.fetch_add(bytes, Ordering::AcqRel) + bytes > QUEUE_BYTES {
            self.bytes.fetch_sub(bytes, Ordering::AcqRel);
            return false;
        }
        let number = self.recorded.load(Ordering::Relaxed);
        let waiting = Waiting { exchange: exchange.clone(), number, bytes };
        match sender.try_send(waiting) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.bytes.fetch_sub(bytes, Ordering::AcqRel);
                false
            }
        }
    }
}

impl Tap for Recorder {
    fn see(&self, exchange: &Exchange) {
        if !self.wants(exchange) {
            return;
        }
        let (result, counter) = if self.offer(exchange) {
            ("recorded", &self.recorded)
        } else {
            ("dropped", &self.dropped)
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if let Some(metric) = &*RECORDED {
            metric.with_label_values(&[result]).inc();
        }
    }
}

/// The disk's side of a recording.
struct File {
    config: RecordConfig,
    writer: Writer,
}

impl File {
    fn open(config: RecordConfig) -> Result<Self, WriterError> {
        let head = head(&config);
        let writer = if config.path.exists() {
            Writer::append(&config.path, &head)?
        } else {
            Writer::create(&config.path, &head)?
        };
        Ok(Self { config, writer })
    }

    fn run(mut self, receiver: &Receiver<Waiting>, bytes: &AtomicUsize, broken: &AtomicBool) {
        if let Err(error) = self.write_all(receiver, bytes) {
            broken.store(true, Ordering::Release);
            tracing::error!(%error, "the recording ends: its file cannot be written");
            if let Some(metric) = &*RECORDED {
                metric.with_label_values(&["failed"]).inc();
            }
        }
    }

    fn write_all(
        &mut self,
        receiver: &Receiver<Waiting>,
        bytes: &AtomicUsize,
    ) -> Result<(), WriterError> {
        loop {
            match receiver.recv_timeout(FLUSH) {
                Ok(waiting) => {
                    bytes.fetch_sub(waiting.bytes, Ordering::AcqRel);
                    self.writer.write(&self.kept(&waiting))?;
                    // Half for the file, half for the one before it.
                    if self.writer.size() > self.config.bytes_max / 2 {
                        self.rotate()?;
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.writer.flush()?,
                Err(RecvTimeoutError::Disconnected) => return self.writer.flush(),
            }
        }
    }

    fn kept(&self, waiting: &Waiting) -> Recorded {
        let recorded = recorded(waiting);
        match &self.config.redactor {
            Some(redactor) => {
                let template = self.config.templates.get(&waiting.exchange.endpoint);
                redactor.exchange(&recorded, template)
            }
            None => recorded,
        }
    }

    fn rotate(&mut self) -> Result<(), WriterError> {
        self.writer.flush()?;
        std::fs::rename(&self.config.path, older(&self.config.path))?;
        self.writer = Writer::create(&self.config.path, &head(&self.config))?;
        tracing::info!("the recording is full, its older half is kept beside it");
        Ok(())
    }
}

fn head(config: &RecordConfig) -> Head {
    match &config.redactor {
        Some(redactor) => Head::redacted(config.now_ms, &redactor.key()),
        None => Head::raw(config.now_ms),
    }
}

/// `FILE.1`: the part of a recording before the present one.
fn older(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

fn recorded(waiting: &Waiting) -> Recorded {
    let exchange = &waiting.exchange;
    let served = RecordedAnswer {
        status: exchange.served.status,
        headers: lower(&exchange.served.headers),
        body: RecordedBody::Whole(exchange.served.body.clone()),
        elapsed_ms: Some(exchange.served.elapsed_ms),
    };
    let (legacy, new) = match exchange.served_by {
        Side::Legacy => (Some(served), None),
        Side::New => (None, Some(served)),
    };
    Recorded {
        id: format!("{}-{}", exchange.at_ms, waiting.number),
        at_ms: Some(exchange.at_ms),
        endpoint: Some(exchange.endpoint.as_str().to_owned()),
        method: exchange.method.clone(),
        target: exchange.path_and_query.clone(),
        headers: lower(&exchange.request_headers),
        legacy,
        new,
        ..Recorded::default()
    }
}

fn lower(headers: &Headers) -> Headers {
    headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Entry, Limits, open};
    use banyan_domain::Generation;
    use banyan_shadow::{NumericIds, Redaction, RedactionKey, Served};
    use std::ops::ControlFlow;

    fn exchange(at: u64) -> Exchange {
        let endpoint = EndpointName::new("messages.show").unwrap();
        let body = format!("{{\"id\":{at},\"text\":\"secret {at}\"}}");
        Exchange {
            context: endpoint.context(),
            endpoint,
            served_by: Side::Legacy,
            mirror_to: Side::New,
            generation: Generation(1),
            method: "GET".into(),
            path_and_query: format!("/messages/{at}"),
            request_headers: vec![("Cookie".into(), format!("sid={}", at % 10).into_bytes())],
            served: Served { status: 200, headers: vec![], body: body.into(), elapsed_ms: 3 },
            at_ms: at,
        }
    }

    fn config(path: PathBuf) -> RecordConfig {
        let key = RedactionKey::derive(b"k");
        RecordConfig {
            path,
            bytes_max: 1 << 20,
            percent: Percent::new(100).unwrap(),
            endpoints: BTreeSet::new(),
            templates: BTreeMap::from([(
                EndpointName::new("messages.show").unwrap(),
                PathTemplate::new("/messages/{id}").unwrap(),
            )]),
            redactor: Some(Redactor::new(Redaction::new(key, NumericIds::Shown))),
            now_ms: 1,
        }
    }

    fn read(path: &Path) -> Vec<Recorded> {
        let mut seen = Vec::new();
        let mut opened = open(path, None).unwrap();
        let ending = opened.read(&Limits::default(), &mut |entry| {
            if let Entry::Exchange(recorded) = entry {
                seen.push(*recorded);
            }
            ControlFlow::Continue(())
        });
        assert_eq!(ending.unwrap().warning, None);
        seen
    }

    #[test]
    fn what_was_seen_is_on_disk_redacted_and_a_restart_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.banyan.ndjson.zst");
        for start in [0, 50] {
            let recorder = Recorder::start(config(path.clone())).unwrap();
            for at in start..start + 50 {
                recorder.see(&exchange(at));
                // As the proxy's pace would be: the queue is not what is tested here.
                std::thread::sleep(Duration::from_micros(50));
            }
            assert_eq!(recorder.stop(), RecordCounts { recorded: 50, dropped: 0 });
        }
        let seen = read(&path);
        assert_eq!(seen.len(), 100);
        assert_eq!(seen[7].target, "/messages/7");
        assert_eq!(seen[7].session, seen[17].session);
        assert_ne!(seen[7].session, seen[8].session);
        let line = serde_json::to_string(&seen[7]).unwrap();
        assert!(!line.contains("secret") && !line.contains("sid="), "{line}");
        let raw = RecordConfig { redactor: None, ..config(path) };
        assert!(matches!(Recorder::start(raw), Err(WriterError::Foreign)), "never mixed");
    }

    #[test]
    fn a_full_queue_drops_and_counts_and_never_waits() {
        let folder = tempfile::tempdir().unwrap();
        let recorder = Recorder::start(config(folder.path().join("a.ndjson"))).unwrap();
        let mut large = exchange(1);
        large.served.body = vec![b'x'; QUEUE_BYTES].into();
        let began = std::time::Instant::now();
        (0..20).for_each(|_| recorder.see(&large));
        assert!(began.elapsed() < Duration::from_secs(1));
        assert_eq!(recorder.stop(), RecordCounts { recorded: 0, dropped: 20 });
    }

    #[test]
    fn both_files_stay_within_their_size() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.ndjson");
        let small = RecordConfig { bytes_max: 40_000, redactor: None, ..config(path.clone()) };
        let recorder = Recorder::start(small).unwrap();
        for at in 0..500 {
            recorder.see(&exchange(at));
            std::thread::sleep(Duration::from_micros(50));
        }
        recorder.stop();
        let size = |path: &Path| std::fs::metadata(path).unwrap().len();
        assert!(size(&path) + size(&older(&path)) <= 41_000);
        let kept = [read(&older(&path)), read(&path)].concat();
        assert_eq!(kept.last().unwrap().target, "/messages/499");
        assert!(kept.windows(2).all(|pair| pair[0].at_ms < pair[1].at_ms));
    }
}
