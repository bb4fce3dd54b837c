//! Referrers: the manifests whose subject is a given one, also those that an older client only wrote
//! down in a list under the fallback tag (`sha256-<hex>`).

use super::super::answer::Answer;
use super::errors::Refusal;
use super::{Call, tags};
use crate::registry::{access, content};
use hyper::header::HeaderValue;
use serde_json::{Value, json};
use wharf_registry::Digest;
use wharf_registry::manifest::{Manifest, OCI_INDEX};
use wharf_registry::route::Reference;

pub(super) async fn list(call: &Call<'_>, name: &str, digest: &Digest) -> Result<Answer, Refusal> {
    let repository = call.repository(name, access::PULL_IMAGE)?;
    let subject = digest.to_string();
    let filter = call.parameter("artifactType").filter(|text| !text.is_empty());
    let last = call.parameter("last").unwrap_or_default();
    let mut digests = content::referrers(&call.snapshot, &repository.id, &subject);
    let fallback = format!("{}-{}", digest.algorithm().as_str(), digest.hex());
    let listed = content::resolve(&call.snapshot, &repository.id, &Reference::Tag(fallback));
    if let Some(listed) = listed.filter(|index| index.media_type == OCI_INDEX) {
        digests.extend(listed.manifests.iter().cloned());
    }
    digests.sort_unstable();
    digests.dedup();
    let images = digests.iter().filter(|d| **d > last).filter_map(|digest| {
        let image = content::image(&call.snapshot, &repository.id, digest)?;
        let fits = filter.as_ref().is_none_or(|kind| image.artifact_type.as_ref() == Some(kind));
        fits.then(|| digest.clone())
    });
    let (page, next) = tags::page(call, images)?;
    let mut manifests = Vec::new();
    for digest in &page {
        manifests.extend(descriptor(call, &repository.id, digest).await?);
    }
    let body = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests });
    let mut path = format!("/v2/{name}/referrers/{subject}");
    if let Some(filter) = &filter {
        let filter: String = form_urlencoded::byte_serialize(filter.as_bytes()).collect();
        path = format!("{path}?artifactType={filter}");
    }
    let mut answer = tags::linked(body.to_string(), OCI_INDEX, &path, next);
    if filter.is_some() {
        let applied = HeaderValue::from_static("artifactType");
        answer.headers_mut().insert("oci-filters-applied", applied);
    }
    Ok(answer)
}

/// A manifest as a list of referrers shows it; its annotations are in its bytes.
async fn descriptor(
    call: &Call<'_>,
    repository: &str,
    digest: &str,
) -> Result<Option<Value>, Refusal> {
    let Some(image) = content::image(&call.snapshot, repository, digest) else { return Ok(None) };
    let bytes = content::manifest_bytes(call.app, digest).await?;
    let manifest = bytes.and_then(|bytes| Manifest::parse(&bytes, Some(&image.media_type)).ok());
    let mut shown = json!({
        "mediaType": image.media_type,
        "digest": image.digest,
        "size": image.manifest_bytes,
    });
    if let Some(kind) = &image.artifact_type {
        shown["artifactType"] = kind.as_str().into();
    }
    if let Some(manifest) = manifest.filter(|manifest| !manifest.annotations.is_empty()) {
        shown["annotations"] = json!(manifest.annotations);
    }
    Ok(Some(shown))
}
