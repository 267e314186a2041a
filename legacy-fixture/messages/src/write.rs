//! Changes of the chat store: what the service does once it owns the context.
//!
//! Each change is one transaction: fence, locks and rules, rows, event, commit. A collision with another change is
//! tried again; whatever else goes wrong takes everything back.
//!
//! What must stay true: nothing is written unless the fence was read open in the same transaction; a refusal by the
//! fence is said only after the rollback, for it promises that nothing happened; an event is in the outbox exactly
//! when its change is committed; locks are taken in one order (fence, conversation, message).

use crate::{
    chat::{ChatStore, MessageRow, conversation_id},
    database::{Bind, Tx},
    event::{Deed, EventType, Moment, event},
    letter::{Errors, Letter, Parent, check_body, check_subject},
    ops::{
        Act, Answered, Create, Delete, MarkRead, Message, MessageOf, NewBody, NewMessage, Person,
        Refusal, Update,
    },
    sql::{self, change},
};
use banyan_outbox::{Emitted, OutboxError, fence::OwnerRow};
use banyan_seams::{Cx, SeamError, Serve, domain::ContextName, domain::Epoch};
use std::error::Error;

/// How often a change is tried that collides with others.
const TRIES_MAX: u32 = 4;
/// How the refusals of fence triggers begin, and their code on Postgres.
const FENCE_MESSAGE: &str = "banyan fence: ";
const FENCE_SQLSTATE: &str = "BY001";

/// A change that somebody wants.
enum Wanted {
    Create(NewMessage),
    Update(NewBody),
    MarkRead(Act),
    Delete(Act),
}

/// Why a change does not happen.
enum Stop {
    Refused(Refusal),
    /// The fence is not open here.
    Fenced(Epoch),
    Database(sqlx::Error),
    Outbox(OutboxError),
    /// The commit got no answer: nobody knows.
    Unknown(sqlx::Error),
}

impl Serve<Create> for ChatStore {
    async fn serve(&self, _: Cx, new: NewMessage) -> Answered<Message> {
        self.change(Wanted::Create(new)).await
    }
}

impl Serve<Update> for ChatStore {
    async fn serve(&self, _: Cx, new: NewBody) -> Answered<Message> {
        self.change(Wanted::Update(new)).await
    }
}

impl Serve<MarkRead> for ChatStore {
    async fn serve(&self, _: Cx, act: Act) -> Answered<Message> {
        self.change(Wanted::MarkRead(act)).await
    }
}

impl Serve<Delete> for ChatStore {
    async fn serve(&self, _: Cx, act: Act) -> Answered<()> {
        self.change(Wanted::Delete(act)).await.map(drop)
    }
}

impl ChatStore {
    /// Gives the message as it is afterwards.
    async fn change(&self, wanted: Wanted) -> Answered<Message> {
        let mut tries = 1;
        loop {
            match self.attempt(&wanted).await {
                Ok(message) => return Ok(message),
                Err(stop) if stop.is_collision() && tries < TRIES_MAX => {
                    tracing::info!(tries, "change collided, trying again");
                    tries += 1;
                }
                Err(stop) => return Err(stop.into_error()),
            }
        }
    }

    async fn attempt(&self, wanted: &Wanted) -> Result<Message, Stop> {
        let mut tx = self.database.change().await.map_err(Stop::Database)?;
        match perform(&mut tx, &self.context, wanted).await {
            Ok(message) => {
                tx.end().await.map_err(Stop::of_commit)?;
                Ok(message)
            }
            Err(stop) => {
                if let Err(error) = tx.undo().await {
                    // The connection is gone, and with it the transaction.
                    tracing::warn!(error = &error as &dyn Error, "cannot roll a change back");
                }
                Err(stop)
            }
        }
    }
}

