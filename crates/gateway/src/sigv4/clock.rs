//! The server's clock, and the time format of SigV4.

use wharf_model::Timestamp;

/// Where the edge reads the time from; tests put their own in its place.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Timestamp;
}

/// The operating system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since_epoch =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }
}

/// A point in time in ISO 8601's basic form, `YYYYMMDDTHHMMSSZ`, to the second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AmzDate {
    text: String,
    at: Timestamp,
}

impl AmzDate {
    /// Reads `text`; none if it isn't a time in exactly this form.
    pub fn parse(text: &str) -> Option<Self> {
        let b = text.as_bytes();
        if b.len() != 16 || b[8] != b'T' || b[15] != b'Z' {
            return None;
        }
        let digits = |from: usize, to: usize| -> Option<i16> {
            let part = &text.get(from..to)?;
            part.bytes().all(|c| c.is_ascii_digit()).then(|| part.parse().ok())?
        };
        let narrow = |n: i16| i8::try_from(n).ok();
        let time = jiff::civil::DateTime::new(
            digits(0, 4)?,
            narrow(digits(4, 6)?)?,
            narrow(digits(6, 8)?)?,
            narrow(digits(9, 11)?)?,
            narrow(digits(11, 13)?)?,
            narrow(digits(13, 15)?)?,
            0,
        )
        .ok()?;
        let at = jiff::tz::TimeZone::UTC.to_timestamp(time).ok()?.as_millisecond();
        Some(Self { text: text.to_owned(), at: Timestamp(at) })
    }

    /// Reads the value of a `Date` header (RFC 9110) or a time in the basic form.
    pub fn parse_http_date(text: &str) -> Option<Self> {
        if let Some(date) = Self::parse(text) {
            return Some(date);
        }
        let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_millisecond();
        Some(Self::at(Timestamp(at)))
    }

    /// The point `at`, cut to the second.
    pub fn at(at: Timestamp) -> Self {
        let seconds = at.as_millis().div_euclid(1000);
        let text = jiff::Timestamp::from_second(seconds)
            .map(|t| t.strftime("%Y%m%dT%H%M%SZ").to_string())
            .unwrap_or_default();
        Self { text, at: Timestamp(seconds * 1000) }
    }

    /// The text form.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// `YYYYMMDD`.
    pub fn day(&self) -> &str {
        self.text.get(..8).unwrap_or_default()
    }

    /// The point in time.
    pub const fn timestamp(&self) -> Timestamp {
        self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_form_only() {
        let date = AmzDate::parse("20150830T123600Z").unwrap();
        assert_eq!(date.timestamp(), Timestamp(1_440_938_160_000));
        assert_eq!(AmzDate::at(date.timestamp()), date);
        assert_eq!(date.day(), "20150830");
        for wrong in [
            "",
            "20150830T123600",
            "20150830t123600Z",
            "2015-08-30T12:36:00Z",
            "20151330T123600Z",
            "20150830T1236000",
            "+0150830T123600Z",
            "20150230T123600Z",
            "éééé0830T1236Z",
        ] {
            assert_eq!(AmzDate::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn http_dates() {
        let date = AmzDate::parse_http_date("Sun, 30 Aug 2015 12:36:00 GMT").unwrap();
        assert_eq!(date.as_str(), "20150830T123600Z");
        assert_eq!(AmzDate::parse_http_date("yesterday"), None);
    }
}
