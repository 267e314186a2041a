//! The first copy: chunks of the work list, each read while the one before it is written.
//!
//! One snapshot of the source shows the marks that follow a chunk and the rows of the next chunk. Both wait in memory
//! until the chunk is written, then the marks are applied, then it is the next chunk's turn. So writes have the
//! order of their snapshots, as if nothing had been read ahead.
//!
//! What must stay true: nothing that was read ahead is written after something that was read later (a row that
//! moved between two roots would be lost, for the mark of the move is gone); what was read ahead belongs to the
//! listing and the position that it was read for; three batches are held at most.

use std::time::Instant;

use banyan_engine::{KeyedRows, RootKey};

use super::read::{Marked, Read, Reader};
use super::{Session, Tried};
use crate::aggregate::Tables;
use crate::apply::{Applied, Applier, Batch};
use crate::connection::Connection;
use crate::error::SyncError;
use crate::install;
use crate::pause::PausePoint;
use crate::progress::JobState;
use crate::spec::CaptureMode;
use crate::state::{Checkpoint, Written};

/// Some roots of the work list with their rows.
pub(super) struct Chunk {
    keys: Vec<RootKey>,
    read: Read,
    place: Place,
}

/// Where the copy was when a chunk was read.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    relists: i64,
    cursor: Option<RootKey>,
}

/// What was read while a chunk was written.
type Ahead = Option<(Marked, Option<Chunk>)>;

