//! The habits of Rails: each must be hidden by its own rule, or reported as the one kind that it is.

use banyan_diff::{RuleSet, Verdict};

use super::super::answer::{Answer, Body, Coding};
use super::super::dice::Dice;
use super::super::json::{Escapes, J, Style};
use super::super::world::World;
use super::{Cause, Found, Pair, in_json};

pub(crate) fn causes() -> Vec<Cause> {
    let cause = |name, plant| Cause { name, plant };
    vec![
        cause("rails: x-runtime", |dice| {
            hidden_header(dice, "builtin/x-runtime", "x-runtime", "0.123")
        }),
        cause("rails: x-request-id", |dice| {
            hidden_header(dice, "builtin/x-request-id", "x-request-id", "abc")
        }),
        cause("rails: date", |dice| {
            hidden_header(dice, "builtin/date", "date", "Thu, 12 Jun 2014 10:00:01 GMT")
        }),
        cause("rails: server", |dice| hidden_header(dice, "builtin/server", "server", "nginx")),
        cause("rails: via", |dice| hidden_header(dice, "builtin/via", "via", "1.1 varnish")),
        cause("rails: age", |dice| hidden_header(dice, "builtin/age", "age", "12")),
        cause("rails: connection", |dice| {
            hidden_header(dice, "builtin/connection", "connection", "close")
        }),
        cause("rails: x-powered-by", |dice| {
            hidden_header(dice, "builtin/x-powered-by", "x-powered-by", "Phusion")
        }),
        cause("rails: status header", |dice| {
            hidden_header(dice, "builtin/status-header", "status", "200 OK")
        }),
        cause("rails: transfer-encoding", |dice| {
            hidden_header(dice, "builtin/transfer-encoding", "transfer-encoding", "chunked")
        }),
        cause("rails: vary order", |dice| {
            hidden_header(dice, "builtin/vary-order", "vary", "Origin,accept-encoding, Accept")
        }),
        cause("rails: cache-control order", |dice| {
            hidden_header(
                dice,
                "builtin/cache-control-order",
                "cache-control",
                "private,must-revalidate, max-age=0",
            )
        }),
        cause("rails: weak and strong etag", weak_etag),
        cause("rails: etag of another encoder", |dice| {
            encoded(dice, "builtin/etag", |style| style.escapes = Escapes::Rails4)
        }),
        cause("rails: session anew", session_anew),
        cause("rails: escapes of Rails 3", |dice| {
            encoded(dice, "builtin/json-text", |style| style.escapes = Escapes::Rails3)
        }),
        cause("rails: escapes of Rails 4", |dice| {
            encoded(dice, "builtin/json-text", |style| style.escapes = Escapes::Rails4)
        }),
        cause("rails: key order", |dice| {
            encoded(dice, "builtin/json-text", |style| style.reorder = true)
        }),
        cause("rails: white space", |dice| {
            encoded(dice, "builtin/json-text", |style| style.pretty = true)
        }),
        cause("rails: spelling of numbers", |dice| {
            encoded(dice, "builtin/json-text", |style| style.respell = true)
        }),
        cause("rails: compressed by Rack::Deflater or a proxy", gzip),
        cause("rails: trailing newline", trailing_newline),
        cause("rails: byte order mark", byte_order_mark),
        cause("rails: empty bodies of HEAD", head),
        cause("rails: emoji packed to 16 bits", emoji),
    ]
}

/// Equal up to what one built-in rule hides.
pub(crate) fn normalised(
    legacy: &Answer,
    new: &Answer,
    rule: &'static str,
    dice: &mut Dice,
) -> Option<Pair> {
    let (legacy, new) = (legacy.raw(dice), new.raw(dice));
    // Chance may have written the same.
    let differ = legacy != new;
    let verdict = Verdict::MatchNormalised;
    differ.then(|| Pair {
        legacy,
        new,
        rules: RuleSet::builtin(),
        verdict,
        found: Vec::new(),
        hidden: Some(rule),
    })
}

