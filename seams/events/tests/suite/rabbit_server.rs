//! A private RabbitMQ for this test binary: own ports, own directory, own epmd, no system service touched.
//!
//! Each test gets a virtual host of its own from a definitions file read at boot, because asking
//! `rabbitmqctl` for one costs seconds. A watchdog child kills the server when the test process ends,
//! however it ends.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const PROGRAM: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
const USER: &str = "tester";
const PASSWORD: &str = "practice";
/// Salted SHA-256 of `PASSWORD`, as RabbitMQ stores it.
const PASSWORD_HASH: &str = "AQIDBBK+WETjH8brEholXX0pi8eRjo/c9XicWZdAGDAtZ/PG";
const VHOSTS: usize = 32;
const BOOT_MAX: Duration = Duration::from_secs(45);

/// The server that the tests share; `None` when RabbitMQ is not installed.
static SHARED: tokio::sync::OnceCell<Option<Server>> = tokio::sync::OnceCell::const_new();

pub(crate) struct Server {
    port: u16,
    epmd_port: u16,
    dist_port: u16,
    directory: PathBuf,
    node: Mutex<Option<Child>>,
    next_vhost: AtomicUsize,
}

/// The URL of a fresh virtual host on the shared server, or `None` (said loudly) without RabbitMQ.
pub(crate) async fn fresh_url() -> Option<String> {
    SHARED.get_or_init(Server::start).await.as_ref().map(Server::fresh_url)
}

impl Server {
    /// Starts a server, or says loudly why not; with `BANYAN_TEST_NO_SKIP=1` that is a failure.
    pub(crate) async fn start() -> Option<Self> {
        if !std::path::Path::new(PROGRAM).exists() {
            let skip_allowed = std::env::var("BANYAN_TEST_NO_SKIP").as_deref() != Ok("1");
            assert!(skip_allowed, "RabbitMQ is not installed and skipping is not allowed");
            eprintln!("SKIPPED: RabbitMQ is not installed (apt-get install rabbitmq-server)");
            return None;
        }
        let directory = tempfile::Builder::new().prefix("rmq").tempdir().unwrap().keep();
        let [port, epmd_port, dist_port] = free_ports();
        let server = Self {
            port,
            epmd_port,
            dist_port,
            directory,
            node: Mutex::new(None),
            next_vhost: AtomicUsize::new(0),
        };
        server.write_config();
        server.spawn_epmd();
        server.boot().await;
        Some(server)
    }

    pub(crate) fn fresh_url(&self) -> String {
        let vhost = self.next_vhost.fetch_add(1, Ordering::Relaxed);
        assert!(vhost < VHOSTS, "raise VHOSTS");
        format!("amqp://{USER}:{PASSWORD}@127.0.0.1:{}/t{vhost}", self.port)
    }

    /// Starts the node (again) on its old port and data, and waits until it takes connections.
    pub(crate) async fn boot(&self) {
        let child = self.command(PROGRAM).spawn().unwrap();
        spawn_watchdog(child.id(), &self.directory);
        *self.node.lock().unwrap() = Some(child);
        let url = format!("amqp://{USER}:{PASSWORD}@127.0.0.1:{}/t0", self.port);
        let give_up = Instant::now() + BOOT_MAX;
        while let Err(error) =
            lapin::Connection::connect(&url, lapin::ConnectionProperties::default()).await
        {
            let log = std::fs::read_to_string(self.directory.join("out")).unwrap_or_default();
            assert!(Instant::now() < give_up, "RabbitMQ does not start: {error}\n{log}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// SIGKILL to the whole node, as a crash of the machine would.
    pub(crate) fn kill(&self) {
        let Some(mut child) = self.node.lock().unwrap().take() else { return };
        signal("KILL", child.id());
        child.wait().unwrap();
    }

    fn write_config(&self) {
        let mut vhosts = String::new();
        let mut permissions = String::new();
        for number in 0..VHOSTS {
            let comma = if number == 0 { "" } else { "," };
            write!(vhosts, "{comma}{{\"name\":\"t{number}\"}}").unwrap();
            write!(
                permissions,
                "{comma}{{\"user\":\"{USER}\",\"vhost\":\"t{number}\",\"configure\":\".*\",\
                 \"write\":\".*\",\"read\":\".*\"}}"
            )
            .unwrap();
        }
        let definitions = format!(
            "{{\"users\":[{{\"name\":\"{USER}\",\"password_hash\":\"{PASSWORD_HASH}\",\
             \"hashing_algorithm\":\"rabbit_password_hashing_sha256\",\"tags\":\"administrator\"}}],\
             \"vhosts\":[{vhosts}],\"permissions\":[{permissions}]}}"
        );
        std::fs::write(self.directory.join("definitions.json"), definitions).unwrap();
        let config = format!(
            "load_definitions = {}\nloopback_users = none\ndisk_free_limit.absolute = 1MB\n\
             vm_memory_high_watermark.absolute = 400MB\n",
            self.directory.join("definitions.json").display()
        );
        std::fs::write(self.directory.join("rabbitmq.conf"), config).unwrap();
        std::fs::write(self.directory.join("plugins"), "[].").unwrap();
    }

    fn spawn_epmd(&self) {
        let epmd = self.command("epmd").spawn().unwrap();
        spawn_watchdog(epmd.id(), &self.directory);
    }

    fn command(&self, program: &str) -> Command {
        let path = |name: &str| self.directory.join(name);
        let out = std::fs::File::options().create(true).append(true).open(path("out")).unwrap();
        let mut command = Command::new(program);
        command
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .process_group(0)
            .current_dir(&self.directory)
            .env("HOME", &self.directory)
            .env("ERL_EPMD_PORT", self.epmd_port.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODENAME", format!("t{}@localhost", self.port))
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", self.port.to_string())
            .env("RABBITMQ_DIST_PORT", self.dist_port.to_string())
            .env("RABBITMQ_MNESIA_BASE", path("mnesia"))
            .env("RABBITMQ_LOG_BASE", path("log"))
            .env("RABBITMQ_LOGS", "-")
            .env("RABBITMQ_PID_FILE", path("pid"))
            .env("RABBITMQ_PLUGINS_EXPAND_DIR", path("expand"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", path("plugins"))
            .env("RABBITMQ_CONFIG_FILE", path("rabbitmq.conf"))
            .env("RABBITMQ_ADVANCED_CONFIG_FILE", path("absent.config"))
            .env("RABBITMQ_CONF_ENV_FILE", path("absent.env"));
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_ports() -> [u16; 3] {
    let listeners = [0; 3].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

fn signal(name: &str, group: u32) {
    let status =
        Command::new("kill").arg(format!("-{name}")).arg("--").arg(format!("-{group}")).status();
    assert!(status.unwrap().success(), "kill {group}");
}

/// A child that waits for the end of its stdin, that is for the end of this process, and then kills the group.
fn spawn_watchdog(group: u32, directory: &std::path::Path) {
    let script = "cat >/dev/null; kill -KILL -- -$0 2>/dev/null; sleep 0.2; rm -rf \"$1\"";
    let child = Command::new("sh")
        .args(["-c", script, &group.to_string()])
        .arg(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    // Its stdin must stay open for as long as this process lives.
    std::mem::forget(child);
}
