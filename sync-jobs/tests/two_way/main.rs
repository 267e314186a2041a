//! Both directions: nine engine pairs under writes and kills, writes on both sides, unique values that swap, frozen workers.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod conflict;
mod db;
mod faults;
mod pairs;
mod tables;
mod unique;
#[path = "../world/mod.rs"]
mod world;
mod writers;
mod zombie;
