//! ListServices: ARNs of a cluster's ACTIVE services, by name. One that is deleted isn't listed any
//! more, though its tasks still stop (ECS API DeleteService).

use super::page::{Request, page};
use super::resolve;
use crate::context::{Context, Outcome, Result};
use wharf_model::Service;
use wharf_model::service::ServiceStatus;
use wharf_model::task_definition::LaunchType;
use wharf_wire::ecs::types::{
    ListServicesRequest, ListServicesResponse, ResourceManagementType, SchedulingStrategy,
};

/// The most services on one page, and how many there are unless asked otherwise (ECS API
/// `ListServicesRequest$maxResults`).
const PAGE_LIMIT: i32 = 100;
const PAGE_DEFAULT: i32 = 10;

/// ListServices.
pub fn list_services(
    context: &Context<'_>,
    input: &ListServicesRequest,
) -> Result<ListServicesResponse> {
    let cluster = resolve::cluster(context, input.cluster.as_deref())?;
    let launch_type = input.launch_type.as_ref().map(|l| LaunchType::parse(l.as_str()));
    // All services are of type REPLICA.
    let none = input.scheduling_strategy == Some(SchedulingStrategy::Daemon);
    let managed = input.resource_management_type.as_ref();
    let managed = managed.map(|kind| *kind == ResourceManagementType::Ecs);
    let wanted = |s: &Service| {
        !none
            && s.status == ServiceStatus::Active
            && managed.is_none_or(|managed| managed == s.express.is_some())
            && launch_type.is_none_or(|l| l.is_some() && s.launch_type == l)
    };
    let services = context.snapshot.services(&cluster.name).filter(|s| wanted(s));
    let listed = services.map(|s| (s.name.to_string(), context.arns.service(&s.key())));
    let request = Request {
        next_token: input.next_token.as_deref(),
        max_results: Some(input.max_results.unwrap_or(PAGE_DEFAULT)),
        limit: PAGE_LIMIT,
    };
    let page = page(listed, request)?;
    Ok(Outcome::read(ListServicesResponse {
        service_arns: Some(page.items),
        next_token: page.next_token,
    }))
}
