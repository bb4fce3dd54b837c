//! Expression to text that parses back into it.

use super::{Comparison, Condition, Expr, Item, Subject, parse};
use std::fmt::{self, Display, Formatter, Write};

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Or(a, b) => {
                write!(f, "{a} or ")?;
                in_parentheses(f, b, matches!(**b, Self::Or(..)))
            }
            Self::And(a, b) => {
                in_parentheses(f, a, matches!(**a, Self::Or(..)))?;
                f.write_str(" and ")?;
                in_parentheses(f, b, matches!(**b, Self::Or(..) | Self::And(..)))
            }
            Self::Not(a) => {
                f.write_str("not ")?;
                in_parentheses(f, a, matches!(**a, Self::Or(..) | Self::And(..)))
            }
            Self::Test(subject, condition) => write!(f, "{subject} {condition}"),
        }
    }
}

fn in_parentheses(f: &mut Formatter<'_>, expr: &Expr, needed: bool) -> fmt::Result {
    if needed { write!(f, "({expr})") } else { expr.fmt(f) }
}

impl Display for Subject {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Attribute(name) => return write!(f, "attribute:{name}"),
            Self::AgentConnected => "agentConnected",
            Self::AgentVersion => "agentVersion",
            Self::Ec2InstanceId => "ec2InstanceId",
            Self::RegisteredAt => "registeredAt",
            Self::RunningTasksCount => "runningTasksCount",
            Self::Status => "status",
            Self::TaskGroup => "task:group",
            Self::TaskStartedBy => "task:startedBy",
        })
    }
}

impl Display for Comparison {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
        })
    }
}

impl Display for Condition {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compare(how, literal) => {
                write!(f, "{how} ")?;
                literal_text(f, literal, false)
            }
            Self::Exists(true) => f.write_str("exists"),
            Self::Exists(false) => f.write_str("!exists"),
            Self::Matches(is, pattern) => {
                f.write_str(if *is { "=~ " } else { "!~ " })?;
                literal_text(f, pattern.as_str(), false)
            }
            Self::In(is, items) => {
                f.write_str(if *is { "in [" } else { "!in [" })?;
                for (n, item) in items.iter().enumerate() {
                    if n > 0 {
                        f.write_str(", ")?;
                    }
                    match item {
                        Item::Value(text) => literal_text(f, text, text.contains(".."))?,
                        Item::Range(from, to) => write!(f, "{from}..{to}")?,
                    }
                }
                f.write_str("]")
            }
        }
    }
}

fn literal_text(f: &mut Formatter<'_>, text: &str, quote: bool) -> fmt::Result {
    if !quote && !text.is_empty() && text.chars().all(parse::is_word) {
        return f.write_str(text);
    }
    f.write_char('\'')?;
    for c in text.chars() {
        if c == '\'' {
            f.write_char('\'')?;
        }
        f.write_char(c)?;
    }
    f.write_char('\'')
}
