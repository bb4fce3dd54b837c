//! GetParametersByPath and DescribeParameters.

use super::filter::{self, Of};
use super::{client, get, invalid, latest, name, paged};
use crate::context::{Context, Outcome, Result};
use wharf_wire::Timestamp;
use wharf_wire::ssm::types::{
    DescribeParametersRequest, DescribeParametersResult, GetParametersByPathRequest,
    GetParametersByPathResult, ParameterMetadata, ParameterStringFilter,
};

/// The most parameters in one answer.
const BY_PATH: i32 = 10;
const DESCRIBED: i32 = 50;

/// Gives out the parameters below a path.
pub(super) fn get_parameters_by_path(
    context: &Context<'_>,
    input: &GetParametersByPathRequest,
) -> Result<GetParametersByPathResult> {
    let path = input.path.as_deref().unwrap_or_default();
    if !path.starts_with('/') {
        return Err(invalid(
            "The parameter doesn't meet the parameter name requirements. The parameter name must \
             begin with a forward slash \"/\". It can't be prefixed with \"aws\" or \"ssm\" \
             (case-insensitive). It must use only letters, numbers, or the following symbols: . \
             (period), - (hyphen), _ (underscore). Special characters are not allowed. All \
             sub-paths, if specified, must use the forward slash symbol \"/\". Valid example: \
             /get/parameters2-/by1./path0_.",
        ));
    }
    let filters = filter::parse(input.parameter_filters.as_ref(), Of::ByPath)?;
    let label = filters.iter().find_map(filter::Filter::label);
    let recursive = input.recursive == Some(true);
    let fitting = context.snapshot.parameters().filter_map(|parameter| {
        let version = match label {
            None => latest(context, parameter)?,
            Some(label) => {
                let number = *parameter.labels.get(label)?;
                context.snapshot.parameter_version(&(parameter.id.clone(), number))?
            }
        };
        let fits = filter::is_below(&parameter.name, path, recursive)
            && filter::fits(&filters, parameter, version);
        fits.then(|| (parameter.name.clone(), version))
    });
    let page = paged(fitting, input.next_token.as_deref(), input.max_results, BY_PATH)?;
    let decrypt = input.with_decryption == Some(true);
    let shown = page.items.into_iter().map(|version| get::shown(context, version, decrypt));
    Ok(Outcome::read(GetParametersByPathResult {
        parameters: Some(shown.collect::<std::result::Result<_, _>>()?),
        next_token: page.next_token,
    }))
}

/// Describes parameters, without their values.
pub(super) fn describe_parameters(
    context: &Context<'_>,
    input: &DescribeParametersRequest,
) -> Result<DescribeParametersResult> {
    if input.shared == Some(true) {
        return Err(invalid("Shared is not supported by this server: it has one account."));
    }
    let old = input.filters.iter().flatten();
    let old: Vec<ParameterStringFilter> = old
        .map(|filter| ParameterStringFilter {
            key: filter.key.as_ref().map(|key| key.as_str().to_owned()),
            // The older filters of names are prefixes.
            option: Some("BeginsWith".to_owned()),
            values: filter.values.clone(),
        })
        .collect();
    if !old.is_empty() && input.parameter_filters.as_ref().is_some_and(|list| !list.is_empty()) {
        return Err(client(
            "ValidationException",
            "You can use either Filters or ParameterFilters in a single request.",
        ));
    }
    let mut filters = filter::parse(input.parameter_filters.as_ref(), Of::Describe)?;
    filters.extend(filter::parse(Some(&old), Of::Describe)?);
    let fitting = context.snapshot.parameters().filter_map(|parameter| {
        let version = latest(context, parameter)?;
        filter::fits(&filters, parameter, version).then(|| (parameter.name.clone(), version))
    });
    let page = paged(fitting, input.next_token.as_deref(), input.max_results, DESCRIBED)?;
    let shown = page.items.into_iter().map(|version| ParameterMetadata {
        arn: Some(name::arn(context.arns, &version.name)),
        name: Some(version.name.clone()),
        r#type: Some(get::kind(version.kind)),
        key_id: version.key_id.clone(),
        last_modified_date: Some(Timestamp::from_millis(version.modified_at.as_millis())),
        last_modified_user: Some(version.modified_by.clone()),
        description: version.description.clone(),
        allowed_pattern: version.allowed_pattern.clone(),
        version: i64::try_from(version.version).ok(),
        tier: Some(get::tier(&version.tier)),
        policies: Some(Vec::new()),
        data_type: Some(version.data_type.clone()),
    });
    Ok(Outcome::read(DescribeParametersResult {
        parameters: Some(shown.collect()),
        next_token: page.next_token,
    }))
}
