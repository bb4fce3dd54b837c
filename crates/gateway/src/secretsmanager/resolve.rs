//! Which secret a request means, and how secrets are named.

use super::{invalid_request, not_found};
use crate::context::Context;
use crate::error::ApiError;
use std::sync::Arc;
use wharf_model::{ArnScope, IdSource, RecordKey, Secret, Snapshot, Transaction};

/// Characters of an ARN's end.
const SUFFIX: usize = 6;
const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// A new ARN's end.
pub(super) fn suffix(ids: &mut IdSource) -> String {
    (0..SUFFIX).map(|_| char::from(ALPHABET[ids.below(ALPHABET.len())])).collect()
}

/// What an ARN begins with, up to the secret's name.
fn prefix(arns: &ArnScope) -> String {
    format!("arn:aws:secretsmanager:{}:{}:secret:", arns.region, arns.account)
}

/// The ARN of a name with this end.
pub(super) fn arn_of(arns: &ArnScope, name: &str, suffix: &str) -> String {
    format!("{}{name}-{suffix}", prefix(arns))
}

/// The secret's ARN.
pub(super) fn arn(arns: &ArnScope, secret: &Secret) -> String {
    arn_of(arns, &secret.name, &secret.suffix)
}

/// The secret that a name, an ARN, or an ARN without its end names, also one whose time is over.
pub(super) fn by_id<'a>(
    snapshot: &'a Snapshot,
    arns: &ArnScope,
    id: &str,
) -> Option<&'a Arc<Secret>> {
    let by_name = |name: &str| snapshot.secret(&name.to_owned());
    match id.strip_prefix("arn:") {
        None => by_name(id),
        Some(_) => {
            let rest = id.strip_prefix(&prefix(arns))?;
            let whole = rest
                .rsplit_once('-')
                .and_then(|(name, suffix)| by_name(name).filter(|secret| secret.suffix == suffix));
            // An ARN that names another secret of that name, which was deleted, names none.
            whole.or_else(|| by_name(rest))
        }
    }
}

/// The secret that a request names.
pub(super) fn find<'a>(
    context: &Context<'a>,
    id: Option<&String>,
) -> Result<&'a Arc<Secret>, ApiError> {
    let id = id.map(String::as_str).unwrap_or_default();
    let found = by_id(context.snapshot, context.arns, id);
    found.filter(|secret| !secret.is_gone(context.now)).ok_or_else(not_found)
}

/// As [`find`], for what isn't done with a deleted secret.
pub(super) fn find_live<'a>(
    context: &Context<'a>,
    id: Option<&String>,
) -> Result<&'a Arc<Secret>, ApiError> {
    let secret = find(context, id)?;
    match secret.deletion_at {
        None => Ok(secret),
        Some(_) => Err(invalid_request(
            "You can't perform this operation on the secret because it was marked for deletion.",
        )),
    }
}

/// A transaction that holds while this secret is as it was seen.
pub(super) fn transaction(context: &Context<'_>, name: &str) -> Transaction {
    let key = RecordKey::Secret(name.to_owned());
    let mut transaction = Transaction::new();
    let revision = context.snapshot.revision_of(&key);
    transaction.read(key, revision);
    transaction
}
