//! Manifests: GET, HEAD, PUT and DELETE by tag or digest.

use super::super::answer::{Answer, answer};
use super::super::service::Trace;
use super::blobs::{is_known, name_content};
use super::errors::{Code, Refusal, not_put};
use super::identify::ClientBody;
use super::{CONTENT_DIGEST, Call, upstream};
use crate::registry::events::{self, Action};
use crate::registry::manifests::{Origin, Put};
use crate::registry::{access, content, manifests};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Either, Full};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use hyper::{Method, StatusCode};
use wharf_model::RegistryImage;
use wharf_registry::manifest::MAX_MANIFEST_BYTES;
use wharf_registry::route::Reference;

/// Bytes of a body that is too large that are read all the same.
const MAX_DISCARDED_BYTES: usize = 32 << 20;
const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

pub(super) async fn serve(
    call: &Call<'_>,
    name: &str,
    reference: &Reference,
    body: &mut Option<ClientBody>,
    trace: &mut Trace,
) -> Result<Answer, Refusal> {
    let action = match call.head.method {
        Method::PUT => access::PUT_IMAGE,
        Method::DELETE => access::DELETE,
        _ => access::PULL_IMAGE,
    };
    trace.operation = action;
    if matches!(call.head.method, Method::GET | Method::HEAD)
        && let Some(answered) = upstream::serve(call, name, reference).await?
    {
        return Ok(answered);
    }
    let snapshot = call.app.store().snapshot();
    let repository = match call.head.method {
        Method::PUT => call.repository_to_push(name, action).await?,
        // It may have been made just now.
        _ => call.repository_of(&snapshot, name, action)?,
    };
    match call.head.method {
        Method::PUT => {
            let bytes = whole(call, body.take()).await?;
            let (digest, tag) = match reference {
                Reference::Digest(digest) => (Some(digest), None),
                Reference::Tag(tag) => (None, Some(tag.as_str())),
            };
            let content_type = call.header(&CONTENT_TYPE);
            let origin = match call.replicated_from {
                Some(_) => Origin::Replicated,
                None => Origin::Pushed,
            };
            let put = Put { repository: &repository, bytes, content_type, digest, tag, origin };
            let done = manifests::put(call.app, put).await.map_err(|e| not_put(e, name))?;
            Ok(created(name, &done.image))
        }
        Method::DELETE => {
            match reference {
                Reference::Digest(digest) => {
                    let digest = digest.to_string();
                    content::delete_image(call.app, &repository.id, &digest).await?;
                    events::image(call.app, &repository, Action::Delete, &digest, None);
                }
                Reference::Tag(tag) => {
                    let named = content::tag(&call.snapshot, &repository.id, tag);
                    let digest = named.map(|named| named.digest.clone()).unwrap_or_default();
                    content::delete_tag(call.app, &repository.id, tag).await?;
                    events::image(call.app, &repository, Action::Delete, &digest, Some(tag));
                }
            }
            Ok(answer(202, "text/plain", ""))
        }
        _ => {
            let unknown = || {
                Refusal::new(Code::ManifestUnknown, "Requested image not found")
                    .detail(serde_json::json!({ "reference": reference.to_string() }))
            };
            let found = content::resolve(&snapshot, &repository.id, reference);
            let image = found.ok_or_else(unknown)?;
            if image.is_archived {
                let message =
                    format!("The image {} is archived: restore it before pulling it", image.digest);
                return Err(Refusal::new(Code::ManifestUnknown, message));
            }
            get(call, image).await?.ok_or_else(unknown)
        }
    }
}

/// A manifest; none if its bytes are lost.
async fn get(call: &Call<'_>, image: &RegistryImage) -> Result<Option<Answer>, Refusal> {
    let mut response = answer(200, "application/json", "");
    name_content(&mut response, &image.digest);
    if let Ok(value) = HeaderValue::from_str(&image.media_type) {
        response.headers_mut().insert(CONTENT_TYPE, value);
    }
    if is_known(call.head, &image.digest) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(Some(response));
    }
    if call.head.method == Method::HEAD {
        response.headers_mut().insert(CONTENT_LENGTH, image.manifest_bytes.into());
        return Ok(Some(response));
    }
    let Some(bytes) = read(call.app, &image.digest).await? else { return Ok(None) };
    content::note_pull(call.app, image, call.app.now());
    *response.body_mut() = Either::Left(Full::new(bytes));
    Ok(Some(response))
}

/// A manifest's bytes; none if they are lost.
pub(super) async fn read(app: &crate::app::App, digest: &str) -> Result<Option<Bytes>, Refusal> {
    Ok(content::manifest_bytes(app, digest).await?)
}

/// The body of a manifest, within its limits.
async fn whole(call: &Call<'_>, body: Option<ClientBody>) -> Result<Bytes, Refusal> {
    let Some(body) = body else { return Ok(Bytes::new()) };
    match tokio::time::timeout(call.limits.manifest_timeout, collect(body)).await {
        Ok(collected) => collected,
        Err(_) => {
            let message = "the request's body did not arrive in time";
            Err(Refusal::new(Code::ManifestInvalid, message).status(408))
        }
    }
}

/// Reads on for a while although it is too much already: a client that still writes when the
/// connection is closed never hears why.
async fn collect(mut body: ClientBody) -> Result<Bytes, Refusal> {
    let (mut bytes, mut length) = (BytesMut::new(), 0);
    while let Some(frame) = body.frame().await {
        let broken = |_| {
            let message = "the request's body ended before it was complete";
            Refusal::new(Code::ManifestInvalid, message)
        };
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        length += data.len();
        if length <= MAX_MANIFEST_BYTES {
            bytes.extend_from_slice(&data);
        } else if length > MAX_DISCARDED_BYTES {
            break;
        }
    }
    if length > MAX_MANIFEST_BYTES {
        let message = format!("a manifest has at most {MAX_MANIFEST_BYTES} bytes");
        return Err(Refusal::new(Code::SizeInvalid, message));
    }
    Ok(bytes.freeze())
}

fn created(name: &str, image: &RegistryImage) -> Answer {
    let mut answer = answer(201, "text/plain", "");
    let mut set = |header: HeaderName, text: &str| {
        if let Ok(value) = HeaderValue::from_str(text) {
            answer.headers_mut().insert(header, value);
        }
    };
    set(LOCATION, &format!("/v2/{name}/manifests/{}", image.digest));
    set(CONTENT_DIGEST, &image.digest);
    if let Some(subject) = &image.subject {
        // Tells the client that it need not keep a list under a tag.
        set(SUBJECT, subject);
    }
    answer
}
