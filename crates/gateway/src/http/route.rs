//! From a verified request to its operation: which protocol, which service, which operation.

use super::answer::{Answer, answer, pieces};
use super::service::{Failed, Trace};
use super::{history, load_balancers, registry_gc};
use crate::app::App;
use crate::authorize::{Asked, authorize};
use crate::dispatch::Call;
use crate::error::ApiError;
use crate::identity::Verified;
use crate::protocol::Protocol;
use crate::query_services::{self, QueryService};
use crate::sigv4::{Claim, Request};
use crate::{acm, ecr, ecs, logs, secretsmanager, ssm};
use hyper::header::CONTENT_TYPE;
use hyper::{HeaderMap, Method};
use std::cell::LazyCell;
use std::str::FromStr;
use std::sync::Arc;
use wharf_wire::{DecodeError, DecodeReason, Schema, json};

/// What a request looks like before anything of it is believed: good enough to lay out an error.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hint {
    /// The protocol that the caller seems to speak.
    pub protocol: Protocol,
    /// XML namespace of the service that it seems to address.
    pub namespace: &'static str,
}

impl Hint {
    /// Looks at the headers and the query.
    pub(super) fn of(method: &Method, headers: &HeaderMap, query: Option<&str>) -> Self {
        let query = query.unwrap_or_default();
        let service = LazyCell::new(|| claimed_service(method, headers, query));
        let content_type = content_type(headers);
        let in_query = !query.is_empty()
            && form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "Action");
        let protocol = match content_type.as_str() {
            "application/x-amz-json-1.0" => Protocol::Json10,
            "application/x-amz-json-1.1" => Protocol::Json11,
            "application/cbor" => Protocol::Cbor,
            _ if headers.contains_key("x-amz-target") => Protocol::Json11,
            "application/x-www-form-urlencoded" if *service == "ec2" => Protocol::Ec2Query,
            "application/x-www-form-urlencoded" => Protocol::Query,
            _ if in_query && *service == "ec2" => Protocol::Ec2Query,
            _ if in_query => Protocol::Query,
            _ if matches!(service.as_str(), "s3" | "route53" | "cloudfront") => Protocol::RestXml,
            _ if matches!(
                service.as_str(),
                "acm" | "ecs" | "ecr" | "logs" | "ssm" | "secretsmanager" | ""
            ) =>
            {
                Protocol::Json11
            }
            _ => Protocol::RestJson,
        };
        let namespace = match protocol {
            Protocol::Query if *service == "sts" => wharf_wire::sts::SERVICE.xml_namespace,
            Protocol::Query if *service == "iam" => wharf_wire::iam::SERVICE.xml_namespace,
            Protocol::Query if *service == "elasticloadbalancing" => {
                wharf_wire::elbv2::SERVICE.xml_namespace
            }
            _ => "",
        };
        Self { protocol, namespace }
    }
}

/// The service in the credentials' scope, unverified.
fn claimed_service(method: &Method, headers: &HeaderMap, query: &str) -> String {
    let request = Request {
        method: method.as_str(),
        path: b"/",
        query: query.as_bytes(),
        headers: headers.iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect(),
        body: b"",
    };
    Claim::parse(&request).map(|claim| claim.scope.service).unwrap_or_default()
}

/// The media type of the body in lower case, without parameters; empty if there is none.
fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Answers a verified request.
pub(super) async fn call(
    app: &Arc<App>,
    head: &http::request::Parts,
    body: &[u8],
    hint: Hint,
    identity: &Verified,
    request_id: &str,
    trace: &mut Trace,
) -> Result<Answer, Failed> {
    if let Some(service) = QueryService::of(identity.service()) {
        let fail = |e| (service.protocol(), service.service().xml_namespace, e);
        let result = query_call(app, head, body, service, identity, request_id, trace).await;
        return result.map_err(fail);
    }
    let fail = |error: ApiError| (hint.protocol, hint.namespace, error);
    match identity.service() {
        "ecs" if head.uri.path() == history::PATH => {
            trace.service = "ecs";
            history::call(app, head, identity).map_err(fail)
        }
        "ecs" if head.uri.path() == load_balancers::PATH => {
            trace.service = "ecs";
            load_balancers::call(app, head, identity).map_err(fail)
        }
        "ecs" if head.uri.path() == registry_gc::PATH => {
            trace.service = "ecr";
            registry_gc::call(app, head, identity).await.map_err(fail)
        }
        "acm" | "ecs" | "ecr" | "logs" | "ssm" | "secretsmanager" => {
            let request = JsonRequest { app, head, body, identity };
            json_call(request, trace).await.map_err(fail)
        }
        other => Err(fail(absent_service(hint.protocol, other))),
    }
}