/// Fence first: who may not write waits for nothing and locks nothing else.
async fn perform(tx: &mut Tx, context: &ContextName, wanted: &Wanted) -> Result<Message, Stop> {
    let owner = fence(tx, context).await?;
    let (kind, message, deed) = match wanted {
        Wanted::Create(new) => {
            let deed = deed(new.user_id, &new.request_id);
            (EventType::Sent, create(tx, new, &deed).await?, deed)
        }
        Wanted::Update(new) => {
            let deed = deed(new.act.of.user_id, &new.act.request_id);
            (EventType::Edited, update(tx, new, &deed).await?, deed)
        }
        Wanted::MarkRead(act) => {
            let deed = deed(act.of.user_id, &act.request_id);
            let (message, is_new) = mark_read(tx, act.of, &deed).await?;
            if !is_new {
                return Ok(message);
            }
            (EventType::Read, message, deed)
        }
        Wanted::Delete(act) => {
            let deed = deed(act.of.user_id, &act.request_id);
            (EventType::Deleted, hide(tx, act.of, &deed).await?, deed)
        }
    };
    let emitted = tx.emit(&event(context, kind, &message, &deed)).await.map_err(Stop::Outbox)?;
    match emitted {
        Emitted::Ready { .. } => Ok(message),
        // The fence was open and cannot have changed since; a change without its event must not stand.
        Emitted::Muted => Err(Stop::Fenced(owner.fence.epoch)),
    }
}

async fn fence(tx: &mut Tx, context: &ContextName) -> Result<OwnerRow, Stop> {
    let owner = match tx.owner(context).await {
        Ok(owner) => owner,
        // Nobody has said yet whose the context is; it is not ours.
        Err(OutboxError::NotEnrolled { .. }) => return Err(Stop::Fenced(Epoch(0))),
        Err(error) if error.is_absent() => return Err(Stop::Fenced(Epoch(0))),
        Err(error) => return Err(Stop::Outbox(error)),
    };
    if owner.fence.is_open() { Ok(owner) } else { Err(Stop::Fenced(owner.fence.epoch)) }
}

fn deed(user_id: i64, request_id: &str) -> Deed {
    Deed { user_id, request_id: request_id.to_owned(), now: Moment::now() }
}

async fn create(tx: &mut Tx, new: &NewMessage, deed: &Deed) -> Result<Message, Stop> {
    let letter = new.letter.as_ref().ok_or(Stop::Refused(Refusal::BadRequest))?;
    let draft = judge(tx, new.user_id, letter).await?;
    let Draft { author, recipient, answered } = draft;
    let conversation = conversation_id(author.id, recipient.id);
    lock_conversation(tx, author.id, recipient.id).await?;
    let (thread_id, subject, parent_id) = if let Some(parent) = answered {
        (parent.thread_id, parent.subject, Some(parent.id))
    } else {
        let thread = tx.one::<(i64,)>(change::NEW_THREAD, &[]).await.map_err(Stop::Database)?;
        let (thread_id,) = thread.ok_or(Stop::Database(sqlx::Error::RowNotFound))?;
        (thread_id, Some(letter.subject.clone()), None)
    };
    let now = Bind::Text(deed.now.text.clone());
    let values = [
        Bind::Text(conversation.clone()),
        Bind::Number(thread_id),
        Bind::MaybeNumber(parent_id),
        Bind::MaybeText(subject.clone()),
        Bind::Number(author.id),
        Bind::Number(recipient.id),
        Bind::Text(letter.body.clone()),
        now.clone(),
    ];
    let stored = tx.one::<(i64,)>(change::NEW_MESSAGE, &values).await.map_err(Stop::Database)?;
    let (id,) = stored.ok_or(Stop::Database(sqlx::Error::RowNotFound))?;
    let added = [Bind::Text(conversation), Bind::Number(id), now];
    tx.run(change::MESSAGE_ADDED, &added).await.map_err(Stop::Database)?;
    Ok(Message {
        id,
        thread_id,
        parent_id,
        subject,
        body: letter.body.clone(),
        author,
        recipient,
        sent_at: deed.now.text.clone(),
        read_at: None,
        edited_at: None,
        changed_at: deed.now.text.clone(),
    })
}

