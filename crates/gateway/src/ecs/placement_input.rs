//! Placement constraints and strategies as callers send them, for services and for single tasks.
//! What is valid is the scheduler's rule; here they only change their form.

use crate::error::ApiError;
use wharf_model::TaskDefinition;
use wharf_model::task_definition::{LaunchType, PlacementConstraint, PlacementStrategy};
use wharf_scheduler::placement::{Constraints, Strategy};
use wharf_wire::ecs::types;

/// The most constraints of a service or task.
const MAX_CONSTRAINTS: usize = 10;

/// Placement constraints: `distinctInstance`, or `memberOf` with an expression.
///
/// # Errors
/// InvalidParameterException for too many, for an expression where there must be none or that
/// doesn't parse.
pub fn constraints(
    sent: &[types::PlacementConstraint],
) -> Result<Vec<PlacementConstraint>, ApiError> {
    if sent.len() > MAX_CONSTRAINTS {
        return Err(ApiError::invalid_parameter(format!(
            "placementConstraints can have at most {MAX_CONSTRAINTS} items."
        )));
    }
    let one = |sent: &types::PlacementConstraint| PlacementConstraint {
        kind: sent.r#type.as_ref().map_or("", |t| t.as_str()).to_owned(),
        expression: sent.expression.clone().filter(|e| !e.is_empty()),
    };
    let constraints: Vec<_> = sent.iter().map(one).collect();
    Constraints::parse(&constraints).map_err(|e| ApiError::invalid_parameter(e.to_string()))?;
    Ok(constraints)
}

/// A task's constraints are the definition's and the caller's together (ECS API
/// `placementConstraints`: "this limit includes constraints in the task definition").
///
/// # Errors
/// InvalidParameterException for more than 10.
pub fn check_count(
    definition: &TaskDefinition,
    own: &[PlacementConstraint],
) -> Result<(), ApiError> {
    if definition.placement_constraints.len() + own.len() > MAX_CONSTRAINTS {
        return Err(ApiError::invalid_parameter(format!(
            "placementConstraints can have at most {MAX_CONSTRAINTS} items, those of the task \
             definition included."
        )));
    }
    Ok(())
}

/// A placement strategy's steps, with their fields as the real service describes them.
///
/// # Errors
/// InvalidParameterException for too many, and for fields that the step doesn't have.
pub fn strategies(sent: &[types::PlacementStrategy]) -> Result<Vec<PlacementStrategy>, ApiError> {
    let one = |sent: &types::PlacementStrategy| {
        let kind = sent.r#type.as_ref().map_or("", |t| t.as_str()).to_owned();
        let field = sent.field.clone().filter(|f| !f.is_empty()).map(|field| match kind.as_str() {
            "binpack" => field.to_ascii_lowercase(),
            // ECS API `PlacementStrategy$field`: host "has the same effect" as instanceId.
            "spread" if field == "host" => "instanceId".to_owned(),
            _ => field,
        });
        PlacementStrategy { kind, field }
    };
    // ECS API UpdateService: "to remove an existing placement strategy, specify an empty object".
    let sent = sent.iter().filter(|s| s.r#type.is_some() || s.field.is_some());
    let strategies: Vec<_> = sent.map(one).collect();
    Strategy::parse(&strategies).map_err(|e| ApiError::invalid_parameter(e.to_string()))?;
    Ok(strategies)
}

/// FARGATE has no hosts to choose from.
///
/// # Errors
/// InvalidParameterException in ECS's words.
pub fn check_launch_type(
    launch_type: Option<LaunchType>,
    constraints: &[PlacementConstraint],
    strategies: &[PlacementStrategy],
) -> Result<(), ApiError> {
    let what = match (constraints.is_empty(), strategies.is_empty()) {
        (true, true) => return Ok(()),
        (false, _) => "constraints",
        (true, false) => "strategies",
    };
    if launch_type != Some(LaunchType::Fargate) {
        return Ok(());
    }
    Err(ApiError::invalid_parameter(format!(
        "Placement {what} are not supported with FARGATE launch type."
    )))
}
