//! The ledger of acknowledged writes: what a client was told is done, to be looked for afterwards on any side.
//!
//! One JSON line per acknowledged write of the context `messages`, appended when the answer came.
//!
//! What must stay true: an acknowledged write is in the ledger before its session goes on, also when another status was
//! expected or a check then finds fault with the answer; what was not acknowledged is never in it.

use crate::{
    client::{Ask, Payload, Reply},
    endpoint::Endpoint,
    error::TrafficError,
};
use serde::{Deserialize, Serialize};
use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::Path,
    sync::{Mutex, PoisonError},
};

/// One acknowledged write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// Name of the endpoint, for example `messages.create`.
    pub kind: String,
    /// The message.
    pub id: i64,
    /// Who wrote.
    pub user: i64,
    /// To whom a created message went, as the answer said.
    pub recipient: Option<i64>,
    /// The body that was sent, of a created or edited message.
    pub body: Option<String>,
    /// Since when a message is read, as the answer said.
    pub read_at: Option<String>,
    /// `X-Request-Id` of the request; it is in the write's event too.
    pub request_id: String,
    /// Milliseconds since the start of the traffic.
    pub at_ms: u64,
    /// Which application answered.
    pub served_by: Option<String>,
}

/// The file. Lines of several processes may share it, because each line is appended at once.
#[derive(Debug)]
pub(crate) struct Ledger {
    file: Mutex<File>,
}

/// Who wrote when.
#[derive(Debug)]
pub(crate) struct Deed {
    pub(crate) user: i64,
    pub(crate) request_id: String,
    pub(crate) at_ms: u64,
}

impl Ledger {
    /// Opens the file for appending.
    pub(crate) fn open(path: &Path) -> Result<Self, TrafficError> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.map_err(|source| TrafficError::Ledger { path: path.to_owned(), source })?;
        Ok(Self { file: Mutex::new(file) })
    }

    /// Appends the write, if the answer acknowledges one of the context.
    pub(crate) fn note(&self, ask: &Ask, reply: &Reply, write: Deed) -> io::Result<()> {
        let Some(entry) = entry(ask, reply, write) else { return Ok(()) };
        let mut line = serde_json::to_string(&entry).map_err(io::Error::other)?;
        line.push('\n');
        self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes())
    }
}

fn entry(ask: &Ask, reply: &Reply, write: Deed) -> Option<LedgerEntry> {
    if !ask.endpoint.is_of_messages()
        || !ask.endpoint.is_write()
        || !(200..300).contains(&reply.status)
    {
        return None;
    }
    let answer: serde_json::Value = serde_json::from_str(&reply.body).unwrap_or_default();
    let message = answer.get("message");
    let shown = message.and_then(|message| message.get("id")).and_then(serde_json::Value::as_i64);
    let recipient = message.and_then(|message| message.pointer("/recipient/id"));
    let read_at = message.and_then(|message| message.get("read_at")?.as_str().map(str::to_owned));
    let served_by = reply.header("x-served-by").or_else(|| reply.header("x-powered-by"));
    Some(LedgerEntry {
        kind: ask.endpoint.as_str().to_owned(),
        id: shown.or_else(|| id_in(&ask.path))?,
        user: write.user,
        recipient: recipient
            .and_then(serde_json::Value::as_i64)
            .filter(|_| ask.endpoint == Endpoint::Create),
        body: sent_body(&ask.payload),
        read_at: read_at.filter(|_| ask.endpoint == Endpoint::MarkRead),
        request_id: write.request_id,
        at_ms: write.at_ms,
        served_by: served_by.map(str::to_owned),
    })
}

/// `/messages/91/read` is about 91.
fn id_in(path: &str) -> Option<i64> {
    path.strip_prefix("/messages/")?.split('/').next()?.parse().ok()
}

fn sent_body(payload: &Payload) -> Option<String> {
    match payload {
        Payload::Nothing => None,
        Payload::Form(fields) => {
            let body = fields.iter().find(|(name, _)| name == "message[body]");
            body.map(|(_, value)| value.clone())
        }
        Payload::Json(value) => value.pointer("/message/body")?.as_str().map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::{Method, header::HeaderMap};
    use serde_json::json;

    fn write() -> Deed {
        Deed { user: 3, request_id: "traffic-1-0-1".to_owned(), at_ms: 5 }
    }

    fn reply(status: u16, body: &str) -> Reply {
        Reply { status, headers: HeaderMap::new(), body: body.to_owned() }
    }

    #[test]
    fn a_form_and_its_method_are_the_write_that_was_meant() {
        let fields = vec![
            ("_method".to_owned(), "patch".to_owned()),
            ("message[body]".to_owned(), "new".to_owned()),
        ];
        let ask = Ask::new(Endpoint::Update, Method::POST, "/messages/91", Payload::Form(fields));
        let noted = entry(&ask, &reply(200, r#"{"message":{"id":91}}"#), write()).unwrap();
        assert_eq!((noted.kind.as_str(), noted.id), ("messages.update", 91));
        assert_eq!((noted.body.as_deref(), noted.recipient), (Some("new"), None));
        let ask = Ask::new(Endpoint::Delete, Method::DELETE, "/messages/91", Payload::Nothing);
        assert_eq!(entry(&ask, &reply(204, ""), write()).unwrap().id, 91);
        let ask = Ask::new(Endpoint::MarkRead, Method::PUT, "/messages/7/read", Payload::Nothing);
        let shown = reply(200, r#"{"message":{"id":7,"read_at":"2014/06/12 10:00:00 +0000"}}"#);
        let noted = entry(&ask, &shown, write()).unwrap();
        assert_eq!(noted.read_at.as_deref(), Some("2014/06/12 10:00:00 +0000"));
    }

    #[test]
    fn only_acknowledged_writes_of_the_context_are_noted() {
        let payload = || Payload::Json(json!({ "message": { "body": "b" } }));
        let create = Ask::new(Endpoint::Create, Method::POST, "/messages", payload());
        let created = r#"{"message":{"id":5,"recipient":{"id":17}}}"#;
        let noted = entry(&create, &reply(201, created), write()).unwrap();
        assert_eq!((noted.id, noted.recipient, noted.body.as_deref()), (5, Some(17), Some("b")));
        assert_eq!(entry(&create, &reply(422, "{}"), write()), None);
        assert_eq!(entry(&create, &reply(503, "{}"), write()), None);
        let show = Ask::get(Endpoint::Show, "/messages/5");
        assert_eq!(entry(&show, &reply(200, created), write()), None);
        let play = Ask::new(Endpoint::Play, Method::POST, "/tracks/5/plays", Payload::Nothing);
        assert_eq!(entry(&play, &reply(201, "{}"), write()), None);
    }
}
