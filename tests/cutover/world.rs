//! Monolith, service, two proxies, sync, forwarder and traffic, each a process of its own, on any servers.

use crate::ledger;
use crate::support::{Folder, Running, free_port, wait_until};
use banyan_events::broker::{self, ExchangeKind, Message, QueueOptions, Topology};
use banyan_test_servers::{RabbitMq, Server, mariadb, or_skip, postgres, rabbitmq};
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::process::Output;
use std::time::Duration;

const TEMPLATE: &str = include_str!("../../cli/demo/banyan.toml");
const SQLITE_JOBS: &str = include_str!("../../sync-jobs/mappings/sqlite-to-sqlite.toml");
const SERVER_JOBS: &str = include_str!("../../sync-jobs/mappings/mariadb-to-postgres.toml");
const WATCHER: &str = "test.watcher";
const USERS: &str = "300";

/// Where databases and broker are.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    pub(crate) legacy: String,
    pub(crate) new: String,
    pub(crate) broker: String,
}

/// Everything that runs.
pub(crate) struct World {
    pub(crate) folder: Folder,
    pub(crate) places: Places,
    parts: BTreeMap<&'static str, Running>,
    ports: [u16; 6],
    broker: String,
    machines: Option<Machines>,
    /// Messages that were read before anybody wrote.
    pub(crate) read_before: HashSet<i64>,
}

/// The servers of a world, that die as well.
pub(crate) struct Machines {
    legacy: Server,
    new: Server,
    broker: RabbitMq,
}

impl Machines {
    /// New ones; nothing where one is absent.
    pub(crate) fn start() -> Option<Self> {
        let (legacy, new) = (or_skip(mariadb())?, or_skip(postgres())?);
        Some(Self { legacy, new, broker: or_skip(rabbitmq())? })
    }

    pub(crate) fn places(&self) -> Places {
        Places { broker: self.broker.fresh_url(), ..on_databases(&self.legacy, &self.new) }
    }

    fn server(&mut self, name: &str) -> Option<&mut Server> {
        match name {
            "legacy-db" => Some(&mut self.legacy),
            "new-db" => Some(&mut self.new),
            "broker" => Some(self.broker.server()),
            _ => None,
        }
    }
}

/// A public event as a consumer sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Public {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) subject: i64,
    pub(crate) request: String,
}

impl Places {
    /// SQLite files and the embedded broker of the world's folder.
    pub(crate) fn embedded() -> Self {
        Self {
            legacy: "sqlite:mothership.db".to_owned(),
            new: "sqlite:messages.db".to_owned(),
            broker: "embedded:broker.db".to_owned(),
        }
    }
}

impl World {
    /// The same on servers of its own, that can be killed.
    pub(crate) async fn start_on(machines: Machines) -> Self {
        let mut world = Self::start(machines.places()).await;
        world.machines = Some(machines);
        world
    }

    /// Starts all but the traffic: both sides filled, triggers and fences installed, one comparison made.
    pub(crate) async fn start(places: Places) -> Self {
        let ports = [0; 6].map(|_| free_port());
        let [proxy, admin, monolith, service, ..] = ports;
        let jobs = if places.legacy.starts_with("sqlite:") { SQLITE_JOBS } else { SERVER_JOBS };
        let config = TEMPLATE
            .replace("@BUDGET@", "1")
            .replace("@PROXY@", &proxy.to_string())
            .replace("@ADMIN@", &admin.to_string())
            .replace("@MOTHERSHIP@", &monolith.to_string())
            .replace("@MESSAGES@", &service.to_string())
            .replace("@LEGACY_DATABASE@", &places.legacy)
            .replace("@NEW_DATABASE@", &places.new)
            .replace("@BROKER@", &places.broker)
            // One node: a killed RabbitMQ can leave a quorum queue without a leader.
            .replace(
                "exchange = \"semantic-events\"\n",
                "exchange = \"semantic-events\"\nqueue-type = \"classic\"\n",
            )
            .replace(
                "exchange = \"semantic-events-new\"\n",
                "exchange = \"semantic-events-new\"\nqueue-type = \"classic\"\n",
            );
        let folder =
            Folder::with_config(&format!("{config}\n{jobs}\n[cutover]\nsettle = \"300ms\"\n"));
        let url = match places.broker.strip_prefix("embedded:") {
            Some(file) => format!("embedded:{}", folder.file(file).display()),
            None => places.broker.clone(),
        };
        let watcher = broker::connect(&url).await.unwrap();
        let queue = QueueOptions::default().classic();
        let topology = Topology::new()
            .exchange("public-events", ExchangeKind::Topic)
            .queue(WATCHER, queue)
            .bind(WATCHER, "public-events", "message.*");
        watcher.declare(&topology).await.unwrap();
        let mut world = Self {
            folder,
            places,
            parts: BTreeMap::new(),
            ports,
            broker: url,
            machines: None,
            read_before: HashSet::new(),
        };
        world.start_part("mothership");
        world.start_part("messages");
        world.read_before = ledger::read_messages(&world).await;
        world.folder.expect(&["sync", "install", "--execute"], 0);
        world.folder.expect(&["sync", "run", "--once", "--execute", "--no-progress"], 0);
        world.folder.expect(&["context", "fence", "install", "messages", "--execute"], 0);
        world.folder.expect(&["sync", "verify", "messages"], 0);
        for part in ["proxy-a", "proxy-b", "sync", "events"] {
            world.start_part(part);
        }
        world
    }

