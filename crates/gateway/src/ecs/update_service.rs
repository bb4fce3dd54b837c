//! UpdateService: changes of the service. Those that change what its tasks are begin a deployment.

use super::{
    capacity_input, cluster_input, load_balancer_input, network_input, placement_input, present,
    resolve, service_change, service_input, task_definition_reference,
};
use crate::context::{Context, Outcome, Result};
use crate::error::ApiError;
use std::sync::Arc;
use wharf_model::service::ServiceStatus;
use wharf_model::{NetworkMode, RecordKey, Service, TaskDefinition, Transaction};
use wharf_wire::ecs::types::{UpdateServiceRequest, UpdateServiceResponse};

/// The most deployments of a service at a time: one that has tasks left counts.
const MAX_DEPLOYMENTS: usize = 5;

/// UpdateService.
pub fn update_service(
    context: &Context<'_>,
    input: &UpdateServiceRequest,
) -> Result<UpdateServiceResponse> {
    let cluster = resolve::cluster(context, input.cluster.as_deref())?;
    let identifier = input.service.as_deref().unwrap_or_default();
    let key = resolve::service_key(context, &cluster.name, identifier)?;
    let known = context.snapshot.service(&key).ok_or_else(ApiError::service_not_found)?;
    if known.status != ServiceStatus::Active {
        return Err(ApiError::service_not_active());
    }
    service_input::refuse_of_update(input)?;
    let mut service = changed(context, known, input)?;
    let mut transaction = Transaction::new();
    let record_key = RecordKey::Service(key);
    transaction.read(record_key.clone(), context.snapshot.revision_of(&record_key));
    if needs_deployment(known, &service, input) {
        if known.deployments.len() >= MAX_DEPLOYMENTS {
            return Err(ApiError::invalid_parameter(format!(
                "{MAX_DEPLOYMENTS} active deployments exist, unable to create new deployment."
            )));
        }
        let mut ids = context.ids();
        service_change::begin_deployment(context, &mut service, &mut ids, &mut transaction);
    } else {
        service_change::scale_out_replaced(&mut service, known.desired_count);
    }
    let output = UpdateServiceResponse { service: Some(present::service(context, &service, true)) };
    transaction.put(service);
    Ok(Outcome::write(output, transaction))
}

/// True if the service's tasks have to be replaced (ECS API UpdateService: task definition,
/// platform version, network configuration, load balancers and capacity providers begin a deployment,
/// counts and limits don't).
fn needs_deployment(before: &Service, after: &Service, input: &UpdateServiceRequest) -> bool {
    input.force_new_deployment == Some(true)
        || before.task_definition != after.task_definition
        || before.platform_version != after.platform_version
        || before.network_configuration != after.network_configuration
        || before.load_balancers != after.load_balancers
        || before.capacity_provider_strategy != after.capacity_provider_strategy
}

/// The service as it will be, without the new deployment.
fn changed(
    context: &Context<'_>,
    known: &Arc<Service>,
    input: &UpdateServiceRequest,
) -> std::result::Result<Service, ApiError> {
    let mut service = Service::clone(known);
    if let Some(count) = input.desired_count {
        service.desired_count = service_input::desired_count(count)?;
    }
    service.deployment_configuration = service_input::deployment_configuration(
        &known.deployment_configuration,
        input.deployment_configuration.as_ref(),
    )?;
    if let Some(constraints) = &input.placement_constraints {
        service.placement_constraints = placement_input::constraints(constraints)?;
    }
    if let Some(strategy) = &input.placement_strategy {
        service.placement_strategy = placement_input::strategies(strategy)?;
    }
    if let Some(seconds) = service_input::grace_period(input.health_check_grace_period_seconds)? {
        service.health_check_grace_period_seconds = Some(seconds);
    }
    if let Some(enable) = input.enable_execute_command {
        service.enable_execute_command = enable;
    }
    if let Some(enable) = input.enable_ecs_managed_tags {
        service.enable_ecs_managed_tags = enable;
    }
    if input.propagate_tags.is_some() {
        service.propagate_tags = service_input::propagate_tags(input.propagate_tags.as_ref());
    }
    change_capacity_providers(context, &mut service, input)?;
    change_tasks(context, &mut service, input)?;
    Ok(service)
}

