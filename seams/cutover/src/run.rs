//! The loop of one run: read, decide, act, record.
//!
//! Owns [`Cutover`], which an operator's command starts, and the reading of the world. It exists once for cutover,
//! rollback, resume, abort and dry run. What must stay true: after each act everything is read again; an error is
//! never taken for "it did not happen"; the loop ends, because every wait and every repetition has a limit.

mod act;
mod report;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use banyan_domain::Side;
use futures_util::future::join3;

use crate::decide::{Next, decide};
use crate::fence::Fence;
use crate::limits::Limits;
use crate::memo::{Ending, GiveUp, Intent, Memo, Waiting};
use crate::ports::{PortError, Ports};
use crate::stage::{Events, Seen};
use crate::step::Step;
use crate::switch::Switch;

pub use report::{Notice, StepTime, Summary, Watch};

/// How often contradicting readings are read again before a run believes them.
const BROKEN_READINGS: u32 = 3;
/// Readings of both fences that differ are repeated so often.
const TORN_READINGS: u32 = 20;

/// What an operator orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// What he wants.
    pub intent: Intent,
    /// Whether failed checks are overridden, except those that nothing overrides.
    pub force: bool,
}

/// One run of the protocol.
pub struct Cutover<'a> {
    ports: &'a dyn Ports,
    limits: Limits,
    order: Order,
    abort: &'a AtomicBool,
    watch: &'a mut dyn Watch,
    memo: Memo,
    summary: Summary,
    /// Since when nothing went on, by the clock of the ports.
    stuck_since: Option<u64>,
    last_reason: String,
    /// What is waited for, no step for something unreachable, and since when.
    waiting: Option<(Option<Step>, u64)>,
    poll: Duration,
    broken: u32,
}

impl<'a> Cutover<'a> {
    /// A run with an empty memory. `abort` may be set by anybody, at any time: what is not decided is then given up.
    pub fn new(
        ports: &'a dyn Ports,
        limits: Limits,
        order: Order,
        abort: &'a AtomicBool,
        watch: &'a mut dyn Watch,
    ) -> Self {
        Self {
            ports,
            limits,
            order,
            abort,
            watch,
            memo: Memo::default(),
            summary: Summary::default(),
            stuck_since: None,
            last_reason: String::new(),
            waiting: None,
            poll: limits.poll,
            broken: 0,
        }
    }

    /// Runs to an end.
    pub async fn run(mut self) -> (Ending, Summary) {
        let ending = loop {
            let seen = observe(self.ports).await;
            if let Some(ending) = self.turn(&seen).await {
                break ending;
            }
        };
        self.summary.end(self.memo.mine, self.ports.now_ms());
        self.watch.notice(&Notice::Ended { ending: ending.clone() });
        (ending, self.summary)
    }

    /// What one reading leads to. After a step that changes nothing the same reading still counts.
    async fn turn(&mut self, seen: &Seen) -> Option<Ending> {
        loop {
            if self.abort.load(Ordering::Relaxed) {
                self.memo.give_up(GiveUp::Requested);
            }
            let next = decide(self.order.intent, &self.memo, seen, &self.limits);
            self.end_wait(&next, seen);
            match next {
                Next::Do(step, switch) if step.is_mark() => self.mark(step, switch).await,
                Next::Do(step, switch) => return self.act(step, switch, seen).await,
                Next::GiveUp(reason) => self.give_up(reason),
                Next::Wait(waiting) => return self.wait(waiting, seen).await,
                Next::End(Ending::Broken(why)) => return self.broken(why, seen).await,
                Next::End(ending) => return Some(ending),
            }
        }
    }

    fn give_up(&mut self, reason: GiveUp) {
        self.watch.notice(&Notice::GivingUp { reason: reason.clone() });
        self.memo.give_up(reason);
        self.went_on();
    }

