//! A write on the side that does not own the data is never overwritten in silence.

use banyan_sync_jobs::{Job, Ports, RunMode, Side};
use tokio_util::sync::CancellationToken;

use crate::db::{Db, Sides};
use crate::tables;

macro_rules! on_each {
    ($($name:ident: $new:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $name() {
                set_aside_and_overruled(Db::Sqlite, Db::$new).await;
            }
        )*
    };
}

on_each!(on_sqlite: Sqlite, on_mariadb: Maria, on_postgres: Postgres);

async fn once(job: &Job) {
    job.run(RunMode::Once, CancellationToken::new()).await.unwrap();
}

async fn set_aside_and_overruled(legacy: Db, new: Db) {
    let Some(sides) = Sides::make(legacy, new).await else { return };
    let (mut monolith, mut service) = (sides.on_legacy().await, sides.on_new().await);
    monolith.run(&tables::legacy(legacy)).await;
    for sql in tables::seed(legacy, 12, 80) {
        monolith.run(&sql).await;
    }
    service.run(&tables::new(new)).await;
    let open = |to| {
        Job::open_toward(tables::spec(legacy), sides.urls.clone(), Ports::default(), to).unwrap()
    };
    let forward = open(Side::New);
    for to in [Side::New, Side::Legacy] {
        open(to).install().await.unwrap();
    }
    once(&forward).await;
    assert_eq!(forward.conflicts(10).await.unwrap().total, 0);
    // Both write message 5, and the monolith another conversation's.
    service.run("UPDATE chat_messages SET body = 'theirs' WHERE id = 5").await;
    monolith.run("UPDATE messages SET body = 'ours' WHERE id IN (5, 50)").await;
    once(&forward).await;
    let of_service = "SELECT COUNT(*) FROM chat_messages WHERE body = ";
    assert_eq!(service.number(&format!("{of_service}'theirs'")).await, 1, "never overwritten");
    assert_eq!(service.number(&format!("{of_service}'ours'")).await, 1, "the others go on");
    let conflicts = forward.conflicts(10).await.unwrap();
    assert_eq!((conflicts.total, conflicts.keys.len()), (1, 1));
    let row = &conflicts.keys[0].rows[0];
    assert_eq!((row.table.as_str(), row.primary_key.as_str()), ("chat_messages", "5"));
    let column = row.columns.iter().find(|column| column.column == "body").unwrap();
    assert_eq!(column.wanted.as_deref(), Some("ours"));
    assert_eq!(column.found.as_deref(), Some("theirs"));
    // It stays set aside until somebody decides.
    monolith.run("UPDATE messages SET body = 'ours again' WHERE id = 5").await;
    once(&forward).await;
    assert_eq!(service.number(&format!("{of_service}'theirs'")).await, 1);
    let key = conflicts.keys[0].key.clone();
    assert_eq!(forward.overrule(&[key, "no:such".to_owned()]).await.unwrap(), 1);
    once(&forward).await;
    assert_eq!(service.number(&format!("{of_service}'ours again'")).await, 1);
    assert_eq!(forward.conflicts(10).await.unwrap().total, 0);
    for client in [&mut monolith, &mut service] {
        assert_eq!(client.number("SELECT COUNT(*) FROM by_change").await, 0);
    }
    a_write_on_the_other_side_alone_is_noticed(&sides, &forward).await;
}

async fn a_write_on_the_other_side_alone_is_noticed(sides: &Sides, forward: &Job) {
    let mut service = sides.on_new().await;
    service.run("UPDATE chat_messages SET body = 'alone' WHERE id = 7").await;
    once(forward).await;
    let conflicts = forward.conflicts(10).await.unwrap();
    assert_eq!(conflicts.total, 1, "although the monolith wrote nothing");
    assert_eq!(conflicts.keys[0].rows[0].columns[0].found.as_deref(), Some("alone"));
}
