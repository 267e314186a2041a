//! Requests that no endpoint covers, on their way to templates.
//!
//! Owns the hand-over from the proxy and the collection. It exists so that the endpoints that nobody declared become known
//! without anyone reading logs. What must stay true: the proxy pays a few atomic operations per request and a copy of
//! the target for at most [`PER_SECOND`] of them; nothing waits; whatever is not looked at is counted; the raw target is
//! kept in memory until it is in the trie, never longer.

use crate::advice::Sums;
use banyan_template::{Limits, Pin, Seen, StatusClass, Templates};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;

/// Requests per second that are looked at; the others are counted as `passed_over`.
const PER_SECOND: u64 = 200;
/// Requests that may wait for the next save of the tally.
const WAITING_MAX: usize = 1_024;
/// Longest target that is looked at.
const TARGET_MAX: usize = 2_048;
/// Templates are counted anew at most this often, in ms ...
const TAKE_EVERY_MS: u64 = 2_000;
/// ... and less often once there are many nodes, because it copies them.
const TAKE_LARGE_EVERY_MS: u64 = 30_000;
const LARGE_NODES: usize = 2_000;

/// One answered request that no endpoint covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undeclared {
    /// The method.
    pub method: String,
    /// Path and query as they came. Not redacted: in memory only.
    pub target: String,
    /// The status of the answer.
    pub status: u16,
    /// `Content-Type` of the answer, empty when it had none.
    pub content_type: String,
}

/// The proxy's end.
#[derive(Clone)]
pub(crate) struct Intake {
    shared: Arc<Shared>,
    sender: mpsc::Sender<Undeclared>,
}

struct Shared {
    second: AtomicU64,
    used: AtomicU64,
    passed_over: AtomicU64,
}

/// The collecting end.
pub(crate) struct Collector {
    shared: Arc<Shared>,
    receiver: mpsc::Receiver<Undeclared>,
    templates: Templates,
    dirty: bool,
    taken_ms: u64,
}

pub(crate) fn channel() -> (Intake, mpsc::Receiver<Undeclared>) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let zero = || AtomicU64::new(0);
    let shared = Arc::new(Shared { second: zero(), used: zero(), passed_over: zero() });
    (Intake { shared, sender }, receiver)
}

impl Intake {
    /// Whether another request is looked at in this second; one that is not is counted.
    pub(crate) fn wants(&self, now_ms: u64) -> bool {
        let second = now_ms / 1_000;
        if self.shared.second.swap(second, Ordering::Relaxed) != second {
            self.shared.used.store(0, Ordering::Relaxed);
        }
        let wanted = self.shared.used.fetch_add(1, Ordering::Relaxed) < PER_SECOND;
        if !wanted {
            self.pass_over();
        }
        wanted
    }

    pub(crate) fn offer(&self, request: Undeclared) {
        if request.target.len() > TARGET_MAX || self.sender.try_send(request).is_err() {
            self.pass_over();
        }
    }

    fn pass_over(&self) {
        self.shared.passed_over.fetch_add(1, Ordering::Relaxed);
    }

    /// The other end, with the templates that are given.
    pub(crate) fn collector(
        &self,
        receiver: mpsc::Receiver<Undeclared>,
        pins: Vec<Pin>,
    ) -> Collector {
        Collector {
            shared: self.shared.clone(),
            receiver,
            templates: Templates::new(Limits::default(), pins),
            dirty: false,
            taken_ms: 0,
        }
    }
}

impl Collector {
    /// Takes in what waits.
    pub(crate) fn collect(&mut self) {
        while let Ok(request) = self.receiver.try_recv() {
            let seen = Seen {
                method: &request.method,
                target: &request.target,
                status: StatusClass::of(request.status),
                media: &request.content_type,
            };
            self.templates.see(&seen, 1);
            self.dirty = true;
        }
    }

    /// Whether it is time to count.
    pub(crate) fn is_due(&self, now_ms: u64) -> bool {
        let large = self.templates.nodes() >= LARGE_NODES;
        let every = if large { TAKE_LARGE_EVERY_MS } else { TAKE_EVERY_MS };
        self.dirty && now_ms.saturating_sub(self.taken_ms) >= every
    }

    /// Adds what was counted since the last time.
    pub(crate) fn take(&mut self, now_ms: u64, sums: &mut Sums) {
        let (templates, lost) = self.templates.take();
        let passed_over = self.shared.passed_over.swap(0, Ordering::Relaxed);
        sums.templates(now_ms, templates, lost, passed_over);
        self.dirty = false;
        self.taken_ms = now_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(target: &str) -> Undeclared {
        let (method, content_type) = ("GET".to_owned(), "text/html; charset=utf-8".to_owned());
        Undeclared { method, target: target.to_owned(), status: 200, content_type }
    }

    #[test]
    fn requests_become_templates_without_values() {
        let (intake, receiver) = channel();
        let mut collector = intake.collector(receiver, Vec::new());
        for n in 0..7 {
            intake.offer(request(&format!("/users/{n}/messages?page={n}&token=secret{n}")));
            intake.offer(request("/session/form"));
        }
        intake.offer(request(&"/x".repeat(TARGET_MAX)));
        collector.collect();
        assert!(collector.is_due(5_000));
        let mut sums = Sums::default();
        collector.take(5_000, &mut sums);
        let advice = sums.rows();
        let shown: Vec<String> = advice
            .templates
            .iter()
            .map(|t| format!("{}?{} {}", t.path, t.query, t.count))
            .collect();
        assert_eq!(shown, ["/session/form? 7", "/users/{int}/messages?page&token 7"]);
        assert!(!format!("{advice:?}").contains("secret"));
        assert_eq!(advice.lost.len(), 1);
        assert!(!collector.is_due(60_000), "nothing new");
    }

    #[test]
    fn only_so_many_per_second_are_looked_at_and_the_others_are_counted() {
        let (intake, receiver) = channel();
        let mut collector = intake.collector(receiver, Vec::new());
        let wanted = (0..1_000).filter(|_| intake.wants(7_300)).count();
        assert_eq!(wanted, 200);
        assert!(intake.wants(8_000), "the next second");
        let mut sums = Sums::default();
        collector.take(9_000, &mut sums);
        assert_eq!(
            (sums.rows().lost[0].reason.as_str(), sums.rows().lost[0].count),
            ("passed_over", 800)
        );
    }

    #[test]
    fn a_full_queue_passes_over_and_never_waits() {
        let (intake, receiver) = channel();
        for _ in 0..WAITING_MAX + 5 {
            intake.offer(request("/x"));
        }
        let mut collector = intake.collector(receiver, Vec::new());
        collector.collect();
        let mut sums = Sums::default();
        collector.take(1_000, &mut sums);
        assert_eq!(sums.rows().lost[0].count, 5);
    }
}
