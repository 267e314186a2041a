//! The whole path against simulated sides on a virtual clock, and once against real HTTP servers.

use super::*;
use crate::fixture::{MemoryStore, Simulated, VirtualClock, config, json, ports, served};
use crate::{
    Answer, AskError, BackoffConfig, Clock, Exchange, MirrorRequest, QueueLimit, SkipReason,
};
use banyan_domain::{EndpointName, Generation, Side};
use std::sync::atomic::{AtomicBool, AtomicU64};

mod http;
mod lag;
mod noise;
mod simulation;

const LIST: &str = "messages.list";

type Outcomes = Vec<(String, String, u64)>;

/// Shadow reads that run against simulated sides.
struct Run<F> {
    store: Arc<MemoryStore>,
    clock: Arc<VirtualClock>,
    ask: Arc<Simulated<F>>,
    handle: ShadowHandle,
    shadow: Shadow,
}

impl<F> Run<F>
where
    F: Fn(Side, &MirrorRequest) -> Result<Answer, AskError> + Send + Sync + 'static,
{
    fn start(play: F) -> Self {
        Self::start_as(config(), |_| {}, play)
    }

    fn start_as(config: ShadowConfig, change: impl FnOnce(&mut Ports), play: F) -> Self {
        let (store, clock) = (Arc::new(MemoryStore::default()), VirtualClock::start());
        let ask = Simulated::new(&clock, play);
        let mut ports = ports(&store, &clock);
        change(&mut ports);
        let cancel = CancellationToken::new();
        let (handle, shadow) = Shadow::start_with(config, ask.clone(), &ports, cancel);
        Self { store, clock, ask, handle, shadow }
    }

    /// Offers a read that legacy answered.
    fn offer(&self, answer: Answer) {
        self.handle.offer(served(LIST, "/users/3/messages", Side::Legacy, answer, 1_000_000));
    }

    async fn pass(&self, seconds: u64) {
        self.clock.pass(seconds * 1_000).await;
    }

    async fn stop(self) -> (Arc<MemoryStore>, Drained) {
        let drained = self.clock.until(self.shadow.stop()).await;
        (self.store, drained)
    }

    /// Waits long enough for every recheck, stops, and gives the store.
    async fn finish(self) -> Arc<MemoryStore> {
        self.pass(30).await;
        self.stop().await.0
    }
}

fn list(store: &MemoryStore) -> Outcomes {
    let outcomes = store.outcomes().into_iter();
    outcomes.map(|((outcome, reason), count)| (outcome, reason, count)).collect()
}

fn expected(list: &[(&str, &str, u64)]) -> Outcomes {
    list.iter().map(|(word, reason, count)| ((*word).into(), (*reason).into(), *count)).collect()
}