impl Session<'_> {
    /// Copies the next chunk and applies what changed meanwhile; or ends the copy.
    pub(super) async fn copy_chunk(&mut self) -> Result<(), SyncError> {
        self.publisher.state(JobState::Copying, None);
        let started = Instant::now();
        let Some(Chunk { keys, read, .. }) = self.take_chunk().await? else {
            self.finish_copy().await?;
            return self.drain().await.map(drop);
        };
        let Some(last) = keys.last().cloned() else { return Ok(()) };
        let Ok(rows) = read else {
            return self.halve(&keys).await;
        };
        let checkpoint = Checkpoint::Copy { cursor: last.clone(), roots: keys.len() };
        self.gate.spend(keys.len(), &rows, &checkpoint);
        self.reach(PausePoint::AfterSourceRead).await;
        let next = self.next_place(last).await?;
        let batch = Batch { keys: &keys, source: &rows, checkpoint: &checkpoint };
        let (applied, ahead) = self.write_and_read(&batch, next).await?;
        self.note(&applied).await?;
        match applied {
            Applied::Done { written, .. } => {
                self.copied(&keys, written, started);
                self.go_on(ahead).await
            }
            // What was read ahead is dropped: the roots that join are read later than it.
            Applied::Taken { by } => {
                let joined: Vec<RootKey> = keys.iter().cloned().chain(by).collect();
                self.source.begin_snapshot().await?;
                match self.read_and_apply(&joined, &checkpoint).await? {
                    Tried::Applied(written) => self.copied(&keys, written, started),
                    Tried::TooHeavy => return self.halve(&keys).await,
                }
                self.drain().await.map(drop)
            }
            Applied::TooHeavy => self.halve(&keys).await,
        }
    }

    /// The chunk that was read ahead if it is still the next one, else one that is read now; none at the end.
    async fn take_chunk(&mut self) -> Result<Option<Chunk>, SyncError> {
        let place = self.place();
        if let Some(chunk) = self.ahead.take().filter(|chunk| chunk.place == place) {
            return Ok(Some(chunk));
        }
        let keys = self.next_keys(place.cursor.as_ref()).await?;
        if keys.is_empty() {
            return Ok(None);
        }
        self.reach(PausePoint::BeforeSnapshot).await;
        self.source.begin_snapshot().await?;
        let read = self.read(&keys).await?;
        Ok(Some(Chunk { keys, read, place }))
    }

    fn place(&self) -> Place {
        Place { relists: self.state.relists, cursor: self.state.cursor.clone() }
    }

    async fn next_keys(&mut self, cursor: Option<&RootKey>) -> Result<Vec<RootKey>, SyncError> {
        let size = self.gate.keys(self.sizer.size());
        self.list.next(&mut self.target, cursor, size).await
    }

    /// What to read while a chunk that ends at `last` is written; nothing where that is not worth it.
    async fn next_place(
        &mut self,
        last: RootKey,
    ) -> Result<Option<(Vec<RootKey>, Place)>, SyncError> {
        // Cursors read the target as well; a limit of rows is there to have less work done at once.
        if self.job.spec.mode != CaptureMode::Trigger || self.gate.is_limited() {
            return Ok(None);
        }
        let keys = self.next_keys(Some(&last)).await?;
        Ok(Some((keys, Place { relists: self.state.relists, cursor: Some(last) })))
    }

    /// Writes a chunk, and reads the marks and the next chunk meanwhile.
    async fn write_and_read(
        &mut self,
        batch: &Batch<'_>,
        next: Option<(Vec<RootKey>, Place)>,
    ) -> Result<(Applied, Ahead), SyncError> {
        let is_bold = self.careful == 0;
        let Self { job, source, target, shapes, lease, state, is_watched, changes_limit, .. } =
            self;
        let applier = Applier {
            is_watched: *is_watched,
            is_bold,
            ..Applier::of(job, (lease, state), shapes, batch.keys.len())
        };
        let reader = Reader::of(job, shapes, *changes_limit);
        let write = Box::pin(applier.apply(target, batch));
        let read = Box::pin(read_ahead(&reader, source, next));
        tokio::try_join!(write, read)
    }

    /// Applies the marks that followed a chunk, and keeps the chunk that follows them.
    async fn go_on(&mut self, ahead: Ahead) -> Result<(), SyncError> {
        let Some((marked, chunk)) = ahead else { return self.drain().await.map(drop) };
        // Whatever reads anew from here on drops it again.
        self.ahead = chunk;
        self.apply_marked(marked).await.map(drop)
    }

    fn copied(&mut self, keys: &[RootKey], written: Written, started: Instant) {
        self.sizer.observe(keys.len(), started.elapsed());
        self.state.cursor = keys.last().cloned();
        self.state.roots_done += i64::try_from(keys.len()).unwrap_or(0);
        self.publisher.wrote(written, keys.len());
        self.publisher.copied(self.state.roots_done, self.state.roots_total);
    }

    /// A chunk was too heavy: the next one is smaller, or there is none.
    async fn halve(&mut self, keys: &[RootKey]) -> Result<(), SyncError> {
        if self.sizer.too_heavy(keys.len()) {
            return self.drain().await.map(drop);
        }
        Err(self.too_large(keys.last().unwrap_or(&RootKey::new(""))))
    }

    async fn finish_copy(&mut self) -> Result<(), SyncError> {
        let done = Checkpoint::CopyDone;
        let empty: Tables = self.shapes.iter().map(|_| KeyedRows::default()).collect();
        self.apply(&[], &empty, &done).await?;
        self.list.clear(&mut self.target).await?;
        self.reload().await?;
        if !install::has_marks(&self.job) && self.listed_ms > 0 {
            self.caught_up(self.listed_ms);
        }
        Ok(())
    }
}

async fn read_ahead(
    reader: &Reader<'_>,
    source: &mut Connection,
    next: Option<(Vec<RootKey>, Place)>,
) -> Result<Ahead, SyncError> {
    let Some((keys, place)) = next else { return Ok(None) };
    let marked = reader.begin(source).await?;
    let chunk = if keys.is_empty() {
        None
    } else {
        let read = reader.rows(source, &keys).await?;
        Some(Chunk { keys, read, place })
    };
    source.commit().await?;
    Ok(Some((marked, chunk)))
}
