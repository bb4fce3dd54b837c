//! PutImage: a manifest by the API.

use super::{Ecr, ecr, invalid, names, store_failed};
use crate::error::ApiError;
use crate::registry::manifests::{self, Origin, Put, PutError};
use wharf_registry::{Digest, route};
use wharf_wire::ecr::ErrorCode;
use wharf_wire::ecr::types::{Image, ImageIdentifier, PutImageRequest, PutImageResponse};

pub(super) async fn put_image(
    call: &Ecr<'_>,
    input: PutImageRequest,
) -> Result<PutImageResponse, ApiError> {
    let repository = call.repository(input.registry_id.as_ref(), input.repository_name.as_ref())?;
    if let Some(tag) = input.image_tag.as_ref().filter(|tag| !route::is_tag(tag)) {
        return Err(invalid("imageTag", format!("'{tag}' is no tag")));
    }
    let digest = input.image_digest.as_ref().map(|text| text.parse::<Digest>()).transpose();
    let digest = digest.map_err(|error| invalid("imageDigest", error))?;
    let manifest = input.image_manifest.unwrap_or_default();
    let put = Put {
        repository: &repository,
        bytes: manifest.clone().into_bytes().into(),
        content_type: input.image_manifest_media_type.as_deref(),
        digest: digest.as_ref(),
        tag: input.image_tag.as_deref(),
        origin: Origin::Pushed,
    };
    let done = manifests::put(call.app, put).await;
    let done = done.map_err(|error| failed(call, &repository.name, error))?;
    if done.was_there {
        let tag = input.image_tag.as_ref().map_or("null".to_owned(), |tag| format!("'{tag}'"));
        let message = format!(
            "Image with digest '{}' and tag {tag} already exists in the repository with name '{}' \
             in registry with id '{}'",
            done.image.digest,
            repository.name,
            call.id()
        );
        return Err(ecr(ErrorCode::ImageAlreadyExistsException, message));
    }
    Ok(PutImageResponse {
        image: Some(Image {
            registry_id: Some(call.id()),
            repository_name: Some(repository.name.clone()),
            image_id: Some(ImageIdentifier {
                image_digest: Some(done.image.digest),
                image_tag: input.image_tag,
            }),
            image_manifest: Some(manifest),
            image_manifest_media_type: Some(done.image.media_type),
        }),
    })
}

fn failed(call: &Ecr<'_>, repository: &str, error: PutError) -> ApiError {
    let place = names::place(call.app.arns(), repository);
    let required = |what: &str, digests: Vec<String>| {
        format!(
            "{what} with digests '[{}]' required for pushing image into repository {place} do not \
             exist",
            digests.join(", ")
        )
    };
    match error {
        PutError::Manifest(error) => invalid("ImageManifest", error),
        PutError::Digest { found } => ecr(
            ErrorCode::ImageDigestDoesNotMatchException,
            format!("The digest of the image manifest is '{found}'"),
        ),
        PutError::BlobsUnknown(digests) => {
            ecr(ErrorCode::LayersNotFoundException, required("Layers", digests))
        }
        PutError::ManifestsUnknown(digests) => {
            ecr(ErrorCode::ReferencedImagesNotFoundException, required("Images", digests))
        }
        PutError::TooDeep => {
            let limit = wharf_registry::manifest::MAX_DEPTH;
            let message = format!("Indexes are nested deeper than {limit} levels.");
            ecr(ErrorCode::LimitExceededException, message)
        }
        PutError::TagImmutable(tag) => {
            ecr(ErrorCode::ImageTagAlreadyExistsException, names::tag_immutable(&tag, repository))
        }
        PutError::Quota(text) => ecr(
            ErrorCode::LimitExceededException,
            format!(
                "The operation did not succeed because it would have exceeded a service limit: {text}."
            ),
        ),
        PutError::RepositoryUnknown => {
            let message = names::unknown_repository(call.app.arns(), repository);
            ecr(ErrorCode::RepositoryNotFoundException, message)
        }
        PutError::Store(error) => store_failed(&error),
        PutError::Api(error) => error,
    }
}
