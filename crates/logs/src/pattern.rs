//! CloudWatch Logs' filter patterns: terms (`ERROR "not found" -debug`, `?WARN ?ERROR`), which are
//! looked for anywhere in a message, and conditions on JSON ([`json_pattern`]). Case counts.
//!
//! Patterns for columns (`[ … ]`) and regular expressions (`%…%`) aren't carried out, which the error
//! says.

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
    /// A kind of pattern that isn't carried out.
    #[error("{0} filter patterns are not supported by this server")]
    Unsupported(&'static str),
}

/// A filter pattern.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pattern {
    condition: Option<Condition>,
    required: Vec<String>,
    optional: Vec<String>,
    excluded: Vec<String>,
}

impl Pattern {
    /// Reads a pattern. The empty one matches everything.
    ///
    /// # Errors
    /// If it isn't one, or one of a kind that isn't carried out.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let mut rest = text.trim();
        match rest.chars().next() {
            Some('{') => {
                let condition = Some(json_pattern::parse(rest)?);
                return Ok(Self { condition, ..Self::default() });
            }
            Some('[') => return Err(PatternError::Unsupported("Space-delimited")),
            _ => {}
        }
        let mut pattern = Self::default();
        while let Some(first) = rest.chars().next() {
            let list = match first {
                '?' => &mut pattern.optional,
                '-' => &mut pattern.excluded,
                _ => &mut pattern.required,
            };
            rest = rest.strip_prefix(['?', '-']).unwrap_or(rest);
            let (term, after) = term(rest)?;
            if !term.is_empty() {
                list.push(term);
            }
            rest = after.trim_start();
        }
        // As documented: beside other terms, optional ones are ignored.
        if !pattern.required.is_empty() || !pattern.excluded.is_empty() {
            pattern.optional.clear();
        }
        Ok(pattern)
    }

    /// Whether a message is one of those that the pattern asks for.
    pub fn matches(&self, message: &str) -> bool {
        if let Some(condition) = &self.condition {
            return condition.matches(message);
        }
        let has = |term: &String| message.contains(term.as_str());
        self.required.iter().all(has)
            && (self.optional.is_empty() || self.optional.iter().any(has))
            && !self.excluded.iter().any(has)
    }
}

/// The term at the front, and what comes after it.
fn term(text: &str) -> Result<(String, &str), PatternError> {
    if text.starts_with('%') {
        return Err(PatternError::Unsupported("Regular expression"));
    }
    if !text.starts_with('"') {
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        let (term, rest) = text.split_at(end);
        let plain = |c: char| c.is_alphanumeric() || c == '_';
        return match !term.is_empty() && term.chars().all(plain) {
            true => Ok((term.to_owned(), rest)),
            false => Err(PatternError::Term(term.to_owned())),
        };
    }
    let (term, rest) = quoted(text)?;
    Ok((term, &text[text.len() - rest..]))
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
    }

    #[test]
    fn what_is_not_carried_out_is_named() {
        let error = |text| Pattern::parse(text).unwrap_err().to_string();
        assert_eq!(error("{ level }"), "Invalid JSON filter pattern at 'level }'");
        assert!(error("[ip, user]").starts_with("Space-delimited"));
        assert!(error("%[0-9]%").starts_with("Regular expression"));
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
