use super::world::{T0, World, endpoint};
use crate::advice::{Advice, LostCount, SuggestionCount, TemplateCount};
use crate::shadow::{
    DifferenceCount, Fingerprint, HiddenCount, LagCount, OutcomeCount, Sample, ShadowBatch,
    ShadowLimits,
};
use crate::store::{ControlStore, StoreOptions};
use crate::sync::{SyncRun, SyncWatermark};
use banyan_domain::{ContextName, Side};
use serde_json::json;

const LIST: &str = "messages.list";

fn outcome(at_ms: u64, outcome: &str, count: u64) -> OutcomeCount {
    let reason = if outcome == "skipped" { "queue_full" } else { "" };
    let (outcome, reason) = (outcome.to_owned(), reason.to_owned());
    OutcomeCount { at_ms, endpoint: endpoint(LIST), outcome, reason, count }
}

fn difference(at_ms: u64, count: u64) -> DifferenceCount {
    DifferenceCount {
        at_ms,
        endpoint: endpoint(LIST),
        shape: "$.messages[*].created_at".to_owned(),
        kind: "value_changed".to_owned(),
        severity: "value".to_owned(),
        transition: "time_format".to_owned(),
        count,
    }
}

fn hidden(at_ms: u64, count: u64) -> HiddenCount {
    HiddenCount { at_ms, endpoint: endpoint(LIST), rule: "rails.etag".to_owned(), count }
}

fn sample(at_ms: u64, kind: &str) -> Sample {
    let shape = "$.messages[*].created_at".to_owned();
    Sample {
        at_ms,
        endpoint: endpoint(LIST),
        shape,
        kind: kind.to_owned(),
        body: json!({"n": at_ms}),
    }
}

fn lag(at_ms: u64, bound_ms: u64, count: u64) -> LagCount {
    LagCount { at_ms, endpoint: endpoint(LIST), bound_ms, count }
}

fn fingerprint(at_ms: u64, fingerprint: u64, mismatched: bool) -> Fingerprint {
    Fingerprint { endpoint: endpoint(LIST), fingerprint, at_ms, mismatched }
}

#[tokio::test]
async fn a_summary_adds_up_what_was_recorded() {
    let world = World::new();
    let store = world.store().await;
    let batch = ShadowBatch {
        outcomes: vec![
            outcome(T0, "match", 5),
            outcome(T0 + 1, "mismatch", 2),
            outcome(T0, "skipped", 9),
        ],
        differences: vec![difference(T0 + 1, 2), difference(T0 + 900, 1)],
        hidden: vec![hidden(T0, 4)],
        samples: vec![sample(T0 + 1, "value_changed")],
        fingerprints: vec![
            fingerprint(T0, 1, false),
            fingerprint(T0 + 1, u64::MAX, true),
            fingerprint(T0 + 2, u64::MAX, false),
        ],
        lags: vec![lag(T0, 110, 3), lag(T0 + 2_000, 110, 1), lag(T0, 5_000, 2)],
        ..ShadowBatch::default()
    };
    store.record_shadow(&batch).await.unwrap();
    store.record_shadow(&batch).await.unwrap();
    let summary = store.shadow_summary(None).await.unwrap();
    let list = &summary.endpoints[&endpoint(LIST)];
    assert_eq!(list.outcomes.0["match"][""], 10);
    assert_eq!(list.outcomes.0["skipped"]["queue_full"], 18);
    assert_eq!((list.outcomes.compared(), list.outcomes.confirmed()), (14, 4));
    let row = &list.differences[0];
    assert_eq!((row.count, row.first_ms, row.last_ms), (6, T0 + 1, T0 + 900));
    assert_eq!(list.hidden[0].count, 8);
    assert_eq!(list.samples.len(), 2);
    assert_eq!((list.distinct, list.distinct_mismatched), (2, 1), "a later match does not acquit");
    assert_eq!(list.lags, [(110, 8), (5_000, 4)].into_iter().collect());
    let light = store.shadow_outcomes(None).await.unwrap();
    assert_eq!(light[&endpoint(LIST)], list.outcomes);
}

