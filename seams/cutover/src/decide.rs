//! What to do next: a pure function of what is wanted, what was read and the limits.
//!
//! Owns [`decide`] and the memory of one run, [`Memo`]. It exists so that the driver, the dry run, the simulation and
//! the model check take the same decisions. What must stay true: an empty memo is always right, it only repeats what
//! was done; before the decision anything that is not as it must be gives the switch up; after it nothing goes back.

use std::time::Duration;

use banyan_domain::{Epoch, Side};

use crate::fence::{Fence, FenceState};
use crate::limits::Limits;
use crate::memo::{Ending, GiveUp, Intent, Memo, Waiting};
use crate::ports::Route;
use crate::stage::{Events, Seen, Stage};
use crate::step::Step;
use crate::switch::Switch;

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Next {
    /// Do a step of a switch, then read again.
    Do(Step, Switch),
    /// Remember that the switch is given up, then decide again.
    GiveUp(GiveUp),
    /// Wait, then read again.
    Wait(Waiting),
    /// Nothing is left to do.
    End(Ending),
}

/// Decides. The same question gets the same answer, whoever asks.
pub fn decide(intent: Intent, memo: &Memo, seen: &Seen, limits: &Limits) -> Next {
    let now = Now { intent, memo, seen, limits };
    match seen.stage(memo.mine) {
        Stage::Steady { owner, epoch } => now.steady(owner, epoch),
        Stage::Announced(switch) => now.announced(switch),
        Stage::Closed(switch) => now.closed(switch),
        Stage::Leftover(switch) => Next::Do(Step::Disarm, switch),
        Stage::GivenUp(switch) => Next::Do(Step::Reopen, switch),
        Stage::Decided(switch) if intent == Intent::Abort => Next::End(Ending::TooLate(switch)),
        Stage::Decided(switch) => Next::Do(Step::Route, switch),
        Stage::Unclear => Next::Wait(Waiting::Unreachable(seen.unreachable.clone())),
        Stage::Broken(why) => Next::End(Ending::Broken(why)),
    }
}

struct Now<'a> {
    intent: Intent,
    memo: &'a Memo,
    seen: &'a Seen,
    limits: &'a Limits,
}

