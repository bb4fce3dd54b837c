//! CreateService: a service and its first deployment. Its tasks are the service scheduler's work.

use super::service_input::{self, effective_launch_type};
use super::{
    client_token, cluster_input, network_input, placement_input, present, resolve, service_change,
    tags, task_definition_reference,
};
use crate::context::{Context, Outcome, Result};
use crate::error::ApiError;
use std::collections::BTreeMap;
use wharf_model::service::{DeploymentConfiguration, ServiceStatus};
use wharf_model::task_definition::LaunchType;
use wharf_model::{
    Cluster, NetworkMode, RecordKey, Service, ServiceKey, ServiceName, TaskDefinition, Transaction,
};
use wharf_wire::ecs::types::{CreateServiceRequest, CreateServiceResponse};

const OPERATION: &str = "CreateService";

/// CreateService.
pub fn create_service(
    context: &Context<'_>,
    input: &CreateServiceRequest,
) -> Result<CreateServiceResponse> {
    let cluster = resolve::cluster(context, input.cluster.as_deref())?;
    let name = input.service_name.as_deref().unwrap_or_default();
    resolve::valid_name("Service", name)?;
    let key = ServiceKey::new(cluster.name.clone(), name);
    let mut transaction = Transaction::new();
    let token = client_token::Use::new(
        context,
        &cluster.name,
        OPERATION,
        input.client_token.as_deref(),
        &CreateServiceRequest { client_token: None, ..input.clone() },
    )?;
    match context.snapshot.service(&key).map(|s| (s, s.status)) {
        None | Some((_, ServiceStatus::Inactive)) => {}
        Some((_, ServiceStatus::Draining)) => {
            return Err(ApiError::invalid_parameter(
                "Unable to Start a service that is still Draining.",
            ));
        }
        Some((existing, ServiceStatus::Active)) => {
            if token.was_used_for(&context.arns.service(&key)) {
                let service = Some(present::service(context, existing, true));
                return Ok(Outcome::read(CreateServiceResponse { service }));
            }
            return Err(ApiError::invalid_parameter("Creation of service was not idempotent."));
        }
    }
    service_input::refuse_of_create(input)?;
    let mut service = wanted(context, cluster, input)?;
    resolve::hold_cluster(context, &mut transaction, cluster);
    let record_key = RecordKey::Service(key.clone());
    transaction.read(record_key.clone(), context.snapshot.revision_of(&record_key));
    service_change::begin_deployment(context, &mut service, &mut context.ids(), &mut transaction);
    token.remember(context, &mut transaction, vec![context.arns.service(&key)]);
    let output = CreateServiceResponse { service: Some(present::service(context, &service, true)) };
    transaction.put(service);
    Ok(Outcome::write(output, transaction))
}

/// The service that the request describes, without deployments.
fn wanted(
    context: &Context<'_>,
    cluster: &Cluster,
    input: &CreateServiceRequest,
) -> std::result::Result<Service, ApiError> {
    let name = input.task_definition.as_deref().filter(|t| !t.is_empty());
    let name =
        name.ok_or_else(|| ApiError::invalid_parameter("TaskDefinition can not be blank."))?;
    let definition = task_definition_reference::runnable(context, name)?;
    if input.role.as_deref().is_some_and(|role| !role.is_empty()) {
        return Err(ApiError::invalid_parameter(
            "You cannot specify an IAM role for services that don't use a load balancer.",
        ));
    }
    service_input::check_grace_period(input.health_check_grace_period_seconds)?;
    let (launch_type, strategy) = launch_type(cluster, input)?;
    let mut service = Service {
        name: ServiceName::from(input.service_name.as_deref().unwrap_or_default()),
        cluster: cluster.name.clone(),
        status: ServiceStatus::Active,
        desired_count: service_input::desired_count(input.desired_count.unwrap_or(0))?,
        task_definition: definition.key(),
        launch_type,
        capacity_provider_strategy: strategy,
        platform_version: None,
        deployment_configuration: service_input::deployment_configuration(
            &DeploymentConfiguration::default(),
            input.deployment_configuration.as_ref(),
        )?,
        placement_constraints: placement_input::constraints(
            input.placement_constraints.as_deref().unwrap_or_default(),
        )?,
        placement_strategy: placement_input::strategies(
            input.placement_strategy.as_deref().unwrap_or_default(),
        )?,
        network_configuration: None,
        health_check_grace_period_seconds: input.health_check_grace_period_seconds,
        deployments: Vec::new(),
        created_at: context.now,
        created_by: context.identity.principal_arn(),
        deleted_at: None,
        enable_ecs_managed_tags: input.enable_ecs_managed_tags.unwrap_or(false),
        propagate_tags: service_input::propagate_tags(input.propagate_tags.as_ref()),
        enable_execute_command: input.enable_execute_command.unwrap_or(false),
        availability_zone_rebalancing: "DISABLED".to_owned(),
        role_arn: role_arn(context, definition),
        reported: BTreeMap::new(),
        protected_tasks: BTreeMap::new(),
        tags: tags::from_wire(input.tags.as_ref())?,
    };
    let on = effective_launch_type(&service);
    placement_input::check_launch_type(
        on,
        &service.placement_constraints,
        &service.placement_strategy,
    )?;
    service_input::check_launch_type(&service, definition)?;
    service.platform_version =
        service_input::platform_version(on, input.platform_version.as_deref())?;
    service.network_configuration = network_input::configuration(
        context,
        definition,
        on,
        input.network_configuration.as_ref(),
    )?;
    Ok(service)
}

/// A launch type or a strategy: what was sent, else the cluster's strategy, else EC2.
type Placement = (Option<LaunchType>, Vec<wharf_model::cluster::CapacityProviderStrategyItem>);

fn launch_type(
    cluster: &Cluster,
    input: &CreateServiceRequest,
) -> std::result::Result<Placement, ApiError> {
    let sent = input.capacity_provider_strategy.as_deref().filter(|s| !s.is_empty());
    match (&input.launch_type, sent) {
        (Some(_), Some(_)) => Err(ApiError::invalid_parameter(
            "Specifying both a launch type and capacity provider strategy is not supported. \
             Remove one and try again.",
        )),
        (Some(launch_type), None) => match LaunchType::parse(launch_type.as_str()) {
            Some(launch_type) => Ok((Some(launch_type), Vec::new())),
            None => Err(ApiError::unsupported_feature(format!(
                "Not supported by this server: launchType {launch_type}."
            ))),
        },
        (None, Some(items)) => {
            Ok((None, cluster_input::strategy(Some(items), &cluster.capacity_providers)?))
        }
        (None, None) if !cluster.default_capacity_provider_strategy.is_empty() => {
            Ok((None, cluster.default_capacity_provider_strategy.clone()))
        }
        (None, None) => Ok((Some(LaunchType::Ec2), Vec::new())),
    }
}

/// Services whose tasks have interfaces of their own use ECS's service-linked role.
fn role_arn(context: &Context<'_>, definition: &TaskDefinition) -> Option<String> {
    (definition.effective_network_mode() == NetworkMode::Awsvpc).then(|| {
        format!(
            "arn:aws:iam::{}:role/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS",
            context.account()
        )
    })
}
