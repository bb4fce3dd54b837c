//! Filter patterns for JSON: `{ $.level = "error" && ($.code >= 500 || $.user.id IS NULL) }`.

use serde_json::Value;

use crate::PatternError;

/// How deep parentheses may nest.
const MAX_DEPTH: usize = 32;

/// What a message has to fulfil.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Condition {
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Is(Vec<Step>, Test),
}

/// One step from a value to what is in it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    Member(String),
    Element(usize),
}

/// What is asked of a value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Test {
    /// A text with `*` for anything; or not that.
    Text {
        wanted: String,
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

impl Condition {
    /// Whether a message is JSON that fulfils it.
    pub(crate) fn matches(&self, message: &str) -> bool {
        let text = message.trim_start();
        (text.starts_with('{') || text.starts_with('['))
            && serde_json::from_str(text).is_ok_and(|value| self.holds(&value))
    }

    fn holds(&self, value: &Value) -> bool {
        match self {
            Self::All(conditions) => conditions.iter().all(|condition| condition.holds(value)),
            Self::Any(conditions) => conditions.iter().any(|condition| condition.holds(value)),
            Self::Is(steps, test) => {
                let found = steps.iter().try_fold(value, |value, step| match step {
                    Step::Member(name) => value.get(name),
                    Step::Element(index) => value.get(index),
                });
                test.holds(found)
            }
        }
    }
}

impl Test {
    /// What isn't there fulfils nothing but NOT EXISTS.
    fn holds(&self, value: Option<&Value>) -> bool {
        let Some(value) = value else { return *self == Self::NotExists };
        match self {
            Self::Text { wanted, is_equal } => {
                let text = match value {
                    Value::String(text) => text.clone(),
                    Value::Number(_) | Value::Bool(_) => value.to_string(),
                    _ => return false,
                };
                is_like(wanted, &text) == *is_equal
            }
            Self::Number(comparison, wanted) => {
                let number = match value {
                    Value::Number(number) => number.as_f64(),
                    Value::String(text) => text.parse().ok(),
                    _ => None,
                };
                number.is_some_and(|number| comparison.holds(number, *wanted))
            }
            Self::True => *value == Value::Bool(true),
            Self::False => *value == Value::Bool(false),
            Self::Null => value.is_null(),
            Self::NotExists => false,
        }
    }
}

impl Comparison {
    fn holds(self, number: f64, wanted: f64) -> bool {
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

/// Reads a pattern in braces.
pub(crate) fn parse(text: &str) -> Result<Condition, PatternError> {
    let mut parser = Parser { rest: text, depth: 0 };
    parser.expect("{")?;
    let condition = parser.any()?;
    parser.expect("}")?;
    if parser.rest.trim().is_empty() { Ok(condition) } else { Err(parser.wrong()) }
}

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

impl Parser<'_> {
    fn wrong(&self) -> PatternError {
        PatternError::Json(self.rest.trim_start().chars().take(20).collect())
    }

    fn accept(&mut self, token: &str) -> bool {
        let rest = self.rest.trim_start().strip_prefix(token);
        if let Some(rest) = rest {
            self.rest = rest;
        }
        rest.is_some()
    }

    fn expect(&mut self, token: &str) -> Result<(), PatternError> {
        if self.accept(token) { Ok(()) } else { Err(self.wrong()) }
    }

    fn any(&mut self) -> Result<Condition, PatternError> {
        let mut conditions = vec![self.all()?];
        while self.accept("||") {
            conditions.push(self.all()?);
        }
        Ok(Condition::Any(conditions))
    }

    fn all(&mut self) -> Result<Condition, PatternError> {
        let mut conditions = vec![self.one()?];
        while self.accept("&&") {
            conditions.push(self.one()?);
        }
        Ok(Condition::All(conditions))
    }

    fn one(&mut self) -> Result<Condition, PatternError> {
        if !self.accept("(") {
            return Ok(Condition::Is(self.selector()?, self.test()?));
        }
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.wrong());
        }
        let condition = self.any()?;
        self.expect(")")?;
        self.depth -= 1;
        Ok(condition)
    }

    fn selector(&mut self) -> Result<Vec<Step>, PatternError> {
        self.expect("$")?;
        let mut steps = Vec::new();
        loop {
            if let Some(rest) = self.rest.strip_prefix('.') {
                self.rest = rest;
                let name = self.word(|c| c.is_alphanumeric() || "_-@".contains(c))?;
                steps.push(Step::Member(name));
            } else if let Some(rest) = self.rest.strip_prefix('[') {
                self.rest = rest;
                let index = self.word(|c| c.is_ascii_digit())?;
                steps.push(Step::Element(index.parse().map_err(|_| self.wrong())?));
                self.expect("]")?;
            } else if steps.is_empty() {
                return Err(self.wrong());
            } else {
                return Ok(steps);
            }
        }
    }

    /// The characters at the front that belong to a word, at least one.
    fn word(&mut self, belongs: impl Fn(char) -> bool) -> Result<String, PatternError> {
        let end = self.rest.find(|c| !belongs(c)).unwrap_or(self.rest.len());
        if end == 0 {
            return Err(self.wrong());
        }
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        Ok(word.to_owned())
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
        let is_quoted = self.rest.starts_with('"');
        let wanted = match is_quoted {
            true => self.quoted()?,
            false => self.word(|c| c.is_alphanumeric() || "_-+.*:/".contains(c))?,
        };
        if !is_quoted && let Ok(number) = wanted.parse() {
            return Ok(Test::Number(*comparison, number));
        }
        match comparison {
            Comparison::Equal => Ok(Test::Text { wanted, is_equal: true }),
            Comparison::NotEqual => Ok(Test::Text { wanted, is_equal: false }),
            _ => Err(self.wrong()),
        }
    }

    fn quoted(&mut self) -> Result<String, PatternError> {
        let (text, rest) = super::pattern::quoted(self.rest)?;
        self.rest = &self.rest[self.rest.len() - rest..];
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &str = r#" {"level": "error", "code": 503, "ok": false, "user": {"id": null},
        "tags": ["a", "b"], "path": "/api/v1/items", "took": "12.5", "x-y": "say \"hi\""}"#;

    #[test]
    fn conditions_on_members() {
        for (pattern, expected) in [
            (r#"{ $.level = "error" }"#, true),
            ("{$.level=error}", true),
            ("{ $.level = info }", false),
            ("{ $.level != info }", true),
            ("{ $.none != info }", false),
            ("{ $.code = 503 }", true),
            ("{ $.code >= 500 && $.code < 600 }", true),
            ("{ $.code > 503 || $.code <= 5e2 }", false),
            ("{ $.took > 12 }", true),
            ("{ $.ok IS FALSE }", true),
            ("{ $.ok IS TRUE }", false),
            ("{ $.user.id IS NULL }", true),
            ("{ $.user.name NOT EXISTS }", true),
            ("{ $.user NOT EXISTS }", false),
            (r#"{ $.tags[1] = "b" }"#, true),
            ("{ $.tags[2] = b }", false),
            (r#"{ $.path = "/api/*" }"#, true),
            (r#"{ $.path = "*/v1/*s" }"#, true),
            (r#"{ $.path = "/api/*/users" }"#, false),
            (r#"{ $.x-y = "say \"hi\"" }"#, true),
            ("{ $.level = error && ($.code = 1 || $.code = 503) }", true),
            ("{ ($.level = info || $.code = 503) && $.ok IS TRUE }", false),
            ("{ $.level = info && $.code = 503 || $.ok IS FALSE }", true),
        ] {
            let condition = parse(pattern).unwrap();
            assert_eq!(condition.matches(MESSAGE), expected, "{pattern}");
            assert!(!condition.matches("level = error"), "{pattern}");
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        let deep = format!("{{ {}$.a = 1{} }}", "(".repeat(40), ")".repeat(40));
        for pattern in [
            "{",
            "{}",
            "{ }",
            "{ $ = 1 }",
            "{ $. = 1 }",
            "{ a = 1 }",
            "{ $.a }",
            "{ $.a = }",
            "{ $.a = 1 } x",
            "{ $.a = \"open }",
            "{ $.a < b }",
            "{ $.a IS HAPPY }",
            "{ $.a NOT 1 }",
            "{ $.a[x] = 1 }",
            "{ $.a[1 = 1 }",
            "{ ($.a = 1 }",
            "{ $.a = 1 && }",
            "{ $.a = %x% }",
            "{ $.a[99999999999999999999] = 1 }",
            deep.as_str(),
        ] {
            assert!(parse(pattern).is_err(), "{pattern}");
        }
    }

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
}
