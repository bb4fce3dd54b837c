//! Express Gateway services as the API shows them.

use crate::context::Context;
use crate::ecs::present;
use crate::ecs::present::timestamp;
use wharf_model::express::{ExpressGateway, ScalingTarget};
use wharf_model::network::AwsVpcConfiguration;
use wharf_model::service::ServiceStatus;
use wharf_model::{Deployment, LaunchSettings, Service, TaskDefinition};
use wharf_wire::ecs::types;

/// What is said of a service that might be scaled.
const NOT_SCALED: &str =
    "The service runs minTaskCount tasks: this server scales no service by itself.";

/// The container of a task definition that was made for such a service.
pub(super) fn container(
    context: &Context<'_>,
    definition: &TaskDefinition,
) -> types::ExpressGatewayContainer {
    let shown = present::task_definition(context.arns, definition);
    let containers = shown.container_definitions.unwrap_or_default();
    let container = containers.into_iter().next().unwrap_or_default();
    let options = container.log_configuration.and_then(|log| log.options).unwrap_or_default();
    let option = |name: &str| options.get(name).cloned();
    let ports = container.port_mappings.unwrap_or_default();
    let credentials = container.repository_credentials;
    fn given<T>(list: Option<Vec<T>>) -> Option<Vec<T>> {
        list.filter(|list| !list.is_empty())
    }
    types::ExpressGatewayContainer {
        image: container.image,
        container_port: ports.first().and_then(|port| port.container_port),
        aws_logs_configuration: Some(types::ExpressGatewayServiceAwsLogsConfiguration {
            log_group: option("awslogs-group"),
            log_stream_prefix: option("awslogs-stream-prefix"),
        }),
        repository_credentials: credentials.map(|credentials| {
            types::ExpressGatewayRepositoryCredentials {
                credentials_parameter: credentials.credentials_parameter,
            }
        }),
        command: given(container.command),
        environment: given(container.environment),
        secrets: given(container.secrets),
    }
}

fn network(
    configuration: &AwsVpcConfiguration,
) -> types::ExpressGatewayServiceNetworkConfiguration {
    types::ExpressGatewayServiceNetworkConfiguration {
        security_groups: Some(configuration.security_groups.clone()),
        subnets: Some(configuration.subnets.clone()),
    }
}

fn scaling(target: &ScalingTarget) -> types::ExpressGatewayScalingTarget {
    types::ExpressGatewayScalingTarget {
        min_task_count: Some(target.min_task_count),
        max_task_count: Some(target.max_task_count),
        auto_scaling_metric: Some(target.metric.as_str().into()),
        auto_scaling_target_value: Some(target.target_value),
    }
}

/// What a deployment deploys.
pub(super) fn configuration(
    context: &Context<'_>,
    service: &Service,
    express: &ExpressGateway,
    deployment: &Deployment,
) -> types::ExpressGatewayServiceConfiguration {
    let definition = context.snapshot.task_definition(&deployment.task_definition);
    let settings = LaunchSettings::of(context.snapshot, service, deployment);
    let access = if express.is_public { "PUBLIC" } else { "PRIVATE" };
    let key = service.key();
    types::ExpressGatewayServiceConfiguration {
        service_revision_arn: Some(
            context.arns.service_revision(&key, &deployment.service_revision_id),
        ),
        execution_role_arn: definition.and_then(|d| d.execution_role_arn.clone()),
        task_role_arn: definition.and_then(|d| d.task_role_arn.clone()),
        cpu: definition.and_then(|d| d.cpu).map(|cpu| cpu.to_string()),
        memory: definition.and_then(|d| d.memory).map(|memory| memory.to_string()),
        network_configuration: settings.network_configuration.map(network),
        health_check_path: Some(express.health_check_path.clone()),
        primary_container: definition.map(|definition| container(context, definition)),
        scaling_target: Some(scaling(&express.scaling_target)),
        ingress_paths: Some(vec![types::IngressPathSummary {
            access_type: Some(access.into()),
            endpoint: Some(express.endpoint.clone()),
        }]),
        created_at: Some(timestamp(deployment.created_at)),
    }
}

pub(super) fn status(
    service: &Service,
    express: &ExpressGateway,
) -> types::ExpressGatewayServiceStatus {
    let target = &express.scaling_target;
    let might_scale = target.max_task_count > target.min_task_count;
    let is_active = service.status == ServiceStatus::Active;
    types::ExpressGatewayServiceStatus {
        status_code: Some(service.status.as_str().into()),
        status_reason: (might_scale && is_active).then(|| NOT_SCALED.to_owned()),
    }
}

/// The service; its tags only if `with_tags`.
pub(super) fn service(
    context: &Context<'_>,
    service: &Service,
    express: &ExpressGateway,
    with_tags: bool,
) -> types::ECSExpressGatewayService {
    let key = service.key();
    let is_there = service.status != ServiceStatus::Inactive;
    let deployments: &[Deployment] = if is_there { &service.deployments } else { &[] };
    let configurations = deployments.iter().map(|d| configuration(context, service, express, d));
    let primary = deployments.iter().find(|deployment| deployment.primary);
    types::ECSExpressGatewayService {
        cluster: Some(service.cluster.to_string()),
        service_name: Some(service.name.to_string()),
        service_arn: Some(context.arns.service(&key)),
        infrastructure_role_arn: Some(express.infrastructure_role_arn.clone()),
        status: Some(status(service, express)),
        current_deployment: primary
            .map(|d| context.arns.service_deployment(&key, &d.service_deployment_id)),
        active_configurations: Some(configurations.collect()),
        tags: with_tags.then(|| present::tags(&service.tags)),
        created_at: Some(timestamp(service.created_at)),
        updated_at: Some(timestamp(express.updated_at)),
    }
}
