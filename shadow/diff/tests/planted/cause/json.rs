//! Causes inside JSON bodies.

use super::super::dice::Dice;
use super::super::json::{J, Place, Step, shape};
use super::change::{
    Change, another_text, another_type, class, cut_end, emptied, flipped, garbled, lower,
    moved_host, nulled, number, off_by_one, precision, prefixed, quoted, quoted_bool,
    rewritten_time, rounded, scaled, shifted, spaced, unquoted,
};
use super::{Cause, Found, choose, in_json};

pub(crate) fn causes() -> Vec<Cause> {
    let cause = |name, plant| Cause { name, plant };
    vec![
        cause("number", |dice| scalar(dice, number)),
        cause("number off by one", |dice| scalar(dice, off_by_one)),
        cause("number rounded", |dice| scalar(dice, rounded)),
        cause("number in other units", |dice| scalar(dice, scaled)),
        cause("number precision", |dice| scalar(dice, precision)),
        cause("bool", |dice| scalar(dice, flipped)),
        cause("string", |dice| scalar(dice, another_text)),
        cause("string suffix lost", |dice| scalar(dice, cut_end)),
        cause("string prefix added", |dice| scalar(dice, prefixed)),
        cause("case", |dice| scalar(dice, lower)),
        cause("whitespace", |dice| scalar(dice, spaced)),
        cause("time shifted", |dice| scalar(dice, shifted)),
        cause("time written otherwise", |dice| scalar(dice, rewritten_time)),
        cause("url host", |dice| scalar(dice, moved_host)),
        cause("encoding", |dice| scalar(dice, garbled)),
        cause("type", |dice| scalar(dice, another_type)),
        cause("value to null", |dice| scalar(dice, nulled)),
        cause("number as string", |dice| scalar(dice, quoted)),
        cause("bool as string", |dice| scalar(dice, quoted_bool)),
        cause("string as number", |dice| scalar(dice, unquoted)),
        cause("null to empty", |dice| scalar(dice, emptied)),
        cause("empty to null", |dice| {
            in_json(dice, |dice, json| {
                let empty = |_: &Place, v: &J| {
                    *v == J::str("") || *v == J::Arr(vec![]) || *v == J::Obj(vec![])
                };
                let place = choose(dice, json, empty)?;
                let from = class(json.at(&place));
                *json.at_mut(&place) = J::Null;
                Some(vec![Found::at("null_vs_empty", &place, &format!("{from} -> null"))])
            })
        }),
        cause("number everywhere in a list", |dice| everywhere(dice, off_by_one)),
        cause("time shifted everywhere in a list", |dice| everywhere(dice, shifted)),
        cause("string as number everywhere in a list", |dice| everywhere(dice, unquoted)),
        cause("host moved everywhere in a list", |dice| everywhere(dice, moved_host)),
        cause("key missing", key_missing),
        cause("key missing everywhere in a list", key_missing_everywhere),
        cause("key extra", key_extra),
        cause("key renamed", key_renamed),
        cause("null left out", null_left_out),
        cause("null added", null_added),
        cause("key repeated", key_repeated),
        cause("element missing", elem_missing),
        cause("element extra", elem_extra),
        cause("page shifted by one", page_shifted),
        cause("list shuffled", shuffled),
        cause("element moved", elem_moved),
        cause("element in another list", moved_elsewhere),
        cause("identity changed", identity_changed),
    ]
}

/// Changes one scalar that is not the identity of an element.
fn scalar(dice: &mut Dice, change: fn(&mut Dice, &J) -> Change) -> Option<super::Pair> {
    in_json(dice, |dice, json| {
        let mut fork = dice.clone();
        let fits = |place: &Place, value: &J| {
            value.is_scalar()
                && !json.is_identity(place)
                && change(&mut fork.clone(), value).is_some()
        };
        let place = choose(dice, json, fits)?;
        let (kind, value, cause) = change(&mut fork, json.at(&place))?;
        dice.next();
        *json.at_mut(&place) = value;
        Some(vec![Found::at(kind, &place, &cause)])
    })
}

