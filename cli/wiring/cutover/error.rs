//! Errors of the parts in the words of the protocol.

use banyan_control::ControlError;
use banyan_cutover::PortError;
use banyan_domain::Side;
use banyan_events::forwarder;
use banyan_sync_jobs::SyncError;
use std::time::Duration;

pub(super) fn sync_error(side: Side, error: &SyncError) -> PortError {
    let what = format!("database of side {side}");
    if error.is_transient() {
        return PortError::Unreachable { what, reason: error.chain() };
    }
    PortError::Refused {
        what,
        code: "banyan::sync::failed".to_owned(),
        reason: error.chain(),
        hint: error.hint().unwrap_or_default(),
    }
}

pub(super) fn timed_out(what: String, within: Duration, waiting_for: &str) -> PortError {
    let after_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
    PortError::TimedOut { what, after_ms, waiting_for: waiting_for.to_owned() }
}

pub(super) fn store_error(error: &ControlError) -> PortError {
    PortError::Unreachable { what: "control store".to_owned(), reason: error.to_string() }
}

pub(super) fn events_error(error: &forwarder::ForwarderError) -> PortError {
    PortError::Unreachable { what: "forwarder".to_owned(), reason: error.to_string() }
}
