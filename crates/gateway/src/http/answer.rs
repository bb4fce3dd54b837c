//! Answers as they leave.

use crate::error::ApiError;
use crate::protocol::Protocol;
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{Either, Full};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

/// Names the request in the answer and in the log.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// An answer: its body is whole, but for the registry's blobs, which come in pieces.
pub(super) type Answer = Response<Either<Full<Bytes>, BoxBody<Bytes, std::io::Error>>>;

/// An answer with `status` and `body`.
pub(super) fn answer(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Either::Left(Full::new(body.into())));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// An error in `protocol`.
pub(super) fn error(
    protocol: Protocol,
    error: &ApiError,
    namespace: &str,
    request_id: &str,
) -> Answer {
    let body = protocol.error_body(error, namespace, request_id);
    let mut response = answer(error.status, protocol.content_type(), body);
    if matches!(protocol, Protocol::RestJson | Protocol::Json10 | Protocol::Json11)
        && let Ok(code) = HeaderValue::from_str(&error.code)
    {
        response.headers_mut().insert("x-amzn-errortype", code);
    }
    if protocol == Protocol::Cbor {
        response.headers_mut().insert("smithy-protocol", HeaderValue::from_static("rpc-v2-cbor"));
    }
    response
}
