//! Tags of certificates.

use super::{changed, error, find};
use crate::context::{Context, Outcome, Result as OperationResult};
use crate::error::ApiError;
use wharf_model::load_balancing::Certificate;
use wharf_model::{Tag, tag};
use wharf_wire::Empty;
use wharf_wire::acm::{ErrorCode, types};

/// Tags of one certificate.
const LIMIT: usize = 50;

/// Tags that come with a new certificate, or on top of `present` ones.
pub(super) fn added(present: &[Tag], sent: Option<&Vec<types::Tag>>) -> Result<Vec<Tag>, ApiError> {
    let mut new: Vec<Tag> = Vec::new();
    for tag in sent.into_iter().flatten() {
        let key = tag.key.clone().unwrap_or_default();
        if key.to_ascii_lowercase().starts_with("aws:") {
            let message = format!("The tag key '{key}' has the reserved prefix 'aws:'.");
            return Err(error(ErrorCode::InvalidTagException, message));
        }
        new.push(Tag { key, value: tag.value.clone().unwrap_or_default() });
    }
    let all = tag::merge(present, &new);
    if all.len() > LIMIT {
        let message = format!("A certificate can have at most {LIMIT} tags.");
        return Err(error(ErrorCode::TooManyTagsException, message));
    }
    Ok(all)
}

pub(super) fn add(
    context: &Context<'_>,
    input: &types::AddTagsToCertificateRequest,
) -> OperationResult<Empty> {
    let found = find(context, input.certificate_arn.as_ref())?;
    let tags = added(&found.tags, input.tags.as_ref())?;
    let certificate = Certificate { tags, ..Certificate::clone(found) };
    Ok(Outcome::write(Empty {}, changed(context.snapshot, certificate)))
}

/// A tag that is sent with a value goes only if it has that value.
pub(super) fn remove(
    context: &Context<'_>,
    input: &types::RemoveTagsFromCertificateRequest,
) -> OperationResult<Empty> {
    let found = find(context, input.certificate_arn.as_ref())?;
    let mut certificate = Certificate::clone(found);
    for sent in input.tags.iter().flatten() {
        certificate.tags.retain(|tag| {
            let named = sent.key.as_ref() == Some(&tag.key);
            !(named && sent.value.as_ref().is_none_or(|value| *value == tag.value))
        });
    }
    Ok(Outcome::write(Empty {}, changed(context.snapshot, certificate)))
}

pub(super) fn list(
    context: &Context<'_>,
    input: &types::ListTagsForCertificateRequest,
) -> OperationResult<types::ListTagsForCertificateResponse> {
    let found = find(context, input.certificate_arn.as_ref())?;
    let shown =
        |tag: &Tag| types::Tag { key: Some(tag.key.clone()), value: Some(tag.value.clone()) };
    let tags = Some(found.tags.iter().map(shown).collect());
    Ok(Outcome::read(types::ListTagsForCertificateResponse { tags }))
}
