//! `nextToken` and `maxResults`: a page ends with the key of its last item, so that what is
//! created or deleted between two pages shifts nothing.

use crate::error::ApiError;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// One page of a sorted list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// Its items.
    pub items: Vec<T>,
    /// Where the next page starts; none after the last.
    pub next_token: Option<String>,
}

/// What a caller asked for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// `nextToken` of the page before.
    pub next_token: Option<&'a str>,
    /// `maxResults`.
    pub max_results: Option<i32>,
    /// The most that `maxResults` may be, and what it is when it isn't given.
    pub limit: i32,
}

/// The page of `items` that `request` asks for. `items` come with their keys, ascending by key.
///
/// # Errors
/// `InvalidParameterException` for a token that isn't one of ours, and for a page size beyond
/// the limits.
pub fn page<T>(
    items: impl Iterator<Item = (String, T)>,
    request: Request<'_>,
) -> Result<Page<T>, ApiError> {
    let size = match request.max_results {
        None => request.limit,
        Some(n) if (1..=request.limit).contains(&n) => n,
        Some(_) => {
            return Err(ApiError::invalid_parameter(format!(
                "maxResults must be between 1 and {}.",
                request.limit
            )));
        }
    };
    let size = usize::try_from(size).unwrap_or(1);
    let after = request.next_token.map(open_token).transpose()?;
    let mut rest = items.skip_while(|(key, _)| after.as_ref().is_some_and(|after| key <= after));
    let mut page = Vec::with_capacity(size.min(128));
    let mut last = None;
    for (key, item) in rest.by_ref().take(size) {
        page.push(item);
        last = Some(key);
    }
    let more = rest.next().is_some();
    let next_token = last.filter(|_| more).map(|key| seal_token(&key));
    Ok(Page { items: page, next_token })
}

/// The key that a page begins behind, for lists that can begin anywhere.
///
/// # Errors
/// As [`page`], for a token that isn't one of ours.
pub fn after(next_token: Option<&str>) -> Result<Option<String>, ApiError> {
    next_token.map(open_token).transpose()
}

const PREFIX: &str = "1:";

fn seal_token(key: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{PREFIX}{key}"))
}

fn open_token(token: &str) -> Result<String, ApiError> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok();
    let text = bytes.and_then(|b| String::from_utf8(b).ok());
    let key = text.as_deref().and_then(|t| t.strip_prefix(PREFIX)).map(str::to_owned);
    key.ok_or_else(|| ApiError::invalid_parameter("Invalid token."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(count: usize, size: i32) -> Vec<Vec<usize>> {
        let items = || (0..count).map(|n| (format!("{n:04}"), n));
        let mut token: Option<String> = None;
        let mut all = Vec::new();
        loop {
            let request =
                Request { next_token: token.as_deref(), max_results: Some(size), limit: 100 };
            let page = page(items(), request).unwrap();
            all.push(page.items);
            token = page.next_token;
            if token.is_none() {
                return all;
            }
        }
    }

    #[test]
    fn every_item_once_and_no_empty_last_page() {
        assert_eq!(pages(5, 2), [vec![0, 1], vec![2, 3], vec![4]]);
        assert_eq!(pages(4, 2), [vec![0, 1], vec![2, 3]]);
        assert_eq!(pages(0, 2), [Vec::<usize>::new()]);
    }

    #[test]
    fn limits_and_foreign_tokens() {
        let ask = |next_token, max_results| {
            let request = Request { next_token, max_results, limit: 100 };
            page([("a".to_owned(), 1)].into_iter(), request).map_err(|e| e.message)
        };
        for wrong in [0, -1, 101, i32::MAX] {
            assert_eq!(
                ask(None, Some(wrong)).unwrap_err(),
                "maxResults must be between 1 and 100."
            );
        }
        for token in ["", "?", "AAAA", "näh"] {
            assert_eq!(ask(Some(token), None).unwrap_err(), "Invalid token.", "{token}");
        }
    }
}
