//! Layers by the API: asked for, uploaded in parts, and addressed for a download.

use super::{Ecr, ecr, invalid, names, store_failed};
use crate::error::ApiError;
use crate::registry::{content, tokens};
use bytes::Bytes;
use wharf_model::{IdSource, Repository};
use wharf_registry::{Digest, Error as StoreError, UploadError};
use wharf_wire::ecr::ErrorCode;
use wharf_wire::ecr::types::{
    BatchCheckLayerAvailabilityRequest, BatchCheckLayerAvailabilityResponse,
    CompleteLayerUploadRequest, CompleteLayerUploadResponse, GetDownloadUrlForLayerRequest,
    GetDownloadUrlForLayerResponse, InitiateLayerUploadRequest, InitiateLayerUploadResponse, Layer,
    LayerAvailability, LayerFailure, LayerFailureCode, UploadLayerPartRequest,
    UploadLayerPartResponse,
};

/// The size of a part that clients are asked for.
const PART_BYTES: i64 = 10 << 20;
/// What layers are, where nobody says otherwise.
const LAYER_TYPE: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

pub(super) async fn check(
    call: &Ecr<'_>,
    input: BatchCheckLayerAvailabilityRequest,
) -> Result<BatchCheckLayerAvailabilityResponse, ApiError> {
    let repository = call.repository(input.registry_id.as_ref(), input.repository_name.as_ref())?;
    let snapshot = call.app.store().snapshot();
    let (mut layers, mut failures) = (Vec::new(), Vec::new());
    for text in input.layer_digests.unwrap_or_default() {
        let Ok(digest) = text.parse::<Digest>() else {
            failures.push(LayerFailure {
                layer_digest: Some(text),
                failure_code: Some(LayerFailureCode::InvalidLayerDigest),
                failure_reason: Some("Invalid layer digest".to_owned()),
            });
            continue;
        };
        let blob = content::blob(&snapshot, &repository.id, &digest);
        if blob.is_some() {
            call.app.registry().assert_blob(&repository.id, &text, call.now);
        }
        layers.push(Layer {
            layer_digest: Some(text),
            layer_availability: Some(match blob {
                Some(_) => LayerAvailability::Available,
                None => LayerAvailability::Unavailable,
            }),
            layer_size: blob.and_then(|blob| i64::try_from(blob.bytes).ok()),
            media_type: blob.map(|_| LAYER_TYPE.to_owned()),
        });
    }
    Ok(BatchCheckLayerAvailabilityResponse { layers: Some(layers), failures: Some(failures) })
}

pub(super) async fn initiate(
    call: &Ecr<'_>,
    input: InitiateLayerUploadRequest,
) -> Result<InitiateLayerUploadResponse, ApiError> {
    let repository = call.repository(input.registry_id.as_ref(), input.repository_name.as_ref())?;
    let id = IdSource::new(call.seed).uuid();
    let begun = call.app.registry().uploads().begin(&id, &repository.id).await;
    begun.map_err(|error| failed(call, &repository, &id, error))?;
    Ok(InitiateLayerUploadResponse { upload_id: Some(id), part_size: Some(PART_BYTES) })
}

pub(super) async fn upload_part(
    call: &Ecr<'_>,
    input: UploadLayerPartRequest,
) -> Result<UploadLayerPartResponse, ApiError> {
    let repository = call.repository(input.registry_id.as_ref(), input.repository_name.as_ref())?;
    let id = input.upload_id.unwrap_or_default();
    let part = Bytes::from(input.layer_part_blob.unwrap_or_default().0);
    let first = input.part_first_byte.unwrap_or_default();
    let last = input.part_last_byte.unwrap_or_default();
    if last.checked_sub(first).and_then(|n| n.checked_add(1)) != i64::try_from(part.len()).ok() {
        return Err(invalid("partLastByte", "the part has another length than its bytes say"));
    }
    let uploads = call.app.registry().uploads();
    let refused = |error| failed(call, &repository, &id, error);
    let mut writer = uploads.writer(&id, &repository.id).await.map_err(refused)?;
    writer.demand_start(u64::try_from(first).unwrap_or(u64::MAX)).map_err(refused)?;
    // In a task of its own: a part that is being written is written to its end.
    let appended = tokio::spawn(async move { writer.append(part).await });
    appended.await.map_err(|_| ApiError::server())?.map_err(refused)?;
    Ok(UploadLayerPartResponse {
        registry_id: Some(call.id()),
        repository_name: Some(repository.name.clone()),
        upload_id: Some(id.clone()),
        last_byte_received: Some(last),
    })
}

