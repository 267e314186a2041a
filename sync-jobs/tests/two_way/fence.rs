//! Fences on the three engines: who is refused, who is let through, and what closing waits for.

use std::time::Duration;

use banyan_cutover::{Fence, FenceState, Move};
use banyan_domain::{ContextName, Epoch, Side};
use banyan_sync_jobs::{ContextFence, FenceMoved, IdCounter, Job, Ports, SideUrls};
use banyan_test_servers::{mariadb_in_zone, or_skip};

use crate::db::{Client, Db, Sides};
use crate::faults::once;
use crate::tables;

const WAIT: Duration = Duration::from_secs(1);
const INSERT: &str = "INSERT INTO chat_messages (id, conversation_id, thread_id, author_id, recipient_id, \
     body, sent_at, changed_at) VALUES";
const VALUES: &str = "'1:2', 1, 1, 2, 'x', '2014-01-01 00:00:00', '2014-01-01 00:00:00')";

macro_rules! engines {
    ($($test:ident),* $(,)?) => {
        $(mod $test {
            use super::Db;
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                super::$test(Db::Sqlite).await;
            }
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn mariadb() {
                super::$test(Db::Maria).await;
            }
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                super::$test(Db::Postgres).await;
            }
        })*
    };
}

engines!(refuses_and_lets_through, closing_waits, comes_and_goes, counters);

/// The service's side on this engine, with its tables, its fence open at epoch 3.
async fn open(db: Db) -> Option<(Sides, ContextFence, Client)> {
    let sides = Sides::make(Db::Sqlite, db).await?;
    let mut client = sides.on_new().await;
    client.run(&tables::new(db)).await;
    let fence = of(&sides);
    fence.install(Fence::new(FenceState::Open, Epoch(3))).await.unwrap();
    Some((sides, fence, client))
}

fn of(sides: &Sides) -> ContextFence {
    let spec = tables::spec(sides.legacy);
    let context = ContextName::new("messages").unwrap();
    ContextFence::of(&context, Side::New, sides.urls.clone(), &[&spec])
}

fn code(error: &sqlx::Error) -> String {
    let error = error.as_database_error().unwrap();
    match error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
        Some(mysql) => mysql.number().to_string(),
        None => error.code().unwrap_or_default().into_owned(),
    }
}

async fn refuses_and_lets_through(db: Db) {
    let Some((sides, fence, mut client)) = open(db).await else { return };
    client.run(&format!("{INSERT} (1, {VALUES}")).await;
    assert_eq!(
        fence.change(Move::Drain(Epoch(4)), WAIT).await.unwrap(),
        FenceMoved::Done(Fence::new(FenceState::Draining, Epoch(4)))
    );
    let again = fence.change(Move::Drain(Epoch(4)), WAIT).await.unwrap();
    assert_eq!(again, FenceMoved::NotApplicable(Fence::new(FenceState::Draining, Epoch(4))));
    let mut writes = vec![
        format!("{INSERT} (2, {VALUES}"),
        "UPDATE chat_messages SET body = 'y'".to_owned(),
        "DELETE FROM chat_messages".to_owned(),
        "INSERT INTO conversations (id, user_low, user_high) VALUES ('7:8', 7, 8)".to_owned(),
    ];
    if db == Db::Postgres {
        writes.push("TRUNCATE chat_messages".to_owned());
    }
    for sql in &writes {
        let error = client.tried(sql).await.err().unwrap_or_else(|| panic!("{sql}"));
        let text = error.to_string();
        assert!(text.contains("banyan fence: context `messages` is "), "{text}");
        assert!(text.contains(" on new"), "{text}");
        let expected = match db {
            Db::Sqlite => "1811",
            Db::Maria => "31001",
            Db::Postgres => "BY001",
        };
        assert_eq!(code(&error), expected);
    }
    assert_eq!(client.number("SELECT COUNT(*) FROM chat_messages WHERE body = 'x'").await, 1);
    // The sync goes on: it brings what the other side owns.
    let mut legacy = sides.on_legacy().await;
    legacy.run(&tables::legacy(sides.legacy)).await;
    for sql in tables::seed(sides.legacy, 4, 40) {
        legacy.run(&sql).await;
    }
    let job = Job::open(tables::spec(sides.legacy), sides.urls.clone(), Ports::default()).unwrap();
    job.install().await.unwrap();
    once(&job).await;
    assert_eq!(client.number("SELECT COUNT(*) FROM chat_messages").await, 40);
    // Back to open, under the epoch that is told.
    let back = Move::Reopen { given_up: Epoch(4), back_to: Epoch(3) };
    assert!(matches!(fence.change(back, WAIT).await.unwrap(), FenceMoved::Done(_)));
    client.run("UPDATE chat_messages SET body = 'y' WHERE id = 2").await;
    let refused =
        job.run(banyan_sync_jobs::RunMode::Once, tokio_util::sync::CancellationToken::new());
    legacy.run("UPDATE messages SET body = 'z' WHERE id = 3").await;
    assert!(refused.await.unwrap_err().to_string().contains("OPEN"), "never onto an open side");
}

