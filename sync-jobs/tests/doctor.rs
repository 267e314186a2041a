//! `doctor` names each fault of a schema, and nothing on a healthy one.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod bases;

use banyan_sync_jobs::{
    DoctorOptions, DoctorReport, Finding, Job, JobSpec, Ports, Side, SideUrls, ZeroDate,
};
use bases::{At, Base, Bases, facts_job};

/// One fault: its side, topic, finding and object.
type Fault = (Side, &'static str, Finding, &'static str);

fn open(spec: JobSpec, legacy: &Base, new: &Base) -> Job {
    let urls = SideUrls { legacy: legacy.url.clone(), new: new.url.clone() };
    Job::open(spec, urls, Ports::default()).unwrap()
}

fn faults(report: &DoctorReport) -> Vec<String> {
    let bad = report.checks.iter().filter(|check| check.finding != Finding::Ok);
    bad.map(|check| format!("{check:?}")).collect()
}

/// Each fault is there, and none besides.
fn assert_faults(report: &DoctorReport, wanted: &[Fault]) {
    for (side, topic, finding, object) in wanted {
        let named = report.checks.iter().any(|check| {
            check.side == Some(*side)
                && check.topic == *topic
                && check.finding == *finding
                && check.object.contains(object)
                && check.hint.is_some()
        });
        assert!(named, "{topic} {object}: {:#?}", faults(report));
    }
    assert_eq!(faults(report).len(), wanted.len(), "{:#?}", faults(report));
}

/// The healthy schema of each engine.
async fn healthy(bases: &Bases, at: At, name: &str, table: &str) -> Base {
    let mut base = bases.make(at, name).await;
    if at == At::Sqlite {
        base.run("PRAGMA journal_mode = WAL").await;
    }
    let columns = "id BIGINT PRIMARY KEY, v VARCHAR(20), born DATE";
    base.run(&format!("CREATE TABLE {table} ({columns})")).await;
    base.run(&format!("INSERT INTO {table} VALUES (1, 'café', '2014-06-12'), (2, NULL, NULL)"))
        .await;
    base
}

#[tokio::test]
async fn a_healthy_schema_has_no_fault() {
    let Some(bases) = Bases::start().await else { return };
    for (n, source) in At::ALL.into_iter().enumerate() {
        for (m, target) in At::ALL.into_iter().enumerate() {
            let legacy = healthy(bases, source, &format!("hl{n}{m}"), "facts").await;
            let mut new = healthy(bases, target, &format!("hn{n}{m}"), "copies").await;
            let job = open(facts_job(&["v", "born"]), &legacy, &new);
            let report = job.doctor(DoctorOptions::default()).await.unwrap();
            let not_there: [Fault; 4] = [
                (Side::Legacy, "installation", Finding::Warn, "by_change"),
                (Side::New, "installation", Finding::Warn, "by_state"),
                (Side::New, "installation", Finding::Warn, "by_copy"),
                (Side::New, "installation", Finding::Warn, "by_shape"),
            ];
            assert_faults(&report, &not_there);
            job.install().await.unwrap();
            let report = job.doctor(DoctorOptions { sample: true }).await.unwrap();
            assert_faults(&report, &[]);
            let cost = report.checks.iter().find(|check| check.topic == "trigger cost").unwrap();
            assert!(cost.text.starts_with("2 rows") && cost.text.ends_with('%'), "{cost:?}");
            assert_eq!(new.texts("SELECT v FROM copies WHERE id = 2").await, [None]);
        }
    }
}

