//! Conditions of filter patterns: comparisons joined by `&&`, `||` and parentheses. What is compared,
//! a member of a JSON object or a column, is the caller's.

use regex::{Regex, RegexBuilder};

use crate::PatternError;

/// How deep parentheses may nest.
const MAX_DEPTH: usize = 32;
/// Bytes that a compiled regular expression may take.
const MAX_REGEX_BYTES: usize = 1 << 20;

/// What has to hold, for subjects of one kind.
#[derive(Debug, Clone)]
pub(crate) enum Condition<S> {
    All(Vec<Condition<S>>),
    Any(Vec<Condition<S>>),
    Is(S, Test),
}

/// What is asked of a value.
#[derive(Debug, Clone)]
pub(crate) enum Test {
    /// A text with `*` for anything; or not that.
    Text {
        wanted: String,
        is_equal: bool,
    },
    /// A regular expression; or not that.
    Regex {
        wanted: Regex,
        is_equal: bool,
    },
    /// A number and how the value compares.
    Number(Comparison, f64),
    True,
    False,
    Null,
    NotExists,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

const COMPARISONS: &[(&str, Comparison)] = &[
    ("!=", Comparison::NotEqual),
    ("<=", Comparison::LessOrEqual),
    (">=", Comparison::GreaterOrEqual),
    ("=", Comparison::Equal),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
];

impl<S> Condition<S> {
    /// Whether it holds, given how a test turns out for a subject.
    pub(crate) fn holds(&self, is: &impl Fn(&S, &Test) -> bool) -> bool {
        match self {
            Self::All(conditions) => conditions.iter().all(|condition| condition.holds(is)),
            Self::Any(conditions) => conditions.iter().any(|condition| condition.holds(is)),
            Self::Is(subject, test) => is(subject, test),
        }
    }
}

impl Test {
    /// Whether a text fulfils it.
    pub(crate) fn holds_for(&self, text: &str) -> bool {
        match self {
            Self::Text { wanted, is_equal } => is_like(wanted, text) == *is_equal,
            Self::Regex { wanted, is_equal } => wanted.is_match(text) == *is_equal,
            Self::Number(comparison, wanted) => {
                text.parse().is_ok_and(|number| comparison.holds(number, *wanted))
            }
            Self::True | Self::False | Self::Null | Self::NotExists => false,
        }
    }
}

impl Comparison {
    pub(crate) fn holds(self, number: f64, wanted: f64) -> bool {
        let order = number.partial_cmp(&wanted);
        match self {
            Self::Equal => order.is_some_and(std::cmp::Ordering::is_eq),
            Self::NotEqual => order.is_some_and(std::cmp::Ordering::is_ne),
            Self::Less => order.is_some_and(std::cmp::Ordering::is_lt),
            Self::LessOrEqual => order.is_some_and(std::cmp::Ordering::is_le),
            Self::Greater => order.is_some_and(std::cmp::Ordering::is_gt),
            Self::GreaterOrEqual => order.is_some_and(std::cmp::Ordering::is_ge),
        }
    }
}

/// Whether a text is what a pattern with `*` for anything describes.
fn is_like(pattern: &str, text: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut rest) = text.strip_prefix(head) else { return false };
    let mut pieces = tail.split('*').peekable();
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return rest.ends_with(piece);
        }
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    true
}

/// The regular expression at the front, between per cent signs, and how many bytes come after it.
pub(crate) fn regex(text: &str) -> Result<(Regex, usize), PatternError> {
    let inside = text.strip_prefix('%').ok_or(PatternError::Regex(String::new()))?;
    let mut escaped = false;
    let end = inside.char_indices().find(|(_, character)| match character {
        '%' if !escaped => true,
        other => {
            escaped = *other == '\\' && !escaped;
            false
        }
    });
    let Some((end, _)) = end.filter(|(end, _)| *end > 0) else {
        return Err(PatternError::Regex(text.chars().take(20).collect()));
    };
    let expression = inside[..end].replace("\\%", "%");
    let compiled = RegexBuilder::new(&expression).size_limit(MAX_REGEX_BYTES).build();
    let compiled = compiled.map_err(|_| PatternError::Regex(inside[..end].to_owned()))?;
    Ok((compiled, inside.len() - end - 1))
}

/// The quoted text at the front, without its quotes, and how many bytes come after it.
pub(crate) fn quoted(text: &str) -> Result<(String, usize), PatternError> {
    let text = text.strip_prefix('"').ok_or(PatternError::Quote)?;
    let mut term = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((term, text.len() - at - 1)),
            '\\' => term.extend(characters.next().map(|(_, escaped)| escaped)),
            other => term.push(other),
        }
    }
    Err(PatternError::Quote)
}

/// Reads a pattern from its front.
pub(crate) struct Parser<'a> {
    pub(crate) rest: &'a str,
    /// What a pattern of this kind that is none is called.
    wrong: fn(String) -> PatternError,
    depth: usize,
}

