//! Causes outside of bodies: status, headers, cookies, redirects, encodings.

use banyan_diff::{Severity, Verdict, Why};

use super::super::answer::{Answer, Body, Failed};
use super::super::dice::Dice;
use super::super::world::World;
use super::{Cause, Found, Pair, judged, pair};

pub(crate) fn causes() -> Vec<Cause> {
    let cause = |name, plant| Cause { name, plant };
    vec![
        cause("status of the same class", |dice| status(dice, 200, &[201, 202, 203, 206])),
        cause("not found", |dice| status(dice, 200, &[400, 401, 403, 404, 422])),
        cause("found too much", |dice| status(dice, 404, &[200])),
        cause("redirect instead of an answer", |dice| status(dice, 200, &[301, 302])),
        cause("new error", |dice| errors(dice, (200, 500), Verdict::NewError)),
        cause("legacy error", |dice| errors(dice, (503, 200), Verdict::LegacyError)),
        cause("both error", |dice| errors(dice, (500, 500), Verdict::BothError)),
        cause("new does not answer", |dice| silent(dice, Side::New, Failed::Timeout)),
        cause("new refuses", |dice| silent(dice, Side::New, Failed::Refused)),
        cause("legacy does not answer", |dice| silent(dice, Side::Legacy, Failed::Timeout)),
        cause("legacy refuses", |dice| silent(dice, Side::Legacy, Failed::Refused)),
        cause("other errors", |dice| errors(dice, (502, 503), Verdict::BothError)),
        cause("not modified on one side", not_modified),
        cause("content type", content_type),
        cause("charset", |dice| charset(dice, "iso-8859-1", Severity::Value)),
        cause("charset not said", charset_not_said),
        cause("header missing", header_missing),
        cause("header missing that clients act on", acted_on_missing),
        cause("header extra", header_extra),
        cause("header changed", header_changed),
        cause("etag changed under the same body", etag_changed),
        cause("cache control changed", cache_control),
        cause("vary changed", vary),
        cause("cookie missing", |dice| cookie(dice, Crumb::Missing)),
        cause("cookie extra", |dice| cookie(dice, Crumb::Extra)),
        cause("cookie attribute lost", |dice| cookie(dice, Crumb::Lost)),
        cause("cookie attribute added", |dice| cookie(dice, Crumb::Added)),
        cause("cookie attribute changed", |dice| cookie(dice, Crumb::Changed)),
        cause("cookie emptied", |dice| cookie(dice, Crumb::Emptied)),
        cause("redirect target", redirect),
    ]
}

fn status(dice: &mut Dice, from: u16, to: &[u16]) -> Option<Pair> {
    let mut legacy = World::new(dice).any();
    legacy.status = from;
    let mut new = legacy.clone();
    new.status = *dice.pick(to);
    if new.status / 100 != 2 && dice.percent(70) {
        new.body = Body::Empty;
        new.headers.truncate(2);
    }
    let found = Found::shaped("status_changed", "status", &format!("{from} -> {}", new.status));
    Some(pair(&legacy, &new, vec![found], dice))
}

fn errors(dice: &mut Dice, statuses: (u16, u16), verdict: Verdict) -> Option<Pair> {
    let mut legacy = World::new(dice).any();
    let mut new = legacy.clone();
    (legacy.status, new.status) = statuses;
    for side in [&mut legacy, &mut new] {
        if side.status >= 500 && dice.percent(70) {
            side.body = Body::Empty;
        }
    }
    let cause = format!("{} -> {}", statuses.0, statuses.1);
    let differ = statuses.0 != statuses.1;
    let found = differ.then(|| Found::shaped("status_changed", "status", &cause));
    Some(judged(&legacy, &new, found.into_iter().collect(), verdict, dice))
}

enum Side {
    Legacy,
    New,
}

fn silent(dice: &mut Dice, side: Side, failed: Failed) -> Option<Pair> {
    let answer = World::new(dice).any();
    let (verdict, cause) = match side {
        Side::New => (Verdict::NewError, "int -> absent"),
        Side::Legacy => (Verdict::LegacyError, "absent -> int"),
    };
    let kind = match failed {
        Failed::Timeout => "outcome_changed:timeout",
        Failed::Refused => "outcome_changed:refused",
    };
    let found = vec![Found::shaped(kind, "status", cause)];
    let mut pair = judged(&answer, &answer, found, verdict, dice);
    match side {
        Side::New => pair.new.failed = Some(failed),
        Side::Legacy => pair.legacy.failed = Some(failed),
    }
    Some(pair)
}