impl Now<'_> {
    /// Before the owner is closed: nothing but the proxies knows of the switch.
    fn announced(&self, switch: Switch) -> Next {
        if let Some(end) = self.not_mine(switch) {
            return end;
        }
        let Some(route) = &self.seen.route else {
            return Next::Wait(Waiting::Unreachable(self.seen.unreachable.clone()));
        };
        if self.gives_up() {
            return Next::Do(Step::Disarm, switch);
        }
        if self.seen.fence(switch.to()).is_none() {
            return Next::GiveUp(GiveUp::Unreachable(self.seen.unreachable.clone()));
        }
        let age = self.age(route);
        match (route.holding, route.missing.is_empty()) {
            (false, true) => Next::Do(Step::Hold, switch),
            (false, false) if age < self.limits.ack_max => wait_for_proxies(Step::Arm, route),
            (true, _) if age >= self.limits.hold_max => self.held_too_long(age),
            (true, false) if age < self.limits.ack_max => wait_for_proxies(Step::Hold, route),
            (_, false) => Next::GiveUp(GiveUp::Proxies(route.missing.clone())),
            (true, true) if route.in_flight == 0 && self.memo.has(switch, Step::Quiet) => {
                Next::Do(Step::Close, switch)
            }
            (true, true) if route.in_flight == 0 => Next::Do(Step::Quiet, switch),
            (true, true) if age < self.limits.quiet_max => {
                Next::Wait(Waiting::Quiet { in_flight: route.in_flight })
            }
            // A client that sends its body for minutes must not stop a rollback: the fence waits for what has begun to write
            // and refuses the rest.
            (true, true) if switch.to() == Side::Legacy => Next::Do(Step::Close, switch),
            (true, true) => Next::GiveUp(GiveUp::Busy { in_flight: route.in_flight }),
        }
    }

    /// The owner is closed and the target can still be opened or barred.
    fn closed(&self, switch: Switch) -> Next {
        if let Some(end) = self.not_mine(switch) {
            return end;
        }
        if self.gives_up() {
            return Next::Do(Step::Bar, switch);
        }
        let Some(route) = &self.seen.route else {
            return Next::GiveUp(GiveUp::Unreachable(self.seen.unreachable.clone()));
        };
        if route.armed != Some(switch.epoch) || !route.holding {
            return Next::GiveUp(GiveUp::Released);
        }
        let age = self.age(route);
        if age >= self.limits.hold_max {
            return self.held_too_long(age);
        }
        let markers = self.seen.events != Events::None;
        let todo = [Step::Drain, Step::Verify, Step::Sequences, Step::OpenMarker]
            .into_iter()
            .find(|step| !self.memo.has(switch, *step) && (*step != Step::OpenMarker || markers));
        Next::Do(todo.unwrap_or(Step::Commit), switch)
    }

    /// One owner, and no switch under way: finish the last one, then begin what is wanted, or end.
    fn steady(&self, owner: Side, epoch: Epoch) -> Next {
        if let Some(void) = self.void(owner, epoch) {
            return void;
        }
        let other = self.seen.fence(owner.other());
        let last = Switch { from: owner.other(), epoch, back_to: epoch };
        let last = (other == Some(Fence::new(FenceState::Draining, epoch))).then_some(last);
        if let Some(unfinished) = last.and_then(|last| self.finish(last)) {
            return unfinished;
        }
        match self.intent {
            Intent::Start { to } if to != owner => self.begin(owner, epoch),
            Intent::Start { .. } | Intent::Resume | Intent::Abort => self.end(owner, epoch),
        }
    }

    /// `void(e)` is due when the target is barred and the forwarder has not acted on it. It is put again rather than
    /// once too little; nobody waits for it.
    fn void(&self, owner: Side, epoch: Epoch) -> Option<Next> {
        let barred = self.seen.fence(owner.other())?;
        if barred.state != FenceState::Barred {
            return None;
        }
        let switch = Switch { from: owner, epoch: barred.epoch, back_to: epoch };
        let due = match self.seen.events {
            Events::None => false,
            Events::Unknown => self.memo.mine.is_some_and(|mine| mine.epoch == barred.epoch),
            Events::Standing(known) => known.voided < barred.epoch && known.epoch < barred.epoch,
        };
        (due && !self.memo.has(switch, Step::Void)).then_some(Next::Do(Step::Void, switch))
    }

    /// What is left of the switch that made the owner: the reverse sync, and the end of the last owner's events. Who
    /// wants to go on to another switch only has to put the marker, which must come before the next ones.
    fn finish(&self, last: Switch) -> Option<Next> {
        let route = self.seen.route.as_ref()?;
        let mine = self.memo.mine.is_some_and(|mine| mine.epoch == last.epoch);
        let goes_on = !mine && matches!(self.intent, Intent::Start { to } if to == last.from);
        let behind = match self.seen.events {
            Events::None => false,
            Events::Unknown => true,
            Events::Standing(known) => known.epoch < last.epoch,
        };
        let opened = self.seen.standing().is_none_or(|known| known.opened);
        if self.intent == Intent::Abort {
            // Nothing to give up, and yet not nothing to do: the last owner's events still need their end.
            let left = self.seen.standing().is_some() && (behind || !opened);
            return left.then_some(Next::End(Ending::TooLate(last)));
        }
        if mine && !route.missing.is_empty() && self.age(route) < self.limits.ack_max {
            return Some(wait_for_proxies(Step::Route, route));
        }
        // A step that vouches for equal sides is not done on suspicion: only by the run that named the owner, or where
        // it is known that the switch was left unfinished. Without it the sync turns as well, and compares more.
        let left = behind && self.seen.standing().is_some();
        let turns = !goes_on && (left || self.memo.has(last, Step::Route));
        if turns && !self.memo.has(last, Step::Reverse) {
            return Some(Next::Do(Step::Reverse, last));
        }
        if behind && !self.memo.has(last, Step::Seal) {
            return Some(self.seal(last, route));
        }
        if goes_on {
            return None;
        }
        if behind || !opened {
            return Some(Next::Wait(Waiting::Events { epoch: last.epoch }));
        }
        let passed = mine && self.seen.events != Events::None;
        (passed && !self.memo.has(last, Step::Events)).then_some(Next::Do(Step::Events, last))
    }

    fn seal(&self, last: Switch, route: &Route) -> Next {
        let left = self.limits.settle.saturating_sub(self.age(route));
        if !left.is_zero() {
            return Next::Wait(Waiting::Settle { left });
        }
        let published = self.memo.has(last, Step::Settle);
        Next::Do(if published { Step::Seal } else { Step::Settle }, last)
    }

    /// A new switch: nothing is announced before the checks passed.
    fn begin(&self, owner: Side, epoch: Epoch) -> Next {
        let fresh = Switch { from: owner, epoch: self.seen.next_epoch(), back_to: epoch };
        let Some(switch) = self.memo.mine.filter(|mine| mine.from == owner) else {
            return match &self.memo.given_up {
                None => Next::Do(Step::Preflight, fresh),
                Some(reason) => {
                    Next::End(Ending::GivenUp { switch: fresh, reason: reason.clone() })
                }
            };
        };
        let target = self.seen.fence(owner.other());
        let burnt = target.is_none_or(|fence| fence.epoch >= switch.epoch);
        let gone = burnt || switch.back_to != epoch || self.memo.has(switch, Step::Arm);
        if self.memo.given_up.is_some() || gone {
            return self.end(owner, epoch);
        }
        let todo = [Step::Preflight, Step::CatchUp].into_iter();
        let todo = todo.into_iter().find(|step| !self.memo.has(switch, *step));
        Next::Do(todo.unwrap_or(Step::Arm), switch)
    }

    fn end(&self, owner: Side, epoch: Epoch) -> Next {
        let Some(switch) = self.memo.mine else {
            return Next::End(Ending::Nothing { owner, epoch });
        };
        if owner == switch.to() && epoch >= switch.epoch {
            let late = self.intent == Intent::Abort;
            let ending = if late { Ending::TooLate(switch) } else { Ending::Finished(switch) };
            return Next::End(ending);
        }
        let reason = self.memo.given_up.clone().unwrap_or(match self.intent {
            Intent::Abort => GiveUp::Requested,
            Intent::Start { .. } | Intent::Resume => GiveUp::Overtaken,
        });
        Next::End(Ending::GivenUp { switch, reason })
    }

    /// Who begins anew does not touch what somebody else has begun; he is told what it is.
    fn not_mine(&self, switch: Switch) -> Option<Next> {
        match self.intent {
            Intent::Start { .. } => {
                let mine = self.memo.mine.is_some_and(|mine| mine.epoch == switch.epoch);
                (!mine).then_some(Next::End(Ending::Unfinished(switch)))
            }
            Intent::Resume | Intent::Abort => None,
        }
    }

    fn gives_up(&self) -> bool {
        self.intent == Intent::Abort || self.memo.given_up.is_some()
    }

    /// How long the entry is as it is. A clock that is far behind the one that stamped it must not make a hold
    /// endless, so the distance counts, whichever way.
    fn age(&self, route: &Route) -> Duration {
        Duration::from_millis(self.seen.now_ms.abs_diff(route.changed_ms))
    }

    fn held_too_long(&self, age: Duration) -> Next {
        let blocked_by = self.memo.blocked.clone();
        Next::GiveUp(GiveUp::HeldTooLong { age, blocked_by })
    }
}

fn wait_for_proxies(step: Step, route: &Route) -> Next {
    Next::Wait(Waiting::Proxies { step, missing: route.missing.clone() })
}
