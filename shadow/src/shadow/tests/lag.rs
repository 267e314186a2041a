//! Replication lag of a known size during live shadowing, on a virtual clock: no false mismatch, the histogram tells what
//! was injected, and a defect planted at the same time is confirmed.
//!
//! A fifth of the writes become visible on the new side 0.1 to 5 s late, each on its own, so that writes overtake each
//! other. Each assertion prints its seed; `BANYAN_SEEDS=200` makes it a soak.

use super::simulation::{count, seeds};
use super::*;
use crate::RecheckLimits;
use crate::config::LagSource;
use crate::lag::LagTimes;
use banyan_domain::ContextName;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;

const SPAN_MS: u64 = 60_000;
const START_MS: u64 = 1_000_000;
/// Users that write rarely: each write can be seen on its own.
const CALM: u64 = 120;
/// Users that write all the time, with states that come back.
const BUSY: u64 = 10;

/// Whether the sync tells how far it is.
#[derive(Clone, Copy, PartialEq)]
enum Watermark {
    Told,
    Unknown,
}

struct Write {
    at_ms: u64,
    late_ms: u64,
    state: u64,
}

struct World {
    clock: Arc<VirtualClock>,
    writes: Vec<Vec<Write>>,
    /// Makes the noise of one endpoint.
    noise: AtomicU64,
}

impl World {
    fn new(seed: u64, clock: Arc<VirtualClock>) -> Self {
        let mut dice = StdRng::seed_from_u64(seed);
        let writes = (0..CALM + BUSY).map(|user| writes(&mut dice, user)).collect();
        Self { clock, writes, noise: AtomicU64::new(seed) }
    }

    fn state(&self, user: u64, side: Side) -> u64 {
        let now_ms = self.clock.now_ms();
        let seen = |write: &&Write| match side {
            Side::Legacy => write.at_ms <= now_ms,
            Side::New => write.at_ms + write.late_ms <= now_ms,
        };
        let list = &self.writes[usize::try_from(user).unwrap()];
        list.iter().rev().find(seen).map_or(0, |write| write.state)
    }

    fn answer(&self, side: Side, target: &str) -> Answer {
        let user: u64 = target.rsplit('/').next().unwrap().parse().unwrap();
        let state = self.state(user, side);
        if !target.starts_with("/messages/") {
            return json(200, format!("{{\"user_id\":{user},\"state\":{state}}}"));
        }
        // Every answer has an id of its own, and for some users new gets the subject wrong.
        let id = self.noise.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::SeqCst);
        let subject = if side == Side::New && user % 7 == 3 { "helo" } else { "hello" };
        json(
            200,
            format!("{{\"trace\":\"{id:016x}\",\"subject\":\"{subject}\",\"state\":{state}}}"),
        )
    }
}

impl LagSource for World {
    fn watermark_ms(&self, _context: &ContextName) -> Option<u64> {
        let now_ms = self.clock.now_ms();
        let pending = self.writes.iter().flatten();
        let pending = pending.filter(|w| w.at_ms <= now_ms && now_ms < w.at_ms + w.late_ms);
        Some(pending.map(|write| write.at_ms).min().unwrap_or(now_ms))
    }
}

fn writes(dice: &mut StdRng, user: u64) -> Vec<Write> {
    let gap = if user < CALM { 6_000..14_000 } else { 200..2_500 };
    let mut at_ms = START_MS + dice.random_range(0..6_000);
    let mut list = Vec::new();
    while at_ms < START_MS + SPAN_MS + 40_000 {
        let late_ms = match dice.random_range(0..5) {
            0 => dice.random_range(100..5_000),
            _ => 0,
        };
        let state = if user < CALM { list.len() as u64 + 1 } else { dice.random_range(0..4) };
        list.push(Write { at_ms, late_ms, state });
        at_ms += dice.random_range(gap.clone());
    }
    list
}

/// What to read when: right after each write of a calm user; and anybody now and then.
fn reads(world: &World, seed: u64) -> BTreeMap<u64, Vec<(&'static str, String)>> {
    let mut dice = StdRng::seed_from_u64(seed ^ 1);
    let mut reads: BTreeMap<u64, Vec<_>> = BTreeMap::new();
    for (user, list) in (0..CALM).zip(&world.writes) {
        for write in list.iter().filter(|write| write.at_ms < START_MS + SPAN_MS) {
            reads.entry(write.at_ms).or_default().push((LIST, format!("/list/{user}")));
        }
    }
    for at_ms in (START_MS..START_MS + SPAN_MS).step_by(40) {
        let user = dice.random_range(0..CALM + BUSY);
        let read = match dice.random_range(0..3) {
            0 => ("messages.show", format!("/messages/{user}")),
            _ => ("messages.unread_count", format!("/count/{user}")),
        };
        reads.entry(at_ms).or_default().push(read);
    }
    reads
}

