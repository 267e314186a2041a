//! What on-call people fear, each through real processes: a part dies under traffic and no client notices.
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

mod support;

use serde_json::Value;
use sqlx::Connection as _;
use std::time::Duration;
use support::{Folder, Running, free_port, wait_until};

const JOBS: &str = include_str!("../sync-jobs/mappings/sqlite-to-sqlite.toml");

/// Monolith, service, proxy, sync and traffic, each a process of its own.
struct World {
    folder: Folder,
    mothership: Option<Running>,
    messages: Option<Running>,
    proxy: Option<Running>,
    sync: Option<Running>,
    traffic: Option<Running>,
    service_port: u16,
}

impl World {
    /// A world whose reads are all in `phase`, with traffic.
    fn in_phase(phase: &[&str]) -> Self {
        let [monolith, service_port, proxy, admin] = [0; 4].map(|_| free_port());
        let template = include_str!("../cli/demo/banyan.toml");
        let config = template
            .replace("@BUDGET@", "1")
            .replace("@PROXY@", &proxy.to_string())
            .replace("@ADMIN@", &admin.to_string())
            .replace("@MOTHERSHIP@", &monolith.to_string())
            .replace("@MESSAGES@", &service_port.to_string())
            .replace("@LEGACY_DATABASE@", "sqlite:mothership.db")
            .replace("@NEW_DATABASE@", "sqlite:messages.db")
            .replace("@BROKER@", "embedded:broker.db");
        let folder = Folder::with_config(&format!("{config}\n{JOBS}"));
        let mothership = folder.start(&[
            "fixture",
            "mothership",
            "--listen",
            &format!("127.0.0.1:{monolith}"),
            "--database",
            "sqlite:mothership.db",
            "--users",
            "200",
            "--messages",
            "3000",
            "--ready-file",
            "mothership.ready",
        ]);
        folder.wait_for_file("mothership.ready");
        let mut world = Self {
            folder,
            mothership: Some(mothership),
            messages: None,
            proxy: None,
            sync: None,
            traffic: None,
            service_port,
        };
        world.start_service();
        world.folder.expect(&["sync", "run", "--once", "--execute"], 0);
        world.start_sync();
        let serve = ["serve", "--only", "proxy,shadow", "--ready-file", "proxy.ready"];
        world.proxy = Some(world.folder.start(&serve));
        world.folder.wait_for_file("proxy.ready");
        world.move_to(phase);
        let url = format!("http://127.0.0.1:{proxy}");
        world.traffic = Some(world.folder.start(&[
            "fixture",
            "traffic",
            "--url",
            &url,
            "--users",
            "200",
            "--rate",
            "150",
            "--concurrency",
            "60",
            "--writes-percent",
            "10",
            "--progress-file",
            "progress.json",
        ]));
        world.let_pass(200);
        world
    }

    fn start_service(&mut self) {
        drop(std::fs::remove_file(self.folder.file("messages.ready")));
        self.messages = Some(self.folder.start(&[
            "fixture",
            "messages",
            "--listen",
            &format!("127.0.0.1:{}", self.service_port),
            "--database",
            "sqlite:messages.db",
            "--ready-file",
            "messages.ready",
        ]));
        self.folder.wait_for_file("messages.ready");
    }

    fn start_sync(&mut self) {
        self.sync =
            Some(self.folder.start(&["serve", "--only", "sync", "--ready-file", "sync.ready"]));
        self.folder.wait_for_file("sync.ready");
    }

    /// Flips every read endpoint along the way to a phase.
    fn move_to(&self, phase: &[&str]) {
        let route = self.folder.json(&["route", "list"]);
        let reads: Vec<String> = route["endpoints"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|endpoint| endpoint["kind"] == "read")
            .map(|endpoint| endpoint["name"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(reads.len(), 5);
        for step in phase {
            for read in &reads {
                let flip: Vec<&str> =
                    ["route", "flip", read].into_iter().chain(step.split(' ')).collect();
                self.folder.expect(&flip, 0);
            }
        }
    }

    fn counts(&self) -> Value {
        let text = std::fs::read_to_string(self.folder.file("progress.json")).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Waits until so many more requests were answered.
    fn let_pass(&self, requests: u64) {
        let now = || self.counts()["requests"].as_u64().unwrap_or(0);
        let target = now() + requests;
        wait_until("requests to pass", || now() >= target);
    }

    /// Ends the traffic; no request may have failed. Then the sync must catch up without drift.
    fn assert_nobody_noticed(mut self) {
        self.let_pass(300);
        if let Some(traffic) = self.traffic.take() {
            traffic.terminate();
        }
        let counts = self.counts();
        assert_eq!(counts["failed"], 0, "{counts:#}\n{}", self.folder.log());
        let text = self.folder.expect(&["sync", "verify", "--json"], 0);
        let verify: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(verify["data"]["drift"], 0, "{verify:#}");
        let last: [Option<Running>; 4] =
            [self.proxy.take(), self.sync.take(), self.messages.take(), self.mothership.take()];
        for part in last.into_iter().flatten() {
            assert_eq!(part.terminate(), Some(143), "{}", self.folder.log());
        }
    }
}

const SHADOW: &[&str] = &["shadow"];
const CANARY: &[&str] = &["shadow", "canary --percent 50"];

#[test]
fn nobody_notices_when_the_mirrored_service_is_killed() {
    let mut world = World::in_phase(SHADOW);
    world.messages.take().unwrap().kill();
    world.let_pass(500);
    world.start_service();
    world.assert_nobody_noticed();
}

#[test]
fn reads_fall_back_to_legacy_when_the_answering_service_is_killed() {
    let mut world = World::in_phase(CANARY);
    world.messages.take().unwrap().kill();
    world.let_pass(500);
    world.start_service();
    world.assert_nobody_noticed();
}

#[test]
fn writers_still_read_their_writes_while_the_sync_is_dead() {
    let mut world = World::in_phase(CANARY);
    world.sync.take().unwrap().kill();
    world.let_pass(1_000);
    world.start_sync();
    world.assert_nobody_noticed();
}

#[test]
fn a_control_store_that_is_locked_for_five_seconds_costs_nothing() {
    let world = World::in_phase(SHADOW);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let url = format!("sqlite:{}", world.folder.file("banyan-control.db").display());
    runtime.block_on(async {
        let mut lock = sqlx::SqliteConnection::connect(&url).await.unwrap();
        sqlx::raw_sql("BEGIN EXCLUSIVE").execute(&mut lock).await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        sqlx::raw_sql("ROLLBACK").execute(&mut lock).await.unwrap();
    });
    world.folder.expect(&["rollback", "messages", "--reason", "after the lock"], 0);
    world.assert_nobody_noticed();
}
