//! How parameters are named: names and paths, ARNs, and selectors of a version behind them.

use super::{client, invalid};
use crate::error::ApiError;
use wharf_model::ArnScope;

/// The longest name (Systems Manager's user guide: 2048 less what it keeps for itself).
const MAX_NAME: usize = 1011;
/// The most levels of a path.
const MAX_LEVELS: usize = 15;

/// A parameter as a request names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    /// The parameter's name.
    pub(super) name: String,
    /// Which version of it.
    pub(super) selector: Option<Selector>,
}

/// Which version is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Selector {
    /// By its number.
    Version(u64),
    /// By a label.
    Label(String),
}

/// The parameter's ARN.
pub(super) fn arn(arns: &ArnScope, name: &str) -> String {
    let slash = if name.starts_with('/') { "" } else { "/" };
    format!("arn:aws:ssm:{}:{}:parameter{slash}{name}", arns.region, arns.account)
}

/// Reads `name`, `name:version`, `name:label`, and the same with an ARN.
pub(super) fn parse(
    arns: &ArnScope,
    text: &str,
    exists: impl Fn(&str) -> bool,
) -> Option<Reference> {
    let rest = match text.strip_prefix("arn:") {
        None => text.to_owned(),
        Some(_) => {
            let prefix = format!("arn:aws:ssm:{}:{}:parameter/", arns.region, arns.account);
            let path = text.strip_prefix(&prefix)?;
            // The slash is part of the name of a path, and of a plain name's ARN alone.
            let bare = path.split(':').next().unwrap_or_default();
            match path.contains('/') || exists(&format!("/{bare}")) && !exists(bare) {
                true => format!("/{path}"),
                false => path.to_owned(),
            }
        }
    };
    let (name, selector) = match rest.split_once(':') {
        None => (rest, None),
        Some((name, selector)) => {
            let number = selector
                .parse()
                .ok()
                .filter(|_| selector.starts_with(|c: char| c.is_ascii_digit()));
            let selector = match number {
                Some(number) => Selector::Version(number),
                None if selector.is_empty() => return None,
                None => Selector::Label(selector.to_owned()),
            };
            (name.to_owned(), Some(selector))
        }
    };
    (!name.is_empty()).then_some(Reference { name, selector })
}

/// Refuses what can't be a new parameter's name.
pub(super) fn check(name: &str) -> Result<(), ApiError> {
    let bare = name.trim_start_matches('/').to_ascii_lowercase();
    let is_path = name.trim_start_matches('/').contains('/');
    if bare == "aws" || bare.starts_with("aws/") && name.starts_with('/') {
        let message = format!("No access to reserved parameter name: {name}.");
        return Err(client("AccessDeniedException", message));
    }
    if !is_path && bare.starts_with("aws") || bare.starts_with("ssm") {
        return Err(wrong(is_path));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '/');
    if !name.chars().all(plain) || bare.is_empty() || name.ends_with('/') || name.contains("//") {
        return Err(wrong(true));
    }
    if name.contains('/') && !name.starts_with('/') {
        return Err(invalid("Parameter name must be a fully qualified name."));
    }
    if name.len() > MAX_NAME {
        return Err(invalid(format!(
            "Parameter name can't be longer than {MAX_NAME} characters: it has {}.",
            name.len()
        )));
    }
    if name.trim_start_matches('/').split('/').count() > MAX_LEVELS {
        return Err(client(
            "HierarchyLevelLimitExceededException",
            format!(
                "A parameter name hierarchy can have a maximum of {MAX_LEVELS} levels. For more \
                 information, see Requirements and constraints for parameter names in the AWS \
                 Systems Manager User Guide."
            ),
        ));
    }
    Ok(())
}

fn wrong(is_path: bool) -> ApiError {
    invalid(match is_path {
        false => "Parameter name: can't be prefixed with \"aws\" or \"ssm\" (case-insensitive).",
        true => {
            "Parameter name: can't be prefixed with \"ssm\" (case-insensitive). If formed as a \
             path, it can consist of sub-paths divided by slash symbol; each sub-path can be \
             formed as a mix of letters, numbers and the following 3 symbols .-_"
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scope() -> ArnScope {
        ArnScope { region: "us-east-1".to_owned(), account: "123456789012".to_owned() }
    }

    #[test]
    fn names_arns_and_selectors() {
        let parse = |text: &str| parse(&scope(), text, |name| name == "/flat");
        let found = |text: &str| parse(text).map(|r| (r.name, r.selector));
        assert_eq!(found("db"), Some(("db".to_owned(), None)));
        assert_eq!(found("/a/b:3"), Some(("/a/b".to_owned(), Some(Selector::Version(3)))));
        let label = Some(Selector::Label("prod".to_owned()));
        assert_eq!(found("/a/b:prod"), Some(("/a/b".to_owned(), label.clone())));
        let arn = "arn:aws:ssm:us-east-1:123456789012:parameter/";
        assert_eq!(found(&format!("{arn}a/b:prod")), Some(("/a/b".to_owned(), label)));
        assert_eq!(found(&format!("{arn}db")), Some(("db".to_owned(), None)));
        assert_eq!(found(&format!("{arn}flat")), Some(("/flat".to_owned(), None)));
        for text in ["", ":1", "a:", "arn:aws:ssm:eu-west-1:123456789012:parameter/a", "arn:x"] {
            assert_eq!(found(text), None, "{text}");
        }
    }

    #[test]
    fn names_that_can_not_be() {
        for name in ["db", "/a/b-c_d.e", "a.b", "/amazon"] {
            assert!(check(name).is_ok(), "{name}");
        }
        let code = |name: &str| check(name).unwrap_err().code.into_owned();
        for name in ["awsome", "ssm", "/ssm/x", "a b", "a/b", "/a//b", "/a/", "/", "ä"] {
            assert_eq!(code(name), "ValidationException", "{name}");
        }
        assert_eq!(code("/aws/service"), "AccessDeniedException");
        assert_eq!(code(&"/x".repeat(16)), "HierarchyLevelLimitExceededException");
        assert!(check(&"/x".repeat(15)).is_ok());
    }

    proptest! {
        #[test]
        fn an_arn_leads_back_to_its_name(name in "(/[a-z]{1,5}){2,4}|[b-r]{1,9}", version in 1u64..200) {
            let arn = arn(&scope(), &name);
            let parsed = parse(&scope(), &format!("{arn}:{version}"), |_| false);
            prop_assert_eq!(parsed, Some(Reference { name, selector: Some(Selector::Version(version)) }));
        }

        #[test]
        fn no_text_panics(text in ".{0,60}") {
            let _ = (parse(&scope(), &text, |_| false), check(&text));
        }
    }
}
