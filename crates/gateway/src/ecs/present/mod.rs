//! Records as the API shows them: one function a shape, from model to wire.
//!
//! Every operation that shows a task shows the same task. Members that the real service always
//! sends are always sent here too, empty lists included; members that it leaves out are left out.

mod container_instance;
mod container_settings;
mod service;
mod service_deployment;
mod task;
mod task_definition;

pub use super::tags::to_wire as tags;
pub use container_instance::{Include, container_instance};
pub use service::{Counts, counts_by_deployment, service};
pub use service_deployment::{service_deployment, service_deployment_brief, service_revision};
pub use task::{task, task_attributes};
pub use task_definition::task_definition;

use wharf_model::task_definition::LaunchType;
use wharf_model::{Timestamp, cluster};
use wharf_wire::ecs::types;

/// A point in time.
pub fn timestamp(at: Timestamp) -> wharf_wire::Timestamp {
    wharf_wire::Timestamp::from_millis(at.as_millis())
}

/// A launch type.
pub fn launch_type(launch_type: LaunchType) -> types::LaunchType {
    types::LaunchType::from(launch_type.as_str())
}

/// A failure of one of several things asked for: `MISSING` and the like.
pub fn failure(arn: impl Into<String>, reason: impl Into<String>) -> types::Failure {
    types::Failure { arn: Some(arn.into()), reason: Some(reason.into()), detail: None }
}

/// Name and value, as environments and attachment details have them.
pub fn pair(name: &str, value: &str) -> types::KeyValuePair {
    types::KeyValuePair { name: Some(name.to_owned()), value: Some(value.to_owned()) }
}

/// A capacity provider strategy.
pub fn capacity_provider_strategy(
    items: &[cluster::CapacityProviderStrategyItem],
) -> Vec<types::CapacityProviderStrategyItem> {
    let item = |i: &cluster::CapacityProviderStrategyItem| types::CapacityProviderStrategyItem {
        capacity_provider: Some(i.capacity_provider.clone()),
        weight: Some(i.weight),
        base: Some(i.base),
    };
    items.iter().map(item).collect()
}

/// awsvpc configuration.
pub fn network_configuration(
    configuration: &wharf_model::network::AwsVpcConfiguration,
) -> types::NetworkConfiguration {
    let assign = if configuration.assign_public_ip { "ENABLED" } else { "DISABLED" };
    types::NetworkConfiguration {
        awsvpc_configuration: Some(types::AwsVpcConfiguration {
            subnets: Some(configuration.subnets.clone()),
            security_groups: Some(configuration.security_groups.clone()),
            assign_public_ip: Some(assign.into()),
        }),
    }
}
