//! Points in time as the wire carries them: whole milliseconds since the Unix epoch.
//!
//! Milliseconds, because that is what AWS's own services print; an integer, so that a value that
//! went through a client and back compares equal.

use std::fmt;

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

/// First and last second that the textual formats can carry: years 0000 to 9999.
const MIN_SECONDS: i64 = -62_167_219_200;
const MAX_SECONDS: i64 = 253_402_300_799;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];

impl Timestamp {
    /// From milliseconds since the epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Timestamp(millis)
    }

    /// Milliseconds since the epoch.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// From seconds since the epoch, rounded to milliseconds; `None` outside years 0000 to 9999.
    pub fn from_seconds_f64(seconds: f64) -> Option<Self> {
        let inside = seconds >= MIN_SECONDS as f64 && seconds < (MAX_SECONDS + 1) as f64;
        inside.then(|| Timestamp((seconds * 1000.0).round() as i64))
    }

    /// Seconds since the epoch with up to three decimals, as awsJson writes it (`1479780527.57`).
    pub fn to_epoch_seconds(self) -> String {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (seconds, millis) = (self.0.unsigned_abs() / 1000, self.0.unsigned_abs() % 1000);
        let text = format!("{sign}{seconds}.{millis:03}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }

    /// RFC 3339 in UTC with milliseconds when there are any (`2023-11-14T22:13:20.5Z`).
    pub fn to_iso8601(self) -> String {
        let parts = self.parts();
        let date = format!("{:04}-{:02}-{:02}", parts.year, parts.month, parts.day);
        let time = format!("{:02}:{:02}:{:02}", parts.hour, parts.minute, parts.second);
        if parts.millis == 0 {
            return format!("{date}T{time}Z");
        }
        let fraction = format!("{:03}", parts.millis);
        format!("{date}T{time}.{}Z", fraction.trim_end_matches('0'))
    }

    /// The fixed form of HTTP dates (`Tue, 14 Nov 2023 22:13:20 GMT`).
    pub fn to_rfc822(self) -> String {
        let parts = self.parts();
        let weekday = WEEKDAYS[parts.days.rem_euclid(7) as usize];
        let month = MONTHS[parts.month as usize - 1];
        let fraction = match parts.millis {
            0 => String::new(),
            millis => format!(".{millis:03}").trim_end_matches('0').to_owned(),
        };
        format!(
            "{weekday}, {:02} {month} {:04} {:02}:{:02}:{:02}{fraction} GMT",
            parts.day, parts.year, parts.hour, parts.minute, parts.second
        )
    }

    /// Reads an RFC 3339 date and time with `Z` or an offset.
    pub fn parse_iso8601(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let punctuation = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
        if !text.is_ascii() || bytes.len() < 20 {
            return None;
        }
        if punctuation.iter().any(|(at, want)| bytes[*at] != *want)
            || !matches!(bytes[10], b'T' | b't')
        {
            return None;
        }
        let seconds = civil_seconds(
            number(&text[0..4])?,
            number(&text[5..7])?,
            number(&text[8..10])?,
            (number(&text[11..13])?, number(&text[14..16])?, number(&text[17..19])?),
        )?;
        let (millis, zone) = fraction(&text[19..])?;
        let offset_seconds = match zone {
            "Z" | "z" => 0,
            _ => offset(zone)?,
        };
        Some(Timestamp((seconds - offset_seconds) * 1000 + millis))
    }

    /// Reads an HTTP date (`Tue, 14 Nov 2023 22:13:20 GMT`), fractions of a second allowed.
    pub fn parse_rfc822(text: &str) -> Option<Self> {
        let (_, rest) = text.split_once(", ")?;
        let mut words = rest.split(' ');
        let day = number(words.next()?)?;
        let month_name = words.next()?;
        let month = MONTHS.iter().position(|month| *month == month_name)? as i64 + 1;
        let year = number(words.next()?)?;
        let clock = words.next()?;
        if words.next()? != "GMT" || words.next().is_some() || !clock.is_ascii() {
            return None;
        }
        let (hms, rest) = clock.split_at_checked(8)?;
        let mut parts = hms.split(':');
        let clock = (number(parts.next()?)?, number(parts.next()?)?, number(parts.next()?)?);
        let (millis, rest) = fraction(rest)?;
        if !rest.is_empty() {
            return None;
        }
        Some(Timestamp(civil_seconds(year, month, day, clock)? * 1000 + millis))
    }

    fn parts(self) -> Parts {
        let seconds = self.0.div_euclid(1000).clamp(MIN_SECONDS, MAX_SECONDS);
        let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let (year, month, day) = civil_from_days(days);
        Parts {
            days,
            year,
            month,
            day,
            hour: of_day / 3600,
            minute: of_day / 60 % 60,
            second: of_day % 60,
            millis: self.0.rem_euclid(1000),
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_iso8601())
    }
}

/// Seconds since the epoch with a fraction, as ACS and TCS carry them.
impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 % 1000 == 0 {
            serializer.serialize_i64(self.0 / 1000)
        } else {
            serializer.serialize_f64(self.0 as f64 / 1000.0)
        }
    }
}

