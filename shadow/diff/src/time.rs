//! Points in time inside strings, to tell another time from the same time written otherwise.
//!
//! Owns the few forms that Rails applications and their rewrites really emit. Must stay true: a text is a time only if it
//! is one completely; no clock and no time zone database.

/// How a time is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// `2014-06-12T10:00:00Z`, with any fraction and offset.
    Iso,
    /// `2014/06/12 10:00:00 +0000`.
    Rails,
    /// `2014-06-12 10:00:00`, with `UTC`, an offset or nothing.
    Sql,
    /// `Thu, 12 Jun 2014 10:00:00 GMT`.
    Http,
}

/// A point in time and how it was written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// Seconds since 1970 and nanoseconds.
    pub(crate) instant: (i64, u32),
    pub(crate) format: Format,
}

/// Reads a text that is a time.
pub(crate) fn read(text: &[u8]) -> Option<Moment> {
    if text.len() < 19 || text.len() > 40 {
        return None;
    }
    if !text.first()?.is_ascii_digit() {
        return http_date(text);
    }
    let mut scan = Scan { rest: text };
    let year = scan.digits(4)?;
    let slash = scan.take(b'/');
    if !slash && !scan.take(b'-') {
        return None;
    }
    let month = scan.digits(2)?;
    if !scan.take(if slash { b'/' } else { b'-' }) {
        return None;
    }
    let day = scan.digits(2)?;
    let format = match (slash, scan.take(b'T'), scan.take(b' ')) {
        (false, true, _) => Format::Iso,
        (true, false, true) => Format::Rails,
        (false, false, true) => Format::Sql,
        _ => return None,
    };
    let clock = scan.clock()?;
    let nanos = scan.fraction()?;
    let offset = scan.offset()?;
    let seconds = days(year, month, day)? * 86_400 + clock - offset;
    scan.rest.is_empty().then_some(Moment { instant: (seconds, nanos), format })
}

struct Scan<'a> {
    rest: &'a [u8],
}

impl Scan<'_> {
    fn digits(&mut self, count: usize) -> Option<i64> {
        let (digits, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        digits
            .iter()
            .try_fold(0, |sum, d| d.is_ascii_digit().then(|| sum * 10 + i64::from(d & 0x0F)))
    }

    fn take(&mut self, byte: u8) -> bool {
        match self.rest.split_first() {
            Some((first, rest)) if *first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn clock(&mut self) -> Option<i64> {
        let hour = self.digits(2)?;
        let minute = self.take(b':').then(|| self.digits(2))??;
        let second = self.take(b':').then(|| self.digits(2))??;
        (hour < 24 && minute < 60 && second <= 60).then_some((hour * 60 + minute) * 60 + second)
    }

    fn fraction(&mut self) -> Option<u32> {
        if !self.take(b'.') {
            return Some(0);
        }
        let count = self.rest.iter().take_while(|b| b.is_ascii_digit()).count();
        if count == 0 || count > 9 {
            return None;
        }
        let value = self.digits(count)?;
        let scale = (count..9).fold(1, |scale, _| scale * 10);
        u32::try_from(value * scale).ok()
    }

    /// Seconds east of UTC; nothing means UTC.
    fn offset(&mut self) -> Option<i64> {
        let spaced = self.take(b' ');
        if self.rest.is_empty() {
            return (!spaced).then_some(0);
        }
        if matches!(self.rest, b"Z" | b"z" | b"UTC" | b"GMT") {
            self.rest = &[];
            return Some(0);
        }
        let negative = self.take(b'-');
        if !negative && !self.take(b'+') {
            return None;
        }
        let hours = self.digits(2)?;
        self.take(b':');
        let minutes = self.digits(2)?;
        let east = (hours * 60 + minutes) * 60;
        Some(if negative { -east } else { east })
    }
}

fn http_date(text: &[u8]) -> Option<Moment> {
    const MONTHS: [&[u8]; 12] = [
        b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov",
        b"Dec",
    ];
    let comma = text.iter().position(|b| *b == b',')?;
    let mut scan = Scan { rest: text.get(comma + 1..)? };
    scan.take(b' ');
    let day = scan.digits(2)?;
    scan.take(b' ');
    let (name, rest) = scan.rest.split_at_checked(3)?;
    let month = MONTHS.iter().position(|month| *month == name)? + 1;
    scan.rest = rest;
    scan.take(b' ');
    let year = scan.digits(4)?;
    scan.take(b' ');
    let clock = scan.clock()?;
    let offset = scan.offset()?;
    let seconds = days(year, i64::try_from(month).ok()?, day)? * 86_400 + clock - offset;
    scan.rest.is_empty().then_some(Moment { instant: (seconds, 0), format: Format::Http })
}

/// Days since 1970-01-01 in the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_instant_is_read_from_all_forms() {
        for text in [
            "2014-06-12T10:00:00Z",
            "2014-06-12T10:00:00.000Z",
            "2014-06-12T12:00:00+02:00",
            "2014/06/12 10:00:00 +0000",
            "2014-06-12 10:00:00 UTC",
            "2014-06-12 10:00:00",
            "Thu, 12 Jun 2014 10:00:00 GMT",
        ] {
            assert_eq!(read(text.as_bytes()).unwrap().instant, (1_402_567_200, 0), "{text}");
        }
    }

    #[test]
    fn texts_that_only_start_like_a_time_are_none() {
        for text in [
            "2014-06-12T10:00:00Z and more",
            "2014-13-12T10:00:00Z",
            "2014-06-12T25:00:00Z",
            "2014-06/12 10:00:00 +0000",
            "20140612100000123456789",
            "2014-06-12T10:00:00.Z1234",
        ] {
            assert!(read(text.as_bytes()).is_none(), "{text}");
        }
    }
}
