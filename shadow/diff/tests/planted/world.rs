//! A Rails-like monolith's answers: messages, tracks, users, searches, exports, pages.

use super::answer::{Answer, Body};
use super::dice::Dice;
use super::html::Page;
use super::json::J;

const WORDS: [&str; 32] = [
    "remix",
    "track",
    "the",
    "new",
    "festival",
    "mix",
    "sound",
    "<b>loud</b>",
    "café",
    "Größe",
    "and",
    "with",
    "you",
    "R&B",
    "\"live\"",
    "日本",
    "emoji 🎧",
    "bass",
    "drop",
    "label",
    "night",
    "set",
    "vinyl",
    "at",
    "studio",
    "vocals",
    "rough",
    "master",
    "tempo",
    "Ωmega",
    "naïve",
    "back\\slash",
];
const NAMES: [&str; 12] = [
    "Ada", "Bob", "Chloé", "Dmitri", "Eve", "Fatima", "Grace", "Héctor", "Ines", "Jun", "Kofi",
    "Łukasz",
];

/// What an endpoint of the monolith answers, by its template.
pub(crate) const ENDPOINTS: [&str; 12] = [
    "messages.list",
    "messages.show",
    "tracks.list",
    "tracks.show",
    "users.show",
    "search",
    "stats",
    "feed",
    "login.page",
    "export.csv",
    "avatar.png",
    "token",
];

/// Where times are written and how.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Clock {
    /// `2014/06/12 10:00:00 +0000`.
    Rails,
    /// `2014-06-12T10:00:00Z`.
    Iso,
    /// `2014-06-12T10:00:00.000Z`.
    IsoMillis,
}

impl Clock {
    pub(crate) fn write(self, epoch: i64) -> String {
        let (days, clock) = (epoch.div_euclid(86_400), epoch.rem_euclid(86_400));
        let (year, month, day) = civil(days);
        let (h, m, s) = (clock / 3600, clock / 60 % 60, clock % 60);
        match self {
            Self::Rails => format!("{year}/{month:02}/{day:02} {h:02}:{m:02}:{s:02} +0000"),
            Self::Iso => format!("{year}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}Z"),
            Self::IsoMillis => format!("{year}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.000Z"),
        }
    }

    /// Reads what [`Clock::write`] wrote.
    pub(crate) fn read(text: &str) -> Option<(Self, i64)> {
        let form = match (text.len(), text.as_bytes().get(4)?) {
            (25, b'/') => Self::Rails,
            (20, b'-') => Self::Iso,
            (24, b'-') => Self::IsoMillis,
            _ => return None,
        };
        let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
        let days = days(number(0, 4)?, number(5, 7)?, number(8, 10)?);
        let epoch = days * 86_400 + number(11, 13)? * 3600 + number(14, 16)? * 60 + number(17, 19)?;
        (form.write(epoch) == text).then_some((form, epoch))
    }
}

/// The date of a day since 1970.
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let of_era = z.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    year.div_euclid(400) * 146_097 + day_of_era - 719_468
}

pub(crate) struct World<'d> {
    pub(crate) dice: &'d mut Dice,
    clock: Clock,
    next_id: usize,
}

impl<'d> World<'d> {
    pub(crate) fn new(dice: &'d mut Dice) -> Self {
        let clock = *dice.pick(&[Clock::Rails, Clock::Iso, Clock::IsoMillis]);
        let next_id = dice.between(1, 90_000);
        Self { dice, clock, next_id }
    }

    /// An answer of any endpoint.
    pub(crate) fn any(&mut self) -> Answer {
        let endpoint = *self.dice.pick(&ENDPOINTS);
        self.answer(endpoint)
    }

    /// An answer with a JSON body.
    pub(crate) fn json(&mut self) -> Answer {
        let endpoint = *self.dice.pick(&ENDPOINTS[..7]);
        self.answer(endpoint)
    }

    pub(crate) fn answer(&mut self, endpoint: &str) -> Answer {
        let body = match endpoint {
            "messages.list" => Body::Json(self.messages()),
            "messages.show" => Body::Json(self.message()),
            "tracks.list" => Body::Json(self.tracks()),
            "tracks.show" => Body::Json(self.track()),
            "users.show" => Body::Json(self.user()),
            "search" => Body::Json(self.search()),
            "stats" => Body::Json(self.stats()),
            "feed" => Body::NdJson((0..self.size()).map(|_| self.message()).collect()),
            "login.page" => Body::Html(Page::generate(self)),
            "export.csv" => Body::Text("text/csv", self.csv()),
            "avatar.png" => Body::Binary("image/png", self.png()),
            "token" => Body::Form(self.token()),
            other => panic!("no endpoint {other}"),
        };
        Answer::ok(body, self.dice)
    }

