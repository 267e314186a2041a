use super::world::{World, ann, catalogue, report};
use crate::error::{CommitError, ControlError};
use crate::sqlite::SqliteStore;
use crate::store::{ControlStore, StoreOptions, open, open_existing};
use banyan_domain::{Change, Generation};
use sqlx::{Connection, SqliteConnection};
use std::fs;
use std::os::unix::fs::PermissionsExt;

async fn raw(world: &World) -> SqliteConnection {
    SqliteConnection::connect(&world.url()).await.unwrap()
}

#[tokio::test]
async fn a_lock_held_for_longer_than_the_busy_timeout_is_named_and_readers_go_on() {
    let world = World::new();
    let store = world.store_with(StoreOptions { busy_timeout_ms: 60, ..world.options() }).await;
    store.commit(&catalogue(), &Change::Adopt, None, &ann()).await.unwrap();
    let mut other = raw(&world).await;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();

    let error = store.commit(&catalogue(), &Change::Freeze, None, &ann()).await.unwrap_err();
    assert!(matches!(error, CommitError::Store(ControlError::Locked { .. })), "{error:?}");
    assert!(error.retryable() && error.hint().contains("lsof"));
    assert_eq!(store.table().await.unwrap().generation, Generation(1));

    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    store.commit(&catalogue(), &Change::Freeze, None, &ann()).await.unwrap();
}

#[tokio::test]
async fn a_store_of_a_newer_release_is_refused_by_name() {
    let world = World::new();
    drop(world.store().await);
    let mut other = raw(&world).await;
    sqlx::query("INSERT INTO banyan_schema VALUES (99, 0)").execute(&mut other).await.unwrap();
    let error = SqliteStore::open(&world.url()).await.err().unwrap();
    assert!(matches!(error, ControlError::NewerSchema { found: 99, supported: 3, .. }), "{error}");
    assert!(!error.retryable());
}

#[tokio::test]
async fn a_file_that_is_no_database_is_named_corrupt_and_left_alone() {
    let world = World::new();
    let garbage = "not a database at all, ".repeat(100);
    fs::write(world.path(), &garbage).unwrap();
    let error = SqliteStore::open(&world.url()).await.err().unwrap();
    assert!(matches!(error, ControlError::Corrupt { .. }), "{error:?}");
    assert_eq!(fs::read_to_string(world.path()).unwrap(), garbage);
}

#[tokio::test]
async fn a_missing_store_is_made_for_serve_and_named_for_commands() {
    let world = World::new();
    let error = open_existing(&world.url()).await.err().unwrap();
    assert!(matches!(error, ControlError::Missing { .. }));
    assert!(error.hint().contains("banyan serve"));
    assert!(!world.path().exists());
    let deep = world.folder.path().join("a/b/control.db");
    drop(open(&deep.display().to_string()).await.unwrap());
    assert!(deep.exists());
    open_existing(&deep.display().to_string()).await.unwrap();
}

#[tokio::test]
async fn a_path_that_cannot_be_made_is_named_not_writable() {
    let world = World::new();
    let file = world.folder.path().join("file");
    fs::write(&file, "").unwrap();
    let below = format!("sqlite:{}/control.db", file.display());
    let error = SqliteStore::open(&below).await.err().unwrap();
    assert!(matches!(error, ControlError::NotWritable { .. }), "{error:?}");
    assert!(error.hint().contains("folder"));
}

#[tokio::test]
async fn a_read_only_folder_is_named_not_writable() {
    let world = World::new();
    let folder = world.folder.path().join("sealed");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o500)).unwrap();
    if fs::write(folder.join("probe"), "").is_ok() {
        return; // Root writes everywhere: there is nothing to see here.
    }
    let error = SqliteStore::open(&folder.join("control.db").display().to_string()).await;
    assert!(matches!(error.err().unwrap(), ControlError::NotWritable { .. }));
}

#[tokio::test]
async fn a_file_removed_under_us_is_noticed_and_a_new_one_is_picked_up() {
    let world = World::new();
    let store = world.store().await;
    store.commit(&catalogue(), &Change::Adopt, None, &ann()).await.unwrap();
    for suffix in ["", "-wal", "-shm"] {
        drop(fs::remove_file(format!("{}{suffix}", world.path().display())));
    }
    let error = store.generation().await.unwrap_err();
    assert!(matches!(error, ControlError::Missing { .. }), "{error:?}");
    assert!(store.heartbeat(&report("proxy-1", 1)).await.is_err(), "nothing is written nowhere");
    assert!(!world.path().exists(), "it is not made anew under the operator's hands");

    let fresh = world.store().await;
    assert_eq!(store.generation().await.unwrap(), Generation(0));
    fresh.commit(&catalogue(), &Change::Adopt, None, &ann()).await.unwrap();
    assert_eq!(store.generation().await.unwrap(), Generation(1));
}

#[tokio::test]
async fn an_attached_store_starts_working_when_the_file_appears() {
    let world = World::new();
    let store = SqliteStore::attach(&world.url(), world.must_exist()).unwrap();
    assert!(matches!(store.table().await.unwrap_err(), ControlError::Missing { .. }));
    drop(world.store().await);
    assert_eq!(store.table().await.unwrap().generation, Generation(0));
}

#[tokio::test]
async fn processes_that_start_at_the_same_time_make_one_store() {
    let world = World::new();
    let mut starts = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let (url, options) = (world.url(), world.options());
        starts.spawn(async move { SqliteStore::open_with(&url, options).await.map(drop) });
    }
    for start in starts.join_all().await {
        start.unwrap();
    }
}

#[tokio::test]
async fn an_unreadable_table_is_named_and_not_overwritten() {
    let world = World::new();
    let store = world.store().await;
    store.commit(&catalogue(), &Change::Adopt, None, &ann()).await.unwrap();
    let mut other = raw(&world).await;
    let torn = "UPDATE generation SET body = replace(body, 'legacy', 'teleport')";
    sqlx::query(torn).execute(&mut other).await.unwrap();
    let error = store.table().await.unwrap_err();
    assert!(matches!(error, ControlError::Unreadable { .. }));
    assert!(error.to_string().contains("route table 1"), "{error}");
    assert!(store.commit(&catalogue(), &Change::Freeze, None, &ann()).await.is_err());
    assert_eq!(store.generation().await.unwrap(), Generation(1));
}
