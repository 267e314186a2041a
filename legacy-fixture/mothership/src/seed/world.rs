//! The seeded world: who exists, who writes to whom, what was read and deleted.
//!
//! Everything is drawn from one seeded generator, in the order of ids. Popularity is skewed (the square of a uniform
//! number picks the user), so that a few users have hundreds of conversations and thousands of messages.
//!
//! What must stay true: ids are dense from 1; times grow with message ids and end at [`END_UNIX_S`]; `updated_at` is
//! the latest of edit, read and delete; memory does not grow with the number of messages.

use super::{SeedPlan, text};
use crate::{database::Arg, user::password_digest};
use chrono::DateTime;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::collections::{BTreeSet, VecDeque};

/// 2012-01-02 08:00:00 UTC: the first message.
const START_UNIX_S: i64 = 1_325_491_200;
/// 2014-06-12 10:00:00 UTC: now, for the seeded world.
const END_UNIX_S: i64 = 1_402_567_200;
const DAY_S: i64 = 86_400;
/// Messages that a new one may answer.
const ANSWERABLE_MAX: usize = 2_000;
const CIRCLE: u32 = 10;
const TRACKS_PER_USER_MAX: u32 = 4;

pub(super) const USER_COLUMNS: [&str; 9] = [
    "id",
    "permalink",
    "username",
    "email",
    "plan",
    "avatar_url",
    "password_digest",
    "created_at",
    "updated_at",
];
pub(super) const TRACK_COLUMNS: [&str; 8] = [
    "id",
    "user_id",
    "title",
    "sharing",
    "duration_ms",
    "playback_count",
    "created_at",
    "updated_at",
];
pub(super) const COMMENT_COLUMNS: [&str; 6] =
    ["track_id", "user_id", "body", "timestamp_ms", "created_at", "updated_at"];
pub(super) const PLAY_COLUMNS: [&str; 3] = ["track_id", "user_id", "created_at"];
pub(super) const FOLLOWING_COLUMNS: [&str; 3] = ["follower_id", "followee_id", "created_at"];
pub(super) const THREAD_COLUMNS: [&str; 5] =
    ["id", "subject", "creator_id", "created_at", "updated_at"];
pub(super) const MESSAGE_COLUMNS: [&str; 9] = [
    "id",
    "thread_id",
    "parent_id",
    "sender_id",
    "recipient_id",
    "body",
    "edited_at",
    "created_at",
    "updated_at",
];
pub(super) const RECEIPT_COLUMNS: [&str; 4] = ["message_id", "user_id", "read_at", "deleted_at"];

/// Draws the rows, one after the other.
pub(super) struct World {
    plan: SeedPlan,
    random: StdRng,
    answerable: VecDeque<Answerable>,
    threads: i64,
    tracks: i64,
}

pub(super) struct SeededTrack {
    pub(super) row: [Arg; 8],
    pub(super) comments: Vec<[Arg; 6]>,
    pub(super) plays: Vec<[Arg; 3]>,
}

pub(super) struct SeededMessage {
    pub(super) thread: Option<[Arg; 5]>,
    pub(super) message: [Arg; 9],
    pub(super) receipts: Vec<[Arg; 4]>,
}

#[derive(Clone, Copy)]
struct Answerable {
    id: i64,
    thread_id: i64,
    sender_id: i64,
    recipient_id: i64,
}

/// What happened to a message after it was sent.
struct Fate {
    edited: Option<i64>,
    read: Option<i64>,
    deleted_by_sender: Option<i64>,
    deleted_by_recipient: Option<i64>,
}

impl World {
    pub(super) fn new(plan: SeedPlan) -> Self {
        let random = StdRng::seed_from_u64(plan.seed);
        Self { plan, random, answerable: VecDeque::new(), threads: 0, tracks: 0 }
    }

    pub(super) fn plan(&self) -> SeedPlan {
        self.plan
    }

    pub(super) fn user(&mut self, id: u32) -> [Arg; 9] {
        let username = text::name(&mut self.random);
        let stem: String =
            username.chars().filter(char::is_ascii_alphabetic).collect::<String>().to_lowercase();
        let permalink = format!("{}-{id}", if stem.is_empty() { "user" } else { &stem });
        let plan = if self.chance(10) { "pro" } else { "free" };
        let avatar_url = (!self.chance(30))
            .then(|| format!("https://avatars.example/{permalink}-large.jpg?{}", id % 97));
        let at = time(START_UNIX_S - self.random.random_range(0..300 * DAY_S));
        [
            i64::from(id).into(),
            permalink.as_str().into(),
            username.into(),
            format!("{permalink}@example.org").into(),
            plan.into(),
            avatar_url.into(),
            password_digest(&permalink, "secret").into(),
            at.as_str().into(),
            at.into(),
        ]
    }

