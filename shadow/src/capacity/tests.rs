use super::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

fn list() -> EndpointName {
    EndpointName::new("messages.list").unwrap()
}

/// Sends `per_second` requests for so many seconds; each answered at once with `sign`. How many were sent.
fn send(side: &mut Capacity, from_ms: u64, seconds: u64, per_second: u64, sign: Sign) -> u64 {
    let mut sent = 0;
    for nth in 0..seconds * per_second {
        let now_ms = from_ms + nth * 1_000 / per_second;
        if side.admit(now_ms, Purpose::Mirror).is_ok() {
            side.answered(now_ms, &list(), sign);
            sent += 1;
        }
    }
    sent
}

#[test]
fn the_rate_is_never_above_its_limit() {
    let mut side = Capacity::new(CapacityConfig { per_second: 50, at_once: 4 });
    let sent = send(&mut side, 0, 20, 1_000, Sign::Fine(3));
    assert!((1_000..=1_060).contains(&sent), "{sent}");
    assert_eq!(side.admit(19_999, Purpose::Mirror), Err(Refused::OverCapacity));
}

#[test]
fn mirrored_reads_leave_something_for_re_reads_and_looks_give_way_first() {
    let mut side = Capacity::new(CapacityConfig { per_second: 10, at_once: 100 });
    let mut take = |purpose| (0..100).filter(|_| side.admit(0, purpose).is_ok()).count();
    assert_eq!(take(Purpose::Look), 5);
    assert_eq!(take(Purpose::Mirror), 3);
    assert_eq!(take(Purpose::Reread), 2);
}

#[test]
fn no_more_at_once_than_allowed_and_places_come_back() {
    let mut side = Capacity::new(CapacityConfig { per_second: 100, at_once: 2 });
    assert!(side.admit(0, Purpose::Mirror).is_ok() && side.admit(0, Purpose::Mirror).is_ok());
    assert_eq!(side.admit(0, Purpose::Reread), Err(Refused::OverCapacity));
    side.abandoned();
    assert!(side.admit(0, Purpose::Reread).is_ok());
}

#[test]
fn a_slow_side_gets_less_within_seconds_and_all_again_slowly() {
    let mut side = Capacity::new(CapacityConfig { per_second: 200, at_once: 4 });
    send(&mut side, 0, 30, 100, Sign::Fine(10));
    assert!((side.share() - 1.0).abs() < 1e-9);
    send(&mut side, 30_000, 8, 100, Sign::Fine(120));
    assert!(side.share() < 0.05, "{}", side.share());
    assert_eq!(side.change(38_000), Some(Standing::BackingOff));
    let while_slow = send(&mut side, 38_000, 5, 100, Sign::Fine(120));
    assert!((5..=40).contains(&while_slow), "{while_slow}");
    send(&mut side, 43_000, 5, 100, Sign::Fine(10));
    assert!(side.share() < 0.5, "not at once: {}", side.share());
    send(&mut side, 48_000, 40, 100, Sign::Fine(10));
    assert_eq!(side.change(88_000), Some(Standing::Free));
    assert_eq!(side.change(88_000), None, "told once");
}

#[test]
fn a_side_that_is_slower_for_good_is_accepted_in_time() {
    let mut side = Capacity::new(CapacityConfig::default());
    send(&mut side, 0, 30, 100, Sign::Fine(10));
    send(&mut side, 30_000, 120, 100, Sign::Fine(80));
    assert!(side.share() < 0.1, "not within minutes: {}", side.share());
    send(&mut side, 150_000, 900, 100, Sign::Fine(80));
    assert!((side.share() - 1.0).abs() < 1e-9, "{}", side.share());
}

#[test]
fn a_rest_that_a_side_asks_for_is_kept() {
    let mut side = Capacity::new(CapacityConfig::default());
    assert!(side.admit(0, Purpose::Mirror).is_ok());
    side.answered(0, &list(), Sign::Overloaded(retry_after_ms(b" 7 ")));
    assert_eq!(side.change(0), Some(Standing::Resting));
    assert_eq!(side.admit(6_999, Purpose::Reread), Err(Refused::BackingOff));
    assert!(side.admit(7_000, Purpose::Reread).is_ok());
    assert_eq!(side.change(7_000), Some(Standing::BackingOff));
    assert_eq!(retry_after_ms(b"Wed, 21 Oct 2015 07:28:00 GMT"), Some(30_000));
    assert_eq!(retry_after_ms(b"-1"), None);
}

