//! Behaviour of the agent: it follows, it acknowledges, and nothing the store does takes its table away.

use super::*;
use crate::health::StoreHealth;
use crate::instance::Instance;
use crate::shadow::ShadowLimits;
use crate::sqlite::SqliteStore;
use crate::sqlite::tests::world::{World, ann, canary, catalogue, endpoint, flip};
use crate::store::IfMissing;
use crate::sync::SyncWatermark;
use banyan_domain::{Change, Epoch, Phase, Side};
use sqlx::{Connection, SqliteConnection};
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// The longest any wait of these tests may take.
const BOUND: Duration = Duration::from_secs(10);

/// Looks until `seen` says so. A look costs nothing, so this is as fast as what it waits for.
async fn eventually(what: &str, mut seen: impl AsyncFnMut() -> bool) {
    let looking = async {
        while !seen().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(tokio::time::timeout(BOUND, looking).await.is_ok(), "never came: {what}");
}

fn options(world: &World, name: &str) -> AgentOptions {
    AgentOptions {
        poll_ms: 10,
        heartbeat_ms: 20,
        ..AgentOptions::new(name, "proxy", world.folder.path().join(format!("{name}.table")))
    }
}

/// A process of its own: its store handle is not shared with the test.
async fn agent(world: &World, name: &str) -> Agent {
    let store = Arc::new(SqliteStore::attach(&world.url(), world.options()).unwrap());
    Agent::start(store, catalogue(), options(world, name)).await.unwrap()
}

fn phase(agent: &Agent, name: &str) -> Phase {
    let table = agent.table().load_full();
    table.endpoints().iter().find(|e| e.spec.name == endpoint(name)).unwrap().phase
}

async fn health_is(agent: &Agent, store: StoreHealth) {
    eventually(store.as_str(), async || agent.health().load().store == store).await;
}

fn remove(world: &World) {
    for suffix in ["", "-wal", "-shm"] {
        drop(fs::remove_file(format!("{}{suffix}", world.path().display())));
    }
}

#[tokio::test]
async fn an_agent_adopts_follows_and_acknowledges() {
    let world = World::new();
    let (one, two) = (agent(&world, "proxy-1").await, agent(&world, "proxy-2").await);
    assert_eq!((one.generation(), two.generation()), (Generation(1), Generation(1)));
    let cli = world.store().await;
    assert_eq!(cli.audit(10, None).await.unwrap()[0].actor, "serve");
    eventually("both alive", async || cli.instances().await.unwrap().len() == 2).await;

    let shadow = flip("messages.list", Phase::Shadow);
    let done = cli.commit(&catalogue(), &shadow, None, &ann()).await.unwrap();
    let applied = cli.wait_applied(done.table.generation, BOUND).await.unwrap();
    assert_eq!((applied.applied, applied.of), (2, 2), "{applied}");
    assert!(applied.elapsed_ms < 2_000, "{applied}");
    assert_eq!(phase(&one, "messages.list"), Phase::Shadow);
    assert_eq!(phase(&two, "messages.list"), Phase::Shadow);
    assert_eq!(*two.raw_table().load_full(), done.table);

    two.stop().await;
    let names: Vec<_> = cli.instances().await.unwrap();
    assert_eq!(names.len(), 1, "who stops in good order is not waited for");
}

#[tokio::test]
async fn an_acknowledged_table_survives_a_restart_without_the_store() {
    let world = World::new();
    let cli = world.store().await;
    let first = agent(&world, "proxy-1").await;
    let shadow = flip("messages.list", Phase::Shadow);
    let done = cli.commit(&catalogue(), &shadow, None, &ann()).await.unwrap();
    assert!(cli.wait_applied(done.table.generation, BOUND).await.unwrap().is_complete());
    drop(first);
    remove(&world);

    let away = StoreOptions { missing: IfMissing::Fail, ..world.options() };
    let store = Arc::new(SqliteStore::attach(&world.url(), away).unwrap());
    let second = Agent::start(store, catalogue(), options(&world, "proxy-1")).await.unwrap();
    assert_eq!(second.health().load().store, StoreHealth::Away);
    assert_eq!(second.generation(), Generation(2));
    assert_eq!(phase(&second, "messages.list"), Phase::Shadow);
}

#[tokio::test]
async fn without_store_and_file_an_agent_starts_in_the_declared_phases() {
    let world = World::new();
    let store = Arc::new(SqliteStore::attach(&world.url(), world.must_exist()).unwrap());
    let mut declared = catalogue();
    declared.contexts[0].endpoints[0].start = Phase::Shadow;
    let path = options(&world, "proxy-1").snapshot_path;
    fs::write(path, "torn {").unwrap();
    let agent = Agent::start(store, declared, options(&world, "proxy-1")).await.unwrap();
    assert_eq!(agent.generation(), Generation(0));
    assert_eq!(phase(&agent, "messages.list"), Phase::Shadow);
    assert_eq!(phase(&agent, "messages.show"), Phase::Legacy);
    // The store appears: what is declared is adopted, with the declared starting phase.
    drop(world.store().await);
    eventually("adopted", async || agent.generation() == Generation(1)).await;
    assert_eq!(phase(&agent, "messages.list"), Phase::Shadow);
}

#[tokio::test]
async fn a_locked_store_takes_nothing_away() {
    let world = World::new();
    let quick = StoreOptions { busy_timeout_ms: 30, ..world.options() };
    let store = Arc::new(SqliteStore::open_with(&world.url(), quick).await.unwrap());
    let agent = Agent::start(store.clone(), catalogue(), options(&world, "p")).await.unwrap();
    let mut other = SqliteConnection::connect(&world.url()).await.unwrap();
    sqlx::query("BEGIN EXCLUSIVE").execute(&mut other).await.unwrap();
    eventually("a refused write", async || {
        store.commit(&catalogue(), &Change::Freeze, None, &ann()).await.is_err()
    })
    .await;
    assert_eq!(phase(&agent, "messages.list"), Phase::Legacy);
    assert_eq!(agent.generation(), Generation(1));
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    let shadow = flip("messages.list", Phase::Shadow);
    let done = store.commit(&catalogue(), &shadow, None, &ann()).await.unwrap();
    assert!(store.wait_applied(done.table.generation, BOUND).await.unwrap().is_complete());
    assert_eq!(agent.health().load().store, StoreHealth::Ok);
}

#[tokio::test]
async fn a_deleted_store_gets_its_table_back_from_a_running_agent() {
    let world = World::new();
    let agent = agent(&world, "proxy-1").await;
    let cli = world.store().await;
    let shadow = flip("messages.list", Phase::Shadow);
    cli.commit(&catalogue(), &shadow, None, &ann()).await.unwrap();
    eventually("applied", async || agent.generation() == Generation(2)).await;
    remove(&world);
    health_is(&agent, StoreHealth::Away).await;
    assert_eq!(phase(&agent, "messages.list"), Phase::Shadow);

    // A new, empty file appears, as a restarted `serve` makes it.
    let fresh = world.store().await;
    health_is(&agent, StoreHealth::Ok).await;
    assert_eq!(fresh.generation().await.unwrap(), Generation(2));
    assert_eq!(fresh.audit(10, None).await.unwrap().last().unwrap().action, "restore");
    let back = flip("messages.list", Phase::Legacy);
    fresh.commit(&catalogue(), &back, Some(Generation(2)), &ann()).await.unwrap();
    eventually("follows again", async || agent.generation() == Generation(3)).await;
}

#[tokio::test]
async fn a_corrupt_store_takes_nothing_away() {
    let world = World::new();
    let agent = agent(&world, "proxy-1").await;
    remove(&world);
    fs::write(world.path(), "garbage ".repeat(2_000)).unwrap();
    health_is(&agent, StoreHealth::Away).await;
    eventually("named", async || agent.health().load().detail.contains("damaged")).await;
    assert_eq!(agent.generation(), Generation(1));
    assert_eq!(phase(&agent, "messages.list"), Phase::Legacy);
}

#[tokio::test]
async fn an_agent_never_goes_back_to_an_older_generation() {
    let world = World::new();
    let agent = agent(&world, "proxy-1").await;
    let cli = world.store().await;
    for to in [Phase::Shadow, canary(10)] {
        cli.commit(&catalogue(), &flip("messages.list", to), None, &ann()).await.unwrap();
    }
    eventually("applied", async || agent.generation() == Generation(3)).await;
    // Somebody puts an old backup in place: a live history, but a shorter one.
    let elsewhere = World::new();
    let old = elsewhere.store().await;
    for change in [Change::Adopt, Change::Freeze] {
        old.commit(&catalogue(), &change, None, &ann()).await.unwrap();
    }
    let mut file = SqliteConnection::connect(&elsewhere.url()).await.unwrap();
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut file).await.unwrap();
    remove(&world);
    fs::copy(elsewhere.path(), world.folder.path().join("backup")).unwrap();
    fs::rename(world.folder.path().join("backup"), world.path()).unwrap();

    health_is(&agent, StoreHealth::Behind).await;
    assert_eq!(agent.generation(), Generation(3));
    assert_eq!(phase(&agent, "messages.list"), canary(10));
    let detail = agent.health().load().detail.clone();
    assert!(detail.contains("proxy-1.table"), "the remedy names the file: {detail}");
    let backup = world.store().await;
    assert_eq!(backup.generation().await.unwrap(), Generation(2), "no live history is replaced");
    eventually("heard", async || !backup.instances().await.unwrap().is_empty()).await;
    let waited = backup.wait_applied(Generation(2), Duration::from_millis(30)).await.unwrap();
    assert_eq!(waited.missing, ["proxy-1"], "its acknowledgement does not count");
}

