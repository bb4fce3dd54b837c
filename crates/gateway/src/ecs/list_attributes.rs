//! ListAttributes: attributes of a cluster's ACTIVE and DRAINING container instances, by name and
//! value.

use super::attribute_input::shown;
use super::page::{Request, page};
use super::resolve;
use crate::context::{Context, Outcome, Result};
use crate::error::ApiError;
use wharf_model::Attribute;
use wharf_model::container_instance::InstanceStatus;
use wharf_wire::ecs::types::{ListAttributesRequest, ListAttributesResponse};

/// The most attributes on one page.
const PAGE_LIMIT: i32 = 100;

/// ListAttributes.
pub fn list_attributes(
    context: &Context<'_>,
    input: &ListAttributesRequest,
) -> Result<ListAttributesResponse> {
    let cluster = resolve::cluster(context, input.cluster.as_deref())?;
    let name = input.attribute_name.as_deref().filter(|n| !n.is_empty());
    let value = input.attribute_value.as_deref().filter(|v| !v.is_empty());
    if value.is_some() && name.is_none() {
        return Err(ApiError::invalid_parameter(
            "attributeName must be specified when attributeValue is specified.",
        ));
    }
    let wanted = |a: &Attribute| {
        name.is_none_or(|n| a.name == n) && value.is_none_or(|v| a.value.as_deref() == Some(v))
    };
    let instances = context.snapshot.container_instances(&cluster.name);
    let active = instances.filter(|i| i.status != InstanceStatus::Inactive);
    let listed = active.flat_map(|instance| {
        let mut attributes: Vec<_> = instance
            .attributes
            .iter()
            .filter(|a| wanted(a))
            .map(|a| (format!("{} {}", instance.id, a.name), shown(context, instance, a)))
            .collect();
        attributes.sort_by(|(a, _), (b, _)| a.cmp(b));
        attributes
    });
    let request = Request {
        next_token: input.next_token.as_deref(),
        max_results: input.max_results,
        limit: PAGE_LIMIT,
    };
    let page = page(listed, request)?;
    Ok(Outcome::read(ListAttributesResponse {
        attributes: Some(page.items),
        next_token: page.next_token,
    }))
}