/// Plays a seed; gives the store, how many reads were offered, and the delays injected into what was read at once.
async fn play(seed: u64, watermark: Watermark) -> (Arc<MemoryStore>, u64, Vec<u64>) {
    let clock = VirtualClock::start();
    let world = Arc::new(World::new(seed, clock.clone()));
    let store = Arc::new(MemoryStore::default());
    let mut ports = ports(&store, &clock);
    ports.seed = seed;
    if watermark == Watermark::Told {
        ports.lag = Some(world.clone());
    }
    let played = world.clone();
    let ask = Simulated::new(&clock, move |side: Side, request: &MirrorRequest| {
        Ok(played.answer(side, &request.path_and_query))
    });
    let mut config = config();
    config.workers = 64;
    (config.sides.new.at_once, config.sides.legacy.at_once) = (256, 256);
    config.recheck.per_cause_max = 1_000;
    config.recheck.limits = RecheckLimits {
        per_second: 1_000,
        waiting_max: 1_000,
        measured_per_second: 1_000,
        measured_max: 1_000,
    };
    let (handle, shadow) = Shadow::start_with(config, ask, &ports, CancellationToken::new());
    let mut offered = 0;
    for (at_ms, due) in reads(&world, seed) {
        clock.pass(at_ms.saturating_sub(clock.now_ms())).await;
        for (endpoint, target) in due {
            let answer = world.answer(Side::Legacy, &target);
            handle.offer(served(endpoint, &target, Side::Legacy, answer, clock.now_ms()));
            offered += 1;
        }
    }
    clock.pass(40_000).await;
    clock.until(shadow.stop()).await;
    let calm = world.writes.iter().take(usize::try_from(CALM).unwrap()).flatten();
    let injected = calm.filter(|write| write.at_ms < START_MS + SPAN_MS && write.late_ms > 0);
    let mut injected: Vec<u64> = injected.map(|write| write.late_ms).collect();
    injected.sort_unstable();
    (store, offered, injected)
}

/// The lags that were measured of the endpoint that is read right after writes.
fn measured(store: &MemoryStore) -> LagTimes {
    let mut buckets = BTreeMap::new();
    for lag in store.batches.lock().unwrap().iter().flat_map(|batch| &batch.lags) {
        if lag.endpoint.as_str() == LIST {
            *buckets.entry(lag.bound_ms).or_insert(0) += lag.count;
        }
    }
    LagTimes::of(&buckets).unwrap()
}

#[expect(clippy::cast_precision_loss, reason = "a few thousand ms")]
async fn tell(watermark: Watermark, first_seed: u64) {
    for seed in seeds(first_seed, 3) {
        let (store, offered, injected) = play(seed, watermark).await;
        assert_eq!(store.total(), offered, "seed {seed}: each read leaves one outcome");
        let groups: Vec<_> =
            store.groups().into_keys().map(|[e, s, ..]| format!("{e} {s}")).collect();
        assert_eq!(groups, ["messages.show $.subject"], "seed {seed}: {:?}", store.outcomes());
        let found = count(&store, "mismatch");
        assert!(found >= 20, "seed {seed}: {found} {:?}", store.outcomes());
        let told = measured(&store);
        let of = injected.len() as u64;
        assert!(told.count * 100 >= of * 95, "seed {seed}: {told:?} of {of}");
        for (per_mille, told_ms) in
            [(500, told.p50_ms), (950, told.p95_ms), (990, told.p99_ms), (1_000, told.max_ms)]
        {
            let rank = (of * per_mille).div_ceil(1_000).max(1) - 1;
            let true_ms = injected[usize::try_from(rank).unwrap()];
            let off = (told_ms as f64 / true_ms as f64 - 1.0).abs();
            assert!(off < 0.2, "seed {seed}: p{per_mille} is {true_ms}, told {told_ms}");
        }
    }
}

#[tokio::test]
async fn with_a_watermark_lag_is_told_and_a_defect_confirmed_and_nothing_else() {
    tell(Watermark::Told, 1).await;
}

#[tokio::test]
async fn without_a_watermark_lag_is_told_and_a_defect_confirmed_and_nothing_else() {
    tell(Watermark::Unknown, 101).await;
}
