//! The world behind the real ports, and a stage to run drivers on it: one thread, a seed, any interleaving.
//!
//! Owns [`Theatre`]: drivers are futures that give way at every port call; who goes on next is thrown by the seed.
//! Faults lose a request or a reply, sides go away, and a driver may die at a call or at a named pause point. What must
//! stay true: the clock only goes on when somebody pauses, so a run is the same for the same seed.

use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use banyan_cutover::{
    Acknowledged, Check, CheckVerdict, Cutover, Drained, Ending, Fence, FenceChange, Limits,
    MarkerKind, Move, Notice, Order, PortError, Ports, Record, Route, RouteMove, Standing, Step,
    Summary, Switch, Verified, Watch,
};
use banyan_domain::{ContextName, Epoch, Side};

use crate::world::{Happening, Mutation, Reply, Size, World};

/// Where a driver dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Death {
    /// Before the call that does the step.
    Before(Step),
    /// After its effect, before its reply.
    ReplyLost(Step),
    /// At the step's pause point.
    Done(Step),
}

/// Everything that the drivers share.
pub(crate) struct Inside {
    pub(crate) world: World,
    pub(crate) now_ms: u64,
    pub(crate) dice: Dice,
    /// One in so many calls loses its request, and as many lose their reply; zero for none.
    pub(crate) fault_one_in: u64,
    /// What cannot be reached.
    pub(crate) away: Vec<&'static str>,
    /// The side that has no fence.
    pub(crate) unfenced: Option<Side>,
    pub(crate) death: Option<Death>,
    /// The comparison finds this.
    pub(crate) differing: Vec<String>,
    pub(crate) records: Vec<Record>,
    pub(crate) dead: bool,
}

/// A seeded stream of numbers (splitmix64).
pub(crate) struct Dice(pub(crate) u64);

/// The stage.
#[derive(Clone)]
pub(crate) struct Theatre {
    inside: Arc<Mutex<Inside>>,
    context: ContextName,
}

/// A driver on the stage.
pub(crate) type Driver = Pin<Box<dyn Future<Output = (Ending, Summary)>>>;

struct Silent;

impl Watch for Silent {
    fn notice(&mut self, _: &Notice) {}
}

impl Dice {
    pub(crate) fn throw(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    pub(crate) fn one_in(&mut self, sides: u64) -> bool {
        sides != 0 && self.throw(sides) == 0
    }
}

impl Theatre {
    pub(crate) fn new(size: Size, seed: u64) -> Self {
        let inside = Inside {
            world: World::new(size, Mutation::None),
            now_ms: 1_000_000,
            dice: Dice(seed),
            fault_one_in: 0,
            away: Vec::new(),
            unfenced: None,
            death: None,
            differing: Vec::new(),
            records: Vec::new(),
            dead: false,
        };
        let context = ContextName::new("messages").unwrap();
        Self { inside: Arc::new(Mutex::new(inside)), context }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap()
    }

    pub(crate) fn driver(&self, order: Order) -> Driver {
        let set = self.clone();
        Box::pin(async move {
            let abort = AtomicBool::new(false);
            Cutover::new(&set, Limits::default(), order, &abort, &mut Silent).run().await
        })
    }

    /// Lets a driver go on to its next call.
    pub(crate) fn poll(driver: &mut Driver) -> Option<(Ending, Summary)> {
        match driver.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(ended) => Some(ended),
            Poll::Pending => None,
        }
    }

    /// One thing happens in the world, if anything can. Begins are rarer, so that there is something to do for long.
    pub(crate) fn happen(&self) {
        let mut inside = self.lock();
        let inside = &mut *inside;
        let mut can = Vec::new();
        inside.world.happenings(&mut can);
        if can.is_empty() {
            return;
        }
        let index = usize::try_from(inside.dice.throw(can.len() as u64)).unwrap();
        let begins = matches!(can[index], Happening::Begin { .. });
        if !begins || inside.dice.one_in(20) {
            inside.world.happen(can[index]);
        }
    }