    /// Starts a part, or starts it again after a kill.
    pub(crate) fn start_part(&mut self, part: &'static str) {
        if let Some(server) = self.machines.as_mut().and_then(|machines| machines.server(part)) {
            server.start_again().unwrap();
            return;
        }
        let ready = format!("{part}.ready");
        drop(std::fs::remove_file(self.folder.file(&ready)));
        let [_, _, monolith, service, second, second_admin] = self.ports;
        let listen = |port: u16| format!("127.0.0.1:{port}");
        let app = |name: &str, port: u16, database: &str| -> Vec<String> {
            let words = [
                "fixture",
                name,
                "--listen",
                &listen(port),
                "--database",
                database,
                "--broker",
                &self.places.broker,
            ];
            words.map(str::to_owned).to_vec()
        };
        let serve = |roles: &str| -> Vec<String> {
            ["serve", "--only", roles, "--instance", part].map(str::to_owned).to_vec()
        };
        let mut words = match part {
            "mothership" => {
                let mut words = app(part, monolith, &self.places.legacy);
                let messages =
                    std::env::var("BANYAN_MESSAGES").unwrap_or_else(|_| "3000".to_owned());
                words.extend(["--users", USERS, "--messages", &messages].map(str::to_owned));
                words
            }
            "messages" => app(part, service, &self.places.new),
            "proxy-a" | "proxy-b" => serve("proxy,shadow"),
            other => serve(other),
        };
        words.extend(["--ready-file".to_owned(), ready.clone()]);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let environment = match part {
            "proxy-b" => vec![
                ("BANYAN_PROXY__LISTEN", listen(second)),
                ("BANYAN_ADMIN__LISTEN", listen(second_admin)),
                ("BANYAN_CONTROL__SNAPSHOT", "proxy-b.json".to_owned()),
            ],
            _ => Vec::new(),
        };
        let running = self.folder.start_with(&words, &environment);
        self.parts.insert(part, running);
        self.folder.wait_for_file(&ready);
    }

    /// Ports of both proxies.
    pub(crate) const fn proxies(&self) -> [u16; 2] {
        [self.ports[0], self.ports[4]]
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self, part: &str) {
        match self.machines.as_mut().and_then(|machines| machines.server(part)) {
            Some(server) => server.kill(),
            None => self.parts.remove(part).unwrap().kill(),
        }
    }

    /// Traffic through both proxies, with a ledger.
    pub(crate) fn start_traffic(&mut self, rate: u32, writes_percent: u32, seed: u64) {
        let urls = self.proxies().map(|port| format!("http://127.0.0.1:{port}"));
        let (rate, percent, seed) =
            (rate.to_string(), writes_percent.to_string(), seed.to_string());
        let running = self.folder.start_to(
            "traffic.out",
            &[
                "fixture",
                "traffic",
                "--url",
                &urls[0],
                "--url",
                &urls[1],
                "--users",
                USERS,
                "--rate",
                &rate,
                "--concurrency",
                "24",
                "--writes-percent",
                &percent,
                "--seed",
                &seed,
                "--ledger",
                "ledger",
                "--progress-file",
                "traffic.json",
                "--json",
            ],
        );
        self.parts.insert("traffic", running);
        self.folder.wait_for_file("traffic.json");
    }

