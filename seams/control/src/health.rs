//! Whether the control store can be seen from here.
//!
//! Owns the health record of an agent. It exists so that `status`, the page and the metrics say the same.

use serde::{Deserialize, Serialize};

/// How the store looks from one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreHealth {
    /// It answers and is not behind.
    Ok,
    /// It does not answer: the last table stays in force.
    Away,
    /// It answers with an older generation than the one in force, which stays in force.
    Behind,
}

impl StoreHealth {
    /// `ok`, `away` or `behind`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Away => "away",
            Self::Behind => "behind",
        }
    }
}

/// Health of the store, since when and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// How it looks.
    pub store: StoreHealth,
    /// Since when, Unix ms.
    pub since_ms: u64,
    /// When it was last seen well, Unix ms; 0 if never.
    pub last_ok_ms: u64,
    /// Why it does not look well; empty when it does.
    pub detail: String,
}
