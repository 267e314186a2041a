//! `banyan events forward`: the forwarder alone, in a process of its own.
//!
//! It exists because the forwarder is in the path of every event and the proxy in that of every request: an operator
//! wants to restart one without the other, and to start a second forwarder that stands by. What must stay true: it ends
//! only when told; whatever is away, it waits and says so in `status`.

use crate::args::ForwardArgs;
use crate::command::serve;
use crate::config::Config;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;
use crate::wiring::signal::Stop;
use banyan_events::forwarder::ForwarderConfig;
use serde_json::json;
use tokio::task::JoinSet;

pub(crate) async fn run(
    config: &Config,
    settings: &ForwarderConfig,
    args: &ForwardArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let file = serve::ReadyFile::claim(args.ready_file.as_ref())?;
    let stop = Stop::listen();
    let store = serve::attach(config)?;
    let mut running = JoinSet::new();
    let forwarder = serve::start_forwarder(config, &store, &stop.token, &mut running).await?;
    output.note(&format!(
        "forwarder `{}` runs for {} ({}); banyan events status shows what it does",
        settings.name,
        config.environment,
        settings.insertion.as_str()
    ));
    serve::queues(forwarder.as_deref(), &stop.token).await;
    let ready = json!({ "roles": ["events"], "pid": std::process::id() });
    let told = file.map_or(Ok(()), |file| file.tell(&ready));
    if told.is_err() {
        // In order, so that the lease is given back.
        stop.token.cancel();
    }
    while running.join_next().await.is_some() {}
    told?;
    Ok(stop.exit().unwrap_or(Exit::Yes))
}