#[tokio::test]
async fn a_summary_since_a_moment_leaves_out_what_was_before() {
    let world = World::new();
    let store = world.store().await;
    let at = |at: u64| ShadowBatch {
        outcomes: vec![outcome(at, "mismatch", 1)],
        differences: vec![difference(at, 1)],
        hidden: vec![hidden(at, 1)],
        samples: vec![sample(at, "value_changed")],
        fingerprints: vec![fingerprint(at, at, true)],
        lags: vec![lag(at, 110, 1)],
        ..ShadowBatch::default()
    };
    store.record_shadow(&at(T0)).await.unwrap();
    store.record_shadow(&at(T0 + 5_000)).await.unwrap();
    let summary = store.shadow_summary(Some(T0 + 1_000)).await.unwrap();
    let list = &summary.endpoints[&endpoint(LIST)];
    assert_eq!(list.outcomes.confirmed(), 1);
    assert_eq!((list.differences[0].count, list.differences[0].first_ms), (1, T0 + 5_000));
    assert_eq!((list.hidden[0].count, list.samples.len(), list.distinct), (1, 1, 1));
    assert_eq!(list.lags[&110], 1);
    assert!(store.shadow_summary(Some(T0 + 6_000)).await.unwrap().endpoints.is_empty());
}

#[tokio::test]
async fn all_numbers_of_a_summary_are_of_one_period() {
    let world = World::new();
    let store = world.store().await;
    let at = |at: u64| ShadowBatch {
        outcomes: vec![outcome(at, "match", 1)],
        samples: vec![sample(at, "value_changed")],
        fingerprints: vec![fingerprint(at, at, false)],
        ..ShadowBatch::default()
    };
    let whole_minute = T0 - T0 % 60_000 + 60_000;
    for shift in [0, 500, 1_000, 30_000, 60_000, 61_000] {
        store.record_shadow(&at(whole_minute + shift)).await.unwrap();
    }
    let from = &store;
    let seen = |since: u64| async move {
        let since = Some(whole_minute + since);
        let mut endpoints = from.shadow_summary(since).await.unwrap().endpoints;
        let list = endpoints.remove(&endpoint(LIST)).unwrap();
        let first = list.first_ms.unwrap() - whole_minute;
        (list.outcomes.compared(), list.distinct, list.samples.len(), first)
    };
    // The second in which the period begins is left out everywhere.
    assert_eq!(seen(400).await, (4, 4, 4, 1_000));
    world.pass(3 * 3_600_000);
    store.maintain().await.unwrap();
    // Now counts are kept by the minute, and so is the beginning.
    assert_eq!(seen(0).await, (6, 6, 6, 0));
    assert_eq!(seen(400).await, (2, 2, 2, 60_000));
}

#[tokio::test]
async fn compaction_keeps_every_sum_and_the_first_and_last_time() {
    let world = World::new();
    let store = world.store().await;
    for second in 0..150 {
        let at = T0 + second * 1_000 + 7;
        let batch = ShadowBatch {
            outcomes: vec![outcome(at, "match", 1)],
            differences: vec![difference(at, 1)],
            hidden: vec![hidden(at, 1)],
            lags: vec![lag(at, 110, 1)],
            ..ShadowBatch::default()
        };
        store.record_shadow(&batch).await.unwrap();
    }
    let before = store.shadow_summary(None).await.unwrap();
    let rows = "SELECT COUNT(*) FROM shadow_outcome";
    let pools = store.file.pools().await.unwrap();
    let count =
        || async { sqlx::query_as::<_, (i64,)>(rows).fetch_one(&pools.read).await.unwrap().0 };
    assert_eq!(count().await, 150);
    // One hour after second 90: minute 0 is old enough as a whole, minute 1 is not.
    world.pass(3_600_000 + 90_000);
    store.maintain().await.unwrap();
    assert_eq!(count().await, 1 + 90);
    world.pass(3_600_000);
    store.maintain().await.unwrap();
    store.maintain().await.unwrap();
    assert_eq!(count().await, 3);
    let mut after = store.shadow_summary(None).await.unwrap();
    let list = after.endpoints.get_mut(&endpoint(LIST)).unwrap();
    let expected = &before.endpoints[&endpoint(LIST)];
    assert_eq!(list.hidden[0].count, 150);
    list.hidden.clone_from(&expected.hidden);
    assert_eq!(list, expected);
}

