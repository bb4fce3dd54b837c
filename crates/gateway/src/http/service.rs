//! One request from its head to its answer, and its line in the log.

use super::answer::{Answer, REQUEST_ID, answer, error};
use super::guard::{AllowedHosts, is_of_a_task};
use super::route::{self, Hint};
use super::server::Limits;
use super::{v2, websocket};
use crate::app::App;
use crate::error::ApiError;
use crate::identity::Verified;
use crate::protocol::Protocol;
use crate::sigv4;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, HeaderValue};
use hyper::{Method, Request};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use wharf_model::Transaction;

/// The front of the server: everything that a request needs.
pub(super) struct Front {
    app: Arc<App>,
    hosts: AllowedHosts,
    limits: Limits,
    serves: Serves,
}

/// What there is behind an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Serves {
    /// All of it.
    Everything,
    /// The image registry alone.
    Registry {
        /// By TLS.
        tls: bool,
    },
}

/// Says of a request that it came by TLS.
#[derive(Debug, Clone, Copy)]
pub(super) struct ByTls;

/// What the log line says of a request, filled in on its way.
#[derive(Default)]
pub(super) struct Trace {
    /// The addressed service.
    pub service: &'static str,
    /// The operation, from the model's list of names.
    pub operation: &'static str,
    /// Who asked, once that is verified.
    pub principal: Option<String>,
    /// The error's code, if it ended in one.
    pub error: Option<String>,
}

/// Bodies of CloudWatch Logs may be so much larger: 1 MiB of messages, as JSON, in 10,000 events.
const LOGS_FACTOR: usize = 4;
/// Bodies of ECR may be so much larger: a part of a layer has 20 MiB, and becomes base64.
const ECR_FACTOR: usize = 28;

impl Front {
    pub(super) fn new(app: Arc<App>, hosts: AllowedHosts, limits: Limits, serves: Serves) -> Self {
        Self { app, hosts, limits, serves }
    }

    pub(super) fn app(&self) -> &App {
        &self.app
    }

    /// Answers one request. There is always an answer.
    pub(super) async fn serve(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> Result<Answer, Infallible> {
        let started = Instant::now();
        let request_id = uuid::Uuid::new_v4().to_string();
        let method = request.method().clone();
        let path = request.uri().path().to_owned();
        let mut trace = Trace::default();
        let mut response = self.answer(request, &request_id, &mut trace).await;
        if let Ok(value) = HeaderValue::from_str(&request_id) {
            response.headers_mut().insert(REQUEST_ID, value);
        }
        let took = started.elapsed();
        let status = response.status().as_u16();
        // The query stays out of the log: presigned requests carry their signature in it.
        tracing::info!(
            target: "wharf::access",
            request_id,
            %peer,
            %method,
            path,
            service = trace.service,
            operation = trace.operation,
            principal = trace.principal,
            status,
            error = trace.error,
            duration_ms = took.as_secs_f64() * 1000.0,
        );
        if !trace.operation.is_empty() {
            self.app.metrics().request(trace.service, trace.operation, status, took);
        }
        Ok(response)
    }

    async fn answer(
        &self,
        mut request: Request<Incoming>,
        request_id: &str,
        trace: &mut Trace,
    ) -> Answer {
        let hint = Hint::of(request.method(), request.headers(), request.uri().query());
        let refuse = |trace: &mut Trace, reason: &'static str, e: &ApiError| {
            trace.error = Some(e.code.to_string());
            self.app.metrics().refused(reason);
            error(hint.protocol, e, hint.namespace, request_id)
        };
        if let Err(e) = self.hosts.check(request.headers()) {
            return refuse(trace, "host", &e);
        }
        if let Serves::Registry { tls } = self.serves {
            if !v2::is_path(request.uri().path()) && !v2::is_layer(request.uri().path()) {
                let text = "Here is an image registry, below /v2/.\n";
                return answer(404, "text/plain; charset=utf-8", text);
            }
            if tls {
                request.extensions_mut().insert(ByTls);
            }
        }
        let of_a_task = is_of_a_task(request.headers());
        if !of_a_task && let Some(response) = self.unsigned(&request).await {
            return response;
        }
        // What tasks pass on must be signed, and layers' addresses aren't.
        let path = request.uri().path();
        if v2::is_path(path) || !of_a_task && v2::is_layer(path) {
            let (head, body) = request.into_parts();
            return v2::serve(&self.app, &self.limits, &head, body, trace).await;
        }
        let upgrade = websocket::is_upgrade(&request).then(|| hyper::upgrade::on(&mut request));
        let (head, body) = request.into_parts();
        let body = match self.body(&head, body).await {
            Ok(body) => body,
            Err(e) => return refuse(trace, "body", &e),
        };
        let identity = match verify(&self.app, &head, &body) {
            Ok(identity) => identity,
            Err(e) => return refuse(trace, "signature", &hint.protocol.refusal(&e)),
        };
        trace.principal = Some(identity.principal_arn());
        if let Some(upgrade) = upgrade {
            let response = websocket::accept(&self.app, &head, upgrade, identity, trace);
            return response;
        }
        match route::call(&self.app, &head, &body, hint, &identity, request_id, trace).await {
            Ok(response) => response,
            Err((protocol, namespace, e)) => {
                trace.error = Some(e.code.to_string());
                error(protocol, &e, namespace, request_id)
            }
        }
    }