    /// Elements of a list: mostly few, sometimes many.
    fn size(&mut self) -> usize {
        match self.dice.below(20) {
            0 => self.dice.between(40, 120),
            1..=5 => self.dice.between(10, 25),
            _ => self.dice.between(3, 8),
        }
    }

    pub(crate) fn id(&mut self) -> usize {
        self.next_id += self.dice.between(1, 9);
        self.next_id
    }

    pub(crate) fn words(&mut self, from: usize, to: usize) -> String {
        let count = self.dice.between(from, to);
        let words: Vec<&str> = (0..count).map(|_| *self.dice.pick(&WORDS)).collect();
        words.join(" ")
    }

    pub(crate) fn name(&mut self) -> String {
        format!("{}{}", self.dice.pick(&NAMES), self.dice.between(1, 99))
    }

    fn time(&mut self) -> J {
        let epoch = i64::try_from(self.dice.between(1_300_000_000, 1_450_000_000)).unwrap();
        J::str(self.clock.write(epoch))
    }

    fn decimal(&mut self) -> J {
        J::Num(format!("{}.{:02}", self.dice.between(1, 900), self.dice.between(1, 99)))
    }

    fn url(&mut self, kind: &str) -> J {
        let file = self.dice.hex(12);
        J::Str(format!("https://i.legacy.example/{kind}/{file}.jpg?size=t{}", self.dice.below(9)))
    }

    fn mini_user(&mut self) -> J {
        let (id, name) = (self.id(), self.name());
        let avatar = if self.dice.percent(20) { J::Null } else { self.url("avatars") };
        J::obj([
            ("id", J::num(id)),
            ("permalink", J::Str(format!("{}-{id}", name.to_lowercase()))),
            ("username", J::Str(name)),
            ("avatar_url", avatar),
            ("uri", J::Str(format!("/users/{id}"))),
        ])
    }

    fn message(&mut self) -> J {
        let id = self.id();
        let recipients = self.dice.between(1, 4);
        let parent = if self.dice.percent(50) { J::Null } else { J::num(self.id()) };
        J::obj([
            ("id", J::num(id)),
            ("thread_id", J::num(self.id())),
            ("parent_id", parent),
            ("subject", J::Str(self.words(2, 5))),
            ("body", J::Str(self.words(5, 40))),
            ("read", J::Bool(self.dice.percent(50))),
            ("created_at", self.time()),
            ("updated_at", self.time()),
            ("deleted_at", J::Null),
            ("sender", self.mini_user()),
            ("recipients", J::Arr((0..recipients).map(|_| self.mini_user()).collect())),
            ("labels", J::Arr(self.labels())),
            ("attachments", J::Arr(self.attachments())),
            ("score", self.decimal()),
            ("uri", J::Str(format!("/messages/{id}"))),
        ])
    }

    /// Different words, as a set would hold.
    fn labels(&mut self) -> Vec<J> {
        let mut words: Vec<&str> =
            vec!["inbox", "starred", "promo", "unread", "spam", "label-a", "label-b", "archive"];
        self.dice.shuffle(&mut words);
        words.truncate(self.dice.between(0, 6));
        words.into_iter().map(J::str).collect()
    }

    /// Objects without an identity, some of them equal.
    fn attachments(&mut self) -> Vec<J> {
        let count = self.dice.below(4);
        (0..count)
            .map(|_| {
                J::obj([
                    ("content_type", J::str(*self.dice.pick(&["audio/mpeg", "image/png"]))),
                    ("size", J::num(self.dice.between(1_000, 9_000_000))),
                    ("inline", J::Bool(self.dice.percent(30))),
                ])
            })
            .collect()
    }

    fn messages(&mut self) -> J {
        let count = self.size();
        let messages: Vec<J> = (0..count).map(|_| self.message()).collect();
        J::obj([
            ("messages", J::Arr(messages)),
            ("page", J::num(self.dice.between(1, 9))),
            ("total", J::num(self.dice.between(100, 5_000))),
            (
                "next_href",
                J::Str(format!(
                    "https://api.legacy.example/messages?page={}",
                    self.dice.between(2, 99)
                )),
            ),
            ("filters", J::Obj(Vec::new())),
            ("took_ms", self.decimal()),
        ])
    }

