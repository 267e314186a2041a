//! Why a read was not compared.
//!
//! Owns the closed list of reasons. It exists so that "48,112 compared" is honest: whatever was not compared is counted
//! under one of these words. What must stay true: the words are metric labels and stored; they never change meaning.

use std::fmt;

/// Why a read was not compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SkipReason {
    /// Outside the sampled share of the endpoint.
    Sampled,
    /// The queue was full, by number or by bytes; the newest is dropped.
    QueueFull,
    /// An answer was larger than the proxy keeps.
    BodyTooLarge,
    /// The method may change something.
    UnsafeMethod,
    /// The client left before it had the whole answer.
    ClientGone,
    /// The connection became a tunnel (WebSocket).
    Upgraded,
    /// The endpoint's phase no longer plans this mirror.
    PhaseChanged,
    /// The other side does not answer; it is left alone for a while.
    SideDown,
    /// The configured limit of shadow traffic to the other side is reached.
    OverCapacity,
    /// The other side suffers: it is slower than usual, fails, or asked for rest; it gets less for a while.
    BackingOff,
    /// A limit on what may be asked of the other side is used up.
    NoBudget,
    /// The caller is pinned to the owner: the other side is known to be behind.
    Pinned,
    /// A conditional answer (304) or a range of bytes: there is no whole answer to compare.
    ConditionalOrRange,
    /// The memory for copies of answers was used up in the proxy.
    TeeBudget,
    /// The target cannot be sent again byte by byte.
    InexactTarget,
    /// The request already is a mirrored one, or went through too many proxies.
    Loop,
    /// The served answer was broken off or came from a fallback, so it says nothing about its side.
    ServedFailed,
    /// No address is configured for the side to ask.
    NoTarget,
    /// The process stopped before it came to this read.
    Shutdown,
}

impl SkipReason {
    /// All reasons, in the order in which they are reported.
    pub const ALL: [Self; 19] = [
        Self::Sampled,
        Self::QueueFull,
        Self::BodyTooLarge,
        Self::UnsafeMethod,
        Self::ClientGone,
        Self::Upgraded,
        Self::PhaseChanged,
        Self::SideDown,
        Self::OverCapacity,
        Self::BackingOff,
        Self::NoBudget,
        Self::Pinned,
        Self::ConditionalOrRange,
        Self::TeeBudget,
        Self::InexactTarget,
        Self::Loop,
        Self::ServedFailed,
        Self::NoTarget,
        Self::Shutdown,
    ];

    /// The word for tallies, reports and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sampled => "sampled",
            Self::QueueFull => "queue_full",
            Self::BodyTooLarge => "body_too_large",
            Self::UnsafeMethod => "unsafe_method",
            Self::ClientGone => "client_gone",
            Self::Upgraded => "upgraded",
            Self::PhaseChanged => "phase_changed",
            Self::SideDown => "side_down",
            Self::OverCapacity => "over_capacity",
            Self::BackingOff => "backing_off",
            Self::NoBudget => "no_budget",
            Self::Pinned => "pinned",
            Self::ConditionalOrRange => "conditional_or_range",
            Self::TeeBudget => "tee_budget",
            Self::InexactTarget => "inexact_target",
            Self::Loop => "loop",
            Self::ServedFailed => "served_failed",
            Self::NoTarget => "no_target",
            Self::Shutdown => "shutdown",
        }
    }
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_word() {
        let mut words: Vec<&str> = SkipReason::ALL.iter().map(|reason| reason.as_str()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), SkipReason::ALL.len());
    }
}
