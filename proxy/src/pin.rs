//! Read-your-writes: who wrote a moment ago and must be answered by the owner.
//!
//! Owns the memory of writers of this proxy and the rule when a pin ends. It exists because the other side lags the
//! owner by the sync. What must stay true: a pin begins before its write is forwarded and its time is taken after
//! the answer arrived; memory is bounded, and at the bound callers are pinned without need rather than not pinned.

use banyan_domain::ContextName;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const SHARDS: usize = 16;
/// While the watermark stands still, nothing is known to arrive: a pin is then kept this long at most.
pub(crate) const STALLED_MAX_MS: u64 = 600_000;

/// What is known of the sync of a context at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// No sync reports for this context.
    Unknown,
    /// Everything up to this time of the source is applied, and it moved lately.
    Moving(u64),
    /// The same, but it has stood still for longer than the context's bound.
    Stalled(u64),
}

/// When a write happened and how long it may pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    /// Unix ms, taken after the answer arrived.
    pub(crate) at_ms: u64,
    /// The context's bound.
    pub(crate) max_ms: u64,
}

impl Written {
    /// Whether a caller who wrote then must stay with the owner now.
    pub(crate) fn pins(self, progress: Progress, skew_ms: u64, now_ms: u64) -> bool {
        let age = now_ms.saturating_sub(self.at_ms);
        let passed = |mark: u64| mark >= self.at_ms.saturating_add(skew_ms);
        match progress {
            Progress::Unknown => age < self.max_ms,
            Progress::Moving(mark) => !passed(mark) && age < self.max_ms,
            Progress::Stalled(mark) => !passed(mark) && age < STALLED_MAX_MS.max(self.max_ms),
        }
    }
}

/// The writers of this proxy.
pub(crate) struct Pins {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
    entries_max_per_shard: usize,
    /// Entries and overflows over all shards; zero is the fast path of every read.
    live: AtomicUsize,
}

#[derive(Default)]
struct Shard {
    writers: HashMap<u64, Writer>,
    /// Writes that found the shard full: they pin everybody of the shard.
    overflow: Option<Writer>,
}

#[derive(Clone)]
struct Writer {
    context: ContextName,
    /// Writes on their way.
    pending: u32,
    written: Option<Written>,
}

/// A write on its way. Dropping it ends the write; unless told otherwise its outcome counts as unknown, which pins.
pub(crate) struct Pin {
    pins: Arc<Pins>,
    key: u64,
    in_overflow: bool,
    max_ms: u64,
    without_effect: bool,
    now_ms: fn() -> u64,
}

impl Pins {
    pub(crate) fn new(entries_max: usize) -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
            entries_max_per_shard: entries_max.div_ceil(SHARDS).max(1),
            live: AtomicUsize::new(0),
        }
    }

    /// Whether nobody is pinned: the usual case, without a lock.
    pub(crate) fn is_empty(&self) -> bool {
        self.live.load(Ordering::Acquire) == 0
    }

    /// How many callers are remembered.
    pub(crate) fn len(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }

    /// Begins a write of a caller; must be called before it is forwarded.
    pub(crate) fn begin(
        self: &Arc<Self>,
        context: &ContextName,
        caller: &str,
        max_ms: u64,
        now_ms: fn() -> u64,
    ) -> Pin {
        let key = self.key(context, caller);
        let mut shard = self.shard(key);
        let full = shard.writers.len() >= self.entries_max_per_shard;
        let fresh = Writer { context: context.clone(), pending: 0, written: None };
        let Shard { writers, overflow } = &mut *shard;
        let known = writers.contains_key(&key);
        let in_overflow = full && !known;
        let (writer, added) = if in_overflow {
            let added = overflow.is_none();
            (overflow.get_or_insert(fresh), added)
        } else {
            (writers.entry(key).or_insert(fresh), !known)
        };
        writer.pending += 1;
        if added {
            self.live.fetch_add(1, Ordering::AcqRel);
        }
        Pin { pins: self.clone(), key, in_overflow, max_ms, without_effect: false, now_ms }
    }

    /// Whether a caller must stay with the owner.
    pub(crate) fn holds(
        &self,
        context: &ContextName,
        caller: &str,
        rule: impl Fn(Written) -> bool,
    ) -> bool {
        if self.is_empty() {
            return false;
        }
        let key = self.key(context, caller);
        let shard = self.shard(key);
        let holds = |writer: &Writer| writer.pending > 0 || writer.written.is_some_and(&rule);
        shard.writers.get(&key).is_some_and(holds) || shard.overflow.as_ref().is_some_and(holds)
    }

    /// Forgets writers whose pins have ended by `rule`.
    pub(crate) fn sweep(&self, rule: impl Fn(&ContextName, Written) -> bool) {
        if self.is_empty() {
            return;
        }
        let stays = |writer: &Writer| {
            writer.pending > 0 || writer.written.is_some_and(|w| rule(&writer.context, w))
        };
        for shard in &self.shards {
            let mut shard = lock(shard);
            let before = shard.writers.len() + usize::from(shard.overflow.is_some());
            shard.writers.retain(|_, writer| stays(writer));
            if !shard.overflow.as_ref().is_some_and(stays) {
                shard.overflow = None;
            }
            let after = shard.writers.len() + usize::from(shard.overflow.is_some());
            self.live.fetch_sub(before - after, Ordering::AcqRel);
        }
    }

    fn end(&self, pin: &Pin) {
        let mut shard = self.shard(pin.key);
        let Shard { writers, overflow } = &mut *shard;
        let writer = if pin.in_overflow { overflow.as_mut() } else { writers.get_mut(&pin.key) };
        let Some(writer) = writer else { return };
        writer.pending = writer.pending.saturating_sub(1);
        if !pin.without_effect {
            let written = Written { at_ms: (pin.now_ms)(), max_ms: pin.max_ms };
            writer.written = Some(written);
        }
    }

    fn key(&self, context: &ContextName, caller: &str) -> u64 {
        self.hasher.hash_one((context.as_str(), caller))
    }

    fn shard(&self, key: u64) -> MutexGuard<'_, Shard> {
        let index = usize::try_from(key % SHARDS as u64).unwrap_or(0);
        lock(&self.shards[index])
    }
}

