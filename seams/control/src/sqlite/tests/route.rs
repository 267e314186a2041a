use super::world::{World, ann, canary, catalogue, flip, report};
use crate::audit::{AuditOutcome, actor};
use crate::error::{CommitError, ControlError};
use crate::sqlite::path_of;
use crate::store::ControlStore;
use banyan_domain::{Change, Generation, Phase, Refusal};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

#[tokio::test]
async fn a_change_makes_the_next_generation_and_an_audit_row() {
    let world = World::new();
    let store = world.store().await;
    assert_eq!(store.table().await.unwrap().generation, Generation(0));
    let catalogue = catalogue();
    store.commit(&catalogue, &Change::Adopt, None, &ann()).await.unwrap();
    let shadow = flip("messages.list", Phase::Shadow);
    let done = store.commit(&catalogue, &shadow, Some(Generation(1)), &ann()).await.unwrap();
    assert_eq!(done.table.generation, Generation(2));
    assert_eq!(store.table().await.unwrap(), done.table);

    let audit = store.audit(10, None).await.unwrap();
    assert_eq!(audit.len(), 2);
    assert_eq!(audit[0].detail, "messages.list: legacy -> shadow");
    assert_eq!((audit[0].before, audit[0].after), (Generation(1), Generation(2)));
    assert_eq!((audit[0].actor.as_str(), audit[0].reason.as_str()), ("ann", "week 2"));
    let generations = store.generations(1).await.unwrap();
    assert_eq!(
        (generations[0].generation, generations[0].action.as_str()),
        (Generation(2), "flip")
    );
}

#[tokio::test]
async fn of_two_committers_that_saw_the_same_generation_exactly_one_wins() {
    let world = World::new();
    let catalogue = Arc::new(catalogue());
    let setup = world.store().await;
    setup.commit(&catalogue, &Change::Adopt, None, &ann()).await.unwrap();
    for round in 0..5_u64 {
        let current = setup.generation().await.unwrap();
        let mut tries = JoinSet::new();
        for name in ["messages.list", "messages.show"] {
            // Two processes: each its own store on the same file.
            let (store, catalogue) = (world.store().await, catalogue.clone());
            let to = if round % 2 == 0 { Phase::Shadow } else { Phase::Legacy };
            let other = if round % 2 == 0 { Phase::Legacy } else { Phase::Shadow };
            tries.spawn(async move {
                let now = store.table().await.unwrap();
                let from = now.endpoints[&super::world::endpoint(name)].phase;
                let to = if from == to { other } else { to };
                store.commit(&catalogue, &flip(name, to), Some(current), &ann()).await
            });
        }
        let results = tries.join_all().await;
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
        let stale = results.iter().any(|result| {
            matches!(result, Err(CommitError::Stale { expected, by, .. }) if *expected == current && by == "ann")
        });
        assert!(stale, "{results:?}");
        assert_eq!(setup.generation().await.unwrap(), current.next());
    }
}

#[tokio::test]
async fn concurrent_commits_without_expectation_all_land_on_contiguous_generations() {
    const EACH: u64 = 6;
    let world = World::new();
    let catalogue = Arc::new(catalogue());
    let store = world.store().await;
    store.commit(&catalogue, &Change::Adopt, None, &ann()).await.unwrap();
    let mut tries = JoinSet::new();
    for name in ["messages.list", "messages.show"] {
        let (store, catalogue) = (world.store().await, catalogue.clone());
        tries.spawn(async move {
            let mut made = Vec::new();
            for step in 0..EACH {
                let to = if step % 2 == 0 { Phase::Shadow } else { Phase::Legacy };
                let done = store.commit(&catalogue, &flip(name, to), None, &ann()).await.unwrap();
                made.push(done.table.generation.0);
            }
            made
        });
    }
    let mut made: Vec<u64> = tries.join_all().await.concat();
    made.sort_unstable();
    assert_eq!(made, (2..2 + 2 * EACH).collect::<Vec<_>>());
    let audit = store.audit(100, None).await.unwrap();
    assert_eq!(audit.iter().filter(|e| e.outcome == AuditOutcome::Done).count(), made.len() + 1);
    assert!(audit.windows(2).all(|pair| pair[0].before == pair[1].after));
}

#[tokio::test]
async fn refused_and_stale_tries_change_nothing_and_are_audited() {
    let world = World::new();
    let store = world.store().await;
    let catalogue = catalogue();
    store.commit(&catalogue, &Change::Adopt, None, &ann()).await.unwrap();
    let before = store.table().await.unwrap();
    let skip = flip("messages.list", Phase::New);
    let refused = store.commit(&catalogue, &skip, None, &ann()).await.unwrap_err();
    assert!(matches!(refused, CommitError::Refused(Refusal::IllegalTransition { .. })));
    let write = flip("messages.create", Phase::Shadow);
    let error = store.commit(&catalogue, &write, None, &ann()).await.unwrap_err();
    assert_eq!(error.code(), "banyan::flip::write_endpoint");
    let good = flip("messages.list", Phase::Shadow);
    let stale = store.commit(&catalogue, &good, Some(Generation(0)), &ann()).await.unwrap_err();
    assert!(matches!(stale, CommitError::Stale { current: Generation(1), .. }), "{stale}");

    assert_eq!(store.table().await.unwrap(), before);
    let audit = store.audit(3, None).await.unwrap();
    let outcomes: Vec<_> = audit.iter().map(|entry| entry.outcome.as_str()).collect();
    assert_eq!(outcomes, ["stale", "refused", "refused"]);
    assert!(audit.iter().all(|entry| entry.before == entry.after));
    assert!(audit[0].detail.starts_with("messages.list -> shadow"), "{}", audit[0].detail);
}

