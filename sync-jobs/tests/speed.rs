//! How fast the first copy and verify are; run with `--ignored --nocapture`.

mod world;

use std::time::Instant;

use banyan_sync_jobs::{Ports, RunMode};
use tokio_util::sync::CancellationToken;
use world::World;

#[tokio::test]
#[ignore = "a measurement, not a test"]
async fn first_copy_of_200_000_messages() {
    let world = World::seeded(2_000, 200_000).await;
    let job = world.job("messages", Ports::default());
    job.install().await.unwrap();
    let started = Instant::now();
    let summary = job.run(RunMode::Once, CancellationToken::new()).await.unwrap();
    println!("copy {:?} {:?}", started.elapsed(), summary.counters);
    let started = Instant::now();
    let report = world::assert_equal(&job).await;
    println!("verify {:?} {} roots", started.elapsed(), report.checked);
}
