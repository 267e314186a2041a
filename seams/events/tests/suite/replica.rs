//! A forwarder in a process of its own, to be killed and frozen.
//!
//! The chaos of the whole chain (`seams/outbox/tests/suite/chaos.rs`) uses this file too, so it needs nothing of its suite.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use banyan_domain::{ContextName, Epoch, Side};
use banyan_events::broker::QueueOptions;
use banyan_events::forwarder::{
    Forwarder, ForwarderConfig, Owners, OwnersError, PublicPlace, RawPlace,
};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

const SETUP: &str = "BANYAN_TEST_REPLICA";

fn messages() -> ContextName {
    ContextName::new("messages").unwrap()
}

/// What a replica is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Setup {
    pub(crate) raw_url: String,
    pub(crate) public_url: String,
    pub(crate) directory: PathBuf,
    pub(crate) lease_ms: u64,
    pub(crate) classic: bool,
}

impl Setup {
    pub(crate) fn config(&self) -> ForwarderConfig {
        let place = |exchange: &str, queue: &str| {
            let mut place = RawPlace::new(&self.raw_url, exchange, queue);
            if self.classic {
                place.queue_options = QueueOptions::default().classic();
            }
            place
        };
        let public = PublicPlace::new(&self.public_url, "semantic-events");
        let mut config =
            ForwarderConfig::new("replica", self.directory.join("forwarder.db"), public)
                .raw(Side::Legacy, place("raw.legacy", "f.legacy"))
                .raw(Side::New, place("raw.new", "f.new"))
                .context(messages(), &["message.*"]);
        config.lease = Duration::from_millis(self.lease_ms);
        config.retention.late_max = 1_000_000;
        config
    }
}

/// The owner as a file says it: the control store of these tests.
struct FileOwners(PathBuf);

/// Tells every replica who owns the context.
pub(crate) fn tell_owner(directory: &Path, owner: Side, epoch: u64) {
    let next = directory.join("owner.next");
    std::fs::write(&next, format!("{owner} {epoch}")).unwrap();
    std::fs::rename(next, directory.join("owner")).unwrap();
}

#[async_trait]
impl Owners for FileOwners {
    async fn owner(&self, context: &ContextName) -> Result<(Side, Epoch), OwnersError> {
        let told = || {
            let text = std::fs::read_to_string(&self.0).ok()?;
            let (owner, epoch) = text.split_once(' ')?;
            Some((Side::from_word(owner)?, Epoch(epoch.parse().ok()?)))
        };
        let reason = "the file cannot be read".to_owned();
        told().ok_or_else(|| OwnersError { context: context.clone(), reason })
    }
}

/// Not a test: what a replica's process does.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs only as a child process of another test"]
async fn child_forwards() {
    let Ok(setup) = std::env::var(SETUP) else { return };
    let setup: Setup = serde_json::from_str(&setup).unwrap();
    let owners = Arc::new(FileOwners(setup.directory.join("owner")));
    let forwarder = Forwarder::open(setup.config(), owners).await.unwrap();
    forwarder.run(CancellationToken::new()).await;
}

/// A running replica; dropping it kills it.
pub(crate) struct Replica {
    child: Child,
}

impl Replica {
    pub(crate) fn start(setup: &Setup) -> Self {
        Self::of("replica::child_forwards", SETUP, &serde_json::to_string(setup).unwrap())
    }

    /// A process that runs one ignored test of this binary, told by an environment variable.
    pub(crate) fn of(test: &str, variable: &str, setup: &str) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--ignored"])
            .env(variable, setup)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        Self { child }
    }

    /// Sends a signal such as `STOP` or `CONT`.
    pub(crate) fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success(), "{kill}");
    }

    pub(crate) fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.kill();
    }
}