#[tokio::test]
async fn evidence_older_than_the_retention_goes() {
    let world = World::new();
    let shadow = ShadowLimits { retention_ms: 3_600_000, ..ShadowLimits::default() };
    let store = world.store_with(StoreOptions { shadow, ..world.options() }).await;
    let batch = ShadowBatch {
        outcomes: vec![outcome(T0, "match", 1)],
        differences: vec![difference(T0, 1)],
        hidden: vec![hidden(T0, 1)],
        samples: vec![sample(T0, "value_changed")],
        fingerprints: vec![fingerprint(T0, 1, false)],
        ..ShadowBatch::default()
    };
    store.record_shadow(&batch).await.unwrap();
    world.pass(3_600_000 + 60_001);
    // Recording runs the maintenance that is due.
    store.record_shadow(&ShadowBatch::default()).await.unwrap();
    assert!(store.shadow_summary(None).await.unwrap().endpoints.is_empty());
}

#[tokio::test]
async fn samples_and_fingerprints_keep_the_newest_up_to_their_limits() {
    let world = World::new();
    let shadow = ShadowLimits {
        samples_per_shape: 3,
        samples_per_endpoint: 5,
        fingerprints_per_endpoint: 4,
        ..ShadowLimits::default()
    };
    let store = world.store_with(StoreOptions { shadow, ..world.options() }).await;
    let kinds = ["value_changed", "key_missing"];
    let samples = (0..20).map(|n| sample(T0 + n, kinds[usize::from(n % 2 == 1)])).collect();
    let fingerprints = (0..20).map(|n| fingerprint(T0 + n, n % 7, false)).collect();
    let batch = ShadowBatch { samples, fingerprints, ..ShadowBatch::default() };
    store.record_shadow(&batch).await.unwrap();
    let summary = store.shadow_summary(None).await.unwrap();
    let list = &summary.endpoints[&endpoint(LIST)];
    let kept: Vec<u64> = list.samples.iter().map(|sample| sample.at_ms - T0).collect();
    assert_eq!(kept, [19, 18, 17, 16, 15]);
    assert_eq!(list.distinct, 4);
    assert_eq!(store.forget_shadow(&endpoint(LIST)).await.unwrap(), 5 + 4);
}

fn watermark(job: &str, to: Side, watermark_ms: u64) -> SyncWatermark {
    SyncWatermark {
        job: job.to_owned(),
        context: ContextName::new("messages").unwrap(),
        to,
        watermark_ms,
        lag_ms: 4,
        pending: 2,
        state: "following".to_owned(),
        detail: String::new(),
        at_ms: T0,
    }
}

