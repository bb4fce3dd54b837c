//! CreateSecret.

use super::put::{self, Added, Value};
use super::{client, invalid_request, refused, resolve, tags};
use crate::context::{Context, Outcome, Result};
use crate::error::ApiError;
use wharf_model::Secret;
use wharf_model::secret::CURRENT;
use wharf_wire::secretsmanager::types::{CreateSecretRequest, CreateSecretResponse};

/// Makes a secret, with its first version if it has a value.
pub(super) fn create_secret(
    context: &Context<'_>,
    input: &CreateSecretRequest,
) -> Result<CreateSecretResponse> {
    let name = input.name.clone().unwrap_or_default();
    check_name(&name)?;
    if input.add_replica_regions.as_ref().is_some_and(|regions| !regions.is_empty()) {
        return Err(refused("AddReplicaRegions"));
    }
    if input.r#type.is_some() {
        return Err(refused("Type"));
    }
    let value = Value::of(input.secret_string.as_ref(), input.secret_binary.as_ref())?;
    let id = put::version_id(context, input.client_request_token.as_ref());
    let mut transaction = resolve::transaction(context, &name);
    let before = context.snapshot.secret(&name).filter(|secret| !secret.is_gone(context.now));
    let (mut secret, exists) = match before {
        Some(secret) if secret.deletion_at.is_some() => {
            return Err(invalid_request(
                "You can't create this secret because a secret with this name is already \
                 scheduled for deletion.",
            ));
        }
        // The same request once more is the same secret.
        Some(secret) if value.is_some() && secret.versions.contains_key(&id) => {
            (Secret::clone(secret), true)
        }
        Some(_) => {
            let message = format!("The operation failed because the secret {name} already exists.");
            return Err(client("ResourceExistsException", message));
        }
        None => (new(context, input, name)?, false),
    };
    let mut version_id = None;
    if let Some(value) = &value {
        let stages = [CURRENT.to_owned()];
        let added = put::add(context, &mut secret, &id, value, &stages, &mut transaction)?;
        debug_assert!(exists || added == Added::New);
        version_id = Some(id);
    }
    let output = CreateSecretResponse {
        arn: Some(resolve::arn(context.arns, &secret)),
        name: Some(secret.name.clone()),
        version_id,
        replication_status: None,
    };
    if !exists {
        transaction.put(secret);
    }
    Ok(Outcome::write(output, transaction))
}

fn new(
    context: &Context<'_>,
    input: &CreateSecretRequest,
    name: String,
) -> std::result::Result<Secret, ApiError> {
    let mut ids = context.ids();
    Ok(Secret {
        name,
        id: ids.hex32(),
        suffix: resolve::suffix(&mut ids),
        description: input.description.clone().filter(|text| !text.is_empty()),
        kms_key_id: input.kms_key_id.clone(),
        tags: tags::from_wire(input.tags.as_ref(), Vec::new())?,
        versions: Default::default(),
        created_at: context.now,
        last_changed_at: context.now,
        last_accessed_at: None,
        deletion_at: None,
    })
}

fn check_name(name: &str) -> std::result::Result<(), ApiError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-/_+=.@!".contains(c);
    match name.chars().all(plain) && !name.is_empty() {
        true => Ok(()),
        false => Err(client(
            "ValidationException",
            "Invalid name. Must be a valid name containing alphanumeric characters, or any of the \
             following: -/_+=.@!",
        )),
    }
}
