//! A service's load balancers as callers send them, checked against the task definition and the
//! target groups that there are.

use super::carried_out::{not_carried_out, refuse};
use crate::context::Context;
use crate::error::ApiError;
use wharf_model::load_balancing::TargetType;
use wharf_model::service::ServiceLoadBalancer;
use wharf_model::{NetworkMode, TaskDefinition};
use wharf_scheduler::load_balancing::Usage;
use wharf_wire::ecs::types;

/// The most target groups of a service (Amazon ECS developer guide, "Registering multiple target
/// groups with a service").
const MAX_LOAD_BALANCERS: usize = 5;
const LOAD_BALANCER: &[&str] = &["targetGroupArn", "containerName", "containerPort"];

/// Refuses what of the load balancers isn't carried out; what is refused besides comes first.
///
/// # Errors
/// UnsupportedFeatureException with all of it.
pub fn refused(sent: Option<&[types::LoadBalancer]>) -> Vec<String> {
    let mut refused: Vec<String> = Vec::new();
    for balancer in sent.unwrap_or_default() {
        for member in not_carried_out(balancer.clone(), LOAD_BALANCER) {
            let text = match member {
                "loadBalancerName" => {
                    "loadBalancers.loadBalancerName (Classic Load Balancers; name a target group \
                     by targetGroupArn)"
                        .to_owned()
                }
                member => format!("loadBalancers.{member}"),
            };
            if !refused.contains(&text) {
                refused.push(text);
            }
        }
    }
    refused
}

/// The load balancers of a service that runs `definition`.
///
/// # Errors
/// InvalidParameterException in ECS's words; UnsupportedFeatureException for what isn't carried
/// out.
pub fn load_balancers(
    context: &Context<'_>,
    definition: &TaskDefinition,
    sent: Option<&[types::LoadBalancer]>,
) -> Result<Vec<ServiceLoadBalancer>, ApiError> {
    refuse(&refused(sent))?;
    let sent = sent.unwrap_or_default();
    if sent.len() > MAX_LOAD_BALANCERS {
        return Err(invalid(format!("loadBalancers can have at most {MAX_LOAD_BALANCERS} items.")));
    }
    let mut balancers: Vec<ServiceLoadBalancer> = Vec::new();
    for balancer in sent {
        let balancer = read(balancer)?;
        if balancers.contains(&balancer) {
            return Err(invalid("loadBalancers can not hold the same one twice.".to_owned()));
        }
        balancers.push(balancer);
    }
    check(context, definition, &balancers)?;
    Ok(balancers)
}

fn read(sent: &types::LoadBalancer) -> Result<ServiceLoadBalancer, ApiError> {
    let given = |value: &Option<String>| value.clone().filter(|text| !text.is_empty());
    let target_group_arn = given(&sent.target_group_arn)
        .ok_or_else(|| invalid("targetGroupArn can not be blank.".to_owned()))?;
    let container_name = given(&sent.container_name)
        .ok_or_else(|| invalid("Container name can not be blank.".to_owned()))?;
    let port =
        sent.container_port.ok_or_else(|| invalid("containerPort is missing.".to_owned()))?;
    let container_port = u16::try_from(port).ok().filter(|port| *port > 0);
    let container_port = container_port.ok_or_else(|| {
        invalid(format!("The container port {port} must be between 1 and 65535."))
    })?;
    Ok(ServiceLoadBalancer { target_group_arn, container_name, container_port })
}

/// Holds load balancers against a task definition: on CreateService, and on every UpdateService
/// that changes one of the two.
///
/// # Errors
/// InvalidParameterException in ECS's words.
pub fn check(
    context: &Context<'_>,
    definition: &TaskDefinition,
    balancers: &[ServiceLoadBalancer],
) -> Result<(), ApiError> {
    for balancer in balancers {
        let name = &balancer.container_name;
        let container = definition.container(name).ok_or_else(|| {
            invalid(format!("The container {name} does not exist in the task definition."))
        })?;
        let port = balancer.container_port;
        if !container.port_mappings.iter().any(|m| m.container_port == port) {
            return Err(invalid(format!(
                "The container {name} did not have a container port {port} defined."
            )));
        }
        check_target_group(context, definition, balancer)?;
    }
    Ok(())
}

fn check_target_group(
    context: &Context<'_>,
    definition: &TaskDefinition,
    balancer: &ServiceLoadBalancer,
) -> Result<(), ApiError> {
    let arn = &balancer.target_group_arn;
    let path = context.arns.target_group_path(arn);
    let group = path.and_then(|path| context.snapshot.target_group(&path)).ok_or_else(|| {
        invalid(format!(
            "Unable to validate the specified targetGroupArn {arn}: One or more target groups not \
             found."
        ))
    })?;
    let mode = definition.effective_network_mode();
    let fits = match mode {
        NetworkMode::Awsvpc => group.target_type == TargetType::Ip,
        NetworkMode::Bridge | NetworkMode::Host => group.target_type == TargetType::Instance,
        NetworkMode::None => false,
    };
    if !fits {
        return Err(invalid(format!(
            "The provided target group {arn} has target type {}, which is incompatible with the \
             {} network mode specified in the task definition.",
            group.target_type.as_str(),
            mode.as_str()
        )));
    }
    if !Usage::of(context.snapshot).is_used(&group.path()) {
        return Err(invalid(format!(
            "The target group with targetGroupArn {arn} does not have an associated load balancer."
        )));
    }
    Ok(())
}

fn invalid(text: String) -> ApiError {
    ApiError::invalid_parameter(text)
}
