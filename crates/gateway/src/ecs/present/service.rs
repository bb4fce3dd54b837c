//! A service and its deployments as the API shows them. Counts are derived from the tasks.

use super::{capacity_provider_strategy, launch_type, network_configuration, tags, timestamp};
use crate::context::Context;
use std::collections::BTreeMap;
use wharf_model::service::{DeploymentConfiguration, ServiceLoadBalancer, ServiceStatus};
use wharf_model::task_definition::{PlacementConstraint, PlacementStrategy};
use wharf_model::{Deployment, LaunchSettings, Service, TaskStatus};
use wharf_wire::ecs::types;

/// The most events that a service shows (Amazon ECS: the last 100).
const MAX_EVENTS: usize = 100;

/// Tasks of a deployment or of a whole service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// RUNNING and meant to run on.
    pub running: i32,
    /// Before RUNNING and meant to run.
    pub pending: i32,
}

impl Counts {
    /// Both together.
    pub fn total(self) -> i32 {
        self.running + self.pending
    }
}

/// The service's tasks counted by deployment (`startedBy`). Tasks that are told to stop count no
/// more: the real service moves them out of RUNNING at once.
pub fn counts_by_deployment(context: &Context<'_>, record: &Service) -> BTreeMap<String, Counts> {
    let mut counts: BTreeMap<String, Counts> = BTreeMap::new();
    let key = record.key();
    for task in context.snapshot.service_tasks(&key).filter(|t| t.is_wanted()) {
        let deployment = task.started_by.clone().unwrap_or_default();
        let counts = counts.entry(deployment).or_default();
        if task.last_status == TaskStatus::Running {
            counts.running += 1;
        } else if task.last_status.is_starting() {
            counts.pending += 1;
        }
    }
    counts
}

/// The service; its tags only if `with_tags` (the API's `include: [TAGS]`).
pub fn service(context: &Context<'_>, record: &Service, with_tags: bool) -> types::Service {
    let key = record.key();
    let arns = context.arns;
    let counts = counts_by_deployment(context, record);
    let active = record.status != ServiceStatus::Inactive;
    let deployments: &[Deployment] = if active { &record.deployments } else { &[] };
    let event = |e: crate::context::ServiceEvent| types::ServiceEvent {
        id: Some(e.id),
        created_at: Some(timestamp(e.created_at)),
        message: Some(e.message),
    };
    // An earlier service of the same name has nothing to do with this one.
    let events = context.history.service_events(&key, MAX_EVENTS);
    let events = events.into_iter().filter(|e| e.created_at >= record.created_at);
    let of_deployment = |d: &Deployment| counts.get(&d.id).copied().unwrap_or_default();
    let revision = |d: &Deployment| types::ServiceCurrentRevisionSummary {
        arn: Some(arns.service_revision(&key, &d.service_revision_id)),
        requested_task_count: Some(desired(record, d, of_deployment(d))),
        running_task_count: Some(of_deployment(d).running),
        pending_task_count: Some(of_deployment(d).pending),
    };
    let primary = deployments.iter().find(|d| d.primary);
    let strategy = &record.capacity_provider_strategy;
    types::Service {
        service_arn: Some(arns.service(&key)),
        service_name: Some(record.name.to_string()),
        cluster_arn: Some(arns.cluster(&record.cluster)),
        load_balancers: Some(load_balancers(&record.load_balancers)),
        service_registries: Some(Vec::new()),
        status: Some(record.status.as_str().to_owned()),
        desired_count: Some(record.desired_count),
        running_count: Some(counts.values().map(|c| c.running).sum()),
        pending_count: Some(counts.values().map(|c| c.pending).sum()),
        launch_type: record.launch_type.map(launch_type),
        capacity_provider_strategy: (!strategy.is_empty())
            .then(|| capacity_provider_strategy(strategy)),
        platform_version: record.platform_version.clone(),
        platform_family: platform_family(record.platform_version.as_deref()),
        task_definition: Some(arns.task_definition(&record.task_definition)),
        deployment_configuration: Some(deployment_configuration(&record.deployment_configuration)),
        deployments: Some(
            deployments.iter().map(|d| deployment(context, record, d, of_deployment(d))).collect(),
        ),
        role_arn: record.role_arn.clone(),
        events: Some(events.map(event).collect()),
        created_at: Some(timestamp(record.created_at)),
        current_service_deployment: primary
            .map(|d| arns.service_deployment(&key, &d.service_deployment_id)),
        current_service_revisions: Some(deployments.iter().map(revision).collect()),
        placement_constraints: Some(placement_constraints(&record.placement_constraints)),
        placement_strategy: Some(placement_strategy(&record.placement_strategy)),
        network_configuration: record.network_configuration.as_ref().map(network_configuration),
        health_check_grace_period_seconds: record.health_check_grace_period_seconds,
        scheduling_strategy: Some(types::SchedulingStrategy::Replica),
        resource_management_type: Some(match record.express {
            Some(_) => types::ResourceManagementType::Ecs,
            None => types::ResourceManagementType::Customer,
        }),
        deployment_controller: Some(types::DeploymentController {
            r#type: Some(types::DeploymentControllerType::Ecs),
        }),
        tags: (with_tags).then(|| tags(&record.tags)),
        created_by: Some(record.created_by.clone()),
        enable_ecs_managed_tags: Some(record.enable_ecs_managed_tags),
        propagate_tags: Some(or(&record.propagate_tags, "NONE").into()),
        enable_execute_command: Some(record.enable_execute_command),
        availability_zone_rebalancing: Some(
            or(&record.availability_zone_rebalancing, "DISABLED").into(),
        ),
        ..types::Service::default()
    }
}

