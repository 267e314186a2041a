//! The catalogue of causes: each makes a pair of answers with exactly one known difference.
//!
//! What must be reported is written down by whoever plants, from the design's list of kinds; nothing here asks the engine.

pub(crate) mod body;
mod change;
pub(crate) mod head;
pub(crate) mod html;
pub(crate) mod json;
mod page;
pub(crate) mod rails;

use banyan_diff::{Rule, RuleSet, Severity, Verdict};

use super::answer::{Answer, Body, Raw};
use super::dice::Dice;
use super::json::{J, Place, Style, pointer, shape};
use super::world::World;

/// A way to plant one cause; nothing when this answer has no place for it.
pub(crate) struct Cause {
    pub(crate) name: &'static str,
    pub(crate) plant: fn(&mut Dice) -> Option<Pair>,
}

/// Two answers and what must be said about them.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub(crate) legacy: Raw,
    pub(crate) new: Raw,
    pub(crate) rules: RuleSet,
    pub(crate) verdict: Verdict,
    pub(crate) found: Vec<Found>,
    /// The rule that must have hidden something.
    pub(crate) hidden: Option<&'static str>,
}

/// A difference that must be reported.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Found {
    pub(crate) kind: String,
    pub(crate) shape: String,
    /// Where exactly, when there is only one right answer.
    pub(crate) pointer: Option<String>,
    /// The cause in words.
    pub(crate) cause: String,
}

impl Found {
    pub(crate) fn at(kind: &str, place: &Place, cause: &str) -> Self {
        let (shape, pointer) = (shape(place), Some(pointer(place)));
        Self { kind: kind.to_owned(), shape, pointer, cause: cause.to_owned() }
    }

    pub(crate) fn shaped(kind: &str, shape: &str, cause: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            shape: shape.to_owned(),
            pointer: None,
            cause: cause.to_owned(),
        }
    }

    pub(crate) fn anywhere(mut self) -> Self {
        self.pointer = None;
        self
    }
}

/// The severities of section 4 of the design.
pub(crate) fn severity(kind: &str) -> Severity {
    match kind {
        "status_changed"
        | "content_type_changed"
        | "redirect_target_changed"
        | "type_changed"
        | "scalar_as_string"
        | "key_missing"
        | "key_renamed"
        | "elem_moved"
        | "elem_missing" => Severity::Breaking,
        "array_reordered" => Severity::Order,
        "key_extra" | "header_missing" | "header_extra" | "cookie_extra" => Severity::Additive,
        "value_changed:whitespace" | "dup_key" => Severity::Cosmetic,
        _ => Severity::Value,
    }
}

/// A pair whose only difference is what was planted, at times under harmless noise.
pub(crate) fn pair(legacy: &Answer, new: &Answer, found: Vec<Found>, dice: &mut Dice) -> Pair {
    let worst = found.iter().map(|found| severity(&found.kind)).max();
    let worst = worst.expect("something was planted");
    judged(legacy, new, found, Verdict::Mismatch(worst), dice)
}

pub(crate) fn judged(
    legacy: &Answer,
    new: &Answer,
    found: Vec<Found>,
    verdict: Verdict,
    dice: &mut Dice,
) -> Pair {
    let mut new = new.clone();
    if dice.percent(50) {
        harmless_headers(&mut new, dice);
        if matches!(new.body, Body::Json(_)) {
            new.style = Style::random(dice);
        }
    }
    let rules = RuleSet::builtin();
    let (legacy, new) = (legacy.raw(dice), new.raw(dice));
    Pair { legacy, new, rules, verdict, found, hidden: None }
}

/// What every answer of another server differs in.
pub(crate) fn harmless_headers(answer: &mut Answer, dice: &mut Dice) {
    answer.set("x-runtime", &format!("0.{:06}", dice.below(999_999)));
    answer.set("x-request-id", &dice.uuid());
    answer.set("date", "Thu, 12 Jun 2014 10:00:07 GMT");
    answer.set("server", "hyper");
    for (_, value) in answer.headers.iter_mut().filter(|(name, _)| name == "set-cookie") {
        if let Some(rest) = value.strip_prefix("_session=").and_then(|v| v.split_once(';')) {
            *value = format!("_session={};{}", dice.hex(44), rest.1);
        }
    }
}

/// Plants into the JSON body of a new answer; at times into one of many documents in a stream.
pub(crate) fn in_json(
    dice: &mut Dice,
    plant: impl Fn(&mut Dice, &mut J) -> Option<Vec<Found>>,
) -> Option<Pair> {
    let stream = dice.percent(10);
    let mut world = World::new(dice);
    let mut legacy = if stream { world.answer("feed") } else { world.json() };
    let mut new = legacy.clone();
    if let Body::NdJson(docs) = &mut legacy.body {
        let mut all = J::Arr(docs.clone());
        let found = plant(dice, &mut all)?;
        let J::Arr(docs) = all else { return None };
        new.body = Body::NdJson(docs);
        return Some(pair(&legacy, &new, found, dice));
    }
    let found = plant(dice, new.json_mut())?;
    Some(pair(&legacy, &new, found, dice))
}

/// A place that fulfils a wish.
pub(crate) fn choose(
    dice: &mut Dice,
    json: &J,
    wish: impl Fn(&Place, &J) -> bool,
) -> Option<Place> {
    let places: Vec<Place> = json
        .places()
        .into_iter()
        .filter(|(place, value)| wish(place, value))
        .map(|(place, _)| place)
        .collect();
    (!places.is_empty()).then(|| dice.pick(&places).clone())
}

/// A rule that hides a place, as a person would write it.
pub(crate) fn ignore(at: &str) -> Rule {
    Rule::ignore(at, "planted").unwrap()
}

pub(crate) fn catalogue() -> Vec<Cause> {
    [
        json::causes(),
        head::causes(),
        body::causes(),
        html::causes(),
        page::causes(),
        rails::causes(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
