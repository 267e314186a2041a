//! MariaDB and Postgres.

use crate::process::{Server, accepts, boot, directory, find, free_ports, is_root, succeed};
use std::path::Path;
use std::process::Command;

/// An unprivileged user for Postgres, which refuses root.
const NOBODY: u32 = 65_534;
const POSTGRES: [&str; 3] =
    ["/usr/lib/postgresql/15/bin", "/usr/lib/postgresql/16/bin", "/usr/lib/postgresql/17/bin"];

/// Starts MariaDB: user `root` without password, no database yet.
///
/// # Errors
/// Why it cannot, such as that it is not installed.
pub fn mariadb() -> Result<Server, String> {
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
        // A starting server deletes what other servers keep in a shared folder for temporary tables.
        .arg(format!("--tmpdir={}", directory.path().display()))
        .args(["--bind-address=127.0.0.1", "--skip-log-bin", "--innodb-buffer-pool-size=64M"])
        .args(["--innodb-flush-log-at-trx-commit=0", "--character-set-server=utf8mb4"])
        .arg(format!("--port={port}"))
        // In a shared /tmp, servers of two process namespaces take each other's temporary tables.
        .arg(format!("--tmpdir={}", directory.path().display()))
        .args(user);
    boot(start, port, directory, accepts)
}

/// Starts Postgres: superuser `postgres` without password, database `postgres`.
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
    for setting in [
        "listen_addresses=127.0.0.1",
        "fsync=off",
        "full_page_writes=off",
        "synchronous_commit=off",
    ] {
        start.args(["-c", setting]);
    }
    boot(start, port, directory, accepts)
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
