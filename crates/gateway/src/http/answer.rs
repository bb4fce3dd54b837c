//! Answers as they leave.

use crate::error::ApiError;
use crate::protocol::Protocol;
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{Either, Full};
use hyper::body::Frame;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc;

/// Names the request in the answer and in the log.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// An answer: its body is whole, but for the registry's blobs and live tails, which come in pieces.
pub(super) type Answer = Response<Either<Full<Bytes>, BoxBody<Bytes, std::io::Error>>>;

/// A body that goes on for as long as somebody sends pieces of it.
struct Pieces(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

/// An answer that goes on for as long as somebody sends pieces of it.
pub(super) fn pieces(content_type: &'static str, pieces: mpsc::Receiver<Bytes>) -> Answer {
    let mut response = Response::new(Either::Right(BoxBody::new(Pieces(pieces))));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

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
