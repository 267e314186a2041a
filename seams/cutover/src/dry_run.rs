//! Ports that do nothing: a dry run is the real run on an imagined world.
//!
//! Owns [`DryRun`], which reads the real fences, route table and forwarder once, asks the real checks, and imagines the
//! rest. It exists so that what a dry run prints is what the run would do. What must stay true: only the readings and
//! the preflight of the real ports are called, never one that changes something.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use banyan_domain::{ContextName, Epoch, Side};

use crate::fence::{Fence, Move};
use crate::ports::{
    Acknowledged, Check, Drained, FenceChange, PortError, Ports, Record, Route, Standing, Verified,
};
use crate::stage::Events;
use crate::step::{MarkerKind, RouteMove};
use crate::switch::Switch;

/// The real ports for reading, an imagined world for everything else.
pub struct DryRun<'a> {
    real: &'a dyn Ports,
    imagined: Mutex<Imagined>,
}

#[derive(Default)]
struct Imagined {
    legacy: Option<Fence>,
    new: Option<Fence>,
    route: Option<Route>,
    events: Option<Events>,
    waited_ms: u64,
    calls: Vec<String>,
}

impl<'a> DryRun<'a> {
    /// A dry run over these ports.
    pub fn new(real: &'a dyn Ports) -> Self {
        Self { real, imagined: Mutex::default() }
    }

    /// What the run would have called, in order.
    pub fn calls(&self) -> Vec<String> {
        self.lock().calls.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Imagined> {
        // Nothing in here can be half done.
        self.imagined.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, call: String) {
        self.lock().calls.push(call);
    }
}

impl Imagined {
    const fn fence(&mut self, side: Side) -> &mut Option<Fence> {
        match side {
            Side::Legacy => &mut self.legacy,
            Side::New => &mut self.new,
        }
    }
}

#[async_trait]
impl Ports for DryRun<'_> {
    fn context(&self) -> &ContextName {
        self.real.context()
    }

    async fn fence(&self, side: Side) -> Result<Fence, PortError> {
        if let Some(fence) = *self.lock().fence(side) {
            return Ok(fence);
        }
        let fence = self.real.fence(side).await?;
        *self.lock().fence(side) = Some(fence);
        Ok(fence)
    }

    async fn route(&self) -> Result<Route, PortError> {
        if let Some(route) = self.lock().route.clone() {
            return Ok(route);
        }
        let route = self.real.route().await?;
        self.lock().route = Some(route.clone());
        Ok(route)
    }

    async fn standing(&self) -> Result<Option<Standing>, PortError> {
        let known = self.lock().events;
        let events = match known {
            Some(events) => events,
            None => self.real.standing().await?.map_or(Events::None, Events::Standing),
        };
        self.lock().events = Some(events);
        Ok(match events {
            Events::Standing(standing) => Some(standing),
            Events::None | Events::Unknown => None,
        })
    }

    async fn preflight(&self, switch: &Switch) -> Result<Vec<Check>, PortError> {
        self.real.preflight(switch).await
    }

    async fn change_fence(
        &self,
        side: Side,
        wanted: Move,
        _lock_wait: Duration,
    ) -> Result<FenceChange, PortError> {
        let before = self.fence(side).await?;
        let Ok(after) = before.moved(wanted) else {
            return Ok(FenceChange::NotApplicable(before));
        };
        *self.lock().fence(side) = Some(after);
        let shown = |fence: Fence| format!("{}({})", fence.state.as_str(), fence.epoch);
        self.say(format!("fence of {side}: {} -> {}", shown(before), shown(after)));
        Ok(FenceChange::Done(after))
    }

    async fn change_route(
        &self,
        switch: &Switch,
        wanted: RouteMove,
        _ack_wait: Duration,
    ) -> Result<Acknowledged, PortError> {
        let mut route = self.route().await?;
        let epoch = switch.epoch;
        let (armed, holding, said) = match wanted {
            RouteMove::Arm => (Some(epoch), false, format!("armed at epoch {epoch}")),
            RouteMove::Hold => (Some(epoch), true, "writes are held".to_owned()),
            RouteMove::MoveOwner => (None, false, format!("{} owns at epoch {epoch}", switch.to())),
            RouteMove::Disarm => (None, false, format!("released to {}", switch.from)),
        };
        if wanted == RouteMove::MoveOwner {
            (route.owner, route.epoch) = (switch.to(), epoch);
        }
        // Nothing was asked of the proxies; the writes that are under way do not end by themselves in a dry run.
        (route.armed, route.holding, route.in_flight) = (armed, holding, 0);
        route.missing.clear();
        route.changed_ms = self.now_ms();
        self.lock().route = Some(route);
        self.say(format!("route table: {said}"));
        Ok(Acknowledged::default())
    }

    async fn catch_up(&self, switch: &Switch, _within: Duration) -> Result<Drained, PortError> {
        self.say(format!(
            "sync {} -> {}: move and compare what is there",
            switch.from,
            switch.to()
        ));
        Ok(Drained::default())
    }

    async fn drain(&self, switch: &Switch, _within: Duration) -> Result<Drained, PortError> {
        self.say(format!("sync {} -> {}: move the last rows", switch.from, switch.to()));
        Ok(Drained::default())
    }

    async fn verify(&self, _switch: &Switch, _within: Duration) -> Result<Verified, PortError> {
        self.say("compare what changed since the last clean comparison".to_owned());
        Ok(Verified { equal: true, ..Verified::default() })
    }

    async fn raise_sequences(&self, switch: &Switch) -> Result<u64, PortError> {
        self.say(format!("raise the sequences of {}", switch.to()));
        Ok(0)
    }

    async fn put_marker(
        &self,
        side: Side,
        kind: MarkerKind,
        epoch: Epoch,
    ) -> Result<(), PortError> {
        let mut imagined = self.lock();
        let word = match kind {
            MarkerKind::Open => "open",
            MarkerKind::Seal => "seal",
            MarkerKind::Void => "void",
        };
        imagined.calls.push(format!("raw queue of {side}: {word}({epoch})"));
        if let Some(Events::Standing(standing)) = &mut imagined.events {
            match kind {
                MarkerKind::Open => {}
                MarkerKind::Seal => {
                    let voided = standing.voided;
                    *standing = Standing { owner: side.other(), epoch, opened: true, voided };
                }
                MarkerKind::Void => standing.voided = epoch,
            }
        }
        Ok(())
    }

    async fn unpublished(&self, _side: Side) -> Result<u64, PortError> {
        Ok(0)
    }

    async fn turn_sync(&self, switch: &Switch) -> Result<(), PortError> {
        self.say(format!("sync {} -> {}: from now on", switch.to(), switch.from));
        Ok(())
    }

    async fn record(&self, _record: &Record) -> Result<(), PortError> {
        Ok(())
    }

    fn now_ms(&self) -> u64 {
        self.real.now_ms() + self.lock().waited_ms
    }

    async fn pause(&self, wait: Duration) {
        self.lock().waited_ms += u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    }
}
