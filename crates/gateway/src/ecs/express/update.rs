//! UpdateExpressGatewayService: a new revision, which a rolling update deploys. What isn't sent stays
//! as it is, members of the container too.

use super::input::{self, Size};
use super::steps::Steps;
use super::{active, create, find, infrastructure, view};
use crate::context::{Context, Outcome, Result as OperationResult};
use crate::ecs::present::timestamp;
use crate::ecs::register_task_definition::register_task_definition;
use crate::ecs::update_service;
use crate::elbv2;
use crate::error::ApiError;
use wharf_model::express::ExpressGateway;
use wharf_model::{Service, ServiceKey, TaskDefinition};
use wharf_wire::ecs::types;
use wharf_wire::elbv2 as elbv2_wire;

/// UpdateExpressGatewayService.
pub(in crate::ecs) fn update(
    context: &Context<'_>,
    input: &types::UpdateExpressGatewayServiceRequest,
) -> OperationResult<types::UpdateExpressGatewayServiceResponse> {
    let key = active(context, input.service_arn.as_deref())?;
    let (known, before) = find(context, &key).ok_or_else(ApiError::service_not_found)?;
    let mut steps = Steps::new(context);
    let express = express(&mut steps, input, before)?;
    let definition = context.snapshot.task_definition(&known.task_definition);
    let definition = definition.ok_or_else(ApiError::server)?;
    let update = service_update(&mut steps, input, known, definition, &express)?;
    steps.run(update_service::update_service, &update)?;
    create::put(&mut steps, &key, express)?;
    let service = shown(&steps.context(), &key)?;
    let output = types::UpdateExpressGatewayServiceResponse { service: Some(service) };
    Ok(Outcome::write(output, steps.finish()))
}

/// Health check and scaling.
fn express(
    steps: &mut Steps<'_>,
    input: &types::UpdateExpressGatewayServiceRequest,
    before: &ExpressGateway,
) -> Result<ExpressGateway, ApiError> {
    let scaling_target =
        input::scaling_target(input.scaling_target.as_ref(), Some(&before.scaling_target))?;
    let mut express =
        ExpressGateway { scaling_target, updated_at: steps.context().now, ..before.clone() };
    if let Some(path) = &input.health_check_path {
        express.health_check_path = input::health_check_path(path)?;
    }
    if express.health_check_path != before.health_check_path {
        let modified = elbv2_wire::types::ModifyTargetGroupInput {
            target_group_arn: Some(steps.context().arns.target_group(&express.target_group)),
            health_check_path: Some(express.health_check_path.clone()),
            ..elbv2_wire::types::ModifyTargetGroupInput::default()
        };
        steps.run_of_other(elbv2::modify_target_group, &modified)?;
    }
    Ok(express)
}

/// What of the service itself changes.
fn service_update(
    steps: &mut Steps<'_>,
    input: &types::UpdateExpressGatewayServiceRequest,
    known: &Service,
    definition: &TaskDefinition,
    express: &ExpressGateway,
) -> Result<types::UpdateServiceRequest, ApiError> {
    let was = view::container(&steps.context(), definition);
    let container = match &input.primary_container {
        Some(sent) => input::container(sent, Some(&was), "")?,
        None => was.clone(),
    };
    let cpu = definition.cpu.map(|cpu| cpu.to_string()).unwrap_or_default();
    let memory = definition.memory.map(|memory| memory.to_string()).unwrap_or_default();
    let (cpu, memory) = (input.cpu.clone().unwrap_or(cpu), input.memory.clone().unwrap_or(memory));
    let execution_role =
        input.execution_role_arn.as_ref().or(definition.execution_role_arn.as_ref());
    let task_role = input.task_role_arn.as_ref().or(definition.task_role_arn.as_ref());
    let size = Size {
        cpu: &cpu,
        memory: &memory,
        execution_role: execution_role.map(String::as_str).unwrap_or_default(),
        task_role: task_role.map(String::as_str),
    };
    let region = steps.context().region().to_owned();
    let family = definition.family.to_string();
    let wanted = input::task_definition(family.clone(), &region, &container, &size, None);
    let same = Size {
        cpu: &definition.cpu.map(|cpu| cpu.to_string()).unwrap_or_default(),
        memory: &definition.memory.map(|memory| memory.to_string()).unwrap_or_default(),
        execution_role: definition.execution_role_arn.as_deref().unwrap_or_default(),
        task_role: definition.task_role_arn.as_deref(),
    };
    let task_definition = match wanted == input::task_definition(family, &region, &was, &same, None)
    {
        true => None,
        false => {
            let registered = steps.run(register_task_definition, &wanted)?;
            registered.task_definition.and_then(|definition| definition.task_definition_arn)
        }
    };
    let moved = container.container_port != was.container_port;
    let load_balancer = || types::LoadBalancer {
        target_group_arn: Some(steps.context().arns.target_group(&express.target_group)),
        container_name: Some(input::CONTAINER.to_owned()),
        container_port: container.container_port,
        ..types::LoadBalancer::default()
    };
    Ok(types::UpdateServiceRequest {
        cluster: Some(known.cluster.to_string()),
        service: Some(known.name.to_string()),
        task_definition,
        desired_count: input.scaling_target.as_ref().map(|_| express.scaling_target.min_task_count),
        network_configuration: network(&steps.context(), input, known)?,
        load_balancers: moved.then(|| vec![load_balancer()]),
        force_new_deployment: Some(true),
        ..types::UpdateServiceRequest::default()
    })
}

/// Subnets and security groups that are sent take the place of those that were; the load balancer
/// stays where it is.
fn network(
    context: &Context<'_>,
    input: &types::UpdateExpressGatewayServiceRequest,
    known: &Service,
) -> Result<Option<types::NetworkConfiguration>, ApiError> {
    let Some(sent) = &input.network_configuration else { return Ok(None) };
    infrastructure::place(context, Some(sent))?;
    let was = known.network_configuration.clone().unwrap_or_default();
    let or = |sent: &Option<Vec<String>>, was: Vec<String>| match sent {
        Some(sent) if !sent.is_empty() => sent.clone(),
        _ => was,
    };
    let subnets = or(&sent.subnets, was.subnets);
    Ok(Some(create::network(&subnets, &or(&sent.security_groups, was.security_groups))))
}

fn shown(
    context: &Context<'_>,
    key: &ServiceKey,
) -> Result<types::UpdatedExpressGatewayService, ApiError> {
    let (service, express) = find(context, key).ok_or_else(ApiError::server)?;
    let primary = service.primary_deployment();
    Ok(types::UpdatedExpressGatewayService {
        service_arn: Some(context.arns.service(key)),
        cluster: Some(key.cluster.to_string()),
        service_name: Some(key.name.to_string()),
        status: Some(view::status(service, express)),
        target_configuration: primary
            .map(|deployment| view::configuration(context, service, express, deployment)),
        created_at: Some(timestamp(service.created_at)),
        updated_at: Some(timestamp(express.updated_at)),
    })
}
