//! Manifests of pull-through caches: brought from their upstream when they are asked for.

use super::super::answer::{Answer, answer};
use super::blobs::name_content;
use super::errors::{Code, Refusal, not_put};
use super::{Call, access};
use crate::registry::access::Resource;
use crate::registry::import::{self, ImportError};
use crate::registry::pull_through;
use crate::remote::RemoteFailure;
use http_body_util::{Either, Full};
use hyper::Method;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use wharf_registry::route::Reference;

/// The answer while the image's blobs are on their way; none where the records say what there is.
pub(super) async fn serve(
    call: &Call<'_>,
    name: &str,
    reference: &Reference,
) -> Result<Option<Answer>, Refusal> {
    if pull_through::cached(&call.snapshot, name).is_none() {
        return Ok(None);
    }
    let found = call.snapshot.repository(&name.to_owned());
    call.demand(Resource::found(found.map(AsRef::as_ref), name), access::PULL_IMAGE)?;
    let brought = import::bring(call.app, call.identity, name, reference).await;
    let Some(flight) = brought.map_err(|error| refusal(error, name))? else { return Ok(None) };
    let mut response = answer(200, "application/json", "");
    name_content(&mut response, &flight.digest);
    if let Ok(value) = HeaderValue::from_str(&flight.media_type) {
        response.headers_mut().insert(CONTENT_TYPE, value);
    }
    match call.head.method {
        Method::HEAD => {
            response.headers_mut().insert(CONTENT_LENGTH, flight.bytes.len().into());
        }
        _ => *response.body_mut() = Either::Left(Full::new(flight.bytes.clone())),
    }
    Ok(Some(response))
}

fn refusal(error: ImportError, name: &str) -> Refusal {
    match error {
        ImportError::Denied(denied) => denied.into(),
        ImportError::Put(error) => not_put(error, name),
        ImportError::Api(error) => error.into(),
        ImportError::Remote(error) => {
            let text = format!("the upstream of {name}: {error}");
            match error.failure {
                RemoteFailure::Absent => Refusal::new(Code::ManifestUnknown, text),
                RemoteFailure::Denied => Refusal::new(Code::Denied, text),
                RemoteFailure::TooMany => Refusal::new(Code::TooManyRequests, text),
                RemoteFailure::Unavailable => Refusal::new(Code::Unknown, text).status(503),
                RemoteFailure::Other => Refusal::new(Code::Unknown, text).status(502),
            }
        }
    }
}
