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
use wharf_model::{ArnScope, Snapshot};
use wharf_wire::secretsmanager::{Operation, operation};

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
