//! Which places of an answer moved while it was read again and again.
//!
//! Owns the sum of the differences between answers of one side, and whether a difference between the sides stands apart
//! from them. It exists so that a counter or a random field keeps neither a stable field from being confirmed nor itself
//! becomes a mismatch. What must stay true: pure and bounded; when it cannot be told whether a place moved, it moved.
//!
//! A place is its path: members by name, elements of a list by identity (`[?@.id==42]`) where the list has one. An index
//! says nothing once elements came or went, so then the whole list moved. Where only the value moved, presence, type and
//! value class are still asserted: a random id may differ, but not be `null`.

use crate::redact::bracket_end;
use banyan_diff::{Comparison, Difference, Kind, Part, Severity, ValueClass, Verdict};
use banyan_domain::Side;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// Places that are kept; beyond, everything moved.
const PLACES_MAX: usize = 10_000;

/// The places of one side's answer that moved.
#[derive(Debug, Clone, Default)]
pub(crate) struct Moves {
    all: bool,
    places: BTreeMap<String, Place>,
    /// Lists, by their path without indices, in which something moved at an element known by identity.
    keyed: BTreeSet<String>,
    /// The same at an element known by its index, with that index as long as it was but one.
    positional: BTreeMap<String, Option<String>>,
    /// Lists whose elements came, went or changed places, so that an index says nothing.
    shifted: BTreeSet<String>,
    /// The two shapes of what was under another name or in another list, the lesser first: a comparison tells the place
    /// of one end only, and which one depends on which answer was first.
    joined: BTreeSet<[String; 2]>,
    /// Something moved in a body that is no JSON.
    text: bool,
}

#[derive(Debug, Clone)]
struct Place {
    /// Its presence and type stayed.
    value_only: bool,
    /// Classes that it had.
    classes: BTreeSet<&'static str>,
}

/// How a difference between the sides stands to the moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stand {
    /// At a place that did not move: it counts.
    Still,
    /// At a place whose value moves, but the other side has another presence, type or class there: it counts too.
    OutOfClass,
    /// At a place that moves: nothing can be said.
    Moving,
}

impl Moves {
    /// Whether nothing moved.
    pub(crate) fn is_empty(&self) -> bool {
        !self.all && self.places.is_empty()
    }

    /// Notes a comparison of two answers of one side.
    pub(crate) fn note(&mut self, within: &Comparison) {
        match within.verdict {
            Verdict::Match | Verdict::MatchNormalised => return,
            Verdict::Mismatch(_) => {}
            Verdict::Inconclusive(_)
            | Verdict::NewError
            | Verdict::LegacyError
            | Verdict::BothError => self.all = true,
        }
        let listed = u64::try_from(within.differences.len()).unwrap_or(u64::MAX);
        self.all |= listed < within.total_differences || self.places.len() > PLACES_MAX;
        if self.all {
            self.places.clear();
            return;
        }
        for difference in &within.differences {
            self.note_one(difference);
        }
    }

    fn note_one(&mut self, difference: &Difference) {
        let path = &difference.location.path;
        if difference.kind == Kind::StatusChanged {
            // Another page altogether.
            self.all = true;
            return;
        }
        if let Some(other) = &difference.hint {
            // Under another name or in another list: both places moved.
            let gone = Place { value_only: false, classes: BTreeSet::new() };
            self.places.entry(other.clone()).or_insert(gone).value_only = false;
            self.joined.extend(ends(difference));
        }
        let value_only = is_value(difference.kind);
        let place = self
            .places
            .entry(path.clone())
            .or_insert(Place { value_only, classes: BTreeSet::new() });
        place.value_only &= value_only;
        let sides = [&difference.legacy, &difference.new];
        place.classes.extend(sides.into_iter().flatten().map(|value| family(value.class())));
        if difference.location.part != Part::Body {
            return;
        }
        self.text |= !path.starts_with('$');
        let lists = lists(path);
        for list in &lists {
            if list.keyed {
                self.keyed.insert(list.name.clone());
                continue;
            }
            let only = self.positional.entry(list.name.clone()).or_insert(Some(list.step.clone()));
            if only.as_ref() != Some(&list.step) {
                *only = None;
            }
        }
        if is_element(difference.kind) {
            // The last step is the element; without one the whole list is meant.
            let own = lists.last().filter(|list| list.last);
            self.shifted.insert(own.map_or_else(|| plain(path), |list| list.name.clone()));
        } else if is_order(difference.kind) {
            self.shifted.insert(plain(path));
        }
    }

