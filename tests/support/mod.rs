//! What the tests through the real binary share: run it, start it, look at what it said.
#![expect(dead_code, reason = "each test binary uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A folder with a configuration, in which `banyan` is run.
pub(crate) struct Folder {
    directory: tempfile::TempDir,
}

/// A long-lived `banyan`; killed when dropped.
pub(crate) struct Running {
    child: Child,
}

impl Folder {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn with_config(text: &str) -> Self {
        let folder = Self::new();
        folder.write("banyan.toml", text);
        folder
    }

    /// Leaves the folder where it is, for a look at what a failed test left.
    pub(crate) fn keep(&mut self) -> &Path {
        self.directory.disable_cleanup(true);
        self.path()
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.file(name), text).unwrap();
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        // Another build of it, for measurements.
        let binary = std::env::var_os("BANYAN_TEST_BINARY");
        let mut command =
            Command::new(binary.unwrap_or_else(|| env!("CARGO_BIN_EXE_banyan").into()));
        command.args(arguments).current_dir(self.path()).stdin(Stdio::null());
        command.env("NO_COLOR", "1").env("USER", "tester").env("COLUMNS", "100");
        for name in ["BANYAN_CONFIG", "BANYAN_LOG", "BANYAN_AS", "SUDO_USER"] {
            command.env_remove(name);
        }
        command
    }

    /// Runs to the end: exit code, stdout and stderr in one text, for snapshots.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        format!(
            "$ banyan {}\nexit {}\n--- stdout\n{}--- stderr\n{}",
            arguments.join(" "),
            output.status.code().unwrap_or(-1),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    }

    /// Runs a command that must end with `exit`; answers stdout.
    pub(crate) fn expect(&self, arguments: &[&str], exit: i32) -> String {
        let output = self.command(arguments).output().unwrap();
        let (stdout, stderr) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(exit), "{arguments:?}\n{stdout}\n{stderr}");
        stdout.into_owned()
    }

    /// Runs a command that must succeed with `--json`; answers its data.
    pub(crate) fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let text = self.expect(&[arguments, &["--json"]].concat(), 0);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        value["data"].clone()
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        self.start_with(arguments, &[])
    }

    /// Starts with an environment of its own.
    pub(crate) fn start_with(&self, arguments: &[&str], environment: &[(&str, String)]) -> Running {
        let log =
            std::fs::File::options().create(true).append(true).open(self.file("log")).unwrap();
        let out = log.try_clone().unwrap();
        let mut command = self.command(arguments);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        Running { child: command.stdout(out).stderr(log).spawn().unwrap() }
    }

    /// Starts with all output in a file of its own and an environment.
    pub(crate) fn start_into(
        &self,
        file: &str,
        arguments: &[&str],
        environment: &[(&str, String)],
    ) -> Running {
        let out = std::fs::File::create(self.file(file)).unwrap();
        let mut command = self.command(arguments);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        Running { child: command.stdout(out.try_clone().unwrap()).stderr(out).spawn().unwrap() }
    }

    /// Starts with stdout in a file of its own.
    pub(crate) fn start_to(&self, file: &str, arguments: &[&str]) -> Running {
        let log =
            std::fs::File::options().create(true).append(true).open(self.file("log")).unwrap();
        let out = std::fs::File::create(self.file(file)).unwrap();
        Running { child: self.command(arguments).stdout(out).stderr(log).spawn().unwrap() }
    }

    /// Waits until a file has content.
    pub(crate) fn wait_for_file(&self, name: &str) -> String {
        let mut text = String::new();
        wait_until(&format!("{name} (log: {})", self.log()), || {
            text = std::fs::read_to_string(self.file(name)).unwrap_or_default();
            !text.trim().is_empty()
        });
        text.trim().to_owned()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.file("log")).unwrap_or_default()
    }
}

impl Running {
    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// SIGKILL, and waits for the end.
    pub(crate) fn kill(mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// SIGTERM, and answers the exit code.
    pub(crate) fn terminate(mut self) -> Option<i32> {
        let kill = format!("kill -TERM {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Looks again and again until it holds; fails by name after a minute.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !holds() {
        assert!(Instant::now() < deadline, "waited a minute for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A free loopback port.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
