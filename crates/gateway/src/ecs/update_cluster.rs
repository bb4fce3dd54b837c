//! UpdateCluster: settings and configuration; what the request leaves out stays.

use super::{cluster_change, cluster_input};
use crate::context::{Context, Outcome, Result};
use wharf_wire::ecs::types::{UpdateClusterRequest, UpdateClusterResponse};

/// UpdateCluster.
pub fn update_cluster(
    context: &Context<'_>,
    input: &UpdateClusterRequest,
) -> Result<UpdateClusterResponse> {
    let (cluster, transaction) =
        cluster_change::change(context, input.cluster.as_deref(), |cluster| {
            cluster_input::refuse_service_connect(input.service_connect_defaults.is_some())?;
            if let Some(settings) = input.settings.as_deref().filter(|s| !s.is_empty()) {
                cluster.settings = cluster_input::settings(context, Some(settings))?;
            }
            if let Some(configuration) = &input.configuration {
                cluster.configuration = cluster_input::configuration(Some(configuration))?;
            }
            Ok(())
        })?;
    Ok(Outcome::write(UpdateClusterResponse { cluster: Some(cluster) }, transaction))
}