    /// How a difference between the sides stands; `owner` is the side whose moves these are.
    pub(crate) fn stand(&self, difference: &Difference, owner: Side) -> Stand {
        let path = &difference.location.path;
        if self.all || ends(difference).is_some_and(|ends| self.joined.contains(&ends)) {
            return Stand::Moving;
        }
        if let Some(place) = self.places.get(path) {
            // An index may mean another element each time; then no class can be asserted.
            let vague = lists(path).iter().any(|list| {
                let several = self.positional.get(&list.name).is_some_and(Option::is_none);
                let moved = self.keyed.contains(&list.name) || self.shifted.contains(&list.name);
                !list.keyed && (moved || several)
            });
            let kept = vague || !place.value_only || place.keeps(difference, owner);
            return if kept { Stand::Moving } else { Stand::OutOfClass };
        }
        let moving = match difference.location.part {
            Part::Body if path.starts_with('$') => self.under_a_move(difference),
            // Lines and nodes are counted, so one that came moves all after it.
            Part::Body => self.text || self.places.contains_key("$"),
            Part::Status | Part::Header(_) | Part::Cookie(_) => false,
        };
        if moving { Stand::Moving } else { Stand::Still }
    }

    fn under_a_move(&self, difference: &Difference) -> bool {
        let path = &difference.location.path;
        let ancestor = |at: usize| {
            let above = path.get(..at).and_then(|above| self.places.get(above));
            above.is_some_and(|place| !place.value_only)
        };
        let lists = lists(path);
        let by_list = lists.iter().any(|list| {
            if list.keyed {
                self.positional.contains_key(&list.name)
            } else {
                // By content, two answers may be aligned otherwise than two others: an index says nothing then.
                self.keyed.contains(&list.name)
                    || self.shifted.contains(&list.name)
                    || self.positional.contains_key(&list.name)
            }
        });
        let name = plain(path);
        let element = is_element(difference.kind);
        let whole = match lists.last().filter(|list| list.last) {
            // Which elements an index means depends on all of them.
            Some(list) => element && !list.keyed && self.positional.contains_key(&list.name),
            None if element => self.shifted.contains(&name) || self.positional.contains_key(&name),
            None => {
                let moved = self.shifted.contains(&name) || self.positional.contains_key(&name);
                is_order(difference.kind) && moved
            }
        };
        by_list || whole || self.text || steps(path).into_iter().any(ancestor)
    }
}

impl Place {
    /// Whether the other side's value is such as the owner has there: presence, type and class.
    fn keeps(&self, difference: &Difference, owner: Side) -> bool {
        if !is_value(difference.kind) {
            return false;
        }
        let other = match owner {
            Side::Legacy => &difference.new,
            Side::New => &difference.legacy,
        };
        let Some(class) = other.as_ref().map(|value| family(value.class())) else { return true };
        // Text may be anything; a class is only asserted where the owner never left it.
        self.classes.contains(class) || self.classes.iter().any(|class| *class == TEXT)
    }
}

/// The differences of `across` that stand against the moves of the owner, each with how.
pub(crate) fn standing<'c>(
    across: &'c Comparison,
    moves: &'c Moves,
    owner: Side,
) -> impl Iterator<Item = (&'c Difference, Stand)> {
    let stands = across.differences.iter().map(move |d| (d, moves.stand(d, owner)));
    stands.filter(|(_, stand)| *stand != Stand::Moving)
}

/// What tells whether two differences, found at different times, are at one place. Where an index or a line is on the
/// way, all of the list or text is one place.
pub(crate) fn place(difference: &Difference) -> Cow<'_, str> {
    let path = &difference.location.path;
    if difference.location.part == Part::Body {
        if !path.starts_with('$') {
            return Cow::Borrowed("body");
        }
        if lists(path).iter().any(|list| !list.keyed) {
            return Cow::Owned(plain(path));
        }
    }
    Cow::Borrowed(path)
}

