//! What a task or a service runs on: a launch type or a capacity provider strategy. Shared by
//! RunTask, CreateService and UpdateService.

use super::cluster_input;
use crate::error::ApiError;
use wharf_model::cluster::CapacityProviderStrategyItem;
use wharf_model::task_definition::LaunchType;
use wharf_model::{Cluster, TaskDefinition};
use wharf_wire::ecs::types;

/// Platform versions of FARGATE on Linux.
const PLATFORM_VERSIONS: [&str; 3] = ["LATEST", "1.4.0", "1.3.0"];

/// A launch type or a strategy.
pub type Capacity = (Option<LaunchType>, Vec<CapacityProviderStrategyItem>);

/// What was sent, else the cluster's strategy, else EC2.
///
/// # Errors
/// InvalidParameterException in ECS's words for both at once and for a strategy that isn't one;
/// UnsupportedFeatureException for a launch type that isn't there.
pub fn capacity(
    cluster: &Cluster,
    launch_type: Option<&types::LaunchType>,
    strategy: Option<&[types::CapacityProviderStrategyItem]>,
) -> Result<Capacity, ApiError> {
    match (launch_type, strategy.filter(|s| !s.is_empty())) {
        (Some(_), Some(_)) => Err(ApiError::invalid_parameter(
            "Specifying both a launch type and capacity provider strategy is not supported. \
             Remove one and try again.",
        )),
        (Some(launch_type), None) => match LaunchType::parse(launch_type.as_str()) {
            Some(launch_type) => Ok((Some(launch_type), Vec::new())),
            None => Err(ApiError::unsupported_feature(format!(
                "Not supported by this server: launchType {launch_type}."
            ))),
        },
        (None, Some(items)) => {
            Ok((None, cluster_input::strategy(Some(items), &cluster.capacity_providers)?))
        }
        (None, None) if !cluster.default_capacity_provider_strategy.is_empty() => {
            Ok((None, cluster.default_capacity_provider_strategy.clone()))
        }
        (None, None) => Ok((Some(LaunchType::Ec2), Vec::new())),
    }
}

/// What tasks run on: the launch type, or FARGATE under a strategy (all capacity providers there
/// are so far are FARGATE's).
pub fn effective(
    launch_type: Option<LaunchType>,
    strategy: &[CapacityProviderStrategyItem],
) -> Option<LaunchType> {
    if strategy.is_empty() { launch_type } else { Some(LaunchType::Fargate) }
}

/// The task definition can run there.
///
/// # Errors
/// InvalidParameterException in ECS's words.
pub fn check_compatible(
    launch_type: Option<LaunchType>,
    definition: &TaskDefinition,
) -> Result<(), ApiError> {
    match launch_type.filter(|l| !definition.compatibilities.contains(l)) {
        None => Ok(()),
        Some(launch_type) => Err(ApiError::invalid_parameter(format!(
            "Task definition does not support launch_type {}.",
            launch_type.as_str()
        ))),
    }
}

/// FARGATE's platform version, LATEST unless one is sent; none elsewhere.
///
/// # Errors
/// InvalidParameterException for one on EC2; PlatformUnknownException for one that isn't there.
pub fn platform_version(
    launch_type: Option<LaunchType>,
    sent: Option<&str>,
) -> Result<Option<String>, ApiError> {
    let sent = sent.filter(|version| !version.is_empty());
    if launch_type != Some(LaunchType::Fargate) {
        return match sent {
            None => Ok(None),
            Some(_) => Err(ApiError::invalid_parameter(
                "The platform version must be null when specifying an EC2 launch type.",
            )),
        };
    }
    let version = sent.unwrap_or("LATEST");
    if !PLATFORM_VERSIONS.contains(&version) {
        return Err(ApiError::platform_unknown("The specified platform does not exist."));
    }
    Ok(Some(version.to_owned()))
}
