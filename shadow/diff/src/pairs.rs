//! Bodies that are a form: `application/x-www-form-urlencoded`.
//!
//! Owns the way from pairs to one JSON object, so that a pair is a member and rules reach it as `$.name`. Must stay true:
//! a name that either side repeats is a list on both sides; different bytes stay different; the order of names is
//! judged once, apart from the values.

use std::collections::{BTreeMap, BTreeSet};

use percent_encoding::percent_decode;

use crate::record::push_text;
use crate::{Why, align};

/// Pairs of one form.
const PAIRS_MAX: usize = 10_000;

/// Names and values in their order.
#[derive(Debug)]
pub(crate) struct Pairs(Vec<(Vec<u8>, Vec<u8>)>);

impl Pairs {
    pub(crate) fn of(body: &[u8]) -> Result<Self, Why> {
        let parts = body.trim_ascii_end().split(|byte| *byte == b'&');
        let pairs = parts.filter(|part| !part.is_empty()).map(|part| {
            let at = part.iter().position(|byte| *byte == b'=').unwrap_or(part.len());
            let (name, value) = part.split_at(at);
            (decoded(name), decoded(value.get(1..).unwrap_or_default()))
        });
        let pairs: Vec<_> = pairs.take(PAIRS_MAX + 1).collect();
        if pairs.len() > PAIRS_MAX { Err(Why::OverBudget) } else { Ok(Self(pairs)) }
    }

    /// The object of both sides' pairs, and how many names must move to restore legacy's order.
    pub(crate) fn join(legacy: &Self, new: &Self) -> (Vec<u8>, Vec<u8>, usize) {
        let (a, b) = (legacy.by_name(), new.by_name());
        let repeated = |names: &Names<'_>| -> BTreeSet<Vec<u8>> {
            let many = names.iter().filter(|(_, (_, values))| values.len() > 1);
            many.map(|(name, _)| name.to_vec()).collect()
        };
        let mut lists = repeated(&a);
        lists.extend(repeated(&b));
        let mut shared: Vec<(usize, usize)> =
            a.iter().filter_map(|(name, (x, _))| Some((*x, b.get(name)?.0))).collect();
        shared.sort_unstable();
        let kept = align::longest_increasing(shared.iter().map(|(_, y)| *y)).len();
        (object(&a, &lists), object(&b, &lists), shared.len() - kept)
    }

    fn by_name(&self) -> Names<'_> {
        let mut names = Names::new();
        for (at, (name, value)) in self.0.iter().enumerate() {
            names.entry(name).or_insert_with(|| (at, Vec::new())).1.push(value);
        }
        names
    }
}

/// Values per name, and where the name stands first.
type Names<'a> = BTreeMap<&'a [u8], (usize, Vec<&'a [u8]>)>;

fn object(names: &Names<'_>, lists: &BTreeSet<Vec<u8>>) -> Vec<u8> {
    let mut out = vec![b'{'];
    for (name, (_, values)) in names {
        if out.len() > 1 {
            out.push(b',');
        }
        push_text(&mut out, name);
        out.push(b':');
        let list = lists.contains(*name);
        out.extend(list.then_some(b'['));
        for (at, value) in values.iter().enumerate() {
            out.extend((at > 0).then_some(b','));
            push_text(&mut out, value);
        }
        out.extend(list.then_some(b']'));
    }
    out.push(b'}');
    out
}

fn decoded(text: &[u8]) -> Vec<u8> {
    let spaced: Vec<u8> =
        text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    percent_decode(&spaced).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(legacy: &str, new: &str) -> (String, String, usize) {
        let (a, b, moved) = {
            let read = |text: &str| Pairs::of(text.as_bytes()).unwrap();
            Pairs::join(&read(legacy), &read(new))
        };
        (String::from_utf8(a).unwrap(), String::from_utf8(b).unwrap(), moved)
    }

    #[test]
    fn pairs_become_members_and_repeated_names_lists_on_both_sides() {
        assert_eq!(
            joined("a=1&b=%C3%BC+x&c", "b=%ff&&a=1&a=2\n"),
            (
                r#"{"a":["1"],"b":"ü x","c":""}"#.to_owned(),
                r#"{"a":["1","2"],"b":"\udcff"}"#.to_owned(),
                1
            )
        );
        assert_eq!(joined("a=1=2&%26=%3d", "").0, r#"{"&":"=","a":"1=2"}"#);
    }
}
