//! The hold as a coordinator sees it: a proxy with a real agent on a real control store.

use crate::support::{FakeSide, PATIENCE, catalogue, context, from, until};
use banyan_control::audit::actor;
use banyan_control::store::{IfMissing, StoreOptions};
use banyan_control::{Agent, AgentOptions, ControlStore, SqliteStore};
use banyan_domain::{Change, Epoch, Generation, Side};
use banyan_proxy::{Listen, Live, Proxy, ProxyConfig, Upstream, Writes};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// A proxy, its agent and the store they share with a coordinator.
struct Fleet {
    folder: TempDir,
    legacy: FakeSide,
    new: FakeSide,
    store: SqliteStore,
    agent: Agent,
    address: SocketAddr,
    writes: Writes,
    stop: CancellationToken,
    client: reqwest::Client,
}

fn options(folder: &TempDir, writes: &Arc<OnceLock<Writes>>) -> AgentOptions {
    let counted = writes.clone();
    AgentOptions {
        store_timeout_ms: 300,
        in_flight: Arc::new(move || counted.get().map(Writes::by_context).unwrap_or_default()),
        ..AgentOptions::new("proxy-1", "proxy", folder.path().join("table"))
    }
}

impl Fleet {
    async fn start(edit: impl FnOnce(&mut ProxyConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (legacy, new) = (FakeSide::start(Side::Legacy).await, FakeSide::start(Side::New).await);
        let url = format!("sqlite:{}", folder.path().join("control.db").display());
        let store = SqliteStore::open_with(&url, StoreOptions::default()).await.unwrap();
        let here = StoreOptions { missing: IfMissing::Fail, ..StoreOptions::default() };
        let attached = Arc::new(SqliteStore::attach(&url, here).unwrap());
        let slot: Arc<OnceLock<Writes>> = Arc::default();
        let agent = Agent::start(attached, catalogue(), options(&folder, &slot)).await.unwrap();
        let mut config = ProxyConfig {
            listen: vec![Listen::clear("127.0.0.1:0")],
            legacy: Upstream::new(&legacy.address.to_string()),
            new: BTreeMap::from([(context(), Upstream::new(&new.address.to_string()))]),
            threads: 2,
            ..ProxyConfig::default()
        };
        edit(&mut config);
        let live =
            Live { table: agent.table(), watermarks: agent.watermarks(), silence: agent.silence() };
        let proxy = Proxy::bind(config, live, None).unwrap();
        let (address, writes) = (proxy.addresses()[0], proxy.writes());
        assert!(slot.set(writes.clone()).is_ok());
        let stop = CancellationToken::new();
        tokio::spawn(proxy.run(stop.clone()));
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        Self { folder, legacy, new, store, agent, address, writes, stop, client }
    }

    async fn commit(&self, change: Change) -> Generation {
        let by = actor("coordinator", "a test", 1);
        let done = self.store.commit(&catalogue(), &change, None, &by).await.unwrap();
        done.table.generation
    }

    async fn arm(&self, epoch: u64) {
        let generation = self.commit(Change::Arm { context: context(), epoch: Epoch(epoch) }).await;
        let applied = self.store.wait_applied(generation, PATIENCE).await.unwrap();
        assert!(applied.is_complete() && applied.of == 1, "{applied}");
    }

    /// Waits as a coordinator does: every living proxy holds, and has no write of the context on its way.
    async fn drained(&self, held: Generation) {
        let applied = self.store.wait_applied(held, PATIENCE).await.unwrap();
        assert!(applied.is_complete() && applied.of == 1, "{applied}");
        let wait = async {
            loop {
                let all = self.store.instances().await.unwrap();
                assert!(
                    all.iter().all(|instance| instance.live && instance.report.applied >= held)
                );
                if all.iter().all(|instance| !instance.report.in_flight.contains_key(&context())) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "writes stay on their way");
    }

    async fn move_to(&self, to: Side, epoch: u64) {
        let change = Change::MoveOwner { context: context(), to, epoch: Epoch(epoch) };
        let generation = self.commit(change).await;
        assert!(self.store.wait_applied(generation, PATIENCE).await.unwrap().is_complete());
    }

    async fn write(&self, body: String) -> reqwest::Response {
        let url = format!("http://{}/messages", self.address);
        self.client.post(url).body(body).send().await.unwrap()
    }

    /// Takes the store away, or gives it back.
    fn rename(&self, from: &str, to: &str) {
        for suffix in ["", "-wal", "-shm"] {
            let path = |name: &str| self.folder.path().join(format!("{name}{suffix}"));
            drop(std::fs::rename(path(from), path(to)));
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_every_switch_drains_within_moments_and_no_request_fails() {
    let fleet = Arc::new(Fleet::start(|_| {}).await);
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|client| {
            let (fleet, stop) = (fleet.clone(), stop.clone());
            tokio::spawn(async move {
                let mut sent = 0;
                while !stop.load(Ordering::SeqCst) {
                    let answer = fleet.write(format!("{client}-{sent}")).await;
                    assert_eq!(answer.status(), 200);
                    sent += 1;
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                sent
            })
        })
        .collect();
    let mut holds = Vec::new();
    for epoch in 2..12 {
        let to = if epoch % 2 == 0 { Side::New } else { Side::Legacy };
        let left = if epoch % 2 == 0 { &fleet.legacy } else { &fleet.new };
        fleet.arm(epoch).await;
        let since = Instant::now();
        let held = fleet.commit(Change::Hold { context: context(), epoch: Epoch(epoch) }).await;
        fleet.drained(held).await;
        let before = left.count();
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert_eq!(left.count(), before, "epoch {epoch}: a write after the drain");
        fleet.move_to(to, epoch).await;
        holds.push(since.elapsed());
    }
    stop.store(true, Ordering::SeqCst);
    let mut sent = 0;
    for client in clients {
        sent += client.await.unwrap();
    }
    let seen = [fleet.legacy.seen(), fleet.new.seen()].concat();
    let mut bodies: Vec<_> = seen.iter().map(|seen| seen.body.clone()).collect();
    bodies.sort();
    bodies.dedup();
    assert_eq!((bodies.len(), seen.len()), (sent, sent), "each write once");
    holds.sort();
    println!("holds of 10 switches: p50 {:?}, longest {:?}", holds[4], holds[9]);
    // The goal is 250 ms on a machine of its own; one that compiles beside the test must not fail it.
    assert!(holds[4] < Duration::from_secs(1), "{holds:?}");
}

#[tokio::test]
async fn a_partitioned_proxy_stops_an_armed_context_and_goes_on_by_the_newest_table() {
    let fleet = Fleet::start(|config| {
        // Well above the time for which an agent does not repeat itself.
        config.hold.lease_ms = 600;
        config.hold.wait_max_ms = 4_000;
    })
    .await;
    // Not armed: nothing changes.
    fleet.rename("control.db", "away.db");
    let silence = fleet.agent.silence();
    let (lease, longer) = (Duration::from_millis(600), Duration::from_millis(650));
    until("it still hears the store", || silence() > longer).await;
    assert_eq!(from(&fleet.write("unarmed".to_owned()).await), "legacy");
    fleet.rename("away.db", "control.db");
    until("it does not hear the store", || silence() < lease).await;

    fleet.arm(2).await;
    fleet.rename("control.db", "away.db");
    until("it still hears the store", || silence() > longer).await;
    let (held, released) = tokio::join!(fleet.write("held".to_owned()), async {
        let waits = || fleet.writes.waiting().contains_key(&context());
        until("nothing waits", waits).await;
        assert_eq!(fleet.legacy.count(), 1);
        fleet.rename("away.db", "control.db");
    });
    assert_eq!((from(&held), released), ("legacy".to_owned(), ()));

    // The coordinator goes on while the proxy is away; afterwards only the newest table counts.
    fleet.rename("control.db", "away.db");
    until("it still hears the store", || silence() > longer).await;
    let (held, ()) = tokio::join!(fleet.write("moved".to_owned()), async {
        let waits = || fleet.writes.waiting().contains_key(&context());
        until("nothing waits", waits).await;
        let url = format!("sqlite:{}", fleet.folder.path().join("away.db").display());
        let elsewhere = SqliteStore::open_with(&url, StoreOptions::default()).await.unwrap();
        let change = Change::MoveOwner { context: context(), to: Side::New, epoch: Epoch(2) };
        let by = actor("coordinator", "a test", 2);
        elsewhere.commit(&catalogue(), &change, None, &by).await.unwrap();
        drop(elsewhere);
        fleet.rename("away.db", "control.db");
    });
    assert_eq!(from(&held), "new");
}
