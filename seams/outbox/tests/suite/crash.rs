//! A relay that dies or falls asleep at any step loses nothing, reorders nothing and changes nothing afterwards.

use std::sync::Arc;

use async_trait::async_trait;
use banyan_outbox::fence::Order;
use banyan_outbox::{Engine, Pause, Relay, RelayConfig, RelayState, Step};
use tokio::sync::{Notify, Semaphore};

use crate::relay::{Running, quick, start};
use crate::rigged::{Fault, Rigged};
use crate::world::{SOON, World, on_every_engine};

on_every_engine!(
    a_relay_killed_at_any_step_loses_and_reorders_nothing,
    a_sleeper_that_wakes_up_after_a_takeover_marks_nothing,
    of_two_relays_one_leads_and_the_other_takes_over,
);

/// Stops at one step until let go.
pub(crate) struct StopAt {
    step: Step,
    reached: Notify,
    go_on: Semaphore,
}

impl StopAt {
    pub(crate) fn new(step: Step) -> Arc<Self> {
        Arc::new(Self { step, reached: Notify::new(), go_on: Semaphore::new(0) })
    }

    pub(crate) async fn reached(&self) {
        tokio::time::timeout(SOON, self.reached.notified()).await.expect("the step is reached");
    }
}

#[async_trait]
impl Pause for StopAt {
    async fn at(&self, step: Step) {
        if step == self.step {
            self.reached.notify_one();
            self.go_on.acquire().await.unwrap().forget();
        }
    }
}

fn paused<DB: Engine>(world: &World<DB>, broker: &Rigged, pause: &Arc<StopAt>) -> Running {
    paused_with(world, broker, pause, quick())
}

pub(crate) fn paused_with<DB: Engine>(
    world: &World<DB>,
    broker: &Rigged,
    pause: &Arc<StopAt>,
    config: RelayConfig,
) -> Running {
    let relay = Relay::new(world.outbox.clone(), Arc::new(broker.clone()), config);
    Running::start(relay.with_pause(pause.clone()))
}

/// The lease ends now, as if the time had passed.
pub(crate) async fn expire<DB: Engine>(world: &World<DB>) {
    world.run("UPDATE banyan_relay SET until_ms = 0").await;
}

async fn a_relay_killed_at_any_step_loses_and_reorders_nothing<DB: Engine>(world: World<DB>) {
    let world = world.owned(Order::Subject).await;
    let broker = Rigged::default();
    for (round, step) in Step::ALL.into_iter().enumerate() {
        world.emit_many(round * 10..round * 10 + 10, 3).await;
        let pause = StopAt::new(step);
        let relay = paused(&world, &broker, &pause);
        pause.reached().await;
        relay.kill().await;
        expire(&world).await;
        assert_eq!(world.rows_in("ready").await, if step == Step::Marked { 0 } else { 10 });
        let next = start(&world, &broker, quick());
        world.until_empty().await;
        next.stop().await;
    }
    let published = broker.accepted().len();
    assert_eq!(
        (published, broker.effects().len()),
        (40, 30),
        "one kill after publishing: 10 twice"
    );
    for subject in 0..3 {
        let wanted: Vec<usize> = (0..30).filter(|number| number % 3 == subject).collect();
        assert_eq!(broker.of_subject(subject), wanted);
    }
}

async fn a_sleeper_that_wakes_up_after_a_takeover_marks_nothing<DB: Engine>(world: World<DB>) {
    let world = world.owned(Order::Subject).await;
    let broker = Rigged::default();
    broker.rig(1, Some(Fault::NoExchange));
    world.emit_many(0..4, 2).await;
    let pause = StopAt::new(Step::Published);
    let sleeper = paused(&world, &broker, &pause);
    pause.reached().await;

    // The sleeper wants to note that 1 failed; meanwhile another has published it.
    broker.rig(1, None);
    expire(&world).await;
    let other = start(&world, &broker, quick());
    world.until_empty().await;
    let lead = async || world.count("SELECT generation FROM banyan_relay").await;
    assert_eq!(lead().await, 2);
    pause.go_on.add_permits(100);
    tokio::time::sleep(quick().lease).await;
    assert_eq!((world.rows_in("sent").await, world.rows_in("waiting").await), (4, 0));
    assert_eq!(lead().await, 2, "the sleeper stands by");
    other.stop().await;
    sleeper.stop().await;
    assert_eq!((broker.of_subject(0), broker.of_subject(1)), (vec![0, 2], vec![1, 3]));
}

async fn of_two_relays_one_leads_and_the_other_takes_over<DB: Engine>(world: World<DB>) {
    let world = world.owned(Order::Subject).await;
    let (one, two) = (Rigged::default(), Rigged::default());
    let first = start(&world, &one, quick());
    world.emit_many(0..5, 1).await;
    world.until_empty().await;
    let second = start(&world, &two, quick());
    world.emit_many(5..10, 1).await;
    world.until_empty().await;
    assert_eq!((one.accepted().len(), two.accepted().len()), (10, 0));
    first.kill().await;
    world.emit_many(10..15, 1).await;
    world.until_empty().await;
    assert_eq!((one.accepted().len(), two.accepted().len()), (10, 5));
    let relay = world.outbox.status().await.unwrap().relays.remove(0);
    assert_eq!((relay.state, relay.leads, relay.generation), (RelayState::Running, true, 2));
    second.stop().await;
}
