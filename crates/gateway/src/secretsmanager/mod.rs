//! AWS Secrets Manager: secrets with versions, staging labels, tags and recovery.
//!
//! As in [`crate::ecs`], an operation is a pure function of a context and its input; values are
//! sealed before they enter a transaction (see [`crate::vault`]). Rotation, replication and resource
//! policies aren't here.

mod batch;
mod create;
mod delete;
mod describe;
mod filter;
mod get;
mod list;
mod password;
mod put;
mod resolve;
mod stage;
mod tags;
#[cfg(test)]
mod tests;
mod update;

use crate::dispatch::{Call, Encoded};
use crate::ecs::page;
use crate::error::ApiError;
use crate::vault::Vault;
use wharf_model::secret::CURRENT;
use wharf_model::{ArnScope, Snapshot, Timestamp};
use wharf_wire::secretsmanager::{Operation, operation};
use zeroize::Zeroizing;

macro_rules! dispatch_table {
    ($( $name:ident => $function:path; )*) => {
        /// Runs the operation.
        pub(crate) async fn dispatch(operation: Operation, call: Call<'_>) -> Encoded {
            match operation {
                $( Operation::$name => call.run::<operation::$name>($function).await, )*
            }
        }
    };
}

dispatch_table! {
    CreateSecret => create::create_secret;
    PutSecretValue => put::put_secret_value;
    GetSecretValue => get::get_secret_value;
    BatchGetSecretValue => batch::batch_get_secret_value;
    UpdateSecret => update::update_secret;
    UpdateSecretVersionStage => stage::update_secret_version_stage;
    DescribeSecret => describe::describe_secret;
    ListSecretVersionIds => describe::list_secret_version_ids;
    GetResourcePolicy => describe::get_resource_policy;
    ListSecrets => list::list_secrets;
    DeleteSecret => delete::delete_secret;
    RestoreSecret => delete::restore_secret;
    TagResource => tags::tag;
    UntagResource => tags::untag;
    GetRandomPassword => password::get_random_password;
}

/// The whole ARN of the secret that a name or an ARN names, if there is one.
pub(crate) fn arn(snapshot: &Snapshot, arns: &ArnScope, id: &str) -> Option<String> {
    let found = resolve::by_id(snapshot, arns, id)?;
    Some(resolve::arn(arns, found))
}

/// The text in force of the secret with this ARN, for a part of the server that is told to use it.
///
/// # Errors
/// [`NoText`]
pub(crate) fn current(
    snapshot: &Snapshot,
    arns: &ArnScope,
    vault: &Vault,
    arn: &str,
    now: Timestamp,
) -> Result<Zeroizing<String>, NoText> {
    let absent = || NoText::Absent(arn.to_owned());
    let secret = resolve::by_id(snapshot, arns, arn);
    let secret =
        secret.filter(|s| !s.is_gone(now) && s.deletion_at.is_none()).ok_or_else(absent)?;
    let version = secret.version_with(CURRENT).ok_or_else(absent)?;
    let version = snapshot.secret_version(&(secret.id.clone(), version.to_owned()));
    let version = version.ok_or_else(absent)?;
    let opened = vault.open(&version.seal_name(), &version.value);
    let bytes = opened.map_err(|error| NoText::Sealed(arn.to_owned(), error.to_string()))?;
    let text = std::str::from_utf8(&bytes).map(|text| Zeroizing::new(text.to_owned()));
    text.map_err(|_| NoText::Sealed(arn.to_owned(), "it isn't text".to_owned()))
}

/// Why there is no text of a secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoText {
    /// There is no such secret, or it has no value.
    #[error("there is no secret {0} with a value")]
    Absent(String),
    /// It can't be opened.
    #[error("the secret {0} can't be read: {1}")]
    Sealed(String, String),
}

/// An error that the caller can mend.
fn client(code: &'static str, message: impl Into<String>) -> ApiError {
    ApiError::new(code, 400, message)
}

/// A parameter that can't be as it is.
fn invalid_parameter(message: impl Into<String>) -> ApiError {
    client("InvalidParameterException", message)
}

/// A request that can't be carried out as things are.
fn invalid_request(message: impl Into<String>) -> ApiError {
    client("InvalidRequestException", message)
}

/// A member that isn't carried out.
fn refused(member: &str) -> ApiError {
    invalid_parameter(format!("{member} is not supported by this server."))
}

fn not_found() -> ApiError {
    client("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
}

/// A page of this service: its token has an error of its own.
fn paged<T>(
    items: impl Iterator<Item = (String, T)>,
    next_token: Option<&str>,
    max_results: Option<i32>,
    limit: i32,
) -> Result<page::Page<T>, ApiError> {
    page::page(items, page::Request { next_token, max_results, limit })
        .map_err(|_| client("InvalidNextTokenException", "The NextToken value is invalid."))
}
