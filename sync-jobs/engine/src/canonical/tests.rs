//! What the canonical form promises, by example and by property.

use std::cmp::Ordering;

use proptest::prelude::*;

use super::*;
use crate::kind::JsonNumbers;

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

const MONEY: ColumnKind = ColumnKind::Decimal { digits: 6, scale: 2 };
const TINY: ColumnKind = ColumnKind::Integer { bits: 8, unsigned: true };
const SECONDS: ColumnKind = ColumnKind::Timestamp { digits: 0 };
const CLOCK: ColumnKind = ColumnKind::Time { digits: 3, span: false };
const JSON: ColumnKind = ColumnKind::Json { numbers: JsonNumbers::Exact };

#[test]
fn engines_that_show_one_fact_differently_agree() {
    let cases = [
        (text("t"), text("1"), ColumnKind::Bool),
        (Value::Int(1), Value::Bool(true), ColumnKind::Bool),
        (text("2014-06-12 10:00:00.000000"), text("2014-06-12 10:00:00"), SECONDS),
        (text("2014-06-12T10:00:00Z"), text("2014-06-12 10:00:00+00"), ColumnKind::TIMESTAMP),
        (text("2014-06-12 10:00"), text("2014-06-12 10:00:00"), ColumnKind::TIMESTAMP),
        (text("2014-06-12"), text("2014-06-12 00:00:00"), ColumnKind::TIMESTAMP),
        (text("1.50"), text("01.5"), ColumnKind::DECIMAL),
        (text("-0.00"), Value::Int(0), MONEY),
        (Value::Int(12), text("12.000"), ColumnKind::INTEGER),
        (Value::float(0.0), Value::float(-0.0), ColumnKind::Float),
        (Value::float(0.5), text("0.50"), ColumnKind::Real),
        (Value::float(f64::from(0.1_f32)), text("0.1"), ColumnKind::Real),
        (text("2014-06-12 00:00:00"), text("2014-06-12"), ColumnKind::Date),
        (text("10:00:00.000"), text("10:00:00"), CLOCK),
        (text("a   "), text("a"), ColumnKind::Char { length: 4 }),
        (text("b,a"), text("a,b"), ColumnKind::Set),
        (Value::Int(5), text("0101"), ColumnKind::Bits { length: 4 }),
        (text("{\"b\":1.0,\"a\":2}"), text("{\"a\": 2, \"b\": 1}"), JSON),
        (
            text("A0EEBC999C0B4EF8BB6D6BB9BD380A11"),
            text("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
            ColumnKind::Uuid,
        ),
    ];
    for (left, right, kind) in cases {
        let form = left.into_canonical(kind);
        assert!(form.is_ok(), "{form:?}");
        assert_eq!(form, right.into_canonical(kind), "{kind}");
    }
}

#[test]
fn what_the_column_cannot_store_exactly_is_refused() {
    for (value, kind) in [
        (text("twelve"), ColumnKind::INTEGER),
        (text("1.5"), ColumnKind::INTEGER),
        (Value::Float(0), ColumnKind::INTEGER),
        (Value::Int(256), TINY),
        (Value::Int(-1), TINY),
        (Value::Int(1 << 63), ColumnKind::INTEGER),
        (Value::Int(5), ColumnKind::Year),
        (text("1.255"), MONEY),
        (text("10000"), MONEY),
        (text("NaN"), ColumnKind::DECIMAL),
        (text("1234567890.1234567"), ColumnKind::Decimal { digits: 15, scale: UNLIMITED }),
        (Value::Int((1 << 53) + 1), ColumnKind::Float),
        (text("0.1000000000000000055"), ColumnKind::Float),
        (Value::float(0.1), ColumnKind::Real),
        (Value::Int(2), ColumnKind::Bool),
        (text("ab"), ColumnKind::Text { limit: TextLimit::Chars(1) }),
        (text("é"), ColumnKind::Text { limit: TextLimit::Bytes(1) }),
        (text("a "), ColumnKind::Text { limit: TextLimit::Chars(1) }),
        (Value::Bytes(vec![b'a', 0xff]), ColumnKind::TEXT),
        (Value::Bytes(vec![1]), ColumnKind::Binary { length: 2 }),
        (text("101"), ColumnKind::Bits { length: 4 }),
        (Value::Int(16), ColumnKind::Bits { length: 4 }),
        (text("12/06/2014"), ColumnKind::TIMESTAMP),
        (text("2014-06-12 10:00:00+02"), ColumnKind::TIMESTAMP),
        (text("2014-06-12 10:00:00.5"), SECONDS),
        (text("0000-00-00 00:00:00"), SECONDS),
        (text("infinity"), ColumnKind::Date),
        (text("2014-06-12 10:00:00"), ColumnKind::Date),
        (text("24:00:00"), CLOCK),
        (text("-01:00:00"), CLOCK),
        (text("1e3"), ColumnKind::DECIMAL),
        (text("{'a':1}"), JSON),
        (text("not-a-uuid"), ColumnKind::Uuid),
    ] {
        assert!(value.clone().into_canonical(kind).is_err(), "{value:?} as {kind}");
    }
}

#[test]
fn what_the_mapping_rounds_fits() {
    for (value, kind, want) in [
        (text("1.255"), MONEY, text("1.26")),
        (text("1.5"), ColumnKind::INTEGER, Value::Int(2)),
        (Value::float(0.1), ColumnKind::Real, Value::float(f64::from(0.1_f32))),
        (Value::Int((1 << 53) + 1), ColumnKind::Float, Value::float(9_007_199_254_740_992.0)),
        (text("2014-06-12 10:00:00.5"), SECONDS, text("2014-06-12 10:00:01")),
        (text("10:00:00.0005"), CLOCK, text("10:00:00.001")),
    ] {
        assert_eq!(value.rounded(kind).into_canonical(kind), Ok(want), "{kind}");
    }
    assert!(
        text("10000").rounded(MONEY).into_canonical(MONEY).is_err(),
        "rounding saves no digits"
    );
}

#[test]
fn a_wide_time_keeps_its_hours_and_sign() {
    let kind = ColumnKind::Time { digits: 0, span: true };
    for (given, want) in [("-838:59:59", "-838:59:59"), ("-00:00:00", "00:00:00")] {
        assert_eq!(text(given).into_canonical(kind), Ok(text(want)));
    }
}

#[test]
fn null_is_null_in_every_column() {
    assert_eq!(Value::Null.into_canonical(ColumnKind::INTEGER), Ok(Value::Null));
    assert_eq!(Value::Null.canonical_text(), None);
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(|n| Value::Int(i128::from(n))),
        (0_i64..300).prop_map(|n| Value::Int(i128::from(n))),
        any::<f64>().prop_map(Value::float),
        "[-]?[0-9]{1,5}([.][0-9]{1,4})?".prop_map(Value::Text),
        "20[0-9]{2}-0[1-9]-[0-2][0-9]( [0-2][0-9]:[0-5][0-9]:[0-5][0-9]([.][0-9]{1,7})?)?"
            .prop_map(Value::Text),
        "[ab ,]{0,6}".prop_map(Value::Text),
        "[01]{1,8}".prop_map(Value::Text),
        proptest::collection::vec(any::<u8>(), 0..5).prop_map(Value::Bytes),
    ]
}

