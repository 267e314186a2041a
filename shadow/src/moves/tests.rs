use super::*;
use crate::Answer;
use crate::fixture::json;
use banyan_diff::{Budget, RuleSet, compare};
use proptest::prelude::*;

fn diff(a: &str, b: &str) -> Comparison {
    let (a, b): (Answer, Answer) = (json(200, a), json(200, b));
    compare(&a.obs(), &b.obs(), &RuleSet::builtin(), &Budget::default())
}

/// The places that stand when legacy showed `owner` in turn and new shows `other` against the last of them.
fn stand(owner: &[&str], other: &str) -> Vec<String> {
    let mut moves = Moves::default();
    for pair in owner.windows(2) {
        moves.note(&diff(pair[0], pair[1]));
    }
    let across = diff(owner[owner.len() - 1], other);
    standing(&across, &moves, Side::Legacy).map(|(d, _)| d.location.path.clone()).collect()
}

#[test]
fn a_counter_does_not_keep_a_stable_field_from_standing() {
    let owner = [r#"{"count":1,"name":"a"}"#, r#"{"count":2,"name":"a"}"#];
    assert_eq!(stand(&owner, r#"{"count":9,"name":"b"}"#), ["$.name"]);
    assert_eq!(stand(&owner, r#"{"count":9,"name":"a"}"#), [""; 0]);
}

#[test]
fn at_a_moving_place_presence_type_and_class_still_count() {
    let owner = [
        r#"{"id":"9f2c4f9e-27f3-4cc1-ae3f-0a4a9a9d21b7"}"#,
        r#"{"id":"1f2c4f9e-27f3-4cc1-ae3f-0a4a9a9d21b8"}"#,
    ];
    assert_eq!(stand(&owner, r#"{"id":"2f2c4f9e-27f3-4cc1-ae3f-0a4a9a9d21b9"}"#), [""; 0]);
    for wrong in [r#"{"id":null}"#, "{}", r#"{"id":3}"#, r#"{"id":"undefined"}"#, r#"{"id":""}"#] {
        assert_eq!(stand(&owner, wrong), ["$.id"], "{wrong}");
    }
    let text = [r#"{"note":"good morning"}"#, r#"{"note":"deadbeefdeadbeef"}"#];
    assert_eq!(stand(&text, r#"{"note":"3"}"#), [""; 0], "text may be anything");
    let absent = [r#"{"a":1,"n":1}"#, r#"{"a":1}"#];
    assert_eq!(stand(&absent, r#"{"a":1,"n":null}"#), [""; 0], "legacy itself leaves it out");
}

#[test]
fn elements_known_by_identity_stand_while_others_come_and_go() {
    let owner = [
        r#"{"list":[{"id":1,"t":"a"},{"id":2,"t":"b"}],"total":2}"#,
        r#"{"list":[{"id":3,"t":"c"},{"id":1,"t":"a"},{"id":2,"t":"b"}],"total":3}"#,
    ];
    let other = r#"{"list":[{"id":1,"t":"a"},{"id":2,"t":"WRONG"}],"total":2}"#;
    assert_eq!(stand(&owner, other), ["$.list[?@.id==2].t"]);
}

#[test]
fn an_index_says_nothing_once_elements_came_or_went() {
    let owner = [r#"{"list":["a","b"]}"#, r#"{"list":["c","a","b"]}"#];
    assert_eq!(stand(&owner, r#"{"list":["c","a","x"]}"#), [""; 0]);
    let nested = [r#"[[1,2],["a"]]"#, r#"[[0,1,2],["a"]]"#];
    assert_eq!(stand(&nested, r#"[[0,1,2],["b"]]"#), [""; 0]);
    let one = [r#"{"list":[1,5]}"#, r#"{"list":[2,5]}"#];
    assert_eq!(stand(&one, r#"{"list":[null,5]}"#), ["$.list[0]"], "always a number there");
    let several = [r#"{"list":[1,5]}"#, r#"{"list":[2,6]}"#];
    assert_eq!(stand(&several, r#"{"list":[null,6]}"#), [""; 0]);
    let still = [r#"{"n":1,"list":["a","b"]}"#, r#"{"n":2,"list":["a","b"]}"#];
    assert!(!stand(&still, r#"{"n":1,"list":["a","x"]}"#).is_empty());
}

#[test]
fn what_moved_above_moves_what_is_below_and_not_the_other_way_round() {
    let owner = [r#"{"user":null}"#, r#"{"user":{"name":"a"}}"#];
    assert_eq!(stand(&owner, r#"{"user":{"name":"b"}}"#), [""; 0]);
    let owner = [r#"{"user":{"seen":1}}"#, r#"{"user":{"seen":2}}"#];
    assert_eq!(stand(&owner, "{}"), ["$.user"], "legacy always has it");
}

#[test]
fn what_moved_to_another_list_or_name_may_be_back_where_it_was() {
    let (outer, inner) =
        (r#"[{"id":3,"v":[]},{"id":7,"t":"a"}]"#, r#"[{"id":3,"v":[{"id":7,"t":"a"}]}]"#);
    for owner in [[outer, inner], [inner, outer]] {
        assert_eq!(stand(&owner, owner[0]), [""; 0], "{owner:?}");
    }
    let named = |name: &str| format!(r#"[{{"id":3,"{name}":[1,2,3]}},{{"id":4}}]"#);
    let (first, last) = (named("user"), named("author"));
    assert_eq!(stand(&[&first, &last], &first), [""; 0]);
    assert_eq!(stand(&[&first, &last], &named("other")), ["$[?@.id==3].author"]);
}

#[test]
fn lines_of_text_move_together_and_a_status_moves_everything() {
    let text = |body: &str| {
        let headers = vec![("content-type".to_owned(), b"text/plain".to_vec())];
        Answer { status: 200, headers, body: body.to_owned().into() }
    };
    let compared = |a: &Answer, b: &Answer| {
        compare(&a.obs(), &b.obs(), &RuleSet::builtin(), &Budget::default())
    };
    let mut moves = Moves::default();
    moves.note(&compared(&text("a\nb\nc\n"), &text("a\nx\nc\n")));
    let across = compared(&text("a\nx\nc\n"), &text("A\nx\nc\n"));
    assert_eq!(standing(&across, &moves, Side::Legacy).count(), 0);
    let mut moves = Moves::default();
    moves.note(&compared(&text("a"), &Answer { status: 404, ..text("a") }));
    assert_eq!(standing(&across, &moves, Side::Legacy).count(), 0);
}

#[test]
fn a_reduced_comparison_is_as_bad_as_what_is_left() {
    let across = diff(r#"{"a":1,"b":1}"#, r#"{"a":2,"c":1}"#);
    let left = reduced(across.clone(), |d| d.location.path == "$.a");
    assert_eq!(left.verdict, Verdict::Mismatch(Severity::Value));
    assert_eq!((left.differences.len(), left.total_differences), (1, 1));
    assert_eq!(reduced(across.clone(), |_| true), across);
}

/// Small documents of members, lists with and without identity.
fn document() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        (0i64..3).prop_map(Into::into),
        "[ab]{0,2}".prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::vec((0i64..4, inner.clone()), 0..4).prop_map(|list| {
                let element = |(id, v)| serde_json::json!({ "id": id, "v": v });
                list.into_iter().map(element).collect::<Vec<_>>().into()
            }),
            prop::collection::btree_map("[abc]", inner, 0..4)
                .prop_map(|members| { serde_json::Value::Object(members.into_iter().collect()) }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    /// New shows an earlier answer of legacy: it is late, so no value may stand against the moves of legacy. (Presence
    /// and type stay asserted where only the value moved, and it had both.)
    #[test]
    fn a_side_that_is_only_late_leaves_nothing_standing(answers in prop::collection::vec(document(), 2..4)) {
        let texts: Vec<String> = answers.iter().map(ToString::to_string).collect();
        let owner: Vec<&str> = texts.iter().map(String::as_str).collect();
        let mut moves = Moves::default();
        for pair in owner.windows(2) {
            moves.note(&diff(pair[0], pair[1]));
        }
        let last = owner[owner.len() - 1];
        for late in &owner {
            let across = diff(last, late);
            let left: Vec<_> = standing(&across, &moves, Side::Legacy).collect();
            prop_assert!(left.is_empty(), "{owner:?} late {late}: {left:?}");
        }
    }
}
