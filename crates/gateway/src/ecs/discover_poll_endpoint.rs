//! DiscoverPollEndpoint: where an agent opens its websockets. The agent appends `ws` itself.

use super::resolve;
use crate::context::{Context, Outcome, Result};
use wharf_wire::ecs::types::{DiscoverPollEndpointRequest, DiscoverPollEndpointResponse};

/// DiscoverPollEndpoint.
pub fn discover_poll_endpoint(
    context: &Context<'_>,
    input: &DiscoverPollEndpointRequest,
) -> Result<DiscoverPollEndpointResponse> {
    let cluster = resolve::cluster_name(context, input.cluster.as_deref())?;
    if let Some(instance) = &input.container_instance {
        resolve::container_instance_key(context, &cluster, instance)?;
    }
    let base = context.endpoint.trim_end_matches('/');
    Ok(Outcome::read(DiscoverPollEndpointResponse {
        endpoint: Some(format!("{base}/")),
        telemetry_endpoint: Some(format!("{base}/tcs")),
        service_connect_endpoint: Some(format!("{base}/service-connect")),
    }))
}
