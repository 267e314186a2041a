//! JSON in one form: keys sorted, no spaces, numbers as plain decimals, text unescaped as far as possible.
//!
//! `jsonb` and MySQL's JSON order keys each in its own way and print numbers differently, so their texts
//! cannot be compared. A general parser would not do: it makes floats of long numbers and lets the last
//! of two equal keys win.
//!
//! What must stay true: two texts have one form exactly when they say the same; a key twice, a depth above
//! the limit and a number that the target's engine cannot keep are refused, never changed.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;

use crate::kind::JsonNumbers;
use crate::number;

/// Levels of nesting; MySQL allows 100.
const DEPTH_MAX: usize = 100;

/// The canonical text, or why there is none.
pub(crate) fn canonical(text: &str, numbers: JsonNumbers) -> Result<String, &'static str> {
    let mut reader = Reader { rest: text.chars().peekable(), numbers, out: String::new() };
    reader.value(0)?;
    reader.spaces();
    if reader.rest.next().is_some() {
        return Err("there is text behind the end of the JSON");
    }
    Ok(reader.out)
}

struct Reader<'a> {
    rest: Peekable<Chars<'a>>,
    numbers: JsonNumbers,
    out: String,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Result<(), &'static str> {
        if depth > DEPTH_MAX {
            return Err("the JSON is nested too deeply");
        }
        self.spaces();
        match self.rest.peek() {
            Some('{') => self.object(depth),
            Some('[') => self.array(depth),
            Some('"') => {
                let text = self.string()?;
                push_string(&text, &mut self.out);
                Ok(())
            }
            Some('t') => self.word("true"),
            Some('f') => self.word("false"),
            Some('n') => self.word("null"),
            Some(_) => self.number(),
            None => Err("the JSON ends too early"),
        }
    }

    fn object(&mut self, depth: usize) -> Result<(), &'static str> {
        self.rest.next();
        let mut members: BTreeMap<String, String> = BTreeMap::new();
        let outer = std::mem::take(&mut self.out);
        self.spaces();
        let mut open = self.rest.next_if_eq(&'}').is_none();
        while open {
            self.spaces();
            let key = self.string()?;
            self.spaces();
            self.expect(':')?;
            self.value(depth + 1)?;
            if members.insert(key, std::mem::take(&mut self.out)).is_some() {
                return Err("an object of the JSON has one key twice");
            }
            open = self.goes_on('}')?;
        }
        self.out = outer;
        self.out.push('{');
        for (at, (key, value)) in members.iter().enumerate() {
            if at > 0 {
                self.out.push(',');
            }
            push_string(key, &mut self.out);
            self.out.push(':');
            self.out.push_str(value);
        }
        self.out.push('}');
        Ok(())
    }

    fn array(&mut self, depth: usize) -> Result<(), &'static str> {
        self.rest.next();
        self.out.push('[');
        self.spaces();
        let mut open = self.rest.next_if_eq(&']').is_none();
        while open {
            self.value(depth + 1)?;
            open = self.goes_on(']')?;
            if open {
                self.out.push(',');
            }
        }
        self.out.push(']');
        Ok(())
    }

    /// Whether a comma follows, or the end.
    fn goes_on(&mut self, end: char) -> Result<bool, &'static str> {
        self.spaces();
        match self.rest.next() {
            Some(',') => Ok(true),
            Some(found) if found == end => Ok(false),
            Some(_) | None => Err("the JSON lacks a comma or a bracket"),
        }
    }

    fn string(&mut self) -> Result<String, &'static str> {
        self.expect('"')?;
        let mut text = String::new();
        loop {
            match self.rest.next() {
                Some('"') => return Ok(text),
                Some('\\') => text.push(self.escape()?),
                Some(found) if found >= ' ' => text.push(found),
                Some(_) => return Err("a text of the JSON has a bare control character"),
                None => return Err("a text of the JSON does not end"),
            }
        }
    }

    fn escape(&mut self) -> Result<char, &'static str> {
        Ok(match self.rest.next() {
            Some(plain @ ('"' | '\\' | '/')) => plain,
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => return self.unicode(),
            Some(_) | None => return Err("a text of the JSON has an unknown escape"),
        })
    }

    fn unicode(&mut self) -> Result<char, &'static str> {
        const BROKEN: &str = "a text of the JSON has half a surrogate pair or a wrong \\u";
        let first = self.hex4().ok_or(BROKEN)?;
        let code = if (0xd800..0xdc00).contains(&first) {
            self.expect('\\').and_then(|()| self.expect('u')).map_err(|_| BROKEN)?;
            let second = self.hex4().ok_or(BROKEN)?;
            if !(0xdc00..0xe000).contains(&second) {
                return Err(BROKEN);
            }
            0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)
        } else {
            first
        };
        char::from_u32(code).ok_or(BROKEN)
    }

    fn hex4(&mut self) -> Option<u32> {
        let mut code = 0;
        for _ in 0..4 {
            code = code * 16 + self.rest.next()?.to_digit(16)?;
        }
        Some(code)
    }

    fn number(&mut self) -> Result<(), &'static str> {
        let mut text = String::new();
        while let Some(found) = self.rest.next_if(|c| c.is_ascii_digit() || "+-.eE".contains(*c)) {
            text.push(found);
        }
        if !is_json_number(&text) {
            return Err("the text is not JSON");
        }
        let plain = number::scientific(&text).ok_or("a number of the JSON is too long")?;
        if self.numbers == JsonNumbers::Machine && !fits_machine(&plain) {
            return Err("a number of the JSON is not exact as a 64-bit integer or float");
        }
        self.out.push_str(&plain);
        Ok(())
    }

    fn word(&mut self, word: &'static str) -> Result<(), &'static str> {
        for want in word.chars() {
            self.expect(want)?;
        }
        self.out.push_str(word);
        Ok(())
    }

    fn expect(&mut self, want: char) -> Result<(), &'static str> {
        self.rest.next_if_eq(&want).map(drop).ok_or("the text is not JSON")
    }

    fn spaces(&mut self) {
        while self.rest.next_if(|c| matches!(c, ' ' | '\t' | '\n' | '\r')).is_some() {}
    }
}

