//! Whether documents allow a request (IAM user guide, "Policy evaluation logic").

use super::condition::{self, Verdict};
use super::glob::{matches, matches_any_case};
use super::{Effect, Policy, Principals, Selection, Statement, TrustedPrincipal};

/// What is known of a request under a condition key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// The key means nothing to this server.
    NotUnderstood,
    /// The key is known, and the request has no such value.
    Absent,
    /// The request's values.
    Values(Vec<String>),
}

impl Fact {
    /// One value.
    pub fn one(value: impl Into<String>) -> Self {
        Self::Values(vec![value.into()])
    }

    /// One value, or none.
    pub fn of(value: Option<impl Into<String>>) -> Self {
        value.map_or(Self::Absent, Self::one)
    }
}

/// What is known of a request.
pub trait Facts {
    /// The value of a condition key; keys' case means nothing.
    fn fact(&self, key: &str) -> Fact;
}

/// A request as policies see it.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Such as `ecs:RunTask`.
    pub action: &'a str,
    /// An ARN, or `*`.
    pub resource: &'a str,
    /// What conditions ask for.
    pub facts: &'a dyn Facts,
}

/// What documents say together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Something allows it, nothing denies it.
    Allowed,
    /// Nothing allows it.
    NotAllowed,
    /// Something denies it.
    Denied,
}

/// Asks documents about a request.
pub fn evaluate<'p>(
    policies: impl IntoIterator<Item = &'p Policy>,
    request: &Request<'_>,
) -> Decision {
    let mut decision = Decision::NotAllowed;
    for statement in policies.into_iter().flat_map(|policy| &policy.statements) {
        if !is_about(statement, request) || !applies(statement, request.facts) {
            continue;
        }
        match statement.effect {
            Effect::Deny => return Decision::Denied,
            Effect::Allow => decision = Decision::Allowed,
        }
    }
    decision
}

/// Who wants to assume a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller<'a> {
    /// A service, such as `ecs-tasks.amazonaws.com`.
    Service(&'a str),
    /// Somebody of an account.
    Identity {
        /// The account.
        account: &'a str,
        /// The user's or the session's ARN.
        arn: &'a str,
        /// The ARN of the session's role.
        role_arn: Option<&'a str>,
    },
}

/// What a role's trust policy says of a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// It is named: no more is needed.
    Named,
    /// Its account is trusted: the caller's own policies must allow it, too.
    ByAccount,
    /// It isn't trusted, or it is denied.
    No,
}

/// Asks a trust policy whether `caller` may do `action` (`sts:AssumeRole`).
pub fn trust(policy: &Policy, action: &str, caller: Caller<'_>, facts: &dyn Facts) -> Trust {
    match of_principals(policy, action, caller, facts) {
        Some(Rank::Named) => Trust::Named,
        Some(Rank::ByAccount) => Trust::ByAccount,
        Some(Rank::Denied) | None => Trust::No,
    }
}

/// Asks the policy of a resource whether `caller` may do `action` with it. A whole account that is
/// allowed has its administrators decide: that alone allows none of its users and roles.
pub fn by_resource(
    policy: &Policy,
    action: &str,
    caller: Caller<'_>,
    facts: &dyn Facts,
) -> Decision {
    match of_principals(policy, action, caller, facts) {
        Some(Rank::Named) => Decision::Allowed,
        Some(Rank::ByAccount) | None => Decision::NotAllowed,
        Some(Rank::Denied) => Decision::Denied,
    }
}

/// Asks a registry's policy whether `caller` may do what is requested. Somebody of this account is
/// allowed by name only, as in [`by_resource`]; to a caller of another account it is enough that its
/// account is allowed.
pub fn by_registry(
    policy: &Policy,
    request: &Request<'_>,
    caller: Caller<'_>,
    is_foreign: bool,
) -> Decision {
    let about = |statement: &&Statement| is_about(statement, request);
    let statements = policy.statements.iter().filter(about).cloned().collect();
    let policy = Policy { statements };
    match of_principals(&policy, request.action, caller, request.facts) {
        Some(Rank::Named) => Decision::Allowed,
        Some(Rank::ByAccount) if is_foreign => Decision::Allowed,
        Some(Rank::ByAccount) | None => Decision::NotAllowed,
        Some(Rank::Denied) => Decision::Denied,
    }
}

