//! When this process last reached the control store.
//!
//! Owns the times on the process's own monotonic clock. It exists because a proxy that is cut off while a cutover is
//! armed must stop by itself before the coordinator takes it for dead. What must stay true: a time is taken before the
//! store is asked, so that it is never younger than what the store knows; after a silence both ways must have worked
//! again, so that nobody goes on by a table that is older than the silence.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Times of the last success.
pub(super) struct Contact {
    /// What the times count from.
    base: Instant,
    /// The last heartbeat that was heard, in us after `base`; 0 for never.
    heard_us: AtomicU64,
    /// The last look that saw the newest table.
    looked_us: AtomicU64,
    /// When the table in force was taken.
    took_us: AtomicU64,
}

/// A moment before the store was asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked(u64);

impl Contact {
    pub(super) fn new() -> Self {
        let [heard_us, looked_us, took_us] = [const { AtomicU64::new(0) }; 3];
        Self { base: Instant::now(), heard_us, looked_us, took_us }
    }

    /// To be called before the store is asked.
    pub(super) fn asking(&self) -> Asked {
        Asked(self.now_us())
    }

    /// A heartbeat was heard.
    pub(super) fn heard(&self, asked: Asked) {
        self.heard_us.fetch_max(asked.0, Ordering::AcqRel);
    }

    /// The newest table is in force.
    pub(super) fn looked(&self, asked: Asked) {
        self.looked_us.fetch_max(asked.0, Ordering::AcqRel);
    }

    /// A table was put in force.
    pub(super) fn took(&self) {
        self.took_us.store(self.now_us(), Ordering::Release);
    }

    /// For how long the table in force has been; since the start, when it was there then.
    pub(super) fn table_age(&self) -> Duration {
        let took = self.took_us.load(Ordering::Acquire);
        Duration::from_micros(self.now_us().saturating_sub(took))
    }

    pub(super) fn silence(&self) -> Duration {
        let heard = self.heard_us.load(Ordering::Acquire);
        match heard.min(self.looked_us.load(Ordering::Acquire)) {
            0 => Duration::MAX,
            last => Duration::from_micros(self.now_us().saturating_sub(last)),
        }
    }

    /// Never 0, which stands for never.
    fn now_us(&self) -> u64 {
        u64::try_from(self.base.elapsed().as_micros()).unwrap_or(u64::MAX).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_ends_only_when_both_ways_work() {
        let contact = Contact::new();
        assert_eq!(contact.silence(), Duration::MAX);
        let first = contact.asking();
        contact.heard(first);
        assert_eq!(contact.silence(), Duration::MAX, "the table may still be an old one");
        contact.looked(first);
        let short = contact.silence();
        assert!(short < Duration::from_mins(1), "{short:?}");
        // Only heartbeats go on: the silence grows with the older of the two.
        std::thread::sleep(Duration::from_millis(2));
        contact.heard(contact.asking());
        assert!(contact.silence() >= short + Duration::from_millis(2));
    }

    #[test]
    fn a_late_answer_to_an_earlier_question_does_not_turn_the_time_back() {
        let contact = Contact::new();
        let early = contact.asking();
        std::thread::sleep(Duration::from_millis(2));
        let late = contact.asking();
        for asked in [late, early] {
            contact.heard(asked);
            contact.looked(asked);
        }
        let lower = contact.looked_us.load(Ordering::Acquire);
        assert!(lower == late.0 && late.0 >= early.0 + 2_000);
    }
}
