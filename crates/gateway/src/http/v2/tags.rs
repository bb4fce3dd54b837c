//! Lists: a repository's tags, and the repositories.

use super::super::answer::{Answer, answer};
use super::Call;
use super::errors::{Code, Refusal};
use crate::registry::access::{self, Resource};
use hyper::header::{HeaderValue, LINK};
use serde_json::json;

/// Names in one answer at most, and unless told otherwise.
const PAGE: usize = 1000;

/// `GET /v2/<name>/tags/list`
pub(super) fn list(call: &Call<'_>, name: &str) -> Result<Answer, Refusal> {
    let repository = call.repository(name, access::LIST)?;
    let last = call.parameter("last").unwrap_or_default();
    let tags = call.snapshot.image_tags(&repository.id, &last).map(|tag| tag.tag.clone());
    let (tags, next) = page(call, tags)?;
    let body = json!({ "name": name, "tags": tags }).to_string();
    Ok(linked(body, "application/json", &format!("/v2/{name}/tags/list"), next))
}

/// `GET /v2/_catalog`
pub(super) fn catalog(call: &Call<'_>) -> Result<Answer, Refusal> {
    let last = call.parameter("last").unwrap_or_default();
    let readable = call.snapshot.repositories().filter(|repository| {
        let resource = Resource::Repository(repository);
        repository.name > last && call.demand(resource, "DescribeRepositories").is_ok()
    });
    let (names, next) = page(call, readable.map(|repository| repository.name.clone()))?;
    let body = json!({ "repositories": names }).to_string();
    Ok(linked(body, "application/json", "/v2/_catalog", next))
}

/// Where the next page begins: its size, and the last name of this one.
pub(super) type Next = Option<(usize, String)>;

/// The page that `n` asks for of names that come in order.
pub(super) fn page(
    call: &Call<'_>,
    names: impl Iterator<Item = String>,
) -> Result<(Vec<String>, Next), Refusal> {
    let size = match call.parameter("n") {
        None => PAGE,
        Some(text) => {
            let wrong = || Refusal::new(Code::Unsupported, "n must be a number").status(400);
            text.parse::<usize>().map_err(|_| wrong())?.min(PAGE)
        }
    };
    let mut names = names.peekable();
    let page: Vec<String> = names.by_ref().take(size).collect();
    let next = names.peek().and(page.last()).map(|last| (size, last.clone()));
    Ok((page, next))
}

/// An answer with the address of the next page (RFC 5988).
pub(super) fn linked(body: String, content_type: &'static str, path: &str, next: Next) -> Answer {
    let mut answer = answer(200, content_type, body);
    if let Some((size, last)) = next {
        let last: String = form_urlencoded::byte_serialize(last.as_bytes()).collect();
        let separator = if path.contains('?') { '&' } else { '?' };
        let link = format!("<{path}{separator}n={size}&last={last}>; rel=\"next\"");
        if let Ok(value) = HeaderValue::from_str(&link) {
            answer.headers_mut().insert(LINK, value);
        }
    }
    answer
}
