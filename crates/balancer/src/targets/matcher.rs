//! Which answers of a health check are a success: API `Matcher`.

/// Codes and ranges of codes, such as `200,300-399`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matcher(Vec<(u16, u16)>);

impl Matcher {
    /// Reads a matcher; one that names no code matches nothing.
    pub fn parse(text: &str) -> Self {
        let codes = text.split(',').filter_map(|part| {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            Some((from.trim().parse().ok()?, to.trim().parse().ok()?))
        });
        Self(codes.collect())
    }

    /// Whether a code is a success.
    pub fn matches(&self, code: u16) -> bool {
        self.0.iter().any(|(from, to)| (*from..=*to).contains(&code))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_ranges() {
        let matcher = Matcher::parse("200, 300-399");
        assert!(matcher.matches(200) && matcher.matches(300) && matcher.matches(399));
        assert!(!matcher.matches(201) && !matcher.matches(400));
        assert!(!Matcher::parse("x").matches(200));
    }
}
