//! Causes in bodies that are no JSON, and in the form of a body.

use banyan_diff::{Severity, Verdict, Why};

use super::super::answer::{Body, Coding};
use super::super::dice::Dice;
use super::super::json::J;
use super::super::world::World;
use super::{Cause, Found, Pair, judged, pair};

pub(crate) fn causes() -> Vec<Cause> {
    let cause = |name, plant| Cause { name, plant };
    vec![
        cause("text line changed", text_changed),
        cause("text line missing", text_missing),
        cause("text line extra", text_extra),
        cause("text spaced otherwise", text_spaced),
        cause("bytes changed", bytes_changed),
        cause("bytes cut", bytes_cut),
        cause("body lost", body_lost),
        cause("JSON cut", json_cut),
        cause("object became list", wrapped),
        cause("encoding that nobody knows", unknown_coding),
        cause("encoding broken", broken_coding),
        cause("nested too deep", too_deep),
    ]
}

fn text(
    dice: &mut Dice,
    plant: impl Fn(&mut Dice, &mut Vec<String>) -> &'static str,
) -> Option<Pair> {
    let legacy = World::new(dice).answer("export.csv");
    let Body::Text(media, text) = &legacy.body else { return None };
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let cause = plant(dice, &mut lines);
    let mut new = legacy.clone();
    new.body = Body::Text(media, lines.join("\n") + "\n");
    let found = Found::shaped("text_hunk", "body:text", cause);
    Some(pair(&legacy, &new, vec![found], dice))
}

fn text_changed(dice: &mut Dice) -> Option<Pair> {
    text(dice, |dice, lines| {
        let at = dice.below(lines.len());
        lines[at] = format!("planted,{},1", dice.hex(5));
        "string -> string"
    })
}

fn text_missing(dice: &mut Dice) -> Option<Pair> {
    text(dice, |dice, lines| {
        lines.remove(dice.below(lines.len()));
        "string -> absent"
    })
}

fn text_extra(dice: &mut Dice) -> Option<Pair> {
    text(dice, |dice, lines| {
        lines.insert(dice.below(lines.len() + 1), format!("planted,{},1", dice.hex(5)));
        "absent -> string"
    })
}

fn text_spaced(dice: &mut Dice) -> Option<Pair> {
    let mut pair = text(dice, |dice, lines| {
        let at = dice.below(lines.len());
        lines[at].insert_str(0, "  ");
        "string -> string"
    })?;
    pair.verdict = Verdict::Mismatch(Severity::Cosmetic);
    Some(pair)
}

fn bytes_changed(dice: &mut Dice) -> Option<Pair> {
    bytes(dice, |dice, bytes| {
        let at = dice.below(bytes.len());
        bytes[at] ^= 1;
    })
}

fn bytes_cut(dice: &mut Dice) -> Option<Pair> {
    bytes(dice, |dice, bytes| bytes.truncate(bytes.len() - dice.between(1, 40)))
}

fn bytes(dice: &mut Dice, plant: impl Fn(&mut Dice, &mut Vec<u8>)) -> Option<Pair> {
    let legacy = World::new(dice).answer("avatar.png");
    let mut new = legacy.clone();
    let Body::Binary(_, bytes) = &mut new.body else { return None };
    plant(dice, bytes);
    let found = Found::shaped("binary_changed", "body", "binary -> binary");
    Some(pair(&legacy, &new, vec![found], dice))
}

fn body_lost(dice: &mut Dice) -> Option<Pair> {
    let legacy = World::new(dice).json();
    let class = if matches!(legacy.json(), J::Arr(_)) { "array" } else { "object" };
    let mut new = legacy.clone();
    new.body = Body::Empty;
    let found = Found::shaped("type_changed", "body", &format!("{class} -> empty"));
    let mut pair = pair(&legacy, &new, vec![found], dice);
    // An etag goes with a body; without one it is a second difference.
    pair.legacy.headers.retain(|(name, _)| name != "etag");
    Some(pair)
}

fn json_cut(dice: &mut Dice) -> Option<Pair> {
    let legacy = World::new(dice).json();
    let class = if matches!(legacy.json(), J::Arr(_)) { "array" } else { "object" };
    let mut text = legacy.style.write(legacy.json(), dice);
    let end = text.len() - dice.between(1, text.len() / 2);
    text.truncate(text.floor_char_boundary(end));
    let mut new = legacy.clone();
    new.body = Body::Bytes(text.into_bytes());
    let found = Found::shaped("type_changed", "body", &format!("{class} -> string"));
    Some(pair(&legacy, &new, vec![found], dice))
}

fn wrapped(dice: &mut Dice) -> Option<Pair> {
    let legacy = World::new(dice).json();
    let class = if matches!(legacy.json(), J::Arr(_)) { "array" } else { "object" };
    let mut new = legacy.clone();
    let (body, wrapper) = match legacy.json() {
        J::Arr(_) => (J::obj([("items", legacy.json().clone())]), "object"),
        other => (J::Arr(vec![other.clone()]), "array"),
    };
    *new.json_mut() = body;
    let found = Found {
        pointer: Some(String::new()),
        ..Found::shaped("type_changed", "$", &format!("{class} -> {wrapper}"))
    };
    Some(pair(&legacy, &new, vec![found], dice))
}

fn unknown_coding(dice: &mut Dice) -> Option<Pair> {
    let legacy = World::new(dice).any();
    let mut new = legacy.clone();
    new.set("content-encoding", "x-planted");
    new.body = Body::Bytes(dice.hex(200).into_bytes());
    Some(judged(&legacy, &new, Vec::new(), Verdict::Inconclusive(Why::Undecodable), dice))
}

fn broken_coding(dice: &mut Dice) -> Option<Pair> {
    let legacy = World::new(dice).any();
    let mut new = legacy.clone();
    new.coding = Coding::Gzip;
    let mut pair = judged(&legacy, &new, Vec::new(), Verdict::Inconclusive(Why::Undecodable), dice);
    let keep = pair.new.body.len() / 2;
    pair.new.body.truncate(keep);
    Some(pair)
}

fn too_deep(dice: &mut Dice) -> Option<Pair> {
    let legacy = World::new(dice).json();
    let mut new = legacy.clone();
    let depth = dice.between(600, 3_000);
    new.body = Body::Bytes([vec![b'['; depth], vec![b']'; depth]].concat());
    Some(judged(&legacy, &new, Vec::new(), Verdict::Inconclusive(Why::TooDeep), dice))
}
