//! Who goes round the proxy: a console session and a cron job are fenced by the database itself.

use crate::world::{Places, World, on_databases};
use banyan_test_servers::{mariadb, or_skip, postgres};
use sqlx::{Connection as _, Executor as _};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_console_transaction_stops_the_switch_by_name_and_keeps_its_write() {
    let (Some(legacy), Some(new)) = (or_skip(mariadb()), or_skip(postgres())) else { return };
    let places: Places = on_databases(&legacy, &new);
    let url = places.legacy.clone();
    let world = World::start(places).await;
    let mut console = sqlx::MySqlConnection::connect(&url).await.unwrap();
    console.execute("BEGIN").await.unwrap();
    console.execute("UPDATE messages SET body = 'by hand' WHERE id = 7").await.unwrap();
    let cutover = ["context", "cutover", "messages", "--execute", "--force", "--reason", "test"];
    let output = world.output(&cutover, &[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.contains("session ") && said.contains("root@"), "the session is named: {said}");
    assert_eq!(world.standing(), ("legacy".to_owned(), "steady".to_owned()));
    // Its transaction goes on as if nothing had been.
    console.execute("UPDATE messages SET body = 'by hand, twice' WHERE id = 7").await.unwrap();
    console.execute("COMMIT").await.unwrap();
    world.forward();
    let refused =
        console.execute("UPDATE messages SET body = 'late' WHERE id = 7").await.unwrap_err();
    assert!(
        refused.to_string().contains("banyan fence: context `messages` is draining on legacy"),
        "{refused}"
    );
    world.settle();
    world.back();
    let (body,): (String,) = sqlx::query_as("SELECT body FROM messages WHERE id = 7")
        .fetch_one(&mut console)
        .await
        .unwrap();
    assert_eq!(body, "by hand, twice", "it went to the service and came back");
    console.execute("UPDATE messages SET body = 'mine again' WHERE id = 7").await.unwrap();
    // What another context owns was never fenced.
    console.execute("UPDATE users SET username = 'Ada' WHERE id = 1").await.unwrap();
}
