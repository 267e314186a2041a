//! `banyan serve`: every role in one process, or some of them.
//!
//! Owns start order and shutdown order. Start: control agent, shadow, proxy, admin, sync, events. Stop: readiness
//! turns 503 and the proxy drains, then shadow, sync and events stop at a checkpoint, the agent leaves last.
//! What must stay true: a port in use or a wrong setting ends the process before anything runs; a control
//! store, database or broker that is away never does.

mod follow;

use crate::args::{Role, ServeArgs};
use crate::config::Config;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;
use crate::wiring::asked::Recording;
use crate::wiring::signal::Stop;
use crate::wiring::{control, events, noise, proxy, shadow, sync};
use banyan_admin::{AdminConfig, AdminError, AdminParts, AdminServer, AdminToken, Readiness};
use banyan_control::agent::AgentOptions;
use banyan_control::{Agent, AgentError, ControlStore, StoreOptions};
use banyan_domain::Side;
use banyan_events::forwarder::Forwarder;
use banyan_proxy::{Drained, Live, Proxy, ProxyError, Writes};
use banyan_shadow::{Shadow, ShadowHandle};
use serde_json::json;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The ready file waits so long for the forwarder's queues.
const QUEUES_WITHIN: Duration = Duration::from_secs(5);

pub(crate) async fn run(
    config: Config,
    args: &ServeArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let roles = roles(args)?;
    if args.only.contains(&Role::Events) {
        // Asked for by name: without a section it would wait for ever and do nothing.
        super::events::settings(&config)?;
    }
    let file = ReadyFile::claim(args.ready_file.as_ref())?;
    let stop = Stop::listen();
    let plane = if roles.contains(&Role::Proxy) {
        Some(Plane::start(&config, args, roles.contains(&Role::Shadow), &stop.token).await?)
    } else {
        None
    };
    let store = match &plane {
        Some(plane) => plane.agent.store(),
        None => attach(&config)?,
    };
    let quiet = CancellationToken::new();
    let mut background = JoinSet::new();
    if roles.contains(&Role::Sync) {
        start_jobs(&config, &store, &quiet, &mut background)?;
    }
    let mut forwarder = None;
    if roles.contains(&Role::Events) {
        forwarder = start_forwarder(&config, &store, &quiet, &mut background).await?;
    }
    let ready = announce(&config, &roles, plane.as_ref(), output);
    let running = async {
        if let Some(plane) = plane {
            return plane.run(stop.token.clone()).await;
        }
        stop.token.cancelled().await;
        Ok(())
    };
    let (broken, told) = tokio::join!(running, async {
        // Requests do not wait for it.
        queues(forwarder.as_deref(), &stop.token).await;
        let told = file.map_or(Ok(()), |file| file.tell(&ready));
        if told.is_err() {
            stop.token.cancel();
        }
        told
    });
    quiet.cancel();
    while background.join_next().await.is_some() {}
    broken?;
    told?;
    Ok(stop.exit().unwrap_or(Exit::Yes))
}

fn roles(args: &ServeArgs) -> Result<Vec<Role>, Failure> {
    if args.only.is_empty() {
        return Ok(vec![Role::Proxy, Role::Shadow, Role::Sync, Role::Events]);
    }
    if args.only.contains(&Role::Shadow) && !args.only.contains(&Role::Proxy) {
        return Err(Failure::new(
            "banyan::usage",
            Exit::Usage,
            "shadow reads run in the proxy's process",
        )
        .hint("banyan serve --only proxy,shadow"));
    }
    Ok(args.only.clone())
}

/// The control store, which may be away for now.
pub(crate) fn attach(config: &Config) -> Result<Arc<dyn ControlStore>, Failure> {
    banyan_control::attach(&config.control.store, StoreOptions::default())
        .map_err(|error| control::store_failure(&error))
}

/// The data plane of this process: agent, shadow, proxy and admin API.
struct Plane {
    agent: Agent,
    shadow: Option<Shadow>,
    recording: Option<Recording>,
    proxy: Proxy,
    admin: AdminServer,
    readiness: Readiness,
    admin_stop: CancellationToken,
}

