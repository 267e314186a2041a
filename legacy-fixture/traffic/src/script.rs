//! What a visitor does next: a seeded choice, weighted like the use of a small social site.
//!
//! Pure: the generator and the memory decide, so the same seed and the same answers give the same visit.
//!
//! What must stay true: a step is only chosen when the visitor knows what it needs (ids he has seen).

use crate::{endpoint::Endpoint, memory::Memory};
use fixture_passport::Page;
use rand::{RngExt, rngs::StdRng};
use std::{collections::VecDeque, fmt};

/// One thing that a visitor does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Inbox(Query),
    Partners(Query),
    Conversation {
        other: i64,
        query: Query,
    },
    Unread,
    Show(i64),
    /// A message that the visitor deleted, or that never was: must be 404.
    ShowGone(i64),
    /// Somebody else's messages: must be 403.
    Pry(i64),
    /// The unread count and the unread messages must agree.
    Audit,
    User(i64),
    Suggestions(i64),
    Tracks(i64),
    Track(i64),
    Comments(i64),
    HtmlPage(String),
    Create(Letter),
    /// Without a body: must be 422.
    CreateBlank(i64),
    Update {
        id: i64,
        body: String,
    },
    MarkRead(i64),
    Delete(i64),
    Comment {
        track: i64,
        body: String,
    },
    Play(i64),
}

/// A message to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Letter {
    pub(crate) recipient_id: i64,
    pub(crate) subject: String,
    pub(crate) body: String,
}

/// The page of a list that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Query {
    pub(crate) page: Option<i64>,
    pub(crate) per_page: Option<i64>,
}

/// Who the visitor is and whom he can meet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cast<'a> {
    pub(crate) me: i64,
    /// Users are 1 to this.
    pub(crate) users: i64,
    /// What may be read; everything when empty.
    pub(crate) reads_of: &'a [Endpoint],
}

const READS: [(Endpoint, u32); 11] = [
    (Endpoint::List, 20),
    (Endpoint::Conversations, 12),
    (Endpoint::Conversation, 18),
    (Endpoint::UnreadCount, 16),
    (Endpoint::Show, 12),
    (Endpoint::User, 4),
    (Endpoint::Suggestions, 3),
    (Endpoint::Tracks, 4),
    (Endpoint::Track, 3),
    (Endpoint::Comments, 4),
    (Endpoint::Page, 4),
];

const WRITES: [(Change, u32); 6] = [
    (Change::Create, 45),
    (Change::MarkRead, 25),
    (Change::Update, 12),
    (Change::Delete, 8),
    (Change::Comment, 5),
    (Change::Play, 5),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Create,
    MarkRead,
    Update,
    Delete,
    Comment,
    Play,
}

const WORDS: [&str; 24] = [
    "hello",
    "listen",
    "track",
    "remix",
    "thanks",
    "café",
    "naïve",
    "Grüße",
    "🌳",
    "🎧",
    "<b>loud</b>",
    "a&b",
    "\"quoted\"",
    "it's",
    "東京",
    "Привет",
    "tonight",
    "studio",
    "bass",
    "drop",
    "100 %",
    "back\\slash",
    "new\nline",
    "see you",
];

/// A message that never was.
const NEVER: i64 = 9_000_000_000_000;

/// The next read.
pub(crate) fn next_read(random: &mut StdRng, cast: Cast<'_>, memory: &Memory) -> Step {
    if cast.reads_of.is_empty() && random.random_ratio(1, 100) {
        return refused_read(random, cast);
    }
    let allowed =
        |endpoint: &Endpoint| cast.reads_of.is_empty() || cast.reads_of.contains(endpoint);
    let weights = READS.into_iter().filter(|(endpoint, _)| allowed(endpoint));
    read_of(weighted(random, weights).unwrap_or(Endpoint::List), random, cast, memory)
}

/// The next write.
pub(crate) fn next_write(random: &mut StdRng, cast: Cast<'_>, memory: &Memory) -> Step {
    if random.random_ratio(1, 40) {
        return Step::CreateBlank(anybody(random, cast));
    }
    let change = weighted(random, WRITES.into_iter()).unwrap_or(Change::Create);
    let chosen = write_of(change, random, cast, memory);
    chosen.unwrap_or_else(|| Step::Create(letter(random, cast, memory)))
}

