//! CreateService: a service and its first deployment. Its tasks are the service scheduler's work.

use super::{
    capacity_input, client_token, load_balancer_input, network_input, placement_input, present,
    resolve, service_change, service_input, tags, task_definition_reference,
};
use crate::context::{Context, Outcome, Result};
use crate::error::ApiError;
use std::collections::BTreeMap;
use wharf_model::service::{DeploymentConfiguration, ServiceLoadBalancer, ServiceStatus};
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
    let load_balancers =
        load_balancer_input::load_balancers(context, definition, input.load_balancers.as_deref())?;
    let role_arn = role_arn(context, definition, &load_balancers, input.role.as_deref())?;
    let grace_period = service_input::grace_period(input.health_check_grace_period_seconds)?;
    // ECS API `desiredCount`: "required if schedulingStrategy is REPLICA or isn't specified".
    let desired_count = input
        .desired_count
        .ok_or_else(|| ApiError::invalid_parameter("DesiredCount is missing"))?;
    let (launch_type, strategy) = capacity_input::capacity(
        cluster,
        input.launch_type.as_ref(),
        input.capacity_provider_strategy.as_deref(),
    )?;
    let mut service = Service {
        name: ServiceName::from(input.service_name.as_deref().unwrap_or_default()),
        cluster: cluster.name.clone(),
        status: ServiceStatus::Active,
        desired_count: service_input::desired_count(desired_count)?,
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
        // Shown as 0 where there is a load balancer and nothing was said.
        health_check_grace_period_seconds: grace_period
            .or_else(|| (!load_balancers.is_empty()).then_some(0)),
        load_balancers,
        deployments: Vec::new(),
        created_at: context.now,
        created_by: context.identity.principal_arn(),
        deleted_at: None,
        enable_ecs_managed_tags: input.enable_ecs_managed_tags.unwrap_or(false),
        propagate_tags: service_input::propagate_tags(input.propagate_tags.as_ref()),
        enable_execute_command: input.enable_execute_command.unwrap_or(false),
        availability_zone_rebalancing: "DISABLED".to_owned(),
        role_arn,
        reported: BTreeMap::new(),
        protected_tasks: BTreeMap::new(),
        tags: tags::from_wire(input.tags.as_ref())?,
        express: None,
    };
    let on = capacity_input::effective(launch_type, &service.capacity_provider_strategy);
    placement_input::check_launch_type(
        on,
        &service.placement_constraints,
        &service.placement_strategy,
    )?;
    placement_input::check_count(definition, &service.placement_constraints)?;
    capacity_input::check_compatible(on, definition)?;
    service.platform_version =
        capacity_input::platform_version(on, input.platform_version.as_deref())?;
    service.network_configuration = network_input::configuration(
        context,
        definition,
        on,
        input.network_configuration.as_ref(),
    )?;
    Ok(service)
}

/// Services whose tasks have interfaces of their own, or that use load balancers, use ECS's
/// service-linked role; the latter may name another one.
fn role_arn(
    context: &Context<'_>,
    definition: &TaskDefinition,
    load_balancers: &[ServiceLoadBalancer],
    sent: Option<&str>,
) -> std::result::Result<Option<String>, ApiError> {
    let awsvpc = definition.effective_network_mode() == NetworkMode::Awsvpc;
    let account = context.account();
    match sent.filter(|role| !role.is_empty()) {
        Some(_) if load_balancers.is_empty() => Err(ApiError::invalid_parameter(
            "IAM roles are only valid for services configured to use load balancers.",
        )),
        Some(_) if awsvpc => Err(ApiError::invalid_parameter(
            "You cannot specify an IAM role for services that require a service linked role.",
        )),
        Some(role) if role.starts_with("arn:") => Ok(Some(role.to_owned())),
        Some(role) => Ok(Some(format!("arn:aws:iam::{account}:role/{role}"))),
        None => Ok((awsvpc || !load_balancers.is_empty()).then(|| {
            format!(
                "arn:aws:iam::{account}:role/aws-service-role/ecs.amazonaws.com/\
                 AWSServiceRoleForECS"
            )
        })),
    }
}
