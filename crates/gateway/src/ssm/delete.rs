//! DeleteParameter and DeleteParameters. A parameter's versions follow it when what has expired is
//! looked for; without their parameter nobody is given them.

use super::not_found;
use crate::context::{Context, Outcome, Result};
use wharf_model::{RecordKey, Transaction};
use wharf_wire::ssm::types::{
    DeleteParameterRequest, DeleteParameterResult, DeleteParametersRequest, DeleteParametersResult,
};

/// Deletes one.
pub(super) fn delete_parameter(
    context: &Context<'_>,
    input: &DeleteParameterRequest,
) -> Result<DeleteParameterResult> {
    let name = input.name.clone().unwrap_or_default();
    let mut transaction = Transaction::new();
    match delete(context, &name, &mut transaction) {
        true => Ok(Outcome::write(DeleteParameterResult {}, transaction)),
        false => Err(not_found(&name)),
    }
}

/// Deletes several; those that aren't there are named.
pub(super) fn delete_parameters(
    context: &Context<'_>,
    input: &DeleteParametersRequest,
) -> Result<DeleteParametersResult> {
    let mut transaction = Transaction::new();
    let names = input.names.iter().flatten().cloned();
    let (deleted, invalid) =
        names.partition(|name: &String| delete(context, name, &mut transaction));
    let output = DeleteParametersResult {
        deleted_parameters: Some(deleted),
        invalid_parameters: Some(invalid),
    };
    Ok(Outcome::write(output, transaction))
}

fn delete(context: &Context<'_>, name: &str, transaction: &mut Transaction) -> bool {
    if context.snapshot.parameter(&name.to_owned()).is_none() {
        return false;
    }
    let key = RecordKey::Parameter(name.to_owned());
    transaction.read(key.clone(), context.snapshot.revision_of(&key));
    transaction.delete(key);
    true
}
