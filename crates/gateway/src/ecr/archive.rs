//! UpdateImageStorageClass: into the archive, and back.

use super::images::unknown_image;
use super::select::find;
use super::{Ecr, ecr, invalid};
use crate::error::ApiError;
use crate::registry::archive::{self, MoveError};
use wharf_wire::ecr::ErrorCode;
use wharf_wire::ecr::types::{
    ImageIdentifier, ImageStatus, TargetStorageClass, UpdateImageStorageClassRequest,
    UpdateImageStorageClassResponse,
};

pub(super) async fn update(
    call: &Ecr<'_>,
    input: UpdateImageStorageClassRequest,
) -> Result<UpdateImageStorageClassResponse, ApiError> {
    let repository = call.repository(input.registry_id.as_ref(), input.repository_name.as_ref())?;
    let id = input.image_id.unwrap_or_default();
    let archived = match input.target_storage_class {
        Some(TargetStorageClass::Archive) => true,
        Some(TargetStorageClass::Standard) => false,
        _ => return Err(invalid("targetStorageClass", "must be STANDARD or ARCHIVE")),
    };
    let snapshot = call.app.store().snapshot();
    let unknown = || unknown_image(call, &repository, &id);
    let digest = find(&snapshot, &repository.id, &id).map_err(|_| unknown())?.digest.clone();
    let moved = archive::set(call.app, &repository.id, &digest, archived, call.now).await;
    moved.map_err(|error| match error {
        MoveError::Unknown => unknown(),
        MoveError::Referenced(by) => ecr(
            ErrorCode::ImageStorageClassUpdateNotSupportedException,
            format!(
                "The image with digest '{digest}' is referenced by manifest list: [{}]. Archive \
                 the manifest list first.",
                by.join(", ")
            ),
        ),
        MoveError::Api(error) => error,
    })?;
    Ok(UpdateImageStorageClassResponse {
        registry_id: Some(call.id()),
        repository_name: Some(repository.name.clone()),
        image_id: Some(ImageIdentifier { image_digest: Some(digest), image_tag: id.image_tag }),
        image_status: Some(if archived { ImageStatus::Archived } else { ImageStatus::Active }),
    })
}
