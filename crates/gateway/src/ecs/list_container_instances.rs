//! ListContainerInstances: ARNs of a cluster's instances, by status and by an expression in the
//! cluster query language. INACTIVE ones are never listed.

use super::page::{Request, page};
use super::resolve;
use crate::context::{Context, Outcome, Result};
use crate::error::ApiError;
use wharf_model::ContainerInstance;
use wharf_model::container_instance::InstanceStatus;
use wharf_model::cql::{self, Facts};
use wharf_wire::ecs::types::{
    ContainerInstanceStatus, ListContainerInstancesRequest, ListContainerInstancesResponse,
};

/// The most instances on one page.
const PAGE_LIMIT: i32 = 100;

/// ListContainerInstances.
pub fn list_container_instances(
    context: &Context<'_>,
    input: &ListContainerInstancesRequest,
) -> Result<ListContainerInstancesResponse> {
    let cluster = resolve::cluster(context, input.cluster.as_deref())?;
    let filter = input.filter.as_deref().filter(|f| !f.trim().is_empty());
    let filter = filter
        .map(cql::parse)
        .transpose()
        .map_err(|error| ApiError::invalid_parameter(error.to_string()))?;
    let has_status = |i: &ContainerInstance| match input.status {
        None => i.status != InstanceStatus::Inactive,
        Some(ContainerInstanceStatus::Active) => i.status == InstanceStatus::Active,
        Some(ContainerInstanceStatus::Draining) => i.status == InstanceStatus::Draining,
        // Registration and deregistration are one step each here: nothing is ever between.
        Some(_) => false,
    };
    let matches = |i: &ContainerInstance| {
        let key = i.key();
        filter.as_ref().is_none_or(|filter| {
            filter.matches(&Facts {
                snapshot: context.snapshot,
                instance: i,
                usage: &context.snapshot.usage(&key),
                agent_connected: context.soft.agent_connected(&key),
            })
        })
    };
    let instances = context.snapshot.container_instances(&cluster.name);
    let listed = instances
        .filter(|i| has_status(i) && matches(i))
        .map(|i| (i.id.to_string(), context.arns.container_instance(&i.key())));
    let request = Request {
        next_token: input.next_token.as_deref(),
        max_results: input.max_results,
        limit: PAGE_LIMIT,
    };
    let page = page(listed, request)?;
    Ok(Outcome::read(ListContainerInstancesResponse {
        container_instance_arns: Some(page.items),
        next_token: page.next_token,
    }))
}
