//! Noise beside writes and lag: a seeded world in which one field is random for some users, counters move all the time,
//! and new follows behind. Each assertion prints its seed.

use super::*;
use crate::config::LagSource;
use crate::noise::{NOISE_RULE, NoiseConfig, NoisePlace, NoiseTotal, judge_noise};
use crate::summary::{EndpointSummary, Summary};
use crate::tally::NoiseSums;
use banyan_diff::{Rule, RuleSet};
use banyan_domain::ContextName;
use banyan_noise::Decision;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;

const USERS: u64 = 100;
const SPAN_MS: u64 = 90_000;
const START_MS: u64 = 1_000_000;

/// What new gets wrong.
#[derive(Clone, Copy, PartialEq)]
enum Defect {
    None,
    /// A wrong token for some of the users whose token is not random.
    Token,
}

struct World {
    clock: Arc<VirtualClock>,
    /// Per user: times of writes, and the count after each.
    writes: Vec<Vec<(u64, u64)>>,
    /// Watermark per 50 ms.
    watermark: Vec<u64>,
    defect: Defect,
    random: AtomicU64,
}

impl World {
    fn new(seed: u64, clock: Arc<VirtualClock>, defect: Defect) -> Self {
        let mut dice = StdRng::seed_from_u64(seed);
        let writes = (0..USERS).map(|user| writes(&mut dice, user)).collect();
        let mut passed = START_MS;
        let steps = (0..3 * SPAN_MS / 50).map(|step| {
            let now_ms = START_MS + step * 50;
            passed = passed.max(now_ms.saturating_sub(dice.random_range(20..900)));
            passed
        });
        let watermark = steps.collect();
        Self { clock, writes, watermark, defect, random: AtomicU64::new(seed) }
    }

    fn passed(&self) -> u64 {
        let step = usize::try_from((self.clock.now_ms() - START_MS) / 50).unwrap();
        self.watermark.get(step).or(self.watermark.last()).copied().unwrap()
    }

    fn answer(&self, side: Side, target: &str) -> Answer {
        let user: u64 = target.split('/').nth(2).unwrap().parse().unwrap();
        let until_ms = match side {
            Side::Legacy => self.clock.now_ms(),
            Side::New => self.passed(),
        };
        let list = &self.writes[usize::try_from(user).unwrap()];
        let count = list.iter().rev().find(|(at_ms, _)| *at_ms <= until_ms).map_or(0, |w| w.1);
        let token = self.token(side, user);
        json(200, format!("{{\"unread_count\":{count},\"token\":\"{token}\"}}"))
    }

    /// Random with each answer for three users in ten, fixed for the others; a defect gives one in ten another one.
    fn token(&self, side: Side, user: u64) -> String {
        let number = match user % 10 {
            0..3 => self.random.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::SeqCst),
            3 if side == Side::New && self.defect == Defect::Token => user + 1_000,
            _ => user,
        };
        format!("{:016x}", number.wrapping_mul(0xD6E8_FEB8_6659_FD93))
    }
}

/// Twenty users write more than once a second, the others now and then; few states, so that values come back.
fn writes(dice: &mut StdRng, user: u64) -> Vec<(u64, u64)> {
    let gap = if user < 20 { 700 } else { 15_000 };
    let (mut at_ms, mut list) = (START_MS, vec![(0, 1)]);
    while at_ms < START_MS + 3 * SPAN_MS {
        at_ms += dice.random_range(1..2 * gap);
        list.push((at_ms, dice.random_range(0..4)));
    }
    list
}

impl LagSource for World {
    fn watermark_ms(&self, _context: &ContextName) -> Option<u64> {
        Some(self.passed())
    }
}

/// Offers reads for the span; `accept` is when the token is accepted as noise, if ever.
async fn play(seed: u64, defect: Defect, accept_ms: Option<u64>) -> Arc<MemoryStore> {
    let clock = VirtualClock::start();
    let world = Arc::new(World::new(seed, clock.clone(), defect));
    let (played, lag) = (world.clone(), world.clone());
    let store = Arc::new(MemoryStore::default());
    let mut ports = ports(&store, &clock);
    ports.lag = Some(lag);
    ports.seed = seed;
    let ask = Simulated::new(&clock, move |side: Side, request: &MirrorRequest| {
        Ok(played.answer(side, &request.path_and_query))
    });
    let noise = NoiseConfig { percent: 2.0, ..NoiseConfig::default() };
    let config = ShadowConfig { noise, ..config() };
    let learned = config.learned.clone();
    let (handle, shadow) = Shadow::start_with(config, ask, &ports, CancellationToken::new());
    let mut dice = StdRng::seed_from_u64(seed ^ 1);
    while clock.now_ms() < START_MS + SPAN_MS {
        if accept_ms.is_some_and(|at_ms| clock.now_ms() >= at_ms) {
            learned.replace(accepted());
        }
        let target = format!("/users/{}/messages/unread_count", dice.random_range(0..USERS));
        let answer = world.answer(Side::Legacy, &target);
        handle.offer(served(UNREAD, &target, Side::Legacy, answer, clock.now_ms()));
        clock.pass(dice.random_range(10..50)).await;
    }
    clock.pass(30_000).await;
    clock.until(shadow.stop()).await;
    store
}

const UNREAD: &str = "messages.unread_count";

fn accepted() -> BTreeMap<EndpointName, RuleSet> {
    let rule =
        Rule::ignore_value("$.token", "random").unwrap().named(&format!("{NOISE_RULE}$.token"));
    [(EndpointName::new(UNREAD).unwrap(), RuleSet::builtin().with([rule]))].into()
}

