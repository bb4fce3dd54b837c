//! What a request for an Express Gateway service says, with ECS's defaults (ECS API
//! `CreateExpressGatewayServiceRequest`).

use crate::error::ApiError;
use std::collections::BTreeMap;
use wharf_model::IdSource;
use wharf_model::express::ScalingTarget;
use wharf_wire::Document;
use wharf_wire::ecs::types;

/// The container that takes the traffic.
pub(super) const CONTAINER: &str = "Main";
pub(super) const CPU: &str = "256";
pub(super) const MEMORY: &str = "512";
pub(super) const HEALTH_CHECK_PATH: &str = "/ping";
const PORT: i32 = 80;
const STREAM_PREFIX: &str = "ecs";
const TARGET_VALUE: i32 = 60;
const METRIC: &str = "AVERAGE_CPU";
/// Keeps the choice of names apart from that of ids.
const NAMES: u64 = 0x5bd1_e995_7b93_0dd7;

/// Names that are chosen before the decision, as a certificate and a log group are made outside of it.
pub(super) struct Names {
    pub(super) service: String,
    /// The host name: `LL-ID.ecs.REGION.localhost`, where ECS has `.on.aws`. What ends in `.localhost`
    /// browsers and curl look for on this host.
    pub(super) host: String,
    /// The log group of a service that names none.
    pub(super) log_group: String,
    /// 8 hex digits for whatever else needs a name.
    pub(super) id: String,
}

impl Names {
    pub(super) fn of(input: &Document, region: &str, seed: u64) -> Self {
        let mut ids = IdSource::new(seed ^ NAMES);
        let short = |ids: &mut IdSource, length: usize| ids.hex32()[..length].to_owned();
        let text = |member: &str| {
            input.get(member).and_then(Document::as_str).filter(|text| !text.is_empty())
        };
        let service = text("serviceName").map(str::to_owned).unwrap_or_else(|| {
            let container = input.get("primaryContainer");
            let image = container.and_then(|container| container.get("image"));
            let base = image.and_then(Document::as_str).map(base_name).unwrap_or_default();
            format!("{base}-{}", short(&mut ids, 4))
        });
        let cluster = text("cluster").and_then(|cluster| cluster.rsplit('/').next());
        let cluster = cluster.unwrap_or(crate::ecs::resolve::DEFAULT_CLUSTER);
        let letters: String = service.chars().filter(char::is_ascii_alphanumeric).take(2).collect();
        let host = format!("{}-{}.ecs.{region}.localhost", letters, ids.hex32());
        Self {
            host: host.to_ascii_lowercase(),
            log_group: format!("/aws/ecs/{cluster}/{service}-{}", short(&mut ids, 4)),
            id: short(&mut ids, 8),
            service,
        }
    }
}

/// An image's name as a service may be called.
fn base_name(image: &str) -> String {
    let name = image.rsplit('/').next().unwrap_or_default();
    let name = name.split([':', '@']).next().unwrap_or_default();
    let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let name: String = name.chars().filter(allowed).take(200).collect();
    if name.is_empty() { "express".to_owned() } else { name }
}

/// The container with everything said: as it is sent, else as it was, else ECS's defaults.
pub(super) fn container(
    sent: &types::ExpressGatewayContainer,
    known: Option<&types::ExpressGatewayContainer>,
    log_group: &str,
) -> Result<types::ExpressGatewayContainer, ApiError> {
    let was = known.cloned().unwrap_or_default();
    let image = sent.image.clone().filter(|image| !image.is_empty());
    let port = sent.container_port.or(was.container_port).unwrap_or(PORT);
    if !(1..=65_535).contains(&port) {
        return Err(ApiError::invalid_parameter(format!(
            "The container port {port} must be between 1 and 65535."
        )));
    }
    let default = || types::ExpressGatewayServiceAwsLogsConfiguration {
        log_group: Some(log_group.to_owned()),
        log_stream_prefix: Some(STREAM_PREFIX.to_owned()),
    };
    let logs = sent.aws_logs_configuration.clone().or(was.aws_logs_configuration);
    Ok(types::ExpressGatewayContainer {
        image: Some(image.ok_or_else(|| {
            ApiError::invalid_parameter("primaryContainer.image can not be blank.")
        })?),
        container_port: Some(port),
        aws_logs_configuration: Some(logs.unwrap_or_else(default)),
        repository_credentials: sent.repository_credentials.clone().or(was.repository_credentials),
        command: sent.command.clone().or(was.command),
        environment: sent.environment.clone().or(was.environment),
        secrets: sent.secrets.clone().or(was.secrets),
    })
}

