//! A world in memory: two databases with fences, data and change tables; route table and proxies; applications, sync
//! workers, outboxes, raw queues and one forwarder.
//!
//! Owns the meaning of every step and of everything that goes on around a run. One aggregate is enough: writes are
//! bits of it, a sync apply overwrites all of them, so that a stale apply is a lost write. What must stay true:
//! everything here is one transaction of the real thing, and nothing but a [`Mutation`] leaves a check out.

use banyan_cutover::{
    Events, Fence, FenceState, MarkerKind, Route, RouteMove, Seen, Standing, Step, Switch,
};
use banyan_domain::{Epoch, Side};

/// A safety rule that is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Mutation {
    /// Everything is as it must be.
    None,
    /// The fence trigger reads the fence without a lock.
    NoShareLock,
    /// The drain says that it is done while change rows are left.
    NoDrainWait,
    /// `COMMIT` opens the target whatever its fence is.
    NoCompareAtCommit,
    /// A sync apply does not compare the fence with what it read.
    NoFenceAtApply,
    /// A sync apply does not check its lease.
    NoLeaseAtApply,
    /// Change rows are deleted up to now, not by the ids that were read.
    RangeDelete,
    /// `seal` does not wait for the last owner's outbox.
    NoSettle,
    /// The owner is reopened without barring the target.
    NoBar,
}

/// The context's entry in the route table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Entry {
    pub(crate) owner: Side,
    pub(crate) epoch: Epoch,
    pub(crate) armed: Option<Epoch>,
    pub(crate) holding: bool,
}

/// A write of an application: one transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Write {
    /// Not begun, or refused without effect.
    Idle,
    /// It has passed the fence of `side`, holds its share lock, and will commit.
    Open { side: Side, epoch: Epoch, counted: bool },
    /// Committed and acknowledged.
    Done,
}

/// A sync worker between two transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Worker {
    Idle,
    /// It has read the source in one snapshot, and the target's fence.
    Read {
        source: Side,
        value: u64,
        rows: u64,
        fence: Fence,
    },
    /// It has applied; the change rows are left.
    Applied {
        source: Side,
        rows: u64,
    },
}

/// A message in a raw queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Message {
    Event { number: u8, epoch: Epoch },
    Marker { kind: MarkerKind, epoch: Epoch },
}

/// What may happen besides the coordinators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Happening {
    /// A write tries to begin at a side, through a proxy or past all of them.
    Begin {
        write: usize,
        side: Side,
        proxy: Option<usize>,
    },
    Commit {
        write: usize,
    },
    Rollback {
        write: usize,
    },
    /// A proxy takes the newest route table.
    Apply {
        proxy: usize,
    },
    /// A worker takes the lease of a target; what the last holder has in hand is stale from now on.
    Take {
        worker: usize,
        target: Side,
    },
    Read {
        worker: usize,
    },
    Write {
        worker: usize,
    },
    Delete {
        worker: usize,
    },
    /// A worker dies.
    Drop {
        worker: usize,
    },
    /// The outbox's relay publishes one event.
    Relay {
        side: Side,
    },
    /// The forwarder handles the head of a raw queue.
    Forward {
        side: Side,
    },
}

/// How a step came out in the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply {
    Done,
    NotApplicable,
    /// Blocked, or not done yet.
    Again,
}

/// What is in the world, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Size {
    pub(crate) proxies: usize,
    /// Writes through the proxies.
    pub(crate) writes: usize,
    /// Writes past the proxies.
    pub(crate) direct: usize,
    pub(crate) workers: usize,
    pub(crate) events: bool,
    /// Whether applications roll back and workers die.
    pub(crate) deaths: bool,
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) fences: [Fence; 2],
    pub(crate) route: Entry,
    pub(crate) views: Vec<Entry>,
    pub(crate) writes: Vec<Write>,
    pub(crate) direct: usize,
    pub(crate) data: [u64; 2],
    pub(crate) changes: [u64; 2],
    pub(crate) acked: u64,
    pub(crate) workers: Vec<Worker>,
    /// Who holds the lease of a target.
    pub(crate) leases: [usize; 2],
    pub(crate) outbox: [Vec<Message>; 2],
    pub(crate) raw: [Vec<Message>; 2],
    pub(crate) standing: Option<Standing>,
    pub(crate) sealed: [bool; 2],
    /// Numbers of the events that went public, in order.
    pub(crate) public: Vec<u8>,
    pub(crate) committed: u8,
    /// The invariant that an act broke, if one did.
    pub(crate) broke: Option<&'static str>,
    pub(crate) changed_ms: u64,
    pub(crate) mutation: Mutation,
    pub(crate) deaths: bool,
}

