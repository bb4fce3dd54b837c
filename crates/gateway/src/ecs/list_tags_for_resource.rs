//! ListTagsForResource: the tags of a resource of any kind.

use super::tagged::Tagged;
use super::tags;
use crate::context::{Context, Outcome, Result};
use wharf_wire::ecs::types::{ListTagsForResourceRequest, ListTagsForResourceResponse};

/// ListTagsForResource.
pub fn list_tags_for_resource(
    context: &Context<'_>,
    input: &ListTagsForResourceRequest,
) -> Result<ListTagsForResourceResponse> {
    let resource = Tagged::find(context, input.resource_arn.as_deref().unwrap_or_default())?;
    let tags = Some(tags::to_wire(&resource.tags));
    Ok(Outcome::read(ListTagsForResourceResponse { tags }))
}