/// A letter that may be sent.
struct Draft {
    author: Person,
    recipient: Person,
    answered: Option<Parented>,
}

/// The message that a letter answers.
struct Parented {
    id: i64,
    thread_id: i64,
    subject: Option<String>,
}

async fn judge(tx: &mut Tx, author_id: i64, letter: &Letter) -> Result<Draft, Stop> {
    let mut errors = Errors::default();
    check_subject(&letter.subject, &mut errors);
    check_body(&letter.body, &mut errors);
    let recipient = person(tx, letter.recipient_id).await?;
    if recipient.is_none() {
        errors.add("recipient", "must exist");
    }
    let answered = match letter.parent {
        Parent::Id(id) => {
            let known = [Bind::Number(id), Bind::Number(author_id)];
            let row = tx.one::<(i64, Option<String>)>(change::PARENT, &known).await;
            let row = row.map_err(Stop::Database)?;
            row.map(|(thread_id, subject)| Parented { id, thread_id, subject })
        }
        Parent::Absent | Parent::Unreadable => None,
    };
    if answered.is_none() && letter.parent != Parent::Absent {
        errors.add("parent", "must exist");
    }
    errors.into_result().map_err(|errors| Stop::Refused(Refusal::Invalid(errors)))?;
    let author = person(tx, author_id).await?.ok_or(Stop::Refused(Refusal::Unauthorized))?;
    let recipient = recipient.ok_or(Stop::Refused(Refusal::BadRequest))?;
    Ok(Draft { author, recipient, answered })
}

async fn person(tx: &mut Tx, id: i64) -> Result<Option<Person>, Stop> {
    tx.one(sql::PERSON, &[Bind::Number(id)]).await.map_err(Stop::Database)
}

async fn update(tx: &mut Tx, new: &NewBody, deed: &Deed) -> Result<Message, Stop> {
    let message = locked_message(tx, new.act.of).await?;
    if message.author.id != deed.user_id {
        return Err(Stop::Refused(Refusal::Forbidden));
    }
    let body = new.body.as_ref().ok_or(Stop::Refused(Refusal::BadRequest))?;
    let mut errors = Errors::default();
    check_body(body, &mut errors);
    errors.into_result().map_err(|errors| Stop::Refused(Refusal::Invalid(errors)))?;
    let now = deed.now.text.clone();
    let values = [Bind::Number(message.id), Bind::Text(body.clone()), Bind::Text(now.clone())];
    tx.run(change::EDIT, &values).await.map_err(Stop::Database)?;
    Ok(Message { body: body.clone(), edited_at: Some(now.clone()), changed_at: now, ..message })
}

/// Also says whether it was unread until now.
async fn mark_read(tx: &mut Tx, of: MessageOf, deed: &Deed) -> Result<(Message, bool), Stop> {
    let message = locked_message(tx, of).await?;
    if message.recipient.id != deed.user_id {
        return Err(Stop::Refused(Refusal::Forbidden));
    }
    let now = deed.now.text.clone();
    let values = [Bind::Number(message.id), Bind::Text(now.clone())];
    let changed = tx.run(change::MARK_READ, &values).await.map_err(Stop::Database)?;
    if changed == 0 {
        return Ok((message, false));
    }
    Ok((Message { read_at: Some(now.clone()), changed_at: now, ..message }, true))
}

async fn hide(tx: &mut Tx, of: MessageOf, deed: &Deed) -> Result<Message, Stop> {
    let message = locked_message(tx, of).await?;
    let now = deed.now.text.clone();
    let values = [Bind::Number(message.id), Bind::Number(deed.user_id), Bind::Text(now.clone())];
    tx.run(change::HIDE, &values).await.map_err(Stop::Database)?;
    Ok(Message { changed_at: now, ..message })
}

