//! Limits of a switch as data. Everything that waits is in here.

use std::time::Duration;

/// How long a switch may take where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From the hold to the decision; whatever is not decided then is given up. It must be shorter than the proxies'
    /// own limit for a held write, or clients see refused writes.
    pub hold_max: Duration,
    /// Part of the hold: writes that were under way when it began.
    pub quiet_max: Duration,
    /// One try for a fence's lock; the tries are repeated until the hold or the way back is over.
    pub lock_wait: Duration,
    /// For the proxies to acknowledge one change of the route table.
    pub ack_max: Duration,
    /// Before the hold: moving and comparing what is there.
    pub catch_up_max: Duration,
    /// After the decision: what an application that was not changed may still publish after its commits.
    pub settle: Duration,
    /// After the decision: for the last owner's outbox to be published and the forwarder to pass the markers.
    pub events_max: Duration,
    /// How long something unreachable, or a blocked way back, is tried again before the run ends and says so.
    pub retry_max: Duration,
    /// First wait between two readings; it doubles up to `poll_max`.
    pub poll: Duration,
    /// Longest wait between two readings.
    pub poll_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            hold_max: Duration::from_secs(5),
            quiet_max: Duration::from_secs(2),
            lock_wait: Duration::from_millis(500),
            ack_max: Duration::from_secs(3),
            catch_up_max: Duration::from_mins(1),
            settle: Duration::from_secs(2),
            events_max: Duration::from_mins(1),
            retry_max: Duration::from_mins(1),
            poll: Duration::from_millis(5),
            poll_max: Duration::from_millis(500),
        }
    }
}
