//! CreateExpressGatewayService, as a decision.

use super::infrastructure::{self, Ways};
use super::input::{self, Names, Size};
use super::steps::Steps;
use super::view;
use crate::context::{Context, Outcome, Result as OperationResult};
use crate::ecs::register_task_definition::register_task_definition;
use crate::ecs::{create_cluster, create_service, resolve};
use crate::error::ApiError;
use crate::outside::IssuedCertificate;
use wharf_model::express::ExpressGateway;
use wharf_model::{Service, ServiceKey, Transaction};
use wharf_wire::ecs::types;

/// The log group that the service's tasks write to.
pub(super) fn log_group(
    input: &types::CreateExpressGatewayServiceRequest,
    names: &Names,
) -> String {
    let container = input.primary_container.as_ref();
    let logs = container.and_then(|container| container.aws_logs_configuration.as_ref());
    logs.and_then(|logs| logs.log_group.clone()).unwrap_or_else(|| names.log_group.clone())
}

pub(super) fn create(
    context: &Context<'_>,
    input: &types::CreateExpressGatewayServiceRequest,
    names: &Names,
    issued: &IssuedCertificate,
) -> OperationResult<types::CreateExpressGatewayServiceResponse> {
    let sent = input.primary_container.clone().unwrap_or_default();
    let container = input::container(&sent, None, &names.log_group)?;
    let role = input.infrastructure_role_arn.as_deref();
    let infrastructure_role_arn = input::infrastructure_role(role, context.account())?;
    let path = input.health_check_path.as_deref().unwrap_or(input::HEALTH_CHECK_PATH);
    let health_check_path = input::health_check_path(path)?;
    let scaling_target = input::scaling_target(input.scaling_target.as_ref(), None)?;
    resolve::valid_name("Service", &names.service)?;
    let mut steps = Steps::new(context);
    let cluster = cluster(&mut steps, input.cluster.as_deref())?;
    let place = infrastructure::place(&steps.context(), input.network_configuration.as_ref())?;
    let port = container.container_port.unwrap_or_default();
    let ways = infrastructure::make(&mut steps, names, &place, issued, (port, &health_check_path))?;
    let size = Size {
        cpu: input.cpu.as_deref().unwrap_or(input::CPU),
        memory: input.memory.as_deref().unwrap_or(input::MEMORY),
        execution_role: input.execution_role_arn.as_deref().unwrap_or_default(),
        task_role: input.task_role_arn.as_deref(),
    };
    let family = format!("{cluster}-{}", names.service);
    let definition =
        input::task_definition(family, context.region(), &container, &size, input.tags.clone());
    let registered = steps.run(register_task_definition, &definition)?;
    let definition = registered.task_definition.and_then(|d| d.task_definition_arn);
    let service = service(&cluster, names, &ways, &place.subnets, port);
    let service = types::CreateServiceRequest {
        task_definition: definition,
        desired_count: Some(scaling_target.min_task_count),
        tags: input.tags.clone(),
        ..service
    };
    steps.run(create_service::create_service, &service)?;
    let express = ExpressGateway {
        infrastructure_role_arn,
        endpoint: names.host.clone(),
        is_public: place.is_public,
        load_balancer: ways.load_balancer,
        listener: ways.listener,
        rule: ways.rule,
        target_group: ways.target_group.1,
        certificate: ways.certificate,
        security_group: ways.own_group,
        health_check_path,
        scaling_target,
        updated_at: context.now,
    };
    let key = ServiceKey::new(cluster.as_str(), names.service.as_str());
    let shown = mark(&mut steps, &key, express)?;
    let output = types::CreateExpressGatewayServiceResponse { service: Some(shown) };
    Ok(Outcome::write(output, steps.finish()))
}

/// The cluster's name; `default` is made if it isn't there.
fn cluster(steps: &mut Steps<'_>, sent: Option<&str>) -> Result<String, ApiError> {
    let name = resolve::cluster_name(&steps.context(), sent)?;
    let is_there = steps.context().snapshot.cluster(&name).is_some_and(|cluster| cluster.active);
    if !is_there && name.as_str() == resolve::DEFAULT_CLUSTER {
        let request = types::CreateClusterRequest {
            cluster_name: Some(name.to_string()),
            capacity_providers: Some(vec!["FARGATE".to_owned()]),
            ..types::CreateClusterRequest::default()
        };
        steps.run(create_cluster::create_cluster, &request)?;
    }
    resolve::cluster(&steps.context(), Some(name.as_str()))?;
    Ok(name.to_string())
}

fn service(
    cluster: &str,
    names: &Names,
    ways: &Ways,
    subnets: &[String],
    port: i32,
) -> types::CreateServiceRequest {
    types::CreateServiceRequest {
        cluster: Some(cluster.to_owned()),
        service_name: Some(names.service.clone()),
        launch_type: Some(types::LaunchType::Fargate),
        load_balancers: Some(vec![types::LoadBalancer {
            target_group_arn: Some(ways.target_group.0.clone()),
            container_name: Some(input::CONTAINER.to_owned()),
            container_port: Some(port),
            ..types::LoadBalancer::default()
        }]),
        network_configuration: Some(network(subnets, &ways.security_groups)),
        deployment_configuration: Some(types::DeploymentConfiguration {
            deployment_circuit_breaker: Some(types::DeploymentCircuitBreaker {
                enable: Some(true),
                rollback: Some(true),
            }),
            ..types::DeploymentConfiguration::default()
        }),
        ..types::CreateServiceRequest::default()
    }
}

/// awsvpc configuration of the service's tasks.
pub(super) fn network(subnets: &[String], groups: &[String]) -> types::NetworkConfiguration {
    types::NetworkConfiguration {
        awsvpc_configuration: Some(types::AwsVpcConfiguration {
            subnets: Some(subnets.to_vec()),
            security_groups: Some(groups.to_vec()),
            assign_public_ip: None,
        }),
    }
}

/// Makes the service one of ECS's own; what it is shown as.
fn mark(
    steps: &mut Steps<'_>,
    key: &ServiceKey,
    express: ExpressGateway,
) -> Result<types::ECSExpressGatewayService, ApiError> {
    put(steps, key, express)?;
    let context = steps.context();
    let (service, express) = super::find(&context, key).ok_or_else(ApiError::server)?;
    Ok(view::service(&context, service, express, true))
}

/// Writes what the service has beside itself.
pub(super) fn put(
    steps: &mut Steps<'_>,
    key: &ServiceKey,
    express: ExpressGateway,
) -> Result<(), ApiError> {
    let found = steps.context().snapshot.service(key).map(|service| Service::clone(service));
    let service = Service { express: Some(express), ..found.ok_or_else(ApiError::server)? };
    let mut transaction = Transaction::new();
    transaction.put(service);
    steps.take(transaction);
    Ok(())
}
