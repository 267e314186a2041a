//! Tracks, their comments and their plays: rows and public JSON.
//!
//! What must stay true: a private track does not exist for anybody but its owner.

use crate::{
    MothershipError,
    database::{Arg, Reader, Row, Tx},
    user::{User, user_columns},
};
use fixture_passport::{Page, time};
use serde::Serialize;

/// A track as the public API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Track {
    pub(crate) id: i64,
    pub(crate) title: String,
    pub(crate) sharing: String,
    duration_ms: i64,
    pub(crate) playback_count: i64,
    user: User,
    created_at: String,
    updated_at: String,
    uri: String,
}

/// A comment as the public API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Comment {
    pub(crate) id: i64,
    track_id: i64,
    body: String,
    timestamp_ms: Option<i64>,
    user: User,
    created_at: String,
    uri: String,
}

/// A track to be stored.
#[derive(Debug, Clone)]
pub(crate) struct TrackDraft {
    pub(crate) user_id: i64,
    pub(crate) title: String,
    pub(crate) sharing: Sharing,
    pub(crate) duration_ms: i64,
}

/// A comment to be stored.
#[derive(Debug, Clone)]
pub(crate) struct CommentDraft {
    pub(crate) track_id: i64,
    pub(crate) user_id: i64,
    pub(crate) body: String,
    pub(crate) timestamp_ms: Option<i64>,
}

/// Who may hear a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    Public,
    Private,
}

/// One page of a list.
pub(crate) struct Paged<T> {
    pub(crate) rows: Vec<T>,
    pub(crate) total: i64,
}

macro_rules! select_tracks {
    ($tail:literal) => {
        concat!(
            "SELECT t.id, t.title, t.sharing, t.duration_ms, t.playback_count, ",
            "CAST(t.created_at AS CHAR), CAST(t.updated_at AS CHAR), ",
            user_columns!("u"),
            " FROM tracks t JOIN users u ON u.id = t.user_id ",
            $tail
        )
    };
}

macro_rules! select_comments {
    ($tail:literal) => {
        concat!(
            "SELECT c.id, c.track_id, c.body, c.timestamp_ms, CAST(c.created_at AS CHAR), ",
            user_columns!("u"),
            " FROM comments c JOIN users u ON u.id = c.user_id ",
            $tail
        )
    };
}

const BY_ID: &str = select_tracks!("WHERE t.id = ?");

/// The second argument is the visitor: the owner also sees his private ones.
const OF_USER: &str = select_tracks!(
    "WHERE t.user_id = ? AND (t.sharing = 'public' OR t.user_id = ?) ORDER BY t.id DESC LIMIT ? OFFSET ?"
);

const OF_USER_TOTAL: &str =
    "SELECT COUNT(*) FROM tracks WHERE user_id = ? AND (sharing = 'public' OR user_id = ?)";

const INSERT: &str = "INSERT INTO tracks (user_id, title, sharing, duration_ms, created_at, updated_at) \
     VALUES (?, ?, ?, ?, ?, ?)";

const COMMENT_BY_ID: &str = select_comments!("WHERE c.id = ?");

const COMMENTS: &str = select_comments!("WHERE c.track_id = ? ORDER BY c.id DESC LIMIT ? OFFSET ?");

const COMMENTS_TOTAL: &str = "SELECT COUNT(*) FROM comments WHERE track_id = ?";

const INSERT_COMMENT: &str = "INSERT INTO comments \
     (track_id, user_id, body, timestamp_ms, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?)";

const INSERT_PLAY: &str = "INSERT INTO plays (track_id, user_id, created_at) VALUES (?, ?, ?)";

const COUNT_PLAY: &str = "UPDATE tracks SET playback_count = playback_count + 1 WHERE id = ?";

impl Sharing {
    /// Reads `public` or `private`; absent means public.
    pub(crate) fn parse(text: Option<&str>) -> Option<Self> {
        match text {
            None | Some("public") => Some(Self::Public),
            Some("private") => Some(Self::Private),
            Some(_) => None,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Private => "private",
        }
    }
}

impl Track {
    fn read(row: &Row) -> Result<Self, MothershipError> {
        let mut cells = row.cells();
        let id = cells.int()?;
        Ok(Self {
            id,
            title: cells.text()?,
            sharing: cells.text()?,
            duration_ms: cells.int()?,
            playback_count: cells.int()?,
            created_at: time::rails(&cells.text()?),
            updated_at: time::rails(&cells.text()?),
            user: User::read(&mut cells)?,
            uri: format!("/tracks/{id}"),
        })
    }