#[test]
fn errors_that_are_new_count_and_errors_that_are_usual_do_not() {
    let mut side = Capacity::new(CapacityConfig::default());
    send(&mut side, 0, 20, 100, Sign::Fine(10));
    send(&mut side, 20_000, 4, 100, Sign::Errored);
    assert!(side.share() < 0.2, "{}", side.share());
    send(&mut side, 24_000, 400, 100, Sign::Errored);
    // A service that always fails is a defect to be shown, not load to be spared; but without one good answer the
    // share does not grow.
    assert!(side.share() <= 1.0 / 32.0);
    send(&mut side, 424_000, 60, 100, Sign::Fine(10));
    assert!((side.share() - 1.0).abs() < 1e-9);
}

#[test]
fn it_never_becomes_nothing() {
    let mut side = Capacity::new(CapacityConfig { per_second: 10, at_once: 1 });
    let mut sent = 0;
    for second in 0..300 {
        sent += send(&mut side, second * 1_000, 1, 10, Sign::Unreachable);
    }
    assert!(sent >= 200, "{sent}");
}

/// A side with a bounded number of requests per tick of 10 ms, and clients of its own that come first in line.
struct World {
    dice: StdRng,
    capacity: Capacity,
    shadow: bool,
    /// Clients and shadow requests in line, with the time they came.
    line: std::collections::VecDeque<(u64, bool)>,
    client_ms: Vec<u64>,
    shadow_sent: u64,
}

impl World {
    fn new(seed: u64, shadow: bool) -> Self {
        let config = CapacityConfig { per_second: 400, at_once: 32 };
        Self {
            dice: StdRng::seed_from_u64(seed),
            capacity: Capacity::new(config),
            shadow,
            line: std::collections::VecDeque::new(),
            client_ms: Vec::new(),
            shadow_sent: 0,
        }
    }

    /// One tick: `clients` come (on average, in thousandths), a mirrored read of each is wanted, `served` are answered.
    fn tick(&mut self, now_ms: u64, clients: u32, served: usize) {
        let come = clients / 1_000 + u32::from(self.dice.random_range(0..1_000) < clients % 1_000);
        for _ in 0..come {
            self.line.push_back((now_ms, false));
        }
        for _ in 0..if self.shadow { come } else { 0 } {
            if self.capacity.admit(now_ms, Purpose::Mirror).is_ok() {
                self.line.push_back((now_ms, true));
                self.shadow_sent += 1;
            }
        }
        for _ in 0..served {
            let Some((came_ms, shadow)) = self.line.pop_front() else { break };
            let took_ms = now_ms - came_ms + self.dice.random_range(3..8);
            if shadow {
                self.capacity.answered(now_ms, &list(), Sign::Fine(took_ms));
            } else {
                self.client_ms.push(took_ms);
            }
        }
    }

    /// 95 % of the clients since the last call were not slower.
    fn p95_ms(&mut self) -> u64 {
        let mut times = std::mem::take(&mut self.client_ms);
        times.sort_unstable();
        times[times.len() * 95 / 100]
    }
}

#[test]
fn clients_of_a_side_that_gets_into_trouble_hardly_notice_the_shadow() {
    for seed in 1..=20 {
        let (mut alone, mut shadowed) = (World::new(seed, false), World::new(seed, true));
        let mut play = |from_ms: u64, seconds: u64, served: usize| {
            for now_ms in (from_ms..from_ms + seconds * 1_000).step_by(10) {
                for world in [&mut alone, &mut shadowed] {
                    // 300 clients per second.
                    world.tick(now_ms, 3_000, served);
                }
            }
            let sent = std::mem::take(&mut shadowed.shadow_sent);
            (alone.p95_ms(), shadowed.p95_ms(), sent, shadowed.capacity.share())
        };
        let (_, healthy_ms, sent, share) = play(0, 30, 10);
        assert!(healthy_ms < 30 && sent > 5_000 && share > 0.99, "seed {seed}: {sent} {share}");
        // The side now manages 400 per second: enough for its clients, not for as many mirrored reads as before.
        play(30_000, 15, 4);
        let (alone_ms, shadowed_ms, sent, share) = play(45_000, 30, 4);
        assert!(share < 0.5, "seed {seed}: {share}");
        assert!(sent > 30, "seed {seed}: shadowing goes on, {sent}");
        assert!(shadowed_ms < alone_ms + 90, "seed {seed}: {shadowed_ms} against {alone_ms}");
        let (_, healed_ms, _, share) = play(75_000, 60, 10);
        assert!(healed_ms < 30 && share > 0.99, "seed {seed}: {healed_ms} {share}");
    }
}
