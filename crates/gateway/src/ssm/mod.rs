//! The Parameter Store of AWS Systems Manager: parameters with versions, labels and tags.
//!
//! As in [`crate::ecs`], an operation is a pure function of a context and its input; values are
//! sealed before they enter a transaction (see [`crate::vault`]). The rest of Systems Manager isn't
//! here.

mod delete;
mod filter;
mod get;
mod history;
mod labels;
mod list;
mod name;
mod put;
mod tags;
#[cfg(test)]
mod tests;

use crate::context::Context;
use crate::dispatch::{Call, Encoded};
use crate::ecs::page;
use crate::error::ApiError;
use std::sync::Arc;
use wharf_model::{Parameter, ParameterVersion};
use wharf_wire::ssm::{Operation, operation};

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
    PutParameter => put::put_parameter;
    GetParameter => get::get_parameter;
    GetParameters => get::get_parameters;
    GetParametersByPath => list::get_parameters_by_path;
    GetParameterHistory => history::get_parameter_history;
    DescribeParameters => list::describe_parameters;
    DeleteParameter => delete::delete_parameter;
    DeleteParameters => delete::delete_parameters;
    LabelParameterVersion => labels::label_parameter_version;
    UnlabelParameterVersion => labels::unlabel_parameter_version;
    AddTagsToResource => tags::add;
    RemoveTagsFromResource => tags::remove;
    ListTagsForResource => tags::list;
}

/// An error that the caller can mend.
fn client(code: &'static str, message: impl Into<String>) -> ApiError {
    ApiError::new(code, 400, message)
}

/// A value that can't be.
fn invalid(message: impl Into<String>) -> ApiError {
    client("ValidationException", message)
}

fn not_found(name: &str) -> ApiError {
    client("ParameterNotFound", format!("Parameter {name} not found."))
}

/// The vault's error; the log has the record.
fn vault(record: &str) -> impl FnOnce(crate::vault::Error) -> ApiError {
    move |error| {
        tracing::error!(record, %error, "a parameter's value can't be used");
        let message = format!("The parameter's value can not be decrypted: {error}.");
        ApiError::new("InternalServerError", 500, message)
    }
}

/// A page of this service: its token has an error of its own.
fn paged<T>(
    items: impl Iterator<Item = (String, T)>,
    next_token: Option<&str>,
    max_results: Option<i32>,
    limit: i32,
) -> Result<page::Page<T>, ApiError> {
    page::page(items, page::Request { next_token, max_results, limit })
        .map_err(|_| client("InvalidNextToken", "The specified token is not valid."))
}

/// The parameter's newest version.
fn latest<'a>(context: &Context<'a>, parameter: &Parameter) -> Option<&'a Arc<ParameterVersion>> {
    context.snapshot.parameter_version(&(parameter.id.clone(), parameter.latest))
}

/// The parameter of this name, for a change, with the read that the change depends on.
fn for_change(
    context: &Context<'_>,
    name: &str,
) -> Result<(Parameter, wharf_model::Transaction), ApiError> {
    let found = context.snapshot.parameter(&name.to_owned()).ok_or_else(|| not_found(name))?;
    let key = wharf_model::RecordKey::Parameter(name.to_owned());
    let mut transaction = wharf_model::Transaction::new();
    let revision = context.snapshot.revision_of(&key);
    transaction.read(key, revision);
    Ok((Parameter::clone(found), transaction))
}
