//! Private MariaDB and Postgres servers on free loopback ports, in directories of their own.

use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// An unprivileged user for Postgres, which refuses root.
const NOBODY: u32 = 65_534;
const BOOT_LIMIT: Duration = Duration::from_mins(1);

/// A running server; dropping it ends it.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
    dir: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        // By the id of our own child only.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Starts MariaDB, or says why it cannot.
pub(crate) fn mariadb() -> Result<Server, String> {
    let install = find(&["mariadb-install-db"], &[])?;
    let server = find(&["mariadbd", "mysqld"], &["/usr/sbin"])?;
    let dir = short_dir()?;
    let data = dir.path().join("d");
    let root = is_root(dir.path());
    let mut make = Command::new(install);
    make.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"])
        .args(["--skip-name-resolve", "--force"])
        .arg(format!("--datadir={}", data.display()));
    if root {
        make.arg("--user=root");
    }
    succeed(&mut make)?;
    let port = free_port()?;
    let mut start = Command::new(server);
    start
        .arg("--no-defaults")
        .arg(format!("--datadir={}", data.display()))
        .arg(format!("--socket={}", dir.path().join("s").display()))
        .arg(format!("--pid-file={}", dir.path().join("p").display()))
        .args(["--bind-address=127.0.0.1", "--skip-log-bin", "--innodb-buffer-pool-size=64M"])
        .args(["--innodb-flush-log-at-trx-commit=0", "--character-set-server=utf8mb4"])
        .arg(format!("--port={port}"));
    if root {
        start.arg("--user=root");
    }
    boot(start, port, dir)
}

/// Starts Postgres, or says why it cannot.
pub(crate) fn postgres() -> Result<Server, String> {
    let places = ["/usr/lib/postgresql/15/bin", "/usr/lib/postgresql/16/bin"];
    let init = find(&["initdb"], &places)?;
    let server = find(&["postgres"], &places)?;
    let dir = short_dir()?;
    let data = dir.path().join("d");
    let root = is_root(dir.path());
    if root {
        std::os::unix::fs::chown(dir.path(), Some(NOBODY), Some(NOBODY))
            .map_err(|e| e.to_string())?;
    }
    let mut make = as_user(&init, root);
    make.args(["-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8", "-D"]).arg(&data);
    succeed(&mut make)?;
    let port = free_port()?;
    let mut start = as_user(&server, root);
    start.arg("-D").arg(&data).arg("-p").arg(port.to_string()).arg("-k").arg(dir.path());
    for setting in [
        "listen_addresses=127.0.0.1",
        "fsync=off",
        "full_page_writes=off",
        "synchronous_commit=off",
    ] {
        start.args(["-c", setting]);
    }
    boot(start, port, dir)
}

/// `None` when a server is absent, loudly; a failure when nothing may be skipped.
pub(crate) fn or_skip(server: Result<Server, String>) -> Option<Server> {
    match server {
        Ok(server) => Some(server),
        Err(reason) => {
            let strict = std::env::var("BANYAN_TEST_NO_SKIP").is_ok_and(|value| value == "1");
            assert!(!strict, "may not skip: {reason}");
            println!("SKIPPED: {reason}");
            None
        }
    }
}

fn boot(mut start: Command, port: u16, dir: TempDir) -> Result<Server, String> {
    let log = std::fs::File::create(dir.path().join("log")).map_err(|e| e.to_string())?;
    let errors = log.try_clone().map_err(|e| e.to_string())?;
    start.current_dir(dir.path()).process_group(0).stdin(Stdio::null()).stdout(log).stderr(errors);
    let child = start.spawn().map_err(|e| format!("{start:?}: {e}"))?;
    let mut server = Server { child, port, dir };
    let started = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        if let Ok(Some(status)) = server.child.try_wait() {
            let log = std::fs::read_to_string(server.dir.path().join("log"));
            return Err(format!("{start:?} ended with {status}: {}", log.unwrap_or_default()));
        }
        if started.elapsed() > BOOT_LIMIT {
            return Err(format!("{start:?} does not answer"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(server)
}

/// A short path, because of the limit of unix socket paths.
fn short_dir() -> Result<TempDir, String> {
    tempfile::Builder::new().prefix("by").tempdir().map_err(|e| e.to_string())
}

fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
    listener.local_addr().map(|address| address.port()).map_err(|e| e.to_string())
}

/// Whether this process made the directory as root.
fn is_root(dir: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(dir).is_ok_and(|meta| meta.uid() == 0)
}

fn as_user(program: &Path, root: bool) -> Command {
    if !root {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", &NOBODY.to_string(), "--regid", &NOBODY.to_string(), "--clear-groups"])
        .arg(program);
    command
}

fn find(names: &[&str], places: &[&str]) -> Result<PathBuf, String> {
    let path = std::env::var("PATH").unwrap_or_default();
    let dirs = places.iter().map(PathBuf::from).chain(std::env::split_paths(&path));
    for dir in dirs {
        for name in names {
            let file = dir.join(name);
            if file.is_file() {
                return Ok(file);
            }
        }
    }
    Err(format!("{} is not installed", names.join(" or ")))
}

fn succeed(command: &mut Command) -> Result<(), String> {
    let done = command.current_dir("/").output().map_err(|e| format!("{command:?}: {e}"))?;
    if done.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&done.stderr)))
}
