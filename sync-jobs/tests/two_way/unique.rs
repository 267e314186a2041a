//! Values that move between rows under a unique key of the target.

use banyan_sync_jobs::{
    CaptureEvent, CaptureMode, CaptureSpec, Job, JobSpec, KeyShape, Limits, PartKind, Ports,
    RootsSpec, Rules, RunMode, Side, TableSpec, VerifyOptions,
};
use tokio_util::sync::CancellationToken;

use crate::db::{Db, Sides};

macro_rules! on_each {
    ($($name:ident: $new:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $name() {
                values_move(Db::$new).await;
            }
        )*
    };
}

on_each!(on_sqlite: Sqlite, on_mariadb: Maria, on_postgres: Postgres);

fn spec() -> JobSpec {
    JobSpec {
        name: "people".to_owned(),
        context: "people".to_owned(),
        root: "person".to_owned(),
        follow: true,
        mode: CaptureMode::Trigger,
        key: KeyShape::new(":", vec![PartKind::Integer]),
        roots: vec![RootsSpec { side: Side::Legacy, select: "SELECT id AS k FROM a".to_owned() }],
        captures: vec![CaptureSpec {
            side: Side::Legacy,
            table: "a".to_owned(),
            key: "{row}.id".to_owned(),
            events: CaptureEvent::ALL.to_vec(),
            cursor: None,
        }],
        tables: vec![TableSpec {
            to: Side::New,
            name: "b".to_owned(),
            key: vec!["id".to_owned()],
            root_column: "id".to_owned(),
            select: "SELECT id, mail, rank_no, nick FROM a WHERE id IN ({keys.1})".to_owned(),
            current: None,
            keep: vec![],
            shared: false,
        }],
        // Each change is a batch of its own: a value is taken before its holder's change is read.
        limits: Limits { changes_per_batch: 1, ..Limits::default() },
        rules: Rules::default(),
    }
}

async fn values_move(new: Db) {
    let Some(sides) = Sides::make(Db::Sqlite, new).await else { return };
    let (mut from, mut to) = (sides.on_legacy().await, sides.on_new().await);
    from.run("CREATE TABLE a (id INTEGER PRIMARY KEY, mail TEXT, rank_no INTEGER, nick TEXT)")
        .await;
    from.run(
        "INSERT INTO a VALUES (1, 'a', 1, 'x'), (2, 'b', 2, NULL), (3, 'c', 3, 'z'), (4, 'd', 4, 'q')",
    )
    .await;
    to.run(
        "CREATE TABLE b (id BIGINT PRIMARY KEY, mail VARCHAR(32) NOT NULL UNIQUE, \
         rank_no BIGINT NOT NULL, nick VARCHAR(32), UNIQUE (rank_no), UNIQUE (nick))",
    )
    .await;
    let open = |spec| Job::open(spec, sides.urls.clone(), Ports::default()).unwrap();
    let (one, all) = (open(spec()), open(JobSpec { limits: Limits::default(), ..spec() }));
    one.install().await.unwrap();
    for job in [&all, &one] {
        for change in [
            "SELECT 1",
            // Two rows swap, three rows rotate, a number and a nickname at once.
            "UPDATE a SET mail = CASE id WHEN 1 THEN 'b' ELSE 'a' END WHERE id IN (1, 2)",
            "UPDATE a SET rank_no = rank_no % 3 + 1, nick = CASE id WHEN 3 THEN 'x' END WHERE id < 4",
            // A value is given up by one and taken by another, in this order and the other.
            "UPDATE a SET mail = 'free' WHERE id = 4; UPDATE a SET mail = 'd' WHERE id = 3",
            "UPDATE a SET mail = 'held' WHERE id = 3; UPDATE a SET mail = 'd' WHERE id = 4",
            "DELETE FROM a WHERE id = 4; INSERT INTO a VALUES (9, 'd', 4, NULL)",
            "DELETE FROM a WHERE id = 9; INSERT INTO a VALUES (4, 'd', 4, 'q')",
        ] {
            from.run(change).await;
            job.run(RunMode::Once, CancellationToken::new()).await.unwrap();
            let report = job.verify(VerifyOptions::default()).await.unwrap();
            assert!(report.is_clean(), "{new:?} {change}: {report:#?}");
        }
    }
}