/// A strategy replaces a launch type; an empty one goes back to EC2 (ECS API UpdateService).
fn change_capacity_providers(
    context: &Context<'_>,
    service: &mut Service,
    input: &UpdateServiceRequest,
) -> std::result::Result<(), ApiError> {
    let Some(items) = input.capacity_provider_strategy.as_deref() else { return Ok(()) };
    let cluster = context.snapshot.cluster(&service.cluster);
    let providers = cluster.map(|c| c.capacity_providers.as_slice()).unwrap_or_default();
    let strategy = cluster_input::strategy(Some(items), providers)?;
    if strategy == service.capacity_provider_strategy {
        return Ok(());
    }
    if input.force_new_deployment != Some(true) {
        return Err(ApiError::invalid_parameter(
            "The service must be updated with forceNewDeployment to change its capacity provider \
             strategy.",
        ));
    }
    if strategy.is_empty() {
        service.launch_type = Some(wharf_model::task_definition::LaunchType::Ec2);
    } else {
        service.launch_type = None;
    }
    service.capacity_provider_strategy = strategy;
    Ok(())
}

/// Task definition, network and platform version, which have to fit each other.
fn change_tasks(
    context: &Context<'_>,
    service: &mut Service,
    input: &UpdateServiceRequest,
) -> std::result::Result<(), ApiError> {
    let sent = input.task_definition.as_deref().filter(|t| !t.is_empty());
    let definition: Option<&Arc<TaskDefinition>> = match sent {
        Some(name) => Some(named_definition(context, service, name)?),
        // One that was deregistered meanwhile goes on serving.
        None => context.snapshot.task_definition(&service.task_definition),
    };
    let Some(definition) = definition else { return Ok(()) };
    service.task_definition = definition.key();
    change_load_balancers(context, service, definition, input)?;
    let on = capacity_input::effective(service.launch_type, &service.capacity_provider_strategy);
    placement_input::check_count(definition, &service.placement_constraints)?;
    capacity_input::check_compatible(on, definition)?;
    placement_input::check_launch_type(
        on,
        &service.placement_constraints,
        &service.placement_strategy,
    )?;
    let version = input.platform_version.as_deref().or(service.platform_version.as_deref());
    service.platform_version = capacity_input::platform_version(on, version)?;
    let awsvpc = definition.effective_network_mode() == NetworkMode::Awsvpc;
    let keeps = input.network_configuration.is_none() && service.network_configuration.is_some();
    if !(awsvpc && keeps) {
        service.network_configuration = network_input::configuration(
            context,
            definition,
            on,
            input.network_configuration.as_ref(),
        )?;
    }
    Ok(())
}

/// Load balancers that are sent replace those that were there, all of them if the list is empty; what
/// stays must still fit a new task definition.
fn change_load_balancers(
    context: &Context<'_>,
    service: &mut Service,
    definition: &TaskDefinition,
    input: &UpdateServiceRequest,
) -> std::result::Result<(), ApiError> {
    match input.load_balancers.as_deref() {
        Some(sent) => {
            service.load_balancers =
                load_balancer_input::load_balancers(context, definition, Some(sent))?;
            if !service.load_balancers.is_empty() {
                service.health_check_grace_period_seconds.get_or_insert(0);
            }
        }
        None if input.task_definition.is_some() => {
            load_balancer_input::check(context, definition, &service.load_balancers)?;
        }
        None => {}
    }
    Ok(())
}

/// The ACTIVE task definition of this name, or the service's own, whatever its status.
fn named_definition<'a>(
    context: &Context<'a>,
    service: &Service,
    name: &str,
) -> std::result::Result<&'a Arc<TaskDefinition>, ApiError> {
    let reference = task_definition_reference::Reference::parse(context, name)?;
    match reference.find(context).filter(|d| d.key() == service.task_definition) {
        Some(own) => Ok(own),
        None => task_definition_reference::runnable(context, name),
    }
}
