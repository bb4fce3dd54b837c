//! What beginning a deployment changes: a revision that freezes what is deployed, a record of the
//! deployment that outlives it, and the service's new primary. The service scheduler does the
//! rest.

use crate::context::Context;
use wharf_model::service::{RolloutState, ServiceDeploymentStatus};
use wharf_model::{
    Deployment, IdSource, RecordKey, Service, ServiceDeployment, ServiceRevision, Transaction,
};

/// Length of a service deployment's id.
const DEPLOYMENT_ID_LENGTH: usize = 21;
/// What becomes of a deployment that another one takes over from.
const SUPERSEDED: &str = "Service deployment was stopped because a new service deployment started.";

/// Makes `service` deploy what its members now say. Deployments that were there go on as ACTIVE
/// until their tasks are gone.
pub fn begin_deployment(
    context: &Context<'_>,
    service: &mut Service,
    ids: &mut IdSource,
    transaction: &mut Transaction,
) {
    // Terraform finds the deployment's digits in the revision's ARN, as the real service has it.
    let digits = ids.digits19();
    let mut deployment_id = ids.hex32();
    deployment_id.truncate(DEPLOYMENT_ID_LENGTH);
    let key = service.key();
    let id = format!("ecs-svc/{digits}");
    supersede(context, service, transaction);
    transaction.put(ServiceRevision {
        service: key.clone(),
        id: digits.clone(),
        task_definition: service.task_definition.clone(),
        launch_type: service.launch_type,
        capacity_provider_strategy: service.capacity_provider_strategy.clone(),
        platform_version: service.platform_version.clone(),
        network_configuration: service.network_configuration.clone(),
        created_at: context.now,
    });
    transaction.put(ServiceDeployment {
        service: key,
        id: deployment_id.clone(),
        source_revision_ids: service
            .deployments
            .iter()
            .map(|d| d.service_revision_id.clone())
            .collect(),
        target_revision_id: digits.clone(),
        status: ServiceDeploymentStatus::InProgress,
        status_reason: None,
        created_at: context.now,
        started_at: Some(context.now),
        finished_at: None,
        stopped_at: None,
        updated_at: context.now,
        deployment_configuration: service.deployment_configuration.clone(),
        circuit_breaker_failures: 0,
        circuit_breaker_triggered: false,
        rollback: None,
    });
    let primary = Deployment {
        rollout_state_reason: format!("ECS deployment {id} in progress."),
        id,
        primary: true,
        task_definition: service.task_definition.clone(),
        service_revision_id: digits,
        service_deployment_id: deployment_id,
        created_at: context.now,
        updated_at: context.now,
        rollout_state: RolloutState::InProgress,
        failed_tasks: 0,
        consecutive_failures: 0,
        next_launch_at: None,
        reached_steady_state: false,
    };
    service.deployments.insert(0, primary);
}

/// The primary becomes one of the older ones, and its record ends if it was still going on.
fn supersede(context: &Context<'_>, service: &mut Service, transaction: &mut Transaction) {
    let service_key = service.key();
    let Some(old) = service.deployments.iter_mut().find(|d| d.primary) else { return };
    old.primary = false;
    old.updated_at = context.now;
    let key = (service_key, old.service_deployment_id.clone());
    let Some(record) = context.snapshot.service_deployment(&key) else { return };
    if !is_going_on(record.status) {
        return;
    }
    let record_key = RecordKey::ServiceDeployment(key);
    transaction.read(record_key.clone(), context.snapshot.revision_of(&record_key));
    transaction.put(ServiceDeployment {
        status: ServiceDeploymentStatus::Stopped,
        status_reason: Some(SUPERSEDED.to_owned()),
        stopped_at: Some(context.now),
        finished_at: Some(context.now),
        updated_at: context.now,
        ..ServiceDeployment::clone(record)
    });
}

/// True while a service deployment may still change by itself.
pub fn is_going_on(status: ServiceDeploymentStatus) -> bool {
    use ServiceDeploymentStatus as Status;
    matches!(
        status,
        Status::Pending
            | Status::InProgress
            | Status::StopRequested
            | Status::RollbackRequested
            | Status::RollbackInProgress
    )
}
