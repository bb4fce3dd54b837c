//! GetParameterHistory.

use super::{get, not_found, paged};
use crate::context::{Context, Outcome, Result};
use wharf_wire::Timestamp;
use wharf_wire::ssm::types::{
    GetParameterHistoryRequest, GetParameterHistoryResult, ParameterHistory,
};

/// The most versions in one answer.
const PAGE: i32 = 50;

/// All versions of a parameter that are kept, the oldest first.
pub(super) fn get_parameter_history(
    context: &Context<'_>,
    input: &GetParameterHistoryRequest,
) -> Result<GetParameterHistoryResult> {
    let name = get::reference(context, input.name.as_deref().unwrap_or_default())?.name;
    let parameter = context.snapshot.parameter(&name).ok_or_else(|| not_found(&name))?;
    let versions = context.snapshot.versions_of_parameter(&parameter.id);
    let page = paged(
        versions.map(|version| (format!("{:020}", version.version), version)),
        input.next_token.as_deref(),
        input.max_results,
        PAGE,
    )?;
    let mut shown = Vec::with_capacity(page.items.len());
    for version in page.items {
        let mut labels: Vec<String> = parameter
            .labels
            .iter()
            .filter(|(_, number)| **number == version.version)
            .map(|(label, _)| label.clone())
            .collect();
        labels.sort();
        shown.push(ParameterHistory {
            name: Some(version.name.clone()),
            r#type: Some(get::kind(version.kind)),
            key_id: version.key_id.clone(),
            last_modified_date: Some(Timestamp::from_millis(version.modified_at.as_millis())),
            last_modified_user: Some(version.modified_by.clone()),
            description: version.description.clone(),
            value: Some(get::value(context, version, input.with_decryption == Some(true))?),
            allowed_pattern: version.allowed_pattern.clone(),
            version: i64::try_from(version.version).ok(),
            labels: Some(labels),
            tier: Some(get::tier(&version.tier)),
            policies: Some(Vec::new()),
            data_type: Some(version.data_type.clone()),
        });
    }
    Ok(Outcome::read(GetParameterHistoryResult {
        parameters: Some(shown),
        next_token: page.next_token,
    }))
}
