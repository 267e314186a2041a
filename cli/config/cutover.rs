//! `[cutover]`: how long a switch of a context may take where.

use super::problem::Problem;
use super::reader::Section;
use super::{section, value};
use std::time::Duration;

/// Limits of a switch, in ms.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CutoverLimits {
    hold_max_ms: u64,
    quiet_max_ms: u64,
    lock_wait_ms: u64,
    settle_ms: u64,
    catch_up_max_ms: u64,
    events_max_ms: u64,
    retry_max_ms: u64,
}

impl CutoverLimits {
    /// Reads the section. What is not decided within its hold must be given up before the proxies refuse held writes.
    pub(crate) fn read(section: &Section<'_>, proxy: Option<&section::Proxy>) -> Option<Self> {
        let hold = section.or("hold-max", "4s", value::duration_ms);
        let quiet = section.or("quiet-max", "2s", value::duration_ms);
        let lock = section.or("lock-wait", "500ms", value::duration_ms);
        let settle = section.or("settle", "2s", value::duration_ms);
        let catch_up = section.or("catch-up-max", "60s", value::duration_ms);
        let events = section.or("events-max", "60s", value::duration_ms);
        let retry = section.or("retry-max", "60s", value::duration_ms);
        if let (Some(hold), Some(proxy)) = (hold, proxy)
            && hold >= proxy.hold_max_ms
        {
            let message = "`cutover.hold-max` must be shorter than `proxy.hold-max`";
            section.problem(
                Problem::error(section.key_span("hold-max"), message)
                    .hint("else held writes are refused before the switch gives up"),
            );
        }
        section.finish();
        Some(Self {
            hold_max_ms: hold?,
            quiet_max_ms: quiet?,
            lock_wait_ms: lock?,
            settle_ms: settle?,
            catch_up_max_ms: catch_up?,
            events_max_ms: events?,
            retry_max_ms: retry?,
        })
    }

    /// The limits as the protocol takes them.
    pub(crate) fn limits(&self) -> banyan_cutover::Limits {
        banyan_cutover::Limits {
            hold_max: Duration::from_millis(self.hold_max_ms),
            quiet_max: Duration::from_millis(self.quiet_max_ms),
            lock_wait: Duration::from_millis(self.lock_wait_ms),
            settle: Duration::from_millis(self.settle_ms),
            catch_up_max: Duration::from_millis(self.catch_up_max_ms),
            events_max: Duration::from_millis(self.events_max_ms),
            retry_max: Duration::from_millis(self.retry_max_ms),
            ..banyan_cutover::Limits::default()
        }
    }
}
