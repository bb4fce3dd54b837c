//! What beginning a deployment changes: a revision that freezes what is deployed, a record of the
//! deployment that outlives it, and the service's new primary. The service scheduler does the
//! rest.

use crate::context::Context;
use wharf_model::service::ServiceDeploymentStatus;
use wharf_model::{IdSource, RecordKey, Service, ServiceDeployment, ServiceRevision, Transaction};
use wharf_scheduler::service::deployment_of;

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
        load_balancers: service.load_balancers.clone(),
        created_at: context.now,
    };
    let primary = deployment_of(&revision, &deployment_id, context.now);
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
        // The service scheduler starts it.
        status: ServiceDeploymentStatus::Pending,
        status_reason: None,
        created_at: context.now,
        started_at: None,
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
    // What was complete is kept up until the new deployment has taken over.
    let before = context.snapshot.service(&service_key).map(|s| s.desired_count);
    old.desired_count = before.filter(|_| old.reached_steady_state);
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

/// A service that grows during a rolling update grows in both revisions, so that load is carried
/// even where the new one doesn't start ("Amazon ECS improves service availability during rolling
/// deployments", November 2025).
pub fn scale_out_replaced(service: &mut Service, before: i32) {
    let more = service.desired_count.saturating_sub(before).max(0);
    for deployment in service.deployments.iter_mut().filter(|d| !d.primary) {
        deployment.desired_count = deployment.desired_count.map(|n| n.saturating_add(more));
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
