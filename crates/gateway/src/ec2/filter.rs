//! EC2's filters: all filters must hold, of each any value; `*` and `?` are wildcards.

use super::error;
use crate::error::ApiError;
use wharf_wire::ec2::types::Filter;

/// What a resource has under a filter's name; none if the resource knows no such filter.
pub type Values = Option<Vec<String>>;

/// True if the resource passes all `filters`. `values` gives what it has under a name.
///
/// # Errors
/// `InvalidParameterValue` for a name that the resource doesn't know.
pub fn passes(
    filters: Option<&Vec<Filter>>,
    values: impl Fn(&str) -> Values,
) -> Result<bool, ApiError> {
    let mut passes = true;
    for filter in filters.into_iter().flatten() {
        let name = filter.name.as_deref().unwrap_or_default();
        let has = match values(name) {
            Some(has) => has,
            // No tag, then.
            None if name == "tag-key" || name.starts_with("tag:") => Vec::new(),
            None => {
                return Err(error(
                    "InvalidParameterValue",
                    format!("The filter '{name}' is invalid"),
                ));
            }
        };
        let wanted = filter.values.as_deref().unwrap_or_default();
        passes &= wanted.iter().any(|pattern| has.iter().any(|text| matches(pattern, text)));
    }
    Ok(passes)
}

/// Keeps the items that pass `filters`; filters' names are checked even where there are no items.
///
/// # Errors
/// As [`passes`].
pub fn keep<T>(
    items: Vec<T>,
    filters: Option<&Vec<Filter>>,
    known: &[&str],
    values: impl Fn(&T, &str) -> Values,
) -> Result<Vec<T>, ApiError> {
    passes(filters, |name| known.contains(&name).then(Vec::new))?;
    let mut kept = Vec::with_capacity(items.len());
    for item in items {
        if passes(filters, |name| values(&item, name))? {
            kept.push(item);
        }
    }
    Ok(kept)
}

/// One value under a name.
pub fn one(text: impl Into<String>) -> Values {
    Some(vec![text.into()])
}

/// Whole-text match with `*` and `?`; a backslash takes the next character as it is.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where to go back to: after the last star, and the text that it hasn't taken yet.
    let mut star: Option<(usize, usize)> = None;
    loop {
        let step = match pattern.get(p) {
            Some('*') => {
                star = Some((p + 1, t));
                p += 1;
                continue;
            }
            Some('?') if t < text.len() => Some(1),
            Some('\\') if pattern.get(p + 1).is_some_and(|c| text.get(t) == Some(c)) => Some(2),
            Some(c) if text.get(t) == Some(c) => Some(1),
            None if t == text.len() => return true,
            _ => None,
        };
        match (step, star) {
            (Some(step), _) => (p, t) = (p + step, t + 1),
            (None, Some((after, taken))) if taken < text.len() => {
                (p, t) = (after, taken + 1);
                star = Some((after, taken + 1));
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards() {
        for (pattern, text) in
            [("a", "a"), ("*", ""), ("*", "x"), ("a*c", "abbc"), ("a?c", "abc"), ("\\*", "*")]
        {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("a", "b"), ("", "a"), ("a*c", "abd"), ("a?c", "ac"), ("\\*", "x")]
        {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
        assert!(!matches(&"*a".repeat(64), &"b".repeat(4096)));
    }
}
