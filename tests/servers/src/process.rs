//! A server process in its own directory and process group.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A loaded machine takes a minute for what takes six seconds otherwise.
const BOOT_MAX: Duration = Duration::from_mins(3);

/// A running server; dropping it ends it.
#[derive(Debug)]
pub struct Server {
    child: Child,
    command: Command,
    answers: fn(u16) -> bool,
    port: u16,
    directory: TempDir,
    /// One per start; each is let go only at the end, for letting one go removes the directory.
    watchdogs: Vec<Watchdog>,
}

/// Kills a process group when this process ends.
#[derive(Debug)]
pub(crate) struct Watchdog {
    _stdin: Option<ChildStdin>,
}

impl Server {
    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// SIGKILL to the whole server, as a crash of its machine would; its data stays.
    pub fn kill(&mut self) {
        signal("KILL", self.child.id());
        drop(self.child.wait());
    }

    /// Starts a killed server on its old port and data.
    ///
    /// # Errors
    /// Why it does not answer.
    pub fn start_again(&mut self) -> Result<(), String> {
        let started = Instant::now();
        loop {
            let child = self.command.spawn();
            self.child = child.map_err(|error| format!("{:?}: {error}", self.command))?;
            self.watchdogs.push(watch(self.child.id(), self.directory.path())?);
            let answers = self.wait_until_it_answers();
            // Sessions of a killed Postgres outlive it for a moment, and it does not start beside them.
            let ended = self.child.try_wait().ok().flatten().is_some();
            if answers.is_ok() || !ended || started.elapsed() > BOOT_MAX {
                return answers;
            }
        }
    }

    fn wait_until_it_answers(&mut self) -> Result<(), String> {
        let started = Instant::now();
        while !(self.answers)(self.port) {
            let ended = self.child.try_wait().ok().flatten();
            if ended.is_some() || started.elapsed() > BOOT_MAX {
                let log = std::fs::read_to_string(self.directory.path().join("log"));
                let log = log.unwrap_or_default();
                return Err(format!("{:?} does not answer ({ended:?}): {log}", self.command));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Sends a signal such as `KILL`, `STOP` or `CONT` to the whole server.
    pub fn signal(&self, name: &str) {
        signal(name, self.child.id());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// `None` when a server is absent, loudly.
///
/// # Panics
/// When `BANYAN_TEST_NO_SKIP=1`: then nothing may be skipped.
pub fn or_skip<T>(server: Result<T, String>) -> Option<T> {
    match server {
        Ok(server) => Some(server),
        Err(reason) => {
            let strict = std::env::var("BANYAN_TEST_NO_SKIP").is_ok_and(|value| value == "1");
            assert!(!strict, "may not skip: {reason}");
            // A closed stderr loses the remark, nothing else.
            drop(writeln!(std::io::stderr(), "SKIPPED: {reason}"));
            None
        }
    }
}

/// Starts `command` and waits until `answers` says that the port is served.
pub(crate) fn boot(
    mut command: Command,
    port: u16,
    directory: TempDir,
    answers: fn(u16) -> bool,
) -> Result<Server, String> {
    let log = std::fs::File::options().create(true).append(true).open(directory.path().join("log"));
    let log = log.map_err(|error| error.to_string())?;
    let errors = log.try_clone().map_err(|error| error.to_string())?;
    command.current_dir(directory.path()).process_group(0).stdin(Stdio::null());
    let child = command.stdout(log).stderr(errors).spawn();
    let child = child.map_err(|error| format!("{command:?}: {error}"))?;
    let watchdog = watch(child.id(), directory.path())?;
    let mut server = Server { child, command, answers, port, directory, watchdogs: vec![watchdog] };
    server.wait_until_it_answers()?;
    Ok(server)
}

/// Whether something accepts connections.
pub(crate) fn accepts(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// A child that waits for the end of its stdin, that is for the end of this process, then kills the group and
/// removes its directory.
pub(crate) fn watch(group: u32, directory: &Path) -> Result<Watchdog, String> {
    let script = "cat >/dev/null; kill -KILL -$0 2>/dev/null; sleep 0.2; rm -rf \"$1\"";
    let mut child = Command::new("sh")
        .args(["-c", script, &group.to_string()])
        .arg(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|error| format!("sh: {error}"))?;
    Ok(Watchdog { _stdin: child.stdin.take() })
}

/// Signals a process group; one that is gone already is fine.
pub(crate) fn signal(name: &str, group: u32) {
    // The shell's own `kill`: the program of that name is not on every machine.
    let mut kill = Command::new("sh");
    kill.args(["-c", &format!("kill -{name} -{group}")]).stderr(Stdio::null());
    drop(kill.status());
}

/// A short path, because unix socket paths are limited to 107 bytes.
pub(crate) fn directory() -> Result<TempDir, String> {
    tempfile::Builder::new().prefix("by").tempdir().map_err(|error| error.to_string())
}

/// Different free ports: all are held until all are chosen.
pub(crate) fn free_ports<const N: usize>() -> Result<[u16; N], String> {
    let mut held = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
        *port = listener.local_addr().map_err(|error| error.to_string())?.port();
        held.push(listener);
    }
    Ok(ports)
}

/// Whether this process made the directory as root.
pub(crate) fn is_root(directory: &Path) -> bool {
    std::fs::metadata(directory).is_ok_and(|meta| meta.uid() == 0)
}

/// The first of the programs that is in `places` or on the PATH.
pub(crate) fn find(names: &[&str], places: &[&str]) -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = places.iter().map(PathBuf::from).chain(std::env::split_paths(&path));
    let mut files = folders.flat_map(|folder| names.iter().map(move |name| folder.join(name)));
    files
        .find(|file| file.is_file())
        .ok_or_else(|| format!("{} is not installed", names.join(" or ")))
}

/// Runs a command that must succeed.
pub(crate) fn succeed(command: &mut Command) -> Result<(), String> {
    let done =
        command.current_dir("/").output().map_err(|error| format!("{command:?}: {error}"))?;
    if done.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&done.stderr)))
}
