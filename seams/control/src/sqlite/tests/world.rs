//! A store of its own for each test, with a clock that the test moves.

use crate::audit::actor;
use crate::clock::Clock;
use crate::instance::InstanceReport;
use crate::sqlite::SqliteStore;
use crate::store::{IfMissing, StoreOptions};
use banyan_domain::{
    Actor, Catalogue, Change, ContextName, ContextSpec, EndpointName, EndpointSpec, Generation,
    PathTemplate, Percent, Phase,
};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tempfile::TempDir;

/// The time at which each test begins, on a whole minute.
pub(crate) const T0: u64 = 1_700_000_040_000;

pub(crate) struct World {
    pub(crate) folder: TempDir,
    now: Arc<AtomicU64>,
}

impl World {
    pub(crate) fn new() -> Self {
        let now = Arc::new(AtomicU64::new(T0));
        Self { folder: tempfile::tempdir().unwrap(), now }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("control.db")
    }

    pub(crate) fn url(&self) -> String {
        format!("sqlite:{}", self.path().display())
    }

    pub(crate) fn pass(&self, ms: u64) -> u64 {
        self.now.fetch_add(ms, Ordering::SeqCst) + ms
    }

    pub(crate) fn options(&self) -> StoreOptions {
        let now = self.now.clone();
        let clock: Clock = Arc::new(move || now.load(Ordering::SeqCst));
        StoreOptions { clock, busy_timeout_ms: 2_000, poll_ms: 10, ..StoreOptions::default() }
    }

    pub(crate) async fn store(&self) -> SqliteStore {
        self.store_with(self.options()).await
    }

    pub(crate) async fn store_with(&self, options: StoreOptions) -> SqliteStore {
        SqliteStore::open_with(&self.url(), options).await.unwrap()
    }

    pub(crate) fn must_exist(&self) -> StoreOptions {
        StoreOptions { missing: IfMissing::Fail, ..self.options() }
    }
}

pub(crate) fn endpoint(name: &str) -> EndpointName {
    EndpointName::new(name).unwrap()
}

pub(crate) fn canary(percent: u8) -> Phase {
    Phase::Canary(Percent::new(percent).unwrap())
}

/// `messages` with two reads and a write, all reads starting in legacy.
pub(crate) fn catalogue() -> Catalogue {
    let spec = |name: &str, method: &str, path: &str| EndpointSpec {
        name: endpoint(name),
        methods: vec![method.to_owned()],
        path: PathTemplate::new(path).unwrap(),
        start: Phase::Legacy,
        mirror_percent: Percent::HUNDRED,
        mirror_back: true,
        fallback: true,
        sticky: Vec::new(),
    };
    let context = ContextSpec {
        name: ContextName::new("messages").unwrap(),
        sticky: vec!["path:user_id".to_owned().try_into().unwrap()],
        read_your_writes_max_ms: 5_000,
        endpoints: vec![
            spec("messages.list", "GET", "/users/{user_id}/messages"),
            spec("messages.show", "GET", "/messages/{id}"),
            spec("messages.create", "POST", "/messages"),
        ],
    };
    Catalogue { contexts: vec![context] }
}

pub(crate) fn ann() -> Actor {
    actor("ann", "week 2", T0)
}

pub(crate) fn flip(name: &str, to: Phase) -> Change {
    Change::Flip { endpoint: endpoint(name), to }
}

pub(crate) fn report(name: &str, applied: u64) -> InstanceReport {
    InstanceReport {
        instance: name.to_owned(),
        role: "proxy".to_owned(),
        applied: Generation(applied),
        started_ms: T0,
        ..InstanceReport::default()
    }
}
