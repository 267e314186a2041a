//! Seeding: a world of users, tracks and messages in an empty database.
//!
//! Rows are generated in blocks and inserted in long statements of one size, a transaction per block; so any size
//! seeds in bounded memory, and 200,000 messages within seconds.
//!
//! What must stay true: the same plan gives the same rows on every dialect; a database that holds rows is never
//! touched; an interrupted seeding is noticed.

mod bulk;
mod text;
mod world;

use crate::{
    MothershipError,
    database::{Database, Reader},
};
use bulk::Bulk;
use std::time::{Duration, Instant};
use world::World;

const STATE_KEY: &str = "seeding";
const STATE_BEGUN: &str = "begun";
const FIND_STATE: &str = "SELECT value FROM ar_internal_metadata WHERE name = ?";
const BEGIN_STATE: &str = "INSERT INTO ar_internal_metadata (name, value) VALUES (?, ?)";
const END_STATE: &str = "UPDATE ar_internal_metadata SET value = ? WHERE name = ?";
const ANY_USER: &str = "SELECT id FROM users LIMIT 1";

/// Messages (or users) generated and committed at a time.
const BLOCK_ROWS: u32 = 10_000;

/// The world to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeedPlan {
    /// Same seed and sizes, same rows.
    pub seed: u64,
    /// How many users; tracks, comments, followings and plays come in proportion.
    pub users: u32,
    /// How many messages.
    pub messages: u32,
}

/// What seeding did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeedReport {
    /// Rows inserted in all tables; 0 when the database was not empty.
    pub rows: u64,
    /// How long it took.
    pub took: Duration,
}

/// Seeds `plan` unless the database holds a world already.
pub(crate) async fn seed_when_empty(
    database: &Database,
    plan: SeedPlan,
) -> Result<SeedReport, MothershipError> {
    let started = Instant::now();
    if plan.users == 0 && plan.messages > 0 {
        return Err(MothershipError::NoAuthors { messages: plan.messages });
    }
    if is_seeded(database).await? {
        return Ok(SeedReport { rows: 0, took: started.elapsed() });
    }
    let mut tx = database.begin().await?;
    tx.execute(BEGIN_STATE.into(), &[STATE_KEY.into(), STATE_BEGUN.into()]).await?;
    tx.commit().await?;

    let mut world = World::new(plan);
    let mut rows = insert_users(database, &mut world).await?;
    rows += insert_surroundings(database, &mut world).await?;
    rows += insert_messages(database, &mut world).await?;

    let mut tx = database.begin().await?;
    let done = format!("seed {} users {} messages {}", plan.seed, plan.users, plan.messages);
    tx.execute(END_STATE.into(), &[done.into(), STATE_KEY.into()]).await?;
    tx.commit().await?;
    let report = SeedReport { rows, took: started.elapsed() };
    tracing::info!(rows, took_ms = report.took.as_millis(), "seeded");
    Ok(report)
}

async fn is_seeded(database: &Database) -> Result<bool, MothershipError> {
    let state = database.clone().rows(FIND_STATE.into(), &[STATE_KEY.into()]).await?;
    match state.first().map(|row| row.cells().text()).transpose()?.as_deref() {
        Some(STATE_BEGUN) => Err(MothershipError::HalfSeeded),
        Some(_) => Ok(true),
        // Somebody else filled it: the sync, or a user.
        None => Ok(!database.clone().rows(ANY_USER.into(), &[]).await?.is_empty()),
    }
}

async fn insert_users(database: &Database, world: &mut World) -> Result<u64, MothershipError> {
    let mut rows = 0;
    let mut next = 1;
    while next <= world.plan().users {
        let last = world.plan().users.min(next + BLOCK_ROWS - 1);
        let mut users = Bulk::new("users", &world::USER_COLUMNS);
        for id in next..=last {
            users.push(world.user(id));
        }
        let mut tx = database.begin().await?;
        rows += users.insert(&mut tx).await?;
        tx.commit().await?;
        next = last + 1;
    }
    Ok(rows)
}

/// Tracks, comments, followings and plays: a block of users at a time.
async fn insert_surroundings(
    database: &Database,
    world: &mut World,
) -> Result<u64, MothershipError> {
    let mut rows = 0;
    let mut next = 1;
    while next <= world.plan().users {
        let last = world.plan().users.min(next + BLOCK_ROWS / 10 - 1);
        let mut tracks = Bulk::new("tracks", &world::TRACK_COLUMNS);
        let mut comments = Bulk::new("comments", &world::COMMENT_COLUMNS);
        let mut plays = Bulk::new("plays", &world::PLAY_COLUMNS);
        let mut followings = Bulk::new("followings", &world::FOLLOWING_COLUMNS);
        for user_id in next..=last {
            for track in world.tracks(user_id) {
                tracks.push(track.row);
                track.comments.into_iter().for_each(|row| comments.push(row));
                track.plays.into_iter().for_each(|row| plays.push(row));
            }
            world.followings(user_id).into_iter().for_each(|row| followings.push(row));
        }
        let mut tx = database.begin().await?;
        for table in [tracks, comments, plays, followings] {
            rows += table.insert(&mut tx).await?;
        }
        tx.commit().await?;
        next = last + 1;
    }
    Ok(rows)
}

async fn insert_messages(database: &Database, world: &mut World) -> Result<u64, MothershipError> {
    let mut rows = 0;
    let mut next = 1;
    while next <= world.plan().messages {
        let last = world.plan().messages.min(next + BLOCK_ROWS - 1);
        let mut threads = Bulk::new("message_threads", &world::THREAD_COLUMNS);
        let mut messages = Bulk::new("messages", &world::MESSAGE_COLUMNS);
        let mut receipts = Bulk::new("message_receipts", &world::RECEIPT_COLUMNS);
        for id in next..=last {
            let seeded = world.message(id);
            seeded.thread.into_iter().for_each(|row| threads.push(row));
            messages.push(seeded.message);
            seeded.receipts.into_iter().for_each(|row| receipts.push(row));
        }
        let mut tx = database.begin().await?;
        for table in [threads, messages, receipts] {
            rows += table.insert(&mut tx).await?;
        }
        tx.commit().await?;
        next = last + 1;
    }
    Ok(rows)
}
