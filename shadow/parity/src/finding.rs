//! What can be wrong with a pair or an event.
//!
//! Owns the words. What must stay true: one word per kind, the same in reports, JSON, metrics and log.

use banyan_report::Severity;
use serde::{Deserialize, Serialize};

/// A kind of finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// A pair whose payloads differ.
    Differ,
    /// Legacy published it, new did not.
    OnlyLegacy,
    /// New published it, legacy did not.
    OnlyNew,
    /// One side said the same twice, the other once.
    Duplicated,
    /// The events of one subject have another order.
    Reordered,
    /// A pair that is further apart than allowed.
    Late,
}

impl Finding {
    /// All kinds, in the order in which they are told.
    pub const ALL: [Self; 6] = [
        Self::Differ,
        Self::OnlyLegacy,
        Self::OnlyNew,
        Self::Duplicated,
        Self::Reordered,
        Self::Late,
    ];

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Differ => "differ",
            Self::OnlyLegacy => "only_legacy",
            Self::OnlyNew => "only_new",
            Self::Duplicated => "duplicated",
            Self::Reordered => "reordered",
            Self::Late => "late",
        }
    }

    /// How much it would hurt a consumer; of a difference its own severity counts.
    pub(crate) const fn severity(self) -> Severity {
        match self {
            Self::OnlyLegacy | Self::Duplicated => Severity::Breaking,
            Self::OnlyNew | Self::Differ | Self::Late => Severity::Value,
            Self::Reordered => Severity::Order,
        }
    }
}
