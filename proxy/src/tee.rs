//! Copies of answers for comparison.
//!
//! Owns the bounded capture of one answer and the bound on all copies together. What must stay true: the client's
//! answer is never delayed, changed or failed by a copy; at a limit the copy is dropped and the reason kept; the share
//! of a copy comes back when its last holder, queue and workers included, lets go.

use crate::config::TeeConfig;
use banyan_shadow::SkipReason;
use bytes::{Bytes, BytesMut};
use pingora::http::ResponseHeader;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The memory that all copies share.
pub(crate) struct Budget {
    limit: TeeConfig,
    used: AtomicUsize,
}

/// A part of the budget, given back on drop.
struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

/// The copy of one answer.
pub(crate) enum Capture {
    /// Nothing is to be copied.
    Off,
    /// An answer is to be copied; none has begun.
    Planned,
    /// Being copied.
    Running(Box<Copying>),
    /// Given up, with the reason.
    Dropped(SkipReason),
}

/// An answer as far as it has been copied.
pub(crate) struct Copying {
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    chunks: Vec<Bytes>,
    share: Share,
}

/// A copied answer.
pub(crate) struct Copied {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Bytes,
}

impl Budget {
    pub(crate) fn new(limit: TeeConfig) -> Self {
        Self { limit, used: AtomicUsize::new(0) }
    }

    /// Bytes held by all copies.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

impl Share {
    fn grow(&mut self, bytes: usize) -> Result<(), SkipReason> {
        let Budget { limit, used } = &*self.budget;
        if self.bytes + bytes > limit.answer_bytes_max {
            return Err(SkipReason::BodyTooLarge);
        }
        let before = used.fetch_add(bytes, Ordering::AcqRel);
        self.bytes += bytes;
        // What is taken too much comes back with the share, as the copy is dropped at once.
        if before + bytes > limit.total_bytes_max { Err(SkipReason::TeeBudget) } else { Ok(()) }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

impl Capture {
    /// Begins, or begins anew after a retry, with an answer's head.
    pub(crate) fn begin(&mut self, budget: &Arc<Budget>, head: &ResponseHeader) {
        match self {
            Self::Planned | Self::Running(_) => {}
            Self::Off | Self::Dropped(_) => return,
        }
        *self = match announced(head) {
            Some(length) if length > budget.limit.answer_bytes_max => {
                Self::Dropped(SkipReason::BodyTooLarge)
            }
            Some(_) | None => Self::Running(Box::new(Copying {
                status: head.status.as_u16(),
                headers: owned_headers(&head.headers),
                chunks: Vec::new(),
                share: Share { budget: budget.clone(), bytes: 0 },
            })),
        };
    }

    /// Adds bytes of the body.
    pub(crate) fn push(&mut self, chunk: &Bytes) {
        if let Self::Running(copying) = self {
            match copying.share.grow(chunk.len()) {
                Ok(()) => copying.chunks.push(chunk.clone()),
                Err(reason) => *self = Self::Dropped(reason),
            }
        }
    }

    /// Ends the copy: the answer, the reason why there is none, or nothing when none was wanted.
    pub(crate) fn finish(&mut self) -> Option<Result<Copied, SkipReason>> {
        match std::mem::replace(self, Self::Off) {
            Self::Off => None,
            Self::Planned => Some(Err(SkipReason::ServedFailed)),
            Self::Dropped(reason) => Some(Err(reason)),
            Self::Running(copying) => Some(Ok(copying.done())),
        }
    }
}

impl Copying {
    fn done(self) -> Copied {
        let Self { status, headers, mut chunks, share } = self;
        let body = match (chunks.len(), chunks.pop()) {
            (_, None) => Bytes::new(),
            (1, Some(only)) => Bytes::from_owner(Held { bytes: only, _share: share }),
            (_, Some(last)) => {
                let mut whole = BytesMut::with_capacity(share.bytes);
                for chunk in chunks.iter().chain([&last]) {
                    whole.extend_from_slice(chunk);
                }
                Bytes::from_owner(Held { bytes: whole.freeze(), _share: share })
            }
        };
        Copied { status, headers, body }
    }
}

/// A body that gives its share back when the last clone is gone.
struct Held {
    bytes: Bytes,
    _share: Share,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

fn announced(head: &ResponseHeader) -> Option<usize> {
    head.headers.get(http::header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Headers in wire order as owned pairs; names are lower-case.
pub(crate) fn owned_headers(headers: &http::HeaderMap) -> Vec<(String, Vec<u8>)> {
    headers.iter().map(|(n, v)| (n.as_str().to_owned(), v.as_bytes().to_vec())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(budget: &Arc<Budget>, length: Option<&str>) -> Capture {
        let mut head = ResponseHeader::build(200, None).unwrap();
        if let Some(length) = length {
            head.insert_header("content-length", length.to_owned()).unwrap();
        }
        let mut capture = Capture::Planned;
        capture.begin(budget, &head);
        capture
    }

    fn budget(answer_bytes_max: usize, total_bytes_max: usize) -> Arc<Budget> {
        Arc::new(Budget::new(TeeConfig { answer_bytes_max, total_bytes_max }))
    }

    #[test]
    fn a_copy_holds_its_share_until_the_last_holder_lets_go() {
        let budget = budget(100, 100);
        let mut capture = begun(&budget, None);
        capture.push(&Bytes::from_static(b"hello "));
        capture.push(&Bytes::from_static(b"world"));
        let copied = capture.finish().unwrap().ok().unwrap();
        assert_eq!((copied.status, &copied.body[..]), (200, &b"hello world"[..]));
        let clone = copied.body.clone();
        drop(copied);
        assert_eq!(budget.used(), 11);
        drop(clone);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn limits_drop_the_copy_with_their_reason_and_free_the_memory() {
        let budget = budget(10, 15);
        let reason = |mut capture: Capture| capture.finish().unwrap().err();
        assert_eq!(reason(begun(&budget, Some("11"))), Some(SkipReason::BodyTooLarge));
        let mut large = begun(&budget, None);
        large.push(&Bytes::from_static(b"0123456"));
        large.push(&Bytes::from_static(b"789A"));
        assert_eq!(reason(large), Some(SkipReason::BodyTooLarge));
        assert_eq!(budget.used(), 0);
        let mut first = begun(&budget, None);
        first.push(&Bytes::from_static(b"0123456789"));
        let mut second = begun(&budget, None);
        second.push(&Bytes::from_static(b"0123456789"));
        assert_eq!(reason(second), Some(SkipReason::TeeBudget));
        assert_eq!(budget.used(), 10);
        drop(first);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn an_answer_that_never_began_says_so_and_an_unwanted_one_says_nothing() {
        assert_eq!(Capture::Planned.finish().unwrap().err(), Some(SkipReason::ServedFailed));
        assert!(Capture::Off.finish().is_none());
    }
}