impl Plane {
    async fn start(
        config: &Config,
        args: &ServeArgs,
        with_shadow: bool,
        stop: &CancellationToken,
    ) -> Result<Self, Failure> {
        // Both listeners first: a port in use must be told before anything else happens.
        let admin =
            banyan_admin::bind(admin_settings(config)).await.map_err(|e| admin_failure(&e))?;
        let writes: Arc<OnceLock<Writes>> = Arc::default();
        let counted = writes.clone();
        let mut options =
            AgentOptions::new(&instance(args), "proxy", PathBuf::from(&config.control.snapshot));
        options.address = config.proxy.listen.to_string();
        options.admin_address = admin.address().to_string();
        options.in_flight =
            Arc::new(move || counted.get().map(Writes::by_context).unwrap_or_default());
        let agent = Agent::attach(&config.control.store, config.catalogue.clone(), options)
            .await
            .map_err(|error| agent_failure(&error))?;
        let recording = if with_shadow { Some(Recording::start(config)?) } else { None };
        let (handle, shadow) = start_shadow(config, &agent, with_shadow, stop)?;
        let handle = match (handle, &recording) {
            (Some(handle), Some(recording)) => Some(handle.tapped(recording.tap())),
            (handle, _) => handle,
        };
        let live =
            Live { table: agent.table(), watermarks: agent.watermarks(), silence: agent.silence() };
        let proxy =
            Proxy::bind(proxy::settings(config)?, live, handle).map_err(|e| proxy::failure(&e))?;
        drop(writes.set(proxy.writes()));
        let readiness = Readiness::new();
        let admin_stop = CancellationToken::new();
        let admin = admin.serve(AdminParts::of(&agent, readiness.clone()), &admin_stop);
        let turning = readiness.clone();
        let stopping = stop.clone();
        tokio::spawn(async move {
            stopping.cancelled().await;
            turning.set_stopping();
        });
        Ok(Self { agent, shadow, recording, proxy, admin, readiness, admin_stop })
    }

    async fn run(self, stop: CancellationToken) -> Result<(), Failure> {
        self.readiness.set_ready();
        let drained: Result<Drained, ProxyError> = self.proxy.run(stop).await;
        self.readiness.set_stopping();
        if let Some(shadow) = self.shadow {
            let left = shadow.stop().await;
            if left.lost > 0 {
                tracing::warn!(lost = left.lost, "shadow reads were given up at shutdown");
            }
        }
        if let Some(recording) = self.recording {
            recording.stop().await;
        }
        self.agent.stop().await;
        self.admin_stop.cancel();
        self.admin.stop().await;
        let drained = drained.map_err(|error| proxy::failure(&error))?;
        if drained.requests_cut > 0 {
            tracing::warn!(
                requests = drained.requests_cut,
                "requests were cut at the end of the grace period"
            );
        }
        Ok(())
    }
}

fn start_shadow(
    config: &Config,
    agent: &Agent,
    wanted: bool,
    stop: &CancellationToken,
) -> Result<(Option<ShadowHandle>, Option<Shadow>), Failure> {
    if !wanted {
        return Ok((None, None));
    }
    let settings = shadow::settings(config)?;
    noise::follow(config, &settings, stop.clone());
    let started = Shadow::start(settings, &shadow::ports(agent), CancellationToken::new());
    let (handle, shadow) = started.map_err(|error| {
        Failure::of("banyan::shadow::start", Exit::Config, "cannot start shadow reads", &error)
    })?;
    Ok((Some(handle), Some(shadow)))
}

fn admin_settings(config: &Config) -> AdminConfig {
    let tokens = config.admin.token.iter().map(|token| AdminToken {
        name: "admin".to_owned(),
        role: banyan_admin::Role::Admin,
        token: token.clone(),
    });
    AdminConfig {
        listen: config.admin.listen,
        tokens: tokens.collect(),
        name: config.environment.clone(),
        ..AdminConfig::default()
    }
}

fn admin_failure(error: &AdminError) -> Failure {
    Failure::of(error.code(), Exit::Unreachable, "cannot serve the admin API", error)
        .hint(error.hint())
}

fn agent_failure(error: &AgentError) -> Failure {
    if let AgentError::Store(error) = error {
        return control::store_failure(error);
    }
    Failure::new("banyan::config::invalid", Exit::Config, error.to_string()).hint("banyan check")
}

/// The name given, else `HOST-PID`.
fn instance(args: &ServeArgs) -> String {
    args.instance.clone().unwrap_or_else(|| {
        let host = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
        let host = host.trim();
        let host = if host.is_empty() { "banyan" } else { host };
        format!("{host}-{}", std::process::id())
    })
}

