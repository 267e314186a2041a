//! How one JSON value becomes another: one function per way, with the kind and the cause that must be told.

use super::super::dice::Dice;
use super::super::json::J;
use super::super::world::Clock;

/// What becomes of a scalar: kind, the new value, the cause.
pub(super) type Change = Option<(&'static str, J, String)>;

/// The class of a value as the design names it.
pub(crate) fn class(value: &J) -> &'static str {
    match value {
        J::Null => "null",
        J::Bool(_) => "bool",
        J::Num(text) if text.contains(['.', 'e', 'E']) => "number",
        J::Num(text) => match text.parse::<i64>() {
            Ok(1_000_000_000..2_000_000_000 | 1_000_000_000_000..2_000_000_000_000) => "epoch",
            _ => "int",
        },
        J::Str(text) => match Clock::read(text) {
            _ if text.is_empty() => "empty",
            Some((Clock::Rails, _)) => "rails-time",
            Some(_) => "iso8601",
            None if text.len() == 36 && text.split('-').map(str::len).eq([8, 4, 4, 4, 12]) => {
                "uuid"
            }
            None if text.len() >= 8 && text.bytes().all(|b| b.is_ascii_hexdigit()) => "hex",
            None if text.starts_with("http") && text.contains("://") => "url",
            None => "string",
        },
        J::Arr(_) => "array",
        J::Obj(_) => "object",
    }
}

pub(super) fn classes(a: &J, b: &J) -> String {
    format!("{} -> {}", class(a), class(b))
}

pub(super) fn changed(kind: &'static str, from: &J, to: J) -> Change {
    let cause = classes(from, &to);
    Some((kind, to, cause))
}

pub(super) fn number(dice: &mut Dice, value: &J) -> Change {
    let J::Num(_) = value else { return None };
    // Larger than all that the world holds, so that it is no neighbour and no rounding of another.
    let to = J::num(7_000_000 + dice.below(1_000_000) * 17);
    changed("value_changed:number", value, to)
}

pub(super) fn off_by_one(dice: &mut Dice, value: &J) -> Change {
    let J::Num(text) = value else { return None };
    let number: i64 = text.parse().ok()?;
    let up = dice.percent(50);
    let (to, cause) = if up { (number + 1, "int -> int+1") } else { (number - 1, "int -> int-1") };
    Some(("value_changed:number", J::num(to), cause.to_owned()))
}

pub(super) fn rounded(_: &mut Dice, value: &J) -> Change {
    let J::Num(text) = value else { return None };
    let (whole, fraction) = text.split_once('.')?;
    let digits: Vec<u32> = fraction.chars().filter_map(|c| c.to_digit(10)).collect();
    // Rounding up would carry, and 3.0 is no better than 3; a fraction that a rounding does not change is none.
    if digits.len() < 2 || digits[0] == 0 || digits[1] >= 5 || digits[1..].iter().all(|d| *d == 0) {
        return None;
    }
    let lost: String = fraction.chars().skip(1).collect();
    let small = text.trim_start_matches('-').parse::<f64>().ok()? * 1e-9;
    if format!("0.0{lost}").parse::<f64>().ok()? <= small {
        return None;
    }
    Some(("value_changed:number", J::Num(format!("{whole}.{}", digits[0])), "round(1)".to_owned()))
}

pub(super) fn scaled(_: &mut Dice, value: &J) -> Change {
    let J::Num(text) = value else { return None };
    let number: i64 = text.parse().ok().filter(|n: &i64| n.abs() > 1)?;
    Some(("value_changed:number", J::num(number * 1000), "x1000".to_owned()))
}

pub(super) fn precision(_: &mut Dice, value: &J) -> Change {
    let J::Num(text) = value else { return None };
    if !text.contains('.') || text.trim_start_matches('-').starts_with("0.0") {
        return None;
    }
    changed("value_changed:number_precision", value, J::Num(format!("{text}000000000001")))
}

pub(super) fn flipped(_: &mut Dice, value: &J) -> Change {
    let J::Bool(on) = value else { return None };
    changed("value_changed:bool", value, J::Bool(!on))
}

/// Text that is no time, URL or the like.
pub(super) fn plain_text(value: &J) -> Option<&String> {
    let J::Str(text) = value else { return None };
    (class(value) == "string" && text.trim().len() > 3 && text.parse::<f64>().is_err())
        .then_some(text)
}

