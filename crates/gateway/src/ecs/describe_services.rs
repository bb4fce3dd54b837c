//! DescribeServices: up to 10 services of a cluster. Deleted ones are described as INACTIVE while
//! they are remembered; only what never was is MISSING.

use super::{present, resolve};
use crate::context::{Context, Outcome, Result};
use crate::error::ApiError;
use wharf_wire::ecs::types::{DescribeServicesRequest, DescribeServicesResponse, ServiceField};

/// The most services of one call.
const MAX_ITEMS: usize = 10;

/// DescribeServices.
pub fn describe_services(
    context: &Context<'_>,
    input: &DescribeServicesRequest,
) -> Result<DescribeServicesResponse> {
    let cluster = resolve::cluster(context, input.cluster.as_deref())?;
    let identifiers = input.services.as_deref().unwrap_or_default();
    if identifiers.is_empty() {
        return Err(ApiError::invalid_parameter("Services cannot be empty."));
    }
    if identifiers.len() > MAX_ITEMS {
        return Err(ApiError::invalid_parameter(format!(
            "service names can have at most {MAX_ITEMS} items."
        )));
    }
    let with_tags = input.include.iter().flatten().any(|f| *f == ServiceField::Tags);
    let (mut services, mut failures) = (Vec::new(), Vec::new());
    for identifier in identifiers {
        let key = resolve::service_key(context, &cluster.name, identifier)?;
        match context.snapshot.service(&key) {
            Some(service) => services.push(present::service(context, service, with_tags)),
            None => failures.push(present::failure(context.arns.service(&key), "MISSING")),
        }
    }
    Ok(Outcome::read(DescribeServicesResponse {
        services: Some(services),
        failures: Some(failures),
    }))
}
