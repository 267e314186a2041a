//! The built-in list of harmless differences between a Rails monolith and a service behind the same proxy.
//!
//! Owns the facts (from Rails' ETag, cache-control, session, CSRF, asset and JSON code) as data. What no client can act on
//! is in the pack `rails`, which is on; what changes the meaning of a value for some clients is in `rails-json`, which
//! must be asked for. Must stay true: each entry says why, and can be turned off by its id.

use super::{Action, Expected, Normaliser, Replacement, Rule, RuleSource, TimeRule};

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
/// White space, attribute order, comments and entities of HTML.
pub(crate) const HTML_TEXT: &str = "builtin/html-text";
/// How a form or a text in another charset is written.
pub(crate) const BODY_ENCODING: &str = "builtin/body-encoding";
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

/// A set of built-in rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pack {
    /// Harmless for every client; on unless turned off.
    Rails,
    /// Harmless for clients that parse leniently: times, numbers as text, `null` for absent; off unless asked for.
    RailsJson,
}

/// A rule that is part of the engine.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) id: &'static str,
    pub(super) at: &'static str,
    pub(super) action: &'static str,
    pub(super) reason: &'static str,
}

impl Pack {
    /// All packs.
    pub const ALL: [Self; 2] = [Self::Rails, Self::RailsJson];

    /// Its name in configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rails => "rails",
            Self::RailsJson => "rails-json",
        }
    }

    /// The rules of the pack that are written like those of people.
    pub(super) fn rules(self) -> Vec<Rule> {
        let written = match self {
            Self::Rails => rails(),
            Self::RailsJson => rails_json(),
        };
        let rule = |(id, at, action, reason): Written| {
            let rule = Rule::new(at, action, reason).ok()?;
            Some(rule.named(id).from_source(RuleSource::Builtin))
        };
        written.into_iter().filter_map(rule).collect()
    }
}

/// Id, place, action and reason.
type Written = (&'static str, &'static str, Action, &'static str);

fn rails() -> Vec<Written> {
    const CSRF: &str = "masked with another pad in each answer since Rails 4.2; unmasked, a token of the right length is compared";
    const DIGEST: &str =
        "names of assets hold a digest of their bytes; the rest of the name is compared";
    const NONCE: &str = "random in each answer";
    let csrf = || Action::Normaliser(Normaliser::CsrfToken);
    let digest = || Action::Normaliser(Normaliser::AssetDigest);
    let nonce = || Action::Normaliser(Normaliser::Nonce);
    // Of any length, but not empty.
    let any = || Replacement::new(".+", "*").map_or(Action::IgnoreValue, Action::RegexReplace);
    vec![
        ("builtin/csrf-token", "body:text", csrf(), CSRF),
        ("builtin/csrf-token", "header:x-csrf-token", csrf(), CSRF),
        ("builtin/csrf-token", "html:meta[name=csrf-token]@content", csrf(), CSRF),
        ("builtin/csrf-token", "html:input[name=authenticity_token]@value", csrf(), CSRF),
        ("builtin/asset-digest", "body:text", digest(), DIGEST),
        ("builtin/asset-digest", "header:link", digest(), DIGEST),
        ("builtin/asset-digest", "html:link@href", digest(), DIGEST),
        ("builtin/asset-digest", "html:*@src", digest(), DIGEST),
        ("builtin/nonce", "body:text", nonce(), NONCE),
        ("builtin/nonce", "header:content-security-policy", nonce(), NONCE),
        ("builtin/nonce", "html:*@nonce", any(), NONCE),
    ]
}

fn rails_json() -> Vec<Written> {
    vec![
        (
            "builtin/rails3-emoji",
            "$..*",
            Action::Expect(Expected::Rails3Emoji),
            "Rails 3 cuts characters above U+FFFF to 16 bits; new must have the whole character",
        ),
        (
            "builtin/time-format",
            "$..*",
            Action::Time(TimeRule::default()),
            "Rails 3 writes no fraction, Rails 4 three digits, old code 2014/06/12 10:00:00 +0000",
        ),
        (
            "builtin/number-as-string",
            "$..*",
            Action::NumberEqString { decimals: None },
            "Rails writes a BigDecimal as a text; equal numbers are one value",
        ),
        (
            "builtin/null-vs-absent",
            "$..*",
            Action::NullEqMissing,
            "serializers differ in whether a nil attribute is written",
        ),
    ]
}

/// Ids of the rules of packs that are written like those of people.
const WRITTEN: [&str; 7] = [
    "builtin/asset-digest",
    "builtin/csrf-token",
    "builtin/nonce",
    "builtin/null-vs-absent",
    "builtin/number-as-string",
    "builtin/rails3-emoji",
    "builtin/time-format",
];

/// The ids of all built-in rules, by which they can be turned off.
pub fn builtin_ids() -> impl Iterator<Item = &'static str> {
    LIST.iter().map(|entry| entry.id).chain(WRITTEN)
}

/// Whether some pack has a rule of that id.
pub(super) fn is_known(id: &str) -> bool {
    builtin_ids().any(|known| known == id)
}