/// A call with `Action`, in a form or in the query of a GET (as presigned URLs are).
async fn query_call(
    app: &Arc<App>,
    head: &http::request::Parts,
    body: &[u8],
    service: QueryService,
    identity: &Verified,
    request_id: &str,
    trace: &mut Trace,
) -> Result<Answer, ApiError> {
    trace.service = service.service().name;
    if head.uri.path() != "/" {
        let message = format!("There is nothing at '{}'.", head.uri.path());
        return Err(ApiError::new("InvalidAction", 404, message));
    }
    let parameters = if head.method == Method::GET {
        head.uri.query().unwrap_or_default().as_bytes()
    } else if head.method == Method::POST {
        let content_type = content_type(&head.headers);
        if content_type != wharf_wire::query::REQUEST_CONTENT_TYPE {
            return Err(ApiError::new(
                "UnsupportedMediaType",
                415,
                format!(
                    "The content type '{content_type}' is not {}.",
                    wharf_wire::query::REQUEST_CONTENT_TYPE
                ),
            ));
        }
        body
    } else {
        let message = format!("The method {} is not POST or GET.", head.method);
        return Err(ApiError::new("MethodNotAllowed", 405, message));
    };
    let operation = &mut trace.operation;
    let bytes =
        query_services::call(app, service, parameters, identity, request_id, operation).await?;
    Ok(answer(200, service.protocol().content_type(), bytes))
}

/// An AWS service that wharf doesn't have.
fn absent_service(protocol: Protocol, service: &str) -> ApiError {
    let code = match protocol {
        Protocol::Query | Protocol::Ec2Query | Protocol::RestXml => "UnsupportedOperation",
        _ => "UnsupportedOperationException",
    };
    ApiError::new(
        code,
        400,
        format!(
            "The AWS service '{service}' is not available at this endpoint: this server has ecs, \
             ecr, elbv2, iam, logs, secretsmanager, sts, and parts of acm, ssm and ec2."
        ),
    )
}

/// An operation of a service that speaks awsJson.
trait JsonOperation: FromStr {
    fn name(&self) -> &'static str;
    fn schema(&self) -> &'static Schema;
}

macro_rules! json_operations {
    ($($service:ident)*) => {
        $( impl JsonOperation for wharf_wire::$service::Operation {
            fn name(&self) -> &'static str {
                self.as_str()
            }

            fn schema(&self) -> &'static Schema {
                self.input_schema()
            }
        } )*
    };
}
json_operations!(acm ecs ecr logs ssm secretsmanager);

/// A request by awsJson, before its operation is known.
#[derive(Clone, Copy)]
struct JsonRequest<'a> {
    app: &'a Arc<App>,
    head: &'a http::request::Parts,
    body: &'a [u8],
    identity: &'a Verified,
}

impl<'a> JsonRequest<'a> {
    /// The service's operation with its input, if it is built (`others` aren't) and the caller may
    /// call it.
    fn decode<O: JsonOperation>(
        self,
        service: wharf_wire::Service,
        others: &[&str],
        trace: &mut Trace,
    ) -> Result<(Protocol, O, Call<'a>), ApiError> {
        let Self { app, head, body, identity } = self;
        trace.service = service.name;
        let (protocol, name) = json_target(head, service)?;
        if others.contains(&name) {
            return Err(ApiError::not_supported(name));
        }
        let operation: O = name.parse().map_err(|_| no_operation(name))?;
        trace.operation = operation.name();
        let input = json::decode(operation.schema(), body).map_err(|e| undecodable(&e))?;
        let asked = Asked { service: service.name, operation: operation.name(), input: &input };
        authorize(app, identity, asked)?;
        let (now, seed, encode) = (app.now(), rand::random(), Box::new(json::encode));
        Ok((protocol, operation, Call { app, identity, now, seed, input, encode }))
    }
}