/// The strongest that statements with principals say of a caller.
fn of_principals(
    policy: &Policy,
    action: &str,
    caller: Caller<'_>,
    facts: &dyn Facts,
) -> Option<Rank> {
    let mut strongest = None;
    for statement in &policy.statements {
        let named = match &statement.principals {
            Some(Principals::Only(principals)) => {
                principals.iter().filter_map(|principal| trusts(principal, caller)).max()
            }
            // Who is meant is doubtful: nobody by an Allow, everybody by a Deny.
            Some(Principals::AllBut) if statement.effect == Effect::Deny => Some(Rank::Named),
            _ => None,
        };
        let Some(named) = named else { continue };
        if !selects(&statement.actions, |p| matches_any_case(p, action))
            || !applies(statement, facts)
        {
            continue;
        }
        match statement.effect {
            Effect::Deny => return Some(Rank::Denied),
            Effect::Allow => strongest = strongest.max(Some(named)),
        }
    }
    strongest
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    ByAccount,
    Named,
    Denied,
}

fn trusts(principal: &TrustedPrincipal, caller: Caller<'_>) -> Option<Rank> {
    match (principal, caller) {
        (TrustedPrincipal::Anybody, Caller::Identity { .. }) => Some(Rank::Named),
        (TrustedPrincipal::Service(name), Caller::Service(service)) => {
            (name == service).then_some(Rank::Named)
        }
        (TrustedPrincipal::Account(trusted), Caller::Identity { account, .. }) => {
            (trusted == account).then_some(Rank::ByAccount)
        }
        (TrustedPrincipal::Arn(trusted), Caller::Identity { arn, role_arn, .. }) => {
            (trusted == arn || Some(trusted.as_str()) == role_arn).then_some(Rank::Named)
        }
        _ => None,
    }
}

fn selects(selection: &Selection, matches: impl Fn(&str) -> bool) -> bool {
    match selection {
        Selection::Only(patterns) => patterns.iter().any(|pattern| matches(pattern)),
        Selection::AllBut(patterns) => !patterns.iter().any(|pattern| matches(pattern)),
    }
}

fn is_about(statement: &Statement, request: &Request<'_>) -> bool {
    // A variable without a value: an Allow isn't about this request, a Deny is.
    let doubtful = match statement.resources {
        Some(Selection::AllBut(_)) => statement.effect == Effect::Allow,
        _ => statement.effect == Effect::Deny,
    };
    let resource_is = |pattern: &str| {
        pattern == "*"
            || with_variables(pattern, request.facts)
                .map_or(doubtful, |pattern| matches(&pattern, request.resource))
    };
    selects(&statement.actions, |pattern| matches_any_case(pattern, request.action))
        && statement.resources.as_ref().is_some_and(|r| selects(r, resource_is))
}

/// Whether the statement's conditions let it have its effect: an Allow needs all of them to hold,
/// a Deny only that none is known to fail.
fn applies(statement: &Statement, facts: &dyn Facts) -> bool {
    statement.conditions.iter().all(|one| match condition::verdict(one, facts) {
        Verdict::Holds => true,
        Verdict::Fails => false,
        Verdict::NotUnderstood => statement.effect == Effect::Deny,
    })
}

/// `text` with its policy variables (`${aws:username}`) replaced; none if one has no value, or is
/// `${*}` or `${?}`, which would be a wildcard here and is none in IAM.
pub(super) fn with_variables(text: &str, facts: &dyn Facts) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        out.push_str(&rest[..start]);
        let Some(end) = rest[start..].find('}').map(|end| start + end) else {
            out.push_str(&rest[start..]);
            return Some(out);
        };
        let inner = &rest[start + 2..end];
        let (name, default) = match inner.split_once(',') {
            Some((name, default)) => (name.trim(), Some(default.trim().trim_matches('\''))),
            None => (inner, None),
        };
        match name {
            "$" => out.push_str(name),
            "*" | "?" => return None,
            key => match (facts.fact(key), default) {
                (Fact::Values(values), _) if values.len() == 1 => out.push_str(&values[0]),
                (_, Some(default)) => out.push_str(default),
                _ => return None,
            },
        }
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    Some(out)
}
