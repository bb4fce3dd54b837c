//! A cluster as the API shows it: counts are derived from tasks, services and instances.

use super::tags;
use crate::context::Context;
use crate::error::ApiError;
use wharf_model::container_instance::InstanceStatus;
use wharf_model::service::ServiceStatus;
use wharf_model::task_definition::LaunchType;
use wharf_model::{Cluster, TaskStatus};
use wharf_wire::ecs::types;
use wharf_wire::json;

/// What `include` of DescribeClusters asks for beyond the basics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Include {
    /// `ATTACHMENTS`.
    pub attachments: bool,
    /// `CONFIGURATIONS`.
    pub configurations: bool,
    /// `SETTINGS`.
    pub settings: bool,
    /// `STATISTICS`.
    pub statistics: bool,
    /// `TAGS`.
    pub tags: bool,
}

impl Include {
    /// What the calls that change a cluster answer with.
    pub const AFTER_CHANGE: Self = Self {
        attachments: true,
        configurations: true,
        settings: true,
        statistics: false,
        tags: true,
    };
}

/// Tasks and services of a cluster, by launch type.
#[derive(Debug, Default)]
struct Counts {
    running: [i32; 3],
    pending: [i32; 3],
    active_services: [i32; 3],
    draining_services: [i32; 3],
    instances: i32,
}

fn slot(launch_type: LaunchType) -> usize {
    match launch_type {
        LaunchType::Ec2 => 0,
        LaunchType::Fargate => 1,
        LaunchType::External => 2,
    }
}

impl Counts {
    fn of(context: &Context<'_>, cluster: &Cluster) -> Self {
        let mut counts = Self::default();
        for task in context.snapshot.tasks(&cluster.name) {
            match task.last_status {
                TaskStatus::Running => counts.running[slot(task.launch_type)] += 1,
                status if status.is_starting() => counts.pending[slot(task.launch_type)] += 1,
                _ => {}
            }
        }
        for service in context.snapshot.services(&cluster.name) {
            // All capacity providers there are so far are FARGATE's.
            let at = slot(service.launch_type.unwrap_or(LaunchType::Fargate));
            match service.status {
                ServiceStatus::Active => counts.active_services[at] += 1,
                ServiceStatus::Draining => counts.draining_services[at] += 1,
                ServiceStatus::Inactive => {}
            }
        }
        let registered = context
            .snapshot
            .container_instances(&cluster.name)
            .filter(|i| i.status != InstanceStatus::Inactive);
        counts.instances = i32::try_from(registered.count()).unwrap_or(i32::MAX);
        counts
    }

    /// `statistics` in ECS's order and names.
    fn statistics(&self) -> Vec<types::KeyValuePair> {
        let pairs = [
            ("runningEC2TasksCount", self.running[0]),
            ("runningFargateTasksCount", self.running[1]),
            ("pendingEC2TasksCount", self.pending[0]),
            ("pendingFargateTasksCount", self.pending[1]),
            ("runningExternalTasksCount", self.running[2]),
            ("pendingExternalTasksCount", self.pending[2]),
            ("activeEC2ServiceCount", self.active_services[0]),
            ("activeFargateServiceCount", self.active_services[1]),
            ("drainingEC2ServiceCount", self.draining_services[0]),
            ("drainingFargateServiceCount", self.draining_services[1]),
            ("activeExternalServiceCount", self.active_services[2]),
            ("drainingExternalServiceCount", self.draining_services[2]),
        ];
        let pair = |(name, value): (&str, i32)| types::KeyValuePair {
            name: Some(name.to_owned()),
            value: Some(value.to_string()),
        };
        pairs.into_iter().map(pair).collect()
    }
}

/// `cluster` as the API shows it, with what `include` asks for.
///
/// # Errors
/// `ServerException` if its stored configuration can't be read.
pub fn view(
    context: &Context<'_>,
    cluster: &Cluster,
    include: Include,
) -> Result<types::Cluster, ApiError> {
    let counts = Counts::of(context, cluster);
    let or_empty = |wanted: bool, list: Vec<_>| if wanted { list } else { Vec::new() };
    let configuration = match &cluster.configuration {
        Some(stored) if include.configurations => Some(configuration(stored)?),
        _ => None,
    };
    let has_providers = !cluster.capacity_providers.is_empty();
    Ok(types::Cluster {
        cluster_arn: Some(context.arns.cluster(&cluster.name)),
        cluster_name: Some(cluster.name.to_string()),
        configuration,
        status: Some(if cluster.active { "ACTIVE" } else { "INACTIVE" }.to_owned()),
        registered_container_instances_count: Some(counts.instances),
        running_tasks_count: Some(counts.running.iter().sum()),
        pending_tasks_count: Some(counts.pending.iter().sum()),
        active_services_count: Some(counts.active_services.iter().sum()),
        statistics: Some(if include.statistics { counts.statistics() } else { Vec::new() }),
        tags: Some(or_empty(include.tags, tags::to_wire(&cluster.tags))),
        settings: Some(if include.settings { settings(cluster) } else { Vec::new() }),
        capacity_providers: Some(cluster.capacity_providers.clone()),
        default_capacity_provider_strategy: Some(strategy(cluster)),
        attachments: (include.attachments && has_providers).then(Vec::new),
        attachments_status: None,
        service_connect_defaults: None,
    })
}

fn configuration(stored: &serde_json::Value) -> Result<types::ClusterConfiguration, ApiError> {
    json::from_slice(stored.to_string().as_bytes()).map_err(|error| {
        tracing::error!(%error, "a stored cluster configuration can't be read");
        ApiError::server()
    })
}

fn settings(cluster: &Cluster) -> Vec<types::ClusterSetting> {
    let setting = |(name, value): &(String, String)| types::ClusterSetting {
        name: Some(name.as_str().into()),
        value: Some(value.clone()),
    };
    cluster.settings.iter().map(setting).collect()
}

fn strategy(cluster: &Cluster) -> Vec<types::CapacityProviderStrategyItem> {
    let item = |i: &wharf_model::cluster::CapacityProviderStrategyItem| {
        types::CapacityProviderStrategyItem {
            capacity_provider: Some(i.capacity_provider.clone()),
            weight: Some(i.weight),
            base: Some(i.base),
        }
    };
    cluster.default_capacity_provider_strategy.iter().map(item).collect()
}