fn or<'a>(text: &'a str, default: &'a str) -> &'a str {
    if text.is_empty() { default } else { text }
}

/// What a deployment wants: the primary all, an older one what it keeps up or still has.
pub(super) fn desired(service: &Service, deployment: &Deployment, counts: Counts) -> i32 {
    match deployment.primary {
        true => service.desired_count,
        false => deployment.desired_count.unwrap_or_else(|| counts.total()),
    }
}

/// The target groups that tasks are registered in.
pub(super) fn load_balancers(records: &[ServiceLoadBalancer]) -> Vec<types::LoadBalancer> {
    let one = |record: &ServiceLoadBalancer| types::LoadBalancer {
        target_group_arn: Some(record.target_group_arn.clone()),
        container_name: Some(record.container_name.clone()),
        container_port: Some(i32::from(record.container_port)),
        ..types::LoadBalancer::default()
    };
    records.iter().map(one).collect()
}

/// What has a platform version runs on FARGATE.
pub(super) fn platform_family(version: Option<&str>) -> Option<String> {
    version.map(|_| "Linux".to_owned())
}

fn deployment(
    context: &Context<'_>,
    service: &Service,
    record: &Deployment,
    counts: Counts,
) -> types::Deployment {
    let settings = LaunchSettings::of(context.snapshot, service, record);
    let strategy = settings.capacity_provider_strategy;
    types::Deployment {
        id: Some(record.id.clone()),
        status: Some(if record.primary { "PRIMARY" } else { "ACTIVE" }.to_owned()),
        task_definition: Some(context.arns.task_definition(&record.task_definition)),
        desired_count: Some(desired(service, record, counts)),
        pending_count: Some(counts.pending),
        running_count: Some(counts.running),
        failed_tasks: Some(record.failed_tasks),
        created_at: Some(timestamp(record.created_at)),
        updated_at: Some(timestamp(record.updated_at)),
        capacity_provider_strategy: (!strategy.is_empty())
            .then(|| capacity_provider_strategy(strategy)),
        launch_type: settings.launch_type.map(launch_type),
        platform_version: settings.platform_version.map(str::to_owned),
        platform_family: platform_family(settings.platform_version),
        network_configuration: settings.network_configuration.map(network_configuration),
        rollout_state: Some(record.rollout_state.as_str().into()),
        rollout_state_reason: Some(record.rollout_state_reason.clone()),
        ..types::Deployment::default()
    }
}

/// A rolling update's configuration with the members that the real service fills in.
pub(super) fn deployment_configuration(
    record: &DeploymentConfiguration,
) -> types::DeploymentConfiguration {
    types::DeploymentConfiguration {
        deployment_circuit_breaker: Some(types::DeploymentCircuitBreaker {
            enable: Some(record.circuit_breaker_enable),
            rollback: Some(record.circuit_breaker_rollback),
        }),
        maximum_percent: Some(record.maximum_percent),
        minimum_healthy_percent: Some(record.minimum_healthy_percent),
        strategy: Some(types::DeploymentStrategy::Rolling),
        bake_time_in_minutes: Some(0),
        ..types::DeploymentConfiguration::default()
    }
}

fn placement_constraints(records: &[PlacementConstraint]) -> Vec<types::PlacementConstraint> {
    let one = |c: &PlacementConstraint| types::PlacementConstraint {
        r#type: Some(c.kind.as_str().into()),
        expression: c.expression.clone(),
    };
    records.iter().map(one).collect()
}

fn placement_strategy(records: &[PlacementStrategy]) -> Vec<types::PlacementStrategy> {
    let one = |s: &PlacementStrategy| types::PlacementStrategy {
        r#type: Some(s.kind.as_str().into()),
        field: s.field.clone(),
    };
    records.iter().map(one).collect()
}
