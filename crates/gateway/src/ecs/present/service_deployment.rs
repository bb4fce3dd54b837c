//! Service deployments and service revisions as the API shows them.

use super::service::{
    Counts, counts_by_deployment, deployment_configuration, desired, load_balancers,
    platform_family,
};
use super::{capacity_provider_strategy, launch_type, network_configuration, timestamp};
use crate::context::Context;
use std::collections::BTreeMap;
use wharf_model::service::{Rollback, ServiceDeploymentStatus};
use wharf_model::{Service, ServiceDeployment, ServiceRevision};
use wharf_wire::ecs::types;

/// The circuit breaker's least and most failures (Amazon ECS developer guide, "How the Amazon ECS
/// deployment circuit breaker detects failures").
const BREAKER_THRESHOLD: (i32, i32) = (3, 200);

/// A service deployment in the short form of ListServiceDeployments.
pub fn service_deployment_brief(
    context: &Context<'_>,
    record: &ServiceDeployment,
) -> types::ServiceDeploymentBrief {
    let arns = context.arns;
    let key = &record.service;
    types::ServiceDeploymentBrief {
        service_deployment_arn: Some(arns.service_deployment(key, &record.id)),
        service_arn: Some(arns.service(key)),
        cluster_arn: Some(arns.cluster(&key.cluster)),
        started_at: record.started_at.map(timestamp),
        created_at: Some(timestamp(record.created_at)),
        finished_at: record.finished_at.map(timestamp),
        target_service_revision_arn: Some(arns.service_revision(key, &record.target_revision_id)),
        status: Some(record.status.as_str().into()),
        status_reason: record.status_reason.clone(),
    }
}

/// A service deployment with the task counts of its revisions.
pub fn service_deployment(
    context: &Context<'_>,
    record: &ServiceDeployment,
) -> types::ServiceDeployment {
    let arns = context.arns;
    let key = &record.service;
    let service = context.snapshot.service(key).map(|s| &**s);
    let counts = service.map(|s| counts_by_deployment(context, s)).unwrap_or_default();
    let summary = |id: &String| revision_summary(context, record, service, &counts, id);
    let rollback = |r: &Rollback| types::Rollback {
        reason: Some(r.reason.clone()),
        started_at: Some(timestamp(r.started_at)),
        service_revision_arn: Some(arns.service_revision(key, &r.service_revision_id)),
    };
    types::ServiceDeployment {
        service_deployment_arn: Some(arns.service_deployment(key, &record.id)),
        service_arn: Some(arns.service(key)),
        cluster_arn: Some(arns.cluster(&key.cluster)),
        created_at: Some(timestamp(record.created_at)),
        started_at: record.started_at.map(timestamp),
        finished_at: record.finished_at.map(timestamp),
        stopped_at: record.stopped_at.map(timestamp),
        updated_at: Some(timestamp(record.updated_at)),
        source_service_revisions: Some(record.source_revision_ids.iter().map(summary).collect()),
        target_service_revision: Some(summary(&record.target_revision_id)),
        status: Some(record.status.as_str().into()),
        status_reason: record.status_reason.clone(),
        deployment_configuration: Some(deployment_configuration(&record.deployment_configuration)),
        rollback: record.rollback.as_ref().map(rollback),
        deployment_circuit_breaker: Some(circuit_breaker(record, service)),
        ..types::ServiceDeployment::default()
    }
}

fn revision_summary(
    context: &Context<'_>,
    record: &ServiceDeployment,
    service: Option<&Service>,
    counts: &BTreeMap<String, Counts>,
    revision_id: &str,
) -> types::ServiceRevisionSummary {
    let deployments = service.map(|s| s.deployments.as_slice()).unwrap_or_default();
    let deployment = deployments.iter().find(|d| d.service_revision_id == revision_id);
    let running = deployment.and_then(|d| counts.get(&d.id)).copied().unwrap_or_default();
    let requested = service.zip(deployment).map(|(s, d)| desired(s, d, running));
    types::ServiceRevisionSummary {
        arn: Some(context.arns.service_revision(&record.service, revision_id)),
        requested_task_count: Some(requested.unwrap_or(0)),
        running_task_count: Some(running.running),
        pending_task_count: Some(running.pending),
        ..types::ServiceRevisionSummary::default()
    }
}

fn circuit_breaker(
    record: &ServiceDeployment,
    service: Option<&Service>,
) -> types::ServiceDeploymentCircuitBreaker {
    use types::ServiceDeploymentRollbackMonitorsStatus as Status;
    let enabled = record.deployment_configuration.circuit_breaker_enable;
    let status = match record.status {
        _ if !enabled => Status::Disabled,
        _ if record.circuit_breaker_triggered => Status::Triggered,
        ServiceDeploymentStatus::Pending | ServiceDeploymentStatus::InProgress => {
            Status::Monitoring
        }
        _ => Status::MonitoringComplete,
    };
    let (least, most) = BREAKER_THRESHOLD;
    let half = service.map_or(0, |s| s.desired_count).saturating_add(1) / 2;
    // While it is going on, what its deployment has counted so far.
    let deployments = service.map(|s| s.deployments.as_slice()).unwrap_or_default();
    let target = deployments.iter().find(|d| d.service_revision_id == record.target_revision_id);
    let so_far = target.map_or(0, |d| d.failed_tasks);
    types::ServiceDeploymentCircuitBreaker {
        status: Some(status),
        failure_count: Some(record.circuit_breaker_failures.max(so_far)),
        threshold: Some(half.clamp(least, most)),
    }
}

/// A service revision. Images are those of its task definition.
pub fn service_revision(context: &Context<'_>, record: &ServiceRevision) -> types::ServiceRevision {
    let arns = context.arns;
    let key = &record.service;
    let definition = context.snapshot.task_definition(&record.task_definition);
    let containers = definition.map(|d| d.containers.as_slice()).unwrap_or_default();
    let image = |c: &wharf_model::ContainerDefinition| types::ContainerImage {
        container_name: Some(c.name.clone()),
        image_digest: None,
        image: Some(c.image.clone()),
    };
    let strategy = &record.capacity_provider_strategy;
    types::ServiceRevision {
        service_revision_arn: Some(arns.service_revision(key, &record.id)),
        service_arn: Some(arns.service(key)),
        cluster_arn: Some(arns.cluster(&key.cluster)),
        task_definition: Some(arns.task_definition(&record.task_definition)),
        capacity_provider_strategy: (!strategy.is_empty())
            .then(|| capacity_provider_strategy(strategy)),
        launch_type: record.launch_type.map(launch_type),
        platform_version: record.platform_version.clone(),
        platform_family: platform_family(record.platform_version.as_deref()),
        network_configuration: record.network_configuration.as_ref().map(network_configuration),
        load_balancers: (!record.load_balancers.is_empty())
            .then(|| load_balancers(&record.load_balancers)),
        container_images: Some(containers.iter().map(image).collect()),
        guard_duty_enabled: Some(false),
        created_at: Some(timestamp(record.created_at)),
        ..types::ServiceRevision::default()
    }
}
