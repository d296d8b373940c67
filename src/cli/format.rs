//! Formats numbers and times for people, and parses what they type.

use std::time::{Duration, SystemTime};

/// Reads `30ms`, `1.5s`, `2m`, `1h30m`, or plain seconds.
///
/// # Errors
/// The message says what would be right.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration: write 30ms, 1.5s, 2m or 1h");
    if let Ok(seconds) = text.strip_suffix('s').unwrap_or(text).parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).map_err(|_| wrong());
    }
    if let Some(Ok(millis)) = text.strip_suffix("ms").map(str::parse::<f64>) {
        return Duration::try_from_secs_f64(millis / 1000.0).map_err(|_| wrong());
    }
    humantime::parse_duration(text).map_err(|_| wrong())
}

/// Reads `label=value`.
///
/// # Errors
/// The message says what would be right.
pub fn parse_label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((label, value)) if !label.is_empty() => Ok((label.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is not a label: write LABEL=VALUE")),
    }
}

/// A short span in three digits: `850us`, `12.3ms`, `1.25s`, `4m10s`.
#[must_use]
pub fn span(span: Duration) -> String {
    let seconds = span.as_secs_f64();
    match seconds {
        s if s < 1e-3 => format!("{:.0}us", s * 1e6),
        s if s < 9.95e-3 => format!("{:.2}ms", s * 1e3),
        s if s < 99.5e-3 => format!("{:.1}ms", s * 1e3),
        s if s < 0.9995 => format!("{:.0}ms", s * 1e3),
        s if s < 60.0 => format!("{s:.2}s"),
        _ => long(span),
    }
}

/// The time since then in its two largest units: `3d4h`, `12m5s`.
#[must_use]
pub fn ago(then: SystemTime, now: SystemTime) -> String {
    format!("{} ago", long(now.duration_since(then).unwrap_or_default()))
}

fn long(span: Duration) -> String {
    let seconds = span.as_secs();
    let (large, small) = match seconds {
        s if s < 60 => return format!("{s}s"),
        s if s < 3600 => ((s / 60, "m"), (s % 60, "s")),
        s if s < 86_400 => ((s / 3600, "h"), (s % 3600 / 60, "m")),
        s => ((s / 86_400, "d"), (s % 86_400 / 3600, "h")),
    };
    match small.0 {
        0 => format!("{}{}", large.0, large.1),
        _ => format!("{}{}{}{}", large.0, large.1, small.0, small.1),
    }
}

/// A fraction as per cent.
#[must_use]
pub fn percent(share: f64) -> String {
    match share * 100.0 {
        0.0 => "0%".to_owned(),
        p if p < 0.1 => "<0.1%".to_owned(),
        p if (p - p.round()).abs() < 0.05 => format!("{p:.0}%"),
        p => format!("{p:.1}%"),
    }
}

/// A number with at most two decimals.
#[must_use]
pub fn number(number: f64) -> String {
    let text = format!("{number:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// `1 endpoint`, `3 endpoints`.
#[must_use]
pub fn count(number: impl Into<u64>, one: &str) -> String {
    match number.into() {
        1 => format!("1 {one}"),
        number => format!("{number} {one}s"),
    }
}

/// An address and a port, with brackets for IPv6.
#[must_use]
pub fn address(address: &str, port: u32) -> String {
    match address.contains(':') {
        true => format!("[{address}]:{port}"),
        false => format!("{address}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_they_are_written() {
        let millis = |text| parse_duration(text).unwrap().as_millis();
        assert_eq!(millis("30ms"), 30);
        assert_eq!(millis("0.5ms"), 0);
        assert_eq!(millis("1.5s"), 1500);
        assert_eq!(millis("2"), 2000);
        assert_eq!(millis("1h30m"), 5_400_000);
        for text in ["", "soon", "-1s", "1e99s", "NaN", "inf", "ms"] {
            assert!(parse_duration(text).unwrap_err().contains("write 30ms"), "{text}");
        }
    }

    #[test]
    fn spans_have_three_digits() {
        let words = |micros| span(Duration::from_micros(micros));
        assert_eq!(words(850), "850us");
        assert_eq!(words(1234), "1.23ms");
        assert_eq!(words(12_345), "12.3ms");
        assert_eq!(words(345_678), "346ms");
        assert_eq!(words(1_250_000), "1.25s");
        assert_eq!(words(250_000_000), "4m10s");
    }

    #[test]
    fn shares_and_numbers_drop_what_says_nothing() {
        assert_eq!([0.0, 0.0001, 1.0 / 3.0, 1.0].map(percent), ["0%", "<0.1%", "33.3%", "100%"]);
        assert_eq!([1.0, 0.5, 0.333, -0.001].map(number), ["1", "0.5", "0.33", "0"]);
    }

    #[test]
    fn an_ipv6_address_gets_brackets() {
        assert_eq!(address("fd00::1", 80), "[fd00::1]:80");
        assert_eq!(address("10.0.0.1", 80), "10.0.0.1:80");
    }

    #[test]
    fn ages_have_two_units() {
        let ago = |seconds| {
            ago(SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
        };
        assert_eq!(ago(5), "5s ago");
        assert_eq!(ago(3 * 86_400 + 4 * 3600 + 59), "3d4h ago");
        assert_eq!(ago(3600), "1h ago");
    }
}
