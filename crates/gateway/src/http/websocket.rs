//! Websockets: `GET /ws` for agents' ACS, `GET /tcs/ws` for their TCS, `GET /balancer/ws` for
//! balancers. The gate has verified the
//! signature; here it is seen who may speak, and the connection handed over.

use super::answer::{Answer, answer};
use super::service::Trace;
use crate::agent_sessions::SessionRequest;
use crate::app::App;
use crate::identity::{Kind, Verified};
use hyper::header::{CONNECTION, HeaderMap, HeaderValue, UPGRADE};
use hyper::upgrade::OnUpgrade;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use wharf_model::arn::Resource;
use wharf_model::container_instance::InstanceStatus;
use wharf_model::{Arn, ContainerInstanceKey, Snapshot};

/// Path of ACS's websocket: the agent puts `ws` behind the endpoint that DiscoverPollEndpoint
/// gave it.
pub const ACS_PATH: &str = "/ws";
/// Path of TCS's websocket.
pub const TCS_PATH: &str = "/tcs/ws";
/// Path of balancers' websocket.
pub const BALANCER_PATH: &str = "/balancer/ws";
/// Largest report of a balancer, in bytes: a hundred thousand targets.
const MAX_REPORT_BYTES: usize = 32 * 1024 * 1024;
/// Largest message of an agent, in bytes. TCS frames are 1 MiB at most.
const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;
/// Bytes read from the socket at once.
const READ_BUFFER_BYTES: usize = 4096;

