//! Log groups: CreateLogGroup, DeleteLogGroup, DescribeLogGroups, and their retention.

use super::{Logs, failed, names, refused, tags};
use crate::ecs::page;
use crate::error::ApiError;
use std::collections::BTreeMap;
use wharf_logs::{GroupInfo, LogStore};
use wharf_wire::Empty;
use wharf_wire::logs::types::{
    CreateLogGroupRequest, DeleteLogGroupRequest, DeleteRetentionPolicyRequest,
    DescribeLogGroupsRequest, DescribeLogGroupsResponse, LogGroup, LogGroupClass,
    PutRetentionPolicyRequest,
};

/// The retentions that there are, in days.
const RETENTIONS: &[i32] = &[
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922,
    3288, 3653,
];
/// The most groups or streams in one answer.
pub(super) const PAGE: i32 = 50;

pub(super) async fn create(
    logs: &Logs<'_>,
    input: CreateLogGroupRequest,
) -> Result<Empty, ApiError> {
    let name = input.log_group_name.unwrap_or_default();
    if name.starts_with("aws/") {
        return Err(ApiError::invalid_parameter(
            "Log groups starting with aws/ are reserved for AWS.",
        ));
    }
    if input.kms_key_id.is_some() {
        return Err(refused("kmsKeyId"));
    }
    if let Some(class) = input.log_group_class.filter(|class| *class != LogGroupClass::Standard) {
        return Err(refused(&format!("logGroupClass {class}")));
    }
    if input.deletion_protection_enabled == Some(true) {
        return Err(refused("deletionProtectionEnabled"));
    }
    let tags = input.tags.unwrap_or_default();
    tags::check(&tags)?;
    let group =
        GroupInfo { name, created_ms: logs.now_ms, retention_days: None, tags, stored_bytes: 0 };
    logs.store.create_group(group).await.map_err(failed)?;
    Ok(Empty {})
}

/// Makes a group that another service needs, unless it is there.
pub(crate) async fn ensure(store: &LogStore, name: String, now_ms: i64) -> Result<(), ApiError> {
    let tags = BTreeMap::new();
    let group = GroupInfo { name, created_ms: now_ms, retention_days: None, tags, stored_bytes: 0 };
    match store.create_group(group).await {
        Ok(()) | Err(wharf_logs::Error::GroupExists(_)) => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

pub(super) async fn delete(
    logs: &Logs<'_>,
    input: DeleteLogGroupRequest,
) -> Result<Empty, ApiError> {
    let name = input.log_group_name.unwrap_or_default();
    logs.store.delete_group(&name).await.map_err(failed)?;
    Ok(Empty {})
}

pub(super) async fn describe(
    logs: &Logs<'_>,
    input: DescribeLogGroupsRequest,
) -> Result<DescribeLogGroupsResponse, ApiError> {
    if input.log_group_name_prefix.is_some() && input.log_group_name_pattern.is_some() {
        return Err(ApiError::invalid_parameter(
            "LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.",
        ));
    }
    if input.include_linked_accounts == Some(true) {
        return Err(refused("includeLinkedAccounts"));
    }
    let other = |account: &String| *account != logs.arns.account;
    if input.account_identifiers.iter().flatten().any(other) {
        return Err(refused("An account in accountIdentifiers other than this one"));
    }
    let identifiers = input.log_group_identifiers.map(|identifiers| {
        let one = |text: &String| names::group(logs.arns, None, Some(text));
        identifiers.iter().map(one).collect::<Result<Vec<_>, _>>()
    });
    let identifiers = identifiers.transpose()?;
    let class = input.log_group_class.unwrap_or(LogGroupClass::Standard);
    let fits = |group: &GroupInfo| {
        let name = group.name.as_str();
        input.log_group_name_prefix.as_ref().is_none_or(|prefix| name.starts_with(prefix))
            && input.log_group_name_pattern.as_ref().is_none_or(|part| name.contains(part))
            && identifiers.as_ref().is_none_or(|list| list.contains(&group.name))
            && class == LogGroupClass::Standard
    };
    let groups = logs.store.groups().into_iter().filter(fits);
    let request = page::Request {
        next_token: input.next_token.as_deref(),
        max_results: input.limit,
        limit: PAGE,
    };
    let page = page::page(groups.map(|group| (group.name.clone(), group)), request)?;
    let groups = page.items.into_iter().map(|group| shown(logs, group)).collect();
    Ok(DescribeLogGroupsResponse { log_groups: Some(groups), next_token: page.next_token })
}

fn shown(logs: &Logs<'_>, group: GroupInfo) -> LogGroup {
    let arn = names::group_arn(logs.arns, &group.name);
    LogGroup {
        arn: Some(format!("{arn}:*")),
        log_group_arn: Some(arn),
        log_group_name: Some(group.name),
        creation_time: Some(group.created_ms),
        retention_in_days: group.retention_days,
        metric_filter_count: Some(0),
        stored_bytes: i64::try_from(group.stored_bytes).ok(),
        log_group_class: Some(LogGroupClass::Standard),
        deletion_protection_enabled: Some(false),
        ..Default::default()
    }
}

pub(super) async fn put_retention(
    logs: &Logs<'_>,
    input: PutRetentionPolicyRequest,
) -> Result<Empty, ApiError> {
    let name = input.log_group_name.unwrap_or_default();
    let days = input.retention_in_days.unwrap_or_default();
    if !RETENTIONS.contains(&days) {
        let list: Vec<String> = RETENTIONS.iter().map(i32::to_string).collect();
        return Err(ApiError::invalid_parameter(format!(
            "1 validation error detected: Value '{days}' at 'retentionInDays' failed to satisfy \
             constraint: Member must satisfy enum value set: [{}]",
            list.join(", ")
        )));
    }
    logs.store.set_retention(&name, Some(days)).await.map_err(failed)?;
    Ok(Empty {})
}

pub(super) async fn delete_retention(
    logs: &Logs<'_>,
    input: DeleteRetentionPolicyRequest,
) -> Result<Empty, ApiError> {
    let name = input.log_group_name.unwrap_or_default();
    logs.store.set_retention(&name, None).await.map_err(failed)?;
    Ok(Empty {})
}

/// A group's tags, for those who only want these.
pub(super) fn tags_of(logs: &Logs<'_>, name: &str) -> Result<BTreeMap<String, String>, ApiError> {
    Ok(logs.store.group(name).map_err(failed)?.tags)
}
