//! Tags of log groups: TagResource and its siblings, and the older family that takes names.

use super::{Logs, client, failed, groups, names};
use crate::error::ApiError;
use std::collections::BTreeMap;
use wharf_wire::Empty;
use wharf_wire::logs::types::{
    ListTagsForResourceRequest, ListTagsForResourceResponse, ListTagsLogGroupRequest,
    ListTagsLogGroupResponse, TagLogGroupRequest, TagResourceRequest, UntagLogGroupRequest,
    UntagResourceRequest,
};

type Tags = BTreeMap<String, String>;

/// The most tags of a group.
const MAX_TAGS: usize = 50;

/// Refuses tags that AWS keeps for itself.
pub(super) fn check(tags: &Tags) -> Result<(), ApiError> {
    match tags.keys().any(|key| key.to_ascii_lowercase().starts_with("aws:")) {
        true => Err(ApiError::invalid_parameter("Tag keys starting with aws: are reserved.")),
        false => Ok(()),
    }
}

async fn add(logs: &Logs<'_>, group: &str, added: Tags) -> Result<Empty, ApiError> {
    check(&added)?;
    let mut all = groups::tags_of(logs, group)?;
    all.extend(added.clone());
    if all.len() > MAX_TAGS {
        let message = format!("A resource can have at most {MAX_TAGS} tags.");
        return Err(client("TooManyTagsException", message));
    }
    logs.store.change_tags(group, move |tags| tags.extend(added)).await.map_err(failed)?;
    Ok(Empty {})
}

async fn remove(logs: &Logs<'_>, group: &str, keys: Vec<String>) -> Result<Empty, ApiError> {
    let change = move |tags: &mut Tags| tags.retain(|key, _| !keys.contains(key));
    logs.store.change_tags(group, change).await.map_err(failed)?;
    Ok(Empty {})
}

pub(super) async fn tag(logs: &Logs<'_>, input: TagResourceRequest) -> Result<Empty, ApiError> {
    let group = names::of_arn(logs.arns, &input.resource_arn.unwrap_or_default())?;
    add(logs, &group, input.tags.unwrap_or_default()).await
}

pub(super) async fn untag(logs: &Logs<'_>, input: UntagResourceRequest) -> Result<Empty, ApiError> {
    let group = names::of_arn(logs.arns, &input.resource_arn.unwrap_or_default())?;
    remove(logs, &group, input.tag_keys.unwrap_or_default()).await
}

pub(super) async fn list(
    logs: &Logs<'_>,
    input: ListTagsForResourceRequest,
) -> Result<ListTagsForResourceResponse, ApiError> {
    let group = names::of_arn(logs.arns, &input.resource_arn.unwrap_or_default())?;
    Ok(ListTagsForResourceResponse { tags: Some(groups::tags_of(logs, &group)?) })
}

pub(super) async fn tag_group(
    logs: &Logs<'_>,
    input: TagLogGroupRequest,
) -> Result<Empty, ApiError> {
    let group = input.log_group_name.unwrap_or_default();
    add(logs, &group, input.tags.unwrap_or_default()).await
}

pub(super) async fn untag_group(
    logs: &Logs<'_>,
    input: UntagLogGroupRequest,
) -> Result<Empty, ApiError> {
    let group = input.log_group_name.unwrap_or_default();
    remove(logs, &group, input.tags.unwrap_or_default()).await
}

pub(super) async fn list_of_group(
    logs: &Logs<'_>,
    input: ListTagsLogGroupRequest,
) -> Result<ListTagsLogGroupResponse, ApiError> {
    let group = input.log_group_name.unwrap_or_default();
    Ok(ListTagsLogGroupResponse { tags: Some(groups::tags_of(logs, &group)?) })
}