/// Changes the same member of each element of a list of objects: one cause, many differences.
fn everywhere(dice: &mut Dice, change: fn(&mut Dice, &J) -> Change) -> Option<super::Pair> {
    in_json(dice, |dice, json| {
        let list = choose(dice, json, |_, value| value.identity().is_some())?;
        let J::Arr(items) = json.at(&list) else { return None };
        let J::Obj(members) = &items[0] else { return None };
        let fork = dice.clone();
        let names: Vec<String> = members
            .iter()
            .filter(|(name, value)| {
                Some(name.as_str()) != json.at(&list).identity()
                    && change(&mut fork.clone(), value).is_some()
            })
            .map(|(name, _)| name.clone())
            .collect();
        if names.is_empty() {
            return None;
        }
        let name = dice.pick(&names).clone();
        let mut found = Vec::new();
        for at in 0..items.len() {
            let place = [list.as_slice(), &[Step::At(at), Step::Name(name.clone())]].concat();
            // The same throw for each element: one cause.
            if let Some((kind, value, cause)) = change(&mut fork.clone(), json.at(&place)) {
                found.push((place, kind, value, cause));
            }
        }
        for (place, _, value, _) in &found {
            *json.at_mut(place) = value.clone();
        }
        Some(
            found
                .into_iter()
                .map(|(place, kind, _, cause)| Found::at(kind, &place, &cause))
                .collect(),
        )
    })
}

fn object(dice: &mut Dice, json: &J) -> Option<Place> {
    choose(dice, json, |_, value| matches!(value, J::Obj(members) if !members.is_empty()))
}

fn name_step(place: &Place, name: &str) -> Place {
    [place.as_slice(), &[Step::Name(name.to_owned())]].concat()
}

/// Takes a member away and gives it back.
fn remove(json: &mut J, object: &Place, name: &str) -> Option<J> {
    let J::Obj(members) = json.at_mut(object) else { return None };
    let at = members.iter().position(|(own, _)| own == name)?;
    Some(members.remove(at).1)
}

fn key_missing(dice: &mut Dice) -> Option<super::Pair> {
    in_json(dice, |dice, json| {
        let fits = |place: &Place, value: &J| {
            matches!(place.last(), Some(Step::Name(_)))
                && *value != J::Null
                && !json.is_identity(place)
        };
        let place = choose(dice, json, fits)?;
        let (Some(Step::Name(name)), object) = (place.last(), place[..place.len() - 1].to_vec())
        else {
            return None;
        };
        let value = remove(json, &object, name)?;
        Some(vec![Found::at("key_missing", &place, &format!("{} -> absent", class(&value)))])
    })
}

fn key_missing_everywhere(dice: &mut Dice) -> Option<super::Pair> {
    in_json(dice, |dice, json| {
        let list = choose(dice, json, |_, value| value.identity().is_some())?;
        let identity = json.at(&list).identity();
        let J::Arr(items) = json.at(&list) else { return None };
        let (J::Obj(members), count) = (&items[0], items.len()) else { return None };
        let names: Vec<&String> = members
            .iter()
            .map(|(name, _)| name)
            .filter(|name| Some(name.as_str()) != identity)
            .collect();
        let name = (*dice.pick(&names)).clone();
        let mut found = Vec::new();
        for at in 0..count {
            let object = [list.as_slice(), &[Step::At(at)]].concat();
            let value = remove(json, &object, &name)?;
            let kind = if value == J::Null { "null_vs_missing" } else { "key_missing" };
            let cause = format!("{} -> absent", class(&value));
            found.push(Found::at(kind, &name_step(&object, &name), &cause));
        }
        Some(found)
    })
}

fn key_extra(dice: &mut Dice) -> Option<super::Pair> {
    in_json(dice, |dice, json| {
        let place = object(dice, json)?;
        let name = *dice.pick(&["planted", "planted key", "Größe", "a/b~c", "it's"]);
        let value = dice
            .pick(&[J::num(1), J::str("x y z"), J::Bool(true), J::Arr(vec![J::num(1)])])
            .clone();
        let found = Found::at(
            "key_extra",
            &name_step(&place, name),
            &format!("absent -> {}", class(&value)),
        );
        let J::Obj(members) = json.at_mut(&place) else { return None };
        let at = dice.below(members.len() + 1);
        members.insert(at, (name.to_owned(), value));
        Some(vec![found])
    })
}

