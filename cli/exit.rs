//! Exit codes. One meaning each, no bit mask; `main` returns them, so 1 can never mean a crash.

use std::process::ExitCode;

/// What the process tells its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Yes, pass, same, done.
    Yes,
    /// The tool worked and the answer is no: mismatches over budget, drift, a plan that is not empty.
    No,
    /// Wrong usage.
    Usage,
    /// The configuration is invalid.
    Config,
    /// Too little evidence.
    Inconclusive,
    /// Refused by a safety rule.
    Refused,
    /// A dependency is unreachable or timed out; a retry is safe.
    Unreachable,
    /// A bug of ours.
    Bug,
    /// Stopped cleanly by Ctrl-C.
    Interrupted,
    /// Stopped cleanly by SIGTERM.
    Terminated,
}

impl Exit {
    /// All of them, in the order of their numbers.
    pub(crate) const ALL: [Self; 10] = [
        Self::Yes,
        Self::No,
        Self::Usage,
        Self::Config,
        Self::Inconclusive,
        Self::Refused,
        Self::Unreachable,
        Self::Bug,
        Self::Interrupted,
        Self::Terminated,
    ];

    /// The number.
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Yes => 0,
            Self::No => 1,
            Self::Usage => 2,
            Self::Config => 3,
            Self::Inconclusive => 4,
            Self::Refused => 5,
            Self::Unreachable => 6,
            Self::Bug => 70,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }

    /// What the number means.
    pub(crate) const fn meaning(self) -> &'static str {
        match self {
            Self::Yes => "yes, pass, same, done",
            Self::No => {
                "the tool worked and the answer is no (mismatch over budget, drift, plan not empty)"
            }
            Self::Usage => "wrong usage",
            Self::Config => "the configuration is invalid",
            Self::Inconclusive => "inconclusive: too little evidence",
            Self::Refused => {
                "refused by a safety rule (stale generation, illegal flip, frozen, not confirmed)"
            }
            Self::Unreachable => "a dependency is unreachable, busy or timed out; a retry is safe",
            Self::Bug => "a bug of Banyan",
            Self::Interrupted => "stopped cleanly by Ctrl-C",
            Self::Terminated => "stopped cleanly by SIGTERM",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.number())
    }
}
