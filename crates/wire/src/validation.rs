//! Constraints of the model, checked on a document after decoding, worded as AWS words them.
//!
//! Decoding and validation are separate, so that an operation can answer with its own text first
//! and so that a client can send what its model doesn't know yet.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, OnceLock};

use regex::Regex;

use crate::document::Document;
use crate::schema::{Kind, Schema};

/// One constraint that a value doesn't satisfy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The value as text, quoted; `null` for an absent one.
    pub value: String,
    /// The member's path (`tags.1.member.key`).
    pub path: String,
    /// What must hold (`Member must not be null`).
    pub constraint: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation { value, path, constraint } = self;
        write!(f, "Value {value} at '{path}' failed to satisfy constraint: {constraint}")
    }
}

/// Which constraints to check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Required members only.
    Required,
    /// Everything but the values of enums.
    AllButEnums,
    /// Everything.
    All,
}

/// Everything in the document that doesn't satisfy the schema's constraints.
pub fn validate(schema: &Schema, document: &Document, scope: Scope) -> Vec<Violation> {
    let mut found = Vec::new();
    walk(schema, document, scope, &mut String::new(), &mut found);
    found
}

/// AWS's text for violations: `1 validation error detected: Value null at 'family' failed to
/// satisfy constraint: Member must not be null`; `None` when there are none.
pub fn message(violations: &[Violation]) -> Option<String> {
    let plural = if violations.len() == 1 { "error" } else { "errors" };
    let each: Vec<String> = violations.iter().map(Violation::to_string).collect();
    let count = violations.len();
    (count > 0).then(|| format!("{count} validation {plural} detected: {}", each.join("; ")))
}

fn walk(
    schema: &Schema,
    document: &Document,
    scope: Scope,
    path: &mut String,
    found: &mut Vec<Violation>,
) {
    if scope != Scope::Required {
        own_limits(schema, document, scope, path, found);
    }
    match (&schema.kind, document) {
        (Kind::Structure(members), Document::Structure(_)) => {
            for member in *members {
                match document.get(member.name) {
                    None if member.required => nested(path, member.name, |path| {
                        let constraint = "Member must not be null".to_owned();
                        let value = "null".to_owned();
                        found.push(Violation { value, path: path.clone(), constraint });
                    }),
                    None => {}
                    Some(value) => nested(path, member.name, |path| {
                        walk(member.schema.get(), value, scope, path, found);
                    }),
                }
            }
        }
        (Kind::List(list), Document::List(elements)) => {
            for (index, element) in elements.iter().enumerate() {
                nested(path, &format!("{}.member", index + 1), |path| {
                    walk(list.element.get(), element, scope, path, found);
                });
            }
        }
        (Kind::Map(map), Document::Map(entries)) => {
            for (key, value) in entries {
                nested(path, &format!("{key}.member"), |path| {
                    walk(map.value.get(), value, scope, path, found);
                });
            }
        }
        _ => {}
    }
}

/// Runs `body` with a step added to the path.
fn nested(path: &mut String, step: &str, body: impl FnOnce(&mut String)) {
    let length = path.len();
    if length > 0 {
        path.push('.');
    }
    path.push_str(step);
    body(path);
    path.truncate(length);
}

fn own_limits(
    schema: &Schema,
    document: &Document,
    scope: Scope,
    path: &str,
    found: &mut Vec<Violation>,
) {
    let mut fail = |constraint: String| {
        let value = shown(schema, document);
        found.push(Violation { value, path: path.to_owned(), constraint });
    };
    let limits = &schema.constraints;
    let (size, what) = match document {
        Document::String(text) => (text.chars().count() as f64, "length"),
        Document::Blob(bytes) => (bytes.len() as f64, "length"),
        Document::List(elements) => (elements.len() as f64, "length"),
        Document::Map(entries) => (entries.len() as f64, "length"),
        Document::Integer(number) => (*number as f64, "value"),
        Document::Float(number) => (*number, "value"),
        _ => return,
    };
    if let Some(min) = limits.min.filter(|min| size < *min as f64) {
        fail(format!("Member must have {what} greater than or equal to {min}"));
    }
    if let Some(max) = limits.max.filter(|max| size > *max as f64) {
        fail(format!("Member must have {what} less than or equal to {max}"));
    }
    let Document::String(text) = document else { return };
    if let Some(pattern) = limits.pattern.filter(|pattern| !matches(pattern, text)) {
        fail(format!("Member must satisfy regular expression pattern: {pattern}"));
    }
    if let Kind::String(values) = schema.kind
        && scope == Scope::All
        && !values.is_empty()
        && !values.contains(&text.as_str())
    {
        fail(format!("Member must satisfy enum value set: [{}]", values.join(", ")));
    }
}

/// A value as AWS's texts show it.
fn shown(schema: &Schema, document: &Document) -> String {
    if schema.sensitive {
        return "'***Sensitive Data Redacted***'".to_owned();
    }
    match document {
        Document::String(text) => format!("'{text}'"),
        Document::Integer(number) => format!("'{number}'"),
        Document::Float(number) => format!("'{number}'"),
        Document::List(elements) => {
            let element = match &schema.kind {
                Kind::List(list) => list.element.get(),
                _ => &Schema::DOCUMENT,
            };
            let texts: Vec<String> = elements
                .iter()
                .map(|value| shown(element, value).trim_matches('\'').to_owned())
                .collect();
            format!("'[{}]'", texts.join(", "))
        }
        other => format!("'{}'", other.kind_name()),
    }
}

/// Whether the whole text matches a model's pattern. A pattern that our regular expressions don't
/// know (look-around) is taken as satisfied: the operation itself still checks what it needs.
fn matches(pattern: &'static str, text: &str) -> bool {
    static COMPILED: OnceLock<Mutex<HashMap<&'static str, Option<Regex>>>> = OnceLock::new();
    let mut compiled = match COMPILED.get_or_init(Mutex::default).lock() {
        Ok(compiled) => compiled,
        Err(poisoned) => poisoned.into_inner(),
    };
    let regex =
        compiled.entry(pattern).or_insert_with(|| Regex::new(&format!(r"\A(?:{pattern})\z")).ok());
    regex.as_ref().is_none_or(|regex| regex.is_match(text))
}