#[tokio::test]
async fn a_scratch_table_leaves_nothing_behind() {
    let Some(bases) = Bases::start().await else { return };
    for (n, source) in At::ALL.into_iter().enumerate() {
        let mut legacy = healthy(bases, source, &format!("sl{n}"), "facts").await;
        let new = healthy(bases, At::Sqlite, &format!("sn{n}"), "copies").await;
        let job = open(facts_job(&["v"]), &legacy, &new);
        job.doctor(DoctorOptions { sample: true }).await.unwrap();
        let left = match source {
            At::Sqlite => "SELECT name FROM sqlite_master WHERE name LIKE 'by_%'",
            At::Postgres => {
                "SELECT relname::text FROM pg_class WHERE relname LIKE 'by\\_%' \
                 UNION SELECT proname::text FROM pg_proc WHERE proname LIKE 'by\\_%'"
            }
            At::MariaDb => {
                "SELECT TABLE_NAME FROM information_schema.TABLES \
                 WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME LIKE 'by%'"
            }
        };
        assert_eq!(legacy.texts(left).await, [], "{source:?}");
    }
}

const MARIADB_FAULTS: &str = "
CREATE TABLE owners (id BIGINT PRIMARY KEY) ENGINE=InnoDB;
CREATE TABLE facts (id BIGINT, v VARCHAR(20) CHARACTER SET latin1, born DATE, owner BIGINT,
  CONSTRAINT owned FOREIGN KEY (owner) REFERENCES owners (id) ON DELETE CASCADE) ENGINE=InnoDB;
CREATE TABLE words (word VARCHAR(20) PRIMARY KEY) ENGINE=MyISAM COLLATE utf8mb4_general_ci;
CREATE PROCEDURE refill() REPLACE INTO owners VALUES (1);
CREATE PROCEDURE empty_all() TRUNCATE TABLE facts;
SET SESSION sql_mode = '';
INSERT INTO facts VALUES (1, CONVERT(CONVERT('café' USING utf8mb4) USING binary), '2014-00-00', NULL);
CREATE USER IF NOT EXISTS intern@localhost;
";

#[tokio::test]
async fn each_fault_of_mariadb_is_named() {
    let Some(bases) = Bases::start().await else { return };
    let mut legacy = bases.make(At::MariaDb, "fl_m").await;
    let mut new = bases.make(At::MariaDb, "fn_m").await;
    legacy.run(MARIADB_FAULTS).await;
    legacy.run("UPDATE facts SET v = CONVERT(X'636166C3A9' USING latin1)").await;
    legacy.run("GRANT DROP ON fl_m.* TO intern@localhost").await;
    new.run(
        "CREATE TABLE copies (id VARCHAR(20) COLLATE utf8mb4_general_ci PRIMARY KEY, v TEXT);
         CREATE TABLE notes (id INT PRIMARY KEY, copy VARCHAR(20) COLLATE utf8mb4_general_ci,
           CONSTRAINT noted FOREIGN KEY (copy) REFERENCES copies (id) ON DELETE SET NULL)",
    )
    .await;
    let mut spec = facts_job(&["v"]);
    let mut words = spec.captures[0].clone();
    words.table = "words".to_owned();
    let mut gone = words.clone();
    gone.table = "gone".to_owned();
    spec.captures.extend([words, gone]);
    let job = open(spec.clone(), &legacy, &new);
    let report = job.doctor(DoctorOptions::default()).await.unwrap();
    let wanted: [Fault; 14] = [
        (Side::Legacy, "table", Finding::Fail, "gone"),
        (Side::Legacy, "storage engine", Finding::Fail, "words"),
        (Side::Legacy, "primary key", Finding::Fail, "facts"),
        (Side::Legacy, "key collation", Finding::Warn, "words.word"),
        (Side::Legacy, "cascade", Finding::Fail, "facts (owned)"),
        (Side::Legacy, "truncate", Finding::Warn, "'intern'@'localhost'"),
        (Side::Legacy, "truncate", Finding::Warn, "routine empty_all"),
        (Side::Legacy, "replace", Finding::Warn, "routine refill"),
        (Side::Legacy, "zero date", Finding::Fail, "facts.born"),
        (Side::Legacy, "charset", Finding::Warn, "facts.v"),
        (Side::Legacy, "installation", Finding::Warn, "by_change"),
        (Side::New, "key collation", Finding::Warn, "copies.id"),
        (Side::New, "cascade", Finding::Fail, "notes (noted)"),
        (Side::New, "installation", Finding::Warn, "by_state"),
    ];
    let mut wanted = wanted.to_vec();
    for table in ["by_copy", "by_shape"] {
        wanted.push((Side::New, "installation", Finding::Warn, table));
    }
    assert_faults(&report, &wanted);
    assert_eq!(report.worst(), Finding::Fail);
    settings(&legacy, &new, spec, &wanted).await;
}

