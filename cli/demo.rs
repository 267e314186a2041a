//! `banyan demo`: the whole loop on a practice world, told step by step.
//!
//! Owns the story: a bounded context leaves the monolith read endpoint by read endpoint, under traffic, with
//! shadow diffs, a running sync and one emitter. It uses nothing but the commands that a user would type, so
//! whatever it shows, anybody can do. What must stay true: the summary states what was measured, and the
//! exit code is 0 only if no request failed, nothing drifted and every event is public exactly once.

mod effect;
mod process;
mod summary;
mod tale;
mod walk;
mod world;

use crate::args::DemoArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;
use crate::wiring::signal::Stop;
use summary::Summary;
use tale::Tale;
use walk::Walk;
use world::World;

/// How large the world is and how much evidence each step waits for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) users: u32,
    pub(crate) messages: u32,
    /// Requests per second of the traffic.
    pub(crate) rate: u32,
    /// Share of differing requests that the gate accepts, in percent.
    pub(crate) budget_percent: u32,
    /// Distinct requests per endpoint that prove it at 95 %.
    pub(crate) distinct: u64,
    /// Callers at a time.
    pub(crate) callers: u32,
    /// Compared reads before the clean gate is asked.
    pub(crate) compared: u64,
    /// Requests served in each later phase.
    pub(crate) requests_per_phase: u64,
    /// The longest any step may wait, in seconds.
    pub(crate) patience_s: u64,
}

/// Requests per second at most when the databases or the broker are servers of their own.
const SERVERS_RATE: u32 = 180;

const FULL: Size = Size {
    users: 2_000,
    messages: 200_000,
    rate: 250,
    budget_percent: 1,
    distinct: 310,
    callers: 200,
    compared: 6_000,
    requests_per_phase: 1_500,
    patience_s: 240,
};

const FAST: Size = Size {
    users: 400,
    messages: 8_000,
    rate: 450,
    budget_percent: 2,
    distinct: 155,
    callers: 160,
    compared: 1_000,
    requests_per_phase: 150,
    patience_s: 150,
};

pub(crate) async fn run(args: &DemoArgs, output: &Output) -> Result<Exit, Failure> {
    let mut size = if args.fast { FAST } else { FULL };
    if args.legacy_database.is_some() || args.new_database.is_some() || args.broker.is_some() {
        // Servers share the machine with the walk: a saturated one proves a difference only slowly.
        size.rate = size.rate.min(SERVERS_RATE);
    }
    let stop = Stop::listen();
    let tale = Tale::new(output.clone());
    let mut world = World::build(args, size, &tale).await?;
    let mut walk = Walk::new(&mut world, &tale, size);
    let walked = tokio::select! {
        walked = walk.whole() => walked,
        () = stop.token.cancelled() => {
            world.stop().await;
            tale.say("stopped; everything is shut down");
            return Ok(stop.exit().unwrap_or(Exit::Interrupted));
        }
    };
    let summary = match walked {
        Ok(summary) => summary,
        Err(failure) => {
            tale.say(&format!("logs of every part: {}", world.keep().display()));
            world.stop().await;
            return Err(failure);
        }
    };
    report(&summary, &tale, output);
    if args.stay && summary.is_good() {
        world.restart_traffic(size).await?;
        tale.stay(&world);
        stop.token.cancelled().await;
    }
    if !summary.is_good() {
        tale.say(&format!("logs of every part: {}", world.keep().display()));
    }
    world.stop().await;
    Ok(if summary.is_good() { Exit::Yes } else { Exit::No })
}

fn report(summary: &Summary, tale: &Tale, output: &Output) {
    if output.is_json() {
        output.json_line(summary);
        return;
    }
    tale.heading("Summary");
    summary.lines().iter().for_each(|line| output.line(line));
    tale.next_commands();
}
