//! A policy document's grammar (IAM user guide, "Grammar of the IAM JSON policy language").

use super::{Condition, Effect, Policy, Principals, Selection, Statement, TrustedPrincipal};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Which kind of document it is: what it must say differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Attached to a user or role: names resources and no principal.
    Identity,
    /// A role's trust policy: names principals and no resource.
    Trust,
    /// Attached to a resource: names principals, and no resource but the one that it is attached to.
    Resource,
    /// A registry's: names principals, and which of the registry's resources is meant.
    Registry,
}

/// Why a document can't be taken, in IAM's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not JSON.
    #[error("This policy contains invalid Json")]
    Json,
    /// JSON, but not this language.
    #[error("Syntax errors in policy.")]
    Syntax,
    /// A version that doesn't exist.
    #[error("The policy must contain a valid version string.")]
    Version,
    /// Two statements of one name.
    #[error("Statement IDs (SID) in a single policy must be unique.")]
    Sid,
    /// Neither Action nor NotAction.
    #[error("Policy statement must contain actions.")]
    NoAction,
    /// Neither Resource nor NotResource.
    #[error("Policy statement must contain resources.")]
    NoResource,
    /// `RunTask` instead of `ecs:RunTask`.
    #[error("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")]
    Vendor,
    /// Neither an ARN nor `*`.
    #[error("Resource {0} must be in ARN format or \"*\".")]
    Resource(String),
    /// An identity's policy with a principal.
    #[error("Policy document should not specify a principal.")]
    Principal,
    /// A trust policy, or one of a resource, with a resource.
    #[error("Has prohibited field Resource")]
    OwnResource,
    /// A trust policy's statement without a principal.
    #[error("AssumeRolepolicy must contain a principal.")]
    NoTrustedPrincipal,
    /// A statement of a resource's policy without a principal.
    #[error("Missing required field Principal")]
    NoPrincipal,
    /// A trust policy about something else than assuming the role.
    #[error("AssumeRole policy may only specify STS AssumeRole actions.")]
    TrustAction,
    /// A principal that can't be.
    #[error("Invalid principal in policy: \"{0}\":\"{1}\"")]
    InvalidPrincipal(&'static str, String),
}

impl Policy {
    /// Reads a document.
    ///
    /// # Errors
    /// The first thing that IAM would complain about.
    pub fn parse(text: &str, kind: Kind) -> Result<Self, Error> {
        let value: Value = serde_json::from_str(text).map_err(|_| Error::Json)?;
        let Value::Object(members) = value else { return Err(Error::Syntax) };
        known(&members, &["Version", "Id", "Statement"])?;
        match members.get("Version") {
            None => {}
            Some(Value::String(v)) if matches!(v.as_str(), "2012-10-17" | "2008-10-17") => {}
            Some(_) => return Err(Error::Version),
        }
        if !matches!(members.get("Id"), None | Some(Value::String(_))) {
            return Err(Error::Syntax);
        }
        let statements: Vec<&Value> = match members.get("Statement") {
            Some(Value::Array(list)) => list.iter().collect(),
            Some(one @ Value::Object(_)) => vec![one],
            _ => return Err(Error::Syntax),
        };
        if statements.is_empty() {
            return Err(Error::Syntax);
        }
        let statements: Vec<Statement> =
            statements.into_iter().map(|one| statement(one, kind)).collect::<Result<_, _>>()?;
        let mut names = BTreeSet::new();
        if !statements.iter().filter_map(|s| s.sid.as_ref()).all(|sid| names.insert(sid)) {
            return Err(Error::Sid);
        }
        Ok(Self { statements })
    }
}

fn known(members: &Map<String, Value>, names: &[&str]) -> Result<(), Error> {
    let all = members.keys().all(|key| names.contains(&key.as_str()));
    if all { Ok(()) } else { Err(Error::Syntax) }
}

fn statement(value: &Value, kind: Kind) -> Result<Statement, Error> {
    let Value::Object(members) = value else { return Err(Error::Syntax) };
    known(
        members,
        &[
            "Sid",
            "Effect",
            "Principal",
            "NotPrincipal",
            "Action",
            "NotAction",
            "Resource",
            "NotResource",
            "Condition",
        ],
    )?;
    let sid = match members.get("Sid") {
        None => None,
        Some(Value::String(sid)) if sid.chars().all(|c| c.is_ascii_alphanumeric() || c == ' ') => {
            Some(sid.clone()).filter(|sid| !sid.is_empty())
        }
        Some(_) => return Err(Error::Syntax),
    };
    let effect = match members.get("Effect").and_then(Value::as_str) {
        Some("Allow") => Effect::Allow,
        Some("Deny") => Effect::Deny,
        _ => return Err(Error::Syntax),
    };
    let actions = selection(members, "Action", "NotAction")?.ok_or(Error::NoAction)?;
    check_actions(&actions, kind)?;
    let resources = selection(members, "Resource", "NotResource")?;
    let principals = principals(members)?;
    match kind {
        Kind::Identity if principals.is_some() => return Err(Error::Principal),
        Kind::Registry if principals.is_none() => return Err(Error::NoPrincipal),
        Kind::Identity | Kind::Registry if resources.is_none() => return Err(Error::NoResource),
        Kind::Identity | Kind::Registry => check_resources(resources.as_ref())?,
        Kind::Trust | Kind::Resource if resources.is_some() => return Err(Error::OwnResource),
        Kind::Trust if principals.is_none() => return Err(Error::NoTrustedPrincipal),
        Kind::Resource if principals.is_none() => return Err(Error::NoPrincipal),
        Kind::Trust | Kind::Resource => {}
    }
    let conditions = conditions(members.get("Condition"))?;
    Ok(Statement { sid, effect, actions, resources, principals, conditions })
}

