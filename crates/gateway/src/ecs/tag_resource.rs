//! TagResource: lays tags over those that a resource has.

use super::tagged::Tagged;
use super::tags;
use crate::context::{Context, Outcome, Result};
use wharf_wire::ecs::types::{TagResourceRequest, TagResourceResponse};

/// TagResource.
pub fn tag_resource(
    context: &Context<'_>,
    input: &TagResourceRequest,
) -> Result<TagResourceResponse> {
    let resource = Tagged::find(context, input.resource_arn.as_deref().unwrap_or_default())?;
    let changes = tags::from_wire(input.tags.as_ref())?;
    let merged = tags::merged(&resource.tags, &changes)?;
    Ok(Outcome::write(TagResourceResponse {}, resource.with_tags(context, merged)))
}
