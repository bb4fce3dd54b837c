//! DescribeClusters: up to 100 clusters. Deleted ones are described as INACTIVE while they are
//! remembered; only what never was is MISSING.

use super::cluster_view::{Include, view};
use super::{present, resolve};
use crate::context::{Context, Outcome, Result};
use crate::error::ApiError;
use wharf_wire::ecs::types::{ClusterField, DescribeClustersRequest, DescribeClustersResponse};

/// The most clusters of one call.
const MAX_ITEMS: usize = 100;

/// DescribeClusters.
pub fn describe_clusters(
    context: &Context<'_>,
    input: &DescribeClustersRequest,
) -> Result<DescribeClustersResponse> {
    let default = [resolve::DEFAULT_CLUSTER.to_owned()];
    let identifiers = match input.clusters.as_deref() {
        None | Some([]) => &default[..],
        Some(identifiers) => identifiers,
    };
    if identifiers.len() > MAX_ITEMS {
        return Err(ApiError::invalid_parameter(format!(
            "Clusters can have at most {MAX_ITEMS} items."
        )));
    }
    let wants = |field: ClusterField| input.include.iter().flatten().any(|f| *f == field);
    let include = Include {
        attachments: wants(ClusterField::Attachments),
        configurations: wants(ClusterField::Configurations),
        settings: wants(ClusterField::Settings),
        statistics: wants(ClusterField::Statistics),
        tags: wants(ClusterField::Tags),
    };
    let (mut clusters, mut failures) = (Vec::new(), Vec::new());
    for identifier in identifiers {
        let name = resolve::cluster_name(context, Some(identifier))?;
        match context.snapshot.cluster(&name) {
            Some(cluster) => clusters.push(view(context, cluster, include)?),
            None => failures.push(present::failure(context.arns.cluster(&name), "MISSING")),
        }
    }
    Ok(Outcome::read(DescribeClustersResponse {
        clusters: Some(clusters),
        failures: Some(failures),
    }))
}
