//! What the Describe operations have in common: ids, filters, pages, tags.

use super::error;
use super::filter::{Values, keep};
use crate::error::ApiError;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use wharf_wire::ec2::types::{Filter, Tag};

/// The least and the most of a page.
const PAGE: std::ops::RangeInclusive<i32> = 5..=1000;

/// What of a kind of resource is asked for.
pub(super) struct Asked<'a> {
    pub(super) ids: Option<&'a Vec<String>>,
    pub(super) filters: Option<&'a Vec<Filter>>,
    pub(super) max_results: Option<i32>,
    pub(super) next_token: Option<&'a String>,
}

/// How a kind of resource is looked through.
pub(super) struct Kind<T> {
    /// The filters beside those by tag.
    pub(super) filters: &'static [&'static str],
    pub(super) id: fn(&T) -> Option<&String>,
    pub(super) not_found: fn(&str) -> ApiError,
}

/// A page of the items that were asked for, and where the next one begins.
///
/// # Errors
/// Ids that don't exist, filters that the kind doesn't know, wrong pages.
pub(super) fn list<T>(
    kind: &Kind<T>,
    mut items: Vec<T>,
    asked: &Asked<'_>,
    values: impl Fn(&T, &str) -> Values,
) -> Result<(Vec<T>, Option<String>), ApiError> {
    if let Some(ids) = asked.ids.filter(|ids| !ids.is_empty()) {
        let missing = |id: &&String| !items.iter().any(|item| (kind.id)(item) == Some(*id));
        if let Some(id) = ids.iter().find(missing) {
            return Err((kind.not_found)(id));
        }
        items.retain(|item| (kind.id)(item).is_some_and(|id| ids.contains(id)));
    }
    let items = keep(items, asked.filters, kind.filters, values)?;
    page(items, kind.id, asked)
}

fn page<T>(
    mut items: Vec<T>,
    id: fn(&T) -> Option<&String>,
    asked: &Asked<'_>,
) -> Result<(Vec<T>, Option<String>), ApiError> {
    if let Some(token) = asked.next_token {
        let after = URL_SAFE_NO_PAD.decode(token).ok().and_then(|b| String::from_utf8(b).ok());
        let Some(after) = after else {
            return Err(error("InvalidNextToken", "The token is not valid."));
        };
        items.retain(|item| id(item).is_some_and(|id| *id > after));
    }
    let Some(most) = asked.max_results else { return Ok((items, None)) };
    if !PAGE.contains(&most) {
        let (least, limit) = (PAGE.start(), PAGE.end());
        return Err(error(
            "InvalidParameterValue",
            format!(
                "Value ( {most} ) for parameter maxResults is invalid. Expecting a value between \
                 {least} and {limit}."
            ),
        ));
    }
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    if items.len() <= most {
        return Ok((items, None));
    }
    items.truncate(most);
    let token = items.last().and_then(id).map(|id| URL_SAFE_NO_PAD.encode(id));
    Ok((items, token))
}

/// What tags have under a filter's name.
pub(super) fn tag_values(tags: Option<&Vec<Tag>>, name: &str) -> Values {
    let tags = tags.into_iter().flatten();
    if name == "tag-key" {
        return Some(tags.filter_map(|t| t.key.clone()).collect());
    }
    let key = name.strip_prefix("tag:")?;
    Some(tags.filter(|t| t.key.as_deref() == Some(key)).filter_map(|t| t.value.clone()).collect())
}