#[tokio::test]
async fn a_table_that_knows_more_than_the_file_declares_is_fine() {
    let world = World::new();
    let mut more = catalogue();
    let mut extra = more.contexts[0].endpoints[0].clone();
    extra.name = endpoint("messages.archive");
    extra.path = banyan_domain::PathTemplate::new("/archive").unwrap();
    more.contexts[0].endpoints.push(extra);
    let cli = world.store().await;
    cli.commit(&more, &Change::Adopt, None, &ann()).await.unwrap();
    let agent = agent(&world, "proxy-1").await;
    assert_eq!(agent.generation(), Generation(1));
    assert_eq!(agent.table().load().endpoints().len(), 3);
    assert!(agent.raw_table().load().endpoints.contains_key(&endpoint("messages.archive")));

    agent.redeclare(more).await.unwrap();
    assert_eq!(agent.table().load().endpoints().len(), 4);
}

#[tokio::test]
async fn a_contradicting_declaration_is_refused_and_the_old_one_stays() {
    let world = World::new();
    let agent = agent(&world, "proxy-1").await;
    let mut twice = catalogue();
    let mut copy = twice.contexts[0].endpoints[0].clone();
    copy.name = endpoint("messages.copy");
    twice.contexts[0].endpoints.push(copy);
    let error = agent.redeclare(twice.clone()).await.unwrap_err();
    assert!(error.to_string().contains("messages.copy"), "{error}");
    assert_eq!(agent.table().load().endpoints().len(), 3);
    let store = Arc::new(world.store().await);
    assert!(Agent::start(store, twice, options(&world, "q")).await.is_err());
}

