//! UpdateClusterSettings: `containerInsights` of a cluster.

use super::{cluster_change, cluster_input};
use crate::context::{Context, Outcome, Result};
use crate::error::ApiError;
use wharf_wire::ecs::types::{UpdateClusterSettingsRequest, UpdateClusterSettingsResponse};

/// UpdateClusterSettings.
pub fn update_cluster_settings(
    context: &Context<'_>,
    input: &UpdateClusterSettingsRequest,
) -> Result<UpdateClusterSettingsResponse> {
    let settings = input.settings.as_deref().unwrap_or_default();
    if settings.is_empty() {
        return Err(ApiError::invalid_parameter("Settings cannot be empty."));
    }
    let (cluster, transaction) =
        cluster_change::change(context, input.cluster.as_deref(), |cluster| {
            cluster.settings = cluster_input::settings(context, Some(settings))?;
            Ok(())
        })?;
    Ok(Outcome::write(UpdateClusterSettingsResponse { cluster: Some(cluster) }, transaction))
}