impl<'a> Parser<'a> {
    pub(crate) fn new(rest: &'a str, wrong: fn(String) -> PatternError) -> Self {
        Self { rest, wrong, depth: 0 }
    }

    pub(crate) fn wrong(&self) -> PatternError {
        (self.wrong)(self.rest.trim_start().chars().take(20).collect())
    }

    pub(crate) fn accept(&mut self, token: &str) -> bool {
        let rest = self.rest.trim_start().strip_prefix(token);
        if let Some(rest) = rest {
            self.rest = rest;
        }
        rest.is_some()
    }

    pub(crate) fn expect(&mut self, token: &str) -> Result<(), PatternError> {
        if self.accept(token) { Ok(()) } else { Err(self.wrong()) }
    }

    /// The characters at the front that belong to a word, at least one.
    pub(crate) fn word(&mut self, belongs: impl Fn(char) -> bool) -> Result<String, PatternError> {
        let end = self.rest.find(|c| !belongs(c)).unwrap_or(self.rest.len());
        if end == 0 {
            return Err(self.wrong());
        }
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        Ok(word.to_owned())
    }

    pub(crate) fn quoted(&mut self) -> Result<String, PatternError> {
        let (text, rest) = quoted(self.rest)?;
        self.rest = &self.rest[self.rest.len() - rest..];
        Ok(text)
    }

    /// A condition, its subjects as `subject` reads them.
    pub(crate) fn condition<S>(
        &mut self,
        subject: &impl Fn(&mut Self) -> Result<S, PatternError>,
    ) -> Result<Condition<S>, PatternError> {
        let mut conditions = vec![self.all(subject)?];
        while self.accept("||") {
            conditions.push(self.all(subject)?);
        }
        Ok(Condition::Any(conditions))
    }

    fn all<S>(
        &mut self,
        subject: &impl Fn(&mut Self) -> Result<S, PatternError>,
    ) -> Result<Condition<S>, PatternError> {
        let mut conditions = vec![self.one(subject)?];
        while self.accept("&&") {
            conditions.push(self.one(subject)?);
        }
        Ok(Condition::All(conditions))
    }

    fn one<S>(
        &mut self,
        subject: &impl Fn(&mut Self) -> Result<S, PatternError>,
    ) -> Result<Condition<S>, PatternError> {
        if !self.accept("(") {
            return Ok(Condition::Is(subject(self)?, self.test()?));
        }
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.wrong());
        }
        let condition = self.condition(subject)?;
        self.expect(")")?;
        self.depth -= 1;
        Ok(condition)
    }

    fn test(&mut self) -> Result<Test, PatternError> {
        if self.accept("IS") {
            let words = [("TRUE", Test::True), ("FALSE", Test::False), ("NULL", Test::Null)];
            let found = words.into_iter().find(|(word, _)| self.accept(word));
            return found.map(|(_, test)| test).ok_or_else(|| self.wrong());
        }
        if self.accept("NOT") {
            self.expect("EXISTS")?;
            return Ok(Test::NotExists);
        }
        let found = COMPARISONS.iter().find(|(token, _)| self.accept(token));
        let (_, comparison) = found.ok_or_else(|| self.wrong())?;
        self.rest = self.rest.trim_start();
        let is_equal = match comparison {
            Comparison::Equal => Some(true),
            Comparison::NotEqual => Some(false),
            _ => None,
        };
        if let (Some(is_equal), true) = (is_equal, self.rest.starts_with('%')) {
            let (wanted, rest) = regex(self.rest)?;
            self.rest = &self.rest[self.rest.len() - rest..];
            return Ok(Test::Regex { wanted, is_equal });
        }
        let is_quoted = self.rest.starts_with('"');
        let wanted = match is_quoted {
            true => self.quoted()?,
            false => self.word(|c| c.is_alphanumeric() || "_-+.*:/@#?;~'".contains(c))?,
        };
        if !is_quoted && let Ok(number) = wanted.parse() {
            return Ok(Test::Number(*comparison, number));
        }
        let is_equal = is_equal.ok_or_else(|| self.wrong())?;
        Ok(Test::Text { wanted, is_equal })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_anything() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*c", "ac", true),
            ("a*a", "a", false),
            ("a*b*c", "a-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("**", "x", true),
            ("ä*ü", "ä ö ü", true),
        ] {
            assert_eq!(is_like(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn expressions_end_at_a_sign_that_is_not_escaped() {
        let (expression, rest) = regex(r"%\d\% of \\% rest").unwrap();
        assert_eq!((expression.as_str(), rest), (r"\d% of \\", 5));
        for wrong in ["%", "%%", "%open", "%(%", r"%x\%", "%[a-z]{1000}{1000}{10}%"] {
            assert!(regex(wrong).is_err(), "{wrong}");
        }
    }
}
