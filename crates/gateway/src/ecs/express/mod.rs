//! Express Gateway services: one call, an image in, an HTTPS URL out. A service is made with all that
//! it is reached through by the same operations that make these things one by one ([`steps`]), as one
//! transaction; so every other operation shows them, and nothing of it is half there.
//!
//! What was made for a service goes when it becomes INACTIVE: see [`wharf_scheduler::express`].

mod create;
mod infrastructure;
mod input;
mod steps;
#[cfg(test)]
mod tests;
mod update;
mod view;

use super::{delete_service, resolve};
use crate::context::{Context, Outcome, Result as OperationResult};
use crate::dispatch::{Call, Encoded, typed_input};
use crate::error::ApiError;
use input::Names;
use steps::Steps;
use wharf_model::arn::Resource;
use wharf_model::express::ExpressGateway;
use wharf_model::service::ServiceStatus;
use wharf_model::{Service, ServiceKey};
use wharf_wire::ecs::{operation, types};

pub(super) use update::update;

/// CreateExpressGatewayService. The certificate and the log group are made outside of the decision;
/// the latter only once it is known that the request can be carried out.
pub(super) async fn create(call: Call<'_>) -> Encoded {
    let app = call.app;
    let names = Names::of(&call.input, &app.arns().region, call.seed);
    let input = typed_input::<operation::CreateExpressGatewayService>(
        app,
        call.identity,
        call.input.clone(),
    )?;
    let issued = crate::acm::issue_for(&call, std::slice::from_ref(&names.host))
        .map_err(|error| ApiError::unsupported_feature(error.message))?;
    let snapshot = app.store().snapshot();
    let context = app.context(&snapshot, call.identity, call.now, call.seed);
    create::create(&context, &input, &names, &issued)?;
    let group = create::log_group(&input, &names);
    crate::logs::ensure_group(app.logs(), group, call.now.as_millis()).await?;
    call.run::<operation::CreateExpressGatewayService>(|context, input| {
        create::create(context, input, &names, &issued)
    })
    .await
}

/// DescribeExpressGatewayService.
pub(super) fn describe(
    context: &Context<'_>,
    input: &types::DescribeExpressGatewayServiceRequest,
) -> OperationResult<types::DescribeExpressGatewayServiceResponse> {
    let key = key(context, input.service_arn.as_deref())?;
    let (service, express) = find(context, &key).ok_or_else(|| {
        ApiError::resource_not_found(format!("Express Gateway service {} not found.", key.name))
    })?;
    let include = input.include.as_deref().unwrap_or_default();
    let with_tags = include.contains(&types::ExpressGatewayServiceInclude::Tags);
    Ok(Outcome::read(types::DescribeExpressGatewayServiceResponse {
        service: Some(view::service(context, service, express, with_tags)),
    }))
}

/// DeleteExpressGatewayService: DRAINING, and INACTIVE once its tasks are gone.
pub(super) fn delete(
    context: &Context<'_>,
    input: &types::DeleteExpressGatewayServiceRequest,
) -> OperationResult<types::DeleteExpressGatewayServiceResponse> {
    let key = active(context, input.service_arn.as_deref())?;
    let mut steps = Steps::new(context);
    let deletion = types::DeleteServiceRequest {
        cluster: Some(key.cluster.to_string()),
        service: Some(key.name.to_string()),
        force: Some(true),
    };
    steps.run(delete_service::delete_service, &deletion)?;
    let shown = {
        let context = steps.context();
        find(&context, &key).map(|(s, express)| view::service(&context, s, express, false))
    };
    let output = types::DeleteExpressGatewayServiceResponse { service: shown };
    Ok(Outcome::write(output, steps.finish()))
}

/// The service that an ARN names.
fn key(context: &Context<'_>, arn: Option<&str>) -> Result<ServiceKey, ApiError> {
    let arn = arn.unwrap_or_default();
    match resolve::arn(context, arn)?.resource {
        Resource::Service { cluster, name } => {
            let cluster = cluster.unwrap_or_else(|| resolve::DEFAULT_CLUSTER.into());
            Ok(ServiceKey::new(cluster, name))
        }
        _ => Err(ApiError::invalid_parameter(format!("Invalid identifier: {arn}"))),
    }
}

/// The key of an ACTIVE service that an ARN names.
fn active(context: &Context<'_>, arn: Option<&str>) -> Result<ServiceKey, ApiError> {
    let key = key(context, arn)?;
    match find(context, &key) {
        None => Err(ApiError::service_not_found()),
        Some((service, _)) if service.status != ServiceStatus::Active => {
            Err(ApiError::service_not_active())
        }
        Some(_) => Ok(key),
    }
}

fn find<'a>(context: &Context<'a>, key: &ServiceKey) -> Option<(&'a Service, &'a ExpressGateway)> {
    let service = context.snapshot.service(key)?;
    Some((service, service.express.as_ref()?))
}