fn not_modified(dice: &mut Dice) -> Option<Pair> {
    let legacy = World::new(dice).any();
    let mut new = legacy.clone();
    (new.status, new.body) = (304, Body::Empty);
    let verdict = Verdict::Inconclusive(Why::NotModified);
    Some(judged(&legacy, &new, Vec::new(), verdict, dice))
}

fn content_type(dice: &mut Dice) -> Option<Pair> {
    let legacy = World::new(dice).any();
    let mut new = legacy.clone();
    new.set("content-type", *dice.pick(&["text/plain", "application/vnd.api", "application/pdf"]));
    if dice.percent(50) {
        new.body = Body::Bytes(b"<html><body>Sign in</body></html>".to_vec());
        new.set("content-type", "text/x-other; charset=utf-8");
    }
    Some(pair(
        &legacy,
        &new,
        vec![header("content_type_changed", "content-type", "string -> string")],
        dice,
    ))
}

fn header(kind: &str, name: &str, cause: &str) -> Found {
    Found::shaped(kind, &format!("header:{name}"), cause)
}

fn charset(dice: &mut Dice, charset: &str, severity: Severity) -> Option<Pair> {
    let mut legacy = World::new(dice).json();
    legacy.derived = false;
    let mut new = legacy.clone();
    new.set("content-type", &format!("application/json; charset={charset}"));
    let found = header("charset_changed", "content-type", "string -> string");
    let mut pair = judged(&legacy, &new, vec![found], Verdict::Mismatch(severity), dice);
    // The same body, byte for byte: only what is said of it changed.
    pair.new.body.clone_from(&pair.legacy.body);
    Some(pair)
}

fn charset_not_said(dice: &mut Dice) -> Option<Pair> {
    let legacy = World::new(dice).json();
    let mut new = legacy.clone();
    new.set("content-type", "application/json");
    let found = header("charset_changed", "content-type", "string -> string");
    Some(judged(&legacy, &new, vec![found], Verdict::Mismatch(Severity::Cosmetic), dice))
}

fn header_missing(dice: &mut Dice) -> Option<Pair> {
    let legacy = World::new(dice).any();
    let mut new = legacy.clone();
    let (name, class) = *dice.pick(&[
        ("x-ratelimit-limit", "string"),
        ("cache-control", "string"),
        ("vary", "string"),
    ]);
    new.drop(name);
    Some(pair(
        &legacy,
        &new,
        vec![header("header_missing", name, &format!("{class} -> absent"))],
        dice,
    ))
}

fn acted_on_missing(dice: &mut Dice) -> Option<Pair> {
    let mut legacy = World::new(dice).any();
    let name = *dice.pick(&[
        "link",
        "retry-after",
        "content-disposition",
        "www-authenticate",
        "content-language",
    ]);
    legacy.set(name, "some; value=1");
    let mut new = legacy.clone();
    new.drop(name);
    let found = header("header_missing", name, "string -> absent");
    Some(judged(&legacy, &new, vec![found], Verdict::Mismatch(Severity::Value), dice))
}

fn header_extra(dice: &mut Dice) -> Option<Pair> {
    let legacy = World::new(dice).any();
    let mut new = legacy.clone();
    let name = *dice.pick(&["x-planted", "access-control-allow-origin", "x-frame-options", "p3p"]);
    new.add(name, "planted value");
    Some(pair(&legacy, &new, vec![header("header_extra", name, "absent -> string")], dice))
}

fn header_changed(dice: &mut Dice) -> Option<Pair> {
    let legacy = World::new(dice).any();
    let mut new = legacy.clone();
    new.set("x-ratelimit-limit", &dice.between(601, 999).to_string());
    Some(pair(
        &legacy,
        &new,
        vec![header("header_changed", "x-ratelimit-limit", "string -> string")],
        dice,
    ))
}

