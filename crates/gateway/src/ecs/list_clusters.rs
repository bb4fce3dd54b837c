//! ListClusters: the ARNs of ACTIVE clusters, by name.

use super::page::{Request, page};
use crate::context::{Context, Outcome, Result};
use wharf_wire::ecs::types::{ListClustersRequest, ListClustersResponse};

/// The most clusters on one page.
const PAGE_LIMIT: i32 = 100;

/// ListClusters.
pub fn list_clusters(
    context: &Context<'_>,
    input: &ListClustersRequest,
) -> Result<ListClustersResponse> {
    let active = context.snapshot.clusters().filter(|cluster| cluster.active);
    let arns = active.map(|c| (c.name.to_string(), context.arns.cluster(&c.name)));
    let request = Request {
        next_token: input.next_token.as_deref(),
        max_results: input.max_results,
        limit: PAGE_LIMIT,
    };
    let page = page(arns, request)?;
    Ok(Outcome::read(ListClustersResponse {
        cluster_arns: Some(page.items),
        next_token: page.next_token,
    }))
}
