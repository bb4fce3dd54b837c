//! The cluster query language (ECS developer guide, "Cluster query language"): expressions that
//! pick container instances, as memberOf constraints and ListContainerInstances' filter do.
//!
//! `parse` turns text into a typed [`Expr`] in which every operator fits its subject and every
//! literal is of the right type, so that evaluation can't fail. Printing an `Expr` gives text that
//! parses into the same `Expr`.
//!
//! ```text
//! expression = and { ("or" | "||") and }
//! and        = unary { ("and" | "&&") unary }
//! unary      = ("not" | "!") unary | "(" expression ")" | test
//! test       = subject operator [ argument ]
//! subject    = "attribute:" name | "agentConnected" | "agentVersion" | "ec2InstanceId"
//!            | "registeredAt" | "runningTasksCount" | "status" | "task:group" | "task:startedBy"
//! operator   = "==" "!=" ">" ">=" "<" "<=" "=~" "!~" "in" "!in" "exists" "!exists" or their words
//! argument   = word | 'quoted' | "quoted" | "[" item { "," item } "]"
//! item       = argument | number ".." number
//! ```
//!
//! Inside quotes the quote itself is written twice; a backslash means itself, so that regular
//! expressions need no second escaping. `status`, `task:startedBy` and ranges go beyond what ECS
//! documents. A test on a subject that the instance doesn't have is false, and the negated
//! operators are true of it.

mod evaluate;
mod parse;
mod print;
mod time;

pub use evaluate::Facts;

use regex::Regex;

/// Longest expression, in bytes (ECS: "maximum length of 2000 characters").
pub const MAX_LENGTH: usize = 2000;
/// Deepest nesting of parentheses and negations.
pub const MAX_DEPTH: usize = 32;
/// Largest compiled regular expression, in bytes.
const MAX_REGEX_SIZE: usize = 64 * 1024;

/// Why a text is no expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Invalid expression: {message} at position {position}.")]
pub struct Error {
    /// Byte offset of the problem, counted from 0.
    pub position: usize,
    /// What is wrong.
    pub message: String,
}

/// A boolean expression over one container instance.
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    /// True if one side is.
    Or(Box<Expr>, Box<Expr>),
    /// True if both sides are.
    And(Box<Expr>, Box<Expr>),
    /// True if the inner one isn't.
    Not(Box<Expr>),
    /// One test of one subject.
    Test(Subject, Condition),
}

/// What a test looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// `attribute:<name>`.
    Attribute(String),
    /// The agent's session is up: `true` or `false`.
    AgentConnected,
    /// The agent's version, compared number by number.
    AgentVersion,
    /// `i-…`.
    Ec2InstanceId,
    /// When it registered.
    RegisteredAt,
    /// RUNNING tasks on it.
    RunningTasksCount,
    /// ACTIVE or DRAINING.
    Status,
    /// The groups of the tasks on it.
    TaskGroup,
    /// `startedBy` of the tasks on it.
    TaskStartedBy,
}

/// How two values compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
}

/// An entry of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// One value.
    Value(String),
    /// All numbers from the first to the second, both included.
    Range(i64, i64),
}

/// The operator of a test with its argument.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// Compares with one literal.
    Compare(Comparison, String),
    /// Is there (`exists`), or isn't (`!exists`, false).
    Exists(bool),
    /// Is in the list (true) or isn't.
    In(bool, Vec<Item>),
    /// Matches the pattern as a whole (true) or doesn't.
    Matches(bool, Pattern),
}

/// A regular expression. It must match the whole value, as Java's `String.matches`.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    regex: Regex,
}

impl Pattern {
    /// Compiles `text`.
    ///
    /// # Errors
    /// What is wrong with it, or that it is too large.
    pub fn new(text: &str) -> Result<Self, String> {
        let compile = |text: &str| {
            let mut builder = regex::RegexBuilder::new(text);
            builder.size_limit(MAX_REGEX_SIZE).dfa_size_limit(MAX_REGEX_SIZE).nest_limit(64);
            builder.build()
        };
        // First alone: "a)|(b" is no expression, and would be one between the parentheses.
        let regex =
            compile(text).and_then(|_| compile(&format!("^(?:{text})$"))).map_err(|e| match e {
                regex::Error::CompiledTooBig(_) => "the regular expression is too large".to_owned(),
                _ => format!("'{text}' is no valid regular expression"),
            })?;
        Ok(Self { text: text.to_owned(), regex })
    }

    /// The text that it was made from.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn matches(&self, value: &str) -> bool {
        self.regex.is_match(value)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// Parses an expression.
///
/// # Errors
/// Says what is wrong and where.
pub fn parse(text: &str) -> Result<Expr, Error> {
    parse::expression(text)
}

#[cfg(test)]
mod tests;
