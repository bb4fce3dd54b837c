//! DescribeContainerInstances: up to 100 instances of a cluster. Deregistered ones are described
//! as INACTIVE while they are remembered.

use super::{present, resolve};
use crate::context::{Context, Outcome, Result};
use crate::error::ApiError;
use wharf_wire::ecs::types::{
    ContainerInstanceField, DescribeContainerInstancesRequest, DescribeContainerInstancesResponse,
};

/// The most instances of one call.
const MAX_ITEMS: usize = 100;

/// DescribeContainerInstances.
pub fn describe_container_instances(
    context: &Context<'_>,
    input: &DescribeContainerInstancesRequest,
) -> Result<DescribeContainerInstancesResponse> {
    let cluster = resolve::cluster(context, input.cluster.as_deref())?;
    let identifiers = input.container_instances.as_deref().unwrap_or_default();
    if identifiers.is_empty() {
        return Err(ApiError::invalid_parameter("Container instances cannot be empty."));
    }
    if identifiers.len() > MAX_ITEMS {
        return Err(ApiError::invalid_parameter(format!(
            "instanceIds can have at most {MAX_ITEMS} items."
        )));
    }
    let wants = |field| input.include.iter().flatten().any(|f| *f == field);
    let include = present::Include {
        tags: wants(ContainerInstanceField::Tags),
        health: wants(ContainerInstanceField::ContainerInstanceHealth),
    };
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for identifier in identifiers {
        let key = resolve::container_instance_key(context, &cluster.name, identifier)?;
        match context.snapshot.container_instance(&key) {
            Some(instance) => found.push(present::container_instance(context, instance, include)),
            None => {
                failures.push(present::failure(context.arns.container_instance(&key), "MISSING"));
            }
        }
    }
    Ok(Outcome::read(DescribeContainerInstancesResponse {
        container_instances: Some(found),
        failures: Some(failures),
    }))
}
