//! Requests by which another registry replicates an image to this one. They say so in a header, and
//! another right is asked for: whoever may replicate may write by that, and read nothing.

use super::errors::{Code, Refusal};
use crate::registry::access::{self, Asker, Denied, Resource};
use crate::remote::REPLICATED_FROM;
use hyper::Method;
use wharf_model::RegistryKey;

/// The registry that the request's header names, if it has one.
pub(super) fn source(head: &http::request::Parts) -> Result<Option<RegistryKey>, Refusal> {
    let mut values = head.headers.get_all(REPLICATED_FROM).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    let named = text.split_once('/').filter(|(account, region)| {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        account.len() == 12
            && account.bytes().all(|b| b.is_ascii_digit())
            && (2..=25).contains(&region.len())
            && region.bytes().all(plain)
    });
    let (Some((account, region)), None) = (named, values.next()) else {
        let text = format!("{REPLICATED_FROM} must be one <account>/<region>");
        return Err(Refusal::new(Code::Unsupported, text).status(400));
    };
    if matches!(head.method, Method::GET | Method::DELETE) {
        let text = format!("{} isn't part of a replication", head.method);
        return Err(Refusal::new(Code::Unsupported, text));
    }
    Ok(Some(RegistryKey { account: account.to_owned(), region: region.to_owned() }))
}

/// Demands that the caller may replicate.
pub(super) fn demand(
    asker: Asker<'_>,
    from: &RegistryKey,
    resource: Resource<'_>,
    action: &str,
) -> Result<(), Denied> {
    let name = match resource {
        Resource::Registry => "*",
        Resource::Name(name) => name,
        Resource::Repository(repository) => &repository.name,
    };
    let action = match action {
        "CreateRepository" => action,
        _ => "ReplicateImage",
    };
    access::demand_replication(asker, from, name, action)
}
