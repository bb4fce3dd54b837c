//! Placement constraints and strategies as callers send them, for services and for single tasks.

use crate::error::ApiError;
use wharf_model::cql;
use wharf_model::task_definition::{LaunchType, PlacementConstraint, PlacementStrategy};
use wharf_wire::ecs::types;

/// The most constraints of a service or task.
const MAX_CONSTRAINTS: usize = 10;
/// The most steps of a strategy.
const MAX_STRATEGIES: usize = 5;
/// Longest field of a strategy: an attribute's name with its prefix.
const MAX_FIELD: usize = 138;

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
    sent.iter().map(constraint).collect()
}

fn constraint(sent: &types::PlacementConstraint) -> Result<PlacementConstraint, ApiError> {
    let expression = sent.expression.clone().filter(|e| !e.is_empty());
    match (&sent.r#type, expression) {
        (Some(types::PlacementConstraintType::DistinctInstance), None) => {
            Ok(PlacementConstraint { kind: "distinctInstance".to_owned(), expression: None })
        }
        (Some(types::PlacementConstraintType::DistinctInstance), Some(_)) => {
            Err(ApiError::invalid_parameter(
                "The distinctInstance placement constraint does not take an expression.",
            ))
        }
        (Some(types::PlacementConstraintType::MemberOf), Some(expression)) => {
            cql::parse(&expression).map_err(|e| ApiError::invalid_parameter(e.to_string()))?;
            Ok(PlacementConstraint { kind: "memberOf".to_owned(), expression: Some(expression) })
        }
        (Some(types::PlacementConstraintType::MemberOf), None) => Err(ApiError::invalid_parameter(
            "The memberOf placement constraint needs an expression.",
        )),
        _ => Err(ApiError::invalid_parameter(
            "Placement constraint type should be one of [distinctInstance,memberOf]",
        )),
    }
}

/// A placement strategy's steps, with their fields as the real service describes them.
///
/// # Errors
/// InvalidParameterException for too many, and for fields that the step doesn't have.
pub fn strategies(sent: &[types::PlacementStrategy]) -> Result<Vec<PlacementStrategy>, ApiError> {
    if sent.len() > MAX_STRATEGIES {
        return Err(ApiError::invalid_parameter(format!(
            "placementStrategy can have at most {MAX_STRATEGIES} items."
        )));
    }
    sent.iter().map(strategy).collect()
}

fn strategy(sent: &types::PlacementStrategy) -> Result<PlacementStrategy, ApiError> {
    let field = sent.field.clone().filter(|f| !f.is_empty());
    let wrong = |text: &str| Err(ApiError::invalid_parameter(text.to_owned()));
    let (kind, field) = match (&sent.r#type, field) {
        (Some(types::PlacementStrategyType::Random), None) => ("random", None),
        (Some(types::PlacementStrategyType::Random), Some(_)) => {
            return wrong("The random placement strategy does not take a field.");
        }
        (Some(types::PlacementStrategyType::Binpack), Some(field)) => {
            let field = field.to_ascii_lowercase();
            if field != "cpu" && field != "memory" {
                return wrong("The binpack placement strategy field should be one of [cpu,memory]");
            }
            ("binpack", Some(field))
        }
        (Some(types::PlacementStrategyType::Spread), Some(field)) => match field.as_str() {
            // ECS API `PlacementStrategy$field`: "instanceId (or host, which has the same effect)".
            "host" | "instanceId" => ("spread", Some("instanceId".to_owned())),
            name if name.len() <= MAX_FIELD && is_attribute(name) => ("spread", Some(field)),
            _ => return wrong("Invalid field for the spread placement strategy."),
        },
        (
            Some(types::PlacementStrategyType::Binpack | types::PlacementStrategyType::Spread),
            None,
        ) => {
            return wrong("The placement strategy needs a field.");
        }
        _ => return wrong("Placement strategy type should be one of [random,spread,binpack]"),
    };
    Ok(PlacementStrategy { kind: kind.to_owned(), field })
}

fn is_attribute(field: &str) -> bool {
    let name = field.strip_prefix("attribute:").unwrap_or_default();
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./\\".contains(&b))
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
