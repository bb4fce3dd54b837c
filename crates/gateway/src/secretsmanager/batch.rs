//! BatchGetSecretValue.

use super::{filter, get, invalid_parameter, paged, resolve};
use crate::context::{Context, Outcome, Result};
use wharf_wire::secretsmanager::types::{
    APIErrorType, BatchGetSecretValueRequest, BatchGetSecretValueResponse,
};

/// The most values in one answer.
const PAGE: i32 = 20;

/// Gives out the values in force of several secrets; those that can't be given are named.
pub(super) fn batch_get_secret_value(
    context: &Context<'_>,
    input: &BatchGetSecretValueRequest,
) -> Result<BatchGetSecretValueResponse> {
    let (listed, filters) = (input.secret_id_list.as_ref(), input.filters.as_ref());
    let ids: Vec<String> = match (listed, filters) {
        (Some(_), Some(_)) | (None, None) => {
            return Err(invalid_parameter(
                "Either 'SecretIdList' or 'Filters' must be provided, but not both.",
            ));
        }
        (Some(ids), None) => ids.clone(),
        (None, Some(filters)) => context
            .snapshot
            .secrets()
            .filter(|secret| secret.deletion_at.is_none())
            .filter(|secret| filter::fits(context, filters, secret))
            .map(|secret| secret.name.clone())
            .collect(),
    };
    let numbered = ids.into_iter().enumerate().map(|(index, id)| (format!("{index:08}"), id));
    let page = paged(numbered, input.next_token.as_deref(), input.max_results, PAGE)?;
    let (mut values, mut errors) = (Vec::new(), Vec::new());
    for id in page.items {
        let entry = resolve::find_live(context, Some(&id)).and_then(|secret| {
            get::version(context, secret, None, None)
                .and_then(|version| get::entry(context, secret, version))
        });
        match entry {
            Ok(entry) => values.push(entry),
            Err(error) => errors.push(APIErrorType {
                secret_id: Some(id),
                error_code: Some(error.code.into_owned()),
                message: Some(error.message),
            }),
        }
    }
    Ok(Outcome::read(BatchGetSecretValueResponse {
        secret_values: Some(values),
        next_token: page.next_token,
        errors: Some(errors),
    }))
}
