//! How groups and places in streams are named: names, ARNs, tokens.

use super::client;
use crate::error::ApiError;
use wharf_logs::Position;
use wharf_model::ArnScope;

/// A group's ARN, as tags and identifiers take it.
pub(super) fn group_arn(arns: &ArnScope, name: &str) -> String {
    format!("arn:aws:logs:{}:{}:log-group:{name}", arns.region, arns.account)
}

/// The group that a name or an identifier (its name or ARN) names.
pub(super) fn group(
    arns: &ArnScope,
    name: Option<&str>,
    identifier: Option<&str>,
) -> Result<String, ApiError> {
    match (name, identifier) {
        (Some(name), None) => Ok(name.to_owned()),
        (None, Some(identifier)) if identifier.starts_with("arn:") => of_arn(arns, identifier),
        (None, Some(identifier)) => Ok(identifier.to_owned()),
        (Some(_), Some(_)) => Err(ApiError::invalid_parameter(
            "LogGroup name and LogGroup identifier are mutually exclusive parameters.",
        )),
        (None, None) => Err(ApiError::invalid_parameter(
            "Either logGroupName or logGroupIdentifier must be specified.",
        )),
    }
}

/// The group of an ARN, with `:*` at its end or without.
pub(super) fn of_arn(arns: &ArnScope, arn: &str) -> Result<String, ApiError> {
    let name = arn.strip_prefix(group_arn(arns, "").as_str());
    let name = name.map(|name| name.strip_suffix(":*").unwrap_or(name));
    name.filter(|name| !name.is_empty() && !name.contains(':')).map(str::to_owned).ok_or_else(
        || {
            let code = match arn.starts_with("arn:") {
                true => "ResourceNotFoundException",
                false => "InvalidParameterException",
            };
            client(
                code,
                format!("The resource {arn} is not a log group of this account and region."),
            )
        },
    )
}

/// Digits of a time and of a number in a token or an event's id.
const TIME_DIGITS: usize = 20;
const NUMBER_DIGITS: usize = 36;

/// A place as 56 digits, which is how CloudWatch Logs' ids look.
pub(super) fn digits(at: Position) -> String {
    let (at_ms, sequence) = (at.at_ms.max(0), at.sequence);
    format!("{at_ms:0TIME_DIGITS$}{sequence:0NUMBER_DIGITS$}")
}

/// The place that 56 digits name.
pub(super) fn place(digits: &str) -> Option<Position> {
    if digits.len() != TIME_DIGITS + NUMBER_DIGITS || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (at_ms, sequence) = digits.split_at(TIME_DIGITS);
    Some(Position { at_ms: at_ms.parse().ok()?, sequence: sequence.parse().ok()? })
}

/// A stream's `uploadSequenceToken`: it moves with every put that is kept.
pub(super) fn sequence_token(sequence: u64) -> String {
    format!("{sequence:056}")
}

/// A token that isn't one.
pub(super) fn invalid_token() -> ApiError {
    ApiError::invalid_parameter("The specified nextToken is invalid.")
}
