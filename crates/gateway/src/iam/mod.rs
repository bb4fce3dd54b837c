//! AWS Identity and Access Management: roles, policies, instance profiles, users and their keys.
//!
//! As in [`crate::ecs`] an operation is a pure function of the snapshot; here they are grouped by
//! what they are about. What holders of policies have in common is [`holder`]; what the account
//! has from the start is [`built_in`] (AWS's managed policies) and [`first_start`].

mod access_keys;
mod attachments;
pub(crate) mod built_in;
mod documents;
pub mod first_start;
mod holder;
mod inline;
mod instance_profiles;
mod page;
mod policies;
mod roles;
mod service_linked;
mod tags;
#[cfg(test)]
mod tests;
mod users;
mod versions;
mod view;

use crate::context::Context;
use crate::dispatch::{Call, Encoded};
use crate::error::ApiError;
use wharf_model::{Record, Transaction};
use wharf_wire::iam::{ErrorCode, Operation, operation};

macro_rules! dispatch_table {
    ($( $name:ident => $function:path; )*) => {
        /// Runs the operation.
        pub(crate) async fn dispatch(operation: Operation, call: Call<'_>) -> Encoded {
            match operation {
                $( Operation::$name => call.run::<operation::$name>($function).await, )*
            }
        }
    };
}

dispatch_table! {
    CreateRole => roles::create;
    GetRole => roles::get;
    ListRoles => roles::list;
    UpdateRole => roles::update;
    UpdateRoleDescription => roles::update_description;
    UpdateAssumeRolePolicy => roles::update_trust;
    DeleteRole => roles::delete;
    CreateServiceLinkedRole => service_linked::create;
    PutRolePolicy => inline::put_of_role;
    GetRolePolicy => inline::get_of_role;
    ListRolePolicies => inline::list_of_role;
    DeleteRolePolicy => inline::delete_of_role;
    PutUserPolicy => inline::put_of_user;
    GetUserPolicy => inline::get_of_user;
    ListUserPolicies => inline::list_of_user;
    DeleteUserPolicy => inline::delete_of_user;
    AttachRolePolicy => attachments::attach_to_role;
    DetachRolePolicy => attachments::detach_from_role;
    ListAttachedRolePolicies => attachments::list_of_role;
    AttachUserPolicy => attachments::attach_to_user;
    DetachUserPolicy => attachments::detach_from_user;
    ListAttachedUserPolicies => attachments::list_of_user;
    ListEntitiesForPolicy => attachments::list_entities;
    CreatePolicy => policies::create;
    GetPolicy => policies::get;
    ListPolicies => policies::list;
    DeletePolicy => policies::delete;
    CreatePolicyVersion => versions::create;
    GetPolicyVersion => versions::get;
    ListPolicyVersions => versions::list;
    SetDefaultPolicyVersion => versions::set_default;
    DeletePolicyVersion => versions::delete;
    CreateInstanceProfile => instance_profiles::create;
    GetInstanceProfile => instance_profiles::get;
    ListInstanceProfiles => instance_profiles::list;
    ListInstanceProfilesForRole => instance_profiles::list_of_role;
    AddRoleToInstanceProfile => instance_profiles::add_role;
    RemoveRoleFromInstanceProfile => instance_profiles::remove_role;
    DeleteInstanceProfile => instance_profiles::delete;
    CreateUser => users::create;
    GetUser => users::get;
    ListUsers => users::list;
    ListGroupsForUser => users::groups;
    DeleteUser => users::delete;
    CreateAccessKey => access_keys::create;
    ListAccessKeys => access_keys::list;
    UpdateAccessKey => access_keys::update;
    DeleteAccessKey => access_keys::delete;
    TagRole => tags::tag_role;
    UntagRole => tags::untag_role;
    ListRoleTags => tags::list_of_role;
    TagUser => tags::tag_user;
    UntagUser => tags::untag_user;
    ListUserTags => tags::list_of_user;
    TagPolicy => tags::tag_policy;
    UntagPolicy => tags::untag_policy;
    ListPolicyTags => tags::list_of_policy;
    TagInstanceProfile => tags::tag_instance_profile;
    UntagInstanceProfile => tags::untag_instance_profile;
    ListInstanceProfileTags => tags::list_of_instance_profile;
}

/// An error of IAM's model.
fn error(code: ErrorCode, message: impl Into<String>) -> ApiError {
    ApiError::new(code.as_str(), code.http_status(), message)
}

fn no_such_entity(message: impl Into<String>) -> ApiError {
    error(ErrorCode::NoSuchEntityException, message)
}

fn already_exists(message: impl Into<String>) -> ApiError {
    error(ErrorCode::EntityAlreadyExistsException, message)
}

fn delete_conflict(message: impl Into<String>) -> ApiError {
    error(ErrorCode::DeleteConflictException, message)
}

fn limit_exceeded(quota: &str, limit: usize) -> ApiError {
    error(ErrorCode::LimitExceededException, format!("Cannot exceed quota for {quota}: {limit}"))
}

fn validation(message: impl Into<String>) -> ApiError {
    ApiError::new("ValidationError", 400, message)
}

/// A member that isn't carried out.
fn refuse(member: &str, is_sent: bool) -> Result<(), ApiError> {
    match is_sent {
        true => Err(validation(format!("{member} is not supported by this server."))),
        false => Ok(()),
    }
}

/// An operation of IAM that isn't built.
pub(crate) fn not_built(name: &str) -> ApiError {
    let message = format!("The operation {name} is not supported by this server.");
    ApiError::new("UnsupportedOperation", 400, message)
}

/// Puts a record that holds only if it is still as this request saw it: absent, or unchanged.
fn put(context: &Context<'_>, transaction: &mut Transaction, record: impl Into<Record>) {
    let record = record.into();
    let key = record.key();
    transaction.read(key.clone(), context.snapshot.revision_of(&key));
    transaction.put(record);
}

/// A transaction of that one record.
fn changed(context: &Context<'_>, record: impl Into<Record>) -> Transaction {
    let mut transaction = Transaction::new();
    put(context, &mut transaction, record);
    transaction
}

/// Deletes a record that this request saw.
fn delete(context: &Context<'_>, transaction: &mut Transaction, record: impl Into<Record>) {
    let key = record.into().key();
    transaction.read(key.clone(), context.snapshot.revision_of(&key));
    transaction.delete(key);
}
