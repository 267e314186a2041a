//! Starts the service and keeps it up until told to stop.
//!
//! What must stay true: the ready file and the printed line appear only when the service answers; a stop lets
//! requests under way finish, for a bounded time.

use crate::{
    answer::CONTEXT,
    args::MessagesArgs,
    chat::ChatStore,
    database::Database,
    error::MessagesError,
    http::{App, answer},
    relay, schema,
    view::Views,
};
use axum::Router;
use banyan_seams::{
    FixedSwitch, NoLab, Seam,
    domain::{ContextName, Phase},
};
use fixture_passport::Passport;
use std::{io::Write, path::Path, sync::Arc, time::Duration};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How long requests under way may take after a stop.
const DRAIN: Duration = Duration::from_secs(10);
/// How long the end waits for connections that are still in use.
const CLOSE_MAX: Duration = Duration::from_secs(5);

/// A service that has its database and its address; it answers once [`serve`](Bound::serve) runs.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    url: String,
    database: Database,
    args: MessagesArgs,
}

/// Runs the service until `shutdown` completes.
///
/// Makes missing tables, prints `messages listening on http://ADDRESS` and writes the ready file.
///
/// # Errors
/// When the database, the address or the ready file cannot be used, or accepting connections fails for good.
pub async fn run(
    args: MessagesArgs,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), MessagesError> {
    let bound = bind(args).await?;
    announce(&bound)?;
    bound.serve(shutdown).await
}

/// Opens the database, makes missing tables and takes the address; prints nothing.
///
/// # Errors
/// When the database or the address cannot be used.
pub async fn bind(args: MessagesArgs) -> Result<Bound, MessagesError> {
    relay::refuse_unknown_broker(args.broker.as_deref())?;
    let database = Database::open(&args.database).await?;
    schema::ensure(&database).await?;
    let (listener, url) = listen(&args).await?;
    Ok(Bound { listener, url, database, args })
}

impl Bound {
    /// Where the service listens: `http://127.0.0.1:4711`. Connections wait in the listen queue until it serves.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Answers until `shutdown` completes.
    ///
    /// # Errors
    /// When accepting connections fails for good.
    pub async fn serve(
        self,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), MessagesError> {
        let Self { listener, database, args, .. } = self;
        let store = ChatStore::new(database.clone(), context(), args.defects);
        // In this process there is no legacy code: for it, the context is already `retired`.
        let app = App {
            messages: Seam::new((), store, FixedSwitch::at(Phase::Retired), NoLab),
            passport: Passport::new(&args.secret),
            views: Views { defects: args.defects },
            delay: Duration::from_millis(args.delay_ms),
        };
        let router = Router::new().fallback(answer).with_state(Arc::new(app));
        let relay = relay::start(&args);
        let served = serve(listener, router, shutdown).await;
        // After the last change, so that its event has a chance to go out; what is left goes after the next start.
        if let Some(relay) = relay {
            relay.end().await;
        }
        if tokio::time::timeout(CLOSE_MAX, database.close()).await.is_err() {
            tracing::warn!(after_s = CLOSE_MAX.as_secs(), "ended with database connections in use");
        }
        served
    }
}

#[expect(clippy::expect_used, reason = "the constant keeps the rules of a name")]
fn context() -> ContextName {
    ContextName::new(CONTEXT).expect("`messages` is the name of a context")
}

async fn listen(args: &MessagesArgs) -> Result<(TcpListener, String), MessagesError> {
    let failed = |source| MessagesError::Listen { address: args.listen, source };
    let listener = TcpListener::bind(args.listen).await.map_err(failed)?;
    let url = format!("http://{}", listener.local_addr().map_err(failed)?);
    Ok((listener, url))
}

/// The ready file appears complete or not at all.
fn announce(bound: &Bound) -> Result<(), MessagesError> {
    if let Some(path) = &bound.args.ready_file {
        write_whole(path, bound.url.trim_start_matches("http://"))
            .map_err(|source| MessagesError::ReadyFile { path: path.clone(), source })?;
    }
    // A closed stdout is no reason not to serve.
    writeln!(std::io::stdout(), "messages listening on {}", bound.url).ok();
    Ok(())
}

fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    let partial = path.with_extension("partial");
    std::fs::write(&partial, text)?;
    std::fs::rename(partial, path)
}

async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), MessagesError> {
    let stopping = CancellationToken::new();
    let stopped = stopping.clone();
    let served = axum::serve(listener, router).with_graceful_shutdown(async move {
        shutdown.await;
        stopping.cancel();
    });
    let too_long = async {
        stopped.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        outcome = served => outcome.map_err(|source| MessagesError::Serve { source }),
        () = too_long => {
            tracing::warn!(after_s = DRAIN.as_secs(), "stopped with requests under way");
            Ok(())
        }
    }
}
