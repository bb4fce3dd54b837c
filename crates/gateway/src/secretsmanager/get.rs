//! GetSecretValue.

use super::{client, invalid_request, resolve};
use crate::context::{Context, Outcome, Result};
use crate::error::ApiError;
use std::sync::Arc;
use wharf_model::secret::CURRENT;
use wharf_model::{Secret, SecretVersion, Timestamp};
use wharf_wire::Blob;
use wharf_wire::secretsmanager::types::{
    GetSecretValueRequest, GetSecretValueResponse, SecretValueEntry,
};

/// Milliseconds of a day: the time of an access is told to the day.
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Gives a value out.
pub(super) fn get_secret_value(
    context: &Context<'_>,
    input: &GetSecretValueRequest,
) -> Result<GetSecretValueResponse> {
    let secret = resolve::find_live(context, input.secret_id.as_ref())?;
    let version =
        version(context, secret, input.version_id.as_deref(), input.version_stage.as_deref())?;
    let entry = entry(context, secret, version)?;
    let output = GetSecretValueResponse {
        arn: entry.arn,
        name: entry.name,
        version_id: entry.version_id,
        secret_binary: entry.secret_binary,
        secret_string: entry.secret_string,
        version_stages: entry.version_stages,
        created_date: entry.created_date,
    };
    let day = Timestamp(context.now.as_millis() - context.now.as_millis().rem_euclid(DAY_MS));
    if secret.last_accessed_at == Some(day) {
        return Ok(Outcome::read(output));
    }
    let mut transaction = resolve::transaction(context, &secret.name);
    transaction.put(Secret { last_accessed_at: Some(day), ..Secret::clone(secret) });
    Ok(Outcome::write(output, transaction))
}

/// The version that is asked for: by id, by staging label, or the one in force.
pub(super) fn version<'a>(
    context: &Context<'a>,
    secret: &Secret,
    id: Option<&str>,
    stage: Option<&str>,
) -> std::result::Result<&'a Arc<SecretVersion>, ApiError> {
    let missing = |what: String| {
        client(
            "ResourceNotFoundException",
            format!("Secrets Manager can't find the specified secret value for {what}"),
        )
    };
    let stage_or = stage.unwrap_or(CURRENT);
    let by_stage = || missing(format!("staging label: {stage_or}"));
    let wanted = match (id, stage) {
        (Some(id), stage) => {
            let stages =
                secret.versions.get(id).ok_or_else(|| missing(format!("VersionId: {id}")))?;
            if stage.is_some_and(|stage| !stages.iter().any(|s| s == stage)) {
                return Err(invalid_request(
                    "You provided a VersionStage that is not associated to the provided VersionId.",
                ));
            }
            id
        }
        (None, _) => secret.version_with(stage_or).ok_or_else(by_stage)?,
    };
    let key = (secret.id.clone(), wanted.to_owned());
    context.snapshot.secret_version(&key).ok_or_else(by_stage)
}

/// A version with its value.
pub(super) fn entry(
    context: &Context<'_>,
    secret: &Secret,
    version: &SecretVersion,
) -> std::result::Result<SecretValueEntry, ApiError> {
    let name = version.seal_name();
    let bytes = context.vault.open(&name, &version.value).map_err(decryption(&name))?;
    let (text, binary) = match version.is_binary {
        true => (None, Some(Blob(bytes.to_vec()))),
        false => (Some(String::from_utf8_lossy(&bytes).into_owned()), None),
    };
    Ok(SecretValueEntry {
        arn: Some(resolve::arn(context.arns, secret)),
        name: Some(secret.name.clone()),
        version_id: Some(version.id.clone()),
        secret_binary: binary,
        secret_string: text,
        version_stages: secret.versions.get(&version.id).cloned(),
        created_date: Some(wharf_wire::Timestamp::from_millis(version.created_at.as_millis())),
    })
}

/// The vault's error; the log has the record.
pub(super) fn decryption(record: &str) -> impl FnOnce(crate::vault::Error) -> ApiError {
    move |error| {
        tracing::error!(record, %error, "a secret's value can't be opened");
        client(
            "DecryptionFailure",
            format!("Secrets Manager can't decrypt the protected secret text: {error}."),
        )
    }
}
