//! What roles and users have in common: they hold policies and tags.

use super::{error, no_such_entity};
use crate::context::Context;
use crate::error::ApiError;
use std::collections::BTreeMap;
use std::sync::Arc;
use wharf_model::iam::{self, Role, User};
use wharf_model::{Record, Tag};
use wharf_wire::iam::ErrorCode;

/// A role or a user.
pub(super) trait Holder: Clone + Into<Record> {
    /// `role` or `user`.
    const KIND: &'static str;
    /// The quota's name for attached policies.
    const QUOTA: &'static str;

    fn find(context: &Context<'_>, name: &str) -> Result<Arc<Self>, ApiError>;
    fn name(&self) -> &str;
    fn inline(&self) -> &BTreeMap<String, String>;
    fn inline_mut(&mut self) -> &mut BTreeMap<String, String>;
    fn attached(&self) -> &[String];
    fn attached_mut(&mut self) -> &mut Vec<String>;
    fn tags_mut(&mut self) -> &mut Vec<Tag>;
    /// An error for what only AWS may change.
    fn check_modifiable(&self) -> Result<(), ApiError>;
}

impl Holder for Role {
    const KIND: &'static str = "role";
    const QUOTA: &'static str = "PoliciesPerRole";

    fn find(context: &Context<'_>, name: &str) -> Result<Arc<Self>, ApiError> {
        let found = context.snapshot.role(&iam::key(name)).cloned();
        found.ok_or_else(|| no_such_entity(format!("The role with name {name} cannot be found.")))
    }
    fn name(&self) -> &str {
        &self.name
    }
    fn inline(&self) -> &BTreeMap<String, String> {
        &self.inline
    }
    fn inline_mut(&mut self) -> &mut BTreeMap<String, String> {
        &mut self.inline
    }
    fn attached(&self) -> &[String] {
        &self.attached
    }
    fn attached_mut(&mut self) -> &mut Vec<String> {
        &mut self.attached
    }
    fn tags_mut(&mut self) -> &mut Vec<Tag> {
        &mut self.tags
    }
    fn check_modifiable(&self) -> Result<(), ApiError> {
        if !self.is_service_linked() {
            return Ok(());
        }
        Err(error(
            ErrorCode::UnmodifiableEntityException,
            format!(
                "Cannot perform the operation on the protected role '{}' - this role is only \
                 modifiable by AWS",
                self.name
            ),
        ))
    }
}

impl Holder for User {
    const KIND: &'static str = "user";
    const QUOTA: &'static str = "PoliciesPerUser";

    fn find(context: &Context<'_>, name: &str) -> Result<Arc<Self>, ApiError> {
        let found = context.snapshot.user(&iam::key(name)).cloned();
        found.ok_or_else(|| no_such_entity(format!("The user with name {name} cannot be found.")))
    }
    fn name(&self) -> &str {
        &self.name
    }
    fn inline(&self) -> &BTreeMap<String, String> {
        &self.inline
    }
    fn inline_mut(&mut self) -> &mut BTreeMap<String, String> {
        &mut self.inline
    }
    fn attached(&self) -> &[String] {
        &self.attached
    }
    fn attached_mut(&mut self) -> &mut Vec<String> {
        &mut self.attached
    }
    fn tags_mut(&mut self) -> &mut Vec<Tag> {
        &mut self.tags
    }
    fn check_modifiable(&self) -> Result<(), ApiError> {
        Ok(())
    }
}

/// The holder called `name`, for a change.
pub(super) fn to_change<H: Holder>(
    context: &Context<'_>,
    name: Option<&str>,
) -> Result<H, ApiError> {
    let holder = H::find(context, name.unwrap_or_default())?;
    holder.check_modifiable()?;
    Ok(Arc::unwrap_or_clone(holder))
}
