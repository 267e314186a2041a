use super::*;
use crate::instance::InstanceReport;
use crate::sqlite::tests::world::{T0, ann, canary, catalogue, endpoint, flip};
use banyan_domain::{Change, ContextName, apply};

fn inputs(changes: &[Change]) -> StatusInputs {
    let catalogue = catalogue();
    let mut table = RouteTable::default();
    for change in changes {
        table = apply(&table, &catalogue, change, &ann()).unwrap().0;
    }
    StatusInputs {
        environment: "production".to_owned(),
        now_ms: T0 + 60_000,
        store: StoreView {
            location: "sqlite:control.db".to_owned(),
            health: StoreHealth::Ok,
            age_ms: Some(0),
            detail: String::new(),
        },
        catalogue: Arc::new(catalogue),
        table: Arc::new(table),
        instances: Vec::new(),
        shadow: BTreeMap::new(),
        shadow_window_ms: 1_000,
        watermarks: Vec::new(),
        components: Vec::new(),
    }
}

fn instance(name: &str, applied: u64, live: bool) -> Instance {
    let report = InstanceReport {
        instance: name.to_owned(),
        applied: Generation(applied),
        ..InstanceReport::default()
    };
    Instance { report, age_ms: 0, live }
}

#[test]
fn a_context_shows_its_reads_in_one_phrase_with_next_and_back() {
    let fresh = view(&inputs(&[Change::Adopt]));
    let messages = &fresh.contexts[0];
    assert_eq!(messages.phase, "legacy");
    assert_eq!(messages.next.as_deref(), Some("banyan route flip messages.list shadow"));
    assert_eq!(messages.back, None);
    assert_eq!(
        (messages.owner, messages.emits, messages.epoch),
        (Side::Legacy, Side::Legacy, Epoch(1))
    );

    let steps =
        [Change::Adopt, flip("messages.list", Phase::Shadow), flip("messages.list", canary(10))];
    let ramped = view(&inputs(&steps));
    let messages = &ramped.contexts[0];
    assert_eq!(messages.phase, "legacy to canary 10%");
    assert_eq!(messages.next.as_deref(), Some("banyan route flip messages.show shadow"));
    assert_eq!(messages.back.as_deref(), Some("banyan rollback messages"));
    let list = &messages.endpoints[0];
    let next = "banyan route flip messages.list canary --percent 25";
    assert_eq!(list.next.as_deref(), Some(next));
    assert_eq!((list.changed.by.as_str(), list.changed.age_ms), ("ann", 60_000));
    let create = &messages.endpoints[2];
    assert_eq!((create.phase, &create.next, &create.back), (Phase::Legacy, &None, &None));
}

#[test]
fn a_ramp_leads_through_the_usual_steps_to_new() {
    let name = endpoint("messages.list");
    let mut phase = Phase::Legacy;
    let mut steps = Vec::new();
    while let Some(command) = hint::next(&name, EndpointKind::Read, phase) {
        let words: Vec<&str> = command.split(' ').collect();
        phase = match words[4] {
            "canary" => canary(words[6].parse().unwrap()),
            word => Phase::from_words(word, None).unwrap(),
        };
        steps.push(phase.to_string());
        assert!(steps.len() < 20);
    }
    let ramp = ["shadow", "canary 1%", "canary 5%", "canary 10%", "canary 25%", "canary 50%"];
    assert_eq!(steps[..6], ramp);
    assert_eq!(steps[6..], ["canary 100%", "new"]);
}

#[test]
fn a_freeze_hides_the_way_forward_and_keeps_the_way_back() {
    let frozen =
        view(&inputs(&[Change::Adopt, flip("messages.list", Phase::Shadow), Change::Freeze]));
    assert_eq!(frozen.frozen.as_ref().unwrap().by, "ann");
    assert_eq!(frozen.contexts[0].next, None);
    assert!(frozen.contexts[0].back.is_some());
}

#[test]
fn instances_count_only_when_they_live_and_route_by_this_generation() {
    let mut inputs = inputs(&[Change::Adopt]);
    inputs.instances = vec![
        instance("a", 1, true),
        instance("b", 0, true),
        instance("ahead", 9, true),
        instance("dead", 1, false),
    ];
    let view = view(&inputs);
    assert_eq!((view.instances.applied, view.instances.of), (1, 3));
    assert_eq!(view.instances.missing, ["b", "ahead"]);
    assert_eq!(view.instances.list.len(), 4);
    assert!(view.warnings.iter().any(|w| w.contains("`b` does not route by generation 1")));
}

#[test]
fn lag_counts_the_jobs_away_from_the_owner_and_grows_when_they_fall_silent() {
    let mut inputs = inputs(&[Change::Adopt]);
    let mark = |job: &str, to, lag_ms, at_ms| SyncWatermark {
        job: job.to_owned(),
        context: ContextName::new("messages").unwrap(),
        to,
        watermark_ms: 0,
        lag_ms,
        pending: 1,
        state: "following".to_owned(),
        detail: String::new(),
        at_ms,
    };
    inputs.watermarks = vec![
        mark("fresh", Side::New, 40, inputs.now_ms - 100),
        mark("silent", Side::New, 40, inputs.now_ms - 30_000),
        mark("reverse", Side::Legacy, 999_999, inputs.now_ms),
    ];
    let view = view(&inputs);
    assert_eq!(view.contexts[0].sync_lag_ms, Some(30_040));
    assert_eq!(view.contexts[0].sync[0].lag_ms, 40);
    assert_eq!(view.warnings, ["sync job `silent` has not reported for 30 s"]);
}

#[test]
fn mismatches_are_counted_per_endpoint_and_context() {
    let mut inputs = inputs(&[Change::Adopt]);
    for (name, word, count) in [
        ("messages.list", "match", 90),
        ("messages.list", "mismatch", 2),
        ("messages.list", "skipped", 1_000),
        ("messages.show", "match_normalised", 8),
        ("messages.show", "inconclusive", 5),
    ] {
        inputs.shadow.entry(endpoint(name)).or_default().add(word, "", count);
    }
    let view = view(&inputs);
    let sum = view.contexts[0].mismatch;
    assert_eq!((sum.compared, sum.confirmed, sum.window_ms), (100, 2, 1_000));
    assert_eq!(view.contexts[0].endpoints[1].mismatch.compared, 8);
}

#[test]
fn a_store_that_is_away_and_routes_no_longer_declared_are_warned_of() {
    let mut inputs = inputs(&[Change::Adopt]);
    inputs.store.health = StoreHealth::Away;
    inputs.store.detail = "locked".to_owned();
    Arc::make_mut(&mut inputs.catalogue).contexts[0].endpoints.remove(0);
    let warnings = view(&inputs).warnings;
    assert!(warnings[0].contains("away (locked)"), "{warnings:?}");
    assert!(warnings[1].contains("messages.list"), "{warnings:?}");
}

#[test]
fn the_view_survives_json() {
    let view = view(&inputs(&[Change::Adopt, flip("messages.list", Phase::Shadow)]));
    let text = serde_json::to_string(&view).unwrap();
    assert_eq!(serde_json::from_str::<StatusView>(&text).unwrap(), view);
    assert!(text.contains(r#""phase":{"name":"shadow"}"#), "{text}");
}
