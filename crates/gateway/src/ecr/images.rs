//! Images: listed, described, read, removed.

use super::select::{failure, find};
use super::{Ecr, ecr, invalid, names, scanning, store_failed, wire_time};
use crate::ecs::page;
use crate::error::ApiError;
use crate::registry::content::{self, DeleteError};
use crate::registry::events::{self, Action};
use std::collections::BTreeMap;
use wharf_model::{RegistryImage, Repository, Snapshot};
use wharf_registry::manifest::{self, Manifest};
use wharf_wire::ecr::ErrorCode;
use wharf_wire::ecr::types::{
    BatchDeleteImageRequest, BatchDeleteImageResponse, BatchGetImageRequest, BatchGetImageResponse,
    DescribeImagesRequest, DescribeImagesResponse, Image, ImageDetail, ImageFailure,
    ImageFailureCode, ImageIdentifier, ImageStatus, ImageStatusFilter, ListImagesRequest,
    ListImagesResponse, TagStatus,
};

/// Images on a page at most, and where nothing is said.
const PAGE: i32 = 1000;
const DEFAULT_PAGE: i32 = 100;

/// True for an image of the status that is asked for: unless it is said, those that can be pulled.
/// None is ever on its way out of the archive, for that is done at once.
fn has_status(image: &RegistryImage, status: Option<&ImageStatusFilter>) -> bool {
    match status {
        Some(ImageStatusFilter::Any) => true,
        Some(ImageStatusFilter::Archived) => image.is_archived,
        Some(ImageStatusFilter::Activating) => false,
        _ => !image.is_archived,
    }
}

pub(super) async fn list(
    call: &Ecr<'_>,
    input: ListImagesRequest,
) -> Result<ListImagesResponse, ApiError> {
    let repository = call.repository(input.registry_id.as_ref(), input.repository_name.as_ref())?;
    let filter = input.filter.unwrap_or_default();
    let status = filter.tag_status.unwrap_or(TagStatus::Any);
    let snapshot = call.app.store().snapshot();
    // A tag has no slash and no digest begins with one: keys are unique, and in order.
    let wanted = filter.image_status.as_ref();
    let after = page::after(input.next_token.as_deref())?.unwrap_or_default();
    let from = after.split('/').next().unwrap_or_default();
    let images = snapshot.registry_images_from(&repository.id, from);
    let images = images.filter(|image| has_status(image, wanted)).flat_map(|image| {
        let digest = Some(image.digest.clone());
        let mut tags = snapshot.tags_of_image(&repository.id, &image.digest).peekable();
        match tags.peek().is_some() {
            true if status != TagStatus::Untagged => tags
                .map(|tag| {
                    let id = ImageIdentifier {
                        image_digest: digest.clone(),
                        image_tag: Some(tag.clone()),
                    };
                    (format!("{}/{tag}", image.digest), id)
                })
                .collect(),
            false if status != TagStatus::Tagged => {
                vec![(
                    image.digest.clone(),
                    ImageIdentifier { image_digest: digest, image_tag: None },
                )]
            }
            _ => Vec::new(),
        }
    });
    let request = page::Request {
        next_token: input.next_token.as_deref(),
        max_results: Some(input.max_results.unwrap_or(DEFAULT_PAGE)),
        limit: PAGE,
    };
    let page = page::page(images, request)?;
    Ok(ListImagesResponse { image_ids: Some(page.items), next_token: page.next_token })
}

