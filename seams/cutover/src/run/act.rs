//! Doing one step: which port it is, and what its answer means.
//!
//! What must stay true: a step counts as done only after its port said so; before the decision an error gives the
//! switch up, after it and on the way back it is tried again.

use std::time::Duration;

use crate::decide::Next;
use crate::memo::{Ending, GiveUp};
use crate::ports::{Check, CheckVerdict, FenceChange, PortError, Record, RecordOutcome};
use crate::run::{Cutover, Notice};
use crate::stage::Seen;
use crate::step::Step;
use crate::switch::Switch;

/// What a port's answer means.
enum Outcome {
    /// Done; what it did.
    Done(String),
    /// Not done yet, and worth another try.
    Again(String),
    /// Somebody else was there first; the next reading tells.
    Overtaken(String),
    /// It says no for good.
    No(GiveUp),
}

impl Cutover<'_> {
    /// Does a step. `Some` when it can never be done.
    pub(super) async fn act(&mut self, step: Step, switch: Switch, seen: &Seen) -> Option<Ending> {
        self.memo.begin(self.order.intent, step, switch);
        self.watch.notice(&Notice::Begin { step, switch });
        let started = self.ports.now_ms();
        let outcome =
            self.call(step, &switch, seen).await.unwrap_or_else(|error| failed(step, &error));
        let now = self.ports.now_ms();
        let elapsed_ms = now.saturating_sub(started);
        self.summary.add(step, elapsed_ms);
        let (outcome, word, detail) = match outcome {
            Outcome::Done(detail) => (None, RecordOutcome::Done, detail),
            Outcome::Again(why) => (Some(self.limit(step)), RecordOutcome::Retried, why),
            Outcome::Overtaken(why) => (Some(self.limits.retry_max), RecordOutcome::Overtaken, why),
            Outcome::No(reason) => {
                let detail = reason.to_string();
                self.give_up(reason);
                (None, RecordOutcome::Failed, detail)
            }
        };
        if word == RecordOutcome::Done {
            self.times(step, now, seen);
            self.memo.finish(step);
            self.went_on();
            self.watch.notice(&Notice::Done { step, detail: detail.clone(), elapsed_ms });
        } else if word != RecordOutcome::Failed {
            self.watch.notice(&Notice::Again { step, reason: detail.clone() });
        }
        // A step that is tried again every few ms is one line of the audit, not thousands.
        if word != RecordOutcome::Retried || self.last_reason != detail {
            let line = Record { switch, step, outcome: word, detail: detail.clone(), elapsed_ms };
            self.record(line).await;
        }
        match outcome {
            Some(limit) => self.stuck(detail, limit, seen).await,
            None if word == RecordOutcome::Done => {
                self.ports.done(step).await;
                None
            }
            None => None,
        }
    }

    /// How long a step is repeated.
    fn limit(&self, step: Step) -> Duration {
        match step {
            Step::Settle => self.limits.events_max,
            // The age of the hold ends these in the decision; this is the same for a wild clock.
            Step::Close | Step::Drain | Step::Hold | Step::Quiet => self.limits.hold_max * 2,
            Step::Preflight
            | Step::CatchUp
            | Step::Arm
            | Step::Verify
            | Step::Sequences
            | Step::OpenMarker
            | Step::Commit
            | Step::Route
            | Step::Reverse
            | Step::Seal
            | Step::Events
            | Step::Bar
            | Step::Reopen
            | Step::Disarm
            | Step::Void => self.limits.retry_max,
        }
    }

    async fn call(
        &mut self,
        step: Step,
        switch: &Switch,
        seen: &Seen,
    ) -> Result<Outcome, PortError> {
        if step.fence_move(switch).is_some() {
            return self.fence(step, switch).await;
        }
        if let Some(wanted) = step.route_move() {
            let done = self.ports.change_route(switch, wanted, self.limits.ack_max).await?;
            // The lease rule holds only for a proxy that knows of the switch.
            if matches!(step, Step::Arm | Step::Hold) && !done.missing.is_empty() {
                return Ok(Outcome::No(GiveUp::Proxies(done.missing)));
            }
            if step == Step::Route {
                self.summary.behind.clone_from(&done.missing);
            }
            let (applied, of, ms) = (done.applied, done.of, done.elapsed_ms);
            return Ok(Outcome::Done(format!("applied on {applied}/{of} proxies in {ms} ms")));
        }
        if let Some((side, kind)) = step.marker(switch) {
            self.ports.put_marker(side, kind, switch.epoch).await?;
            return Ok(Outcome::Done(format!("in the raw queue of {side}")));
        }
        self.data(step, switch, self.hold_left(seen)).await
    }

    /// The steps that are neither fence nor route nor marker.
    async fn data(
        &mut self,
        step: Step,
        switch: &Switch,
        left: Duration,
    ) -> Result<Outcome, PortError> {
        match step {
            Step::Preflight => {
                let checks = self.ports.preflight(switch).await?;
                Ok(self.checked(checks))
            }
            Step::CatchUp => {
                let done = self.ports.catch_up(switch, self.limits.catch_up_max).await?;
                self.summary.caught_up_rows += done.rows;
                let said = done.to_string();
                Ok(conflicts(done.conflicts).unwrap_or(Outcome::Done(said)))
            }
            Step::Drain => {
                let done = self.ports.drain(switch, left).await?;
                self.summary.drained_rows += done.rows;
                let (said, is_over) = (done.to_string(), done.pending == 0);
                Ok(conflicts(done.conflicts).unwrap_or(if is_over {
                    Outcome::Done(said)
                } else {
                    Outcome::Again(said)
                }))
            }
            Step::Verify => {
                let done = self.ports.verify(switch, left).await?;
                self.summary.verified += done.checked;
                if !done.equal {
                    return Ok(Outcome::No(GiveUp::Differ(done.differing)));
                }
                Ok(Outcome::Done(format!("{} aggregates are equal", done.checked)))
            }
            Step::Sequences => {
                let raised = self.ports.raise_sequences(switch).await?;
                Ok(Outcome::Done(format!("{raised} sequences raised")))
            }
            Step::Reverse => {
                self.ports.turn_sync(switch).await?;
                Ok(Outcome::Done(format!("the sync runs {} -> {}", switch.to(), switch.from)))
            }
            Step::Settle => {
                let left = self.ports.unpublished(switch.from).await?;
                let said = format!("{left} events of {} are not published yet", switch.from);
                Ok(if left == 0 { Outcome::Done(said) } else { Outcome::Again(said) })
            }
            // These have no port of their own: they are waited for.
            Step::Arm
            | Step::Hold
            | Step::Quiet
            | Step::Close
            | Step::OpenMarker
            | Step::Commit
            | Step::Route
            | Step::Seal
            | Step::Events
            | Step::Bar
            | Step::Reopen
            | Step::Disarm
            | Step::Void => Ok(Outcome::Overtaken("nothing to do".to_owned())),
        }
    }

    async fn fence(&mut self, step: Step, switch: &Switch) -> Result<Outcome, PortError> {
        let Some((side, wanted)) = step.fence_move(switch) else {
            return Ok(Outcome::Overtaken("nothing to do".to_owned()));
        };
        match self.ports.change_fence(side, wanted, self.limits.lock_wait).await? {
            FenceChange::Done(now) => {
                self.memo.blocked.clear();
                let (state, epoch) = (now.state.as_str(), now.epoch);
                Ok(Outcome::Done(format!("the fence of {side} is {state} at epoch {epoch}")))
            }
            FenceChange::NotApplicable(now) => {
                let (state, epoch) = (now.state.as_str(), now.epoch);
                Ok(Outcome::Overtaken(format!(
                    "the fence of {side} was {state} at epoch {epoch} already"
                )))
            }
            FenceChange::Blocked { by } => {
                let named =
                    if by.is_empty() { "unknown sessions".to_owned() } else { by.join(", ") };
                self.memo.blocked = by;
                Ok(Outcome::Again(format!("the fence of {side} is locked by {named}")))
            }
        }
    }

    fn checked(&mut self, checks: Vec<Check>) -> Outcome {
        let stops = |check: &&Check| match check.verdict {
            CheckVerdict::Ok | CheckVerdict::Warn => false,
            CheckVerdict::Fail => !self.order.force,
            CheckVerdict::Never => true,
        };
        let stopping: Vec<String> =
            checks.iter().filter(stops).map(|check| check.name.clone()).collect();
        self.watch.notice(&Notice::Checked { checks: checks.clone() });
        let count = checks.len();
        self.summary.checks = checks;
        if stopping.is_empty() {
            return Outcome::Done(format!("{count} checks"));
        }
        Outcome::No(GiveUp::NotReady(stopping))
    }

    /// What is left of the hold.
    fn hold_left(&self, seen: &Seen) -> Duration {
        let held = seen.route.as_ref().filter(|route| route.holding);
        let age = held.map_or(0, |route| seen.now_ms.abs_diff(route.changed_ms));
        self.limits.hold_max.saturating_sub(Duration::from_millis(age))
    }

    fn times(&mut self, step: Step, now: u64, seen: &Seen) {
        match step {
            Step::Hold => self.summary.held(now),
            Step::Route | Step::Disarm => self.summary.released(now),
            Step::Close => {
                let route = seen.route.as_ref();
                self.summary.in_flight_at_close = route.map_or(0, |route| route.in_flight);
            }
            Step::Preflight
            | Step::CatchUp
            | Step::Arm
            | Step::Quiet
            | Step::Drain
            | Step::Verify
            | Step::Sequences
            | Step::OpenMarker
            | Step::Commit
            | Step::Reverse
            | Step::Settle
            | Step::Seal
            | Step::Events
            | Step::Bar
            | Step::Reopen
            | Step::Void => {}
        }
    }

    /// Something that was waited for is there.
    pub(super) async fn mark(&mut self, step: Step, switch: Switch) {
        self.memo.begin(self.order.intent, step, switch);
        self.memo.finish(step);
        self.summary.add(step, 0);
        let elapsed_ms = self.summary.elapsed_ms(step);
        let (outcome, detail) = (RecordOutcome::Done, String::new());
        self.watch.notice(&Notice::Done { step, detail: detail.clone(), elapsed_ms });
        self.record(Record { switch, step, outcome, detail, elapsed_ms }).await;
        self.ports.done(step).await;
    }

    /// A wait is over when something else comes next; its time is that of the step that waited.
    pub(super) fn end_wait(&mut self, next: &Next, seen: &Seen) {
        let Some((step, since)) = self.waiting else { return };
        if matches!(next, Next::Wait(waiting) if waiting.step() == step) {
            return;
        }
        self.waiting = None;
        self.went_on();
        if let Some(step) = step {
            self.summary.add(step, seen.now_ms.saturating_sub(since));
        }
    }

    async fn record(&mut self, record: Record) {
        if let Err(error) = self.ports.record(&record).await {
            self.summary.not_recorded += 1;
            self.watch.notice(&Notice::NotRecorded { reason: error.to_string() });
        }
    }
}

fn conflicts(found: Vec<String>) -> Option<Outcome> {
    (!found.is_empty()).then_some(Outcome::No(GiveUp::Conflicts(found)))
}

/// Before the decision an error gives the switch up. That the decision's own reply was lost changes nothing about it:
/// the next reading says whether it was taken, and then nothing is given up any more.
fn failed(step: Step, error: &PortError) -> Outcome {
    if step.failure_gives_up() {
        return Outcome::No(GiveUp::Failed { step, reason: error.to_string() });
    }
    Outcome::Again(error.to_string())
}
