//! `Marker` and `PageSize`.

use super::validation;
use crate::error::ApiError;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// `PageSize` at most, and where none is sent.
const LARGEST: i32 = 400;

/// The page after `marker` of items that come in the order of their names, and the next marker. A
/// marker is the name of the last item that was shown, so that it stays good whatever comes and goes.
pub(super) fn page<T>(
    items: impl IntoIterator<Item = T>,
    name: impl Fn(&T) -> String,
    marker: Option<&String>,
    page_size: Option<i32>,
) -> Result<(Vec<T>, Option<String>), ApiError> {
    let after = match marker {
        Some(marker) => Some(
            decode(marker)
                .ok_or_else(|| validation(format!("The marker '{marker}' is not valid")))?,
        ),
        None => None,
    };
    let limit = usize::try_from(page_size.unwrap_or(LARGEST).clamp(1, LARGEST)).unwrap_or(1);
    let shown = |item: &T| after.as_ref().is_none_or(|after| name(item) > *after);
    let mut items: Vec<T> = items.into_iter().filter(shown).take(limit + 1).collect();
    let mut next = None;
    if items.len() > limit {
        items.truncate(limit);
        next = items.last().map(|last| URL_SAFE_NO_PAD.encode(name(last)));
    }
    Ok((items, next))
}

fn decode(marker: &str) -> Option<String> {
    String::from_utf8(URL_SAFE_NO_PAD.decode(marker).ok()?).ok()
}
