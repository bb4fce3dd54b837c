//! Agents' websockets: `GET /ws` for ACS, `GET /tcs/ws` for TCS. The gate has verified the
//! signature; here the instance is found and the connection handed over.

use super::answer::{Answer, answer};
use super::service::Trace;
use crate::agent_sessions::SessionRequest;
use crate::app::App;
use crate::identity::Verified;
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
    let acs = match head.uri.path() {
        ACS_PATH => true,
        TCS_PATH => false,
        path => {
            return refused(
                trace,
                (404, "BadRequestException", format!("No websocket at {path}.")),
            );
        }
    };
    trace.operation = if acs { "Poll" } else { "StartTelemetrySession" };
    let key = match handshake_key(&head.headers) {
        Ok(key) => key,
        Err(refusal) => return refused(trace, refusal),
    };
    let query = parameters(head.uri.query().unwrap_or_default());
    let admitted = admit(&app.store().snapshot(), app, &identity, &query);
    let container_instance = match admitted {
        Ok(instance) => instance,
        Err(refusal) => return refused(trace, refusal),
    };
    let request = SessionRequest { container_instance, identity, query };
    let sessions = Arc::clone(app.sessions());
    tokio::spawn(async move {
        let upgraded = match upgrade.await {
            Ok(upgraded) => TokioIo::new(upgraded),
            Err(error) => {
                tracing::debug!(%error, "an agent's connection ended before its upgrade");
                return;
            }
        };
        let config = WebSocketConfig::default()
            // It is zeroed at every read: no larger than the usual message.
            .read_buffer_size(READ_BUFFER_BYTES)
            .max_message_size(Some(MAX_MESSAGE_BYTES))
            .max_frame_size(Some(MAX_MESSAGE_BYTES));
        let stream = WebSocketStream::from_raw_socket(upgraded, Role::Server, Some(config)).await;
        if acs {
            sessions.accept_acs(stream, request).await;
        } else {
            sessions.accept_tcs(stream, request).await;
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