#[tokio::test]
async fn watermarks_are_kept_per_job_and_side_until_the_job_is_long_gone() {
    let world = World::new();
    let store = world.store().await;
    for mark in [
        watermark("m", Side::New, 1),
        watermark("m", Side::Legacy, 5),
        watermark("m", Side::New, 9),
    ] {
        store.put_watermark(&mark).await.unwrap();
    }
    let marks = store.watermarks().await.unwrap();
    assert_eq!(marks, [watermark("m", Side::Legacy, 5), watermark("m", Side::New, 9)]);
    world.pass(7 * 24 * 3_600_000 + 1);
    store.maintain().await.unwrap();
    assert!(store.watermarks().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_run_is_replaced_by_what_became_of_it_and_the_newest_thousand_stay() {
    let world = World::new();
    let store = world.store().await;
    let mut run = SyncRun {
        id: "r-0".to_owned(),
        job: "messages".to_owned(),
        context: ContextName::new("messages").unwrap(),
        to: Side::New,
        mode: "copy".to_owned(),
        started_ms: T0,
        ended_ms: None,
        state: "running".to_owned(),
        aggregates: 0,
        rows: 0,
        detail: json!({}),
    };
    store.record_run(&run).await.unwrap();
    (run.ended_ms, run.state, run.rows) = (Some(T0 + 5), "done".to_owned(), 77);
    run.detail = json!({"tables": {"messages": 77}});
    store.record_run(&run).await.unwrap();
    assert_eq!(store.runs(10).await.unwrap(), [run.clone()]);
    let mut tx = store.file.begin().await.unwrap();
    let many = "INSERT INTO sync_run WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n \
        WHERE i < 1000) SELECT 'x-' || i, 'j', 'messages', 'new', 'copy', ? + i, NULL, 'done', 0, 0, '{}' FROM n";
    sqlx::query(many).bind(i64::try_from(T0).unwrap()).execute(&mut *tx).await.unwrap();
    store.file.end(tx).await.unwrap();
    (run.id, run.started_ms) = ("last".to_owned(), T0 + 5_000);
    store.record_run(&run).await.unwrap();
    let runs = store.runs(5_000).await.unwrap();
    assert_eq!((runs.len(), runs[0].id.as_str()), (1_000, "last"));
    assert!(runs.iter().all(|run| run.id != "r-0"));
}

#[tokio::test]
async fn the_status_board_shows_the_last_word_and_its_age() {
    let world = World::new();
    let store = world.store().await;
    store.put_status("events.forwarder", &json!({"lag": 3})).await.unwrap();
    store.put_status("events.forwarder", &json!({"lag": 0})).await.unwrap();
    world.pass(1_500);
    let board = store.statuses().await.unwrap();
    assert_eq!(board.len(), 1);
    assert_eq!((board[0].detail["lag"].as_u64(), board[0].age_ms), (Some(0), 1_500));
}

#[tokio::test]
async fn advice_adds_up_is_forgotten_with_its_endpoint_and_ends_with_its_time() {
    let world = World::new();
    let store = world.store().await;
    let template = |at_ms: u64, path: &str, count: u64| TemplateCount {
        at_ms,
        method: "GET".to_owned(),
        path: path.to_owned(),
        query: "page".to_owned(),
        status: "2xx".to_owned(),
        media: "text/html".to_owned(),
        count,
    };
    let suggestion = |explained: u64| SuggestionCount {
        at_ms: T0,
        endpoint: endpoint(LIST),
        shape: "$.messages[*].created_at".to_owned(),
        kind: "value_changed:time_format".to_owned(),
        transition: "rails-time -> iso8601".to_owned(),
        rule: "at = \"$.messages[*].created_at\"\ndo = \"time\"\n".to_owned(),
        explained,
        seen: explained + 1,
        hides_breaking: 1,
    };
    let batch = |advice: Advice| ShadowBatch { advice, ..ShadowBatch::default() };
    for at in [T0, T0 + 9] {
        let lost = LostCount { at_ms: at, reason: "misses".to_owned(), count: 2 };
        let advice = Advice {
            templates: vec![template(at, "/users/{int}", 3), template(T0, "/old", 1)],
            lost: vec![lost],
            suggestions: vec![suggestion(4)],
        };
        store.record_shadow(&batch(advice)).await.unwrap();
    }
    let advice = store.shadow_advice(None).await.unwrap();
    assert_eq!(advice.templates, [template(T0, "/old", 2), template(T0 + 9, "/users/{int}", 6)]);
    assert_eq!((advice.lost[0].count, advice.suggestions.len()), (4, 1));
    let found = &advice.suggestions[0];
    assert_eq!((found.explained, found.seen, found.hides_breaking), (8, 10, 2));
    assert_eq!(store.shadow_advice(Some(T0 + 1)).await.unwrap().templates.len(), 1);
    assert_eq!(store.forget_shadow(&endpoint(LIST)).await.unwrap(), 1);
    assert!(store.shadow_advice(None).await.unwrap().suggestions.is_empty());
}
