//! `[cutover]`: how long a switch of a context may take where.

use super::problem::Problem;
use super::reader::Section;
use super::{section, value};
use banyan_cutover::Limits;
use std::time::Duration;

/// Reads the section. What is not decided within its hold must be given up before the proxies refuse held writes.
pub(crate) fn read(section: &Section<'_>, proxy: Option<&section::Proxy>) -> Option<Limits> {
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
    if let (Some(hold), Some(proxy)) = (limits.0, proxy)
        && hold >= Duration::from_millis(proxy.hold_max_ms)
    {
        let message = "`cutover.hold-max` must be shorter than `proxy.hold-max`";
        section.problem(
            Problem::error(section.key_span("hold-max"), message)
                .hint("else held writes are refused before the switch gives up"),
        );
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
