//! UpdateSecret.

use super::put::{self, Value};
use super::{refused, resolve};
use crate::context::{Context, Outcome, Result};
use wharf_model::Secret;
use wharf_model::secret::CURRENT;
use wharf_wire::secretsmanager::types::{UpdateSecretRequest, UpdateSecretResponse};

/// Changes what is said about a secret, and its value if one is sent.
pub(super) fn update_secret(
    context: &Context<'_>,
    input: &UpdateSecretRequest,
) -> Result<UpdateSecretResponse> {
    if input.r#type.is_some() {
        return Err(refused("Type"));
    }
    let mut secret = Secret::clone(resolve::find_live(context, input.secret_id.as_ref())?);
    let mut transaction = resolve::transaction(context, &secret.name);
    if let Some(description) = &input.description {
        secret.description = Some(description.clone()).filter(|text| !text.is_empty());
    }
    if let Some(key) = &input.kms_key_id {
        secret.kms_key_id = Some(key.clone()).filter(|text| !text.is_empty());
    }
    let mut version_id = None;
    let value = Value::of(input.secret_string.as_ref(), input.secret_binary.as_ref())?;
    if let Some(value) = value {
        let id = put::version_id(context, input.client_request_token.as_ref());
        let stages = [CURRENT.to_owned()];
        put::add(context, &mut secret, &id, &value, &stages, &mut transaction)?;
        version_id = Some(id);
    }
    secret.last_changed_at = context.now;
    let output = UpdateSecretResponse {
        arn: Some(resolve::arn(context.arns, &secret)),
        name: Some(secret.name.clone()),
        version_id,
    };
    transaction.put(secret);
    Ok(Outcome::write(output, transaction))
}
