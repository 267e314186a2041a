//! The cookie `banyan_ryw`: read-your-writes across proxies.
//!
//! Owns its form: `context~unix_ms.context~unix_ms.signature`. It exists because a caller's next read may reach a
//! proxy that did not see the write. What must stay true: only signed values count, and a value can do no more than
//! keep its bearer with the owner for a while.

use crate::pin::{STALLED_MAX_MS, Written};
use crate::sign::Signer;
use banyan_domain::{ContextName, sticky};
use std::fmt::Write;

/// Name of the cookie.
pub(crate) const NAME: &str = "banyan_ryw";
/// Purpose of its signature.
pub(crate) const PURPOSE: &str = "banyan-ryw";
/// Contexts that one cookie remembers; the oldest make room.
const CONTEXTS_MAX: usize = 8;

/// When the bearer of `header` (a `Cookie` header) last wrote to `context`, in unix ms.
pub(crate) fn written_at_ms(signer: &Signer, header: &str, context: &ContextName) -> Option<u64> {
    // The cheap test first: most requests carry no such cookie.
    if !header.contains(NAME) {
        return None;
    }
    let marks = read(signer, sticky::cookie(header, NAME)?)?;
    marks.iter().find(|(name, _)| *name == context.as_str()).map(|(_, at_ms)| *at_ms)
}

/// The `Set-Cookie` value after a write to `context` at `at_ms`, keeping what the request's cookie remembered of
/// other contexts.
pub(crate) fn after_write(
    signer: &Signer,
    header: Option<&str>,
    context: &ContextName,
    at_ms: u64,
) -> String {
    let old = header.and_then(|h| sticky::cookie(h, NAME)).and_then(|value| read(signer, value));
    let mut marks = old.unwrap_or_default();
    marks.retain(|(name, at)| {
        *name != context.as_str() && at.saturating_add(STALLED_MAX_MS) > at_ms
    });
    marks.push((context.as_str(), at_ms));
    marks.sort_unstable_by_key(|(_, at)| std::cmp::Reverse(*at));
    marks.truncate(CONTEXTS_MAX);
    let mut text = String::with_capacity(128);
    for (index, (name, at)) in marks.iter().enumerate() {
        let dot = if index == 0 { "" } else { "." };
        // Writing into a String cannot fail.
        write!(text, "{dot}{name}~{at}").unwrap_or_default();
    }
    let signature = signer.sign(&text);
    let max_age_s = STALLED_MAX_MS / 1_000;
    format!("{NAME}={text}.{signature}; Path=/; Max-Age={max_age_s}; HttpOnly; SameSite=Lax")
}

/// A mark from a cookie as a write. A time ahead of this proxy's clock is taken as now, so that no cookie pins for
/// longer than a write of this moment would.
pub(crate) fn as_written(at_ms: u64, max_ms: u64, now_ms: u64) -> Written {
    Written { at_ms: at_ms.min(now_ms), max_ms }
}

fn read<'c>(signer: &Signer, value: &'c str) -> Option<Vec<(&'c str, u64)>> {
    let (text, signature) = value.rsplit_once('.')?;
    if text.len() > 1_024 || !signer.is_of(text, signature) {
        return None;
    }
    let mark = |part: &'c str| {
        let (name, at_ms) = part.split_once('~')?;
        Some((name, at_ms.parse().ok()?))
    };
    text.split('.').map(mark).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(set_cookie: &str) -> &str {
        set_cookie.split(';').next().unwrap()
    }

    #[test]
    fn a_cookie_remembers_each_context_and_another_proxy_reads_it() {
        let signer = Signer::new(b"shared", PURPOSE).unwrap();
        let other_proxy = Signer::new(b"shared", PURPOSE).unwrap();
        let (messages, tracks) =
            (ContextName::new("messages").unwrap(), ContextName::new("tracks").unwrap());
        let first = after_write(&signer, None, &messages, 1_000);
        let request = format!("sid=1; {}", value(&first));
        let second = after_write(&signer, Some(&request), &tracks, 2_000);
        let request = format!("sid=1; {}", value(&second));
        assert_eq!(written_at_ms(&other_proxy, &request, &messages), Some(1_000));
        assert_eq!(written_at_ms(&other_proxy, &request, &tracks), Some(2_000));
        let third = after_write(&signer, Some(&request), &tracks, 3_000);
        assert_eq!(written_at_ms(&signer, value(&third), &tracks), Some(3_000));
        assert!(first.contains("HttpOnly; SameSite=Lax"));
    }

    #[test]
    fn forged_and_foreign_cookies_count_for_nothing() {
        let signer = Signer::new(b"shared", PURPOSE).unwrap();
        let messages = ContextName::new("messages").unwrap();
        let good = after_write(&signer, None, &messages, 1_000);
        let forged = value(&good).replace("~1000", "~9000");
        assert_eq!(written_at_ms(&signer, &forged, &messages), None);
        let stranger = Signer::new(b"else", PURPOSE).unwrap();
        assert_eq!(written_at_ms(&stranger, value(&good), &messages), None);
        assert_eq!(written_at_ms(&signer, "banyan_ryw=", &messages), None);
        assert_eq!(as_written(9_000, 5_000, 1_000).at_ms, 1_000);
    }
}
