//! What one visit knows for sure: what this user wrote, edited, read and deleted himself.
//!
//! Only this visit acts as this user, so these facts stay true until the visit changes them, whatever others do. They
//! are what read-your-writes is checked against.
//!
//! What must stay true: an act whose outcome is unknown (no answer, 5xx) leaves no fact behind; memory is bounded.

use crate::check::{Checked, Inbox, Message, Partners, require};
use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

const SEEN_MAX: usize = 200;
/// Other people's messages younger than this may not have reached the side that is asked next. Own messages have no
/// such grace.
const SYNC_LAG_MAX: TimeDelta = TimeDelta::seconds(10);

/// The facts and the finds of one visit.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    own: BTreeMap<i64, Own>,
    read: BTreeMap<i64, String>,
    deleted: BTreeSet<i64>,
    /// Ids that may be shown.
    seen: VecDeque<i64>,
    /// Received and unread ids.
    unread: VecDeque<i64>,
    /// Partners and how many messages there are with them.
    partners: VecDeque<(i64, i64)>,
    /// Messages received at the last look.
    pub(crate) inbox_total: i64,
    /// Tracks that can be shown.
    tracks: VecDeque<i64>,
}

/// A message that this user wrote in this visit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Own {
    recipient_id: i64,
    body: String,
    is_edited: bool,
}

impl Memory {
    /// The user sent this.
    pub(crate) fn wrote(&mut self, message: &Message) {
        let own = Own {
            recipient_id: message.recipient.id,
            body: message.body.clone(),
            is_edited: false,
        };
        self.own.insert(message.id, own);
    }

    /// The user replaced the body.
    pub(crate) fn edited(&mut self, id: i64, body: &str) {
        if let Some(own) = self.own.get_mut(&id) {
            body.clone_into(&mut own.body);
            own.is_edited = true;
        }
    }

    /// The user read it at this time, as the first answer said.
    pub(crate) fn marked_read(&mut self, id: i64, read_at: &str) {
        self.unread.retain(|unread| *unread != id);
        self.read.entry(id).or_insert_with(|| read_at.to_owned());
    }

    /// The user deleted it.
    pub(crate) fn deleted(&mut self, id: i64) {
        self.forget(id);
        self.deleted.insert(id);
    }

    /// Nobody knows what became of an act on it.
    pub(crate) fn forget(&mut self, id: i64) {
        self.own.remove(&id);
        self.seen.retain(|seen| *seen != id);
        self.unread.retain(|unread| *unread != id);
    }

    /// Remembers a message that an answer showed.
    pub(crate) fn saw(&mut self, message: &Message, me: i64, now: DateTime<Utc>) {
        let is_settled = is_older(&message.created_at, now - SYNC_LAG_MAX);
        if is_settled || message.sender.id == me {
            push(&mut self.seen, message.id);
        }
        if is_settled && message.recipient.id == me && !message.read {
            push(&mut self.unread, message.id);
        }
    }

    pub(crate) fn saw_partner(&mut self, other: i64, messages_count: i64) {
        self.partners.retain(|(known, _)| *known != other);
        push(&mut self.partners, (other, messages_count));
    }

    pub(crate) fn saw_tracks(&mut self, ids: &[i64]) {
        for id in ids {
            push(&mut self.tracks, *id);
        }
    }

    pub(crate) fn seen(&self) -> &VecDeque<i64> {
        &self.seen
    }

    pub(crate) fn unread(&self) -> &VecDeque<i64> {
        &self.unread
    }

    pub(crate) fn partners(&self) -> &VecDeque<(i64, i64)> {
        &self.partners
    }

    pub(crate) fn tracks(&self) -> &VecDeque<i64> {
        &self.tracks
    }

    pub(crate) fn own_ids(&self) -> impl ExactSizeIterator<Item = i64> {
        self.own.keys().copied()
    }

    pub(crate) fn is_deleted(&self, id: i64) -> bool {
        self.deleted.contains(&id)
    }

    /// A shown message agrees with what the user did to it.
    pub(crate) fn agrees(&self, message: &Message) -> Checked {
        let id = message.id;
        require(!self.is_deleted(id), || {
            format!("message {id} is shown after the user deleted it")
        })?;
        if let Some(own) = self.own.get(&id) {
            require(message.body == own.body, || {
                format!(
                    "own message {id} has the body {:?} instead of {:?}",
                    message.body, own.body
                )
            })?;
            require(message.recipient.id == own.recipient_id, || {
                format!("own message {id} went to {}", message.recipient.id)
            })?;
            require(!own.is_edited || message.edited_at.is_some(), || {
                format!("own message {id} was edited, but edited_at is null")
            })?;
        }
        match self.read.get(&id) {
            Some(read_at) => require(message.read_at.as_ref() == Some(read_at), || {
                format!("message {id} was read at {read_at}, but read_at is {:?}", message.read_at)
            }),
            None => Ok(()),
        }
    }

    /// The first page of a conversation has all own messages that are not older than its last row.
    pub(crate) fn covers_conversation(
        &self,
        messages: &[Message],
        other: i64,
        per_page: i64,
    ) -> Checked {
        self.is_covered(messages, per_page, |own| own.recipient_id == other)
    }

    /// The first page of received messages has all that the user sent to himself.
    pub(crate) fn covers_inbox(&self, inbox: &Inbox, me: i64, per_page: i64) -> Checked {
        self.is_covered(&inbox.messages, per_page, |own| own.recipient_id == me)
    }

    /// The first page of conversations shows everybody whom the user wrote, as new as that.
    pub(crate) fn covers_partners(&self, partners: &Partners, per_page: i64) -> Checked {
        let rows = &partners.conversations;
        let is_full = i64::try_from(rows.len()).is_ok_and(|rows| rows >= per_page);
        let oldest = rows.last().map_or(0, |row| row.last_message.id);
        for (id, own) in &self.own {
            let row = rows.iter().find(|row| row.with.id == own.recipient_id);
            let holds = match row {
                Some(row) => row.last_message.id >= *id,
                None => is_full && oldest > *id,
            };
            require(holds, || format!("own message {id} to {} does not show", own.recipient_id))?;
        }
        Ok(())
    }

    fn is_covered(
        &self,
        messages: &[Message],
        per_page: i64,
        wanted: impl Fn(&Own) -> bool,
    ) -> Checked {
        let is_full = i64::try_from(messages.len()).is_ok_and(|rows| rows >= per_page);
        let oldest = messages.last().map_or(0, |message| message.id);
        for (id, _) in self.own.iter().filter(|(_, own)| wanted(own)) {
            let holds =
                messages.iter().any(|message| message.id == *id) || (is_full && oldest > *id);
            require(holds, || format!("own message {id} is missing"))?;
        }
        Ok(())
    }
}

fn push<T: PartialEq>(to: &mut VecDeque<T>, item: T) {
    if to.contains(&item) {
        return;
    }
    to.push_back(item);
    if to.len() > SEEN_MAX {
        to.pop_front();
    }
}

fn is_older(time: &str, than: DateTime<Utc>) -> bool {
    NaiveDateTime::parse_from_str(time, "%Y/%m/%d %H:%M:%S +0000")
        .is_ok_and(|time| time.and_utc() < than)
}