/// The message as it is under the lock of its conversation; 404 when the caller may not see it.
async fn locked_message(tx: &mut Tx, of: MessageOf) -> Result<Message, Stop> {
    let id = Bind::Number(of.message_id);
    let locked = tx.one::<(String,)>(change::LOCK_CONVERSATION_OF, std::slice::from_ref(&id)).await;
    if locked.map_err(Stop::Database)?.is_none() {
        let people = tx.one::<(i64, i64)>(change::CONVERSATION_OF, std::slice::from_ref(&id)).await;
        let (one, other) =
            people.map_err(Stop::Database)?.ok_or(Stop::Refused(Refusal::NotFound))?;
        lock_conversation(tx, one, other).await?;
    }
    let binds = [Bind::Number(of.user_id), id];
    let row = tx.one::<MessageRow>(sql::MESSAGE, &binds).await.map_err(Stop::Database)?;
    row.map(Message::from).ok_or(Stop::Refused(Refusal::NotFound))
}

/// Locks the conversation of two users; opens it when there is none.
async fn lock_conversation(tx: &mut Tx, one: i64, other: i64) -> Result<(), Stop> {
    let id = Bind::Text(conversation_id(one, other));
    let key = std::slice::from_ref(&id);
    let locked = tx.one::<(String,)>(change::LOCK_CONVERSATION, key).await;
    if locked.map_err(Stop::Database)?.is_some() {
        return Ok(());
    }
    let values = [id.clone(), Bind::Number(one.min(other)), Bind::Number(one.max(other))];
    tx.run(change::OPEN_CONVERSATION, &values).await.map_err(Stop::Database)?;
    // Ours, or that of another who opened it at the same moment and has committed.
    let locked = tx.one::<(String,)>(change::LOCK_CONVERSATION, key).await;
    locked.map_err(Stop::Database)?.map(drop).ok_or(Stop::Database(sqlx::Error::RowNotFound))
}

impl Stop {
    /// A commit that the database refused did not happen; of one without an answer nobody knows.
    fn of_commit(error: sqlx::Error) -> Self {
        if matches!(error, sqlx::Error::Database(_)) {
            Self::Database(error)
        } else {
            Self::Unknown(error)
        }
    }

    fn cause(&self) -> Option<&sqlx::Error> {
        match self {
            Self::Database(error) | Self::Outbox(OutboxError::Database { source: error, .. }) => {
                Some(error)
            }
            Self::Refused(_) | Self::Fenced(_) | Self::Outbox(_) | Self::Unknown(_) => None,
        }
    }

    /// A deadlock, a serialization failure, a busy file: the same change may well succeed now.
    fn is_collision(&self) -> bool {
        let Some(sqlx::Error::Database(error)) = self.cause() else { return false };
        matches!(error.code().as_deref(), Some("40P01" | "40001" | "5" | "6" | "517"))
    }

    /// A trigger of the fence refused.
    fn is_by_fence(&self) -> bool {
        let Some(sqlx::Error::Database(error)) = self.cause() else { return false };
        error.code().as_deref() == Some(FENCE_SQLSTATE)
            || error.message().starts_with(FENCE_MESSAGE)
    }

    fn into_error(self) -> SeamError<Refusal> {
        if self.is_by_fence() {
            return Self::Fenced(Epoch(0)).into_error();
        }
        match self {
            Self::Refused(refusal) => SeamError::App(refusal),
            Self::Fenced(epoch) => {
                tracing::info!(
                    epoch = epoch.0,
                    "write refused: this side does not own the context"
                );
                SeamError::NotOwner { epoch }
            }
            Self::Database(error) => {
                if error
                    .as_database_error()
                    .is_some_and(sqlx::error::DatabaseError::is_unique_violation)
                {
                    tracing::error!(
                        "an id was given twice: the ids here are behind the copied rows"
                    );
                }
                SeamError::Unavailable(format!("cannot write to the chat store: {error}"))
            }
            Self::Outbox(error) => {
                let cause = error.source().map(ToString::to_string).unwrap_or_default();
                SeamError::Unavailable(format!("{error}: {cause}"))
            }
            Self::Unknown(error) => {
                tracing::error!(
                    error = &error as &dyn Error,
                    "the commit of a change got no answer"
                );
                SeamError::Timeout
            }
        }
    }
}
