//! What Rails makes anew in each page, and the packs and rules for values of Rails: hidden when only that differs, reported when
//! it is wrong.

use banyan_diff::{Action, Normaliser, Pack, Rule, RuleSet, Severity, Verdict};

use super::super::answer::{Answer, Body};
use super::super::dice::Dice;
use super::super::html::{Page, masked, plain, token};
use super::super::json::J;
use super::super::world::{Clock, World};
use super::rails::normalised;
use super::{Cause, Found, Pair, judged};

pub(crate) fn causes() -> Vec<Cause> {
    let cause = |name, plant| Cause { name, plant };
    vec![
        cause("rails: CSRF token masked anew", |dice| {
            let raw = token(dice);
            hidden(dice, "builtin/csrf-token", |page, dice| page.set_tokens(|| masked(raw, dice)))
        }),
        cause("rails: CSRF token of another session", |dice| {
            hidden(dice, "builtin/csrf-token", |page, dice| {
                page.set_tokens(|| masked(token(dice), dice));
            })
        }),
        cause("rails: CSRF token without a mask", |dice| {
            hidden(dice, "builtin/csrf-token", |page, dice| page.set_tokens(|| plain(token(dice))))
        }),
        cause("rails: CSRF token too short", |dice| {
            broken_token(dice, |dice| masked(token(dice), dice).split_off(24))
        }),
        cause("rails: CSRF token that is none", |dice| {
            broken_token(dice, |dice| format!("planted {}", dice.hex(8)))
        }),
        cause("rule: CSRF token of the same session", |dice| session_token(dice, true)),
        cause("rule: CSRF token of another session", |dice| session_token(dice, false)),
        cause("rails: asset digest", |dice| {
            hidden(dice, "builtin/asset-digest", |page, dice| page.set_digests(&dice.hex(64)))
        }),
        cause("rails: asset of another name", other_asset),
        cause("rails: nonce of a script", |dice| {
            hidden(dice, "builtin/nonce", |page, dice| page.set_nonces(&dice.hex(22)))
        }),
        cause("rails: nonce in the security policy", policy),
        cause("pack: BigDecimal as text", |dice| {
            packed(dice, "builtin/number-as-string", |value| match value {
                J::Str(text) if text.parse::<f64>().is_ok() => Some(J::Num(text.clone() + "0")),
                _ => None,
            })
        }),
        cause("pack: time of Rails 3 and 4", |dice| {
            packed(dice, "builtin/time-format", |value| {
                let J::Str(text) = value else { return None };
                let (clock, epoch) = Clock::read(text)?;
                let other = if clock == Clock::Rails { Clock::Iso } else { Clock::Rails };
                Some(J::Str(other.write(epoch)))
            })
        }),
        cause("pack: emoji cut by Rails 3", |dice| {
            packed(dice, "builtin/rails3-emoji", |value| match value {
                // Planted the other way round: here legacy has the whole character.
                J::Str(text) if text.contains('🎧') => Some(J::Str(text.clone())),
                _ => None,
            })
        }),
        cause("pack: nil left out", nil_left_out),
    ]
}

fn page(answer: &mut Answer) -> &mut Page {
    let Body::Html(page) = &mut answer.body else { panic!("no page") };
    page
}

fn hidden(
    dice: &mut Dice,
    rule: &'static str,
    change: impl Fn(&mut Page, &mut Dice),
) -> Option<Pair> {
    let legacy = World::new(dice).answer("login.page");
    let mut new = legacy.clone();
    change(page(&mut new), dice);
    normalised(&legacy, &new, rule, dice)
}

/// Where a page of the generator holds its CSRF tokens.
const TOKENS: [&str; 2] =
    ["html:head > meta@content", "html:body > main > form#login > input@value"];

fn broken_token(dice: &mut Dice, write: fn(&mut Dice) -> String) -> Option<Pair> {
    let legacy = World::new(dice).answer("login.page");
    let mut new = legacy.clone();
    page(&mut new).set_tokens(|| write(dice));
    let found = TOKENS.map(|at| Found::shaped("html_attr:string", at, "string -> string"));
    Some(judged(&legacy, &new, found.to_vec(), Verdict::Mismatch(Severity::Value), dice))
}

