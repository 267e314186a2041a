//! The gate of a context: which of its writes are on their way, and which wait.
//!
//! Owns the counts and the queues. It exists because a cutover may switch only when every write decided by the table
//! before it is over. What must stay true: a write is counted before it looks at the table that it goes by, so
//! whoever sees the table acknowledged sees the write in the count; a write that waits is in no count of those on
//! their way; who came first leaves a queue first; a queue takes only so many.

use crate::metric::{self, Gauge};
use banyan_domain::ContextName;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};

/// The writes of one context.
pub(crate) struct Gate {
    context: ContextName,
    on_their_way: AtomicU64,
    /// Writes that wait for the end of a cutover.
    pub(crate) held: Queue,
    /// Writes that a side refused by its fence.
    pub(crate) fenced: Queue,
}

/// Requests that wait for their turn, first come first served.
pub(crate) struct Queue {
    places: AtomicUsize,
    /// One permit: who has it is the first. Tokio gives it in the order in which it was asked for.
    turn: Semaphore,
}

/// A write on its way; it is counted until this is dropped.
pub(crate) struct OnItsWay(Arc<Gate>);

/// A place in a queue; free again when this is dropped.
pub(crate) struct Place<'a>(&'a Queue);

/// The writes of all contexts; a handle that can be cloned.
#[derive(Clone, Default)]
pub struct Writes(Arc<Mutex<BTreeMap<ContextName, Arc<Gate>>>>);

impl Writes {
    /// The writes on their way at this moment, by context; contexts without any are left out.
    ///
    /// A write that was decided by an older table than the one in force before this call is in it.
    pub fn by_context(&self) -> BTreeMap<ContextName, u64> {
        fence(Ordering::SeqCst);
        let gates = self.gates();
        let counts = gates.iter().map(|(name, gate)| (name, gate.on_their_way()));
        counts.filter(|(_, count)| *count > 0).map(|(name, count)| (name.clone(), count)).collect()
    }

    /// The writes that wait at this moment, by context: held, or refused by a fence; contexts without any are left out.
    /// A test waits by it until a request has reached its queue; operators have `banyan_proxy_held`.
    pub fn waiting(&self) -> BTreeMap<ContextName, usize> {
        let gates = self.gates();
        let counts = gates.iter().map(|(name, gate)| (name, gate.held.len() + gate.fenced.len()));
        counts.filter(|(_, count)| *count > 0).map(|(name, count)| (name.clone(), count)).collect()
    }

    /// The gate of a context. Takes a lock: to be called once per table, not per request.
    pub(crate) fn gate(&self, context: &ContextName) -> Arc<Gate> {
        let mut gates = self.gates();
        if let Some(gate) = gates.get(context) {
            return gate.clone();
        }
        let gate = Arc::new(Gate::new(context.clone()));
        gates.insert(context.clone(), gate.clone());
        gate
    }

    /// A poisoned map of counters is still a map of counters.
    fn gates(&self) -> MutexGuard<'_, BTreeMap<ContextName, Arc<Gate>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gate {
    pub(crate) fn new(context: ContextName) -> Self {
        let queue = || Queue { places: AtomicUsize::new(0), turn: Semaphore::new(1) };
        Self { context, on_their_way: AtomicU64::new(0), held: queue(), fenced: queue() }
    }

    pub(crate) fn context(&self) -> &ContextName {
        &self.context
    }

    /// Counts a write. The table must be looked at (again) afterwards.
    pub(crate) fn begin(self: &Arc<Self>) -> OnItsWay {
        metric::on_the_way(Gauge::Writes, 1);
        self.on_their_way.fetch_add(1, Ordering::SeqCst);
        // Pairs with the one between taking a table and counting: either this write sees the new table, or the
        // count sees this write.
        fence(Ordering::SeqCst);
        OnItsWay(self.clone())
    }

    fn on_their_way(&self) -> u64 {
        self.on_their_way.load(Ordering::SeqCst)
    }
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        self.0.on_their_way.fetch_sub(1, Ordering::SeqCst);
        metric::on_the_way(Gauge::Writes, -1);
    }
}

impl Queue {
    /// Whether nobody waits: the usual case, one atomic load.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.places.load(Ordering::Acquire)
    }

    /// Takes a place, unless `max` are taken.
    pub(crate) fn join(&self, max: usize) -> Option<Place<'_>> {
        let more = |taken: usize| (taken < max).then_some(taken + 1);
        self.places.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        Some(Place(self))
    }
}

