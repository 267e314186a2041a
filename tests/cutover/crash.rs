//! Somebody dies at a step of a switch: whoever comes next finishes it or gives it up, and everything promised holds.

use crate::ledger;
use crate::support::wait_until;
use crate::world::{Machines, Places, World};
use std::collections::BTreeSet;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};

/// Steps at whose end somebody dies.
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
/// Who dies beside the coordinator, or instead of it.
const PARTS: [&str; 5] = ["proxy-a", "sync", "events", "messages", "mothership"];
const SERVERS: [&str; 3] = ["legacy-db", "new-db", "broker"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded() {
    let (plan, random) = plan(&PARTS, 5);
    crashes(World::start(Places::embedded()).await, &plan, random).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers() {
    let Some(machines) = Machines::start() else { return };
    let (plan, random) = plan(&[PARTS.as_slice(), &SERVERS].concat(), 4);
    crashes(World::start_on(machines).await, &plan, random).await;
}

/// One death: at the end of which step, who, and whether the coordinator dies too.
#[derive(Clone)]
struct Death {
    step: &'static str,
    victim: Option<&'static str>,
    with_coordinator: bool,
}

impl Death {
    /// As the environment names it: `hold/sync+coordinator`.
    fn kind(&self) -> String {
        let with = if self.with_coordinator { "+coordinator" } else { "" };
        format!("{}/{}{with}", self.step, self.victim.unwrap_or("nobody"))
    }
}

/// Each step with the coordinator alone, with it and each victim, and with each victim while the coordinator lives on; in
/// a seeded order, as many as are wanted (more than there are: again from the first).
fn plan(victims: &[&'static str], usual: usize) -> (Vec<Death>, StdRng) {
    let seed = std::env::var("BANYAN_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(rand::random::<u32>);
    let mut random = StdRng::seed_from_u64(u64::from(seed));
    let alone = STEPS.map(|step| (step, None, true));
    let both = STEPS.iter().flat_map(|step| {
        victims.iter().flat_map(move |victim| {
            [true, false].map(|with_coordinator| (*step, Some(*victim), with_coordinator))
        })
    });
    let death = |(step, victim, with_coordinator)| Death { step, victim, with_coordinator };
    let mut all: Vec<_> = alone.into_iter().chain(both).map(death).collect();
    if let Ok(kinds) = std::env::var("BANYAN_KINDS") {
        all.retain(|death| kinds.split(',').any(|kind| death.kind().contains(kind)));
        assert!(
            !all.is_empty(),
            "BANYAN_KINDS={kinds} is part of no kind, as hold/sync+coordinator"
        );
    }
    all.shuffle(&mut random);
    let wanted = match std::env::var("BANYAN_CRASHES").as_deref() {
        Ok("all") => all.len(),
        Ok(number) => number.parse().unwrap(),
        Err(_) => usual,
    };
    println!("seed {seed}, {wanted} crashes of {} kinds", all.len());
    (all.into_iter().cycle().take(wanted).collect(), random)
}

async fn crashes(mut world: World, plan: &[Death], mut random: StdRng) {
    world.start_traffic(100, 60, 3);
    world.let_pass(100);
    let mut owners = BTreeSet::new();
    for (number, death) in (1..).zip(plan) {
        let ended = crash(&mut world, death, number, &mut random);
        println!(
            "{number:>3} at the end of {:<11} died {:<10} {:<19} then {ended}",
            death.step,
            death.victim.unwrap_or("nobody"),
            if death.with_coordinator { "and the coordinator" } else { "" },
        );
        owners.insert(world.standing().0);
        takes_writes(&world);
    }
    assert!(
        owners.len() == 2 || plan.len() < 5,
        "both sides owned the context in turn: {owners:?}"
    );
    let traffic = world.end_traffic();
    world.settle();
    let checked = ledger::check(&world).await;
    println!(
        "{} requests, {} without a proper answer while something was dead; {} acknowledged writes, {} edits without an answer, \
         {} events, {} twice: all there",
        traffic["requests"],
        traffic["failed"],
        checked.writes,
        checked.unanswered,
        checked.events,
        checked.repeated
    );
}

/// One side is open, the other is not, and no request fails any more.
fn takes_writes(world: &World) {
    let shown = world.folder.json(&["context", "show", "messages"]);
    let open = |side: &str| shown["fences"][side]["state"] == "open";
    assert!(open("legacy") != open("new"), "{shown:#}");
    let failed = || world.counts()["failed"].as_u64().unwrap_or(0);
    wait_until("requests to be answered as before", || {
        let before = failed();
        world.let_pass(50);
        failed() == before
    });
}

/// Halts the coordinator at the end of a step; what is to die dies there. Then the coordinator goes on, or somebody else
/// goes on or gives up in its place.
fn crash(world: &mut World, death: &Death, number: u32, random: &mut StdRng) -> String {
    let (owner, stage) = world.standing();
    assert_eq!(stage, "steady");
    let to = if owner == "legacy" { "new" } else { "legacy" };
    let step = death.step;
    let (log, go) = (format!("coordinator-{number}"), format!("go-{number}"));
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
    let halt = [("BANYAN_TEST_HALT_AT", step.to_owned()), ("BANYAN_TEST_HALT_UNTIL", go.clone())];
    let start = || world.folder.start_into(&log, &arguments, &halt);
    let mut coordinator = start();
    let file = world.folder.file(&log);
    let said = || std::fs::read_to_string(&file).unwrap_or_default();
    // A step that had nothing to do is not done; then the switch ends by itself.
    wait_until(&format!("the coordinator to halt at {step}"), || {
        let said = said();
        if said.contains("the first copy is not done") {
            // Where the next target was dead as the last switch would have taken it as copied, it is copied now, under traffic;
            // until then a switch is refused and nothing has moved.
            if coordinator.has_ended() {
                coordinator = start();
            }
            return false;
        }
        said.contains("halted for a test")
            || said.contains("owns `messages`")
            || said.contains("given up")
    });
    // The last steps may be over before they are done; all others are died at, or the test tests nothing.
    let halted = said().contains("halted for a test");
    assert!(halted || ["settle", "seal"].contains(&step), "{step}: {}", said());
    if death.with_coordinator {
        coordinator.kill();
        dies(world, death.victim, Duration::ZERO);
        return others_go_on(world, step, random);
    }
    // The coordinator goes on beside the dead part, which is back before or after it meets it.
    world.folder.write(&go, "go");
    dies(world, death.victim, Duration::from_millis(random.random_range(0..2_000)));
    wait_until(&format!("the coordinator to end: {}", said()), || coordinator.has_ended());
    let (owner, stage) = world.standing();
    if stage == "steady" {
        return format!("it went on: {owner} owns it");
    }
    others_go_on(world, step, random)
}

fn dies(world: &mut World, victim: Option<&'static str>, dead_for: Duration) {
    let Some(victim) = victim else { return };
    world.kill(victim);
    std::thread::sleep(dead_for);
    world.start_part(victim);
}

fn others_go_on(world: &World, step: &str, random: &mut StdRng) -> String {
    let mut word = if random.random_bool(0.4) { "--abort" } else { "--resume" };
    let first = word;
    let mut last = String::new();
    wait_until(&format!("{word} after {step}"), || {
        let output = world.output(&["context", "cutover", "messages", word], &[]);
        last = String::from_utf8_lossy(&output.stderr).into_owned();
        if last.contains("is decided") {
            word = "--resume";
            return false;
        }
        output.status.code() == Some(0) || last.contains("was given up")
    });
    let (owner, stage) = world.standing();
    assert_eq!(stage, "steady", "{last}");
    format!("{first}: {owner} owns it")
}
