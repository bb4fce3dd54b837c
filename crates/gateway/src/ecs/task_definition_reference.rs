//! Task definitions as callers name them: `family`, `family:revision`, or an ARN.

use super::resolve;
use crate::context::Context;
use crate::error::ApiError;
use std::sync::Arc;
use wharf_model::arn::Resource;
use wharf_model::task_definition::TaskDefinitionStatus;
use wharf_model::{Arn, Snapshot, TaskDefinition, TaskDefinitionKey};

/// What DescribeTaskDefinition says of a task definition that isn't there.
pub const CANNOT_DESCRIBE: &str = "Unable to describe task definition.";
/// What operations on one revision say of a revision that isn't there.
pub const DOES_NOT_EXIST: &str = "The specified task definition does not exist. Specify a valid \
                                  account, family, revision and try again.";

/// What a caller named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// The latest ACTIVE revision of a family.
    Latest(String),
    /// One revision.
    Revision(TaskDefinitionKey),
}

impl Reference {
    /// Reads `family`, `family:revision` or an ARN.
    ///
    /// # Errors
    /// ClientException for a revision that is no number and for a family that can't be one;
    /// as [`resolve::arn`].
    pub fn parse(context: &Context<'_>, text: &str) -> Result<Self, ApiError> {
        let name = match Arn::is_arn(text) {
            true => match resolve::arn(context, text) {
                Ok(Arn { resource: Resource::TaskDefinition(key), .. }) => {
                    return Ok(Self::Revision(key));
                }
                // An ARN may name a family alone, which the ARN parser doesn't know.
                _ => family_of_arn(context, text)?,
            },
            false => text,
        };
        let (family, revision) = match name.split_once(':') {
            Some((family, revision)) => (family, Some(revision)),
            None => (name, None),
        };
        let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if family.is_empty() || !family.bytes().all(legal) {
            return Err(ApiError::client("Family contains invalid characters."));
        }
        let family = family.to_owned();
        Ok(match revision {
            None => Self::Latest(family),
            Some(number) => {
                let revision = number.parse().ok().filter(|n| *n > 0).ok_or_else(|| {
                    ApiError::client(format!("Invalid revision number. Number: {number}"))
                })?;
                Self::Revision(TaskDefinitionKey { family: family.into(), revision })
            }
        })
    }

    /// What it names, if that exists.
    pub fn find<'a>(&self, context: &Context<'a>) -> Option<&'a Arc<TaskDefinition>> {
        let snapshot = context.snapshot;
        match self {
            Self::Revision(key) => snapshot.task_definition(key),
            Self::Latest(family) => latest(snapshot, family),
        }
    }
}

/// What `text` names in the state alone: a family's latest ACTIVE revision, or one revision.
pub(crate) fn find<'a>(snapshot: &'a Snapshot, text: &str) -> Option<&'a Arc<TaskDefinition>> {
    let name = text.split_once(":task-definition/").map_or(text, |(_, name)| name);
    match name.split_once(':') {
        None => latest(snapshot, name),
        Some((family, revision)) => {
            let key = TaskDefinitionKey { family: family.into(), revision: revision.parse().ok()? };
            snapshot.task_definition(&key)
        }
    }
}

/// A family's latest ACTIVE revision.
pub(crate) fn latest<'a>(snapshot: &'a Snapshot, family: &str) -> Option<&'a Arc<TaskDefinition>> {
    snapshot.family_revisions(family).rev().find(|d| d.status == TaskDefinitionStatus::Active)
}

fn family_of_arn<'t>(context: &Context<'_>, text: &'t str) -> Result<&'t str, ApiError> {
    let start = format!("arn:aws:ecs:{}:{}:task-definition/", context.region(), context.account());
    text.strip_prefix(start.as_str())
        .ok_or_else(|| ApiError::invalid_parameter(format!("Invalid identifier: {text}")))
}

/// The ACTIVE task definition that tasks or a service are to run.
///
/// # Errors
/// ClientException if there is none or if it is INACTIVE, in ECS's words.
pub fn runnable<'a>(
    context: &Context<'a>,
    text: &str,
) -> Result<&'a Arc<TaskDefinition>, ApiError> {
    let definition = Reference::parse(context, text)?
        .find(context)
        .ok_or_else(|| ApiError::client("TaskDefinition not found."))?;
    if definition.status != TaskDefinitionStatus::Active {
        return Err(ApiError::client("TaskDefinition is inactive"));
    }
    Ok(definition)
}

/// The revision that a caller must have named exactly.
///
/// # Errors
/// ClientException if no revision is named or there is no such one.
pub fn revision<'a>(
    context: &Context<'a>,
    text: &str,
) -> Result<&'a Arc<TaskDefinition>, ApiError> {
    match Reference::parse(context, text)? {
        Reference::Latest(_) => Err(ApiError::client("Revision is missing.")),
        named => named.find(context).ok_or_else(|| ApiError::client(DOES_NOT_EXIST)),
    }
}