pub(super) fn another_text(dice: &mut Dice, value: &J) -> Change {
    plain_text(value)?;
    changed("value_changed:string", value, J::Str(format!("planted {} words", dice.hex(6))))
}

pub(super) fn cut_end(_: &mut Dice, value: &J) -> Change {
    let text = plain_text(value)?;
    let (kept, lost) = text.rsplit_once(' ')?;
    let plain = !kept.trim().is_empty()
        && !lost.is_empty()
        && lost.bytes().all(|b| b.is_ascii_alphanumeric());
    let short = text.len() < 150 && class(&J::str(kept)) == "string";
    (plain && short).then(|| ("value_changed:string", J::str(kept), "-suffix".to_owned()))
}

pub(super) fn prefixed(_: &mut Dice, value: &J) -> Change {
    let text = plain_text(value).filter(|text| text.len() < 150)?;
    Some(("value_changed:string", J::Str(format!("Re: {text}")), "+prefix".to_owned()))
}

pub(super) fn lower(_: &mut Dice, value: &J) -> Change {
    let text = plain_text(value)?;
    let to = text.to_lowercase();
    (to != *text).then(|| ("value_changed:case", J::Str(to), "lower".to_owned()))
}

pub(super) fn spaced(dice: &mut Dice, value: &J) -> Change {
    let text = plain_text(value)?;
    let to = if dice.percent(50) { format!("{text} ") } else { format!("  {text}") };
    changed("value_changed:whitespace", value, J::Str(to))
}

pub(super) fn shifted(dice: &mut Dice, value: &J) -> Change {
    let J::Str(text) = value else { return None };
    let (clock, epoch) = Clock::read(text)?;
    let by = *dice.pick(&[3_600i64, -3_600, 7_200, -25_200]);
    Some(("value_changed:time_instant", J::Str(clock.write(epoch + by)), format!("time {by:+}s")))
}

pub(super) fn rewritten_time(_: &mut Dice, value: &J) -> Change {
    let J::Str(text) = value else { return None };
    let (clock, epoch) = Clock::read(text)?;
    let other = if clock == Clock::Rails { Clock::IsoMillis } else { Clock::Rails };
    changed("value_changed:time_format", value, J::Str(other.write(epoch)))
}

pub(super) fn moved_host(_: &mut Dice, value: &J) -> Change {
    let J::Str(text) = value else { return None };
    let (_, rest) = text.strip_prefix("https://")?.split_once('/')?;
    changed("value_changed:url_host", value, J::Str(format!("https://cdn.new.example:8443/{rest}")))
}

pub(super) fn garbled(_: &mut Dice, value: &J) -> Change {
    let text = plain_text(value)?;
    if text.is_ascii() {
        return None;
    }
    let latin1: String = text.bytes().map(char::from).collect();
    changed("value_changed:encoding", value, J::Str(latin1))
}

pub(super) fn another_type(dice: &mut Dice, value: &J) -> Change {
    if *value == J::Null || *value == J::str("") {
        return None;
    }
    let other = match (value, dice.below(3)) {
        (J::Bool(_), 0) => J::num(1),
        (_, 0 | 1) => J::Arr(vec![value.clone()]),
        _ => J::obj([("value", value.clone())]),
    };
    changed("type_changed", value, other)
}

pub(super) fn nulled(_: &mut Dice, value: &J) -> Change {
    if *value == J::Null || *value == J::str("") {
        return None;
    }
    changed("type_changed", value, J::Null)
}

pub(super) fn quoted(_: &mut Dice, value: &J) -> Change {
    let J::Num(text) = value else { return None };
    changed("scalar_as_string", value, J::str(text))
}

pub(super) fn quoted_bool(_: &mut Dice, value: &J) -> Change {
    let J::Bool(on) = value else { return None };
    changed("scalar_as_string", value, J::Str(on.to_string()))
}

pub(super) fn unquoted(_: &mut Dice, value: &J) -> Change {
    let J::Str(text) = value else { return None };
    let digits =
        text.split('.').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
    let one = text.matches('.').count() == 1 && !text.starts_with('0');
    if !digits || !one {
        return None;
    }
    changed("scalar_as_string", value, J::Num(text.clone()))
}

pub(super) fn emptied(dice: &mut Dice, value: &J) -> Change {
    if *value != J::Null {
        return None;
    }
    let to = dice.pick(&[J::str(""), J::Arr(vec![]), J::Obj(vec![])]).clone();
    changed("null_vs_empty", value, to)
}