#[tokio::test]
async fn a_change_that_is_already_so_makes_no_generation() {
    let world = World::new();
    let store = world.store().await;
    let catalogue = catalogue();
    for _ in 0..3 {
        store.commit(&catalogue, &Change::Adopt, None, &ann()).await.unwrap();
    }
    assert_eq!(store.audit(10, None).await.unwrap().len(), 1, "an idle adoption leaves no row");
    let same = flip("messages.list", Phase::Legacy);
    assert!(!store.commit(&catalogue, &same, None, &ann()).await.unwrap().effect.changed);
    assert_eq!(store.generation().await.unwrap(), Generation(1));
    let audit = store.audit(1, None).await.unwrap();
    assert_eq!(audit[0].detail, "messages.list -> legacy: already so");
}

#[tokio::test]
async fn a_freeze_stops_forward_flips_and_no_rollback() {
    let world = World::new();
    let store = world.store().await;
    let catalogue = catalogue();
    for change in [Change::Adopt, flip("messages.list", Phase::Shadow), Change::Freeze] {
        store.commit(&catalogue, &change, None, &ann()).await.unwrap();
    }
    let forward = flip("messages.list", canary(10));
    let error = store.commit(&catalogue, &forward, None, &ann()).await.unwrap_err();
    assert_eq!(error.code(), "banyan::flip::frozen");
    let context = catalogue.contexts[0].name.clone();
    let back = Change::RollbackContext { context };
    let done = store.commit(&catalogue, &back, None, &ann()).await.unwrap();
    assert_eq!(done.effect.moved.len(), 1);
}

#[tokio::test]
async fn the_audit_cannot_be_rewritten_even_with_sql() {
    let world = World::new();
    let store = world.store().await;
    store.commit(&catalogue(), &Change::Adopt, None, &ann()).await.unwrap();
    let pools = store.file.pools().await.unwrap();
    for statement in ["DELETE FROM audit", "UPDATE audit SET actor = 'nobody'"] {
        let error = sqlx::query(statement).execute(&pools.write).await.unwrap_err();
        assert!(error.to_string().contains("append-only"), "{error}");
    }
}

#[tokio::test]
async fn a_watcher_hears_of_other_processes_within_the_poll_interval() {
    let world = World::new();
    let (here, there) = (world.store().await, world.store().await);
    let mut newest = here.watch();
    there.commit(&catalogue(), &Change::Adopt, None, &ann()).await.unwrap();
    let heard = newest.wait_for(|generation| *generation == Generation(1));
    tokio::time::timeout(Duration::from_secs(2), heard).await.unwrap().unwrap();
    // A change made through the same object does not wait for the next poll.
    let shadow = flip("messages.list", Phase::Shadow);
    here.commit(&catalogue(), &shadow, None, &ann()).await.unwrap();
    assert_eq!(*newest.borrow_and_update(), Generation(2));
}

#[tokio::test]
async fn a_wait_ends_when_all_have_applied_and_names_those_that_have_not() {
    let world = World::new();
    let store = Arc::new(world.store().await);
    store.commit(&catalogue(), &Change::Adopt, None, &ann()).await.unwrap();
    for (name, applied) in [("proxy-1", 1), ("proxy-2", 0)] {
        store.heartbeat(&report(name, applied)).await.unwrap();
    }
    let late = store.wait_applied(Generation(1), Duration::from_millis(50)).await.unwrap();
    assert_eq!((late.applied, late.of), (1, 2));
    assert_eq!(late.missing, ["proxy-2"]);
    assert!(late.elapsed_ms >= 50);

    let waiting = tokio::spawn({
        let store = store.clone();
        async move { store.wait_applied(Generation(1), Duration::from_secs(5)).await.unwrap() }
    });
    store.heartbeat(&report("proxy-2", 1)).await.unwrap();
    let done = waiting.await.unwrap();
    assert!(done.is_complete());
    assert!(done.to_string().starts_with("applied 2/2 in "), "{done}");
}