    /// The few paths that need no signature: of the state they tell numbers, and the names of load
    /// balancers and target groups that those are of.
    async fn unsigned(&self, request: &Request<Incoming>) -> Option<Answer> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return None;
        }
        match request.uri().path() {
            "/healthz" => Some(answer(200, "text/plain; charset=utf-8", "ok\n")),
            // A transaction without writes goes the journal's whole way and leaves nothing.
            "/readyz" => Some(match self.app.store().commit(Transaction::new()).await {
                Ok(_) => answer(200, "text/plain; charset=utf-8", "ready\n"),
                Err(error) => {
                    tracing::warn!(%error, "not ready: the journal takes no writes");
                    answer(503, "text/plain; charset=utf-8", "the journal takes no writes\n")
                }
            }),
            "/metrics" => {
                let snapshot = self.app.store().snapshot();
                let metrics = self.app.metrics();
                let images = snapshot.all_registry_images().count();
                metrics.registry_holds(snapshot.repositories().count(), images);
                let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
                // The balancer says that it stands in the first zone.
                let zone = format!("{}a", self.app.arns().region);
                let text = metrics.text(self.app.soft().meters(), zone);
                Some(answer(200, media_type, text))
            }
            _ => None,
        }
    }

    async fn body(&self, head: &http::request::Parts, body: Incoming) -> Result<Bytes, ApiError> {
        let target = head.headers.get("x-amz-target").and_then(|target| target.to_str().ok());
        let is_of = |service: wharf_wire::Service| {
            target.is_some_and(|target| target.starts_with(service.target_prefix))
        };
        let factor = if is_of(wharf_wire::logs::SERVICE) {
            LOGS_FACTOR
        } else if is_of(wharf_wire::ecr::SERVICE) {
            ECR_FACTOR
        } else {
            1
        };
        let limit = self.limits.body_bytes * factor;
        let said = head.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        let large = factor == ECR_FACTOR
            && said
                .and_then(|text| text.parse().ok())
                .is_none_or(|n: usize| n > self.limits.body_bytes);
        // Large bodies are in memory before anybody knows whose they are: only so many at once.
        let _place = match large {
            true => self.app.registry().large_bodies().acquire().await.ok(),
            false => None,
        };
        let limited = Limited::new(body, limit);
        match tokio::time::timeout(self.limits.body_timeout, limited.collect()).await {
            Ok(Ok(collected)) => Ok(collected.to_bytes()),
            Ok(Err(e)) if e.is::<LengthLimitError>() => Err(ApiError::new(
                "RequestEntityTooLargeException",
                413,
                format!("The request's body is larger than {limit} bytes."),
            )),
            Ok(Err(_)) => Err(ApiError::new(
                "MalformedHttpRequestException",
                400,
                "The request's body ended before it was complete.",
            )),
            Err(_) => Err(ApiError::new(
                "RequestTimeoutException",
                408,
                "The request's body did not arrive in time.",
            )),
        }
    }
}

/// Whose signature a request has.
pub(super) fn verify(
    app: &App,
    head: &http::request::Parts,
    body: &[u8],
) -> Result<Verified, sigv4::Error> {
    let headers = head.headers.iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
    let request = sigv4::Request {
        method: head.method.as_str(),
        path: head.uri.path().as_bytes(),
        query: head.uri.query().unwrap_or_default().as_bytes(),
        headers,
        body,
    };
    app.gate().verify(&request, app.now())
}

/// The protocol, XML namespace and error of a call that failed.
pub(super) type Failed = (Protocol, &'static str, ApiError);
