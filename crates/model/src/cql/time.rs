//! The date formats that `registeredAt` is compared with: `2018-06-18T22:28:28+00:00`,
//! `2018-06-18T22:28:28Z`, `2018-06-18T22:28:28` (UTC) and `2018-06-18`.

use crate::time::Timestamp;

/// The point in time that `text` names, if it is in one of the formats.
pub(super) fn parse(text: &str) -> Option<Timestamp> {
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let mut parts = date.split('-');
    let year = digits(parts.next()?, 4)?;
    let month = digits(parts.next()?, 2)?;
    let day = digits(parts.next()?, 2)?;
    if parts.next().is_some() || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let seconds = days_since_epoch(year, month, day) * 86_400 + time.map_or(Some(0), clock)?;
    Some(Timestamp(seconds * 1000))
}

/// Seconds of `22:28:28`, `22:28:28Z` or `22:28:28+01:00` within its UTC day.
fn clock(text: &str) -> Option<i64> {
    let (hms, zone) = text.split_at_checked(8)?;
    let seconds = hours_minutes(&hms[..5])? + digits(hms.get(6..)?, 2).filter(|s| *s < 60)?;
    let offset = match zone.as_bytes().first() {
        None => 0,
        Some(b'Z') if zone.len() == 1 => 0,
        Some(b'+') => hours_minutes(&zone[1..])?,
        Some(b'-') => -hours_minutes(&zone[1..])?,
        Some(_) => return None,
    };
    (hms.as_bytes()[5] == b':').then_some(seconds - offset)
}

fn hours_minutes(text: &str) -> Option<i64> {
    let (hours, minutes) = text.split_once(':')?;
    let hours = digits(hours, 2).filter(|h| *h < 24)?;
    let minutes = digits(minutes, 2).filter(|m| *m < 60)?;
    Some(hours * 3600 + minutes * 60)
}

fn digits(text: &str, count: usize) -> Option<i64> {
    let all = text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
    all.then(|| text.parse().ok()).flatten()
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, counting years from March.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}
