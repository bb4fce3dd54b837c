//! Tags of roles, users, policies and instance profiles.

use super::holder::{Holder, to_change};
use super::{changed, error, instance_profiles, limit_exceeded, policies, view};
use crate::context::{Context, Outcome, Result as OperationResult};
use crate::error::ApiError;
use wharf_model::iam::{Role, User};
use wharf_model::{Tag, tag};
use wharf_wire::Empty;
use wharf_wire::iam::{ErrorCode, types};

/// Tags of one thing.
const LIMIT: usize = 50;

/// Tags that come with a new thing, or on top of `present` ones.
pub(super) fn added(
    present: &[Tag],
    sent: Option<&Vec<types::Tag>>,
    quota: &str,
) -> Result<Vec<Tag>, ApiError> {
    let mut new: Vec<Tag> = Vec::new();
    for tag in sent.into_iter().flatten() {
        let key = tag.key.clone().unwrap_or_default();
        if new.iter().any(|other| other.key.eq_ignore_ascii_case(&key)) {
            return Err(error(
                ErrorCode::InvalidInputException,
                "Duplicate tag keys found. Please note that Tag keys are case insensitive.",
            ));
        }
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(error(
                ErrorCode::InvalidInputException,
                "One or more of the keys or values specified exceed maximum size or use the \
                 reserved prefix aws:.",
            ));
        }
        new.push(Tag { key, value: tag.value.clone().unwrap_or_default() });
    }
    let all = tag::merge(present, &new);
    if all.len() > LIMIT { Err(limit_exceeded(quota, LIMIT)) } else { Ok(all) }
}

fn remove(tags: &mut Vec<Tag>, keys: Option<&Vec<String>>) {
    let keys = keys.map(Vec::as_slice).unwrap_or_default();
    tags.retain(|tag| !keys.contains(&tag.key));
}

fn tag_holder<H: Holder>(
    context: &Context<'_>,
    name: Option<&str>,
    change: impl FnOnce(&mut Vec<Tag>) -> Result<(), ApiError>,
) -> OperationResult<Empty> {
    let mut holder: H = to_change(context, name)?;
    change(holder.tags_mut())?;
    Ok(Outcome::write(Empty {}, changed(context, holder)))
}

macro_rules! holders {
    ($( $holder:ident, $name:ident, $quota:literal: $tag:ident($tag_input:ident), $untag:ident($untag_input:ident), $list:ident($list_input:ident) -> $list_output:ident; )*) => {
        $(
            pub(super) fn $tag(context: &Context<'_>, input: &types::$tag_input) -> OperationResult<Empty> {
                tag_holder::<$holder>(context, input.$name.as_deref(), |tags| {
                    *tags = added(tags, input.tags.as_ref(), $quota)?;
                    Ok(())
                })
            }

            pub(super) fn $untag(context: &Context<'_>, input: &types::$untag_input) -> OperationResult<Empty> {
                tag_holder::<$holder>(context, input.$name.as_deref(), |tags| {
                    remove(tags, input.tag_keys.as_ref());
                    Ok(())
                })
            }

            pub(super) fn $list(context: &Context<'_>, input: &types::$list_input) -> OperationResult<types::$list_output> {
                let holder = $holder::find(context, input.$name.as_deref().unwrap_or_default())?;
                Ok(Outcome::read(types::$list_output {
                    tags: Some(view::tags(&holder.tags).unwrap_or_default()),
                    is_truncated: Some(false),
                    marker: None,
                }))
            }
        )*
    };
}

holders! {
    Role, role_name, "TagsPerRole": tag_role(TagRoleRequest), untag_role(UntagRoleRequest), list_of_role(ListRoleTagsRequest) -> ListRoleTagsResponse;
    User, user_name, "TagsPerUser": tag_user(TagUserRequest), untag_user(UntagUserRequest), list_of_user(ListUserTagsRequest) -> ListUserTagsResponse;
}

pub(super) fn tag_policy(
    context: &Context<'_>,
    input: &types::TagPolicyRequest,
) -> OperationResult<Empty> {
    let mut policy = policies::own(context, input.policy_arn.as_deref().unwrap_or_default())?;
    policy.tags = added(&policy.tags, input.tags.as_ref(), "TagsPerPolicy")?;
    Ok(Outcome::write(Empty {}, changed(context, policy)))
}

pub(super) fn untag_policy(
    context: &Context<'_>,
    input: &types::UntagPolicyRequest,
) -> OperationResult<Empty> {
    let mut policy = policies::own(context, input.policy_arn.as_deref().unwrap_or_default())?;
    remove(&mut policy.tags, input.tag_keys.as_ref());
    Ok(Outcome::write(Empty {}, changed(context, policy)))
}

pub(super) fn list_of_policy(
    context: &Context<'_>,
    input: &types::ListPolicyTagsRequest,
) -> OperationResult<types::ListPolicyTagsResponse> {
    let policy = policies::own(context, input.policy_arn.as_deref().unwrap_or_default())?;
    Ok(Outcome::read(types::ListPolicyTagsResponse {
        tags: Some(view::tags(&policy.tags).unwrap_or_default()),
        is_truncated: Some(false),
        marker: None,
    }))
}

pub(super) fn tag_instance_profile(
    context: &Context<'_>,
    input: &types::TagInstanceProfileRequest,
) -> OperationResult<Empty> {
    let mut profile = instance_profiles::find(context, input.instance_profile_name.as_deref())?;
    profile.tags = added(&profile.tags, input.tags.as_ref(), "TagsPerInstanceProfile")?;
    Ok(Outcome::write(Empty {}, changed(context, profile)))
}

pub(super) fn untag_instance_profile(
    context: &Context<'_>,
    input: &types::UntagInstanceProfileRequest,
) -> OperationResult<Empty> {
    let mut profile = instance_profiles::find(context, input.instance_profile_name.as_deref())?;
    remove(&mut profile.tags, input.tag_keys.as_ref());
    Ok(Outcome::write(Empty {}, changed(context, profile)))
}

pub(super) fn list_of_instance_profile(
    context: &Context<'_>,
    input: &types::ListInstanceProfileTagsRequest,
) -> OperationResult<types::ListInstanceProfileTagsResponse> {
    let profile = instance_profiles::find(context, input.instance_profile_name.as_deref())?;
    Ok(Outcome::read(types::ListInstanceProfileTagsResponse {
        tags: Some(view::tags(&profile.tags).unwrap_or_default()),
        is_truncated: Some(false),
        marker: None,
    }))
}
