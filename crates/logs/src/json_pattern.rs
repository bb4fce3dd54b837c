//! Filter patterns for JSON: `{ $.level = "error" && ($.code >= 500 || $.user.id IS NULL) }`.

use serde_json::Value;

use crate::PatternError;
use crate::condition::{self, Parser, Test};

/// What a message has to fulfil.
pub(crate) type Condition = condition::Condition<Vec<Step>>;

/// One step from a value to what is in it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    Member(String),
    Element(usize),
}

/// Whether a message is JSON that fulfils a condition.
pub(crate) fn matches(condition: &Condition, message: &str) -> bool {
    let text = message.trim_start();
    if !text.starts_with(['{', '[']) {
        return false;
    }
    let Ok(value) = serde_json::from_str::<Value>(text) else { return false };
    condition.holds(&|steps, test| {
        let found = steps.iter().try_fold(&value, |value, step| match step {
            Step::Member(name) => value.get(name),
            Step::Element(index) => value.get(index),
        });
        holds(test, found)
    })
}

/// What isn't there fulfils nothing but NOT EXISTS.
fn holds(test: &Test, value: Option<&Value>) -> bool {
    let Some(value) = value else { return matches!(test, Test::NotExists) };
    match (test, value) {
        (Test::True, value) => *value == Value::Bool(true),
        (Test::False, value) => *value == Value::Bool(false),
        (Test::Null, value) => value.is_null(),
        (Test::NotExists, _) => false,
        (Test::Number(comparison, wanted), Value::Number(number)) => {
            number.as_f64().is_some_and(|number| comparison.holds(number, *wanted))
        }
        (Test::Number(..), Value::Bool(_)) => false,
        (test, Value::String(text)) => test.holds_for(text),
        (test, value @ (Value::Number(_) | Value::Bool(_))) => test.holds_for(&value.to_string()),
        _ => false,
    }
}

/// Reads a pattern in braces.
pub(crate) fn parse(text: &str) -> Result<Condition, PatternError> {
    let mut parser = Parser::new(text, PatternError::Json);
    parser.expect("{")?;
    let condition = parser.condition(&selector)?;
    parser.expect("}")?;
    if parser.rest.trim().is_empty() { Ok(condition) } else { Err(parser.wrong()) }
}

/// `$.a.b[0]`, `$.["a b"]`.
fn selector(parser: &mut Parser<'_>) -> Result<Vec<Step>, PatternError> {
    parser.expect("$")?;
    let mut steps = Vec::new();
    loop {
        let after_dot = parser.rest.strip_prefix('.');
        parser.rest = after_dot.unwrap_or(parser.rest);
        if let Some(rest) = parser.rest.strip_prefix('[') {
            parser.rest = rest;
            let step = if rest.starts_with('"') {
                Step::Member(parser.quoted()?)
            } else {
                let index = parser.word(|c| c.is_ascii_digit())?;
                Step::Element(index.parse().map_err(|_| parser.wrong())?)
            };
            parser.expect("]")?;
            steps.push(step);
        } else if after_dot.is_some() {
            let name = parser.word(|c| c.is_alphanumeric() || "_-@".contains(c))?;
            steps.push(Step::Member(name));
        } else if steps.is_empty() {
            return Err(parser.wrong());
        } else {
            return Ok(steps);
        }
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
            ("{ $.level = %^err% }", true),
            ("{ $.level != %^err% }", false),
            (r"{ $.code = %5\d\d% }", true),
            (r#"{ $.["x-y"] = "say*" }"#, true),
            (r#"{ $["user"].id IS NULL }"#, true),
            ("{ $.level = error && ($.code = 1 || $.code = 503) }", true),
            ("{ ($.level = info || $.code = 503) && $.ok IS TRUE }", false),
            ("{ $.level = info && $.code = 503 || $.ok IS FALSE }", true),
        ] {
            let condition = parse(pattern).unwrap();
            assert_eq!(matches(&condition, MESSAGE), expected, "{pattern}");
            assert!(!matches(&condition, "level = error"), "{pattern}");
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
            "{ $.a = %x }",
            "{ $.a < %x% }",
            "{ $.[\"a\" = 1 }",
            "{ $.a[99999999999999999999] = 1 }",
            deep.as_str(),
        ] {
            assert!(parse(pattern).is_err(), "{pattern}");
        }
    }
}
