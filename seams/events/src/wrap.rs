//! Wrap: the forwarder is put into a live exchange that nobody can reconfigure, and taken out again.
//!
//! The monolith goes on publishing to its exchange X. All of X's bindings move to the public exchange P, the forwarder's
//! raw queue F hangs on X, and the forwarder publishes to P. It exists for installations where neither the monolith nor
//! its consumers can be touched.
//!
//! A message is routed once, by the bindings of that moment, and each queue gets it at most once however many ways lead
//! there. So while X leads to P and to the old queues, nothing is doubled, and the bindings can move one by one. Only the last
//! step cannot be one step: X must lead to F instead of P. For a moment it leads to both; what was routed then is in F and
//! public already. A guard queue G on P holds the same messages, so they are found and taken out of F before any forwarder
//! reads it.
//!
//! What must stay true: no message is lost or doubled; each step may be done twice, so a run after a crash just begins
//! again from the bindings there are. What is not promised: at an unwrap, events that waited in F come after those
//! that were published meanwhile.

mod plan;
mod reconcile;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::plan::Step;
pub use self::plan::{Known, WrapStep, unwrap_plan, wrap_plan};
use crate::broker::rabbitmq::RabbitBroker;
use crate::broker::rabbitmq::change::Change;
use crate::broker::{Broker as _, BrokerError, Topology};
use crate::forwarder::{
    Forwarder, ForwarderConfig, ForwarderError, Insertion, Owners, RunState, status,
};
use crate::management::{Management, ManagementError};
use banyan_domain::Side;

