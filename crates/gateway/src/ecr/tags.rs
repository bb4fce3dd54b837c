//! Tags of repositories.

use super::{Ecr, ecr, invalid};
use crate::error::ApiError;
use std::sync::Arc;
use wharf_model::{Repository, Tag, tag};
use wharf_wire::ecr::ErrorCode;
use wharf_wire::ecr::types::{
    self, ListTagsForResourceRequest, ListTagsForResourceResponse, TagResourceRequest,
    TagResourceResponse, UntagResourceRequest, UntagResourceResponse,
};

/// The most tags of a repository.
const MAX_TAGS: usize = 50;

/// A request's tags, checked.
pub(super) fn from_wire(tags: Option<&Vec<types::Tag>>) -> Result<Vec<Tag>, ApiError> {
    let wrong = |text: String| ecr(ErrorCode::InvalidTagParameterException, text);
    let mut checked: Vec<Tag> = Vec::new();
    for tag in tags.into_iter().flatten() {
        let (key, value) =
            (tag.key.clone().unwrap_or_default(), tag.value.clone().unwrap_or_default());
        if key.is_empty() || key.chars().count() > 128 || value.chars().count() > 256 {
            let text = "Tag keys have 1 to 128 characters, tag values at most 256.";
            return Err(wrong(text.to_owned()));
        }
        if key.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case("aws:")) {
            return Err(wrong("Tag keys starting with aws: are reserved.".to_owned()));
        }
        if checked.iter().any(|known| known.key == key) {
            return Err(wrong(format!("The tag key {key} is given more than once.")));
        }
        checked.push(Tag { key, value });
    }
    within_limit(&checked)?;
    Ok(checked)
}

/// Tags as the wire has them.
pub(super) fn to_wire(tags: &[Tag]) -> Vec<types::Tag> {
    let tag = |tag: &Tag| types::Tag { key: Some(tag.key.clone()), value: Some(tag.value.clone()) };
    tags.iter().map(tag).collect()
}

fn within_limit(tags: &[Tag]) -> Result<(), ApiError> {
    match tags.len() > MAX_TAGS {
        true => {
            let message = format!("A repository can have at most {MAX_TAGS} tags.");
            Err(ecr(ErrorCode::TooManyTagsException, message))
        }
        false => Ok(()),
    }
}

/// The repository that an ARN names.
fn of_arn(call: &Ecr<'_>, arn: Option<&String>) -> Result<Arc<Repository>, ApiError> {
    let arn = arn.map(String::as_str).unwrap_or_default();
    let prefix = call.app.arns().repository("");
    let name = arn.strip_prefix(&prefix).map(str::to_owned);
    let name =
        name.ok_or_else(|| invalid("resourceArn", format!("'{arn}' is no repository here")))?;
    call.repository(None, Some(&name))
}

pub(super) async fn tag(
    call: &Ecr<'_>,
    input: TagResourceRequest,
) -> Result<TagResourceResponse, ApiError> {
    let repository = of_arn(call, input.resource_arn.as_ref())?;
    let added = from_wire(input.tags.as_ref())?;
    let change = |repository: &mut Repository| {
        repository.tags = tag::merge(&repository.tags, &added);
        within_limit(&repository.tags)
    };
    call.change(&repository, change).await?;
    Ok(TagResourceResponse {})
}

pub(super) async fn untag(
    call: &Ecr<'_>,
    input: UntagResourceRequest,
) -> Result<UntagResourceResponse, ApiError> {
    let repository = of_arn(call, input.resource_arn.as_ref())?;
    let keys = input.tag_keys.unwrap_or_default();
    let change = |repository: &mut Repository| {
        repository.tags.retain(|tag| !keys.contains(&tag.key));
        Ok(())
    };
    call.change(&repository, change).await?;
    Ok(UntagResourceResponse {})
}

pub(super) async fn list(
    call: &Ecr<'_>,
    input: ListTagsForResourceRequest,
) -> Result<ListTagsForResourceResponse, ApiError> {
    let repository = of_arn(call, input.resource_arn.as_ref())?;
    Ok(ListTagsForResourceResponse { tags: Some(to_wire(&repository.tags)) })
}
