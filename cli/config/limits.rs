//! What shadow reads may cost a context, and where its endpoints tell their version.
//!
//! Owns the shadow keys of `[[context]]` and `[[context.endpoint]]`. What must stay true: every limit has a default that
//! is safe for both sides.

use super::problem::Problem;
use super::reader::Section;
use super::value;
use banyan_domain::{EndpointKind, EndpointSpec};
use banyan_shadow::{CapacityConfig, RecheckLimits, Version};

/// Limits of the shadow reads of one context.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ContextShadow {
    /// Shadow traffic to its new side.
    pub(crate) capacity: CapacityConfig,
    /// Its rechecks.
    pub(crate) rechecks: RecheckLimits,
}

impl ContextShadow {
    pub(crate) fn read(section: &Section<'_>) -> Option<Self> {
        let per_second = section.or("shadow-max-per-second", "300", number);
        let at_once = section.or("shadow-max-concurrency", "4", value::count);
        let recheck = section.or("recheck-per-second", "50", number);
        let waiting = section.or("recheck-waiting", "256", value::count);
        let measured = section.or("lag-measured-per-second", "2", number);
        let (measured, waiting_max) = (measured?, waiting?);
        // Each is measured for as long as a recheck takes at the most, about 16 s.
        let measured_max = usize::try_from(measured).unwrap_or(waiting_max).saturating_mul(16);
        Some(Self {
            capacity: CapacityConfig { per_second: per_second?, at_once: at_once? },
            rechecks: RecheckLimits {
                per_second: recheck?,
                waiting_max,
                measured_per_second: measured,
                measured_max: measured_max.min(waiting_max),
            },
        })
    }
}

/// A whole number of at least 1 that is not enormous.
pub(crate) fn number(text: &str) -> Result<u32, String> {
    let number = value::count(text)?;
    u32::try_from(number).map_err(|_| format!("must be at most {}, found `{text}`", u32::MAX))
}

/// The `version` of an endpoint, if it has one.
pub(crate) fn version(section: &Section<'_>) -> Option<Version> {
    section.optional("version", Version::parse).map(|found| found.value)
}

/// A write is never compared, so its version says nothing.
pub(crate) fn check_version(section: &Section<'_>, spec: &EndpointSpec) {
    if let (EndpointKind::Write, Some(span)) = (spec.kind(), section.key_span("version")) {
        let message = format!("`version` has no effect on `{}`: it writes", spec.name);
        section.problem(Problem::warning(Some(span), message));
    }
}

/// The `show` list of `[shadow]`.
pub(crate) fn shown(section: &Section<'_>) -> Vec<String> {
    let mut shown = Vec::new();
    for item in section.strings("show").unwrap_or_default() {
        if item.value.starts_with('$') || item.value.starts_with("header:") {
            shown.push(item.value);
        } else {
            let message = format!("`shadow.show`: `{}` is no place", item.value);
            section.problem(
                Problem::error(item.span, message)
                    .hint("write it as a report does: \"$.status\", \"$.messages[*].state\" or \"header:x-version\""),
            );
        }
    }
    shown
}