/// Runs one of a service's operations.
macro_rules! json_service {
    ($service:ident, $request:expr, $others:expr, $trace:expr) => {{
        let (protocol, operation, call) =
            $request.decode(wharf_wire::$service::SERVICE, $others, $trace)?;
        let bytes = $service::dispatch(operation, call).await?;
        Ok(answer(200, protocol.content_type(), bytes))
    }};
}

async fn json_call(request: JsonRequest<'_>, trace: &mut Trace) -> Result<Answer, ApiError> {
    match request.identity.service() {
        "ecs" => json_service!(ecs, request, &[], trace),
        "acm" => json_service!(acm, request, wharf_wire::acm::OTHER_OPERATIONS, trace),
        "ecr" => json_service!(ecr, request, wharf_wire::ecr::OTHER_OPERATIONS, trace),
        "ssm" => json_service!(ssm, request, wharf_wire::ssm::OTHER_OPERATIONS, trace),
        "secretsmanager" => {
            let others = wharf_wire::secretsmanager::OTHER_OPERATIONS;
            json_service!(secretsmanager, request, others, trace)
        }
        _ => {
            let service = wharf_wire::logs::SERVICE;
            let others = wharf_wire::logs::OTHER_OPERATIONS;
            let (protocol, operation, call) = request.decode(service, others, trace)?;
            if operation == wharf_wire::logs::Operation::StartLiveTail {
                let events = logs::live_tail(call).await?;
                return Ok(pieces(logs::EVENT_STREAM, events));
            }
            let bytes = logs::dispatch(operation, call).await?;
            Ok(answer(200, protocol.content_type(), bytes))
        }
    }
}

fn unknown_operation(message: String) -> ApiError {
    ApiError::new("UnknownOperationException", 404, message)
}

fn no_operation(name: &str) -> ApiError {
    unknown_operation(format!("The operation '{name}' does not exist."))
}

/// Protocol and operation of a call by awsJson.
fn json_target(
    head: &http::request::Parts,
    service: wharf_wire::Service,
) -> Result<(Protocol, &str), ApiError> {
    if head.method != Method::POST || head.uri.path() != "/" {
        return Err(unknown_operation(format!(
            "{} is called by POST to '/', not by {} to '{}'.",
            service.name.to_uppercase(),
            head.method,
            head.uri.path()
        )));
    }
    let protocol = match content_type(&head.headers).as_str() {
        "application/x-amz-json-1.1" => Protocol::Json11,
        "application/x-amz-json-1.0" => Protocol::Json10,
        other => {
            return Err(ApiError::new(
                "UnsupportedMediaTypeException",
                415,
                format!("The content type '{other}' is not application/x-amz-json-1.1."),
            ));
        }
    };
    let mut targets = head.headers.get_all("x-amz-target").iter();
    let (Some(target), None) = (targets.next(), targets.next()) else {
        let message = "Exactly one X-Amz-Target header is required.";
        return Err(unknown_operation(message.to_owned()));
    };
    let target = target.to_str().unwrap_or_default();
    let named = target.rsplit_once('.').filter(|(prefix, _)| *prefix == service.target_prefix);
    named.map(|(_, name)| (protocol, name)).ok_or_else(|| no_operation(target))
}

/// A body that isn't the operation's input.
pub(crate) fn undecodable(error: &DecodeError) -> ApiError {
    match error.reason {
        // ECS takes numbers as they come and checks them later.
        DecodeReason::OutOfRange(_) => ApiError::invalid_parameter(error.to_string()),
        _ => ApiError::new("SerializationException", 400, error.to_string()),
    }
}
