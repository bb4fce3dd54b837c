//! `Range` of a request for a blob (RFC 9110) and `Content-Range` of an upload's chunk (OCI: just
//! `<start>-<end>`).

use std::ops::Range;

/// What a `Range` header asks of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// The whole blob: no range, or one that may be ignored (another unit, several ranges, nonsense).
    Whole,
    /// These bytes, at least one of them.
    Part(Range<u64>),
    /// Nothing that the blob has.
    Unsatisfiable,
}

/// Reads a `Range` header for a blob of `size` bytes.
pub fn asked(header: Option<&str>, size: u64) -> Asked {
    let Some(ranges) = header.and_then(|text| text.trim().strip_prefix("bytes=")) else {
        return Asked::Whole;
    };
    // Several ranges may be ignored, and are: nobody pulls so, and answers made of thousands of
    // pieces are an old attack.
    let Some((first, last)) = ranges.split_once('-').filter(|_| !ranges.contains(',')) else {
        return Asked::Whole;
    };
    let (first, last) = (first.trim(), last.trim());
    match (number(first), number(last)) {
        (None, Some(0)) if first.is_empty() => Asked::Unsatisfiable,
        (None, Some(_)) if first.is_empty() && size == 0 => Asked::Unsatisfiable,
        (None, Some(tail)) if first.is_empty() => Asked::Part(size.saturating_sub(tail)..size),
        (Some(start), None) if last.is_empty() => part(start, size, size),
        (Some(start), Some(end)) if start <= end => part(start, end.saturating_add(1), size),
        _ => Asked::Whole,
    }
}

fn part(start: u64, end: u64, size: u64) -> Asked {
    if start >= size { Asked::Unsatisfiable } else { Asked::Part(start..end.min(size)) }
}

/// Reads the `Content-Range` of a chunk: its first byte, and its length. Docker's clients write
/// `<start>-<end>` as the OCI specification says; `bytes <start>-<end>/<size>` is HTTP's own form.
pub fn chunk(header: &str) -> Option<(u64, u64)> {
    let text = header.trim();
    let text = text.strip_prefix("bytes").map_or(text, |rest| rest.trim_start_matches([' ', '=']));
    let text = text.split_once('/').map_or(text, |(range, _)| range);
    let (start, end) = text.split_once('-')?;
    let (start, end) = (number(start.trim())?, number(end.trim())?);
    let length = end.checked_sub(start)?.checked_add(1)?;
    Some((start, length))
}

/// Digits only: no sign, no space.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges_are_read_as_http_says() {
        for (text, expected) in [
            ("bytes=0-0", Asked::Part(0..1)),
            ("bytes=2-", Asked::Part(2..10)),
            ("bytes=-3", Asked::Part(7..10)),
            ("bytes=-300", Asked::Part(0..10)),
            ("bytes=4-99", Asked::Part(4..10)),
            ("bytes=10-", Asked::Unsatisfiable),
            ("bytes=10-12", Asked::Unsatisfiable),
            ("bytes=-0", Asked::Unsatisfiable),
            ("bytes=0-1,3-4", Asked::Whole),
            ("bytes=5-4", Asked::Whole),
            ("bytes=-", Asked::Whole),
            ("bytes=+1-2", Asked::Whole),
            ("lines=0-1", Asked::Whole),
            ("bytes=99999999999999999999-", Asked::Whole),
            ("bytes=0-18446744073709551615", Asked::Part(0..10)),
        ] {
            assert_eq!(asked(Some(text), 10), expected, "{text}");
        }
        assert_eq!(asked(None, 10), Asked::Whole);
        assert_eq!(asked(Some("bytes=0-0"), 0), Asked::Unsatisfiable);
        assert_eq!(asked(Some("bytes=-5"), 0), Asked::Unsatisfiable);
    }

    #[test]
    fn chunks_come_in_two_notations() {
        assert_eq!(chunk("0-9"), Some((0, 10)));
        assert_eq!(chunk("bytes 5-5/*"), Some((5, 1)));
        for wrong in ["", "-", "1", "5-4", "a-b", "-5", "0-18446744073709551615", "1-2-3", "0x1-2"]
        {
            assert_eq!(chunk(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_stays_inside(text in "(bytes=)?[0-9, +-]{0,24}", size in 0..100_u64) {
            if let Asked::Part(range) = asked(Some(&text), size) {
                prop_assert!(range.start < range.end && range.end <= size);
            }
        }
    }
}
