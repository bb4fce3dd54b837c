//! StopServiceDeployment: a deployment that goes on is to be rolled back to the revision before
//! it. The service scheduler does it.

use super::resolve;
use crate::context::{Context, Outcome, Result};
use crate::error::ApiError;
use wharf_model::arn::Resource;
use wharf_model::service::{ServiceDeploymentStatus, ServiceStatus};
use wharf_model::{RecordKey, ServiceDeployment, Transaction};
use wharf_scheduler::service::previous_revision;
use wharf_wire::ecs::types::{
    StopServiceDeploymentRequest, StopServiceDeploymentResponse, StopServiceDeploymentStopType,
};

const NOT_FOUND: &str = "The service deploy ARN that you specified in the StopServiceDeployment \
                         doesn't exist. You can use ListServiceDeployments to retrieve the service \
                         deployment ARNs.";
const REASON: &str = "Service deployment rolled back because of a StopServiceDeployment request.";

/// StopServiceDeployment.
pub fn stop_service_deployment(
    context: &Context<'_>,
    input: &StopServiceDeploymentRequest,
) -> Result<StopServiceDeploymentResponse> {
    let arn = input.service_deployment_arn.as_deref().unwrap_or_default();
    let Resource::ServiceDeployment(service_key, id) = resolve::arn(context, arn)?.resource else {
        return Err(ApiError::invalid_parameter(format!("Invalid identifier: {arn}")));
    };
    // ECS API `stopType`: "the valid values are ROLLBACK".
    if input.stop_type == Some(StopServiceDeploymentStopType::Abort) {
        return Err(ApiError::invalid_parameter("stopType should be one of [ROLLBACK]"));
    }
    let snapshot = context.snapshot;
    let key = (service_key.clone(), id);
    let deployment = snapshot
        .service_deployment(&key)
        .ok_or_else(|| ApiError::service_deployment_not_found(NOT_FOUND))?;
    // ECS developer guide, "Stopping Amazon ECS service deployments": what is being stopped or
    // rolled back already goes on doing so.
    use ServiceDeploymentStatus as Status;
    let output = StopServiceDeploymentResponse { service_deployment_arn: Some(arn.to_owned()) };
    let conflict = |text: String| ApiError::conflict(text, vec![arn.to_owned()]);
    match deployment.status {
        Status::Pending | Status::InProgress => {}
        Status::StopRequested | Status::RollbackRequested | Status::RollbackInProgress => {
            return Ok(Outcome::read(output));
        }
        ended => {
            let status = ended.as_str();
            return Err(conflict(format!(
                "The service deployment is in status {status}: it cannot be stopped."
            )));
        }
    }
    let service = snapshot
        .service(&service_key)
        .filter(|s| s.status == ServiceStatus::Active)
        .ok_or_else(|| conflict("The service is not ACTIVE.".to_owned()))?;
    if previous_revision(snapshot, service, deployment).is_none() {
        return Err(conflict("There is no service revision to roll back to.".to_owned()));
    }
    let mut transaction = Transaction::new();
    // The service scheduler, which rolls back, decides by the same records.
    for key in [RecordKey::Service(service_key), RecordKey::ServiceDeployment(key)] {
        transaction.read(key.clone(), snapshot.revision_of(&key));
    }
    transaction.put(ServiceDeployment {
        status: Status::RollbackRequested,
        status_reason: Some(REASON.to_owned()),
        stopped_at: Some(context.now),
        updated_at: context.now,
        ..ServiceDeployment::clone(deployment)
    });
    Ok(Outcome::write(output, transaction))
}
