//! What beginning a deployment changes: a revision that freezes what is deployed, a record of the
//! deployment that outlives it, and the service's new primary. The service scheduler does the
//! rest.

use crate::context::Context;
use wharf_model::service::{Rollback, RolloutState, ServiceDeploymentStatus};
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
    supersede(context, service, transaction);
    let revision = ServiceRevision {
        service: key.clone(),
        id: digits.clone(),
        task_definition: service.task_definition.clone(),
        launch_type: service.launch_type,
        capacity_provider_strategy: service.capacity_provider_strategy.clone(),
        platform_version: service.platform_version.clone(),
        network_configuration: service.network_configuration.clone(),
        created_at: context.now,
    };
    let primary = new_deployment(context, &revision, &deployment_id);
    transaction.put(revision);
    transaction.put(ServiceDeployment {
        service: key,
        id: deployment_id,
        source_revision_ids: service
            .deployments
            .iter()
            .map(|d| d.service_revision_id.clone())
            .collect(),
        target_revision_id: digits,
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

/// Makes the service deploy an earlier revision again, as part of the deployment that is given up.
/// The revision's own deployment becomes the primary once more; its tasks go on.
pub fn roll_back(
    context: &Context<'_>,
    service: &mut Service,
    given_up: &ServiceDeployment,
    revision: &ServiceRevision,
    reason: &str,
    transaction: &mut Transaction,
) {
    service.task_definition = revision.task_definition.clone();
    service.launch_type = revision.launch_type;
    service.capacity_provider_strategy = revision.capacity_provider_strategy.clone();
    service.platform_version = revision.platform_version.clone();
    service.network_configuration = revision.network_configuration.clone();
    for deployment in service.deployments.iter_mut().filter(|d| d.primary) {
        deployment.primary = false;
        deployment.rollout_state = RolloutState::Failed;
        deployment.rollout_state_reason = format!("ECS deployment {} was stopped.", deployment.id);
        deployment.updated_at = context.now;
    }
    let place = service.deployments.iter().position(|d| d.service_revision_id == revision.id);
    let mut primary = match place {
        Some(place) => service.deployments.remove(place),
        None => new_deployment(context, revision, &given_up.id),
    };
    primary.primary = true;
    primary.failed_tasks = 0;
    primary.consecutive_failures = 0;
    primary.next_launch_at = None;
    primary.updated_at = context.now;
    primary.rollout_state = RolloutState::InProgress;
    primary.rollout_state_reason = format!("ECS deployment {} in progress.", primary.id);
    primary.service_deployment_id.clone_from(&given_up.id);
    service.deployments.insert(0, primary);
    transaction.put(ServiceDeployment {
        status: ServiceDeploymentStatus::RollbackInProgress,
        status_reason: Some(reason.to_owned()),
        stopped_at: Some(context.now),
        updated_at: context.now,
        rollback: Some(Rollback {
            reason: reason.to_owned(),
            started_at: context.now,
            service_revision_id: revision.id.clone(),
        }),
        ..given_up.clone()
    });
}

/// A primary deployment of `revision` without tasks yet.
fn new_deployment(
    context: &Context<'_>,
    revision: &ServiceRevision,
    service_deployment_id: &str,
) -> Deployment {
    let id = format!("ecs-svc/{}", revision.id);
    Deployment {
        rollout_state_reason: format!("ECS deployment {id} in progress."),
        id,
        primary: true,
        task_definition: revision.task_definition.clone(),
        service_revision_id: revision.id.clone(),
        service_deployment_id: service_deployment_id.to_owned(),
        created_at: context.now,
        updated_at: context.now,
        rollout_state: RolloutState::InProgress,
        failed_tasks: 0,
        consecutive_failures: 0,
        next_launch_at: None,
        reached_steady_state: false,
    }
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
