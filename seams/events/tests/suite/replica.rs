//! A forwarder in a process of its own, to be killed and frozen, and a wire to the broker that can be cut.

use std::net::SocketAddr;
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
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::stage::messages;

const SETUP: &str = "BANYAN_TEST_REPLICA";

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
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["replica::child_forwards", "--exact", "--ignored"])
            .env(SETUP, serde_json::to_string(setup).unwrap())
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

/// A TCP hop to a port, whose connections can be cut.
pub(crate) struct Wire {
    pub(crate) port: u16,
    cut: watch::Sender<u64>,
    task: tokio::task::JoinHandle<()>,
}

impl Wire {
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let cut = watch::Sender::new(0);
        let cuts = cut.subscribe();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, ([127, 0, 0, 1], port).into(), cuts.clone()));
            }
        });
        Self { port: own, cut, task }
    }

    /// Drops every connection in the middle of whatever it carries.
    pub(crate) fn cut(&self) {
        self.cut.send_modify(|cuts| *cuts += 1);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(mut client: TcpStream, to: SocketAddr, mut cuts: watch::Receiver<u64>) {
    cuts.mark_unchanged();
    let Ok(mut server) = TcpStream::connect(to).await else { return };
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
        _ = cuts.changed() => {}
    }
}