impl<'de> serde::Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        let out_of_range = || serde::de::Error::custom("timestamp out of range");
        Timestamp::from_seconds_f64(seconds).ok_or_else(out_of_range)
    }
}

struct Parts {
    days: i64,
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    millis: i64,
}

/// An unsigned decimal number of digits only.
fn number(text: &str) -> Option<i64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok())?
}

/// `.123…` at the start as milliseconds (cut, not rounded), and what follows it.
fn fraction(text: &str) -> Option<(i64, &str)> {
    let Some(rest) = text.strip_prefix('.') else {
        return Some((0, text));
    };
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (digits, rest) = rest.split_at(end);
    if digits.is_empty() {
        return None;
    }
    let millis = digits
        .bytes()
        .chain([b'0'; 3])
        .take(3)
        .fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
    Some((millis, rest))
}

/// `+HH:MM` or `-HH:MM` in seconds.
fn offset(text: &str) -> Option<i64> {
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = text[1..].split_once(':')?;
    if hours.len() != 2 || minutes.len() != 2 {
        return None;
    }
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// Seconds since the epoch of a civil date and time (hour, minute, second) in UTC.
fn civil_seconds(year: i64, month: i64, day: i64, clock: (i64, i64, i64)) -> Option<i64> {
    let (hour, minute, second) = clock;
    let days = days_from_civil(year, month, day);
    if !(0..=9999).contains(&year) || !(1..=12).contains(&month) || day < 1 {
        return None;
    }
    // A day that the month doesn't have comes back as another date.
    if civil_from_days(days) != (year, month, day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Days since the epoch; Howard Hinnant's `days_from_civil`.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Year, month and day of a count of days since the epoch; Howard Hinnant's `civil_from_days`.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats() {
        let at = Timestamp(1_700_000_000_500);
        assert_eq!(at.to_epoch_seconds(), "1700000000.5");
        assert_eq!(at.to_iso8601(), "2023-11-14T22:13:20.5Z");
        assert_eq!(at.to_rfc822(), "Tue, 14 Nov 2023 22:13:20.5 GMT");
        assert_eq!(Timestamp(0).to_epoch_seconds(), "0");
        assert_eq!(Timestamp(10_000).to_epoch_seconds(), "10");
        assert_eq!(Timestamp(-1).to_epoch_seconds(), "-0.001");
        assert_eq!(Timestamp(-1).to_iso8601(), "1969-12-31T23:59:59.999Z");
    }

    #[test]
    fn reads_what_it_writes() {
        for millis in [0, 1, -1, 951_782_400_000, 1_709_164_799_999, -62_167_219_200_000] {
            let at = Timestamp(millis);
            assert_eq!(Timestamp::parse_iso8601(&at.to_iso8601()), Some(at));
            assert_eq!(Timestamp::parse_rfc822(&at.to_rfc822()), Some(at));
        }
        let shifted = Timestamp::parse_iso8601("2023-11-14T23:13:20+01:00");
        assert_eq!(shifted, Some(Timestamp(1_700_000_000_000)));
    }

    #[test]
    fn refuses_what_is_no_date() {
        for text in [
            "2023-02-29T00:00:00Z",
            "2023-13-01T00:00:00Z",
            "2023-01-01T24:00:00Z",
            "2023-01-01T00:00:00",
            "2023-01-01",
            "",
            "2023-01-01T00:00:00.Z",
            "20é3-01-01T00:00:00Z",
        ] {
            assert_eq!(Timestamp::parse_iso8601(text), None, "{text}");
        }
        assert_eq!(Timestamp::from_seconds_f64(1e300), None);
        assert_eq!(Timestamp::from_seconds_f64(f64::NAN), None);
    }
}
