//! TagResource and UntagResource.

use super::{client, invalid_parameter, resolve};
use crate::context::{Context, Outcome, Result};
use crate::ecs::tags::{MAX_TAGS, is_reserved};
use crate::error::ApiError;
use wharf_model::{Secret, Tag};
use wharf_wire::Empty;
use wharf_wire::secretsmanager::types::{self, TagResourceRequest, UntagResourceRequest};

/// `tags` with those of a request over them.
pub(super) fn from_wire(
    sent: Option<&Vec<types::Tag>>,
    tags: Vec<Tag>,
) -> std::result::Result<Vec<Tag>, ApiError> {
    let mut changes = Vec::new();
    for tag in sent.into_iter().flatten() {
        let key = tag.key.clone().unwrap_or_default();
        if key.is_empty() || is_reserved(&key) {
            return Err(invalid_parameter(format!(
                "The tag key {key:?} can't be used: keys have at least one character and don't \
                 begin with aws:."
            )));
        }
        changes.push(Tag { key, value: tag.value.clone().unwrap_or_default() });
    }
    let merged = wharf_model::tag::merge(&tags, &changes);
    match merged.len() > MAX_TAGS {
        true => Err(client(
            "LimitExceededException",
            format!("A secret can have at most {MAX_TAGS} tags."),
        )),
        false => Ok(merged),
    }
}

pub(super) fn to_wire(tags: &[Tag]) -> Vec<types::Tag> {
    let tag = |tag: &Tag| types::Tag { key: Some(tag.key.clone()), value: Some(tag.value.clone()) };
    tags.iter().map(tag).collect()
}

pub(super) fn tag(context: &Context<'_>, input: &TagResourceRequest) -> Result<Empty> {
    let mut secret = Secret::clone(resolve::find_live(context, input.secret_id.as_ref())?);
    secret.tags = from_wire(input.tags.as_ref(), secret.tags)?;
    let mut transaction = resolve::transaction(context, &secret.name);
    transaction.put(secret);
    Ok(Outcome::write(Empty {}, transaction))
}

pub(super) fn untag(context: &Context<'_>, input: &UntagResourceRequest) -> Result<Empty> {
    let mut secret = Secret::clone(resolve::find_live(context, input.secret_id.as_ref())?);
    let keys = input.tag_keys.clone().unwrap_or_default();
    secret.tags.retain(|tag| !keys.contains(&tag.key));
    let mut transaction = resolve::transaction(context, &secret.name);
    transaction.put(secret);
    Ok(Outcome::write(Empty {}, transaction))
}
