//! Where websockets of agents and balancers go. The gateway verifies and upgrades; what is said on the wire is
//! not its business.

use crate::identity::Verified;
use async_trait::async_trait;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;
use tokio_tungstenite::WebSocketStream;
use wharf_model::ContainerInstanceKey;

/// An upgraded connection on which websocket frames flow.
pub type AgentStream = WebSocketStream<TokioIo<Upgraded>>;

/// An agent's websocket request, verified: the instance exists, isn't INACTIVE, and was
/// registered by the principal that signed.
#[derive(Debug, Clone)]
pub struct SessionRequest {
    /// The instance.
    pub container_instance: ContainerInstanceKey,
    /// Who signed.
    pub identity: Verified,
    /// The query's parameters as the agent sent them, decoded: `agentVersion`,
    /// `sendCredentials`, `seqNum`, …
    pub query: BTreeMap<String, String>,
}

/// Takes agents' sessions over; each call lasts as long as its session.
#[async_trait]
pub trait AgentSessions: Send + Sync {
    /// Speaks ACS on `stream` until it ends.
    async fn accept_acs(&self, stream: AgentStream, request: SessionRequest);
    /// Speaks TCS on `stream` until it ends.
    async fn accept_tcs(&self, stream: AgentStream, request: SessionRequest);
    /// Speaks with a balancer on `stream` until it ends.
    async fn accept_balancer(&self, mut stream: AgentStream) {
        // The other end may have gone already.
        let _ = stream.close(None).await;
    }
}

/// Closes every session at once: for a server that takes no agents, and for tests.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoSessions;

#[async_trait]
impl AgentSessions for NoSessions {
    async fn accept_acs(&self, mut stream: AgentStream, _: SessionRequest) {
        // The other end may have gone already.
        let _ = stream.close(None).await;
    }

    async fn accept_tcs(&self, mut stream: AgentStream, _: SessionRequest) {
        let _ = stream.close(None).await;
    }
}