fn any_kind() -> impl Strategy<Value = ColumnKind> {
    prop_oneof![
        Just(ColumnKind::INTEGER),
        Just(TINY),
        Just(MONEY),
        Just(ColumnKind::DECIMAL),
        Just(ColumnKind::Float),
        Just(ColumnKind::Real),
        Just(ColumnKind::Bool),
        Just(ColumnKind::TEXT),
        Just(ColumnKind::Text { limit: TextLimit::Chars(3) }),
        Just(ColumnKind::Char { length: 4 }),
        Just(ColumnKind::Set),
        Just(ColumnKind::Bytes),
        Just(ColumnKind::Binary { length: 2 }),
        Just(ColumnKind::Bits { length: 4 }),
        Just(ColumnKind::TIMESTAMP),
        Just(SECONDS),
        Just(ColumnKind::Date),
        Just(CLOCK),
        Just(ColumnKind::Year),
        Just(JSON),
        Just(ColumnKind::Any),
    ]
}

proptest! {
    #[test]
    fn the_form_is_a_fixed_point(value in any_value(), kind in any_kind()) {
        if let Ok(form) = value.into_canonical(kind) {
            prop_assert_eq!(form.clone().into_canonical(kind), Ok(form));
        }
    }

    #[test]
    fn rounding_changes_no_form(value in any_value(), kind in any_kind()) {
        if let Ok(form) = value.clone().into_canonical(kind) {
            prop_assert_eq!(value.rounded(kind).into_canonical(kind), Ok(form.clone()));
            prop_assert_eq!(form.clone().rounded(kind).into_canonical(kind), Ok(form));
        }
    }

    #[test]
    fn different_decimals_have_different_forms(a in any::<i64>(), b in any::<i64>(), scale in 0_u32..9) {
        let shown = |n: i64| {
            let divisor = 10_i64.pow(scale);
            let sign = if n < 0 { "-" } else { "" };
            format!("{sign}{}.{:0w$}", (n / divisor).abs(), (n % divisor).abs(), w = scale.max(1) as usize)
        };
        let form = |n: i64| text(&shown(n)).into_canonical(ColumnKind::DECIMAL).unwrap();
        // With scale 0 every fraction is zero, so the numbers are what is shown.
        prop_assert_eq!(form(a) == form(b), a == b);
    }

    #[test]
    fn different_floats_have_different_forms(a in any::<f64>(), b in any::<f64>()) {
        let form = |n: f64| Value::float(n).into_canonical(ColumnKind::Float).unwrap();
        prop_assert_eq!(form(a) == form(b), a.partial_cmp(&b) == Some(Ordering::Equal));
    }
}
