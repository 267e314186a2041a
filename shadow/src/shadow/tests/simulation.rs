//! A seeded world in which one side follows the other with a random lag while writes go on.
//!
//! Each assertion prints its seed. Legacy at a time shows the last write before it; new shows the last write before the
//! watermark, which moves in jerks and sometimes stands for seconds. The states are few on purpose, so that values
//! come back: the worst case for telling lag from a defect.

use super::*;
use crate::config::LagSource;
use banyan_domain::ContextName;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const USERS: u64 = 60;
const SPAN_MS: u64 = 60_000;
const START_MS: u64 = 1_000_000;

/// What the new side gets wrong.
#[derive(Clone, Copy, PartialEq)]
enum Defects {
    None,
    Planted,
}

struct World {
    clock: Arc<VirtualClock>,
    /// Per user: times of writes and the state after each.
    writes: Vec<Vec<(u64, u64)>>,
    /// Watermark per 50 ms.
    watermark: Vec<u64>,
    defects: Defects,
}

impl World {
    fn new(seed: u64, clock: Arc<VirtualClock>, defects: Defects) -> Self {
        let mut dice = StdRng::seed_from_u64(seed);
        let writes = (0..USERS).map(|user| writes(&mut dice, user)).collect();
        let watermark = watermark(&mut dice);
        Self { clock, writes, watermark, defects }
    }

    fn passed(&self) -> u64 {
        let step = (self.clock.now_ms() - START_MS) / 50;
        let last = self.watermark.last().copied().unwrap();
        self.watermark.get(usize::try_from(step).unwrap()).copied().unwrap_or(last)
    }

    fn state(&self, user: u64, until_ms: u64) -> u64 {
        let list = &self.writes[usize::try_from(user).unwrap()];
        list.iter().rev().find(|(at_ms, _)| *at_ms <= until_ms).map_or(0, |(_, state)| *state)
    }

    fn answer(&self, side: Side, target: &str) -> Answer {
        let user: u64 = target.split('/').nth(2).unwrap().parse().unwrap();
        let until_ms = match side {
            Side::Legacy => self.clock.now_ms(),
            Side::New => self.passed(),
        };
        let state = self.state(user, until_ms);
        let wrong = self.defects == Defects::Planted && side == Side::New;
        let body = if target.ends_with("unread_count") {
            let off = u64::from(wrong && user == 7);
            format!("{{\"user_id\":{user},\"unread_count\":{}}}", state + off)
        } else {
            let time = if wrong { "2014-06-12T10:00:00Z" } else { "2014/06/12 10:00:00 +0000" };
            let items = (0..state).map(|n| format!("{{\"id\":{n},\"created_at\":\"{time}\"}}"));
            let items = items.collect::<Vec<_>>().join(",");
            format!("{{\"messages\":[{items}],\"total\":{state}}}")
        };
        json(200, body)
    }
}

/// Five users write all the time, the others now and then.
fn writes(dice: &mut StdRng, user: u64) -> Vec<(u64, u64)> {
    let gap = if user < 5 { 1_500 } else { 20_000 };
    let mut at_ms = START_MS;
    let mut list = vec![(0, 1)];
    while at_ms < START_MS + 2 * SPAN_MS {
        at_ms += dice.random_range(1..2 * gap);
        list.push((at_ms, dice.random_range(0..4)));
    }
    list
}

/// 20 ms to 900 ms behind, and about twice a minute standing for up to 12 s.
fn watermark(dice: &mut StdRng) -> Vec<u64> {
    let (mut passed, mut stands_until) = (START_MS, 0);
    let steps = (0..2 * SPAN_MS / 50).map(|step| {
        let now_ms = START_MS + step * 50;
        if dice.random_range(0..600) == 0 {
            stands_until = now_ms + dice.random_range(1_000..12_000);
        }
        if now_ms >= stands_until {
            passed = passed.max(now_ms.saturating_sub(dice.random_range(20..900)));
        }
        passed
    });
    steps.collect()
}

