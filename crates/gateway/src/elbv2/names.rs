//! Names, and how they stay unique.

use super::{put, read, validation};
use crate::context::Context;
use crate::error::ApiError;
use std::time::Duration;
use wharf_model::{ClientToken, RecordKey, Transaction};

/// Longest name of a load balancer, a target group or a trust store.
const LONGEST: usize = 32;

/// `what` stands at the beginning of a sentence: `Target group`.
pub(super) fn check(what: &str, name: &str) -> Result<(), ApiError> {
    if name.is_empty() {
        return Err(validation(format!("{what} name must be specified")));
    }
    if name.len() > LONGEST {
        return Err(validation(format!(
            "{what} name '{name}' cannot be longer than '{LONGEST}' characters"
        )));
    }
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Err(validation(format!(
            "{what} name '{name}' can only contain characters that are alphanumeric characters \
             and hyphens(-)"
        )));
    }
    if name.starts_with('-') || name.ends_with('-') {
        return Err(validation(format!("{what} name '{name}' cannot begin or end with '-'")));
    }
    Ok(())
}

/// Rewrites the record that stands for a name, so that of two requests which make something of this
/// name at once the second sees what the first made. It is forgotten soon.
pub(super) fn claim(
    context: &Context<'_>,
    transaction: &mut Transaction,
    operation: &str,
    name: &str,
) {
    const REMEMBERED: Duration = Duration::from_secs(60);
    let key = (String::new(), operation.to_owned(), name.to_owned());
    read(context, transaction, RecordKey::ClientToken(key));
    put(
        context,
        transaction,
        ClientToken {
            cluster: String::new(),
            operation: operation.to_owned(),
            token: name.to_owned(),
            // The record counts by its revision, which each put makes new.
            request_hash: String::new(),
            arns: Vec::new(),
            expires_at: context.now.plus(REMEMBERED),
        },
    );
}
