//! Instance profiles.

use super::holder::{Holder as _, to_change};
use super::page::page;
use super::{already_exists, changed, delete_conflict, limit_exceeded, no_such_entity, put};
use super::{tags, view};
use crate::context::{Context, Outcome, Result as OperationResult};
use crate::error::ApiError;
use wharf_model::Transaction;
use wharf_model::iam::{self, InstanceProfile, Role};
use wharf_wire::Empty;
use wharf_wire::iam::types;

pub(super) fn find(context: &Context<'_>, name: Option<&str>) -> Result<InstanceProfile, ApiError> {
    let name = name.unwrap_or_default();
    match context.snapshot.instance_profile(&iam::key(name)) {
        Some(profile) => Ok(InstanceProfile::clone(profile)),
        None => Err(no_such_entity(format!("Instance Profile {name} cannot be found."))),
    }
}

pub(super) fn create(
    context: &Context<'_>,
    input: &types::CreateInstanceProfileRequest,
) -> OperationResult<types::CreateInstanceProfileResponse> {
    let name = input.instance_profile_name.clone().unwrap_or_default();
    if context.snapshot.instance_profile(&iam::key(&name)).is_some() {
        return Err(already_exists(format!("Instance Profile {name} already exists.")));
    }
    let profile = InstanceProfile {
        path: input.path.clone().unwrap_or_else(|| "/".to_owned()),
        id: context.ids().iam_id("AIPA"),
        created_at: context.now,
        role: None,
        tags: tags::added(&[], input.tags.as_ref(), "TagsPerInstanceProfile")?,
        name,
    };
    let shown = view::instance_profile(context, &profile, true);
    let output = types::CreateInstanceProfileResponse { instance_profile: Some(shown) };
    Ok(Outcome::write(output, changed(context, profile)))
}

pub(super) fn get(
    context: &Context<'_>,
    input: &types::GetInstanceProfileRequest,
) -> OperationResult<types::GetInstanceProfileResponse> {
    let profile = find(context, input.instance_profile_name.as_deref())?;
    let shown = view::instance_profile(context, &profile, true);
    Ok(Outcome::read(types::GetInstanceProfileResponse { instance_profile: Some(shown) }))
}

pub(super) fn list(
    context: &Context<'_>,
    input: &types::ListInstanceProfilesRequest,
) -> OperationResult<types::ListInstanceProfilesResponse> {
    let prefix = input.path_prefix.as_deref().unwrap_or("/");
    let all = context.snapshot.instance_profiles().filter(|p| p.path.starts_with(prefix));
    let page = page(all, |p| iam::key(&p.name), input.marker.as_deref(), input.max_items)?;
    let is_truncated = page.is_truncated();
    let page = page.map(|profile| view::instance_profile(context, profile, false));
    Ok(Outcome::read(types::ListInstanceProfilesResponse {
        instance_profiles: Some(page.items),
        is_truncated,
        marker: page.marker,
    }))
}

pub(super) fn list_of_role(
    context: &Context<'_>,
    input: &types::ListInstanceProfilesForRoleRequest,
) -> OperationResult<types::ListInstanceProfilesForRoleResponse> {
    let role = Role::find(context, input.role_name.as_deref().unwrap_or_default())?;
    let mut names: Vec<String> = role.instance_profiles.iter().map(|name| iam::key(name)).collect();
    names.sort();
    let page = page(names, String::clone, input.marker.as_deref(), input.max_items)?;
    let profiles = page.items.iter().filter_map(|name| context.snapshot.instance_profile(name));
    Ok(Outcome::read(types::ListInstanceProfilesForRoleResponse {
        instance_profiles: Some(
            profiles.map(|profile| view::instance_profile(context, profile, false)).collect(),
        ),
        is_truncated: page.is_truncated(),
        marker: page.marker,
    }))
}

pub(super) fn add_role(
    context: &Context<'_>,
    input: &types::AddRoleToInstanceProfileRequest,
) -> OperationResult<Empty> {
    let mut profile = find(context, input.instance_profile_name.as_deref())?;
    let mut role: Role = to_change(context, input.role_name.as_deref())?;
    if profile.role.is_some() {
        return Err(limit_exceeded("InstanceSessionsPerInstanceProfile", 1));
    }
    profile.role = Some(role.name.clone());
    role.instance_profiles.push(profile.name.clone());
    let mut transaction = Transaction::new();
    put(context, &mut transaction, profile);
    put(context, &mut transaction, role);
    Ok(Outcome::write(Empty {}, transaction))
}

pub(super) fn remove_role(
    context: &Context<'_>,
    input: &types::RemoveRoleFromInstanceProfileRequest,
) -> OperationResult<Empty> {
    let mut profile = find(context, input.instance_profile_name.as_deref())?;
    let mut role: Role = to_change(context, input.role_name.as_deref())?;
    if profile.role.as_ref() != Some(&role.name) {
        return Err(no_such_entity(format!(
            "The role with name {} is not in the instance profile {}.",
            role.name, profile.name
        )));
    }
    profile.role = None;
    role.instance_profiles.retain(|name| *name != profile.name);
    let mut transaction = Transaction::new();
    put(context, &mut transaction, profile);
    put(context, &mut transaction, role);
    Ok(Outcome::write(Empty {}, transaction))
}

pub(super) fn delete(
    context: &Context<'_>,
    input: &types::DeleteInstanceProfileRequest,
) -> OperationResult<Empty> {
    let profile = find(context, input.instance_profile_name.as_deref())?;
    if profile.role.is_some() {
        return Err(delete_conflict(
            "Cannot delete entity, must remove roles from instance profile first.",
        ));
    }
    let mut transaction = Transaction::new();
    super::delete(context, &mut transaction, profile);
    Ok(Outcome::write(Empty {}, transaction))
}