/// One string or a list of strings, not empty.
fn texts(value: &Value) -> Result<Vec<String>, Error> {
    let one = |value: &Value| value.as_str().map(str::to_owned).ok_or(Error::Syntax);
    match value {
        Value::String(text) => Ok(vec![text.clone()]),
        Value::Array(list) if !list.is_empty() => list.iter().map(one).collect(),
        _ => Err(Error::Syntax),
    }
}

fn selection(
    members: &Map<String, Value>,
    name: &str,
    inverse: &str,
) -> Result<Option<Selection>, Error> {
    match (members.get(name), members.get(inverse)) {
        (None, None) => Ok(None),
        (Some(value), None) => Ok(Some(Selection::Only(texts(value)?))),
        (None, Some(value)) => Ok(Some(Selection::AllBut(texts(value)?))),
        (Some(_), Some(_)) => Err(Error::Syntax),
    }
}

fn check_actions(actions: &Selection, kind: Kind) -> Result<(), Error> {
    let (Selection::Only(patterns) | Selection::AllBut(patterns)) = actions;
    for pattern in patterns {
        if kind == Kind::Trust {
            let lower = pattern.to_ascii_lowercase();
            let is_sts = lower.strip_prefix("sts:").is_some_and(|name| !name.is_empty());
            if !is_sts {
                return Err(Error::TrustAction);
            }
        } else if pattern != "*" {
            let valid = pattern.split_once(':').is_some_and(|(vendor, name)| {
                let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
                !vendor.is_empty() && vendor.chars().all(plain) && !name.is_empty()
            });
            if !valid {
                return Err(Error::Vendor);
            }
        }
    }
    Ok(())
}

fn check_resources(resources: Option<&Selection>) -> Result<(), Error> {
    let Some(Selection::Only(patterns) | Selection::AllBut(patterns)) = resources else {
        return Ok(());
    };
    for pattern in patterns {
        let is_arn = pattern.starts_with("arn:") && pattern.splitn(6, ':').count() == 6;
        if pattern != "*" && !is_arn {
            return Err(Error::Resource(pattern.clone()));
        }
    }
    Ok(())
}

fn principals(members: &Map<String, Value>) -> Result<Option<Principals>, Error> {
    match (members.get("Principal"), members.get("NotPrincipal")) {
        (None, None) => Ok(None),
        (Some(value), None) => Ok(Some(Principals::Only(principal(value)?))),
        (None, Some(value)) => principal(value).map(|_| Some(Principals::AllBut)),
        (Some(_), Some(_)) => Err(Error::Syntax),
    }
}

fn principal(value: &Value) -> Result<Vec<TrustedPrincipal>, Error> {
    let kinds = match value {
        Value::String(text) if text == "*" => return Ok(vec![TrustedPrincipal::Anybody]),
        Value::Object(kinds) if !kinds.is_empty() => kinds,
        _ => return Err(Error::Syntax),
    };
    let mut all = Vec::new();
    for (kind, names) in kinds {
        for name in texts(names)? {
            all.push(match kind.as_str() {
                "AWS" => aws_principal(name)?,
                "Service" => service_principal(name)?,
                "Federated" | "CanonicalUser" => TrustedPrincipal::Other,
                _ => return Err(Error::Syntax),
            });
        }
    }
    Ok(all)
}

fn aws_principal(name: String) -> Result<TrustedPrincipal, Error> {
    let is_account = |text: &str| text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit());
    if name == "*" {
        return Ok(TrustedPrincipal::Anybody);
    }
    if is_account(&name) {
        return Ok(TrustedPrincipal::Account(name));
    }
    let parts: Vec<&str> = name.splitn(6, ':').collect();
    match parts[..] {
        ["arn", _, "iam", "", account, "root"] if is_account(account) => {
            Ok(TrustedPrincipal::Account(account.to_owned()))
        }
        ["arn", _, "iam", "", account, rest]
            if is_account(account)
                && (rest.starts_with("user/") || rest.starts_with("role/"))
                && !rest.contains('*') =>
        {
            Ok(TrustedPrincipal::Arn(name))
        }
        ["arn", _, "sts", "", account, rest]
            if is_account(account) && rest.starts_with("assumed-role/") && !rest.contains('*') =>
        {
            Ok(TrustedPrincipal::Arn(name))
        }
        _ => Err(Error::InvalidPrincipal("AWS", name)),
    }
}

fn service_principal(name: String) -> Result<TrustedPrincipal, Error> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-');
    let is_service = name.chars().all(plain)
        && (name.ends_with(".amazonaws.com") || name.ends_with(".amazonaws.com.cn"));
    if is_service {
        Ok(TrustedPrincipal::Service(name))
    } else {
        Err(Error::InvalidPrincipal("SERVICE", name))
    }
}

fn conditions(value: Option<&Value>) -> Result<Vec<Condition>, Error> {
    let Some(value) = value else { return Ok(Vec::new()) };
    let Value::Object(operators) = value else { return Err(Error::Syntax) };
    let mut all = Vec::new();
    for (operator, keys) in operators {
        let Value::Object(keys) = keys else { return Err(Error::Syntax) };
        for (key, values) in keys {
            if !key.contains(':') {
                return Err(Error::Vendor);
            }
            all.push(Condition {
                operator: operator.clone(),
                key: key.clone(),
                values: scalars(values)?,
            });
        }
    }
    Ok(all)
}

/// Condition values may be numbers and booleans, too.
fn scalars(value: &Value) -> Result<Vec<String>, Error> {
    let one = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(flag) => Ok(flag.to_string()),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err(Error::Syntax),
    };
    match value {
        Value::Array(list) => list.iter().map(one).collect(),
        other => Ok(vec![one(other)?]),
    }
}
