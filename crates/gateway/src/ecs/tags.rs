//! Tags: ECS's rules for them, and their way between wire and record.

use crate::error::ApiError;
use wharf_model::Tag;
use wharf_wire::ecs::types;

/// The most tags that a resource can have.
pub const MAX_TAGS: usize = 50;

/// The tags of a request, checked. Lengths and characters are the model's constraints and have
/// been checked before.
///
/// # Errors
/// `InvalidParameterException` for more than 50, for a key twice, for the reserved prefix `aws:`
/// and for a tag without a key.
pub fn from_wire(tags: Option<&Vec<types::Tag>>) -> Result<Vec<Tag>, ApiError> {
    let mut checked: Vec<Tag> = Vec::new();
    for tag in tags.into_iter().flatten() {
        let key = tag.key.clone().unwrap_or_default();
        if key.is_empty() {
            return Err(ApiError::invalid_parameter("Tag key can not be empty."));
        }
        let value = tag.value.clone().unwrap_or_default();
        for text in [&key, &value] {
            if is_reserved(text) {
                return Err(ApiError::invalid_parameter(
                    "Tags can not be created with the prefix aws: as it is reserved for AWS use.",
                ));
            }
        }
        if checked.iter().any(|t| t.key == key) {
            return Err(ApiError::invalid_parameter(format!(
                "Tag keys must be unique: {key} is given more than once."
            )));
        }
        checked.push(Tag { key, value });
    }
    within_limit(checked.len())?;
    Ok(checked)
}

/// A resource's tags after TagResource: `changes` laid over `tags`.
///
/// # Errors
/// `InvalidParameterException` where the result would have more than 50.
pub fn merged(tags: &[Tag], changes: &[Tag]) -> Result<Vec<Tag>, ApiError> {
    let merged = wharf_model::tag::merge(tags, changes);
    // ECS's own don't count (ECS API TagResource).
    within_limit(merged.iter().filter(|t| !is_reserved(&t.key)).count())?;
    Ok(merged)
}

/// True if a key or value begins as only ECS's own may.
pub fn is_reserved(text: &str) -> bool {
    text.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case("aws:"))
}

/// Tags for an answer, in their order.
pub fn to_wire(tags: &[Tag]) -> Vec<types::Tag> {
    let tag = |t: &Tag| types::Tag { key: Some(t.key.clone()), value: Some(t.value.clone()) };
    tags.iter().map(tag).collect()
}

fn within_limit(count: usize) -> Result<(), ApiError> {
    if count > MAX_TAGS {
        return Err(ApiError::invalid_parameter(format!(
            "Tags can not be more than {MAX_TAGS}: the resource would have {count}."
        )));
    }
    Ok(())
}