const fn at(side: Side) -> usize {
    match side {
        Side::Legacy => 0,
        Side::New => 1,
    }
}

impl World {
    pub(crate) fn new(size: Size, mutation: Mutation) -> Self {
        let route = Entry { owner: Side::Legacy, epoch: Epoch(1), armed: None, holding: false };
        let standing =
            Standing { owner: Side::Legacy, epoch: Epoch(1), opened: true, voided: Epoch(0) };
        Self {
            fences: [
                Fence::new(FenceState::Open, Epoch(1)),
                Fence::new(FenceState::Shut, Epoch(0)),
            ],
            route,
            views: vec![route; size.proxies],
            writes: vec![Write::Idle; size.writes + size.direct],
            direct: size.direct,
            data: [0; 2],
            changes: [0; 2],
            acked: 0,
            workers: vec![Worker::Idle; size.workers],
            leases: [0; 2],
            outbox: [Vec::new(), Vec::new()],
            raw: [Vec::new(), Vec::new()],
            standing: size.events.then_some(standing),
            sealed: [false; 2],
            public: Vec::new(),
            committed: 0,
            broke: None,
            changed_ms: 0,
            mutation,
            deaths: size.deaths,
        }
    }

    pub(crate) fn fence(&self, side: Side) -> Fence {
        self.fences[at(side)]
    }

    pub(crate) fn data(&self, side: Side) -> u64 {
        self.data[at(side)]
    }

    pub(crate) fn changes(&self, side: Side) -> u64 {
        self.changes[at(side)]
    }

    /// The side whose data is the truth: the open one, or the one that is closed and not yet followed.
    pub(crate) fn owner(&self) -> Side {
        // An open fence beats a closed one, and of two closed ones the last that was closed.
        let rank = |side: Side| {
            let fence = self.fence(side);
            (fence.is_open(), fence.state == FenceState::Draining, fence.epoch)
        };
        if rank(Side::New) > rank(Side::Legacy) { Side::New } else { Side::Legacy }
    }

    pub(crate) fn route_seen(&self) -> Route {
        let missing = self.views.iter().filter(|view| **view != self.route);
        let counted = |write: &&Write| matches!(write, Write::Open { counted: true, .. });
        Route {
            owner: self.route.owner,
            epoch: self.route.epoch,
            armed: self.route.armed,
            holding: self.route.holding,
            changed_ms: self.changed_ms,
            missing: missing.map(|_| String::new()).collect(),
            in_flight: self.writes.iter().filter(counted).count() as u64,
        }
    }

    /// Everything at one moment. `late` is a clock by which every limit is over; `blind` a side that is not reached.
    pub(crate) fn seen(&self, late: bool, blind: Option<Side>) -> Seen {
        let fence = |side| (blind != Some(side)).then(|| self.fence(side));
        Seen {
            legacy: fence(Side::Legacy),
            new: fence(Side::New),
            route: Some(self.route_seen()),
            events: self.standing.map_or(Events::None, Events::Standing),
            now_ms: if late { u64::MAX } else { 0 },
            unreachable: Vec::new(),
            refused: false,
        }
    }

    /// Does a step of a switch, in one transaction.
    pub(crate) fn step(&mut self, step: Step, switch: &Switch) -> Reply {
        if let Some((side, wanted)) = step.fence_move(switch) {
            if step == Step::Close && self.locked(side) {
                return Reply::Again;
            }
            if step == Step::Commit && self.mutation == Mutation::NoCompareAtCommit {
                self.fences[at(side)] = Fence::new(FenceState::Open, switch.epoch);
                return Reply::Done;
            }
            if step == Step::Bar && self.mutation == Mutation::NoBar {
                return self.step(Step::Reopen, switch);
            }
            return match self.fence(side).moved(wanted) {
                Ok(moved) => {
                    self.fences[at(side)] = moved;
                    Reply::Done
                }
                Err(_) => Reply::NotApplicable,
            };
        }
        if let Some(wanted) = step.route_move() {
            return self.change_route(switch, wanted);
        }
        if let Some((side, kind)) = step.marker(switch) {
            let marker = Message::Marker { kind, epoch: switch.epoch };
            // The same marker twice in a row is one marker, so that the model stays finite.
            if self.standing.is_some() && self.raw[at(side)].last() != Some(&marker) {
                self.raw[at(side)].push(marker);
            }
            return Reply::Done;
        }
        let waits = match step {
            Step::Drain => self.changes(switch.from) != 0 && self.mutation != Mutation::NoDrainWait,
            Step::Settle => {
                !self.outbox[at(switch.from)].is_empty() && self.mutation != Mutation::NoSettle
            }
            // Whether the sides are equal is no safety rule of the model: it must hold without looking.
            Step::Preflight
            | Step::CatchUp
            | Step::Arm
            | Step::Hold
            | Step::Quiet
            | Step::Close
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
            | Step::Void => false,
        };
        if waits { Reply::Again } else { Reply::Done }
    }