fn start_jobs(
    config: &Config,
    store: &Arc<dyn ControlStore>,
    quiet: &CancellationToken,
    background: &mut JoinSet<()>,
) -> Result<(), Failure> {
    for configured in &config.jobs {
        let ports = sync::quiet_ports(store);
        let job = configured.open(Side::New, ports.clone());
        let job = job.map_err(|error| sync::failure(&configured.spec.name, &error))?;
        let back = configured.spec.is_two_way().then(|| configured.open(Side::Legacy, ports));
        let back = back.transpose();
        let back = back.map_err(|error| sync::failure(&configured.spec.name, &error))?;
        let follower = follow::Follower { job, back, follows: configured.spec.follow };
        background.spawn(follower.run(store.clone(), quiet.clone()));
    }
    Ok(())
}

/// The forwarder of the file's `[events]` section, if there is one, as a task of `background`.
pub(crate) async fn start_forwarder(
    config: &Config,
    store: &Arc<dyn ControlStore>,
    quiet: &CancellationToken,
    background: &mut JoinSet<()>,
) -> Result<Option<Arc<Forwarder>>, Failure> {
    let Some(settings) = events::settings(config) else { return Ok(None) };
    let owners = Arc::new(events::StoreOwners(store.clone()));
    let forwarder =
        Forwarder::open(settings, owners).await.map_err(|error| events::failure(&error))?;
    let forwarder = Arc::new(forwarder);
    let (running, stop) = (forwarder.clone(), quiet.clone());
    background.spawn(async move { running.run(stop).await });
    Ok(Some(forwarder))
}

/// Waits until events have queues to go to, before whoever waits for the ready file lets applications publish. Not longer than
/// a while: a broker may be away.
pub(crate) async fn queues(forwarder: Option<&Forwarder>, stop: &CancellationToken) {
    let Some(forwarder) = forwarder else { return };
    tokio::select! {
        () = forwarder.settled() => {}
        () = stop.cancelled() => {}
        () = tokio::time::sleep(QUEUES_WITHIN) => {
            tracing::warn!("raw queues are not there yet, so events that applications publish now may be lost; \
                            banyan events status says what the forwarder waits for");
        }
    }
}

/// Says what runs and where, on stderr; answers what belongs into the ready file.
fn announce(
    config: &Config,
    roles: &[Role],
    plane: Option<&Plane>,
    output: &Output,
) -> serde_json::Value {
    let proxy = plane.and_then(|plane| plane.proxy.addresses().first().copied());
    let admin = plane.map(|plane| plane.admin.address);
    let names: Vec<String> = roles.iter().map(|role| format!("{role:?}").to_lowercase()).collect();
    output.note(&format!("banyan serves {} for {}", names.join(", "), config.environment));
    if let (Some(proxy), Some(admin)) = (proxy, admin) {
        output.note(&format!("proxy on http://{proxy}, admin on http://{admin}"));
    }
    json!({ "roles": names, "proxy": proxy, "admin": admin, "pid": std::process::id() })
}

/// The file that tells whoever waits for it that the process runs. It is complete as soon as it is there.
pub(crate) struct ReadyFile<'a> {
    path: &'a Path,
    part: PathBuf,
}

impl<'a> ReadyFile<'a> {
    /// Before anything runs: one of an earlier process is removed, and a place that cannot be written is told.
    pub(crate) fn claim(path: Option<&'a PathBuf>) -> Result<Option<Self>, Failure> {
        let Some(path) = path else { return Ok(None) };
        let mut part = path.clone().into_os_string();
        part.push(".part");
        let part = PathBuf::from(part);
        std::fs::write(&part, "").map_err(|error| unwritable(path, &error))?;
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(unwritable(path, &error)),
            Ok(()) | Err(_) => Ok(Some(Self { path, part })),
        }
    }

    /// Writes it.
    pub(crate) fn tell(self, ready: &serde_json::Value) -> Result<(), Failure> {
        std::fs::write(&self.part, ready.to_string())
            .and_then(|()| std::fs::rename(&self.part, self.path))
            .map_err(|error| unwritable(self.path, &error))
    }
}

impl Drop for ReadyFile<'_> {
    fn drop(&mut self) {
        // Left only where the process ended before it could tell.
        drop(std::fs::remove_file(&self.part));
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(
        "banyan::serve::ready_file",
        Exit::Unreachable,
        format!("cannot write `{}`", path.display()),
    )
    .because(error.to_string())
    .hint("name a file in a folder that exists and is writable")
}
