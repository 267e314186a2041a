//! A worker in a process of its own: the test program starts itself again, for one test that is ignored otherwise.

use std::process::Command;

use banyan_sync_jobs::{Side, SideUrls};

use crate::db::Db;

const LEGACY: &str = "BANYAN_CHILD_LEGACY";
const NEW: &str = "BANYAN_CHILD_NEW";
const TO: &str = "BANYAN_CHILD_TO";

/// What a child works on: the monolith's engine, both databases, the side that it writes.
pub(crate) type Work = (Db, SideUrls, Side);

/// Starts the ignored test `module::child_follows` as a worker.
pub(crate) fn command(module: &str, urls: &SideUrls, to: Side) -> Command {
    let mut worker = Command::new(std::env::current_exe().unwrap());
    worker
        .args(["--exact", &format!("{module}::child_follows"), "--ignored", "--nocapture"])
        .env(LEGACY, &urls.legacy)
        .env(NEW, &urls.new)
        .env(TO, to.as_str());
    worker
}

/// In the child: its work; `None` where somebody runs the ignored tests by hand.
pub(crate) fn work() -> Option<Work> {
    let said = |name| std::env::var(name).ok();
    let (legacy, new, to) = (said(LEGACY)?, said(NEW)?, said(TO)?);
    let db = match legacy.split(':').next() {
        Some("sqlite") => Db::Sqlite,
        Some("mysql") => Db::Maria,
        _ => Db::Postgres,
    };
    let to = Side::ALL.into_iter().find(|side| side.as_str() == to)?;
    Some((db, SideUrls { legacy, new }, to))
}
