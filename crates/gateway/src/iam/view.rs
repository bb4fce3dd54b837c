//! Records as IAM's API shows them.

use super::documents::shown;
use crate::context::Context;
use crate::ecs::present::timestamp;
use wharf_model::iam;
use wharf_wire::iam::types;

/// Tags; none where there are none.
pub(super) fn tags(tags: &[wharf_model::Tag]) -> Option<Vec<types::Tag>> {
    let tag = |tag: &wharf_model::Tag| types::Tag {
        key: Some(tag.key.clone()),
        value: Some(tag.value.clone()),
    };
    (!tags.is_empty()).then(|| tags.iter().map(tag).collect())
}

/// A role as lists show it: without tags.
pub(super) fn listed_role(context: &Context<'_>, role: &iam::Role) -> types::Role {
    types::Role {
        path: Some(role.path.clone()),
        role_name: Some(role.name.clone()),
        role_id: Some(role.id.clone()),
        arn: Some(role.arn(context.account())),
        create_date: Some(timestamp(role.created_at)),
        assume_role_policy_document: Some(shown(&role.trust_policy)),
        description: role.description.clone(),
        max_session_duration: Some(role.max_session_seconds),
        ..types::Role::default()
    }
}

/// A role as GetRole shows it.
pub(super) fn role(context: &Context<'_>, role: &iam::Role) -> types::Role {
    types::Role {
        tags: tags(&role.tags),
        role_last_used: Some(types::RoleLastUsed::default()),
        ..listed_role(context, role)
    }
}

/// A user.
pub(super) fn user(context: &Context<'_>, user: &iam::User, with_tags: bool) -> types::User {
    types::User {
        path: Some(user.path.clone()),
        user_name: Some(user.name.clone()),
        user_id: Some(user.id.clone()),
        arn: Some(user.arn(context.account())),
        create_date: Some(timestamp(user.created_at)),
        tags: tags(&user.tags).filter(|_| with_tags),
        ..types::User::default()
    }
}

/// A policy of the account's own. Lists show neither tags nor description.
pub(super) fn policy(
    context: &Context<'_>,
    policy: &iam::ManagedPolicy,
    is_listed: bool,
) -> types::Policy {
    types::Policy {
        policy_name: Some(policy.name.clone()),
        policy_id: Some(policy.id.clone()),
        arn: Some(policy.arn(context.account())),
        path: Some(policy.path.clone()),
        default_version_id: Some(version_id(policy.default_version)),
        attachment_count: Some(i32::try_from(policy.attachments).unwrap_or(i32::MAX)),
        permissions_boundary_usage_count: Some(0),
        is_attachable: Some(true),
        description: policy.description.clone().filter(|_| !is_listed),
        create_date: Some(timestamp(policy.created_at)),
        update_date: Some(timestamp(policy.updated_at)),
        tags: tags(&policy.tags).filter(|_| !is_listed),
    }
}

/// `v1`
pub(super) fn version_id(number: u32) -> String {
    format!("v{number}")
}

/// An instance profile with its role.
pub(super) fn instance_profile(
    context: &Context<'_>,
    profile: &iam::InstanceProfile,
    with_tags: bool,
) -> types::InstanceProfile {
    let role = profile.role.as_ref().and_then(|name| context.snapshot.role(&iam::key(name)));
    types::InstanceProfile {
        path: Some(profile.path.clone()),
        instance_profile_name: Some(profile.name.clone()),
        instance_profile_id: Some(profile.id.clone()),
        arn: Some(profile.arn(context.account())),
        create_date: Some(timestamp(profile.created_at)),
        roles: Some(role.into_iter().map(|role| listed_role(context, role)).collect()),
        tags: tags(&profile.tags).filter(|_| with_tags),
    }
}
