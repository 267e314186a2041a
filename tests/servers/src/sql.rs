//! MariaDB and Postgres.

use crate::process::{Server, accepts, boot, directory, find, free_ports, is_root, succeed};
use std::path::Path;
use std::process::Command;

/// An unprivileged user for Postgres, which refuses root.
const NOBODY: u32 = 65_534;
const POSTGRES: [&str; 3] =
    ["/usr/lib/postgresql/15/bin", "/usr/lib/postgresql/16/bin", "/usr/lib/postgresql/17/bin"];

/// Starts MariaDB: user `root` without password, no database yet. What it has committed survives a kill of the server (not of
/// the machine).
///
/// # Errors
/// Why it cannot, such as that it is not installed.
pub fn mariadb() -> Result<Server, String> {
    mariadb_in_zone("UTC")
}

/// The same on a machine in this time zone, such as `Asia/Tokyo`.
///
/// # Errors
/// As [`mariadb`].
pub fn mariadb_in_zone(zone: &str) -> Result<Server, String> {
    let install = find(&["mariadb-install-db"], &[])?;
    let server = find(&["mariadbd", "mysqld"], &["/usr/sbin"])?;
    let directory = directory()?;
    let path = |name: &str| directory.path().join(name).display().to_string();
    let data = format!("--datadir={}", path("d"));
    let user = is_root(directory.path()).then_some("--user=root");
    let mut make = Command::new(install);
    make.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"])
        .args(["--skip-name-resolve", "--force", &data])
        .env("TMPDIR", directory.path())
        .args(user);
    succeed(&mut make)?;
    let [port] = free_ports()?;
    let mut start = Command::new(server);
    start
        .args(["--no-defaults", &data])
        .arg(format!("--socket={}", path("s")))
        .arg(format!("--pid-file={}", path("p")))
        .args(["--bind-address=127.0.0.1", "--skip-log-bin", "--innodb-buffer-pool-size=64M"])
        .args(["--innodb-flush-log-at-trx-commit=2", "--character-set-server=utf8mb4"])
        .arg(format!("--port={port}"))
        // In a shared /tmp, servers of two process namespaces take each other's temporary tables.
        .arg(format!("--tmpdir={}", directory.path().display()))
        .env("TZ", zone)
        .args(user);
    boot(start, port, directory, accepts)
}

/// Starts Postgres: superuser `postgres` without password, database `postgres`. What it has committed survives a kill of the
/// server (not of the machine).
///
/// # Errors
/// Why it cannot, such as that it is not installed.
pub fn postgres() -> Result<Server, String> {
    let init = find(&["initdb"], &POSTGRES)?;
    let server = find(&["postgres"], &POSTGRES)?;
    let directory = directory()?;
    let root = is_root(directory.path());
    if root {
        std::os::unix::fs::chown(directory.path(), Some(NOBODY), Some(NOBODY))
            .map_err(|error| error.to_string())?;
    }
    let data = directory.path().join("d");
    let mut make = as_user(&init, root);
    make.args(["-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8", "-D"]).arg(&data);
    succeed(&mut make)?;
    let [port] = free_ports()?;
    let mut start = as_user(&server, root);
    start.arg("-D").arg(&data).arg("-p").arg(port.to_string()).arg("-k").arg(directory.path());
    for setting in ["listen_addresses=127.0.0.1", "fsync=off", "full_page_writes=off"] {
        start.args(["-c", setting]);
    }
    boot(start, port, directory, is_ready)
}

/// Whether Postgres takes sessions: on a busy machine it accepts connections a while before that, and ends them with 57P03.
fn is_ready(port: u16) -> bool {
    let Ok(asks) = find(&["pg_isready"], &POSTGRES) else { return accepts(port) };
    let asked = Command::new(asks)
        .args([
            "-q",
            "-h",
            "127.0.0.1",
            "-U",
            "postgres",
            "-d",
            "postgres",
            "-p",
            &port.to_string(),
        ])
        .status();
    asked.is_ok_and(|status| status.success())
}

fn as_user(program: &Path, root: bool) -> Command {
    if !root {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    let id = NOBODY.to_string();
    command.args(["--reuid", &id, "--regid", &id, "--clear-groups"]).arg(program);
    command
}
