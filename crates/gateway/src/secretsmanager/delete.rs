//! DeleteSecret and RestoreSecret. A secret's versions follow it when what has expired is looked
//! for; without their secret nobody is given them.

use super::describe::date;
use super::{invalid_parameter, invalid_request, not_found, resolve};
use crate::context::{Context, Outcome, Result};
use std::time::Duration;
use wharf_model::{RecordKey, Secret};
use wharf_wire::secretsmanager::types::{
    DeleteSecretRequest, DeleteSecretResponse, RestoreSecretRequest, RestoreSecretResponse,
};

/// Seconds of a day.
const DAY_S: u64 = 24 * 60 * 60;
/// The days in which a deleted secret can be restored.
const DEFAULT_WINDOW: i64 = 30;
const WINDOWS: std::ops::RangeInclusive<i64> = 7..=30;

/// Deletes a secret at the end of its recovery window, or at once.
pub(super) fn delete_secret(
    context: &Context<'_>,
    input: &DeleteSecretRequest,
) -> Result<DeleteSecretResponse> {
    let force = input.force_delete_without_recovery == Some(true);
    if force && input.recovery_window_in_days.is_some() {
        return Err(invalid_parameter(
            "You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.",
        ));
    }
    let days = input.recovery_window_in_days.unwrap_or(DEFAULT_WINDOW);
    if !WINDOWS.contains(&days) {
        return Err(invalid_parameter(
            "The RecoveryWindowInDays value must be between 7 and 30 days (inclusive).",
        ));
    }
    let id = input.secret_id.clone().unwrap_or_default();
    let found = match resolve::find(context, Some(&id)) {
        Ok(found) => found,
        // API reference of DeleteSecret: by force, one that isn't there is no error.
        Err(_) if force && !id.starts_with("arn:") => {
            let suffix = resolve::suffix(&mut context.ids());
            return Ok(Outcome::read(DeleteSecretResponse {
                arn: Some(resolve::arn_of(context.arns, &id, &suffix)),
                name: Some(id),
                deletion_date: Some(date(context.now)),
            }));
        }
        Err(_) => return Err(not_found()),
    };
    if found.deletion_at.is_some() && !force {
        return Err(invalid_request(
            "You tried to perform the operation on a secret that's currently marked deleted.",
        ));
    }
    let mut transaction = resolve::transaction(context, &found.name);
    let at = match force {
        true => {
            transaction.delete(RecordKey::Secret(found.name.clone()));
            context.now
        }
        false => {
            let window = Duration::from_secs(u64::try_from(days).unwrap_or(0) * DAY_S);
            let at = context.now.plus(window);
            transaction.put(Secret { deletion_at: Some(at), ..Secret::clone(found) });
            at
        }
    };
    let output = DeleteSecretResponse {
        arn: Some(resolve::arn(context.arns, found)),
        name: Some(found.name.clone()),
        deletion_date: Some(date(at)),
    };
    Ok(Outcome::write(output, transaction))
}

/// Takes a deletion back.
pub(super) fn restore_secret(
    context: &Context<'_>,
    input: &RestoreSecretRequest,
) -> Result<RestoreSecretResponse> {
    let found = resolve::find(context, input.secret_id.as_ref())?;
    let mut transaction = resolve::transaction(context, &found.name);
    transaction.put(Secret { deletion_at: None, ..Secret::clone(found) });
    let output = RestoreSecretResponse {
        arn: Some(resolve::arn(context.arns, found)),
        name: Some(found.name.clone()),
    };
    Ok(Outcome::write(output, transaction))
}
