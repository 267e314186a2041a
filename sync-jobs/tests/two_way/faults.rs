//! Faults that other tools miss, on each engine as the source.

use banyan_sync_jobs::{Job, Ports, RunMode, Side, VerifyOptions};
use tokio_util::sync::CancellationToken;

use crate::db::{Client, Db, Sides};
use crate::tables;

on_each!(
    a_trigger_away_for_a_while_on_sqlite: trigger_away(Sqlite),
    a_trigger_away_for_a_while_on_mariadb: trigger_away(Maria),
    a_trigger_away_for_a_while_on_postgres: trigger_away(Postgres),
    a_transaction_open_for_long_on_mariadb: late_commit(Maria),
    a_transaction_open_for_long_on_postgres: late_commit(Postgres),
    the_fence_is_obeyed_on_sqlite: fence(Sqlite),
    the_fence_is_obeyed_on_mariadb: fence(Maria),
    the_fence_is_obeyed_on_postgres: fence(Postgres),
);

pub(crate) async fn once(job: &Job) -> u64 {
    job.run(RunMode::Once, CancellationToken::new()).await.unwrap().counters.rows()
}

/// A job that is copied, with a client on its source.
async fn copied(legacy: Db) -> Option<(Sides, Job, Client)> {
    let sides = Sides::make(legacy, Db::Sqlite).await?;
    let mut client = sides.on_legacy().await;
    client.run(&tables::legacy(legacy)).await;
    for sql in tables::seed(legacy, 12, 120) {
        client.run(&sql).await;
    }
    sides.on_new().await.run(&tables::new(Db::Sqlite)).await;
    let spec = tables::spec(legacy);
    let job = Job::open(spec, sides.urls.clone(), Ports::default()).unwrap();
    job.install().await.unwrap();
    once(&job).await;
    Some((sides, job, client))
}

async fn clean(job: &Job) {
    let report = job.verify(VerifyOptions::default()).await.unwrap();
    assert!(report.is_clean(), "{report:#?}");
}

/// As when a tool for online schema changes swaps the table and somebody restores the triggers.
async fn trigger_away(legacy: Db) {
    let Some((sides, job, mut client)) = copied(legacy).await else { return };
    let all = Job::open(tables::spec(legacy), sides.urls.clone(), Ports::default()).unwrap();
    let on = if legacy == Db::Postgres { " ON messages" } else { "" };
    client.run(&format!("DROP TRIGGER by_messages_1_au{on}")).await;
    client.run("UPDATE messages SET body = 'unseen' WHERE id = 7").await;
    assert_eq!(client.number("SELECT COUNT(*) FROM by_change").await, 0, "nothing marked it");
    // Restored by hand, with the very text that `plan` shows: nothing is missing any more.
    let missing = all.missing().await.unwrap();
    assert_eq!(missing.len(), 1, "{missing:?}");
    for sql in missing.iter().flat_map(|step| &step.statements) {
        client.run(sql).await;
    }
    assert!(all.missing().await.unwrap().is_empty());
    once(&job).await;
    let mut new = sides.on_new().await;
    let unseen = "SELECT COUNT(*) FROM chat_messages WHERE body = 'unseen'";
    match legacy {
        // Its identity is the time it was made, or a number that is not used again.
        Db::Maria | Db::Postgres => assert_eq!(new.number(unseen).await, 1),
        // SQLite may give the new trigger the old one's number: then verify finds it.
        Db::Sqlite => {
            if new.number(unseen).await == 0 {
                let report = job.verify(VerifyOptions::default()).await.unwrap();
                assert_eq!(report.differing_total, 1);
                return;
            }
        }
    }
    clean(&job).await;
}

/// A transaction takes its place in the change table early and commits late, behind others that are applied already.
async fn late_commit(legacy: Db) {
    let Some((sides, job, mut client)) = copied(legacy).await else { return };
    let seconds: u64 = std::env::var("BANYAN_OPEN_SECONDS").map_or(1, |text| text.parse().unwrap());
    let mut slow = sides.on_legacy().await;
    slow.run("BEGIN").await;
    slow.run("UPDATE messages SET body = 'late' WHERE id = 1").await;
    let until = std::time::Instant::now() + std::time::Duration::from_secs(seconds);
    let mut number = 0;
    while std::time::Instant::now() < until {
        number += 1;
        // Many marks: a delete of many must not look at the one that is not committed.
        client.run(&format!("UPDATE messages SET body = 'q{number}' WHERE id > 30")).await;
        assert!(once(&job).await > 0, "what commits early goes early");
    }
    slow.run("COMMIT").await;
    assert_eq!(once(&job).await, 1, "what commits late is found, though its mark is older");
    clean(&job).await;
    assert_eq!(client.number("SELECT COUNT(*) FROM by_change").await, 0);
}

/// Nothing lands on a side that is open, nor under another epoch than the one the run began with.
async fn fence(legacy: Db) {
    let Some((sides, _, mut client)) = copied(legacy).await else { return };
    for to in [Side::New, Side::Legacy] {
        let open = Job::open_toward(tables::spec(legacy), sides.urls.clone(), Ports::default(), to);
        open.unwrap().install().await.unwrap();
    }
    let back = || {
        Job::open_toward(tables::spec(legacy), sides.urls.clone(), Ports::default(), Side::Legacy)
            .unwrap()
    };
    once(&back()).await;
    client
        .run("INSERT INTO banyan_owner VALUES ('messages', 'legacy', 'open', 4, 'subject')")
        .await;
    sides.on_new().await.run("UPDATE chat_messages SET body = 'too late' WHERE id = 3").await;
    let refused = back().run(RunMode::Once, CancellationToken::new()).await.unwrap_err();
    assert!(refused.to_string().contains("OPEN"), "{refused}");
    // What the owner of the moment writes is no conflict, whoever still runs in the old direction.
    client.run("UPDATE messages SET body = 'mine' WHERE id = 5").await;
    let refused = back().run(RunMode::Once, CancellationToken::new()).await.unwrap_err();
    assert!(refused.to_string().contains("OPEN"), "{refused}");
    assert_eq!(client.number("SELECT COUNT(*) FROM by_conflict").await, 0);
    client.run("DELETE FROM by_change").await;
    let landed = "SELECT COUNT(*) FROM messages WHERE body = 'too late'";
    assert_eq!(client.number(landed).await, 0);
    client.run("UPDATE banyan_owner SET state = 'draining', epoch = 5").await;
    once(&back()).await;
    assert_eq!(client.number(landed).await, 1);
}
