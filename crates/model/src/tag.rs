//! Resource tags (ECS API `Tag`).

use serde::{Deserialize, Serialize};

/// One tag: a key of 1–128 characters, a value of up to 256 (checked at the gateway).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tag {
    /// Tag key; unique within a resource.
    #[serde(rename = "k")]
    pub key: String,
    /// Tag value; may be empty.
    #[serde(rename = "v", default, skip_serializing_if = "String::is_empty")]
    pub value: String,
}

/// `tags` with `changes` laid over them: a key that exists gets the new value and keeps its place,
/// a new key comes last. This is TagResource's rule.
pub fn merge(tags: &[Tag], changes: &[Tag]) -> Vec<Tag> {
    let mut merged = tags.to_vec();
    for change in changes {
        match merged.iter_mut().find(|t| t.key == change.key) {
            Some(tag) => tag.value.clone_from(&change.value),
            None => merged.push(change.clone()),
        }
    }
    merged
}
