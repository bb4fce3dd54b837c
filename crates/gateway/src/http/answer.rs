//! Answers as they leave.

use crate::error::ApiError;
use crate::protocol::Protocol;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Frame, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc;

/// Names the request in the answer and in the log.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// An answer.
pub(super) type Answer = Response<Body>;

/// An answer's body.
pub(super) enum Body {
    /// All of it is known.
    Whole(Full<Bytes>),
    /// It comes in pieces, for as long as the sender lives.
    Pieces(mpsc::Receiver<Bytes>),
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(context),
            Self::Pieces(pieces) => {
                pieces.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(body) if body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Pieces(_) => SizeHint::default(),
        }
    }
}

/// An answer that goes on for as long as somebody sends pieces of it.
pub(super) fn pieces(content_type: &'static str, pieces: mpsc::Receiver<Bytes>) -> Answer {
    let mut response = Response::new(Body::Pieces(pieces));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// An answer with `status` and `body`.
pub(super) fn answer(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Body::Whole(Full::new(body.into())));
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
