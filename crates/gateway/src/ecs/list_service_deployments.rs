//! ListServiceDeployments: a service's deployments, newest first.

use super::page::{Request, page};
use super::{present, resolve};
use crate::context::{Context, Outcome, Result};
use crate::error::ApiError;
use wharf_model::ServiceDeployment;
use wharf_wire::ecs::types::{ListServiceDeploymentsRequest, ListServiceDeploymentsResponse};

/// The most deployments on one page, and how many there are unless asked otherwise (ECS API
/// `ListServiceDeploymentsRequest$maxResults`).
const PAGE_LIMIT: i32 = 100;
const PAGE_DEFAULT: i32 = 20;

/// ListServiceDeployments.
pub fn list_service_deployments(
    context: &Context<'_>,
    input: &ListServiceDeploymentsRequest,
) -> Result<ListServiceDeploymentsResponse> {
    let identifier = input.service.as_deref().unwrap_or_default();
    // A service's ARN says which cluster: the call needs to name it only beside a bare name.
    let named = match wharf_model::Arn::parse(identifier).map(|arn| arn.resource) {
        Some(wharf_model::arn::Resource::Service { cluster: Some(cluster), .. }) => {
            Some(cluster.to_string())
        }
        _ => None,
    };
    let cluster = input.cluster.as_deref().or(named.as_deref());
    let cluster = resolve::cluster(context, cluster)?;
    let key = resolve::service_key(context, &cluster.name, identifier)?;
    let service = context.snapshot.service(&key).ok_or_else(ApiError::service_not_found)?;
    let statuses = input.status.as_deref().unwrap_or_default();
    let (after, before) = match &input.created_at {
        Some(range) => (range.after.map(|t| t.millis()), range.before.map(|t| t.millis())),
        None => (None, None),
    };
    let wanted = |d: &ServiceDeployment| {
        let created = d.created_at.as_millis();
        // An earlier service of the same name has nothing to do with this one.
        d.created_at >= service.created_at
            && (statuses.is_empty() || statuses.iter().any(|s| s.as_str() == d.status.as_str()))
            && after.is_none_or(|after| created >= after)
            && before.is_none_or(|before| created <= before)
    };
    let deployments = context.snapshot.service_deployments(&key).filter(|d| wanted(d));
    let mut listed: Vec<_> = deployments
        .map(|d| {
            let newest_first = i64::MAX - d.created_at.as_millis();
            (format!("{newest_first:020} {}", d.id), present::service_deployment_brief(context, d))
        })
        .collect();
    listed.sort_by(|(a, _), (b, _)| a.cmp(b));
    let request = Request {
        next_token: input.next_token.as_deref(),
        max_results: Some(input.max_results.unwrap_or(PAGE_DEFAULT)),
        limit: PAGE_LIMIT,
    };
    let page = page(listed.into_iter(), request)?;
    Ok(Outcome::read(ListServiceDeploymentsResponse {
        service_deployments: Some(page.items),
        next_token: page.next_token,
    }))
}
