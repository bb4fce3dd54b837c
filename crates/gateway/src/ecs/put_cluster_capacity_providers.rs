//! PutClusterCapacityProviders: replaces a cluster's capacity providers and its default strategy.

use super::{cluster_change, cluster_input};
use crate::context::{Context, Outcome, Result};
use crate::error::ApiError;
use wharf_model::Cluster;
use wharf_model::service::ServiceStatus;
use wharf_wire::ecs::types::{
    PutClusterCapacityProvidersRequest, PutClusterCapacityProvidersResponse,
};

/// PutClusterCapacityProviders.
pub fn put_cluster_capacity_providers(
    context: &Context<'_>,
    input: &PutClusterCapacityProvidersRequest,
) -> Result<PutClusterCapacityProvidersResponse> {
    let (cluster, transaction) =
        cluster_change::change(context, input.cluster.as_deref(), |cluster| {
            let providers = cluster_input::capacity_providers(input.capacity_providers.as_deref())?;
            let strategy = input.default_capacity_provider_strategy.as_deref();
            let strategy = cluster_input::strategy(strategy, &providers)?;
            refuse_if_used(context, cluster, &providers)?;
            cluster.capacity_providers = providers;
            cluster.default_capacity_provider_strategy = strategy;
            Ok(())
        })?;
    Ok(Outcome::write(PutClusterCapacityProvidersResponse { cluster: Some(cluster) }, transaction))
}

/// A provider that a service or a running task uses can't be taken off.
fn refuse_if_used(
    context: &Context<'_>,
    cluster: &Cluster,
    kept: &[String],
) -> std::result::Result<(), ApiError> {
    let removed = |name: &String| cluster.capacity_providers.contains(name) && !kept.contains(name);
    let by_service = context
        .snapshot
        .services(&cluster.name)
        .filter(|s| s.status != ServiceStatus::Inactive)
        .flat_map(|s| s.capacity_provider_strategy.iter().map(|i| &i.capacity_provider))
        .any(removed);
    let by_task = context
        .snapshot
        .tasks(&cluster.name)
        .filter(|t| !t.last_status.is_stopped())
        .filter_map(|t| t.capacity_provider.as_ref())
        .any(removed);
    if by_service || by_task {
        return Err(ApiError::resource_in_use(
            "The specified capacity provider is in use and cannot be removed.",
        ));
    }
    Ok(())
}
