//! DescribeServiceDeployments: up to 20 deployments by ARN, with the counts of their revisions.

use super::{present, resolve};
use crate::context::{Context, Outcome, Result};
use crate::error::ApiError;
use wharf_model::arn::Resource;
use wharf_wire::ecs::types::{
    DescribeServiceDeploymentsRequest, DescribeServiceDeploymentsResponse,
};

/// The most deployments of one call.
const MAX_ITEMS: usize = 20;

/// DescribeServiceDeployments.
pub fn describe_service_deployments(
    context: &Context<'_>,
    input: &DescribeServiceDeploymentsRequest,
) -> Result<DescribeServiceDeploymentsResponse> {
    let arns = input.service_deployment_arns.as_deref().unwrap_or_default();
    if arns.is_empty() {
        return Err(ApiError::invalid_parameter("Service deployments cannot be empty."));
    }
    if arns.len() > MAX_ITEMS {
        return Err(ApiError::invalid_parameter(format!(
            "serviceDeploymentArns can have at most {MAX_ITEMS} items."
        )));
    }
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for arn in arns {
        let Resource::ServiceDeployment(service, id) = resolve::arn(context, arn)?.resource else {
            return Err(ApiError::invalid_parameter(format!("Invalid identifier: {arn}")));
        };
        match context.snapshot.service_deployment(&(service, id)) {
            Some(deployment) => found.push(present::service_deployment(context, deployment)),
            None => failures.push(present::failure(arn, "MISSING")),
        }
    }
    Ok(Outcome::read(DescribeServiceDeploymentsResponse {
        service_deployments: Some(found),
        failures: Some(failures),
    }))
}
