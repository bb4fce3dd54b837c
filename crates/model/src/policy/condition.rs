//! Condition operators (IAM user guide, "IAM JSON policy elements: Condition operators").

use super::Condition;
use super::evaluate::{Fact, Facts};
use super::glob::{matches, matches_arn};

/// What a condition says of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It holds.
    Holds,
    /// It doesn't.
    Fails,
    /// Operator or key are none that this server knows the meaning of.
    NotUnderstood,
}

/// How an operator compares one value of the request with one of the policy.
type Compare = fn(&str, &str) -> bool;

/// An operator without prefix and suffix: how it compares, and whether the comparison must fail.
fn operator(name: &str) -> Option<(Compare, bool)> {
    Some(match name {
        "StringEquals" => (|have, want| have == want, false),
        "StringNotEquals" => (|have, want| have == want, true),
        "StringEqualsIgnoreCase" => {
            (|have, want| have.to_lowercase() == want.to_lowercase(), false)
        }
        "StringNotEqualsIgnoreCase" => {
            (|have, want| have.to_lowercase() == want.to_lowercase(), true)
        }
        "StringLike" => (|have, want| matches(want, have), false),
        "StringNotLike" => (|have, want| matches(want, have), true),
        // The two are the same in IAM.
        "ArnEquals" | "ArnLike" => (|have, want| matches_arn(want, have), false),
        "ArnNotEquals" | "ArnNotLike" => (|have, want| matches_arn(want, have), true),
        "Bool" => (|have, want| have.eq_ignore_ascii_case(want), false),
        "NumericEquals" => (|have, want| numbers(have, want, |h, w| h == w), false),
        "NumericNotEquals" => (|have, want| numbers(have, want, |h, w| h == w), true),
        "NumericLessThan" => (|have, want| numbers(have, want, |h, w| h < w), false),
        "NumericLessThanEquals" => (|have, want| numbers(have, want, |h, w| h <= w), false),
        "NumericGreaterThan" => (|have, want| numbers(have, want, |h, w| h > w), false),
        "NumericGreaterThanEquals" => (|have, want| numbers(have, want, |h, w| h >= w), false),
        _ => return None,
    })
}

fn numbers(have: &str, want: &str, compare: fn(f64, f64) -> bool) -> bool {
    matches!((have.parse(), want.parse()), (Ok(have), Ok(want)) if compare(have, want))
}

/// What `condition` says of a request with these facts.
pub(super) fn verdict(condition: &Condition, facts: &dyn Facts) -> Verdict {
    let said = |holds: bool| if holds { Verdict::Holds } else { Verdict::Fails };
    let have = match facts.fact(&condition.key) {
        Fact::NotUnderstood => return Verdict::NotUnderstood,
        Fact::Absent => None,
        Fact::Values(values) => Some(values),
    };
    if condition.operator == "Null" {
        let wants_absent = condition.values.iter().any(|v| v.eq_ignore_ascii_case("true"));
        return said(have.is_none() == wants_absent);
    }
    let (set, name) = match condition.operator.split_once(':') {
        Some((set, name)) => (Some(set), name),
        None => (None, condition.operator.as_str()),
    };
    let (name, if_exists) = match name.strip_suffix("IfExists") {
        Some(name) => (name, true),
        None => (name, false),
    };
    let Some((compare, negated)) = operator(name) else { return Verdict::NotUnderstood };
    let Some(have) = have else {
        return said(if_exists || negated || set == Some("ForAllValues"));
    };
    let mut wanted = Vec::with_capacity(condition.values.len());
    for value in &condition.values {
        match super::evaluate::with_variables(value, facts) {
            Some(value) => wanted.push(value),
            // A variable without a value.
            None => return Verdict::NotUnderstood,
        }
    }
    let equals_any = |have: &String| wanted.iter().any(|want| compare(have, want));
    let holds = |have: &String| equals_any(have) != negated;
    match set {
        None => match have.as_slice() {
            [one] => said(holds(one)),
            // A key of one value has just one.
            several => said(several.iter().any(equals_any) != negated),
        },
        Some("ForAllValues") => said(have.iter().all(holds)),
        Some("ForAnyValue") => said(have.iter().any(holds)),
        Some(_) => Verdict::NotUnderstood,
    }
}
