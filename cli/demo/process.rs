//! Child processes of the demo: long-lived parts and short commands, all of them this same binary.
//!
//! What must stay true: no child outlives the demo, and each part's output is in a log file of its own.

use crate::exit::Exit;
use crate::failure::Failure;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

/// A long-lived part.
pub(crate) struct Part {
    name: String,
    child: Child,
    log: PathBuf,
}

/// What a short command said.
pub(crate) struct Answer {
    pub(crate) typed: String,
    pub(crate) exit: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Starts and runs things in one folder.
#[derive(Debug, Clone)]
pub(crate) struct Launcher {
    pub(crate) program: PathBuf,
    pub(crate) folder: PathBuf,
}

pub(crate) fn trouble(what: impl Into<String>) -> Failure {
    Failure::new("banyan::demo::trouble", Exit::Unreachable, what).hint(
        "the logs of every part are in the demo's folder; try again, or with --dir DIR to keep it",
    )
}

impl Launcher {
    /// A launcher for this binary.
    pub(crate) fn new(folder: &Path) -> Result<Self, Failure> {
        let program = std::env::current_exe()
            .map_err(|error| trouble("cannot find this program").because(error.to_string()))?;
        Ok(Self { program, folder: folder.to_owned() })
    }

    fn command(&self, arguments: &[String]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).current_dir(&self.folder).stdin(Stdio::null()).kill_on_drop(true);
        command.env_remove("BANYAN_CONFIG");
        command
    }

    /// Starts a part; stdout and stderr go to `NAME.log`, or stdout to `NAME.out` when it is wanted.
    pub(crate) fn start(&self, name: &str, arguments: &[String]) -> Result<Part, Failure> {
        let log = self.folder.join(format!("{name}.log"));
        let open = |path: &Path| {
            std::fs::OpenOptions::new().create(true).append(true).open(path).map_err(|error| {
                trouble(format!("cannot write `{}`", path.display())).because(error.to_string())
            })
        };
        let mut command = self.command(arguments);
        command.stdout(open(&self.folder.join(format!("{name}.out")))?).stderr(open(&log)?);
        // Its own process group: a Ctrl-C reaches the demo alone, which then stops the parts in order.
        command.process_group(0);
        let child = command.spawn().map_err(|error| {
            trouble(format!("cannot start the {name}")).because(error.to_string())
        })?;
        Ok(Part { name: name.to_owned(), child, log })
    }

    /// Runs a command to its end, as a user would.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Result<Answer, Failure> {
        let owned: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let output = self
            .command(&owned)
            .output()
            .await
            .map_err(|error| trouble("cannot run a command").because(error.to_string()))?;
        let quote =
            |word: &&str| if word.contains(' ') { format!("'{word}'") } else { (*word).to_owned() };
        Ok(Answer {
            typed: arguments.iter().map(quote).collect::<Vec<_>>().join(" "),
            exit: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs a command that must end with `exit`.
    pub(crate) async fn expect(&self, arguments: &[&str], exit: i32) -> Result<Answer, Failure> {
        self.run(arguments).await?.expected(exit)
    }
}

impl Answer {
    /// This answer, if the command ended with `exit`.
    pub(crate) fn expected(self, exit: i32) -> Result<Self, Failure> {
        if self.exit == exit {
            return Ok(self);
        }
        Err(trouble(format!(
            "`banyan {}` ended with exit {}, expected {exit}",
            self.typed, self.exit
        ))
        .because(format!("{}{}", self.stdout.trim(), self.stderr.trim())))
    }
}

impl Part {
    /// Waits until the part wrote its ready file, and answers its content.
    pub(crate) async fn ready(&mut self, file: &Path, patience_s: u64) -> Result<String, Failure> {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(patience_s);
        loop {
            if let Ok(text) = std::fs::read_to_string(file)
                && !text.trim().is_empty()
            {
                return Ok(text.trim().to_owned());
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(trouble(format!("the {} ended early ({status})", self.name))
                    .because(self.last_words()));
            }
            if tokio::time::Instant::now() > deadline {
                return Err(trouble(format!(
                    "the {} was not ready within {patience_s} s",
                    self.name
                ))
                .because(self.last_words()));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Fails if the part has ended by itself.
    pub(crate) fn check_alive(&mut self) -> Result<(), Failure> {
        match self.child.try_wait() {
            Ok(Some(status)) => {
                Err(trouble(format!("the {} ended by itself ({status})", self.name))
                    .because(self.last_words()))
            }
            Ok(None) | Err(_) => Ok(()),
        }
    }

    fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines.iter().rev().take(3).rev().copied().collect::<Vec<_>>().join(" | ")
    }

    /// SIGTERM, then waits; after `patience` it is killed.
    pub(crate) async fn stop(mut self, patience: Duration) {
        if let Some(id) = self.child.id() {
            // The shell's own `kill`: the program of that name is not on every machine.
            let mut kill = Command::new("sh");
            kill.args(["-c", &format!("kill -TERM {id}")]).stderr(Stdio::null());
            drop(kill.status().await);
        }
        if tokio::time::timeout(patience, self.child.wait()).await.is_err() {
            drop(self.child.kill().await);
        }
    }
}
