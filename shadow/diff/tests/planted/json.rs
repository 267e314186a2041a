//! JSON values with exact number spelling and repeated names, their places, and many spellings of one value.

use super::dice::Dice;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum J {
    Null,
    Bool(bool),
    Num(String),
    Str(String),
    Arr(Vec<J>),
    Obj(Vec<(String, J)>),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    Name(String),
    At(usize),
}

/// The way from the root to a value.
pub(crate) type Place = Vec<Step>;

/// The names that the design lists as identities of elements, best first.
const IDENTITY: [&str; 10] =
    ["id", "uuid", "_id", "urn", "uri", "href", "key", "slug", "permalink", "name"];

impl J {
    pub(crate) fn num(value: impl ToString) -> Self {
        Self::Num(value.to_string())
    }

    pub(crate) fn str(value: impl Into<String>) -> Self {
        Self::Str(value.into())
    }

    pub(crate) fn obj<const N: usize>(members: [(&str, J); N]) -> Self {
        Self::Obj(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    pub(crate) fn at(&self, place: &[Step]) -> &J {
        place.iter().fold(self, |value, step| match (value, step) {
            (Self::Obj(members), Step::Name(name)) => {
                &members.iter().find(|(own, _)| own == name).unwrap().1
            }
            (Self::Arr(items), Step::At(at)) => &items[*at],
            _ => panic!("no {step:?} in {value:?}"),
        })
    }

    pub(crate) fn at_mut(&mut self, place: &[Step]) -> &mut J {
        place.iter().fold(self, |value, step| match (value, step) {
            (Self::Obj(members), Step::Name(name)) => {
                &mut members.iter_mut().find(|(own, _)| own == name).unwrap().1
            }
            (Self::Arr(items), Step::At(at)) => &mut items[*at],
            _ => panic!("no {step:?}"),
        })
    }

    /// All places below the root with their values.
    pub(crate) fn places(&self) -> Vec<(Place, &J)> {
        let mut found = Vec::new();
        self.collect(&mut Vec::new(), &mut found);
        found
    }

    fn collect<'a>(&'a self, here: &mut Place, found: &mut Vec<(Place, &'a J)>) {
        let mut child = |step: Step, value: &'a J| {
            here.push(step);
            found.push((here.clone(), value));
            value.collect(here, found);
            here.pop();
        };
        match self {
            Self::Arr(items) => {
                for (at, item) in items.iter().enumerate() {
                    child(Step::At(at), item);
                }
            }
            Self::Obj(members) => {
                for (name, value) in members {
                    child(Step::Name(name.clone()), value);
                }
            }
            Self::Null | Self::Bool(_) | Self::Num(_) | Self::Str(_) => {}
        }
    }

    pub(crate) fn is_scalar(&self) -> bool {
        !matches!(self, Self::Arr(_) | Self::Obj(_))
    }

    /// The member that identifies the elements of a list, by the rule of the design.
    pub(crate) fn identity(&self) -> Option<&'static str> {
        let Self::Arr(items) = self else { return None };
        IDENTITY.into_iter().find(|key| {
            let ids: Vec<&J> = items.iter().filter_map(|item| item.member(key)).collect();
            let scalar = ids.iter().all(|id| matches!(id, Self::Num(_) | Self::Str(_)));
            let unique = ids.iter().enumerate().all(|(at, id)| !ids[..at].contains(id));
            !items.is_empty() && ids.len() == items.len() && scalar && unique
        })
    }

    pub(crate) fn member(&self, name: &str) -> Option<&J> {
        let Self::Obj(members) = self else { return None };
        members.iter().find(|(own, _)| own == name).map(|(_, value)| value)
    }

    /// Whether a place is what identifies an element of a list.
    pub(crate) fn is_identity(&self, place: &[Step]) -> bool {
        let [list @ .., Step::At(_), Step::Name(name)] = place else { return false };
        self.at(list).identity() == Some(name)
    }
}

/// The place as the aggregation key of reports.
pub(crate) fn shape(place: &[Step]) -> String {
    place.iter().fold(String::from("$"), |shape, step| match step {
        Step::At(_) => format!("{shape}[*]"),
        Step::Name(name) if is_data(name) => format!("{shape}.*"),
        Step::Name(name) if is_plain(name) => format!("{shape}.{name}"),
        Step::Name(name) => {
            format!("{shape}['{}']", name.replace('\\', "\\\\").replace('\'', "\\'"))
        }
    })
}

/// The place as an RFC 6901 pointer.
pub(crate) fn pointer(place: &[Step]) -> String {
    place.iter().fold(String::new(), |pointer, step| match step {
        Step::At(at) => format!("{pointer}/{at}"),
        Step::Name(name) => format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1")),
    })
}

