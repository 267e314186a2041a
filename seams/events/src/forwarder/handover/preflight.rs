//! What must hold before a context's emission is handed over. Pure: it reads a status.
//!
//! What must stay true: all checks are answered, not only the first that fails; a hard one cannot be overridden.

use banyan_domain::{ContextName, Side};
use serde::Serialize;

use super::super::status::{ForwarderStatus, RunState};

/// Most events that may wait in the owner's raw queue: they delay the switch, they do not endanger it.
const LAG_EVENTS_MAX: u64 = 1_000;

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was checked.
    pub name: &'static str,
    /// Whether it holds.
    pub holds: bool,
    /// Whether `--force` cannot override it.
    pub hard: bool,
    /// It could not be told: a warning that stands in nobody's way.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unknown: bool,
    /// What was found.
    pub found: String,
    /// What to do when it does not hold.
    pub hint: &'static str,
}

/// Checks whether `context` can be handed over to `target` now.
pub fn preflight(status: &ForwarderStatus, context: &ContextName, target: Side) -> Vec<Check> {
    let row = status.contexts.iter().find(|row| row.context == context.as_str());
    let side = |side: Side| status.sides.iter().find(|found| found.side == side);
    let reachable = |wanted: Side| side(wanted).is_some_and(|found| found.error.is_none());
    let lag = side(target.other()).and_then(|found| found.lag_events);
    let undelivered = row.map_or(0, |row| row.undelivered);
    let waiting = status.quarantine.iter().filter(|late| late.context == context.as_str()).count();
    let held = status.held.iter().find(|held| held.side == target.other());
    vec![
        Check {
            name: "forwarder",
            holds: status.state == RunState::Running,
            hard: false,
            unknown: false,
            found: format!("{}: {}", status.state.as_str(), status.reason),
            hint: "start `banyan serve --only events`; without it the switch does not happen",
        },
        Check {
            name: "brokers",
            holds: reachable(target) && reachable(target.other()),
            hard: true,
            unknown: false,
            found: status
                .sides
                .iter()
                .map(|found| format!("{}: {}", found.side, found.error.as_deref().unwrap_or("ok")))
                .collect::<Vec<_>>()
                .join(", "),
            hint: "both sides' raw queues get a marker, so both brokers must answer",
        },
        Check {
            name: "lag",
            holds: lag.is_some_and(|lag| lag <= LAG_EVENTS_MAX) && undelivered == 0,
            hard: false,
            unknown: false,
            found: format!(
                "{} events wait, {undelivered} decided and not published",
                lag.map_or_else(|| "unknown many".to_owned(), |lag| lag.to_string())
            ),
            hint: "wait until the forwarder has caught up",
        },
        Check {
            name: "quarantine",
            holds: waiting == 0,
            hard: false,
            unknown: false,
            found: format!("{waiting} late events"),
            hint: "look at them: banyan events status; then banyan events release or drop",
        },
        Check {
            name: "raw queue",
            holds: held.is_none(),
            hard: true,
            unknown: false,
            found: held.map_or_else(
                || "is being read".to_owned(),
                |held| format!("waits at {}({}) of `{}`", held.marker, held.epoch, held.context),
            ),
            hint: "finish or give up the handover that holds it",
        },
    ]
}
