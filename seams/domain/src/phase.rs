//! Phases of an endpoint and the table of legal transitions.
//!
//! Owns the one exhaustive transition function; it exists so that CLI, API and store refuse the same
//! flips. What must stay true: forward goes one step at a time, back goes anywhere safe in one step.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A whole percentage, 0 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Percent(u8);

impl Percent {
    /// All of it.
    pub const HUNDRED: Self = Self(100);

    /// Takes a percentage.
    ///
    /// # Errors
    /// A fragment saying the rule, when `value` is above 100.
    pub fn new(value: u8) -> Result<Self, String> {
        if value > 100 {
            return Err(format!("percent must be 0 to 100, found {value}"));
        }
        Ok(Self(value))
    }

    /// The number, 0 to 100.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl TryFrom<u8> for Percent {
    type Error = String;
    fn try_from(value: u8) -> Result<Self, String> {
        Self::new(value)
    }
}

impl From<Percent> for u8 {
    fn from(percent: Percent) -> Self {
        percent.0
    }
}

/// Where an endpoint stands on its way from legacy to new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "PhaseText", into = "PhaseText")]
pub enum Phase {
    /// Legacy answers; nothing is compared.
    Legacy,
    /// Legacy answers; the new side is asked afterwards and compared.
    Shadow,
    /// New answers for this share of sticky keys, legacy for the rest; the other side is compared.
    Canary(Percent),
    /// New answers; legacy is asked afterwards while rollback must stay possible.
    New,
    /// New answers; the legacy code may be deleted.
    Retired,
}

/// Form of a [`Phase`] in JSON: `{"name":"canary","percent":10}`.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct PhaseText {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    percent: Option<Percent>,
}

impl From<Phase> for PhaseText {
    fn from(phase: Phase) -> Self {
        Self { name: phase.word().to_owned(), percent: phase.percent() }
    }
}

impl TryFrom<PhaseText> for Phase {
    type Error = String;
    fn try_from(text: PhaseText) -> Result<Self, String> {
        Self::from_words(&text.name, text.percent)
    }
}

/// Which way a transition goes: back is always cheaper than forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// More trust in the new side; refused while frozen.
    Forward,
    /// Less trust in the new side; always allowed.
    Back,
    /// No change.
    Same,
}

impl Phase {
    /// The words of all phases, in order.
    pub const WORDS: [&'static str; 5] = ["legacy", "shadow", "canary", "new", "retired"];

    /// The phase that `word` and `percent` name.
    ///
    /// # Errors
    /// A fragment saying what is wrong: an unknown word, a canary without percent, or a percent elsewhere.
    pub fn from_words(word: &str, percent: Option<Percent>) -> Result<Self, String> {
        match (word, percent) {
            ("canary", Some(percent)) => Ok(Self::Canary(percent)),
            ("canary", None) => Err("phase `canary` needs a percent".to_owned()),
            (_, Some(_)) => Err(format!("phase `{word}` takes no percent, only `canary` does")),
            ("legacy", None) => Ok(Self::Legacy),
            ("shadow", None) => Ok(Self::Shadow),
            ("new", None) => Ok(Self::New),
            ("retired", None) => Ok(Self::Retired),
            (_, None) => {
                Err(format!("`{word}` is no phase; phases are {}", Self::WORDS.join(", ")))
            }
        }
    }

    /// The word without the percentage.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Shadow => "shadow",
            Self::Canary(_) => "canary",
            Self::New => "new",
            Self::Retired => "retired",
        }
    }

    /// The share of a canary, nothing for other phases.
    pub const fn percent(self) -> Option<Percent> {
        match self {
            Self::Canary(percent) => Some(percent),
            Self::Legacy | Self::Shadow | Self::New | Self::Retired => None,
        }
    }

    /// The transition table: which way `self` to `to` goes.
    ///
    /// # Errors
    /// The legal next phases in words, when the transition is illegal.
    pub fn transition(self, to: Self) -> Result<Direction, &'static [&'static str]> {
        use Direction::{Back, Forward, Same};
        match (self, to) {
            (Self::Legacy, Self::Legacy)
            | (Self::Shadow, Self::Shadow)
            | (Self::New, Self::New)
            | (Self::Retired, Self::Retired) => Ok(Same),
            (Self::Canary(a), Self::Canary(b)) => Ok(match a.cmp(&b) {
                std::cmp::Ordering::Less => Forward,
                std::cmp::Ordering::Equal => Same,
                std::cmp::Ordering::Greater => Back,
            }),
            (Self::Legacy, Self::Shadow)
            | (Self::Shadow, Self::Canary(_))
            | (Self::Canary(_), Self::New)
            | (Self::New, Self::Retired) => Ok(Forward),
            (Self::Shadow, Self::Legacy)
            | (Self::Canary(_), Self::Legacy | Self::Shadow)
            | (Self::New, Self::Legacy | Self::Shadow | Self::Canary(_))
            | (Self::Retired, Self::New) => Ok(Back),
            (Self::Legacy, Self::Canary(_) | Self::New | Self::Retired)
            | (Self::Shadow, Self::New | Self::Retired)
            | (Self::Canary(_), Self::Retired)
            | (Self::Retired, Self::Legacy | Self::Shadow | Self::Canary(_)) => Err(self.next()),
        }
    }

    /// The phases that may follow, in words.
    pub const fn next(self) -> &'static [&'static str] {
        match self {
            Self::Legacy => &["shadow"],
            Self::Shadow => &["canary", "legacy"],
            Self::Canary(_) => &["canary", "new", "shadow", "legacy"],
            Self::New => &["retired", "canary", "shadow", "legacy"],
            Self::Retired => &["new"],
        }
    }

    /// Where a one-step rollback leads: the nearest phase in which legacy answers (`retired` goes to `new`,
    /// because the legacy code may be gone). Nothing when there is no way back.
    pub const fn rollback(self) -> Option<Self> {
        match self {
            Self::Legacy => None,
            Self::Shadow => Some(Self::Legacy),
            Self::Canary(_) | Self::New => Some(Self::Shadow),
            Self::Retired => Some(Self::New),
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Canary(percent) => write!(f, "canary {}%", percent.get()),
            Self::Legacy | Self::Shadow | Self::New | Self::Retired => f.write_str(self.word()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Phase> {
        let canary = |n| Phase::Canary(Percent::new(n).unwrap());
        vec![Phase::Legacy, Phase::Shadow, canary(10), canary(50), Phase::New, Phase::Retired]
    }

    #[test]
    fn the_table_agrees_with_the_words_it_names() {
        for from in all() {
            for to in all() {
                let legal = from == to || from.next().contains(&to.word());
                assert_eq!(from.transition(to).is_ok(), legal, "{from} -> {to}");
            }
        }
    }

    #[test]
    fn a_rollback_is_a_legal_step_back_and_ends_at_legacy() {
        for from in all() {
            let mut at = from;
            let mut steps = 0;
            while let Some(to) = at.rollback() {
                assert_eq!(at.transition(to), Ok(Direction::Back), "{at} -> {to}");
                at = to;
                steps += 1;
                assert!(steps < 5);
            }
            assert_eq!(at, Phase::Legacy);
        }
    }

    #[test]
    fn phases_survive_json() {
        for phase in all() {
            let text = serde_json::to_string(&phase).unwrap();
            assert_eq!(serde_json::from_str::<Phase>(&text).unwrap(), phase, "{text}");
        }
        assert!(serde_json::from_str::<Phase>(r#"{"name":"canary","percent":101}"#).is_err());
        assert!(serde_json::from_str::<Phase>(r#"{"name":"canary"}"#).is_err());
    }
}