/// Whether a value says enough to be recognised under another name.
fn is_telling(value: &J) -> bool {
    match value {
        J::Null | J::Bool(_) => false,
        J::Num(text) => text.parse::<f64>().is_ok_and(|number| number.abs() >= 100.0),
        J::Str(text) => text.len() >= 4,
        J::Arr(items) => !items.is_empty(),
        J::Obj(members) => !members.is_empty(),
    }
}

fn key_renamed(dice: &mut Dice) -> Option<super::Pair> {
    in_json(dice, |dice, json| {
        let fits = |place: &Place, value: &J| {
            matches!(place.last(), Some(Step::Name(_)))
                && *value != J::Null
                && !json.is_identity(place)
        };
        let place = choose(dice, json, fits)?;
        let object = place[..place.len() - 1].to_vec();
        let Some(Step::Name(name)) = place.last() else { return None };
        let J::Obj(members) = json.at_mut(&object) else { return None };
        let member = members.iter_mut().find(|(own, _)| own == name)?;
        "planted_name".clone_into(&mut member.0);
        let class = class(&member.1);
        if is_telling(&member.1) {
            return Some(vec![Found::at("key_renamed", &place, &format!("{class} -> {class}"))]);
        }
        Some(vec![
            Found::at("key_missing", &place, &format!("{class} -> absent")),
            Found::at(
                "key_extra",
                &name_step(&object, "planted_name"),
                &format!("absent -> {class}"),
            ),
        ])
    })
}

/// An element of one list turns up in another one.
fn moved_elsewhere(dice: &mut Dice) -> Option<super::Pair> {
    in_json(dice, |dice, json| {
        let keyed = |_: &Place, value: &J| {
            value.identity().is_some() && matches!(value, J::Arr(items) if items.len() > 1)
        };
        let from = choose(dice, json, keyed)?;
        let name = from.last().cloned();
        let to = choose(dice, json, |place, value| {
            *place != from
                && place.last() == name.as_ref()
                && value.identity().is_some()
                && !place.starts_with(&from)
                && !from.starts_with(place)
        })?;
        let J::Arr(items) = json.at_mut(&from) else { return None };
        let at = dice.below(items.len());
        let item = items.remove(at);
        let J::Arr(items) = json.at_mut(&to) else { return None };
        items.push(item);
        let place = [from.as_slice(), &[Step::At(at)]].concat();
        Some(vec![Found::at("elem_moved", &place, "object -> object")])
    })
}

fn null_left_out(dice: &mut Dice) -> Option<super::Pair> {
    in_json(dice, |dice, json| {
        let place = choose(dice, json, |place, v| {
            *v == J::Null && matches!(place.last(), Some(Step::Name(_)))
        })?;
        let Some(Step::Name(name)) = place.last() else { return None };
        remove(json, &place[..place.len() - 1].to_vec(), name)?;
        Some(vec![Found::at("null_vs_missing", &place, "null -> absent")])
    })
}

fn null_added(dice: &mut Dice) -> Option<super::Pair> {
    in_json(dice, |dice, json| {
        let place = object(dice, json)?;
        let J::Obj(members) = json.at_mut(&place) else { return None };
        members.push(("planted".to_owned(), J::Null));
        Some(vec![Found::at("null_vs_missing", &name_step(&place, "planted"), "absent -> null")])
    })
}

fn key_repeated(dice: &mut Dice) -> Option<super::Pair> {
    in_json(dice, |dice, json| {
        let place = object(dice, json)?;
        let J::Obj(members) = json.at_mut(&place) else { return None };
        let (name, value) = dice.pick(members).clone();
        let class = class(&value).to_owned();
        members.push((name.clone(), value));
        Some(vec![Found::at("dup_key", &name_step(&place, &name), &format!("{class} -> {class}"))])
    })
}

/// A list with more than `least` elements.
fn list(dice: &mut Dice, json: &J, least: usize) -> Option<Place> {
    choose(dice, json, |_, value| matches!(value, J::Arr(items) if items.len() > least))
}

