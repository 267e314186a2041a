//! When this process last reached the control store, and what it said.
//!
//! Owns the times on the process's own monotonic clock. It exists because a proxy that is cut off while a cutover is
//! armed must stop by itself before the coordinator takes it for dead. What must stay true: a time is taken before the
//! store is asked, so that it is never younger than what the store knows; a heartbeat that was left out moves no time;
//! after a silence both ways must have worked again, so that nobody goes on by a table that is older than the silence.

use crate::instance::InstanceReport;
use banyan_domain::ContextName;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
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
    /// What the last heartbeat said; nothing while it is unknown whether it was heard.
    told: Mutex<Option<InstanceReport>>,
}

/// A moment before the store was asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked(u64);

impl Contact {
    pub(super) fn new() -> Self {
        let [heard_us, looked_us, took_us] = [const { AtomicU64::new(0) }; 3];
        Self { base: Instant::now(), heard_us, looked_us, took_us, told: Mutex::default() }
    }

    /// To be called before the store is asked.
    pub(super) fn asking(&self) -> Asked {
        Asked(self.now_us())
    }

    /// To be called before a heartbeat is sent: until it is heard, nobody knows what the store knows.
    pub(super) fn telling(&self) -> Asked {
        *self.told() = None;
        self.asking()
    }

    /// A heartbeat was heard.
    pub(super) fn heard(&self, asked: Asked, report: InstanceReport) {
        *self.told() = Some(report);
        self.heard_us.fetch_max(asked.0, Ordering::AcqRel);
    }

    /// Whether the store heard the same less than `fresh_for` ago. Of the writes on their way only those of contexts
    /// that are `watched` count: the others change all the time, and nobody waits for them.
    pub(super) fn has_told(
        &self,
        report: &InstanceReport,
        watched: impl Fn(&ContextName) -> bool,
        fresh_for: Duration,
    ) -> bool {
        let heard = self.heard_us.load(Ordering::Acquire);
        let fresh = heard > 0 && self.since(heard) < fresh_for;
        let same = |told: &InstanceReport| essence(told, &watched) == essence(report, &watched);
        fresh && self.told().as_ref().is_some_and(same)
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
        self.since(self.took_us.load(Ordering::Acquire))
    }

    pub(super) fn silence(&self) -> Duration {
        let heard = self.heard_us.load(Ordering::Acquire);
        match heard.min(self.looked_us.load(Ordering::Acquire)) {
            0 => Duration::MAX,
            last => self.since(last),
        }
    }

    fn since(&self, us: u64) -> Duration {
        Duration::from_micros(self.now_us().saturating_sub(us))
    }

    /// A poisoned memory is still what was written last.
    fn told(&self) -> MutexGuard<'_, Option<InstanceReport>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Never 0, which stands for never.
    fn now_us(&self) -> u64 {
        u64::try_from(self.base.elapsed().as_micros()).unwrap_or(u64::MAX).max(1)
    }
}

/// What somebody could wait for in a heartbeat.
fn essence(report: &InstanceReport, watched: impl Fn(&ContextName) -> bool) -> InstanceReport {
    let busy = report.in_flight.iter().filter(|(context, count)| **count > 0 && watched(context));
    let in_flight = busy.map(|(context, count)| (context.clone(), *count)).collect();
    InstanceReport { in_flight, in_flight_writes: 0, ..report.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use banyan_domain::Generation;
    use std::collections::BTreeMap;

    #[test]
    fn silence_ends_only_when_both_ways_work() {
        let contact = Contact::new();
        assert_eq!(contact.silence(), Duration::MAX);
        let first = contact.asking();
        contact.heard(first, InstanceReport::default());
        assert_eq!(contact.silence(), Duration::MAX, "the table may still be an old one");
        contact.looked(first);
        let short = contact.silence();
        assert!(short < Duration::from_mins(1), "{short:?}");
        // Only heartbeats go on: the silence grows with the older of the two.
        std::thread::sleep(Duration::from_millis(2));
        contact.heard(contact.telling(), InstanceReport::default());
        assert!(contact.silence() >= short + Duration::from_millis(2));
    }

    #[test]
    fn a_late_answer_to_an_earlier_question_does_not_turn_the_time_back() {
        let contact = Contact::new();
        let early = contact.asking();
        std::thread::sleep(Duration::from_millis(2));
        let late = contact.asking();
        for asked in [late, early] {
            contact.heard(asked, InstanceReport::default());
            contact.looked(asked);
        }
        let lower = contact.looked_us.load(Ordering::Acquire);
        assert!(lower == late.0 && late.0 >= early.0 + 2_000);
    }

    fn name(text: &str) -> ContextName {
        ContextName::new(text).unwrap()
    }

    fn report(applied: u64, busy: &[(&str, u64)]) -> InstanceReport {
        let in_flight: BTreeMap<_, _> = busy.iter().map(|(text, n)| (name(text), *n)).collect();
        InstanceReport {
            applied: Generation(applied),
            in_flight_writes: in_flight.values().sum(),
            in_flight,
            ..InstanceReport::default()
        }
    }

    #[test]
    fn only_what_nobody_waits_for_need_not_be_told_again() {
        let contact = Contact::new();
        let armed = |context: &ContextName| *context == name("messages");
        let told = |report: &InstanceReport| contact.has_told(report, armed, Duration::MAX);
        let said = report(5, &[("messages", 2), ("tracks", 7)]);
        assert!(!told(&said), "nothing was ever heard");
        contact.heard(contact.telling(), said.clone());
        assert!(told(&said));
        assert!(told(&report(5, &[("messages", 2), ("tracks", 8)])), "nobody waits for `tracks`");
        assert!(!told(&report(6, &[("messages", 2)])), "an acknowledgement");
        assert!(!told(&report(5, &[("messages", 1)])) && !told(&report(5, &[])), "a drain");
        assert!(!told(&InstanceReport { detail: "behind".to_owned(), ..said.clone() }));
        contact.heard(contact.telling(), report(5, &[]));
        assert!(told(&report(5, &[("messages", 0)])), "none is none");
    }

    #[test]
    fn what_may_not_have_been_heard_or_was_heard_long_ago_is_told_again() {
        let contact = Contact::new();
        let said = report(5, &[]);
        let told = |fresh_for| contact.has_told(&said, |_| true, fresh_for);
        contact.heard(contact.telling(), said.clone());
        assert!(told(Duration::MAX) && !told(Duration::ZERO));
        std::thread::sleep(Duration::from_millis(5));
        assert!(!told(Duration::from_millis(5)));
        // A heartbeat fails, or its answer is lost.
        let asked = contact.telling();
        assert!(!told(Duration::MAX));
        contact.heard(asked, said.clone());
        assert!(told(Duration::MAX));
    }

    #[test]
    fn a_heartbeat_that_is_left_out_does_not_end_a_silence() {
        let contact = Contact::new();
        let first = contact.telling();
        contact.heard(first, report(5, &[]));
        std::thread::sleep(Duration::from_millis(3));
        contact.looked(contact.asking());
        assert!(contact.has_told(&report(5, &[]), |_| true, Duration::MAX));
        assert!(contact.silence() >= Duration::from_millis(3));
    }
}