#[tokio::test]
async fn equal_answers_match_with_one_request_to_the_other_side_only() {
    let run = Run::start(|side, _| {
        assert_eq!(side, Side::New);
        Ok(json(200, r#"{"b":2,"a":1}"#))
    });
    run.offer(json(200, r#"{"b":2,"a":1}"#));
    run.pass(10).await;
    assert_eq!(run.ask.asked(), 1);
    let (store, drained) = run.stop().await;
    assert_eq!(drained, Drained { lost: 0, saved: true });
    assert_eq!(list(&store), expected(&[("match", "", 1)]));
    let batches = store.batches.lock().unwrap();
    let fingerprints: Vec<_> = batches.iter().flat_map(|batch| &batch.fingerprints).collect();
    assert_eq!((fingerprints.len(), fingerprints[0].mismatched), (1, false));
}

#[tokio::test]
async fn a_mismatch_that_stays_is_confirmed_once_with_group_and_sample() {
    let run = Run::start(|side, _| match side {
        Side::Legacy => Ok(json(200, r#"{"total":4}"#)),
        Side::New => Ok(json(200, r#"{"total":5}"#)),
    });
    run.offer(json(200, r#"{"total":4}"#));
    let store = run.finish().await;
    assert_eq!(list(&store), expected(&[("mismatch", "value", 1)]));
    let groups: Vec<_> = store.groups().into_keys().collect();
    assert_eq!(groups, [[LIST, "$.total", "value_changed:number", "int -> int+1"]]);
    let batches = store.batches.lock().unwrap();
    let samples: Vec<_> = batches.iter().flat_map(|batch| &batch.samples).collect();
    assert_eq!(samples[0].body["target"], "/users/3/messages");
    assert!(batches.iter().flat_map(|batch| &batch.fingerprints).all(|f| f.mismatched));
}

#[tokio::test]
async fn the_orientation_is_legacy_first_whoever_answered_the_client() {
    let run = Run::start(|side, _| match side {
        Side::Legacy => Ok(json(200, r#"{"a":1,"badge":"pro"}"#)),
        Side::New => Ok(json(200, r#"{"a":1}"#)),
    });
    let answer = json(200, r#"{"a":1}"#);
    run.handle.offer(served(LIST, "/users/3/messages", Side::New, answer, 1_000_000));
    let groups: Vec<_> = run.finish().await.groups().into_keys().collect();
    assert_eq!(groups, [[LIST, "$.badge", "key_missing", "string -> absent"]]);
}

#[tokio::test]
async fn a_side_that_was_late_is_lag_with_its_time() {
    let late = AtomicU64::new(0);
    let run = Run::start(move |side, _| {
        let seen = match side {
            Side::Legacy => 7,
            Side::New => 5 + late.fetch_add(1, Ordering::SeqCst).min(2),
        };
        Ok(json(200, format!("{{\"total\":{seen}}}")))
    });
    run.offer(json(200, r#"{"total":7}"#));
    let store = run.finish().await;
    let outcomes = list(&store);
    assert_eq!(outcomes.len(), 1, "{outcomes:?}");
    assert_eq!((outcomes[0].0.as_str(), outcomes[0].2), ("lag", 1));
    let batches = store.batches.lock().unwrap();
    let lags: Vec<u64> = batches.iter().flat_map(|batch| &batch.lags).map(|l| l.count).collect();
    assert_eq!((outcomes[0].1.as_str(), lags), ("le_250ms", vec![1]), "found by the second look");
    drop(batches);
    assert!(store.groups().is_empty());
}

#[tokio::test]
async fn a_dead_side_costs_one_try_per_pause_and_the_rest_is_counted() {
    let alive = Arc::new(AtomicBool::new(false));
    let up = alive.clone();
    let run = Run::start(move |_, _| {
        if up.load(Ordering::SeqCst) { Ok(json(200, "{}")) } else { Err(AskError::Unreachable) }
    });
    for _ in 0..1_000 {
        run.offer(json(200, "{}"));
        run.clock.pass(50).await;
    }
    assert!(run.ask.asked() < 15, "{} tries in 50 s", run.ask.asked());
    alive.store(true, Ordering::SeqCst);
    run.pass(BackoffConfig::default().max_ms / 1_000 + 2).await;
    for _ in 0..10 {
        run.offer(json(200, "{}"));
        run.pass(1).await;
    }
    let store = run.finish().await;
    assert_eq!(list(&store), expected(&[("match", "", 10), ("skipped", "side_down", 1_000)]));
}

#[tokio::test]
async fn a_read_whose_phase_has_changed_asks_nobody() {
    let planned = Arc::new(AtomicBool::new(false));
    let plan = planned.clone();
    let plan = move |_: &EndpointName, _: Side, _: Generation| plan.load(Ordering::SeqCst);
    let run =
        Run::start_as(config(), |ports| ports.plan = Arc::new(plan), |_, _| Ok(json(200, "{}")));
    run.offer(json(200, "{}"));
    run.pass(1).await;
    assert_eq!(run.ask.asked(), 0);
    planned.store(true, Ordering::SeqCst);
    run.offer(json(200, r#"{"a":1}"#));
    run.clock.pass(100).await;
    planned.store(false, Ordering::SeqCst);
    run.pass(20).await;
    assert_eq!(run.ask.asked(), 1, "a recheck stops too");
    let store = run.finish().await;
    assert_eq!(list(&store), expected(&[("skipped", "phase_changed", 2)]));
}

#[tokio::test]
async fn overflow_is_counted_and_every_read_leaves_exactly_one_outcome() {
    let config = ShadowConfig {
        queue: QueueLimit { exchanges: 20, bytes: 1 << 20 },
        workers: 2,
        ..config()
    };
    let run = Run::start_as(
        config,
        |_| {},
        |side, request| match (side, request.path_and_query.len() % 4) {
            (Side::New, 0) => Err(AskError::Unreachable),
            (Side::New, 1) => Ok(json(500, "{}")),
            (Side::New, 2) => Ok(json(200, r#"{"a":2}"#)),
            (Side::New | Side::Legacy, _) => Ok(json(200, r#"{"a":1}"#)),
        },
    );
    for n in 0..500 {
        let target = format!("/{}", "x".repeat(n % 40));
        let answer = json(200, r#"{"a":1}"#);
        run.handle.offer(served(LIST, &target, Side::Legacy, answer, 1_000_000 + n as u64));
        if n % 50 == 49 {
            run.pass(3).await;
        }
    }
    run.handle.skip(&EndpointName::new(LIST).unwrap(), SkipReason::Sampled);
    let store = run.finish().await;
    let outcomes = store.outcomes();
    assert_eq!(store.total(), 501, "{outcomes:?}");
    let full = outcomes[&("skipped".to_owned(), "queue_full".to_owned())];
    assert!(full >= 200, "{outcomes:?}");
    assert_eq!(outcomes[&("skipped".to_owned(), "sampled".to_owned())], 1);
}

#[tokio::test]
async fn a_flood_of_one_mismatch_is_bounded_and_does_not_keep_out_a_rare_one() {
    let run = Run::start(|side, request| {
        let rare = request.path_and_query.ends_with('7');
        Ok(match (side, rare) {
            (Side::Legacy, _) => json(200, r#"{"a":1,"b":1}"#),
            (Side::New, true) => json(200, r#"{"a":1,"b":"1"}"#),
            (Side::New, false) => json(200, r#"{"a":100,"b":1}"#),
        })
    });
    for n in 0..2_000 {
        let target = if n == 1_000 { "/rare/7" } else { "/common" };
        let answer = json(200, r#"{"a":1,"b":1}"#);
        run.handle.offer(served(LIST, target, Side::Legacy, answer, 1_000_000));
        run.clock.pass(2).await;
    }
    run.pass(30).await;
    assert!(run.ask.asked() < 2_000 + 17 * 60 + 8 * 40, "{}", run.ask.asked());
    let store = run.finish().await;
    let groups: Vec<String> = store.groups().into_keys().map(|[_, shape, ..]| shape).collect();
    assert_eq!(groups, ["$.a", "$.b"]);
    let undecided = store.outcomes()[&("inconclusive".to_owned(), "no_budget".to_owned())];
    assert!(undecided > 1_900, "{undecided}");
}

#[tokio::test]
async fn a_tally_survives_a_store_that_is_away() {
    let run = Run::start(|_, _| Ok(json(200, "{}")));
    run.store.down.store(true, Ordering::SeqCst);
    for _ in 0..20 {
        run.offer(json(200, "{}"));
        run.pass(1).await;
    }
    assert!(run.store.saves.load(Ordering::SeqCst) > 10);
    assert_eq!(run.store.total(), 0);
    run.store.down.store(false, Ordering::SeqCst);
    run.pass(1).await;
    assert_eq!(list(&run.store), expected(&[("match", "", 20)]));
    run.store.down.store(true, Ordering::SeqCst);
    run.offer(json(200, "{}"));
    assert!(!run.stop().await.1.saved, "a last tally that could not be saved is told");
}

#[tokio::test]
async fn a_save_on_its_way_when_it_stops_counts_once() {
    for (answers_after_ms, saved) in [(500, true), (u64::MAX / 2, false)] {
        let run = Run::start(|_, _| Ok(json(200, "{}")));
        run.store.slow.store(true, Ordering::SeqCst);
        run.offer(json(200, "{}"));
        run.pass(5).await;
        assert_eq!(run.store.saves.load(Ordering::SeqCst), 1);
        let (clock, store) = (run.clock.clone(), run.store.clone());
        tokio::spawn(async move {
            clock.sleep(answers_after_ms).await;
            store.answer.notify_one();
        });
        let (store, drained) = run.stop().await;
        assert_eq!(drained.saved, saved, "a store that does not answer is told of");
        assert_eq!(list(&store), expected(&[("match", "", 1)]));
    }
}

#[tokio::test]
async fn stopping_drains_the_queue_and_counts_what_is_left_over() {
    let config = ShadowConfig { workers: 1, drain_ms: 100, ..config() };
    let run = Run::start_as(config, |_| {}, |_, _| Ok(json(200, "{}")));
    for _ in 0..100 {
        run.offer(json(200, "{}"));
    }
    let (store, drained) = run.stop().await;
    assert!(drained.saved && (70..100).contains(&drained.lost), "{drained:?}");
    let matched = 100 - drained.lost;
    let all = [("match", "", matched), ("skipped", "shutdown", drained.lost)];
    assert_eq!(list(&store), expected(&all));
}

#[tokio::test]
async fn undeclared_requests_are_saved_as_templates() {
    let run = Run::start(|_, _| Err(AskError::Unreachable));
    for n in 0..6 {
        assert!(run.handle.wants_undeclared(run.clock.now_ms()));
        run.handle.undeclared(crate::Undeclared {
            method: "GET".to_owned(),
            target: format!("/tracks/{n}?secret_token=tok{n}"),
            status: 200,
            content_type: "application/json".to_owned(),
        });
    }
    run.pass(3).await;
    let store = run.finish().await;
    let rows: Vec<String> = store
        .batches
        .lock()
        .unwrap()
        .iter()
        .flat_map(|batch| &batch.advice.templates)
        .map(|row| {
            format!(
                "{} {}?{} {} {} {}",
                row.method, row.path, row.query, row.status, row.media, row.count
            )
        })
        .collect();
    assert_eq!(rows, ["GET /tracks/{int}?secret_token 2xx application/json 6"]);
}

#[tokio::test]
async fn a_rule_that_explains_a_confirmed_mismatch_is_counted() {
    let run = Run::start(|side, _| match side {
        Side::Legacy => Ok(json(200, r#"{"at":"2014/06/12 10:00:00 +0000"}"#)),
        Side::New => Ok(json(200, r#"{"at":"2014-06-12T10:00:00Z"}"#)),
    });
    run.offer(json(200, r#"{"at":"2014/06/12 10:00:00 +0000"}"#));
    let store = run.finish().await;
    let batches = store.batches.lock().unwrap();
    let rows: Vec<_> = batches.iter().flat_map(|batch| &batch.advice.suggestions).collect();
    let time = rows.iter().find(|row| row.rule.contains("do = \"time\"")).unwrap();
    assert_eq!((time.explained, time.seen, time.hides_breaking), (1, 1, 0));
    assert_eq!((time.endpoint.as_str(), time.shape.as_str()), (LIST, "$.at"));
    assert!(!format!("{rows:?}").contains("2014"), "no value is stored");
}