/// The job says what zero dates are; then the server's own settings are made bad.
async fn settings(legacy: &Base, new: &Base, mut spec: JobSpec, before: &[Fault]) {
    spec.rules.zero_date = ZeroDate::Null;
    let job = open(spec, legacy, new);
    let report = job.doctor(DoctorOptions::default()).await.unwrap();
    assert_eq!(faults(&report).len(), before.len() - 1, "{:#?}", faults(&report));
    // A server of its own, because settings are global.
    let booted = tokio::task::spawn_blocking(banyan_test_servers::mariadb).await.unwrap();
    let own = banyan_test_servers::or_skip(booted).unwrap();
    let url = |name: &str| format!("mysql://root@127.0.0.1:{}/{name}", own.port());
    Base::mariadb(url("mysql")).await.run("CREATE DATABASE m CHARACTER SET utf8mb4").await;
    let mut server = Base::mariadb(url("m")).await;
    server.run("CREATE TABLE facts (id BIGINT PRIMARY KEY, v TEXT)").await;
    server
        .run(
            "SET GLOBAL sql_mode = ''; SET GLOBAL innodb_lock_wait_timeout = 600; \
             CREATE USER worker@'%'; GRANT SELECT ON *.* TO worker@'%'",
        )
        .await;
    let mut as_worker = SideUrls { legacy: server.url.clone(), new: new.url.clone() };
    as_worker.legacy = as_worker.legacy.replace("root@", "worker@");
    let job = Job::open(facts_job(&["v"]), as_worker, Ports::default()).unwrap();
    let report = job.doctor(DoctorOptions::default()).await.unwrap();
    for (topic, object) in [
        ("sql_mode", "global sql_mode"),
        ("lock wait", "innodb_lock_wait_timeout"),
        ("privilege", "TRIGGER"),
        ("privilege", "CREATE"),
        ("privilege", "INSERT"),
        ("privilege", "DELETE"),
    ] {
        let named = report.checks.iter().any(|check| {
            check.side == Some(Side::Legacy)
                && check.topic == topic
                && check.object == object
                && check.finding != Finding::Ok
        });
        assert!(named, "{topic} {object}: {:#?}", faults(&report));
    }
}

#[tokio::test]
async fn each_fault_of_postgres_is_named() {
    let Some(bases) = Bases::start().await else { return };
    let mut legacy = bases.make(At::Postgres, "fl_p").await;
    let mut new = bases.make(At::Postgres, "fn_p").await;
    legacy
        .run(
            "CREATE UNLOGGED TABLE facts (id bigint, v text); CREATE ROLE worker LOGIN; \
             CREATE TABLE codes (code char(4) PRIMARY KEY);",
        )
        .await;
    new.run(
        "CREATE COLLATION anycase (provider = icu, locale = 'und-u-ks-level2', \
         deterministic = false); \
         CREATE TABLE copies (id text COLLATE anycase PRIMARY KEY, v text); \
         CREATE TABLE notes (id int, copy text COLLATE anycase \
         CONSTRAINT noted REFERENCES copies ON DELETE CASCADE)",
    )
    .await;
    let mut spec = facts_job(&["v"]);
    let mut codes = spec.captures[0].clone();
    codes.table = "codes".to_owned();
    spec.captures.push(codes);
    let wanted: [Fault; 9] = [
        (Side::Legacy, "storage engine", Finding::Fail, "facts"),
        (Side::Legacy, "primary key", Finding::Fail, "facts"),
        (Side::Legacy, "key collation", Finding::Warn, "codes.code"),
        (Side::Legacy, "installation", Finding::Warn, "by_change"),
        (Side::New, "key collation", Finding::Warn, "copies.id"),
        (Side::New, "cascade", Finding::Fail, "notes (noted)"),
        (Side::New, "installation", Finding::Warn, "by_state"),
        (Side::New, "installation", Finding::Warn, "by_copy"),
        (Side::New, "installation", Finding::Warn, "by_shape"),
    ];
    let report = open(spec.clone(), &legacy, &new).doctor(DoctorOptions::default()).await.unwrap();
    assert_faults(&report, &wanted);
    let urls =
        SideUrls { legacy: legacy.url.replace("postgres@", "worker@"), new: new.url.clone() };
    let report = Job::open(spec, urls, Ports::default()).unwrap();
    let report = report.doctor(DoctorOptions::default()).await.unwrap();
    for object in ["SELECT", "TRIGGER", "CREATE", "owner"] {
        let named = report.checks.iter().any(|c| c.topic == "privilege" && c.object == object);
        assert!(named, "{object}: {:#?}", faults(&report));
    }
}

