//! Repository policies: who of this account may do what with one repository.
//!
//! A policy says `Allow` or `Deny` for principals and actions. A `Deny` wins over everything. What a
//! policy can't be understood to say is refused when it is set, by name: nothing is stored that
//! wouldn't be carried out.

use serde_json::Value;

use crate::mutability::matches;

/// What a policy says about one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It allows it.
    Allow,
    /// It denies it.
    Deny,
    /// It doesn't say.
    Silent,
}

/// A policy that has been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    statements: Vec<Statement>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Statement {
    allow: bool,
    /// Principals as they are written; `*` for everybody.
    principals: Vec<String>,
    /// Actions in lower case, with wildcards.
    actions: Vec<String>,
}

impl Policy {
    /// Reads a policy's text.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let object = value.as_object().ok_or("a policy is a JSON object")?;
        for (member, value) in object {
            match member.as_str() {
                "Statement" | "Id" => {}
                "Version" if matches!(value.as_str(), Some("2012-10-17" | "2008-10-17")) => {}
                "Version" => return Err("Version must be 2012-10-17 or 2008-10-17".to_owned()),
                other => return Err(format!("unknown member '{other}'")),
            }
        }
        let statements = match object.get("Statement") {
            Some(Value::Array(list)) => list.iter().collect(),
            Some(one @ Value::Object(_)) => vec![one],
            _ => return Err("a policy has a Statement".to_owned()),
        };
        let statements =
            statements.into_iter().map(Statement::parse).collect::<Result<Vec<_>, _>>()?;
        match statements.is_empty() {
            true => Err("a policy has at least one statement".to_owned()),
            false => Ok(Self { statements }),
        }
    }

    /// What it says about `action` (`ecr:BatchGetImage`) by the principal with this ARN in `account`.
    pub fn decide(&self, principal: &str, account: &str, action: &str) -> Decision {
        let action = action.to_ascii_lowercase();
        let fitting = self.statements.iter().filter(|statement| {
            statement.actions.iter().any(|pattern| matches(pattern, &action))
                && statement.principals.iter().any(|named| names(named, principal, account))
        });
        fitting.fold(Decision::Silent, |before, statement| match (before, statement.allow) {
            (Decision::Deny, _) | (_, false) => Decision::Deny,
            (_, true) => Decision::Allow,
        })
    }
}

impl Statement {
    fn parse(value: &Value) -> Result<Self, String> {
        let object = value.as_object().ok_or("a statement is a JSON object")?;
        for member in object.keys() {
            match member.as_str() {
                "Sid" | "Effect" | "Principal" | "Action" => {}
                "Condition" | "NotAction" | "NotPrincipal" | "NotResource" => {
                    return Err(format!("{member} is not supported by this server"));
                }
                "Resource" => return Err("a repository's policy has no Resource".to_owned()),
                other => return Err(format!("unknown member '{other}' of a statement")),
            }
        }
        let allow = match object.get("Effect").and_then(Value::as_str) {
            Some("Allow") => true,
            Some("Deny") => false,
            _ => return Err("Effect must be Allow or Deny".to_owned()),
        };
        let principals = match object.get("Principal") {
            Some(Value::String(all)) if all == "*" => vec!["*".to_owned()],
            Some(Value::Object(kinds)) => {
                if let Some(kind) = kinds.keys().find(|kind| *kind != "AWS") {
                    return Err(format!(
                        "Principal of kind '{kind}' is not supported by this server"
                    ));
                }
                texts(kinds.get("AWS"), "Principal")?
            }
            _ => return Err("Principal must be \"*\" or {\"AWS\": …}".to_owned()),
        };
        let actions: Vec<String> = texts(object.get("Action"), "Action")?
            .iter()
            .map(|action| action.to_ascii_lowercase())
            .collect();
        match actions.iter().find(|action| *action != "*" && !action.starts_with("ecr:")) {
            Some(action) => Err(format!("Action '{action}' is none of ECR")),
            None => Ok(Self { allow, principals, actions }),
        }
    }
}

/// A text or a list of texts.
fn texts(value: Option<&Value>, member: &str) -> Result<Vec<String>, String> {
    let wrong = || format!("{member} must be a text or a list of texts");
    match value {
        Some(Value::String(text)) => Ok(vec![text.clone()]),
        Some(Value::Array(list)) if !list.is_empty() => {
            list.iter().map(|v| v.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
        }
        _ => Err(wrong()),
    }
}

/// True if a policy's principal names the principal with this ARN: by itself, by its account, or, for
/// a role's session, by the role.
fn names(named: &str, principal: &str, account: &str) -> bool {
    if named == "*" || named == principal {
        return true;
    }
    if named == account || named == format!("arn:aws:iam::{account}:root") {
        return true;
    }
    let session = principal.strip_prefix(&format!("arn:aws:sts::{account}:assumed-role/"));
    let role = session.and_then(|rest| rest.split('/').next());
    role.is_some_and(|role| named == format!("arn:aws:iam::{account}:role/{role}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ACCOUNT: &str = "123456789012";

    fn decide(statements: &Value, principal: &str, action: &str) -> Decision {
        let text = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
        Policy::parse(&text).unwrap().decide(principal, ACCOUNT, action)
    }

    #[test]
    fn a_denial_wins_and_silence_says_nothing() {
        let jo = "arn:aws:iam::123456789012:user/jo";
        let statements = json!([
            {"Effect": "Deny", "Principal": {"AWS": jo}, "Action": "ecr:Put*"},
            {"Effect": "Allow", "Principal": "*", "Action": ["ecr:BatchGetImage", "ecr:PutImage"]},
        ]);
        assert_eq!(decide(&statements, jo, "ecr:PutImage"), Decision::Deny);
        assert_eq!(decide(&statements, jo, "ecr:BatchGetImage"), Decision::Allow);
        assert_eq!(decide(&statements, jo, "ecr:DeleteRepository"), Decision::Silent);
        let role = json!({"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::123456789012:role/r"}, "Action": "*"});
        let session = "arn:aws:sts::123456789012:assumed-role/r/s";
        assert_eq!(decide(&role, session, "ecr:PutImage"), Decision::Allow);
        assert_eq!(decide(&role, jo, "ecr:PutImage"), Decision::Silent);
        let other = json!({"Effect": "Allow", "Principal": {"AWS": "999999999999"}, "Action": "*"});
        assert_eq!(decide(&other, jo, "ecr:PutImage"), Decision::Silent);
    }

    #[test]
    fn what_would_be_ignored_is_refused() {
        for (statement, part) in [
            (
                json!({"Effect": "Allow", "Principal": "*", "Action": "*", "Condition": {}}),
                "Condition",
            ),
            (json!({"Effect": "Allow", "Principal": "*", "NotAction": "*"}), "NotAction"),
            (json!({"Effect": "Allow", "Principal": {"Service": "x"}, "Action": "*"}), "Service"),
            (json!({"Effect": "Allow", "Principal": "*", "Action": "s3:*"}), "s3:*"),
            (json!({"Effect": "Maybe", "Principal": "*", "Action": "*"}), "Effect"),
            (json!({"Effect": "Allow", "Action": "*"}), "Principal"),
            (json!({"Effect": "Allow", "Principal": "*", "Action": []}), "Action"),
        ] {
            let text = json!({"Statement": [statement]}).to_string();
            let error = Policy::parse(&text).unwrap_err();
            assert!(error.contains(part), "{error}: {part}");
        }
        assert!(Policy::parse("[]").is_err());
        assert!(Policy::parse("{\"Statement\": []}").is_err());
    }
}