fn is_data(name: &str) -> bool {
    let uuid = name.len() == 36 && name.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
    let hex = name.bytes().all(|b| b.is_ascii_hexdigit());
    uuid || (hex && name.len() >= 16) || name.bytes().all(|b| b.is_ascii_digit())
}

fn is_plain(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// How a value is written. [`Style::default`] is what a plain encoder does.
#[derive(Debug, Clone, Default)]
pub(crate) struct Style {
    pub(crate) pretty: bool,
    pub(crate) escapes: Escapes,
    /// Writes the members of objects in another order.
    pub(crate) reorder: bool,
    /// Writes some numbers otherwise: 1 as 1.0 or 1e0.
    pub(crate) respell: bool,
    /// Surrounds the text with white space.
    pub(crate) outer: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) enum Escapes {
    #[default]
    Needed,
    /// All that is not ASCII as `\uxxxx` in lower case, `<>&` as `\u003C` in upper case.
    Rails3,
    /// `<>&` and U+2028, U+2029.
    Rails4,
    /// Anything may be written as an escape.
    Wild,
}

impl Style {
    pub(crate) fn random(dice: &mut Dice) -> Self {
        Self {
            pretty: dice.percent(30),
            escapes: *dice.pick(&[
                Escapes::Needed,
                Escapes::Rails3,
                Escapes::Rails4,
                Escapes::Wild,
            ]),
            reorder: dice.percent(60),
            respell: dice.percent(40),
            outer: dice.percent(20),
        }
    }

    pub(crate) fn write(&self, value: &J, dice: &mut Dice) -> String {
        let mut out = String::new();
        if self.outer {
            out.push_str(" \n");
        }
        self.value(value, 0, dice, &mut out);
        if self.outer {
            out.push_str("\r\n\t");
        }
        out
    }

    fn value(&self, value: &J, depth: usize, dice: &mut Dice, out: &mut String) {
        match value {
            J::Null => out.push_str("null"),
            J::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            J::Num(number) if self.respell => out.push_str(&respelled(number, dice)),
            J::Num(number) => out.push_str(number),
            J::Str(text) => self.text(text, dice, out),
            J::Arr(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    self.between(at, depth + 1, out);
                    self.value(item, depth + 1, dice, out);
                }
                self.end(items.is_empty(), depth, out);
                out.push(']');
            }
            J::Obj(members) => {
                let mut order: Vec<usize> = (0..members.len()).collect();
                let names: Vec<&String> = members.iter().map(|(name, _)| name).collect();
                let repeats = names.iter().enumerate().any(|(at, n)| names[..at].contains(n));
                if self.reorder && !repeats {
                    dice.shuffle(&mut order);
                }
                out.push('{');
                for (nth, at) in order.into_iter().enumerate() {
                    self.between(nth, depth + 1, out);
                    self.text(&members[at].0, dice, out);
                    out.push_str(if self.pretty { ": " } else { ":" });
                    self.value(&members[at].1, depth + 1, dice, out);
                }
                self.end(members.is_empty(), depth, out);
                out.push('}');
            }
        }
    }

    fn between(&self, nth: usize, depth: usize, out: &mut String) {
        if nth > 0 {
            out.push(',');
        }
        if self.pretty {
            out.push('\n');
            out.extend(std::iter::repeat_n("  ", depth));
        }
    }

    fn end(&self, empty: bool, depth: usize, out: &mut String) {
        if self.pretty && !empty {
            out.push('\n');
            out.extend(std::iter::repeat_n("  ", depth));
        }
    }

    fn text(&self, text: &str, dice: &mut Dice, out: &mut String) {
        out.push('"');
        for c in text.chars() {
            let escaped = match self.escapes {
                Escapes::Needed => false,
                Escapes::Rails3 => !c.is_ascii() || "<>&".contains(c),
                Escapes::Rails4 => "<>&\u{2028}\u{2029}".contains(c),
                Escapes::Wild => dice.percent(10),
            };
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                c if escaped || c.is_control() => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        let digits = if c.is_ascii() || dice.percent(50) {
                            format!("\\u{unit:04X}")
                        } else {
                            format!("\\u{unit:04x}")
                        };
                        out.push_str(&digits);
                    }
                }
                c => out.push(c),
            }
        }
        out.push('"');
    }
}

/// Another spelling of the same number.
fn respelled(number: &str, dice: &mut Dice) -> String {
    if number.contains(['e', 'E']) {
        return number.to_owned();
    }
    let whole = !number.contains('.');
    match dice.below(4) {
        0 if whole => format!("{number}.0"),
        1 => format!("{number}e0"),
        2 if whole && number.ends_with("00") => format!("{}E+2", &number[..number.len() - 2]),
        2 if !whole => format!("{number}00"),
        3 if whole && number != "0" && number != "-0" => format!("{number}0e-1"),
        _ => number.to_owned(),
    }
}