pub(super) async fn complete(
    call: &Ecr<'_>,
    input: CompleteLayerUploadRequest,
) -> Result<CompleteLayerUploadResponse, ApiError> {
    let repository = call.repository(input.registry_id.as_ref(), input.repository_name.as_ref())?;
    let id = input.upload_id.unwrap_or_default();
    let digests = input.layer_digests.unwrap_or_default();
    let [text] = digests.as_slice() else {
        return Err(invalid("layerDigests", "exactly one digest is supported by this server"));
    };
    let digest: Digest = text.parse().map_err(|error| invalid("layerDigests", error))?;
    let uploads = call.app.registry().uploads();
    let refused = |error| failed(call, &repository, &id, error);
    let writer = uploads.writer(&id, &repository.id).await.map_err(refused)?;
    if writer.size() == 0 {
        let message = format!("The upload with id '{id}' has no parts");
        return Err(ecr(ErrorCode::EmptyUploadException, message));
    }
    if content::blob(&call.app.store().snapshot(), &repository.id, &digest).is_some() {
        drop(writer);
        uploads.cancel(&id, &repository.id).await.map_err(refused)?;
        let place = names::place(call.app.arns(), &repository.name);
        let message =
            format!("Layer with digest '{digest}' already exists in the repository {place}");
        return Err(ecr(ErrorCode::LayerAlreadyExistsException, message));
    }
    let _adding = call.app.registry().adding().await;
    let size = uploads.finish(writer, &digest).await.map_err(refused)?;
    let linked = content::link(call.app, &repository, &digest, size).await;
    let gone = || {
        let message = names::unknown_repository(call.app.arns(), &repository.name);
        ecr(ErrorCode::RepositoryNotFoundException, message)
    };
    linked.map_err(|error| error.unwrap_or_else(gone))?;
    Ok(CompleteLayerUploadResponse {
        registry_id: Some(call.id()),
        repository_name: Some(repository.name.clone()),
        upload_id: Some(id.clone()),
        layer_digest: Some(digest.to_string()),
    })
}

pub(super) async fn download_url(
    call: &Ecr<'_>,
    input: GetDownloadUrlForLayerRequest,
) -> Result<GetDownloadUrlForLayerResponse, ApiError> {
    let repository = call.repository(input.registry_id.as_ref(), input.repository_name.as_ref())?;
    let text = input.layer_digest.unwrap_or_default();
    let digest: Digest = text.parse().map_err(|error| invalid("layerDigest", error))?;
    if content::blob(&call.app.store().snapshot(), &repository.id, &digest).is_none() {
        let place = names::place(call.app.arns(), &repository.name);
        let message =
            format!("Layer with digest '{digest}' does not exist in the repository {place}");
        return Err(ecr(ErrorCode::LayersNotFoundException, message));
    }
    let token = tokens::layer(call.app, &repository.id, &text, call.now);
    Ok(GetDownloadUrlForLayerResponse {
        download_url: Some(format!("{}/layers/{token}", call.app.endpoint().trim_end_matches('/'))),
        layer_digest: Some(text),
    })
}

/// An upload's error in ECR's words.
fn failed(call: &Ecr<'_>, repository: &Repository, id: &str, error: UploadError) -> ApiError {
    let place = names::place(call.app.arns(), &repository.name);
    match error {
        UploadError::Unknown | UploadError::Store(StoreError::NoUpload(_)) => {
            let message =
                format!("The upload with id '{id}' could not be found in the repository {place}");
            ecr(ErrorCode::UploadNotFoundException, message)
        }
        UploadError::TooMany => ecr(ErrorCode::LimitExceededException, error.to_string()),
        UploadError::OutOfOrder { expected, found } => {
            let message = format!(
                "Layer part's first byte {found} is not the expected next byte {expected} of the \
                 upload with id '{id}' in the repository {place}"
            );
            let last = i64::try_from(expected).unwrap_or(i64::MAX) - 1;
            ecr(ErrorCode::InvalidLayerPartException, message)
                .with("registryId", call.id().into())
                .with("repositoryName", repository.name.as_str().into())
                .with("uploadId", id.into())
                .with("lastValidByteReceived", last.into())
        }
        UploadError::TakenOver => ecr(ErrorCode::InvalidParameterException, error.to_string()),
        UploadError::Store(StoreError::Digest { expected, found }) => {
            let message = format!(
                "Layer digest '{expected}' does not match the uploaded content, whose digest is '{found}'"
            );
            ecr(ErrorCode::InvalidLayerException, message)
        }
        UploadError::Store(error) => store_failed(&error),
    }
}