    fn locked(&self, on: Side) -> bool {
        let locks = |write: &Write| matches!(write, Write::Open { side, .. } if *side == on);
        self.mutation != Mutation::NoShareLock && self.writes.iter().any(locks)
    }

    fn change_route(&mut self, switch: &Switch, wanted: RouteMove) -> Reply {
        let epoch = switch.epoch;
        let mut entry = self.route;
        match wanted {
            RouteMove::Arm if epoch > entry.epoch && entry.armed.is_none() => {
                entry.armed = Some(epoch);
            }
            RouteMove::Arm if entry.armed == Some(epoch) => {}
            RouteMove::Hold if entry.armed == Some(epoch) => entry.holding = true,
            RouteMove::MoveOwner if epoch > entry.epoch => {
                entry = Entry { owner: switch.to(), epoch, armed: None, holding: false };
            }
            RouteMove::Disarm if entry.armed == Some(epoch) => {
                entry.armed = None;
                entry.holding = false;
            }
            RouteMove::Hold | RouteMove::Arm => return Reply::NotApplicable,
            RouteMove::MoveOwner | RouteMove::Disarm => {}
        }
        self.route = entry;
        Reply::Done
    }

    /// Everything that may happen now. What changes nothing is left out.
    pub(crate) fn happenings(&self, into: &mut Vec<Happening>) {
        for write in 0..self.writes.len() {
            self.write_happenings(write, into);
        }
        let behind = (0..self.views.len()).filter(|proxy| self.views[*proxy] != self.route);
        into.extend(behind.map(|proxy| Happening::Apply { proxy }));
        for worker in 0..self.workers.len() {
            self.worker_happenings(worker, into);
        }
        for side in Side::ALL {
            if !self.outbox[at(side)].is_empty() {
                into.push(Happening::Relay { side });
            }
            if self.raw[at(side)].first().is_some_and(|head| self.passes(side, *head)) {
                into.push(Happening::Forward { side });
            }
        }
    }

    fn write_happenings(&self, write: usize, into: &mut Vec<Happening>) {
        match self.writes[write] {
            Write::Idle if write < self.direct => {
                let open = Side::ALL.into_iter().filter(|side| self.fence(*side).is_open());
                into.extend(open.map(|side| Happening::Begin { write, side, proxy: None }));
            }
            Write::Idle => {
                for (proxy, view) in self.views.iter().enumerate().filter(|(_, view)| !view.holding)
                {
                    if self.fence(view.owner).is_open() {
                        let (side, proxy) = (view.owner, Some(proxy));
                        into.push(Happening::Begin { write, side, proxy });
                    }
                }
            }
            Write::Open { .. } => {
                into.push(Happening::Commit { write });
                if self.deaths {
                    into.push(Happening::Rollback { write });
                }
            }
            Write::Done => {}
        }
    }

    fn worker_happenings(&self, worker: usize, into: &mut Vec<Happening>) {
        match self.workers[worker] {
            Worker::Idle => {
                for target in Side::ALL {
                    if self.leases[at(target)] != worker {
                        into.push(Happening::Take { worker, target });
                    }
                }
                let source = self.route.owner;
                let mine = self.leases[at(source.other())] == worker;
                if mine && self.changes(source) != 0 {
                    into.push(Happening::Read { worker });
                }
            }
            Worker::Read { .. } => into.push(Happening::Write { worker }),
            Worker::Applied { .. } => into.push(Happening::Delete { worker }),
        }
        if self.deaths && self.workers[worker] != Worker::Idle {
            into.push(Happening::Drop { worker });
        }
    }

