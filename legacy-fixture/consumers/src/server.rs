//! Starts a consumer and keeps it up until told to stop.
//!
//! What must stay true: the ready file and the printed line appear only when the queue is bound and consumed; the
//! status answers before that too; a stop finishes the batch under way.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use banyan_seams::events::broker::BrokerError;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::args::ConsumerArgs;
use crate::consume::Worker;
use crate::error::ConsumerError;
use crate::http::{Face, router};
use crate::live::Live;
use crate::pause::{NoPause, Pause};
use crate::store::Store;

/// How long requests under way may take after a stop.
const DRAIN: Duration = Duration::from_secs(5);

/// A consumer that has its database and its address; it consumes once [`serve`](Bound::serve) runs.
pub struct Bound {
    listener: TcpListener,
    url: String,
    worker: Worker,
}

/// Runs a consumer until `shutdown` completes.
///
/// Makes missing tables, binds its queue, prints `stats listening on http://ADDRESS` and writes the ready file. A broker
/// that is away is waited for.
///
/// # Errors
/// When the database, the address or the ready file cannot be used, the broker's URL is none, or accepting connections
/// fails for good.
pub async fn run(
    app: App,
    args: ConsumerArgs,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ConsumerError> {
    bind(app, args).await?.serve(shutdown).await
}

/// Opens the database, makes missing tables and takes the address; consumes nothing yet.
///
/// # Errors
/// When the database or the address cannot be used, or the broker's URL is none.
pub async fn bind(app: App, args: ConsumerArgs) -> Result<Bound, ConsumerError> {
    refuse_unknown_broker(&args.broker)?;
    let store = Store::open(app, &args.database, args.poison_max).await?;
    let failed = |source| ConsumerError::Listen { address: args.listen, source };
    let listener = TcpListener::bind(args.listen).await.map_err(failed)?;
    let url = format!("http://{}", listener.local_addr().map_err(failed)?);
    let worker = Worker { app, store, args, live: Arc::new(Live::new()), pause: Arc::new(NoPause) };
    Ok(Bound { listener, url, worker })
}

impl Bound {
    /// Where the status answers: `http://127.0.0.1:4711`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sets the port that is called at each step.
    #[must_use]
    pub fn with_pause(mut self, pause: Arc<dyn Pause>) -> Self {
        self.worker.pause = pause;
        self
    }

    /// Consumes and answers until `shutdown` completes.
    ///
    /// # Errors
    /// When the ready file cannot be written, or accepting connections fails for good.
    pub async fn serve(
        self,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ConsumerError> {
        let Self { listener, url, worker } = self;
        let stop = CancellationToken::new();
        let face = Face {
            app: worker.app,
            store: worker.store.clone(),
            live: Arc::clone(&worker.live),
            queue: worker.args.queue.clone().unwrap_or_else(|| worker.app.as_str().to_owned()),
        };
        let stopping = async {
            shutdown.await;
            stop.cancel();
            Ok(())
        };
        let consuming = async {
            worker.run(&stop).await;
            Ok(())
        };
        let announcing = async {
            tokio::select! {
                () = stop.cancelled() => Ok(()),
                () = worker.live.until_consuming() => announce(&worker, &url),
            }
        };
        let answering = answer(listener, router(face), stop.clone());
        let served = tokio::try_join!(stopping, consuming, announcing, answering).map(drop);
        worker.store.close().await;
        served
    }
}

/// The ready file appears complete or not at all.
fn announce(worker: &Worker, url: &str) -> Result<(), ConsumerError> {
    if let Some(path) = &worker.args.ready_file {
        write_whole(path, url.trim_start_matches("http://"))
            .map_err(|source| ConsumerError::ReadyFile { path: path.clone(), source })?;
    }
    // A closed stdout is no reason not to consume.
    writeln!(std::io::stdout(), "{} listening on {url}", worker.app.as_str()).ok();
    Ok(())
}

fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    let partial = path.with_extension("partial");
    std::fs::write(&partial, text)?;
    std::fs::rename(partial, path)
}

async fn answer(
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
) -> Result<(), ConsumerError> {
    let served =
        axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
    let too_long = async {
        stop.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        outcome = served => outcome.map_err(|source| ConsumerError::Serve { source }),
        () = too_long => Ok(()),
    }
}

fn refuse_unknown_broker(url: &str) -> Result<(), ConsumerError> {
    if ["embedded:", "amqp://", "amqps://"].iter().any(|scheme| url.starts_with(scheme)) {
        return Ok(());
    }
    let scheme = url.split(':').next().unwrap_or_default();
    let source = BrokerError::Url { reason: format!("`{scheme}:` is not known") };
    Err(ConsumerError::BrokerUrl { source })
}
