//! Pairs that are equal up to noise: several harmless differences at once, none of which may ever be a mismatch.

use banyan_diff::{RuleSet, Verdict};

use super::answer::{Answer, Body, Coding};
use super::cause::{Pair, choose, harmless_headers, ignore};
use super::dice::Dice;
use super::json::{J, Place, Style, shape};
use super::world::World;

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
    let mut rules = RuleSet::builtin();
    if matches!(legacy.body, Body::Json(_)) && dice.percent(60) {
        for rule in ignored(&mut new, dice) {
            rules = rules.with([ignore(&rule)]);
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
    *dice.pick(&[
        Coding::Identity,
        Coding::Identity,
        Coding::Gzip,
        Coding::Deflate,
        Coding::RawDeflate,
    ])
}

/// Changes values at some places and gives the selectors that hide them.
fn ignored(new: &mut Answer, dice: &mut Dice) -> Vec<String> {
    let json = new.json_mut();
    let count = dice.between(1, 3);
    let mut selectors = Vec::new();
    for _ in 0..count {
        let wish = |place: &Place, value: &J| value.is_scalar() && !json.is_identity(place);
        let Some(place) = choose(dice, json, wish) else { continue };
        *json.at_mut(&place) = dice
            .pick(&[
                J::num(123_456),
                J::str("other"),
                J::Null,
                J::Arr(vec![J::num(1)]),
                J::Bool(true),
            ])
            .clone();
        selectors.push(shape(&place));
    }
    selectors
}