/// What a visitor looks at after a step, to see whether it shows.
pub(crate) fn follow_up(random: &mut StdRng, done: &Written, me: i64) -> Vec<Step> {
    let conversation = |other| Step::Conversation { other, query: Query::default() };
    let one_of = |random: &mut StdRng, steps: &[Step]| {
        let index = random.random_range(0..steps.len().max(1));
        steps.get(index).cloned()
    };
    let first = Step::Inbox(Query::default());
    match *done {
        Written::Created { id, recipient_id } if recipient_id == me => vec![first, Step::Show(id)],
        Written::Created { id, recipient_id } => {
            let all = Step::Partners(Query { page: None, per_page: Some(100) });
            let choices = [conversation(recipient_id), Step::Show(id), all];
            one_of(random, &choices).into_iter().collect()
        }
        Written::Edited { id, other } => {
            one_of(random, &[Step::Show(id), conversation(other)]).into_iter().collect()
        }
        Written::Read { id, other } => {
            let look = one_of(random, &[Step::Show(id), conversation(other), first]);
            let audit = random.random_ratio(1, 4).then_some(Step::Audit);
            look.into_iter().chain(audit).collect()
        }
        Written::Deleted { id } => {
            let look = one_of(random, &[first, Step::Partners(Query::default())]);
            std::iter::once(Step::ShowGone(id)).chain(look).collect()
        }
    }
}

/// A write that succeeded and should show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    Created { id: i64, recipient_id: i64 },
    Edited { id: i64, other: i64 },
    Read { id: i64, other: i64 },
    Deleted { id: i64 },
}

/// Some words, never blank.
pub(crate) fn text(random: &mut StdRng) -> String {
    let number = random.random_range(1..12);
    let words: Vec<_> = (0..number).map(|_| pick(random, WORDS.iter())).collect();
    words.into_iter().flatten().copied().collect::<Vec<_>>().join(" ")
}

impl Query {
    /// What the answer must say about its page.
    pub(crate) fn page(&self) -> Page {
        Page::from_query(Some(self.to_string().trim_start_matches('?')))
    }
}

/// `?page=2&per_page=5`, or nothing.
impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.page, self.per_page) {
            (None, None) => Ok(()),
            (Some(page), None) => write!(f, "?page={page}"),
            (None, Some(per_page)) => write!(f, "?per_page={per_page}"),
            (Some(page), Some(per_page)) => write!(f, "?page={page}&per_page={per_page}"),
        }
    }
}

fn read_of(endpoint: Endpoint, random: &mut StdRng, cast: Cast<'_>, memory: &Memory) -> Step {
    let track = |random: &mut StdRng| pick(random, memory.tracks().iter()).copied();
    match endpoint {
        Endpoint::Conversations => Step::Partners(query(random, memory.partners().len())),
        Endpoint::Conversation => conversation(random, cast, memory),
        Endpoint::UnreadCount => Step::Unread,
        Endpoint::Show => match recent(random, memory.seen()) {
            Some(id) => Step::Show(id),
            None => Step::Inbox(Query::default()),
        },
        Endpoint::User => Step::User(anybody(random, cast)),
        Endpoint::Suggestions => Step::Suggestions(cast.me),
        Endpoint::Track => track(random).map_or(Step::Tracks(anybody(random, cast)), Step::Track),
        Endpoint::Comments => track(random).map_or(Step::Tracks(cast.me), Step::Comments),
        Endpoint::Tracks => Step::Tracks(anybody(random, cast)),
        Endpoint::Page => Step::HtmlPage(match random.random_range(0..3) {
            0 => "/".to_owned(),
            1 => "/inbox".to_owned(),
            _ => format!("/users/{}", anybody(random, cast)),
        }),
        Endpoint::List
        | Endpoint::Create
        | Endpoint::Update
        | Endpoint::MarkRead
        | Endpoint::Delete
        | Endpoint::Comment
        | Endpoint::Play
        | Endpoint::Login
        | Endpoint::Session => {
            Step::Inbox(query(random, usize::try_from(memory.inbox_total).unwrap_or_default()))
        }
    }
}

/// `None` when the visitor knows nothing to do it to.
fn write_of(change: Change, random: &mut StdRng, cast: Cast<'_>, memory: &Memory) -> Option<Step> {
    let track = |random: &mut StdRng| pick(random, memory.tracks().iter()).copied();
    match change {
        Change::Create => Some(Step::Create(letter(random, cast, memory))),
        Change::MarkRead => recent(random, memory.unread()).map(Step::MarkRead),
        Change::Update => {
            let id = pick(random, memory.own_ids())?;
            Some(Step::Update { id, body: text(random) })
        }
        Change::Delete => {
            let own = pick(random, memory.own_ids());
            let seen = recent(random, memory.seen());
            if random.random_bool(0.5) { own.or(seen) } else { seen.or(own) }.map(Step::Delete)
        }
        Change::Comment => {
            let track = track(random)?;
            Some(Step::Comment { track, body: text(random) })
        }
        Change::Play => track(random).map(Step::Play),
    }
}