    async fn wait(&mut self, waiting: Waiting, seen: &Seen) -> Option<Ending> {
        let now = self.ports.now_ms();
        let reason = waiting.to_string();
        self.waiting.get_or_insert((waiting.step(), now));
        let limit = match &waiting {
            // Nothing was begun and it is no outage: the operator should know at once.
            Waiting::Unreachable(_) if seen.refused && self.memo.mine.is_none() => Duration::ZERO,
            Waiting::Unreachable(_) => self.limits.retry_max,
            // These are bounded by the age of the entry, in the decision itself; this is the same for a wild clock.
            Waiting::Proxies { .. } => self.limits.ack_max * 2,
            Waiting::Quiet { .. } => self.limits.quiet_max * 2,
            Waiting::Settle { left } => *left + self.limits.settle,
            Waiting::Events { .. } => self.limits.events_max,
        };
        self.watch.notice(&Notice::Waiting { reason: reason.clone() });
        self.stuck(reason, limit, seen).await
    }

    /// Nothing went on: pause, and after the limit end with what is missing.
    async fn stuck(&mut self, reason: String, limit: Duration, seen: &Seen) -> Option<Ending> {
        let now = self.ports.now_ms();
        self.last_reason = reason;
        let since = *self.stuck_since.get_or_insert(now);
        if Duration::from_millis(now.saturating_sub(since)) >= limit {
            let (switch, decided) = (self.memo.mine, decided(self.memo.mine, seen));
            let reason = self.last_reason.clone();
            return Some(Ending::Interrupted { switch, decided, reason });
        }
        self.ports.pause(self.poll).await;
        self.poll = (self.poll * 2).min(self.limits.poll_max);
        None
    }

    fn went_on(&mut self) {
        self.stuck_since = None;
        self.poll = self.limits.poll;
        self.broken = 0;
    }

    async fn broken(&mut self, why: &'static str, seen: &Seen) -> Option<Ending> {
        self.broken += 1;
        if self.broken >= BROKEN_READINGS {
            return Some(Ending::Broken(why));
        }
        self.stuck(why.to_owned(), self.limits.retry_max, seen).await
    }
}

/// Reads everything: the route table before the fences, so that it is never ahead of them.
pub async fn observe(ports: &dyn Ports) -> Seen {
    let mut not = NotRead::default();
    let (route, events, legacy) =
        join3(ports.route(), ports.standing(), ports.fence(Side::Legacy)).await;
    let route = not.keep(route);
    let (legacy, new) = fences(ports, legacy, &mut not).await;
    let events = match not.keep(events) {
        None => Events::Unknown,
        Some(None) => Events::None,
        Some(Some(standing)) => Events::Standing(standing),
    };
    let NotRead { unreachable, refused } = not;
    Seen { legacy, new, route, events, now_ms: ports.now_ms(), unreachable, refused }
}

/// Both fences as they were at one moment: legacy's is read before and after the other and must be the same. It can
/// only have changed and changed back by being closed and reopened, and then the other side was not open. The moment
/// is that of the other side's reading, which is after the route table's.
async fn fences(
    ports: &dyn Ports,
    mut before: Result<Fence, PortError>,
    not: &mut NotRead,
) -> (Option<Fence>, Option<Fence>) {
    let mut new = ports.fence(Side::New).await;
    for _ in 0..TORN_READINGS {
        let (Ok(first), Ok(_)) = (&before, &new) else { break };
        match ports.fence(Side::Legacy).await {
            Ok(after) if after == *first => return (Some(after), new.ok()),
            after => before = after,
        }
        new = ports.fence(Side::New).await;
    }
    let torn = before.is_ok() && new.is_ok();
    let (legacy, new) = (not.keep(before), not.keep(new));
    if torn {
        not.unreachable.push("the fences change faster than they can be read".to_owned());
        return (None, None);
    }
    (legacy, new)
}

/// What could not be read.
#[derive(Default)]
struct NotRead {
    unreachable: Vec<String>,
    refused: bool,
}

impl NotRead {
    fn keep<T>(&mut self, read: Result<T, PortError>) -> Option<T> {
        let error = match read {
            Ok(read) => return Some(read),
            Err(error) => error,
        };
        self.refused |= !error.is_retryable();
        self.unreachable.push(error.to_string());
        None
    }
}

/// Whether the switch is decided, as far as the fences say.
fn decided(switch: Option<Switch>, seen: &Seen) -> Option<bool> {
    let switch = switch?;
    let (from, to) = (seen.fence(switch.from), seen.fence(switch.to()));
    match (from, to) {
        (_, Some(to)) => Some(to.is_open() && to.epoch >= switch.epoch),
        (Some(from), None) if from.is_open() => Some(false),
        (Some(_) | None, None) => None,
    }
}
