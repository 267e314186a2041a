//! How far the sync has come, per context, and whether it moves.
//!
//! Owns the memory of when each watermark last changed. It exists because a pin may be bounded only while something
//! still arrives. What must stay true: a request reads it without a lock.

use crate::pin::Progress;
use arc_swap::ArcSwap;
use banyan_domain::ContextName;
use std::collections::HashMap;
use std::sync::Arc;

/// Shared watermarks: unix ms of the source up to which everything is applied on the other side.
pub(crate) type Watermarks = Arc<ArcSwap<HashMap<ContextName, u64>>>;

/// A watermark never counts as stalled before this long, however small a context's bound is.
const STALL_AFTER_MS_MIN: u64 = 1_000;

/// Watermarks with the time of their last change.
pub(crate) struct Marks {
    live: Watermarks,
    seen: ArcSwap<HashMap<ContextName, Seen>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    mark: u64,
    changed_ms: u64,
}

impl Marks {
    pub(crate) fn new(live: Watermarks) -> Self {
        Self { live, seen: ArcSwap::default() }
    }

    /// Notes which watermarks moved; called by one background task only.
    pub(crate) fn observe(&self, now_ms: u64) {
        let live = self.live.load();
        let seen = self.seen.load();
        let fresh = |(context, mark): (&ContextName, &u64)| {
            let kept = seen.get(context).copied().filter(|old| old.mark == *mark);
            (context.clone(), kept.unwrap_or(Seen { mark: *mark, changed_ms: now_ms }))
        };
        let next: HashMap<ContextName, Seen> = live.iter().map(fresh).collect();
        if next != **seen {
            self.seen.store(Arc::new(next));
        }
    }

    /// How far the sync of a context is.
    pub(crate) fn of(&self, context: &ContextName, max_ms: u64, now_ms: u64) -> Progress {
        let Some(mark) = self.live.load().get(context).copied() else { return Progress::Unknown };
        let stalled = self.seen.load().get(context).is_some_and(|seen| {
            let still_ms = now_ms.saturating_sub(seen.changed_ms);
            seen.mark == mark && still_ms > max_ms.max(STALL_AFTER_MS_MIN)
        });
        if stalled { Progress::Stalled(mark) } else { Progress::Moving(mark) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watermark_that_stands_still_for_the_bound_is_stalled_until_it_moves() {
        let live: Watermarks = Arc::default();
        let messages = ContextName::new("messages").unwrap();
        let marks = Marks::new(live.clone());
        assert_eq!(marks.of(&messages, 5_000, 0), Progress::Unknown);
        live.store(Arc::new(HashMap::from([(messages.clone(), 7)])));
        assert_eq!(marks.of(&messages, 5_000, 0), Progress::Moving(7));
        marks.observe(1_000);
        marks.observe(6_000);
        assert_eq!(marks.of(&messages, 5_000, 6_000), Progress::Moving(7));
        assert_eq!(marks.of(&messages, 5_000, 6_001), Progress::Stalled(7));
        live.store(Arc::new(HashMap::from([(messages.clone(), 8)])));
        assert_eq!(marks.of(&messages, 5_000, 9_000), Progress::Moving(8));
    }
}
