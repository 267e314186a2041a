//! Switches there and back, again and again, under writes through two proxies.

use crate::ledger;
use crate::world::{Machines, Places, World};

fn from_env(name: &str, default: u32) -> u32 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded() {
    there_and_back(Places::embedded(), from_env("BANYAN_SWITCHES", 3), 120).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers() {
    let Some(machines) = Machines::start() else { return };
    there_and_back(machines.places(), from_env("BANYAN_SWITCHES", 3), from_env("BANYAN_RATE", 150))
        .await;
}

/// `switches` changes of the owner; the writes go on all the time.
async fn there_and_back(places: Places, switches: u32, rate: u32) {
    let seed = u64::from(from_env("BANYAN_TEST_SEED", 7));
    println!("seed {seed}, {switches} switches, {rate} requests/s");
    let mut world = World::start(places).await;
    world.start_traffic(rate, 100, seed);
    let begun = std::time::Instant::now();
    let mut holds = Vec::new();
    println!("{:>4} {:<8} {:>8} {:>10} {:>9}", "#", "owner", "hold ms", "drained", "verified");
    for number in 1..=switches {
        world.let_pass(u64::from(rate));
        let done = if number % 2 == 1 { world.forward() } else { world.back() };
        let hold = done["hold_ms"].as_u64().unwrap();
        let owner = done["owner"].as_str().unwrap();
        println!(
            "{number:>4} {owner:<8} {hold:>8} {:>10} {:>9}",
            done["drained_rows"], done["verified"]
        );
        holds.push(hold);
    }
    world.let_pass(u64::from(rate));
    let lasted = begun.elapsed().as_secs_f64();
    let traffic = world.end_traffic();
    assert_eq!(traffic["failed"], 0, "{traffic:#}");
    world.settle();
    let checked = ledger::check(&world).await;
    holds.sort_unstable();
    let per_second = f64::from(u32::try_from(checked.writes).unwrap()) / lasted;
    let at = |percent: usize| holds[(holds.len() * percent).div_ceil(100).max(1) - 1];
    println!(
        "hold p50 {} ms, p99 {} ms; {} requests in {lasted:.0} s, {} failed; {} acknowledged writes of the context ({per_second:.0}/s) \
         on the owner's side and equal on the other; {} public events, {} came twice",
        at(50),
        at(99),
        traffic["requests"],
        traffic["failed"],
        checked.writes,
        checked.events,
        checked.repeated,
    );
    assert!(checked.writes > 100, "{checked:?}");
    assert_eq!(checked.repeated, 0, "nobody died, so no event comes twice");
    assert_eq!(checked.unanswered, 0, "nobody died, so each write has its answer");
    assert!(at(99) < 4_000, "a hold that long is given up");
}
