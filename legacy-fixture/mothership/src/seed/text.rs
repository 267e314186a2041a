//! The words of the seeded world: names, subjects, bodies with all that real text has.
//!
//! What must stay true: a few bodies keep the mojibake of the old latin1 connection, as stored bytes do.

use rand::{RngExt, rngs::StdRng};

const NAMES: [&str; 40] = [
    "Ada",
    "Bela",
    "Chidi",
    "Dörte",
    "Emeka",
    "Freya",
    "Gönül",
    "Hana",
    "Ines",
    "Jürgen",
    "Kofi",
    "Léa",
    "Mira",
    "Nils",
    "Olga",
    "Pelle",
    "Quim",
    "Rosa",
    "Søren",
    "Tomás",
    "Uma",
    "Vito",
    "Wanda",
    "Xenia",
    "Yuki",
    "Zoë",
    "DJ Nacht",
    "Mixtape Mo",
    "Студия 8",
    "音楽",
    "Basskraut",
    "LoFi Lou",
    "Ñandú",
    "Echo",
    "Tape Deck",
    "Vinyl Vera",
    "808 Ottilie",
    "Noise & Co",
    "Ambient Al",
    "<Subwoofer>",
];

const WORDS: [&str; 64] = [
    "your", "track", "is", "great", "the", "drop", "at", "two", "minutes", "could", "we", "talk",
    "about", "a", "remix", "for", "next", "week", "label", "release", "night", "in", "Berlin",
    "who", "mastered", "this", "sample", "please", "send", "me", "stems", "when", "you", "have",
    "time", "loved", "bass", "line", "vocals", "too", "loud", "maybe", "add", "reverb", "my",
    "set", "starts", "late", "thanks", "again", "see", "there", "listen", "to", "demo", "first",
    "and", "then", "reply", "with", "dates", "cheers", "über", "naïve",
];

const SUBJECTS: [&str; 16] = [
    "Hi",
    "Remix?",
    "Your new track",
    "Collaboration",
    "Gig in Berlin",
    "Sample clearance",
    "Loved it",
    "Stems please",
    "Label interest",
    "Question",
    "Re: mastering",
    "Thanks!",
    "Demo 🎧",
    "Größe?",
    "no subject",
    "Q&A \"live\"",
];

const EMOJI: [&str; 8] = ["🎧", "🔥", "👩‍🎤", "🥁", "❤️", "🇩🇪", "🎶🎶🎶", "🙏🏽"];

/// What the latin1 connection made of `café`, `naïve`, `München`, `…` and `’`.
const MOJIBAKE: [&str; 4] =
    ["cafÃ© later?", "a naÃ¯ve idea", "see you in MÃ¼nchen", "letâ€™s waitâ€¦"];

pub(super) fn name(random: &mut StdRng) -> &'static str {
    pick(random, &NAMES)
}

pub(super) fn subject(random: &mut StdRng) -> &'static str {
    pick(random, &SUBJECTS)
}

pub(super) fn title(random: &mut StdRng) -> String {
    let words = random.random_range(1..4);
    sentence(random, words)
}

/// Mostly one or two sentences; sometimes one word, an emoji, mojibake, or a long letter.
pub(super) fn body(random: &mut StdRng) -> String {
    match random.random_range(0..1_000) {
        0..5 => pick(random, &MOJIBAKE).to_owned(),
        5..45 => pick(random, &EMOJI).to_owned(),
        45..130 => pick(random, &WORDS).to_owned(),
        130..230 => {
            let words = random.random_range(3..12);
            sentence(random, words) + " " + pick(random, &EMOJI)
        }
        230..250 => letter(random),
        _ => {
            let words = random.random_range(3..18);
            sentence(random, words) + "."
        }
    }
}

fn letter(random: &mut StdRng) -> String {
    let paragraphs = random.random_range(3..12);
    let paragraphs = (0..paragraphs).map(|_| {
        let words = random.random_range(20..60);
        sentence(random, words) + "."
    });
    paragraphs.collect::<Vec<_>>().join("\n\n")
}

fn sentence(random: &mut StdRng, words: usize) -> String {
    let mut text = String::with_capacity(words * 6);
    for index in 0..words {
        if index > 0 {
            text.push(' ');
        }
        text.push_str(pick(random, &WORDS));
    }
    text
}

fn pick(random: &mut StdRng, from: &[&'static str]) -> &'static str {
    from.get(random.random_range(0..from.len())).copied().unwrap_or_default()
}
