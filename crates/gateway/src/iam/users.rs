//! Users.

use super::holder::{Holder as _, to_change};
use super::page::page;
use super::{already_exists, changed, delete_conflict, error, refuse, tags, view};
use crate::context::{Context, Outcome, Result as OperationResult};
use wharf_model::Transaction;
use wharf_model::iam::{self, User};
use wharf_wire::Empty;
use wharf_wire::iam::{ErrorCode, types};

pub(super) fn create(
    context: &Context<'_>,
    input: &types::CreateUserRequest,
) -> OperationResult<types::CreateUserResponse> {
    refuse("PermissionsBoundary", input.permissions_boundary.is_some())?;
    let name = input.user_name.clone().unwrap_or_default();
    if context.snapshot.user(&iam::key(&name)).is_some() {
        return Err(already_exists(format!("User with name {name} already exists.")));
    }
    let user = User {
        path: input.path.clone().unwrap_or_else(|| "/".to_owned()),
        id: context.ids().iam_id("AIDA"),
        created_at: context.now,
        inline: Default::default(),
        attached: Vec::new(),
        access_keys: Vec::new(),
        tags: tags::added(&[], input.tags.as_ref(), "TagsPerUser")?,
        name,
    };
    let output = types::CreateUserResponse { user: Some(view::user(context, &user, true)) };
    Ok(Outcome::write(output, changed(context, user)))
}

/// Without a name the caller is meant; the root shows as a user of its account's name.
pub(super) fn get(
    context: &Context<'_>,
    input: &types::GetUserRequest,
) -> OperationResult<types::GetUserResponse> {
    let user = match (&input.user_name, context.identity.principal()) {
        (Some(name), _) => view::user(context, &*User::find(context, name)?, true),
        (None, wharf_model::Principal::Root) => types::User {
            path: Some("/".to_owned()),
            user_name: Some(context.account().to_owned()),
            user_id: Some(context.account().to_owned()),
            arn: Some(context.identity.principal_arn()),
            create_date: Some(wharf_wire::Timestamp::from_millis(0)),
            ..types::User::default()
        },
        (None, principal @ wharf_model::Principal::User(_)) => {
            let name = principal.name().unwrap_or_default();
            view::user(context, &*User::find(context, name)?, true)
        }
        (None, _) => {
            return Err(super::validation(
                "Must specify userName when calling with non-User credentials",
            ));
        }
    };
    Ok(Outcome::read(types::GetUserResponse { user: Some(user) }))
}

pub(super) fn list(
    context: &Context<'_>,
    input: &types::ListUsersRequest,
) -> OperationResult<types::ListUsersResponse> {
    let prefix = input.path_prefix.as_deref().unwrap_or("/");
    let users = context.snapshot.users().filter(|user| user.path.starts_with(prefix));
    let page = page(users, |u| iam::key(&u.name), input.marker.as_deref(), input.max_items)?;
    let is_truncated = page.is_truncated();
    let page = page.map(|user| view::user(context, user, false));
    Ok(Outcome::read(types::ListUsersResponse {
        users: Some(page.items),
        is_truncated,
        marker: page.marker,
    }))
}

/// There are no groups: a user is in none.
pub(super) fn groups(
    context: &Context<'_>,
    input: &types::ListGroupsForUserRequest,
) -> OperationResult<types::ListGroupsForUserResponse> {
    User::find(context, input.user_name.as_deref().unwrap_or_default())?;
    Ok(Outcome::read(types::ListGroupsForUserResponse {
        groups: Some(Vec::new()),
        is_truncated: Some(false),
        marker: None,
    }))
}

pub(super) fn delete(
    context: &Context<'_>,
    input: &types::DeleteUserRequest,
) -> OperationResult<Empty> {
    if input.user_name.is_none() {
        return Err(error(ErrorCode::InvalidInputException, "A user name is required."));
    }
    let user: User = to_change(context, input.user_name.as_deref())?;
    let conflict = if !user.access_keys.is_empty() {
        Some("Cannot delete entity, must delete access keys first.")
    } else if !user.attached.is_empty() {
        Some("Cannot delete entity, must detach all policies first.")
    } else if !user.inline.is_empty() {
        Some("Cannot delete entity, must delete policies first.")
    } else {
        None
    };
    if let Some(text) = conflict {
        return Err(delete_conflict(text));
    }
    let mut transaction = Transaction::new();
    super::delete(context, &mut transaction, user);
    Ok(Outcome::write(Empty {}, transaction))
}
