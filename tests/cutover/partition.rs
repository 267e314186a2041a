//! Proxies that are cut off from the control store: it costs nothing, but for the writes of a context that is being cut over.

use crate::support::wait_until;
use crate::world::{Places, World};
use sqlx::{Connection as _, Executor as _, SqliteConnection};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Longer than the lease of a proxy while something is armed.
const LONG: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_cut_off_refuses_the_writes_of_an_armed_context_only() {
    let world = World::start(Places::embedded()).await;
    let mut store = lock(&world).await;
    all_is_served(&world, LONG);
    unlock(&mut store).await;

    let halt = [("BANYAN_TEST_HALT_AT", "arm".to_owned())];
    let cutover =
        ["context", "cutover", "messages", "--execute", "--force", "--reason", "test", "-v"];
    let coordinator = world.folder.start_into("coordinator", &cutover, &halt);
    let file = world.folder.file("coordinator");
    wait_until("the coordinator to halt", || {
        std::fs::read_to_string(&file).unwrap_or_default().contains("halted for a test")
    });
    coordinator.kill();
    all_is_served(&world, Duration::from_millis(500));

    let mut store = lock(&world).await;
    wait_until("both proxies to refuse", || {
        world.proxies().iter().all(|port| ask(*port, "POST /messages").starts_with("HTTP/1.1 503"))
    });
    for port in world.proxies() {
        let refused = ask(port, "POST /messages").to_lowercase();
        assert!(
            refused.contains("retry-after: ") && refused.contains("\"fault\":\"proxy\""),
            "{refused}"
        );
        for request in ["POST /login", "GET /users/3/messages", "GET /tracks/7"] {
            let answer = ask(port, request);
            assert!(is_served(&answer), "{request}: {answer}");
        }
    }
    unlock(&mut store).await;
    wait_until("both proxies to take writes again", || {
        world.proxies().iter().all(|port| is_served(&ask(*port, "POST /messages")))
    });

    let given_up = world.output(&["context", "cutover", "messages", "--abort"], &[]);
    assert_eq!(given_up.status.code(), Some(0), "{given_up:?}");
    assert_eq!(world.standing(), ("legacy".to_owned(), "steady".to_owned()));
    let mut store = lock(&world).await;
    all_is_served(&world, LONG);
    unlock(&mut store).await;
}

/// Nobody else can write to the control store, so no heartbeat is heard.
async fn lock(world: &World) -> SqliteConnection {
    let url = format!("sqlite:{}", world.folder.file("banyan-control.db").display());
    let mut store = SqliteConnection::connect(&url).await.unwrap();
    store.execute("PRAGMA busy_timeout = 5000").await.unwrap();
    store.execute("BEGIN IMMEDIATE").await.unwrap();
    store
}

async fn unlock(store: &mut SqliteConnection) {
    store.execute("ROLLBACK").await.unwrap();
}

fn all_is_served(world: &World, how_long: Duration) {
    let until = Instant::now() + how_long;
    while Instant::now() < until {
        for port in world.proxies() {
            for request in ["POST /messages", "POST /login", "GET /users/3/messages"] {
                let answer = ask(port, request);
                assert!(is_served(&answer), "{request}: {answer}");
            }
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// An application has answered, if only that one must log in.
fn is_served(answer: &str) -> bool {
    answer.starts_with("HTTP/1.1 ") && !answer.starts_with("HTTP/1.1 5")
}

/// The whole answer to a request without a body.
fn ask(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let text = format!(
        "{request} HTTP/1.1\r\nHost: practice\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // A connection that is reset after its answer is fine.
    drop(stream.read_to_end(&mut answer));
    String::from_utf8_lossy(&answer).into_owned()
}