#[tokio::test]
async fn each_fault_of_sqlite_is_named() {
    let Some(bases) = Bases::start().await else { return };
    let mut legacy = bases.make(At::Sqlite, "fl_s").await;
    let mut new = bases.make(At::Sqlite, "fn_s").await;
    legacy
        .run(
            "CREATE TABLE facts (id BIGINT UNIQUE, v TEXT); CREATE TABLE other (id INTEGER PRIMARY KEY);
             CREATE TRIGGER renew AFTER INSERT ON other BEGIN REPLACE INTO facts VALUES (1, 'x'); END",
        )
        .await;
    new.run(
        "PRAGMA journal_mode = WAL;
         CREATE TABLE copies (id TEXT COLLATE NOCASE PRIMARY KEY, v TEXT);
         CREATE TABLE notes (id INTEGER PRIMARY KEY, copy TEXT REFERENCES copies (id) ON DELETE CASCADE)",
    )
    .await;
    let wanted: [Fault; 10] = [
        (Side::Legacy, "primary key", Finding::Fail, "facts"),
        (Side::Legacy, "journal mode", Finding::Warn, "journal_mode"),
        (Side::Legacy, "replace", Finding::Warn, "trigger renew"),
        (Side::Legacy, "replace", Finding::Warn, "facts ("),
        (Side::Legacy, "installation", Finding::Warn, "by_change"),
        (Side::New, "key collation", Finding::Warn, "copies.id"),
        (Side::New, "cascade", Finding::Fail, "notes"),
        (Side::New, "installation", Finding::Warn, "by_state"),
        (Side::New, "installation", Finding::Warn, "by_copy"),
        (Side::New, "installation", Finding::Warn, "by_shape"),
    ];
    let job = open(facts_job(&["v"]), &legacy, &new);
    assert_faults(&job.doctor(DoctorOptions::default()).await.unwrap(), &wanted);
    installation(&mut legacy, &mut new, &job).await;
}

/// Lost triggers, changed tables and tables of an older version.
async fn installation(legacy: &mut Base, new: &mut Base, job: &Job) {
    job.install().await.unwrap();
    legacy.run("DROP TRIGGER by_facts_1_au").await;
    let report = job.doctor(DoctorOptions::default()).await.unwrap();
    assert!(faults(&report).iter().any(|fault| fault.contains("trigger by_facts_1_au on facts")));
    job.install().await.unwrap();
    legacy.run("ALTER TABLE facts RENAME COLUMN v TO w; ALTER TABLE facts ADD COLUMN v TEXT").await;
    let report = job.doctor(DoctorOptions::default()).await.unwrap();
    assert_eq!(report.worst(), Finding::Fail, "the primary key is still missing");
    assert!(faults(&report).iter().any(|fault| fault.contains("\"facts.w\", text: \"is new")));
    new.run("ALTER TABLE by_state DROP COLUMN relists").await;
    let report = job.doctor(DoctorOptions::default()).await.unwrap();
    assert!(faults(&report).iter().any(|fault| fault.contains("older version: no relists")));
}
