//! Whether a tag of a repository may be moved to another image, and the wildcards that make
//! exceptions from it.

use serde::{Deserialize, Serialize};

/// Wildcards in one filter at most.
pub const MAX_WILDCARDS: usize = 2;

/// A repository's rule (ECR API `ImageTagMutability`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub enum Mutability {
    /// Every tag may be moved.
    #[default]
    Mutable,
    /// No tag may be moved.
    Immutable,
    /// No tag may be moved but those that a filter matches.
    ImmutableWithExclusion,
    /// Every tag may be moved but those that a filter matches.
    MutableWithExclusion,
}

impl Mutability {
    /// True if `tag` may be moved.
    pub fn allows(self, filters: &[String], tag: &str) -> bool {
        let excluded = || filters.iter().any(|filter| matches(filter, tag));
        match self {
            Self::Mutable => true,
            Self::Immutable => false,
            Self::ImmutableWithExclusion => excluded(),
            Self::MutableWithExclusion => !excluded(),
        }
    }
}

/// True if `pattern`, in which `*` stands for any number of characters, matches the whole `text`.
pub fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_whole_tags() {
        for (pattern, text, expected) in [
            ("prod", "prod", true),
            ("prod", "prod1", false),
            ("prod*", "prod", true),
            ("prod*", "prod-7", true),
            ("*-rc*", "1.0-rc2", true),
            ("*-rc", "1.0-rc2", false),
            ("*", "", true),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("*b*", "abc", true),
            ("a**c", "abc", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
        let filters = ["dev-*".to_owned()];
        assert!(Mutability::ImmutableWithExclusion.allows(&filters, "dev-1"));
        assert!(!Mutability::ImmutableWithExclusion.allows(&filters, "1.0"));
        assert!(!Mutability::MutableWithExclusion.allows(&filters, "dev-1"));
        assert!(Mutability::MutableWithExclusion.allows(&filters, "1.0"));
    }
}
