//! UntagResource: takes tags off by key; keys that the resource doesn't have don't matter.

use super::tagged::Tagged;
use super::tags;
use crate::context::{Context, Outcome, Result};
use crate::error::ApiError;
use wharf_wire::ecs::types::{UntagResourceRequest, UntagResourceResponse};

/// UntagResource.
pub fn untag_resource(
    context: &Context<'_>,
    input: &UntagResourceRequest,
) -> Result<UntagResourceResponse> {
    let resource = Tagged::find(context, input.resource_arn.as_deref().unwrap_or_default())?;
    let keys = input.tag_keys.as_deref().unwrap_or_default();
    // ECS API UntagResource's tags: "you cannot edit or delete tag keys or values with this prefix".
    if keys.iter().any(|key| tags::is_reserved(key)) {
        return Err(ApiError::invalid_parameter(
            "Tags with the prefix aws: can not be deleted as it is reserved for AWS use.",
        ));
    }
    let mut left = resource.tags.clone();
    left.retain(|tag| !keys.contains(&tag.key));
    Ok(Outcome::write(UntagResourceResponse {}, resource.with_tags(context, left)))
}
