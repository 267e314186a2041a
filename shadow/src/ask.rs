//! Asking a side: the port between the workers and the network.
//!
//! Owns what an answer and a failed try are. It exists so that the life of a mirrored read runs in tests against
//! simulated sides, and against recorded ones in replay. What must stay true: a side that could not be asked is never
//! compared.

use crate::{MirrorRequest, SkipReason};
use async_trait::async_trait;
use banyan_diff::Obs;
use banyan_domain::{ContextName, Side};
use bytes::Bytes;
use std::fmt;

/// Sends a read to a side.
#[async_trait]
pub trait Ask: Send + Sync {
    /// Asks `side` of `context` once, within the caller's limits of time and size.
    async fn ask(
        &self,
        context: &ContextName,
        side: Side,
        request: &MirrorRequest,
    ) -> Result<Answer, AskError>;
}

/// One side's answer, as it was on the wire.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status code.
    pub status: u16,
    /// The headers in wire order, names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body, content encoding not removed.
    pub body: Bytes,
}

/// Why a side gave no answer that could be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum AskError {
    /// No address is configured for this side of the context.
    #[error("ask a side without address")]
    NoTarget,
    /// The target would be changed on its way.
    #[error("send the target byte by byte")]
    InexactTarget,
    /// It failed a moment ago and is left alone.
    #[error("ask a side that is being left alone")]
    Resting,
    /// The configured limit of shadow traffic to it is reached.
    #[error("ask a side above the limit of shadow traffic")]
    OverCapacity,
    /// It suffers, and gets less shadow traffic for a while.
    #[error("ask a side that suffers")]
    BackingOff,
    /// It cannot be reached, or broke the connection.
    #[error("reach the side")]
    Unreachable,
    /// It did not answer in time.
    #[error("get an answer in time")]
    Timeout,
    /// Its answer is larger than what is kept.
    #[error("keep an answer of that size")]
    TooLarge,
}

/// What a failed try means for the read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It was not compared.
    Skip(SkipReason),
    /// It was tried, and nothing can be said; the word of why.
    Inconclusive(&'static str),
}

impl AskError {
    pub(crate) const fn failure(self) -> Failure {
        match self {
            Self::NoTarget => Failure::Skip(SkipReason::NoTarget),
            Self::InexactTarget => Failure::Skip(SkipReason::InexactTarget),
            Self::Resting | Self::Unreachable => Failure::Skip(SkipReason::SideDown),
            Self::OverCapacity => Failure::Skip(SkipReason::OverCapacity),
            Self::BackingOff => Failure::Skip(SkipReason::BackingOff),
            Self::Timeout => Failure::Inconclusive("timeout"),
            Self::TooLarge => Failure::Inconclusive("body_too_large"),
        }
    }
}

impl Answer {
    /// Stands where there was none.
    pub(crate) const fn none() -> Self {
        Self { status: 0, headers: Vec::new(), body: Bytes::new() }
    }

    /// What the diff engine compares.
    pub fn obs(&self) -> Obs<'_> {
        Obs { status: self.status, headers: &self.headers, body: &self.body }
    }

    /// Bytes it keeps in memory.
    pub fn bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(n, v)| n.len() + v.len() + 48).sum();
        headers + self.body.len()
    }
}

/// Shows neither headers nor body.
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}
