//! Values that must not be shown, whoever allows it.
//!
//! Owns the forms that are recognised: e-mail and IP addresses, phone and card numbers, JSON web tokens. It exists so that
//! a place that was put on the list of shown ones by mistake, or that holds more than its name says, gives nothing away.
//! What must stay true: pure; a doubt counts as a secret; text is looked at as it is and with percent escapes undone.

/// Digits of a phone number, without the country's sign.
const PHONE_DIGITS: std::ops::RangeInclusive<usize> = 9..=15;
/// Digits of a card number.
const CARD_DIGITS: std::ops::RangeInclusive<usize> = 13..=19;

/// Whether a text holds something that must not be shown.
pub(crate) fn is_secret(text: &str) -> bool {
    let plain = unescaped(text);
    [text, &plain].into_iter().any(|text| {
        words(text).any(|word| is_email(word) || is_address(word) || is_jwt(word))
            || numbers(text).any(|number| is_phone(&number) || is_card(&number))
    })
}

/// Undoes percent escapes; what is no escape stays.
fn unescaped(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let code = (*byte == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        if let Some(byte) = code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            plain.push(byte);
            at += 3;
        } else {
            plain.push(*byte);
            at += 1;
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_whitespace() || "\"'<>()[]{},;|=/?&\\".contains(c))
        .filter(|word| !word.is_empty())
}

/// `name@host`: one sign with something on both sides.
fn is_email(word: &str) -> bool {
    word.split_once('@').is_some_and(|(name, host)| {
        !name.is_empty() && host.len() >= 3 && !host.starts_with('.') && host.contains('.')
    })
}

fn is_address(word: &str) -> bool {
    let plain = word.trim_matches(['.', ':']);
    let host = plain.rsplit_once(':').map_or(plain, |(host, _)| host);
    let is = |text: &str| text.parse::<std::net::IpAddr>().is_ok();
    // `10:00` is a time, and `::` alone says nothing.
    is(word) || is(plain) || (host.contains('.') && is(host))
}

/// Three parts of base64, the first of which is a JSON object.
fn is_jwt(word: &str) -> bool {
    let parts: Vec<&str> = word.split('.').collect();
    let base64 = |part: &&str| {
        part.len() >= 4 && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
    };
    parts.len() >= 3 && word.contains("eyJ") && parts.iter().take(2).all(base64)
}

/// Runs of digits with what people put between them, as digits and whether a plus was before.
fn numbers(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !(c.is_ascii_digit() || "+ -().".contains(c))).filter_map(|run| {
        let number: String = run.chars().filter(|c| c.is_ascii_digit() || *c == '+').collect();
        (!number.is_empty()).then_some(number)
    })
}

fn is_phone(number: &str) -> bool {
    let digits = number.chars().filter(char::is_ascii_digit).count();
    (number.starts_with('+') && digits >= 7)
        || (PHONE_DIGITS.contains(&digits) && number.starts_with('0'))
        || digits > 11
}

/// Whether it has the length of a card number and its check digit is right.
fn is_card(number: &str) -> bool {
    let digits: Vec<u32> = number.chars().filter_map(|c| c.to_digit(10)).collect();
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| match (at % 2, digit * 2) {
            (0, _) => *digit,
            (_, double) if double > 9 => double - 9,
            (_, double) => double,
        })
        .sum();
    CARD_DIGITS.contains(&digits.len()) && sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_recognised_also_inside_other_text() {
        for secret in [
            "ada@example.com",
            "to: <ada.l+x@mail.example.org>, cc",
            "ada%40example.com",
            "+49 151 2345678",
            "(0151) 234-567-89",
            "4111 1111 1111 1111",
            "4111-1111-1111-1111",
            "378282246310005",
            "10.1.2.3",
            "from 192.168.0.17:8080",
            "2001:db8::8a2e:370:7334",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmN",
            "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmN",
        ] {
            assert!(is_secret(secret), "{secret}");
        }
    }

    #[test]
    fn plain_words_small_numbers_and_versions_are_none() {
        for plain in [
            "active",
            "42",
            "123456789",
            "1.2.3",
            "10:00",
            "hello world",
            "a@b",
            "2014-06-12",
            "100%",
        ] {
            assert!(!is_secret(plain), "{plain}");
        }
    }
}
