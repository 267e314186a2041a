//! Pairs that are equal up to noise: several harmless differences at once, none of which may ever be a mismatch.

use std::collections::BTreeSet;

use banyan_diff::{Action, Rule, RuleSet, Verdict};

use super::answer::{Answer, Body, Coding};
use super::cause::{Pair, choose, harmless_headers, ignore};
use super::dice::Dice;
use super::html::{Page, masked, token};
use super::json::{J, Place, Style, shape};
use super::world::{Clock, World};

pub(crate) fn equal_up_to_noise(dice: &mut Dice) -> Pair {
    let mut legacy = World::new(dice).any();
    let mut new = legacy.clone();
    if dice.percent(90) {
        headers(&mut new, dice);
    }
    if matches!(legacy.body, Body::Json(_) | Body::NdJson(_)) {
        if dice.percent(80) {
            new.style = Style::random(dice);
        }
        if dice.percent(30) {
            legacy.style = Style::random(dice);
        }
    }
    if dice.percent(40) {
        legacy.coding = coding(dice);
        new.coding = coding(dice);
    }
    if let Body::Html(page) = &mut new.body {
        made_anew(page, dice);
    }
    let mut rules = RuleSet::builtin();
    if matches!(legacy.body, Body::Json(_)) {
        // A rule for each place: which of two would win is another test's business.
        let mut taken = BTreeSet::new();
        if dice.percent(40) {
            rules = rules.with(learned(&mut new, &mut taken, dice));
        }
        if dice.percent(60) {
            rules = rules.with(ignored(&mut new, &mut taken, dice));
        }
        if dice.percent(40) {
            rules = rules.with(sets(&mut new, &mut taken, dice));
        }
    }
    if dice.percent(50) {
        std::mem::swap(&mut legacy, &mut new);
    }
    let (legacy, new) = (legacy.raw(dice), new.raw(dice));
    let verdict = if legacy == new { Verdict::Match } else { Verdict::MatchNormalised };
    Pair { legacy, new, rules, verdict, found: Vec::new(), hidden: None }
}

fn headers(answer: &mut Answer, dice: &mut Dice) {
    harmless_headers(answer, dice);
    let mut maybe = |name: &str, value: &str| {
        if dice.percent(30) {
            answer.set(name, value);
        }
    };
    maybe("via", "1.1 varnish");
    maybe("age", "3");
    maybe("connection", "keep-alive");
    maybe("keep-alive", "timeout=5");
    maybe("x-powered-by", "Phusion Passenger 5");
    maybe("x-rack-cache", "miss, store");
    maybe("x-served-by", "mothership-17");
    maybe("server-timing", "db;dur=53");
    maybe("status", "200 OK");
    maybe("x-banyan-side", "new");
    maybe("vary", "accept-encoding,origin, Accept");
    maybe("cache-control", "must-revalidate,private, max-age=0");
    if dice.percent(20) {
        answer.drop("date");
    }
    if dice.percent(40) {
        dice.shuffle(&mut answer.headers);
    }
}

fn coding(dice: &mut Dice) -> Coding {
    if dice.percent(40) { Coding::Identity } else { *dice.pick(&Coding::ALL) }
}

/// What Rails makes anew in each page.
fn made_anew(page: &mut Page, dice: &mut Dice) {
    if dice.percent(80) {
        page.set_tokens(|| masked(token(dice), dice));
    }
    if dice.percent(50) {
        page.set_digests(&dice.hex(64));
    }
    if dice.percent(80) {
        page.set_nonces(&dice.hex(24));
    }
}

/// Changes values within their class at some places, as random ids and counters do, and gives the rules that were learned there.
fn learned(new: &mut Answer, taken: &mut BTreeSet<String>, dice: &mut Dice) -> Vec<Rule> {
    let json = new.json_mut();
    let mut rules = Vec::new();
    for _ in 0..dice.between(1, 3) {
        let wish = |place: &Place, value: &J| {
            another(value, &mut Dice::new(1)).is_some() && !json.is_identity(place)
        };
        let Some(place) = choose(dice, json, wish) else { continue };
        let Some(other) = another(json.at(&place), dice) else { continue };
        if !taken.insert(shape(&place)) {
            continue;
        }
        *json.at_mut(&place) = other;
        rules.push(Rule::ignore_value(&shape(&place), "learned").unwrap());
    }
    rules
}

/// Another value of the same class.
fn another(value: &J, dice: &mut Dice) -> Option<J> {
    match value {
        J::Num(number) if number.len() < 6 && number.bytes().all(|b| b.is_ascii_digit()) => {
            Some(J::num(dice.between(100, 9_999)))
        }
        J::Bool(_) => Some(J::Bool(dice.percent(50))),
        J::Str(text) if text.len() == 36 && text.matches('-').count() == 4 => {
            Some(J::Str(dice.uuid()))
        }
        J::Str(text) if text.len() == 40 && text.bytes().all(|b| b.is_ascii_hexdigit()) => {
            Some(J::Str(dice.hex(40)))
        }
        J::Str(text) => {
            let (clock, epoch) = Clock::read(text)?;
            let later = i64::try_from(dice.below(90_000)).unwrap();
            Some(J::Str(clock.write(epoch + later)))
        }
        J::Null | J::Num(_) | J::Arr(_) | J::Obj(_) => None,
    }
}

/// Shuffles some lists and gives the rules that say that their order means nothing.
fn sets(new: &mut Answer, taken: &mut BTreeSet<String>, dice: &mut Dice) -> Vec<Rule> {
    let json = new.json_mut();
    let mut rules = Vec::new();
    for _ in 0..dice.between(1, 2) {
        // Which element is which cannot be told where the elements themselves are noise.
        let is_list = |place: &Place, value: &J| {
            let noisy = taken.contains(&format!("{}[*]", shape(place)));
            matches!(value, J::Arr(items) if items.len() > 1) && !noisy
        };
        let Some(place) = choose(dice, json, is_list) else { continue };
        if !taken.insert(shape(&place)) {
            continue;
        }
        let J::Arr(items) = json.at_mut(&place) else { continue };
        dice.shuffle(items);
        let keyed = items.iter().all(|item| matches!(item, J::Obj(_))) && dice.percent(50);
        let action = if keyed { Action::Multiset } else { Action::Set };
        rules.push(Rule::new(&shape(&place), action, "order means nothing").unwrap());
    }
    rules
}

/// Changes values at some places and gives the selectors that hide them.
fn ignored(new: &mut Answer, taken: &mut BTreeSet<String>, dice: &mut Dice) -> Vec<Rule> {
    let json = new.json_mut();
    let count = dice.between(1, 3);
    let mut rules = Vec::new();
    for _ in 0..count {
        let wish = |place: &Place, value: &J| value.is_scalar() && !json.is_identity(place);
        let Some(place) = choose(dice, json, wish) else { continue };
        if !taken.insert(shape(&place)) {
            continue;
        }
        *json.at_mut(&place) = dice
            .pick(&[
                J::num(123_456),
                J::str("other"),
                J::Null,
                J::Arr(vec![J::num(1)]),
                J::Bool(true),
            ])
            .clone();
        rules.push(ignore(&shape(&place)));
    }
    rules
}