pub(super) async fn describe(
    call: &Ecr<'_>,
    input: DescribeImagesRequest,
) -> Result<DescribeImagesResponse, ApiError> {
    let repository = call.repository(input.registry_id.as_ref(), input.repository_name.as_ref())?;
    let filter = input.filter.unwrap_or_default();
    let snapshot = call.app.store().snapshot();
    if let Some(ids) = &input.image_ids {
        if input.next_token.is_some() || input.max_results.is_some() {
            let why = "nextToken and maxResults don't go with imageIds";
            return Err(invalid("imageIds", why));
        }
        let mut details: BTreeMap<&str, ImageDetail> = BTreeMap::new();
        for id in ids {
            let image = find(&snapshot, &repository.id, id);
            let image = image.map_err(|_| unknown_image(call, &repository, id))?;
            details.insert(&image.digest, detail(call, &snapshot, &repository, image));
        }
        let details = details.into_values().collect();
        return Ok(DescribeImagesResponse { image_details: Some(details), next_token: None });
    }
    let status = filter.tag_status.unwrap_or(TagStatus::Any);
    let wanted = filter.image_status.as_ref();
    // From the page's beginning on: what stands before it costs nothing.
    let after = page::after(input.next_token.as_deref())?.unwrap_or_default();
    let images = snapshot.registry_images_from(&repository.id, &after).filter(|image| {
        let tagged = snapshot.tags_of_image(&repository.id, &image.digest).next().is_some();
        has_status(image, wanted)
            && (status == TagStatus::Any || tagged == (status == TagStatus::Tagged))
    });
    let request = page::Request {
        next_token: input.next_token.as_deref(),
        max_results: Some(input.max_results.unwrap_or(DEFAULT_PAGE)),
        limit: PAGE,
    };
    let details =
        images.map(|image| (image.digest.clone(), detail(call, &snapshot, &repository, image)));
    let page = page::page(details, request)?;
    Ok(DescribeImagesResponse { image_details: Some(page.items), next_token: page.next_token })
}

pub(super) fn unknown_image(
    call: &Ecr<'_>,
    repository: &Repository,
    id: &ImageIdentifier,
) -> ApiError {
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "null".to_owned());
    let message = format!(
        "The image with imageId {{imageDigest:'{}', imageTag:'{}'}} does not exist within the \
         repository {}",
        text(&id.image_digest),
        text(&id.image_tag),
        names::place(call.app.arns(), &repository.name)
    );
    ecr(ErrorCode::ImageNotFoundException, message)
}

fn detail(
    call: &Ecr<'_>,
    snapshot: &Snapshot,
    repository: &Repository,
    image: &RegistryImage,
) -> ImageDetail {
    let tags: Vec<String> =
        snapshot.tags_of_image(&repository.id, &image.digest).cloned().collect();
    let is_index = matches!(image.media_type.as_str(), manifest::OCI_INDEX | manifest::DOCKER_LIST);
    let size = image.content_bytes.saturating_add(image.manifest_bytes);
    ImageDetail {
        registry_id: Some(call.id()),
        repository_name: Some(repository.name.clone()),
        image_digest: Some(image.digest.clone()),
        image_tags: Some(tags).filter(|tags| !tags.is_empty()),
        // ECR tells no size of an index: each of its images has its own.
        image_size_in_bytes: i64::try_from(size).ok().filter(|_| !is_index),
        image_pushed_at: Some(wire_time(image.pushed_at)),
        image_manifest_media_type: Some(image.media_type.clone()),
        artifact_media_type: image.artifact_type.clone(),
        last_recorded_pull_time: image.pulled_at.map(wire_time),
        subject_manifest_digest: image.subject.clone(),
        image_scan_status: image.scan.as_ref().map(scanning::status),
        image_scan_findings_summary: image.scan.as_ref().and_then(scanning::summary),
        image_status: Some(match image.is_archived {
            true => ImageStatus::Archived,
            false => ImageStatus::Active,
        }),
        last_archived_at: image.archived_at.map(wire_time),
        last_activated_at: image.activated_at.map(wire_time),
    }
}

pub(super) async fn batch_get(
    call: &Ecr<'_>,
    input: BatchGetImageRequest,
) -> Result<BatchGetImageResponse, ApiError> {
    let repository = call.repository(input.registry_id.as_ref(), input.repository_name.as_ref())?;
    let snapshot = call.app.store().snapshot();
    let (mut images, mut failures) = (Vec::new(), Vec::new());
    for id in input.image_ids.unwrap_or_default() {
        let image = match find(&snapshot, &repository.id, &id) {
            Ok(image) => image,
            Err(failure) => {
                failures.push(failure);
                continue;
            }
        };
        if image.is_archived {
            let reason = "The image is archived: restore it before pulling it";
            failures.push(failure(&id, ImageFailureCode::ImageInaccessible, reason));
            continue;
        }
        let bytes = content::manifest_bytes(call.app, &image.digest).await;
        let bytes = bytes.map_err(|error| store_failed(&error))?;
        let text = bytes.and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
        let Some(text) = text else {
            let reason = "The image's manifest can't be read";
            failures.push(failure(&id, ImageFailureCode::ImageInaccessible, reason));
            continue;
        };
        content::note_pull(call.app, image, call.now);
        images.push(Image {
            registry_id: Some(call.id()),
            repository_name: Some(repository.name.clone()),
            image_id: Some(ImageIdentifier {
                image_digest: Some(image.digest.clone()),
                image_tag: id.image_tag,
            }),
            image_manifest: Some(text),
            image_manifest_media_type: Some(image.media_type.clone()),
        });
    }
    Ok(BatchGetImageResponse { images: Some(images), failures: Some(failures) })
}

