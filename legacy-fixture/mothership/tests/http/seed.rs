//! Seeding through the public API.

use fixture_mothership::{MothershipArgs, MothershipError, seed};
use std::time::Duration;

fn args(directory: &tempfile::TempDir) -> MothershipArgs {
    MothershipArgs::on(format!("sqlite:{}", directory.path().join("m.db").display()))
}

#[tokio::test]
async fn filled_database_is_not_seeded_again() {
    let directory = tempfile::tempdir().unwrap();
    let args = MothershipArgs { users: 20, messages: 500, ..args(&directory) };
    let first = seed(&args).await.unwrap();
    assert!(first.rows > 20 + 500 + 900, "{first:?}");
    assert_eq!(seed(&args).await.unwrap().rows, 0);
}

#[tokio::test]
async fn messages_without_users_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let args = MothershipArgs { users: 0, messages: 1, ..args(&directory) };
    assert!(matches!(seed(&args).await, Err(MothershipError::NoAuthors { messages: 1 })));
    let empty = MothershipArgs { users: 0, messages: 0, ..args };
    assert_eq!(seed(&empty).await.unwrap().rows, 0);
}

/// The promise of the demo; measured here, so that it is kept.
#[tokio::test]
#[ignore = "takes seconds: run with --ignored"]
async fn demo_world_is_seeded_within_20_seconds() {
    let directory = tempfile::tempdir().unwrap();
    let started = std::time::Instant::now();
    let report = seed(&args(&directory)).await.unwrap();
    println!("{} rows in {:?}, indexes included {:?}", report.rows, report.took, started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(20), "{report:?}");
}