fn refused_read(random: &mut StdRng, cast: Cast<'_>) -> Step {
    let other = anybody(random, cast);
    if other != cast.me && random.random_bool(0.5) {
        Step::Pry(other)
    } else {
        Step::ShowGone(NEVER)
    }
}

fn conversation(random: &mut StdRng, cast: Cast<'_>, memory: &Memory) -> Step {
    match pick(random, memory.partners().iter()) {
        Some((other, count)) if random.random_ratio(9, 10) => {
            let rows = usize::try_from(*count).unwrap_or_default();
            Step::Conversation { other: *other, query: query(random, rows) }
        }
        _ => Step::Conversation { other: anybody(random, cast), query: Query::default() },
    }
}

fn letter(random: &mut StdRng, cast: Cast<'_>, memory: &Memory) -> Letter {
    let recipient_id = match random.random_range(0..100) {
        0..4 => cast.me,
        4..40 => match pick(random, memory.partners().iter()) {
            Some((other, _)) => *other,
            None => anybody(random, cast),
        },
        _ => anybody(random, cast),
    };
    let subject =
        if random.random_bool(0.7) { text(random).replace('\n', " ") } else { String::new() };
    Letter { recipient_id, subject, body: text(random) }
}

/// Mostly the first page; a later one where `rows` fill more than one.
fn query(random: &mut StdRng, rows: usize) -> Query {
    let per_page = match random.random_range(0..10) {
        0..6 => None,
        6..8 => Some(5),
        8 => Some(50),
        _ => Some(100),
    };
    let pages = i64::try_from(rows).unwrap_or(i64::MAX) / per_page.unwrap_or(20);
    let page = match random.random_range(0..10) {
        0..3 if pages > 0 => Some(2),
        3..5 if pages > 1 => Some(random.random_range(2..=pages + 1)),
        5 => Some(1),
        _ => None,
    };
    Query { page, per_page }
}

fn anybody(random: &mut StdRng, cast: Cast<'_>) -> i64 {
    random.random_range(1..=cast.users.max(1))
}

/// One of the last twenty: people look at what is new.
fn recent(random: &mut StdRng, ids: &VecDeque<i64>) -> Option<i64> {
    let newest = ids.len().saturating_sub(20);
    pick(random, ids.iter().skip(newest)).copied()
}

fn pick<T>(random: &mut StdRng, from: impl ExactSizeIterator<Item = T>) -> Option<T> {
    let length = from.len();
    let mut from = from;
    if length == 0 { None } else { from.nth(random.random_range(0..length)) }
}

fn weighted<T>(random: &mut StdRng, weights: impl Iterator<Item = (T, u32)> + Clone) -> Option<T> {
    let total: u32 = weights.clone().map(|(_, weight)| weight).sum();
    if total == 0 {
        return None;
    }
    let mut left = random.random_range(0..total);
    for (item, weight) in weights {
        if left < weight {
            return Some(item);
        }
        left -= weight;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn cast(reads_of: &[Endpoint]) -> Cast<'_> {
        Cast { me: 3, users: 50, reads_of }
    }

    #[test]
    fn the_same_seed_gives_the_same_steps() {
        let steps = |seed| {
            let mut random = StdRng::seed_from_u64(seed);
            let memory = Memory::default();
            let read = |random: &mut StdRng| next_read(random, cast(&[]), &memory);
            let write = |random: &mut StdRng| next_write(random, cast(&[]), &memory);
            (0..200).flat_map(|_| [read(&mut random), write(&mut random)]).collect::<Vec<_>>()
        };
        assert_eq!(steps(1), steps(1));
        assert_ne!(steps(1), steps(2));
    }

    #[test]
    fn reads_can_be_limited_to_some_endpoints() {
        let mut random = StdRng::seed_from_u64(1);
        let only = [Endpoint::UnreadCount, Endpoint::List];
        for _ in 0..200 {
            let step = next_read(&mut random, cast(&only), &Memory::default());
            assert!(matches!(step, Step::Unread | Step::Inbox(_)), "{step:?}");
        }
    }

    #[test]
    fn nothing_unknown_is_touched() {
        let mut random = StdRng::seed_from_u64(1);
        for _ in 0..200 {
            let step = next_write(&mut random, cast(&[]), &Memory::default());
            assert!(matches!(step, Step::Create(_) | Step::CreateBlank(_)), "{step:?}");
        }
    }

    #[test]
    fn letters_are_never_blank_and_queries_say_what_they_ask() {
        let mut random = StdRng::seed_from_u64(1);
        for _ in 0..500 {
            assert!(!text(&mut random).trim().is_empty());
            let query = query(&mut random, 500);
            let page = query.page();
            assert_eq!(page.page, query.page.unwrap_or(1));
            assert_eq!(page.per_page, query.per_page.unwrap_or(20));
        }
    }
}
