//! The practice world: monolith, service, `banyan serve` and traffic as processes in one folder.
//!
//! Owns addresses, files and the configuration that the demo writes. On embedded defaults it needs no server; given
//! database and broker URLs it is the same world on real ones.

use super::Size;
use super::process::{Launcher, Part, trouble};
use super::tale::Tale;
use crate::args::DemoArgs;
use crate::failure::Failure;
use fixture_consumers::App;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const TEMPLATE: &str = include_str!("banyan.toml");
const JOBS_SQLITE: &str = include_str!("../../sync-jobs/mappings/sqlite-to-sqlite.toml");
const JOBS_MYSQL: &str = include_str!("../../sync-jobs/mappings/mariadb-to-postgres.toml");
const SECRET: &str = "practice-only";

/// Databases and brokers of a world.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    pub(crate) legacy_database: String,
    pub(crate) new_database: String,
    pub(crate) broker: String,
}

/// A running world.
pub(crate) struct World {
    folder: PathBuf,
    temporary: Option<tempfile::TempDir>,
    pub(crate) launcher: Launcher,
    pub(crate) places: Places,
    ports: Ports,
    seed: u64,
    mothership: Option<Part>,
    messages: Option<Part>,
    serve: Option<Part>,
    traffic: Option<Part>,
    consumers: Vec<RunningConsumer>,
}

/// A consumer of the public events, and where its status answers.
struct RunningConsumer {
    app: App,
    part: Part,
    url: String,
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    mothership: u16,
    messages: u16,
    proxy: u16,
    admin: u16,
}

impl World {
    /// Seeds the monolith, copies to the service and starts everything but traffic.
    pub(crate) async fn build(args: &DemoArgs, size: Size, tale: &Tale) -> Result<Self, Failure> {
        let mut world = Self::lay_out(args, size)?;
        tale.heading("A monolith with data, and a service that was carved out of it");
        let started = Instant::now();
        world.start_mothership(size).await?;
        tale.say(&format!(
            "mothership seeded with {} users and {} messages in {:.1} s, answers on {}",
            size.users,
            size.messages,
            started.elapsed().as_secs_f64(),
            url(world.ports.mothership)
        ));
        world.start_messages(true).await?;
        tale.say("the messages service runs with --defects: four mistakes a rewrite could make");
        let plan = world.launcher.expect(&["check"], 0).await?;
        tale.command(&plan, 12);
        let copied = world
            .launcher
            .expect(&["sync", "run", "--once", "--execute", "--no-progress"], 0)
            .await?;
        tale.command(&copied, 12);
        world.start_serve().await?;
        for app in App::ALL {
            world.start_consumer(app).await?;
        }
        tale.say(
            "push-notifications and stats consume the public events, each with an inbox of its own",
        );
        let status = world.launcher.expect(&["status"], 0).await?;
        tale.command(&status, 12);
        world.restart_traffic(size).await?;
        Ok(world)
    }

    fn lay_out(args: &DemoArgs, size: Size) -> Result<Self, Failure> {
        let (folder, temporary) = if let Some(folder) = &args.dir {
            std::fs::create_dir_all(folder).map_err(|error| {
                trouble(format!("cannot create `{}`", folder.display())).because(error.to_string())
            })?;
            (folder.clone(), None)
        } else {
            let temporary =
                tempfile::Builder::new().prefix("banyan-demo-").tempdir().map_err(|error| {
                    trouble("cannot create a temporary directory").because(error.to_string())
                })?;
            (temporary.path().to_owned(), Some(temporary))
        };
        let folder = folder.canonicalize().unwrap_or(folder);
        let file = |name: &str| folder.join(name).display().to_string();
        let places = Places {
            legacy_database: args
                .legacy_database
                .clone()
                .unwrap_or_else(|| format!("sqlite:{}", file("mothership.db"))),
            new_database: args
                .new_database
                .clone()
                .unwrap_or_else(|| format!("sqlite:{}", file("messages.db"))),
            broker: args
                .broker
                .clone()
                .unwrap_or_else(|| format!("embedded:{}", file("broker.db"))),
        };
        let launcher = Launcher::new(&folder)?;
        let world = Self {
            launcher,
            places,
            ports: Ports::free()?,
            seed: args.seed,
            temporary,
            mothership: None,
            messages: None,
            serve: None,
            traffic: None,
            consumers: Vec::new(),
            folder,
        };
        world.write_config(size)?;
        Ok(world)
    }