    /// The user's tracks with all that happened to them.
    pub(super) fn tracks(&mut self, user_id: u32) -> Vec<SeededTrack> {
        let count = self.random.random_range(0..=TRACKS_PER_USER_MAX);
        (0..count).map(|_| self.track(i64::from(user_id))).collect()
    }

    /// Whom the user follows.
    pub(super) fn followings(&mut self, user_id: u32) -> Vec<[Arg; 3]> {
        let follower_id = i64::from(user_id);
        let wanted = self.random.random_range(0..20);
        let followees: BTreeSet<i64> =
            (0..wanted).map(|_| self.popular()).filter(|id| *id != follower_id).collect();
        let row = |followee_id: i64| {
            let at = self.random.random_range(START_UNIX_S..END_UNIX_S);
            [follower_id.into(), followee_id.into(), time(at).into()]
        };
        followees.into_iter().map(row).collect()
    }

    /// The next message; ids must be asked for in order, from 1.
    pub(super) fn message(&mut self, id: u32) -> SeededMessage {
        let span = END_UNIX_S - START_UNIX_S;
        let at = START_UNIX_S + span * i64::from(id - 1) / i64::from(self.plan.messages);
        let id = i64::from(id);
        let parent = self.parent();
        let (sender_id, recipient_id) = match parent {
            // Mostly an answer; sometimes the same person adds something.
            Some(parent) if self.chance(75) => (parent.recipient_id, parent.sender_id),
            Some(parent) => (parent.sender_id, parent.recipient_id),
            None => self.strangers(),
        };
        let mut thread = None;
        let thread_id = parent.map_or_else(
            || {
                self.threads += 1;
                let subject = text::subject(&mut self.random);
                let at = time(at);
                let times: [Arg; 2] = [at.as_str().into(), at.as_str().into()];
                let [created, updated] = times;
                thread =
                    Some([self.threads.into(), subject.into(), sender_id.into(), created, updated]);
                self.threads
            },
            |parent| parent.thread_id,
        );
        let fate = self.fate(at, sender_id == recipient_id);
        self.remember(Answerable { id, thread_id, sender_id, recipient_id });
        let message = [
            id.into(),
            thread_id.into(),
            parent.map(|parent| parent.id).into(),
            sender_id.into(),
            recipient_id.into(),
            text::body(&mut self.random).into(),
            fate.edited.map(time).into(),
            time(at).into(),
            time(fate.last().unwrap_or(at)).into(),
        ];
        let receipts = fate.receipts(id, at, sender_id, recipient_id);
        SeededMessage { thread, message, receipts }
    }

    fn track(&mut self, user_id: i64) -> SeededTrack {
        self.tracks += 1;
        let id = self.tracks;
        let created = self.random.random_range(START_UNIX_S..END_UNIX_S);
        let plays = self.random.random_range(0..20);
        let comments = self.random.random_range(0..6);
        let plays: Vec<[Arg; 3]> = (0..plays)
            .map(|_| {
                let listener = self.popular();
                [id.into(), listener.into(), time(self.between(created)).into()]
            })
            .collect();
        let comments = (0..comments).map(|_| self.comment(id, created)).collect();
        let sharing = if self.chance(10) { "private" } else { "public" };
        let row = [
            id.into(),
            user_id.into(),
            text::title(&mut self.random).into(),
            sharing.into(),
            self.random.random_range(30_000..600_000_i64).into(),
            i64::try_from(plays.len()).unwrap_or_default().into(),
            time(created).into(),
            time(created).into(),
        ];
        SeededTrack { row, comments, plays }
    }

    fn comment(&mut self, track_id: i64, track_created: i64) -> [Arg; 6] {
        let author = self.popular();
        let at = time(self.between(track_created));
        let timestamp_ms = self.chance(80).then(|| self.random.random_range(0..30_000_i64));
        [
            track_id.into(),
            author.into(),
            text::body(&mut self.random).into(),
            timestamp_ms.into(),
            at.as_str().into(),
            at.into(),
        ]
    }

    fn parent(&mut self) -> Option<Answerable> {
        if self.answerable.is_empty() || !self.chance(45) {
            return None;
        }
        let index = self.random.random_range(0..self.answerable.len());
        self.answerable.get(index).copied()
    }

    /// Writer and reader of a new thread: mostly within the writer's circle.
    fn strangers(&mut self) -> (i64, i64) {
        let sender = self.popular();
        let recipient = match self.random.random_range(0..1_000) {
            0..5 => sender,
            5..600 => {
                let friend = i64::from(self.random.random_range(1..=CIRCLE));
                (sender * 7_919 + friend * 104_729) % i64::from(self.plan.users) + 1
            }
            _ => self.popular(),
        };
        (sender, recipient)
    }

