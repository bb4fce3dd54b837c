//! Attributes of container instances as callers send them.

use super::resolve;
use crate::context::Context;
use crate::error::ApiError;
use std::sync::Arc;
use wharf_model::{Attribute, ClusterName, ContainerInstance};
use wharf_wire::ecs::types;

/// The most attributes of one call.
pub const MAX_ITEMS: usize = 10;
/// The most attributes that operators may put on one instance.
pub const MAX_CUSTOM: usize = 10;
/// Longest name and longest value (ECS API `Attribute`).
const MAX_LENGTH: usize = 128;
/// Prefixes of attributes that the agent and ECS set.
const RESERVED: [&str; 2] = ["ecs.", "com.amazonaws.ecs."];

/// What the API says of a target that isn't there.
const NO_TARGET: &str = "The specified target wasn't found. You can view your available container \
                         instances with ListContainerInstances. Amazon ECS container instances \
                         are cluster-specific and Region-specific.";

/// True if operators may put and delete an attribute of this name.
pub fn is_custom(name: &str) -> bool {
    !RESERVED.iter().any(|prefix| name.starts_with(prefix))
}

/// What an agent registers: any names, each once.
///
/// # Errors
/// InvalidParameterException for a name or value of the wrong form.
pub fn of_registration(sent: Option<&[types::Attribute]>) -> Result<Vec<Attribute>, ApiError> {
    let mut attributes: Vec<Attribute> = Vec::new();
    for sent in sent.unwrap_or_default() {
        let attribute = checked(sent)?;
        match attributes.iter_mut().find(|a| a.name == attribute.name) {
            Some(earlier) => *earlier = attribute,
            None => attributes.push(attribute),
        }
    }
    Ok(attributes)
}

/// What PutAttributes and DeleteAttributes name: at most [`MAX_ITEMS`], none of them reserved.
///
/// # Errors
/// InvalidParameterException for too many or none, and for names of the wrong form.
pub fn of_operator(
    sent: &[types::Attribute],
) -> Result<Vec<(&types::Attribute, Attribute)>, ApiError> {
    if sent.is_empty() {
        return Err(ApiError::invalid_parameter("Attributes cannot be empty."));
    }
    if sent.len() > MAX_ITEMS {
        return Err(ApiError::invalid_parameter(format!(
            "attributes can have at most {MAX_ITEMS} items."
        )));
    }
    let one = |sent| {
        let attribute = checked(sent)?;
        if !is_custom(&attribute.name) {
            return Err(ApiError::invalid_parameter(format!(
                "The attribute {} is reserved for Amazon ECS.",
                attribute.name
            )));
        }
        Ok((sent, attribute))
    };
    sent.iter().map(one).collect()
}

/// The ACTIVE or DRAINING instance that an attribute's target names. A short id needs its type
/// beside it.
///
/// # Errors
/// TargetNotFoundException if there is none; InvalidParameterException for what names none.
pub fn target<'a>(
    context: &Context<'a>,
    cluster: &ClusterName,
    sent: &types::Attribute,
) -> Result<&'a Arc<ContainerInstance>, ApiError> {
    let id = sent.target_id.as_deref().filter(|id| !id.is_empty());
    let id = id.ok_or_else(|| ApiError::invalid_parameter("targetId should not be empty."))?;
    if !wharf_model::Arn::is_arn(id) && sent.target_type.is_none() {
        return Err(ApiError::invalid_parameter(
            "targetType is required when targetId is not an ARN.",
        ));
    }
    let key = resolve::container_instance_key(context, cluster, id)?;
    let found = context.snapshot.container_instance(&key);
    let active = |i: &&Arc<ContainerInstance>| {
        i.status != wharf_model::container_instance::InstanceStatus::Inactive
    };
    found.filter(active).ok_or_else(|| ApiError::target_not_found(NO_TARGET))
}

/// An attribute as PutAttributes, DeleteAttributes and ListAttributes show it.
pub fn shown(
    context: &Context<'_>,
    instance: &ContainerInstance,
    attribute: &Attribute,
) -> types::Attribute {
    types::Attribute {
        name: Some(attribute.name.clone()),
        value: attribute.value.clone(),
        target_type: None,
        target_id: Some(context.arns.container_instance(&instance.key())),
    }
}

/// Names: letters, digits, `-`, `_`, `.`, `/` and `\`; values also `:`, `@`, space (ECS API
/// `Attribute`); neither longer than 128 characters.
fn checked(sent: &types::Attribute) -> Result<Attribute, ApiError> {
    let name = sent.name.clone().unwrap_or_default();
    let word = |b: u8| b.is_ascii_alphanumeric() || b"-_./\\".contains(&b);
    if !(1..=MAX_LENGTH).contains(&name.len()) || !name.bytes().all(word) {
        return Err(ApiError::invalid_parameter(format!("Invalid attribute name: {name}")));
    }
    let value = sent.value.clone();
    if let Some(value) = &value {
        let legal = |b: u8| word(b) || b": @".contains(&b);
        if value.len() > MAX_LENGTH || value.trim() != value || !value.bytes().all(legal) {
            return Err(ApiError::invalid_parameter(format!(
                "Invalid value for attribute {name}: {value}"
            )));
        }
    }
    Ok(Attribute { name, value })
}
