//! Recordings that `banyan shadow record` asks a running `banyan serve` for.
//!
//! Owns the two files beside the snapshot by which they talk: the request, and the state of what is recorded. It exists
//! because a recording for ten minutes should need neither an edit of the file nor a restart. Whoever may write beside the
//! snapshot may change the configuration as well, so the files need no further permission. What must stay true: the proxy never waits; a
//! recording ends at its time even when nobody is left to end it.

use super::recording;
use crate::config::Config;
use crate::failure::Failure;
use banyan_domain::{EndpointName, Percent};
use banyan_replay::{RecordConfig, Recorder, Redactor};
use banyan_shadow::{Exchange, Tap};
use serde::{Deserialize, Serialize};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How often the request is looked for.
const LOOK: Duration = Duration::from_millis(250);

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Request {
    /// Tells requests apart.
    pub(crate) id: String,
    /// The file to make.
    pub(crate) out: PathBuf,
    /// When it ends at the latest, Unix ms.
    pub(crate) until_ms: u64,
    /// Most bytes.
    pub(crate) bytes_max: u64,
    /// Share of sessions.
    pub(crate) percent: u8,
    /// Only these endpoints; all when empty.
    pub(crate) endpoints: Vec<String>,
    /// Keep credentials and values.
    pub(crate) raw: bool,
}

/// What became of it so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// The request it is about.
    pub(crate) id: String,
    /// Reads in the file, or about to be.
    pub(crate) recorded: u64,
    /// Reads that found no place in the queue.
    pub(crate) dropped: u64,
    /// Whether it has ended and all is on disk.
    pub(crate) ended: bool,
    /// Why it could not be done.
    pub(crate) failed: Option<String>,
}

/// The request file beside the snapshot.
pub(crate) fn request_path(config: &Config) -> PathBuf {
    PathBuf::from(format!("{}.record", config.control.snapshot))
}

/// The state file beside the snapshot.
pub(crate) fn progress_path(config: &Config) -> PathBuf {
    PathBuf::from(format!("{}.record-state", config.control.snapshot))
}

/// Puts a value in the place of a file, readable for its owner only.
pub(crate) fn put(path: &Path, value: &impl Serialize) -> std::io::Result<()> {
    let beside = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    std::fs::rename(&beside, path)
}

/// The value in a file, if there is one.
pub(crate) fn get<T: for<'de> Deserialize<'de>>(path: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// All recording of a serving process.
pub(crate) struct Recording {
    taps: Arc<Taps>,
    task: JoinHandle<()>,
    stop: CancellationToken,
}

/// What sees the reads: the recording of the configuration, and the one that was asked for.
struct Taps {
    configured: Option<Arc<Recorder>>,
    asked: RwLock<Option<Arc<Recorder>>>,
}

impl Recording {
    /// Starts what the configuration asks for, and looks for requests.
    ///
    /// # Errors
    /// When the recording of the configuration cannot be started.
    pub(crate) fn start(config: &Config) -> Result<Self, Failure> {
        let configured = recording::start(config)?;
        let taps = Arc::new(Taps { configured, asked: RwLock::default() });
        let stop = CancellationToken::new();
        let watched = Watched {
            request: request_path(config),
            progress: progress_path(config),
            endpoints: config.catalogue.endpoints().map(|spec| spec.name.clone()).collect(),
            redactor: recording::own_redactor(config)?,
            template: recording::template(config),
        };
        let task = tokio::spawn(watch(taps.clone(), watched, stop.clone()));
        Ok(Self { taps, task, stop })
    }

    /// What the proxy's reads pass by.
    pub(crate) fn tap(&self) -> Arc<dyn Tap> {
        self.taps.clone()
    }

    /// Brings everything to the disk.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        drop(self.task.await);
        if let Some(recorder) = self.taps.configured.clone() {
            end(recorder).await;
        }
    }
}