#[tokio::test]
async fn a_fail_static_file_that_cannot_be_written_stops_nothing() {
    let world = World::new();
    let blocked = world.folder.path().join("file");
    fs::write(&blocked, "").unwrap();
    let options = AgentOptions { snapshot_path: blocked.join("x"), ..options(&world, "proxy-1") };
    let store = Arc::new(world.store().await);
    let agent = Agent::start(store.clone(), catalogue(), options).await.unwrap();
    assert_eq!(agent.generation(), Generation(1));
    let waited = store.wait_applied(Generation(1), BOUND).await.unwrap();
    assert!(waited.is_complete());
}

fn messages() -> ContextName {
    ContextName::new("messages").unwrap()
}

/// An agent with the usual times of a proxy, so that only the armed ones are short, and so many writes of `messages` on
/// their way.
async fn proxy(world: &World, writes: &Arc<AtomicU64>) -> Agent {
    let counted = writes.clone();
    let options = AgentOptions {
        poll_ms: 100,
        heartbeat_ms: 500,
        in_flight: Arc::new(move || BTreeMap::from([(messages(), counted.load(Ordering::SeqCst))])),
        ..options(world, "proxy-1")
    };
    let store = Arc::new(SqliteStore::attach(&world.url(), world.options()).unwrap());
    Agent::start(store, catalogue(), options).await.unwrap()
}

