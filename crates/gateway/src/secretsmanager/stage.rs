//! UpdateSecretVersionStage.

use super::{client, invalid_parameter, resolve};
use crate::context::{Context, Outcome, Result};
use wharf_model::Secret;
use wharf_model::secret::CURRENT;
use wharf_wire::secretsmanager::types::{
    UpdateSecretVersionStageRequest, UpdateSecretVersionStageResponse,
};

/// Moves a staging label from one version to another.
pub(super) fn update_secret_version_stage(
    context: &Context<'_>,
    input: &UpdateSecretVersionStageRequest,
) -> Result<UpdateSecretVersionStageResponse> {
    let mut secret = Secret::clone(resolve::find_live(context, input.secret_id.as_ref())?);
    let stage = input.version_stage.as_deref().unwrap_or_default();
    let (from, to) = (input.remove_from_version_id.as_deref(), input.move_to_version_id.as_deref());
    for id in [from, to].into_iter().flatten() {
        if !secret.versions.contains_key(id) {
            return Err(client(
                "ResourceNotFoundException",
                format!(
                    "Secrets Manager can't find the specified secret value for VersionId: {id}"
                ),
            ));
        }
    }
    let holder = secret.version_with(stage).map(str::to_owned);
    match (holder.as_deref(), from) {
        (Some(holder), None) if to != Some(holder) => {
            return Err(invalid_parameter(format!(
                "The parameter RemoveFromVersionId can't be empty. Staging label {stage} is \
                 currently attached to version {holder}, so you must explicitly reference that \
                 version in RemoveFromVersionId."
            )));
        }
        (holder, Some(from)) if holder != Some(from) => {
            return Err(invalid_parameter(format!(
                "The staging label {stage} is not attached to version {from}, which \
                 RemoveFromVersionId names."
            )));
        }
        _ => {}
    }
    if stage == CURRENT && to.is_none() {
        return Err(invalid_parameter(
            "You can only move staging label AWSCURRENT to a different secret version. It can't be \
             completely removed.",
        ));
    }
    secret.move_stage(stage, to);
    secret.last_changed_at = context.now;
    let output = UpdateSecretVersionStageResponse {
        arn: Some(resolve::arn(context.arns, &secret)),
        name: Some(secret.name.clone()),
    };
    let mut transaction = resolve::transaction(context, &secret.name);
    transaction.put(secret);
    Ok(Outcome::write(output, transaction))
}
