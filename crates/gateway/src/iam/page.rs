//! `Marker` and `MaxItems`.

use super::validation;
use crate::error::ApiError;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// `MaxItems` where none is sent.
const DEFAULT: i32 = 100;

/// One page of a list.
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    pub(super) marker: Option<String>,
}

impl<T> Page<T> {
    pub(super) fn is_truncated(&self) -> Option<bool> {
        Some(self.marker.is_some())
    }

    pub(super) fn map<U>(self, each: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(each).collect(), marker: self.marker }
    }
}

/// The page after `marker` of items that come in the order of their names. A marker is the name of
/// the last item that was shown, so that it stays good whatever comes and goes.
pub(super) fn page<T>(
    items: impl IntoIterator<Item = T>,
    name: impl Fn(&T) -> String,
    marker: Option<&str>,
    max_items: Option<i32>,
) -> Result<Page<T>, ApiError> {
    let after = match marker {
        Some(marker) => Some(decode(marker).ok_or_else(|| validation("Invalid Marker."))?),
        None => None,
    };
    let limit = usize::try_from(max_items.unwrap_or(DEFAULT)).unwrap_or(1).clamp(1, 1000);
    let shown = |item: &T| after.as_ref().is_none_or(|after| name(item) > *after);
    let mut items: Vec<T> = items.into_iter().filter(shown).take(limit + 1).collect();
    let mut marker = None;
    if items.len() > limit {
        items.truncate(limit);
        marker = items.last().map(|last| URL_SAFE_NO_PAD.encode(name(last)));
    }
    Ok(Page { items, marker })
}

fn decode(marker: &str) -> Option<String> {
    String::from_utf8(URL_SAFE_NO_PAD.decode(marker).ok()?).ok()
}