pub(super) async fn batch_delete(
    call: &Ecr<'_>,
    input: BatchDeleteImageRequest,
) -> Result<BatchDeleteImageResponse, ApiError> {
    let repository = call.repository(input.registry_id.as_ref(), input.repository_name.as_ref())?;
    let (mut gone, mut failures) = (Vec::new(), Vec::new());
    let ids = input.image_ids.unwrap_or_default();
    let mut rest = Vec::new();
    // What refers to others goes first, so that both can be named in one request.
    let mut pending: Vec<ImageIdentifier> = ids;
    while !pending.is_empty() {
        let count = pending.len();
        for id in pending.drain(..) {
            match delete(call, &repository, &id).await? {
                Ok(mut deleted) => gone.append(&mut deleted),
                Err(refused) if is_referenced(&refused) => rest.push((id, refused)),
                Err(refused) => failures.push(refused),
            }
        }
        if rest.len() == count {
            failures.extend(rest.drain(..).map(|(_, refused)| refused));
        }
        pending.extend(rest.drain(..).map(|(id, _)| id));
    }
    Ok(BatchDeleteImageResponse { image_ids: Some(gone), failures: Some(failures) })
}

fn is_referenced(failure: &ImageFailure) -> bool {
    failure.failure_code == Some(ImageFailureCode::ImageReferencedByManifestList)
}

/// Removes a tag, with the image if it was its last, or an image with all of its tags.
async fn delete(
    call: &Ecr<'_>,
    repository: &Repository,
    id: &ImageIdentifier,
) -> Result<Result<Vec<ImageIdentifier>, ImageFailure>, ApiError> {
    let snapshot = call.app.store().snapshot();
    let image = match find(&snapshot, &repository.id, id) {
        Ok(image) => image,
        Err(failure) => return Ok(Err(failure)),
    };
    let tags: Vec<String> =
        snapshot.tags_of_image(&repository.id, &image.digest).cloned().collect();
    let named = |tag: Option<&String>| ImageIdentifier {
        image_digest: Some(image.digest.clone()),
        image_tag: tag.cloned(),
    };
    let (removed, gone) = match &id.image_tag {
        Some(tag) if tags.len() > 1 => {
            let removed = content::delete_tag(call.app, &repository.id, tag).await;
            (removed, vec![named(Some(tag))])
        }
        _ => {
            let removed = content::delete_image(call.app, &repository.id, &image.digest).await;
            let mut gone: Vec<_> = tags.iter().map(|tag| named(Some(tag))).collect();
            if gone.is_empty() {
                gone.push(named(None));
            }
            (removed, gone)
        }
    };
    match removed {
        Ok(()) => {
            for id in &gone {
                let tag = id.image_tag.as_deref();
                events::image(call.app, repository, Action::Delete, &image.digest, tag);
            }
            Ok(Ok(gone))
        }
        Err(DeleteError::Unknown) => {
            let reason = "Requested image not found";
            Ok(Err(failure(id, ImageFailureCode::ImageNotFound, reason)))
        }
        Err(DeleteError::Referenced(by)) => {
            let reason =
                format!("Requested image referenced by manifest list: [{}]", by.join(", "));
            Ok(Err(failure(id, ImageFailureCode::ImageReferencedByManifestList, reason)))
        }
        Err(DeleteError::Api(error)) => Err(error),
    }
}

/// A manifest's annotations, which are in its bytes alone.
pub(super) async fn annotations(
    call: &Ecr<'_>,
    image: &RegistryImage,
) -> Result<BTreeMap<String, String>, ApiError> {
    let bytes = content::manifest_bytes(call.app, &image.digest).await;
    let bytes = bytes.map_err(|error| store_failed(&error))?;
    let manifest = bytes.and_then(|bytes| Manifest::parse(&bytes, Some(&image.media_type)).ok());
    Ok(manifest.map(|manifest| manifest.annotations).unwrap_or_default())
}