impl LagSource for World {
    fn watermark_ms(&self, _context: &ContextName) -> Option<u64> {
        // The clocks of the databases differ a little.
        Some(self.passed() + 200)
    }
}

/// Offers random reads for the span; gives the store and how many were offered.
async fn play(seed: u64, defects: Defects) -> (Arc<MemoryStore>, u64) {
    let clock = VirtualClock::start();
    let world = Arc::new(World::new(seed, clock.clone(), defects));
    let (played, lag) = (world.clone(), world.clone());
    let store = Arc::new(MemoryStore::default());
    let mut ports = ports(&store, &clock);
    ports.lag = Some(lag);
    ports.seed = seed;
    let ask = Simulated::new(&clock, move |side: Side, request: &MirrorRequest| {
        Ok(played.answer(side, &request.path_and_query))
    });
    let cancel = CancellationToken::new();
    let (handle, shadow) = Shadow::start_with(config(), ask, &ports, cancel);
    let mut dice = StdRng::seed_from_u64(seed ^ 1);
    let mut offered = 0;
    while clock.now_ms() < START_MS + SPAN_MS {
        let user = dice.random_range(0..USERS);
        let (endpoint, target) = match dice.random_range(0..2) {
            0 => ("messages.unread_count", format!("/users/{user}/messages/unread_count")),
            _ => (LIST, format!("/users/{user}/messages")),
        };
        let by = if dice.random_range(0..4) == 0 { Side::New } else { Side::Legacy };
        let answer = world.answer(by, &target);
        handle.offer(served(endpoint, &target, by, answer, clock.now_ms()));
        offered += 1;
        clock.pass(dice.random_range(5..40)).await;
    }
    clock.pass(30_000).await;
    clock.until(shadow.stop()).await;
    (store, offered)
}

/// So many seeds from `first` on; `BANYAN_SEEDS=200` makes it a soak.
pub(super) fn seeds(first: u64, count: u64) -> std::ops::Range<u64> {
    let wanted = std::env::var("BANYAN_SEEDS").ok().and_then(|text| text.parse().ok());
    first..first + wanted.unwrap_or(count)
}

pub(super) fn count(store: &MemoryStore, wanted: &str) -> u64 {
    let outcomes = store.outcomes().into_iter();
    outcomes.filter(|((outcome, _), _)| outcome == wanted).map(|(_, count)| count).sum()
}

#[tokio::test]
async fn writes_and_lag_alone_never_make_a_mismatch() {
    let (mut compared, mut lag) = (0, 0);
    for seed in seeds(1, 4) {
        let (store, offered) = play(seed, Defects::None).await;
        let outcomes = store.outcomes();
        assert_eq!(store.total(), offered, "seed {seed}");
        assert!(store.groups().is_empty(), "seed {seed}: {:?} {outcomes:?}", store.groups());
        let undecided = count(&store, "inconclusive");
        // A sync that stands for 12 s fills the places of its cause; most reads are decided even then.
        assert!(undecided * 4 < offered, "seed {seed}: {outcomes:?}");
        compared += offered;
        lag += count(&store, "lag");
    }
    assert!(compared > 5_000 && lag > 100, "{compared} compared, {lag} lagged");
}

#[tokio::test]
async fn planted_defects_are_found_among_the_noise_and_nothing_else() {
    for seed in seeds(11, 2) {
        let (store, _) = play(seed, Defects::Planted).await;
        let groups: Vec<_> = store.groups().into_keys().map(|[e, s, _, t]| (e, s, t)).collect();
        let expected = [
            (LIST, "$.messages[*].created_at", "rails-time -> iso8601"),
            ("messages.unread_count", "$.unread_count", "int -> int+1"),
        ];
        let expected = expected.map(|(e, s, t)| (e.to_owned(), s.to_owned(), t.to_owned()));
        assert_eq!(groups, expected, "seed {seed}");
    }
}