#[tokio::test]
async fn an_instance_lives_for_its_lease_and_is_forgotten_after_an_hour() {
    let world = World::new();
    let store = world.store().await;
    store.heartbeat(&report("proxy-1", 1)).await.unwrap();
    world.pass(2_999);
    assert!(store.instances().await.unwrap()[0].live);
    world.pass(1);
    let dead = &store.instances().await.unwrap()[0];
    assert_eq!((dead.live, dead.age_ms), (false, 3_000));
    world.pass(3_600_000);
    store.heartbeat(&report("proxy-2", 1)).await.unwrap();
    let names: Vec<_> =
        store.instances().await.unwrap().into_iter().map(|i| i.report.instance).collect();
    assert_eq!(names, ["proxy-2"]);
    store.leave("proxy-2").await.unwrap();
    assert!(store.instances().await.unwrap().is_empty());
}

#[tokio::test]
async fn of_two_living_processes_with_one_name_the_older_is_told() {
    let world = World::new();
    let store = world.store().await;
    let mut young = report("proxy-1", 5);
    (young.started_ms, young.pid) = (young.started_ms + 10, 77);
    store.heartbeat(&young).await.unwrap();
    let error = store.heartbeat(&report("proxy-1", 4)).await.unwrap_err();
    assert!(matches!(error, ControlError::InstanceTaken { pid: 77, .. }), "{error}");
    assert_eq!(store.instances().await.unwrap()[0].report.applied, Generation(5));
    world.pass(3_001);
    store.heartbeat(&report("proxy-1", 4)).await.unwrap();
}

#[tokio::test]
async fn heartbeats_of_many_processes_at_once_are_all_heard() {
    let world = World::new();
    let mut beats = JoinSet::new();
    for process in 0..4 {
        let store = world.store().await;
        beats.spawn(async move {
            for applied in 0..10 {
                store.heartbeat(&report(&format!("proxy-{process}"), applied)).await.unwrap();
            }
        });
    }
    beats.join_all().await;
    let instances = world.store().await.instances().await.unwrap();
    assert_eq!(instances.len(), 4);
    assert!(instances.iter().all(|instance| instance.report.applied == Generation(9)));
}

#[tokio::test]
async fn a_lease_has_one_holder_and_every_new_holding_a_greater_epoch() {
    let world = World::new();
    let (a, b) = (world.store().await, world.store().await);
    let first = a.lease("sync.messages", "a", 1_000).await.unwrap().unwrap();
    assert_eq!(first.epoch, 1);
    assert_eq!(b.lease("sync.messages", "b", 1_000).await.unwrap(), None);
    world.pass(999);
    let renewed = a.lease("sync.messages", "a", 1_000).await.unwrap().unwrap();
    assert_eq!(renewed.epoch, 1);
    world.pass(1_000);
    assert_eq!(b.lease("sync.messages", "b", 1_000).await.unwrap().unwrap().epoch, 2);
    assert!(!a.release("sync.messages", "a").await.unwrap(), "it is not a's any more");
    assert!(b.release("sync.messages", "b").await.unwrap());
    assert_eq!(b.lease("sync.messages", "b", 1_000).await.unwrap().unwrap().epoch, 3);
    assert_eq!(a.leases().await.unwrap()[0].holder, "b");
}

#[tokio::test]
async fn a_kept_table_is_only_restored_into_a_store_that_lost_its_own() {
    let world = World::new();
    let store = world.store().await;
    let other = World::new();
    let kept = other.store().await;
    for change in [Change::Adopt, flip("messages.list", Phase::Shadow)] {
        kept.commit(&catalogue(), &change, None, &ann()).await.unwrap();
    }
    let newer = kept.table().await.unwrap();
    let mut older = newer.clone();
    older.generation = Generation(1);
    let serve = actor("serve", "", 1);
    assert!(store.restore(&older, &serve).await.unwrap());
    assert!(store.restore(&newer, &serve).await.unwrap(), "a process that knows more");
    assert!(!store.restore(&older, &serve).await.unwrap());
    assert_eq!(store.table().await.unwrap(), newer);
    let back = flip("messages.list", Phase::Legacy);
    store.commit(&catalogue(), &back, Some(Generation(2)), &ann()).await.unwrap();
    let mut far = newer.clone();
    far.generation = Generation(9);
    assert!(!store.restore(&far, &serve).await.unwrap(), "a live history is never replaced");
    assert_eq!(store.generation().await.unwrap(), Generation(3));
}

#[test]
fn urls_name_a_file_or_are_unsupported_by_name() {
    let path = |target: &str| path_of(target).map(|path| path.display().to_string());
    assert_eq!(path("sqlite:/var/lib/b.db").unwrap(), "/var/lib/b.db");
    assert_eq!(path("sqlite:///var/lib/b.db").unwrap(), "/var/lib/b.db");
    assert_eq!(path("sqlite:control.db?mode=rwc").unwrap(), "control.db");
    assert_eq!(path("./a:b.db").unwrap(), "./a:b.db");
    for url in ["postgres://u:secret@db/x", "mysql://db/x", "sqlite:", "sqlite::memory:", ""] {
        let error = path(url).unwrap_err();
        assert!(matches!(error, ControlError::Unsupported { .. }), "{url}");
        assert!(!error.to_string().contains("secret"));
        assert!(error.hint().contains("sqlite:"));
    }
}
