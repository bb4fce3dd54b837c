//! One health check of one target.

use crate::live::TargetState;
use crate::proxy::Dialed;
use crate::targets::{Matcher, Outcome};
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HOST, TE, USER_AGENT};
use http::{HeaderValue, Method, Request, Response, Version};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use wharf_model::load_balancing::{HealthCheck, Protocol, ProtocolVersion, TargetGroup};

/// What a check does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) protocol: Protocol,
    pub(super) version: ProtocolVersion,
    pub(super) port: Option<u16>,
    pub(super) path: String,
    pub(super) matcher: Matcher,
    pub(super) timeout: Duration,
}

impl Plan {
    pub(super) fn new(group: &TargetGroup) -> Self {
        let check: &HealthCheck = &group.health_check;
        let version = group.protocol_version.unwrap_or(ProtocolVersion::Http1);
        let (path, matcher) = match version {
            ProtocolVersion::Grpc => ("/AWS.ALB/healthcheck", "12"),
            _ if group.protocol.is_http() => ("/", "200"),
            _ => ("/", "200-399"),
        };
        Self {
            protocol: check.protocol,
            version,
            port: check.port,
            path: check.path.clone().unwrap_or_else(|| path.into()),
            matcher: Matcher::parse(check.matcher.as_deref().unwrap_or(matcher)),
            timeout: Duration::from_secs(check.timeout_seconds.max(1).into()),
        }
    }
}

/// Checks a target.
pub(super) async fn probe(plan: &Plan, target: &TargetState) -> Outcome {
    let port = plan.port.unwrap_or(target.address.port());
    let address = SocketAddr::new(target.address.ip(), port);
    match tokio::time::timeout(plan.timeout, attempt(plan, address, target.source())).await {
        Ok(outcome) => outcome,
        Err(_) => Outcome::TimedOut,
    }
}

async fn attempt(plan: &Plan, address: SocketAddr, source: Option<Ipv4Addr>) -> Outcome {
    if !plan.protocol.is_http() {
        return match crate::proxy::open(address, source).await {
            Ok(_) => Outcome::Passed,
            Err(_) => Outcome::Failed,
        };
    }
    let http2 = plan.version != ProtocolVersion::Http1;
    let tls = plan.protocol == Protocol::Https;
    let Ok(dialed) = crate::proxy::dial(address, source, tls, http2).await else {
        return Outcome::Failed;
    };
    let answer = if http2 {
        over_http2(plan, address, dialed).await
    } else {
        over_http1(plan, address, dialed).await
    };
    answer.unwrap_or(Outcome::Failed)
}

const AGENT: HeaderValue = HeaderValue::from_static("ELB-HealthChecker/2.0");

async fn over_http1(plan: &Plan, address: SocketAddr, dialed: Dialed) -> Option<Outcome> {
    let io = TokioIo::new(dialed);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.ok()?;
    let connection = tokio::spawn(connection);
    let request = Request::builder()
        .uri(&plan.path)
        .header(HOST, address.to_string())
        .header(CONNECTION, "close")
        .header(USER_AGENT, AGENT)
        .body(Empty::<Bytes>::new())
        .ok()?;
    let answer = sender.send_request(request).await;
    connection.abort();
    Some(judge(plan, answer.ok()?.status().as_u16()))
}

async fn over_http2(plan: &Plan, address: SocketAddr, dialed: Dialed) -> Option<Outcome> {
    let io = TokioIo::new(dialed);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.ok()?;
    let connection = tokio::spawn(connection);
    let grpc = plan.version == ProtocolVersion::Grpc;
    let scheme = if plan.protocol == Protocol::Https { "https" } else { "http" };
    let mut request = Request::builder()
        .version(Version::HTTP_2)
        .uri(format!("{scheme}://{address}{}", plan.path))
        .header(USER_AGENT, AGENT);
    // The empty message of gRPC: not compressed, no bytes.
    let body = if grpc {
        request = request
            .method(Method::POST)
            .header(CONTENT_TYPE, "application/grpc")
            .header(TE, "trailers");
        Bytes::from_static(&[0; 5])
    } else {
        Bytes::new()
    };
    let answer = sender.send_request(request.body(Full::new(body)).ok()?).await;
    let outcome = match (answer, grpc) {
        (Ok(answer), false) => Some(judge(plan, answer.status().as_u16())),
        (Ok(answer), true) => Some(match grpc_status(answer).await {
            Some(code) => judge(plan, code),
            None => Outcome::Mismatch("Health checks failed: no gRPC status in the answer".into()),
        }),
        (Err(_), _) => None,
    };
    connection.abort();
    outcome
}

async fn grpc_status(answer: Response<Incoming>) -> Option<u16> {
    let read = |headers: &http::HeaderMap| {
        headers.get("grpc-status").and_then(|value| value.to_str().ok()?.parse().ok())
    };
    if let Some(code) = read(answer.headers()) {
        return Some(code);
    }
    let mut body = answer.into_body();
    while let Some(frame) = body.frame().await {
        if let Some(trailers) = frame.ok()?.trailers_ref() {
            return read(trailers);
        }
    }
    None
}

fn judge(plan: &Plan, code: u16) -> Outcome {
    if plan.matcher.matches(code) {
        Outcome::Passed
    } else {
        Outcome::Mismatch(format!("Health checks failed with these codes: [{code}]"))
    }
}
