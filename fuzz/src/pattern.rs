//! What must hold for any text given as a filter pattern, and any message that it is held against.

use wharf_logs::Pattern;

/// The longest pattern that the API takes.
const MAX_PATTERN: usize = 1024;

/// A pattern in the first line, a message in the rest. A pattern is refused in words, or has an answer
/// for the message, which space around the pattern doesn't change; one of terms finds what it is made of.
pub fn filter_pattern(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (pattern, message) = text.split_once('\n').unwrap_or((text, ""));
    if pattern.len() > MAX_PATTERN {
        return;
    }
    let parsed = match Pattern::parse(pattern) {
        Ok(parsed) => parsed,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let matches = parsed.matches(message);
    let spaced = Pattern::parse(&format!("  {pattern} ")).expect("space changes nothing");
    assert_eq!(spaced.matches(message), matches, "{pattern:?}");
    let words =
        pattern.split(' ').all(|w| !w.is_empty() && w.bytes().all(|b| b.is_ascii_alphanumeric()));
    if words {
        assert!(parsed.matches(pattern), "{pattern:?}");
        assert_eq!(matches, pattern.split(' ').all(|word| message.contains(word)), "{pattern:?}");
    }
}
