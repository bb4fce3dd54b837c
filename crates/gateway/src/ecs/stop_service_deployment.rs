//! StopServiceDeployment: a deployment that goes on is rolled back to the revision before it.

use super::{resolve, service_change};
use crate::context::{Context, Outcome, Result};
use crate::error::ApiError;
use wharf_model::arn::Resource;
use wharf_model::service::{ServiceDeploymentStatus, ServiceStatus};
use wharf_model::{RecordKey, Service, ServiceRevision, Transaction};
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
    let conflict = |text: String| ApiError::conflict(text, vec![arn.to_owned()]);
    let going_on = matches!(
        deployment.status,
        ServiceDeploymentStatus::Pending | ServiceDeploymentStatus::InProgress
    );
    if !going_on {
        let status = deployment.status.as_str();
        return Err(conflict(format!(
            "The service deployment is in status {status}: it cannot be stopped."
        )));
    }
    let service = snapshot
        .service(&service_key)
        .filter(|s| s.status == ServiceStatus::Active)
        .ok_or_else(|| conflict("The service is not ACTIVE.".to_owned()))?;
    let revision = previous_revision(context, service, &deployment.source_revision_ids)
        .ok_or_else(|| conflict("There is no service revision to roll back to.".to_owned()))?;
    let mut transaction = Transaction::new();
    for key in [RecordKey::Service(service_key), RecordKey::ServiceDeployment(key)] {
        transaction.read(key.clone(), snapshot.revision_of(&key));
    }
    let mut changed = Service::clone(service);
    service_change::roll_back(
        context,
        &mut changed,
        deployment,
        &revision,
        REASON,
        &mut transaction,
    );
    transaction.put(changed);
    let output = StopServiceDeploymentResponse { service_deployment_arn: Some(arn.to_owned()) };
    Ok(Outcome::write(output, transaction))
}

/// The newest of the revisions that the deployment replaces, one that was completed first.
fn previous_revision(
    context: &Context<'_>,
    service: &Service,
    sources: &[String],
) -> Option<ServiceRevision> {
    let completed = |id: &&String| {
        let deployment = service.deployments.iter().find(|d| d.service_revision_id == **id);
        deployment.is_some_and(|d| d.reached_steady_state)
    };
    let id = sources.iter().find(completed).or(sources.first())?;
    let revision = context.snapshot.service_revision(&(service.key(), id.clone()))?;
    Some(ServiceRevision::clone(revision))
}
