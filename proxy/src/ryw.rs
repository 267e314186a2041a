//! Read-your-writes as the life of a request uses it.
//!
//! Owns the meeting of memory, cookie and watermarks. What must stay true: the usual read, of a caller who wrote
//! nothing, costs one atomic load and a look for the cookie.

use crate::config::ReadYourWritesConfig;
use crate::cookie;
use crate::pin::{Pin, Pins};
use crate::progress::{Marks, Watermarks};
use crate::sign::Signer;
use banyan_domain::{Compiled, ContextName, StickyKey};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Read-your-writes of one proxy.
pub(crate) struct ReadYourWrites {
    pins: Arc<Pins>,
    marks: Marks,
    signer: Option<Signer>,
    skew_ms: u64,
}

impl ReadYourWrites {
    pub(crate) fn new(config: &ReadYourWritesConfig, watermarks: Watermarks) -> Self {
        let signer = match &config.secret {
            Some(secret) => Signer::new(secret.as_bytes(), cookie::PURPOSE),
            None => Signer::random(cookie::PURPOSE),
        };
        Self {
            pins: Arc::new(Pins::new(config.entries_max)),
            marks: Marks::new(watermarks),
            signer,
            skew_ms: config.clock_skew_ms,
        }
    }

    /// Whether a caller's reads of `context` must stay with its owner.
    pub(crate) fn holds(
        &self,
        table: &Compiled,
        context: &ContextName,
        caller: &StickyKey,
        cookies: Option<&str>,
    ) -> bool {
        let marked = || {
            let signer = self.signer.as_ref()?;
            cookie::written_at_ms(signer, cookies?, context)
        };
        let at_ms = marked();
        if at_ms.is_none() && self.pins.is_empty() {
            return false;
        }
        let now_ms = now_ms();
        let max_ms = table.context(context).map_or(0, |c| c.spec.read_your_writes_max_ms);
        let progress = self.marks.of(context, max_ms, now_ms);
        at_ms.is_some_and(|at_ms| {
            cookie::as_written(at_ms, max_ms, now_ms).pins(progress, self.skew_ms, now_ms)
        }) || self.pins.holds(context, &caller.value, |w| w.pins(progress, self.skew_ms, now_ms))
    }

    /// Begins a write.
    pub(crate) fn begin(&self, context: &ContextName, caller: &StickyKey, max_ms: u64) -> Pin {
        self.pins.begin(context, &caller.value, max_ms, now_ms)
    }

    /// The cookie for the answer to a write whose answer has just arrived.
    pub(crate) fn cookie(&self, context: &ContextName, cookies: Option<&str>) -> Option<String> {
        let signer = self.signer.as_ref()?;
        Some(cookie::after_write(signer, cookies, context, now_ms()))
    }

    /// Notes how the watermarks move and forgets pins that have ended. Called a few times per second.
    pub(crate) fn tend(&self) {
        let now_ms = now_ms();
        self.marks.observe(now_ms);
        self.pins.sweep(|context, written| {
            written.pins(self.marks.of(context, written.max_ms, now_ms), self.skew_ms, now_ms)
        });
    }

    /// How many callers are remembered.
    pub(crate) fn len(&self) -> usize {
        self.pins.len()
    }
}

/// Unix time in ms.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
