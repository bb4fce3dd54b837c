//! Users' access keys. The secret is shown once, in the answer to CreateAccessKey, and kept sealed.

use super::holder::{Holder as _, to_change};
use super::{limit_exceeded, no_such_entity, put};
use crate::context::{Context, Outcome, Result as OperationResult};
use crate::credentials;
use crate::ecs::present::timestamp;
use crate::error::ApiError;
use wharf_model::iam::User;
use wharf_model::{AccessKey, Principal, RecordKey, Transaction};
use wharf_wire::Empty;
use wharf_wire::iam::types;

/// Keys of one user.
const LIMIT: usize = 2;

/// The user that is named, or who asks.
fn user(context: &Context<'_>, name: Option<&str>) -> Result<User, ApiError> {
    match (name, context.identity.principal()) {
        (Some(name), _) => to_change(context, Some(name)),
        (None, principal @ Principal::User(_)) => to_change(context, principal.name()),
        (None, _) => Err(super::validation(
            "Must specify userName when calling with non-User credentials: this server makes no \
             keys for the root.",
        )),
    }
}

fn status(key: &AccessKey) -> Option<types::StatusType> {
    Some(if key.is_inactive { types::StatusType::Inactive } else { types::StatusType::Active })
}

pub(super) fn create(
    context: &Context<'_>,
    input: &types::CreateAccessKeyRequest,
) -> OperationResult<types::CreateAccessKeyResponse> {
    let mut user = user(context, input.user_name.as_deref())?;
    if user.access_keys.len() >= LIMIT {
        return Err(limit_exceeded("AccessKeysPerUser", LIMIT));
    }
    let principal = Principal::User(format!("{}{}", &user.path[1..], user.name));
    let (key, secret) = credentials::user_key(context.seal, principal, context.now, context.seed);
    let access_key = types::AccessKey {
        user_name: Some(user.name.clone()),
        access_key_id: Some(key.access_key_id.clone()),
        status: status(&key),
        secret_access_key: Some(secret.expose().to_owned()),
        create_date: Some(timestamp(key.created_at)),
    };
    user.access_keys.push(key.access_key_id.clone());
    let mut transaction = Transaction::new();
    put(context, &mut transaction, user);
    put(context, &mut transaction, key);
    let output = types::CreateAccessKeyResponse { access_key: Some(access_key) };
    Ok(Outcome::write(output, transaction))
}

pub(super) fn list(
    context: &Context<'_>,
    input: &types::ListAccessKeysRequest,
) -> OperationResult<types::ListAccessKeysResponse> {
    let user = match &input.user_name {
        Some(name) => User::clone(&*User::find(context, name)?),
        None => user(context, None)?,
    };
    let keys = user.access_keys.iter().filter_map(|id| context.snapshot.access_key(id));
    let shown = keys.map(|key| types::AccessKeyMetadata {
        user_name: Some(user.name.clone()),
        access_key_id: Some(key.access_key_id.clone()),
        status: status(key),
        create_date: Some(timestamp(key.created_at)),
    });
    Ok(Outcome::read(types::ListAccessKeysResponse {
        access_key_metadata: Some(shown.collect()),
        is_truncated: Some(false),
        marker: None,
    }))
}

/// The user and its key with that id.
fn key(
    context: &Context<'_>,
    name: Option<&str>,
    id: Option<&String>,
) -> Result<(User, AccessKey), ApiError> {
    let user = user(context, name)?;
    let id = id.cloned().unwrap_or_default();
    let key = context.snapshot.access_key(&id).filter(|_| user.access_keys.contains(&id));
    match key {
        Some(key) => Ok((user, AccessKey::clone(key))),
        None => Err(no_such_entity(format!("The Access Key with id {id} cannot be found."))),
    }
}

pub(super) fn update(
    context: &Context<'_>,
    input: &types::UpdateAccessKeyRequest,
) -> OperationResult<Empty> {
    let (_, mut key) = key(context, input.user_name.as_deref(), input.access_key_id.as_ref())?;
    key.is_inactive = input.status != Some(types::StatusType::Active);
    Ok(Outcome::write(Empty {}, super::changed(context, key)))
}

pub(super) fn delete(
    context: &Context<'_>,
    input: &types::DeleteAccessKeyRequest,
) -> OperationResult<Empty> {
    let (mut user, key) = key(context, input.user_name.as_deref(), input.access_key_id.as_ref())?;
    user.access_keys.retain(|id| *id != key.access_key_id);
    let record = RecordKey::AccessKey(key.access_key_id.clone());
    let mut transaction = Transaction::new();
    put(context, &mut transaction, user);
    transaction.read(record.clone(), context.snapshot.revision_of(&record));
    transaction.delete(record);
    Ok(Outcome::write(Empty {}, transaction))
}
