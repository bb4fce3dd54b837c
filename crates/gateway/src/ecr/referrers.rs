//! ListImageReferrers: what refers to an image as its subject.

use super::{Ecr, images, invalid};
use crate::ecs::page;
use crate::error::ApiError;
use crate::registry::content;
use std::sync::Arc;
use wharf_model::RegistryImage;
use wharf_registry::Digest;
use wharf_wire::ecr::types::{
    ArtifactStatus, ArtifactStatusFilter, ImageReferrer, ListImageReferrersRequest,
    ListImageReferrersResponse,
};

/// Referrers on a page at most.
const PAGE: i32 = 50;

pub(super) async fn list(
    call: &Ecr<'_>,
    input: ListImageReferrersRequest,
) -> Result<ListImageReferrersResponse, ApiError> {
    let repository = call.repository(input.registry_id.as_ref(), input.repository_name.as_ref())?;
    let subject = input.subject_id.and_then(|id| id.image_digest).unwrap_or_default();
    subject.parse::<Digest>().map_err(|error| invalid("subjectId", error))?;
    let filter = input.filter.unwrap_or_default();
    let kinds = filter.artifact_types.unwrap_or_default();
    let has_status = |image: &RegistryImage| match filter.artifact_status {
        Some(ArtifactStatusFilter::Any) => true,
        Some(ArtifactStatusFilter::Archived) => image.is_archived,
        Some(ArtifactStatusFilter::Activating) => false,
        _ => !image.is_archived,
    };
    let snapshot = call.app.store().snapshot();
    let digests = content::referrers(&snapshot, &repository.id, &subject);
    let found = digests.iter().filter_map(|digest| {
        let image = content::image(&snapshot, &repository.id, digest)?;
        let kind = image.artifact_type.clone().unwrap_or_default();
        let fits = has_status(image) && (kinds.is_empty() || kinds.contains(&kind));
        fits.then(|| (digest.clone(), Arc::clone(image)))
    });
    let request = page::Request {
        next_token: input.next_token.as_deref(),
        max_results: input.max_results,
        limit: PAGE,
    };
    let page = page::page(found, request)?;
    let mut referrers = Vec::new();
    for image in page.items {
        let annotations = images::annotations(call, &image).await?;
        referrers.push(shown(&image, annotations));
    }
    Ok(ListImageReferrersResponse { referrers: Some(referrers), next_token: page.next_token })
}

fn shown(
    image: &RegistryImage,
    annotations: std::collections::BTreeMap<String, String>,
) -> ImageReferrer {
    ImageReferrer {
        digest: Some(image.digest.clone()),
        media_type: Some(image.media_type.clone()),
        artifact_type: image.artifact_type.clone(),
        size: i64::try_from(image.manifest_bytes).ok(),
        annotations: Some(annotations).filter(|map| !map.is_empty()),
        artifact_status: Some(match image.is_archived {
            true => ArtifactStatus::Archived,
            false => ArtifactStatus::Active,
        }),
    }
}