/// A transaction that wrote may go on writing and commit; the fence closes after it, and names it while it waits.
async fn closing_waits(db: Db) {
    let Some((sides, fence, mut client)) = open(db).await else { return };
    let begin = if db == Db::Sqlite { "BEGIN IMMEDIATE" } else { "BEGIN" };
    client.run(begin).await;
    client.run(&format!("{INSERT} (1, {VALUES}")).await;
    let FenceMoved::Blocked { by } = fence.change(Move::Drain(Epoch(4)), WAIT).await.unwrap()
    else {
        panic!("a transaction that wrote is not waited for")
    };
    let named = by.join("; ");
    match db {
        Db::Sqlite => assert!(named.contains("SQLite file"), "{named}"),
        Db::Maria | Db::Postgres => {
            assert!(named.starts_with("session ") && named.contains("open for"), "{named}");
        }
    }
    assert_eq!(fence.read().await.unwrap().unwrap().state, FenceState::Open, "nothing was changed");
    let closing = tokio::spawn({
        let fence = of(&sides);
        async move { fence.change(Move::Drain(Epoch(4)), Duration::from_secs(20)).await.unwrap() }
    });
    let mut refused_late = None;
    if db != Db::Sqlite {
        // The closer is in the queue now: one more write of the same transaction still passes, another session's does not.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let mut other = sides.on_new().await;
        let late =
            tokio::spawn(async move { other.tried(&format!("{INSERT} (3, {VALUES}")).await });
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(!late.is_finished(), "who comes after the closer waits behind it");
        client.run("UPDATE chat_messages SET body = 'last' WHERE id = 1").await;
        refused_late = Some(late);
        let old = fence.old_transactions(Duration::ZERO).await.unwrap();
        assert!(!old.is_empty(), "the open transaction is listed");
    }
    assert!(!closing.is_finished());
    client.run("COMMIT").await;
    assert!(matches!(closing.await.unwrap(), FenceMoved::Done(_)));
    if let Some(late) = refused_late {
        let error = late.await.unwrap().unwrap_err();
        assert!(error.to_string().contains("banyan fence"), "{error}");
    }
    let error = client.tried(&format!("{INSERT} (2, {VALUES}")).await.unwrap_err();
    assert!(error.to_string().contains("banyan fence"), "{error}");
    assert_eq!(client.number("SELECT COUNT(*) FROM chat_messages").await, 1);
}

async fn comes_and_goes(db: Db) {
    let Some((_sides, fence, mut client)) = open(db).await else { return };
    let start = Fence::new(FenceState::Shut, Epoch(0));
    assert_eq!(fence.missing(start).await.unwrap(), [], "installed");
    assert_eq!(fence.status().await.unwrap().fence, Some(Fence::new(FenceState::Open, Epoch(3))));
    let drop_one = match db {
        Db::Postgres => "DROP TRIGGER by_fence_messages_1_bs ON chat_messages",
        Db::Sqlite | Db::Maria => "DROP TRIGGER by_fence_messages_1_bu",
    };
    client.run(drop_one).await;
    let missing = fence.status().await.unwrap().missing;
    assert_eq!(missing.len(), 1, "{missing:?}");
    assert!(missing[0].contains("on chat_messages"), "{missing:?}");
    assert_eq!(fence.install(start).await.unwrap().len(), 1);
    let shown = fence.uninstall(false).await.unwrap();
    assert_eq!(fence.missing(start).await.unwrap(), [], "nothing was removed");
    assert_eq!(fence.uninstall(true).await.unwrap(), shown);
    let kept = fence.read().await.unwrap().map(|fence| fence.state);
    assert_eq!(kept, Some(FenceState::Open), "the outbox goes on by it");
    client.run(&format!("{INSERT} (1, {VALUES}")).await;
    // Without its row a trigger refuses: nobody knows who owns the context.
    fence.install(Fence::new(FenceState::Open, Epoch(1))).await.unwrap();
    client.run("DELETE FROM banyan_owner").await;
    assert!(client.tried(&format!("{INSERT} (2, {VALUES}")).await.is_err());
}

