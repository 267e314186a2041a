//! Numbers and times as people read them.
//!
//! Owns grouping by thousands, percents and UTC times, the same in each renderer. What must stay true: no locale, no time
//! zone, no clock.

/// `48112` as `48,112`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `14` of `2000` as `0.70 %`.
pub(crate) fn share(part: u64, whole: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "two digits after the point are shown")]
    let value = if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 };
    if part > 0 && value < 0.005 { "<0.01 %".to_owned() } else { percent(value) }
}

/// A percentage with two digits after the point, four when it is smaller than they show.
pub(crate) fn percent(value: f64) -> String {
    if value > 0.0 && value < 0.01 { format!("{value:.4} %") } else { format!("{value:.2} %") }
}

/// A percentage as it was asked for, without digits that say nothing: `99.9 %`, `95 %`.
pub(crate) fn plain(value: f64) -> String {
    let digits = format!("{value:.6}");
    format!("{} %", digits.trim_end_matches('0').trim_end_matches('.'))
}

/// `number` and the right form of a noun that takes an `s`.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// A length of time in its two largest units: `250 ms`, `4.2 s`, `12m 05s`, `3h 00m`, `2d 04h`.
pub(crate) fn duration(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0 => format!("{ms} ms"),
        1..60 => format!("{seconds}.{} s", ms % 1_000 / 100),
        60..3_600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {:02}m", seconds / 3_600, seconds / 60 % 60),
        86_400.. => format!("{}d {:02}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// Unix milliseconds as `2014-06-12 10:00:00 UTC`.
pub(crate) fn utc(ms: u64) -> String {
    let seconds = ms / 1_000;
    let (days, clock) = (seconds / 86_400, seconds % 86_400);
    // Civil date from days since 1970-01-01, counted from March so that leap days come last.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (clock / 3_600, clock / 60 % 60, clock % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(grouped(7), "7");
        assert_eq!(grouped(48_112), "48,112");
        assert_eq!(grouped(1_000_000), "1,000,000");
        assert_eq!(share(14, 2_000), "0.70 %");
        assert_eq!(share(1, 1_000_000), "<0.01 %");
        assert_eq!(share(0, 0), "0.00 %");
        assert_eq!(percent(0.001), "0.0010 %");
        assert_eq!(
            [99.9, 95.0, 99.999_9, 100.0 - 0.1].map(plain),
            ["99.9 %", "95 %", "99.9999 %", "99.9 %"]
        );
        assert_eq!(counted(1, "rule"), "1 rule");
        assert_eq!(counted(3, "rule"), "3 rules");
        let times = [250, 4_210, 725_000, 10_800_000, 187_200_000].map(duration);
        assert_eq!(times, ["250 ms", "4.2 s", "12m 05s", "3h 00m", "2d 04h"]);
    }

    #[test]
    fn times_are_civil_utc() {
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(1_402_567_200_000), "2014-06-12 10:00:00 UTC");
        assert_eq!(utc(1_709_164_800_000), "2024-02-29 00:00:00 UTC");
        assert_eq!(utc(951_868_799_999), "2000-02-29 23:59:59 UTC");
    }
}