fn etag_changed(dice: &mut Dice) -> Option<Pair> {
    let mut legacy = World::new(dice).any();
    let weak = if dice.percent(50) { "W/" } else { "" };
    legacy.set("etag", &format!("{weak}\"{}\"", dice.hex(32)));
    let mut new = legacy.clone();
    new.set("etag", &format!("\"{}\"", dice.hex(32)));
    let found = header("header_changed", "etag", "string -> string");
    let mut pair = pair(&legacy, &new, vec![found], dice);
    // The same body, byte for byte.
    pair.new.body.clone_from(&pair.legacy.body);
    Some(pair)
}

fn cache_control(dice: &mut Dice) -> Option<Pair> {
    let legacy = World::new(dice).any();
    let mut new = legacy.clone();
    new.set(
        "cache-control",
        *dice.pick(&[
            "max-age=60, private, must-revalidate",
            "no-store",
            "max-age=0, public, must-revalidate",
        ]),
    );
    Some(pair(
        &legacy,
        &new,
        vec![header("header_changed", "cache-control", "string -> string")],
        dice,
    ))
}

fn vary(dice: &mut Dice) -> Option<Pair> {
    let legacy = World::new(dice).any();
    let mut new = legacy.clone();
    new.set("vary", *dice.pick(&["Accept", "Accept, Accept-Encoding, Origin, Cookie", "*"]));
    Some(pair(&legacy, &new, vec![header("header_changed", "vary", "string -> string")], dice))
}

#[derive(Clone, Copy, PartialEq)]
enum Crumb {
    Missing,
    Extra,
    Lost,
    Added,
    Changed,
    Emptied,
}

fn cookie(dice: &mut Dice, crumb: Crumb) -> Option<Pair> {
    let mut legacy = World::new(dice).any();
    legacy.drop("set-cookie");
    let value = dice.hex(24);
    legacy.add("set-cookie", &format!("cart={value}; path=/; HttpOnly; Secure"));
    if dice.percent(50) {
        legacy.add("set-cookie", "other=1; path=/");
    }
    let mut new = legacy.clone();
    let own = new
        .headers
        .iter_mut()
        .find(|(name, value)| name == "set-cookie" && value.starts_with("cart"))?;
    let (kind, text, cause, severity) = match crumb {
        Crumb::Missing => ("cookie_missing", String::new(), "string -> absent", Severity::Value),
        Crumb::Extra => ("cookie_extra", own.1.clone(), "absent -> string", Severity::Additive),
        Crumb::Lost => {
            let lost = *dice.pick(&["; HttpOnly", "; Secure", "; path=/"]);
            ("cookie_attr_changed", own.1.replace(lost, ""), "string -> string", Severity::Breaking)
        }
        Crumb::Added => (
            "cookie_attr_changed",
            format!("{}; SameSite=Strict", own.1),
            "string -> string",
            Severity::Value,
        ),
        Crumb::Changed => (
            "cookie_attr_changed",
            own.1.replace("path=/", "path=/api"),
            "string -> string",
            Severity::Value,
        ),
        Crumb::Emptied => {
            ("value_changed:string", own.1.replace(&value, ""), "hex -> empty", Severity::Value)
        }
    };
    own.1 = text;
    new.headers.retain(|(_, value)| !value.is_empty());
    if crumb == Crumb::Extra {
        new.add("set-cookie", "planted=1; path=/");
    }
    let name = if crumb == Crumb::Extra { "planted" } else { "cart" };
    let found = Found::shaped(kind, &format!("cookie:{name}"), cause);
    Some(judged(&legacy, &new, vec![found], Verdict::Mismatch(severity), dice))
}

fn redirect(dice: &mut Dice) -> Option<Pair> {
    let mut legacy: Answer = World::new(dice).answer("login.page");
    legacy.status = *dice.pick(&[301, 302, 303, 307]);
    legacy.body = Body::Empty;
    legacy.set("location", "https://www.legacy.example/messages?page=1");
    let mut new = legacy.clone();
    new.set(
        "location",
        *dice.pick(&["https://www.legacy.example/login", "https://new.example/messages?page=1"]),
    );
    let found = header("redirect_target_changed", "location", "url -> url");
    Some(pair(&legacy, &new, vec![found], dice))
}
