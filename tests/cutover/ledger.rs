//! What clients were told is done, held against the owner's data and the public events.

use crate::world::{Public, World};
use serde_json::Value;
use sqlx::Connection as _;
use std::collections::{BTreeMap, HashMap, HashSet};

/// What the owner's side must show of one message.
#[derive(Debug, Default)]
struct Wanted {
    body: Option<String>,
    is_read: bool,
    hidden_for: Vec<i64>,
}

/// One message on the owner's side.
#[derive(Debug)]
struct Found {
    body: String,
    is_read: bool,
    hidden_for: Vec<i64>,
}

/// What was checked.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    pub(crate) writes: usize,
    pub(crate) events: usize,
    pub(crate) repeated: usize,
    /// Edits that happened although their clients got no answer.
    pub(crate) unanswered: usize,
}

fn entries(world: &World) -> Vec<Value> {
    let text = std::fs::read_to_string(world.folder.file("ledger")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Every acknowledged write is on the owner's side; the event of each is public, in the order of its message. Says how many came more
/// than once, which is allowed only where somebody died.
pub(crate) async fn check(world: &World) -> Checked {
    let entries = entries(world);
    let events = world.public().await;
    let unanswered = edited_without_an_answer(&entries, &events);
    let mut wanted: BTreeMap<i64, Wanted> = BTreeMap::new();
    for entry in &entries {
        let message = wanted.entry(entry["id"].as_i64().unwrap()).or_default();
        match entry["kind"].as_str().unwrap() {
            "messages.create" | "messages.update" => {
                message.body = Some(entry["body"].as_str().unwrap().to_owned());
            }
            "messages.mark_read" => message.is_read = true,
            "messages.delete" => message.hidden_for.push(entry["user"].as_i64().unwrap()),
            other => panic!("{other} is no write of the context"),
        }
    }
    let (owner, stage) = world.standing();
    assert_eq!(stage, "steady");
    let found = messages(world, &owner).await;
    for (id, wanted) in &wanted {
        let found = found.get(id).unwrap_or_else(|| panic!("message {id} is lost on {owner}"));
        if let Some(body) = wanted.body.as_ref().filter(|_| !unanswered.contains(id)) {
            assert_eq!(&found.body, body, "message {id} on {owner}");
        }
        assert!(found.is_read || !wanted.is_read, "message {id} is unread on {owner}");
        for user in &wanted.hidden_for {
            assert!(found.hidden_for.contains(user), "message {id} is back for {user} on {owner}");
        }
    }
    let repeated = check_events(&entries, &events, &world.read_before);
    Checked { writes: entries.len(), events: events.len(), repeated, unanswered: unanswered.len() }
}

/// Messages whose last edit its client has no answer for, because something died: done, but not in the ledger.
fn edited_without_an_answer(entries: &[Value], events: &[Public]) -> HashSet<i64> {
    let acknowledged: HashSet<&str> =
        entries.iter().filter_map(|entry| entry["request_id"].as_str()).collect();
    let edits = events.iter().filter(|event| event.kind == "message.edited");
    let last: HashMap<i64, &str> =
        edits.map(|event| (event.subject, event.request.as_str())).collect();
    last.into_iter()
        .filter(|(_, request)| !acknowledged.contains(request))
        .map(|(id, _)| id)
        .collect()
}

/// Each acknowledged write has its event; that a message is read is told once, by whoever reads it first.
fn check_events(entries: &[Value], events: &[Public], read_before: &HashSet<i64>) -> usize {
    let mut by_id: HashMap<&str, usize> = HashMap::new();
    let mut first: Vec<&Public> = Vec::new();
    for event in events {
        let times = by_id.entry(&event.id).or_default();
        *times += 1;
        if *times == 1 {
            first.push(event);
        }
    }
    let mut by_act: HashMap<(&str, &str), Vec<i64>> = HashMap::new();
    let mut order: HashMap<i64, Vec<(&str, &str)>> = HashMap::new();
    for event in &first {
        by_act.entry((&event.request, &event.kind)).or_default().push(event.subject);
        order.entry(event.subject).or_default().push((&event.kind, &event.request));
    }
    let mut reads: HashMap<i64, usize> = HashMap::new();
    for event in first.iter().filter(|event| event.kind == "message.read") {
        *reads.entry(event.subject).or_default() += 1;
    }
    let mut edits: HashMap<i64, Vec<&str>> = HashMap::new();
    for entry in entries {
        let (id, request) = (entry["id"].as_i64().unwrap(), entry["request_id"].as_str().unwrap());
        let kind = match entry["kind"].as_str().unwrap() {
            "messages.create" => "message.sent",
            "messages.update" => "message.edited",
            // Who hides it twice is told that it is not there.
            "messages.delete" => "message.deleted",
            _ => {
                let told = reads.get(&id).copied().unwrap_or(0);
                let wanted = usize::from(!read_before.contains(&id));
                assert_eq!(told, wanted, "message.read of message {id}, request {request}");
                continue;
            }
        };
        let found = by_act.get(&(request, kind));
        assert_eq!(found, Some(&vec![id]), "{kind} of message {id}, request {request}");
        if kind == "message.edited" {
            edits.entry(id).or_default().push(request);
        }
    }
    for (id, acts) in &order {
        let sent = acts.iter().position(|(kind, _)| *kind == "message.sent");
        assert!(sent.is_none_or(|at| at == 0), "message {id}: {acts:?}");
        let edited: Vec<&str> = acts
            .iter()
            .filter(|(kind, _)| *kind == "message.edited")
            .map(|(_, request)| *request)
            .collect();
        if let Some(asked) = edits.get(id) {
            let known: Vec<&str> = edited.into_iter().filter(|r| asked.contains(r)).collect();
            assert_eq!(&known, asked, "edits of message {id}");
        }
    }
    events.len() - first.len()
}

/// Messages that are read already.
pub(crate) async fn read_messages(world: &World) -> HashSet<i64> {
    let found = messages(world, "legacy").await;
    found.into_iter().filter(|(_, found)| found.is_read).map(|(id, _)| id).collect()
}

const LEGACY: &str = "SELECT m.id, m.body, r.read_at IS NOT NULL, m.sender_id, m.recipient_id,
    s.deleted_at IS NOT NULL, r.deleted_at IS NOT NULL FROM messages m
    JOIN message_receipts r ON r.message_id = m.id AND r.user_id = m.recipient_id
    JOIN message_receipts s ON s.message_id = m.id AND s.user_id = m.sender_id";
const NEW: &str = "SELECT id, body, read_at IS NOT NULL, author_id, recipient_id,
    hidden_for_author, hidden_for_recipient FROM chat_messages";

type Row = (i64, String, bool, i64, i64, bool, bool);

async fn messages(world: &World, owner: &str) -> HashMap<i64, Found> {
    let (url, sql) = match owner {
        "legacy" => (&world.places.legacy, LEGACY),
        _ => (&world.places.new, NEW),
    };
    let rows: Vec<Row> = if let Some(file) = url.strip_prefix("sqlite:") {
        let url = format!("sqlite:{}", world.folder.file(file).display());
        let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
        sqlx::query_as(sql).fetch_all(&mut connection).await.unwrap()
    } else if url.starts_with("postgres") {
        let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
        sqlx::query_as(sql).fetch_all(&mut connection).await.unwrap()
    } else {
        let url = url.replace("mariadb:", "mysql:");
        let mut connection = sqlx::MySqlConnection::connect(&url).await.unwrap();
        sqlx::query_as(sql).fetch_all(&mut connection).await.unwrap()
    };
    rows.into_iter()
        .map(|(id, body, is_read, author, recipient, hidden_author, hidden_recipient)| {
            let hidden = [(author, hidden_author), (recipient, hidden_recipient)];
            let hidden_for = hidden.into_iter().filter(|(_, is)| *is).map(|(user, _)| user);
            (id, Found { body, is_read, hidden_for: hidden_for.collect() })
        })
        .collect()
}