    fn track(&mut self) -> J {
        let id = self.id();
        let samples = self.dice.between(4, 40);
        J::obj([
            ("urn", J::Str(format!("soundcloud:tracks:{id}"))),
            ("kind", J::str("track")),
            ("title", J::Str(self.words(1, 6))),
            ("duration", J::num(self.dice.between(10_000, 900_000))),
            ("bpm", self.decimal()),
            (
                "price",
                J::Str(format!("{}.{:02}", self.dice.between(1, 40), self.dice.between(10, 99))),
            ),
            ("genre", J::str("")),
            ("isrc", J::Null),
            ("artwork_url", self.url("artworks")),
            ("waveform", J::Arr((0..samples).map(|_| J::num(self.dice.below(255))).collect())),
            ("tags", J::Arr(self.labels())),
            ("owner", self.mini_user()),
            ("checksum", J::Str(self.dice.hex(40))),
            ("uuid", J::Str(self.dice.uuid())),
            ("released", self.time()),
            (
                "geo",
                J::obj([
                    (
                        "lat",
                        J::Num(format!("52.{:09}", self.dice.between(100_000_000, 999_999_999))),
                    ),
                    ("exact", J::Bool(true)),
                ]),
            ),
        ])
    }

    fn tracks(&mut self) -> J {
        let count = self.size();
        let tracks: Vec<J> = (0..count).map(|_| self.track()).collect();
        J::obj([
            ("collection", J::Arr(tracks)),
            (
                "facets",
                J::Arr(
                    (0..3)
                        .map(|_| {
                            J::obj([
                                ("value", J::Str(self.words(2, 3))),
                                ("hits", J::num(self.dice.below(900))),
                            ])
                        })
                        .collect(),
                ),
            ),
            ("query urn", J::Str(self.dice.uuid())),
        ])
    }

    fn user(&mut self) -> J {
        let J::Obj(mut members) = self.mini_user() else { panic!("a user is an object") };
        let quotas = (0..self.dice.between(1, 4)).map(|_| {
            let used = J::obj([("used", J::num(self.dice.below(100))), ("unit", J::str("min"))]);
            (self.id().to_string(), used)
        });
        let quotas: Vec<(String, J)> = quotas.collect();
        let more = [
            ("email", J::Str(format!("user{}@mail.example", self.dice.below(9_999)))),
            ("city", J::str("Köln")),
            ("description", J::Str(self.words(4, 30))),
            ("followers", J::num(self.dice.below(100_000))),
            ("quota_by_plan", J::Obj(quotas)),
            ("created_at", self.time()),
            ("last_seen", J::num(self.dice.between(1_300_000_000, 1_450_000_000))),
            ("website", J::Null),
            ("balance", J::Num(format!("-{}.5", self.dice.between(1, 99)))),
            (
                "links",
                J::Arr(
                    (0..self.dice.below(4))
                        .map(|_| J::obj([("href", self.url("links")), ("rel", J::str("me"))]))
                        .collect(),
                ),
            ),
        ];
        members.extend(more.map(|(name, value)| (name.to_owned(), value)));
        J::Obj(members)
    }

    /// A list at the root, of words and numbers.
    fn search(&mut self) -> J {
        let count = self.size();
        let suggestion = |at: usize, world: &mut Self| {
            J::Arr(vec![
                J::Str(format!("{} {at}", world.words(1, 3))),
                world.decimal(),
                J::Bool(world.dice.percent(50)),
            ])
        };
        J::Arr((0..count).map(|at| suggestion(at, self)).collect())
    }

    /// Map-like objects and deep nesting.
    fn stats(&mut self) -> J {
        let days = (0..self.dice.between(2, 12)).map(|_| {
            let day = J::obj([
                ("plays", J::num(self.dice.below(9_000))),
                ("likes", J::num(self.dice.below(900))),
            ]);
            (self.id().to_string(), day)
        });
        let days: Vec<(String, J)> = days.collect();
        let deep = (0..self.dice.between(3, 12)).fold(J::num(self.dice.below(99)), |inner, at| {
            J::Obj(vec![
                (format!("level{at}"), inner),
                ("note/x~y".to_owned(), J::Str(self.words(1, 2))),
            ])
        });
        J::obj([
            ("by_track", J::Obj(days)),
            ("nested", deep),
            ("ratio", self.decimal()),
            ("generated_at", self.time()),
        ])
    }

    fn csv(&mut self) -> String {
        let count = self.dice.between(5, 60);
        let line = |world: &mut Self| {
            format!("{},{},{}\n", world.id(), world.name(), world.dice.between(1, 9_999))
        };
        std::iter::once("id,name,plays\n".to_owned())
            .chain((0..count).map(|_| line(self)))
            .collect()
    }

    fn png(&mut self) -> Vec<u8> {
        let mut bytes = b"\x89PNG\r\n\x1a\n\x00".to_vec();
        bytes.extend((0..self.dice.between(50, 2_000)).map(|_| self.dice.next().to_le_bytes()[0]));
        bytes
    }

    fn token(&mut self) -> Vec<(String, String)> {
        [
            ("access_token", self.dice.hex(32)),
            ("token_type", "bearer".to_owned()),
            ("scope", "messages read".to_owned()),
            ("expires_in", self.dice.between(60, 7_200).to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }
}