impl Place<'_> {
    /// Waits until this place is the first. Dropping what it gives lets the next one be the first.
    pub(crate) async fn turn(&self) -> Result<SemaphorePermit<'_>, AcquireError> {
        self.0.turn.acquire().await
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.places.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::atomic::AtomicBool;
    use tokio::sync::Notify;

    fn messages() -> ContextName {
        ContextName::new("messages").unwrap()
    }

    #[test]
    fn a_write_is_counted_by_context_until_it_is_dropped() {
        let writes = Writes::default();
        let gate = writes.gate(&messages());
        assert!(writes.by_context().is_empty());
        let (one, two) = (gate.begin(), writes.gate(&messages()).begin());
        assert_eq!(writes.by_context(), BTreeMap::from([(messages(), 2)]));
        drop(one);
        assert_eq!(writes.by_context()[&messages()], 1);
        drop(two);
        assert!(writes.by_context().is_empty());
    }

    #[test]
    fn a_full_queue_takes_nobody_until_a_place_is_free() {
        let gate = Gate::new(messages());
        let first = gate.held.join(2).unwrap();
        let second = gate.held.join(2).unwrap();
        assert!(gate.held.join(2).is_none());
        assert!(gate.held.join(0).is_none() && gate.fenced.join(1).is_some());
        drop(second);
        assert_eq!(gate.held.len(), 1);
        assert!(gate.held.join(2).is_some());
        drop(first);
        assert!(gate.held.is_empty());
    }

    /// The table and the count, as a proxy and its agent use them: whoever has put the new table in force and then
    /// counts zero will never see a write by the old one.
    #[test]
    fn after_a_count_of_zero_no_write_goes_by_the_old_table() {
        for _ in 0..500 {
            let writes = Writes::default();
            let gate = writes.gate(&messages());
            let moved = AtomicBool::new(false);
            let drained = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let by_old = !moved.load(Ordering::Relaxed);
                    let on_its_way = gate.begin();
                    let still_old = !moved.load(Ordering::Relaxed);
                    if by_old && still_old {
                        assert!(!drained.load(Ordering::SeqCst), "a write by the old table");
                    }
                    drop(on_its_way);
                });
                scope.spawn(|| {
                    moved.store(true, Ordering::Relaxed);
                    while !writes.by_context().is_empty() {
                        std::hint::spin_loop();
                    }
                    drained.store(true, Ordering::SeqCst);
                });
            });
        }
    }

    /// What a request does that waits.
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Step {
        /// One more arrives.
        Arrive,
        /// The one that arrived as this one of those that wait gives up.
        GiveUp(usize),
        /// The first one goes.
        Release,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => Just(Step::Arrive),
            1 => (0usize..8).prop_map(Step::GiveUp),
            2 => Just(Step::Release),
        ];
        prop::collection::vec(step, 0..40)
    }

    /// Walks the steps through a real queue and gives who was released, in order, and the most places taken.
    async fn walk(steps: &[Step], max: usize) -> (Vec<usize>, usize) {
        let gate = Arc::new(Gate::new(messages()));
        let released = Arc::new(Mutex::new(Vec::new()));
        let go = Arc::new(Notify::new());
        let mut waiting = Vec::new();
        let (mut arrived, mut most) = (0, 0);
        for step in steps {
            match *step {
                Step::Arrive => {
                    let (gate, released, go) = (gate.clone(), released.clone(), go.clone());
                    let number = arrived;
                    arrived += 1;
                    if gate.held.len() == max {
                        assert!(gate.held.join(max).is_none());
                        continue;
                    }
                    waiting.push((
                        number,
                        tokio::spawn(async move {
                            let place = gate.held.join(max).unwrap();
                            let _turn = place.turn().await.unwrap();
                            go.notified().await;
                            released.lock().unwrap().push(number);
                        }),
                    ));
                }
                Step::GiveUp(which) if which < waiting.len() => {
                    let (_, task) = waiting.remove(which);
                    task.abort();
                    drop(task.await);
                }
                Step::GiveUp(_) => {}
                Step::Release => {
                    if let Some((_, task)) = (!waiting.is_empty()).then(|| waiting.remove(0)) {
                        go.notify_one();
                        task.await.unwrap();
                    }
                }
            }
            // One thread: every task runs until it waits.
            tokio::task::yield_now().await;
            most = most.max(gate.held.len());
            assert_eq!(
                gate.held.len(),
                waiting.len(),
                "a place is taken exactly while somebody waits"
            );
        }
        for (_, task) in waiting {
            task.abort();
        }
        let released = released.lock().unwrap().clone();
        (released, most)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn who_came_first_goes_first_and_no_more_wait_than_may(steps in steps(), max in 1usize..6) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (released, most) = runtime.block_on(walk(&steps, max));
            prop_assert!(released.is_sorted(), "{released:?}");
            prop_assert!(most <= max);
            // A reference queue of numbers says who must have gone.
            let (mut queue, mut expected, mut arrived) = (Vec::new(), Vec::new(), 0);
            for step in steps {
                match step {
                    Step::Arrive => {
                        if queue.len() < max {
                            queue.push(arrived);
                        }
                        arrived += 1;
                    }
                    Step::GiveUp(which) if which < queue.len() => drop(queue.remove(which)),
                    Step::Release if !queue.is_empty() => expected.push(queue.remove(0)),
                    Step::GiveUp(_) | Step::Release => {}
                }
            }
            prop_assert_eq!(released, expected);
        }
    }
}
