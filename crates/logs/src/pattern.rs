//! CloudWatch Logs' filter patterns: terms (`ERROR "not found" -debug`, `?WARN ?ERROR`, `%5\d\d%`),
//! which are looked for anywhere in a message, conditions on JSON ([`json_pattern`]) and on columns
//! ([`column_pattern`]). Case counts.

use regex::Regex;

use crate::column_pattern::{self, Columns};
use crate::condition::{quoted, regex};
use crate::json_pattern::{self, Condition};

/// Why a pattern can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It isn't one.
    #[error("Invalid character(s) in term '{0}'")]
    Term(String),
    /// A quote that isn't closed.
    #[error("Invalid filter pattern: a quotation mark is not closed")]
    Quote,
    /// Braces around what is no condition on JSON.
    #[error("Invalid JSON filter pattern at '{0}'")]
    Json(String),
    /// Brackets around what is no list of columns.
    #[error("Invalid space-delimited filter pattern at '{0}'")]
    Columns(String),
    /// Per cent signs around what is no regular expression.
    #[error("Invalid regular expression in filter pattern: '{0}'")]
    Regex(String),
}

/// A filter pattern.
#[derive(Debug, Clone)]
pub struct Pattern(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Json(Condition),
    Columns(Columns),
    Terms(Terms),
}

/// Something to be found in a message.
#[derive(Debug, Clone)]
enum Term {
    Text(String),
    Regex(Regex),
}

#[derive(Debug, Clone, Default)]
struct Terms {
    required: Vec<Term>,
    optional: Vec<Term>,
    excluded: Vec<Term>,
}

impl Default for Pattern {
    /// The empty pattern.
    fn default() -> Self {
        Self(Kind::Terms(Terms::default()))
    }
}

impl Term {
    fn is_in(&self, message: &str) -> bool {
        match self {
            Self::Text(text) => message.contains(text.as_str()),
            Self::Regex(regex) => regex.is_match(message),
        }
    }
}

impl Pattern {
    /// Reads a pattern. The empty one matches everything.
    ///
    /// # Errors
    /// If it isn't one.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let text = text.trim();
        Ok(Self(match text.chars().next() {
            Some('{') => Kind::Json(json_pattern::parse(text)?),
            Some('[') => Kind::Columns(column_pattern::parse(text)?),
            _ => Kind::Terms(Terms::parse(text)?),
        }))
    }

    /// Whether a message is one of those that the pattern asks for.
    pub fn matches(&self, message: &str) -> bool {
        match &self.0 {
            Kind::Json(condition) => json_pattern::matches(condition, message),
            Kind::Columns(columns) => columns.matches(message),
            Kind::Terms(terms) => terms.are_in(message),
        }
    }
}

impl Terms {
    fn parse(text: &str) -> Result<Self, PatternError> {
        let mut terms = Self::default();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let list = match first {
                '?' => &mut terms.optional,
                '-' => &mut terms.excluded,
                _ => &mut terms.required,
            };
            rest = rest.strip_prefix(['?', '-']).unwrap_or(rest);
            let (term, after) = term(rest)?;
            if !matches!(&term, Term::Text(text) if text.is_empty()) {
                list.push(term);
            }
            rest = after.trim_start();
        }
        // As documented: beside other terms, optional ones are ignored.
        if !terms.required.is_empty() || !terms.excluded.is_empty() {
            terms.optional.clear();
        }
        Ok(terms)
    }

    fn are_in(&self, message: &str) -> bool {
        let has = |term: &Term| term.is_in(message);
        self.required.iter().all(has)
            && (self.optional.is_empty() || self.optional.iter().any(has))
            && !self.excluded.iter().any(has)
    }
}

/// The term at the front, and what comes after it.
fn term(text: &str) -> Result<(Term, &str), PatternError> {
    if text.starts_with('%') {
        let (regex, rest) = regex(text)?;
        return Ok((Term::Regex(regex), &text[text.len() - rest..]));
    }
    if !text.starts_with('"') {
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        let (term, rest) = text.split_at(end);
        let plain = |c: char| c.is_alphanumeric() || c == '_';
        return match !term.is_empty() && term.chars().all(plain) {
            true => Ok((Term::Text(term.to_owned()), rest)),
            false => Err(PatternError::Term(term.to_owned())),
        };
    }
    let (term, rest) = quoted(text)?;
    Ok((Term::Text(term), &text[text.len() - rest..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_phrases_options_and_exclusions() {
        let matches = |pattern: &str, message| Pattern::parse(pattern).unwrap().matches(message);
        assert!(matches("", "anything"));
        assert!(matches("ERROR", "[ERROR 400] bad request"));
        assert!(!matches("error", "[ERROR 400] bad request"));
        assert!(matches("ERROR request", "[ERROR 400] bad request"));
        assert!(!matches("ERROR response", "[ERROR 400] bad request"));
        assert!(matches("\"400] bad\"", "[ERROR 400] bad request"));
        assert!(matches("\"say \\\"hi\\\"\"", "I say \"hi\""));
        assert!(matches("?WARN ?ERROR", "an ERROR"));
        assert!(!matches("?WARN ?ERROR", "an INFO"));
        assert!(matches("ERROR -Exiting", "ERROR 1"));
        assert!(!matches("ERROR -Exiting", "ERROR Exiting"));
        assert!(matches("ERROR ?nothing", "ERROR"));
        assert!(!matches("-\"not found\"", "it was not found"));
        assert!(matches("%ERR[OA]R%", "an ERROR"));
        assert!(matches(r"%^\d+ %", "12 a"));
        assert!(!matches("ERROR -%4\\d\\d%", "ERROR 404"));
        assert!(matches("?%^a% ?%b$%", "x b"));
        assert!(matches("[w1 = ERROR, ...]", "ERROR in line 7"));
    }

    #[test]
    fn what_is_none_is_told() {
        let error = |text| Pattern::parse(text).unwrap_err().to_string();
        assert_eq!(error("{ level }"), "Invalid JSON filter pattern at 'level }'");
        assert_eq!(error("[ip, user"), "Invalid space-delimited filter pattern at ''");
        assert_eq!(error("%[0-9%"), "Invalid regular expression in filter pattern: '[0-9'");
        assert_eq!(error("a/b"), "Invalid character(s) in term 'a/b'");
        assert!(error("\"open").contains("not closed"));
        assert!(Pattern::parse("- ?").is_err());
    }

    proptest::proptest! {
        /// Whatever somebody sends, there is an answer.
        #[test]
        fn nothing_that_is_sent_panics(
            pattern in "[{(\\[]?[ $.a-z\"\\\\*?=!<>&|()0-9{}\\[\\]%ä-]{0,40}",
            message in "[{ \"a:1}]{0,20}",
        ) {
            if let Ok(pattern) = Pattern::parse(&pattern) {
                pattern.matches(&message);
            }
        }
    }
}
