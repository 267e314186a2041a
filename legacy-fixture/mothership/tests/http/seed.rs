//! Seeding through the public API.

use crate::world::World;
use fixture_mothership::{MothershipArgs, MothershipError, seed};
use serde_json::Value;
use std::time::{Duration, Instant};

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

/// The promise of the demo: 20 s to seed, some milliseconds to read, also for the most popular user.
#[tokio::test]
#[ignore = "takes seconds: run with --ignored"]
async fn demo_world_is_seeded_and_read_fast() {
    let on_demo_scale = |args: &mut MothershipArgs| {
        args.users = 2_000;
        args.messages = 200_000;
    };
    let started = Instant::now();
    let sqlite = World::sqlite(on_demo_scale).await;
    println!("sqlite: seeded in {:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    reads_are_fast(&sqlite).await;

    let started = Instant::now();
    if let Some(mariadb) = World::mariadb(on_demo_scale).await {
        println!("mariadb: seeded in {:?}", started.elapsed());
        reads_are_fast(&mariadb).await;
    }
}

async fn reads_are_fast(world: &World) {
    for path in [
        "/users/1/messages",
        "/users/1/messages?page=40&per_page=100",
        "/users/1/conversations",
        "/users/1/conversations/2",
        "/users/1/messages/unread_count",
        "/users/1000/messages",
        "/users/1000/conversations",
        "/messages/100000",
        "/users/1/tracks",
    ] {
        let user_id = path.split('/').nth(2).unwrap().parse().unwrap_or(1);
        let mut took = Vec::new();
        let mut total = Value::Null;
        for _ in 0..15 {
            let started = Instant::now();
            let answer = world.get(user_id, path).await.json::<Value>().await.unwrap();
            took.push(started.elapsed());
            total = answer["total"].clone();
        }
        took.sort();
        println!("{path}: total {total}, median {:?}, worst {:?}", took[7], took[14]);
        assert!(took[7] < Duration::from_millis(100), "{path}: {:?}", took[7]);
    }
}