    fn write_config(&self, size: Size) -> Result<(), Failure> {
        let jobs = if self.places.legacy_database.starts_with("sqlite:") {
            JOBS_SQLITE
        } else {
            JOBS_MYSQL
        };
        let text = TEMPLATE
            .replace("@BUDGET@", &size.budget_percent.to_string())
            .replace("@PROXY@", &self.ports.proxy.to_string())
            .replace("@ADMIN@", &self.ports.admin.to_string())
            .replace("@MOTHERSHIP@", &self.ports.mothership.to_string())
            .replace("@MESSAGES@", &self.ports.messages.to_string())
            .replace("@LEGACY_DATABASE@", &self.places.legacy_database)
            .replace("@NEW_DATABASE@", &self.places.new_database)
            .replace("@BROKER@", &self.places.broker);
        let path = self.folder.join("banyan.toml");
        std::fs::write(&path, format!("{text}\n{jobs}")).map_err(|error| {
            trouble(format!("cannot write `{}`", path.display())).because(error.to_string())
        })
    }

    async fn start_mothership(&mut self, size: Size) -> Result<(), Failure> {
        let ready = self.fresh_file("mothership.ready");
        let mut part = self.launcher.start(
            "mothership",
            &words(&[
                "fixture",
                "mothership",
                "--listen",
                &format!("127.0.0.1:{}", self.ports.mothership),
                "--database",
                &self.places.legacy_database,
                "--broker",
                &self.places.broker,
                "--secret",
                SECRET,
                "--seed",
                &self.seed.to_string(),
                "--users",
                &size.users.to_string(),
                "--messages",
                &size.messages.to_string(),
                "--ready-file",
                &ready.display().to_string(),
            ]),
        )?;
        part.ready(&ready, 180).await?;
        self.mothership = Some(part);
        Ok(())
    }

    /// Starts the service, or starts it again, with or without its defects.
    pub(crate) async fn start_messages(&mut self, defects: bool) -> Result<(), Failure> {
        if let Some(part) = self.messages.take() {
            part.stop(Duration::from_secs(5)).await;
        }
        let ready = self.fresh_file("messages.ready");
        let mut arguments = words(&[
            "fixture",
            "messages",
            "--listen",
            &format!("127.0.0.1:{}", self.ports.messages),
            "--database",
            &self.places.new_database,
            "--broker",
            &self.places.broker,
            "--secret",
            SECRET,
            "--ready-file",
            &ready.display().to_string(),
        ]);
        if defects {
            arguments.push("--defects".to_owned());
        }
        let mut part = self.launcher.start("messages", &arguments)?;
        part.ready(&ready, 30).await?;
        self.messages = Some(part);
        Ok(())
    }

    async fn start_serve(&mut self) -> Result<(), Failure> {
        let ready = self.fresh_file("serve.ready");
        let mut part = self
            .launcher
            .start("serve", &words(&["serve", "--ready-file", &ready.display().to_string()]))?;
        part.ready(&ready, 30).await?;
        self.serve = Some(part);
        Ok(())
    }

    /// Starts a consumer; it is ready once its queue is bound.
    async fn start_consumer(&mut self, app: App) -> Result<(), Failure> {
        let name = app.as_str();
        let ready = self.fresh_file(&format!("{name}.ready"));
        let mut part = self.launcher.start(
            name,
            &words(&[
                "fixture",
                name,
                "--database",
                &format!("sqlite:{}", self.folder.join(format!("{name}.db")).display()),
                "--broker",
                &self.places.broker,
                "--exchange",
                "public-events",
                "--ready-file",
                &ready.display().to_string(),
            ]),
        )?;
        let address = part.ready(&ready, 30).await?;
        self.consumers.push(RunningConsumer { app, part, url: format!("http://{address}") });
        Ok(())
    }