/// Looks for requests until it is stopped; then ends what is recorded.
async fn watch(taps: Arc<Taps>, watched: Watched, stop: CancellationToken) {
    let mut running: Option<(Request, Arc<Recorder>)> = None;
    let mut last = String::new();
    loop {
        let wanted = get::<Request>(&watched.request)
            .filter(|request| request.until_ms > super::control::now_ms() && !stop.is_cancelled());
        running = match running {
            Some((request, recorder)) => {
                let goes_on = wanted.as_ref() == Some(&request) && !recorder.is_broken();
                if !goes_on {
                    taps.set(None);
                    end(recorder.clone()).await;
                }
                watched.tell(&request.id, &recorder, !goes_on);
                goes_on.then_some((request, recorder))
            }
            None => wanted.filter(|request| request.id != last).and_then(|request| {
                last.clone_from(&request.id);
                let recorder = watched.begin(&request)?;
                taps.set(Some(recorder.clone()));
                Some((request, recorder))
            }),
        };
        if stop.is_cancelled() && running.is_none() {
            return;
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// Waits until a recording is on disk.
async fn end(recorder: Arc<Recorder>) {
    if let Ok(counts) = tokio::task::spawn_blocking(move || recorder.stop()).await {
        let (recorded, dropped) = (counts.recorded, counts.dropped);
        tracing::info!(recorded, dropped, "a recording is closed");
    }
}

impl Taps {
    fn set(&self, recorder: Option<Arc<Recorder>>) {
        *self.asked.write().unwrap_or_else(PoisonError::into_inner) = recorder;
    }
}

impl Tap for Taps {
    fn see(&self, exchange: &Exchange) {
        if let Some(recorder) = &self.configured {
            recorder.see(exchange);
        }
        // Held for writing only in the moment in which a recording begins or ends: that read is not recorded.
        if let Ok(asked) = self.asked.try_read()
            && let Some(recorder) = &*asked
        {
            recorder.see(exchange);
        }
    }
}

/// What the watch needs of the configuration.
struct Watched {
    request: PathBuf,
    progress: PathBuf,
    endpoints: Vec<EndpointName>,
    redactor: Redactor,
    template: RecordConfig,
}

impl Watched {
    /// Begins a recording, or tells why not.
    fn begin(&self, request: &Request) -> Option<Arc<Recorder>> {
        match self.start(request) {
            Ok(recorder) => {
                let file = request.out.display();
                tracing::info!(%file, raw = request.raw, "recording, as asked for");
                self.tell(&request.id, &recorder, false);
                Some(recorder)
            }
            Err(why) => {
                let (id, failed) = (request.id.clone(), Some(why));
                self.put(&Progress { id, failed, ended: true, ..Progress::default() });
                None
            }
        }
    }

    fn start(&self, request: &Request) -> Result<Arc<Recorder>, String> {
        let wanted =
            |name: &EndpointName| request.endpoints.iter().any(|wanted| wanted == name.as_str());
        let percent = Percent::new(request.percent)?;
        let recorder = Recorder::start(RecordConfig {
            path: request.out.clone(),
            bytes_max: request.bytes_max,
            percent,
            endpoints: self.endpoints.iter().filter(|name| wanted(name)).cloned().collect(),
            redactor: (!request.raw).then(|| self.redactor.clone()),
            now_ms: super::control::now_ms(),
            ..self.template.clone()
        });
        recorder.map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
        })
    }

    fn tell(&self, id: &str, recorder: &Recorder, ended: bool) {
        let counts = recorder.counts();
        let failed = recorder.is_broken().then(|| "its file cannot be written".to_owned());
        let (recorded, dropped) = (counts.recorded, counts.dropped);
        self.put(&Progress { id: id.to_owned(), recorded, dropped, ended, failed });
    }

    fn put(&self, progress: &Progress) {
        if let Err(error) = put(&self.progress, progress) {
            tracing::warn!(%error, "the state of a recording cannot be told");
        }
    }
}
