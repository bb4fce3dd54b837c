//! A change of one ACTIVE cluster: what UpdateCluster, UpdateClusterSettings,
//! PutClusterCapacityProviders and DeleteCluster have in common.

use super::cluster_view::{Include, view};
use super::resolve;
use crate::context::Context;
use crate::error::ApiError;
use wharf_model::{Cluster, Transaction};
use wharf_wire::ecs::types;

/// Applies `change` to the cluster that `identifier` names; the changed cluster as the API shows
/// it, and the transaction that makes it so.
///
/// # Errors
/// `ClusterNotFoundException`, and what `change` says.
pub fn change(
    context: &Context<'_>,
    identifier: Option<&str>,
    change: impl FnOnce(&mut Cluster) -> Result<(), ApiError>,
) -> Result<(types::Cluster, Transaction), ApiError> {
    let before = resolve::cluster(context, identifier)?;
    let mut cluster = Cluster::clone(before);
    change(&mut cluster)?;
    let mut transaction = Transaction::new();
    resolve::hold_cluster(context, &mut transaction, before);
    let shown = view(context, &cluster, Include::AFTER_CHANGE)?;
    transaction.put(cluster);
    Ok((shown, transaction))
}
