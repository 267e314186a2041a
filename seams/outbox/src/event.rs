//! An event as a service emits it, and the message that becomes of it.

use banyan_domain::ContextName;
use banyan_events::broker::Message;
use banyan_events::envelope::{self, CloudEvent, Mode, Stamp};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::error::{OutboxError, fits};
use crate::fence::{Order, OwnerRow};
use crate::schema::TEXT_BYTES_MAX;

/// Separates context and subject in a lane; no context name has it.
const LANE_SEPARATOR: u8 = 0;

/// Why the change happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Somebody did something: announced by the side that owns the context.
    User,
    /// The sync job copied it: the other side has announced it.
    Sync,
    /// A recording was replayed: announced long ago.
    Replay,
}

/// An event that a service wants to emit.
#[derive(Debug, Clone)]
pub struct NewEvent {
    pub(crate) context: ContextName,
    pub(crate) kind: String,
    pub(crate) subject: String,
    pub(crate) origin: Origin,
    pub(crate) id: Uuid,
    routing_key: String,
    app: String,
    content_type: String,
    data: Vec<u8>,
    traceparent: Option<String>,
    time: DateTime<Utc>,
    mode: Mode,
}

impl Origin {
    /// Its word in the column `origin`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Sync => "sync",
            Self::Replay => "replay",
        }
    }
}

impl NewEvent {
    /// Something of type `kind` happened to the aggregate `subject`, now. The routing key is `kind`.
    pub fn new(context: ContextName, kind: impl Into<String>, subject: impl Into<String>) -> Self {
        let kind = kind.into();
        Self {
            app: context.to_string(),
            context,
            routing_key: kind.clone(),
            kind,
            subject: subject.into(),
            origin: Origin::User,
            id: Uuid::now_v7(),
            content_type: "application/json".to_owned(),
            data: Vec::new(),
            traceparent: None,
            time: Utc::now(),
            mode: Mode::Binary,
        }
    }

    /// Sets the payload with its MIME type.
    #[must_use]
    pub fn data(mut self, content_type: impl Into<String>, data: Vec<u8>) -> Self {
        self.content_type = content_type.into();
        self.data = data;
        self
    }

    /// Sets the routing key.
    #[must_use]
    pub fn routing_key(mut self, routing_key: impl Into<String>) -> Self {
        self.routing_key = routing_key.into();
        self
    }

    /// Names the emitting application in `source`; without it the context's name stands there.
    #[must_use]
    pub fn app(mut self, app: impl Into<String>) -> Self {
        self.app = app.into();
        self
    }

    /// Says why the change happened; without it, a user did it.
    #[must_use]
    pub fn origin(mut self, origin: Origin) -> Self {
        self.origin = origin;
        self
    }

    /// Joins the trace of the request, by the W3C header `traceparent`.
    #[must_use]
    pub fn traceparent(mut self, traceparent: impl Into<String>) -> Self {
        self.traceparent = Some(traceparent.into());
        self
    }

    /// Sets the id; without it, a new UUIDv7.
    #[must_use]
    pub fn id(mut self, id: Uuid) -> Self {
        self.id = id;
        self
    }

    /// Sets when it happened; without it, now.
    #[must_use]
    pub fn time(mut self, time: DateTime<Utc>) -> Self {
        self.time = time;
        self
    }

    /// Sets how it is put into a message; without it, binary with `cloudEvents_` headers.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// The message, without an exchange: the relay knows that. `sequence` must have been handed out for this event.
    pub(crate) fn message(
        &self,
        owner: &OwnerRow,
        sequence: Option<u64>,
    ) -> Result<Message, OutboxError> {
        fits("the subject", &self.subject, TEXT_BYTES_MAX)?;
        let stamp =
            Stamp { context: self.context.clone(), side: owner.side, epoch: owner.fence.epoch };
        let source = envelope::source(&self.context, owner.side, &self.app);
        let mut event = CloudEvent::new(self.id.to_string(), source, &self.kind)
            .subject(&self.subject)
            .time(self.time)
            .stamp(&stamp);
        if !self.data.is_empty() {
            event = event.data(&self.content_type, self.data.clone());
        }
        if let Some(traceparent) = &self.traceparent {
            event = event.extension("traceparent", traceparent.as_str());
        }
        if let Some(sequence) = sequence {
            event = event.sequence(sequence);
        }
        let message = event
            .to_message(self.mode, "", &self.routing_key)
            .map_err(|source| OutboxError::Envelope { source })?;
        message.validate().map_err(|source| OutboxError::Message { source })?;
        Ok(message)
    }

    /// What the event must keep its order with: its subject, or its whole context.
    pub(crate) fn lane(&self, order: Order) -> Vec<u8> {
        let mut lane = self.context.as_str().as_bytes().to_vec();
        match order {
            Order::Subject => {
                lane.push(LANE_SEPARATOR);
                lane.extend(self.subject.as_bytes());
            }
            Order::Context => {}
        }
        lane
    }
}