/// Whether an element has a twin in its list: then several reports are right about the place.
fn has_twin(items: &[J], at: usize) -> bool {
    items.iter().enumerate().any(|(other, item)| other != at && *item == items[at])
}

fn elem_missing(dice: &mut Dice) -> Option<super::Pair> {
    in_json(dice, |dice, json| {
        let place = list(dice, json, 1)?;
        let J::Arr(items) = json.at_mut(&place) else { return None };
        let at = dice.below(items.len());
        let twin = has_twin(items, at);
        let item = items.remove(at);
        let place = [place.as_slice(), &[Step::At(at)]].concat();
        let found = Found::at("elem_missing", &place, &format!("{} -> absent", class(&item)));
        Some(vec![if twin { found.anywhere() } else { found }])
    })
}

fn elem_extra(dice: &mut Dice) -> Option<super::Pair> {
    in_json(dice, |dice, json| {
        let place = list(dice, json, 1)?;
        let identity = json.at(&place).identity();
        let J::Arr(items) = json.at_mut(&place) else { return None };
        let mut item = dice.pick(items).clone();
        let fresh = J::num(990_000 + dice.below(9_000));
        match (&mut item, identity) {
            (J::Obj(members), Some(key)) => {
                members.iter_mut().find(|(name, _)| name == key)?.1 = fresh;
            }
            (J::Obj(members), None) => members[0].1 = fresh,
            (item, _) => *item = fresh,
        }
        let at = dice.below(items.len() + 1);
        let cause = format!("absent -> {}", class(&item));
        items.insert(at, item);
        let place = [place.as_slice(), &[Step::At(at)]].concat();
        Some(vec![Found::at("elem_extra", &place, &cause)])
    })
}

fn page_shifted(dice: &mut Dice) -> Option<super::Pair> {
    in_json(dice, |dice, json| {
        let place = choose(dice, json, |_, value| {
            value.identity().is_some() && matches!(value, J::Arr(items) if items.len() > 2)
        })?;
        let identity = json.at(&place).identity()?;
        let J::Arr(items) = json.at_mut(&place) else { return None };
        let last = items.len() - 1;
        let mut item = items.pop()?;
        let J::Obj(members) = &mut item else { return None };
        members.iter_mut().find(|(name, _)| name == identity)?.1 =
            J::num(990_000 + dice.below(9_000));
        items.insert(0, item);
        let at = |at: usize| [place.as_slice(), &[Step::At(at)]].concat();
        Some(vec![
            Found::at("elem_missing", &at(last), "object -> absent"),
            Found::at("elem_extra", &at(0), "absent -> object"),
        ])
    })
}

fn shuffled(dice: &mut Dice) -> Option<super::Pair> {
    in_json(dice, |dice, json| {
        let place = list(dice, json, 1)?;
        let J::Arr(items) = json.at_mut(&place) else { return None };
        let before = items.clone();
        match dice.below(3) {
            0 => items.reverse(),
            1 => items.rotate_left(1),
            _ => dice.shuffle(items),
        }
        let cause = "array -> array";
        (*items != before).then(|| vec![Found::at("array_reordered", &place, cause)])
    })
}

fn elem_moved(dice: &mut Dice) -> Option<super::Pair> {
    in_json(dice, |dice, json| {
        let place = list(dice, json, 2)?;
        let J::Arr(items) = json.at_mut(&place) else { return None };
        let before = items.clone();
        let item = items.remove(dice.below(before.len()));
        items.insert(dice.below(before.len()), item);
        (*items != before).then(|| vec![Found::at("array_reordered", &place, "array -> array")])
    })
}

fn identity_changed(dice: &mut Dice) -> Option<super::Pair> {
    in_json(dice, |dice, json| {
        let place = choose(dice, json, |place, _| json.is_identity(place))?;
        let element = place[..place.len() - 1].to_vec();
        let J::Arr(items) = json.at(&element[..element.len() - 1]) else { return None };
        if items.len() < 4 {
            return None;
        }
        *json.at_mut(&place) = J::num(990_000 + dice.below(9_000));
        let shape = shape(&element);
        Some(vec![
            Found::at("elem_missing", &element, "object -> absent"),
            Found { shape, ..Found::at("elem_extra", &element, "absent -> object") },
        ])
    })
}
