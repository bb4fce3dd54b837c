//! StartTask: one new task on each of the instances named.

use super::{carried_out, launch_input, network_input, resolve, task_definition_reference};
use crate::context::{Context, Outcome, Result};
use crate::error::ApiError;
use wharf_model::task_definition::LaunchType;
use wharf_scheduler::task::{LaunchRequest, Target, launch};
use wharf_wire::ecs::types::{StartTaskRequest, StartTaskResponse};

/// StartTask.
pub fn start_task(context: &Context<'_>, input: &StartTaskRequest) -> Result<StartTaskResponse> {
    let cluster = resolve::cluster(context, input.cluster.as_deref())?;
    let definition = input.task_definition.as_deref().unwrap_or_default();
    if definition.is_empty() {
        return Err(ApiError::invalid_parameter("TaskDefinition can not be blank."));
    }
    let definition = task_definition_reference::runnable(context, definition)?;
    let mut refused = Vec::new();
    if input.enable_execute_command == Some(true) {
        refused.push("enableExecuteCommand");
    }
    if input.volume_configurations.as_ref().is_some_and(|v| !v.is_empty()) {
        refused.push("volumeConfigurations");
    }
    carried_out::refuse(&refused)?;
    let named = input.container_instances.as_deref().unwrap_or_default();
    let instances = launch_input::instances(context, &cluster.name, named)?;
    let overrides =
        launch_input::overrides(definition, input.overrides.as_ref(), context.has_object_store)?;
    let sent = input.network_configuration.as_ref();
    let network = network_input::configuration(context, definition, Some(LaunchType::Ec2), sent)?;
    let tags = launch_input::task_tags(
        &cluster.name,
        definition,
        input.tags.as_ref(),
        input.propagate_tags.as_ref(),
        input.enable_ecs_managed_tags,
    )?;
    let request = LaunchRequest {
        cluster: &cluster.name,
        task_definition: definition,
        overrides: &overrides,
        target: Target::Instances(&instances),
        group: launch_input::group(input.group.as_deref())?,
        started_by: launch_input::started_by(input.started_by.as_deref())?,
        service: None,
        launch_type: LaunchType::Ec2,
        capacity_providers: &[],
        platform_version: None,
        network: network.as_ref(),
        vpc: context.vpc,
        tags: &tags,
        enable_execute_command: false,
    };
    let plan = launch(context.snapshot, context.soft, &request, context.now, context.seed)
        .map_err(|e| ApiError::invalid_parameter(e.to_string()))?;
    let output = StartTaskResponse {
        tasks: Some(launch_input::tasks(context, &plan)),
        failures: Some(launch_input::failures(context, &plan.failures)?),
    };
    let history = launch_input::history(context, &cluster.name, &plan);
    let mut transaction = plan.transaction;
    if !plan.tasks.is_empty() {
        resolve::hold_cluster(context, &mut transaction, cluster);
    }
    Ok(Outcome::write(output, transaction).with_history(history))
}
