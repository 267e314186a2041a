//! `banyan-bench events`: the forwarder and the relay beside plain lapin programs and RabbitMQ's shovel.
//!
//! Owns the order of a run. It exists because events per second say nothing without the limit of the same broker in the
//! same minutes. What must stay true: all move the same events between the same queues with confirms; a case ends when
//! the last event lies in the target queue.

mod forwarder;
mod plain;
mod relay;
mod shovel;
mod table;
mod world;

use crate::{BenchError, failed, quiet, say};
use world::World;

/// Options of the command.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct EventsArgs {
    /// Events per case and round
    #[arg(long, default_value_t = 40_000, value_parser = clap::value_parser!(u32).range(1_000..=1_000_000))]
    events: u32,
    /// Rows per database that the relay publishes; 0 leaves the relay out
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    rows: u32,
    /// Bytes of a body
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    bytes: u32,
    /// Rounds; cases take turns within each, and the medians are shown
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=9))]
    rounds: u32,
    /// Quorum queues instead of classic ones
    #[arg(long)]
    quorum: bool,
    /// Seconds to wait before each case for the machine to become quiet
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=600))]
    wait: u64,
    /// Print one JSON object instead of the table
    #[arg(long)]
    json: bool,
}

/// One case of one round.
#[derive(Debug, Clone, Copy)]
struct Shot {
    per_second: f64,
    /// CPU time of this process per event; `None` where the work is done elsewhere.
    cpu_us: Option<f64>,
}

/// The medians of a case.
#[derive(Debug, serde::Serialize)]
struct Row {
    case: &'static str,
    per_second: f64,
    /// Of the limit above it.
    percent: f64,
    cpu_us: Option<f64>,
    rounds_per_second: Vec<f64>,
}

/// The whole result.
#[derive(Debug, serde::Serialize)]
struct Report {
    schema: &'static str,
    optimised_build: bool,
    queues: &'static str,
    events: u32,
    rows: u32,
    bytes: u32,
    busy_starts: u32,
    forwarding: Vec<Row>,
    relaying: Vec<Row>,
    not_run: Vec<String>,
}

/// Runs everything and prints it.
pub(crate) fn run(args: &EventsArgs) -> Result<(), BenchError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(failed("start a runtime"))?;
    runtime.block_on(measure(args))
}

async fn measure(args: &EventsArgs) -> Result<(), BenchError> {
    let world = World::start(args).await?;
    let mut bench = Bench { args, busy_starts: 0 };
    let mut not_run = Vec::new();
    let forwarding = bench.forwarding(&world, &mut not_run).await?;
    let relaying =
        if args.rows == 0 { Vec::new() } else { bench.relaying(&world, &mut not_run).await? };
    let report = Report {
        schema: "banyan.bench.events/1",
        optimised_build: !cfg!(debug_assertions),
        queues: if args.quorum { "quorum" } else { "classic" },
        events: args.events,
        rows: args.rows,
        bytes: args.bytes,
        busy_starts: bench.busy_starts,
        forwarding,
        relaying,
        not_run,
    };
    table::print(&report, args.json)
}

struct Bench<'a> {
    args: &'a EventsArgs,
    busy_starts: u32,
}

impl Bench<'_> {
    fn wait(&mut self, round: u32, title: &str) {
        say::progress(u64::from(round), u64::from(self.args.rounds), title);
        if !quiet::wait(self.args.wait) {
            self.busy_starts += 1;
        }
    }

    /// From a raw queue to a public one.
    async fn forwarding(
        &mut self,
        world: &World,
        not_run: &mut Vec<String>,
    ) -> Result<Vec<Row>, BenchError> {
        let (mut plain, mut banyan, mut shovel) = (Vec::new(), Vec::new(), Vec::new());
        for round in 1..=self.args.rounds {
            world.fill(round * 10).await?;
            self.wait(round, "plain consumer and publisher");
            plain.push(plain::forward(world).await?);
            world.empty().await?;
            world.fill(round * 10 + 1).await?;
            self.wait(round, "forwarder");
            banyan.push(forwarder::forward(world).await?);
            world.empty().await?;
            world.fill(round * 10 + 2).await?;
            self.wait(round, "shovel");
            match shovel::forward(world).await {
                Ok(shot) => shovel.push(shot),
                Err(error) if round == 1 => not_run.push(format!("shovel: {error}")),
                Err(error) => return Err(error),
            }
            world.empty().await?;
        }
        let limit = median(&plain);
        let mut rows = vec![row("plain lapin consumer and publisher", &plain, limit)];
        rows.push(row("banyan forwarder", &banyan, limit));
        if !shovel.is_empty() {
            rows.push(row("rabbitmq shovel (on-confirm)", &shovel, limit));
        }
        Ok(rows)
    }

    /// From the outbox of a database to a raw queue.
    async fn relaying(
        &mut self,
        world: &World,
        not_run: &mut Vec<String>,
    ) -> Result<Vec<Row>, BenchError> {
        let mut plain = Vec::new();
        let mut relays: Vec<(&'static str, Vec<Shot>)> = Vec::new();
        for round in 1..=self.args.rounds {
            self.wait(round, "plain publisher");
            plain.push(plain::publish(world).await?);
            world.drop_raw().await?;
            for database in relay::Database::ALL {
                let filled = match relay::Filled::make(database, world).await {
                    Ok(filled) => filled,
                    Err(error) if round == 1 => {
                        not_run.push(format!("{}: {error}", database.title()));
                        continue;
                    }
                    Err(_) => continue,
                };
                self.wait(round, database.title());
                let shot = filled.relay(world).await?;
                world.drop_raw().await?;
                match relays.iter_mut().find(|(title, _)| *title == database.title()) {
                    Some((_, shots)) => shots.push(shot),
                    None => relays.push((database.title(), vec![shot])),
                }
            }
        }
        let limit = median(&plain);
        let mut rows = vec![row("plain lapin publisher from memory", &plain, limit)];
        rows.extend(relays.iter().map(|(title, shots)| row(title, shots, limit)));
        Ok(rows)
    }
}

fn median(shots: &[Shot]) -> f64 {
    middle(shots.iter().map(|shot| shot.per_second).collect())
}

fn middle(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or_default()
}

fn row(case: &'static str, shots: &[Shot], limit: f64) -> Row {
    let per_second = median(shots);
    let cpu: Vec<f64> = shots.iter().filter_map(|shot| shot.cpu_us).collect();
    Row {
        case,
        per_second,
        percent: 100.0 * per_second / limit.max(1.0),
        cpu_us: (!cpu.is_empty()).then(|| middle(cpu)),
        rounds_per_second: shots.iter().map(|shot| shot.per_second.round()).collect(),
    }
}