/// A poisoned shard is still a map of times.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pin {
    /// The write is known to have changed nothing: it was refused, or never sent.
    pub(crate) fn forget(mut self) {
        self.without_effect = true;
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.pins.end(self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> ContextName {
        ContextName::new("messages").unwrap()
    }

    fn always(_: Written) -> bool {
        true
    }

    #[test]
    fn a_pin_ends_when_the_watermark_has_passed_the_write_and_the_skew() {
        let written = Written { at_ms: 10_000, max_ms: 5_000 };
        let pins = |progress, now| written.pins(progress, 250, now);
        assert!(pins(Progress::Moving(10_249), 10_500));
        assert!(!pins(Progress::Moving(10_250), 10_500));
        assert!(!pins(Progress::Stalled(10_250), 10_500));
    }

    #[test]
    fn a_moving_watermark_bounds_a_pin_and_a_stalled_one_keeps_it() {
        let written = Written { at_ms: 10_000, max_ms: 5_000 };
        let pins = |progress, now| written.pins(progress, 250, now);
        assert!(pins(Progress::Moving(9_000), 14_999));
        assert!(!pins(Progress::Moving(9_000), 15_000));
        assert!(pins(Progress::Stalled(9_000), 100_000));
        assert!(!pins(Progress::Stalled(9_000), 10_000 + STALLED_MAX_MS));
        assert!(pins(Progress::Unknown, 14_999));
        assert!(!pins(Progress::Unknown, 15_000));
    }

    #[test]
    fn a_write_on_its_way_pins_before_any_time_is_known() {
        let pins = Arc::new(Pins::new(100));
        assert!(pins.is_empty());
        let pin = pins.begin(&context(), "ada", 5_000, || 1);
        assert!(pins.holds(&context(), "ada", |_| false));
        assert!(!pins.holds(&context(), "bob", always));
        drop(pin);
        assert!(pins.holds(&context(), "ada", |w| w.at_ms == 1));
        pins.sweep(|_, _| false);
        assert!(pins.is_empty());
    }

    #[test]
    fn a_refused_write_pins_no_longer_than_it_took() {
        let pins = Arc::new(Pins::new(100));
        pins.begin(&context(), "ada", 5_000, || 1).forget();
        assert!(!pins.holds(&context(), "ada", always));
        pins.sweep(|_, _| true);
        assert_eq!(pins.len(), 0);
    }

    #[test]
    fn a_full_memory_pins_too_many_rather_than_too_few() {
        let pins = Arc::new(Pins::new(SHARDS));
        let callers: Vec<String> = (0..200).map(|n| format!("user-{n}")).collect();
        for caller in &callers {
            drop(pins.begin(&context(), caller, 5_000, || 7));
        }
        assert!(pins.len() <= 2 * SHARDS);
        for caller in &callers {
            assert!(pins.holds(&context(), caller, always), "{caller}");
        }
        pins.sweep(|_, _| false);
        assert_eq!(pins.len(), 0);
    }
}
