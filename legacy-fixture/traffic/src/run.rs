//! Starts the sessions and waits for their end.
//!
//! What must stay true: users are dealt to the sessions, each to one; the same seed deals the same; every session has
//! ended when the summary is made.

use crate::{
    args::TrafficArgs,
    client,
    error::TrafficError,
    ledger::Ledger,
    pace::{Limit, Pace, Speed},
    progress,
    session::{Session, Shared},
    summary::TrafficSummary,
    tally::Tally,
};
use fixture_passport::Passport;
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use std::{sync::Arc, time::Duration};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Makes traffic until `shutdown` completes, the time is over or the requests are sent; gives what it saw.
///
/// Requests under way at the stop are finished (within their own 30 s) and counted. Prints nothing.
///
/// # Errors
/// Only before the first request: a bad address, too few users, an unwritable file. Whatever goes wrong later
/// is a counted failure.
pub async fn run(
    args: TrafficArgs,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<TrafficSummary, TrafficError> {
    let shared = Arc::new(prepare(&args)?);
    let path = args.progress_file.as_deref();
    path.map_or(Ok(()), |path| progress::write_first(path, &shared.tally))?;

    let stop = CancellationToken::new();
    let mut sessions = start(&args, &shared, &Limit::new(stop.clone(), args.requests));
    let watching = async {
        match path {
            Some(path) => progress::keep_writing(path, &shared.tally).await,
            None => std::future::pending().await,
        }
    };
    let stopping = async {
        end_of(args.duration, shutdown).await;
        stop.cancel();
        // The sessions end now, and with them the race below.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = watching => {}
        () = stopping => {}
        () = all_ended(&mut sessions) => {}
    }
    if let Some(path) = path {
        progress::write_or_warn(path, &shared.tally);
    }
    Ok(shared.tally.summary())
}

fn prepare(args: &TrafficArgs) -> Result<Shared, TrafficError> {
    let (users, concurrency) = (args.users, sessions(args));
    if concurrency > users {
        return Err(TrafficError::TooFewUsers { concurrency, users });
    }
    let http =
        client::http_client(concurrency).map_err(|source| TrafficError::Client { source })?;
    Ok(Shared {
        http,
        sites: args.urls.iter().map(|url| site(url)).collect::<Result<_, _>>()?,
        passport: Passport::new(&args.secret),
        tally: Tally::new(),
        users: i64::from(users),
        seed: args.seed,
        writes_percent: args.writes_percent,
        reads_of: args.reads_of.clone(),
        ledger: args.ledger.as_deref().map(Ledger::open).transpose()?,
    })
}

fn sessions(args: &TrafficArgs) -> u32 {
    args.concurrency.max(1)
}

/// `http://host:port` without a slash at the end.
fn site(url: &str) -> Result<String, TrafficError> {
    let parsed = reqwest::Url::parse(url).ok().filter(|parsed| {
        matches!(parsed.scheme(), "http" | "https") && parsed.has_host() && parsed.path() == "/"
    });
    parsed
        .map(|parsed| parsed.as_str().trim_end_matches('/').to_owned())
        .ok_or_else(|| TrafficError::Url { url: url.to_owned() })
}

fn start(args: &TrafficArgs, shared: &Arc<Shared>, limit: &Limit) -> JoinSet<()> {
    let sessions = sessions(args);
    let mut users: Vec<i64> = (1..=i64::from(args.users)).collect();
    users.shuffle(&mut StdRng::seed_from_u64(args.seed));
    let speed = Speed { rate: args.rate.map(|rate| rate.max(1)), ease_above: args.ease_above };
    let mut tasks = JoinSet::new();
    for (index, number) in (0..sessions).enumerate() {
        let session = Session {
            shared: Arc::clone(shared),
            number,
            users: users.iter().skip(index).step_by(sessions as usize).copied().collect(),
            random: StdRng::seed_from_u64(args.seed ^ (u64::from(number) + 1).rotate_left(32)),
            pace: Pace::new(speed, number, sessions, limit.clone()),
            sent: 0,
            written: 0,
        };
        tasks.spawn(session.run());
    }
    tasks
}

async fn end_of(duration: Option<Duration>, shutdown: impl Future<Output = ()>) {
    let time = async {
        match duration {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = time => {}
        () = shutdown => {}
    }
}

async fn all_ended(sessions: &mut JoinSet<()>) {
    while let Some(ended) = sessions.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a session died; this is a bug of the traffic generator");
        }
    }
}
