//! Evidence of noise: it adds up, survives compaction, ends with the retention, and can be forgotten by place.

use super::world::{T0, World, endpoint};
use crate::shadow::{NoiseCount, NoiseSums, NoiseTotal, ShadowBatch, ShadowLimits};
use crate::store::{ControlStore, StoreOptions};

const LIST: &str = "messages.list";

fn whole(at_ms: u64) -> NoiseCount {
    let sums = NoiseSums { pairs: 10, suspected_pairs: 2, triples: 3, ..NoiseSums::default() };
    NoiseCount { at_ms, endpoint: endpoint(LIST), shape: String::new(), kind: String::new(), sums }
}

fn place(at_ms: u64, shape: &str, example: Option<&str>) -> NoiseCount {
    let sums = NoiseSums {
        noisy: 4,
        suspected_noisy: 1,
        moved: 2,
        new_alone: 3,
        legacy_alone: 1,
        example: example.map(str::to_owned),
        ..NoiseSums::default()
    };
    let (shape, kind) = (shape.to_owned(), "value_changed:string".to_owned());
    NoiseCount { at_ms, endpoint: endpoint(LIST), shape, kind, sums }
}

fn batch(noise: Vec<NoiseCount>) -> ShadowBatch {
    ShadowBatch { noise, ..ShadowBatch::default() }
}

async fn totals(store: &impl ControlStore) -> Vec<NoiseTotal> {
    let summary = store.shadow_summary(None).await.unwrap();
    summary.endpoints.get(&endpoint(LIST)).map_or_else(Vec::new, |list| list.noise.clone())
}

#[tokio::test]
async fn noise_adds_up_per_place_and_keeps_the_newest_example() {
    let world = World::new();
    let store = world.store().await;
    for second in 0..150 {
        let at = T0 + second * 1_000;
        let rows = vec![whole(at), place(at, "$.a", Some("tok:a")), place(at, "$.b", None)];
        store.record_shadow(&batch(rows)).await.unwrap();
    }
    let before = totals(&store).await;
    assert_eq!(before.len(), 3);
    let (all, a) = (&before[0], &before[1]);
    assert_eq!((all.shape.as_str(), all.sums.pairs, all.sums.triples), ("", 1_500, 450));
    assert_eq!((a.shape.as_str(), a.sums.noisy, a.sums.moved), ("$.a", 600, 300));
    assert_eq!((a.sums.new_alone, a.sums.legacy_alone), (450, 150));
    assert_eq!((a.first_ms, a.last_ms), (T0, T0 + 149_000));
    assert_eq!(a.sums.example.as_deref(), Some("tok:a"));
    world.pass(2 * 3_600_000);
    store.maintain().await.unwrap();
    store.maintain().await.unwrap();
    assert_eq!(totals(&store).await, before, "compaction changes no sum");
}

#[tokio::test]
async fn noise_goes_with_the_retention_with_its_endpoint_and_by_place() {
    let world = World::new();
    let shadow = ShadowLimits { retention_ms: 3_600_000, ..ShadowLimits::default() };
    let store = world.store_with(StoreOptions { shadow, ..world.options() }).await;
    let rows = vec![whole(T0), place(T0, "$.a", None), place(T0, "$.b", None)];
    store.record_shadow(&batch(rows.clone())).await.unwrap();
    assert_eq!(store.forget_noise(&endpoint(LIST), Some("$.a")).await.unwrap(), 1);
    assert_eq!(totals(&store).await.len(), 2);
    assert_eq!(store.forget_noise(&endpoint(LIST), None).await.unwrap(), 2);
    store.record_shadow(&batch(rows.clone())).await.unwrap();
    assert_eq!(store.forget_shadow(&endpoint(LIST)).await.unwrap(), 3);
    store.record_shadow(&batch(rows)).await.unwrap();
    world.pass(3_600_000 + 60_001);
    store.maintain().await.unwrap();
    assert!(totals(&store).await.is_empty());
}