/// The grammar of a JSON number: no `+`, no leading zero, digits on both sides of the point.
fn is_json_number(text: &str) -> bool {
    let bare = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) =
        bare.split_once(['e', 'E']).map_or((bare, None), |(m, e)| (m, Some(e)));
    let (whole, fraction) =
        mantissa.split_once('.').map_or((mantissa, None), |(whole, f)| (whole, Some(f)));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(|e| digits(e.strip_prefix(['+', '-']).unwrap_or(e)))
}

fn fits_machine(plain: &str) -> bool {
    let whole = plain.parse::<i64>().is_ok() || plain.parse::<u64>().is_ok();
    whole || plain.parse::<f64>().ok().and_then(number::of_float).is_some_and(|back| back == plain)
}

fn push_string(text: &str, into: &mut String) {
    into.push('"');
    for found in text.chars() {
        match found {
            '"' => into.push_str("\\\""),
            '\\' => into.push_str("\\\\"),
            control if control < ' ' => {
                let code = u32::from(control);
                into.push_str("\\u00");
                into.extend(
                    [code >> 4, code & 15].into_iter().filter_map(|n| char::from_digit(n, 16)),
                );
            }
            plain => into.push(plain),
        }
    }
    into.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn exact(text: &str) -> Result<String, &'static str> {
        canonical(text, JsonNumbers::Exact)
    }

    #[test]
    fn texts_that_say_the_same_have_one_form() {
        for (left, right) in [
            (r#"{"b": 1.50, "a": [true , null]}"#, r#"{"a":[true,null],"b":1.5}"#),
            ("[1e2, -0, 0.10]", "[100,0,0.1]"),
            (r#""\u00e9\ud83d\ude00\/""#, "\"é😀/\""),
            ("\"\\n\\u000A\"", "\"\\u000a\\u000a\""),
            ("{}", " { } "),
            ("[]", "[ ]"),
            ("12345678901234567890123.450", "12345678901234567890123.45"),
        ] {
            assert_eq!(exact(left), exact(right), "{left}");
            assert!(exact(left).is_ok(), "{left}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let deep = "[".repeat(200);
        for text in [
            r#"{"a":1,"a":1}"#,
            "[1,]",
            "{\"a\":}",
            "[1 2]",
            "01",
            "1.",
            ".5",
            "+1",
            "nul",
            "",
            "\"\\ud800\"",
            "\"\u{1}\"",
            "1 2",
            "'a'",
            "NaN",
            "1e999999",
            &deep,
        ] {
            assert!(exact(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_engine_that_keeps_floats_gets_no_longer_number() {
        for text in ["0.1", "18446744073709551615", "-9223372036854775808", "1e300"] {
            assert!(canonical(text, JsonNumbers::Machine).is_ok(), "{text}");
        }
        for text in ["0.1000000000000000055", "18446744073709551617"] {
            assert!(canonical(text, JsonNumbers::Machine).is_err(), "{text}");
        }
    }

    fn any_json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            any::<bool>().prop_map(|b| b.to_string()),
            any::<i64>().prop_map(|n| n.to_string()),
            "[a-zé ]{0,4}".prop_map(|text| format!("\"{text}\"")),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3)
                    .prop_map(|items| format!("[ {} ]", items.join(" , "))),
                proptest::collection::btree_map("[a-c]{1,2}", inner, 0..3).prop_map(|map| {
                    let members: Vec<String> =
                        map.iter().rev().map(|(k, v)| format!("\"{k}\" : {v}")).collect();
                    format!("{{{}}}", members.join(","))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_form_is_a_fixed_point(text in any_json()) {
            let once = exact(&text).unwrap();
            prop_assert_eq!(exact(&once), Ok(once));
        }
    }
}