    /// True for everybody when public, else for the owner.
    pub(crate) fn visible_to(&self, visitor: Option<i64>) -> bool {
        self.sharing == Sharing::Public.as_str() || visitor == Some(self.user.id)
    }
}

impl Comment {
    fn read(row: &Row) -> Result<Self, MothershipError> {
        let mut cells = row.cells();
        let id = cells.int()?;
        Ok(Self {
            id,
            track_id: cells.int()?,
            body: cells.text()?,
            timestamp_ms: cells.maybe_int()?,
            created_at: time::rails(&cells.text()?),
            user: User::read(&mut cells)?,
            uri: format!("/comments/{id}"),
        })
    }
}

/// The track with this id, whoever may hear it.
pub(crate) async fn find(
    from: &mut impl Reader,
    id: i64,
) -> Result<Option<Track>, MothershipError> {
    from.rows(BY_ID.into(), &[id.into()]).await?.first().map(Track::read).transpose()
}

/// A user's tracks as `visitor` sees them, newest first.
pub(crate) async fn of_user(
    from: &mut impl Reader,
    user_id: i64,
    visitor: Option<i64>,
    page: Page,
) -> Result<Paged<Track>, MothershipError> {
    let who: [Arg; 2] = [user_id.into(), visitor.unwrap_or_default().into()];
    let total = from.rows(OF_USER_TOTAL.into(), &who).await?;
    let args: Vec<Arg> =
        who.into_iter().chain([page.per_page.into(), page.offset().into()]).collect();
    let rows = from.rows(OF_USER.into(), &args).await?;
    paged(&rows, &total, Track::read)
}

/// Stores a track; gives its id.
pub(crate) async fn insert(
    tx: &mut Tx,
    draft: &TrackDraft,
    now: &str,
) -> Result<i64, MothershipError> {
    let args: [Arg; 6] = [
        draft.user_id.into(),
        draft.title.as_str().into(),
        draft.sharing.as_str().into(),
        draft.duration_ms.into(),
        now.into(),
        now.into(),
    ];
    Ok(tx.execute(INSERT.into(), &args).await?.id)
}

/// The comment with this id.
pub(crate) async fn find_comment(
    from: &mut impl Reader,
    id: i64,
) -> Result<Option<Comment>, MothershipError> {
    from.rows(COMMENT_BY_ID.into(), &[id.into()]).await?.first().map(Comment::read).transpose()
}

/// A track's comments, newest first.
pub(crate) async fn comments(
    from: &mut impl Reader,
    track_id: i64,
    page: Page,
) -> Result<Paged<Comment>, MothershipError> {
    let total = from.rows(COMMENTS_TOTAL.into(), &[track_id.into()]).await?;
    let args: [Arg; 3] = [track_id.into(), page.per_page.into(), page.offset().into()];
    let rows = from.rows(COMMENTS.into(), &args).await?;
    paged(&rows, &total, Comment::read)
}

/// Stores a comment; gives its id.
pub(crate) async fn insert_comment(
    tx: &mut Tx,
    draft: &CommentDraft,
    now: &str,
) -> Result<i64, MothershipError> {
    let args: [Arg; 6] = [
        draft.track_id.into(),
        draft.user_id.into(),
        draft.body.as_str().into(),
        draft.timestamp_ms.into(),
        now.into(),
        now.into(),
    ];
    Ok(tx.execute(INSERT_COMMENT.into(), &args).await?.id)
}

/// Stores a play and counts it; gives its id.
pub(crate) async fn insert_play(
    tx: &mut Tx,
    track_id: i64,
    user_id: i64,
    now: &str,
) -> Result<i64, MothershipError> {
    tx.execute(COUNT_PLAY.into(), &[track_id.into()]).await?;
    Ok(tx.execute(INSERT_PLAY.into(), &[track_id.into(), user_id.into(), now.into()]).await?.id)
}

fn paged<T>(
    rows: &[Row],
    total: &[Row],
    read: fn(&Row) -> Result<T, MothershipError>,
) -> Result<Paged<T>, MothershipError> {
    let total = total.first().map(|row| row.cells().int()).transpose()?.unwrap_or_default();
    Ok(Paged { rows: rows.iter().map(read).collect::<Result<_, _>>()?, total })
}
