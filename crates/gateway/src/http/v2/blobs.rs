//! Blobs: GET with ranges, HEAD, DELETE, and a layer by the address that GetDownloadUrlForLayer gave.

use super::super::answer::{Answer, answer};
use super::super::sendfile::Loans;
use super::super::service::Trace;
use super::errors::{Code, Refusal};
use super::file_body::FileBody;
use super::stream::BlobBody;
use super::{CONTENT_DIGEST, Call};
use crate::app::App;
use crate::registry::{access, content, import, tokens};
use http_body_util::{BodyExt, Either};
use hyper::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderName, HeaderValue,
    IF_NONE_MATCH, RANGE,
};
use hyper::{Method, StatusCode};
use std::sync::Arc;
use std::time::Duration;
use wharf_registry::range::{self, Asked};
use wharf_registry::{BlobReader, Digest};

/// What stands under a digest never changes.
const FOR_EVER: &str = "max-age=31536000";

pub(super) async fn serve(
    call: &Call<'_>,
    name: &str,
    digest: &Digest,
    trace: &mut Trace,
) -> Result<Answer, Refusal> {
    let method = &call.head.method;
    let action = match *method {
        Method::HEAD => access::CHECK_LAYER,
        Method::DELETE => access::DELETE,
        _ => access::PULL_LAYER,
    };
    trace.operation = action;
    let repository = call.repository(name, action)?;
    if *method == Method::DELETE {
        let unlinked = content::unlink(call.app, &repository.id, digest).await;
        return match unlinked {
            Err(content::DeleteError::Unknown) => Err(unknown(digest)),
            other => other.map(|()| answer(202, "text/plain", "")).map_err(Refusal::from),
        };
    }
    if content::blob(&call.snapshot, &repository.id, digest).is_none() {
        if let Some(coming) = import::reader(call.app, &repository.name, digest) {
            return Ok(content_answer(call.app, call.head, coming, digest, call.limits.idle));
        }
        // It may have come just now.
        if content::blob(&call.app.store().snapshot(), &repository.id, digest).is_none() {
            return Err(unknown(digest));
        }
    }
    call.app.registry().assert_blob(&repository.id, &digest.to_string(), call.app.now());
    let reader = call.app.registry().storage().open(digest).await?;
    let reader = reader.ok_or_else(|| unknown(digest))?;
    Ok(content_answer(call.app, call.head, reader, digest, call.limits.idle))
}

/// A layer, for whoever has its address.
pub(super) async fn by_token(
    app: &Arc<App>,
    head: &http::request::Parts,
    token: &str,
    trace: &mut Trace,
) -> Result<Answer, Refusal> {
    trace.operation = access::PULL_LAYER;
    super::only(&head.method, &[Method::GET, Method::HEAD])?;
    let denied = || Refusal::new(Code::Denied, "this address is not good, or not any more");
    let grant = tokens::open_layer(app, token, app.now()).ok_or_else(denied)?;
    let digest: Digest = grant.digest.parse().map_err(|_| denied())?;
    let snapshot = app.store().snapshot();
    // What a repository had that is gone may not be swept yet.
    let alive = snapshot.repositories().any(|repository| repository.id == grant.repository);
    if !alive || content::blob(&snapshot, &grant.repository, &digest).is_none() {
        return Err(denied());
    }
    let reader = app.registry().storage().open(&digest).await?.ok_or_else(denied)?;
    Ok(content_answer(app, head, reader, &digest, Duration::from_secs(60)))
}

fn unknown(digest: &Digest) -> Refusal {
    Refusal::new(Code::BlobUnknown, "blob unknown to the repository")
        .detail(serde_json::json!({ "digest": digest.to_string() }))
}

/// True if the client has what stands under this digest already.
pub(super) fn is_known(head: &http::request::Parts, digest: &str) -> bool {
    let tags = head.headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    tags.flat_map(|list| list.split(',')).any(|tag| {
        let tag = tag.trim().trim_start_matches("W/");
        tag == "*" || tag.trim_matches('"') == digest
    })
}

/// The headers of everything that stands under a digest.
pub(super) fn name_content(answer: &mut Answer, digest: &str) {
    let mut set = |name: HeaderName, text: &str| {
        if let Ok(value) = HeaderValue::from_str(text) {
            answer.headers_mut().insert(name, value);
        }
    };
    set(CONTENT_DIGEST, digest);
    set(ETAG, &format!("\"{digest}\""));
}

fn content_answer(
    app: &App,
    head: &http::request::Parts,
    reader: Box<dyn BlobReader>,
    digest: &Digest,
    idle: Duration,
) -> Answer {
    let (size, text) = (reader.size(), digest.to_string());
    let mut response = answer(200, "application/octet-stream", "");
    name_content(&mut response, &text);
    response.headers_mut().insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(FOR_EVER));
    if is_known(head, &text) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return response;
    }
    let header = head.headers.get(RANGE).and_then(|value| value.to_str().ok());
    let set = |response: &mut Answer, name: HeaderName, text: String| {
        if let Ok(value) = HeaderValue::from_str(&text) {
            response.headers_mut().insert(name, value);
        }
    };
    let range = match range::asked(header, size) {
        Asked::Whole => 0..size,
        Asked::Part(part) => {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let shown = format!("bytes {}-{}/{size}", part.start, part.end - 1);
            set(&mut response, CONTENT_RANGE, shown);
            part
        }
        Asked::Unsatisfiable => {
            *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            set(&mut response, CONTENT_RANGE, format!("bytes */{size}"));
            return response;
        }
    };
    set(&mut response, CONTENT_LENGTH, (range.end - range.start).to_string());
    if head.method != Method::HEAD && !range.is_empty() {
        let counted = app.metrics().blob_bytes_out();
        // The shorter way is for files and connections without TLS.
        let lent = reader.file().zip(head.extensions.get::<Loans>());
        let lent = lent.and_then(|(file, loans)| {
            FileBody::new(file, loans, range.clone(), counted.clone()).ok()
        });
        let body = match lent {
            Some(body) => body.boxed(),
            None => BlobBody::new(reader, range, idle, counted).boxed(),
        };
        *response.body_mut() = Either::Right(body);
    }
    response
}
