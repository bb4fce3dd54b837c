//! PutSecretValue, and how a version is added: also by CreateSecret and UpdateSecret.

use super::{client, invalid_parameter, invalid_request, refused, resolve};
use crate::context::{Context, Outcome, Result};
use crate::error::ApiError;
use wharf_model::secret::CURRENT;
use wharf_model::{RecordKey, Secret, SecretVersion, Transaction};
use wharf_wire::Blob;
use wharf_wire::secretsmanager::types::{PutSecretValueRequest, PutSecretValueResponse};
use zeroize::Zeroizing;

/// The most versions that are kept.
const MAX_VERSIONS: usize = 100;
/// The longest value.
const MAX_VALUE_BYTES: usize = 65_536;
/// The most staging labels of a version.
const MAX_STAGES: usize = 20;

/// A value as it was sent.
pub(super) struct Value {
    bytes: Zeroizing<Vec<u8>>,
    is_binary: bool,
}

impl Value {
    /// The value of a request, if it has one.
    pub(super) fn of(
        text: Option<&String>,
        binary: Option<&Blob>,
    ) -> std::result::Result<Option<Self>, ApiError> {
        let value = match (text, binary) {
            (Some(_), Some(_)) => {
                return Err(invalid_parameter(
                    "You can't specify both a binary secret value and a string secret value in the \
                     same secret.",
                ));
            }
            (Some(text), None) => {
                Self { bytes: Zeroizing::new(text.as_bytes().to_vec()), is_binary: false }
            }
            (None, Some(blob)) => Self { bytes: Zeroizing::new(blob.0.clone()), is_binary: true },
            (None, None) => return Ok(None),
        };
        match value.bytes.len() {
            0 if value.is_binary => {
                Err(invalid_parameter("The parameter SecretBinary must not be empty."))
            }
            length if length > MAX_VALUE_BYTES => Err(invalid_parameter(format!(
                "The secret value is longer than {MAX_VALUE_BYTES} bytes: it has {length}."
            ))),
            _ => Ok(Some(value)),
        }
    }
}

/// What became of a version that was to be added.
#[derive(PartialEq)]
pub(super) enum Added {
    /// It is new.
    New,
    /// The same request was carried out before.
    Before,
}

/// Adds a version to the secret, in the transaction and in the record.
pub(super) fn add(
    context: &Context<'_>,
    secret: &mut Secret,
    version_id: &str,
    value: &Value,
    stages: &[String],
    transaction: &mut Transaction,
) -> std::result::Result<Added, ApiError> {
    let key = (secret.id.clone(), version_id.to_owned());
    if let Some(before) = context.snapshot.secret_version(&key) {
        let name = before.seal_name();
        let old =
            context.vault.open(&name, &before.value).map_err(super::get::decryption(&name))?;
        if before.is_binary == value.is_binary && *old == *value.bytes {
            return Ok(Added::Before);
        }
        return Err(client(
            "ResourceExistsException",
            format!(
                "You can't use ClientRequestToken {version_id} because that value is already in \
                 use for a version of secret {}.",
                resolve::arn(context.arns, secret)
            ),
        ));
    }
    let mut version = SecretVersion {
        secret_name: secret.name.clone(),
        secret_id: secret.id.clone(),
        id: version_id.to_owned(),
        value: wharf_model::Sealed::new(""),
        is_binary: value.is_binary,
        created_at: context.now,
    };
    let name = version.seal_name();
    version.value = context.vault.seal(&name, &value.bytes).map_err(|error| {
        tracing::error!(record = name, %error, "a secret's value can't be sealed");
        client("EncryptionFailure", format!("Secrets Manager can't encrypt the secret: {error}."))
    })?;
    secret.versions.insert(version_id.to_owned(), Vec::new());
    for stage in stages {
        secret.move_stage(stage, Some(version_id));
    }
    // The first version is in force, whatever it was called.
    if secret.version_with(CURRENT).is_none() {
        secret.move_stage(CURRENT, Some(version_id));
    }
    secret.last_changed_at = context.now;
    transaction.put(version);
    forget_oldest(context, secret, transaction)?;
    Ok(Added::New)
}

/// Versions without a staging label go when there are too many.
fn forget_oldest(
    context: &Context<'_>,
    secret: &mut Secret,
    transaction: &mut Transaction,
) -> std::result::Result<(), ApiError> {
    if secret.versions.len() <= MAX_VERSIONS {
        return Ok(());
    }
    let deprecated = secret.versions.iter().filter(|(_, stages)| stages.is_empty());
    let age = |id: &String| {
        let version = context.snapshot.secret_version(&(secret.id.clone(), id.clone()));
        version.map(|version| version.created_at)
    };
    let oldest = deprecated.map(|(id, _)| id.clone()).min_by_key(age);
    let Some(oldest) = oldest else {
        return Err(client(
            "LimitExceededException",
            format!("A secret can have at most {MAX_VERSIONS} versions with staging labels."),
        ));
    };
    secret.versions.remove(&oldest);
    transaction.delete(RecordKey::SecretVersion((secret.id.clone(), oldest)));
    Ok(())
}

/// The id of a version to be made: the request's token, or one of ours.
pub(super) fn version_id(context: &Context<'_>, token: Option<&String>) -> String {
    token.cloned().unwrap_or_else(|| context.ids().uuid())
}

/// Puts another value.
pub(super) fn put_secret_value(
    context: &Context<'_>,
    input: &PutSecretValueRequest,
) -> Result<PutSecretValueResponse> {
    if input.rotation_token.is_some() {
        return Err(refused("RotationToken"));
    }
    let found = resolve::find_live(context, input.secret_id.as_ref())?;
    let value = Value::of(input.secret_string.as_ref(), input.secret_binary.as_ref())?;
    let value = value
        .ok_or_else(|| invalid_request("You must provide either SecretString or SecretBinary."))?;
    let stages = input.version_stages.clone().unwrap_or_else(|| vec![CURRENT.to_owned()]);
    if stages.len() > MAX_STAGES {
        return Err(invalid_parameter(format!(
            "A version can have at most {MAX_STAGES} staging labels."
        )));
    }
    let mut secret = Secret::clone(found);
    let mut transaction = resolve::transaction(context, &secret.name);
    let id = version_id(context, input.client_request_token.as_ref());
    let added = add(context, &mut secret, &id, &value, &stages, &mut transaction)?;
    let output = PutSecretValueResponse {
        arn: Some(resolve::arn(context.arns, &secret)),
        name: Some(secret.name.clone()),
        version_stages: secret.versions.get(&id).cloned(),
        version_id: Some(id),
    };
    if added == Added::New {
        transaction.put(secret);
    }
    Ok(Outcome::write(output, transaction))
}