/// How long a message that was routed before a binding was removed may still be on its way into a queue.
const SETTLE: Duration = Duration::from_secs(1);
/// Longest wait for the forwarder to empty the raw queue.
const DRAIN_MAX: Duration = Duration::from_mins(2);
/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Why a wrap or its undo did not come to its end. Running it again goes on.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum WrapError {
    /// The configuration is not one of a wrap.
    #[error("{reason}")]
    Config {
        /// The rule that it breaks.
        reason: String,
    },
    /// A forwarder runs, and would publish what is being sorted out.
    #[error("a forwarder is running ({state})")]
    Running {
        /// Its state.
        state: String,
    },
    /// The broker failed.
    #[error("{step}: {error}")]
    Broker {
        /// The step.
        step: String,
        /// The broker's error.
        error: BrokerError,
    },
    /// Too many messages to compare; nothing was taken out.
    #[error("{messages} messages wait in `{queue}`, at most {limit} can be compared")]
    TooMany {
        /// The queue.
        queue: String,
        /// How many.
        messages: u64,
        /// The limit.
        limit: u64,
    },
    /// The raw queue did not become empty.
    #[error("the raw queue is not empty: {reason}")]
    NotDrained {
        /// What the forwarder says.
        reason: String,
    },
    /// The management API failed.
    #[error(transparent)]
    Management(#[from] ManagementError),
    /// The forwarder's store failed.
    #[error(transparent)]
    Forwarder(#[from] ForwarderError),
}

/// Told before each step; a test crashes here.
#[async_trait]
pub trait WrapPause: Send + Sync {
    /// The step is done when this returns.
    async fn before(&self, step: &WrapStep);
}

/// Reads what the plans need from the management API.
///
/// # Errors
/// [`WrapError::Config`] or [`WrapError::Management`].
pub async fn look(config: &ForwarderConfig, management: &str) -> Result<Known, WrapError> {
    let raw = legacy(config)?;
    let api = Management::new(management, &raw.broker)?;
    let Some(exchange) = api.exchange(&raw.exchange).await? else {
        let reason = format!("exchange `{}` does not exist", raw.exchange);
        return Err(WrapError::Config { reason });
    };
    Ok(Known {
        kind: exchange.kind,
        of_raw: api.bindings_from(&raw.exchange).await?,
        of_public: api.bindings_from(&config.public.exchange).await?,
        guarded: api.queue(&plan::guard(config)).await?.is_some(),
    })
}

fn legacy(config: &ForwarderConfig) -> Result<&crate::forwarder::RawPlace, WrapError> {
    let refuse = |reason: &str| WrapError::Config { reason: reason.to_owned() };
    if config.insertion != Insertion::Wrap {
        return Err(refuse("the insertion is not `wrap`"));
    }
    let raw = config.raw.get(&Side::Legacy);
    let raw = raw.ok_or_else(|| refuse("the raw place of legacy is missing"))?;
    if raw.broker != config.public.broker || !raw.broker.starts_with("amqp") {
        return Err(refuse("legacy and public must be one virtual host of RabbitMQ"));
    }
    Ok(raw)
}

/// Does the steps of a plan. `owners` is needed by an unwrap, whose last events the forwarder passes on.
///
/// # Errors
/// See [`WrapError`]; running it again goes on.
pub async fn run(
    config: &ForwarderConfig,
    steps: &[WrapStep],
    owners: Arc<dyn Owners>,
    pause: &dyn WrapPause,
) -> Result<(), WrapError> {
    let raw = legacy(config)?;
    refuse_while_running(config).await?;
    let failed = |step: &WrapStep, error| WrapError::Broker { step: step.to_string(), error };
    let connecting = RabbitBroker::connect(&raw.broker).await;
    let broker =
        connecting.map_err(|error| WrapError::Broker { step: "connect".to_owned(), error })?;
    for step in steps {
        pause.before(step).await;
        match &step.0 {
            Step::Change(change) => match broker.change(change).await {
                Err(BrokerError::NoExchange { .. } | BrokerError::NoQueue { .. })
                    if is_removal(change) => {}
                done => done.map_err(|error| failed(step, error))?,
            },
            Step::Guard => {
                let guard = plan::guard_topology(config);
                broker.declare(&guard).await.map_err(|error| failed(step, error))?;
            }
            Step::Raw => {
                let queue = Topology::new().queue(&raw.queue, raw.queue_options);
                broker.declare(&queue).await.map_err(|error| failed(step, error))?;
            }
            Step::Reconcile => {
                tokio::time::sleep(SETTLE).await;
                let taken = reconcile::reconcile(&broker, &raw.queue, &plan::guard(config)).await?;
                tracing::info!(events = taken, "events that are public already left the raw queue");
            }
            Step::Drain => drain(config, Arc::clone(&owners), &broker).await?,
        }
        tracing::info!(%step, "a step of a wrap is done");
    }
    broker.close().await;
    Ok(())
}

/// What is gone already need not be removed.
const fn is_removal(change: &Change) -> bool {
    match change {
        Change::Unbind(_) | Change::DeleteQueue { .. } | Change::DeleteExchange { .. } => true,
        Change::DeclareExchange { .. } | Change::Bind(_) => false,
    }
}

async fn refuse_while_running(config: &ForwarderConfig) -> Result<(), WrapError> {
    let found = status(config).await?;
    match found.state {
        RunState::Running | RunState::Standby | RunState::Waiting => {
            Err(WrapError::Running { state: found.state.as_str().to_owned() })
        }
        RunState::NeverStarted | RunState::Stopped | RunState::Silent => Ok(()),
    }
}

/// Lets a forwarder of our own pass on what is left in the raw queue, until nothing is, not even unacknowledged.
async fn drain(
    config: &ForwarderConfig,
    owners: Arc<dyn Owners>,
    broker: &RabbitBroker,
) -> Result<(), WrapError> {
    let raw = legacy(config)?;
    // Its queue hangs on nothing any more and must stay so.
    let mut detached = config.clone();
    detached.raw.retain(|side, _| *side == Side::Legacy);
    let give_up = Instant::now() + DRAIN_MAX;
    let failed = |error| WrapError::Broker { step: format!("drain `{}`", raw.queue), error };
    while broker.census_unread(&raw.queue).await.map_err(failed)?.messages > 0 {
        if Instant::now() > give_up {
            let reason = status(config).await?.reason;
            return Err(WrapError::NotDrained { reason });
        }
        let forwarder = Forwarder::open(detached.clone(), Arc::clone(&owners)).await?.detached();
        let cancel = CancellationToken::new();
        let stop = async {
            // What is out to the forwarder does not count as waiting, hence the look from outside once it has ended.
            while Instant::now() < give_up && broker.depth(&raw.queue).await != Ok(0) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            tokio::time::sleep(LOOK_EVERY).await;
            cancel.cancel();
        };
        tokio::join!(stop, forwarder.run(cancel.clone()));
    }
    Ok(())
}