/// The stored counts as the report reads them.
fn places(store: &MemoryStore) -> Vec<NoisePlace> {
    let mut sums: BTreeMap<(String, String), NoiseSums> = BTreeMap::new();
    for count in store.batches.lock().unwrap().iter().flat_map(|batch| &batch.noise) {
        let key = (count.shape.clone(), count.kind.clone());
        sums.entry(key).or_default().add(count.sums.clone());
    }
    let totals = sums.into_iter().map(|((shape, kind), sums)| {
        let (first_ms, last_ms) = (START_MS, START_MS);
        NoiseTotal { shape, kind, sums, first_ms, last_ms }
    });
    let evidence = EndpointSummary { noise: totals.collect(), ..EndpointSummary::default() };
    let endpoints = [(EndpointName::new(UNREAD).unwrap(), evidence)].into();
    let summary = Summary { endpoints, ..Summary::default() };
    judge_noise(&summary, &|_, _| false).into_iter().map(|(_, place)| place).collect()
}

fn suspected_pairs(store: &MemoryStore) -> u64 {
    let batches = store.batches.lock().unwrap();
    batches.iter().flat_map(|batch| &batch.noise).map(|count| count.sums.suspected_pairs).sum()
}

fn decision(places: &[NoisePlace], shape: &str) -> Vec<Decision> {
    let here = places.iter().filter(|place| place.shape == shape);
    here.map(|place| place.judged.decision).collect()
}

/// So many seeds from `first` on; `BANYAN_SEEDS=200` makes it a soak.
fn seeds(first: u64, count: u64) -> std::ops::Range<u64> {
    let wanted = std::env::var("BANYAN_SEEDS").ok().and_then(|text| text.parse().ok());
    first..first + wanted.unwrap_or(count)
}

#[tokio::test]
async fn a_random_field_is_noise_and_a_counter_that_is_written_is_not() {
    for seed in seeds(1, 2) {
        let store = play(seed, Defect::None, None).await;
        let places = places(&store);
        let token = places.iter().find(|place| place.shape == "$.token").unwrap();
        assert!(token.is_proposed(), "seed {seed}: {token:?}");
        assert!(token.counts.new_alone < 5, "seed {seed}: {token:?}");
        let (low, high) = token.rate_percent;
        assert!(low < 45.0 && 18.0 < high, "seed {seed}: three users in ten, {token:?}");
        assert!(token.example.as_ref().unwrap().starts_with("tok:hex16:"), "{token:?}");
        // The counter of some users is written more than once a second, and is never taken for noise.
        let counters: Vec<_> = places.iter().filter(|place| place.shape != "$.token").collect();
        assert!(counters.iter().all(|place| place.counts.noisy <= 1), "seed {seed}: {counters:?}");
        assert!(
            counters.iter().all(|place| place.counts.new_alone < 5),
            "seed {seed}: {counters:?}"
        );
        assert!(places.iter().all(|place| !place.is_real()), "seed {seed}: {places:?}");
        let looks: u64 = suspected_pairs(&store);
        assert!(looks > 50 && looks <= 2 * (SPAN_MS / 1_000 + 1), "seed {seed}: {looks} looks");
    }
}

#[tokio::test]
async fn a_defect_under_the_noise_is_real_and_stays_so_when_the_noise_is_accepted() {
    for seed in seeds(31, 2) {
        for accept_ms in [None, Some(START_MS)] {
            let store = play(seed, Defect::Token, accept_ms).await;
            let places = places(&store);
            let found = decision(&places, "$.token");
            assert_eq!(found, [Decision::Real], "seed {seed}, {accept_ms:?}: {places:?}");
            assert!(decision(&places, "$.unread_count").iter().all(|d| *d != Decision::Real));
        }
    }
}

#[tokio::test]
async fn accepted_noise_is_taken_up_at_once_and_ends_as_an_outcome_of_its_own() {
    let half = START_MS + SPAN_MS / 2;
    let store = play(51, Defect::None, Some(half)).await;
    let (mut before, mut after) = (0, 0);
    for batch in store.batches.lock().unwrap().iter() {
        for count in batch.outcomes.iter().filter(|count| count.outcome == "noise") {
            let sum = if count.at_ms < half - 1_000 { &mut before } else { &mut after };
            *sum += count.count;
        }
        let rule = |hidden: &&crate::HiddenCount| hidden.rule == format!("{NOISE_RULE}$.token");
        assert!(batch.hidden.iter().filter(rule).all(|hidden| hidden.at_ms >= half - 60_000));
    }
    assert_eq!(before, 0);
    // About three reads in ten of 45 s; none of them silently a match.
    assert!(after > 200, "{after}");
    assert!(store.groups().keys().all(|group| group[1] != "$.token"), "{:?}", store.groups());
}

#[tokio::test]
async fn no_share_and_no_room_ask_legacy_nothing_more() {
    let config = ShadowConfig { noise: NoiseConfig::with_percent(0.0), ..config() };
    let run = Run::start_as(config, |_| {}, |_, _| Ok(json(200, r#"{"a":1}"#)));
    for _ in 0..100 {
        run.offer(json(200, r#"{"a":1}"#));
        run.clock.pass(20).await;
    }
    assert_eq!(run.ask.asked(), 100);
    let store = run.finish().await;
    assert!(store.batches.lock().unwrap().iter().all(|batch| batch.noise.is_empty()));
}
