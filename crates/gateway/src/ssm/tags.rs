//! Tags of parameters.

use super::{client, for_change, get, invalid};
use crate::context::{Context, Outcome, Result};
use crate::ecs::tags::{MAX_TAGS, is_reserved};
use crate::error::ApiError;
use wharf_model::Tag;
use wharf_wire::ssm::types::{
    self, AddTagsToResourceRequest, AddTagsToResourceResult, ListTagsForResourceRequest,
    ListTagsForResourceResult, RemoveTagsFromResourceRequest, RemoveTagsFromResourceResult,
    ResourceTypeForTagging,
};

/// A request's tags, checked.
pub(super) fn from_wire(tags: Option<&Vec<types::Tag>>) -> std::result::Result<Vec<Tag>, ApiError> {
    let mut all: Vec<Tag> = Vec::new();
    for tag in tags.into_iter().flatten() {
        let key = tag.key.clone().unwrap_or_default();
        if is_reserved(&key) {
            return Err(invalid("Tag keys that begin with aws: are reserved for AWS use."));
        }
        all = wharf_model::tag::merge(
            &all,
            &[Tag { key, value: tag.value.clone().unwrap_or_default() }],
        );
    }
    within_limit(&all)?;
    Ok(all)
}

fn within_limit(tags: &[Tag]) -> std::result::Result<(), ApiError> {
    match tags.len() > MAX_TAGS {
        true => {
            Err(client("TooManyTagsError", format!("A resource can have at most {MAX_TAGS} tags.")))
        }
        false => Ok(()),
    }
}

/// The name of the parameter that a tagging call is about.
fn resource(
    context: &Context<'_>,
    kind: Option<&ResourceTypeForTagging>,
    id: Option<&String>,
) -> std::result::Result<String, ApiError> {
    match kind {
        Some(ResourceTypeForTagging::Parameter) => {}
        _ => {
            return Err(client(
                "InvalidResourceType",
                "The resource type is not supported by this server: it has parameters.",
            ));
        }
    }
    let id = id.map(String::as_str).unwrap_or_default();
    let missing = || {
        client(
            "InvalidResourceId",
            format!(
                "The resource ID {id:?} is not valid. Verify that you entered the correct ID and try again."
            ),
        )
    };
    let name = get::reference(context, id).map_err(|_| missing())?.name;
    match context.snapshot.parameter(&name) {
        Some(_) => Ok(name),
        None => Err(missing()),
    }
}

pub(super) fn add(
    context: &Context<'_>,
    input: &AddTagsToResourceRequest,
) -> Result<AddTagsToResourceResult> {
    let name = resource(context, input.resource_type.as_ref(), input.resource_id.as_ref())?;
    let (mut parameter, mut transaction) = for_change(context, &name)?;
    parameter.tags = wharf_model::tag::merge(&parameter.tags, &from_wire(input.tags.as_ref())?);
    within_limit(&parameter.tags)?;
    transaction.put(parameter);
    Ok(Outcome::write(AddTagsToResourceResult {}, transaction))
}

pub(super) fn remove(
    context: &Context<'_>,
    input: &RemoveTagsFromResourceRequest,
) -> Result<RemoveTagsFromResourceResult> {
    let name = resource(context, input.resource_type.as_ref(), input.resource_id.as_ref())?;
    let (mut parameter, mut transaction) = for_change(context, &name)?;
    let keys = input.tag_keys.clone().unwrap_or_default();
    parameter.tags.retain(|tag| !keys.contains(&tag.key));
    transaction.put(parameter);
    Ok(Outcome::write(RemoveTagsFromResourceResult {}, transaction))
}

pub(super) fn list(
    context: &Context<'_>,
    input: &ListTagsForResourceRequest,
) -> Result<ListTagsForResourceResult> {
    let name = resource(context, input.resource_type.as_ref(), input.resource_id.as_ref())?;
    let (parameter, _) = for_change(context, &name)?;
    let tag = |tag: &Tag| types::Tag { key: Some(tag.key.clone()), value: Some(tag.value.clone()) };
    let tags = parameter.tags.iter().map(tag).collect();
    Ok(Outcome::read(ListTagsForResourceResult { tag_list: Some(tags) }))
}
