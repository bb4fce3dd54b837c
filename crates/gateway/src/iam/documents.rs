//! Policy documents on their way in and out.

use super::{error, limit_exceeded};
use crate::error::ApiError;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use wharf_model::policy::{Kind, Policy};
use wharf_wire::iam::ErrorCode;

/// Characters of a role's trust policy, of a managed policy, and of all inline policies of a role
/// and of a user (IAM user guide, "IAM and AWS STS quotas"; white space doesn't count).
const TRUST_LIMIT: usize = 2048;
const MANAGED_LIMIT: usize = 6144;
const ROLE_LIMIT: usize = 10_240;
const USER_LIMIT: usize = 2048;

/// What RFC 3986 leaves as it is.
const UNRESERVED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A document as IAM shows it: percent-encoded.
pub(super) fn shown(document: &str) -> String {
    utf8_percent_encode(document, &UNRESERVED).to_string()
}

fn check(document: &str, kind: Kind) -> Result<(), ApiError> {
    let malformed = |why: wharf_model::policy::Error| {
        error(ErrorCode::MalformedPolicyDocumentException, why.to_string())
    };
    Policy::parse(document, kind).map(drop).map_err(malformed)
}

fn size(document: &str) -> usize {
    document.chars().filter(|c| !c.is_whitespace()).count()
}

/// A role's trust policy.
pub(super) fn trust(document: &str) -> Result<(), ApiError> {
    if size(document) > TRUST_LIMIT {
        return Err(limit_exceeded("ACLSizePerRole", TRUST_LIMIT));
    }
    check(document, Kind::Trust)
}

/// A managed policy's document.
pub(super) fn managed(document: &str) -> Result<(), ApiError> {
    if size(document) > MANAGED_LIMIT {
        return Err(limit_exceeded("PolicySize", MANAGED_LIMIT));
    }
    check(document, Kind::Identity)
}

/// An inline policy, beside the others that its holder has.
pub(super) fn inline<'a>(
    document: &str,
    others: impl Iterator<Item = &'a String>,
    kind: &str,
    holder: &str,
) -> Result<(), ApiError> {
    let limit = if kind == "role" { ROLE_LIMIT } else { USER_LIMIT };
    if size(document) + others.map(|other| size(other)).sum::<usize>() > limit {
        return Err(error(
            ErrorCode::LimitExceededException,
            format!("Maximum policy size of {limit} bytes exceeded for {kind} {holder}"),
        ));
    }
    check(document, Kind::Identity)
}