/// Commits a change and waits until it is acknowledged.
async fn acknowledged(cli: &SqliteStore, change: &Change) -> Generation {
    let done = cli.commit(&catalogue(), change, None, &ann()).await.unwrap();
    let waited = cli.wait_applied(done.table.generation, BOUND).await.unwrap();
    assert!(waited.is_complete(), "{waited}");
    done.table.generation
}

/// The only instance, as the store knows it.
async fn only(cli: &SqliteStore) -> Instance {
    let mut all = cli.instances().await.unwrap();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

#[tokio::test]
async fn a_hold_is_acknowledged_with_the_writes_on_their_way_within_tens_of_milliseconds() {
    let world = World::new();
    let writes = Arc::new(AtomicU64::new(2));
    let agent = proxy(&world, &writes).await;
    let cli = world.store().await;
    acknowledged(&cli, &Change::Arm { context: messages(), epoch: Epoch(2) }).await;
    let held = acknowledged(&cli, &Change::Hold { context: messages(), epoch: Epoch(2) }).await;
    let report = only(&cli).await.report;
    assert_eq!((report.applied, report.in_flight_writes), (held, 2));
    assert_eq!(report.in_flight[&messages()], 2);
    writes.store(0, Ordering::SeqCst);
    let since = Instant::now();
    eventually("drained", async || only(&cli).await.report.in_flight_writes == 0).await;
    // Half of the usual time between heartbeats: only the armed times are as short.
    assert!(since.elapsed() < Duration::from_millis(250), "{:?}", since.elapsed());
    assert!((agent.silence())() < Duration::from_secs(1));
}

#[tokio::test]
async fn while_clients_are_held_a_heartbeat_without_news_is_left_out_for_a_moment() {
    let world = World::new();
    let writes = Arc::new(AtomicU64::new(0));
    let agent = proxy(&world, &writes).await;
    let cli = world.store().await;
    acknowledged(&cli, &Change::Arm { context: messages(), epoch: Epoch(2) }).await;
    acknowledged(&cli, &Change::Hold { context: messages(), epoch: Epoch(2) }).await;
    let since = Instant::now();
    for _ in 0..4 {
        // The store's clock stands still otherwise: the age is 0 again with the next heartbeat.
        world.pass(1);
        eventually("said again", async || only(&cli).await.age_ms == 0).await;
    }
    // It is looked for news each 15 ms.
    assert!(since.elapsed() > Duration::from_millis(600), "{:?}", since.elapsed());
    assert!((agent.silence())() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_process_without_the_store_is_silent_from_its_start_and_heard_when_the_store_comes() {
    let world = World::new();
    let cli = world.store().await;
    let first = agent(&world, "proxy-1").await;
    let silence = first.silence();
    assert!(silence() < Duration::from_secs(5));
    let arm = Change::Arm { context: messages(), epoch: Epoch(2) };
    let armed = cli.commit(&catalogue(), &arm, None, &ann()).await.unwrap().table.generation;
    assert!(cli.wait_applied(armed, BOUND).await.unwrap().is_complete());
    first.stop().await;
    let aside = world.folder.path().join("aside");
    fs::create_dir(&aside).unwrap();
    let move_all = |from: &std::path::Path, to: &std::path::Path| {
        for name in ["control.db", "control.db-wal", "control.db-shm"] {
            drop(fs::rename(from.join(name), to.join(name)));
        }
    };
    drop(cli);
    move_all(world.folder.path(), &aside);

    let store = Arc::new(SqliteStore::attach(&world.url(), world.must_exist()).unwrap());
    let second = Agent::start(store, catalogue(), options(&world, "proxy-1")).await.unwrap();
    assert_eq!(second.raw_table().load().contexts[&messages()].armed, Some(Epoch(2)));
    let silence = second.silence();
    assert_eq!(silence(), Duration::MAX, "an armed table from the file counts as cut off");
    move_all(&aside, world.folder.path());
    eventually("heard again", async || silence() < Duration::from_secs(5)).await;
}

fn mark(job: &str, to: Side, watermark_ms: u64) -> SyncWatermark {
    SyncWatermark {
        job: job.to_owned(),
        context: ContextName::new("messages").unwrap(),
        to,
        watermark_ms,
        lag_ms: 0,
        pending: 0,
        state: "following".to_owned(),
        detail: String::new(),
        at_ms: 0,
    }
}

#[tokio::test]
async fn the_watermark_of_a_context_is_the_lowest_of_its_jobs_away_from_the_owner() {
    let world = World::new();
    let agent = agent(&world, "proxy-1").await;
    let sync = world.store().await;
    for mark in [mark("a", Side::New, 70), mark("b", Side::New, 50), mark("c", Side::Legacy, 3)] {
        sync.put_watermark(&mark).await.unwrap();
    }
    let messages = ContextName::new("messages").unwrap();
    eventually("the lowest", async || agent.watermarks().load().get(&messages) == Some(&50)).await;

    let mut table = agent.raw_table().load().as_ref().clone();
    let state = table.contexts.get_mut(&messages).unwrap();
    (state.owner, state.epoch) = (Side::New, Epoch(2));
    let after = follow::lowest(&[mark("a", Side::New, 70), mark("c", Side::Legacy, 3)], &table);
    assert_eq!(after.get(&messages), Some(&3), "after a cutover the other direction counts");
}

#[tokio::test]
async fn heavy_recording_does_not_hold_back_a_flip() {
    let world = World::new();
    let shadow = ShadowLimits { fingerprints_per_endpoint: 500, ..ShadowLimits::default() };
    let busy = world.store_with(StoreOptions { shadow, ..world.options() }).await;
    let agent = agent(&world, "proxy-1").await;
    let recording = tokio::spawn(async move {
        for round in 0..20_u64 {
            let fingerprints = (0..500).map(|n| crate::shadow::Fingerprint {
                endpoint: endpoint("messages.list"),
                fingerprint: round * 1_000 + n,
                at_ms: n,
                mismatched: false,
            });
            let fingerprints = fingerprints.collect();
            let batch = crate::ShadowBatch { fingerprints, ..crate::ShadowBatch::default() };
            busy.record_shadow(&batch).await.unwrap();
        }
    });
    let cli = world.store().await;
    for step in 0..6 {
        let to = if step % 2 == 0 { Phase::Shadow } else { Phase::Legacy };
        let change = flip("messages.list", to);
        let done = cli.commit(&catalogue(), &change, None, &ann()).await.unwrap();
        let waited = cli.wait_applied(done.table.generation, BOUND).await.unwrap();
        assert!(waited.is_complete(), "{waited}");
    }
    recording.await.unwrap();
    assert_eq!(agent.generation(), Generation(7));
}
