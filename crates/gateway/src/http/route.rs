//! From a verified request to its operation: which protocol, which service, which operation.

use super::answer::{Answer, answer, pieces};
use super::history;
use super::service::{Failed, Trace};
use crate::app::App;
use crate::authorize::{Asked, authorize};
use crate::dispatch::Call;
use crate::error::ApiError;
use crate::identity::Verified;
use crate::logs;
use crate::protocol::Protocol;
use crate::query_services::{self, QueryService};
use crate::secretsmanager;
use crate::sigv4::{Claim, Request};
use crate::ssm;
use crate::{ecr, ecs};
use hyper::header::CONTENT_TYPE;
use hyper::{HeaderMap, Method};
use std::cell::LazyCell;
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
                "ecs" | "ecr" | "logs" | "ssm" | "secretsmanager" | ""
            ) =>
            {
                Protocol::Json11
            }
            _ => Protocol::RestJson,
        };
        let namespace = match protocol {
            Protocol::Query if *service == "sts" => wharf_wire::sts::SERVICE.xml_namespace,
            Protocol::Query if *service == "iam" => wharf_wire::iam::SERVICE.xml_namespace,
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
        "ecs" => ecs_call(app, head, body, identity, trace).await.map_err(fail),
        "ecr" => ecr_call(app, head, body, identity, trace).await.map_err(fail),
        "logs" => logs_call(app, head, body, identity, trace).await.map_err(fail),
        "ssm" => ssm_call(app, head, body, identity, trace).await.map_err(fail),
        "secretsmanager" => secrets_call(app, head, body, identity, trace).await.map_err(fail),
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
             ecr, iam, logs, secretsmanager, sts, and parts of ssm and ec2."
        ),
    )
}

async fn ecs_call(
    app: &Arc<App>,
    head: &http::request::Parts,
    body: &[u8],
    identity: &Verified,
    trace: &mut Trace,
) -> Result<Answer, ApiError> {
    trace.service = "ecs";
    let (protocol, name) = json_target(head, wharf_wire::ecs::SERVICE)?;
    let operation: wharf_wire::ecs::Operation = name.parse().map_err(|_| no_operation(name))?;
    trace.operation = operation.as_str();
    let named = ("ecs", operation.as_str());
    let call = json_call(app, identity, named, operation.input_schema(), body)?;
    let bytes = ecs::dispatch(operation, call).await?;
    Ok(answer(200, protocol.content_type(), bytes))
}

async fn ecr_call(
    app: &Arc<App>,
    head: &http::request::Parts,
    body: &[u8],
    identity: &Verified,
    trace: &mut Trace,
) -> Result<Answer, ApiError> {
    trace.service = "ecr";
    let (protocol, name) = json_target(head, wharf_wire::ecr::SERVICE)?;
    if wharf_wire::ecr::OTHER_OPERATIONS.contains(&name) {
        return Err(ecr::not_built(name));
    }
    let operation: wharf_wire::ecr::Operation = name.parse().map_err(|_| no_operation(name))?;
    trace.operation = operation.as_str();
    let named = ("ecr", operation.as_str());
    let call = json_call(app, identity, named, operation.input_schema(), body)?;
    let bytes = ecr::dispatch(operation, call).await?;
    Ok(answer(200, protocol.content_type(), bytes))
}

async fn logs_call(
    app: &Arc<App>,
    head: &http::request::Parts,
    body: &[u8],
    identity: &Verified,
    trace: &mut Trace,
) -> Result<Answer, ApiError> {
    trace.service = "logs";
    let (protocol, name) = json_target(head, wharf_wire::logs::SERVICE)?;
    if wharf_wire::logs::OTHER_OPERATIONS.contains(&name) {
        return Err(logs::not_built(name));
    }
    let operation: wharf_wire::logs::Operation = name.parse().map_err(|_| no_operation(name))?;
    trace.operation = operation.as_str();
    let named = ("logs", operation.as_str());
    let call = json_call(app, identity, named, operation.input_schema(), body)?;
    if operation == wharf_wire::logs::Operation::StartLiveTail {
        let events = logs::live_tail(call).await?;
        return Ok(pieces(logs::EVENT_STREAM, events));
    }
    let bytes = logs::dispatch(operation, call).await?;
    Ok(answer(200, protocol.content_type(), bytes))
}

async fn ssm_call(
    app: &Arc<App>,
    head: &http::request::Parts,
    body: &[u8],
    identity: &Verified,
    trace: &mut Trace,
) -> Result<Answer, ApiError> {
    trace.service = "ssm";
    let (protocol, name) = json_target(head, wharf_wire::ssm::SERVICE)?;
    if wharf_wire::ssm::OTHER_OPERATIONS.contains(&name) {
        return Err(ssm::not_built(name));
    }
    let operation: wharf_wire::ssm::Operation = name.parse().map_err(|_| no_operation(name))?;
    trace.operation = operation.as_str();
    let named = ("ssm", operation.as_str());
    let call = json_call(app, identity, named, operation.input_schema(), body)?;
    let bytes = ssm::dispatch(operation, call).await?;
    Ok(answer(200, protocol.content_type(), bytes))
}

async fn secrets_call(
    app: &Arc<App>,
    head: &http::request::Parts,
    body: &[u8],
    identity: &Verified,
    trace: &mut Trace,
) -> Result<Answer, ApiError> {
    trace.service = "secretsmanager";
    let (protocol, name) = json_target(head, wharf_wire::secretsmanager::SERVICE)?;
    if wharf_wire::secretsmanager::OTHER_OPERATIONS.contains(&name) {
        return Err(secretsmanager::not_built(name));
    }
    let operation: wharf_wire::secretsmanager::Operation =
        name.parse().map_err(|_| no_operation(name))?;
    trace.operation = operation.as_str();
    let named = ("secretsmanager", operation.as_str());
    let call = json_call(app, identity, named, operation.input_schema(), body)?;
    let bytes = secretsmanager::dispatch(operation, call).await?;
    Ok(answer(200, protocol.content_type(), bytes))
}

/// A call whose input and output are JSON, if the caller may make it: `named` are the service's
/// signing name and the operation's.
fn json_call<'a>(
    app: &'a Arc<App>,
    identity: &'a Verified,
    named: (&str, &str),
    schema: &'static Schema,
    body: &[u8],
) -> Result<Call<'a>, ApiError> {
    let input = json::decode(schema, body).map_err(|e| undecodable(&e))?;
    let asked = Asked { service: named.0, operation: named.1, input: &input };
    authorize(app, identity, asked)?;
    let (now, seed, encode) = (app.now(), rand::random(), Box::new(json::encode));
    Ok(Call { app, identity, now, seed, input, encode })
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
