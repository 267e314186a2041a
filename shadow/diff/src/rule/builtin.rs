//! The built-in list of harmless differences between a Rails monolith and a service behind the same proxy.
//!
//! Owns the facts (from Rails' ETag, cache-control, session and JSON code) as data. Must stay true: nothing here can
//! hide a difference that a client can act on; each entry says why.

/// `etag` is dropped unless the bodies are equal, then compared weakly.
pub(crate) const ETAG: &str = "builtin/etag";
/// `content-length` follows from the body, which is compared itself.
pub(crate) const CONTENT_LENGTH: &str = "builtin/content-length";
/// `content-encoding` is removed before bodies are compared.
pub(crate) const CONTENT_ENCODING: &str = "builtin/content-encoding";
/// The order of names in `vary`.
pub(crate) const VARY_ORDER: &str = "builtin/vary-order";
/// The order of directives in `cache-control`.
pub(crate) const CACHE_CONTROL_ORDER: &str = "builtin/cache-control-order";
/// The value of a cookie: encrypted or signed per answer.
pub(crate) const COOKIE_VALUE: &str = "builtin/cookie-value";
/// Key order, white space, escapes and number spelling of JSON.
pub(crate) const JSON_TEXT: &str = "builtin/json-text";
/// A line break at the end of a text.
pub(crate) const TRAILING_NEWLINE: &str = "builtin/trailing-newline";

/// Headers that are dropped on both sides.
const HEADERS: &[(&str, &str)] = &[
    ("age", "builtin/age"),
    ("connection", "builtin/connection"),
    ("date", "builtin/date"),
    ("keep-alive", "builtin/keep-alive"),
    ("server", "builtin/server"),
    ("server-timing", "builtin/server-timing"),
    ("status", "builtin/status-header"),
    ("transfer-encoding", "builtin/transfer-encoding"),
    ("via", "builtin/via"),
    ("x-powered-by", "builtin/x-powered-by"),
    ("x-rack-cache", "builtin/x-rack-cache"),
    ("x-request-id", "builtin/x-request-id"),
    ("x-runtime", "builtin/x-runtime"),
    ("x-served-by", "builtin/x-served-by"),
];

/// The rule that drops a header.
pub(super) fn header(name: &str) -> Option<&'static str> {
    if name.starts_with("x-banyan-") {
        return Some("builtin/x-banyan");
    }
    HEADERS.iter().find(|(header, _)| *header == name).map(|(_, rule)| *rule)
}

/// All rules with their reasons.
pub(super) const LIST: &[(&str, &str)] = &[
    ("builtin/age", "time in a cache"),
    ("builtin/cache-control-order", "the order of directives has no meaning"),
    ("builtin/connection", "belongs to one connection"),
    ("builtin/content-encoding", "removed before bodies are compared"),
    ("builtin/content-length", "follows from the body, which is compared"),
    (
        "builtin/cookie-value",
        "session values are encrypted anew in each answer; names and attributes are compared",
    ),
    ("builtin/date", "time of the answer"),
    ("builtin/etag", "a digest of the body's bytes; compared weakly when the bodies are equal"),
    (
        "builtin/json-text",
        "key order, white space, escapes and spelling of numbers carry no meaning",
    ),
    ("builtin/keep-alive", "belongs to one connection"),
    ("builtin/server", "names the software"),
    ("builtin/server-timing", "durations of this answer"),
    ("builtin/status-header", "Rails 3 repeats the status as a header"),
    ("builtin/trailing-newline", "a line break at the end of a text"),
    ("builtin/transfer-encoding", "belongs to one connection"),
    ("builtin/vary-order", "the order of names has no meaning"),
    ("builtin/via", "names the proxies on the way"),
    ("builtin/x-banyan", "set by Banyan itself"),
    ("builtin/x-powered-by", "names the software"),
    ("builtin/x-rack-cache", "state of a cache inside legacy"),
    ("builtin/x-request-id", "unique per request"),
    ("builtin/x-runtime", "duration of this answer"),
    ("builtin/x-served-by", "names the software"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_is_listed_once_with_a_reason() {
        let listed = |rule: &str| LIST.iter().filter(|(id, _)| *id == rule).count();
        for (_, rule) in HEADERS {
            assert_eq!(listed(rule), 1, "{rule}");
        }
        for rule in [
            ETAG,
            CONTENT_LENGTH,
            CONTENT_ENCODING,
            VARY_ORDER,
            CACHE_CONTROL_ORDER,
            COOKIE_VALUE,
            JSON_TEXT,
            TRAILING_NEWLINE,
        ] {
            assert_eq!(listed(rule), 1, "{rule}");
        }
    }
}
