//! RabbitMQ with a private epmd and virtual hosts from a definitions file.

use crate::process::{Server, Watchdog, boot, directory, find, free_ports, signal, watch};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const USER: &str = "tester";
const PASSWORD: &str = "practice";
/// Salted SHA-256 of `PASSWORD`, as RabbitMQ stores it.
const PASSWORD_HASH: &str = "AQIDBBK+WETjH8brEholXX0pi8eRjo/c9XicWZdAGDAtZ/PG";
const VHOSTS: usize = 96;

/// A running node.
#[derive(Debug)]
pub struct RabbitMq {
    server: Server,
    epmd: Child,
    _watchdog: Watchdog,
    next_vhost: AtomicUsize,
    management: Option<u16>,
    ports: Ports,
}

/// Starts RabbitMQ.
///
/// # Errors
/// Why it cannot, such as that it is not installed.
pub fn rabbitmq() -> Result<RabbitMq, String> {
    start(None, &[])
}

/// Starts RabbitMQ with its management API, which costs some seconds more.
///
/// # Errors
/// Why it cannot, such as that it is not installed.
pub fn rabbitmq_with_management() -> Result<RabbitMq, String> {
    let [port] = free_ports()?;
    start(Some(port), &["rabbitmq_management"])
}

/// Starts RabbitMQ with its management API and its shovel.
///
/// # Errors
/// Why it cannot, such as that it is not installed.
pub fn rabbitmq_with_shovel() -> Result<RabbitMq, String> {
    let [port] = free_ports()?;
    start(Some(port), &["rabbitmq_management", "rabbitmq_shovel"])
}

fn start(management: Option<u16>, plugins: &[&str]) -> Result<RabbitMq, String> {
    let program = find(&["rabbitmq-server"], &["/usr/lib/rabbitmq/bin"])?;
    let directory = directory()?;
    let [port, epmd_port, dist_port] = free_ports()?;
    write_config(directory.path(), management, plugins).map_err(|error| error.to_string())?;
    let ports = Ports { port, epmd: epmd_port, dist: dist_port };
    let mut epmd = Command::new("epmd");
    environment(&mut epmd, directory.path(), &ports);
    epmd.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let epmd = epmd.spawn().map_err(|error| format!("epmd: {error}"))?;
    let watchdog = watch(epmd.id(), directory.path())?;
    let mut start = Command::new(program);
    environment(&mut start, directory.path(), &ports);
    let server = boot(start, port, directory, speaks_amqp)?;
    let next_vhost = AtomicUsize::new(0);
    Ok(RabbitMq { server, epmd, _watchdog: watchdog, next_vhost, management, ports })
}

impl RabbitMq {
    /// The URL of a virtual host that nobody has used yet.
    ///
    /// # Panics
    /// After 96 of them.
    pub fn fresh_url(&self) -> String {
        let vhost = self.next_vhost.fetch_add(1, Ordering::Relaxed);
        assert!(vhost < VHOSTS, "raise VHOSTS");
        format!("amqp://{USER}:{PASSWORD}@127.0.0.1:{}/t{vhost}", self.server.port())
    }

    /// The URL of the management API, with user and password; `None` when it was started without.
    pub fn management_url(&self) -> Option<String> {
        self.management.map(|port| format!("http://{USER}:{PASSWORD}@127.0.0.1:{port}"))
    }

    /// Tells the node something by `rabbitmqctl`, such as another limit of memory.
    ///
    /// # Errors
    /// What the program says.
    pub fn control(&self, arguments: &[&str]) -> Result<(), String> {
        let mut command = Command::new(find(&["rabbitmqctl"], &["/usr/lib/rabbitmq/bin"])?);
        environment(&mut command, self.server.directory(), &self.ports);
        command.args(arguments).stdin(Stdio::null());
        let output = command.output().map_err(|error| format!("rabbitmqctl: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("rabbitmqctl: {}", String::from_utf8_lossy(&output.stderr)))
    }

    /// The node, to kill and start again.
    pub fn server(&mut self) -> &mut Server {
        &mut self.server
    }
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        signal("KILL", self.epmd.id());
        drop(self.epmd.wait());
    }
}

#[derive(Debug)]
struct Ports {
    port: u16,
    epmd: u16,
    dist: u16,
}

fn environment(command: &mut Command, directory: &Path, ports: &Ports) {
    let path = |name: &str| directory.join(name);
    command
        .env("HOME", directory)
        .env("ERL_EPMD_PORT", ports.epmd.to_string())
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_NODENAME", format!("t{}@localhost", ports.port))
        .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_NODE_PORT", ports.port.to_string())
        .env("RABBITMQ_DIST_PORT", ports.dist.to_string())
        .env("RABBITMQ_MNESIA_BASE", path("mnesia"))
        .env("RABBITMQ_LOG_BASE", path("logs"))
        .env("RABBITMQ_LOGS", "-")
        .env("RABBITMQ_PID_FILE", path("pid"))
        .env("RABBITMQ_PLUGINS_EXPAND_DIR", path("expand"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", path("plugins"))
        .env("RABBITMQ_CONFIG_FILE", path("rabbitmq.conf"))
        .env("RABBITMQ_ADVANCED_CONFIG_FILE", path("absent.config"))
        .env("RABBITMQ_CONF_ENV_FILE", path("absent.env"));
}

fn write_config(
    directory: &Path,
    management: Option<u16>,
    plugins: &[&str],
) -> std::io::Result<()> {
    let each = |line: fn(usize) -> String| (0..VHOSTS).map(line).collect::<Vec<_>>().join(",");
    let vhosts = each(|n| format!("{{\"name\":\"t{n}\"}}"));
    let permissions = each(|n| {
        format!(
            "{{\"user\":\"{USER}\",\"vhost\":\"t{n}\",\"configure\":\".*\",\"write\":\".*\",\"read\":\".*\"}}"
        )
    });
    let definitions = format!(
        "{{\"users\":[{{\"name\":\"{USER}\",\"password_hash\":\"{PASSWORD_HASH}\",\
         \"hashing_algorithm\":\"rabbit_password_hashing_sha256\",\"tags\":\"administrator\"}}],\
         \"vhosts\":[{vhosts}],\"permissions\":[{permissions}]}}"
    );
    std::fs::write(directory.join("definitions.json"), definitions)?;
    let listener = management.map_or_else(String::new, |port| {
        format!("management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {port}\n")
    });
    let config = format!(
        "load_definitions = {}\nloopback_users = none\ndisk_free_limit.absolute = 1MB\n\
         vm_memory_high_watermark.absolute = 400MB\n{listener}",
        directory.join("definitions.json").display()
    );
    std::fs::write(directory.join("rabbitmq.conf"), config)?;
    std::fs::write(directory.join("plugins"), format!("[{}].", plugins.join(",")))
}

/// A listening port is not yet a broker: it must answer the protocol header with a method frame.
fn speaks_amqp(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let mut first = [0u8; 1];
    stream.set_read_timeout(Some(Duration::from_secs(2))).is_ok()
        && stream.write_all(b"AMQP\0\0\x09\x01").is_ok()
        && stream.read_exact(&mut first).is_ok()
        && first == [1]
}
