//! What callers may say of a service: shared by CreateService and UpdateService.

use super::carried_out::{not_carried_out, refuse};
use super::load_balancer_input;
use crate::error::ApiError;
use wharf_model::service::DeploymentConfiguration;
use wharf_wire::ecs::types;

/// The most tasks of a service (Amazon ECS service quotas).
const MAX_DESIRED_COUNT: i32 = 5000;

const DEPLOYMENT_CONFIGURATION: &[&str] =
    &["maximumPercent", "minimumHealthyPercent", "deploymentCircuitBreaker", "strategy"];
const CREATE: &[&str] = &[
    "cluster",
    "serviceName",
    "taskDefinition",
    "desiredCount",
    "clientToken",
    "launchType",
    "capacityProviderStrategy",
    "platformVersion",
    "role",
    "deploymentConfiguration",
    "placementConstraints",
    "placementStrategy",
    "networkConfiguration",
    "loadBalancers",
    "healthCheckGracePeriodSeconds",
    "schedulingStrategy",
    "deploymentController",
    "availabilityZoneRebalancing",
    "tags",
    "enableECSManagedTags",
    "propagateTags",
    "enableExecuteCommand",
];
const UPDATE: &[&str] = &[
    "cluster",
    "service",
    "desiredCount",
    "taskDefinition",
    "capacityProviderStrategy",
    "deploymentConfiguration",
    "availabilityZoneRebalancing",
    "networkConfiguration",
    "loadBalancers",
    "placementConstraints",
    "placementStrategy",
    "platformVersion",
    "forceNewDeployment",
    "healthCheckGracePeriodSeconds",
    "deploymentController",
    "enableExecuteCommand",
    "enableECSManagedTags",
    "propagateTags",
];

/// Refuses what CreateService can't carry out.
///
/// # Errors
/// UnsupportedFeatureException with all of it.
pub fn refuse_of_create(input: &types::CreateServiceRequest) -> Result<(), ApiError> {
    let mut refused = names(not_carried_out(input.clone(), CREATE));
    refused.extend(load_balancer_input::refused(input.load_balancers.as_deref()));
    if input.scheduling_strategy == Some(types::SchedulingStrategy::Daemon) {
        refused.push("schedulingStrategy DAEMON".to_owned());
    }
    refused.extend(of_both(
        input.deployment_configuration.as_ref(),
        input.deployment_controller.as_ref(),
        input.availability_zone_rebalancing.as_ref(),
    ));
    refuse(&refused)
}

/// Refuses what UpdateService can't carry out.
///
/// # Errors
/// UnsupportedFeatureException with all of it.
pub fn refuse_of_update(input: &types::UpdateServiceRequest) -> Result<(), ApiError> {
    let mut refused = names(not_carried_out(input.clone(), UPDATE));
    refused.extend(load_balancer_input::refused(input.load_balancers.as_deref()));
    refused.extend(of_both(
        input.deployment_configuration.as_ref(),
        input.deployment_controller.as_ref(),
        input.availability_zone_rebalancing.as_ref(),
    ));
    refuse(&refused)
}

fn names(members: Vec<&'static str>) -> Vec<String> {
    members.into_iter().map(str::to_owned).collect()
}

fn of_both(
    configuration: Option<&types::DeploymentConfiguration>,
    controller: Option<&types::DeploymentController>,
    rebalancing: Option<&types::AvailabilityZoneRebalancing>,
) -> Vec<String> {
    let mut refused = Vec::new();
    if let Some(kind) = controller.and_then(|c| c.r#type.as_ref())
        && *kind != types::DeploymentControllerType::Ecs
    {
        refused.push(format!("deploymentController {kind}"));
    }
    if rebalancing == Some(&types::AvailabilityZoneRebalancing::Enabled) {
        refused.push("availabilityZoneRebalancing ENABLED".to_owned());
    }
    let Some(configuration) = configuration else { return refused };
    let mut shape = configuration.clone();
    // Terraform sends the default along: no bake time, alarms that are off.
    shape.bake_time_in_minutes = shape.bake_time_in_minutes.filter(|minutes| *minutes != 0);
    for member in not_carried_out(shape, DEPLOYMENT_CONFIGURATION) {
        refused.push(format!("deploymentConfiguration.{member}"));
    }
    if let Some(strategy) = &configuration.strategy
        && *strategy != types::DeploymentStrategy::Rolling
    {
        refused.push(format!("deploymentConfiguration.strategy {strategy}"));
    }
    refused
}

/// `current` with what was sent laid over it.
///
/// # Errors
/// InvalidParameterException for percentages under which no deployment could ever end.
pub fn deployment_configuration(
    current: &DeploymentConfiguration,
    sent: Option<&types::DeploymentConfiguration>,
) -> Result<DeploymentConfiguration, ApiError> {
    let Some(sent) = sent else { return Ok(current.clone()) };
    let breaker = sent.deployment_circuit_breaker.as_ref();
    let configuration = DeploymentConfiguration {
        maximum_percent: sent.maximum_percent.unwrap_or(current.maximum_percent),
        minimum_healthy_percent: sent
            .minimum_healthy_percent
            .unwrap_or(current.minimum_healthy_percent),
        circuit_breaker_enable: breaker
            .map_or(current.circuit_breaker_enable, |b| b.enable.unwrap_or(false)),
        circuit_breaker_rollback: breaker
            .map_or(current.circuit_breaker_rollback, |b| b.rollback.unwrap_or(false)),
    };
    let (most, least) = (configuration.maximum_percent, configuration.minimum_healthy_percent);
    let wrong = |text: &str| Err(ApiError::invalid_parameter(text.to_owned()));
    if !(0..=100).contains(&least) {
        return wrong("minimumHealthyPercent must be between 0 and 100.");
    }
    if most < 100 {
        return wrong("maximumPercent must be greater than or equal to 100.");
    }
    if (most, least) == (100, 100) {
        return wrong(
            "Both maximumPercent and minimumHealthyPercent cannot be 100 as this will block \
             deployments.",
        );
    }
    Ok(configuration)
}

/// A service's desired count.
///
/// # Errors
/// InvalidParameterException beyond the limits.
pub fn desired_count(sent: i32) -> Result<i32, ApiError> {
    if sent < 0 {
        return Err(ApiError::invalid_parameter("DesiredCount can not be lesser than 0"));
    }
    if sent > MAX_DESIRED_COUNT {
        return Err(ApiError::invalid_parameter(format!(
            "DesiredCount can not be greater than {MAX_DESIRED_COUNT}"
        )));
    }
    Ok(sent)
}

/// Seconds in which failing health checks of containers don't count. Without health checks it is
/// unused (ECS API `CreateServiceRequest$healthCheckGracePeriodSeconds`).
///
/// # Errors
/// InvalidParameterException for a negative one.
pub fn grace_period(sent: Option<i32>) -> Result<Option<i32>, ApiError> {
    match sent {
        Some(seconds) if seconds < 0 => Err(ApiError::invalid_parameter(
            "healthCheckGracePeriodSeconds must be between 0 and 2147483647.",
        )),
        seconds => Ok(seconds),
    }
}

/// Where tasks get their tags from.
pub fn propagate_tags(sent: Option<&types::PropagateTags>) -> String {
    sent.map_or("NONE", types::PropagateTags::as_str).to_owned()
}