async fn counter(fence: &ContextFence) -> IdCounter {
    fence.id_counters(&["things.id"]).await.unwrap().remove(0)
}

async fn counters(db: Db) {
    let Some((_sides, fence, mut client)) = open(db).await else { return };
    let auto = match db {
        Db::Sqlite => "INTEGER PRIMARY KEY AUTOINCREMENT",
        Db::Maria => "BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY",
        Db::Postgres => "BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY",
    };
    client.run(&format!("CREATE TABLE things (id {auto}, name VARCHAR(9))")).await;
    assert_eq!(counter(&fence).await.next(), 1);
    client
        .run(
            "INSERT INTO things (name) VALUES ('a'), ('b'), ('c'); DELETE FROM things WHERE id > 1",
        )
        .await;
    assert_eq!(counter(&fence).await.next(), 4, "deleted ids count");
    let raised = fence.raise(&[(counter(&fence).await, 100)]).await.unwrap();
    assert_eq!((raised[0].before, raised[0].now), (4, 100));
    let raised = fence.raise(&[(counter(&fence).await, 50)]).await.unwrap();
    assert_eq!((raised[0].before, raised[0].now), (100, 100), "never lowered");
    client.run("INSERT INTO things (name) VALUES ('d')").await;
    assert_eq!(client.number("SELECT id FROM things WHERE name = 'd'").await, 100);
    // An explicit id above the counter counts too: the sync brings such rows.
    client.run("INSERT INTO things (id, name) VALUES (500, 'e')").await;
    assert_eq!(counter(&fence).await.next(), 501);
    fence.raise(&[(counter(&fence).await, 501)]).await.unwrap();
    client.run("INSERT INTO things (name) VALUES ('f')").await;
    assert_eq!(
        client.number("SELECT id FROM things WHERE name = 'f'").await,
        501,
        "not given twice"
    );
    let error = fence.id_counters(&["conversations.user_low"]).await.unwrap_err().to_string();
    assert!(error.contains("conversations.user_low"), "{error}");
}

/// MariaDB shows when a transaction began by its machine's clock, whatever the zone of the session is.
#[tokio::test]
async fn the_age_of_a_transaction_does_not_depend_on_the_servers_time_zone() {
    let Some(server) = or_skip(mariadb_in_zone("Asia/Tokyo")) else { return };
    let url = format!("mysql://root@127.0.0.1:{}/mysql", server.port());
    let urls = SideUrls { legacy: url.clone(), new: url.clone() };
    let mut client = Client::open(Db::Maria, &url).await;
    client
        .run("CREATE DATABASE zone; CREATE TABLE zone.t (id INT PRIMARY KEY) ENGINE=InnoDB")
        .await;
    client.run("BEGIN; INSERT INTO zone.t VALUES (1)").await;
    let context = ContextName::new("messages").unwrap();
    let fence = ContextFence::of(&context, Side::New, urls, &[]);
    assert_eq!(fence.old_transactions(Duration::from_hours(1)).await.unwrap(), [""; 0]);
    let open = fence.old_transactions(Duration::ZERO).await.unwrap();
    assert_eq!(open.len(), 1, "{open:?}");
    let seconds = open[0].split("open for ").nth(1).and_then(|text| text.split(' ').next());
    assert!(seconds.unwrap().parse::<u32>().unwrap() < 60, "{open:?}");
}