    fn fate(&mut self, at: i64, to_oneself: bool) -> Fate {
        let recent = END_UNIX_S - at < 14 * DAY_S;
        let read_percent = if recent { 45 } else { 88 };
        let read = self.chance(read_percent).then(|| self.after(at, 2 * DAY_S)).flatten();
        let edited = self.chance(4).then(|| self.after(at, 3_600)).flatten();
        let deleted_by_recipient = self.chance(5).then(|| self.after(at, 90 * DAY_S)).flatten();
        let deleted_by_sender = if to_oneself {
            deleted_by_recipient
        } else {
            self.chance(2).then(|| self.after(at, 90 * DAY_S)).flatten()
        };
        Fate { edited, read, deleted_by_sender, deleted_by_recipient }
    }

    fn remember(&mut self, message: Answerable) {
        if self.answerable.len() == ANSWERABLE_MAX {
            self.answerable.pop_front();
        }
        self.answerable.push_back(message);
    }

    /// A user; low ids far more often than high ones.
    fn popular(&mut self) -> i64 {
        let uniform = self.random.random_range(0..=u32::MAX);
        // Square of a number in [0, 1), times the number of users, in whole numbers.
        let square = (u64::from(uniform) * u64::from(uniform)) >> 32;
        let index = (square * u64::from(self.plan.users)) >> 32;
        i64::try_from(index).unwrap_or_default() + 1
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }

    /// A time after `at` that is not in the seeded world's future.
    fn after(&mut self, at: i64, within_s: i64) -> Option<i64> {
        Some(at + self.random.random_range(5..within_s)).filter(|time| *time <= END_UNIX_S)
    }

    fn between(&mut self, start: i64) -> i64 {
        self.random.random_range(start..=END_UNIX_S)
    }
}

impl Fate {
    fn last(&self) -> Option<i64> {
        [self.edited, self.read, self.deleted_by_sender, self.deleted_by_recipient]
            .into_iter()
            .flatten()
            .max()
    }

    /// One receipt per person; the writer has read his message when he sent it.
    fn receipts(&self, id: i64, at: i64, sender_id: i64, recipient_id: i64) -> Vec<[Arg; 4]> {
        let receipt = |user_id: i64, read: Option<i64>, deleted: Option<i64>| {
            [id.into(), user_id.into(), read.map(time).into(), deleted.map(time).into()]
        };
        let mut receipts = vec![receipt(recipient_id, self.read, self.deleted_by_recipient)];
        if sender_id != recipient_id {
            receipts.push(receipt(sender_id, Some(at), self.deleted_by_sender));
        }
        receipts
    }
}

/// Database text.
fn time(unix_s: i64) -> String {
    let time = DateTime::from_timestamp(unix_s, 0).unwrap_or_default();
    time.format("%Y-%m-%d %H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: SeedPlan = SeedPlan { seed: 7, users: 200, messages: 3_000 };

    fn messages(plan: SeedPlan) -> Vec<[Arg; 9]> {
        let mut world = World::new(plan);
        (1..=plan.messages).map(|id| world.message(id).message).collect()
    }

    #[test]
    fn same_plan_gives_same_rows() {
        assert_eq!(messages(PLAN), messages(PLAN));
        assert_ne!(messages(PLAN), messages(SeedPlan { seed: 8, ..PLAN }));
        let (mut one, mut two) = (World::new(PLAN), World::new(PLAN));
        assert!((1..50).all(|id| one.user(id) == two.user(id)));
    }

    #[test]
    fn everybody_exists_and_some_are_popular() {
        let ids = |column: usize| {
            messages(PLAN)
                .into_iter()
                .map(move |row| match row[column] {
                    Arg::Int(id) => id,
                    Arg::Text(_) | Arg::Null => panic!("not an id"),
                })
                .collect::<Vec<_>>()
        };
        let (senders, recipients) = (ids(3), ids(4));
        assert!(senders.iter().chain(&recipients).all(|id| (1..=200).contains(id)));
        let popular = recipients.iter().filter(|id| **id <= 10).count();
        assert!(popular > 3_000 / 10, "{popular}");
        assert!(senders.iter().zip(&recipients).any(|(sender, recipient)| sender == recipient));
    }

    #[test]
    fn world_ends_on_its_last_day() {
        let last = messages(PLAN).into_iter().map(|row| row[8].clone());
        let end = "2014-06-12 10:00:00";
        assert!(
            last.into_iter().all(|time| matches!(time, Arg::Text(time) if time.as_str() <= end))
        );
        assert_eq!(
            (time(START_UNIX_S), time(END_UNIX_S)),
            ("2012-01-02 08:00:00".into(), end.into())
        );
    }
}
