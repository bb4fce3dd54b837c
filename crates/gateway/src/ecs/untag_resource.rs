//! UntagResource: takes tags off by key; keys that the resource doesn't have don't matter.

use super::tagged::Tagged;
use crate::context::{Context, Outcome, Result};
use wharf_wire::ecs::types::{UntagResourceRequest, UntagResourceResponse};

/// UntagResource.
pub fn untag_resource(
    context: &Context<'_>,
    input: &UntagResourceRequest,
) -> Result<UntagResourceResponse> {
    let resource = Tagged::find(context, input.resource_arn.as_deref().unwrap_or_default())?;
    let keys = input.tag_keys.as_deref().unwrap_or_default();
    let mut left = resource.tags.clone();
    left.retain(|tag| !keys.contains(&tag.key));
    Ok(Outcome::write(UntagResourceResponse {}, resource.with_tags(context, left)))
}
