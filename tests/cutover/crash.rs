//! Somebody dies at a step of a switch: whoever comes next finishes it or gives it up, and everything promised holds.

use crate::ledger;
use crate::support::wait_until;
use crate::world::{Places, World};
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};

/// Steps at whose end the coordinator is stopped and killed.
const STEPS: [&str; 13] = [
    "catch_up",
    "arm",
    "hold",
    "close",
    "drain",
    "verify",
    "sequences",
    "open_marker",
    "commit",
    "route",
    "reverse",
    "settle",
    "seal",
];
/// Who dies beside it.
const VICTIMS: [&str; 6] = ["nobody", "proxy-a", "sync", "events", "messages", "mothership"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded() {
    let seed = std::env::var("BANYAN_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(rand::random::<u32>);
    let mut random = StdRng::seed_from_u64(u64::from(seed));
    let mut plan: Vec<(&str, &str)> =
        STEPS.iter().flat_map(|step| VICTIMS.iter().map(move |victim| (*step, *victim))).collect();
    plan.shuffle(&mut random);
    match std::env::var("BANYAN_CRASHES").as_deref() {
        Ok("all") => {}
        Ok(number) => plan.truncate(number.parse().unwrap()),
        Err(_) => plan.truncate(5),
    }
    println!("seed {seed}, {} crashes", plan.len());
    let mut world = World::start(Places::embedded()).await;
    world.start_traffic(100, 60, 3);
    world.let_pass(100);
    for (number, (step, victim)) in (1..).zip(&plan) {
        let aborts = random.random_bool(0.4);
        let ended = crash(&mut world, step, victim, aborts);
        println!("{number:>3} killed at {step:<11} with {victim:<10} then {ended}");
        world.let_pass(50);
    }
    let traffic = world.end_traffic();
    world.settle();
    let checked = ledger::check(&world).await;
    println!(
        "{} requests, {} without a proper answer while something was dead; {} acknowledged writes, {} events, {} twice: all there",
        traffic["requests"], traffic["failed"], checked.writes, checked.events, checked.repeated
    );
}

/// Kills the coordinator at the end of a step, and a part beside it; then somebody else goes on, or gives up.
fn crash(world: &mut World, step: &str, victim: &'static str, aborts: bool) -> String {
    let (owner, stage) = world.standing();
    assert_eq!(stage, "steady");
    let to = if owner == "legacy" { "new" } else { "legacy" };
    let log = format!("coordinator-{step}-{victim}");
    drop(std::fs::remove_file(world.folder.file(&log)));
    let arguments = [
        "context",
        "cutover",
        "messages",
        "--to",
        to,
        "--execute",
        "--force",
        "--reason",
        "crash",
        "-v",
    ];
    let coordinator =
        world.folder.start_into(&log, &arguments, &[("BANYAN_TEST_HALT_AT", step.to_owned())]);
    let said = || std::fs::read_to_string(world.folder.file(&log)).unwrap_or_default();
    // A step that had nothing to do is not done; then the switch ends by itself.
    wait_until(&format!("the coordinator to halt at {step}"), || {
        let said = said();
        said.contains("halted for a test")
            || said.contains("owns `messages`")
            || said.contains("given up")
    });
    coordinator.kill();
    if victim != "nobody" {
        world.kill(victim);
        world.start_part(victim);
    }
    let mut word = if aborts { "--abort" } else { "--resume" };
    let mut last = String::new();
    wait_until(&format!("{word} after {step} and {victim}: {last}"), || {
        let output = world.output(&["context", "cutover", "messages", word], &[]);
        last = String::from_utf8_lossy(&output.stderr).into_owned();
        if last.contains("is decided") {
            word = "--resume";
            return false;
        }
        output.status.code() == Some(0) || last.contains("was given up")
    });
    assert_eq!(world.standing().1, "steady", "{last}");
    let (owner, _) = world.standing();
    format!("{word}: {owner} owns it")
}