fn hidden_header(dice: &mut Dice, rule: &'static str, name: &str, value: &str) -> Option<Pair> {
    let legacy = World::new(dice).any();
    let mut new = legacy.clone();
    new.set(name, value);
    // On either side, or on both with other values.
    match dice.below(3) {
        0 if legacy.get(name).is_none() => normalised(&new, &legacy, rule, dice),
        _ => normalised(&legacy, &new, rule, dice),
    }
}

fn weak_etag(dice: &mut Dice) -> Option<Pair> {
    let mut legacy = World::new(dice).any();
    let etag = format!("\"{}\"", dice.hex(32));
    legacy.set("etag", &etag);
    let mut new = legacy.clone();
    new.set("etag", &format!("W/{etag}"));
    normalised(&legacy, &new, "builtin/etag", dice)
}

fn session_anew(dice: &mut Dice) -> Option<Pair> {
    let mut legacy = World::new(dice).any();
    legacy.drop("set-cookie");
    let cookie = |dice: &mut Dice, at: &str| {
        format!("_session={}--{}; path=/; expires={at}; HttpOnly", dice.hex(80), dice.hex(40))
    };
    legacy.add("set-cookie", &cookie(dice, "Thu, 12 Jun 2025 10:00:00 GMT"));
    let mut new = legacy.clone();
    new.drop("set-cookie");
    new.add("set-cookie", &cookie(dice, "Thu, 12 Jun 2025 10:00:09 GMT"));
    normalised(&legacy, &new, "builtin/cookie-value", dice)
}

fn encoded(dice: &mut Dice, rule: &'static str, set: fn(&mut Style)) -> Option<Pair> {
    let legacy = World::new(dice).json();
    let mut new = legacy.clone();
    set(&mut new.style);
    let pair = normalised(&legacy, &new, rule, dice)?;
    (pair.legacy.body != pair.new.body).then_some(pair)
}

fn gzip(dice: &mut Dice) -> Option<Pair> {
    let legacy = World::new(dice).any();
    let mut new = legacy.clone();
    new.coding = *dice.pick(&Coding::ALL);
    normalised(&legacy, &new, "builtin/content-encoding", dice)
}

fn trailing_newline(dice: &mut Dice) -> Option<Pair> {
    let legacy = World::new(dice).answer("export.csv");
    let mut new = legacy.clone();
    let Body::Text(_, text) = &mut new.body else { return None };
    text.pop();
    normalised(&legacy, &new, "builtin/trailing-newline", dice)
}

fn byte_order_mark(dice: &mut Dice) -> Option<Pair> {
    let legacy = World::new(dice).json();
    let mut new = legacy.clone();
    let text = legacy.style.write(legacy.json(), dice);
    new.body = Body::Bytes(format!("\u{FEFF}{text}").into_bytes());
    normalised(&legacy, &new, "builtin/json-text", dice)
}

fn head(dice: &mut Dice) -> Option<Pair> {
    let mut legacy = World::new(dice).any();
    legacy.body = Body::Empty;
    legacy.set("etag", &format!("\"{}\"", dice.hex(32)));
    legacy.set("content-length", "1234");
    let mut new = legacy.clone();
    new.set("etag", &format!("\"{}\"", dice.hex(32)));
    new.set("content-length", "1200");
    normalised(&legacy, &new, "builtin/etag", dice)
}

/// Rails 3 cuts code points to 16 bits: a known bug of legacy, a difference and not noise.
fn emoji(dice: &mut Dice) -> Option<Pair> {
    in_json(dice, |dice, json| {
        let has_emoji = |place: &Vec<_>, v: &J| {
            matches!(v, J::Str(s) if s.contains('🎧')) && !json.is_identity(place)
        };
        let place = super::choose(dice, json, has_emoji)?;
        let J::Str(text) = json.at_mut(&place) else { return None };
        *text = text.replace('🎧', "\u{F3A7}");
        Some(vec![Found::at("value_changed:string", &place, "string -> string")])
    })
}