/// `across` with only those differences that `keep` wants; none are left out when all are kept.
pub(crate) fn reduced(across: Comparison, keep: impl Fn(&Difference) -> bool) -> Comparison {
    let before = across.differences.len();
    let differences: Vec<Difference> = across.differences.into_iter().filter(keep).collect();
    if differences.len() == before {
        return Comparison { differences, ..across };
    }
    let worst = differences.iter().map(|difference| difference.severity).max();
    let total_differences = u64::try_from(differences.len()).unwrap_or(u64::MAX);
    let verdict = Verdict::Mismatch(worst.unwrap_or(Severity::Cosmetic));
    Comparison { verdict, differences, total_differences, ..across }
}

const TEXT: &str = "text";

/// Classes that a moving value may change between without meaning: a number is a number.
const fn family(class: ValueClass) -> &'static str {
    match class {
        ValueClass::Null => "null",
        ValueClass::Bool => "bool",
        ValueClass::Int | ValueClass::Number | ValueClass::Epoch => "number",
        ValueClass::Uuid => "uuid",
        ValueClass::Hex(_) => "hex",
        ValueClass::Iso8601 | ValueClass::RailsTime => "time",
        ValueClass::Url => "url",
        ValueClass::Empty => "empty",
        ValueClass::String(_) => TEXT,
        ValueClass::Array(_) => "array",
        ValueClass::Object => "object",
        ValueClass::Binary => "binary",
    }
}

/// Whether only a value differs, of one type and present on both sides.
const fn is_value(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::ValueChanged { .. }
            | Kind::HeaderChanged
            | Kind::RedirectTargetChanged
            | Kind::CharsetChanged
            | Kind::TextHunk
            | Kind::BinaryChanged
    )
}

const fn is_element(kind: Kind) -> bool {
    matches!(kind, Kind::ElemMissing | Kind::ElemExtra)
}

const fn is_order(kind: Kind) -> bool {
    matches!(kind, Kind::ArrayReordered { .. })
}

/// The shapes of both ends of what is under another name or in another list.
fn ends(difference: &Difference) -> Option<[String; 2]> {
    let mut ends = [difference.location.shape.clone(), difference.hint.clone()?];
    ends.sort_unstable();
    Some(ends)
}

/// A list on the way of a path.
struct List {
    /// Its path without indices.
    name: String,
    /// The step to its element.
    step: String,
    /// Whether its element is known by identity.
    keyed: bool,
    /// Whether the path ends at its element.
    last: bool,
}

fn lists(path: &str) -> Vec<List> {
    let mut lists = Vec::new();
    let mut name = String::new();
    let ends = steps(path);
    let mut from = 0;
    for (nth, end) in ends.iter().enumerate() {
        let step = path.get(from..*end).unwrap_or_default();
        if is_index(step) {
            let keyed = step.starts_with("[?");
            let last = nth + 1 == ends.len();
            lists.push(List { name: name.clone(), step: step.to_owned(), keyed, last });
            name.push_str("[*]");
        } else {
            name.push_str(step);
        }
        from = *end;
    }
    lists
}

/// A path without indices.
fn plain(path: &str) -> String {
    let mut name = String::new();
    let mut from = 0;
    for end in steps(path) {
        let step = path.get(from..end).unwrap_or_default();
        name.push_str(if is_index(step) { "[*]" } else { step });
        from = end;
    }
    name
}

fn is_index(step: &str) -> bool {
    step.starts_with('[') && !step.starts_with("['")
}

/// Where each step of a path ends: `$`, `.name`, `['name']`, `[3]`, `[?@.id==42]`.
fn steps(path: &str) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut at = 0;
    while let Some(rest) = path.get(at..).filter(|rest| !rest.is_empty()) {
        let inside = rest.get(1..).unwrap_or_default();
        let length = match rest.chars().next() {
            Some('[') => bracket_end(rest),
            Some('.' | '$') => 1 + inside.find(['.', '[']).unwrap_or(inside.len()),
            _ => rest.len(),
        };
        at += length;
        ends.push(at);
    }
    ends
}

#[cfg(test)]
mod tests;