    /// What the traffic counted so far.
    pub(crate) fn counts(&self) -> Value {
        let text = std::fs::read_to_string(self.folder.file("traffic.json")).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Waits until so many more requests were answered.
    pub(crate) fn let_pass(&self, requests: u64) {
        let now = self.counts()["requests"].as_u64().unwrap_or(0);
        wait_until("traffic", || self.counts()["requests"].as_u64().unwrap_or(0) >= now + requests);
    }

    /// Ends the traffic and answers its summary.
    pub(crate) fn end_traffic(&mut self) -> Value {
        self.parts.remove("traffic").unwrap().terminate();
        let text = std::fs::read_to_string(self.folder.file("traffic.out")).unwrap();
        serde_json::from_str(text.lines().rev().find(|line| line.starts_with('{')).unwrap())
            .unwrap()
    }

    /// Runs a command to its end, with an environment.
    pub(crate) fn output(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
        let mut command = self.folder.command(arguments);
        command.envs(environment.iter().copied());
        command.output().unwrap()
    }

    /// A switch that must succeed; answers its data.
    pub(crate) fn switch(&self, arguments: &[&str]) -> Value {
        let output = self.output(&[arguments, &["--json"]].concat(), &[]);
        let (out, err) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{arguments:?}\n{out}\n{err}");
        serde_json::from_str::<Value>(&out).unwrap()["data"].clone()
    }

    pub(crate) fn forward(&self) -> Value {
        self.switch(&["context", "cutover", "messages", "--execute", "--force", "--reason", "test"])
    }

    pub(crate) fn back(&self) -> Value {
        self.switch(&["rollback", "messages", "--reason", "test"])
    }

    /// The owner and whether the context is steady.
    pub(crate) fn standing(&self) -> (String, String) {
        let shown = self.folder.json(&["context", "show", "messages"]);
        let owner = shown["route"]["owner"].as_str().unwrap_or_default().to_owned();
        (owner, shown["stage"].as_str().unwrap_or_default().to_owned())
    }

    /// Waits until the other side has everything, and compares both.
    pub(crate) fn settle(&self) {
        let (owner, _) = self.standing();
        let to = if owner == "legacy" { "new" } else { "legacy" };
        let mut last = String::new();
        wait_until("both sides to be equal", || {
            let output = self.output(&["sync", "verify", "messages", "--to", to], &[]);
            last = String::from_utf8_lossy(&output.stdout).into_owned();
            output.status.code() == Some(0)
        });
    }

    /// All public events of the context so far, in their order; ends when nothing waits in the outbox and none came for three
    /// seconds.
    pub(crate) async fn public(&self) -> Vec<Public> {
        // After a kill of the service its next relay waits until the lease of the dead one has ended; in between nobody
        // leads, which is exit 1. In the end somebody does, and nothing is dead or lost.
        wait_until("the outbox to be empty", || {
            let output = self.output(&["events", "outbox", "status", "--json"], &[]);
            let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            let Some(outboxes) = status["data"]["outboxes"].as_array() else { return false };
            let mut contexts =
                outboxes.iter().flat_map(|outbox| outbox["contexts"].as_array().unwrap());
            output.status.success()
                && contexts.all(|context| context["ready"] == 0 && context["waiting"] == 0)
        });
        let watcher = broker::connect(&self.broker).await.unwrap();
        let mut consumer = watcher.consume(WATCHER, 512).await.unwrap();
        let mut events = Vec::new();
        while let Ok(Ok(delivery)) =
            tokio::time::timeout(Duration::from_secs(3), consumer.next()).await
        {
            events.push(read(&delivery.message));
            consumer.ack_through(delivery.tag).await.unwrap();
        }
        events
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("kept: {}", self.folder.keep().display());
        }
    }
}

fn read(message: &Message) -> Public {
    let body: Value = serde_json::from_slice(&message.body).unwrap();
    Public {
        id: message.properties.message_id.clone().unwrap_or_default(),
        kind: body["type"].as_str().unwrap_or_default().to_owned(),
        subject: body["subject"]["id"].as_i64().unwrap_or_default(),
        request: body["request_id"].as_str().unwrap_or_default().to_owned(),
    }
}

/// Fresh databases on these servers, with the embedded broker.
pub(crate) fn on_databases(legacy: &Server, new: &Server) -> Places {
    Places {
        legacy: format!("mysql://root@127.0.0.1:{}/mothership", legacy.port()),
        new: format!("postgres://postgres@127.0.0.1:{}/postgres", new.port()),
        broker: "embedded:broker.db".to_owned(),
    }
}