    /// Lets a driver run to its end or its death, with the world going on around it.
    pub(crate) fn run(&self, order: Order) -> Option<(Ending, Summary)> {
        let mut driver = self.driver(order);
        for _ in 0..200_000 {
            if let Some(ended) = Self::poll(&mut driver) {
                return Some(ended);
            }
            if self.lock().dead {
                self.lock().dead = false;
                return None;
            }
            for _ in 0..4 {
                self.happen();
            }
        }
        panic!("the run does not end");
    }

    /// The world goes on by itself until nothing happens any more.
    pub(crate) fn settle(&self) {
        for _ in 0..100_000 {
            let mut inside = self.lock();
            let mut can = Vec::new();
            inside.world.happenings(&mut can);
            // Leases change hands for ever, and deaths would never end.
            can.retain(|what| {
                !matches!(what, Happening::Take { .. } | Happening::Drop { .. })
                    && !matches!(what, Happening::Rollback { .. } | Happening::Begin { .. })
            });
            let Some(what) = can.first() else { return };
            inside.world.happen(*what);
        }
        panic!("the world does not come to rest");
    }

    /// Gives way once.
    async fn turn(&self) {
        let mut waited = false;
        std::future::poll_fn(|_| {
            if waited {
                return Poll::Ready(());
            }
            waited = true;
            Poll::Pending
        })
        .await;
    }

    /// Dies here: says so and never goes on.
    async fn die(&self) {
        self.lock().dead = true;
        std::future::pending::<()>().await;
    }

    /// A call to something that may be away, and may lose its request.
    async fn call(&self, what: &'static str) -> Result<(), PortError> {
        self.turn().await;
        let mut inside = self.lock();
        let faults = inside.fault_one_in;
        if inside.away.contains(&what) || inside.dice.one_in(faults) {
            let (what, reason) = (what.to_owned(), "it is away".to_owned());
            return Err(PortError::Unreachable { what, reason });
        }
        Ok(())
    }

    /// A call that does a step: it may die before or after it, and may lose its reply.
    async fn step(
        &self,
        what: &'static str,
        step: Step,
        switch: &Switch,
    ) -> Result<Reply, PortError> {
        self.call(what).await?;
        if self.lock().death == Some(Death::Before(step)) {
            self.die().await;
        }
        let reply = self.act(step, switch);
        if self.lock().death == Some(Death::ReplyLost(step)) {
            self.die().await;
        }
        self.call(what).await?;
        Ok(reply)
    }

    fn act(&self, step: Step, switch: &Switch) -> Reply {
        let mut inside = self.lock();
        let before = inside.world.route;
        let reply = inside.world.step(step, switch);
        if inside.world.route != before {
            inside.world.changed_ms = inside.now_ms;
        }
        reply
    }
}

const fn database(side: Side) -> &'static str {
    side.as_str()
}

#[async_trait]
impl Ports for Theatre {
    fn context(&self) -> &ContextName {
        &self.context
    }

    async fn fence(&self, side: Side) -> Result<Fence, PortError> {
        self.call(database(side)).await?;
        let inside = self.lock();
        if inside.unfenced == Some(side) {
            return Err(PortError::Refused {
                what: database(side).to_owned(),
                code: "banyan::cutover::no_fence".to_owned(),
                reason: "it has no fence".to_owned(),
                hint: "banyan context fence install messages --execute".to_owned(),
            });
        }
        Ok(inside.world.fence(side))
    }

    async fn route(&self) -> Result<Route, PortError> {
        self.call("control").await?;
        Ok(self.lock().world.route_seen())
    }

    async fn standing(&self) -> Result<Option<Standing>, PortError> {
        self.call("forwarder").await?;
        Ok(self.lock().world.standing)
    }

    async fn preflight(&self, switch: &Switch) -> Result<Vec<Check>, PortError> {
        self.step("control", Step::Preflight, switch).await?;
        let (name, detail) = ("proxies".to_owned(), "all on one generation".to_owned());
        Ok(vec![Check { name, verdict: CheckVerdict::Ok, detail, remedy: String::new() }])
    }