/// True if the request wants to become a websocket.
pub(super) fn is_upgrade<B>(request: &Request<B>) -> bool {
    request.headers().get(UPGRADE).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Why an agent is not let in, as the agent's decoder wants it: `{"<name>":"text"}`.
type Refusal = (u16, &'static str, String);

/// Answers the upgrade and hands the connection to the sessions once it is one.
pub(super) fn accept(
    app: &Arc<App>,
    head: &http::request::Parts,
    upgrade: OnUpgrade,
    identity: Verified,
    trace: &mut Trace,
) -> Answer {
    trace.service = "ecs";
    let session = match session(app, head, identity, trace) {
        Ok(session) => session,
        Err(refusal) => return refused(trace, refusal),
    };
    let key = match handshake_key(&head.headers) {
        Ok(key) => key,
        Err(refusal) => return refused(trace, refusal),
    };
    let sessions = Arc::clone(app.sessions());
    tokio::spawn(async move {
        let upgraded = match upgrade.await {
            Ok(upgraded) => TokioIo::new(upgraded),
            Err(error) => {
                tracing::debug!(%error, "a connection ended before its upgrade");
                return;
            }
        };
        let most = match session {
            Session::Balancer => MAX_REPORT_BYTES,
            Session::Acs(_) | Session::Tcs(_) => MAX_MESSAGE_BYTES,
        };
        let config = WebSocketConfig::default()
            // It is zeroed at every read: no larger than the usual message.
            .read_buffer_size(READ_BUFFER_BYTES)
            .max_message_size(Some(most))
            .max_frame_size(Some(most));
        let stream = WebSocketStream::from_raw_socket(upgraded, Role::Server, Some(config)).await;
        match session {
            Session::Acs(request) => sessions.accept_acs(stream, request).await,
            Session::Tcs(request) => sessions.accept_tcs(stream, request).await,
            Session::Balancer => sessions.accept_balancer(stream).await,
        }
    });
    let mut response = answer(101, "application/json", "");
    response.headers_mut().clear();
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) {
        response.headers_mut().insert("sec-websocket-accept", accept);
    }
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response
}

/// What a websocket is for.
enum Session {
    Acs(SessionRequest),
    Tcs(SessionRequest),
    Balancer,
}

/// What is asked for by this path, if the caller may have it.
fn session(
    app: &App,
    head: &http::request::Parts,
    identity: Verified,
    trace: &mut Trace,
) -> Result<Session, Refusal> {
    let path = head.uri.path();
    let (operation, kind): (_, fn(SessionRequest) -> Session) = match path {
        ACS_PATH => ("Poll", Session::Acs),
        TCS_PATH => ("StartTelemetrySession", Session::Tcs),
        BALANCER_PATH => {
            trace.operation = "StartBalancerSession";
            // It is told certificates' keys: nobody else is, whatever policies allow.
            return match identity.kind() {
                Kind::Balancer => Ok(Session::Balancer),
                _ => {
                    let text = format!("{} is no balancer.", identity.principal_arn());
                    Err((403, "AccessDeniedException", text))
                }
            };
        }
        path => return Err((404, "BadRequestException", format!("No websocket at {path}."))),
    };
    trace.operation = operation;
    let query = parameters(head.uri.query().unwrap_or_default());
    let container_instance = admit(&app.store().snapshot(), app, &identity, &query)?;
    Ok(kind(SessionRequest { container_instance, identity, query }))
}

fn refused(trace: &mut Trace, (status, name, text): Refusal) -> Answer {
    trace.error = Some(name.to_owned());
    answer(status, "application/json", serde_json::json!({ name: text }).to_string())
}

/// The key of a version 13 handshake (RFC 6455, 4.2.1).
fn handshake_key(headers: &HeaderMap) -> Result<String, Refusal> {
    let bad = |text: &str| (400, "BadRequestException", text.to_owned());
    let connection = headers.get_all(CONNECTION).iter().any(|v| {
        let names = v.to_str().unwrap_or_default().split(',');
        names.into_iter().any(|name| name.trim().eq_ignore_ascii_case("upgrade"))
    });
    if !connection {
        return Err(bad("The Connection header must name Upgrade."));
    }
    if headers.get("sec-websocket-version").is_none_or(|v| v != "13") {
        return Err(bad("Sec-WebSocket-Version must be 13."));
    }
    let key = headers.get("sec-websocket-key").and_then(|v| v.to_str().ok());
    key.map(str::to_owned).ok_or_else(|| bad("Sec-WebSocket-Key is missing."))
}

fn parameters(query: &str) -> BTreeMap<String, String> {
    form_urlencoded::parse(query.as_bytes())
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect()
}

/// The instance that the query names, if the caller may speak for it: it exists in the named
/// cluster, is not INACTIVE, and was registered by the same principal.
fn admit(
    snapshot: &Snapshot,
    app: &App,
    identity: &Verified,
    query: &BTreeMap<String, String>,
) -> Result<ContainerInstanceKey, Refusal> {
    // ACS and TCS name their parameters differently.
    let either = |a: &str, b: &str| query.get(a).or_else(|| query.get(b)).map(String::as_str);
    let unknown =
        || (400, "InvalidInstanceException", "The container instance does not exist.".to_owned());
    let text = either("containerInstanceArn", "containerInstance").ok_or_else(unknown)?;
    let arn = Arn::parse(text)
        .filter(|arn| arn.region == app.arns().region && arn.account == app.arns().account)
        .ok_or_else(unknown)?;
    let Resource::ContainerInstance { cluster: named, id } = arn.resource else {
        return Err(unknown());
    };
    let cluster = either("clusterArn", "cluster").unwrap_or("default");
    let cluster = match Arn::parse(cluster).map(|arn| arn.resource) {
        Some(Resource::Cluster(name)) => name,
        _ => cluster.into(),
    };
    if named.as_ref().is_some_and(|named| *named != cluster)
        || snapshot.cluster(&cluster).is_none_or(|c| !c.active)
    {
        return Err((400, "InvalidClusterException", "Cluster not found.".to_owned()));
    }
    let key = ContainerInstanceKey { cluster, id };
    let instance = snapshot.container_instance(&key).ok_or_else(unknown)?;
    if instance.registered_by != identity.principal_arn() {
        return Err((
            403,
            "AccessDeniedException",
            format!(
                "{} did not register this container instance and can not speak for it.",
                identity.principal_arn()
            ),
        ));
    }
    if instance.status == InstanceStatus::Inactive {
        return Err((
            400,
            "InactiveInstanceException",
            "The container instance has been deregistered.".to_owned(),
        ));
    }
    Ok(key)
}