    /// Where the status of a consumer answers.
    pub(crate) fn consumer_url(&self, app: App) -> Option<&str> {
        let found = self.consumers.iter().find(|consumer| consumer.app == app);
        found.map(|consumer| consumer.url.as_str())
    }

    /// Starts traffic against the proxy, until it is stopped.
    pub(crate) async fn restart_traffic(&mut self, size: Size) -> Result<(), Failure> {
        let progress = self.fresh_file("traffic.progress");
        let mut part = self.launcher.start(
            "traffic",
            &words(&[
                "fixture",
                "traffic",
                "--url",
                &self.proxy_url(),
                "--secret",
                SECRET,
                "--users",
                &size.users.to_string(),
                "--seed",
                &self.seed.to_string(),
                "--rate",
                &size.rate.to_string(),
                "--ease-above",
                "100ms",
                // Many callers, each a few times per second: one who has just written is not compared.
                "--concurrency",
                &size.callers.to_string(),
                "--progress-file",
                &progress.display().to_string(),
            ]),
        )?;
        part.ready(&progress, 30).await?;
        self.traffic = Some(part);
        Ok(())
    }

    /// Fails when a part has ended by itself.
    pub(crate) fn check_alive(&mut self) -> Result<(), Failure> {
        let parts = [&mut self.mothership, &mut self.messages, &mut self.serve, &mut self.traffic];
        let consumers = self.consumers.iter_mut().map(|consumer| &mut consumer.part);
        parts.into_iter().flatten().chain(consumers).try_for_each(Part::check_alive)
    }

    /// What the traffic has counted so far.
    pub(crate) fn traffic_counts(&self) -> Option<serde_json::Value> {
        let text = std::fs::read_to_string(self.folder.join("traffic.progress")).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Stops the traffic and answers its summary.
    pub(crate) async fn end_traffic(&mut self) -> Result<serde_json::Value, Failure> {
        if let Some(part) = self.traffic.take() {
            part.stop(Duration::from_secs(20)).await;
        }
        let path = self.folder.join("traffic.out");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let last = text.lines().rev().find(|line| line.starts_with('{')).unwrap_or_default();
        serde_json::from_str(last).map_err(|error| {
            trouble("the traffic ended without a summary").because(error.to_string())
        })
    }

    /// Stops everything, traffic first.
    pub(crate) async fn stop(&mut self) {
        let parts =
            [self.traffic.take(), self.serve.take(), self.messages.take(), self.mothership.take()];
        let consumers = self.consumers.drain(..).map(|consumer| consumer.part);
        for part in parts.into_iter().flatten().chain(consumers) {
            part.stop(Duration::from_secs(15)).await;
        }
    }

    /// Keeps the folder and names it.
    pub(crate) fn keep(&mut self) -> &Path {
        if let Some(temporary) = self.temporary.take() {
            drop(temporary.keep());
        }
        &self.folder
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn program(&self) -> &Path {
        &self.launcher.program
    }

    pub(crate) fn proxy_url(&self) -> String {
        url(self.ports.proxy)
    }

    pub(crate) fn admin_url(&self) -> String {
        url(self.ports.admin)
    }

    fn fresh_file(&self, name: &str) -> PathBuf {
        let path = self.folder.join(name);
        // Absent is as good as removed: it is only waited for.
        drop(std::fs::remove_file(&path));
        path
    }
}

/// API token of a user.
pub(crate) fn token(user: i64) -> String {
    fixture_passport::Passport::new(SECRET).token(user)
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

impl Ports {
    /// Free loopback ports. All are held until all are chosen, so that no two are the same.
    fn free() -> Result<Self, Failure> {
        let hold = || {
            TcpListener::bind("127.0.0.1:0")
                .and_then(|listener| {
                    listener.local_addr().map(|address| (address.port(), listener))
                })
                .map_err(|error| trouble("no free loopback port").because(error.to_string()))
        };
        let held = [hold()?, hold()?, hold()?, hold()?];
        let [mothership, messages, proxy, admin] = held.each_ref().map(|(port, _)| *port);
        Ok(Self { mothership, messages, proxy, admin })
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