    async fn change_fence(
        &self,
        side: Side,
        wanted: Move,
        lock_wait: Duration,
    ) -> Result<FenceChange, PortError> {
        let (step, epoch, back_to, from) = match wanted {
            Move::Drain(epoch) => (Step::Close, epoch, Epoch(0), side),
            Move::Open(epoch) => (Step::Commit, epoch, Epoch(0), side.other()),
            Move::Bar(epoch) => (Step::Bar, epoch, Epoch(0), side.other()),
            Move::Reopen { given_up, back_to } => (Step::Reopen, given_up, back_to, side),
        };
        let switch = Switch { from, epoch, back_to };
        let reply = self.step(database(side), step, &switch).await?;
        let now = self.lock().world.fence(side);
        Ok(match reply {
            Reply::Done => FenceChange::Done(now),
            Reply::NotApplicable => FenceChange::NotApplicable(now),
            Reply::Again => {
                self.pause(lock_wait).await;
                FenceChange::Blocked { by: vec!["session 7".to_owned()] }
            }
        })
    }

    async fn change_route(
        &self,
        switch: &Switch,
        wanted: RouteMove,
        _ack_wait: Duration,
    ) -> Result<Acknowledged, PortError> {
        let is = |step: &Step| step.route_move() == Some(wanted);
        let step = Step::ALL.into_iter().find(is).unwrap();
        if self.step("control", step, switch).await? == Reply::NotApplicable {
            return Err(PortError::Refused {
                what: "control".to_owned(),
                code: "banyan::owner::not_armed".to_owned(),
                reason: "it is not armed".to_owned(),
                hint: "banyan context show messages".to_owned(),
            });
        }
        Ok(Acknowledged::default())
    }

    async fn catch_up(&self, switch: &Switch, _within: Duration) -> Result<Drained, PortError> {
        self.step("sync", Step::CatchUp, switch).await?;
        Ok(Drained::default())
    }

    async fn drain(&self, switch: &Switch, _within: Duration) -> Result<Drained, PortError> {
        let reply = self.step("sync", Step::Drain, switch).await?;
        Ok(Drained { pending: u64::from(reply == Reply::Again), ..Drained::default() })
    }

    async fn verify(&self, switch: &Switch, _within: Duration) -> Result<Verified, PortError> {
        self.step("sync", Step::Verify, switch).await?;
        let inside = self.lock();
        // A run that was overtaken may look when the owner is open again, and then they differ.
        let equal = inside.world.data(Side::Legacy) == inside.world.data(Side::New);
        let mut differing = inside.differing.clone();
        differing.extend((!equal).then(|| "0".to_owned()));
        Ok(Verified { equal: differing.is_empty(), checked: 1, differing })
    }

    async fn raise_sequences(&self, switch: &Switch) -> Result<u64, PortError> {
        self.step(database(switch.to()), Step::Sequences, switch).await?;
        Ok(1)
    }

    async fn put_marker(
        &self,
        side: Side,
        kind: MarkerKind,
        epoch: Epoch,
    ) -> Result<(), PortError> {
        let (step, from) = match kind {
            MarkerKind::Open => (Step::OpenMarker, side.other()),
            MarkerKind::Seal => (Step::Seal, side),
            MarkerKind::Void => (Step::Void, side),
        };
        self.step("broker", step, &Switch { from, epoch, back_to: Epoch(0) }).await.map(drop)
    }

    async fn unpublished(&self, side: Side) -> Result<u64, PortError> {
        let switch = Switch { from: side, epoch: Epoch(0), back_to: Epoch(0) };
        let reply = self.step(database(side), Step::Settle, &switch).await?;
        Ok(u64::from(reply == Reply::Again))
    }

    async fn turn_sync(&self, switch: &Switch) -> Result<(), PortError> {
        self.step("sync", Step::Reverse, switch).await.map(drop)
    }

    async fn record(&self, record: &Record) -> Result<(), PortError> {
        self.call("control").await?;
        self.lock().records.push(record.clone());
        Ok(())
    }

    fn now_ms(&self) -> u64 {
        self.lock().now_ms
    }

    async fn pause(&self, wait: Duration) {
        self.lock().now_ms += u64::try_from(wait.as_millis()).unwrap();
        self.turn().await;
    }

    async fn done(&self, step: Step) {
        if self.lock().death == Some(Death::Done(step)) {
            self.die().await;
        }
    }
}
