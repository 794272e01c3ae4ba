//! Values as people write them: durations, sizes, times.

use chrono::{DateTime, NaiveDate, NaiveDateTime};

/// A value that a field is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Literal {
    /// `none`: there is no such value.
    None,
    /// A number, an id, the code of a word, milliseconds, bytes.
    Integer(i64),
    Text(String),
    /// A time is as long as it is exact: a day, a minute, a second. From the first of these milliseconds on, before the second.
    Span(i64, i64),
}

impl Literal {
    /// The number, if it is one.
    pub(super) const fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(value) => Some(*value),
            Self::None | Self::Text(_) | Self::Span(..) => None,
        }
    }
}

const DURATIONS: &[(&str, f64)] =
    &[("", 1000.0), ("ms", 1.0), ("s", 1000.0), ("m", 60_000.0), ("h", 3_600_000.0), ("d", 86_400_000.0)];
const KIB: f64 = 1024.0;
const SIZES: &[(&str, f64)] = &[
    ("", 1.0),
    ("K", KIB),
    ("KiB", KIB),
    ("M", KIB * KIB),
    ("MiB", KIB * KIB),
    ("G", KIB * KIB * KIB),
    ("GiB", KIB * KIB * KIB),
];
/// More is refused: it is exact as a double, and far from the end of an `i64`.
const MOST: f64 = 9e15;

/// Milliseconds of `30s`, `5m`, `1.5h`, `250ms`; a bare number is seconds.
pub(super) fn duration(text: &str) -> Option<i64> {
    scaled(text, DURATIONS)
}

/// Bytes of `512K`, `10MiB`, `1.5G`; a bare number is bytes.
pub(super) fn size(text: &str) -> Option<i64> {
    scaled(text, SIZES)
}

#[expect(clippy::cast_possible_truncation, reason = "at most 9e15")]
fn scaled(text: &str, units: &[(&str, f64)]) -> Option<i64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let (_, scale) = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    let value = number.parse::<f64>().ok()? * scale;
    (value <= MOST).then_some(value.round() as i64)
}

/// The span of `2026-01-31`, `2026-01-31 22:00`, `2026-01-31T22:00:05.5Z`; UTC where no zone is said.
pub(super) fn time(text: &str) -> Option<Literal> {
    const DAY: i64 = 86_400_000;
    let span = |from: i64, ms: i64| Some(Literal::Span(from, from + ms));
    if let Ok(day) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        return span(day.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_millis(), DAY);
    }
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return span(at.timestamp_millis(), exactness(text));
    }
    let forms = [("%Y-%m-%dT%H:%M", 60_000), ("%Y-%m-%dT%H:%M:%S%.f", exactness(text))];
    let text = text.replacen(' ', "T", 1);
    forms.into_iter().find_map(|(form, ms)| {
        let at = NaiveDateTime::parse_from_str(&text, form).ok()?;
        span(at.and_utc().timestamp_millis(), ms)
    })
}

/// A second, or a millisecond where there is a fraction.
fn exactness(text: &str) -> i64 {
    if text.contains('.') { 1 } else { 1000 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_as_people_write_them() {
        for (text, ms) in [("30s", 30_000), ("5m", 300_000), ("1.5h", 5_400_000), ("2d", 172_800_000), ("7", 7000)] {
            assert_eq!(duration(text), Some(ms), "{text}");
        }
        assert_eq!((duration("250ms"), duration(".5"), duration("0")), (Some(250), Some(500), Some(0)));
        for text in ["", "s", "-1", "1e3", "inf", "nan", "1.2.3", "5 m", "99999999999999999", "1w", "٣"] {
            assert_eq!(duration(text), None, "{text}");
        }
        let sizes = [("1", 1), ("10K", 10_240), ("2m", 2 << 20), ("1.5G", 3 << 29), ("512MiB", 512 << 20)];
        for (text, bytes) in sizes {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        assert_eq!((size("1MB"), size("G")), (None, None));
    }

    #[test]
    fn a_time_is_as_long_as_it_is_exact() {
        const DAY: i64 = 1_769_817_600_000;
        let at = DAY + 22 * 3_600_000;
        for (text, from, ms) in [
            ("2026-01-31", DAY, 86_400_000),
            ("2026-01-31 22:00", at, 60_000),
            ("2026-01-31T22:00", at, 60_000),
            ("2026-01-31 22:00:05", at + 5000, 1000),
            ("2026-01-31T23:00:05+01:00", at + 5000, 1000),
            ("2026-01-31T22:00:00.250Z", at + 250, 1),
        ] {
            assert_eq!(time(text), Some(Literal::Span(from, from + ms)), "{text}");
        }
        for text in ["2h", "yesterday", "2026-02-30", "2026-01-31 25:00", "22:00", ""] {
            assert_eq!(time(text), None, "{text}");
        }
    }
}
