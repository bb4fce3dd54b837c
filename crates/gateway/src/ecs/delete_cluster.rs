//! DeleteCluster: an empty cluster becomes INACTIVE. It is described for a while, and a cluster of
//! its name may be created anew.

use super::cluster_change;
use crate::context::{Context, Outcome, Result};
use crate::error::ApiError;
use wharf_model::Cluster;
use wharf_model::container_instance::InstanceStatus;
use wharf_model::service::ServiceStatus;
use wharf_wire::ecs::ErrorCode;
use wharf_wire::ecs::types::{DeleteClusterRequest, DeleteClusterResponse};

/// DeleteCluster.
pub fn delete_cluster(
    context: &Context<'_>,
    input: &DeleteClusterRequest,
) -> Result<DeleteClusterResponse> {
    // What could move into the cluster meanwhile reads its record, so that one of the two fails.
    let (cluster, transaction) =
        cluster_change::change(context, input.cluster.as_deref(), |cluster| {
            refuse_unless_empty(context, cluster)?;
            cluster.active = false;
            cluster.deleted_at = Some(context.now);
            cluster.tags.clear();
            Ok(())
        })?;
    Ok(Outcome::write(DeleteClusterResponse { cluster: Some(cluster) }, transaction))
}

fn refuse_unless_empty(
    context: &Context<'_>,
    cluster: &Cluster,
) -> std::result::Result<(), ApiError> {
    let snapshot = context.snapshot;
    if snapshot.services(&cluster.name).any(|s| s.status != ServiceStatus::Inactive) {
        return Err(ApiError::ecs(
            ErrorCode::ClusterContainsServicesException,
            "The Cluster cannot be deleted while Services are active.",
        ));
    }
    if snapshot.container_instances(&cluster.name).any(|i| i.status != InstanceStatus::Inactive) {
        return Err(ApiError::ecs(
            ErrorCode::ClusterContainsContainerInstancesException,
            "The Cluster cannot be deleted while Container Instances are active or draining.",
        ));
    }
    if snapshot.tasks(&cluster.name).any(|t| !t.last_status.is_stopped()) {
        return Err(ApiError::ecs(
            ErrorCode::ClusterContainsTasksException,
            "The Cluster cannot be deleted while Tasks are active.",
        ));
    }
    Ok(())
}
