//! awsvpc configuration as callers send it, checked against the networks that there are.

use crate::context::Context;
use crate::error::ApiError;
use wharf_model::network::AwsVpcConfiguration;
use wharf_model::task_definition::LaunchType;
use wharf_model::{NetworkMode, TaskDefinition};
use wharf_wire::ecs::types;

/// The most subnets and security groups (ECS API `AwsVpcConfiguration`).
const MAX_SUBNETS: usize = 16;
const MAX_SECURITY_GROUPS: usize = 5;

/// The configuration that tasks of `definition` get: there is one exactly in awsvpc mode.
///
/// # Errors
/// InvalidParameterException, in ECS's words: for one where there must be none and the reverse,
/// for subnets and security groups that don't exist.
pub fn configuration(
    context: &Context<'_>,
    definition: &TaskDefinition,
    launch_type: Option<LaunchType>,
    sent: Option<&types::NetworkConfiguration>,
) -> Result<Option<AwsVpcConfiguration>, ApiError> {
    let sent = sent.and_then(|s| s.awsvpc_configuration.as_ref());
    let awsvpc = definition.effective_network_mode() == NetworkMode::Awsvpc;
    match sent {
        None if awsvpc => Err(ApiError::invalid_parameter(
            "Network Configuration must be provided when networkMode 'awsvpc' is specified.",
        )),
        Some(_) if !awsvpc => Err(ApiError::invalid_parameter(
            "Network Configuration is not valid for the given networkMode of this task \
             definition.",
        )),
        None => Ok(None),
        Some(sent) => checked(context, launch_type, sent).map(Some),
    }
}

fn checked(
    context: &Context<'_>,
    launch_type: Option<LaunchType>,
    sent: &types::AwsVpcConfiguration,
) -> Result<AwsVpcConfiguration, ApiError> {
    let subnets = sent.subnets.clone().unwrap_or_default();
    if subnets.is_empty() {
        return Err(ApiError::invalid_parameter("subnets can not be empty."));
    }
    at_most("subnets", subnets.len(), MAX_SUBNETS)?;
    let network = context.network();
    let mut vpc_id = None;
    for subnet in &subnets {
        let Some(found) = network.subnet(subnet) else {
            return Err(ApiError::invalid_parameter(format!(
                "Error retrieving subnet information for [{subnet}]: The subnet ID '{subnet}' \
                 does not exist (ErrorCode: InvalidSubnetID.NotFound)"
            )));
        };
        if vpc_id.as_ref().is_some_and(|id| *id != found.vpc_id) {
            return Err(ApiError::invalid_parameter("Subnets must be in the same VPC."));
        }
        vpc_id = Some(found.vpc_id.clone());
    }
    let security_groups = sent.security_groups.clone().unwrap_or_default();
    at_most("securityGroups", security_groups.len(), MAX_SECURITY_GROUPS)?;
    for group in &security_groups {
        let Some(found) = network.security_group(group) else {
            return Err(ApiError::invalid_parameter(format!(
                "Error retrieving security group information for [{group}]: The security group \
                 '{group}' does not exist (ErrorCode: InvalidGroup.NotFound)"
            )));
        };
        if vpc_id.as_ref() != Some(&found.vpc_id) {
            return Err(ApiError::invalid_parameter(format!(
                "Security group {group} does not appear to belong to the same VPC as the input \
                 subnets."
            )));
        }
    }
    let assign_public_ip = sent.assign_public_ip == Some(types::AssignPublicIp::Enabled);
    if assign_public_ip && launch_type != Some(LaunchType::Fargate) {
        return Err(ApiError::invalid_parameter(
            "Assign public IP is not supported for this launch type.",
        ));
    }
    Ok(AwsVpcConfiguration { subnets, security_groups, assign_public_ip })
}

fn at_most(what: &str, count: usize, most: usize) -> Result<(), ApiError> {
    if count > most {
        return Err(ApiError::invalid_parameter(format!("{what} can have at most {most} items.")));
    }
    Ok(())
}