    pub(crate) fn happen(&mut self, what: Happening) {
        match what {
            Happening::Begin { write, side, proxy } => {
                let epoch = self.fence(side).epoch;
                self.writes[write] = Write::Open { side, epoch, counted: proxy.is_some() };
            }
            Happening::Commit { write } => self.commit(write),
            Happening::Rollback { write } => self.writes[write] = Write::Idle,
            Happening::Apply { proxy } => self.views[proxy] = self.route,
            Happening::Take { worker, target } => self.leases[at(target)] = worker,
            Happening::Read { worker } => {
                let source = self.route.owner;
                let fence = self.fence(source.other());
                let (value, rows) = (self.data(source), self.changes(source));
                self.workers[worker] = Worker::Read { source, value, rows, fence };
            }
            Happening::Write { worker } => self.apply(worker),
            Happening::Delete { worker } => {
                if let Worker::Applied { source, rows } = self.workers[worker] {
                    let ranged = self.mutation == Mutation::RangeDelete;
                    self.changes[at(source)] &= if ranged { 0 } else { !rows };
                }
                self.workers[worker] = Worker::Idle;
            }
            Happening::Drop { worker } => self.workers[worker] = Worker::Idle,
            Happening::Relay { side } => {
                let event = self.outbox[at(side)].remove(0);
                self.raw[at(side)].push(event);
            }
            Happening::Forward { side } => self.forward(side),
        }
    }

    fn commit(&mut self, write: usize) {
        let Write::Open { side, epoch, .. } = self.writes[write] else { return };
        let bit = 1 << write;
        self.data[at(side)] |= bit;
        self.changes[at(side)] |= bit;
        self.acked |= bit;
        self.writes[write] = Write::Done;
        if self.standing.is_some() {
            self.outbox[at(side)].push(Message::Event { number: self.committed, epoch });
        }
        self.committed += 1;
    }

    /// The one transaction in the target: lease and fence are checked, then the aggregate becomes what was read.
    fn apply(&mut self, worker: usize) {
        let Worker::Read { source, value, rows, fence } = self.workers[worker] else { return };
        let target = source.other();
        let now = self.fence(target);
        let leased = self.leases[at(target)] == worker;
        let fenced = now.epoch == fence.epoch && !now.is_open();
        let lease_ok = leased || self.mutation == Mutation::NoLeaseAtApply;
        let fence_ok = fenced || self.mutation == Mutation::NoFenceAtApply;
        if !lease_ok || !fence_ok {
            self.workers[worker] = Worker::Idle;
            return;
        }
        if !fenced {
            self.broke.get_or_insert("I3");
        }
        if !leased {
            self.broke.get_or_insert("I4");
        }
        self.data[at(target)] = value;
        self.workers[worker] = Worker::Applied { source, rows };
    }

    /// Whether the forwarder can go past the head of a queue.
    fn passes(&self, side: Side, head: Message) -> bool {
        let Some(now) = self.standing else { return false };
        let Message::Marker { kind, epoch } = head else { return now.opened || now.owner != side };
        if epoch <= now.voided {
            return true;
        }
        match kind {
            MarkerKind::Open => epoch <= now.epoch,
            MarkerKind::Seal => epoch <= now.epoch || now.owner == side,
            MarkerKind::Void => true,
        }
    }

    fn forward(&mut self, side: Side) {
        let Some(mut now) = self.standing else { return };
        match self.raw[at(side)].remove(0) {
            Message::Event { number, epoch } => {
                let owned = now.owner == side && now.opened && epoch == now.epoch;
                let in_order = self.public.last().is_none_or(|last| *last < number);
                if !owned || !in_order {
                    self.broke.get_or_insert("I6");
                }
                self.public.push(number);
            }
            Message::Marker { epoch, .. } if epoch <= now.voided => {}
            Message::Marker { kind: MarkerKind::Open, epoch } => {
                now.opened |= epoch == now.epoch && now.owner == side;
            }
            Message::Marker { kind, epoch } if epoch > now.epoch => {
                if kind == MarkerKind::Seal {
                    self.sealed[at(side)] = true;
                    self.sealed[at(side.other())] = false;
                    now = Standing { owner: side.other(), epoch, opened: false, ..now };
                } else {
                    now.voided = epoch;
                }
            }
            Message::Marker { .. } => {}
        }
        self.standing = Some(now);
    }

    /// Nothing is left to do and nothing is missing: one open side, equal data, all events public once.
    pub(crate) fn at_rest(&self) -> bool {
        let owner = self.owner();
        let plain = Entry { owner, epoch: self.fence(owner).epoch, armed: None, holding: false };
        let open = self.fences.iter().filter(|fence| fence.is_open()).count();
        let under_way = self.writes.iter().any(|write| matches!(write, Write::Open { .. }));
        let queues = self.outbox.iter().chain(&self.raw).any(|queue| !queue.is_empty());
        let events = self.standing.is_none_or(|now| {
            now.opened && now.owner == owner && self.public.len() == usize::from(self.committed)
        });
        open == 1
            && self.route == plain
            && self.views.iter().all(|view| *view == plain)
            && !under_way
            && self.data[0] == self.data[1]
            && self.changes == [0; 2]
            && !queues
            && events
    }
}
