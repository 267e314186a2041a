//! Tables that change under a running mapping: named, stopped or noted, accepted, compared again.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod bases;

use std::time::{Duration, Instant};

use banyan_sync_jobs::{
    DriftClass, DriftPolicy, Job, JobSpec, Ports, RunMode, RunSummary, SideUrls, SyncError,
    VerifyOptions,
};
use bases::{At, Base, Bases, facts_job};
use tokio_util::sync::CancellationToken;

/// A change of the schema, and a part of what is said about it.
struct Alter {
    table: &'static str,
    /// In the order SQLite, Postgres, MariaDB; empty where the engine has no such change.
    sql: [&'static str; 3],
    says: &'static str,
}

const ALTERS: [Alter; 5] = [
    Alter {
        table: "facts",
        sql: [
            "",
            "ALTER TABLE facts ALTER COLUMN v TYPE varchar(30)",
            "ALTER TABLE facts MODIFY v VARCHAR(30)",
        ],
        says: "`facts.v` was",
    },
    Alter {
        table: "facts",
        sql: [
            "ALTER TABLE facts RENAME COLUMN old TO older",
            "ALTER TABLE facts RENAME COLUMN old TO older",
            "ALTER TABLE facts CHANGE old older INT",
        ],
        says: "`facts.old` is gone",
    },
    Alter {
        table: "copies",
        sql: [
            "",
            "ALTER TABLE copies ALTER COLUMN v TYPE text COLLATE \"C\"",
            "ALTER TABLE copies MODIFY v TEXT COLLATE utf8mb4_bin",
        ],
        says: "`copies.v` had collation",
    },
    Alter {
        table: "copies",
        sql: [
            "DROP TABLE copies; CREATE TABLE copies (id BIGINT UNIQUE, v TEXT, PRIMARY KEY (id, v))",
            "ALTER TABLE copies DROP CONSTRAINT copies_pkey, ADD UNIQUE (id), ALTER COLUMN v SET NOT NULL; \
             ALTER TABLE copies ADD PRIMARY KEY (id, v)",
            "ALTER TABLE copies MODIFY v VARCHAR(20) NOT NULL, DROP PRIMARY KEY, ADD PRIMARY KEY (id, v), ADD UNIQUE (id)",
        ],
        says: "`copies` had the primary key (id) and has (id, v)",
    },
    Alter {
        table: "facts",
        sql: ["DROP TABLE facts", "DROP TABLE facts", "DROP TABLE facts"],
        says: "`facts` is gone",
    },
];

fn open(spec: JobSpec, legacy: &Base, new: &Base) -> Job {
    let urls = SideUrls { legacy: legacy.url.clone(), new: new.url.clone() };
    Job::open(spec, urls, Ports::default()).unwrap()
}

async fn once(job: &Job) -> Result<RunSummary, SyncError> {
    job.run(RunMode::Once, CancellationToken::new()).await
}

/// Both sides on one engine, copied.
async fn copied(bases: &Bases, at: At, name: &str) -> (Base, Base, Job) {
    let mut legacy = bases.make(at, &format!("{name}l")).await;
    let mut new = bases.make(at, &format!("{name}n")).await;
    legacy.run("CREATE TABLE facts (id BIGINT PRIMARY KEY, v VARCHAR(20), old INT)").await;
    legacy.run("INSERT INTO facts VALUES (1, 'one', 1), (2, 'two', 2)").await;
    new.run("CREATE TABLE copies (id BIGINT PRIMARY KEY, v TEXT)").await;
    let job = open(facts_job(&["v"]), &legacy, &new);
    job.install().await.unwrap();
    assert_eq!(once(&job).await.unwrap().counters.rows(), 2);
    (legacy, new, job)
}

#[tokio::test]
async fn a_changed_table_stops_the_job_by_name_until_it_is_accepted() {
    let Some(bases) = Bases::start().await else { return };
    for (n, at) in At::ALL.into_iter().enumerate() {
        for (m, alter) in ALTERS.iter().enumerate().filter(|(_, alter)| !alter.sql[n].is_empty()) {
            let (mut legacy, mut new, job) = copied(bases, at, &format!("d{n}{m}")).await;
            let side = if alter.table == "facts" { &mut legacy } else { &mut new };
            side.run(alter.sql[n]).await;
            let error = once(&job).await.unwrap_err();
            // A table that is gone took its triggers along, which is noticed first.
            if alter.says.ends_with("`facts` is gone") {
                assert!(matches!(error, SyncError::NotInstalled { .. }), "{error}");
                continue;
            }
            assert!(matches!(error, SyncError::Drift { .. }), "{at:?}: {}", error.chain());
            assert!(error.chain().contains(alter.says), "{at:?}: {}", error.chain());
            assert!(error.hint().unwrap().contains("banyan sync plan facts"));
            let plan = job.plan().await.unwrap();
            assert!(plan.missing.iter().any(|step| step.object.contains(alter.says)), "{plan:#?}");
            assert_eq!(plan.phase, "list", "everything is compared again");
            assert_eq!(job.install().await.unwrap().made, plan.missing);
            once(&job).await.unwrap();
            assert!(job.plan().await.unwrap().is_empty());
            assert!(job.verify(VerifyOptions::default()).await.unwrap().is_clean());
        }
    }
}

#[tokio::test]
async fn a_new_column_is_noted_and_the_job_goes_on() {
    let Some(bases) = Bases::start().await else { return };
    for (n, at) in At::ALL.into_iter().enumerate() {
        let (mut legacy, mut new, job) = copied(bases, at, &format!("c{n}")).await;
        legacy.run("ALTER TABLE facts ADD COLUMN mood INT").await;
        new.run("ALTER TABLE copies ADD COLUMN since INT").await;
        legacy.run("UPDATE facts SET v = 'uno' WHERE id = 1").await;
        assert_eq!(once(&job).await.unwrap().counters.rows_updated, 1, "{at:?}");
        assert!(job.plan().await.unwrap().is_empty());
        let mut strict = facts_job(&["v"]);
        strict.rules.drift = DriftPolicy { continued: vec![DriftClass::Type] };
        let error = once(&open(strict, &legacy, &new)).await.unwrap_err().chain();
        assert!(error.contains("`facts.mood` is new"), "{error}");
        assert!(error.contains("`copies.since` is new"), "{error}");
    }
}

#[tokio::test]
async fn a_running_job_stops_within_seconds_and_goes_on_once_accepted() {
    let Some(bases) = Bases::start().await else { return };
    let (mut legacy, mut new, job) = copied(bases, At::MariaDb, "f").await;
    let cancel = CancellationToken::new();
    let follower = tokio::spawn({
        let (job, cancel) = (job.clone(), cancel.clone());
        async move { job.run(RunMode::Follow, cancel).await }
    });
    let updated = "SELECT CAST(COUNT(*) AS CHAR) FROM copies WHERE v = 'changed'";
    legacy.run("UPDATE facts SET v = 'changed' WHERE id = 1").await;
    until(&mut new, updated, "1").await;
    legacy.run("ALTER TABLE facts MODIFY v VARCHAR(40)").await;
    // Longer than the check's interval: the next change must wait for a person.
    tokio::time::sleep(Duration::from_secs(7)).await;
    legacy.run("UPDATE facts SET v = 'changed' WHERE id = 2").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(new.texts(updated).await, [Some("1".to_owned())]);
    job.install().await.unwrap();
    until(&mut new, updated, "2").await;
    cancel.cancel();
    follower.await.unwrap().unwrap();
}

async fn until(on: &mut Base, sql: &str, want: &str) {
    let started = Instant::now();
    while on.texts(sql).await != [Some(want.to_owned())] {
        assert!(started.elapsed() < Duration::from_secs(20), "{sql} is not {want}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn an_installation_without_accepted_tables_gets_them_and_uninstall_forgets_them() {
    let Some(bases) = Bases::start().await else { return };
    let (_legacy, mut new, job) = copied(bases, At::Sqlite, "o").await;
    new.run("DROP TABLE by_shape").await;
    let error = once(&job).await.unwrap_err();
    assert!(matches!(error, SyncError::NotInstalled { .. }), "{}", error.chain());
    assert!(error.chain().contains("table `by_shape`"), "{}", error.chain());
    let made = job.install().await.unwrap().made;
    let objects: Vec<&str> = made.iter().map(|step| step.object.as_str()).collect();
    assert!(objects[0].contains("by_shape"), "{objects:?}");
    assert_eq!(once(&job).await.unwrap().counters.rows(), 0);
    job.uninstall().await.unwrap();
    assert_eq!(new.texts("SELECT job FROM by_shape").await, []);
}
