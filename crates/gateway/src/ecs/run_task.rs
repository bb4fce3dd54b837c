//! RunTask: new tasks, placed where the scheduler says.

use super::{
    capacity_input, carried_out, client_token, launch_input, network_input, placement_input,
    present, resolve, task_definition_reference,
};
use crate::context::{Context, Outcome, Result};
use crate::error::ApiError;
use std::collections::BTreeMap;
use wharf_model::task_definition::LaunchType;
use wharf_model::{TaskKey, arn};
use wharf_scheduler::task::{LaunchRequest, Target, capacity_providers, launch};
use wharf_wire::ecs::types::{RunTaskRequest, RunTaskResponse};

const OPERATION: &str = "RunTask";
/// Most tasks of one call.
const MAX_COUNT: i32 = 10;

/// RunTask.
pub fn run_task(context: &Context<'_>, input: &RunTaskRequest) -> Result<RunTaskResponse> {
    let cluster = resolve::cluster(context, input.cluster.as_deref())?;
    let token = client_token::Use::new(
        context,
        &cluster.name,
        OPERATION,
        input.client_token.as_deref(),
        &RunTaskRequest { client_token: None, ..input.clone() },
    )?;
    if let Some(arns) = token.earlier() {
        return Ok(Outcome::read(earlier(context, arns)));
    }
    let definition = input.task_definition.as_deref().unwrap_or_default();
    if definition.is_empty() {
        return Err(ApiError::invalid_parameter("TaskDefinition can not be blank."));
    }
    let definition = task_definition_reference::runnable(context, definition)?;
    refuse(input)?;
    let (launch_type, capacity) = capacity_input::capacity(
        cluster,
        input.launch_type.as_ref(),
        input.capacity_provider_strategy.as_deref(),
    )?;
    let on = capacity_input::effective(launch_type, &capacity);
    capacity_input::check_compatible(on.filter(|l| *l == LaunchType::Fargate), definition)?;
    let version = capacity_input::platform_version(on, input.platform_version.as_deref())?;
    let count = input.count.unwrap_or(1);
    if !(1..=MAX_COUNT).contains(&count) {
        return Err(ApiError::invalid_parameter("Count should be between 1 and 10."));
    }
    let constraints =
        placement_input::constraints(input.placement_constraints.as_deref().unwrap_or_default())?;
    let strategy =
        placement_input::strategies(input.placement_strategy.as_deref().unwrap_or_default())?;
    placement_input::check_launch_type(on, &constraints, &strategy)?;
    placement_input::check_count(definition, &constraints)?;
    let overrides =
        launch_input::overrides(definition, input.overrides.as_ref(), context.has_object_store)?;
    let sent = input.network_configuration.as_ref();
    let network = network_input::configuration(context, definition, on, sent)?;
    let tags = launch_input::task_tags(
        &cluster.name,
        definition,
        input.tags.as_ref(),
        input.propagate_tags.as_ref(),
        input.enable_ecs_managed_tags,
    )?;
    let count = usize::try_from(count).unwrap_or(0);
    let providers = capacity_providers(&capacity, BTreeMap::new(), count);
    let request = LaunchRequest {
        cluster: &cluster.name,
        task_definition: definition,
        overrides: &overrides,
        target: Target::Placed { count, constraints: &constraints, strategy: &strategy },
        group: launch_input::group(input.group.as_deref())?,
        started_by: launch_input::started_by(input.started_by.as_deref())?,
        service: None,
        launch_type: on.unwrap_or(LaunchType::Ec2),
        capacity_providers: &providers,
        platform_version: version.as_deref().filter(|v| *v != "LATEST"),
        network: network.as_ref(),
        vpc: context.vpc,
        tags: &tags,
        enable_execute_command: false,
    };
    let plan = launch(context.snapshot, context.soft, &request, context.now, context.seed)
        .map_err(|e| ApiError::invalid_parameter(e.to_string()))?;
    let output = RunTaskResponse {
        tasks: Some(launch_input::tasks(context, &plan)),
        failures: Some(launch_input::failures(context, &plan.failures)?),
    };
    let history = launch_input::history(context, &cluster.name, &plan);
    let mut transaction = plan.transaction;
    if !plan.tasks.is_empty() {
        resolve::hold_cluster(context, &mut transaction, cluster);
        let arns = plan.tasks.iter().map(|task| context.arns.task(&task.key())).collect();
        token.remember(context, &mut transaction, arns);
    }
    Ok(Outcome::write(output, transaction).with_history(history))
}

/// The tasks that an earlier call with the same client token made, as they are now.
fn earlier(context: &Context<'_>, arns: &[String]) -> RunTaskResponse {
    let task = |text: &String| match arn::Arn::parse(text)?.resource {
        arn::Resource::Task { cluster: Some(cluster), id } => {
            let task = context.snapshot.task(&TaskKey { cluster, id })?;
            Some(present::task(context, task, true))
        }
        _ => None,
    };
    let tasks = arns.iter().filter_map(task).collect();
    RunTaskResponse { tasks: Some(tasks), failures: Some(Vec::new()) }
}

/// Refuses by name what isn't carried out.
fn refuse(input: &RunTaskRequest) -> std::result::Result<(), ApiError> {
    let mut refused = Vec::new();
    if input.enable_execute_command == Some(true) {
        refused.push("enableExecuteCommand");
    }
    if input.volume_configurations.as_ref().is_some_and(|v| !v.is_empty()) {
        refused.push("volumeConfigurations");
    }
    carried_out::refuse(&refused)
}
