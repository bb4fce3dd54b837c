//! What an expression says of one container instance.

use super::{Comparison, Condition, Expr, Item, Subject};
use crate::container_instance::ContainerInstance;
use crate::snapshot::{InstanceUsage, Snapshot};
use std::cmp::Ordering;

/// What expressions can ask about one container instance.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Where the instance's tasks are looked up.
    pub snapshot: &'a Snapshot,
    /// The instance.
    pub instance: &'a ContainerInstance,
    /// What runs on it: [`Snapshot::usage`].
    pub usage: &'a InstanceUsage,
    /// Its agent is connected.
    pub agent_connected: bool,
}

impl Expr {
    /// True if the expression holds for the instance.
    pub fn matches(&self, facts: &Facts<'_>) -> bool {
        match self {
            Self::Or(a, b) => a.matches(facts) || b.matches(facts),
            Self::And(a, b) => a.matches(facts) && b.matches(facts),
            Self::Not(a) => !a.matches(facts),
            Self::Test(subject, condition) => test(subject, condition, facts),
        }
    }
}

fn test(subject: &Subject, condition: &Condition, facts: &Facts<'_>) -> bool {
    let (instance, usage) = (facts.instance, facts.usage);
    match subject {
        Subject::Attribute(name) => match instance.attribute(name) {
            Some(attribute) => {
                let value = attribute.value.as_deref().unwrap_or_default();
                of_value(condition, value, compare_values)
            }
            None => of_nothing(condition),
        },
        Subject::AgentConnected => {
            let value = if facts.agent_connected { "true" } else { "false" };
            of_value(condition, value, compare_values)
        }
        Subject::AgentVersion => of_value(condition, &instance.agent_version, compare_versions),
        Subject::Ec2InstanceId => of_value(condition, &instance.ec2_instance_id, compare_values),
        Subject::RegisteredAt => {
            let at = instance.registered_at;
            of_value(condition, "", |_, literal| Some(at.cmp(&super::time::parse(literal)?)))
        }
        Subject::RunningTasksCount => {
            of_value(condition, &usage.running.to_string(), compare_values)
        }
        Subject::Status => of_value(condition, instance.status.as_str(), compare_values),
        Subject::TaskGroup => of_set(condition, || usage.tasks_by_group.keys().cloned()),
        Subject::TaskStartedBy => {
            let key = instance.key();
            let tasks: Vec<_> = facts.snapshot.tasks_on(&key).collect();
            of_set(condition, || tasks.iter().filter_map(|t| t.started_by.clone()))
        }
    }
}

/// The condition on a subject that isn't there.
fn of_nothing(condition: &Condition) -> bool {
    match condition {
        Condition::Compare(how, _) => *how == Comparison::NotEqual,
        Condition::Exists(is) | Condition::In(is, _) | Condition::Matches(is, _) => !is,
    }
}

/// The condition on a subject with one value, which `compare` orders against a literal.
fn of_value(
    condition: &Condition,
    value: &str,
    compare: impl Fn(&str, &str) -> Option<Ordering>,
) -> bool {
    match condition {
        Condition::Compare(how, literal) => holds(*how, compare(value, literal)),
        Condition::Exists(is) => *is,
        Condition::In(is, items) => *is == items.iter().any(|i| is_item(i, value)),
        Condition::Matches(is, pattern) => *is == pattern.matches(value),
    }
}

/// The condition on a subject with any number of values: the positive operators ask whether one
/// of them fits, the negated ones whether none does.
fn of_set<I: Iterator<Item = String>>(condition: &Condition, values: impl Fn() -> I) -> bool {
    match condition {
        Condition::Compare(Comparison::NotEqual, literal) => !values().any(|v| v == *literal),
        Condition::Compare(_, literal) => values().any(|v| v == *literal),
        Condition::Exists(is) => *is == values().next().is_some(),
        Condition::In(is, items) => *is == values().any(|v| items.iter().any(|i| is_item(i, &v))),
        Condition::Matches(is, pattern) => *is == values().any(|v| pattern.matches(&v)),
    }
}

fn is_item(item: &Item, value: &str) -> bool {
    match item {
        Item::Value(text) => text == value,
        Item::Range(from, to) => value.parse().is_ok_and(|n: i64| (*from..=*to).contains(&n)),
    }
}

fn holds(how: Comparison, order: Option<Ordering>) -> bool {
    match how {
        Comparison::Equal => order == Some(Ordering::Equal),
        Comparison::NotEqual => order != Some(Ordering::Equal),
        Comparison::Greater => order == Some(Ordering::Greater),
        Comparison::GreaterOrEqual => order.is_some_and(Ordering::is_ge),
        Comparison::Less => order == Some(Ordering::Less),
        Comparison::LessOrEqual => order.is_some_and(Ordering::is_le),
    }
}

/// Two values: as numbers if both are whole numbers, else as text.
fn compare_values(a: &str, b: &str) -> Option<Ordering> {
    Some(match (a.parse::<i64>(), b.parse::<i64>()) {
        (Ok(x), Ok(y)) => x.cmp(&y),
        _ => a.cmp(b),
    })
}

/// Two versions, number by number; nothing if one of them isn't a version.
fn compare_versions(a: &str, b: &str) -> Option<Ordering> {
    let (mut a, mut b) = (version(a)?, version(b)?);
    let length = a.len().max(b.len());
    a.resize(length, 0);
    b.resize(length, 0);
    Some(a.cmp(&b))
}

/// The numbers of `1.14.5`, `v1.14.5` or `1.14.5-dev`.
pub(super) fn version(text: &str) -> Option<Vec<u64>> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let numbers = text.split(['-', '+']).next()?;
    numbers.split('.').map(|n| n.parse().ok()).collect()
}
