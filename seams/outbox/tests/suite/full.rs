//! A full disk under the outbox: the business transaction is told, what was committed is published, and it goes on by
//! itself when there is room.

use std::path::Path;
use std::process::Command;

use banyan_outbox::emit;
use banyan_outbox::fence::Order;
use sqlx::{Connection as _, Sqlite, SqliteConnection};

use crate::relay::{quick, start};
use crate::rigged::Rigged;
use crate::world::{World, begin_write, event};

/// A small disk in memory; `None` where a test may not mount one.
struct Disk(tempfile::TempDir);

impl Disk {
    fn small() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mount = ["-t", "tmpfs", "-o", "size=3m", "tmpfs"];
        let status = Command::new("mount").args(mount).arg(directory.path()).status();
        if status.is_ok_and(|status| status.success()) {
            return Some(Self(directory));
        }
        println!("SKIPPED: only root can mount a small disk");
        None
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn grow(&self) {
        let grow = ["-o", "remount,size=60m"];
        assert!(Command::new("mount").args(grow).arg(self.path()).status().unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Command::new("umount").args(["-l"]).arg(self.path()).status());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_fails_the_change_loses_no_event_and_is_over_by_itself() {
    let Some(disk) = Disk::small() else { return };
    let world = World::sqlite_in(disk.path()).await.owned(Order::Subject).await;
    world.run("CREATE TABLE notes (body TEXT)").await;
    let broker = Rigged::default();
    let mut committed = 0;
    let error = loop {
        match change(&world, committed).await {
            Ok(()) => committed += 1,
            Err(error) => break error,
        }
        assert!(committed < 10_000, "the disk never became full");
    };
    assert!(error.contains("full"), "the cause is said: {error}");
    assert!(committed > 10, "{committed}");
    let relay = start(&world, &broker, quick());
    // The relay cannot even take its lease: nothing is published that could not be marked.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert!(change(&world, 10_000).await.is_err(), "still full");
    disk.grow();
    world.until_empty().await;
    change(&world, committed).await.expect("there is room again");
    world.until_empty().await;
    relay.stop().await;
    let mut numbers: Vec<usize> = (0..5).flat_map(|subject| broker.of_subject(subject)).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers, (0..=committed).collect::<Vec<_>>(), "each committed change, no other");
}

/// A change with its event, in one transaction, as a service does it. A connection whose commit failed is closed: sqlx
/// counts its transaction as open for ever.
async fn change(world: &World<Sqlite>, number: usize) -> Result<(), String> {
    let mut connection = world.pool.acquire().await.map_err(|error| error.to_string())?;
    let done = try_change(&mut connection, number).await;
    if done.is_err() {
        drop(connection.detach());
    }
    done
}

async fn try_change(connection: &mut SqliteConnection, number: usize) -> Result<(), String> {
    let failed = |error: sqlx::Error| error.to_string();
    let mut tx = connection.begin_with(begin_write::<Sqlite>()).await.map_err(failed)?;
    let note = "INSERT INTO notes (body) VALUES (?)";
    sqlx::query(note).bind("x".repeat(8_000)).execute(&mut *tx).await.map_err(failed)?;
    let emitted = emit(&mut tx, &event(number % 5, number)).await;
    emitted.map_err(|error| match std::error::Error::source(&error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    })?;
    tx.commit().await.map_err(failed)
}