/// The rule that drops a header.
pub(super) fn header(name: &str) -> Option<&'static str> {
    if name.starts_with("x-banyan-") {
        return Some("builtin/x-banyan");
    }
    HEADERS.iter().find(|(header, _)| *header == name).map(|(_, rule)| *rule)
}

/// The rules of the pack `rails` that are part of the engine.
pub(super) const LIST: &[Entry] = &[
    Entry { id: "builtin/age", at: "header:age", action: "ignore", reason: "time in a cache" },
    Entry {
        id: "builtin/body-encoding",
        at: "body",
        action: "text",
        reason: "percent signs, charset and byte order mark carry no meaning when the same text is written",
    },
    Entry {
        id: "builtin/cache-control-order",
        at: "header:cache-control",
        action: "set",
        reason: "the order of directives has no meaning",
    },
    Entry {
        id: "builtin/connection",
        at: "header:connection",
        action: "ignore",
        reason: "belongs to one connection",
    },
    Entry {
        id: "builtin/content-encoding",
        at: "header:content-encoding",
        action: "ignore",
        reason: "removed before bodies are compared",
    },
    Entry {
        id: "builtin/content-length",
        at: "header:content-length",
        action: "ignore",
        reason: "follows from the body, which is compared",
    },
    Entry {
        id: "builtin/cookie-value",
        at: "cookie:*",
        action: "cookie_attrs_only",
        reason: "session values are encrypted anew in each answer; names and attributes are compared",
    },
    Entry { id: "builtin/date", at: "header:date", action: "ignore", reason: "time of the answer" },
    Entry {
        id: "builtin/etag",
        at: "header:etag",
        action: "normaliser weak-etag",
        reason: "a digest of the body's bytes; compared weakly when the bodies are equal",
    },
    Entry {
        id: "builtin/html-text",
        at: "body",
        action: "html",
        reason: "white space between words, order of attributes and classes, entities and comments are not shown",
    },
    Entry {
        id: "builtin/json-text",
        at: "body",
        action: "json",
        reason: "key order, white space, escapes and spelling of numbers carry no meaning",
    },
    Entry {
        id: "builtin/keep-alive",
        at: "header:keep-alive",
        action: "ignore",
        reason: "belongs to one connection",
    },
    Entry {
        id: "builtin/server",
        at: "header:server",
        action: "ignore",
        reason: "names the software",
    },
    Entry {
        id: "builtin/server-timing",
        at: "header:server-timing",
        action: "ignore",
        reason: "durations of this answer",
    },
    Entry {
        id: "builtin/status-header",
        at: "header:status",
        action: "ignore",
        reason: "Rails 3 repeats the status as a header",
    },
    Entry {
        id: "builtin/trailing-newline",
        at: "body:text",
        action: "normaliser trailing-newline",
        reason: "a line break at the end of a text",
    },
    Entry {
        id: "builtin/transfer-encoding",
        at: "header:transfer-encoding",
        action: "ignore",
        reason: "belongs to one connection",
    },
    Entry {
        id: "builtin/vary-order",
        at: "header:vary",
        action: "set",
        reason: "the order of names has no meaning",
    },
    Entry {
        id: "builtin/via",
        at: "header:via",
        action: "ignore",
        reason: "names the proxies on the way",
    },
    Entry {
        id: "builtin/x-banyan",
        at: "header:x-banyan-*",
        action: "ignore",
        reason: "set by Banyan itself",
    },
    Entry {
        id: "builtin/x-powered-by",
        at: "header:x-powered-by",
        action: "ignore",
        reason: "names the software",
    },
    Entry {
        id: "builtin/x-rack-cache",
        at: "header:x-rack-cache",
        action: "ignore",
        reason: "state of a cache inside legacy",
    },
    Entry {
        id: "builtin/x-request-id",
        at: "header:x-request-id",
        action: "ignore",
        reason: "unique per request",
    },
    Entry {
        id: "builtin/x-runtime",
        at: "header:x-runtime",
        action: "ignore",
        reason: "duration of this answer",
    },
    Entry {
        id: "builtin/x-served-by",
        at: "header:x-served-by",
        action: "ignore",
        reason: "names the software",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_is_listed_once_with_a_reason() {
        let listed = |rule: &str| LIST.iter().filter(|entry| entry.id == rule).count();
        for (_, rule) in HEADERS {
            assert_eq!(listed(rule), 1, "{rule}");
        }
        for rule in [
            BODY_ENCODING,
            ETAG,
            HTML_TEXT,
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

    #[test]
    fn all_rules_of_packs_are_valid() {
        assert_eq!(Pack::Rails.rules().len(), 11);
        assert_eq!(Pack::RailsJson.rules().len(), 4);
        for rule in Pack::ALL.into_iter().flat_map(Pack::rules) {
            assert!(WRITTEN.contains(&rule.id().as_str()), "{}", rule.id());
        }
        assert!(is_known("builtin/date") && is_known("builtin/nonce") && !is_known("builtin/x"));
    }
}