fn session_token(dice: &mut Dice, same: bool) -> Option<Pair> {
    let (legacy_token, other) = (token(dice), token(dice));
    let new_token = if same { legacy_token } else { other };
    let mut legacy = World::new(dice).answer("login.page");
    page(&mut legacy).set_tokens(|| masked(legacy_token, dice));
    let mut new = legacy.clone();
    page(&mut new).set_tokens(|| masked(new_token, dice));
    let places =
        ["html:meta[name=csrf-token]@content", "html:input[name=authenticity_token]@value"];
    let rules = places.map(|at| {
        let action = Action::Normaliser(Normaliser::CsrfSession);
        Rule::new(at, action, "one session").unwrap().named("csrf-session")
    });
    let mut pair = if same {
        normalised(&legacy, &new, "csrf-session", dice)?
    } else {
        let found = TOKENS.map(|at| Found::shaped("html_attr:string", at, "string -> string"));
        judged(&legacy, &new, found.to_vec(), Verdict::Mismatch(Severity::Value), dice)
    };
    pair.rules = pair.rules.with(rules);
    Some(pair)
}

fn other_asset(dice: &mut Dice) -> Option<Pair> {
    let legacy = World::new(dice).answer("login.page");
    let mut new = legacy.clone();
    page(&mut new).each(&mut |tag| {
        for (name, value) in &mut tag.attributes {
            if name == "href" && value.starts_with("/assets/") {
                *value = value.replace("/app-", "/planted-");
            }
        }
    });
    let found = Found::shaped("html_attr:string", "html:head > link@href", "string -> string");
    Some(judged(&legacy, &new, vec![found], Verdict::Mismatch(Severity::Value), dice))
}

fn policy(dice: &mut Dice) -> Option<Pair> {
    let mut policy = || format!("script-src 'self' 'nonce-{}'; object-src 'none'", dice.hex(24));
    let policies = [policy(), policy()];
    let mut legacy = World::new(dice).any();
    legacy.set("content-security-policy", &policies[0]);
    let mut new = legacy.clone();
    new.set("content-security-policy", &policies[1]);
    normalised(&legacy, &new, "builtin/nonce", dice)
}

/// A value that the pack `rails-json` looks through.
fn packed(dice: &mut Dice, rule: &'static str, other: fn(&J) -> Option<J>) -> Option<Pair> {
    let mut legacy = World::new(dice).json();
    let mut new = legacy.clone();
    let json = new.json();
    let wish = |place: &Vec<_>, value: &J| other(value).is_some() && !json.is_identity(place);
    let place = super::choose(dice, json, wish)?;
    let changed = other(json.at(&place))?;
    *new.json_mut().at_mut(&place) = changed;
    if rule == "builtin/rails3-emoji" {
        let J::Str(text) = legacy.json_mut().at_mut(&place) else { return None };
        *text = text.replace('🎧', "\u{F3A7}");
    }
    let pair = normalised(&legacy, &new, rule, dice)?;
    Some(Pair { rules: RuleSet::builtin().with_pack(Pack::RailsJson), ..pair })
}

fn nil_left_out(dice: &mut Dice) -> Option<Pair> {
    let legacy = World::new(dice).json();
    let mut new = legacy.clone();
    let objects = super::choose(
        dice,
        new.json(),
        |_, value| matches!(value, J::Obj(members) if members.iter().any(|(_, value)| *value == J::Null)),
    )?;
    let J::Obj(members) = new.json_mut().at_mut(&objects) else { return None };
    members.retain(|(_, value)| *value != J::Null);
    let pair = normalised(&legacy, &new, "builtin/null-vs-absent", dice)?;
    Some(Pair { rules: RuleSet::builtin().with_pack(Pack::RailsJson), ..pair })
}
