//! The seam: sends each operation to the side that its position names, and compares reads off the caller's path.
//!
//! Scientist runs all branches inline, and LaunchDarkly's migrator waits for both sides even in its shadow stage; here
//! the caller is answered first and the other side is asked afterwards, under a limit.
//!
//! What must stay true: a write reaches exactly one side, once; an experiment never delays, changes or fails an
//! answer; what cannot be run within the limits is dropped and counted.

use crate::{
    cx::Cx,
    lab::{Experiment, Lab, Verdict},
    metric,
    op::{Op, Read, SeamError, Serve, Write},
    switch::{Plan, Switch},
};
use banyan_domain::{Percent, Side};
use futures_util::FutureExt;
use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Semaphore, time::timeout_at};
use tokio_util::task::TaskTracker;

type Answer<O> = Result<<O as Op>::Resp, SeamError<<O as Op>::Error>>;

/// A seam between controllers and two implementations of a context: `L` legacy, `R` new.
///
/// Implement your context's trait for it, one line per method. When the legacy code is gone, `L` is `()`.
#[derive(Debug)]
pub struct Seam<L, R, S: Switch, B: Lab> {
    sides: Arc<Sides<L, R, B>>,
    switch: S,
    limits: Limits,
    slots: Arc<Semaphore>,
    reads: AtomicU64,
    tasks: TaskTracker,
}

/// How much experiments may use.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Experiments under way at once; more are dropped.
    pub experiments: usize,
    /// How long the mirrored side may take.
    pub experiment_timeout: Duration,
}

#[derive(Debug)]
struct Sides<L, R, B> {
    legacy: L,
    new: R,
    lab: B,
}

impl<L, R, S: Switch, B: Lab> Seam<L, R, S, B> {
    /// A seam with default [`Limits`].
    pub fn new(legacy: L, new: R, switch: S, lab: B) -> Self {
        Self::with_limits(legacy, new, switch, lab, Limits::default())
    }

    /// A seam with `limits` for its experiments.
    pub fn with_limits(legacy: L, new: R, switch: S, lab: B, limits: Limits) -> Self {
        Self {
            sides: Arc::new(Sides { legacy, new, lab }),
            switch,
            limits,
            slots: Arc::new(Semaphore::new(limits.experiments.min(Semaphore::MAX_PERMITS))),
            reads: AtomicU64::new(0),
            tasks: TaskTracker::new(),
        }
    }

    /// Answers a read from the side that serves it; asks the other side afterwards where the phase compares.
    pub async fn read<O: Read>(&self, cx: Cx, req: O::Req) -> Answer<O>
    where
        L: Serve<O>,
        R: Serve<O>,
    {
        let cx = next_hop::<O>(&cx)?;
        let position = self.switch.position(O::NAME);
        let Plan { served, mirrored } = position.plan(O::NAME, cx.key());
        let again = mirrored.filter(|_| self.is_sampled(position.sample)).map(|_| req.clone());
        let answer = self.sides.serve::<O>(served, cx.clone(), req).await;
        metric::call(O::NAME, served, &answer);
        if let Some(req) = again
            && is_comparable(&answer)
        {
            self.experiment::<O>(served, cx, req, answer.clone()).await;
        }
        answer
    }

    /// Sends a write to the owner, and to nobody else whatever comes of it.
    pub async fn write<O: Write>(&self, cx: Cx, req: O::Req) -> Answer<O>
    where
        L: Serve<O>,
        R: Serve<O>,
    {
        let cx = next_hop::<O>(&cx)?;
        let owner = self.switch.position(O::NAME).owner;
        let answer = self.sides.serve::<O>(owner, cx, req).await;
        metric::call(O::NAME, owner, &answer);
        answer
    }

    /// Waits until no experiment is under way; call it before the process ends.
    pub async fn drain(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        self.tasks.reopen();
    }

    /// Where the results go.
    pub fn lab(&self) -> &B {
        &self.sides.lab
    }

    /// The exact share without dice: out of 100 reads in a row, `sample` are compared, evenly spread.
    fn is_sampled(&self, sample: Percent) -> bool {
        let read = self.reads.fetch_add(1, Ordering::Relaxed) % 100;
        let share = u64::from(sample.get());
        (read + 1) * share / 100 > read * share / 100
    }

    async fn experiment<O: Read>(&self, served: Side, cx: Cx, req: O::Req, answer: Answer<O>)
    where
        L: Serve<O>,
        R: Serve<O>,
    {
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            let verdict = Verdict::Dropped;
            self.sides.observe(Experiment { op: O::NAME, served, verdict });
            return;
        };
        let sides = Arc::clone(&self.sides);
        let cx = cx.for_experiment(self.limits.experiment_timeout);
        let run = async move {
            let mirrored = AssertUnwindSafe(sides.serve::<O>(served.other(), cx, req));
            let verdict = match mirrored.catch_unwind().await {
                Ok(mirrored) => compare(&answer, &mirrored),
                Err(_panic) => Verdict::Failed,
            };
            drop(slot);
            sides.observe(Experiment { op: O::NAME, served, verdict });
        };
        if B::INLINE {
            run.await;
        } else {
            self.tasks.spawn(run);
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { experiments: 32, experiment_timeout: Duration::from_secs(5) }
    }
}

impl<L, R, B: Lab> Sides<L, R, B> {
    async fn serve<O: Op>(&self, side: Side, cx: Cx, req: O::Req) -> Answer<O>
    where
        L: Serve<O>,
        R: Serve<O>,
    {
        let deadline = cx.deadline();
        let answer = match side {
            Side::Legacy => timeout_at(deadline, self.legacy.serve(cx, req)).await,
            Side::New => timeout_at(deadline, self.new.serve(cx, req)).await,
        };
        answer.unwrap_or(Err(SeamError::Timeout))
    }

    fn observe(&self, experiment: Experiment) {
        metric::experiment(experiment);
        if experiment.verdict != Verdict::Same {
            let Experiment { op, served, verdict } = experiment;
            tracing::debug!(op, %served, verdict = verdict.as_str(), "experiment did not match");
        }
        self.lab.observe(experiment);
    }
}

fn next_hop<O: Op>(cx: &Cx) -> Result<Cx, SeamError<O::Error>> {
    cx.next_hop().ok_or_else(|| {
        let text = format!("`{}` came around more than {} times", O::NAME, crate::cx::HOPS_MAX);
        SeamError::Unavailable(text)
    })
}

/// Only what the application itself answered can be compared.
fn is_comparable<T, E>(answer: &Result<T, SeamError<E>>) -> bool {
    match answer {
        Ok(_) | Err(SeamError::App(_)) => true,
        Err(SeamError::Unavailable(_) | SeamError::Timeout | SeamError::NotOwner { .. }) => false,
    }
}

fn compare<T: PartialEq, E: PartialEq>(
    served: &Result<T, SeamError<E>>,
    mirrored: &Result<T, SeamError<E>>,
) -> Verdict {
    let same_if = |same| if same { Verdict::Same } else { Verdict::Different };
    match (served, mirrored) {
        (Ok(served), Ok(mirrored)) => same_if(served == mirrored),
        (Err(SeamError::App(served)), Err(SeamError::App(mirrored))) => same_if(served == mirrored),
        (Err(_), Ok(_)) => Verdict::OnlyServedRefused,
        (Ok(_), Err(SeamError::App(_))) => Verdict::OnlyMirroredRefused,
        (Ok(_) | Err(_), Err(_)) => Verdict::Failed,
    }
}

#[cfg(test)]
mod tests;
