//! The real driver on a world in memory, with a seed: deaths, lost replies, two runs at once, sides that are away.
//!
//! A failing seed is printed; `BANYAN_SEED=n` runs only that one.

use banyan_cutover::{Ending, Intent, Order};
use banyan_domain::Side;

use crate::theatre::{Driver, Theatre};
use crate::world::{Size, World, Write};

const SIZE: Size =
    Size { proxies: 2, writes: 16, direct: 16, workers: 2, events: true, deaths: true };

const fn order(intent: Intent) -> Order {
    Order { intent, force: false }
}

const fn start(to: Side) -> Order {
    order(Intent::Start { to })
}

fn holds(world: &World, seed: u64) {
    let open = Side::ALL.into_iter().filter(|side| world.fence(*side).is_open()).count();
    let owner = world.owner();
    assert!(open <= 1, "I1 with seed {seed}");
    assert_eq!(world.acked & !world.data(owner), 0, "I2 with seed {seed}");
    let unmoved = world.data(owner) & !world.data(owner.other());
    assert_eq!(unmoved & !world.changes(owner), 0, "I5 with seed {seed}");
    assert_eq!(world.broke, None, "with seed {seed}");
}

/// Whoever comes last, alone and without faults, brings everything to rest.
fn comes_to_rest(theatre: &Theatre, seed: u64) {
    let (ending, _) = theatre.run(order(Intent::Resume)).unwrap();
    let ended =
        matches!(ending, Ending::Finished(_) | Ending::GivenUp { .. } | Ending::Nothing { .. });
    assert!(ended, "{ending:?} with seed {seed}");
    theatre.settle();
    let inside = theatre.lock();
    holds(&inside.world, seed);
    assert!(inside.world.at_rest(), "seed {seed}: {ending:?} {:#?}", inside.world);
}

fn any_order(theatre: &Theatre) -> Order {
    match theatre.lock().dice.throw(8) {
        0..3 => start(Side::New),
        3 | 4 => start(Side::Legacy),
        5 | 6 => order(Intent::Resume),
        _ => order(Intent::Abort),
    }
}

/// Three runs that come, die and come back at random, while sides go away and calls get lost.
fn chaos(seed: u64) -> (u64, u64) {
    let theatre = Theatre::new(SIZE, seed);
    let mut drivers: Vec<Option<Driver>> = (0..3).map(|_| None).collect();
    let (mut finished, mut given_up) = (0, 0);
    for _ in 0..6_000 {
        let (who, act) = {
            let mut inside = theatre.lock();
            let inside = &mut *inside;
            if inside.dice.one_in(400) {
                inside.fault_one_in = [0, 0, 40, 8][usize::try_from(inside.dice.throw(4)).unwrap()];
            }
            if inside.dice.one_in(200) {
                let all = ["legacy", "new", "control", "forwarder", "broker", "sync"];
                let away = all[usize::try_from(inside.dice.throw(6)).unwrap()];
                inside.away = if inside.away.is_empty() { vec![away] } else { Vec::new() };
            }
            (usize::try_from(inside.dice.throw(3)).unwrap(), inside.dice.throw(200))
        };
        theatre.happen();
        theatre.happen();
        match (&mut drivers[who], act) {
            (driver @ Some(_), 0) => *driver = None,
            (Some(driver), _) => {
                if let Some((ending, _)) = Theatre::poll(driver) {
                    finished += u64::from(matches!(ending, Ending::Finished(_)));
                    given_up += u64::from(matches!(ending, Ending::GivenUp { .. }));
                    assert!(!matches!(ending, Ending::Broken(_)), "{ending:?} with seed {seed}");
                    drivers[who] = None;
                }
            }
            (driver @ None, 1..20) => *driver = Some(theatre.driver(any_order(&theatre))),
            (None, _) => {}
        }
        holds(&theatre.lock().world, seed);
    }
    drop(drivers);
    {
        let mut inside = theatre.lock();
        inside.fault_one_in = 0;
        inside.away.clear();
    }
    comes_to_rest(&theatre, seed);
    // And nothing is left behind that would stop the next switch.
    let to = theatre.lock().world.owner().other();
    let (ending, _) = theatre.run(start(to)).unwrap();
    assert!(matches!(ending, Ending::Finished(_)), "{ending:?} with seed {seed}");
    theatre.settle();
    let inside = theatre.lock();
    assert!(inside.world.at_rest() && inside.world.owner() == to, "seed {seed}");
    let done = inside.world.writes.iter().filter(|write| **write == Write::Done).count();
    assert_eq!(inside.world.public.len(), done, "each event once, with seed {seed}");
    (finished, given_up)
}

fn seeds(count: u64) -> Vec<u64> {
    let one = std::env::var("BANYAN_SEED").ok().map(|seed| seed.parse().unwrap());
    one.map_or_else(|| (1..=count).collect(), |seed| vec![seed])
}

fn run(count: u64) {
    let (mut finished, mut given_up) = (0, 0);
    for seed in seeds(count) {
        let ended = chaos(seed);
        finished += ended.0;
        given_up += ended.1;
    }
    println!("{count} seeds: {finished} switches finished, {given_up} given up");
    assert!(finished > 0 && given_up > 0, "both ways are walked");
}

#[test]
fn three_runs_at_once_lose_nothing_whatever_fails() {
    run(150);
}

/// cargo test -p banyan-cutover --test suite -- --ignored --nocapture three_runs_for_a_night
#[test]
#[ignore = "20,000 seeds"]
fn three_runs_for_a_night() {
    run(20_000);
}
