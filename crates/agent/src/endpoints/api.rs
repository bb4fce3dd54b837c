//! The API at 169.254.170.4: passes tasks' signed requests on to the control plane.
//!
//! The signature covers `Host`, which is why a request goes on under the name that the task used.
//! That name alone is let through: the control plane answers some paths without a signature to its
//! operator, and none under this one. It adds nothing of its own, least of all the agent's key.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::HEAD_TIMEOUT;
use crate::api::EcsClient;

/// The names under which tasks speak to the API.
const HOSTS: [&str; 2] = ["169.254.170.4", "169.254.170.4:80"];
/// The control plane's own limit.
const MAX_BODY_BYTES: usize = 1 << 20;
/// How long a body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// What concerns one connection only (RFC 9110, 7.6.1), and so is never passed on.
const OF_THE_CONNECTION: [HeaderName; 7] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

type Body = BoxBody<Bytes, hyper::Error>;

/// Serves until `stop`.
pub(super) async fn serve(listener: TcpListener, client: EcsClient, stop: CancellationToken) {
    super::accept(listener, stop, |stream, _| {
        let client = client.clone();
        async move {
            let service = hyper::service::service_fn(|request| {
                let client = client.clone();
                async move { Ok::<_, Infallible>(pass_on(&client, request).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .half_close(true)
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            // A client that breaks off is its own affair.
            let _ = connection.await;
        }
    })
    .await;
}

async fn pass_on(client: &EcsClient, request: Request<Incoming>) -> Response<Body> {
    let (mut head, body) = request.into_parts();
    let mut hosts = head.headers.get_all(header::HOST).iter();
    let own = hosts.next().is_some_and(|host| HOSTS.iter().any(|own| host == own));
    if !own || hosts.next().is_some() {
        let text = "The API is reached here by the name 169.254.170.4 only.";
        return refusal(StatusCode::FORBIDDEN, "AccessDeniedException", text);
    }
    let limited = Limited::new(body, MAX_BODY_BYTES).collect();
    let body = match tokio::time::timeout(BODY_TIMEOUT, limited).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let text = format!("The request's body is larger than {MAX_BODY_BYTES} bytes.");
            let code = "RequestEntityTooLargeException";
            return refusal(StatusCode::PAYLOAD_TOO_LARGE, code, &text);
        }
        _ => {
            let text = "The request's body did not arrive whole, or not in time.";
            return refusal(StatusCode::BAD_REQUEST, "MalformedHttpRequestException", text);
        }
    };
    strip(&mut head.headers);
    // Framed anew.
    head.headers.remove(header::CONTENT_LENGTH);
    head.version = http::Version::HTTP_11;
    match client.forward(Request::from_parts(head, Full::new(body))).await {
        Ok(answer) => {
            let mut answer = answer.map(BodyExt::boxed);
            strip(answer.headers_mut());
            answer
        }
        Err(error) => {
            tracing::warn!(%error, "a task's request can't be passed on");
            let text = "The control plane can't be reached from this host. Try again.";
            refusal(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailableException", text)
        }
    }
}

/// Removes what concerns the connection, and what the connection names as such.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        // What a signature covers doesn't concern the connection, whatever it says.
        .filter(|name| *name != header::HOST && *name != header::AUTHORIZATION)
        .collect();
    for name in named.iter().chain(&OF_THE_CONNECTION) {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
}

fn refusal(status: StatusCode, code: &'static str, message: &str) -> Response<Body> {
    let body = json!({ "__type": code, "message": message }).to_string();
    let mut response =
        Response::new(Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.1"));
    headers.insert("x-amzn-errortype", HeaderValue::from_static(code));
    response
}