/// `healthCheckPath`.
pub(super) fn health_check_path(sent: &str) -> Result<String, ApiError> {
    if !sent.starts_with('/') || sent.len() > 1024 {
        return Err(ApiError::invalid_parameter(format!(
            "The health check path '{sent}' must begin with '/' and have at most 1024 characters."
        )));
    }
    Ok(sent.to_owned())
}

/// `infrastructureRoleArn`.
pub(super) fn infrastructure_role(sent: Option<&str>, account: &str) -> Result<String, ApiError> {
    let sent = sent.unwrap_or_default();
    let role = format!("arn:aws:iam::{account}:role/");
    if sent.strip_prefix(&role).is_none_or(str::is_empty) {
        return Err(ApiError::invalid_parameter(format!(
            "infrastructureRoleArn '{sent}' is not the ARN of a role of this account."
        )));
    }
    Ok(sent.to_owned())
}

/// `scalingTarget`. As nothing scales a service here, one that doesn't say its most has its least.
pub(super) fn scaling_target(
    sent: Option<&types::ExpressGatewayScalingTarget>,
    known: Option<&ScalingTarget>,
) -> Result<ScalingTarget, ApiError> {
    let sent = sent.cloned().unwrap_or_default();
    let min = sent.min_task_count.or(known.map(|k| k.min_task_count)).unwrap_or(1);
    let max = match sent.max_task_count {
        Some(max) => max,
        None => known.map_or(min, |known| known.max_task_count.max(min)),
    };
    if min < 1 || max < min {
        return Err(ApiError::invalid_parameter(format!(
            "scalingTarget: minTaskCount {min} must be at least 1, and maxTaskCount {max} at least \
             minTaskCount."
        )));
    }
    let metric = sent.auto_scaling_metric.map(|metric| metric.as_str().to_owned());
    let metric = metric.or(known.map(|k| k.metric.clone())).unwrap_or_else(|| METRIC.to_owned());
    let value = sent.auto_scaling_target_value.or(known.map(|k| k.target_value));
    let target_value = value.unwrap_or(TARGET_VALUE);
    let most = if metric == "REQUEST_COUNT_PER_TARGET" { i32::MAX } else { 100 };
    if !(1..=most).contains(&target_value) {
        return Err(ApiError::invalid_parameter(format!(
            "scalingTarget: autoScalingTargetValue {target_value} must be between 1 and {most}."
        )));
    }
    Ok(ScalingTarget { min_task_count: min, max_task_count: max, metric, target_value })
}

/// What the tasks run, apart from the container.
pub(super) struct Size<'a> {
    pub(super) cpu: &'a str,
    pub(super) memory: &'a str,
    pub(super) execution_role: &'a str,
    pub(super) task_role: Option<&'a str>,
}

/// The task definition of a complete container.
pub(super) fn task_definition(
    family: String,
    region: &str,
    container: &types::ExpressGatewayContainer,
    size: &Size<'_>,
    tags: Option<Vec<types::Tag>>,
) -> types::RegisterTaskDefinitionRequest {
    let container = container.clone();
    let logs = container.aws_logs_configuration.unwrap_or_default();
    let options = BTreeMap::from([
        ("awslogs-group".to_owned(), logs.log_group.unwrap_or_default()),
        ("awslogs-region".to_owned(), region.to_owned()),
        ("awslogs-stream-prefix".to_owned(), logs.log_stream_prefix.unwrap_or_default()),
    ]);
    let definition = types::ContainerDefinition {
        name: Some(CONTAINER.to_owned()),
        image: container.image,
        essential: Some(true),
        port_mappings: Some(vec![types::PortMapping {
            container_port: container.container_port,
            protocol: Some(types::TransportProtocol::Tcp),
            ..types::PortMapping::default()
        }]),
        command: container.command,
        environment: container.environment,
        secrets: container.secrets,
        repository_credentials: container.repository_credentials.map(|credentials| {
            types::RepositoryCredentials {
                credentials_parameter: credentials.credentials_parameter,
            }
        }),
        log_configuration: Some(types::LogConfiguration {
            log_driver: Some(types::LogDriver::Awslogs),
            options: Some(options),
            secret_options: None,
        }),
        ..types::ContainerDefinition::default()
    };
    types::RegisterTaskDefinitionRequest {
        family: Some(family),
        network_mode: Some(types::NetworkMode::Awsvpc),
        requires_compatibilities: Some(vec![types::Compatibility::Fargate]),
        cpu: Some(size.cpu.to_owned()),
        memory: Some(size.memory.to_owned()),
        execution_role_arn: Some(size.execution_role.to_owned()),
        task_role_arn: size.task_role.map(str::to_owned),
        container_definitions: Some(vec![definition]),
        tags: tags.filter(|tags| !tags.is_empty()),
        ..types::RegisterTaskDefinitionRequest::default()
    }
}
