//! Roles.

use super::holder::{Holder as _, to_change};
use super::page::page;
use super::{already_exists, changed, delete_conflict, documents, refuse, tags, view};
use crate::context::{Context, Outcome, Result as OperationResult};
use crate::error::ApiError;
use wharf_model::Transaction;
use wharf_model::iam::{self, DEFAULT_SESSION_SECONDS, Role};
use wharf_wire::Empty;
use wharf_wire::iam::types;

pub(super) fn create(
    context: &Context<'_>,
    input: &types::CreateRoleRequest,
) -> OperationResult<types::CreateRoleResponse> {
    refuse("PermissionsBoundary", input.permissions_boundary.is_some())?;
    let name = input.role_name.clone().unwrap_or_default();
    let document = input.assume_role_policy_document.clone().unwrap_or_default();
    documents::trust(&document)?;
    let path = input.path.clone().unwrap_or_else(|| "/".to_owned());
    if path.starts_with("/aws-service-role/") {
        return Err(super::validation("Path cannot begin with /aws-service-role/."));
    }
    if context.snapshot.role(&iam::key(&name)).is_some() {
        return Err(already_exists(format!("Role with name {name} already exists.")));
    }
    let role = Role {
        path,
        id: context.ids().iam_id("AROA"),
        created_at: context.now,
        trust_policy: document,
        description: input.description.clone().filter(|text| !text.is_empty()),
        max_session_seconds: input.max_session_duration.unwrap_or(DEFAULT_SESSION_SECONDS),
        inline: Default::default(),
        attached: Vec::new(),
        instance_profiles: Vec::new(),
        tags: tags::added(&[], input.tags.as_ref(), "TagsPerRole")?,
        name,
    };
    let shown = types::Role { role_last_used: None, ..view::role(context, &role) };
    let output = types::CreateRoleResponse { role: Some(shown) };
    Ok(Outcome::write(output, changed(context, role)))
}

fn find(context: &Context<'_>, name: Option<&str>) -> Result<std::sync::Arc<Role>, ApiError> {
    Role::find(context, name.unwrap_or_default())
}

pub(super) fn get(
    context: &Context<'_>,
    input: &types::GetRoleRequest,
) -> OperationResult<types::GetRoleResponse> {
    let role = find(context, input.role_name.as_deref())?;
    Ok(Outcome::read(types::GetRoleResponse { role: Some(view::role(context, &role)) }))
}

pub(super) fn list(
    context: &Context<'_>,
    input: &types::ListRolesRequest,
) -> OperationResult<types::ListRolesResponse> {
    let prefix = input.path_prefix.as_deref().unwrap_or("/");
    let roles = context.snapshot.roles().filter(|role| role.path.starts_with(prefix));
    let page = page(roles, |r| iam::key(&r.name), input.marker.as_deref(), input.max_items)?;
    let is_truncated = page.is_truncated();
    let page = page.map(|role| view::listed_role(context, role));
    Ok(Outcome::read(types::ListRolesResponse {
        roles: Some(page.items),
        is_truncated,
        marker: page.marker,
    }))
}

pub(super) fn update(
    context: &Context<'_>,
    input: &types::UpdateRoleRequest,
) -> OperationResult<types::UpdateRoleResponse> {
    let mut role: Role = to_change(context, input.role_name.as_deref())?;
    if let Some(text) = &input.description {
        role.description = Some(text.clone()).filter(|text| !text.is_empty());
    }
    // What isn't sent becomes the default again, as in IAM.
    role.max_session_seconds = input.max_session_duration.unwrap_or(DEFAULT_SESSION_SECONDS);
    Ok(Outcome::write(types::UpdateRoleResponse {}, changed(context, role)))
}

pub(super) fn update_description(
    context: &Context<'_>,
    input: &types::UpdateRoleDescriptionRequest,
) -> OperationResult<types::UpdateRoleDescriptionResponse> {
    let mut role: Role = to_change(context, input.role_name.as_deref())?;
    role.description = input.description.clone().filter(|text| !text.is_empty());
    let shown = types::Role { role_last_used: None, ..view::role(context, &role) };
    let output = types::UpdateRoleDescriptionResponse { role: Some(shown) };
    Ok(Outcome::write(output, changed(context, role)))
}

pub(super) fn update_trust(
    context: &Context<'_>,
    input: &types::UpdateAssumeRolePolicyRequest,
) -> OperationResult<Empty> {
    let mut role: Role = to_change(context, input.role_name.as_deref())?;
    role.trust_policy = input.policy_document.clone().unwrap_or_default();
    documents::trust(&role.trust_policy)?;
    Ok(Outcome::write(Empty {}, changed(context, role)))
}

pub(super) fn delete(
    context: &Context<'_>,
    input: &types::DeleteRoleRequest,
) -> OperationResult<Empty> {
    let role: Role = to_change(context, input.role_name.as_deref())?;
    let conflict = if !role.instance_profiles.is_empty() {
        Some("Cannot delete entity, must remove roles from instance profile first.")
    } else if !role.attached.is_empty() {
        Some("Cannot delete entity, must detach all policies first.")
    } else if !role.inline.is_empty() {
        Some("Cannot delete entity, must delete policies first.")
    } else {
        None
    };
    if let Some(text) = conflict {
        return Err(delete_conflict(text));
    }
    let mut transaction = Transaction::new();
    super::delete(context, &mut transaction, role);
    Ok(Outcome::write(Empty {}, transaction))
}
