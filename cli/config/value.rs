//! Parsers of single values: durations, sizes, percentages, addresses, URLs.
//!
//! Each takes the text as written and answers a value or a fragment that says the rule.

use std::net::SocketAddr;

/// Any text that is not empty.
pub(crate) fn text(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("must not be empty".to_owned()) } else { Ok(text.to_owned()) }
}

/// `table.column`, with `schema.` before it if needed.
pub(crate) fn column(text: &str) -> Result<String, String> {
    match text.rsplit_once('.') {
        Some((table, column)) if !table.is_empty() && !column.is_empty() => Ok(text.to_owned()),
        Some(_) | None => Err(format!("must be table.column, found `{text}`")),
    }
}

/// `true` or `false`.
pub(crate) fn flag(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| format!("must be true or false, found `{text}`"))
}

/// A whole number of at least 1.
pub(crate) fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        Ok(_) | Err(_) => Err(format!("must be a whole number of at least 1, found `{text}`")),
    }
}

/// Milliseconds of a duration such as `250ms`, `30s`, `5m`, `2h`, `7d`.
pub(crate) fn duration_ms(text: &str) -> Result<u64, String> {
    let rule = || {
        format!(
            "must be a duration such as \"250ms\", \"30s\", \"5m\", \"2h\" or \"7d\", found `{text}`"
        )
    };
    let split = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(rule)?;
    let (number, unit) = text.split_at_checked(split).ok_or_else(rule)?;
    let factor = match unit.trim() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(rule()),
    };
    number.parse::<u64>().ok().and_then(|n| n.checked_mul(factor)).ok_or_else(rule)
}

/// Bytes of a size such as `512KiB` or `1MiB`; a bare number counts bytes.
pub(crate) fn bytes(text: &str) -> Result<usize, String> {
    let rule = || format!("must be a size such as \"64KiB\" or \"1MiB\", found `{text}`");
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(split).ok_or_else(rule)?;
    let factor = match unit.trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(rule()),
    };
    number.parse::<usize>().ok().and_then(|n| n.checked_mul(factor)).ok_or_else(rule)
}

/// A whole percentage.
pub(crate) fn percent(text: &str) -> Result<banyan_domain::Percent, String> {
    let number: u64 =
        text.parse().map_err(|_| format!("must be a whole number 0 to 100, found `{text}`"))?;
    u8::try_from(number)
        .map_err(|_| format!("must be 0 to 100, found {number}"))
        .and_then(banyan_domain::Percent::new)
}

/// A share in percent that may have decimals, such as `0.1`.
pub(crate) fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if (0.0..=100.0).contains(&number) => Ok(number),
        Ok(_) | Err(_) => Err(format!("must be a percentage 0 to 100, found `{text}`")),
    }
}

/// An address to listen on.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| format!("must be ADDRESS:PORT such as \"127.0.0.1:8080\", found `{text}`"))
}

/// A base URL of an upstream: scheme and authority only.
pub(crate) fn base_url(text: &str) -> Result<String, String> {
    let rule = || format!("must be a base URL such as \"http://127.0.0.1:3000\", found `{text}`");
    let url = reqwest::Url::parse(text).map_err(|_| rule())?;
    let bare =
        matches!(url.scheme(), "http" | "https") && url.path() == "/" && url.query().is_none();
    if bare && url.host().is_some() {
        return Ok(text.trim_end_matches('/').to_owned());
    }
    Err(rule())
}

/// A database URL of one of the three engines.
pub(crate) fn database_url(text: &str) -> Result<String, String> {
    let scheme = text.split(':').next().unwrap_or_default();
    match scheme {
        "sqlite" | "mysql" | "mariadb" | "postgres" | "postgresql" => Ok(text.to_owned()),
        _ => Err("must start with `sqlite:`, `mysql://`, `mariadb://` or `postgres://`".to_owned()),
    }
}

/// A broker URL.
pub(crate) fn broker_url(text: &str) -> Result<String, String> {
    if ["embedded:", "amqp://", "amqps://"].iter().any(|scheme| text.starts_with(scheme)) {
        return Ok(text.to_owned());
    }
    Err("must start with `embedded:`, `amqp://` or `amqps://`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_in_the_units_people_write() {
        assert_eq!(duration_ms("250ms"), Ok(250));
        assert_eq!(duration_ms("5m"), Ok(300_000));
        assert_eq!(bytes("1MiB"), Ok(1 << 20));
        assert!(
            duration_ms("5").is_err() && duration_ms("s").is_err() && duration_ms("5y").is_err()
        );
        assert!(duration_ms("99999999999999999999d").is_err());
        assert!(percent("250").unwrap_err().contains("found 250"));
        assert!(base_url("http://x/y").is_err() && base_url("x:1").is_err());
        assert_eq!(base_url("http://127.0.0.1:3000/").unwrap(), "http://127.0.0.1:3000");
    }
}
