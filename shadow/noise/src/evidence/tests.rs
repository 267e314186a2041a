//! Answers are texts of one field here, so that each case fits on a line.

use super::*;
use banyan_diff::{Budget, Obs, RuleSet, compare};
use proptest::prelude::*;

fn places(legacy: &str, new: &str) -> Places {
    let headers = [("content-type".to_owned(), b"application/json".to_vec())];
    let obs = |body| Obs { status: 200, headers: &headers, body };
    let (a, b) = (obs(legacy.as_bytes()), obs(new.as_bytes()));
    Places::of(&compare(&a, &b, &RuleSet::builtin(), &Budget::default())).unwrap()
}

fn body(value: &str) -> String {
    format!("{{\"a\":\"{value}\",\"b\":1}}")
}

/// First, between.., new, second, last.
fn judge(first: &str, between: &[&str], new: &str, second: &str, last: &str) -> Vec<Sign> {
    let at = |x: &str, y: &str| places(&body(x), &body(y));
    let mut rest = Places::default();
    for pair in between.windows(2) {
        rest.extend(at(pair[0], pair[1]));
    }
    let read = Triple {
        first_second: at(first, second),
        first_new: at(first, new),
        first_last: at(first, last),
        second_last: at(second, last),
        last_new: at(last, new),
        between: rest,
    };
    triple(&read).into_values().collect()
}

#[test]
fn a_pair_tells_noise_from_a_write_by_a_third_read() {
    let read = |a: &str, b: &str, c: &str| {
        let evidence = pair(&places(&body(a), &body(b)), &places(&body(b), &body(c)));
        (evidence.noisy.len(), evidence.moved.len())
    };
    assert_eq!(read("x", "x", "x"), (0, 0));
    assert_eq!(read("x", "y", "z"), (1, 0), "noise goes on");
    assert_eq!(read("x", "y", "x"), (1, 0), "or comes back");
    assert_eq!(read("x", "y", "y"), (0, 1), "a write stays");
}

#[test]
fn a_triple_has_the_sign_of_who_differed_alone() {
    assert_eq!(judge("x", &[], "x", "x", "x"), []);
    assert_eq!(judge("x", &[], "n", "x", "x"), [Sign::NewAlone]);
    assert_eq!(judge("x", &[], "x", "y", "x"), [Sign::LegacyAlone]);
    assert_eq!(judge("x", &[], "x", "y", "z"), [Sign::LegacyAlone]);
    assert_eq!(judge("x", &[], "n", "y", "z"), [], "both differ: no sign");
}

#[test]
fn a_write_between_the_reads_gives_no_sign() {
    assert_eq!(judge("old", &[], "old", "new", "new"), [], "new still behind");
    assert_eq!(judge("old", &[], "new", "new", "new"), [], "new already there");
    assert_eq!(judge("old", &[], "new", "old", "new"), [], "new ahead of a cache");
    assert_eq!(judge("x", &["x", "y", "x"], "y", "x", "x"), [], "came and went in between");
}

#[test]
fn a_list_gives_one_sign_and_more_elements_of_one_kind_than_of_the_other() {
    let list = |values: &[&str]| {
        let items: Vec<String> = values
            .iter()
            .zip(1..)
            .map(|(v, id)| format!("{{\"id\":{id},\"a\":\"{v}\"}}"))
            .collect();
        format!("[{}]", items.join(","))
    };
    let read = |new: &[&str], second: &[&str]| {
        let first = list(&["p", "q", "r", "s"]);
        let (new, second) = (list(new), list(second));
        let read = Triple {
            first_second: places(&first, &second),
            first_new: places(&first, &new),
            second_last: places(&second, &first),
            last_new: places(&first, &new),
            ..Triple::default()
        };
        triple(&read).into_values().collect::<Vec<_>>()
    };
    assert_eq!(read(&["P", "q", "r", "s"], &["p", "q", "r", "s"]), [Sign::NewAlone]);
    assert_eq!(read(&["P", "q", "r", "s"], &["p", "q", "R", "s"]), [], "one each");
    assert_eq!(read(&["P", "Q", "r", "s"], &["p", "q", "R", "s"]), [Sign::NewAlone]);
    assert_eq!(read(&["P", "q", "r", "s"], &["p", "q", "R", "S"]), [Sign::LegacyAlone]);
}

#[test]
fn another_class_is_a_sign_of_its_own_even_where_noise_is() {
    let uuid = ["9f2c4f9e-27f3-4cc1-ae3f-0a4a9a9d21b7", "1b2c4f9e-27f3-4cc1-ae3f-0a4a9a9d21b7"];
    let read = Triple {
        first_second: places(&body(uuid[0]), &body(uuid[1])),
        first_new: places(&body(uuid[0]), "{\"a\":null,\"b\":1}"),
        ..Triple::default()
    };
    let signs = triple(&read);
    let kinds: Vec<_> = signs.iter().map(|(key, sign)| (key.kind.as_str(), *sign)).collect();
    assert!(kinds.contains(&("value_changed:string", Sign::LegacyAlone)), "{kinds:?}");
    assert!(kinds.iter().any(|(_, sign)| *sign == Sign::NewAlone), "{kinds:?}");
}

proptest! {
    /// The promise behind the exact test: with new and legacy's second answer exchanged, each sign turns round.
    #[test]
    fn exchanging_the_two_later_answers_turns_each_sign(
        first in 0..3u8, new in 0..3u8, second in 0..3u8, last in 0..3u8, middle in prop::collection::vec(0..2u8, 0..3),
    ) {
        let text = |value: u8| ["x", "y", "z"][usize::from(value)];
        let middle: Vec<&str> = middle.into_iter().map(text).collect();
        let straight = judge(text(first), &middle, text(new), text(second), text(last));
        let turned = judge(text(first), &middle, text(second), text(new), text(last));
        let turn = |sign: &Sign| match sign {
            Sign::NewAlone => Sign::LegacyAlone,
            Sign::LegacyAlone => Sign::NewAlone,
        };
        prop_assert_eq!(straight, turned.iter().map(turn).collect::<Vec<_>>());
    }
}
