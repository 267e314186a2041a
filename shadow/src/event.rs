//! What shadowing tells the log: constant messages, values as fields.
//!
//! Must stay true: no header, body, path or query in any field.

use crate::capacity::Standing;
use crate::{AskError, TallyError};
use banyan_domain::{EndpointName, Side};

pub(crate) fn side_failed(side: Side, error: AskError) {
    tracing::debug!(side = side.as_str(), %error, "a mirrored read got no answer");
}

pub(crate) fn capacity_changed(side: Side, context: &str, standing: Standing, share: f64) {
    let side = side.as_str();
    match standing {
        Standing::Free => {
            tracing::info!(
                side,
                context,
                "shadow traffic to a side is at its full allowance again"
            );
        }
        Standing::BackingOff => {
            tracing::warn!(side, context, share, "a side suffers, its shadow traffic is reduced");
        }
        Standing::Resting => {
            tracing::warn!(side, context, "a side asked for rest, its shadow traffic is stopped");
        }
    }
}

pub(crate) fn mismatch_confirmed(endpoint: &EndpointName, severity: &str, differences: u64) {
    tracing::info!(endpoint = endpoint.as_str(), severity, differences, "a mismatch is confirmed");
}

pub(crate) fn new_error_confirmed(endpoint: &EndpointName) {
    tracing::info!(endpoint = endpoint.as_str(), "an error of new is confirmed");
}

pub(crate) fn renamings_forgotten(endpoint: &EndpointName) {
    tracing::warn!(
        endpoint = endpoint.as_str(),
        "renamed ids are forgotten for want of memory, their contradictions cannot be seen any more"
    );
}

pub(crate) fn tally_not_saved(error: &TallyError, waiting: usize) {
    tracing::warn!(%error, waiting, "the shadow tally could not be saved, it is kept and tried again");
}

pub(crate) fn tally_saved_again() {
    tracing::info!("the shadow tally can be saved again");
}

pub(crate) fn stopped(lost: u64, saved: bool) {
    tracing::info!(lost, saved, "shadow reads stopped");
}
