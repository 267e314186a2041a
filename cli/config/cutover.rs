//! `[cutover]`: how long a switch of a context may take where.
//!
//! Owns the rules between its limits and those of the proxy. They exist because limits that contradict each other show
//! only while clients wait.

use super::problem::Problem;
use super::reader::Section;
use super::section::HoldMax;
use super::value;
use banyan_cutover::Limits;
use std::time::Duration;

/// By how much the proxies must hold a write longer than a switch may take until its decision: the time in which they
/// hear of it and let the write go.
const RELEASE: Duration = Duration::from_millis(500);

/// Reads the section.
pub(crate) fn read(section: &Section<'_>, proxy: Option<&HoldMax>) -> Option<Limits> {
    let wait =
        |key, default| section.or(key, default, value::duration_ms).map(Duration::from_millis);
    let limits = (
        wait("hold-max", "4s"),
        wait("quiet-max", "2s"),
        wait("lock-wait", "500ms"),
        wait("settle", "2s"),
        wait("catch-up-max", "60s"),
        wait("events-max", "60s"),
        wait("retry-max", "60s"),
    );
    if let (Some(hold), Some(proxy)) = (limits.0, proxy) {
        shorter_than_the_proxy_s(section, hold, proxy);
    }
    if let (Some(hold), Some(quiet), Some(lock)) = (limits.0, limits.1, limits.2) {
        within_the_hold(section, "quiet-max", quiet, hold);
        within_the_hold(section, "lock-wait", lock, hold);
    }
    section.finish();
    Some(Limits {
        hold_max: limits.0?,
        quiet_max: limits.1?,
        lock_wait: limits.2?,
        settle: limits.3?,
        catch_up_max: limits.4?,
        events_max: limits.5?,
        retry_max: limits.6?,
        ..Limits::default()
    })
}

/// What is not decided within its hold must be given up, and heard of, before the proxies refuse held writes.
fn shorter_than_the_proxy_s(section: &Section<'_>, hold: Duration, proxy: &HoldMax) {
    if hold.saturating_add(RELEASE) <= Duration::from_millis(proxy.ms) {
        return;
    }
    let place = section.key_span("hold-max").or_else(|| proxy.place.clone());
    let message = "`cutover.hold-max` must be at least 500ms shorter than `proxy.hold-max`";
    section.problem(
        Problem::error(place, message)
            .hint("else held writes are refused before the switch gives up"),
    );
}

/// A part of the hold must leave time for the rest of it.
fn within_the_hold(section: &Section<'_>, key: &str, part: Duration, hold: Duration) {
    if part < hold {
        return;
    }
    let place = section.key_span(key).or_else(|| section.key_span("hold-max"));
    let message = format!("`cutover.{key}` must be shorter than `cutover.hold-max`");
    section.problem(
        Problem::error(place, message)
            .hint("it is a part of the hold, and the switch needs the rest"),
    );
}
